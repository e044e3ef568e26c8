//! Pinned peers that connect and say nothing, or too much.
#![allow(clippy::unwrap_used)] // a failure here is a failed test

use amicus_net::{Identity, Listener, PeerSet, dial};
use amicus_node::Peer;
use amicus_node::connect::{Complaints, Connector, InboxHandles, Seen, Target, Terms, connect, look};
use amicus_node::inbox::Inbox;
use amicus_node::store::ClusterDigest;
use amicus_plan::PlanDigest;
use amicus_protocol::control::{Channel, Hello};
use amicus_protocol::greeting::{PROGRAM, encode_as, header};
use amicus_protocol::wire::VERSION;
use amicus_protocol::{Fault, Parties, Step};
use std::time::{Duration, Instant};

/// A plan that the node serves.
const PLAN: PlanDigest = PlanDigest([9; 32]);
/// What a program of another version greets with.
const HELLO: Hello = Hello { channel: Channel::Online, cluster: [7; 32], parties: 2 };

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
    party: Identity,
    target: Target,
}

fn site() -> Site {
    let names = ["helper", "client alice", "client bob", "party 1"];
    let [node, alice, bob, party] = names.map(|name| Identity::generate(name).unwrap());
    let pins = [(&alice, names[1]), (&bob, names[2]), (&party, names[3])].map(|(i, n)| (i.fingerprint(), n));
    let listener = Listener::bind("127.0.0.1:0", &node, PeerSet::from_iter(pins)).unwrap();
    let address = listener.local_addr();
    let terms = Terms { cluster: ClusterDigest([7; 32]), parties: Parties::new(2).unwrap() };
    let inbox = Inbox::new(1 << 20).unwrap();
    let inboxes = InboxHandles { online: inbox.handle(), dealing: None };
    let (complaints, errors) = Complaints::channel();
    let connector = Connector::new(complaints);
    connector.listen(listener, terms, vec![PLAN], inboxes).unwrap();
    let (address, fingerprints) = (address.to_string(), vec![node.fingerprint()]);
    let target = Target { peer: Peer::Helper, address, fingerprints, channel: Channel::Online };
    Site { inbox, connector, errors, terms, alice, bob, party, target }
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
    // All but a few are closed, each when the other side gets round to it.
    let patience = soon();
    while links.len() > 4 {
        assert!(Instant::now() < patience, "{} silent links of one peer stay open", links.len());
        links.retain_mut(|link| {
            let ended = link.recv(Instant::now() + Duration::from_millis(5));
            matches!(ended, Err(amicus_net::NetError::Timeout { .. }))
        });
    }
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

/// That a text names both programs and both versions of the wire format.
fn names_both(text: &str, wire: u8, program: &str) {
    for words in [
        format!("amicus {program}, wire version {wire}"),
        format!("amicus {PROGRAM}, wire version {VERSION}"),
        "incompatible".into(),
    ] {
        assert!(text.contains(&words), "{text}");
    }
}

#[test]
fn a_peer_of_another_version_is_refused_and_both_sides_name_both() {
    for (wire, program) in [(VERSION - 1, "0.0.9"), (VERSION + 1, "7.1.0")] {
        // It dials us: our log names both, and so can it from what we answer.
        let site = site();
        let to = ("helper", site.target.fingerprints[0]);
        let mut old = dial(&site.target.address, &site.alice, to, soon()).unwrap();
        old.send(&[&encode_as(&HELLO, wire, program).unwrap()]).unwrap();
        let ours = old.recv(soon()).unwrap();
        assert_eq!(
            (ours[0], ours.ends_with(&[PROGRAM.as_bytes(), &[PROGRAM.len() as u8]].concat())),
            (VERSION, true)
        );
        assert!(header(&ours).is_ok());
        let logged = site.errors.recv_timeout(Duration::from_secs(120)).unwrap().to_string();
        names_both(&logged, wire, program);
        assert!(logged.contains("client alice"), "{logged}");
        // Nobody else notices.
        connect(&site.target, &site.bob, site.terms).unwrap();
        site.connector.stop();

        // We dial it: our error names both.
        let [node, bob] = ["helper", "client bob"].map(|n| Identity::generate(n).unwrap());
        let pins = PeerSet::from_iter([(bob.fingerprint(), "client bob")]);
        let mut listener = Listener::bind("127.0.0.1:0", &node, pins).unwrap();
        let (address, fingerprints) = (listener.local_addr().to_string(), vec![node.fingerprint()]);
        let answers = std::thread::spawn(move || {
            let mut link = listener.accept(soon()).unwrap();
            assert!(matches!(header(&link.recv(soon()).unwrap()), Ok((_, _))));
            link.send(&[&encode_as(&HELLO, wire, program).unwrap()]).unwrap();
            // Until the other end has heard it.
            let _ = link.recv(soon());
        });
        let target = Target { peer: Peer::Helper, address, fingerprints, channel: Channel::Online };
        let error = connect(&target, &bob, site.terms).unwrap_err();
        let amicus_node::NodeError::Protocol(amicus_protocol::ProtocolError::Peer { fault, .. }) = &error
        else {
            panic!("{error}")
        };
        assert!(matches!(fault, Fault::Version(_)));
        names_both(&error.to_string(), wire, program);
        assert!(error.to_string().contains("helper"), "{error}");
        answers.join().unwrap();
    }
}

#[test]
fn a_look_shows_version_clock_and_plans_and_disturbs_nobody() {
    let mut site = site();
    let (peer, party) = (Peer::Party(site.terms.parties.party(1).unwrap()), &site.party);
    let link = connect(&site.target, party, site.terms).unwrap();
    site.inbox.wait_for(std::slice::from_ref(&peer), &Step::Keys, soon()).unwrap();
    let target = Target { channel: Channel::Look, ..site.target.clone() };
    for _ in 0..20 {
        let Seen { program, clock, plans, travelled, .. } = look(&target, party, site.terms, soon()).unwrap();
        assert_eq!((program.as_str(), plans), (PROGRAM, vec![PLAN]));
        assert!(clock.by <= clock.within + Duration::from_millis(2), "{clock:?}");
        assert_eq!(travelled.0, 1 << 20);
    }
    // The link that was there is there still, and no other came.
    assert!(site.inbox.connected(&peer) && site.inbox.take_arrived().len() == 1);
    // Clients are shown nothing.
    look(&target, &site.alice, site.terms, soon()).unwrap_err();
    // She may hear it before the node has said so itself.
    let error = site.errors.recv_timeout(Duration::from_secs(120)).unwrap().to_string();
    assert!(error.contains("client alice"), "{error}");
    site.connector.stop();
    assert!(site.errors.try_recv().is_err());
    drop(link);
}

#[test]
fn whoever_looks_gets_a_bounded_number_of_bytes_back() {
    use amicus_protocol::Scope;
    use amicus_protocol::wire::{Header, Kind};
    let site = site();
    let to = ("helper", site.target.fingerprints[0]);
    let hello = Hello { channel: Channel::Look, ..HELLO };
    let header = |kind| Header::new(kind, Scope::NONE, 0).encode();
    // More than is sent back, a message of another kind, one that is too long.
    let flood = vec![[&header(Kind::Echo)[..], &[0; 60_000]].concat(); 50];
    let other = vec![header(Kind::Request).to_vec()];
    let long = vec![[&header(Kind::Echo)[..], &[0; 100_000]].concat()];
    for (messages, most) in [(flood, 2 << 20), (other, 0), (long, 0)] {
        let mut link = dial(&site.target.address, &site.party, to, soon()).unwrap();
        link.send(&[&encode_as(&hello, VERSION, PROGRAM).unwrap()]).unwrap();
        let (_hello, _about) = (link.recv(soon()).unwrap(), link.recv(soon()).unwrap());
        for message in &messages {
            let _ = link.send(&[message]);
        }
        let mut back = 0;
        let ended = loop {
            match link.recv(soon()) {
                Ok(frame) => back += frame.len(),
                Err(error) => break error,
            }
        };
        assert!(!matches!(ended, amicus_net::NetError::Timeout { .. }), "{ended}");
        assert!(back <= most, "{back} bytes of {most}");
    }
    site.connector.stop();
}
