//! The polynomial activation and what watches its inputs.

use burn::tensor::Tensor;

use crate::range::LayerRange;

/// y = p(t / B), the same for all layers.
#[derive(Clone, Debug)]
pub(crate) struct Activation {
    /// B.
    pub(crate) interval: f64,
    /// a_0 .. a_d of p(u), u = t / B.
    pub(crate) coefficients: Vec<f64>,
}

impl Activation {
    /// p(t / B) of every element (Horner's rule; terms that are exactly 0 cost nothing).
    pub(crate) fn apply<const D: usize>(&self, t: Tensor<D>) -> Tensor<D> {
        let u = t.mul_scalar(1.0 / self.interval);
        let Some((&leading, lower)) = self.coefficients.split_last() else {
            return u.zeros_like();
        };
        // The leading product is with a constant; from then on, times u plus the next coefficient.
        let mut sum: Option<Tensor<D>> = None;
        for &coefficient in lower.iter().rev() {
            let product = match sum {
                None => u.clone().mul_scalar(leading),
                Some(sum) => sum * u.clone(),
            };
            sum = Some(if coefficient == 0.0 { product } else { product.add_scalar(coefficient) });
        }
        sum.unwrap_or_else(|| u.zeros_like().add_scalar(leading))
    }
}

/// Sees what happens around the activations of a forward pass. `layer` counts activations from 0.
pub(crate) trait Watch {
    /// The linear layer's output, before BatchNorm: `[images, channels, ..]`.
    fn before_norm<const D: usize>(&mut self, layer: usize, z: &Tensor<D>) {
        let _ = (layer, z);
    }

    /// The activation's input t, after BatchNorm: `[images, channels, ..]`.
    fn before_activation<const D: usize>(&mut self, layer: usize, t: &Tensor<D>) {
        let _ = (layer, t);
    }
}

/// Looks away.
pub(crate) struct Nobody;

impl Watch for Nobody {}

/// Adds up the penalty on values near and beyond the interval's ends, as part of the loss.
pub(crate) struct Penalty {
    /// |t| from which it acts.
    start: f32,
    /// Factor of the sum.
    factor: f32,
    /// The sum so far, divided by the number of images.
    total: Option<Tensor<1>>,
}

impl Penalty {
    /// `weight * sum over activations of max(0, |t| / B - margin)^2`, averaged over images.
    pub(crate) fn new(interval: f64, margin: f32, weight: f32) -> Self {
        let interval = interval as f32;
        Self { start: margin * interval, factor: weight / (interval * interval), total: None }
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
        let images = t.dims()[0] as f32;
        let beyond = t.clone().abs().sub_scalar(self.start).clamp_min(0.0);
        let sum = (beyond.clone() * beyond).sum().mul_scalar(self.factor / images);
        self.total = Some(match self.total.take() {
            None => sum,
            Some(total) => total + sum,
        });
    }
}

/// Measures every activation's inputs against the interval.
pub(crate) struct Ranges {
    pub(crate) interval: f64,
    pub(crate) layers: Vec<LayerRange>,
}

impl Ranges {
    /// One entry for each of the named layers.
    pub(crate) fn new(interval: f64, names: &[&str]) -> Self {
        Self { interval, layers: names.iter().map(|name| LayerRange::new(name)).collect() }
    }
}

impl Watch for Ranges {
    fn before_activation<const D: usize>(&mut self, layer: usize, t: &Tensor<D>) {
        self.layers[layer].add(&values(t), self.interval);
    }
}

/// Mean and variance of each channel of one layer's output before BatchNorm.
pub(crate) struct Moments {
    layer: usize,
    count: f64,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    /// Of layer `layer`, counted from 0.
    pub(crate) fn new(layer: usize) -> Self {
        Self { layer, count: 0.0, sums: Vec::new(), squares: Vec::new() }
    }

    /// (mean, variance) per channel over everything seen; the variance divides by the count.
    pub(crate) fn finish(self) -> (Vec<f32>, Vec<f32>) {
        let mean: Vec<f64> = self.sums.iter().map(|sum| sum / self.count).collect();
        let variance = self
            .squares
            .iter()
            .zip(&mean)
            .map(|(square, mean)| (square / self.count - mean * mean).max(0.0) as f32);
        (mean.iter().map(|&mean| mean as f32).collect(), variance.collect())
    }
}

impl Watch for Moments {
    fn before_norm<const D: usize>(&mut self, layer: usize, z: &Tensor<D>) {
        if layer != self.layer {
            return;
        }
        let [images, channels] = [z.dims()[0], z.dims()[1]];
        let values = values(z);
        let area = values.len() / (images * channels).max(1);
        self.sums.resize(channels, 0.0);
        self.squares.resize(channels, 0.0);
        self.count += (images * area) as f64;
        for (index, plane) in values.chunks_exact(area.max(1)).enumerate() {
            let channel = index % channels;
            self.sums[channel] += plane.iter().map(|&z| f64::from(z)).sum::<f64>();
            self.squares[channel] += plane.iter().map(|&z| f64::from(z).powi(2)).sum::<f64>();
        }
    }
}

/// A tensor's elements in row-major order. All tensors here are f32 on the processor.
pub(crate) fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.to_data().iter::<f32>().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn tensor() -> Tensor<2> {
        Tensor::from_floats([[-3.0, 1.0], [0.5, 6.0]], &Device::flex())
    }

    #[test]
    fn horner_with_gaps_equals_the_sum_of_powers() {
        let activation = Activation { interval: 2.0, coefficients: vec![0.25, 1.0, 0.0, -0.5, 2.0] };
        let got = values(&activation.apply(tensor()));
        for (y, t) in got.into_iter().zip([-3.0f64, 1.0, 0.5, 6.0]) {
            let u = t / 2.0;
            let expected = 0.25 + u - 0.5 * u.powi(3) + 2.0 * u.powi(4);
            assert!((f64::from(y) - expected).abs() < 1e-4, "{y} {expected}");
        }
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
        let mut off = Penalty::new(4.0, 0.5, 0.0);
        off.before_activation(0, &tensor());
        assert!(off.take().is_none());
    }

    #[test]
    fn moments_are_per_channel_and_of_one_layer() {
        let mut moments = Moments::new(1);
        moments.before_norm(0, &tensor());
        moments.before_norm(1, &tensor());
        moments.before_norm(1, &tensor());
        let (mean, variance) = moments.finish();
        assert_eq!(mean, [-1.25, 3.5]);
        assert_eq!(variance, [1.75 * 1.75, 2.5 * 2.5]);
    }
}
