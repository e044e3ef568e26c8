//! What a simulated run produced.

use amicus_field::{I256, LimbVec};
use amicus_plan::{OpIndex, ScaleBits, ValueId};

use crate::fake_quantisation::power_of_two;

/// Every value of one run. Secret of client and owner: `Debug` shows no number.
#[derive(Clone, Debug)]
pub struct Trace {
    pub(super) values: Vec<LimbVec>,
    pub(super) arguments: Vec<Option<LimbVec>>,
    pub(super) outputs: Outputs,
}

impl Trace {
    /// A value, `batch` times its length: the input, the `z` of a linear layer, the `y` of an
    /// activation. Of a comparison, bits as 0 and 1, so many for each threshold.
    ///
    /// # Panics
    /// When the plan has no such value.
    pub fn value(&self, id: ValueId) -> &LimbVec {
        &self.values[id.index()]
    }

    /// The truncated argument `u` of an activation, `batch` times the length of its input; `None`
    /// for other operations.
    ///
    /// # Panics
    /// When the plan has no such operation.
    pub fn argument(&self, op: OpIndex) -> Option<&LimbVec> {
        self.arguments[op.index()].as_ref()
    }

    /// What receivers would get.
    pub fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    /// What receivers would get.
    pub fn into_outputs(self) -> Outputs {
        self.outputs
    }
}

/// The rounded results of a batch. `Debug` shows no number.
#[derive(Clone, PartialEq, Eq)]
pub struct Outputs {
    pub(super) integers: Vec<I256>,
    pub(super) scale: ScaleBits,
    pub(super) batch: usize,
}

impl std::fmt::Debug for Outputs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outputs({} integers, batch {}, scale {})", self.integers.len(), self.batch, self.scale)
    }
}

impl Outputs {
    /// All results as integers at the plan's output scale, one input after the other.
    pub fn integers(&self) -> &[I256] {
        &self.integers
    }

    /// Number of inputs.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// All results as real numbers, one input after the other.
    pub fn logits(&self) -> Vec<f64> {
        let unit = power_of_two(self.scale.0);
        self.integers.iter().map(|i| i.as_f64() / unit).collect()
    }

    /// Results of one input as real numbers.
    ///
    /// # Panics
    /// When the batch has no such input.
    pub fn logits_of(&self, input: usize) -> Vec<f64> {
        assert!(input < self.batch, "input {input} of {}", self.batch);
        let each = self.integers.len() / self.batch;
        self.logits()[input * each..(input + 1) * each].to_vec()
    }
}
