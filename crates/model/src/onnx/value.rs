//! What a name of the file stands for while a network is imported, and why a node is refused.

use std::rc::Rc;

use super::constant::Constant;
use crate::function::Function;
use crate::graph::NodeId;

/// A node's value under the shape that the file gives it (batch dimension first). Layout operators change the shape
/// only; a node is added where a layer needs the value in another shape than it has.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub(super) node: NodeId,
    pub(super) dims: Vec<usize>,
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Known without running the network.
    Constant(Rc<Constant>),
    /// A value of the network.
    Tensor(View),
    /// A function of every number of a value: an activation in the making.
    Scalar(View, Function),
    /// A value with zeros around its images (top, left, bottom, right), waiting for its convolution.
    Padded(View, [usize; 4]),
    /// The result of a Softmax, of use as the last value only.
    Probabilities(View),
    /// The result of a node that was refused, or a second output.
    Unknown,
}

/// Why a node is refused.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Refusal {
    /// Valid, but not for this program: listed with all others.
    Unsupported { why: String, what_to_do: String },
    /// Not valid: import stops.
    Invalid(String),
    /// It needs the result of a refused node.
    Follows,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Refusal::Invalid(reason)
    }
}

impl From<&str> for Refusal {
    fn from(reason: &str) -> Self {
        Refusal::Invalid(reason.to_owned())
    }
}

/// A refusal of something valid.
pub(super) fn unsupported(why: impl Into<String>, what_to_do: impl Into<String>) -> Refusal {
    Refusal::Unsupported { why: why.into(), what_to_do: what_to_do.into() }
}
