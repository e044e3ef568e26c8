//! Whatever threads share a node's arithmetic, it says the same to the bit.
#![allow(clippy::unwrap_used)] // a failure here is a failed test

use amicus_field::Limbs;
use amicus_field::parallel::{Workers, with_workers};
use amicus_node::Peer;
use amicus_protocol::Parties;
use amicus_testkit::covers::Witness;
use amicus_testkit::direct;
use amicus_testkit::nets::Net;
use amicus_testkit::run::Setup;
use amicus_testkit::world::Letter;
use amicus_testkit::zoo;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Inputs in an inference: enough for vectors that are split.
const BATCH: usize = 2000;

/// Threads of their own for every piece of work, which count the pieces.
struct Scoped {
    threads: usize,
    pieces: Cell<usize>,
}

impl Workers for Scoped {
    fn count(&self) -> usize {
        self.threads
    }

    fn run(&self, parts: usize, work: &(dyn Fn(usize) + Sync)) {
        self.pieces.set(self.pieces.get() + 1);
        let next = AtomicUsize::new(0);
        let worker = || {
            while let Some(part) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&part| part < parts) {
                work(part);
            }
        };
        std::thread::scope(|scope| {
            (1..self.threads).for_each(|_| _ = scope.spawn(worker));
            worker();
        });
    }
}

/// All messages of a load and an inference from known seeds, and the bits of the answer.
fn run(net: &Net, batch: usize) -> (Vec<(Letter, Vec<u8>)>, Vec<u64>) {
    let mut world = Witness::new("threads");
    let parties = Parties::new(3).unwrap();
    let loaded = direct::load_over(&net.plan, &net.layers(), parties, None, &mut world).unwrap();
    let inputs = net.inputs(batch, 3);
    let outcome = direct::infer_over(&loaded, &inputs, batch, &[], &mut |_| (), &mut world).unwrap();
    (world.letters, outcome.logits.unwrap().into_iter().map(f64::to_bits).collect())
}

#[test]
fn every_message_is_the_same_with_threads() {
    let nets = [
        ("convolutions", zoo::conv_net(Limbs::TWO)),
        ("branches", zoo::residual(Limbs::ONE)),
        ("products", zoo::products(Limbs::THREE)),
        ("pieces of polynomials", zoo::pieces(Limbs::TWO)),
        ("largest of windows", zoo::maxima(Limbs::TWO)),
        ("watched", zoo::watched(Limbs::ONE)),
    ];
    let nets =
        nets.into_iter().map(|(name, net)| (name, net, BATCH)).chain([("wide", zoo::wide(Limbs::TWO), 64)]);
    for (name, net, batch) in nets {
        let (alone, answer) = run(&net, batch);
        assert!(alone.iter().any(|(letter, _)| letter.from == Peer::Helper));
        for threads in [2, 3] {
            let workers = Rc::new(Scoped { threads, pieces: Cell::new(0) });
            let (shared, same_answer) = with_workers(workers.clone(), || run(&net, batch));
            println!("{name}: {} pieces of work", workers.pieces.get());
            let split = ["wide", "largest of windows"].contains(&name);
            assert!(!split || workers.pieces.get() > 0, "nothing was split");
            assert_eq!(alone.len(), shared.len(), "{name}");
            for ((letter, body), (as_letter, as_body)) in alone.iter().zip(&shared) {
                assert!(letter == as_letter && body == as_body, "{name}, {threads} threads: {letter:?}");
            }
            assert!(answer == same_answer, "{name}");
        }
    }
}

#[test]
fn nodes_with_threads_answer_as_the_simulator_does() {
    for parties in [2, 3] {
        let mut run = Setup::new(zoo::wide(Limbs::TWO), parties).batch(64).threads(3).tls().start();
        for _ in 0..3 {
            run.infer().unwrap();
        }
        run.finish();
    }
}
