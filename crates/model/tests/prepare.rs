//! Preparing keeps what a network computes, and leaves nothing that cannot be folded.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

mod common;
#[path = "common/nets.rs"]
mod nets;

use amicus_model::approximate::{ApproximateOptions, approximate};
use amicus_model::fold::Folded;
use amicus_model::graph::{ConvOptions, Graph, Layer, PoolOptions};
use amicus_model::prepare::{Prepared, prepare};
use amicus_model::{CompileOptions, FloatExecutor, NodeId, compile, relative_error};
use common::Random;
use nets::Net;

/// Prepares, and holds the result to the original.
fn prepared(graph: &Graph, samples: &[Vec<f32>]) -> Prepared {
    let prepared = prepare(graph).unwrap();
    let problems = Folded::problems(&prepared.graph);
    assert!(problems.is_empty(), "{}: {problems:?}", graph.name());
    for x in samples {
        let expected = FloatExecutor::new(graph).run(x).unwrap();
        let got = FloatExecutor::new(&prepared.graph).run(x).unwrap();
        let error = relative_error(&got, &expected);
        assert!(error < 1e-6, "{}: {error}", graph.name());
    }
    prepared
}

fn finished(n: Net, x: NodeId, inputs: usize) -> (Graph, Vec<Vec<f32>>) {
    let mut n = n;
    let samples = (0..4).map(|_| n.sample(inputs)).collect();
    (n.g.finish(x).unwrap(), samples)
}

fn opened(graph: &Graph) -> Vec<&str> {
    let names = graph.nodes().iter().map(|n| n.name.as_str());
    names.filter(|n| n.ends_with(".opened")).collect()
}

#[test]
fn what_folds_already_stays_as_it_is() {
    let (graph, samples) = nets::residual(3);
    let Prepared { graph: after, notes } = prepared(&graph, &samples[..2]);
    assert!(notes.is_empty(), "{notes:?}");
    assert_eq!(after.nodes().len(), graph.nodes().len());
}

#[test]
fn linear_layers_in_a_row_get_an_opening_between() {
    let mut n = Net::new("row", &[2, 8, 8], 1);
    let a = n.conv("a", n.g.input(), 2, ConvOptions::square(4, 3));
    let b = n.conv("b", a, 4, ConvOptions::square(4, 3).padding(1));
    // A second reader of the same value, and a mean before a fully connected layer.
    let c = n.conv("c", a, 4, ConvOptions::square(4, 1));
    let x = n.g.add("sum", b, c);
    let x = n.g.global_average_pool("mean", x);
    let x = n.g.flatten("flat", x);
    let x = n.fc("fc1", x, 4, 3);
    let x = n.fc("fc2", x, 3, 2);
    let (graph, samples) = finished(n, x, 128);
    let Prepared { graph, notes } = prepared(&graph, &samples);
    // The two fully connected layers are merged when folded.
    assert_eq!(opened(&graph), ["a.opened", "flat.opened"]);
    assert_eq!(notes.len(), 2);
    assert!(
        notes[0].starts_with("a opened by itself") && notes[0].ends_with("between it and b"),
        "{notes:?}"
    );
    let polynomial = approximate(&graph, &samples, &ApproximateOptions::default()).unwrap();
    let compiled = compile(&polynomial.graph, &samples, &CompileOptions::default()).unwrap();
    assert!(compiled.report.meets_target(), "{}", compiled.report);
    assert!(compiled.report.simulated.max < 0.01, "{}", compiled.report);
}

#[test]
fn batch_norm_goes_into_all_branches() {
    let mut n = Net::new("branches", &[2, 9, 9], 2);
    let input = n.g.input();
    let three = ConvOptions::square(4, 3);
    let (a, b) = (n.conv("a", input, 2, three), n.conv("b", input, 2, three));
    let sum = n.g.add("sum", a, b);
    let inner = n.bn("inner", sum, 4);
    let c = n.conv("c", input, 2, ConvOptions::square(3, 3));
    let c = n.bn("bn_c", c, 3);
    let joined = n.g.concat("join", &[inner, c]);
    let pooled = n.g.average_pool("mean", joined, PoolOptions::square(3).stride(2));
    let pooled = n.g.sum_pool("sums", pooled, PoolOptions::square(2).stride(1));
    let x = n.bn("outer", pooled, 7);
    let x = n.act("act", x, 9.0);
    let x = n.g.flatten("flat", x);
    let x = n.fc("fc", x, 28, 3);
    let (graph, samples) = finished(n, x, 162);
    let Prepared { graph, notes } = prepared(&graph, &samples);
    assert!(opened(&graph).is_empty());
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[1].starts_with("outer folded into the layers that"), "{notes:?}");
    assert_eq!(graph.nodes().iter().filter(|n| n.name.ends_with(".factors")).count(), 3);
}

#[test]
fn batch_norm_goes_into_the_layers_behind() {
    let mut n = Net::new("behind", &[2, 8, 8], 3);
    let x = n.conv("a", n.g.input(), 2, ConvOptions::square(4, 3));
    let x = n.act("act", x, 4.0);
    let first = n.bn("first", x, 4);
    let second = n.bn("second", first, 4);
    let b = n.conv("b", second, 4, ConvOptions::square(6, 3).groups(2));
    let c = n.conv("c", second, 4, ConvOptions::square(6, 3));
    let x = n.g.add("sum", b, c);
    let x = n.act("act2", x, 8.0);
    let x = n.bn("third", x, 6);
    let x = n.g.flatten("flat", x);
    let x = n.fc("fc", x, 96, 3);
    let (graph, samples) = finished(n, x, 128);
    let Prepared { graph, notes } = prepared(&graph, &samples);
    assert!(opened(&graph).is_empty() && notes.len() == 3, "{notes:?}");
    assert!(graph.nodes().iter().all(|n| !matches!(n.layer, Layer::BatchNorm { .. })));
}

#[test]
fn batch_norm_that_nothing_can_take_is_a_layer() {
    let mut n = Net::new("own", &[2, 8, 8], 4);
    // On the input before a padded convolution; between an activation and an activation; on a sum
    // that is read twice.
    let x = n.bn("images", n.g.input(), 2);
    let x = n.conv("a", x, 2, ConvOptions::square(4, 3).padding(1));
    let x = n.act("act", x, 4.0);
    let x = n.bn("between", x, 4);
    let y = n.act("act2", x, 4.0);
    let b = n.conv("b", y, 4, ConvOptions::square(4, 3).padding(1));
    let x = n.g.add("sum", b, y);
    let y = n.bn("twice", x, 4);
    let y = n.act("act3", y, 6.0);
    let x = n.g.add("again", x, y);
    let x = n.g.flatten("flat", x);
    let x = n.bn("flat_bn", x, 256);
    let x = n.act("act4", x, 9.0);
    let x = n.fc("fc", x, 256, 3);
    let (graph, samples) = finished(n, x, 128);
    let Prepared { graph, notes } = prepared(&graph, &samples);
    let own = notes.iter().filter(|n| n.contains("becomes a layer of its own")).count();
    assert_eq!(own, 4, "{notes:?}");
    assert!(notes.iter().any(|n| n.starts_with("images") && n.contains("normalise the images before")));
    assert_eq!(opened(&graph), ["images.opened", "sum.opened", "flat.opened"]);
    let polynomial = approximate(&graph, &samples, &ApproximateOptions::default()).unwrap();
    let compiled = compile(&polynomial.graph, &samples, &CompileOptions::default()).unwrap();
    assert!(compiled.report.meets_target(), "{}", compiled.report);
}

#[test]
fn joined_channels_are_opened_once() {
    // DenseNet's way: each layer reads everything before it.
    let mut n = Net::new("dense", &[2, 6, 6], 5);
    let (mut x, mut channels) = (n.conv("stem", n.g.input(), 2, ConvOptions::square(3, 3).padding(1)), 3);
    for i in 0..3 {
        let y = n.bn(&format!("bn{i}"), x, channels);
        let y = n.act(&format!("act{i}"), y, 5.0);
        let y = n.conv(&format!("conv{i}"), y, channels, ConvOptions::square(2, 3).padding(1));
        x = n.g.concat(&format!("join{i}"), &[x, y]);
        channels += 2;
    }
    let x = n.act("last", x, 5.0);
    let x = n.g.flatten("flat", x);
    let x = n.fc("fc", x, channels * 36, 3);
    let (graph, samples) = finished(n, x, 72);
    let Prepared { graph, notes } = prepared(&graph, &samples);
    let opened: Vec<&str> = graph
        .nodes()
        .iter()
        .filter(|n| matches!(&n.layer, Layer::Polynomial { coefficients, .. } if coefficients.len() == 2))
        .map(|n| n.name.as_str())
        .collect();
    assert_eq!(opened, ["stem.opened", "conv0.opened", "conv1.opened"], "{notes:?}");
}

#[test]
fn random_networks_keep_their_results() {
    for seed in 0..60 {
        let mut n = Net::new("random", &[4, 8, 8], seed);
        n.r = Random(seed ^ 0x5eed);
        let mut values = vec![n.g.input()];
        for i in 0..n.r.between(3, 12) {
            let x = values[n.r.below(values.len())];
            let name = |kind: &str| format!("{kind}{i}");
            // All values keep the shape [4, 8, 8], so that any may meet any.
            let next = match n.r.below(7) {
                0 | 1 => {
                    let options = ConvOptions::square(4, 3).padding(1).groups(n.r.between(1, 2));
                    n.conv(&name("conv"), x, 4, options)
                }
                2 => n.bn(&name("bn"), x, 4),
                3 => n.act(&name("act"), x, 6.0),
                4 => n.g.average_pool(&name("pool"), x, PoolOptions::square(1)),
                5 => {
                    let y = values[n.r.below(values.len())];
                    n.g.add(&name("add"), x, y)
                }
                _ => {
                    let y = values[n.r.below(values.len())];
                    let z = n.g.concat(&name("concat"), &[x, y]);
                    n.conv(&name("mix"), z, 8, ConvOptions::square(4, 1))
                }
            };
            values.push(next);
        }
        // Whatever nobody reads goes into the result.
        let mut x = values[values.len() - 1];
        for (i, &v) in values[..values.len() - 1].iter().enumerate() {
            x = n.g.add(&format!("all{i}"), x, v);
        }
        let x = n.g.flatten("flat", x);
        let x = n.fc("fc", x, 256, 3);
        let (graph, samples) = finished(n, x, 256);
        prepared(&graph, &samples[..2]);
    }
}
