//! Memory of a deployment while clients ask and leave, while one asks and does not read, and of a
//! node while links stay silent (`docs/testing.md`, "Memory under abuse").
//!
//! ```sh
//! cargo run --release -p amicus-testkit --example abandoned
//! ```
//!
//! Everything runs in this process, so its memory is that of all roles together.

use amicus_client::fingerprint::Fingerprints;
use amicus_client::inference::PendingRequest;
use amicus_field::Limbs;
use amicus_net::{Identity, Listener, PeerSet, dial};
use amicus_node::Peer;
use amicus_node::connect::{Complaints, Connector, InboxHandles, Target, Terms, connect};
use amicus_node::inbox::Inbox;
use amicus_plan::PlanDigest;
use amicus_protocol::control::Channel;
use amicus_protocol::{Parties, Step};
use amicus_testkit::PATIENCE;
use amicus_testkit::random::Random;
use amicus_testkit::run::Setup;
use amicus_testkit::user::User;
use amicus_testkit::zoo;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

const REQUESTS: usize = 10_000;
const LINKS: usize = 1_000;
/// Questions whose answers are not read, and when memory is looked at.
const QUESTIONS: [usize; 4] = [0, 10_000, 100_000, 1_000_000];
/// Clients that ask in turn.
const CLIENTS: usize = 8;
/// Silent links whose own ends are kept here: the node keeps no more of one peer.
const KEPT: usize = 8;

fn main() {
    abandoned_requests();
    unread_questions(false);
    unread_questions(true);
    silent_links();
}

/// Resident memory of this process in MiB, and its threads.
fn figures() -> (f64, usize) {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let resident: f64 = pages.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number of pages");
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux").count();
    (resident * 4096.0 / f64::from(1 << 20), threads)
}

/// Prints figures at 0, 1/3, 2/3 and the end.
fn report(what: &str, done: usize, of: usize) {
    if (0..=3).any(|third| done == of * third / 3) {
        print(what, done);
    }
}

fn print(what: &str, done: usize) {
    let (memory, threads) = figures();
    println!("{done:>7} {what}: {memory:6.1} MiB, {threads} threads");
}

/// Clients ask for batches of all sizes and leave.
fn abandoned_requests() {
    let mut run = Setup::new(zoo::mlp(Limbs::TWO), 2).start();
    run.infer().expect("an honest inference");
    let mut random = Random(7);
    for done in 0..=REQUESTS {
        // What nodes report is read; otherwise it would be the reader's memory that grows.
        run.drain();
        report("abandoned requests", done, REQUESTS);
        let client = Peer::Client(format!("hasty {}", done % CLIENTS));
        let mut user = User::connect(&mut run.cluster, run.parties, &client);
        let batch = 1 + random.below(64) as u32;
        let plan = Arc::clone(&run.net.plan);
        let (_, request) = PendingRequest::new(plan, run.parties, batch, Vec::new()).expect("a request");
        user.send(&Peer::Helper, &request);
    }
    let asked = Instant::now();
    run.recovers();
    println!("an honest inference after them took {} ms\n", asked.elapsed().as_millis());
    run.cluster.stop();
}

/// A client asks all parties for fingerprints and reads no answer; cut off, it comes again.
fn unread_questions(tls: bool) {
    let setup = Setup::new(zoo::mlp(Limbs::TWO), 2);
    let mut run = if tls { setup.tls() } else { setup }.start();
    let parties: Vec<Peer> = run.parties.all().map(Peer::Party).collect();
    let (mallory, question) = (Peer::Client("2".into()), Fingerprints::question());
    let mut user = User::connect(&mut run.cluster, run.parties, &mallory);
    let what = if tls { "unread questions over TLS" } else { "unread questions in memory" };
    let (mut asked, mut cut_off) = (0, 0);
    for stop in QUESTIONS {
        while asked < stop {
            if parties.iter().all(|party| user.try_send(party, &question).is_ok()) && user.try_flush() {
                asked += parties.len();
            } else {
                cut_off += 1;
                user = User::connect(&mut run.cluster, run.parties, &mallory);
                // What nodes and connections report is read; otherwise it would be the reader's
                // memory that grows.
                run.drain();
            }
        }
        print(what, asked);
    }
    let after = Instant::now();
    run.recovers();
    println!("cut off {cut_off} times; an honest inference took {} ms\n", after.elapsed().as_millis());
    run.cluster.stop();
}

/// A client that a node knows dials it and says nothing.
fn silent_links() {
    let [node, alice, bob] =
        ["helper", "client alice", "client bob"].map(|name| Identity::generate(name).expect("a key"));
    let pins = [(alice.fingerprint(), "client alice"), (bob.fingerprint(), "client bob")];
    let listener = Listener::bind("127.0.0.1:0", &node, PeerSet::from_iter(pins)).expect("a port");
    let address = listener.local_addr();
    let terms = Terms { plan: PlanDigest([7; 32]), parties: Parties::new(2).expect("two parties") };
    let mut inbox = Inbox::new(1 << 20).expect("an inbox");
    let inboxes = InboxHandles { online: inbox.handle(), dealing: None };
    let (complaints, _errors) = Complaints::channel();
    let connector = Connector::new(complaints);
    connector.listen(listener, terms, inboxes).expect("threads");
    let mut silent = VecDeque::new();
    for done in 0..=LINKS {
        report("silent links", done, LINKS);
        let by = Instant::now() + PATIENCE;
        silent.push_back(dial(address, &alice, ("helper", node.fingerprint()), by).expect("a link"));
        if silent.len() > KEPT {
            silent.pop_front();
        }
    }
    let started = Instant::now();
    let target =
        Target { peer: Peer::Helper, address, fingerprint: node.fingerprint(), channel: Channel::Online };
    let _link = connect(&target, &bob, terms).expect("another peer gets through");
    inbox.wait_for(&[Peer::Client("bob".into())], &Step::Keys, Instant::now() + PATIENCE).expect("a link");
    println!("another peer's link after them took {} ms", started.elapsed().as_millis());
    connector.stop();
}
