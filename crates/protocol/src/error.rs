//! Errors that say whose fault it is.

use crate::{Culprit, EpochId, PartyId, Peer, Step};
use amicus_field::{FieldError, RandomnessError, UnpackError};
use amicus_plan::PlanError;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a protocol run stopped.
#[derive(Clone, Debug, Error)]
pub enum ProtocolError {
    /// A peer sent something no honest peer sends.
    #[error("{step}: {culprit} misbehaved: {fault}")]
    Peer {
        /// Who.
        culprit: Culprit,
        /// Where.
        step: Step,
        /// What.
        fault: Fault,
    },
    /// The check failed: some party deviated; which one cannot be known, and nothing was released.
    #[error("{step}: rejected, a party deviated from the protocol; nothing was released")]
    Rejected {
        /// Which check: of the load or of the inference.
        step: Step,
    },
    /// Another node gave up and said why.
    #[error("given up by {by}: {notice}")]
    Aborted {
        /// Who gave up.
        by: Peer,
        /// Its account.
        notice: Box<crate::control::AbortNotice>,
    },
    /// One-time material or an id would be used twice.
    #[error("{what} is spent and is never used again")]
    Spent {
        /// What was asked for.
        what: String,
    },
    /// An epoch is used no more: it reached its limit of failed checks, or another model replaced
    /// it.
    #[error("the epoch is retired{}; load the model again", after(.failures))]
    Retired {
        /// Number of failed checks.
        failures: u32,
    },
    /// A request whose turn did not come in time: others were served, or a model was loaded.
    #[error("the request's turn did not come within {waited} ms; ask again later")]
    NoTurn {
        /// How long it waited, in milliseconds.
        waited: u64,
    },
    /// An inference whose turn did not come in time at a node that runs fewer at a time than the
    /// cluster begins.
    #[error(
        "{most} inferences are in flight, as many as this node's machine gives, and no turn came within {waited} ms; \
         ask again later, or have its operator raise `inferences` of limits"
    )]
    Busy {
        /// Inferences that the node has in flight at a time.
        most: usize,
        /// How long this one waited, in milliseconds.
        waited: u64,
    },
    /// The helper has accepted a model, and the parties do not all hold the same under its epoch.
    #[error("{epoch} is not served: {}; {}", held(.lacking), advice(.lacking))]
    Unconfirmed {
        /// The epoch.
        epoch: EpochId,
        /// Parties that do not have it; when all have something, it differs.
        lacking: Vec<PartyId>,
    },
    /// No model is loaded under this epoch.
    #[error("{epoch} is not loaded")]
    NotLoaded {
        /// The epoch.
        epoch: EpochId,
    },
    /// No model is loaded at all.
    #[error("no model is loaded")]
    NoModel,
    /// Another model was loaded since the client compared fingerprints.
    #[error("the model was loaded anew ({is} after {was}); compare its fingerprint again")]
    Reloaded {
        /// The epoch whose fingerprint was compared.
        was: EpochId,
        /// The epoch now.
        is: EpochId,
    },
    /// The caller asked for something that cannot be.
    #[error("{0}")]
    Misuse(String),
    /// This node contradicts itself: a fault of the program, or of its files.
    #[error("{0}")]
    Internal(String),
    /// The plan is invalid.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The operating system gave no randomness.
    #[error(transparent)]
    Randomness(#[from] RandomnessError),
    /// Shapes do not fit (an internal inconsistency between plan and weights).
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// What a peer did wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Fault {
    /// A message of the wrong length.
    #[error("message of {got} bytes, expected {expected}")]
    Length {
        /// Bytes expected.
        expected: usize,
        /// Bytes received.
        got: usize,
    },
    /// A residue that is not below its prime, or padding that is not zero.
    #[error("{0}")]
    Encoding(String),
    /// A message that does not belong here.
    #[error("unexpected {0}")]
    Unexpected(String),
    /// A second message where one is allowed.
    #[error("second {0}")]
    Duplicate(String),
    /// Values that should agree do not.
    #[error("{0} does not agree")]
    Disagreement(String),
    /// An id that was used before.
    #[error("{0} was used before")]
    Replay(String),
    /// The peer runs another plan, or belongs to another cluster.
    #[error("incompatible: {0}")]
    Incompatible(String),
    /// The peer asked for something it has no right to.
    #[error("not allowed: {0}")]
    NotAllowed(String),
    /// A message without the tag that only the rightful sender can make.
    #[error("message without the tag of its sender")]
    Unauthenticated,
    /// Nothing came before the deadline.
    #[error("nothing received for {0} ms")]
    Silent(u64),
    /// The link closed.
    #[error("link lost: {0}")]
    Lost(String),
    /// The peer's program speaks another version of the wire format.
    #[error("incompatible: {0}")]
    Version(String),
}

/// After how many failed checks an epoch ended, if that is why.
fn after(failures: &u32) -> String {
    match failures {
        0 => String::new(),
        failures => format!(" after {failures} failed checks"),
    }
}

/// What is wrong with an epoch that not all hold.
fn held(lacking: &[PartyId]) -> String {
    let names: Vec<String> = lacking.iter().map(PartyId::to_string).collect();
    match names.len() {
        0 => "the parties hold different things under it".into(),
        1 => format!("{} does not have it", names[0]),
        _ => format!("{} do not have it", names.join(", ")),
    }
}

/// What operators can do about it.
fn advice(lacking: &[PartyId]) -> &'static str {
    match lacking.is_empty() {
        true => "load the model again",
        false => "put the newest state of its folder back and restart that party, or load the model again",
    }
}

impl ProtocolError {
    /// Whether a check failed, here or at the helper: some party cheated and nothing was released.
    pub fn is_rejection(&self) -> bool {
        match self {
            ProtocolError::Rejected { .. } => true,
            ProtocolError::Aborted { notice, .. } => notice.rejected,
            _ => false,
        }
    }

    /// A peer's fault at a step.
    pub fn peer(culprit: impl Into<Culprit>, step: Step, fault: Fault) -> Self {
        ProtocolError::Peer { culprit: culprit.into(), step, fault }
    }
}

impl From<UnpackError> for Fault {
    fn from(e: UnpackError) -> Self {
        Fault::Encoding(e.to_string())
    }
}
