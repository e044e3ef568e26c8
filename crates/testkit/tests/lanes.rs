//! Many inferences in flight at a time: answers are right, each has its own deadline, and what
//! happens in one is none of the others' affair.

use amicus_client::ToParties;
use amicus_client::inference::PendingRequest;
use amicus_field::Limbs;
use amicus_net::clock;
use amicus_net::clock::world::World;
use amicus_net::shaper::Shape;
use amicus_node::client::ClientNode;
use amicus_node::conduct::{Conduct, Outgoing};
use amicus_node::event::Event;
use amicus_node::limits::MAX_LANES;
use amicus_node::{NodeError, Peer};
use amicus_protocol::epoch::HelperEpoch;
use amicus_protocol::preprocess::Dealt;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{InferenceId, Parties, ProtocolError};
use amicus_testkit::PATIENCE;
use amicus_testkit::fake_helper::{FakeHelper, MAX_INPUTS};
use amicus_testkit::nets::Net;
use amicus_testkit::run::{Run, Setup, assert_says};
use amicus_testkit::user::{User, notice};
use amicus_testkit::wan::Wan;
use amicus_testkit::zoo;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

const TWO: Limbs = Limbs::TWO;
/// Clients at a time.
const MANY: usize = 16;
/// Longer than an inference takes in memory, shorter than any deadline.
const SOON: Duration = Duration::from_secs(1);

/// A client's inference, held against the simulator.
fn infer(net: &Net, client: &mut ClientNode, batch: u32, salt: u64) -> Result<(), NodeError> {
    let inputs = net.inputs(batch as usize, salt);
    let admission = client.request(batch, &[])?;
    let result = client.infer(admission, &inputs)?;
    let error = net.error_of(&inputs, &result.logits);
    assert!(error < 0.05, "{error} from the simulator");
    Ok(())
}

/// Clients beside that of the run.
fn clients(run: &mut Run, count: usize) -> Vec<ClientNode> {
    (2..count + 2).map(|number| run.cluster.client(&number.to_string()).unwrap()).collect()
}

/// Every client asks for inferences of these batch sizes, all clients at once; how each ended.
fn all_at_once(net: &Net, clients: &mut [ClientNode], batches: &[u32]) -> Vec<Result<(), NodeError>> {
    std::thread::scope(|scope| {
        let one = |(number, client): (usize, &mut ClientNode)| {
            let number = number as u64;
            let of = move |(n, &batch)| infer(net, client, batch, 100 * number + n);
            (0..).zip(batches).map(of).collect::<Vec<_>>()
        };
        let threads: Vec<_> =
            clients.iter_mut().enumerate().map(|client| scope.spawn(move || one(client))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn user(run: &mut Run, name: &str) -> User {
    User::connect(&mut run.cluster, run.parties, &Peer::Client(name.into()))
}

fn peers(run: &Run) -> Vec<Peer> {
    run.parties.all().map(Peer::Party).collect()
}

#[test]
fn sixteen_clients_at_once_get_the_simulators_answers() {
    for setup in [Setup::new(zoo::conv_net(TWO), 2), Setup::new(zoo::mlp(TWO), 3).tls()] {
        let mut run = setup.keeping(2 * MANY).start();
        let mut clients = clients(&mut run, MANY);
        for ended in all_at_once(&run.net, &mut clients, &[1, 1, 1, 1]) {
            ended.unwrap();
        }
        run.finish();
    }
}

#[test]
fn two_batch_sizes_at_once() {
    // Some are kept of one size, none of the other.
    let mut run = Setup::new(zoo::mlp(TWO), 2).keeping(4).start();
    let mut clients = clients(&mut run, 8);
    for ended in all_at_once(&run.net, &mut clients, &[1, 3, 3, 1, 3]) {
        ended.unwrap();
    }
    run.finish();
}

/// Inferences a second of so many clients over a WAN, once material is ready.
fn rate(clients: usize) -> f64 {
    const EACH: usize = 3;
    let mut wan = Wan::start(zoo::mlp(TWO), Shape::wan(), clients, MANY, 1 + EACH * MANY);
    let started = clock::now();
    let (sender, ended) = channel();
    let mut threads = Vec::new();
    for (number, mut client) in std::mem::take(&mut wan.clients).into_iter().enumerate() {
        let (net, sender) = (zoo::mlp(TWO), sender.clone());
        let work = move || {
            for n in 0..EACH {
                sender.send(infer(&net, &mut client, 1, (100 * number + n) as u64)).unwrap();
            }
        };
        threads.push(clock::spawn("client", work).unwrap());
    }
    for _ in 0..clients * EACH {
        clock::receive(&ended, clock::now() + Duration::from_secs(600)).unwrap().unwrap();
    }
    let elapsed = clock::since(started);
    threads.into_iter().for_each(clock::join);
    wan.stop();
    (clients * EACH) as f64 / elapsed.as_secs_f64()
}

#[test]
fn over_a_wan_sixteen_clients_are_served_eight_times_as_fast_as_one() {
    let world = World::enter(7);
    let [one, many] = [1, MANY].map(rate);
    assert!(one > 1.0, "{one} a second: time does not pass");
    assert!(many >= 8.0 * one, "{many} a second of many clients, {one} of one");
    assert!(world.panics().is_empty(), "{:?}", world.panics());
}

/// A user whose inference is in flight: it has a ticket and has sent nothing.
fn in_flight(run: &mut Run, name: &str) -> (User, InferenceId) {
    let mut user = user(run, name);
    let id = user.ticket(&run.net.plan, run.parties, 1, &[]).scope().id;
    (user, id)
}

#[test]
fn a_client_that_sends_nothing_holds_one_inference_until_its_deadline() {
    let _world = World::enter(8);
    let mut run = Setup::new(zoo::mlp(TWO), 2).lanes(2).start();
    let (mut mallory, id) = in_flight(&mut run, "mallory");
    // What she asks for beside it waits.
    let again = PendingRequest::new(run.net.plan.clone(), run.parties, 1, Vec::new()).unwrap().1;
    mallory.send(&Peer::Helper, &again);
    let started = clock::now();
    for _ in 0..10 {
        run.infer().unwrap();
    }
    assert!(clock::since(started) < SOON, "others wait for a client that sends nothing");
    assert!(mallory.heard(Duration::ZERO).is_none(), "a second inference of one client");
    let abort = mallory.expect(&Peer::Helper, &[Kind::Abort]);
    assert_eq!(abort.header.id, id);
    assert_says("client", &notice(&abort), &["input", "client mallory", "nothing received for"]);
    // Its end lets the second one begin.
    mallory.expect(&Peer::Helper, &[Kind::Ticket]);
    run.infer().unwrap();
    run.cluster.stop();
}

#[test]
fn no_more_are_in_flight_than_there_are_lanes() {
    let _world = World::enter(9);
    let mut run = Setup::new(zoo::mlp(TWO), 2).lanes(2).keeping(4).start();
    let (_first, _) = in_flight(&mut run, "first");
    let (_second, id) = in_flight(&mut run, "second");
    let mut third = user(&mut run, "third");
    let request = PendingRequest::new(run.net.plan.clone(), run.parties, 1, Vec::new()).unwrap().1;
    third.send(&Peer::Helper, &request);
    assert!(third.heard(SOON).is_none(), "a third of two");
    // Until the deadline of one of them.
    assert!(third.expect(&Peer::Helper, &[Kind::Ticket]).header.id > id);
    run.cluster.stop();
}

/// Bytes that are no message are nobody's: whoever is called like a client could have sent them.
#[test]
fn garbage_in_the_name_of_a_client_ends_no_inference() {
    let _world = World::enter(10);
    let mut run = Setup::new(zoo::mlp(TWO), 2).start();
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| user(&mut run, name));
    let tickets = [&mut alice, &mut bob].map(|user| user.ticket(&run.net.plan, run.parties, 1, &[]));
    clock::sleep(SOON);
    peers(&run).iter().for_each(|party| bob.send_raw(party, &[1, 2, 3]));
    clock::sleep(SOON);
    for (mut user, admission) in [alice, bob].into_iter().zip(tickets) {
        let inputs = run.next_inputs();
        let (awaiting, messages) = admission.mask(&inputs).unwrap();
        peers(&run).iter().for_each(|party| messages.iter().for_each(|m| user.send_to(party, m)));
        run.assert_right(&inputs, &user.result(awaiting).unwrap());
    }
    run.cluster.stop();
}

/// A party that changes what it sends in one inference: the first whose opening of an operation it
/// sends once it has seen some others.
struct InOne {
    kind: Kind,
    index: u32,
    skip: usize,
    seen: Vec<InferenceId>,
    change: fn(Header, Vec<u8>) -> Vec<Outgoing>,
}

impl InOne {
    fn conduct(kind: Kind, index: u32, change: fn(Header, Vec<u8>) -> Vec<Outgoing>) -> Box<dyn Conduct> {
        Box::new(InOne { kind, index, skip: 4, seen: Vec::new(), change })
    }
}

impl Conduct for InOne {
    fn send(&mut self, _to: &Peer, header: Header, body: &[u8]) -> Vec<Outgoing> {
        if (header.kind, header.index) == (self.kind, self.index) && !self.seen.contains(&header.id) {
            self.seen.push(header.id);
            if self.seen.len() == self.skip + 1 {
                return (self.change)(header, body.to_vec());
            }
        }
        vec![Outgoing::Message(header, body.to_vec())]
    }
}

/// Many clients at once, and a party that deviates in one inference: how that one ended. All others
/// end well, and so does the next.
fn one_of_many(conduct: Box<dyn Conduct>) -> NodeError {
    let mut run = Setup::new(zoo::mlp(TWO), 2).keeping(2 * MANY).conduct(2, conduct).start();
    let mut clients = clients(&mut run, MANY);
    let ended = all_at_once(&run.net, &mut clients, &[1, 1]);
    let mut errors: Vec<NodeError> = ended.into_iter().filter_map(Result::err).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    run.recovers();
    run.finish();
    errors.remove(0)
}

#[test]
fn a_party_that_cheats_in_one_of_many_is_caught_in_that_one() {
    let wrong = |header, mut body: Vec<u8>| {
        body[0] ^= 1;
        vec![Outgoing::Message(header, body)]
    };
    let net = zoo::mlp(TWO);
    let error = one_of_many(InOne::conduct(Kind::Opening, net.op("linear 1"), wrong));
    assert!(error.is_rejection(), "{error}");
}

#[test]
fn a_malformed_message_ends_the_inference_that_it_names() {
    let short = |header, body: Vec<u8>| vec![Outgoing::Message(header, body[1..].to_vec())];
    let unexpected =
        |header: Header, body| vec![Outgoing::Message(Header { kind: Kind::Tags, ..header }, body)];
    let twice = |header, body: Vec<u8>| {
        vec![Outgoing::Message(header, body.clone()), Outgoing::Message(header, body)]
    };
    for (kind, change, words) in [
        (Kind::Opening, short as fn(_, _) -> _, "bytes, expected"),
        (Kind::Opening, unexpected, "unexpected Tags"),
        (Kind::Opening, twice, "second share"),
        (Kind::Check, short, "bytes, expected"),
        (Kind::Check, unexpected, "unexpected Tags"),
    ] {
        let error = one_of_many(InOne::conduct(kind, 0, change));
        assert_says("client", &error, &["party 2", words]);
    }
}

/// A share under the id of another inference in flight stands for nothing there.
#[test]
fn a_share_of_another_inference_is_not_taken() {
    let elsewhere = |header: Header, body: Vec<u8>| {
        let other = Header { id: InferenceId(header.id.0 - 1), ..header };
        vec![Outgoing::Message(other, body.clone()), Outgoing::Message(header, body)]
    };
    let conduct = InOne::conduct(Kind::Opening, 1, elsewhere);
    let mut run = Setup::new(zoo::mlp(TWO), 2).keeping(2 * MANY).conduct(2, conduct).start();
    let mut clients = clients(&mut run, MANY);
    let ended = all_at_once(&run.net, &mut clients, &[1, 1]);
    // Whatever the order: no answer is wrong, and some inference has ended for that, perhaps after
    // its check.
    for error in ended.into_iter().filter_map(Result::err) {
        let text = error.to_string();
        assert!(error.is_rejection() || text.contains("party 2"), "{text}");
    }
    let failed = |event: &Event| matches!(event, Event::Failed { .. });
    assert!(run.cluster.party_events[0].try_iter().any(|event| failed(&event)), "it was taken for another");
    run.recovers();
    run.finish();
}

#[test]
fn a_link_that_ends_ends_what_is_in_flight_for_everybody() {
    let close = |header, body| vec![Outgoing::Message(header, body), Outgoing::Close];
    let conduct = InOne::conduct(Kind::Opening, 1, close);
    let mut run = Setup::new(zoo::mlp(TWO), 2).keeping(2 * MANY).tls().conduct(2, conduct).start();
    let mut clients = clients(&mut run, MANY);
    // Right answers are held against the simulator.
    let ended = all_at_once(&run.net, &mut clients, &[1, 1]);
    let errors: Vec<NodeError> = ended.into_iter().filter_map(Result::err).collect();
    assert!(!errors.is_empty(), "nothing was in flight");
    for error in errors {
        assert!(!matches!(error, NodeError::Stopped) && !error.is_rejection(), "{error}");
        let silent = matches!(&error, NodeError::Protocol(ProtocolError::Peer { step, .. })
            if step.to_string().contains("output"));
        assert!(!silent, "a client heard nothing: {error}");
    }
    run.recovers();
    run.finish();
}

/// A receiver hears of the end of an inference as its client does.
#[test]
fn receivers_of_many_inferences_get_all_of_them() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).keeping(8).start();
    let mut bob = run.cluster.client("20").unwrap();
    let mut clients = clients(&mut run, 4);
    let net = zoo::mlp(TWO);
    std::thread::scope(|scope| {
        let bob = scope.spawn(|| (0..8).map(|_| bob.receive_invited().unwrap().0).collect::<Vec<_>>());
        for (number, client) in clients.iter_mut().enumerate() {
            let net = &net;
            scope.spawn(move || {
                for n in 0..2 {
                    let inputs = net.inputs(1, (10 * number + n) as u64);
                    let admission = client.request(1, &[Peer::Client("20".into())]).unwrap();
                    let logits = client.infer(admission, &inputs).unwrap().logits;
                    assert!(net.error_of(&inputs, &logits) < 0.05);
                }
            });
        }
        let mut ids = bob.join().unwrap();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 8, "an inference twice");
    });
    run.finish();
}

#[test]
fn a_retirement_ends_everything_in_flight() {
    let _world = World::enter(11);
    let wrong = |header, mut body: Vec<u8>| {
        body[0] ^= 1;
        vec![Outgoing::Message(header, body)]
    };
    let conduct = InOne { kind: Kind::Check, index: 0, skip: 0, seen: Vec::new(), change: wrong };
    let mut run = Setup::new(zoo::mlp(TWO), 2).failure_limit(1).conduct(2, Box::new(conduct)).start();
    let (mut alice, id) = in_flight(&mut run, "alice");
    assert!(run.infer().unwrap_err().is_rejection());
    let abort = alice.expect(&Peer::Helper, &[Kind::Abort]);
    assert_eq!(abort.header.id, id);
    assert_says("client", &notice(&abort), &["the epoch is retired after 1 failed checks"]);
    run.load().unwrap();
    run.recovers();
    run.cluster.stop();
}

/// What is ready is bounded and told.
#[test]
fn ready_material_is_bounded_and_reported() {
    let _world = World::enter(12);
    let kept = 8;
    let mut run = Setup::new(zoo::mlp(TWO), 2).keeping(kept).start();
    let each = run.net.plan.cost(1).unwrap().material_bytes;
    for _ in 0..20 {
        run.infer().unwrap();
    }
    clock::sleep(SOON);
    let mut most = 0;
    for event in run.cluster.helper_events.try_iter() {
        if let Event::Dealt { ready, material, .. } = event {
            assert_eq!(material, ready as u64 * each);
            most = most.max(ready);
        }
    }
    assert_eq!(most, kept);
    run.cluster.stop();
}

/// A helper that begins inferences without end holds as much of a party's memory as it may.
#[test]
fn a_party_begins_no_more_than_it_has_room_for() {
    let folder = tempfile::tempdir().unwrap();
    let net = zoo::mlp(TWO);
    let inputs = net.inputs(1, 1);
    let mut helper = FakeHelper::start(net, folder.path());
    let epoch = helper.load(1);
    let parties: Vec<Peer> = Parties::new(2).unwrap().all().map(Peer::Party).collect();
    let ids = 2..2 + MAX_LANES as u64 + 1;
    let dealt: Vec<_> = ids
        .map(|id| {
            let dealt = helper.deal(&epoch, id);
            parties.iter().for_each(|party| drop(helper.dealing.expect(party, &[Kind::Ready])));
            helper.bind_alone(&dealt);
            dealt
        })
        .collect();
    let last = dealt[MAX_LANES].scope();
    for party in &parties {
        let abort = helper.online.expect(party, &[Kind::Abort]);
        assert_eq!(abort.header.scope(), last);
        assert_says("helper", &notice(&abort), &["helper", "not allowed: more than 64 inferences"]);
    }
    // The others go on, in any order.
    for dealt in [&dealt[40], &dealt[0]] {
        helper.input(dealt, &inputs);
        for party in &parties {
            let check = helper.online.expect(party, &[Kind::Check]);
            assert_eq!(check.header.scope(), dealt.scope());
        }
    }
    helper.stop();
}

/// Parties whose machines give one inference at a time, and of two that are bound the first, whose
/// material is not dealt yet, the second, and both their names.
fn one_at_a_time(folder: &Path) -> (FakeHelper, HelperEpoch, [Dealt; 2], Vec<Peer>) {
    let mut helper = FakeHelper::giving(zoo::mlp(TWO), folder, 1);
    let epoch = helper.load(1);
    let parties: Vec<Peer> = Parties::new(2).unwrap().all().map(Peer::Party).collect();
    let first = helper.deal_alone(&epoch, 2);
    helper.bind_alone(&first);
    let second = helper.deal(&epoch, 3);
    parties.iter().for_each(|party| drop(helper.dealing.expect(party, &[Kind::Ready])));
    helper.bind_alone(&second);
    (helper, epoch, [first, second], parties)
}

/// In the order in which they were bound, which all parties know, whatever comes first.
#[test]
fn inferences_beyond_what_a_party_gives_wait_for_their_turn() {
    let folder = tempfile::tempdir().unwrap();
    let (mut helper, epoch, [_, second], parties) = one_at_a_time(folder.path());
    let inputs = helper.net.inputs(1, 1);
    helper.input(&second, &inputs);
    assert!(helper.online.heard(SOON).is_none(), "the second before the first");
    let first = helper.deal(&epoch, 2);
    parties.iter().for_each(|party| drop(helper.dealing.expect(party, &[Kind::Ready])));
    assert!(helper.online.heard(SOON).is_none(), "the second beside the first");
    helper.input(&first, &inputs);
    for dealt in [&first, &second] {
        for party in &parties {
            let check = helper.online.expect(party, &[Kind::Check]);
            assert_eq!(check.header.scope(), dealt.scope());
        }
        assert!(helper.online.heard(SOON).is_none());
        helper.outcome(dealt.scope());
    }
    helper.stop();
}

/// The other parties and the client hear why, before anybody is blamed for its silence.
#[test]
fn an_inference_whose_turn_does_not_come_at_a_party_ends_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (mut helper, epoch, [_, second], parties) = one_at_a_time(folder.path());
    let first = helper.deal(&epoch, 2);
    for party in &parties {
        let abort = helper.online.expect(party, &[Kind::Abort]);
        assert_eq!(abort.header.scope(), second.scope());
        let said = ["1 inferences are in flight, as many as this node's machine gives", "within 60000 ms"];
        assert_says("helper", &notice(&abort), &said);
    }
    // The first goes on.
    let inputs = helper.net.inputs(1, 1);
    helper.input(&first, &inputs);
    for party in &parties {
        assert_eq!(helper.online.expect(party, &[Kind::Check]).header.scope(), first.scope());
    }
    helper.stop();
}

/// Nor does one that deals without end: until an inference ends, what is beyond the bound is refused.
#[test]
fn a_party_holds_no_more_material_than_it_has_room_for() {
    let folder = tempfile::tempdir().unwrap();
    let net = zoo::mlp(TWO);
    let inputs = net.inputs(1, 1);
    let mut helper = FakeHelper::start(net, folder.path());
    let epoch = helper.load(1);
    let parties: Vec<Peer> = Parties::new(2).unwrap().all().map(Peer::Party).collect();
    let answers = |helper: &mut FakeHelper, id, kind| {
        helper.deal(&epoch, id);
        parties.iter().map(|party| helper.dealing.expect(party, &[kind])).collect::<Vec<_>>()
    };
    for id in 2..2 + MAX_INPUTS as u64 - 1 {
        answers(&mut helper, id, Kind::Ready);
    }
    // The last one is used and makes room for another.
    for id in [200, 201] {
        helper.infer(&epoch, id, &inputs);
        let finished = |event| matches!(event, Event::Finished { id: ended, .. } if ended == InferenceId(id));
        for events in &helper.events {
            while !finished(clock::receive(events, clock::now() + PATIENCE).unwrap()) {}
        }
    }
    answers(&mut helper, 202, Kind::Ready);
    let most = MAX_INPUTS as u64 * helper.net.plan.cost(1).unwrap().material_bytes;
    let refused = format!("not allowed: material of more than {most} bytes");
    for abort in answers(&mut helper, 203, Kind::Abort) {
        assert_says("helper", &notice(&abort), &["helper", &refused]);
    }
    helper.stop();
}

/// Messages for a party come in no order between inferences: what is early for one waits.
#[test]
fn an_input_that_comes_before_its_inference_waits_for_it() {
    let _world = World::enter(13);
    let mut run = Setup::new(zoo::mlp(TWO), 2).keeping(4).start();
    let mut users: Vec<(User, _)> = ["a", "b", "c"]
        .map(|name| {
            let mut user = user(&mut run, name);
            let admission = user.ticket(&run.net.plan, run.parties, 1, &[]);
            (user, admission)
        })
        .into_iter()
        .collect();
    // The last first, and keys before inputs.
    let mut waiting = Vec::new();
    while let Some((mut user, admission)) = users.pop() {
        let inputs = run.next_inputs();
        let (awaiting, messages) = admission.mask(&inputs).unwrap();
        let send = |user: &mut User, message: &ToParties| {
            run.parties.all().map(Peer::Party).for_each(|party| user.send_to(&party, message));
        };
        messages.iter().rev().for_each(|message| send(&mut user, message));
        waiting.push((user, inputs, awaiting));
    }
    for (mut user, inputs, awaiting) in waiting {
        run.assert_right(&inputs, &user.result(awaiting).unwrap());
    }
    run.cluster.stop();
}
