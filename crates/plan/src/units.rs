//! Integers of different meaning as different types.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A fixed-point scale: the real number `x` is stored as `round(x * 2^bits)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ScaleBits(pub u32);

/// Position of an operation in [`Plan::ops`](crate::Plan::ops).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OpIndex(pub u32);

/// Position of a weight tensor in [`Plan::weights`](crate::Plan::weights).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WeightId(pub u32);

/// Position of a public weight tensor in [`Plan::public`](crate::Plan::public).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublicId(pub u32);

/// Which use of one weight tensor within an inference this is, counted from 0.
///
/// Two uses share the MAC key of the tensor, so their checks are summed apart
/// (`docs/protocol.md`, "Check").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UseIndex(pub u32);

/// A value of the network: 0 is the client's input, `i + 1` is the result of operation `i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ValueId(pub u32);

impl ValueId {
    /// The client's input.
    pub const INPUT: ValueId = ValueId(0);

    /// The result of an operation.
    pub fn of(op: OpIndex) -> Self {
        ValueId(op.0 + 1)
    }

    /// The operation that computes this value; none for the input.
    pub fn op(self) -> Option<OpIndex> {
        self.0.checked_sub(1).map(OpIndex)
    }

    /// Position in a list of all values.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl OpIndex {
    /// Position in the list of operations.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl WeightId {
    /// Position in the list of weight tensors.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl PublicId {
    /// Position in the list of public weight tensors.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ScaleBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "2^{}", self.0)
    }
}

impl fmt::Display for OpIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operation {}", self.0)
    }
}
