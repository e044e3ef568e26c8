//! What looks at a forward pass while it goes.

use burn::tensor::Tensor;

use crate::architecture::Architecture;
use crate::engine::activation::values;
use crate::range::LayerRange;

/// Sees what happens around the activations of a forward pass. `layer` counts activations from 0.
pub(crate) trait Watch {
    /// The linear layer's output with what a shortcut adds, before BatchNorm:
    /// `[images, channels, ..]`.
    fn before_norm<const D: usize>(&mut self, layer: usize, z: &Tensor<D>) {
        let _ = (layer, z);
    }

    /// The activation's input t, after BatchNorm: `[images, channels, ..]`.
    fn before_activation<const D: usize>(&mut self, layer: usize, t: &Tensor<D>) {
        let _ = (layer, t);
    }

    /// The activation's output, before pooling: `[images, channels, ..]`.
    fn after_activation<const D: usize>(&mut self, layer: usize, y: &Tensor<D>) {
        let _ = (layer, y);
    }
}

/// Looks away.
pub(crate) struct Nobody;

impl Watch for Nobody {}

/// Both look.
impl<A: Watch, B: Watch> Watch for (A, B) {
    fn before_norm<const D: usize>(&mut self, layer: usize, z: &Tensor<D>) {
        self.0.before_norm(layer, z);
        self.1.before_norm(layer, z);
    }

    fn before_activation<const D: usize>(&mut self, layer: usize, t: &Tensor<D>) {
        self.0.before_activation(layer, t);
        self.1.before_activation(layer, t);
    }

    fn after_activation<const D: usize>(&mut self, layer: usize, y: &Tensor<D>) {
        self.0.after_activation(layer, y);
        self.1.after_activation(layer, y);
    }
}

/// Adds up the penalty on values near and beyond the interval's ends, as part of the loss.
pub(crate) struct Penalty {
    /// |t| from which it acts.
    start: f64,
    /// Factor of the sum; 0: off.
    factor: f64,
    /// The sum so far, divided by the number of images.
    total: Option<Tensor<1>>,
}

impl Penalty {
    /// `weight * sum over activations of max(0, |t| / B - margin)^2`, averaged over images.
    pub(crate) fn new(interval: f64, margin: f64, weight: f64) -> Self {
        Self { start: margin * interval, factor: weight / (interval * interval), total: None }
    }

    /// None, for networks without an interval.
    pub(crate) fn off() -> Self {
        Self { start: 0.0, factor: 0.0, total: None }
    }

    /// The penalty of the pass that was watched; `None` when its weight is 0.
    pub(crate) fn take(self) -> Option<Tensor<1>> {
        self.total
    }
}

impl Watch for Penalty {
    fn before_activation<const D: usize>(&mut self, _: usize, t: &Tensor<D>) {
        if self.factor == 0.0 {
            return;
        }
        let images = t.dims()[0] as f64;
        let beyond = t.clone() - t.clone().clamp(-self.start, self.start);
        let sum = (beyond.clone() * beyond).sum().mul_scalar(self.factor / images);
        self.total = Some(match self.total.take() {
            None => sum,
            Some(total) => total + sum,
        });
    }
}

/// Keeps what every activation gives, each as one row; or nothing.
pub(crate) struct Features {
    pub(crate) wanted: bool,
    pub(crate) outputs: Vec<Tensor<1>>,
}

impl Features {
    pub(crate) fn new(wanted: bool) -> Self {
        Self { wanted, outputs: Vec::new() }
    }
}

impl Watch for Features {
    fn after_activation<const D: usize>(&mut self, _: usize, y: &Tensor<D>) {
        if self.wanted {
            self.outputs.push(y.clone().reshape([y.dims().iter().product::<usize>()]));
        }
    }
}

/// Measures every activation's inputs against the interval.
pub(crate) struct Ranges {
    interval: f64,
    pub(crate) layers: Vec<LayerRange>,
}

impl Ranges {
    /// One entry for each activation.
    pub(crate) fn new(interval: f64, architecture: &Architecture) -> Self {
        let layers = architecture.blocks.iter().map(|block| LayerRange::new(&block.activation)).collect();
        Self { interval, layers }
    }
}

impl Watch for Ranges {
    fn before_activation<const D: usize>(&mut self, layer: usize, t: &Tensor<D>) {
        self.layers[layer].add(&values(t), t.dims()[0], self.interval);
    }
}

/// Finds the first layer whose values are not finite.
pub(crate) struct Finite<'a> {
    architecture: &'a Architecture,
    pub(crate) first: Option<String>,
}

impl<'a> Finite<'a> {
    pub(crate) fn new(architecture: &'a Architecture) -> Self {
        Self { architecture, first: None }
    }

    /// Looks at what the layer `name` gives.
    pub(crate) fn look<const D: usize>(&mut self, name: &str, x: &Tensor<D>) {
        if self.first.is_none() && values(x).iter().any(|value| !value.is_finite()) {
            self.first = Some(name.to_owned());
        }
    }
}

impl Watch for Finite<'_> {
    fn before_norm<const D: usize>(&mut self, layer: usize, z: &Tensor<D>) {
        self.look(&self.architecture.blocks[layer].layer.name, z);
    }

    fn before_activation<const D: usize>(&mut self, layer: usize, t: &Tensor<D>) {
        self.look(&self.architecture.blocks[layer].norm, t);
    }

    fn after_activation<const D: usize>(&mut self, layer: usize, y: &Tensor<D>) {
        self.look(&self.architecture.blocks[layer].activation, y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelName;
    use burn::tensor::Device;

    fn tensor() -> Tensor<2> {
        Tensor::from_floats([[-3.0, 1.0], [0.5, 6.0]], &Device::flex())
    }

    #[test]
    fn penalty_counts_only_what_is_beyond_the_margin() {
        let mut penalty = Penalty::new(4.0, 0.5, 3.0);
        penalty.before_activation(0, &tensor());
        penalty.before_activation(1, &tensor());
        // |t| / B - 0.5: 0.25 and 1.0; two images, two layers.
        let expected = 3.0 * (0.0625 + 1.0) / 2.0 * 2.0;
        let got: f32 = penalty.take().unwrap().into_scalar();
        assert!((got - expected).abs() < 1e-5, "{got} {expected}");
        for mut off in [Penalty::new(4.0, 0.5, 0.0), Penalty::off()] {
            off.before_activation(0, &tensor());
            assert!(off.take().is_none());
        }
    }

    #[test]
    fn ranges_and_features_see_their_layers() {
        let architecture = Architecture::of(ModelName::LeNet5);
        let mut both = (Ranges::new(2.0, &architecture), Features::new(true));
        both.before_activation(2, &tensor());
        both.after_activation(2, &tensor());
        let range = &both.0.layers[2];
        assert_eq!((range.layer.as_str(), range.values, range.escaped), ("act3", 4, 2));
        assert_eq!((range.images, range.images_escaped, range.max_ratio), (2, 2, 3.0));
        assert_eq!(values(&both.1.outputs[0]), [-3.0, 1.0, 0.5, 6.0]);
    }

    #[test]
    fn the_first_layer_that_is_not_finite_is_named() {
        let architecture = Architecture::of(ModelName::LeNet5);
        let mut finite = Finite::new(&architecture);
        finite.before_norm(0, &tensor());
        assert_eq!(finite.first, None);
        finite.before_activation(1, &tensor().div_scalar(0.0));
        finite.after_activation(1, &tensor().div_scalar(0.0));
        assert_eq!(finite.first.as_deref(), Some("bn2"));
    }
}
