//! A node that is stopped dials nobody any more: a link of it would take the place of one of the
//! node that is started after it.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

use amicus_net::{Identity, Listener, NetError, PeerSet};
use amicus_node::Peer;
use amicus_node::connect::{Complaints, Connector, InboxHandles, Target, Terms};
use amicus_node::inbox::Inbox;
use amicus_node::store::ClusterDigest;
use amicus_protocol::Parties;
use amicus_protocol::control::Channel;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn nobody_is_dialled_after_the_stop() {
    let [helper, party] = ["helper", "party 1"].map(|name| Arc::new(Identity::generate(name).unwrap()));
    let terms = Terms { cluster: ClusterDigest([1; 32]), parties: Parties::new(2).unwrap() };
    let inbox = Inbox::new(1 << 16).unwrap();
    let inboxes = InboxHandles { online: inbox.handle(), dealing: None };
    let pins = || PeerSet::from_iter([(party.fingerprint(), "party 1")]);
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = deaf.local_addr().unwrap();
    let target = || Target {
        peer: Peer::Helper,
        address: free.to_string(),
        fingerprints: vec![helper.fingerprint()],
        channel: Channel::Online,
    };
    let (complaints, _errors) = Complaints::channel();
    let connector = Connector::new(complaints.clone());
    connector.dial(&party, vec![target()], terms, &inboxes).unwrap();
    // An attempt has begun, and goes on when this connection is cut off.
    drop(deaf.accept().unwrap());
    drop(deaf);
    connector.stop();
    let mut listener = Listener::bind(free, &helper, pins()).unwrap();
    let accepted = listener.accept(Instant::now() + Duration::from_secs(1));
    assert!(matches!(accepted, Err(NetError::Timeout { .. })), "{accepted:?}");
    // A node that is not stopped does come through.
    let connector = Connector::new(complaints);
    connector.dial(&party, vec![target()], terms, &inboxes).unwrap();
    assert_eq!(listener.accept(Instant::now() + Duration::from_secs(600)).unwrap().peer(), "party 1");
    connector.stop();
}
