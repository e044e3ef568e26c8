//! A model survives restarts of every node without its owner (`docs/protocol.md`, section 7.4).

use amicus_field::{Element, Limbs};
use amicus_node::Peer;
use amicus_node::event::Event;
use amicus_protocol::Scope;
use amicus_protocol::wire::Kind;
use amicus_testkit::PATIENCE;
use amicus_testkit::deviation::{Deviation, How};
use amicus_testkit::run::{Run, Setup, party};
use amicus_testkit::user::User;
use amicus_testkit::zoo;
use std::fs;
use std::time::{Duration, Instant};

const TWO: Limbs = Limbs::TWO;

/// Waits until an inference works again: how long it took.
fn served(run: &mut Run, what: &str) -> Duration {
    let since = Instant::now();
    loop {
        match run.infer() {
            Ok(_) => break,
            Err(error) => assert!(since.elapsed() < PATIENCE, "{what}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    since.elapsed()
}

fn names(run: &Run, node: &Peer) -> Vec<String> {
    let epochs = fs::read_dir(run.folder_of(node).join("epochs")).unwrap();
    epochs.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_model_survives_the_restart_of_each_node_and_of_all() {
    for setup in
        [Setup::new(zoo::conv_net(TWO), 2), Setup::new(zoo::mlp(TWO), 3), Setup::new(zoo::mlp(TWO), 3).tls()]
    {
        let kind = if setup.is_in_memory() { "memory" } else { "TLS" };
        let mut run = setup.start();
        let fingerprint = run.client.fingerprint().unwrap();
        run.infer().unwrap();
        let (epoch, session) = (run.last.epoch, run.last.session);
        let mut rounds: Vec<Vec<Peer>> = run.nodes().into_iter().map(|node| vec![node]).collect();
        rounds.push(run.nodes());
        // Twice: what was read is as good as what was loaded.
        rounds.extend(rounds.clone());
        for nodes in rounds {
            run.restart(&nodes);
            let what = nodes.iter().map(Peer::to_string).collect::<Vec<_>>().join(", ");
            let took = served(&mut run, &what);
            eprintln!("{kind}, {}: {what} restarted, served after {took:?}", run.net.plan.name);
            assert_eq!(run.last.epoch, epoch);
            assert_ne!(run.last.session, session);
            assert_eq!(run.client.fingerprint().unwrap(), fingerprint);
        }
        run.finish();
    }
}

/// The client has its ticket when a node restarts; it and the other receiver hear so.
#[test]
fn an_inference_in_flight_ends_for_all_receivers_when_a_node_restarts() {
    for node in 0..3 {
        let mut run = Setup::new(zoo::mlp(TWO), 2).impatient().tls().start();
        let nodes = run.nodes();
        let mut bob = run.cluster.client("2").unwrap();
        bob.fingerprint().unwrap();
        let inputs = run.next_inputs();
        let admission = run.client.request(1, &[Peer::Client("2".into())]).unwrap();
        let alice = &mut run.client;
        let cluster = &mut run.cluster;
        let ends = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| bob.receive_invited().map(|(_, inferred)| inferred.logits));
            cluster.stop_node(&nodes[node]);
            cluster.start_node(&nodes[node]).unwrap();
            let asking = scope.spawn(|| alice.infer(admission, &inputs).map(|inferred| inferred.logits));
            [asking.join().unwrap(), waiting.join().unwrap()]
        });
        for end in ends {
            match end {
                Ok(logits) => run.assert_right(&inputs, &logits),
                Err(error) => {
                    let text = error.to_string();
                    assert!(!error.is_rejection() && !text.is_empty(), "{text}");
                    eprintln!("{} restarted: {text}", nodes[node]);
                }
            }
        }
        served(&mut run, "after an inference that was given up");
        run.finish();
    }
}

/// The next event of a kind at every party.
fn all_parties(run: &Run, is: impl Fn(&Event) -> bool) {
    for events in &run.cluster.party_events {
        while !is(&events.recv_timeout(PATIENCE).expect("an event")) {}
    }
}

/// Nobody hears of an acceptance that is not on the helper's disk, and the helper accepts nothing
/// that is not on every party's.
#[test]
fn a_load_that_a_node_cannot_keep_is_not_accepted() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).start_unloaded();
    session_opened(&run);
    for node in run.nodes() {
        let folder = run.folder_of(&node).join("epochs");
        let aside = folder.with_extension("aside");
        fs::rename(&folder, &aside).unwrap();
        let error = run.load().unwrap_err().to_string();
        assert!(error.contains("a file of this node cannot be used"), "{node}: {error}");
        assert!(!error.contains(folder.to_str().unwrap()), "{error}");
        fs::rename(&aside, &folder).unwrap();
        // It failed, and nobody has anything of it.
        all_parties(&run, |event| matches!(event, Event::LoadFailed { .. }));
        assert!(run.nodes().iter().all(|node| names(&run, node).is_empty()), "{node}");
    }
    run.load().unwrap();
    served(&mut run, "a load after one that could not be kept");
    run.finish();
}

/// Waits until the helper has opened a session.
fn session_opened(run: &Run) {
    let events = &run.cluster.helper_events;
    while !matches!(events.recv_timeout(PATIENCE).expect("an event"), Event::SessionOpened { .. }) {}
}

/// A load that the helper gives up leaves nothing, and the model before is served on.
#[test]
fn a_load_that_fails_leaves_the_model_before_and_nothing_of_its_own() {
    for how in [How::Flip(5), How::Shift(1, Element::one(TWO))] {
        let kind = if matches!(how, How::Flip(_)) { Kind::LoadHash } else { Kind::LoadResponse };
        let deviation = Deviation::message(kind, how);
        let mut run = Setup::new(zoo::mlp(TWO), 2).last_deviating(deviation).start();
        run.infer().unwrap();
        let epoch = run.last.epoch;
        let before: Vec<Vec<String>> = run.nodes().iter().map(|node| names(&run, node)).collect();
        assert!(before.iter().all(|names| names.len() == 1), "{before:?}");
        run.drain();
        assert!(run.attack_load().is_rejection());
        all_parties(&run, |event| matches!(event, Event::LoadFailed { .. }));
        let after: Vec<Vec<String>> = run.nodes().iter().map(|node| names(&run, node)).collect();
        assert_eq!(before, after, "something is left of a load that failed");
        served(&mut run, "the model before");
        assert_eq!(run.last.epoch, epoch);
        run.finish();
    }
}

#[test]
fn a_model_that_is_replaced_is_erased_everywhere() {
    let mut run = Setup::new(zoo::mlp(TWO), 3).start();
    let first: Vec<Vec<String>> = run.nodes().iter().map(|node| names(&run, node)).collect();
    run.load().unwrap();
    served(&mut run, "the second model");
    all_parties(&run, |event| matches!(event, Event::Retired { .. }));
    for (node, first) in run.nodes().iter().zip(&first) {
        let now = names(&run, node);
        assert!(now.len() == 1 && now != *first, "{node}: {now:?} after {first:?}");
    }
    let epoch = run.last.epoch;
    let nodes = run.nodes();
    run.restart(&nodes);
    served(&mut run, "the second model, restarted");
    assert_eq!(run.last.epoch, epoch);
    run.finish();
}

#[test]
fn a_retired_model_stays_retired_and_is_erased_everywhere() {
    let net = zoo::mlp(TWO);
    let deviation = Deviation::shift(net.op("linear 0"), 0, Element::one(TWO));
    let mut run = Setup::new(net, 2).last_deviating(deviation).failure_limit(1).start();
    run.attack().rejected();
    let refused = |run: &mut Run| {
        let error = run.client.request(1, &[]).unwrap_err().to_string();
        assert!(error.contains("retired"), "{error}");
    };
    refused(&mut run);
    all_parties(&run, |event| matches!(event, Event::Retired { .. }));
    for node in run.nodes() {
        assert!(names(&run, &node).is_empty(), "{node}");
    }
    run.load().unwrap();
    served(&mut run, "a model after a retired one");
    run.finish();
}

/// A client that only waits for its answer when the helper dies gets it from the next one.
#[test]
fn what_was_decided_is_told_after_a_restart_of_all() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).helper_dies().start();
    let client = Peer::Client("2".into());
    let inputs = run.next_inputs();
    let mut alice = User::connect(&mut run.cluster, run.parties, &client);
    let admission = alice.ticket(&run.net.plan, run.parties, 1, &[]);
    let scope: Scope = admission.scope();
    let (_, messages) = admission.mask(&inputs).unwrap();
    for party in run.parties.all().map(Peer::Party) {
        messages.iter().for_each(|message| alice.send_to(&party, message));
    }
    let output = alice.expect(&party(run.parties, 1), &[Kind::Output]);
    all_parties(&run, |event| matches!(event, Event::Failed { .. }));
    let nodes = run.nodes();
    run.restart(&nodes);
    let mut alice = User::connect(&mut run.cluster, run.parties, &client);
    let release = alice.expect(&Peer::Helper, &[Kind::Release]);
    assert_eq!((release.header.scope(), output.header.scope()), (scope, scope));
    served(&mut run, "after a decision");
    run.finish();
}
