//! Memory stays flat, however much hostile clients ask: a short form of the example `abandoned`
//! (`docs/testing.md`, "Memory under abuse"), counted by the allocator.

use amicus_field::Limbs;
use amicus_testkit::abuse::{Deaf, Hasty, Silent};
use amicus_testkit::run::Setup;
use amicus_testkit::zoo;
use cap::Cap;
use std::alloc::System;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// What may be there at one time and not at another: queues that fill up and are emptied, material
/// of the largest batch.
const SLACK: usize = 8 << 20;

/// One test at a time: memory is counted for the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something so often, and compares memory after a tenth and at the end.
fn stays_flat(times: usize, mut work: impl FnMut()) {
    let mut before = 0;
    for done in 1..=times {
        work();
        if done == times / 10 {
            before = ALLOCATOR.allocated();
        }
    }
    let after = ALLOCATOR.allocated();
    assert!(after < before + SLACK, "{before} bytes became {after}");
}

#[test]
fn while_requests_are_abandoned() {
    let _alone = alone();
    let mut run = Setup::new(zoo::mlp(Limbs::TWO), 2).start();
    let mut clients = Hasty::default();
    stays_flat(1_000, || clients.ask_and_leave(&mut run));
    run.recovers();
    run.cluster.stop();
}

#[test]
fn while_answers_are_not_read() {
    let _alone = alone();
    for (tls, times) in [(false, 100_000), (true, 200_000)] {
        let setup = Setup::new(zoo::mlp(Limbs::TWO), 2);
        let mut run = if tls { setup.tls() } else { setup }.start();
        let mut client = Deaf::default();
        stays_flat(times, || client.ask(&mut run));
        assert!(client.cut_off > 0);
        run.recovers();
        run.cluster.stop();
    }
}

#[test]
fn while_links_stay_silent() {
    let _alone = alone();
    let mut client = Silent::new();
    stays_flat(200, || client.connect());
    client.another_comes();
}
