//! A linear layer with its bias: the matrix that masked weights, shares and masks of weights stand for.
//!
//! The bias is one more column that meets the constant input 1 (public: masked value 1, mask 0), and one bias may
//! serve many outputs (all pixels of a channel). Input masks end in that 0, so products with masks leave the bias
//! out; the transposed product has one more element, the sum against the bias column.

use crate::Fault;
use amicus_field::{Element, FieldError, LimbVec, Limbs, LinearMap};
use amicus_plan::WeightSpec;

/// Weights and bias of one tensor in some form: plain, masked, a share, or a mask.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerWeights {
    /// Weights in the order `[out, in/groups, kernel_h, kernel_w]` or `[out, in]`.
    pub weights: LimbVec,
    /// One bias per output channel or output; none when the layer has no bias.
    pub bias: Option<LimbVec>,
}

impl LayerWeights {
    /// Checks the sizes against the plan.
    ///
    /// # Errors
    /// When a length differs.
    pub fn check(&self, spec: &WeightSpec) -> Result<(), Fault> {
        let expected = lengths(spec);
        let got = [Some(self.weights.len()), self.bias.as_ref().map(LimbVec::len)];
        if expected[0] == got[0].unwrap_or(0)
            && (spec.bias == got[1].is_some())
            && expected.get(1).copied() == got[1]
        {
            Ok(())
        } else {
            Err(Fault::Disagreement(format!("size of weights and bias, {got:?} against {expected:?},")))
        }
    }

    /// All vectors in message order.
    pub fn vectors(&self) -> impl Iterator<Item = &LimbVec> {
        std::iter::once(&self.weights).chain(&self.bias)
    }

    /// Reads weights and bias from a message body.
    ///
    /// # Errors
    /// A body of another length or with values out of range.
    pub fn unpack(limbs: Limbs, spec: &WeightSpec, body: &[u8]) -> Result<Self, Fault> {
        let mut vectors = crate::wire::unpack_all(limbs, &lengths(spec), body)?.into_iter();
        match (vectors.next(), vectors.next()) {
            (Some(weights), bias) => Ok(LayerWeights { weights, bias }),
            (None, _) => Err(Fault::Encoding("no weights".into())),
        }
    }

    /// `self += other`.
    pub fn add_assign(&mut self, other: &Self) {
        self.weights.add_assign(&other.weights);
        if let (Some(a), Some(b)) = (&mut self.bias, &other.bias) {
            a.add_assign(b);
        }
    }

    /// `self -= other`.
    pub fn sub_assign(&mut self, other: &Self) {
        self.weights.sub_assign(&other.weights);
        if let (Some(a), Some(b)) = (&mut self.bias, &other.bias) {
            a.sub_assign(b);
        }
    }

    /// `self = -self`.
    pub fn neg_assign(&mut self) {
        self.weights.neg_assign();
        if let Some(bias) = &mut self.bias {
            bias.neg_assign();
        }
    }
}

/// Lengths of the vectors of a weight tensor: weights, then bias if there is one.
pub fn lengths(spec: &WeightSpec) -> Vec<usize> {
    let mut lengths = vec![spec.shape.weights()];
    if spec.bias {
        lengths.push(spec.shape.biases());
    }
    lengths
}

/// Number of columns: inputs, plus one for the bias.
pub fn columns(spec: &WeightSpec) -> usize {
    spec.shape.inputs() + usize::from(spec.bias)
}

/// [`LayerWeights`] in the kernels' own format, ready for products.
#[derive(Debug)]
pub struct Affine {
    map: LinearMap,
    bias: Option<LimbVec>,
    outputs_per_bias: usize,
}

impl Affine {
    /// Packs weights whose sizes fit the plan.
    ///
    /// # Errors
    /// When a size does not fit.
    pub fn new(spec: &WeightSpec, layer: LayerWeights) -> Result<Self, FieldError> {
        let map = LinearMap::new(spec.shape, &layer.weights)?;
        Ok(Affine { map, bias: layer.bias, outputs_per_bias: spec.shape.outputs_per_bias() })
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

    /// `W^T y` for one vector of `outputs` elements: the inputs' part, then the sum against the bias column.
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

fn repeated(element: Element, len: usize) -> LimbVec {
    let mut all = LimbVec::zeros(element.limbs(), len);
    all.add_constant(&element);
    all
}

/// `g . (x, 1)`: a row over all columns against a value, whose bias component is 1.
pub(crate) fn dot_value(g: &LimbVec, x: &LimbVec) -> Element {
    if g.len() == x.len() { g.dot(x) } else { g.slice(0..x.len()).dot(x) + g.get(x.len()) }
}

/// `g . (m, 0)`: a row over all columns against a mask, whose bias component is 0.
pub(crate) fn dot_mask(g: &LimbVec, m: &LimbVec) -> Element {
    if g.len() == m.len() { g.dot(m) } else { g.slice(0..m.len()).dot(m) }
}
