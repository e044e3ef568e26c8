//! The plan itself: a straight list of operations over masked values.

use crate::{
    Compare, OpIndex, Outside, PlanError, PublicId, PublicTensor, ScaleBits, Select, Truncate, UseIndex,
    ValueId, WeightId,
};
use amicus_field::{Limbs, LinearShape, SumPool2d};
use serde::{Deserialize, Serialize};

/// What is computed, layer by layer, with every scale and bound.
///
/// A `Plan` built by hand or read from a file is checked by [`Plan::values`], which every consumer
/// calls first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Name of the model, shown to users.
    pub name: String,
    /// Number of 52-bit primes whose product is the modulus.
    pub limbs: Limbs,
    /// The client's input.
    pub input: InputSpec,
    /// Weight tensors that the model owner masks once an epoch.
    pub weights: Vec<WeightSpec>,
    /// Weight tensors that everybody knows. Encoded behind the rest of the plan.
    #[serde(skip)]
    pub public: Vec<PublicTensor>,
    /// Operations in an order in which each uses earlier values only.
    pub ops: Vec<Op>,
    /// What receivers get.
    pub output: OutputSpec,
}

/// The client's input: a vector of fixed-point numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputSpec {
    /// Shape of one input, for example `[channels, height, width]`; its product is the number of
    /// elements.
    pub shape: Vec<usize>,
    /// Scale of the input.
    pub scale: ScaleBits,
    /// Range of the real numbers the client may send.
    pub range: Range,
}

/// A closed interval of real numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// Smallest value.
    pub low: f64,
    /// Largest value.
    pub high: f64,
}

impl Range {
    /// A client's number as a real number inside the range; `None` when it is outside. Borders
    /// compare in single precision, in which clients have their numbers: one that prints as the
    /// border is on it.
    pub fn hold(self, x: f32) -> Option<f64> {
        (x >= self.low as f32 && x <= self.high as f32).then(|| f64::from(x).clamp(self.low, self.high))
    }
}

/// A weight tensor of one linear layer; the values are secret, this description is public.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightSpec {
    /// Name of the layer in the model file.
    pub name: String,
    /// Dense layer or convolution with its sizes.
    pub shape: LinearShape,
    /// Scale of the weights; the bias has the scale of the layer's result.
    pub scale: ScaleBits,
    /// Whether there is a bias (one per output channel, or per output of a dense layer).
    pub bias: bool,
}

/// One operation with its name in the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Op {
    /// Name shown in errors and tables.
    pub name: String,
    /// What it does.
    pub kind: OpKind,
}

/// What an operation does. `Linear`, `Multiply`, `Activation`, `Truncate`, `Select` and
/// `Outside` end in an opening (one round), `Compare` opens in several rounds; the others are local.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OpKind {
    /// Secret matrix or convolution times a value, plus bias.
    Linear {
        /// Left to right: the value multiplied; its mask must be shared among the parties.
        input: ValueId,
        /// The weight tensor.
        weights: WeightId,
        /// Which use of that tensor this is, counted from 0.
        use_index: UseIndex,
    },
    /// Product of two secret vectors, element by element; both masks must be shared among the
    /// parties.
    Multiply {
        /// First factor.
        left: ValueId,
        /// Second factor.
        right: ValueId,
    },
    /// Truncation, polynomial and optional sum-pooling in one opening.
    Activation(Activation),
    /// Sum of two values of equal length, each first multiplied by a power of two (residual
    /// connection).
    Add {
        /// First summand.
        left: ValueId,
        /// The first summand is multiplied by `2^left_shift`.
        left_shift: u32,
        /// Second summand.
        right: ValueId,
        /// The second summand is multiplied by `2^right_shift`.
        right_shift: u32,
    },
    /// Sums over windows of a value that is already open (pooling that could not be merged into an
    /// activation).
    SumPool {
        /// The value pooled.
        input: ValueId,
        /// Window geometry.
        pool: SumPool2d,
    },
    /// Elements `start..start + len` of a value.
    Slice {
        /// The value cut.
        input: ValueId,
        /// First element.
        start: usize,
        /// Number of elements.
        len: usize,
    },
    /// Values one behind the other, each first multiplied by a power of two (channels of images
    /// joined).
    Concat {
        /// The values joined, in order; at least one.
        parts: Vec<Part>,
    },
    /// Every element of `[channels, rows, columns]` times a public integer, `rows[y] columns[x]`:
    /// means over windows that hold fewer elements at the border (padding not counted).
    Weigh {
        /// The value.
        input: ValueId,
        /// One factor a row, at least 1.
        rows: Vec<u32>,
        /// One factor a column, at least 1.
        columns: Vec<u32>,
    },
    /// Comparison of every element with public thresholds.
    Compare(Compare),
    /// Truncation alone.
    Truncate(Truncate),
    /// Polynomials chosen by bits, or one polynomial.
    Select(Select),
    /// Difference of two values of equal length, each first multiplied by a power of two.
    Subtract {
        /// What is subtracted from.
        left: ValueId,
        /// It is multiplied by `2^left_shift`.
        left_shift: u32,
        /// What is subtracted.
        right: ValueId,
        /// It is multiplied by `2^right_shift`.
        right_shift: u32,
    },
    /// Pixels of images: pixel `(y, x)` of each result is pixel `(rows[y], columns[x])` of the
    /// image. Windows of a maximum, tap by tap.
    Gather {
        /// The value, images of one size one behind the other.
        input: ValueId,
        /// Height and width of an image.
        size: [usize; 2],
        /// Rows taken, each below the height.
        rows: Vec<u32>,
        /// Columns taken, each below the width.
        columns: Vec<u32>,
    },
    /// The bits of two comparisons of one threshold each, and as a third one whether both are
    /// equal: twice the product of two bits is their sum and that bit, less 1.
    Xnor {
        /// The first comparison.
        left: ValueId,
        /// The second comparison.
        right: ValueId,
    },
    /// Whether any element is neither 0 nor 1.
    Outside(Outside),
    /// Matrix or convolution of public weights times a value, plus bias.
    PublicLinear {
        /// The value multiplied.
        input: ValueId,
        /// The weight tensor.
        weights: PublicId,
    },
}

/// One of the values that are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The value.
    pub input: ValueId,
    /// It is multiplied by `2^shift`.
    pub shift: u32,
}

/// Truncation to `input_scale`, the polynomial `sum_k coefficients[k] 2^-coefficient_scale u^k`,
/// then sum-pooling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Activation {
    /// The value fed in.
    pub input: ValueId,
    /// The integers fed in lie strictly between `-2^ell` and `2^ell`.
    pub ell: u32,
    /// Scale of the polynomial's argument `u`; `scale(input) - input_scale` bits are dropped.
    pub input_scale: ScaleBits,
    /// Integer coefficients `A_0..A_d`, degree 1 to 8.
    pub coefficients: Vec<i64>,
    /// Scale of the coefficients; the result has scale `d * input_scale + coefficient_scale`.
    pub coefficient_scale: ScaleBits,
    /// Windows summed before the result is opened.
    pub pool: Option<SumPool2d>,
    /// How wrap-around of the mask is dealt with.
    pub wrap: WrapRule,
}

/// How an activation deals with a mask that wraps around the modulus (`docs/protocol.md`,
/// "Activation").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WrapRule {
    /// Two coefficient sets are dealt and the public wrap bit chooses: exact always.
    Exact,
    /// One set is dealt; a wrap has probability below `2^-40` per input over all such activations.
    Statistical,
}

/// What receivers get: one value, rounded to `scale`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputSpec {
    /// The value revealed.
    pub value: ValueId,
    /// The integers revealed lie strictly between `-2^ell` and `2^ell` before rounding.
    pub ell: u32,
    /// Scale of the revealed numbers, at most the value's own scale.
    pub scale: ScaleBits,
    /// Operations at the end of the list that find hidden values outside what the plan was made
    /// for; none in a plan that does not look. With them the last numbers revealed are random if
    /// there was such a value, else 0 ([`Plan::answer`]); in older plans it is one number, and 1/8 at
    /// least in place of random ones. Encoded behind the rest of the plan.
    #[serde(skip)]
    pub watch: u32,
    /// What receivers get in place of the network's outputs, if it is only which of them are the
    /// largest. Encoded behind the rest of the plan.
    #[serde(skip)]
    pub reveal: Option<Reveal>,
}

/// Only which outputs of the network are the largest is revealed: labels, the outputs themselves
/// stay masked.
///
/// The plan reveals numbers in the order of [`Reveal::choices`]; of each, the best label of every
/// place, then the second of every place, and so on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reveal {
    /// The network's outputs.
    pub hidden: ValueId,
    /// Like [`OutputSpec::ell`], of the hidden outputs.
    pub ell: u32,
    /// The scale that outputs would be rounded to.
    pub scale: ScaleBits,
    /// Operations behind those of the network that find the labels.
    pub ops: u32,
    /// Labels of every place.
    pub labels: u32,
    /// What there is to choose from, one behind the other.
    pub choices: Vec<Choice>,
}

/// Numbers of which the largest are looked for at every place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// How many classes there are: numbers of a place, whose order is class by class.
    pub classes: u32,
    /// Places: 1 where an input as a whole is classified, pixels where each of them is.
    pub places: u32,
}

impl Reveal {
    /// How many labels there are of one input.
    pub fn len(&self) -> usize {
        self.choices.iter().map(|c| self.labels as usize * c.places as usize).sum()
    }

    /// Whether there are none, which no valid plan has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is revealed of numbers that are known, here of one input's outputs: of equal ones that
    /// with the smallest label comes first.
    ///
    /// # Panics
    /// When there are fewer numbers than there is to choose from.
    pub fn of(&self, outputs: &[f64]) -> Vec<f64> {
        let mut labels = Vec::with_capacity(self.len());
        let mut first = 0;
        for &Choice { classes, places } in &self.choices {
            let (classes, places) = (classes as usize, places as usize);
            let part = &outputs[first..first + classes * places];
            first += classes * places;
            let ranked = (0..places).map(|place| {
                let mut order: Vec<usize> = (0..classes).collect();
                // Stable, so equal ones keep their order; a zero has no sign here.
                let number = |class: &usize| part[class * places + place] + 0.0;
                order.sort_by(|a, b| number(b).total_cmp(&number(a)));
                order
            });
            let ranked: Vec<Vec<usize>> = ranked.collect();
            for rank in 0..self.labels as usize {
                labels.extend(ranked.iter().map(|order| order[rank] as f64));
            }
        }
        labels
    }
}

impl Activation {
    /// Degree `d` of the polynomial.
    pub fn degree(&self) -> usize {
        self.coefficients.len().saturating_sub(1)
    }
}

impl OpKind {
    /// The values this operation reads, to give them other numbers.
    pub fn inputs_mut(&mut self) -> Vec<&mut ValueId> {
        match self {
            OpKind::Linear { input, .. }
            | OpKind::PublicLinear { input, .. }
            | OpKind::SumPool { input, .. }
            | OpKind::Slice { input, .. }
            | OpKind::Weigh { input, .. }
            | OpKind::Gather { input, .. } => vec![input],
            OpKind::Concat { parts } => parts.iter_mut().map(|p| &mut p.input).collect(),
            OpKind::Activation(a) => vec![&mut a.input],
            OpKind::Compare(c) => vec![&mut c.input],
            OpKind::Truncate(t) => vec![&mut t.input],
            OpKind::Outside(o) => vec![&mut o.input],
            OpKind::Select(s) => {
                [Some(&mut s.input), s.bits.as_mut(), s.base.as_mut()].into_iter().flatten().collect()
            }
            OpKind::Multiply { left, right }
            | OpKind::Add { left, right, .. }
            | OpKind::Subtract { left, right, .. }
            | OpKind::Xnor { left, right } => vec![left, right],
        }
    }

    /// The values this operation reads.
    pub fn inputs(&self) -> Vec<ValueId> {
        match self {
            OpKind::Linear { input, .. }
            | OpKind::PublicLinear { input, .. }
            | OpKind::SumPool { input, .. }
            | OpKind::Slice { input, .. }
            | OpKind::Weigh { input, .. }
            | OpKind::Gather { input, .. } => vec![*input],
            OpKind::Concat { parts } => parts.iter().map(|p| p.input).collect(),
            OpKind::Activation(a) => vec![a.input],
            OpKind::Compare(c) => vec![c.input],
            OpKind::Truncate(t) => vec![t.input],
            OpKind::Outside(o) => vec![o.input],
            OpKind::Select(s) => [Some(s.input), s.bits, s.base].into_iter().flatten().collect(),
            OpKind::Multiply { left, right }
            | OpKind::Add { left, right, .. }
            | OpKind::Subtract { left, right, .. }
            | OpKind::Xnor { left, right } => vec![*left, *right],
        }
    }

    /// In how many rounds the operation opens something: none when it is local, one for each level
    /// of a comparison, else one.
    pub fn levels(&self) -> usize {
        match self {
            OpKind::Linear { .. }
            | OpKind::Multiply { .. }
            | OpKind::Activation(_)
            | OpKind::Truncate(_)
            | OpKind::Select(_)
            | OpKind::Outside(_) => 1,
            OpKind::Compare(c) => c.levels(),
            OpKind::Add { .. }
            | OpKind::SumPool { .. }
            | OpKind::Slice { .. }
            | OpKind::Concat { .. }
            | OpKind::Weigh { .. }
            | OpKind::Subtract { .. }
            | OpKind::Gather { .. }
            | OpKind::PublicLinear { .. }
            | OpKind::Xnor { .. } => 0,
        }
    }

    /// Whether something is opened in rounds of its own (otherwise the result is computed locally).
    pub fn opens(&self) -> bool {
        self.levels() > 0
    }

    /// Whether the operation comes with no comparison: plans of version 1 of the format know it, or it
    /// is a layer of public weights.
    pub(crate) fn compares_nothing(&self) -> bool {
        match self {
            OpKind::Linear { .. }
            | OpKind::Multiply { .. }
            | OpKind::Activation(_)
            | OpKind::Add { .. }
            | OpKind::SumPool { .. }
            | OpKind::Slice { .. }
            | OpKind::Concat { .. }
            | OpKind::Weigh { .. }
            | OpKind::PublicLinear { .. } => true,
            OpKind::Compare(_)
            | OpKind::Truncate(_)
            | OpKind::Select(_)
            | OpKind::Subtract { .. }
            | OpKind::Gather { .. }
            | OpKind::Xnor { .. }
            | OpKind::Outside(_) => false,
        }
    }
}

/// What is revealed of values outside is a unit of the outputs at most if there are none: no output
/// is wrong by two.
const FOUND: f64 = 2.0;

/// Outputs of so many bits leave room to tell of values outside: in older plans a number of 1/8
/// does.
const FEWEST_BITS: u32 = 5;

/// What is found goes unnoticed with a probability of at most `2^-SURE`.
const SURE: f64 = 40.0;

impl Plan {
    /// The operation at an index.
    pub fn op(&self, index: OpIndex) -> &Op {
        &self.ops[index.index()]
    }

    /// The weight tensor at an index.
    pub fn weight(&self, id: WeightId) -> &WeightSpec {
        &self.weights[id.index()]
    }

    /// All weight tensors, secret ones first.
    pub fn tensors(&self) -> impl Iterator<Item = &WeightSpec> {
        self.weights.iter().chain(self.public.iter().map(|tensor| &tensor.spec))
    }

    /// Operations with their indices, in order.
    pub fn indexed_ops(&self) -> impl Iterator<Item = (OpIndex, &Op)> {
        (0u32..).map(OpIndex).zip(&self.ops)
    }

    /// The plan of the network alone, which reveals its outputs: without the operations that find
    /// labels, those that look for values outside, and one that gives outputs a fresh mask.
    pub fn network(&self) -> Plan {
        let mut plan = self.clone();
        if let Some((main, _)) = self.watched() {
            plan.ops.truncate(self.ops.len() - self.output.watch as usize);
            plan.output.value = main;
            plan.output.watch = 0;
        }
        if let Some(Reveal { hidden, ell, scale, ops, .. }) = plan.output.reveal.take() {
            plan.ops.truncate(plan.ops.len().saturating_sub(ops as usize));
            plan.output = OutputSpec { value: hidden, ell, scale, watch: 0, reveal: None };
        }
        if let Some(main) = plan.masked_afresh() {
            plan.ops.pop();
            plan.output.value = main;
        }
        plan
    }

    /// The class that one input's revealed outputs ([`Plan::answer`]) name: the first label where
    /// the plan reveals labels, else the largest output.
    pub fn class(&self, outputs: &[f64]) -> usize {
        if self.output.reveal.is_some() {
            return outputs.first().map_or(0, |&label| label as usize);
        }
        let largest = |best: usize, i: usize| if outputs[i] > outputs[best] { i } else { best };
        (0..outputs.len()).fold(0, largest)
    }

    /// What the receiver of these outputs of the network would be told, where the network is run
    /// otherwise: the labels where the plan reveals labels, else the outputs.
    pub fn revealed(&self, outputs: &[f64]) -> Vec<f64> {
        self.output.reveal.as_ref().map_or_else(|| outputs.to_vec(), |reveal| reveal.of(outputs))
    }

    /// Where it looks for values outside: the result of the network, and the value that says
    /// whether there were any.
    pub(crate) fn watched(&self) -> Option<(ValueId, ValueId)> {
        match &self.ops.last()?.kind {
            OpKind::Concat { parts } if self.output.watch > 0 => match parts[..] {
                [Part { input: main, shift: 0 }, Part { input: found, .. }] => Some((main, found)),
                _ => None,
            },
            _ => None,
        }
    }

    /// How many numbers at the end of what is revealed say whether values were outside.
    pub(crate) fn telling(&self) -> usize {
        let Some((_, mut found)) = self.watched() else { return 0 };
        // A sum of as many numbers of each watched value.
        loop {
            match found.op().and_then(|op| self.ops.get(op.index())).map(|op| &op.kind) {
                // Earlier values only, so this ends also where a plan is not valid.
                Some(OpKind::Add { left, .. }) if *left < found => found = *left,
                Some(OpKind::Outside(outside)) => return outside.numbers as usize,
                _ => return 1,
            }
        }
    }

    /// How many random numbers, beside outputs that lose `shift` bits, leave what is found unnoticed
    /// with a probability of at most `2^-40`; none where so many bits are lost that no number would
    /// tell.
    ///
    /// A number that is uniform modulo `Q` is revealed within a unit of 0 if it is less than 2.5
    /// units from it.
    pub fn enough_to_tell(limbs: Limbs, shift: u32) -> Option<u32> {
        let missed = (5.0 * 2f64.powi(shift as i32) + 1.0).log2() - f64::from(limbs.bits());
        (missed < -0.5).then(|| (SURE / -missed).ceil() as u32)
    }

    /// How many of one input's revealed numbers are outputs; the others say whether hidden values left
    /// what the plan was made for.
    ///
    /// # Errors
    /// A plan that is not valid.
    pub fn outputs(&self) -> Result<usize, PlanError> {
        Ok(self.values()?.get(self.output.value).len - self.telling())
    }

    /// What one input's revealed numbers say: the outputs, and whether some hidden value left what
    /// the plan was made for, where it looks.
    pub fn answer<'a>(&self, revealed: &'a [f64]) -> (&'a [f64], Option<bool>) {
        if self.output.watch == 0 {
            return (revealed, None);
        }
        let (outputs, found) = revealed.split_at(revealed.len().saturating_sub(self.telling()));
        let unit = 2f64.powi(-(self.output.scale.0 as i32));
        (outputs, Some(found.iter().any(|number| number.abs() >= FOUND * unit)))
    }

    /// Rounds revealed outputs to multiples of `2^-bits`.
    ///
    /// # Errors
    /// So few bits that the error of rounding hides what is told of values outside.
    pub fn round_outputs(&mut self, bits: u32) -> Result<(), PlanError> {
        if self.output.watch > 0 && bits < FEWEST_BITS {
            let reason = format!(
                "outputs rounded to {bits} bits, a plan that looks for values outside needs {FEWEST_BITS}"
            );
            return Err(PlanError::op("output", reason));
        }
        let before = self.output.scale;
        self.output.scale.0 = before.0.min(bits);
        if let Err(error) = self.values() {
            self.output.scale = before;
            return Err(error);
        }
        Ok(())
    }

    /// How many sums the check keeps per batch element: the largest number of uses of one weight
    /// tensor, at least 1.
    pub fn check_slots(&self) -> usize {
        self.ops.iter().map(|op| self.slot(&op.kind) + 1).max().unwrap_or(1)
    }

    /// Whether it has operations that come with comparisons: whether activations are computed in
    /// pieces, or maxima.
    pub fn compares(&self) -> bool {
        !self.ops.iter().all(|op| op.kind.compares_nothing())
    }

    /// The sum that the check of an operation is added to, below [`Plan::check_slots`].
    pub fn slot(&self, kind: &OpKind) -> usize {
        match kind {
            OpKind::Linear { use_index, .. } => use_index.0 as usize,
            _ => 0,
        }
    }
}
