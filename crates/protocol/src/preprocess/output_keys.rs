//! Keys of what an operation with a pool behind it opens, or a party's shares of them.

use amicus_field::{LimbVec, SumPool2d, sum_pool_transposed};

#[derive(Debug)]
pub(crate) struct OutputKeys {
    /// The key of every output.
    pub(crate) of_output: LimbVec,
    /// For every input the sum of the keys of the windows that hold it; none where inputs and
    /// outputs are the same.
    of_input: Option<LimbVec>,
}

impl OutputKeys {
    pub(super) fn new(of_output: LimbVec, pool: Option<&SumPool2d>, batch: usize) -> OutputKeys {
        let of_input = pool.map(|pool| sum_pool_transposed(pool, &of_output, batch));
        OutputKeys { of_output, of_input }
    }

    /// What the tags of an element's coefficients are made with.
    pub(crate) fn of_input(&self) -> &LimbVec {
        self.of_input.as_ref().unwrap_or(&self.of_output)
    }
}
