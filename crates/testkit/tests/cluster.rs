//! Whole deployments in one process: in memory, over TLS, over shaped links.

use amicus_field::Limbs;
use amicus_net::shaper::Shape;
use amicus_node::Ahead;
use amicus_node::event::Event;
use amicus_node::local::{LocalCluster, LocalConfig, Wiring};
use amicus_protocol::Parties;
use amicus_testkit::PATIENCE;
use amicus_testkit::small::{INPUTS, Model, integers};
use std::sync::Arc;
use std::time::Duration;

fn run(wiring: Wiring, n: usize, batch: u32) {
    let model = Model::new(Limbs::TWO);
    let folder = tempfile::tempdir().unwrap();
    let mut config =
        LocalConfig::new(Arc::clone(&model.plan), Parties::new(n).unwrap(), folder.path().to_owned());
    config.wiring = wiring;
    config.model.ahead = Ahead::new(batch, 2);
    let mut cluster = LocalCluster::start(config).unwrap();
    cluster.owner().unwrap().load(model.layers().as_slice()).unwrap();
    let mut client = cluster.client("1").unwrap();
    client.fingerprint().unwrap();
    for salt in 0..4 {
        let inputs = integers(INPUTS * batch as usize, 12, 50 + salt);
        let admission = client.request(batch, &[]).unwrap();
        let result = client.infer(admission, &inputs).unwrap();
        let error = model.error_of(&inputs, &result.logits);
        assert!(error < 5e-3, "{error} {:?}", result.logits);
        assert_eq!(result.rounds, 1 + 3 + 2);
        eprintln!("{wiring:?} {n} parties: {:?}", result.elapsed);
    }
    for e in cluster.connection_errors.try_iter() {
        eprintln!("CONN {e}");
    }
    let t = std::time::Instant::now();
    cluster.stop();
    eprintln!("{wiring:?} stop took {:?}", t.elapsed());
}

#[test]
fn honest_deployments_answer_in_memory() {
    run(Wiring::Memory, 2, 1);
    run(Wiring::Memory, 4, 3);
}

#[test]
fn honest_deployments_answer_over_tls() {
    run(Wiring::Tls, 2, 1);
    run(Wiring::Tls, 3, 2);
}

#[test]
fn honest_deployments_answer_over_a_slow_network() {
    run(Wiring::Shaped(Shape::lan()), 2, 1);
}

/// Material for one inference at a time: none is dealt while one is in flight, and none beyond what
/// is told, but when asked.
#[test]
fn material_is_dealt_for_as_many_inferences_as_told() {
    let model = Model::new(Limbs::ONE);
    let folder = tempfile::tempdir().unwrap();
    let mut config =
        LocalConfig::new(Arc::clone(&model.plan), Parties::new(2).unwrap(), folder.path().to_owned());
    config.wiring = Wiring::Memory;
    config.model.ahead = Ahead { batch: 1, kept: 1, total: Some(2) };
    let mut cluster = LocalCluster::start(config).unwrap();
    cluster.owner().unwrap().load(model.layers().as_slice()).unwrap();
    let mut client = cluster.client("1").unwrap();
    let inputs = integers(INPUTS, 12, 50);
    let dealt = |cluster: &LocalCluster, patience: Duration| {
        std::iter::from_fn(|| cluster.helper_events.recv_timeout(patience).ok())
            .any(|event| matches!(event, Event::Dealt { .. }))
    };
    let (long, short) = (PATIENCE, Duration::from_millis(200));
    for inference in 0..3 {
        // The third is beyond the total: dealt because a client asks, not before.
        assert_eq!(dealt(&cluster, if inference < 2 { long } else { short }), inference < 2);
        let admission = client.request(1, &[]).unwrap();
        let patience = if inference == 2 { long } else { short };
        assert_eq!(dealt(&cluster, patience), inference == 2, "while inference {inference} is in flight");
        client.infer(admission, &inputs).unwrap();
    }
    assert!(!dealt(&cluster, short));
    cluster.stop();
}
