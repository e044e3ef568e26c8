//! A known residual network, compiled from floating point, agrees with the exact integers.

use amicus_model::{CompileOptions, compile, networks};
use amicus_protocol::Parties;
use amicus_testkit::nets::Net;
use amicus_testkit::random::Random;
use amicus_testkit::run::Setup;
use amicus_testkit::{direct, steps};
use std::sync::Arc;

fn resnet() -> Net {
    let graph = networks::resnet8_random(3, 4).unwrap();
    let mut random = Random(9);
    let mut sample = || random.integers(3 * 32 * 32, 1001).into_iter().map(|i| i as f32 / 1000.0).collect();
    let samples: Vec<Vec<f32>> = (0..4).map(|_| sample()).collect();
    let compiled = compile(&graph, &samples, &CompileOptions::default()).unwrap();
    Net { plan: Arc::new(compiled.plan), weights: compiled.weights }
}

#[test]
fn resnet_is_exact_operation_by_operation() {
    let net = resnet();
    for (parties, batch) in [(2, 1), (3, 2)] {
        let parties = Parties::new(parties).unwrap();
        let loaded = direct::load(&net.plan, &net.layers(), parties, None).unwrap();
        let inputs = net.inputs(batch, 40);
        let outcome = direct::infer(&loaded, &inputs, batch, &[], &mut |_| ()).unwrap();
        steps::check(&loaded, &net, &inputs, &outcome).unwrap();
        let error = net.error_of(&inputs, outcome.logits.as_ref().unwrap());
        assert!(error < 0.01, "{error}");
    }
}

#[test]
fn resnet_runs_among_nodes() {
    let mut run = Setup::new(resnet(), 2).start();
    run.infer().unwrap();
    run.finish();
}
