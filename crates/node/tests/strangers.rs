//! Peers that a node hears of and never meets, and those that talk without end.

use amicus_net::{Link, NetError};
use amicus_node::Peer;
use amicus_node::bounds::{Bounds, Unread};
use amicus_node::connect::Arrival;
use amicus_node::inbox::{Early, Inbox, Incoming, Want};
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{Parties, Scope};
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

const FRAME: usize = 1000;

/// An inbox with these bounds and links to clients, and their ends.
fn bounded(unread: Unread, peers: &[Peer]) -> (Inbox, Vec<Link>) {
    let mut inbox = Inbox::new(1 << 16).expect("an inbox");
    inbox.set_bounds(Bounds { unread, early: Early::frames(1 << 16) });
    let ends = peers.iter().map(|peer| {
        let (there, here) = Link::pair(&peer.to_string(), "party 1");
        inbox.insert(peer, here);
        there
    });
    let ends = ends.collect();
    (inbox, ends)
}

/// Sends frames that nobody reads until the link has ended; how many went before.
fn until_it_ends(inbox: &mut Inbox, peer: &Peer) -> usize {
    let sent = (0..1_000_000).find(|_| match inbox.send_raw(peer, &[&[1; FRAME]]) {
        Ok(()) => false,
        Err(NetError::Unread { .. }) => true,
        Err(other) => panic!("{other}"),
    });
    sent.expect("a bound on what waits")
}

/// Once, what a node did not read waited for it without end.
#[test]
fn what_nobody_reads_is_bounded_for_every_peer() {
    let unread = Unread { by_node: 40 * FRAME, by_user: 10 * FRAME, by_users: usize::MAX };
    let party = Peer::Party(Parties::new(2).expect("two parties").last());
    let peers = [Peer::Helper, party, Peer::Owner, Peer::Client("1".into())];
    for peer in &peers {
        let (mut inbox, ends) = bounded(unread, &peers);
        let sent = until_it_ends(&mut inbox, peer);
        let most = if matches!(peer, Peer::Helper | Peer::Party(_)) { 40 } else { 10 };
        assert!((most - most / 8..=most).contains(&sent), "{peer}: {sent}");
        // Others have their links still.
        for other in peers.iter().filter(|other| *other != peer) {
            inbox.send_raw(other, &[b"x"]).expect("a link");
        }
        // It is gone, and said why.
        match inbox.next(Instant::now() + PATIENCE, |_, _| Want::Drop).expect("a running inbox") {
            Incoming::Lost(lost, error) => {
                assert!(lost == *peer && error.to_string().contains("does not read"))
            }
            other => panic!("{other:?}"),
        }
        drop(ends);
    }
}

#[test]
fn what_all_users_leave_unread_is_bounded_and_the_worst_gives_way() {
    let clients: Vec<Peer> = (0..100).map(|n| Peer::Client(n.to_string())).collect();
    let everybody: Vec<Peer> = clients.iter().cloned().chain([Peer::Helper]).collect();
    let unread = Unread { by_node: usize::MAX, by_user: 10 * FRAME, by_users: 64 * FRAME };
    let (mut inbox, mut ends) = bounded(unread, &everybody);
    // What nodes leave unread is counted on its own.
    (0..1000).for_each(|_| inbox.send_raw(&Peer::Helper, &[&[1; FRAME]]).expect("a link"));
    // One takes its share and reads nothing, the others one frame each.
    (0..9).for_each(|_| inbox.send_raw(&clients[0], &[&[1; FRAME]]).expect("a link"));
    for client in &clients[1..50] {
        inbox.send_raw(client, &[&[1; FRAME]]).expect("a link");
    }
    assert!(inbox.connected(&clients[0]) && inbox.send_raw(&clients[50], &[&[1; FRAME]]).is_ok());
    let mut lost = Vec::new();
    for client in &clients[51..60] {
        inbox.send_raw(client, &[&[1; FRAME]]).expect("a link");
    }
    while let Ok(Incoming::Lost(peer, error)) = inbox.next(Instant::now(), |_, _| Want::Drop) {
        assert!(error.to_string().contains("does not read"), "{error}");
        lost.push(peer);
    }
    assert_eq!(lost, clients[..1], "only the one that left most unread");
    // Who reads is never cut off, however much it gets.
    let reader = &mut ends[99];
    for _ in 0..1000 {
        inbox.send_raw(&clients[99], &[&[1; FRAME]]).expect("a link");
        assert_eq!(reader.recv(Instant::now() + PATIENCE).expect("a frame").len(), FRAME);
    }
}
