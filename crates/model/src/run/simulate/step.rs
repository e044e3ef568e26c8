//! One operation at a time, on the values that another execution had.
//!
//! A protocol run and a simulation drift apart by roundings. To hold a run to its plan operation by
//! operation, give the actual inputs of an operation: everything but truncation must then be exact,
//! and an argument must be one of the two integers around `z / 2^shift`.

use amicus_field::{I256, LimbVec, Limbs};
use amicus_plan::{Activation, OpIndex, OpKind, ValueInfo, ValueKind};

use super::{Simulator, activation, comparison, round_shift};
use crate::error::ModelError;
use crate::run::linear::pool_window;

/// Most elements of a pooling window for which every way of rounding is tried; sums of more must
/// lie between those of the smallest and of the largest summands.
const MAX_WINDOW: usize = 16;

/// What an operation may give on given inputs.
#[derive(Clone, Debug)]
pub enum Step {
    /// Exactly this.
    Exact(LimbVec),
    /// An activation: a choice of roundings.
    Activation(Box<ActivationStep>),
    /// A truncation or a comparison: one of two results for each element.
    Between(Between),
}

/// What a truncation or a comparison may give: for each element one of two results, which are equal
/// where there is no choice.
#[derive(Clone, Debug)]
pub struct Between {
    /// `floor(z / 2^shift)`; bits that are 1 whatever the mask is.
    pub lowest: LimbVec,
    /// `ceil(z / 2^shift)`; bits that are 1 under some mask.
    pub highest: LimbVec,
    /// What the simulator takes without a mask.
    pub nearest: LimbVec,
}

impl Between {
    /// Whether a result is allowed.
    ///
    /// # Errors
    /// The position of the first element that is neither of the two.
    pub fn check(&self, y: &LimbVec) -> Result<(), usize> {
        allowed(&self.lowest, &self.highest, y)
    }
}

fn allowed(lowest: &LimbVec, highest: &LimbVec, y: &LimbVec) -> Result<(), usize> {
    let is = |i: usize| y.get(i) == lowest.get(i) || y.get(i) == highest.get(i);
    match (0..lowest.len()).find(|&i| i >= y.len() || !is(i)) {
        Some(i) => Err(i),
        None => Ok(()),
    }
}

/// What an activation may give on a given `z`.
#[derive(Clone, Debug)]
pub struct ActivationStep {
    limbs: Limbs,
    activation: Activation,
    batch: usize,
    /// `floor(z / 2^shift)`.
    lowest: LimbVec,
    /// `ceil(z / 2^shift)`.
    highest: LimbVec,
    nearest: LimbVec,
}

impl ActivationStep {
    /// The smaller of the two arguments allowed, `floor(z / 2^shift)`, one for each element fed in.
    pub fn lowest(&self) -> &LimbVec {
        &self.lowest
    }

    /// The larger of the two, `ceil(z / 2^shift)`; equal to the smaller where nothing is rounded.
    pub fn highest(&self) -> &LimbVec {
        &self.highest
    }

    /// The argument the simulator takes.
    pub fn nearest(&self) -> &LimbVec {
        &self.nearest
    }

    /// The exact result for given arguments.
    ///
    /// # Panics
    /// When there are not as many arguments as elements fed in.
    pub fn result(&self, u: &LimbVec) -> LimbVec {
        assert_eq!(u.len(), self.lowest.len(), "one argument for each element fed in");
        activation(self.limbs, &self.activation, u, self.batch)
    }

    /// Whether given arguments are allowed; the first element that is not.
    ///
    /// # Errors
    /// The position of the first argument that is neither of the two.
    pub fn check_arguments(&self, u: &LimbVec) -> Result<(), usize> {
        allowed(&self.lowest, &self.highest, u)
    }

    /// Whether a result comes from allowed arguments, whatever they were; for windows of more than
    /// 16 inputs, whether it lies between the smallest and the largest such result.
    ///
    /// # Errors
    /// The position of the first element that does not.
    pub fn check_result(&self, y: &LimbVec) -> Result<(), usize> {
        let unpooled = Activation { pool: None, ..self.activation.clone() };
        let low = activation(self.limbs, &unpooled, &self.lowest, self.batch);
        let high = activation(self.limbs, &unpooled, &self.highest, self.batch);
        let per_input = y.len() / self.batch;
        let inputs = low.len() / self.batch;
        let windows = self.windows();
        let (low_signed, high_signed, y_signed) = (low.signed(), high.signed(), y.signed());
        let accepted = |i: usize| {
            let window = &windows[i % per_input];
            let first = i / per_input * inputs;
            if window.len() > MAX_WINDOW {
                let ends = window.iter().map(|&j| [low_signed[first + j], high_signed[first + j]]);
                let (least, most) = ends.fold((I256::ZERO, I256::ZERO), |(least, most), [a, b]| {
                    (least + a.min(b), most + a.max(b))
                });
                return least <= y_signed[i] && y_signed[i] <= most;
            }
            (0..1u32 << window.len()).any(|choice| {
                let pick = |(bit, &j): (usize, &usize)| {
                    if choice >> bit & 1 == 0 { low.get(first + j) } else { high.get(first + j) }
                };
                let zero = amicus_field::Element::zero(self.limbs);
                window.iter().enumerate().map(pick).fold(zero, |sum, e| sum + e) == y.get(i)
            })
        };
        if per_input != windows.len() {
            return Err(0);
        }
        match (0..y.len()).find(|&i| !accepted(i)) {
            Some(i) => Err(i),
            None => Ok(()),
        }
    }

    /// Elements fed into each result of one input.
    fn windows(&self) -> Vec<Vec<usize>> {
        match &self.activation.pool {
            None => (0..self.lowest.len() / self.batch).map(|i| vec![i]).collect(),
            Some(pool) => {
                let [oh, ow] = pool.out_size();
                let places = (0..pool.channels * oh * ow).map(|i| (i / (oh * ow), i / ow % oh, i % ow));
                places.map(|(c, y, x)| pool_window(pool, c, y, x).collect()).collect()
            }
        }
    }
}

impl Simulator<'_> {
    /// What operation `op` may give on these inputs (in the order of [`OpKind::inputs`], `batch`
    /// times each length).
    ///
    /// # Errors
    /// When the inputs have the wrong number, length or modulus; the operation is named.
    pub fn step(&self, op: OpIndex, inputs: &[&LimbVec], batch: usize) -> Result<Step, ModelError> {
        let operation = self.plan.op(op);
        let expected = operation.kind.inputs();
        let len = |v: &amicus_plan::ValueId| match self.values.get(*v) {
            ValueInfo { kind: ValueKind::Bits { thresholds }, len, .. } => thresholds * len,
            elements => elements.len,
        };
        let fits = |(x, v): (&&LimbVec, &amicus_plan::ValueId)| {
            x.limbs() == self.plan.limbs && Some(x.len()) == len(v).checked_mul(batch)
        };
        if batch == 0 || inputs.len() != expected.len() || !inputs.iter().zip(&expected).all(fits) {
            let lens: Vec<usize> = expected.iter().map(len).collect();
            let got: Vec<usize> = inputs.iter().map(|x| x.len()).collect();
            let reason = format!("inputs of {got:?} elements, expected {batch} times {lens:?}");
            return Err(ModelError::node(&operation.name, reason));
        }
        let limbs = self.plan.limbs;
        Ok(match &operation.kind {
            OpKind::Activation(a) => {
                let Between { lowest, highest, nearest } =
                    self.rounded(inputs[0], self.shift(a.input, a.input_scale));
                let activation = a.clone();
                let step = ActivationStep { limbs, activation, batch, lowest, highest, nearest };
                Step::Activation(Box::new(step))
            }
            OpKind::Truncate(t) => Step::Between(self.rounded(inputs[0], self.shift(t.input, t.scale))),
            OpKind::Compare(c) => {
                let [lowest, highest] = comparison::possible_bits(limbs, c, inputs[0]);
                Step::Between(Between { lowest, highest, nearest: comparison::compare(limbs, c, inputs[0]) })
            }
            _ => Step::Exact(self.exact(op, inputs, batch)),
        })
    }

    /// The integers around `z / 2^shift`.
    fn rounded(&self, z: &LimbVec, shift: u32) -> Between {
        let z = z.signed();
        let all = |f: &dyn Fn(I256) -> I256| LimbVec::from_signed(self.plan.limbs, z.iter().map(|&z| f(z)));
        Between {
            lowest: all(&|z| z >> shift),
            highest: all(&|z| -(-z >> shift)),
            nearest: all(&|z| round_shift(z, shift)),
        }
    }

    /// The two results allowed for the plan's output value `z`, `[floor, ceil]` of `z / 2^shift`,
    /// one pair an element.
    pub fn allowed_outputs(&self, z: &LimbVec) -> Vec<[I256; 2]> {
        let shift = self.shift(self.plan.output.value, self.plan.output.scale);
        z.signed().into_iter().map(|z| [z >> shift, -(-z >> shift)]).collect()
    }
}
