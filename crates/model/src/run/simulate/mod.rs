//! The exact integer simulator: a plan on integers modulo Q, without cryptography.
//!
//! It computes what the secure execution computes (`docs/protocol.md`, 6.2 to 6.6), exactly where
//! nothing is truncated. Where something is, it rounds `z / 2^shift` to nearest (halves up); the
//! secure run gives the integer below or above, so the two differ by at most one unit. Values
//! outside the calibrated range wrap modulo Q, as the functionality says; nothing panics because of
//! a value.
//!
//! A comparison decides `z >= t` and a secure run does, unless `z` is less than half a unit away.
//! With the masks of a run ([`Simulator::trace_masked`]) bits and roundings are those of that run.
//!
//! - [`Simulator`]: the fast path, through `amicus-field`; with [`Trace`] every intermediate value
//! - [`step`]: one operation at a time, on the values another execution had
//! - [`definition`]: the same straight from the formulas, slow; tests hold the fast path to it

mod comparison;
pub mod definition;
mod operations;
pub mod step;
mod trace;

pub use step::{ActivationStep, Between, Step};
pub use trace::{Outputs, Trace};

use amicus_field::{
    Element, I256, LimbVec, Limbs, LinearMap, Truncation, evaluate, scaled_coefficients, sum_pool,
};
use amicus_plan::{
    Activation, OpIndex, OpKind, Plan, PublicTensor, ScaleBits, ValueId, ValueKind, Values, WeightSpec,
};

use crate::error::ModelError;
use crate::quantize::QuantizedWeights;

/// Runs a plan with given weights; vectors are element-major (`batch` inputs one after the other).
pub struct Simulator<'p> {
    plan: &'p Plan,
    values: Values,
    layers: Vec<Layer>,
    /// Those of the plan's public weights.
    public: Vec<Layer>,
}

impl std::fmt::Debug for Simulator<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulator").field("plan", &self.plan.name).finish_non_exhaustive()
    }
}

/// Comparisons that are decided rightly, whatever masks say.
#[derive(Clone, Copy)]
enum Decided {
    All,
    AllBut(OpIndex),
    None,
}

impl Decided {
    fn rightly(self, op: OpIndex) -> bool {
        match self {
            Decided::All => true,
            Decided::AllBut(other) => op != other,
            Decided::None => false,
        }
    }
}

/// A linear layer ready to multiply.
struct Layer {
    map: LinearMap,
    /// One element an output; `None` without bias.
    bias: Option<LimbVec>,
}

impl Layer {
    /// Weights and biases, as residues, in the layout of the shape.
    fn new(spec: &WeightSpec, weights: &LimbVec, bias: Option<&LimbVec>) -> Result<Self, ModelError> {
        let map = LinearMap::new(spec.shape, weights)
            .map_err(|e| ModelError::weights(&spec.name, e.to_string()))?;
        let bias = bias.map(|bias| {
            let per_bias = spec.shape.outputs_per_bias();
            let spread = (0..spec.shape.outputs()).map(|i| bias.get(i / per_bias));
            LimbVec::from_elements(weights.limbs(), &spread.collect::<Vec<Element>>())
        });
        Ok(Layer { map, bias })
    }

    fn of(&self, x: &LimbVec, batch: usize) -> LimbVec {
        let mut z = self.map.apply(x, batch);
        if let Some(bias) = &self.bias {
            z.add_assign(&LimbVec::concat(&vec![bias; batch]));
        }
        z
    }
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
            let bias = weights.bias(id, plan.limbs);
            Layer::new(spec, &weights.weights(id, plan.limbs), bias.as_ref())
        });
        let layers = layers.collect::<Result<_, ModelError>>()?;
        let public = plan.public.iter().map(|PublicTensor { spec, values }| {
            let weights = LimbVec::from_i64(plan.limbs, values.weights());
            let bias = LimbVec::from_signed(plan.limbs, values.bias().iter().copied());
            Layer::new(spec, &weights, spec.bias.then_some(&bias))
        });
        let public = public.collect::<Result<_, ModelError>>()?;
        Ok(Simulator { plan, values, layers, public })
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
        self.run(inputs, None, Decided::All, batch)
    }

    /// Every value of a run whose masks are known, one for each value (those of bits are not read):
    /// truncations and comparisons give what they gave in that run. The output is rounded to
    /// nearest.
    ///
    /// # Errors
    /// When inputs or masks have the wrong number or modulus.
    pub fn trace_masked(
        &self,
        inputs: &LimbVec,
        masks: &[LimbVec],
        batch: usize,
    ) -> Result<Trace, ModelError> {
        self.check_masks(masks, batch)?;
        self.run(inputs, Some(masks), Decided::None, batch)
    }

    /// Every value of a run with these masks that decides all comparisons rightly: what rounding
    /// does alone.
    ///
    /// # Errors
    /// When inputs or masks have the wrong number or modulus.
    pub fn trace_decided(
        &self,
        inputs: &LimbVec,
        masks: &[LimbVec],
        batch: usize,
    ) -> Result<Trace, ModelError> {
        self.check_masks(masks, batch)?;
        self.run(inputs, Some(masks), Decided::All, batch)
    }

    /// A run with one comparison as it was in that run: what its wrong signs do alone.
    pub(crate) fn trace_decided_but(
        &self,
        inputs: &LimbVec,
        masks: &[LimbVec],
        comparison: OpIndex,
        batch: usize,
    ) -> Result<Trace, ModelError> {
        self.check_masks(masks, batch)?;
        self.run(inputs, Some(masks), Decided::AllBut(comparison), batch)
    }

    fn check_masks(&self, masks: &[LimbVec], batch: usize) -> Result<(), ModelError> {
        let fits = |(v, mask): (u32, &LimbVec)| {
            let info = self.values.get(ValueId(v));
            info.kind != ValueKind::Elements
                || (mask.limbs() == self.plan.limbs && Some(mask.len()) == info.len.checked_mul(batch))
        };
        if masks.len() != self.values.count() || !(0..).zip(masks).all(fits) {
            return Err(ModelError::data("masks", "not one for each element of each value"));
        }
        Ok(())
    }

    fn run(
        &self,
        inputs: &LimbVec,
        masks: Option<&[LimbVec]>,
        decided: Decided,
        batch: usize,
    ) -> Result<Trace, ModelError> {
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
            let mask = |id: ValueId| masks.map(|m| &m[id.index()]);
            let (argument, result) = match &op.kind {
                OpKind::Activation(a) => {
                    let z = &values[a.input.index()];
                    let u = self.truncated(index, z, mask(a.input), (a.input, a.input_scale), a.ell)?;
                    let y = activation(self.plan.limbs, a, &u, batch);
                    (Some(u), y)
                }
                OpKind::Truncate(t) => {
                    let z = &values[t.input.index()];
                    (None, self.truncated(index, z, mask(t.input), (t.input, t.scale), t.ell)?)
                }
                OpKind::Compare(c) => {
                    let (limbs, z) = (self.plan.limbs, &values[c.input.index()]);
                    let bits = match mask(c.input) {
                        Some(r) if !decided.rightly(index) => comparison::compare_masked(limbs, c, z, r),
                        _ => comparison::compare(limbs, c, z),
                    };
                    (None, bits)
                }
                _ => {
                    let inputs: Vec<&LimbVec> = op.kind.inputs().iter().map(|v| &values[v.index()]).collect();
                    (None, self.exact(index, &inputs, batch))
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

    /// A value truncated to a scale: under its mask, or to nearest.
    fn truncated(
        &self,
        op: OpIndex,
        z: &LimbVec,
        mask: Option<&LimbVec>,
        (value, scale): (ValueId, ScaleBits),
        ell: u32,
    ) -> Result<LimbVec, ModelError> {
        let (limbs, shift) = (self.plan.limbs, self.shift(value, scale));
        let Some(mask) = mask else { return Ok(comparison::truncate(limbs, z, shift)) };
        let t = Truncation::new(limbs, ell, shift)
            .map_err(|e| ModelError::node(&self.plan.op(op).name, e.to_string()))?;
        Ok(comparison::truncate_masked(&t, z, mask))
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
