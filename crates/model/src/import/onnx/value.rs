//! What a name of the file stands for while a network is imported, and why a node is refused.

use std::rc::Rc;

use super::constant::Constant;
use crate::function::Function;
use crate::graph::NodeId;

/// A node's value under the shape that the file gives it (batch dimension first). Layout operators
/// change the shape only; a node is added where a layer needs the value in another shape than it
/// has.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub(super) node: NodeId,
    pub(super) dims: Vec<usize>,
    /// Set where a `Transpose` moved the numbers and the node still holds them in the order before.
    pub(super) moved: Option<Rc<Moved>>,
}

/// In which order a node holds the numbers of a view.
#[derive(Debug, PartialEq)]
pub(super) struct Moved {
    /// The node's axis `k` is the view's axis `axes[k]`.
    pub(super) axes: Vec<usize>,
    /// The view's shape before it was made flat; `axes` are those of this shape then.
    pub(super) flattened: Option<Vec<usize>>,
    /// The `Transpose` that moved them; `None` for the input itself.
    pub(super) by: Option<String>,
}

impl View {
    /// A view whose numbers are in the order of its node.
    pub(super) fn new(node: NodeId, dims: Vec<usize>) -> Self {
        View { node, dims, moved: None }
    }

    /// The value in the order of its node.
    pub(super) fn stored(&self) -> View {
        View::new(self.node, self.axes().iter().map(|&a| self.dims[a]).collect())
    }

    /// The view's axis that is axis 1 of the node, the channels; beyond all axes where a flat value
    /// has no such axis.
    pub(super) fn channel_axis(&self) -> usize {
        self.moved.as_ref().map_or(1, |m| if m.flattened.is_some() { usize::MAX } else { m.axes[1] })
    }

    /// This value with axis `k` taken from axis `order[k]`.
    pub(super) fn transposed(&self, order: &[usize], by: Option<&str>) -> View {
        let dims: Vec<usize> = order.iter().map(|&a| self.dims[a]).collect();
        let place = |a: &usize| order.iter().position(|o| o == a).unwrap_or(0);
        let axes: Vec<usize> = self.axes().iter().map(place).collect();
        // Axes of one element are nowhere in particular.
        let in_order = axes.iter().filter(|&&a| dims[a] != 1).is_sorted();
        let by = by.map(str::to_owned).or_else(|| self.moved.as_ref().and_then(|m| m.by.clone()));
        let moved = (!in_order).then(|| Rc::new(Moved { axes, flattened: None, by }));
        View { node: self.node, dims, moved }
    }

    /// This value, whose numbers were moved, in another shape: flat, or flat no more. `None` for
    /// all other shapes.
    pub(super) fn reshaped(&self, dims: Vec<usize>) -> Option<View> {
        let moved = self.moved.as_ref()?;
        let before = moved.flattened.as_ref().unwrap_or(&self.dims);
        let flat = dims.len() == 2 && dims[0] == before[0] && moved.axes[0] == 0;
        let flattened = match &dims {
            dims if dims == before => None,
            _ if flat => Some(before.clone()),
            _ => return None,
        };
        let moved = Moved { axes: moved.axes.clone(), flattened, by: moved.by.clone() };
        Some(View { node: self.node, dims, moved: Some(Rc::new(moved)) })
    }

    /// Where each number of a flat value stands in its node; `None` for one that is not flat, or
    /// whose numbers are in order.
    pub(super) fn places(&self) -> Option<Vec<usize>> {
        let moved = self.moved.as_ref()?;
        let dims = moved.flattened.as_ref()?;
        let mut steps = vec![0; dims.len()];
        let mut step = 1;
        for &axis in moved.axes.iter().rev() {
            steps[axis] = step;
            step *= dims[axis];
        }
        let mut places = vec![0];
        for (&size, &step) in dims.iter().zip(&steps).skip(1) {
            places = places.iter().flat_map(|place| (0..size).map(move |i| place + i * step)).collect();
        }
        Some(places)
    }

    fn axes(&self) -> Vec<usize> {
        self.moved.as_ref().map_or_else(|| (0..self.dims.len()).collect(), |m| m.axes.clone())
    }
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
    /// A value with zeros around its images (top, left, bottom, right), waiting for its
    /// convolution.
    Padded(View, [usize; 4]),
    /// What a Softmax or the like makes of a value, of use at the end only; by its operator.
    Probabilities(View, &'static str),
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
    /// It needs the result of a `Transpose` in the order the file says; that node is the one to
    /// name.
    Moved(Rc<Moved>),
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

/// What to do about operators on constants that are not folded here.
pub(super) const SIMPLIFY: &str = "simplify the file with onnxsim (python -m onnxsim model.onnx simple.onnx)";

/// A refusal of something valid.
pub(super) fn unsupported(why: impl Into<String>, what_to_do: impl Into<String>) -> Refusal {
    Refusal::Unsupported { why: why.into(), what_to_do: what_to_do.into() }
}
