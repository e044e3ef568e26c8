//! Requests whose clients leave, wait or ask too much: what is dealt for them is bounded and used
//! again, and nobody is blamed for a queue. Time is virtual.

use amicus_client::Message;
use amicus_client::inference::PendingRequest;
use amicus_field::Limbs;
use amicus_net::clock::{self, world::World};
use amicus_node::event::Event;
use amicus_node::limits::largest_batch;
use amicus_node::{Limits, Peer};
use amicus_protocol::wire::Kind;
use amicus_testkit::coalition::deployment::Deployment;
use amicus_testkit::coalition::moves::{Act, Move};
use amicus_testkit::coalition::scenario::{Scenario, Stage, all_parties};
use amicus_testkit::coalition::stage;
use amicus_testkit::run::{Run, Setup, assert_says};
use amicus_testkit::user::{User, notice};
use amicus_testkit::{small, zoo};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

const TWO: Limbs = Limbs::TWO;
/// Longer than dealing takes, shorter than any deadline.
const SOON: Duration = Duration::from_secs(1);

fn request(run: &Run, batch: u32) -> Message {
    PendingRequest::new(Arc::clone(&run.net.plan), run.parties, batch, Vec::new()).unwrap().1
}

fn user(run: &mut Run, name: &str) -> User {
    User::connect(&mut run.cluster, run.parties, &Peer::Client(name.into()))
}

/// A client that asks for a batch and leaves before anything is dealt.
fn abandon(run: &mut Run, batch: u32) {
    let mut mallory = user(run, "2");
    mallory.send(&Peer::Helper, &request(run, batch));
    drop(mallory);
    clock::sleep(SOON);
}

/// Inferences dealt since the last call.
fn dealt(run: &Run) -> usize {
    clock::sleep(SOON);
    run.cluster.helper_events.try_iter().filter(|event| matches!(event, Event::Dealt { .. })).count()
}

/// An honest inference of a batch size.
fn infer(run: &mut Run, batch: u32) {
    run.batch = batch;
    run.infer().unwrap();
}

#[test]
fn material_whose_client_left_is_used_by_the_next_of_its_size() {
    let _world = World::enter(1);
    let mut run = Setup::new(zoo::mlp(TWO), 2).start();
    dealt(&run);
    // Sixty in a row.
    for _ in 0..60 {
        let mut mallory = user(&mut run, "2");
        mallory.send(&Peer::Helper, &request(&run, 64));
    }
    assert_eq!(dealt(&run), 1, "dealt for everybody who asked and left");
    infer(&mut run, 64);
    // Nor was anything of the first size passed over.
    assert_eq!(dealt(&run), 0, "dealt again");
    run.finish();
}

#[test]
fn material_that_nobody_claims_is_bounded() {
    let _world = World::enter(2);
    let mut run = Setup::new(zoo::mlp(TWO), 2).start();
    dealt(&run);
    // The largest batch is 64, so both are kept.
    for batch in [30, 31] {
        abandon(&mut run, batch);
    }
    assert_eq!(dealt(&run), 2);
    for batch in [30, 31] {
        infer(&mut run, batch);
    }
    assert_eq!(dealt(&run), 0);
    // For the third there is no room: the first is burned.
    for batch in [30, 31, 4] {
        abandon(&mut run, batch);
    }
    assert_eq!(dealt(&run), 3);
    infer(&mut run, 30);
    assert_eq!(dealt(&run), 1, "what had to make room was kept");
    run.finish();
}

#[test]
fn a_client_has_one_waiting_request() {
    let _world = World::enter(3);
    let mut run = Setup::new(zoo::mlp(TWO), 2).lanes(1).start();
    let mut first = user(&mut run, "3");
    let admission = first.ticket(&run.net.plan, run.parties, 1, &[]);
    let mut mallory = user(&mut run, "2");
    for _ in 0..2 {
        mallory.send(&Peer::Helper, &request(&run, 1));
    }
    let refused = notice(&mallory.expect(&Peer::Helper, &[Kind::Abort, Kind::Ticket]));
    assert_says("client", &refused, &["input", "client 2", "not allowed: more than 1 waiting request"]);
    drop(admission);
    // Another client's request is none of it.
    run.client.request(1, &[]).unwrap();
    run.cluster.stop();
}

#[test]
fn a_queue_is_nobodys_fault() {
    let _world = World::enter(4);
    let mut run = Setup::new(zoo::mlp(TWO), 2).limits(Limits::default()).lanes(1).start();
    // Each holds up the next until the parties give up its input.
    let waiting: Vec<User> = (0..30)
        .map(|number| {
            let mut user = user(&mut run, &format!("slow {number}"));
            user.send(&Peer::Helper, &request(&run, 1));
            clock::sleep(Duration::from_millis(1));
            user
        })
        .collect();
    let error = run.client.request(1, &[]).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("turn did not come within") && !text.contains("misbehaved"), "{text}");
    assert!(!text.contains("party") && !text.contains("client"), "{text}");
    drop(waiting);
    run.cluster.stop();
}

/// Two parties, of which the second's word that material is ready meets with this.
fn with_readiness(act: Act) -> Scenario {
    let [_, two] = all_parties(2).try_into().unwrap();
    let always = act != Act::Drop;
    let ready = Move { from: two.clone(), to: None, kind: Kind::Ready, skip: 0, always, after: None, act };
    Scenario {
        seed: 5,
        parties: 2,
        limbs: TWO,
        network: None,
        batch: 1,
        corrupt: vec![two],
        rushing: false,
        stages: Vec::new(),
        moves: vec![ready],
    }
}

/// Dealing takes longer than the clients stay.
#[test]
fn what_is_being_dealt_for_one_who_left_is_not_dealt_for_the_next_as_well() {
    let world = World::enter(6);
    let scenario = with_readiness(Act::Delay(Duration::from_secs(30)));
    let mut deployment = Deployment::start(&scenario);
    stage::run(&mut deployment, &scenario, &Stage::Load, 1);
    clock::sleep(SOON);
    let dealt = |deployment: &Deployment| {
        let events = deployment.events[&Peer::Helper].try_iter();
        events.filter(|event| matches!(event, Event::Dealt { .. })).count()
    };
    dealt(&deployment);
    deployment.adversary.attack(&scenario.moves);
    for number in 1..=3 {
        let mut node = deployment.clients[number].take().unwrap();
        let handle = node.inboxes().online.clone();
        let asks = clock::spawn("client", move || drop(node.request(4, &[]))).unwrap();
        clock::sleep(SOON);
        handle.stop();
        clock::join(asks);
        clock::sleep(SOON);
    }
    clock::sleep(Duration::from_secs(600));
    assert!(!deployment.adversary.rest().is_empty(), "dealing was not slow");
    assert_eq!(dealt(&deployment), 1, "dealt for everybody who asked and left");
    deployment.stop();
    assert!(world.panics().is_empty(), "{:?}", world.panics());
}

/// A deal of an old model that fails while a request for the new one waits for material.
#[test]
fn a_failed_deal_of_an_old_model_does_not_end_a_request_for_the_new_one() {
    let world = World::enter(5);
    let scenario = with_readiness(Act::Drop);
    let mut deployment = Deployment::start(&scenario);
    stage::run(&mut deployment, &scenario, &Stage::Load, 1);
    // One is dealt ahead; of the next, which is asked for, a party's word is lost. What is dealt
    // for the new model takes longer than it takes the helper to notice.
    let slow = with_readiness(Act::Delay(Limits::default().load + Duration::from_secs(30)));
    let moves: Vec<Move> = scenario.moves.iter().chain(&slow.moves).cloned().collect();
    deployment.adversary.attack(&moves);
    let mut node = deployment.clients[1].take().unwrap();
    let (sender, answer) = channel();
    clock::spawn("client", move || {
        let _ = sender.send(node.request(2, &[]).map(|admission| admission.scope().epoch));
    })
    .unwrap();
    clock::sleep(SOON);
    let new = deployment.owner.load(deployment.net.layers().as_slice()).map(|loaded| loaded.epoch).ok();
    let failed = |event: &Event| matches!(event, Event::DealFailed { .. });
    clock::sleep(Limits::default().load);
    assert!(deployment.events[&Peer::Helper].try_iter().any(|event| failed(&event)), "nothing failed");
    let epoch = clock::receive(&answer, clock::now() + Duration::from_secs(600)).unwrap().unwrap();
    assert_eq!(Some(epoch), new, "an inference of the old model");
    assert!(!deployment.adversary.rest().is_empty(), "nothing was lost");
    deployment.stop();
    assert!(world.panics().is_empty(), "{:?}", world.panics());
}

/// A party leaves its session and lets no other one begin: a client that waits hears its name.
#[test]
fn a_party_that_keeps_sessions_from_beginning_is_no_queue() {
    let world = World::enter(7);
    let mut scenario = with_readiness(Act::Close);
    scenario.moves[0].kind = Kind::Check;
    let leave = scenario.moves.clone();
    let silent = Move { kind: Kind::Keys, act: Act::Drop, always: true, ..leave[0].clone() };
    let mut deployment = Deployment::start(&scenario);
    stage::run(&mut deployment, &scenario, &Stage::Load, 1);
    deployment.adversary.attack(&leave);
    let ending = stage::run(&mut deployment, &scenario, &stage::honest_inference(), 1);
    assert!(ending.users[0].1.is_err(), "nobody left");
    deployment.adversary.attack(&[silent]);
    let client = deployment.clients[1].as_mut().unwrap();
    let error = client.request(1, &[]).unwrap_err();
    assert_says("client", &error, &["key exchange", "party 2", "nothing received"]);
    deployment.adversary.rest();
    clock::sleep(Duration::from_secs(600));
    deployment.owner.load(deployment.net.layers().as_slice()).unwrap();
    deployment.stop();
    assert!(world.panics().is_empty(), "{:?}", world.panics());
}

#[test]
fn the_largest_batch_follows_from_memory() {
    let plan = small::plan(TWO);
    let each = plan.cost(1).unwrap().material_bytes;
    for (bytes, largest) in [(0, 1), (each, 1), (5 * each, 5), (5 * each - 1, 4), (u64::MAX, 64)] {
        assert_eq!(largest_batch(&plan, bytes), largest, "{bytes}");
    }
}
