//! Why an ONNX file is refused.

use std::fmt;

use amicus_plan::printable::visible;
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
    /// The file cannot be read, is no ONNX file or is cut off, or the network as a whole is of no
    /// use.
    #[error("{file}: {reason}")]
    File {
        /// The file at fault (the model or its external data).
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A node that is wrong in itself: missing inputs, shapes that do not fit, numbers that are not
    /// finite.
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

impl OnnxError {
    /// The error with names of the file in a form that can be printed.
    pub(super) fn visible(self) -> Self {
        match self {
            OnnxError::File { file, reason } => {
                OnnxError::File { file: visible(&file), reason: visible(&reason) }
            }
            OnnxError::Node { file, node, op, reason } => {
                let [file, node, op, reason] = [file, node, op, reason].map(|s| visible(&s));
                OnnxError::Node { file, node, op, reason }
            }
            OnnxError::Unsupported { file, problems } => {
                let problems = problems.into_iter().map(|Problem { node, op, why, what_to_do }| {
                    let [node, op, why, what_to_do] = [node, op, why, what_to_do].map(|s| visible(&s));
                    Problem { node, op, why, what_to_do }
                });
                OnnxError::Unsupported { file: visible(&file), problems: problems.collect() }
            }
        }
    }
}

/// Problems of one kind together: the first of them, and the names of all their nodes.
fn grouped(problems: &[Problem]) -> Vec<(&Problem, Vec<&str>)> {
    let mut groups: Vec<(&Problem, Vec<&str>)> = Vec::new();
    for problem in problems {
        let same =
            |p: &Problem| (&p.op, &p.why, &p.what_to_do) == (&problem.op, &problem.why, &problem.what_to_do);
        match groups.iter_mut().find(|(first, _)| same(first)) {
            Some((_, nodes)) => nodes.push(&problem.node),
            None => groups.push((problem, vec![&problem.node])),
        }
    }
    groups
}

fn list(problems: &[Problem]) -> String {
    let groups = grouped(problems).into_iter();
    let line = |(first, nodes): (&Problem, Vec<&str>)| {
        let Problem { op, why, what_to_do, .. } = first;
        format!("\n  {} ({op}): {why}; {what_to_do}", nodes.join(", "))
    };
    groups.map(line).collect()
}
