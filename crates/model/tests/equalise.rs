//! Networks whose channels differ by seven powers of ten, kind by kind: the same answers, within
//! the target.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

mod common;

use amicus_model::approximate::{ApproximateOptions, MaxPooling, approximate};
use amicus_model::compare::{FixedPoint, Networks, compare};
use amicus_model::equalise::{Equalised, equalise};
use amicus_model::function::{Elementary, Function};
use amicus_model::graph::{BatchNorm, ConvOptions, GraphBuilder, PoolOptions};
use amicus_model::prepare::prepare;
use amicus_model::{CompileOptions, FloatExecutor, Graph, NodeId, compile};
use common::Random;

/// What stands between layers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Between {
    Relu,
    LeakyRelu,
    Silu,
    Polynomial,
    Nothing,
}

/// Where a network's channels are spread, and what makes them.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Convolution, activation, fully connected layer.
    Plain,
    /// BatchNorm makes the sizes; a mean before the next convolution.
    NormAndPool,
    /// Largest numbers of windows.
    MaxPool,
    /// Convolutions of every channel by itself, before and behind.
    Depthwise,
    /// Two readers, two values joined.
    Branches,
    /// A sum with what went around a layer.
    Residual,
    /// Fully connected layers alone.
    Flat,
}

const KINDS: [Kind; 7] = [
    Kind::Plain,
    Kind::NormAndPool,
    Kind::MaxPool,
    Kind::Depthwise,
    Kind::Branches,
    Kind::Residual,
    Kind::Flat,
];

/// Sizes of channels, in no order.
const SIZES: [f32; 4] = [1.0, 1e-4, 1e3, 1e-2];
const CHANNELS: usize = 8;

struct Net {
    g: GraphBuilder,
    r: Random,
    wide: bool,
    between: Between,
    activations: usize,
}

impl Net {
    fn size(&self, c: usize, spread: bool) -> f32 {
        if self.wide && spread { SIZES[c % SIZES.len()] } else { 1.0 }
    }

    /// A convolution whose input and output channels are spread or not.
    fn conv(&mut self, name: &str, x: NodeId, options: ConvOptions, [fed, gives]: [bool; 2]) -> NodeId {
        let inputs = self.g.shape(x)[0] / options.groups;
        let taps = options.kernel[0] * options.kernel[1];
        let mut weights =
            self.r.reals(options.out_channels * inputs * taps, (3.0 / (inputs * taps) as f64).sqrt());
        for (at, w) in weights.iter_mut().enumerate() {
            let o = at / (inputs * taps);
            let i = o / (options.out_channels / options.groups) * inputs + at / taps % inputs;
            *w *= self.size(o, gives) / self.size(i, fed);
        }
        let mut bias = self.r.reals(options.out_channels, 0.1);
        bias.iter_mut().enumerate().for_each(|(o, b)| *b *= self.size(o, gives));
        self.g.conv2d(name, x, options, weights, Some(bias))
    }

    /// A fully connected layer; input channels have `each` elements.
    fn fc(&mut self, name: &str, x: NodeId, outputs: usize, each: usize, [fed, gives]: [bool; 2]) -> NodeId {
        let inputs = self.g.shape(x)[0];
        let mut weights = self.r.reals(inputs * outputs, (3.0 / inputs as f64).sqrt());
        for (at, w) in weights.iter_mut().enumerate() {
            *w *= self.size(at / inputs, gives) / self.size(at % inputs / each, fed);
        }
        self.g.linear(name, x, outputs, weights, None)
    }

    fn act(&mut self, x: NodeId) -> NodeId {
        self.activations += 1;
        let name = format!("act{}", self.activations);
        let function = match self.between {
            Between::Nothing => return x,
            Between::Polynomial => return self.g.polynomial(&name, x, 1.0, vec![0.0, 1.0, 0.001]),
            Between::Relu => Function::elementary(Elementary::Relu),
            Between::LeakyRelu => Function::elementary(Elementary::LeakyRelu { alpha: 0.1 }),
            Between::Silu => Function::identity().times(Function::elementary(Elementary::Sigmoid)).unwrap(),
        };
        self.g.activation(&name, x, function)
    }
}

fn network(kind: Kind, between: Between, wide: bool) -> Graph {
    let shape: &[usize] = if kind == Kind::Flat { &[12] } else { &[2, 6, 6] };
    let g = GraphBuilder::new("spread", shape, -1.0..=1.0);
    let mut n = Net { g, r: Random(kind as u64 + 10), wide, between, activations: 0 };
    let (x, c) = (n.g.input(), CHANNELS);
    let three = ConvOptions::square(c, 3).padding(1);
    let narrow = ConvOptions::square(c, 1);
    let (y, spread) = match kind {
        Kind::Plain => {
            let y = n.conv("conv", x, three, [false, true]);
            (n.act(y), true)
        }
        Kind::NormAndPool => {
            let y = n.conv("conv", x, three, [false, false]);
            let gamma = (0..c).map(|c| n.size(c, true)).collect();
            let beta = (0..c).map(|c| 0.1 * n.size(c, true)).collect();
            let norm = BatchNorm { gamma, beta, mean: vec![0.05; c], variance: vec![0.9; c], eps: 1e-5 };
            let y = n.g.batch_norm("bn", y, norm);
            let y = n.act(y);
            let y = n.g.average_pool("pool", y, PoolOptions::square(2));
            let y = n.conv("behind", y, narrow, [true, true]);
            (n.act(y), true)
        }
        Kind::MaxPool => {
            let y = n.conv("conv", x, three, [false, true]);
            let y = n.act(y);
            (n.g.max_pool("pool", y, PoolOptions::square(2)), true)
        }
        Kind::Depthwise => {
            let y = n.conv("conv", x, three, [false, true]);
            let y = n.act(y);
            let y = n.conv("depthwise", y, three.groups(c), [true, true]);
            let y = n.act(y);
            let y = n.conv("pointwise", y, narrow, [true, false]);
            let y = n.act(y);
            let y = n.conv("again", y, three.groups(c), [false, true]);
            (n.act(y), true)
        }
        Kind::Branches => {
            let y = n.conv("conv", x, three, [false, true]);
            let y = n.act(y);
            let a = n.conv("a", y, narrow, [true, true]);
            let b = n.conv("b", y, three, [true, true]);
            let (a, b) = (n.act(a), n.act(b));
            let y = n.g.concat("joined", &[a, b, y]);
            (n.g.average_pool("pool", y, PoolOptions::square(3)), true)
        }
        Kind::Residual => {
            let y = n.conv("conv", x, three, [false, true]);
            let y = n.act(y);
            let z = n.conv("inner", y, three, [true, false]);
            let z = n.act(z);
            let z = n.conv("last", z, three, [false, true]);
            let z = n.g.add("sum", z, y);
            (n.act(z), true)
        }
        Kind::Flat => {
            let y = n.fc("hidden", x, 16, 1, [false, true]);
            let y = n.act(y);
            let y = n.fc("hidden2", y, 16, 1, [true, true]);
            (n.act(y), true)
        }
    };
    let (y, each) = match n.g.shape(y) {
        &[_, h, w] => (n.g.flatten("flat", y), h * w),
        _ => (y, 1),
    };
    let y = n.fc("fc", y, 5, each, [spread, false]);
    n.g.finish(y).unwrap()
}

fn samples(graph: &Graph) -> Vec<Vec<f32>> {
    let mut r = Random(77);
    (0..32).map(|_| r.reals(graph.nodes()[0].len(), 1.0)).collect()
}

/// Largest difference relative to the largest number of each sample.
fn float_difference(a: &Graph, b: &Graph, samples: &[Vec<f32>]) -> f64 {
    let (a, b) = (FloatExecutor::new(a), FloatExecutor::new(b));
    samples.iter().fold(0.0, |worst, x| {
        let (a, b) = (a.run(x).unwrap(), b.run(x).unwrap());
        let size = a.iter().fold(0f64, |m, v| m.max(v.abs()));
        a.iter().zip(&b).fold(worst, |m, (a, b)| m.max((a - b).abs() / size))
    })
}

/// Median errors of the outputs against the network: of the fixed point alone, and of all. A
/// network that cannot be compiled is wholly wrong.
fn errors(graph: &Graph, samples: &[Vec<f32>]) -> [f64; 2] {
    let original = prepare(graph).unwrap().graph;
    let options = ApproximateOptions { max_pooling: MaxPooling::Average, ..ApproximateOptions::default() };
    let polynomial = approximate(&original, samples, &options).unwrap().graph;
    let Ok(compiled) = compile(&polynomial, samples, &CompileOptions::default()) else { return [1.0; 2] };
    let fixed = FixedPoint { plan: &compiled.plan, weights: &compiled.weights, factors: &compiled.factors };
    let networks = Networks { original: &original, polynomial: &polynomial, fixed: Some(fixed) };
    let comparison = compare(networks, samples, None, &mut |_| ()).unwrap();
    [comparison.fixed, comparison.total].map(|a| a.unwrap().relative_error.median)
}

#[test]
fn every_kind_of_network_gives_the_same_answers_within_its_target() {
    let mut failures = Vec::new();
    for kind in KINDS {
        for between in
            [Between::Relu, Between::LeakyRelu, Between::Silu, Between::Polynomial, Between::Nothing]
        {
            let graph = network(kind, between, true);
            let samples = samples(&graph);
            let Equalised { graph: equal, notes, .. } = equalise(&graph, &samples).unwrap();
            let float = float_difference(&graph, &equal, &samples);
            let [fixed, total] = errors(&equal, &samples);
            let [_, before] = errors(&graph, &samples);
            let alike = network(kind, between, false);
            let [_, usual] = errors(&alike, &samples);
            println!(
                "{kind:?} {between:?}: float {float:.1e}, fixed {fixed:.1e}, total {total:.1e}, before {before:.1e}, \
                 alike {usual:.1e}, {} nodes of {}, {} notes",
                equal.nodes().len(),
                graph.nodes().len(),
                notes.len()
            );
            // SiLU is nearly a line for small channels and nearly ReLU for large ones: another
            // network than where channels are alike.
            let silu = between == Between::Silu && kind != Kind::MaxPool;
            let most = if silu { 0.15 } else { 2.5 * usual + 0.005 };
            // Means in place of largest numbers cost more than all else, and a row of linear layers
            // is one.
            let helps = kind == Kind::MaxPool || (kind == Kind::Flat && between == Between::Nothing);
            let helps = helps || before > 2.0 * total;
            if notes.is_empty() || float > 1e-6 || fixed > 0.005 || total > most || !helps {
                failures.push((kind, between));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn networks_whose_channels_are_alike_stay_as_they_are() {
    for kind in KINDS {
        for between in [Between::Relu, Between::Silu, Between::Polynomial] {
            let graph = network(kind, between, false);
            let Equalised { graph: equal, notes, grouped } = equalise(&graph, &samples(&graph)).unwrap();
            assert!(notes.is_empty() && grouped == 0, "{kind:?} {between:?}: {notes:?}");
            assert_eq!(equal.nodes().len(), graph.nodes().len());
        }
    }
}

#[test]
fn small_channels_that_nothing_reads_are_left_small() {
    // Half of the channels are next to nothing, and so is what the layer behind makes of them.
    let weights: Vec<f32> = (0..8).map(|c| if c % 2 == 0 { 0.5 } else { 1e-7 }).collect();
    for between in [Between::Relu, Between::Silu] {
        let g = GraphBuilder::new("dead", &[1, 4, 4], -1.0..=1.0);
        let mut n = Net { g, r: Random(3), wide: false, between, activations: 0 };
        let y = n.g.conv2d("conv", n.g.input(), ConvOptions::square(8, 1), weights.clone(), None);
        let y = n.act(y);
        let y = n.g.flatten("flat", y);
        let y = n.fc("fc", y, 3, 16, [false; 2]);
        let graph = n.g.finish(y).unwrap();
        let equal = equalise(&graph, &samples(&graph)).unwrap();
        assert!(equal.notes.is_empty(), "{:?}", equal.notes);
    }
}

#[test]
fn samples_that_do_not_fit_are_refused() {
    let graph = network(Kind::Plain, Between::Relu, true);
    assert!(equalise(&graph, &[vec![0.0; 3]]).unwrap_err().to_string().contains("3 numbers"));
    assert_eq!(equalise(&graph, &[]).unwrap().grouped, 0);
}
