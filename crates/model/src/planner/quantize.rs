//! Real numbers to integers, and the model owner's integer weights.

use std::fmt;

use amicus_field::{I256, LimbVec, Limbs, LinearShape};
use amicus_plan::{Plan, PublicWeights, WeightId};
use zeroize::Zeroize;

use crate::error::ModelError;
use crate::fake_quantisation::power_of_two;
use crate::fold::Folded;
use crate::scales::Scales;
use amicus_plan::weights::{Part, WeightSource};

/// Most bits of an integer weight or coefficient.
const INTEGER_BITS: u32 = 62;

/// The integer weights and biases of a plan's linear layers, in the plan's order: the model owner's
/// secret.
///
/// `Debug` shows sizes only; the numbers are wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct QuantizedWeights {
    layers: Vec<QuantizedLayer>,
}

/// Integers of one linear layer. `Debug` shows sizes only; the numbers are wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct QuantizedLayer {
    weights: Vec<i64>,
    bias: Vec<I256>,
}

impl QuantizedLayer {
    /// Weights in the layout of [`LinearShape`] at the layer's scale; biases at the scale of the
    /// layer's result, one a channel or output, none for a layer without.
    pub fn new(weights: Vec<i64>, bias: Vec<I256>) -> Self {
        QuantizedLayer { weights, bias }
    }

    /// The weights.
    pub fn weights(&self) -> &[i64] {
        &self.weights
    }

    /// The biases; empty when there are none.
    pub fn bias(&self) -> &[I256] {
        &self.bias
    }
}

impl QuantizedWeights {
    /// Weights for a plan.
    ///
    /// # Errors
    /// When there are not as many layers, weights or biases as the plan says; the layer is named.
    pub fn new(plan: &Plan, layers: Vec<QuantizedLayer>) -> Result<Self, ModelError> {
        let weights = QuantizedWeights { layers };
        weights.check(plan)?;
        Ok(weights)
    }

    /// Layers that were made for a plan which is not there yet.
    pub(crate) fn of_layers(layers: Vec<QuantizedLayer>) -> Self {
        QuantizedWeights { layers }
    }

    /// Whether these are weights of the plan's shapes.
    ///
    /// # Errors
    /// When they are not; the layer is named.
    pub fn check(&self, plan: &Plan) -> Result<(), ModelError> {
        if self.layers.len() != plan.weights.len() {
            let reason = format!("{} layers, the plan has {}", self.layers.len(), plan.weights.len());
            return Err(ModelError::weights("all", reason));
        }
        for (layer, spec) in self.layers.iter().zip(&plan.weights) {
            let biases = if spec.bias { spec.shape.biases() } else { 0 };
            for (what, got, expected) in
                [("weights", layer.weights.len(), spec.shape.weights()), ("biases", layer.bias.len(), biases)]
            {
                if got != expected {
                    return Err(ModelError::weights(
                        &spec.name,
                        format!("{got} {what}, expected {expected}"),
                    ));
                }
            }
        }
        Ok(())
    }

    /// These integers, to be made public.
    pub fn public(&self) -> Vec<PublicWeights> {
        let of_layer = |layer: &QuantizedLayer| PublicWeights::new(layer.weights.clone(), layer.bias.clone());
        self.layers.iter().map(of_layer).collect()
    }

    /// All layers.
    pub fn layers(&self) -> &[QuantizedLayer] {
        &self.layers
    }

    /// The weights of one layer as residues, in the layout of [`LinearShape`].
    ///
    /// # Panics
    /// When there is no such layer.
    pub fn weights(&self, id: WeightId, limbs: Limbs) -> LimbVec {
        LimbVec::from_i64(limbs, &self.layers[id.index()].weights)
    }

    /// The biases of one layer as residues, one a channel or output; `None` for a layer without.
    ///
    /// # Panics
    /// When there is no such layer.
    pub fn bias(&self, id: WeightId, limbs: Limbs) -> Option<LimbVec> {
        let bias = &self.layers[id.index()].bias;
        (!bias.is_empty()).then(|| LimbVec::from_signed(limbs, bias.iter().copied()))
    }

    /// A folded network's weights, rounded to nearest at the chosen scales.
    pub(crate) fn of(folded: &Folded, scales: &Scales) -> Result<Self, ModelError> {
        let result_scales = scales.linear_results(folded);
        let mut layers = Vec::with_capacity(folded.linears.len());
        for (index, linear) in folded.linears.iter().enumerate() {
            let scale = power_of_two(scales.weights[index]);
            let weights: Option<Vec<i64>> = linear.real_weights().iter().map(|w| to_i64(w * scale)).collect();
            let weights = weights.ok_or_else(|| {
                let reason = format!(
                    "a folded weight does not fit {INTEGER_BITS} bits at scale 2^{}",
                    scales.weights[index]
                );
                ModelError::node(&linear.name, reason)
            })?;
            let bias = linear.bias.0.iter().map(|&b| to_integer(b, result_scales[index])).collect();
            layers.push(QuantizedLayer { weights, bias });
        }
        Ok(QuantizedWeights { layers })
    }
}

/// `[weights, biases]` of a layer, for `Debug`.
fn sizes(layer: &QuantizedLayer) -> [usize; 2] {
    [layer.weights.len(), layer.bias.len()]
}

impl fmt::Debug for QuantizedLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [weights, biases] = sizes(self);
        write!(f, "QuantizedLayer({weights} weights, {biases} biases)")
    }
}

impl fmt::Debug for QuantizedWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("QuantizedWeights").field(&self.layers).finish()
    }
}

impl Drop for QuantizedLayer {
    fn drop(&mut self) {
        self.weights.zeroize();
        self.bias.iter_mut().for_each(|b| b.0.zeroize());
    }
}

/// Integer coefficients at scale `bits`, rounded to nearest.
///
/// The sum of the rounding errors matters as much as each: powers of `u` look alike near the ends
/// of the interval.
pub(crate) fn round_coefficients(coefficients: &[f64], bits: u32) -> Vec<i64> {
    let scale = power_of_two(bits);
    // Saturating casts: absurdly large coefficients are refused by `fitting_coefficients`.
    coefficients.iter().map(|a| (a * scale).round() as i64).collect()
}

/// Coefficients as [`round_coefficients`] gives them, or an error that names the activation when
/// one does not fit.
pub(crate) fn fitting_coefficients(
    name: &str,
    coefficients: &[f64],
    bits: u32,
) -> Result<Vec<i64>, ModelError> {
    let integers: Option<Vec<i64>> = coefficients.iter().map(|a| to_i64(a * power_of_two(bits))).collect();
    integers.ok_or_else(|| {
        ModelError::node(name, format!("a coefficient does not fit {INTEGER_BITS} bits at scale 2^{bits}"))
    })
}

pub(crate) fn to_i64(x: f64) -> Option<i64> {
    let x = x.round();
    (x.abs() < power_of_two(INTEGER_BITS)).then_some(x as i64)
}

/// `round(x * 2^bits)` for any size; halves away from zero. `x` must be finite and below
/// `2^(250 - bits)`.
pub(crate) fn to_integer(x: f64, bits: u32) -> I256 {
    let mut mantissa = x;
    let mut exponent = bits as i32;
    // Make the mantissa an integer of at most 53 bits; scaling by powers of two is exact.
    while mantissa.abs() >= power_of_two(53) {
        mantissa /= 2.0;
        exponent += 1;
    }
    while exponent > 0 && mantissa != mantissa.trunc() && mantissa.abs() < power_of_two(52) {
        mantissa *= 2.0;
        exponent -= 1;
    }
    I256::from(mantissa.round() as i64) << exponent.clamp(0, 200) as u32
}

/// An integer at scale `bits` as a real number, rounded to `f64`.
pub(crate) fn to_real(x: I256, bits: u32) -> f64 {
    x.as_f64() / power_of_two(bits)
}

/// Elements of a linear layer's result that share bias `c`.
pub(crate) fn outputs_of_bias(shape: &LinearShape, c: usize) -> std::ops::Range<usize> {
    let per_bias = shape.outputs_per_bias();
    c * per_bias..(c + 1) * per_bias
}

impl WeightSource for QuantizedWeights {
    fn part(&self, id: WeightId, part: &Part, limbs: Limbs) -> Option<LimbVec> {
        let layer = self.layers().get(id.index())?;
        match part {
            Part::Weights(range) => Some(LimbVec::from_i64(limbs, layer.weights().get(range.clone())?)),
            Part::Bias(_) => self.bias(id, limbs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_reals_at_large_scales() {
        assert_eq!(to_integer(0.0, 100), I256::ZERO);
        assert_eq!(to_integer(1.0, 100), I256::ONE << 100u32);
        assert_eq!(to_integer(-0.75, 153), -(I256::from(3) << 151u32));
        assert_eq!(to_integer(2.6, 0), I256::from(3));
        assert_eq!(to_integer(-2.5, 0), I256::from(-3));
        let third = 1.0f64 / 3.0;
        assert_eq!(to_integer(third, 120), I256::from((third * power_of_two(54)) as i64) << 66u32);
        assert_eq!(to_real(to_integer(third, 120), 120), third);
        assert_eq!(to_integer(power_of_two(80), 20), I256::ONE << 100u32);
        assert_eq!(to_integer(1e-40, 100), I256::ZERO);
    }

    #[test]
    fn debug_shows_no_number() {
        let layer = QuantizedLayer::new(vec![77_777], vec![I256::from(77_777)]);
        assert_eq!(format!("{layer:?}"), "QuantizedLayer(1 weights, 1 biases)");
        let weights = QuantizedWeights { layers: vec![layer] };
        assert!(!format!("{weights:?}").contains("777"));
    }
}
