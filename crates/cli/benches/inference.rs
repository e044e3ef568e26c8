//! One private inference of LeNet-5 among two parties, step by step and whole.
//!
//! `cargo bench -p amicus-cli --bench inference`. The steps run on one thread without links;
//! `online/...` are whole deployments in this process, with dealing left out of the measured time.

#![allow(missing_docs, clippy::unwrap_used)]

mod lenet;

use lenet::{image, lenet};

use amicus_field::LimbVec;
use amicus_model::{Compiled, Simulator};
use amicus_net::shaper::Shape;
use amicus_node::Ahead;
use amicus_node::event::Event;
use amicus_node::local::{LocalCluster, LocalConfig, Wiring};
use amicus_plan::{OpIndex, WeightId};
use amicus_protocol::affine::LayerWeights;
use amicus_protocol::{InferenceId, Parties, PartyId, ProtocolError};
use amicus_testkit::direct;
use amicus_testkit::world::Honest;
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

/// Inferences for which material is kept.
const KEPT: usize = 2;

fn layers(model: &Compiled) -> Vec<LayerWeights> {
    let ids = (0..model.plan.weights.len() as u32).map(WeightId);
    let (weights, limbs) = (&model.weights, model.plan.limbs);
    ids.map(|id| LayerWeights { weights: weights.weights(id, limbs), bias: weights.bias(id, limbs) })
        .collect()
}

fn steps(c: &mut Criterion) {
    let model = lenet();
    let plan = Arc::new(model.plan.clone());
    let input = amicus_model::quantize_input(&plan, &image()).unwrap();
    let parties = Parties::new(2).unwrap();
    let mut group = c.benchmark_group("lenet5");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));

    group.bench_function("load, all roles", |b| {
        b.iter(|| direct::load(&plan, &layers(&model), parties, None).unwrap());
    });
    let loaded = direct::load(&plan, &layers(&model), parties, None).unwrap();
    // A session of their own: ids that nobody takes must not run away from the others.
    let alone = direct::begin(parties, &mut Honest).unwrap();
    let (epoch, digest) = (loaded.helper.epoch(), *loaded.helper.digest());
    group.bench_function("deal, helper", |b| {
        b.iter(|| {
            let keys = alone.helper.next(epoch, &digest).unwrap();
            loaded
                .helper
                .deal::<ProtocolError>(keys, 1, &mut |_: OpIndex, _: PartyId, body: Vec<u8>| {
                    black_box(body);
                    Ok(())
                })
                .map(drop)
                .unwrap();
        });
    });
    group.bench_function("prepare, first party", |b| {
        let (party, mut ids) = (&loaded.parties[0], 1..);
        // What is dealt differs from one inference to the next; how long it takes does not.
        let (keys, mut corrections) = (alone.helper.next(epoch, &digest).unwrap(), Vec::new());
        let mut keep = |op: OpIndex, to: PartyId, body: Vec<u8>| {
            corrections.extend((to == PartyId::FIRST).then_some((op, body)));
            Ok::<(), ProtocolError>(())
        };
        loaded.helper.deal(keys, 1, &mut keep).unwrap();
        b.iter(|| {
            let id = ids.next().map(InferenceId).unwrap();
            let keys = alone.parties[0].take(epoch, &digest, id).unwrap();
            let mut deal = party.begin_deal(keys, 1);
            corrections.iter().for_each(|(op, body)| deal.correction(party, op.0, body).unwrap());
            party.prepare(deal).unwrap()
        });
    });
    group.bench_function("deal, prepare and online, all roles", |b| {
        b.iter(|| direct::infer(&loaded, &input, 1, &[], &mut |_| ()).unwrap());
    });
    let simulator = Simulator::new(&model.plan, &model.weights).unwrap();
    let x = LimbVec::from_i64(plan.limbs, &input);
    group.bench_function("integer simulator", |b| b.iter(|| simulator.outputs(&x, 1).unwrap()));
    group.finish();
}

fn online(c: &mut Criterion) {
    let model = lenet();
    let plan = Arc::new(model.plan.clone());
    let input = amicus_model::quantize_input(&plan, &image()).unwrap();
    let mut group = c.benchmark_group("lenet5 online");
    group.sample_size(30).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    for (name, wiring) in
        [("memory", Wiring::Memory), ("tls", Wiring::Tls), ("tls, lan", Wiring::Shaped(Shape::lan()))]
    {
        let folder = tempfile::tempdir().unwrap();
        let mut config =
            LocalConfig::new(Arc::clone(&plan), Parties::new(2).unwrap(), folder.path().to_owned());
        config.wiring = wiring;
        config.model.ahead = Ahead::new(1, KEPT);
        let mut cluster = LocalCluster::start(config).unwrap();
        cluster.owner().unwrap().load(&model.weights).unwrap();
        let mut client = cluster.client("1").unwrap();
        let (mut dealt, mut used) = (0, 0);
        group.bench_function(name, |b| {
            b.iter_custom(|iterations| {
                (0..iterations)
                    .map(|_| {
                        // All cores are shared: no dealing while an inference is measured.
                        while dealt < used + KEPT {
                            dealt += usize::from(matches!(
                                cluster.helper_events.recv().unwrap(),
                                Event::Dealt { .. }
                            ));
                        }
                        used += 1;
                        let admission = client.request(1, &[]).unwrap();
                        client.infer(admission, &input).unwrap().elapsed
                    })
                    .sum()
            });
        });
        cluster.stop();
    }
    group.finish();
}

criterion_group!(benches, steps, online);
criterion_main!(benches);
