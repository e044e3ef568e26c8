//! Why a network, its weights or its data are refused.

use amicus_plan::PlanError;
use thiserror::Error;

/// Something that cannot be read, compiled or run, with the place at fault.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A node of the graph that is wrong in itself or cannot be compiled where it stands.
    #[error("{node}: {reason}")]
    Node {
        /// Name of the node.
        node: String,
        /// What does not fit, with expected and found figures.
        reason: String,
    },
    /// A weight file that cannot be used.
    #[error("weights, {what}: {reason}")]
    Weights {
        /// The tensor or metadata entry at fault, or "file".
        what: String,
        /// What is wrong with it, with expected and found figures.
        reason: String,
    },
    /// Images, labels, calibration samples or inputs that cannot be used.
    #[error("{what}: {reason}")]
    Data {
        /// Which data.
        what: String,
        /// What is wrong with it, with expected and found figures.
        reason: String,
    },
    /// A client's numbers that cannot be an input.
    #[error(transparent)]
    Input(amicus_plan::InputError),
    /// The integers of a layer do not fit the modulus, whatever scales are allowed.
    #[error(
        "{layer}: the scale does not fit: {needed} bits needed ({detail}), {available} there with {limbs} limb(s); \
         {advice}"
    )]
    Scale {
        /// Name of the layer.
        layer: String,
        /// Bits of the modulus needed: scale, range, sign and the offset's room.
        needed: u32,
        /// Bits of the modulus.
        available: u32,
        /// Number of limbs.
        limbs: usize,
        /// How the needed bits come about.
        detail: String,
        /// What to do.
        advice: String,
    },
    /// The plan that came out, or that was given, is not valid.
    #[error("plan: {0}")]
    Plan(#[from] PlanError),
}

/// What helps when integers that are as they should be do not fit.
pub(crate) const SMALLER_SCALES: &str = "use more limbs, smaller scales, or a polynomial of lower degree";

impl ModelError {
    pub(crate) fn node(node: &str, reason: impl Into<String>) -> Self {
        ModelError::Node { node: node.to_owned(), reason: reason.into() }
    }

    pub(crate) fn weights(what: &str, reason: impl Into<String>) -> Self {
        ModelError::Weights { what: what.to_owned(), reason: reason.into() }
    }

    pub(crate) fn data(what: impl Into<String>, reason: impl Into<String>) -> Self {
        ModelError::Data { what: what.into(), reason: reason.into() }
    }
}

impl From<amicus_plan::InputError> for ModelError {
    fn from(error: amicus_plan::InputError) -> Self {
        ModelError::Input(error)
    }
}
