//! The float network in the file: its description, and its tensors one after the other.

use amicus_field::SumPool2d;
use amicus_plan::Range;
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::function::Function;
use crate::graph::{
    ConvOptions, Extreme, Gather, Graph, GraphBuilder, Layer, NodeId, OutputPart, PoolOptions, SecretReals,
};

/// A graph without its numbers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Description {
    name: String,
    shape: Vec<usize>,
    range: Range,
    given_axes: Option<[usize; 3]>,
    given_rows: Option<Vec<usize>>,
    outputs: Vec<OutputPart>,
    /// All nodes but the input.
    nodes: Vec<NodeDescription>,
    output: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct NodeDescription {
    name: String,
    inputs: Vec<usize>,
    recorded: Option<f64>,
    layer: LayerDescription,
}

#[derive(Debug, Serialize, Deserialize)]
enum LayerDescription {
    Conv2d {
        out_channels: usize,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 4],
        dilation: [usize; 2],
        groups: usize,
        weights: usize,
        bias: bool,
    },
    Linear {
        outputs: usize,
        weights: usize,
        bias: bool,
    },
    Affine {
        channels: usize,
    },
    AveragePool(Windows),
    SumPool(Windows),
    MaxPool(Windows),
    Polynomial {
        coefficients: Vec<f64>,
        interval: f64,
    },
    Activation(Function),
    Flatten,
    Reshape(Vec<usize>),
    Add,
    Concat,
    Weigh {
        rows: Vec<u32>,
        columns: Vec<u32>,
        divisor: f64,
    },
    Extreme(Extreme),
    Multiply,
    Gather {
        gather: Gather,
        shape: Vec<usize>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Windows {
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 4],
}

impl From<&SumPool2d> for Windows {
    fn from(pool: &SumPool2d) -> Self {
        Windows { kernel: pool.kernel, stride: pool.stride, padding: pool.padding }
    }
}

impl From<&Windows> for PoolOptions {
    fn from(w: &Windows) -> Self {
        PoolOptions { kernel: w.kernel, stride: w.stride, padding: w.padding }
    }
}

/// Where tensors come from, in the order of the nodes.
pub(super) trait Tensors {
    /// What can go wrong.
    type Error: From<ModelError>;
    /// The next numbers in single precision.
    fn singles(&mut self, count: usize) -> Result<Vec<f32>, Self::Error>;
    /// The next numbers in double precision.
    fn doubles(&mut self, count: usize) -> Result<Vec<f64>, Self::Error>;
}

/// A list of numbers of a graph.
pub(super) enum Numbers<'g> {
    Singles(&'g [f32]),
    Doubles(&'g [f64]),
}

/// The tensors of a graph in the order in which [`Description::build`] asks for them.
pub(super) fn numbers(graph: &Graph) -> impl Iterator<Item = Numbers<'_>> {
    graph.nodes().iter().flat_map(|node| match &node.layer {
        Layer::Conv2d { weights, bias, .. } | Layer::Linear { weights, bias, .. } => {
            let bias = bias.as_ref().map(|b| Numbers::Singles(b));
            std::iter::once(Numbers::Singles(weights)).chain(bias).collect::<Vec<_>>()
        }
        Layer::BatchNorm { scale, offset } => vec![Numbers::Doubles(scale), Numbers::Doubles(offset)],
        _ => Vec::new(),
    })
}

impl Description {
    /// The description of a graph.
    pub(super) fn of(graph: &Graph) -> Self {
        let nodes = graph.nodes()[1..].iter().map(|node| NodeDescription {
            name: node.name.clone(),
            inputs: node.inputs.iter().map(|i| i.index()).collect(),
            recorded: node.recorded,
            layer: match &node.layer {
                Layer::Conv2d { shape, weights, bias } => LayerDescription::Conv2d {
                    out_channels: shape.out_channels,
                    kernel: shape.kernel,
                    stride: shape.stride,
                    padding: shape.padding,
                    dilation: shape.dilation,
                    groups: shape.groups,
                    weights: weights.len(),
                    bias: bias.is_some(),
                },
                Layer::Linear { shape, weights, bias } => LayerDescription::Linear {
                    outputs: shape.outputs,
                    weights: weights.len(),
                    bias: bias.is_some(),
                },
                Layer::BatchNorm { scale, .. } => LayerDescription::Affine { channels: scale.len() },
                Layer::AveragePool(pool) => LayerDescription::AveragePool(pool.into()),
                Layer::SumPool(pool) => LayerDescription::SumPool(pool.into()),
                Layer::MaxPool(pool) => LayerDescription::MaxPool(pool.into()),
                Layer::Polynomial { coefficients, interval } => {
                    LayerDescription::Polynomial { coefficients: coefficients.clone(), interval: *interval }
                }
                Layer::Activation(function) => LayerDescription::Activation(function.clone()),
                Layer::Flatten => LayerDescription::Flatten,
                // A graph has one input, its first node.
                Layer::Reshape | Layer::Input { .. } => LayerDescription::Reshape(node.shape.clone()),
                Layer::Add => LayerDescription::Add,
                Layer::Extreme(which) => LayerDescription::Extreme(*which),
                Layer::Multiply => LayerDescription::Multiply,
                Layer::Gather(gather) => {
                    LayerDescription::Gather { gather: gather.clone(), shape: node.shape.clone() }
                }
                Layer::Concat => LayerDescription::Concat,
                Layer::Weigh { rows, columns, divisor } => LayerDescription::Weigh {
                    rows: rows.clone(),
                    columns: columns.clone(),
                    divisor: *divisor,
                },
            },
        });
        Description {
            name: graph.name().to_owned(),
            shape: graph.input_shape().to_vec(),
            range: graph.input_range(),
            given_axes: graph.given_axes(),
            given_rows: graph.given_rows().map(<[usize]>::to_vec),
            outputs: graph.outputs().to_vec(),
            nodes: nodes.collect(),
            output: graph.output().index(),
        }
    }

    /// The graph, with numbers as they come; everything is checked as if it were built anew.
    pub(super) fn build<T: Tensors>(self, tensors: &mut T) -> Result<Graph, T::Error> {
        let mut g = GraphBuilder::new(&self.name, &self.shape, self.range.low..=self.range.high);
        if let Some(axes) = self.given_axes {
            g.arrange_input(axes);
        }
        if let Some(shape) = &self.given_rows {
            g.shape_input(shape.clone());
        }
        if let Some(error) = g.take_error() {
            return Err(error.into());
        }
        for (index, node) in self.nodes.iter().enumerate() {
            let place = |i: &usize| NodeId(*i);
            let inputs: Vec<NodeId> = node.inputs.iter().map(place).collect();
            let pair = matches!(
                node.layer,
                LayerDescription::Add | LayerDescription::Extreme(_) | LayerDescription::Multiply
            );
            let wanted = if pair { 2 } else { 1 };
            let concat = matches!(node.layer, LayerDescription::Concat);
            if node.inputs.iter().any(|&i| i > index)
                || (!concat && inputs.len() != wanted)
                || inputs.is_empty()
            {
                return Err(ModelError::node(&node.name, format!("reads the nodes {:?}", node.inputs)).into());
            }
            let id = add(&mut g, node, &inputs, tensors)?;
            if let Some(largest) = node.recorded {
                g.record(id, largest);
            }
            if let Some(error) = g.take_error() {
                return Err(error.into());
            }
        }
        if self.output > self.nodes.len() {
            return Err(ModelError::node("output", format!("node {} does not exist", self.output)).into());
        }
        g.name_outputs(self.outputs);
        Ok(g.finish(NodeId(self.output))?)
    }
}

fn add<T: Tensors>(
    g: &mut GraphBuilder,
    node: &NodeDescription,
    inputs: &[NodeId],
    tensors: &mut T,
) -> Result<NodeId, T::Error> {
    let (name, x) = (node.name.as_str(), inputs[0]);
    Ok(match &node.layer {
        LayerDescription::Conv2d {
            out_channels,
            kernel,
            stride,
            padding,
            dilation,
            groups,
            weights,
            bias,
        } => {
            let values = tensors.singles(*weights)?;
            let bias = if *bias { Some(tensors.singles(*out_channels)?) } else { None };
            let options = ConvOptions {
                out_channels: *out_channels,
                kernel: *kernel,
                stride: *stride,
                padding: *padding,
                dilation: *dilation,
                groups: *groups,
            };
            g.conv2d(name, x, options, values, bias)
        }
        LayerDescription::Linear { outputs, weights, bias } => {
            let values = tensors.singles(*weights)?;
            let bias = if *bias { Some(tensors.singles(*outputs)?) } else { None };
            g.linear(name, x, *outputs, values, bias)
        }
        LayerDescription::Affine { channels } => {
            let scale: SecretReals = tensors.doubles(*channels)?.into_iter().collect();
            let offset: SecretReals = tensors.doubles(*channels)?.into_iter().collect();
            g.affine(name, x, scale, offset)
        }
        LayerDescription::AveragePool(w) => g.average_pool(name, x, w.into()),
        LayerDescription::SumPool(w) => g.sum_pool(name, x, w.into()),
        LayerDescription::MaxPool(w) => g.max_pool(name, x, w.into()),
        LayerDescription::Polynomial { coefficients, interval } => {
            g.polynomial(name, x, *interval, coefficients.clone())
        }
        LayerDescription::Activation(function) => g.activation(name, x, function.clone()),
        LayerDescription::Flatten => g.flatten(name, x),
        LayerDescription::Reshape(shape) => g.reshape(name, x, shape),
        LayerDescription::Add => g.add(name, x, inputs[1]),
        LayerDescription::Extreme(which) => g.extreme(name, x, inputs[1], *which),
        LayerDescription::Multiply => g.multiply(name, x, inputs[1]),
        LayerDescription::Gather { gather, shape } => g.gather(name, x, gather.clone(), shape),
        LayerDescription::Concat => g.concat(name, inputs),
        LayerDescription::Weigh { rows, columns, divisor } => {
            g.weigh(name, x, rows.clone(), columns.clone(), *divisor)
        }
    })
}
