//! Fixed-point-aware training: the weights as private inference rounds them.
//!
//! The planner folds BatchNorm and the interval into a layer's weights, so each output channel is
//! rounded at the scale gamma / (sqrt(variance + eps) B) gives it. Gradients pass as if nothing
//! were rounded: the loop computes them with the rounded weights and moves the unrounded ones.

use crate::architecture::{Architecture, BN_EPS};
use crate::weights::Weights;

/// The smallest scale of a channel: below, everything would be rounded to 0.
const SMALLEST_SCALE: f32 = 1e-6;

/// The weights of all layers before a BatchNorm, folded, rounded to multiples of 2^-`bits`, and
/// unfolded again.
pub fn rounded(weights: &Weights, architecture: &Architecture, interval: f32, bits: u32) -> Weights {
    let mut out = weights.clone();
    let unit = (-f64::from(bits)).exp2() as f32;
    for block in &architecture.blocks {
        let part = |part: &str| &weights.get(&format!("{}.{part}", block.norm)).values;
        let scales: Vec<f32> = part("weight")
            .iter()
            .zip(part("running_var"))
            .map(|(gamma, variance)| gamma.abs() / (variance + BN_EPS as f32).sqrt() / interval)
            .map(|scale| scale.max(SMALLEST_SCALE))
            .collect();
        let around = block.shortcut.as_ref().and_then(|shortcut| shortcut.layer.as_ref());
        for layer in std::iter::once(&block.layer).chain(around) {
            out.change(&format!("{}.weight", layer.name), |values| {
                for (row, scale) in values.chunks_exact_mut(layer.kind.fan_in()).zip(&scales) {
                    let step = unit / scale;
                    row.iter_mut().for_each(|w| *w = (*w / step).round_ties_even() * step);
                }
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelName;

    #[test]
    fn folded_weights_are_multiples_of_the_unit_and_close_to_what_they_were() {
        let architecture = Architecture::of(ModelName::ResNet8);
        let mut weights = Weights::fresh(&architecture, 0.7, 1);
        weights.change("s2.bn2.running_var", |values| {
            values.iter_mut().enumerate().for_each(|(i, v)| *v = 0.5 + i as f32)
        });
        let out = rounded(&weights, &architecture, 4.0, 8);
        for name in ["s2.conv2.weight", "s2.shortcut.weight"] {
            let (old, new) = (weights.get(name), out.get(name));
            let row = old.values.len() / 32;
            let mut moved = 0;
            for (i, (old, new)) in old.values.iter().zip(&new.values).enumerate() {
                let scale = 0.7 / (0.5 + (i / row) as f32 + 1e-5).sqrt() / 4.0;
                let folded = new * scale * 256.0;
                assert!((folded - folded.round()).abs() < 1e-3, "{name} {i}: {folded}");
                assert!(((old - new) * scale).abs() <= 0.5001 / 256.0);
                moved += usize::from(old != new);
            }
            assert!(moved > old.values.len() / 2);
        }
        assert_eq!(out.get("fc.weight"), weights.get("fc.weight"), "no BatchNorm follows");
    }
}
