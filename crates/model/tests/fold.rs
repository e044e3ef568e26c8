//! Folding keeps what a network computes, and says what it cannot fold.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

mod common;
#[path = "common/nets.rs"]
mod nets;

use amicus_model::fake_quantisation::{Rounding, logits};
use amicus_model::fold::{Folded, FoldedKind};
use amicus_model::graph::{ConvOptions, Graph, PoolOptions};
use amicus_model::{FloatExecutor, networks, relative_error};
use common::Random;
use nets::Net;

/// The folded network's results equal the graph's.
fn same(graph: &Graph, samples: &[Vec<f32>]) -> Folded {
    let folded = Folded::new(graph).unwrap();
    let got = logits(&folded, samples, &Rounding::none(&folded));
    for (x, got) in samples.iter().zip(got) {
        let expected = FloatExecutor::new(graph).run(x).unwrap();
        let error = relative_error(&got, &expected);
        // Merging fully connected layers rounds their product to `f32`; nothing else does.
        let limit = if graph.name() == "mixed" { 1e-6 } else { 1e-9 };
        assert!(error < limit, "{}: {error}", graph.name());
    }
    folded
}

#[test]
fn lenet_keeps_its_results() {
    let graph = networks::lenet5_random(3).unwrap();
    let mut r = Random(1);
    let samples: Vec<Vec<f32>> =
        (0..3).map(|_| r.reals(784, 0.5).iter().map(|x| x + 0.5).collect()).collect();
    let folded = same(&graph, &samples);
    assert_eq!(folded.ops.len(), 9, "five linear layers and four activations");
    assert_eq!(folded.linears.len(), 5);
    for text in ["bn1 folded into conv1", "pool2 summed before act2 is opened", "factor 0.25 of pool1"] {
        assert!(folded.rewrites.iter().any(|r| r.contains(text)), "{text}: {:?}", folded.rewrites);
    }
}

#[test]
fn residual_network_keeps_its_results() {
    let (graph, samples) = nets::residual(5);
    let folded = same(&graph, &samples[..4]);
    // The shortcut's own activation absorbs the interval of the activation behind the sum.
    assert!(folded.ops.iter().all(|op| match &op.kind {
        FoldedKind::Activation { interval, .. } => (interval - 1.0).abs() < 1e-12,
        _ => true,
    }));
}

#[test]
fn factors_travel_through_pools_sums_and_merged_layers() {
    let mut n = Net::new("mixed", &[2, 9, 9], 8);
    let x = n.g.input();
    let x = n.conv("a", x, 2, ConvOptions::square(4, 3));
    // Pooling before the activation: the mean's factor goes back into the weights.
    let x = n.g.average_pool("mean", x, PoolOptions::square(3).stride(2));
    let x = n.act("act_a", x, 2.0);
    // A value used twice: pooled on its own, not before it is opened.
    let left = n.g.sum_pool("sum", x, PoolOptions::square(2).stride(1));
    let right = n.conv("b", x, 4, ConvOptions::square(4, 2));
    let x = n.g.add("join", left, right);
    // Two activations of different intervals on one value.
    let y = n.act("narrow", x, 3.0);
    let z = n.act("wide", x, 7.0);
    let x = n.g.add("again", y, z);
    let x = n.g.flatten("flat", x);
    let x = n.fc("fc1", x, 16, 6);
    let x = n.fc("fc2", x, 6, 4);
    let x = n.bn("bn", x, 4);
    let samples: Vec<Vec<f32>> = (0..4).map(|_| n.sample(162)).collect();
    let folded = same(&n.g.finish(x).unwrap(), &samples);
    assert!(folded.rewrites.iter().any(|r| r.contains("fc1 and fc2 merged")), "{:?}", folded.rewrites);
    assert!(folded.ops.iter().any(|op| matches!(op.kind, FoldedKind::SumPool { .. })));
}

#[test]
fn norms_after_sums_keep_their_results() {
    let mut n = Net::new("norms", &[2, 6, 6], 9);
    let one = ConvOptions::square(3, 1);
    // Two convolutions, of which one has a BatchNorm of its own.
    let left = n.conv("left", n.g.input(), 2, one);
    let left = n.bn("left_bn", left, 3);
    let right = n.conv("right", n.g.input(), 2, one);
    let x = n.g.add("convs", left, right);
    let x = n.bn("convs_bn", x, 3);
    let x = n.act("convs_act", x, 2.0);
    // Two identities, one of them pooled: both get layers of their own.
    let pooled = n.g.sum_pool("pooled", x, PoolOptions::square(3).stride(1).padding(1));
    let x = n.g.add("identities", x, pooled);
    let x = n.bn("identities_bn", x, 3);
    let x = n.act("identities_act", x, 6.0);
    // A value and itself.
    let x = n.g.add("twice", x, x);
    let x = n.bn("twice_bn", x, 3);
    let x = n.act("twice_act", x, 8.0);
    // Flat values.
    let x = n.g.flatten("flat", x);
    let y = n.fc("fc1", x, 108, 108);
    let x = n.g.add("flats", x, y);
    let x = n.bn("flats_bn", x, 108);
    let x = n.act("flats_act", x, 8.0);
    let x = n.fc("fc2", x, 108, 4);
    let samples: Vec<Vec<f32>> = (0..3).map(|_| n.sample(72)).collect();
    let folded = same(&n.g.finish(x).unwrap(), &samples);
    assert_eq!(folded.linears.len(), 9, "{:?}", folded.rewrites);
}

#[test]
fn random_networks_keep_their_results() {
    for seed in 0..30 {
        let mut n = Net::new("random", &[2, 8, 8], seed);
        let (mut x, mut shape) = (n.g.input(), [2usize, 8, 8]);
        for i in 0..3 {
            let kernel = n.r.between(1, 3).min(shape[1]);
            let channels = 2 * n.r.between(1, 2);
            let options =
                ConvOptions::square(channels, kernel).groups(n.r.between(1, 2)).padding(n.r.below(2));
            x = n.conv(&format!("conv{i}"), x, shape[0], options);
            shape = [
                channels,
                shape[1] + 2 * options.padding[0] + 1 - kernel,
                shape[2] + 2 * options.padding[0] + 1 - kernel,
            ];
            if n.r.below(2) == 1 {
                x = n.bn(&format!("bn{i}"), x, channels);
            }
            let interval = 1.0 + n.r.below(5) as f64;
            x = n.act(&format!("act{i}"), x, interval);
            if shape[1] >= 4 && n.r.below(2) == 1 {
                x = n.g.average_pool(&format!("pool{i}"), x, PoolOptions::square(2));
                shape = [channels, shape[1] / 2, shape[2] / 2];
            }
        }
        let x = n.g.flatten("flat", x);
        let x = n.fc("fc", x, shape.iter().product(), 3);
        let samples: Vec<Vec<f32>> = (0..2).map(|_| n.sample(128)).collect();
        same(&n.g.finish(x).unwrap(), &samples);
    }
}

#[test]
fn what_cannot_be_folded_is_named() {
    let error = |build: &dyn Fn(&mut Net) -> amicus_model::NodeId| {
        let mut n = Net::new("bad", &[2, 6, 6], 1);
        let x = build(&mut n);
        Folded::new(&n.g.finish(x).unwrap()).unwrap_err().to_string()
    };
    let three = ConvOptions::square(2, 3);
    let text = error(&|n| {
        let x = n.conv("first", n.g.input(), 2, three);
        n.conv("second", x, 2, three)
    });
    assert!(text.starts_with("second: follows first without an activation between"), "{text}");
    let text = error(&|n| {
        let x = n.conv("conv", n.g.input(), 2, three);
        let x = n.act("act", x, 2.0);
        n.bn("late", x, 2)
    });
    assert!(text.starts_with("late: BatchNorm after act"), "{text}");
    let text = error(&|n| {
        let x = n.conv("conv", n.g.input(), 2, three);
        let y = n.bn("bn", x, 2);
        n.g.add("add", x, y)
    });
    assert!(text.starts_with("bn: cannot be folded into conv, whose result is used elsewhere"), "{text}");
    let text = error(&|n| {
        let x = n.conv("conv", n.g.input(), 2, three);
        let x = n.g.add("twice", x, x);
        n.bn("bn", x, 2)
    });
    assert!(text.starts_with("bn: cannot be folded into conv before the sum"), "{text}");
    let text = error(&|n| {
        let x = n.conv("conv", n.g.input(), 2, three);
        let y = n.conv("other", n.g.input(), 2, three);
        let sum = n.g.add("sum", x, y);
        let x = n.bn("bn", sum, 2);
        n.g.add("again", x, sum)
    });
    assert!(text.starts_with("bn: cannot be folded into sum, whose result is used elsewhere"), "{text}");
    let text = error(&|n| {
        let x = n.g.average_pool("pool", n.g.input(), PoolOptions::square(3).stride(1).padding(1));
        n.g.add("both", n.g.input(), x)
    });
    assert!(text.starts_with("both: its branches need different factors"), "{text}");
}
