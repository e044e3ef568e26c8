//! Whole deployments in one process: in memory, over TLS, over shaped links.

use amicus_field::Limbs;
use amicus_net::shaper::Shape;
use amicus_node::Ahead;
use amicus_node::local::{LocalCluster, LocalConfig, Wiring};
use amicus_protocol::Parties;
use amicus_testkit::small::{INPUTS, Model, integers};
use std::sync::Arc;

fn run(wiring: Wiring, n: usize, batch: u32) {
    let model = Model::new(Limbs::TWO);
    let folder = tempfile::tempdir().unwrap();
    let mut config =
        LocalConfig::new(Arc::clone(&model.plan), Parties::new(n).unwrap(), folder.path().to_owned());
    config.wiring = wiring;
    config.ahead = Ahead::new(batch, 2);
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
