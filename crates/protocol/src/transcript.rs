//! Keyed transcript hashes: what parties opened, received and will say, compared by the helper
//! without seeing it.
//!
//! BLAKE3 under the parties' common key, 256-bit output: collision-resistant, because a malicious
//! party knows the key (`docs/protocol.md`, section 7).

use crate::Scope;
use crate::keyed::KeyedHash;
use crate::wire::pack_bits;
use amicus_field::{BitVec, LimbVec, Seed};
use amicus_plan::PlanDigest;
use std::fmt;

// Planes are hashed as they lie in memory; parties on machines of different endianness would
// disagree.
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
    /// A hash of this one and bytes.
    pub(crate) fn with_bytes(&self, bytes: &[u8]) -> Digest {
        KeyedHash::new(&self.0).update(bytes).finish()
    }

    /// A hash of this one and others.
    pub(crate) fn with(&self, others: &[Digest]) -> Digest {
        let mut hash = KeyedHash::new(&self.0);
        others.iter().for_each(|d| {
            hash.update(&d.0);
        });
        hash.finish()
    }
}

/// What a transcript is about; part of what is hashed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Topic {
    Load,
    Inference,
    /// One masked weight tensor of a load.
    Tensor(u32),
    /// A session that begins.
    Session,
    /// An epoch that is to be used in a session.
    Epoch,
}

impl Topic {
    fn bytes(self) -> [u8; 5] {
        let (kind, index) = match self {
            Topic::Load => (1, 0),
            Topic::Inference => (2, 0),
            Topic::Tensor(index) => (3, index),
            Topic::Session => (4, 0),
            Topic::Epoch => (5, 0),
        };
        let [a, b, c, d] = index.to_le_bytes();
        [kind, a, b, c, d]
    }
}

/// A running hash over everything public to all parties of one load or inference.
#[derive(Debug)]
pub(crate) struct Transcript(KeyedHash);

impl Transcript {
    pub(crate) fn new(key: &Seed, topic: Topic, scope: Scope, plan: &PlanDigest) -> Self {
        let mut hasher = KeyedHash::new(key.as_bytes());
        hasher.update(&topic.bytes());
        hasher.update(&scope.encode());
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

    /// Absorbs planes of bits that every party sent, in party order, preceded by what they are and how
    /// many one party's are.
    pub(crate) fn bits(&mut self, tag: u32, of_parties: &[Vec<BitVec>]) {
        let of_one = of_parties.first().map_or(0, |planes| planes.iter().map(BitVec::len).sum::<usize>());
        self.0.update(&tag.to_le_bytes());
        self.0.update(&(of_one as u64).to_le_bytes());
        of_parties.iter().for_each(|planes| _ = self.0.update(&pack_bits(planes)));
    }

    /// Absorbs another hash.
    pub(crate) fn digest(&mut self, tag: u32, digest: &Digest) {
        self.0.update(&tag.to_le_bytes());
        self.0.update(&digest.0);
    }

    pub(crate) fn finish(&self) -> Digest {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EpochId, InferenceId, SessionId};
    use amicus_field::Limbs;

    #[test]
    fn everything_is_part_of_a_transcript() {
        let (key, other_key, plan) =
            (Seed::from_bytes([1; 32]), Seed::from_bytes([2; 32]), PlanDigest([1; 32]));
        let scope = |session: u8, epoch: u8, id| {
            let (session, epoch) = (SessionId::from_bytes([session; 16]), EpochId::from_bytes([epoch; 16]));
            Scope::new(session, epoch, InferenceId(id))
        };
        let this = scope(1, 1, 1);
        let vector = |v: &[i64]| LimbVec::from_i64(Limbs::TWO, v);
        let of = |topic, scope, plan: &PlanDigest| Transcript::new(&key, topic, scope, plan);
        let with = |tag, values: &[i64]| {
            let mut transcript = of(Topic::Inference, this, &plan);
            transcript.values(tag, &vector(values));
            transcript
        };
        let mut split = with(1, &[5]);
        split.values(1, &vector(&[6]));
        let mut digest = of(Topic::Inference, this, &plan);
        digest.digest(1, &Digest([2; 32]));
        let mut other_digest = of(Topic::Inference, this, &plan);
        other_digest.digest(2, &Digest([2; 32]));
        let all = [
            of(Topic::Inference, this, &plan),
            of(Topic::Inference, scope(2, 1, 1), &plan),
            of(Topic::Inference, scope(1, 2, 1), &plan),
            of(Topic::Inference, scope(1, 1, 2), &plan),
            of(Topic::Inference, scope(1, 1, 0), &plan),
            of(Topic::Inference, this, &PlanDigest([3; 32])),
            of(Topic::Load, this, &plan),
            of(Topic::Session, this, &plan),
            of(Topic::Epoch, this, &plan),
            of(Topic::Tensor(0), this, &plan),
            of(Topic::Tensor(1), this, &plan),
            Transcript::new(&other_key, Topic::Inference, this, &plan),
            with(1, &[]),
            with(2, &[]),
            with(1, &[5]),
            with(1, &[5, 6]),
            with(1, &[6, 5]),
            with(1, &[5, 0]),
            split,
            digest,
            other_digest,
        ]
        .map(|transcript| transcript.finish());
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b), "transcript {i} is like an earlier one");
        }
        let view = all[0].with(&[all[1], all[2]]);
        for other in [all[0].with(&[all[2], all[1]]), all[0].with(&[all[1]]), all[3].with(&[all[1], all[2]])]
        {
            assert_ne!(view, other);
        }
    }

    /// Also those that leave what is opened as it is.
    #[test]
    fn every_bit_of_every_party_is_part_of_a_transcript() {
        let key = Seed::from_bytes([1; 32]);
        let scope = Scope::new(SessionId::from_bytes([1; 16]), EpochId::from_bytes([1; 16]), InferenceId(1));
        let of = |flips: &[(usize, usize, usize)]| {
            let mut sent = vec![vec![BitVec::zeros(5), BitVec::ones(5)]; 3];
            flips.iter().for_each(|&(party, plane, at)| sent[party][plane].flip(at));
            let mut transcript = Transcript::new(&key, Topic::Inference, scope, &PlanDigest([1; 32]));
            transcript.bits(1, &sent);
            transcript.finish()
        };
        let mut all = vec![of(&[])];
        for plane in 0..2 {
            for at in 0..5 {
                all.extend((0..3).map(|party| of(&[(party, plane, at)])));
                all.push(of(&[(0, plane, at), (2, plane, at)]));
            }
        }
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b), "transcript {i} is like an earlier one");
        }
    }
}
