//! A convolutional network as a graph of named nodes, with `f32` weights.
//!
//! Where it stands: made by [`GraphBuilder`] (or [`crate::networks`]), run in floating point by
//! [`crate::float`], folded by [`crate::fold`]. Values are single images:
//! `[channels, height, width]` or `[length]`; batches exist only when a plan is run.
//!
//! A graph is valid by construction: nodes use earlier nodes only, shapes fit, every number is
//! finite.

mod builder;
mod gather;
mod options;
mod tensor;

pub use builder::GraphBuilder;
pub use gather::Gather;
pub(crate) use gather::all;
pub use options::{BatchNorm, ConvOptions, PoolOptions};
pub use tensor::{SecretReals, Tensor};

use amicus_field::{Conv2d, Dense, LinearShape, SumPool2d};
use amicus_plan::Range;
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::function::Function;

/// A node of one graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) usize);

impl NodeId {
    /// Position in [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// Which of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Extreme {
    /// The larger one.
    Largest,
    /// The smaller one.
    Smallest,
}

impl Extreme {
    /// That one of two numbers.
    pub fn of(self, a: f64, b: f64) -> f64 {
        match self {
            Extreme::Largest => a.max(b),
            Extreme::Smallest => a.min(b),
        }
    }
}

/// What a node computes from its inputs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Layer {
    /// The client's input.
    Input {
        /// Range of the numbers a client may send.
        range: Range,
    },
    /// Two-dimensional convolution (cross-correlation, as in every framework).
    Conv2d {
        /// Sizes, from the input's shape.
        shape: Conv2d,
        /// Weights, `[out_channels, in_channels / groups, kernel height, kernel width]`.
        weights: Tensor,
        /// One number an output channel.
        bias: Option<Tensor>,
    },
    /// Fully connected layer.
    Linear {
        /// Sizes.
        shape: Dense,
        /// Weights, `[outputs, inputs]`.
        weights: Tensor,
        /// One number an output.
        bias: Option<Tensor>,
    },
    /// `scale[c] x + offset[c]` for channel (or element, after a fully connected layer) `c`.
    BatchNorm {
        /// `gamma / sqrt(variance + eps)`.
        scale: SecretReals,
        /// `beta - mean * scale`.
        offset: SecretReals,
    },
    /// Means over windows; padding counts as zeros (`count_include_pad`).
    AveragePool(SumPool2d),
    /// Sums over windows.
    SumPool(SumPool2d),
    /// `sum_k coefficients[k] (t / interval)^k`, fitted for `t` in `[-interval, interval]`.
    Polynomial {
        /// `a_0 .. a_d` of `u = t / interval`.
        coefficients: Vec<f64>,
        /// Half-width of the interval.
        interval: f64,
    },
    /// Any function of one variable; [`crate::approximate`] replaces it by a polynomial.
    Activation(Function),
    /// Largest numbers of windows, padding left out; [`crate::approximate`] replaces it by means.
    MaxPool(SumPool2d),
    /// `[channels, height, width]` to `[length]`, in that order.
    Flatten,
    /// A value's numbers in their order under another shape.
    Reshape,
    /// Images of equal height and width one behind the other, channel by channel.
    Concat,
    /// Sum of two values of equal shape.
    Add,
    /// The larger or smaller of two values of equal shape, element by element.
    Extreme(Extreme),
    /// Product of two values of equal shape, element by element: both depend on the image.
    Multiply,
    /// Numbers of a value by their places.
    Gather(Gather),
    /// Every element of an image times `rows[y] columns[x] / divisor`: means over windows that hold
    /// fewer elements at the border.
    Weigh {
        /// One factor a row.
        rows: Vec<u32>,
        /// One factor a column.
        columns: Vec<u32>,
        /// What the factors are over, above 0.
        divisor: f64,
    },
}

impl Layer {
    /// What people call it.
    pub fn kind(&self) -> &'static str {
        match self {
            Layer::Input { .. } => "input",
            Layer::Conv2d { .. } => "convolution",
            Layer::Linear { .. } => "fully connected",
            Layer::BatchNorm { .. } => "batch norm",
            Layer::AveragePool(_) => "average pool",
            Layer::SumPool(_) => "sum pool",
            Layer::Polynomial { .. } => "polynomial",
            Layer::Activation(_) => "activation",
            Layer::MaxPool(_) => "max pool",
            Layer::Flatten => "flatten",
            Layer::Reshape => "reshape",
            Layer::Concat => "concat",
            Layer::Add => "sum",
            Layer::Extreme(Extreme::Largest) => "maximum",
            Layer::Extreme(Extreme::Smallest) => "minimum",
            Layer::Multiply => "product",
            Layer::Gather(_) => "gather",
            Layer::Weigh { .. } => "factors by position",
        }
    }
}

/// One node: a layer, its inputs and the shape of its result.
#[derive(Clone, Debug)]
pub struct Node {
    /// Name, unique in its graph.
    pub name: String,
    /// What it computes.
    pub layer: Layer,
    /// The nodes it reads, all before it.
    pub inputs: Vec<NodeId>,
    /// Shape of its result.
    pub shape: Vec<usize>,
    /// Largest argument `|t / interval|` of a polynomial (or result `|t|` of the last node) seen
    /// elsewhere, on training data for example: calibration assumes at least this.
    pub recorded: Option<f64>,
}

impl Node {
    /// Number of elements of the result.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the result has no elements; never the case in a finished graph.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A network: nodes in an order in which each uses earlier nodes only. `Debug` shows no weights.
#[derive(Clone, Debug)]
pub struct Graph {
    name: String,
    nodes: Vec<Node>,
    output: NodeId,
    /// Where axis `k` of the input stands in images as users give them.
    given_axes: Option<[usize; 3]>,
    /// Shape of inputs as users give them, where the input holds their numbers in a row.
    given_rows: Option<Vec<usize>>,
    /// What the result is put together from; none where it is one output.
    outputs: Vec<OutputPart>,
}

/// One of several outputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputPart {
    /// Its name in the file.
    pub name: String,
    /// Its shape, without the batch.
    pub shape: Vec<usize>,
}

impl Graph {
    /// Name of the network.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All nodes; the first is the input.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The node of that name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|n| n.name == name).map(NodeId)
    }

    /// The node whose value is the result.
    pub fn output(&self) -> NodeId {
        self.output
    }

    /// Outputs that the result holds one behind the other; none where it is a single one.
    pub fn outputs(&self) -> &[OutputPart] {
        &self.outputs
    }

    /// Shape of the input.
    pub fn input_shape(&self) -> &[usize] {
        &self.nodes[0].shape
    }

    /// Shape of an image as users give it: that of the input, unless the network's file takes
    /// images with other axes first (height, width, channels).
    pub fn given_shape(&self) -> Vec<usize> {
        if let Some(shape) = &self.given_rows {
            return shape.clone();
        }
        let stored = self.input_shape();
        let Some(axes) = self.given_axes else { return stored.to_vec() };
        let mut given = vec![0; 3];
        axes.iter().zip(stored).for_each(|(&a, &size)| given[a] = size);
        given
    }

    /// An image as users give it in the order of the input. Images of another length come back as
    /// they are.
    pub fn arranged(&self, image: Vec<f32>) -> Vec<f32> {
        let (Some(axes), &[c, h, w]) = (self.given_axes, self.input_shape()) else { return image };
        if image.len() != c * h * w {
            return image;
        }
        let given = self.given_shape();
        let steps = axes.map(|a| given[a + 1..].iter().product::<usize>());
        let places = (0..c).flat_map(|k| (0..h).flat_map(move |y| (0..w).map(move |x| [k, y, x])));
        places.map(|at| image[at.iter().zip(steps).map(|(i, step)| i * step).sum::<usize>()]).collect()
    }

    /// Where axis `k` of the input stands in images as users give them, if that is elsewhere.
    pub(crate) fn given_axes(&self) -> Option<[usize; 3]> {
        self.given_axes
    }

    /// Shape of inputs as users give them, if they are no images and the input holds them in a row.
    pub(crate) fn given_rows(&self) -> Option<&[usize]> {
        self.given_rows.as_deref()
    }

    /// Range of the input's numbers.
    pub fn input_range(&self) -> Range {
        match self.nodes[0].layer {
            Layer::Input { range } => range,
            _ => unreachable!("the first node of a graph is its input"),
        }
    }

    /// This graph for inputs of another range.
    ///
    /// # Errors
    /// When the range is not a finite interval.
    pub fn with_input_range(mut self, range: Range) -> Result<Self, ModelError> {
        if !(range.low.is_finite() && range.high.is_finite() && range.low <= range.high) {
            let reason = format!("range {} to {} is not a finite interval", range.low, range.high);
            return Err(ModelError::node("input", reason));
        }
        self.nodes[0].layer = Layer::Input { range };
        Ok(self)
    }

    /// A graph of the same input with other nodes behind, whose inputs come before them and whose
    /// shapes fit; without those that do not reach the output.
    pub(crate) fn with_nodes(&self, nodes: Vec<Node>, output: NodeId) -> Self {
        let (nodes, output) = reaching(nodes, output);
        Graph { nodes, output, ..self.frame() }
    }

    /// A graph of changed nodes: same names, inputs and shapes.
    pub fn with_layers(&self, layers: impl FnMut(NodeId, &Node) -> Layer) -> Self {
        let mut layers = layers;
        let change = |(i, node): (usize, &Node)| Node { layer: layers(NodeId(i), node), ..node.clone() };
        let nodes = self.nodes.iter().enumerate().map(change).collect();
        Graph { nodes, ..self.frame() }
    }

    /// This graph without its nodes.
    fn frame(&self) -> Self {
        Graph {
            name: self.name.clone(),
            nodes: Vec::new(),
            output: self.output,
            given_axes: self.given_axes,
            given_rows: self.given_rows.clone(),
            outputs: self.outputs.clone(),
        }
    }

    /// Multiply-adds of one run.
    pub(crate) fn multiply_adds(&self) -> u64 {
        let of = |layer: &Layer| match layer {
            Layer::Conv2d { shape, .. } => LinearShape::Conv2d(*shape).multiply_adds(),
            Layer::Linear { shape, .. } => LinearShape::Dense(*shape).multiply_adds(),
            _ => 0,
        };
        self.nodes.iter().map(|node| of(&node.layer) as u64).sum()
    }

    /// Nodes that read a value.
    pub fn consumers(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        self.nodes.iter().enumerate().filter(move |(_, n)| n.inputs.contains(&id)).map(|(i, _)| NodeId(i))
    }
}

/// The input and the nodes whose value reaches `output`, and its new place.
fn reaching(nodes: Vec<Node>, output: NodeId) -> (Vec<Node>, NodeId) {
    let mut used = vec![false; nodes.len()];
    used[0] = true;
    used[output.0] = true;
    for i in (0..=output.0).rev().filter(|&i| i < nodes.len()) {
        if used[i] {
            nodes[i].inputs.iter().for_each(|id| used[id.0] = true);
        }
    }
    let mut places = vec![NodeId(0); nodes.len()];
    let mut kept = Vec::with_capacity(nodes.len());
    for (i, mut node) in nodes.into_iter().enumerate() {
        if used[i] {
            node.inputs.iter_mut().for_each(|id| *id = places[id.0]);
            places[i] = NodeId(kept.len());
            kept.push(node);
        }
    }
    let output = places[output.0];
    (kept, output)
}
