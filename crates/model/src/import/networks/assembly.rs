//! The building blocks of known networks: layers whose numbers come from a file or a seed.

use super::{PixelRule, WeightFile};
use crate::error::ModelError;
use crate::fake_quantisation::SplitMix;
use crate::function::{Elementary, Function};
use crate::graph::{BatchNorm, ConvOptions, Graph, GraphBuilder, NodeId, PoolOptions};

/// Half-width of the interval of random networks' polynomials.
const RANDOM_INTERVAL: f64 = 4.0;
/// ReLU on that interval, roughly.
const RANDOM_COEFFICIENTS: [f64; 7] = [0.124, 2.0, 6.006, 0.0, -10.794, 0.0, 7.152];

/// Where the numbers of layers come from.
pub(super) enum Weights<'f> {
    /// A file's tensors, by name.
    File(&'f WeightFile<'f>),
    /// A seed: weights of variance `gain / inputs`, BatchNorm close to the identity.
    Random { generator: SplitMix, gain: f64 },
}

impl Weights<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let (generator, gain) = match self {
            Weights::File(file) => return file.tensor(name, shape),
            Weights::Random { generator, gain } => (generator, *gain),
        };
        let inputs: usize = shape.iter().skip(1).product();
        let (middle, width) = match name.rsplit('.').next() {
            Some("running_var") => (1.0, 0.2),
            Some("weight") if shape.len() == 1 => (0.9, 0.1),
            // Spread evenly over +-sqrt(3 v): variance v.
            Some("weight") => (0.0, (3.0 * gain / inputs as f64).sqrt()),
            _ => (0.0, 0.1),
        };
        let count = shape.iter().product();
        Ok((0..count).map(|_| (middle + width * (2.0 * generator.unit() - 1.0)) as f32).collect())
    }
}

/// The activations of a network.
pub(super) enum Activations {
    Relu,
    Polynomial {
        interval: f64,
        /// One list for all activations, or one an activation in order of use.
        coefficients: Vec<Vec<f64>>,
        /// Largest `|u|` seen in training, one an activation, or empty.
        ranges: Vec<f64>,
    },
}

impl Activations {
    /// What a file's metadata say.
    pub(super) fn of(file: &WeightFile<'_>) -> Result<Self, ModelError> {
        match file.find_metadata("activation") {
            None | Some("polynomial") => Ok(Activations::Polynomial {
                interval: file.number("activation.interval")?,
                coefficients: file.number_lists("activation.coefficients")?,
                ranges: file.find_numbers("activation.ranges")?.unwrap_or_default(),
            }),
            Some("relu") => Ok(Activations::Relu),
            Some(_) => Err(file.wrong("activation", "`polynomial` or `relu`")),
        }
    }

    /// Those of random networks: one polynomial for all.
    pub(super) fn random() -> Self {
        let coefficients = vec![RANDOM_COEFFICIENTS.to_vec()];
        Activations::Polynomial { interval: RANDOM_INTERVAL, coefficients, ranges: Vec::new() }
    }
}

/// How windows of 2 x 2 become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    Average,
    Max,
}

impl Pooling {
    /// What a file's metadata say.
    pub(super) fn of(file: &WeightFile<'_>) -> Result<Self, ModelError> {
        match file.find_metadata("pool") {
            None | Some("average") => Ok(Pooling::Average),
            Some("max") => Ok(Pooling::Max),
            Some(_) => Err(file.wrong("pool", "`average` or `max`")),
        }
    }
}

/// A network that grows layer by layer.
pub(super) struct Assembly<'f> {
    graph: GraphBuilder,
    weights: Weights<'f>,
    activations: Activations,
    pooling: Pooling,
    /// Activations so far.
    used: usize,
}

impl<'f> Assembly<'f> {
    /// A network with an input of shape `[channels, height, width]`.
    pub(super) fn new(
        name: &str,
        shape: [usize; 3],
        pixels: PixelRule,
        weights: Weights<'f>,
        activations: Activations,
    ) -> Self {
        let graph = GraphBuilder::new(name, &shape, pixels.range());
        Assembly { graph, weights, activations, pooling: Pooling::Average, used: 0 }
    }

    /// With pools of this kind.
    pub(super) fn pooling(mut self, pooling: Pooling) -> Self {
        self.pooling = pooling;
        self
    }

    /// The input.
    pub(super) fn input(&self) -> NodeId {
        self.graph.input()
    }

    /// The node just added, or what was wrong with it: later tensors are not asked for.
    fn added(&mut self, node: NodeId) -> Result<NodeId, ModelError> {
        self.graph.take_error().map_or(Ok(node), Err)
    }

    fn bias(&mut self, name: &str, outputs: usize, wanted: bool) -> Result<Option<Vec<f32>>, ModelError> {
        wanted.then(|| self.weights.tensor(&format!("{name}.bias"), &[outputs])).transpose()
    }

    /// Tensors `NAME.weight` and, if wanted, `NAME.bias`.
    pub(super) fn conv(
        &mut self,
        name: &str,
        x: NodeId,
        options: ConvOptions,
        bias: bool,
    ) -> Result<NodeId, ModelError> {
        let ConvOptions { out_channels, kernel: [height, width], .. } = options;
        let shape = [out_channels, self.graph.shape(x)[0], height, width];
        let weights = self.weights.tensor(&format!("{name}.weight"), &shape)?;
        let bias = self.bias(name, out_channels, bias)?;
        let node = self.graph.conv2d(name, x, options, weights, bias);
        self.added(node)
    }

    /// Tensors `NAME.weight` and, if wanted, `NAME.bias`.
    pub(super) fn dense(
        &mut self,
        name: &str,
        x: NodeId,
        outputs: usize,
        bias: bool,
    ) -> Result<NodeId, ModelError> {
        let shape = [outputs, self.graph.shape(x)[0]];
        let weights = self.weights.tensor(&format!("{name}.weight"), &shape)?;
        let bias = self.bias(name, outputs, bias)?;
        let node = self.graph.linear(name, x, outputs, weights, bias);
        self.added(node)
    }

    /// BatchNorm: tensors `NAME.weight`, `NAME.bias`, `NAME.running_mean` and `NAME.running_var`.
    pub(super) fn norm(&mut self, name: &str, x: NodeId) -> Result<NodeId, ModelError> {
        let channels = self.graph.shape(x)[0];
        let mut tensor = |part: &str| self.weights.tensor(&format!("{name}.{part}"), &[channels]);
        let (gamma, beta) = (tensor("weight")?, tensor("bias")?);
        let (mean, variance) = (tensor("running_mean")?, tensor("running_var")?);
        let eps = match &self.weights {
            Weights::File(file) => file.number("bn.eps")?,
            Weights::Random { .. } => 1e-5,
        };
        let node = self.graph.batch_norm(name, x, BatchNorm { gamma, beta, mean, variance, eps });
        self.added(node)
    }

    /// The next activation.
    pub(super) fn activation(&mut self, name: &str, x: NodeId) -> Result<NodeId, ModelError> {
        let (at, g) = (self.used, &mut self.graph);
        self.used += 1;
        let node = match &self.activations {
            Activations::Relu => g.activation(name, x, Function::elementary(Elementary::Relu)),
            Activations::Polynomial { interval, coefficients, ranges } => {
                // Numbers of lists are checked at the end, when the number of activations is known.
                let own = coefficients.get(if coefficients.len() == 1 { 0 } else { at });
                let node = g.polynomial(name, x, *interval, own.cloned().unwrap_or_else(|| vec![0.0; 2]));
                if let Some(&range) = ranges.get(at) {
                    g.record(node, range);
                }
                node
            }
        };
        self.added(node)
    }

    /// BatchNorm and activation.
    pub(super) fn activated(&mut self, norm: &str, act: &str, x: NodeId) -> Result<NodeId, ModelError> {
        let x = self.norm(norm, x)?;
        self.activation(act, x)
    }

    /// A pool over windows of 2 x 2.
    pub(super) fn halved(&mut self, name: &str, x: NodeId) -> Result<NodeId, ModelError> {
        let windows = PoolOptions::square(2);
        let node = match self.pooling {
            Pooling::Average => self.graph.average_pool(name, x, windows),
            Pooling::Max => self.graph.max_pool(name, x, windows),
        };
        self.added(node)
    }

    /// The mean of every channel, as a flat value.
    pub(super) fn mean(&mut self, name: &str, x: NodeId) -> Result<NodeId, ModelError> {
        let node = self.graph.global_average_pool(name, x);
        self.flat("flatten", node)
    }

    /// An image as a flat value.
    pub(super) fn flat(&mut self, name: &str, x: NodeId) -> Result<NodeId, ModelError> {
        let node = self.graph.flatten(name, x);
        self.added(node)
    }

    /// The sum of two values.
    pub(super) fn add(&mut self, name: &str, left: NodeId, right: NodeId) -> Result<NodeId, ModelError> {
        let node = self.graph.add(name, left, right);
        self.added(node)
    }

    /// The network whose result is `x`.
    pub(super) fn finish(self, x: NodeId) -> Result<Graph, ModelError> {
        if let Activations::Polynomial { coefficients, ranges, .. } = &self.activations {
            let used = self.used;
            let wrong = |key: &str, reason: String| {
                Err(ModelError::weights(&format!("metadata `activation.{key}`"), reason))
            };
            if !(coefficients.len() == 1 || coefficients.len() == used) {
                return wrong("coefficients", format!("{} lists, expected 1 or {used}", coefficients.len()));
            }
            if !(ranges.is_empty() || ranges.len() == used) {
                return wrong("ranges", format!("{} numbers, expected {used}", ranges.len()));
            }
        }
        self.graph.finish(x)
    }
}
