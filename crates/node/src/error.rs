//! Errors of a running node.

use amicus_net::NetError;
use amicus_protocol::{Fault, ProtocolError};
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
    /// The journal cannot be read or written; nothing may be sent without it.
    #[error("journal {path}: {reason}")]
    Journal {
        /// The file.
        path: String,
        /// What failed.
        reason: String,
    },
    /// The node was told to stop.
    #[error("stopped")]
    Stopped,
}

impl NodeError {
    /// Whether a check failed: some party cheated and nothing was released.
    pub fn is_rejection(&self) -> bool {
        matches!(self, NodeError::Protocol(e) if e.is_rejection())
    }

    /// The protocol's view of this error, for telling others.
    pub fn as_protocol(&self) -> ProtocolError {
        match self {
            NodeError::Protocol(e) => e.clone(),
            other => ProtocolError::Misuse(other.to_string()),
        }
    }
}

/// A lost link as a fault.
pub(crate) fn lost(error: &NetError) -> Fault {
    Fault::Lost(error.to_string())
}
