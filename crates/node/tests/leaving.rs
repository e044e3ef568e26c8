//! Users that are gone. Alone in its binary, because it counts the threads of the process.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

use amicus_net::{Identity, Listener, PeerSet};
use amicus_node::Peer;
use amicus_node::connect::{Complaints, Connector, InboxHandles, Target, Terms};
use amicus_node::inbox::Inbox;
use amicus_node::store::ClusterDigest;
use amicus_protocol::control::Channel;
use amicus_protocol::{Parties, Step};
use std::sync::Arc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);

/// Threads that dial.
fn dialling() -> usize {
    let names = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    // One that ends meanwhile has no name any more.
    names.filter(|task| std::fs::read(task.path().join("comm")).is_ok_and(|name| name == b"dial\n")).count()
}

/// Once, a thread that dialled for a user stayed for as long as the process.
#[test]
fn nobody_dials_for_a_user_that_is_gone() {
    let [helper, client] = ["helper", "client 1"].map(|name| Arc::new(Identity::generate(name).unwrap()));
    let terms = Terms { cluster: ClusterDigest([1; 32]), parties: Parties::new(2).unwrap() };
    let pins = PeerSet::from_iter([(client.fingerprint(), "client 1")]);
    let listener = Listener::bind("127.0.0.1:0", &helper, pins).unwrap();
    let target = Target {
        peer: Peer::Helper,
        address: listener.local_addr().to_string(),
        fingerprints: vec![helper.fingerprint()],
        channel: Channel::Online,
    };
    let node = Inbox::new(1 << 16).unwrap();
    let (complaints, _errors) = Complaints::channel();
    let (accepting, connector) = (Connector::new(complaints.clone()), Connector::new(complaints));
    let of_node = InboxHandles { online: node.handle(), dealing: None };
    accepting.listen(listener, terms, Vec::new(), of_node).unwrap();
    for _ in 0..5 {
        let mut user = Inbox::new(1 << 16).unwrap();
        let inboxes = InboxHandles { online: user.handle(), dealing: None };
        connector.dial(&client, vec![target.clone()], terms, &inboxes).unwrap();
        user.wait_for(&[Peer::Helper], &Step::Keys, Instant::now() + PATIENCE).unwrap();
        assert!(dialling() >= 1);
    }
    let deadline = Instant::now() + PATIENCE;
    while dialling() > 0 {
        assert!(Instant::now() < deadline, "{} threads dial for users that are gone", dialling());
        std::thread::sleep(Duration::from_millis(10));
    }
    connector.stop();
    accepting.stop();
}
