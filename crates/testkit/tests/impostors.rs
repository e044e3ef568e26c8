//! Impostors: whoever is called at a party like somebody else, and has not got the key, changes
//! nothing for whoever has (`docs/protocol.md`, section 6.1).
//!
//! Names are given by each node's operator. A corrupt party may tell a friend what it heard, but a
//! tag for it is of no use at another.

use amicus_client::load::{self, Loading};
use amicus_client::{Message, ToParties};
use amicus_field::{Element, Limbs, OperatingSystem};
use amicus_net::clock;
use amicus_net::clock::world::World;
use amicus_node::Peer;
use amicus_node::event::Event;
use amicus_plan::WeightId;
use amicus_protocol::authentic::{AuthenticationKeys, TAG_BYTES};
use amicus_protocol::wire::{Header, Kind};
use amicus_testkit::PATIENCE;
use amicus_testkit::deviation::Deviation;
use amicus_testkit::run::{Run, Setup, party};
use amicus_testkit::user::{User, changed, notice};
use amicus_testkit::zoo;
use std::sync::Arc;
use std::time::Duration;

const TWO: Limbs = Limbs::TWO;

fn client(name: &str) -> Peer {
    Peer::Client(name.into())
}

/// What somebody without the key for a party can make of a message: all but what its owner sends it.
fn forgeries(run: &Run, message: &ToParties, victim: usize) -> Vec<Message> {
    let parties = run.parties;
    let (this, other) = (parties.party(victim).unwrap(), parties.party(3 - victim).unwrap());
    let guessed = AuthenticationKeys::decode(parties, &vec![7; 32 * parties.count()]).unwrap();
    let (right, of_other) = (message.message(this), message.message(other));
    let with = |change: &dyn Fn(&mut Message)| {
        let mut forged = right.clone();
        change(&mut forged);
        forged
    };
    vec![
        // Under a key of its own.
        ToParties::new(message.header(), message.body().to_vec(), &guessed).message(this),
        changed(message, &guessed, |m| m.body[0] ^= 1).message(this),
        // What the other party, which is corrupt, was told.
        of_other,
        // Another body, or another number of the tensor or operation, under the right tag.
        with(&|m| m.body[0] ^= 1),
        with(&|m| m.header.index += 1),
        // A bit of the tag.
        with(&|m| {
            let last = m.body.len() - 1;
            m.body[last] ^= 0x80;
        }),
        // No tag, and nothing at all.
        with(&|m| m.body.truncate(m.body.len() - TAG_BYTES)),
        with(&|m| m.body.clear()),
    ]
}

/// Sends a party forged messages in somebody's name, and waits until it has dropped all of them. The
/// impostor stays.
fn forge(run: &mut Run, me: &Peer, victim: usize, messages: &[&ToParties]) -> User {
    let to = party(run.parties, victim);
    let mut impostor = User::new();
    impostor.connect_to(&mut run.cluster, me, std::slice::from_ref(&to));
    let all: Vec<Message> = messages.iter().flat_map(|message| forgeries(run, message, victim)).collect();
    for message in &all {
        impostor.send(&to, message);
        impostor.send_raw(&to, &message.body[..message.body.len().min(9)]);
    }
    let events = &run.cluster.party_events[victim - 1];
    let mut dropped = 0;
    while dropped < all.len() {
        match events.recv_timeout(PATIENCE).expect("a party that drops what is forged") {
            Event::Unauthenticated { error } => {
                // The name that was used, and nobody else.
                assert!(error.to_string().contains(&format!("{me} misbehaved")), "{error}");
                dropped += 1;
            }
            Event::Failed { error, .. } | Event::LoadFailed { error } => panic!("given up: {error}"),
            _ => {}
        }
    }
    impostor
}

/// At each party, before the client says anything and in the middle of what it says.
#[test]
fn an_impostor_of_a_client_gives_no_input_and_no_key() {
    for victim in [1, 2] {
        let mut run = Setup::new(zoo::mlp(TWO), 2).start();
        let me = client("2");
        let mut alice = User::connect(&mut run.cluster, run.parties, &me);
        for said_before in [0, 1] {
            let admission = alice.ticket(&run.net.plan, run.parties, 1, &[]);
            let id = admission.scope().id;
            let inputs = run.next_inputs();
            let (awaiting, messages) = admission.mask(&inputs).unwrap();
            let before = &messages[..said_before];
            let to = party(run.parties, victim);
            before.iter().for_each(|message| alice.send_to(&to, message));
            let _impostor = forge(&mut run, &me, victim, &[&messages[0], &messages[1]]);
            alice.connect_to(&mut run.cluster, &me, std::slice::from_ref(&to));
            // What was on its way over the link that was replaced is lost: she says all of it again.
            for to in run.parties.all().map(Peer::Party) {
                messages.iter().for_each(|message| alice.send_to(&to, message));
            }
            let logits = alice.result(awaiting).unwrap();
            run.assert_right(&inputs, &logits);
            run.ending(id, Ok(logits)).accepted();
        }
        run.recovers();
        run.finish();
    }
}

/// A further receiver, whose key is not the client's.
#[test]
fn an_impostor_of_a_receiver_gives_no_key() {
    for victim in [1, 2] {
        let mut run = Setup::new(zoo::mlp(TWO), 2).start();
        let (me, plan) = (client("3"), Arc::clone(&run.net.plan));
        let mut alice = User::connect(&mut run.cluster, run.parties, &client("2"));
        let mut bob = User::connect(&mut run.cluster, run.parties, &me);
        let admission = alice.ticket(&plan, run.parties, 1, &["client 3"]);
        let (awaiting_of_bob, key) = bob.invitation(&plan, run.parties);
        let inputs = run.next_inputs();
        let (awaiting, messages) = admission.mask(&inputs).unwrap();
        let mut impostor = forge(&mut run, &me, victim, &[&key]);
        // The client has keys, and not this receiver's.
        let others = ToParties::new(key.header(), key.body().to_vec(), awaiting.authentication());
        let to = party(run.parties, victim);
        impostor.send_to(&to, &others);
        let events = &run.cluster.party_events[victim - 1];
        while !matches!(events.recv_timeout(PATIENCE).expect("an event"), Event::Unauthenticated { .. }) {}
        bob.connect_to(&mut run.cluster, &me, std::slice::from_ref(&to));
        for party in run.parties.all().map(Peer::Party) {
            messages.iter().for_each(|message| alice.send_to(&party, message));
            bob.send_to(&party, &key);
        }
        run.assert_right(&inputs, &alice.result(awaiting).unwrap());
        run.assert_right(&inputs, &bob.result(awaiting_of_bob).unwrap());
        run.finish();
    }
}

/// At each party, before the owner says anything, in the middle, and when nothing is missing.
#[test]
fn an_impostor_of_the_owner_gives_no_weights() {
    for victim in [1, 2] {
        let mut run = Setup::new(zoo::mlp(TWO), 2).recorded().start_unloaded();
        let (plan, layers) = (Arc::clone(&run.net.plan), run.net.layers());
        for said_before in [0, 1, 2] {
            let mut owner = User::connect(&mut run.cluster, run.parties, &Peer::Owner);
            owner.send(&Peer::Helper, &load::request(&plan).unwrap());
            let grant = owner.expect(&Peer::Helper, &[Kind::LoadGrant]);
            let (header, body) = (&grant.header, grant.body());
            let loading =
                Loading::granted(Arc::clone(&plan), run.parties, header, body, &mut OperatingSystem);
            let loading = loading.unwrap();
            let ids = (0u32..).take(plan.weights.len()).map(WeightId);
            let tensors = ids.flat_map(|id| loading.tensor(id, layers.as_slice())).map(Result::unwrap);
            let messages: Vec<ToParties> = [loading.nonce()].into_iter().chain(tensors).collect();
            let (to, other) = (party(run.parties, victim), party(run.parties, 3 - victim));
            [&to, &other].into_iter().for_each(|party| drop(owner.expect(party, &[Kind::LoadReady])));
            let before = &messages[..said_before];
            before.iter().for_each(|message| owner.send_to(&to, message));
            let all = [&messages[0], &messages[1], &messages[2]];
            let mut impostor = forge(&mut run, &Peer::Owner, victim, &all);
            // Nor does it end the load.
            for kind in [Kind::Abort, Kind::Tags, Kind::Challenge, Kind::LoadCorrection] {
                impostor
                    .send(&to, &Message { header: Header::new(kind, loading.scope(), 0), body: vec![0; 8] });
            }
            owner.connect_to(&mut run.cluster, &Peer::Owner, std::slice::from_ref(&to));
            // What was on its way over the link that was replaced is lost: it says all of it again.
            messages.iter().for_each(|message| owner.send_to(&to, message));
            if said_before == 2 {
                // Nothing of the owner is missing any more.
                let told = |run: &Run| {
                    let this = |h: &Header| h.kind == Kind::Tags && h.scope() == loading.scope();
                    run.frames().iter().filter(|(from, _, h, _)| *from == to && this(h)).count()
                };
                while told(&run) < plan.weights.len() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                drop(forge(&mut run, &Peer::Owner, victim, &[&messages[1]]));
            }
            messages.iter().for_each(|message| owner.send_to(&other, message));
            let word = owner.expect(&Peer::Helper, &[Kind::LoadAccepted, Kind::Abort]);
            assert!(word.header.kind == Kind::LoadAccepted, "{}", notice(&word));
            run.infer().unwrap();
        }
        run.finish();
    }
}

/// The helper decided, and then every session ended: outputs are collected under the key, and erased
/// by nobody else.
#[test]
fn outputs_are_kept_across_sessions_for_who_has_the_key() {
    for victim in [1, 2] {
        let mut run = Setup::new(zoo::mlp(TWO), 2).helper_dies().start();
        let (me, inputs) = (client("2"), run.next_inputs());
        let mut alice = User::connect(&mut run.cluster, run.parties, &me);
        let admission = alice.ticket(&run.net.plan, run.parties, 1, &[]);
        let (awaiting, messages) = admission.mask(&inputs).unwrap();
        for party in run.parties.all().map(Peer::Party) {
            messages.iter().for_each(|message| alice.send_to(&party, message));
        }
        for events in &run.cluster.party_events {
            while !matches!(events.recv_timeout(PATIENCE).expect("an event"), Event::Failed { .. }) {}
        }
        // What came is lost with her links.
        drop(alice);
        run.cluster.start_node(&Peer::Helper).unwrap();
        drop(forge_empty(&mut run, &me, victim, &[awaiting.collect(), awaiting.collected()]));
        let mut alice = User::connect(&mut run.cluster, run.parties, &me);
        // From the victim alone, and the same bytes as often as she asks.
        let to = party(run.parties, victim);
        let outputs = [(); 2].map(|()| {
            alice.send_to(&to, &awaiting.collect());
            alice.expect(&to, &[Kind::Output]).body().to_vec()
        });
        assert_eq!(outputs[0], outputs[1]);
        alice.send_to(&to, &awaiting.collect());
        let (collected, collect) = (awaiting.collected(), awaiting.collect());
        run.assert_right(&inputs, &alice.result(awaiting).unwrap());
        // Once she has it, it is gone.
        alice.send_to(&to, &collected);
        alice.send_to(&to, &collect);
        assert!(alice.heard(Duration::from_millis(200)).is_none(), "an output that was collected");
        // The helper's links in memory ended with it.
        run.cluster.connect_user(&client("1"), run.client.inboxes()).unwrap();
        run.recovers();
        run.finish();
    }
}

/// A check failed: nothing is released, and nothing is kept for it.
#[test]
fn outputs_of_rejected_inferences_are_not_kept() {
    let _world = World::enter(1);
    let wrong = Deviation::Sigma(vec![(0, Element::one(TWO))]);
    let mut run = Setup::new(zoo::mlp(TWO), 2).last_deviating(wrong).start();
    let inputs = run.next_inputs();
    let mut alice = User::connect(&mut run.cluster, run.parties, &client("2"));
    let admission = alice.ticket(&run.net.plan, run.parties, 1, &[]);
    let id = admission.scope().id;
    let (awaiting, messages) = admission.mask(&inputs).unwrap();
    run.switch.set(true);
    let to = party(run.parties, 1);
    for party in run.parties.all().map(Peer::Party) {
        messages.iter().for_each(|message| alice.send_to(&party, message));
    }
    alice.expect(&to, &[Kind::Output]);
    let refused = notice(&alice.expect(&Peer::Helper, &[Kind::Abort]));
    assert!(refused.is_rejection(), "{refused}");
    let failed = |event: &Event| matches!(event, Event::Failed { id: failed, .. } if *failed == id);
    let until = clock::now() + PATIENCE;
    while !failed(&clock::receive(&run.cluster.party_events[0], until).expect("an event")) {}
    // What the other party sent.
    while alice.heard(Duration::from_secs(1)).is_some() {}
    alice.send_to(&to, &awaiting.collect());
    assert!(alice.heard(Duration::from_secs(1)).is_none(), "an output that nobody accepted");
    run.finish();
}

/// Sends a party forged messages that have no body, and waits until it has dropped them.
fn forge_empty(run: &mut Run, me: &Peer, victim: usize, messages: &[ToParties]) -> User {
    let (to, this) = (party(run.parties, victim), run.parties.party(victim).unwrap());
    let other = run.parties.party(3 - victim).unwrap();
    let mut impostor = User::new();
    impostor.connect_to(&mut run.cluster, me, std::slice::from_ref(&to));
    let guessed = AuthenticationKeys::decode(run.parties, &vec![7; 32 * run.parties.count()]).unwrap();
    let mut sent = 0;
    for message in messages {
        let of_other_kind = Header { kind: Kind::ReceiverKey, ..message.header() };
        for forged in [
            message.message(other),
            ToParties::new(message.header(), Vec::new(), &guessed).message(this),
            Message { header: message.header(), body: Vec::new() },
            Message {
                header: message.header(),
                body: ToParties::new(of_other_kind, Vec::new(), &guessed).message(this).body.clone(),
            },
        ] {
            impostor.send(&to, &forged);
            sent += 1;
        }
    }
    let events = &run.cluster.party_events[victim - 1];
    while sent > 0 {
        let event = events.recv_timeout(PATIENCE).expect("a party that drops what is forged");
        sent -= usize::from(matches!(event, Event::Unauthenticated { .. }));
    }
    assert!(impostor.heard(Duration::from_millis(50)).is_none(), "an output for an impostor");
    impostor
}

/// The library's client, whose link to one party broke before it said anything there, says the same
/// over the next link.
#[test]
fn a_client_says_the_same_again_over_a_new_link() {
    for number in [1, 2] {
        let mut run = Setup::new(zoo::mlp(TWO), 2).start();
        let me = client("1");
        let to = party(run.parties, number);
        let inputs = run.next_inputs();
        let admission = run.client.request(1, &[]).unwrap();
        // Somebody takes the place of its link.
        let mut impostor = User::new();
        impostor.connect_to(&mut run.cluster, &me, std::slice::from_ref(&to));
        let (client, cluster) = (&mut run.client, &mut run.cluster);
        let inboxes = client.inboxes().clone();
        let result = std::thread::scope(|scope| {
            let result = scope.spawn(|| client.infer(admission, &inputs));
            std::thread::sleep(Duration::from_millis(200));
            cluster.connect_user_to(&me, &inboxes, std::slice::from_ref(&to)).unwrap();
            result.join().unwrap()
        });
        run.assert_right(&inputs, &result.unwrap().logits);
        run.recovers();
        run.finish();
    }
}
