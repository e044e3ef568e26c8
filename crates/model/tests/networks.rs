//! Known networks read from files against PyTorch, in fixed point against floating point, and what
//! files may hold.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

mod common;

use std::collections::HashMap;

use amicus_field::LimbVec;
use amicus_model::fold::{Folded, FoldedKind};
use amicus_model::measure::median;
use amicus_model::networks::{self, Architecture, Network};
use amicus_model::{
    CompileOptions, FloatExecutor, Graph, Simulator, compile, quantize_input, relative_error,
};
use common::Random;
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;

/// What `data/make_networks.py` wrote.
#[derive(Deserialize)]
struct Case {
    name: String,
    metadata: HashMap<String, String>,
    tensors: Vec<(String, Vec<usize>)>,
    logits: Vec<Vec<f64>>,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("data/networks.json")).unwrap()
}

fn case(name: &str) -> Case {
    cases().into_iter().find(|case| case.name == name).unwrap()
}

impl Case {
    /// The file with the same weights as in PyTorch.
    fn file(&self) -> Vec<u8> {
        let tensors = self.tensors.iter().zip(0u64..).map(|((name, shape), seed)| {
            let fan_in: usize = shape.iter().skip(1).product();
            let (middle, width) = match name.rsplit('.').next() {
                Some("running_var") => (1.0, 0.2),
                Some("weight") if shape.len() == 1 => (0.9, 0.1),
                Some("weight") => (0.0, (5.0 / fan_in as f64).sqrt()),
                _ => (0.0, 0.1),
            };
            let mut r = Random(seed);
            let mut number = || {
                let unit = (r.next() >> 11) as f64 / (1u64 << 53) as f64;
                (middle + width * (2.0 * unit - 1.0)) as f32
            };
            let bytes: Vec<u8> =
                (0..shape.iter().product()).flat_map(|_: usize| number().to_le_bytes()).collect();
            (name.clone(), shape.clone(), bytes)
        });
        let tensors: Vec<_> = tensors.collect();
        let views =
            tensors.iter().map(|(n, s, b)| (n.clone(), TensorView::new(Dtype::F32, s.clone(), b).unwrap()));
        safetensors::serialize(views, Some(self.metadata.clone())).unwrap()
    }

    fn read(&self) -> Network {
        networks::read(&self.file()).unwrap()
    }

    /// The error of the file with one metadata entry changed.
    fn refused(&mut self, key: &str, value: &str) -> String {
        let before = self.metadata.insert(key.to_owned(), value.to_owned());
        let error = networks::read(&self.file()).unwrap_err().to_string();
        match before {
            Some(before) => self.metadata.insert(key.to_owned(), before),
            None => self.metadata.remove(key),
        };
        error
    }
}

#[test]
fn files_give_what_pytorch_gives() {
    let cases = cases();
    assert_eq!(cases.len(), 9);
    for case in &cases {
        let network = case.read();
        assert_eq!(network.architecture.name(), case.metadata["architecture"]);
        assert_eq!(network.dataset.as_deref(), Some("none"));
        let [channels, height, width] = network.graph.input_shape()[..] else { panic!("no image") };
        let each = height * width * channels;
        let mut r = Random(1000);
        for expected in &case.logits {
            let pixels: Vec<u8> = (0..each).map(|_| (r.next() % 256) as u8).collect();
            let x = network.pixels.input(&pixels, [height, width, channels]).unwrap();
            let got = FloatExecutor::new(&network.graph).run(&x).unwrap();
            let error = relative_error(&got, expected);
            assert!(error < 1e-4, "{}: {error}\n{got:?}\n{expected:?}", case.name);
        }
    }
}

#[test]
fn what_metadata_may_not_say_is_named() {
    let mut small = case("resnet8 of width 4");
    let expect = |error: String, start: &str| assert!(error.starts_with(start), "{error}, expected {start}");
    expect(
        small.refused("architecture", "vgg"),
        "weights, metadata `architecture`: `vgg` is not one of lenet5, alexnet-cifar, resnet8",
    );
    expect(
        small.refused("input", "pixel"),
        "weights, metadata `input`: `pixel` is not `pixel/255` or `pixel/127.5-1`",
    );
    expect(
        small.refused("activation", "tanh"),
        "weights, metadata `activation`: `tanh` is not `polynomial` or `relu`",
    );
    expect(
        case("lenet5 with max pools").refused("pool", "sum"),
        "weights, metadata `pool`: `sum` is not `average` or `max`",
    );
    expect(small.refused("width", "0"), "weights, metadata `width`: `0` is not a number from 1 to 512");
    expect(
        small.refused("width", "5"),
        "weights, tensor `conv1.weight`: shape [4, 3, 3, 3], expected [5, 3, 3, 3]",
    );
    // A file that says nothing of its width has that of its weights.
    let mut silent = case("resnet8 of width 4");
    silent.metadata.remove("width");
    assert!(networks::read(&silent.file()).is_ok());
    silent.tensors.retain(|(name, _)| name != "conv1.weight");
    expect(
        networks::read(&silent.file()).map(|_| ()).unwrap_err().to_string(),
        "weights, tensor `conv1.weight`: missing",
    );
    expect(
        small.refused("activation.coefficients", "[[0, 1, 2], [0, 1, 2]]"),
        "weights, metadata `activation.coefficients`: 2 lists, expected 1 or 7",
    );
    expect(
        small.refused("activation.coefficients", "[0, [1, 2]]"),
        "weights, metadata `activation.coefficients`: `[0, [1, 2]]` is not a JSON array of numbers",
    );
    expect(
        small.refused("activation.ranges", "[1, 2, 3]"),
        "weights, metadata `activation.ranges`: 3 numbers, expected 7",
    );
    expect(small.refused("activation.ranges", "[1, 2, 3, -4, 5, 6, 7]"), "s2.act1: recorded range -4");
    small.metadata.insert("activation.ranges".into(), "[1, 2, 3, 4, 5, 6, 7]".into());
    let graph = small.read().graph;
    assert_eq!(graph.node(graph.find("s3.act2").unwrap()).recorded, Some(7.0));
    assert_eq!(small.read().architecture, Architecture::ResNet8);
}

#[test]
fn a_teacher_is_compiled_as_it_is() {
    let graph = case("lenet5 teacher").read().graph;
    assert!(Folded::new(&graph).unwrap().compares());
    let compiled = compile(&graph, &noise(&graph, 6), &CompileOptions::default()).unwrap();
    assert!(compiled.report.meets_target() && compiled.plan.compares(), "{}", compiled.report);
    assert_eq!(compiled.plan.limbs.count(), 1);
}

fn noise(graph: &Graph, count: usize) -> Vec<Vec<f32>> {
    let (mut r, len) = (Random(5), graph.input_shape().iter().product());
    let range = graph.input_range();
    let number = |r: &mut Random| ((r.real() + 1.0) / 2.0 * (range.high - range.low) + range.low) as f32;
    (0..count).map(|_| (0..len).map(|_| number(&mut r)).collect()).collect()
}

/// Median relative error of the simulator against the float executor.
fn fixed_point_error(graph: &Graph, samples: &[Vec<f32>]) -> f64 {
    let compiled = compile(graph, samples, &CompileOptions::default()).unwrap();
    let simulator = Simulator::new(&compiled.plan, &compiled.weights).unwrap();
    let error = |x: &Vec<f32>| {
        let input = LimbVec::from_i64(compiled.plan.limbs, &quantize_input(&compiled.plan, x).unwrap());
        let logits = simulator.outputs(&input, 1).unwrap().logits();
        relative_error(&logits, &FloatExecutor::new(graph).run(x).unwrap())
    };
    median(&samples.iter().map(error).collect::<Vec<f64>>())
}

#[test]
fn resnet_is_as_good_in_integers() {
    let graph = networks::resnet8_random(3, 4).unwrap();
    let error = fixed_point_error(&graph, &noise(&graph, 6));
    assert!(error < 0.005, "{error}");
}

#[test]
fn alexnet_is_as_good_in_integers() {
    let graph = networks::alexnet_cifar_random(3).unwrap();
    let error = fixed_point_error(&graph, &noise(&graph, 2));
    assert!(error < 0.005, "{error}");
}

#[test]
fn norms_after_sums_go_into_both_branches() {
    let graph = networks::resnet8_random(3, 4).unwrap();
    let folded = Folded::new(&graph).unwrap();
    for text in [
        "s1.bn2 folded into s1.conv2",
        "s1.bn2 made a layer of one weight a channel behind act1",
        "s2.bn2 folded into s2.conv2",
        "s2.bn2 folded into s2.shortcut",
    ] {
        assert!(folded.rewrites.iter().any(|r| r == text), "{text}: {:?}", folded.rewrites);
    }
    // Ten convolutions and fully connected layers, and the identity's.
    assert_eq!(folded.linears.len(), 11);
    let of_identity = folded.linears.iter().find(|l| l.name == "s1.bn2.act1").unwrap();
    assert_eq!((of_identity.weights.len(), of_identity.bias.len()), (4, 0));
    let sums = folded.ops.iter().filter(|op| matches!(op.kind, FoldedKind::Add { .. }));
    assert_eq!(sums.count(), 3);
}
