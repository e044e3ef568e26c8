//! The forward and backward pass of any of the networks.

use std::collections::BTreeMap;

use burn::tensor::module::{avg_pool2d, batch_norm, batch_norm_train, conv2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions};
use burn::tensor::{Device, Tensor, TensorData};

use crate::architecture::{Architecture, BN_EPS, Block, Kind, Layer, Pool};
use crate::engine::activation::{Activation, Coefficients, values};
use crate::engine::watch::Watch;
use crate::weights::Weights;

/// Which statistics BatchNorm uses, and what activations do outside their interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The batch's own; activations go on as straight lines.
    Training,
    /// Running ones; activations are polynomials everywhere.
    Evaluation,
}

/// A network's tensors on a device, for one pass.
pub(crate) struct Network<'a> {
    architecture: &'a Architecture,
    tensors: BTreeMap<String, Tensor<1>>,
    activation: Activation,
    mode: Mode,
}

/// What a pass gives.
pub(crate) struct Pass {
    /// `[images, classes]`.
    pub(crate) logits: Tensor<2>,
    /// In training mode, each BatchNorm's statistics of the batch.
    pub(crate) statistics: Vec<Statistics>,
}

/// One BatchNorm's statistics of a batch.
pub(crate) struct Statistics {
    pub(crate) mean: Vec<f32>,
    /// Divided by the count less one, as PyTorch keeps it.
    pub(crate) variance: Vec<f32>,
}

/// What goes from block to block.
#[derive(Clone)]
enum Value {
    /// `[images, channels, rows, columns]`.
    Image(Tensor<4>),
    /// `[images, numbers]`.
    Flat(Tensor<2>),
}

impl<'a> Network<'a> {
    /// Puts weights on a device; with automatic differentiation there, gradients of those that are
    /// trained are kept.
    pub(crate) fn new(
        architecture: &'a Architecture,
        weights: &Weights,
        activation: Activation,
        mode: Mode,
        device: &Device,
    ) -> Self {
        let measured = |name: &str| name.ends_with(".running_mean") || name.ends_with(".running_var");
        let tensors = weights.iter().map(|tensor| {
            let data = TensorData::new(tensor.values.clone(), [tensor.values.len()]);
            let value = Tensor::<1>::from_data(data, device);
            let trained = device.is_autodiff() && !measured(&tensor.name);
            (tensor.name.clone(), if trained { value.require_grad() } else { value })
        });
        let tensors: BTreeMap<String, Tensor<1>> = tensors.collect();
        let activation = match activation {
            Activation::Polynomial(mut polynomial) => {
                for (block, coefficients) in architecture.blocks.iter().zip(&mut polynomial.coefficients) {
                    if let Some(tensor) = tensors.get(&coefficients_of(block)) {
                        *coefficients = Coefficients::Learned(Box::new(tensor.clone()));
                    }
                }
                Activation::Polynomial(polynomial)
            }
            relu => relu,
        };
        Self { architecture, tensors, activation, mode }
    }

    /// Runs images `[images, channels, rows, columns]`.
    pub(crate) fn forward(&self, images: Tensor<4>, watch: &mut impl Watch) -> Pass {
        let mut statistics = Vec::new();
        let mut results: Vec<Value> = Vec::with_capacity(self.architecture.blocks.len());
        let mut value = Value::Image(images);
        for (index, block) in self.architecture.blocks.iter().enumerate() {
            let mut z = self.linear(&block.layer, value);
            if let Some(shortcut) = &block.shortcut {
                let around = results[shortcut.from].clone();
                let around = match &shortcut.layer {
                    Some(layer) => self.linear(layer, around),
                    None => around,
                };
                z = match (z, around) {
                    (Value::Image(z), Value::Image(around)) => Value::Image(z + around),
                    (z, _) => z,
                };
            }
            value = match z {
                Value::Image(z) => {
                    let y = self.norm_and_activation(index, block, z, &mut statistics, watch);
                    match block.pool {
                        Pool::None => Value::Image(y),
                        Pool::Two => Value::Image(avg_pool2d(y, AvgPoolOptions::new([2, 2]))),
                        Pool::Whole => Value::Flat(y.mean_dim(3).mean_dim(2).flatten::<2>(1, 3)),
                    }
                }
                Value::Flat(z) => {
                    Value::Flat(self.norm_and_activation(index, block, z, &mut statistics, watch))
                }
            };
            // Only what a shortcut reads is looked at again.
            results.push(value.clone());
        }
        let logits = match self.linear(&self.architecture.output, value) {
            Value::Flat(logits) => logits,
            Value::Image(logits) => logits.flatten::<2>(1, 3),
        };
        Pass { logits, statistics }
    }

    /// The loss's gradients by parameter.
    pub(crate) fn gradients(&self, loss: &Tensor<1>) -> BTreeMap<String, Vec<f32>> {
        let mut gradients = loss.backward();
        let found = self.tensors.iter().filter_map(|(name, tensor)| {
            let gradient = tensor.grad_remove(&mut gradients)?;
            Some((name.clone(), values(&gradient)))
        });
        found.collect()
    }

    fn linear(&self, layer: &Layer, x: Value) -> Value {
        let weight = self.tensors[&format!("{}.weight", layer.name)].clone();
        let bias = layer.bias.then(|| self.tensors[&format!("{}.bias", layer.name)].clone());
        match (layer.kind, x) {
            (Kind::Convolution { inputs, outputs, kernel, stride, padding }, Value::Image(x)) => {
                let weight = weight.reshape([outputs, inputs, kernel, kernel]);
                let options = ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1);
                Value::Image(conv2d(x, weight, bias, options))
            }
            (kind, x) => {
                let x = match x {
                    Value::Image(x) => x.flatten::<2>(1, 3),
                    Value::Flat(x) => x,
                };
                let z = x.matmul(weight.reshape([kind.outputs(), kind.fan_in()]).transpose());
                Value::Flat(match bias {
                    Some(bias) => z + bias.unsqueeze::<2>(),
                    None => z,
                })
            }
        }
    }

    fn norm_and_activation<const D: usize>(
        &self,
        index: usize,
        block: &Block,
        z: Tensor<D>,
        statistics: &mut Vec<Statistics>,
        watch: &mut impl Watch,
    ) -> Tensor<D> {
        watch.before_norm(index, &z);
        let part = |part: &str| self.tensors[&format!("{}.{part}", block.norm)].clone();
        let (gamma, beta) = (part("weight"), part("bias"));
        let training = self.mode == Mode::Training;
        let t = if training {
            let dims = z.dims();
            let count = dims.iter().product::<usize>() as f32 / dims[1] as f32;
            let normed = batch_norm_train(z, gamma, beta, BN_EPS);
            let unbiased = count / (count - 1.0).max(1.0);
            statistics.push(Statistics {
                mean: values(&normed.mean),
                variance: values(&normed.variance).into_iter().map(|v| v * unbiased).collect(),
            });
            normed.output
        } else {
            batch_norm(z, gamma, beta, part("running_mean"), part("running_var"), BN_EPS)
        };
        watch.before_activation(index, &t);
        let y = self.activation.apply(index, t, training);
        watch.after_activation(index, &y);
        y
    }
}

/// Name of the tensor of a block's coefficients, where they are learned.
pub(crate) fn coefficients_of(block: &Block) -> String {
    format!("{}.coefficients", block.activation)
}
