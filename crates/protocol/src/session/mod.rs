//! A session: fresh secrets of the helper and the parties between two starts of any node
//! (`docs/protocol.md`, section 7).
//!
//! ```text
//! helper --offer: its part, epochs--> parties --key contributions--> parties
//! helper <--answer: the party's part, hashes of session and epochs-- parties
//! helper --opening: the epochs that all hold--> parties
//! ```
//!
//! Everything that is dealt or masked for an inference, or checked for a load, derives from the
//! session's seeds and keys, and from no file. So a node whose disk is set back to an old state
//! uses no mask again.

mod helper;
mod party;
mod ratchet;

pub use helper::{Confirmed, HelperKeys, HelperSession, SessionStart, Standing};
pub use party::{Holding, Joining, PartySession};
pub use ratchet::WINDOW;

use crate::check::FAILURE_LIMIT;
use crate::control::OfferedEpoch;
use crate::{EpochId, PartyId, Scope, SessionId};
use amicus_field::Seed;
use amicus_plan::PlanDigest;

/// Epochs that a helper offers, at most.
pub const MAX_EPOCHS: usize = 64;

impl OfferedEpoch {
    /// The word that an epoch is retired, whatever its plan is: with as many failed checks, none is
    /// used.
    pub fn retired(epoch: EpochId) -> Self {
        OfferedEpoch { epoch, plan: PlanDigest([0; 32]), failures: FAILURE_LIMIT }
    }

    /// Whether the epoch is not offered for use: those who have it erase it.
    pub fn is_retired(&self) -> bool {
        self.failures >= FAILURE_LIMIT
    }
}

/// A party's seed of a session: of the helper's fresh part, the party's, the session and the party.
/// It is unpredictable to all others as long as one of the two parts is.
fn party_seed(helper: &Seed, party: &Seed, session: SessionId, me: PartyId) -> Seed {
    let mut label = zeroize::Zeroizing::new(b"amicus seed of a session".to_vec());
    label.reserve_exact(16 + 1 + 32);
    label.extend_from_slice(session.as_bytes());
    label.push(me.number() as u8);
    label.extend_from_slice(party.as_bytes());
    helper.derive(&label)
}

/// A key of the ratchet, bound to what it is used for.
fn bound(key: &Seed, scope: Scope, plan: &PlanDigest) -> Seed {
    let mut label = scope.encode().to_vec();
    label.extend_from_slice(&plan.0);
    key.derive(&label)
}

#[cfg(test)]
mod tests;
