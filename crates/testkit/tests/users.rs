//! Malicious clients (`docs/protocol.md`, sections 6.1, 6.8 and 7): different inputs, second
//! inputs, other clients' ids.

use amicus_client::fingerprint::Fingerprints;
use amicus_client::inference::{Awaiting, PendingRequest};
use amicus_client::load;
use amicus_client::{Message, ToParties};
use amicus_field::{Limbs, OperatingSystem};
use amicus_net::clock::world::World;
use amicus_node::Peer;
use amicus_node::inbox::Received;
use amicus_protocol::control::{self, TicketGrant};
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{InferenceId, Scope};
use amicus_testkit::PATIENCE;
use amicus_testkit::deviation::Deviation;
use amicus_testkit::run::{Run, Setup, assert_says};
use amicus_testkit::user::{User, changed, notice};
use amicus_testkit::zoo;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TWO: Limbs = Limbs::TWO;

fn client(name: &str) -> Peer {
    Peer::Client(name.into())
}

fn user(run: &mut Run, name: &str) -> User {
    User::connect(&mut run.cluster, run.parties, &client(name))
}

fn peers(run: &Run) -> Vec<Peer> {
    run.parties.all().map(Peer::Party).collect()
}

fn flipped(awaiting: &Awaiting, message: &ToParties) -> ToParties {
    changed(message, awaiting.authentication(), |message| message.body[0] ^= 1)
}

#[test]
fn different_inputs_to_different_parties() {
    for n in [2, 3] {
        let mut run = Setup::new(zoo::mlp(TWO), n).start();
        let mut mallory = user(&mut run, "2");
        let admission = mallory.ticket(&run.net.plan, run.parties, 1, &[]);
        let id = admission.scope().id;
        let (awaiting, [input, key]) = admission.mask(&run.next_inputs()).unwrap();
        for (number, party) in peers(&run).iter().enumerate() {
            let input = if number == 1 { flipped(&awaiting, &input) } else { input.clone() };
            mallory.send_to(party, &input);
            mallory.send_to(party, &key);
        }
        let error = mallory.result(awaiting).unwrap_err();
        assert!(error.is_rejection() && error.to_string().contains("check"), "{error}");
        run.ending(id, Err(error)).rejected();
        run.recovers();
        run.finish();
    }
}

/// Who sends another input, or key, under an id that it used shows the difference: the id is burned.
/// Whether the first one was used by then does not matter.
#[test]
fn a_second_input_or_key_under_one_id() {
    let _world = World::enter(1);
    let mut run = Setup::new(zoo::mlp(TWO), 2).start();
    let mut mallory = user(&mut run, "2");
    for (number, what) in ["masked input", "receiver key"].into_iter().enumerate() {
        let admission = mallory.ticket(&run.net.plan, run.parties, 1, &[]);
        let id = admission.scope().id;
        let (awaiting, messages) = admission.mask(&run.next_inputs()).unwrap();
        // Without the other message nothing can go on, so the second one certainly comes before the end.
        let first = &messages[number];
        let second = flipped(&awaiting, first);
        for party in peers(&run) {
            mallory.send_to(&party, first);
            mallory.send_to(&party, &second);
        }
        let error = mallory.result(awaiting).unwrap_err();
        run.ending(id, Err(error)).given_up(&["input", "client 2", &format!("second {what}")]);
        run.recovers();
    }
    // After the end it changes nothing.
    let admission = mallory.ticket(&run.net.plan, run.parties, 1, &[]);
    let inputs = run.next_inputs();
    let (awaiting, messages) = admission.mask(&inputs).unwrap();
    let other = flipped(&awaiting, &messages[0]);
    peers(&run).iter().for_each(|party| messages.iter().for_each(|m| mallory.send_to(party, m)));
    run.assert_right(&inputs, &mallory.result(awaiting).unwrap());
    peers(&run).iter().for_each(|party| mallory.send_to(party, &other));
    run.recovers();
    run.finish();
}

/// A client whose link broke does not know what arrived, and says the same again.
#[test]
fn the_same_input_and_key_again_change_nothing() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).start();
    let mut alice = user(&mut run, "2");
    for times in [2, 5] {
        let admission = alice.ticket(&run.net.plan, run.parties, 1, &[]);
        let id = admission.scope().id;
        let inputs = run.next_inputs();
        let (awaiting, messages) = admission.mask(&inputs).unwrap();
        for party in peers(&run) {
            // The last key makes the inference go on: all that is repeated comes before.
            let [input, key] = &messages;
            (0..times).for_each(|_| alice.send_to(&party, input));
            (0..times).for_each(|_| alice.send_to(&party, key));
            alice.send_to(&party, input);
        }
        let logits = alice.result(awaiting).unwrap();
        run.assert_right(&inputs, &logits);
        run.ending(id, Ok(logits)).accepted();
    }
    run.recovers();
    run.finish();
}

type Edit = fn(&mut Message);

/// Sends inputs changed by `edit`; every role gives the inference up for that reason, and the next
/// one works.
fn changed_inputs(run: &mut Run, edits: &[(Edit, &str)]) {
    let mut mallory = user(run, "2");
    for (edit, fault) in edits {
        let admission = mallory.ticket(&run.net.plan, run.parties, 1, &[]);
        let id = admission.scope().id;
        let (awaiting, [input, key]) = admission.mask(&run.next_inputs()).unwrap();
        let input = changed(&input, awaiting.authentication(), edit);
        for party in peers(run) {
            mallory.send_to(&party, &key);
            mallory.send_to(&party, &input);
        }
        let error = mallory.result(awaiting).unwrap_err();
        run.ending(id, Err(error)).given_up(&["input", "client 2", fault]);
        run.recovers();
    }
}

#[test]
fn missing_inputs() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).impatient().start();
    changed_inputs(
        &mut run,
        &[
            (|m| m.header.kind = Kind::Nonce, "nothing received for"),
            (|m| m.header.id = InferenceId(m.header.id.0 + 1), "nothing received for"),
        ],
    );
    run.finish();
}

#[test]
fn malformed_inputs() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).start();
    changed_inputs(
        &mut run,
        &[
            (|m| m.body.truncate(m.body.len().saturating_sub(1)), "bytes, expected"),
            (|m| m.body.extend([0; 13]), "bytes, expected"),
            (|m| m.body[..7].fill(0xff), "is not below the prime"),
        ],
    );
    run.finish();
}

/// The helper's notice that an inference was given up; while it does not come, does something
/// again.
fn given_up(mallory: &mut User, mut again: impl FnMut(&mut User)) -> Received {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        again(mallory);
        match mallory.heard(Duration::from_millis(200)) {
            Some(m) if m.peer == Peer::Helper && m.header.kind == Kind::Abort => return m,
            _ => {}
        }
    }
    panic!("the inference is not given up");
}

/// Anybody who is called like the client could send them: they are nobody's.
#[test]
fn bytes_that_are_no_message_change_nothing() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).start();
    let mut alice = user(&mut run, "2");
    let admission = alice.ticket(&run.net.plan, run.parties, 1, &[]);
    let inputs = run.next_inputs();
    let (awaiting, messages) = admission.mask(&inputs).unwrap();
    for party in peers(&run) {
        for message in &messages {
            for garbage in [&[1, 2, 3][..], &[], &[0xff; 200]] {
                alice.send_raw(&party, garbage);
            }
            alice.send_to(&party, message);
        }
    }
    run.assert_right(&inputs, &alice.result(awaiting).unwrap());
    run.recovers();
    run.finish();
}

#[test]
fn a_client_that_leaves() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).impatient().start();
    let mut leaves = || {
        let mut mallory = user(&mut run, "2");
        let id = mallory.ticket(&run.net.plan, run.parties, 1, &[]).scope().id;
        peers(&run).iter().for_each(|party| mallory.close(party));
        let abort = given_up(&mut mallory, |_| ());
        let ending = run.ending(id, Err(notice(&abort))).given_up(&["input", "client 2"]);
        run.recovers();
        ending.client.unwrap_err().to_string().contains("link lost")
    };
    // A party that sees the link end before it hears of the inference waits for the input: so
    // again.
    assert!((0..10).any(|_| leaves()), "no party notices that its client left");
    run.finish();
}

#[test]
fn an_input_or_key_under_somebody_elses_id() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).start();
    let (mut alice, mut mallory) = (user(&mut run, "2"), user(&mut run, "3"));
    for mallory_is_first in [true, false] {
        let admission = alice.ticket(&run.net.plan, run.parties, 1, &[]);
        let id = admission.scope().id;
        let inputs = run.next_inputs();
        let (awaiting, messages) = admission.mask(&inputs).unwrap();
        let forged = messages.each_ref().map(|message| flipped(&awaiting, message));
        let senders: [(&mut User, &[ToParties; 2]); 2] = [(&mut mallory, &forged), (&mut alice, &messages)];
        let order: Vec<_> = if mallory_is_first {
            senders.into_iter().collect()
        } else {
            senders.into_iter().rev().collect()
        };
        for (sender, messages) in order {
            for party in peers(&run) {
                messages.iter().for_each(|m| sender.send_to(&party, m));
            }
        }
        let logits = alice.result(awaiting).unwrap();
        run.assert_right(&inputs, &logits);
        run.ending(id, Ok(logits)).accepted();
    }
    assert!(mallory.heard(Duration::from_millis(200)).is_none(), "a stranger hears of an inference");
    run.recovers();
    run.finish();
}

#[test]
fn a_strangers_input_does_not_stand_for_the_clients() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).impatient().start();
    let (mut alice, mut mallory) = (user(&mut run, "2"), user(&mut run, "3"));
    let admission = alice.ticket(&run.net.plan, run.parties, 1, &[]);
    let id = admission.scope().id;
    let (awaiting, [input, key]) = admission.mask(&run.next_inputs()).unwrap();
    // All that is needed is there, but not from her.
    for party in peers(&run) {
        alice.send_to(&party, &key);
        mallory.send_to(&party, &input);
    }
    let error = alice.result(awaiting).unwrap_err();
    run.ending(id, Err(error)).given_up(&["input", "client 2", "nothing received for"]);
    run.recovers();
    run.finish();
}

#[test]
fn seeds_of_a_mask_go_to_the_bound_client_only() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).lanes(1).start();
    let (mut alice, mut mallory) = (user(&mut run, "2"), user(&mut run, "3"));
    let plan = Arc::clone(&run.net.plan);
    let (pending, request) = PendingRequest::new(Arc::clone(&plan), run.parties, 1, Vec::new()).unwrap();
    alice.send(&Peer::Helper, &request);
    let ticket = alice.expect(&Peer::Helper, &[Kind::Ticket]);
    let grant = |body: &[u8]| -> TicketGrant { control::decode(body).unwrap() };
    let of_alice = grant(ticket.body());
    assert_eq!((of_alice.binding.client.as_str(), of_alice.seeds.len()), ("client 2", 64));

    // Mallory asks in every way there is for what is Alice's: with her id, as a receiver, as an
    // acknowledgement.
    let (_, forged) = PendingRequest::new(Arc::clone(&plan), run.parties, 1, Vec::new()).unwrap();
    let with_her_id = Header::new(Kind::Request, ticket.header.scope(), 0);
    mallory.send(&Peer::Helper, &Message { header: with_her_id, body: forged.body.clone() });
    for kind in
        [Kind::Ticket, Kind::Bind, Kind::Invite, Kind::Release, Kind::ReleaseAck, Kind::Deal, Kind::Check]
    {
        let header = Header { kind, ..with_her_id };
        mallory.send(&Peer::Helper, &Message { header, body: Vec::new() });
        peers(&run).iter().for_each(|p| mallory.send(p, &Message { header, body: Vec::new() }));
    }
    assert!(mallory.heard(Duration::from_millis(200)).is_none(), "something of Alice's inference");

    // Alice's inference goes on undisturbed; then Mallory gets a ticket of her own.
    let inputs = run.next_inputs();
    let admission = pending.granted(&ticket.header, ticket.body(), &mut OperatingSystem).unwrap();
    let (awaiting, messages) = admission.mask(&inputs).unwrap();
    peers(&run).iter().for_each(|party| messages.iter().for_each(|m| alice.send_to(party, m)));
    run.assert_right(&inputs, &alice.result(awaiting).unwrap());
    let ticket = mallory.expect(&Peer::Helper, &[Kind::Ticket]);
    let of_mallory = grant(ticket.body());
    assert_eq!(of_mallory.binding.client, "client 3");
    assert!(ticket.header.id > with_her_id.id);
    let secrets = |grant: &TicketGrant| [&grant.seeds[..], &grant.keys].concat();
    for (a, b) in secrets(&of_alice).chunks(32).zip(secrets(&of_mallory).chunks(32)) {
        assert_ne!(a, b);
    }
    assert!(mallory.heard(Duration::from_millis(200)).is_none(), "more than her own ticket");
}

#[test]
fn all_receivers_get_the_output_or_nobody_does() {
    let net = zoo::mlp(TWO);
    let deviation = Deviation::shift(net.op("linear 1"), 0, amicus_field::Element::one(TWO));
    let mut run = Setup::new(net, 2).last_deviating(deviation).start();
    let mut bob = run.cluster.client("3").unwrap();
    let also = [client("3")];
    for honest in [true, false, true] {
        run.switch.set(!honest);
        let inputs = run.next_inputs();
        let client = &mut run.client;
        let (alice, bob) = std::thread::scope(|scope| {
            let bob = scope.spawn(|| bob.receive_invited());
            let admission = client.request(1, &also).unwrap();
            (client.infer(admission, &inputs), bob.join().unwrap())
        });
        if honest {
            run.assert_right(&inputs, &alice.unwrap().logits);
            run.assert_right(&inputs, &bob.unwrap().1.logits);
        } else {
            assert!(alice.unwrap_err().is_rejection() && bob.unwrap_err().is_rejection());
        }
    }
    run.finish();
}

#[test]
fn a_receiver_with_different_keys_for_different_parties_stops_the_release_for_all() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).start();
    let mut mallory = user(&mut run, "2");
    let inputs = run.next_inputs();
    let admission = mallory.ticket(&run.net.plan, run.parties, 1, &[]);
    let (awaiting, [input, key]) = admission.mask(&inputs).unwrap();
    for (number, party) in peers(&run).iter().enumerate() {
        mallory.send_to(party, &input);
        mallory.send_to(party, &if number == 0 { key.clone() } else { flipped(&awaiting, &key) });
    }
    assert!(mallory.result(awaiting).unwrap_err().is_rejection());
    run.recovers();
    run.finish();
}

#[test]
fn requests_that_cannot_be() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).start();
    for (batch, also, words) in [
        (0, vec![], "not allowed: a batch of 0"),
        (65, vec![], "not allowed: a batch of 65; 1 to 64"),
        (1, vec![Peer::Helper], "not allowed: these receivers"),
        (1, vec![run.parties.all().map(Peer::Party).next().unwrap()], "not allowed: these receivers"),
    ] {
        let error = run.client.request(batch, &also).unwrap_err();
        assert_says("client", &error, &["input", "client 1", words]);
    }
    let mut mallory = user(&mut run, "2");
    let header = Header::new(Kind::Request, Scope::NONE, 0);
    mallory.send(&Peer::Helper, &Message { header, body: vec![0xff; 40] });
    let abort = mallory.expect(&Peer::Helper, &[Kind::Abort]);
    assert_says("client", &notice(&abort), &["input", "client 2", "control message"]);
    run.recovers();
    run.finish();
}

#[test]
fn requests_and_questions_about_another_plan_are_refused() {
    let _world = World::enter(1);
    let mut run = Setup::new(zoo::mlp(TWO), 2).start();
    let other = zoo::repeated(TWO).plan;
    let mut alice = user(&mut run, "2");
    let (_, request) = PendingRequest::new(Arc::clone(&other), run.parties, 1, Vec::new()).unwrap();
    alice.send(&Peer::Helper, &request);
    let refused = notice(&alice.expect(&Peer::Helper, &[Kind::Abort, Kind::Ticket]));
    assert_says("client", &refused, &["input", "client 2", "is not served here", &run.net.plan.name]);
    for peer in peers(&run) {
        alice.send(&peer, &Fingerprints::question(&other.digest().unwrap()));
        let refused = notice(&alice.expect(&peer, &[Kind::Abort, Kind::Fingerprint]));
        assert_says(
            "client",
            &refused,
            &["fingerprint", "client 2", "is not served here", &run.net.plan.name],
        );
    }
    run.recovers();
    run.finish();
}

#[test]
fn a_flood_of_early_messages_harms_nobody_else() {
    // Once, one client could use up the room for early messages of all.
    let mut run = Setup::new(zoo::mlp(TWO), 2).start();
    run.infer().unwrap();
    let mut mallory = user(&mut run, "2");
    let far = Header::new(Kind::Input, Scope { id: InferenceId(u64::MAX), ..run.last }, 0);
    for _ in 0..2000 {
        let message = Message { header: far, body: vec![1; 50] };
        peers(&run).iter().chain([&Peer::Helper]).for_each(|p| mallory.send(p, &message));
    }
    for _ in 0..10 {
        run.recovers();
    }
    run.finish();
}

#[test]
fn garbage_of_users_stops_neither_inferences_nor_loads_of_others() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).start();
    let (mut mallory, mut owner) =
        (user(&mut run, "2"), User::connect(&mut run.cluster, run.parties, &Peer::Owner));
    for round in 0..30 {
        for to in peers(&run).iter().chain([&Peer::Helper]) {
            mallory.send_raw(to, &[0xff; 40]);
            // While an inference runs; as the load's owner it is the real one that speaks.
            if round < 20 {
                owner.send_raw(to, &[7; 12]);
            }
        }
        if round == 20 {
            run.owner = run.cluster.owner().unwrap();
        }
        if round >= 20 {
            run.load().unwrap();
        }
        run.infer().unwrap();
    }
    run.finish();
}

#[test]
fn inferences_of_different_sizes_follow_each_other() {
    // Material of one size is dealt ahead, that of others when it is asked for; ids must only grow.
    let mut run = Setup::new(zoo::mlp(TWO), 2).impatient().start();
    for batch in [1, 3, 1, 2, 2, 1, 1, 3, 1] {
        run.batch = batch;
        run.infer().unwrap();
    }
    run.finish();
}

#[test]
fn who_asks_and_does_not_read_is_cut_off_and_others_are_served() {
    for tls in [false, true] {
        let setup = Setup::new(zoo::mlp(TWO), 2);
        let mut run = if tls { setup.tls() } else { setup }.start();
        let mut mallory = user(&mut run, "2");
        let question = Fingerprints::question(&run.net.plan.digest().unwrap());
        let one = Peer::Party(run.parties.party(1).unwrap());
        // Answers of some 70 bytes; kernels buffer megabytes of a TLS link, so it takes a while
        // until any waits. The pauses bound what waits here for a party that has no time.
        let deadline = Instant::now() + PATIENCE;
        while (0..10_000).all(|_| mallory.try_send(&one, &question).is_ok()) {
            assert!(Instant::now() < deadline, "answers wait for somebody who does not read");
            mallory.try_flush();
            std::thread::sleep(Duration::from_millis(20));
        }
        run.recovers();
        run.client.fingerprint().unwrap();
        run.finish();
    }
}

/// Once, only a client that left during its inference was noticed: for one that had left before,
/// parties waited until the deadline.
#[test]
fn a_client_that_left_before_its_inference_was_bound_is_not_waited_for() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).start();
    let mut mallory = user(&mut run, "2");
    for party in peers(&run) {
        mallory.close(&party);
        // Others' work goes on, and afterwards the parties have seen the links end.
        run.recovers();
        let (_, request) =
            PendingRequest::new(Arc::clone(&run.net.plan), run.parties, 1, Vec::new()).unwrap();
        mallory.send(&Peer::Helper, &request);
        let abort = mallory.expect(&Peer::Helper, &[Kind::Abort]);
        assert_says("client", &notice(&abort), &["client 2", "link lost"]);
        run.recovers();
    }
    run.finish();
}

/// Once, parties kept questions until the end of a load or of somebody else's inference.
#[test]
fn fingerprints_are_told_during_inferences_and_loads() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).start_unloaded();
    let error = run.client.fingerprint().unwrap_err();
    assert_says("client", &error, &["party 1", "fingerprint", "no model is loaded"]);
    run.load().unwrap();
    let mut alice = user(&mut run, "2");
    let admission = alice.ticket(&run.net.plan, run.parties, 1, &[]);
    let told = run.client.fingerprint().unwrap();
    let inputs = run.next_inputs();
    let (awaiting, messages) = admission.mask(&inputs).unwrap();
    peers(&run).iter().for_each(|party| messages.iter().for_each(|m| alice.send_to(party, m)));
    run.assert_right(&inputs, &alice.result(awaiting).unwrap());

    let mut owner = User::connect(&mut run.cluster, run.parties, &Peer::Owner);
    owner.send(&Peer::Helper, &load::request(&run.net.plan).unwrap());
    peers(&run).iter().for_each(|party| drop(owner.expect(party, &[Kind::LoadReady])));
    // Until the new one is accepted, the old one is used.
    assert_eq!(run.client.fingerprint().unwrap(), told);
    run.owner = run.cluster.owner().unwrap();
    run.load().unwrap();
    assert_ne!(run.client.fingerprint().unwrap(), told);
}
