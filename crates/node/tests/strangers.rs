//! Peers that a node hears of and never meets, and those that talk without end.

use amicus_net::Link;
use amicus_node::Peer;
use amicus_node::connect::Arrival;
use amicus_node::inbox::{Inbox, Incoming, Want};
use amicus_protocol::Scope;
use amicus_protocol::wire::{Header, Kind};
use std::time::{Duration, Instant};

/// More messages than are heard after a deadline.
const FLOOD: usize = 100_000;
/// Longer than anything here takes, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An inbox with a link to a client who has sent a flood, and the client's end.
fn flooded() -> (Inbox, Peer, Link) {
    let mut inbox = Inbox::new(1 << 16).expect("an inbox");
    let client = Peer::Client("1".into());
    let (mut there, here) = Link::pair("client 1", "party 1");
    inbox.insert(&client, here);
    let message = Header::new(Kind::Nonce, Scope::NONE, 0).encode();
    (0..FLOOD).for_each(|_| there.send(&[&message]).expect("a link"));
    (inbox, client, there)
}

/// Whether messages of the flood are left.
fn more(inbox: &mut Inbox) -> bool {
    loop {
        match inbox.next(Instant::now() + PATIENCE, |_, _| Want::Take).expect("a running inbox") {
            Incoming::Message(_) => return true,
            Incoming::Woken => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_flood_does_not_hold_up_a_deadline() {
    for verdict in [Want::Drop, Want::Take] {
        let (mut inbox, _, _there) = flooded();
        let deadline = Instant::now();
        let mut heard = 0;
        loop {
            match inbox.next(deadline, |_, _| verdict.clone()).expect("a running inbox") {
                Incoming::Timeout => break,
                Incoming::Message(_) => heard += 1,
                Incoming::Woken => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(heard < FLOOD && more(&mut inbox), "the flood ended before the wait did");
    }
}

#[test]
fn a_flood_does_not_keep_new_links_away() {
    for verdict in [Want::Drop, Want::Take] {
        let (mut inbox, _, _there) = flooded();
        let friend = Peer::Client("2".into());
        let (_friend, here) = Link::pair("client 2", "party 1");
        inbox.handle().deliver(Arrival { peer: friend.clone(), link: here });
        let deadline = Instant::now() + PATIENCE;
        while !inbox.connected(&friend) {
            inbox.next(deadline, |_, _| verdict.clone()).expect("a running inbox");
        }
        assert!(more(&mut inbox), "the flood ended before the friend was let in");
    }
}

/// Names of receivers come from clients; nobody is remembered who never had a link.
#[test]
fn whoever_has_no_link_is_not_written_to() {
    let mut inbox = Inbox::new(1 << 16).expect("an inbox");
    for name in 0..100 {
        let nobody = Peer::Client(name.to_string());
        assert!(inbox.send_raw(&nobody, &[b"x"]).is_err());
        inbox.close(&nobody);
    }
    assert_eq!(inbox.known(), 0);
}
