//! LeNet-5 for 28 x 28 grey images, with BatchNorm before every activation.
//!
//! conv 1->6 5x5 pad 2, norm, act, average pool 2; conv 6->16 5x5, norm, act, average pool 2; linear 400->120, norm,
//! act; linear 120->84, norm, act; linear 84->10. Input `[images, 1, 28, 28]` in [0, 1], output `[images, 10]`.

use burn::module::{Module, Param, RunningState};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::module::avg_pool2d;
use burn::tensor::ops::AvgPoolOptions;
use burn::tensor::{Device, Tensor, TensorData};

use crate::engine::activation::{Activation, Watch, values};
use crate::export::NamedTensor;
use crate::rng::Rng;

/// Name of the layer before each activation.
pub(crate) const ACTIVATIONS: [&str; 4] = ["conv1", "conv2", "fc1", "fc2"];
/// BatchNorm's epsilon.
pub(crate) const BN_EPS: f64 = 1e-5;

/// The network's parameters and running statistics.
#[derive(Module, Debug)]
pub(crate) struct LeNet5 {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
    fc1: Linear,
    bn3: BatchNorm,
    fc2: Linear,
    bn4: BatchNorm,
    fc3: Linear,
}

impl LeNet5 {
    /// Fresh parameters, drawn from `rng`: weights and biases uniform in +-1 / sqrt(fan in), gamma as given, beta 0.
    pub(crate) fn new(gamma: f64, rng: &mut Rng, device: &Device) -> Self {
        let norm = |channels: usize| {
            let mut norm = BatchNormConfig::new(channels).with_epsilon(BN_EPS).init(device);
            norm.gamma = Param::from_data(TensorData::new(vec![gamma as f32; channels], [channels]), device);
            norm
        };
        Self {
            conv1: convolution([1, 6], 2, rng, device),
            bn1: norm(6),
            conv2: convolution([6, 16], 0, rng, device),
            bn2: norm(16),
            fc1: linear(400, 120, rng, device),
            bn3: norm(120),
            fc2: linear(120, 84, rng, device),
            bn4: norm(84),
            fc3: linear(84, 10, rng, device),
        }
    }

    /// Logits `[images, 10]` of `[images, 1, 28, 28]`.
    pub(crate) fn forward(&self, x: Tensor<4>, act: &Activation, watch: &mut impl Watch) -> Tensor<2> {
        let x = pool(step(0, self.conv1.forward(x), &self.bn1, act, watch));
        let x = pool(step(1, self.conv2.forward(x), &self.bn2, act, watch));
        let x = step(2, self.fc1.forward(x.flatten::<2>(1, 3)), &self.bn3, act, watch);
        let x = step(3, self.fc2.forward(x), &self.bn4, act, watch);
        self.fc3.forward(x)
    }

    /// Replaces the running statistics before activation `layer` (from 0).
    pub(crate) fn set_statistics(
        &mut self,
        layer: usize,
        mean: Vec<f32>,
        variance: Vec<f32>,
        device: &Device,
    ) {
        let norm = [&mut self.bn1, &mut self.bn2, &mut self.bn3, &mut self.bn4].into_iter().nth(layer);
        if let Some(norm) = norm {
            let tensor = |values: Vec<f32>| Tensor::from_floats(values.as_slice(), device);
            norm.running_mean = RunningState::new(tensor(mean));
            norm.running_var = RunningState::new(tensor(variance));
        }
    }

    /// All tensors with PyTorch's names, shapes and layouts.
    pub(crate) fn tensors(&self) -> Vec<NamedTensor> {
        let mut out = Vec::new();
        let mut push =
            |name: String, shape: Vec<usize>, values| out.push(NamedTensor { name, shape, values });
        for (name, conv) in [("conv1", &self.conv1), ("conv2", &self.conv2)] {
            push(format!("{name}.weight"), conv.weight.dims().to_vec(), values(&conv.weight.val()));
            if let Some(bias) = &conv.bias {
                push(format!("{name}.bias"), bias.dims().to_vec(), values(&bias.val()));
            }
        }
        for (name, linear) in [("fc1", &self.fc1), ("fc2", &self.fc2), ("fc3", &self.fc3)] {
            // burn stores [in, out].
            let weight = linear.weight.val().transpose();
            push(format!("{name}.weight"), weight.dims().to_vec(), values(&weight));
            if let Some(bias) = &linear.bias {
                push(format!("{name}.bias"), bias.dims().to_vec(), values(&bias.val()));
            }
        }
        for (name, norm) in [("bn1", &self.bn1), ("bn2", &self.bn2), ("bn3", &self.bn3), ("bn4", &self.bn4)] {
            let (mean, variance) = (norm.running_mean.value_sync(), norm.running_var.value_sync());
            let parts = [
                ("weight", norm.gamma.val()),
                ("bias", norm.beta.val()),
                ("running_mean", mean),
                ("running_var", variance),
            ];
            for (part, tensor) in parts {
                push(format!("{name}.{part}"), tensor.dims().to_vec(), values(&tensor));
            }
        }
        out
    }
}

/// BatchNorm and activation of a linear layer's output `z`.
fn step<const D: usize>(
    layer: usize,
    z: Tensor<D>,
    norm: &BatchNorm,
    act: &Activation,
    watch: &mut impl Watch,
) -> Tensor<D> {
    watch.before_norm(layer, &z);
    let t = norm.forward(z);
    watch.before_activation(layer, &t);
    act.apply(t)
}

fn pool(x: Tensor<4>) -> Tensor<4> {
    avg_pool2d(x, AvgPoolOptions::new([2, 2]))
}

fn uniform<const D: usize>(
    shape: [usize; D],
    fan_in: usize,
    rng: &mut Rng,
    device: &Device,
) -> Param<Tensor<D>> {
    let bound = 1.0 / (fan_in as f32).sqrt();
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.symmetric() * bound).collect();
    Param::from_data(TensorData::new(values, shape), device)
}

fn convolution([from, to]: [usize; 2], padding: usize, rng: &mut Rng, device: &Device) -> Conv2d {
    let padding = PaddingConfig2d::Explicit(padding, padding, padding, padding);
    let mut conv = Conv2dConfig::new([from, to], [5, 5]).with_padding(padding).init(device);
    conv.weight = uniform([to, from, 5, 5], from * 25, rng, device);
    conv.bias = Some(uniform([to], from * 25, rng, device));
    conv
}

fn linear(from: usize, to: usize, rng: &mut Rng, device: &Device) -> Linear {
    let mut linear = LinearConfig::new(from, to).init(device);
    linear.weight = uniform([from, to], from, rng, device);
    linear.bias = Some(uniform([to], from, rng, device));
    linear
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Images;
    use crate::engine::activation::Nobody;
    use crate::engine::evaluate::{plain_batch, reestimate};
    use burn::module::Module;
    use std::collections::BTreeMap;

    /// The exported file, read by code that shares nothing with this module, gives the logits of the network it came
    /// from. Random parameters (biases and beta too) and statistics from data make every tensor matter.
    #[test]
    fn the_exported_file_gives_the_same_logits() {
        let (device, mut rng) = (Device::flex(), Rng::new(11, 0));
        let pixels: Vec<u8> = (0..5 * 784).map(|_| rng.below(256) as u8).collect();
        let images = Images::new(28, 28, pixels, vec![0; 5]).unwrap();
        let act = Activation { interval: 3.0, coefficients: vec![0.1, 1.5, 2.0, 0.25, -1.0, 0.0, 0.5] };
        let mut model = LeNet5::new(0.45, &mut rng, &device).valid();
        for norm in [&mut model.bn1, &mut model.bn2, &mut model.bn3, &mut model.bn4] {
            let channels = norm.beta.dims()[0];
            norm.beta = uniform([channels], 4, &mut rng, &device);
        }
        reestimate(&mut model, &act, &images, &device);
        let logits = values(&model.forward(plain_batch(&images, 0..5, &device), &act, &mut Nobody));

        let metadata = [
            ("activation.interval", "3.0"),
            ("activation.coefficients", "[0.1, 1.5, 2.0, 0.25, -1.0, 0.0, 0.5]"),
            ("bn.eps", "1e-5"),
        ];
        let metadata: BTreeMap<String, String> = metadata.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let file = crate::export::encode(&model.tensors(), &metadata).unwrap();
        let naive = crate::naive::Naive::new(&file);
        let expected: Vec<f64> = (0..5).flat_map(|i| naive.forward(images.image(i)).0).collect();
        let largest = expected.iter().fold(0f64, |m, x| m.max(x.abs()));
        assert!(largest > 0.1);
        for (got, expected) in logits.iter().zip(&expected) {
            assert!((f64::from(*got) - expected).abs() < 1e-4 * largest, "{got} {expected}");
        }
    }

    /// Re-estimated statistics normalise: over the same images every channel has mean beta and deviation |gamma|.
    #[test]
    fn reestimated_statistics_normalise_the_images() {
        struct Check(f64);
        impl Watch for Check {
            fn before_activation<const D: usize>(&mut self, _: usize, t: &Tensor<D>) {
                let (t, channels) = (values(t), t.dims()[1]);
                let area = t.len() / (40 * channels);
                for channel in 0..channels {
                    let own = t.chunks_exact(area).skip(channel).step_by(channels).flatten();
                    let (sum, squares) =
                        own.fold((0.0, 0.0), |(s, q), &t| (s + f64::from(t), q + f64::from(t).powi(2)));
                    let count = (40 * area) as f64;
                    let (mean, variance) = (sum / count, squares / count - (sum / count).powi(2));
                    self.0 = self.0.max(mean.abs()).max((variance.sqrt() - 0.5).abs());
                }
            }
        }
        let (device, mut rng) = (Device::flex(), Rng::new(5, 0));
        let pixels: Vec<u8> = (0..40 * 784).map(|_| rng.below(256) as u8).collect();
        let images = Images::new(28, 28, pixels, vec![0; 40]).unwrap();
        let act = Activation { interval: 4.0, coefficients: vec![0.1, 2.0, 3.0] };
        let mut model = LeNet5::new(0.5, &mut rng, &device).valid();
        reestimate(&mut model, &act, &images, &device);
        let mut check = Check(0.0);
        model.forward(plain_batch(&images, 0..40, &device), &act, &mut check);
        assert!(check.0 < 5e-3, "off by {}", check.0);
    }
}
