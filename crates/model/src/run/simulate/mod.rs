//! The exact integer simulator: a plan on integers modulo Q, without cryptography.
//!
//! It computes what the secure execution computes (`docs/protocol.md`, 6.2 to 6.6), exactly where
//! nothing is truncated. Where something is, it rounds `z / 2^shift` to nearest (halves up); the
//! secure run gives the integer below or above, so the two differ by at most one unit. Values
//! outside the calibrated range wrap modulo Q, as the functionality says; nothing panics because of
//! a value.
//!
//! - [`Simulator`]: the fast path, through `amicus-field`; with [`Trace`] every intermediate value
//! - [`step`]: one operation at a time, on the values another execution had
//! - [`definition`]: the same straight from the formulas, slow; tests hold the fast path to it

pub mod definition;
pub mod step;
mod trace;

pub use step::{ActivationStep, Step};
pub use trace::{Outputs, Trace};

use amicus_field::{Element, I256, LimbVec, Limbs, LinearMap, evaluate, scaled_coefficients, sum_pool};
use amicus_plan::{Activation, OpIndex, OpKind, Plan, ScaleBits, ValueId, Values};

use crate::error::ModelError;
use crate::quantize::QuantizedWeights;

/// Runs a plan with given weights; vectors are element-major (`batch` inputs one after the other).
pub struct Simulator<'p> {
    plan: &'p Plan,
    values: Values,
    layers: Vec<Layer>,
}

impl std::fmt::Debug for Simulator<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulator").field("plan", &self.plan.name).finish_non_exhaustive()
    }
}

/// A linear layer ready to multiply.
struct Layer {
    map: LinearMap,
    /// One element an output; `None` without bias.
    bias: Option<LimbVec>,
}

/// Runs a plan once; see [`Simulator`] for many runs. `inputs` are `batch` times the input's
/// integers.
///
/// # Errors
/// When the plan is invalid, the weights are not the plan's, or the inputs have the wrong number or
/// modulus.
pub fn simulate(
    plan: &Plan,
    weights: &QuantizedWeights,
    inputs: &LimbVec,
    batch: usize,
) -> Result<Trace, ModelError> {
    Simulator::new(plan, weights)?.trace(inputs, batch)
}

impl<'p> Simulator<'p> {
    /// A simulator; weights are packed once.
    ///
    /// # Errors
    /// When the plan is invalid or the weights are not the plan's.
    pub fn new(plan: &'p Plan, weights: &QuantizedWeights) -> Result<Self, ModelError> {
        let values = plan.values()?;
        weights.check(plan)?;
        let layers = plan.weights.iter().zip((0..).map(amicus_plan::WeightId)).map(|(spec, id)| {
            let map = LinearMap::new(spec.shape, &weights.weights(id, plan.limbs))
                .map_err(|e| ModelError::weights(&spec.name, e.to_string()))?;
            let bias = weights.bias(id, plan.limbs).map(|bias| {
                let per_bias = spec.shape.outputs_per_bias();
                let spread = (0..spec.shape.outputs()).map(|i| bias.get(i / per_bias));
                LimbVec::from_elements(plan.limbs, &spread.collect::<Vec<Element>>())
            });
            Ok(Layer { map, bias })
        });
        let layers = layers.collect::<Result<_, ModelError>>()?;
        Ok(Simulator { plan, values, layers })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        self.plan
    }

    /// What receivers would get.
    ///
    /// # Errors
    /// When the inputs have the wrong number or modulus.
    pub fn outputs(&self, inputs: &LimbVec, batch: usize) -> Result<Outputs, ModelError> {
        Ok(self.trace(inputs, batch)?.into_outputs())
    }

    /// Every value of one run.
    ///
    /// # Errors
    /// When the inputs have the wrong number or modulus.
    pub fn trace(&self, inputs: &LimbVec, batch: usize) -> Result<Trace, ModelError> {
        let len = self.values.get(ValueId::INPUT).len;
        let expected = len.checked_mul(batch).filter(|_| batch > 0);
        if expected != Some(inputs.len()) || inputs.limbs() != self.plan.limbs {
            let reason = format!(
                "{} elements of {} limb(s), expected {batch} times {len} of {}",
                inputs.len(),
                inputs.limbs().count(),
                self.plan.limbs.count()
            );
            return Err(ModelError::data("input", reason));
        }
        let mut values = vec![inputs.clone()];
        let mut arguments = Vec::with_capacity(self.plan.ops.len());
        for (index, op) in self.plan.indexed_ops() {
            let (argument, result) = match &op.kind {
                OpKind::Activation(a) => {
                    let u = self.nearest(&values[a.input.index()], self.shift(a.input, a.input_scale));
                    let y = activation(self.plan.limbs, a, &u, batch);
                    (Some(u), y)
                }
                _ => {
                    let inputs: Vec<&LimbVec> = op.kind.inputs().iter().map(|v| &values[v.index()]).collect();
                    (None, self.linear_step(index, &inputs, batch))
                }
            };
            arguments.push(argument);
            values.push(result);
        }
        let out = &self.plan.output;
        let shift = self.shift(out.value, out.scale);
        let rounded = values[out.value.index()].signed().into_iter().map(|z| round_shift(z, shift)).collect();
        let outputs = Outputs { integers: rounded, scale: out.scale, batch };
        Ok(Trace { values, arguments, outputs })
    }

    /// Bits dropped when a value is truncated to a scale.
    fn shift(&self, value: ValueId, scale: ScaleBits) -> u32 {
        self.values.get(value).scale.0 - scale.0
    }

    fn nearest(&self, z: &LimbVec, shift: u32) -> LimbVec {
        LimbVec::from_signed(self.plan.limbs, z.signed().into_iter().map(|z| round_shift(z, shift)))
    }

    /// The result of any operation but an activation; lengths are checked already.
    fn linear_step(&self, index: OpIndex, inputs: &[&LimbVec], batch: usize) -> LimbVec {
        let limbs = self.plan.limbs;
        match &self.plan.op(index).kind {
            OpKind::Linear { weights, .. } => {
                let layer = &self.layers[weights.index()];
                let mut z = layer.map.apply(inputs[0], batch);
                if let Some(bias) = &layer.bias {
                    z.add_assign(&LimbVec::concat(&vec![bias; batch]));
                }
                z
            }
            OpKind::Multiply { .. } => {
                let mut z = inputs[0].clone();
                z.mul_assign(inputs[1]);
                z
            }
            OpKind::Add { left_shift, right_shift, .. } => {
                let mut z = inputs[0].clone();
                z.scale_assign(&Element::power_of_two(limbs, *left_shift));
                z.add_scaled(&Element::power_of_two(limbs, *right_shift), inputs[1]);
                z
            }
            OpKind::SumPool { pool, .. } => sum_pool(pool, inputs[0], batch),
            OpKind::Slice { start, len, .. } => {
                let each = inputs[0].len() / batch;
                let parts: Vec<LimbVec> =
                    (0..batch).map(|b| inputs[0].slice(b * each + start..b * each + start + len)).collect();
                LimbVec::concat(&parts.iter().collect::<Vec<_>>())
            }
            OpKind::Concat { parts } => {
                let scaled: Vec<LimbVec> = inputs
                    .iter()
                    .zip(parts)
                    .map(|(x, part)| {
                        let mut x = (*x).clone();
                        x.scale_assign(&Element::power_of_two(limbs, part.shift));
                        x
                    })
                    .collect();
                let piece = |x: &LimbVec, b: usize| {
                    let each = x.len() / batch;
                    x.slice(b * each..(b + 1) * each)
                };
                let pieces: Vec<LimbVec> =
                    (0..batch).flat_map(|b| scaled.iter().map(move |x| piece(x, b))).collect();
                LimbVec::concat(&pieces.iter().collect::<Vec<_>>())
            }
            OpKind::Weigh { rows, columns, .. } => {
                let plane =
                    rows.iter().flat_map(|&r| columns.iter().map(move |&c| i64::from(r) * i64::from(c)));
                let factors: Vec<i64> = plane.cycle().take(inputs[0].len()).collect();
                let mut z = inputs[0].clone();
                z.mul_assign(&LimbVec::from_i64(limbs, &factors));
                z
            }
            OpKind::Activation(_) => unreachable!("activations are computed by `activation`"),
        }
    }
}

/// `y = sum over the pool of p(u)` at scale `d f_u + f_c`, modulo Q.
fn activation(limbs: Limbs, a: &Activation, u: &LimbVec, batch: usize) -> LimbVec {
    let y = evaluate(&scaled_coefficients(limbs, &a.coefficients, a.input_scale.0), u);
    match &a.pool {
        Some(pool) => sum_pool(pool, &y, batch),
        None => y,
    }
}

/// `z / 2^shift` to the nearest integer, halves up.
pub(crate) fn round_shift(z: I256, shift: u32) -> I256 {
    match shift {
        0 => z,
        _ => (z + (I256::ONE << (shift - 1))) >> shift,
    }
}
