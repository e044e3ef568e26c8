//! Errors of a running node.

use amicus_files::sealed::{Problem, SealedError};
use amicus_net::NetError;
use amicus_protocol::control::AbortNotice;
use amicus_protocol::{Fault, ProtocolError, Step};
use thiserror::Error;

/// Why a node gave up an inference, a load, or altogether.
#[derive(Clone, Debug, Error)]
pub enum NodeError {
    /// The protocol stopped: a peer misbehaved, a check failed, another node gave up.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// A link or the network failed.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A file or folder of this node cannot be read or written; nothing may be sent without it.
    #[error("{path}: {reason}")]
    Store {
        /// The file.
        path: String,
        /// What failed.
        reason: String,
    },
    /// More links came at a time than this node greets. Whoever was turned away is not at fault.
    #[error("{peer} was turned away: more links than can be greeted")]
    Crowded {
        /// Whose link was closed.
        peer: String,
    },
    /// The node is about to stop and begins nothing more.
    #[error("it is shutting down; ask again when it is back")]
    Closing,
    /// The node was told to stop.
    #[error("stopped")]
    Stopped,
}

impl NodeError {
    /// Whether a check failed: some party cheated and nothing was released.
    pub fn is_rejection(&self) -> bool {
        matches!(self, NodeError::Protocol(e) if e.is_rejection())
    }

    /// What others are told about this error, where it does not say itself at which step it
    /// happened.
    pub fn notice(&self, step: &Step) -> AbortNotice {
        let reason = match self {
            NodeError::Protocol(error) => return AbortNotice::of(error, step),
            // Where this node keeps its files is nobody else's business.
            NodeError::Store { .. } => "a file of this node cannot be used".into(),
            NodeError::Net(_) | NodeError::Crowded { .. } | NodeError::Closing | NodeError::Stopped => {
                self.to_string().into()
            }
        };
        let (accused, reporter) = (None, None);
        AbortNotice { accused, step: step.clone(), reason, rejected: false, failures: 0, reporter }
    }
}

impl From<SealedError> for NodeError {
    fn from(error: SealedError) -> Self {
        let advice = match &error.problem {
            Problem::NotSealed
            | Problem::Length { .. }
            | Problem::Damaged { .. }
            | Problem::Content { .. } => "; remove it and have the owner load the model again",
            Problem::Version { .. } => "; use the version that wrote it, or load the model again",
            Problem::System { .. } | Problem::Subject { .. } => "",
        };
        NodeError::Store { path: error.path, reason: format!("{}{advice}", error.problem) }
    }
}

/// A lost link as a fault.
pub(crate) fn lost(error: &NetError) -> Fault {
    Fault::Lost(error.to_string())
}
