//! Private inferences of LeNet-5 a second, for one client and for many at once, on this machine and
//! over the WAN shape.
//!
//! `cargo bench -p amicus-cli --bench clients [-- --each N]`. Two parties; every client asks again
//! as soon as it has an answer, and every answer is held against the integer simulator. `ready`:
//! material was dealt before; `as dealt`: material is used up and dealt meanwhile, 1.15 MB for
//! each inference over the lines of both parties together.

#![allow(missing_docs, clippy::unwrap_used)]

mod lenet;

use lenet::{image, lenet};

use amicus_field::LimbVec;
use amicus_model::{Compiled, Simulator, quantize_input};
use amicus_net::shaper::Shape;
use amicus_node::Ahead;
use amicus_node::client::ClientNode;
use amicus_node::event::Event;
use amicus_node::local::{LocalCluster, LocalConfig, Wiring};
use amicus_protocol::Parties;
use std::sync::Arc;
use std::time::Instant;

/// Inferences in flight at a time.
const LANES: usize = 16;
/// Inferences of each client in one measurement, on this machine and over the WAN.
const EACH: [usize; 2] = [20, 6];
/// Distance from the simulator that truncation may cause.
const ROUNDING: f64 = 0.05;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut each, mut numbers) = (EACH, vec![1, 4, LANES]);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--test" => (each, numbers) = ([1; 2], vec![1, 4]),
            "--each" => each = [arguments.next().and_then(|n| n.parse().ok()).expect("a number"); 2],
            _ => {}
        }
    }
    let model = lenet();
    println!("line    clients   ready /s   of one   as dealt /s   of one");
    let lines = [("local", Wiring::Tls), ("wan", Wiring::Shaped(Shape::wan()))];
    for ((line, wiring), each) in lines.into_iter().zip(each) {
        let mut one = None;
        for &clients in &numbers {
            let rates = measure(&model, wiring, clients, each);
            let of = *one.get_or_insert(rates);
            println!(
                "{line:7} {clients:7} {:10.1} {:7.1}x {:13.1} {:7.1}x",
                rates[0],
                rates[0] / of[0],
                rates[1],
                rates[1] / of[1]
            );
        }
    }
}

/// Inferences a second with material that is ready, and with material that is dealt meanwhile.
fn measure(model: &Compiled, wiring: Wiring, clients: usize, each: usize) -> [f64; 2] {
    let (plan, folder) = (Arc::new(model.plan.clone()), tempfile::tempdir().unwrap());
    let kept = clients * each;
    let mut config = LocalConfig::new(Arc::clone(&plan), Parties::new(2).unwrap(), folder.path().to_owned());
    config.clients = (0..clients).map(|number| number.to_string()).collect();
    config.wiring = wiring;
    config.model.lanes = LANES;
    config.model.ahead = Ahead::new(1, kept);
    let mut cluster = LocalCluster::start(config).unwrap();
    cluster.owner().unwrap().load(&model.weights).unwrap();
    let mut nodes: Vec<ClientNode> =
        (0..clients).map(|number| cluster.client(&number.to_string()).unwrap()).collect();
    let expected = simulated(model);
    let input = quantize_input(&plan, &image()).unwrap();
    // The first inferences of a process meet cold caches.
    nodes.iter_mut().for_each(|node| infer(node, &input, &expected));
    while !matches!(cluster.helper_events.recv().unwrap(), Event::Dealt { ready, .. } if ready == kept) {}
    let rates = [(); 2].map(|()| {
        let started = Instant::now();
        std::thread::scope(|scope| {
            for node in &mut nodes {
                scope.spawn(|| (0..each).for_each(|_| infer(node, &input, &expected)));
            }
        });
        (clients * each) as f64 / started.elapsed().as_secs_f64()
    });
    cluster.stop();
    rates
}

fn infer(client: &mut ClientNode, input: &[i64], expected: &[f64]) {
    let admission = client.request(1, &[]).unwrap();
    let logits = client.infer(admission, input).unwrap().logits;
    assert_eq!(logits.len(), expected.len());
    let far = logits.iter().zip(expected).any(|(logit, expected)| (logit - expected).abs() > ROUNDING);
    assert!(!far, "{logits:?} is far from the simulator's {expected:?}");
}

/// What the integer simulator says of the image.
fn simulated(model: &Compiled) -> Vec<f64> {
    let simulator = Simulator::new(&model.plan, &model.weights).unwrap();
    let input = quantize_input(&model.plan, &image()).unwrap();
    simulator.outputs(&LimbVec::from_i64(model.plan.limbs, &input), 1).unwrap().logits()
}
