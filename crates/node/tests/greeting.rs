//! Pinned peers that connect and say nothing, or too much.
#![allow(clippy::unwrap_used)] // a failure here is a failed test

use amicus_net::{Identity, Listener, PeerSet, dial};
use amicus_node::Peer;
use amicus_node::connect::{Complaints, Connector, InboxHandles, Target, Terms, connect};
use amicus_node::inbox::Inbox;
use amicus_node::store::ClusterDigest;
use amicus_protocol::control::Channel;
use amicus_protocol::{Parties, Step};
use std::time::{Duration, Instant};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(120)
}

/// A listening node and two clients that it knows.
struct Site {
    inbox: Inbox,
    connector: Connector,
    errors: std::sync::mpsc::Receiver<amicus_node::NodeError>,
    terms: Terms,
    alice: Identity,
    bob: Identity,
    target: Target,
}

fn site() -> Site {
    let [node, alice, bob] = ["helper", "client alice", "client bob"].map(|n| Identity::generate(n).unwrap());
    let pins = [(alice.fingerprint(), "client alice"), (bob.fingerprint(), "client bob")];
    let listener = Listener::bind("127.0.0.1:0", &node, PeerSet::from_iter(pins)).unwrap();
    let address = listener.local_addr();
    let terms = Terms { cluster: ClusterDigest([7; 32]), parties: Parties::new(2).unwrap() };
    let inbox = Inbox::new(1 << 20).unwrap();
    let inboxes = InboxHandles { online: inbox.handle(), dealing: None };
    let (complaints, errors) = Complaints::channel();
    let connector = Connector::new(complaints);
    connector.listen(listener, terms, inboxes).unwrap();
    let (address, fingerprints) = (address.to_string(), vec![node.fingerprint()]);
    let target = Target { peer: Peer::Helper, address, fingerprints, channel: Channel::Online };
    Site { inbox, connector, errors, terms, alice, bob, target }
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn silent_links_cost_no_threads_and_push_out_nobody_else() {
    let mut site = site();
    let silent = |who: &Identity| {
        dial(&site.target.address, who, ("helper", site.target.fingerprints[0]), soon()).unwrap()
    };
    let before = threads();
    let mut links: Vec<_> = (0..300).map(|_| silent(&site.alice)).collect();
    assert!(threads() <= before + 2, "{before} threads became {}", threads());
    // All but a few were closed; nobody is told to wait for them.
    let mut open = 0;
    for link in &mut links {
        // Its end arrives when the other side gets round to it.
        let ended = link.recv(Instant::now() + Duration::from_millis(if open < 4 { 2000 } else { 60_000 }));
        open += usize::from(matches!(ended, Err(amicus_net::NetError::Timeout { .. })));
    }
    assert!(open <= 4, "{open} silent links of one peer stay open");
    let bob = connect(&site.target, &site.bob, site.terms).unwrap();
    site.inbox.wait_for(&[Peer::Client("bob".into())], &Step::Keys, soon()).unwrap();
    // Alice herself gets through as well.
    let alice = connect(&site.target, &site.alice, site.terms).unwrap();
    site.inbox.wait_for(&[Peer::Client("alice".into())], &Step::Keys, soon()).unwrap();
    // Errors of this flood are kept up to a bound.
    assert!(site.errors.try_iter().count() <= 256);
    site.connector.stop();
    drop((alice, bob));
}

#[test]
fn other_clusters_parties_and_channels_are_refused() {
    let site = site();
    let other = Terms { cluster: ClusterDigest([8; 32]), ..site.terms };
    let error = connect(&site.target, &site.alice, other).unwrap_err().to_string();
    assert!(error.contains("cluster"), "{error}");
    let other = Terms { parties: Parties::new(3).unwrap(), ..site.terms };
    let error = connect(&site.target, &site.alice, other).unwrap_err().to_string();
    assert!(error.contains("it knows 2 parties, we know 3"), "{error}");
    let dealing = Target { channel: Channel::Dealing, ..site.target.clone() };
    connect(&dealing, &site.alice, site.terms).unwrap_err();
    for words in ["cluster", "it knows 3 parties, we know 2", "a link for dealing"] {
        let error = site.errors.recv_timeout(Duration::from_secs(120)).unwrap().to_string();
        assert!(error.contains(words) && error.contains("client alice"), "{error}");
    }
    site.connector.stop();
}
