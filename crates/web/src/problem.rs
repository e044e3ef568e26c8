//! What goes wrong, in the four parts that nodes answer too.

use amicus_client::https::Problem;
use amicus_plan::printable::visible;
use amicus_plan::{InputError, PlanError};
use amicus_protocol::{Peer, ProtocolError};
use std::fmt;

const YOURS: &str = "yours";
const OWNERS: &str = "the model owner's";
/// Somebody whom the first sentence names.
const NAMED: &str = "as named";

/// Why an inference does not go on.
#[derive(Debug)]
pub enum WebError {
    /// What a node says is not what it should be.
    Node {
        /// The node.
        node: Peer,
        /// What is wrong.
        reason: String,
    },
    /// The parties have loaded another model than is expected.
    OtherModel {
        /// The fingerprint that all parties told.
        found: String,
        /// The expected one.
        expected: String,
    },
    /// What the caller gave describes no cluster, or the steps come in another order.
    Caller(String),
    /// Numbers that the network does not take.
    Input(InputError),
    /// A step of the protocol failed.
    Protocol(ProtocolError),
}

impl From<ProtocolError> for WebError {
    fn from(error: ProtocolError) -> Self {
        WebError::Protocol(error)
    }
}

impl From<PlanError> for WebError {
    fn from(error: PlanError) -> Self {
        WebError::Protocol(error.into())
    }
}

impl fmt::Display for WebError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WebError::Node { node, reason } => write!(f, "{node}: {reason}"),
            WebError::OtherModel { found, expected } => {
                write!(f, "the parties have loaded a model with fingerprint {found}, expected is {expected}")
            }
            WebError::Caller(reason) => f.write_str(reason),
            WebError::Input(error) => write!(f, "{error}"),
            WebError::Protocol(error) => write!(f, "{error}"),
        }
    }
}

impl WebError {
    /// The error in four parts.
    pub fn problem(&self) -> Problem {
        let (place, whose, next) = match self {
            WebError::Node { node, .. } => {
                (node.to_string(), format!("{node}'s operator's"), "tell the operator, or ask again later")
            }
            WebError::OtherModel { .. } => {
                ("the parties".into(), OWNERS.into(), "ask the model owner which one is right")
            }
            WebError::Caller(_) => ("this page".into(), YOURS.into(), "correct what is named"),
            WebError::Input(_) => (
                "the image".into(),
                YOURS.into(),
                "give the numbers that the network takes: its input's shape, every one within its range",
            ),
            WebError::Protocol(ProtocolError::Reloaded { .. } | ProtocolError::NoModel) => {
                ("the parties".into(), OWNERS.into(), "connect again once the model is loaded")
            }
            WebError::Protocol(_) => {
                ("the cluster".into(), NAMED.into(), "tell whoever is named, and begin anew")
            }
        };
        let said = visible(&self.to_string());
        match said.rsplit_once("; ") {
            Some((what, next)) => Problem { what: what.into(), place, whose, next: next.into() },
            None => Problem { what: said, place, whose, next: next.into() },
        }
    }
}
