//! A linear layer with its bias: the matrix that masked weights, shares and masks of weights stand
//! for.
//!
//! The bias is one more column that meets the constant input 1 (public: masked value 1, mask 0),
//! and one bias may serve many outputs (all pixels of a channel). Input masks end in that 0, so
//! products with masks leave the bias out; the transposed product has one more element, the sum
//! against the bias column.

use crate::label::{LabelStream, domain};
use amicus_field::{Element, FieldError, LimbVec, Limbs, LinearMap};
pub use amicus_plan::weights::{LayerWeights, PART, Part, parts};
use amicus_plan::{Plan, PublicTensor, WeightSpec};
use std::ops::Range;

/// A part of a tensor's mask, or of a party's share of it, from the tensor's mask stream.
pub fn sample(part: &Part, stream: &LabelStream, limbs: Limbs) -> LimbVec {
    match part {
        Part::Weights(range) => stream.sample_from(domain::MAIN, limbs, range.start as u64, range.len()),
        Part::Bias(len) => stream.sample(domain::BIAS, limbs, *len),
    }
}

/// Number of columns: inputs, plus one for the bias.
pub fn columns(spec: &WeightSpec) -> usize {
    spec.shape.inputs() + usize::from(spec.bias)
}

/// A weight tensor in some form (masked, a share, a mask), in the kernels' own format, ready for
/// products.
#[derive(Debug)]
pub struct Affine {
    map: LinearMap,
    bias: Option<LimbVec>,
    outputs_per_bias: usize,
}

impl Affine {
    /// Weights and bias that are all 0, to be written part by part.
    ///
    /// # Errors
    /// An invalid shape.
    pub fn zeros(spec: &WeightSpec, limbs: Limbs) -> Result<Self, FieldError> {
        let map = LinearMap::zeros(spec.shape, limbs)?;
        let bias = spec.bias.then(|| LimbVec::zeros(limbs, spec.shape.biases()));
        Ok(Affine { map, bias, outputs_per_bias: spec.shape.outputs_per_bias() })
    }

    /// Writes one part.
    ///
    /// # Panics
    /// When the values are not as many as the part has.
    pub fn write(&mut self, part: &Part, values: LimbVec) {
        assert_eq!(part.len(), values.len(), "values of another part");
        match part {
            Part::Weights(range) => self.map.write(range.start, &values),
            Part::Bias(_) => self.bias = Some(values),
        }
    }

    /// Reads one part.
    ///
    /// # Panics
    /// When there is no such part.
    pub fn read(&self, part: &Part) -> LimbVec {
        match part {
            Part::Weights(range) => self.map.read(range.start, range.len()),
            Part::Bias(len) => self
                .bias
                .as_ref()
                .map_or_else(|| LimbVec::zeros(self.map.limbs(), *len), |bias| bias.slice(0..*len)),
        }
    }

    /// `W x` without the bias, for every batch element: `batch x inputs` to `batch x outputs`.
    pub fn product(&self, x: &LimbVec, batch: usize) -> LimbVec {
        self.map.apply(x, batch)
    }

    /// The bias of every output of one batch element; none when the layer has no bias.
    pub fn bias_of_outputs(&self) -> Option<LimbVec> {
        let bias = self.bias.as_ref()?;
        let each: Vec<LimbVec> =
            (0..bias.len()).map(|c| repeated(bias.get(c), self.outputs_per_bias)).collect();
        Some(LimbVec::concat(&each.iter().collect::<Vec<_>>()))
    }

    /// `W^T y` for one vector of `outputs` elements: the inputs' part, then the sum against the
    /// bias column.
    pub fn transposed(&self, y: &LimbVec) -> LimbVec {
        let inputs = self.map.apply_transposed(y, 1);
        match self.bias_of_outputs() {
            None => inputs,
            Some(bias) => LimbVec::concat(&[&inputs, &repeated(bias.dot(y), 1)]),
        }
    }

    /// `W c` for one vector `c` that has a component for the bias column too.
    pub fn product_augmented(&self, c: &LimbVec) -> LimbVec {
        let Some(mut bias) = self.bias_of_outputs() else { return self.map.apply(c, 1) };
        let inputs = c.len() - 1;
        bias.scale_assign(&c.get(inputs));
        bias.add_assign(&self.map.apply(&c.slice(0..inputs), 1));
        bias
    }
}

/// The plan's public weights, ready for products.
///
/// # Errors
/// An invalid shape.
pub(crate) fn public(plan: &Plan) -> Result<Vec<Affine>, FieldError> {
    let layer = |tensor: &PublicTensor| {
        let mut layer = Affine::zeros(&tensor.spec, plan.limbs)?;
        parts(&tensor.spec).iter().for_each(|part| layer.write(part, tensor.part(part, plan.limbs)));
        Ok(layer)
    };
    plan.public.iter().map(layer).collect()
}

fn repeated(element: Element, len: usize) -> LimbVec {
    let mut all = LimbVec::zeros(element.limbs(), len);
    all.add_constant(&element);
    all
}

/// `g . (x, 1)`: a row over all columns against a value, a part of a vector, whose bias component is
/// 1.
pub(crate) fn dot_value(g: &LimbVec, x: &LimbVec, part: Range<usize>) -> Element {
    let len = part.len();
    let dot = dot_mask(g, x, part);
    if g.len() == len { dot } else { dot + g.get(len) }
}

/// `g . (m, 0)`: a row over all columns against a mask, a part of a vector, whose bias component is
/// 0.
pub(crate) fn dot_mask(g: &LimbVec, m: &LimbVec, part: Range<usize>) -> Element {
    g.dot_parts(0..part.len(), m, part)
}
