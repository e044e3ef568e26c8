//! The fingerprint of a masked model under the owner's nonce (`docs/protocol.md`, section 4).
//!
//! Parties compute it from the messages they took, the owner from those it sent; clients compare.
//! The helper has neither nonce nor messages: it knows the mask, and could otherwise test guesses
//! of weights.

use crate::EpochId;
use crate::keyed::KeyedHash;
use crate::transcript::Digest;
use amicus_field::Seed;
use amicus_plan::{PlanDigest, WeightId};

/// Fingerprint of all weight tensors, in order.
#[derive(Debug)]
pub struct ModelFingerprint(KeyedHash);

/// Fingerprint of one weight tensor: of the messages that carry its parts, in order.
#[derive(Debug)]
pub struct TensorFingerprint(KeyedHash);

impl ModelFingerprint {
    /// A fingerprint of no tensor yet.
    pub fn new(nonce: &Seed, epoch: EpochId, plan: &PlanDigest) -> Self {
        let mut hasher = KeyedHash::new(nonce.as_bytes());
        hasher.update(b"model").update(epoch.as_bytes()).update(&plan.0);
        ModelFingerprint(hasher)
    }

    /// Adds the next tensor.
    pub fn tensor(&mut self, digest: &Digest) {
        self.0.update(&digest.0);
    }

    /// The fingerprint.
    pub fn finish(&self) -> Digest {
        self.0.finish()
    }
}

impl TensorFingerprint {
    /// A fingerprint of no part yet.
    pub fn new(nonce: &Seed, id: WeightId) -> Self {
        let mut hasher = KeyedHash::new(nonce.as_bytes());
        hasher.update(b"tensor").update(&id.0.to_le_bytes());
        TensorFingerprint(hasher)
    }

    /// Adds the body of the message with the next part.
    pub fn part(&mut self, body: &[u8]) {
        self.0.update(body);
    }

    /// The fingerprint.
    pub fn finish(&self) -> Digest {
        self.0.finish()
    }
}
