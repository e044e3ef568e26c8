//! Keyed transcript hashes: what parties opened, received and will say, compared by the helper without seeing it.
//!
//! BLAKE3 under the parties' common key, 256-bit output: collision-resistant, because a malicious party knows the
//! key (`docs/protocol.md`, section 7).

use crate::keys::PartyKeys;
use crate::{EpochId, InferenceId};
use amicus_field::LimbVec;
use amicus_plan::PlanDigest;
use std::fmt;

// Planes are hashed as they lie in memory; parties on machines of different endianness would disagree.
const _: () = assert!(cfg!(target_endian = "little"), "big-endian machines are not supported");

/// A 256-bit keyed hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

impl Digest {
    /// A hash of this one and others.
    pub(crate) fn with(&self, others: &[Digest]) -> Digest {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        others.iter().for_each(|d| {
            hasher.update(&d.0);
        });
        Digest(*hasher.finalize().as_bytes())
    }
}

/// What a transcript is about; part of what is hashed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Topic {
    Load,
    Inference,
    /// One masked weight tensor of a load.
    Tensor(u32),
}

impl Topic {
    fn bytes(self) -> [u8; 5] {
        let (kind, index) = match self {
            Topic::Load => (1, 0),
            Topic::Inference => (2, 0),
            Topic::Tensor(index) => (3, index),
        };
        let [a, b, c, d] = index.to_le_bytes();
        [kind, a, b, c, d]
    }
}

/// A running hash over everything public to all parties of one load or inference.
#[derive(Debug)]
pub(crate) struct Transcript(blake3::Hasher);

impl Transcript {
    pub(crate) fn new(
        keys: &PartyKeys,
        topic: Topic,
        epoch: EpochId,
        id: Option<InferenceId>,
        plan: &PlanDigest,
    ) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(keys.transcript().as_bytes());
        hasher.update(&topic.bytes());
        hasher.update(&epoch.0.to_le_bytes());
        hasher.update(&id.map_or(0, |id| id.0).to_le_bytes());
        hasher.update(&plan.0);
        Transcript(hasher)
    }

    /// Absorbs a vector, preceded by what it is and its length.
    pub(crate) fn values(&mut self, tag: u32, values: &LimbVec) {
        self.0.update(&tag.to_le_bytes());
        self.0.update(&(values.len() as u64).to_le_bytes());
        for limb in 0..values.limbs().count() {
            self.0.update(bytemuck::cast_slice(values.plane(limb)));
        }
    }

    /// Absorbs another hash.
    pub(crate) fn digest(&mut self, tag: u32, digest: &Digest) {
        self.0.update(&tag.to_le_bytes());
        self.0.update(&digest.0);
    }

    pub(crate) fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}
