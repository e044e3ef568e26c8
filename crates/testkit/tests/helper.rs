//! The helper dies between its decision and the release (`docs/protocol.md`, 6.8): the right output reaches everybody
//! after all, exactly once decided.

use amicus_field::{Element, Limbs};
use amicus_node::Peer;
use amicus_node::event::Event;
use amicus_node::local::LocalCluster;
use amicus_testkit::PATIENCE;
use amicus_testkit::deviation::Deviation;
use amicus_testkit::run::{Setup, assert_says};
use amicus_testkit::zoo;
use std::time::Duration;

const TWO: Limbs = Limbs::TWO;

/// Waits until the parties have lost the helper while they waited for its word.
fn helper_is_dead(cluster: &LocalCluster) {
    for events in &cluster.party_events {
        loop {
            match events.recv_timeout(PATIENCE).unwrap() {
                Event::Failed { error, .. } => {
                    assert_says("party", &error, &["check", "helper", "link lost"]);
                    break;
                }
                Event::Fatal { error } => panic!("{error}"),
                _ => {}
            }
        }
    }
}

fn client() -> Peer {
    Peer::Client("1".into())
}

#[test]
fn a_client_that_waits_gets_the_output_after_the_restart() {
    for setup in [Setup::new(zoo::mlp(TWO), 2), Setup::new(zoo::mlp(TWO), 3).batch(2).tls()] {
        let memory = setup.is_in_memory();
        let mut run = setup.helper_dies().start();
        let inputs = run.next_inputs();
        let batch = run.batch;
        let hubs = run.client.hubs().clone();
        let admission = run.client.request(batch, &[]).unwrap();
        let (alice, cluster) = (&mut run.client, &mut run.cluster);
        let result = std::thread::scope(|scope| {
            let result = scope.spawn(|| alice.infer(admission, &inputs));
            helper_is_dead(cluster);
            cluster.restart_helper().unwrap();
            if memory {
                // Over TLS the client dials again by itself.
                cluster.connect_user(&client(), &hubs).unwrap();
            }
            result.join().unwrap()
        });
        run.assert_right(&inputs, &result.unwrap().logits);
        if memory {
            run.cluster.connect_user(&Peer::Owner, run.owner.hubs()).unwrap();
        }
        // The old epoch died with the helper's memory.
        assert_eq!(run.load().unwrap().0, 2);
        run.recovers();
        run.finish();
    }
}

#[test]
fn a_client_that_comes_back_later_gets_the_output() {
    let mut run = Setup::new(zoo::mlp(TWO), 2).helper_dies().start();
    let inputs = run.next_inputs();
    let hubs = run.client.hubs().clone();
    let admission = run.client.request(1, &[]).unwrap();
    let (alice, cluster) = (&mut run.client, &mut run.cluster);
    let result = std::thread::scope(|scope| {
        let result = scope.spawn(|| alice.infer(admission, &inputs));
        helper_is_dead(cluster);
        // Twice: the decision survives any number of crashes, and is not taken again.
        for _ in 0..2 {
            cluster.restart_helper().unwrap();
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(!result.is_finished());
        cluster.connect_user(&client(), &hubs).unwrap();
        result.join().unwrap()
    });
    run.assert_right(&inputs, &result.unwrap().logits);
    run.owner = run.cluster.owner().unwrap();
    run.client = run.cluster.client("1").unwrap();
    run.load().unwrap();
    // Acknowledged: nothing comes a second time.
    run.recovers();
    run.finish();
}

#[test]
fn a_rejected_inference_is_not_released_by_a_restart() {
    let net = zoo::mlp(TWO);
    let deviation = Deviation::shift(net.op("activation 0"), 0, Element::one(TWO));
    // It dies after an acceptance only, so this one lives on, and is restarted by hand.
    let mut run = Setup::new(net, 2).last_deviating(deviation).start();
    run.attack().rejected();
    run.cluster.restart_helper().unwrap();
    run.owner = run.cluster.owner().unwrap();
    let mut user = amicus_testkit::user::User::connect(&mut run.cluster, run.parties, &client());
    assert!(user.heard(Duration::from_millis(300)).is_none(), "something was released");
    run.client = run.cluster.client("1").unwrap();
    run.load().unwrap();
    run.recovers();
    run.finish();
}
