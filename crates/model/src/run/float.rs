//! The reference: a graph in floating point, `f32` weights and `f64` sums.
//!
//! Every fixed-point figure is measured against this (`docs/protocol.md`, section 8: relative error
//! of logits against the float polynomial model).

use amicus_field::LinearShape;

use crate::error::ModelError;
use crate::graph::{Graph, Layer, Node, NodeId};
use crate::run::linear;

/// Runs a [`Graph`] on real numbers.
#[derive(Clone, Copy, Debug)]
pub struct FloatExecutor<'g> {
    graph: &'g Graph,
}

/// The value of every node for one image; the model owner's and client's secret, so `Debug` shows
/// the number only.
#[derive(Clone)]
pub struct FloatValues {
    values: Vec<Vec<f64>>,
    output: usize,
}

impl std::fmt::Debug for FloatValues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FloatValues({} nodes)", self.values.len())
    }
}

impl FloatValues {
    /// The value of one node, in the order of its shape.
    pub fn node(&self, id: NodeId) -> &[f64] {
        &self.values[id.index()]
    }

    /// The value of the graph's output.
    pub fn output(&self) -> &[f64] {
        &self.values[self.output]
    }
}

impl<'g> FloatExecutor<'g> {
    /// An executor of a graph.
    pub fn new(graph: &'g Graph) -> Self {
        FloatExecutor { graph }
    }

    /// All node values for one image.
    ///
    /// # Errors
    /// When the image does not have as many numbers as the graph's input, or one is not finite.
    pub fn values(&self, image: &[f32]) -> Result<FloatValues, ModelError> {
        let expected = self.graph.nodes()[0].len();
        if image.len() != expected {
            let reason =
                format!("{} numbers, expected {expected} ({:?})", image.len(), self.graph.input_shape());
            return Err(ModelError::data("image", reason));
        }
        if let Some(i) = image.iter().position(|x| !x.is_finite()) {
            return Err(ModelError::data("image", format!("element {i} is {}", image[i])));
        }
        let mut values: Vec<Vec<f64>> = Vec::with_capacity(self.graph.nodes().len());
        for node in self.graph.nodes() {
            let inputs: Vec<&[f64]> = node.inputs.iter().map(|id| values[id.index()].as_slice()).collect();
            let result = compute(node, image, &inputs);
            values.push(result);
        }
        Ok(FloatValues { values, output: self.graph.output().index() })
    }

    /// The output for one image.
    ///
    /// # Errors
    /// What [`FloatExecutor::values`] refuses.
    pub fn run(&self, image: &[f32]) -> Result<Vec<f64>, ModelError> {
        let FloatValues { mut values, output } = self.values(image)?;
        Ok(values.swap_remove(output))
    }
}

/// One node's result from the values it reads, in order; the image is what an input node gives.
pub(crate) fn compute(node: &Node, image: &[f32], inputs: &[&[f64]]) -> Vec<f64> {
    let input = |i: usize| inputs[i];
    match &node.layer {
        Layer::Input { .. } => image.iter().map(|&x| f64::from(x)).collect(),
        Layer::Conv2d { shape, weights, bias } => {
            affine(&LinearShape::Conv2d(*shape), weights, bias.as_deref(), input(0))
        }
        Layer::Linear { shape, weights, bias } => {
            affine(&LinearShape::Dense(*shape), weights, bias.as_deref(), input(0))
        }
        Layer::BatchNorm { scale, offset } => {
            let per_channel = node.len() / scale.len();
            let x = input(0).iter().enumerate();
            x.map(|(i, x)| x * scale[i / per_channel] + offset[i / per_channel]).collect()
        }
        Layer::AveragePool(pool) => {
            let count = (pool.kernel[0] * pool.kernel[1]) as f64;
            linear::sum_pool(pool, input(0)).into_iter().map(|s| s / count).collect()
        }
        Layer::SumPool(pool) => linear::sum_pool(pool, input(0)),
        Layer::Polynomial { coefficients, interval } => {
            input(0).iter().map(|t| horner(coefficients, t / interval)).collect()
        }
        Layer::Activation(function) => input(0).iter().map(|&t| function.at(t)).collect(),
        Layer::MaxPool(pool) => linear::max_pool(pool, input(0)),
        Layer::Flatten | Layer::Reshape => input(0).to_vec(),
        Layer::Concat => inputs.concat(),
        Layer::Weigh { rows, columns, divisor } => {
            linear::weigh(input(0), rows, columns).into_iter().map(|x| x / divisor).collect()
        }
        Layer::Add => input(0).iter().zip(input(1)).map(|(a, b)| a + b).collect(),
        Layer::Multiply => input(0).iter().zip(input(1)).map(|(a, b)| a * b).collect(),
        Layer::Gather(gather) => gather.sources(input(0).len()).map(|i| input(0)[i]).collect(),
        Layer::Extreme(which) => input(0).iter().zip(input(1)).map(|(&a, &b)| which.of(a, b)).collect(),
    }
}

fn affine(shape: &LinearShape, weights: &[f32], bias: Option<&[f32]>, x: &[f64]) -> Vec<f64> {
    let mut z = linear::apply(shape, weights, x);
    if let Some(bias) = bias {
        for (z, &b) in z.chunks_exact_mut(shape.outputs_per_bias()).zip(bias) {
            z.iter_mut().for_each(|z| *z += f64::from(b));
        }
    }
    z
}

/// `sum_k coefficients[k] u^k`.
pub(crate) fn horner(coefficients: &[f64], u: f64) -> f64 {
    coefficients.iter().rev().fold(0.0, |p, a| p * u + a)
}
