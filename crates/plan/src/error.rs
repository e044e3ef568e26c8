//! Why a plan is refused.

use crate::Printable;
use thiserror::Error;

/// A plan that cannot be run, with the operation at fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// The bytes are not a plan of this version.
    #[error("not a plan: {0}")]
    Encoding(String),
    /// The plan was written by another version of the format.
    #[error("plan format version {got}, this program reads version {expected}")]
    Version {
        /// Version this program reads.
        expected: u16,
        /// Version found.
        got: u16,
    },
    /// An operation refers to something that does not exist or does not fit.
    #[error("{op}: {reason}")]
    Op {
        /// Name of the operation.
        op: String,
        /// What does not fit, with expected and found figures.
        reason: String,
    },
    /// The integers of a layer do not fit the modulus.
    #[error(
        "{op}: the scale does not fit: {needed} bits needed, {available} there with {limbs} limb(s); \
         use more limbs or smaller scales"
    )]
    Scale {
        /// Name of the operation.
        op: String,
        /// Bits needed (bound of the values, sign and offset).
        needed: u32,
        /// Bits of the modulus.
        available: u32,
        /// Number of limbs.
        limbs: usize,
    },
    /// The plan as a whole is inconsistent.
    #[error("{0}")]
    Whole(String),
}

impl PlanError {
    pub(crate) fn op(op: &str, reason: impl Into<String>) -> Self {
        PlanError::Op { op: Printable::new(op).into_string(), reason: reason.into() }
    }
}
