//! Weights that everybody knows: part of the plan, and so of its digest.
//!
//! A layer of public weights is local on masked values and on masks alike
//! ([docs/protocol.md], section 6.6): it opens nothing.
//!
//! [docs/protocol.md]: ../../../docs/protocol.md

use crate::encoding::MAX_BYTES;
use crate::values::MAX_OPS;
use crate::weights::Part;
use crate::{Op, OpKind, Plan, PlanError, PublicId, ScaleBits, Select, ValueId, WeightId, WeightSpec};
use amicus_field::{Dense, I256, LimbVec, Limbs, LinearShape, Prime};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// Public weights are smaller than `2^BITS`, and so than every prime: those that are not 0 are
/// invertible modulo `Q`.
pub const BITS: u32 = 51;

/// A public weight tensor: what it is, and its integers. `Debug` shows how many.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct PublicWeights {
    weights: Vec<i64>,
    #[serde(serialize_with = "as_halves")]
    bias: Vec<I256>,
}

/// A public weight tensor of one linear layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PublicTensor {
    /// What it is.
    pub spec: WeightSpec,
    /// Its integers.
    pub values: PublicWeights,
}

impl PublicWeights {
    /// Weights in the order `[out, in/groups, kernel_h, kernel_w]` or `[out, in]`, and biases at the
    /// scale of the layer's result; none for a layer without.
    pub fn new(weights: Vec<i64>, bias: Vec<I256>) -> Self {
        PublicWeights { weights, bias }
    }

    /// The weights.
    pub fn weights(&self) -> &[i64] {
        &self.weights
    }

    /// The biases, one a channel or output.
    pub fn bias(&self) -> &[I256] {
        &self.bias
    }
}

impl fmt::Debug for PublicWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicWeights({} weights, {} biases)", self.weights.len(), self.bias.len())
    }
}

impl PublicTensor {
    /// The elements of one part of it.
    ///
    /// # Panics
    /// When a tensor of a valid plan has no such part.
    pub fn part(&self, part: &Part, limbs: Limbs) -> LimbVec {
        match part {
            Part::Weights(range) => LimbVec::from_i64(limbs, &self.values.weights[range.clone()]),
            Part::Bias(_) => LimbVec::from_signed(limbs, self.values.bias.iter().copied()),
        }
    }

    /// Refuses more or fewer integers than the shape says, and those that are too large.
    pub(crate) fn check(&self, limbs: Limbs) -> Result<(), PlanError> {
        let (spec, PublicWeights { weights, bias }) = (&self.spec, &self.values);
        let refuse = |reason: String| Err(PlanError::op(&spec.name, reason));
        let expected = integers_of(spec);
        let got = [weights.len(), bias.len()];
        if got != expected {
            return refuse(format!("{got:?} public weights and biases, expected {expected:?}"));
        }
        if let Some(w) = weights.iter().find(|w| w.unsigned_abs() >= 1 << BITS) {
            return refuse(format!("public weight {w}, allowed {BITS} bits"));
        }
        let largest = I256::ONE << (limbs.bits() - 2);
        if let Some(b) = bias.iter().find(|b| b.unsigned_abs() >= largest.unsigned_abs()) {
            return refuse(format!("public bias {b} beyond the modulus of {} bits", limbs.bits()));
        }
        Ok(())
    }
}

impl Plan {
    /// How many weights are public, biases not counted.
    pub fn public_weights(&self) -> usize {
        self.public.iter().map(|tensor| tensor.values.weights.len()).sum()
    }

    /// The public weight tensor at an index.
    pub fn public_tensor(&self, id: PublicId) -> &PublicTensor {
        &self.public[id.index()]
    }

    /// The plan with all its weights public, one for each tensor of [`Plan::weights`], in order:
    /// nothing is left to load. And the value that was put in, if one was:
    ///
    /// the network's outputs get a fresh mask where the weights could relate theirs to each other:
    /// unless a dense layer gives them itself, from a value that was opened, and none of its rows is
    /// a sum of others.
    ///
    /// # Errors
    /// Weights of other shapes, too large, or too many for a plan; a plan that is not valid.
    pub fn published(&self, weights: Vec<PublicWeights>) -> Result<(Plan, Option<ValueId>), PlanError> {
        if weights.len() != self.weights.len() {
            let (got, expected) = (weights.len(), self.weights.len());
            return Err(PlanError::Whole(format!("weights of {got} layers, the plan has {expected}")));
        }
        let mut plan = self.clone();
        let before = plan.public.len() as u32;
        let specs = std::mem::take(&mut plan.weights);
        plan.public
            .extend(specs.into_iter().zip(weights).map(|(spec, values)| PublicTensor { spec, values }));
        for op in &mut plan.ops {
            if let OpKind::Linear { input, weights: WeightId(id), .. } = op.kind {
                op.kind = OpKind::PublicLinear { input, weights: PublicId(before + id) };
            }
        }
        let values = plan.values()?;
        let bytes = plan.encode()?.len();
        if bytes > MAX_BYTES {
            let reason = format!(
                "with its weights public it has {} MiB, at most {}",
                bytes.div_ceil(1 << 20),
                MAX_BYTES >> 20
            );
            return Err(PlanError::Whole(reason));
        }
        let hidden = plan.output.reveal.is_some();
        let main = plan.watched().map_or(plan.output.value, |(main, _)| main);
        if hidden || !plan.related(main) {
            return Ok((plan, None));
        }
        let fresh = plan.mask_afresh(main, values.get(main).scale);
        plan.values()?;
        Ok((plan, Some(fresh)))
    }

    /// Whether weights that everybody knows relate the masks of a value's elements, or could.
    fn related(&self, value: ValueId) -> bool {
        // Values whose masks come from earlier ones by public weights.
        let mut weighed = vec![false; self.ops.len() + 1];
        for (index, op) in self.indexed_ops() {
            let of_inputs = || op.kind.inputs().iter().any(|input| weighed[input.index()]);
            let public = matches!(op.kind, OpKind::PublicLinear { .. });
            weighed[ValueId::of(index).index()] = public || (!op.kind.opens() && of_inputs());
        }
        match value.op().map(|op| &self.ops[op.index()].kind) {
            Some(OpKind::PublicLinear { input, weights }) => {
                let PublicTensor { spec, values } = self.public_tensor(*weights);
                let opened = input.op().is_none_or(|op| self.ops[op.index()].kind.opens());
                !opened || !independent(&spec.shape, &values.weights, self.limbs)
            }
            _ => weighed[value.index()],
        }
    }

    /// The outputs before they got a fresh mask in the last operation, if they did.
    pub(crate) fn masked_afresh(&self) -> Option<ValueId> {
        match &self.ops.last()?.kind {
            OpKind::Select(Select { input, bits: None, polynomials, pool: None, base: None, .. }) => {
                (!self.public.is_empty() && *polynomials == [[0, 1]]).then_some(*input)
            }
            _ => None,
        }
    }

    /// Opens the network's outputs once more under a fresh mask, before they are revealed: a
    /// selection of the value itself, for which nothing is dealt. Returns their new value.
    fn mask_afresh(&mut self, main: ValueId, scale: ScaleBits) -> ValueId {
        let afresh =
            Select { input: main, bits: None, polynomials: vec![vec![0, 1]], scale, pool: None, base: None };
        let later = |value: &mut ValueId| value.0 += u32::from(*value > main);
        let at = main.index();
        self.ops[at..].iter_mut().flat_map(|op| op.kind.inputs_mut()).for_each(later);
        self.ops.insert(at, Op { name: "fresh mask".to_owned(), kind: OpKind::Select(afresh) });
        let fresh = ValueId(main.0 + 1);
        let joins = self.output.watch > 0;
        if let (true, Some(OpKind::Concat { parts })) = (joins, self.ops.last_mut().map(|op| &mut op.kind)) {
            parts.iter_mut().filter(|part| part.input == main).for_each(|part| part.input = fresh);
        }
        match self.output.value == main {
            true => self.output.value = fresh,
            false => later(&mut self.output.value),
        }
        fresh
    }
}

/// Whether this is a dense layer whose rows are linearly independent modulo every prime: it maps a
/// uniform mask to a uniform one.
fn independent(shape: &LinearShape, weights: &[i64], limbs: Limbs) -> bool {
    let LinearShape::Dense(Dense { inputs, outputs }) = *shape else { return false };
    outputs <= inputs && limbs.primes().iter().all(|&p| rows_are_independent(weights, inputs, p))
}

/// Gauss's elimination, row by row.
fn rows_are_independent(weights: &[i64], inputs: usize, p: Prime) -> bool {
    // Rows, each with the column of a 1 where later ones have a 0.
    let mut before: Vec<(usize, Vec<u64>)> = Vec::new();
    for row in weights.chunks(inputs) {
        let mut row: Vec<u64> = row.iter().map(|&w| p.reduce_signed(w)).collect();
        for (column, other) in &before {
            let factor = row[*column];
            row.iter_mut().zip(other).for_each(|(a, &b)| *a = p.sub(*a, p.mul(factor, b)));
        }
        let Some(column) = row.iter().position(|&a| a != 0) else { return false };
        let inverse = p.pow(row[column], p.value() - 2);
        row.iter_mut().for_each(|a| *a = p.mul(*a, inverse));
        before.push((column, row));
    }
    true
}

/// How many weights and biases a tensor has.
fn integers_of(spec: &WeightSpec) -> [usize; 2] {
    [spec.shape.weights(), if spec.bias { spec.shape.biases() } else { 0 }]
}

/// Integers of any size, as their upper and lower halves.
fn as_halves<S: Serializer>(all: &[I256], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(all.iter().map(|x| {
        let (high, low) = x.into_words();
        (high, low as u128)
    }))
}

/// Reads encoded tensors, and returns what is behind them. Of each there are as many integers as its
/// shape says, so that what is kept in memory follows from how many bytes there are.
pub(crate) fn take(bytes: &[u8]) -> Result<(Vec<PublicTensor>, &[u8]), PlanError> {
    let (count, mut rest) = take_one::<u32>(bytes)?;
    if count as usize > MAX_OPS {
        return Err(PlanError::Encoding(format!("{count} public weight tensors, at most {MAX_OPS}")));
    }
    let mut all = Vec::new();
    for _ in 0..count {
        let (spec, behind) = take_one::<WeightSpec>(rest)?;
        spec.shape.validate().map_err(|e| PlanError::op(&spec.name, e.to_string()))?;
        let [weights, biases] = integers_of(&spec);
        let (weights, behind) = take_integers(behind, weights, |w: i64| w)?;
        let wide = |(high, low): (i128, u128)| I256::from_words(high, low as i128);
        let (bias, behind) = take_integers(behind, biases, wide)?;
        all.push(PublicTensor { spec, values: PublicWeights { weights, bias } });
        rest = behind;
    }
    Ok((all, rest))
}

fn take_integers<'a, T: Deserialize<'a>, U>(
    bytes: &'a [u8],
    expected: usize,
    integer: impl Fn(T) -> U,
) -> Result<(Vec<U>, &'a [u8]), PlanError> {
    let (count, mut rest) = take_one::<u64>(bytes)?;
    // Each takes a byte at least.
    if count != expected as u64 || expected > rest.len() {
        let (got, there) = (count, rest.len());
        let reason = format!("{got} public integers in {there} bytes, expected {expected}");
        return Err(PlanError::Encoding(reason));
    }
    let mut all = Vec::with_capacity(expected);
    for _ in 0..expected {
        let (next, behind) = take_one(rest)?;
        all.push(integer(next));
        rest = behind;
    }
    Ok((all, rest))
}

fn take_one<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), PlanError> {
    postcard::take_from_bytes(bytes).map_err(|e| PlanError::Encoding(e.to_string()))
}
