//! Memory of a deployment while clients ask and leave, while one asks and does not read, and of a
//! node while links stay silent (`docs/testing.md`, "Memory under abuse").
//!
//! ```sh
//! cargo run --release -p amicus-testkit --example abandoned
//! ```
//!
//! Everything runs in this process, so its memory is that of all roles together.

use amicus_field::Limbs;
use amicus_testkit::abuse::{Deaf, Hasty, Silent};
use amicus_testkit::run::{Run, Setup};
use amicus_testkit::zoo;
use std::time::Instant;

const REQUESTS: usize = 10_000;
const LINKS: usize = 1_000;
/// Questions whose answers are not read, and when memory is looked at.
const QUESTIONS: [usize; 4] = [0, 10_000, 100_000, 1_000_000];

fn main() {
    abandoned_requests();
    unread_questions(false);
    unread_questions(true);
    silent_links();
}

/// Prints resident memory of this process and its threads.
fn print(what: &str, done: usize) {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let resident: f64 = pages.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number of pages");
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux").count();
    println!("{done:>7} {what}: {:6.1} MiB, {threads} threads", resident * 4096.0 / f64::from(1 << 20));
}

/// Prints figures at 0, 1/3, 2/3 and the end.
fn report(what: &str, done: usize, of: usize) {
    if (0..=3).any(|third| done == of * third / 3) {
        print(what, done);
    }
}

/// Time until an honest inference has come through.
fn recovers(run: &mut Run) -> u128 {
    let asked = Instant::now();
    run.recovers();
    asked.elapsed().as_millis()
}

fn abandoned_requests() {
    let mut run = Setup::new(zoo::mlp(Limbs::TWO), 2).start();
    run.infer().expect("an honest inference");
    let mut clients = Hasty::default();
    for done in 0..=REQUESTS {
        report("abandoned requests", done, REQUESTS);
        clients.ask_and_leave(&mut run);
    }
    println!("an honest inference after them took {} ms\n", recovers(&mut run));
    run.cluster.stop();
}

fn unread_questions(tls: bool) {
    let setup = Setup::new(zoo::mlp(Limbs::TWO), 2);
    let mut run = if tls { setup.tls() } else { setup }.start();
    let (mut client, mut asked) = (Deaf::default(), 0);
    for stop in QUESTIONS {
        while asked < stop {
            client.ask(&mut run);
            asked += run.parties.count();
        }
        print(if tls { "unread questions over TLS" } else { "unread questions in memory" }, asked);
    }
    let took = recovers(&mut run);
    println!("cut off {} times; an honest inference took {took} ms\n", client.cut_off);
    run.cluster.stop();
}

fn silent_links() {
    let mut client = Silent::new();
    for done in 0..=LINKS {
        report("silent links", done, LINKS);
        client.connect();
    }
    println!("another peer's link after them took {} ms", client.another_comes().as_millis());
}
