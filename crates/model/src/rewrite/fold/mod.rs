//! The graph as operations of a plan, still with real numbers.
//!
//! Where it stands: between [`crate::graph`] and the choice of scales. Operation `i` here becomes
//! operation `i` of the plan, value `i + 1` its result. What is rewritten on the way (and listed
//! for the report):
//!
//! - BatchNorm goes into the convolution or fully connected layer before it, or into the two
//!   branches of a sum before it: see the module `norm`,
//! - two fully connected layers without an activation between become one,
//! - a function in pieces that never falls, and the largest numbers of windows behind it, change
//!   places: one activation a window instead of one for each of its numbers,
//! - pooling right after an activation is summed before the activation is opened
//!   (`docs/protocol.md`, 6.4),
//! - the half-width of an activation's interval goes into the weights before it, so that its
//!   argument is `u = t / B` (section 8), and the `1 / k^2` of average pooling into the next
//!   weights or the polynomial before: see the module `factors`.

mod factors;
mod lower;
mod norm;

pub(crate) use factors::Groups;

use amicus_field::{LinearShape, SumPool2d};
use amicus_plan::{Range, ValueId};

use crate::error::ModelError;
use crate::graph::{Extreme, Gather, Graph, SecretReals, Tensor};
use crate::pieces::Pieces;

/// A folded network. `Debug` shows no weights.
#[derive(Clone, Debug)]
pub struct Folded {
    /// Name of the network.
    pub name: String,
    /// Shape of the input.
    pub input_shape: Vec<usize>,
    /// Range of the input's numbers.
    pub input_range: Range,
    /// Linear layers in order of use; each is used once.
    pub linears: Vec<FoldedLinear>,
    /// Operations, each using earlier values only.
    pub ops: Vec<FoldedOp>,
    /// The value that is the result.
    pub output: ValueId,
    /// The real number behind a stored number is the stored number times this, one factor a value.
    pub factors: Vec<f64>,
    /// What was rewritten, for people.
    pub rewrites: Vec<String>,
}

/// A linear layer whose row for bias `c` is `row_scale[c]` times the graph's weights.
#[derive(Clone, Debug)]
pub struct FoldedLinear {
    /// Name of the layer.
    pub name: String,
    /// Dense layer or convolution.
    pub shape: LinearShape,
    /// The graph's weights.
    pub weights: Tensor,
    /// One factor a bias (output channel, or output of a dense layer).
    pub row_scale: SecretReals,
    /// Added to the outputs; empty when the layer has no bias.
    pub bias: SecretReals,
}

impl FoldedLinear {
    /// The layer's weights as real numbers.
    pub fn real_weights(&self) -> SecretReals {
        let per_row = self.shape.weights() / self.shape.biases();
        let rows = self.weights.chunks_exact(per_row).zip(self.row_scale.iter());
        rows.flat_map(|(row, scale)| row.iter().map(move |&w| f64::from(w) * scale)).collect()
    }
}

/// An operation with its name.
#[derive(Clone, Debug)]
pub struct FoldedOp {
    /// Name of the node it came from (the linear layer's, the activation's).
    pub name: String,
    /// Elements of the result.
    pub len: usize,
    /// Largest argument recorded elsewhere, see [`crate::graph::Node::recorded`].
    pub recorded: Option<f64>,
    /// What it does.
    pub kind: FoldedKind,
}

/// What an operation does, on stored numbers.
#[derive(Clone, Debug)]
pub enum FoldedKind {
    /// Linear layer `linear` of a value.
    Linear {
        /// The value multiplied.
        input: ValueId,
        /// Position in [`Folded::linears`].
        linear: usize,
    },
    /// Polynomial of a value, then sums over windows.
    Activation {
        /// The value fed in.
        input: ValueId,
        /// Coefficients for stored numbers: factors are folded in.
        coefficients: Vec<f64>,
        /// Half-width of the interval, in stored numbers (1 unless a shared value made it smaller).
        interval: f64,
        /// Windows summed.
        pool: Option<SumPool2d>,
    },
    /// Polynomial of an opened value as it is, then sums over windows: nothing is rounded but
    /// coefficients, to units of the result.
    ///
    /// Only the planner makes them, of polynomials in steps.
    Polynomial {
        /// The value fed in.
        input: ValueId,
        /// Coefficients for stored numbers; the leading one is a multiple of `2^-scale`.
        coefficients: Vec<f64>,
        /// The scale of the leading coefficient.
        scale: u32,
        /// Windows summed.
        pool: Option<SumPool2d>,
    },
    /// A function in pieces of a value, then sums over windows.
    Pieces {
        /// The value fed in.
        input: ValueId,
        /// The function of stored numbers: factors are folded in.
        pieces: Pieces,
        /// Windows summed.
        pool: Option<SumPool2d>,
    },
    /// Largest numbers of windows, padding left out.
    MaxPool {
        /// The value pooled.
        input: ValueId,
        /// Windows.
        pool: SumPool2d,
    },
    /// Sum of two values.
    Add {
        /// First summand.
        left: ValueId,
        /// Second summand.
        right: ValueId,
    },
    /// The larger or smaller of two values, element by element.
    Extreme {
        /// First value.
        left: ValueId,
        /// Second value.
        right: ValueId,
        /// Which of the two.
        which: Extreme,
    },
    /// Product of two opened values, element by element.
    Multiply {
        /// First factor.
        left: ValueId,
        /// Second factor.
        right: ValueId,
    },
    /// Numbers of a value by their places.
    Gather {
        /// The value.
        input: ValueId,
        /// Which of them.
        gather: Gather,
    },
    /// Sums over windows of an opened value.
    SumPool {
        /// The value pooled.
        input: ValueId,
        /// Windows.
        pool: SumPool2d,
    },
    /// Values one behind the other.
    Concat {
        /// The values joined.
        parts: Vec<ValueId>,
    },
    /// Every element times the public factors of its row and column.
    Weigh {
        /// The value.
        input: ValueId,
        /// One factor a row.
        rows: Vec<u32>,
        /// One factor a column.
        columns: Vec<u32>,
    },
}

impl FoldedKind {
    /// The values read.
    pub fn inputs(&self) -> Vec<ValueId> {
        match self {
            FoldedKind::Linear { input, .. }
            | FoldedKind::Activation { input, .. }
            | FoldedKind::Polynomial { input, .. }
            | FoldedKind::Pieces { input, .. }
            | FoldedKind::MaxPool { input, .. }
            | FoldedKind::SumPool { input, .. }
            | FoldedKind::Gather { input, .. }
            | FoldedKind::Weigh { input, .. } => vec![*input],
            FoldedKind::Add { left, right }
            | FoldedKind::Multiply { left, right }
            | FoldedKind::Extreme { left, right, .. } => vec![*left, *right],
            FoldedKind::Concat { parts } => parts.clone(),
        }
    }

    /// The values read, to be changed.
    pub(crate) fn inputs_mut(&mut self) -> Vec<&mut ValueId> {
        match self {
            FoldedKind::Linear { input, .. }
            | FoldedKind::Activation { input, .. }
            | FoldedKind::Polynomial { input, .. }
            | FoldedKind::Pieces { input, .. }
            | FoldedKind::MaxPool { input, .. }
            | FoldedKind::SumPool { input, .. }
            | FoldedKind::Gather { input, .. }
            | FoldedKind::Weigh { input, .. } => vec![input],
            FoldedKind::Add { left, right }
            | FoldedKind::Multiply { left, right }
            | FoldedKind::Extreme { left, right, .. } => vec![left, right],
            FoldedKind::Concat { parts } => parts.iter_mut().collect(),
        }
    }
}

impl Folded {
    /// Folds a graph.
    ///
    /// # Errors
    /// A node that cannot be compiled where it stands: a linear layer on a value that no activation
    /// opened, BatchNorm after anything but a linear layer or a sum, branches of a sum that need
    /// different factors; the node is named.
    pub fn new(graph: &Graph) -> Result<Self, ModelError> {
        let (lowered, problems) = lower::lower(graph);
        match problems.into_iter().next() {
            Some(problem) => Err(problem),
            None => factors::solve(lowered),
        }
    }

    /// Everything that keeps a graph from being folded: one error a node.
    pub fn problems(graph: &Graph) -> Vec<ModelError> {
        let (lowered, problems) = lower::lower(graph);
        if problems.is_empty() { factors::solve(lowered).err().into_iter().collect() } else { problems }
    }

    /// Whether an operation is a maximum of windows with nothing behind it but, next, a function in
    /// pieces: both may be computed together.
    pub(crate) fn is_maximum_before_pieces(&self, op: usize) -> bool {
        let own = ValueId(op as u32 + 1);
        let Some(FoldedKind::MaxPool { pool, .. }) = self.ops.get(op).map(|op| &op.kind) else {
            return false;
        };
        let behind = match self.ops.get(op + 1).map(|op| &op.kind) {
            Some(FoldedKind::Pieces { input, pool: None, .. }) => *input == own,
            _ => false,
        };
        let alone = self.ops.iter().skip(op + 2).all(|op| !op.kind.inputs().contains(&own));
        pool.kernel != [1, 1] && behind && alone && self.output != own
    }

    /// Whether it compares, or multiplies values with each other: whether some operation is no
    /// polynomial of one value.
    pub fn compares(&self) -> bool {
        let compares = |op: &FoldedOp| {
            matches!(
                op.kind,
                FoldedKind::Pieces { .. }
                    | FoldedKind::MaxPool { .. }
                    | FoldedKind::Extreme { .. }
                    | FoldedKind::Multiply { .. }
            )
        };
        self.ops.iter().any(compares)
    }

    /// The result of operation `op`.
    pub fn result(op: usize) -> ValueId {
        ValueId(u32::try_from(op + 1).unwrap_or(u32::MAX))
    }

    /// Elements of the input.
    pub fn input_len(&self) -> usize {
        self.input_shape.iter().product()
    }

    /// Elements of a value.
    pub fn value_len(&self, value: ValueId) -> usize {
        match value.op() {
            None => self.input_len(),
            Some(op) => self.ops[op.index()].len,
        }
    }
}
