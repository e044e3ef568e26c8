//! Small networks with seeded weights.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails
#![allow(dead_code)] // each test file uses its own part

use amicus_model::graph::{BatchNorm, ConvOptions, Graph, GraphBuilder, NodeId};

use super::Random;

/// A polynomial that looks like ReLU on [-interval, interval].
pub(crate) fn relu_like(interval: f64) -> Vec<f64> {
    [0.031, 0.5, 1.5, 0.0, -2.7, 0.0, 1.79].iter().map(|a| a * interval).collect()
}

pub(crate) struct Net {
    pub(crate) g: GraphBuilder,
    pub(crate) r: Random,
    pub(crate) degree: usize,
}

impl Net {
    pub(crate) fn new(name: &str, shape: &[usize], seed: u64) -> Self {
        Net { g: GraphBuilder::new(name, shape, -1.0..=1.0), r: Random(seed), degree: 6 }
    }

    pub(crate) fn conv(&mut self, name: &str, x: NodeId, inputs: usize, options: ConvOptions) -> NodeId {
        let taps = inputs / options.groups * options.kernel[0] * options.kernel[1];
        let weights = self.r.reals(options.out_channels * taps, (3.0 / taps as f64).sqrt());
        let bias = self.r.reals(options.out_channels, 0.1);
        self.g.conv2d(name, x, options, weights, Some(bias))
    }

    pub(crate) fn fc(&mut self, name: &str, x: NodeId, inputs: usize, outputs: usize) -> NodeId {
        let weights = self.r.reals(inputs * outputs, (3.0 / inputs as f64).sqrt());
        let bias = self.r.reals(outputs, 0.1);
        self.g.linear(name, x, outputs, weights, Some(bias))
    }

    pub(crate) fn bn(&mut self, name: &str, x: NodeId, channels: usize) -> NodeId {
        let gamma = self.r.reals(channels, 0.2).iter().map(|v| 0.6 + v).collect();
        let (beta, mean) = (self.r.reals(channels, 0.2), self.r.reals(channels, 0.2));
        let variance = self.r.reals(channels, 0.3).iter().map(|v| 1.0 + v).collect();
        self.g.batch_norm(name, x, BatchNorm { gamma, beta, mean, variance, eps: 1e-5 })
    }

    pub(crate) fn act(&mut self, name: &str, x: NodeId, interval: f64) -> NodeId {
        let mut coefficients = relu_like(interval);
        if self.degree == 2 {
            coefficients = vec![0.1 * interval, 0.5 * interval, 0.45 * interval];
        }
        self.g.polynomial(name, x, interval, coefficients)
    }

    pub(crate) fn sample(&mut self, n: usize) -> Vec<f32> {
        self.r.reals(n, 1.0)
    }
}

/// A stem, one block with an identity shortcut, one with a strided convolution as shortcut, global
/// pooling, a fully connected layer.
pub(crate) fn residual(seed: u64) -> (Graph, Vec<Vec<f32>>) {
    let mut n = Net::new("residual", &[3, 12, 12], seed);
    let three = |channels| ConvOptions::square(channels, 3).padding(1);
    let x = n.g.input();
    let x = n.conv("stem", x, 3, three(8));
    let x = n.bn("stem_bn", x, 8);
    let x = n.act("stem_act", x, 3.0);
    // Identity shortcut; the intervals differ, so factors have to travel.
    let y = n.conv("block1_conv1", x, 8, three(8));
    let y = n.bn("block1_bn1", y, 8);
    let y = n.act("block1_act1", y, 4.0);
    let y = n.conv("block1_conv2", y, 8, three(8).groups(2));
    let y = n.bn("block1_bn2", y, 8);
    let x = n.g.add("block1_add", y, x);
    let x = n.act("block1_act2", x, 5.0);
    // Strided block with a 1x1 convolution as shortcut.
    let y = n.conv("block2_conv1", x, 8, three(12).stride(2));
    let y = n.act("block2_act1", y, 6.0);
    let y = n.conv("block2_conv2", y, 12, three(12));
    let short = n.conv("block2_short", x, 8, ConvOptions::square(12, 1).stride(2));
    let short = n.bn("block2_short_bn", short, 12);
    let x = n.g.add("block2_add", short, y);
    let x = n.act("block2_act2", x, 6.0);
    let x = n.g.global_average_pool("gap", x);
    let x = n.g.flatten("flat", x);
    let x = n.fc("fc", x, 12, 5);
    let samples = (0..12).map(|_| n.sample(3 * 12 * 12)).collect();
    (n.g.finish(x).unwrap(), samples)
}
