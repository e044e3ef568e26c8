//! Why an ONNX file is refused.

use std::fmt;

use serde::Serialize;
use thiserror::Error;

/// One node that cannot be imported or compiled, and what its author can do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Name of the node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// Why it is refused.
    pub why: String,
    /// What to do.
    pub what_to_do: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}; {}", self.node, self.op, self.why, self.what_to_do)
    }
}

/// An ONNX file that cannot be imported.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The file cannot be read, is no ONNX file or is cut off, or the network as a whole is of no use.
    #[error("{file}: {reason}")]
    File {
        /// The file at fault (the model or its external data).
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A node that is wrong in itself: missing inputs, shapes that do not fit, numbers that are not finite.
    #[error("{file}, node {node} ({op}): {reason}")]
    Node {
        /// The model file.
        file: String,
        /// Name of the node.
        node: String,
        /// Its operator.
        op: String,
        /// What is wrong, with expected and found figures.
        reason: String,
    },
    /// Nodes that are valid ONNX, but cannot be imported: all of them.
    #[error("{file}: {} node(s) cannot be imported{}", problems.len(), list(problems))]
    Unsupported {
        /// The model file.
        file: String,
        /// Every such node, in the order of the file.
        problems: Vec<Problem>,
    },
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("\n  {p}")).collect()
}
