//! Building a graph node by node; shapes are inferred as it grows.

use std::collections::HashSet;

use amicus_field::{Conv2d, Dense, LinearShape, SumPool2d};
use amicus_plan::Range;

use crate::error::ModelError;
use crate::function::Function;
use crate::graph::{
    BatchNorm, ConvOptions, Extreme, Gather, Graph, Layer, Node, NodeId, OutputPart, PoolOptions,
    SecretReals, Tensor, reaching,
};

/// Builds a [`Graph`]. The first mistake is kept and reported by [`GraphBuilder::finish`], so that
/// building reads straight through:
///
/// ```
/// use amicus_model::graph::{ConvOptions, GraphBuilder, PoolOptions};
///
/// let mut g = GraphBuilder::new("small", &[1, 8, 8], 0.0..=1.0);
/// let x = g.input();
/// let x = g.conv2d("conv", x, ConvOptions::square(2, 3), vec![0.1; 18], None);
/// let x = g.polynomial("square", x, 4.0, vec![0.0, 0.5, 0.25]);
/// let x = g.average_pool("pool", x, PoolOptions::square(2));
/// let x = g.flatten("flat", x);
/// let x = g.linear("fc", x, 3, vec![0.2; 54], Some(vec![0.0; 3]));
/// let graph = g.finish(x)?;
/// assert_eq!(graph.node(graph.output()).shape, [3]);
/// # Ok::<(), amicus_model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct GraphBuilder {
    name: String,
    nodes: Vec<Node>,
    names: HashSet<String>,
    given_axes: Option<[usize; 3]>,
    given_rows: Option<Vec<usize>>,
    outputs: Vec<OutputPart>,
    error: Option<ModelError>,
}

impl GraphBuilder {
    /// A graph with one input, named `input`, of the given shape (`[channels, height, width]` or
    /// `[length]`) and range of numbers.
    pub fn new(name: &str, shape: &[usize], range: std::ops::RangeInclusive<f64>) -> Self {
        let mut builder = GraphBuilder {
            name: name.to_owned(),
            nodes: Vec::new(),
            names: HashSet::new(),
            given_axes: None,
            given_rows: None,
            outputs: Vec::new(),
            error: None,
        };
        let range = Range { low: *range.start(), high: *range.end() };
        builder.push("input", &[], |_| {
            if !(range.low.is_finite() && range.high.is_finite() && range.low <= range.high) {
                return Err(format!("range {} to {} is not a finite interval", range.low, range.high));
            }
            if !matches!(shape.len(), 1 | 3) {
                return Err(format!("shape {shape:?}, expected [channels, height, width] or [length]"));
            }
            Ok((Layer::Input { range }, shape.to_vec()))
        });
        builder
    }

    /// The input node.
    pub fn input(&self) -> NodeId {
        NodeId(0)
    }

    /// Users give images with axis `k` of the input at place `axes[k]`: `[2, 0, 1]` for height,
    /// width, channels.
    pub fn arrange_input(&mut self, axes: [usize; 3]) {
        let mut sorted = axes;
        sorted.sort_unstable();
        if self.error.is_none() && (sorted != [0, 1, 2] || self.nodes[0].shape.len() != 3) {
            self.error = Some(ModelError::node("input", format!("axes {axes:?} of an image")));
        }
        self.given_axes = (axes != [0, 1, 2]).then_some(axes);
    }

    /// Users give inputs of another shape, whose numbers in a row are the input.
    pub fn shape_input(&mut self, shape: Vec<usize>) {
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let flat =
            self.nodes.first().is_some_and(|input| input.shape.len() == 1 && Some(input.len()) == elements);
        if self.error.is_none() && !flat {
            self.error = Some(ModelError::node("input", format!("given as shape {shape:?}")));
        }
        self.given_rows = Some(shape);
    }

    /// The node of that name, if it was added.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|n| n.name == name).map(NodeId)
    }

    /// Two-dimensional convolution of a `[channels, height, width]` value; weights
    /// `[out_channels, channels / groups, kernel height, kernel width]`, bias one number an output
    /// channel.
    pub fn conv2d(
        &mut self,
        name: &str,
        input: NodeId,
        options: ConvOptions,
        weights: Vec<f32>,
        bias: Option<Vec<f32>>,
    ) -> NodeId {
        self.push(name, &[input], |shapes| {
            let [c, h, w] = image(&shapes[0])?;
            let ConvOptions { out_channels, kernel, stride, padding, dilation, groups } = options;
            let shape = Conv2d {
                in_channels: c,
                in_height: h,
                in_width: w,
                out_channels,
                kernel,
                stride,
                padding,
                dilation,
                groups,
            };
            let linear = LinearShape::Conv2d(shape);
            let (weights, bias) = parameters(&linear, weights, bias)?;
            let [height, width] = shape.out_size();
            Ok((Layer::Conv2d { shape, weights, bias }, vec![out_channels, height, width]))
        })
    }

    /// Fully connected layer over all elements of a `[length]` value; weights `[outputs, length]`.
    pub fn linear(
        &mut self,
        name: &str,
        input: NodeId,
        outputs: usize,
        weights: Vec<f32>,
        bias: Option<Vec<f32>>,
    ) -> NodeId {
        self.push(name, &[input], |shapes| {
            let [inputs] = shapes[0][..] else {
                return Err(format!(
                    "a fully connected layer needs a flat value, not {:?}; flatten it",
                    shapes[0]
                ));
            };
            let shape = Dense { inputs, outputs };
            let (weights, bias) = parameters(&LinearShape::Dense(shape), weights, bias)?;
            Ok((Layer::Linear { shape, weights, bias }, vec![outputs]))
        })
    }

    /// BatchNorm over the channels of an image, or over the elements of a flat value.
    pub fn batch_norm(&mut self, name: &str, input: NodeId, bn: BatchNorm) -> NodeId {
        self.push(name, &[input], |shapes| {
            let channels = shapes[0][0];
            let BatchNorm { gamma, beta, mean, variance, eps } = bn;
            for (what, values) in
                [("gamma", &gamma), ("beta", &beta), ("mean", &mean), ("variance", &variance)]
            {
                if values.len() != channels {
                    return Err(format!("{} numbers as {what}, expected {channels}", values.len()));
                }
                finite(what, values)?;
            }
            let (mut scale, mut offset) = (SecretReals::default(), SecretReals::default());
            for c in 0..channels {
                let v = f64::from(variance[c]) + eps;
                if !(v > 0.0 && v.is_finite()) {
                    return Err(format!(
                        "variance {} plus eps {eps} in channel {c} is not positive",
                        variance[c]
                    ));
                }
                let s = f64::from(gamma[c]) / v.sqrt();
                scale.0.push(s);
                offset.0.push(f64::from(beta[c]) - f64::from(mean[c]) * s);
            }
            Ok((Layer::BatchNorm { scale, offset }, shapes[0].clone()))
        })
    }

    /// Means over windows of an image.
    pub fn average_pool(&mut self, name: &str, input: NodeId, options: PoolOptions) -> NodeId {
        self.push(name, &[input], |shapes| {
            let (pool, shape) = pool(&shapes[0], options)?;
            Ok((Layer::AveragePool(pool), shape))
        })
    }

    /// Mean of every channel of an image: `[channels, 1, 1]`.
    pub fn global_average_pool(&mut self, name: &str, input: NodeId) -> NodeId {
        self.push(name, &[input], |shapes| {
            let [_, h, w] = image(&shapes[0])?;
            let (pool, shape) =
                pool(&shapes[0], PoolOptions { kernel: [h, w], stride: [1; 2], padding: [0; 4] })?;
            Ok((Layer::AveragePool(pool), shape))
        })
    }

    /// Sums over windows of an image.
    pub fn sum_pool(&mut self, name: &str, input: NodeId, options: PoolOptions) -> NodeId {
        self.push(name, &[input], |shapes| {
            let (pool, shape) = pool(&shapes[0], options)?;
            Ok((Layer::SumPool(pool), shape))
        })
    }

    /// Every element of an image times `rows[y] columns[x] / divisor`.
    pub fn weigh(
        &mut self,
        name: &str,
        input: NodeId,
        rows: Vec<u32>,
        columns: Vec<u32>,
        divisor: f64,
    ) -> NodeId {
        self.push(name, &[input], |shapes| {
            let [_, h, w] = image(&shapes[0])?;
            if [rows.len(), columns.len()] != [h, w] {
                return Err(format!(
                    "{} and {} factors for {h} rows and {w} columns",
                    rows.len(),
                    columns.len()
                ));
            }
            let most = amicus_plan::values::MAX_FACTOR;
            if let Some(factor) = rows.iter().chain(&columns).find(|f| !(1..=most).contains(*f)) {
                return Err(format!("factor {factor}, 1 to {most} are possible"));
            }
            if !(divisor > 0.0 && divisor.is_finite()) {
                return Err(format!("divisor {divisor}, must be above 0 and finite"));
            }
            Ok((Layer::Weigh { rows, columns, divisor }, shapes[0].clone()))
        })
    }

    /// Polynomial activation `sum_k coefficients[k] (t / interval)^k`, degree 1 to 8.
    pub fn polynomial(&mut self, name: &str, input: NodeId, interval: f64, coefficients: Vec<f64>) -> NodeId {
        self.push(name, &[input], |shapes| {
            if !(interval > 0.0 && interval.is_finite()) {
                return Err(format!("interval half-width {interval}, must be above 0 and finite"));
            }
            if !(2..=9).contains(&coefficients.len()) {
                return Err(format!("{} coefficients, expected 2 to 9 (degree 1 to 8)", coefficients.len()));
            }
            if let Some(k) = coefficients.iter().position(|a| !a.is_finite()) {
                return Err(format!("coefficient {k} is {}", coefficients[k]));
            }
            Ok((Layer::Polynomial { coefficients, interval }, shapes[0].clone()))
        })
    }

    /// `scale[c] x + offset[c]` over the channels of an image, or over the elements of a flat
    /// value.
    pub fn affine(&mut self, name: &str, input: NodeId, scale: SecretReals, offset: SecretReals) -> NodeId {
        self.push(name, &[input], |shapes| {
            let channels = shapes[0][0];
            for (what, values) in [("factors", &scale), ("offsets", &offset)] {
                if values.len() != channels {
                    return Err(format!("{} {what}, expected {channels}", values.len()));
                }
                if let Some(i) = values.iter().position(|v| !v.is_finite()) {
                    return Err(format!("{what}: number {i} is {}", values[i]));
                }
            }
            Ok((Layer::BatchNorm { scale, offset }, shapes[0].clone()))
        })
    }

    /// Largest numbers of windows of an image; padding does not count.
    pub fn max_pool(&mut self, name: &str, input: NodeId, options: PoolOptions) -> NodeId {
        self.push(name, &[input], |shapes| {
            let (pool, shape) = pool(&shapes[0], options)?;
            let [top, left, bottom, right] = pool.padding;
            if top.max(bottom) >= pool.kernel[0] || left.max(right) >= pool.kernel[1] {
                return Err(format!("padding {:?} as large as the window {:?}", pool.padding, pool.kernel));
            }
            Ok((Layer::MaxPool(pool), shape))
        })
    }

    /// A function of every number; it must become a polynomial before compilation.
    pub fn activation(&mut self, name: &str, input: NodeId, function: Function) -> NodeId {
        self.push(name, &[input], |shapes| {
            if !function.is_valid() {
                return Err("a function that is not well formed".to_owned());
            }
            Ok((Layer::Activation(function), shapes[0].clone()))
        })
    }

    /// A value's numbers in their order under another shape (`[channels, height, width]` or
    /// `[length]`).
    pub fn reshape(&mut self, name: &str, input: NodeId, shape: &[usize]) -> NodeId {
        self.push(name, &[input], |shapes| {
            let elements = |s: &[usize]| s.iter().try_fold(1usize, |a, &b| a.checked_mul(b));
            if !matches!(shape.len(), 1 | 3) || elements(shape) != elements(&shapes[0]) {
                return Err(format!("shape {:?} as {shape:?}", shapes[0]));
            }
            Ok((Layer::Reshape, shape.to_vec()))
        })
    }

    /// Images of equal height and width as one, channel by channel; or flat values one behind the
    /// other.
    pub fn concat(&mut self, name: &str, inputs: &[NodeId]) -> NodeId {
        self.push(name, inputs, |shapes| {
            let first = shapes.first().ok_or("nothing to join")?;
            if shapes.iter().all(|s| s.len() == 1) {
                let total = shapes.iter().fold(0usize, |n, s| n.saturating_add(s[0]));
                return Ok((Layer::Concat, vec![total]));
            }
            let [_, h, w] = image(first)?;
            let mut channels = 0usize;
            for shape in shapes {
                let [c, height, width] = image(shape)?;
                if [height, width] != [h, w] {
                    return Err(format!("joins images of {h} x {w} and {height} x {width}"));
                }
                channels = channels.saturating_add(c);
            }
            Ok((Layer::Concat, vec![channels, h, w]))
        })
    }

    /// An image as a flat value, channel by channel.
    pub fn flatten(&mut self, name: &str, input: NodeId) -> NodeId {
        self.push(name, &[input], |shapes| Ok((Layer::Flatten, vec![shapes[0].iter().product()])))
    }

    /// Sum of two values of equal shape (residual connection).
    pub fn add(&mut self, name: &str, left: NodeId, right: NodeId) -> NodeId {
        self.push(name, &[left, right], |shapes| {
            if shapes[0] != shapes[1] {
                return Err(format!("adds values of shapes {:?} and {:?}", shapes[0], shapes[1]));
            }
            Ok((Layer::Add, shapes[0].clone()))
        })
    }

    /// The larger or smaller of two values of equal shape, element by element.
    pub fn extreme(&mut self, name: &str, left: NodeId, right: NodeId, which: Extreme) -> NodeId {
        self.push(name, &[left, right], |shapes| {
            if shapes[0] != shapes[1] {
                return Err(format!("compares values of shapes {:?} and {:?}", shapes[0], shapes[1]));
            }
            Ok((Layer::Extreme(which), shapes[0].clone()))
        })
    }

    /// Product of two values of equal shape, element by element.
    pub fn multiply(&mut self, name: &str, left: NodeId, right: NodeId) -> NodeId {
        self.push(name, &[left, right], |shapes| {
            if shapes[0] != shapes[1] {
                return Err(format!("multiplies values of shapes {:?} and {:?}", shapes[0], shapes[1]));
            }
            Ok((Layer::Multiply, shapes[0].clone()))
        })
    }

    /// Numbers of a value by their places, under a shape (`[channels, height, width]` or
    /// `[length]`).
    pub fn gather(&mut self, name: &str, input: NodeId, gather: Gather, shape: &[usize]) -> NodeId {
        self.push(name, &[input], |shapes| {
            let taken = gather.outputs(shapes[0].iter().product())?;
            let elements = shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b));
            if !matches!(shape.len(), 1 | 3) || elements != Some(taken) {
                return Err(format!("{taken} numbers as shape {shape:?}"));
            }
            Ok((Layer::Gather(gather), shape.to_vec()))
        })
    }

    /// Notes the largest `|t / interval|` of a polynomial (or `|t|` of the last node) seen on other
    /// data; calibration assumes at least this.
    pub fn record(&mut self, node: NodeId, largest: f64) {
        if self.error.is_none() {
            let node = &mut self.nodes[node.0];
            if largest.is_finite() && largest >= 0.0 {
                node.recorded = Some(largest);
            } else {
                self.error = Some(ModelError::node(&node.name, format!("recorded range {largest}")));
            }
        }
    }

    /// Shape of a node's result.
    pub fn shape(&self, node: NodeId) -> &[usize] {
        &self.nodes[node.0].shape
    }

    /// The first mistake, which is forgotten: building goes on with the nodes before it.
    pub(crate) fn take_error(&mut self) -> Option<ModelError> {
        self.error.take()
    }

    /// Leaves out nodes whose value does not reach `output`; gives its new place.
    pub(crate) fn prune(&mut self, output: NodeId) -> NodeId {
        let (nodes, output) = reaching(std::mem::take(&mut self.nodes), output);
        self.nodes = nodes;
        output
    }

    /// Says what the result holds one behind the other.
    pub(crate) fn name_outputs(&mut self, outputs: Vec<OutputPart>) {
        self.outputs = outputs;
    }

    /// The finished graph whose result is `output`.
    ///
    /// # Errors
    /// The first mistake made while building, naming the node; a node whose value nobody uses.
    pub fn finish(self, output: NodeId) -> Result<Graph, ModelError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let graph = Graph {
            name: self.name,
            nodes: self.nodes,
            output,
            given_axes: self.given_axes,
            given_rows: self.given_rows,
            outputs: self.outputs.clone(),
        };
        let whole = graph.node(output).len();
        let sizes =
            self.outputs.iter().map(|part| part.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)));
        let together = sizes.into_iter().try_fold(0usize, |sum, size| sum.checked_add(size?));
        if !self.outputs.is_empty() && together != Some(whole) {
            return Err(ModelError::node("output", format!("outputs that are not {whole} numbers together")));
        }
        let unused = |i: &usize| *i != output.0 && graph.consumers(NodeId(*i)).next().is_none();
        match (0..graph.nodes.len()).find(unused) {
            Some(i) => Err(ModelError::node(&graph.nodes[i].name, "its value is never used")),
            None => Ok(graph),
        }
    }

    fn push(
        &mut self,
        name: &str,
        inputs: &[NodeId],
        layer: impl FnOnce(&[Vec<usize>]) -> Result<(Layer, Vec<usize>), String>,
    ) -> NodeId {
        if self.error.is_some() {
            return NodeId(0);
        }
        match self.checked(name, inputs, layer) {
            Ok(node) => self.nodes.push(node),
            Err(reason) => {
                self.error = Some(ModelError::node(name, reason));
                return NodeId(0);
            }
        }
        NodeId(self.nodes.len() - 1)
    }

    fn checked(
        &mut self,
        name: &str,
        inputs: &[NodeId],
        layer: impl FnOnce(&[Vec<usize>]) -> Result<(Layer, Vec<usize>), String>,
    ) -> Result<Node, String> {
        if !self.names.insert(name.to_owned()) {
            return Err("a second node of this name".to_owned());
        }
        let shapes: Vec<Vec<usize>> = inputs
            .iter()
            .map(|id| self.nodes.get(id.0).map(|n| n.shape.clone()).ok_or("uses a node of another graph"))
            .collect::<Result<_, _>>()?;
        let (layer, shape) = layer(&shapes)?;
        if shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b)).is_none_or(|n| n == 0 || n > MAX_ELEMENTS)
        {
            return Err(format!("shape {shape:?} is not between 1 and {MAX_ELEMENTS} elements"));
        }
        Ok(Node { name: name.to_owned(), layer, inputs: inputs.to_vec(), shape, recorded: None })
    }
}

/// Most elements of one value, the plan's limit.
const MAX_ELEMENTS: usize = amicus_plan::values::MAX_VALUE_LEN;

fn image(shape: &[usize]) -> Result<[usize; 3], String> {
    <[usize; 3]>::try_from(shape).map_err(|_| format!("needs [channels, height, width], not {shape:?}"))
}

fn pool(shape: &[usize], options: PoolOptions) -> Result<(SumPool2d, Vec<usize>), String> {
    let [channels, height, width] = image(shape)?;
    let PoolOptions { kernel, stride, padding } = options;
    let pool = SumPool2d { channels, height, width, kernel, stride, padding };
    pool.validate().map_err(|e| e.to_string())?;
    let [height, width] = pool.out_size();
    Ok((pool, vec![channels, height, width]))
}

fn parameters(
    shape: &LinearShape,
    weights: Vec<f32>,
    bias: Option<Vec<f32>>,
) -> Result<(Tensor, Option<Tensor>), String> {
    shape.validate().map_err(|e| e.to_string())?;
    if weights.len() != shape.weights() {
        return Err(format!("{} weights, expected {}", weights.len(), shape.weights()));
    }
    finite("weight", &weights)?;
    if let Some(bias) = &bias {
        if bias.len() != shape.biases() {
            return Err(format!("{} biases, expected {}", bias.len(), shape.biases()));
        }
        finite("bias", bias)?;
    }
    Ok((weights.into(), bias.map(Tensor::from)))
}

fn finite(what: &str, values: &[f32]) -> Result<(), String> {
    match values.iter().position(|v| !v.is_finite()) {
        Some(i) => Err(format!("{what} {i} is {}", values[i])),
        None => Ok(()),
    }
}
