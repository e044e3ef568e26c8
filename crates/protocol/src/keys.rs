//! Keys the parties agree on among themselves, once per session, unknown to the helper; and a
//! party's one-time keys of one inference or load.
//!
//! Every party sends every other party one message with two fresh contributions: one common to all
//! parties, one for the pair. The common key hashes transcripts; pair keys make shares of zero.
//! Both depend on every contributor, so one honest party suffices to make them unpredictable to the
//! helper (`docs/protocol.md`, section 7).

use crate::epoch::gather;
use crate::keyed::KeyedHash;
use crate::label::{Label, LabelStream, Purpose, domain};
use crate::transcript::Digest;
use crate::{Fault, Parties, PartyId, ProtocolError, Scope, SessionId, Step};
use amicus_field::{BitVec, LimbVec, Limbs, Randomness, Seed};
use amicus_plan::PlanDigest;
use zeroize::Zeroize;

/// Bytes of a contribution message: the common part and the part of the pair.
pub const CONTRIBUTION_BYTES: usize = 64;

const COMMON_CONTEXT: &str = "amicus 2026-11 key common to all parties";
const PAIR_CONTEXT: &str = "amicus 2026-11 key of two parties";

/// A party's own contributions, before it heard the others'.
#[derive(Debug)]
pub struct KeyAgreement {
    parties: Parties,
    me: PartyId,
    session: SessionId,
    common: Vec<Option<Seed>>,
    own_pairs: Vec<Seed>,
    pairs: Vec<Option<Seed>>,
}

/// What the parties of a session have in common: where the keys of its ids derive from.
#[derive(Debug)]
pub(crate) struct Agreed {
    /// Common to all parties.
    pub(crate) common: Seed,
    /// Common to this party and each other, in party order.
    pub(crate) pairs: Vec<Seed>,
}

/// A party's one-time keys of one inference or load. Taken once, used once.
#[derive(Debug)]
pub struct PartyKeys {
    pub(crate) me: PartyId,
    pub(crate) scope: Scope,
    pub(crate) plan: PlanDigest,
    /// What the party's material of the inference derives from; the helper has it too.
    pub(crate) material: Seed,
    /// Key of the transcript hashes, common to all parties.
    pub(crate) transcript: Seed,
    pub(crate) pairs: Vec<(PartyId, Seed)>,
}

impl KeyAgreement {
    /// Draws this party's contributions for a session.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn new(
        parties: Parties,
        me: PartyId,
        session: SessionId,
        randomness: &mut dyn Randomness,
    ) -> Result<Self, ProtocolError> {
        let mut common: Vec<Option<Seed>> = parties.all().map(|_| None).collect();
        common[me.index()] = Some(randomness.seed()?);
        let own_pairs = gather(parties.count(), parties.all().map(|_| randomness.seed()))?;
        Ok(KeyAgreement {
            parties,
            me,
            session,
            common,
            own_pairs,
            pairs: parties.all().map(|_| None).collect(),
        })
    }

    /// The message for one other party.
    pub fn message(&self, to: PartyId) -> [u8; CONTRIBUTION_BYTES] {
        let mut bytes = [0; CONTRIBUTION_BYTES];
        if let Some(common) = &self.common[self.me.index()] {
            bytes[..32].copy_from_slice(common.as_bytes());
        }
        bytes[32..].copy_from_slice(self.own_pairs[to.index()].as_bytes());
        bytes
    }

    /// Takes another party's message.
    ///
    /// # Errors
    /// A message of the wrong length, or a second one.
    pub fn receive(&mut self, from: PartyId, message: &[u8]) -> Result<(), ProtocolError> {
        let fail = |fault| Err(ProtocolError::peer(from, Step::Keys, fault));
        let Ok(bytes) = <[u8; CONTRIBUTION_BYTES]>::try_from(message) else {
            return fail(Fault::Length { expected: CONTRIBUTION_BYTES, got: message.len() });
        };
        if self.common[from.index()].is_some() {
            return fail(Fault::Duplicate("key contribution".into()));
        }
        let half = |at: usize| {
            let mut seed = [0; 32];
            seed.copy_from_slice(&bytes[at..at + 32]);
            Seed::from_bytes(seed)
        };
        self.common[from.index()] = Some(half(0));
        self.pairs[from.index()] = Some(half(32));
        Ok(())
    }

    /// The first party whose message is missing.
    pub fn missing(&self) -> Option<PartyId> {
        self.parties.all().find(|p| self.common[p.index()].is_none())
    }

    /// The keys, once every contribution is there.
    pub(crate) fn finish(self) -> Result<Agreed, ProtocolError> {
        if let Some(missing) = self.missing() {
            return Err(ProtocolError::Misuse(format!("key contribution of {missing} is missing")));
        }
        let mut hasher = blake3::Hasher::new_derive_key(COMMON_CONTEXT);
        hasher.update(self.session.as_bytes());
        for seed in self.common.iter().flatten() {
            hasher.update(seed.as_bytes());
        }
        let common = finish(&mut hasher);
        let mut pairs = Vec::with_capacity(self.parties.count() - 1);
        for other in self.parties.others(self.me) {
            let theirs = self.pairs[other.index()].as_ref();
            let theirs =
                theirs.ok_or_else(|| ProtocolError::Internal("pair contribution is missing".into()))?;
            let ours = &self.own_pairs[other.index()];
            let (low, high, first, second) =
                if self.me < other { (self.me, other, ours, theirs) } else { (other, self.me, theirs, ours) };
            let mut hasher = blake3::Hasher::new_derive_key(PAIR_CONTEXT);
            hasher.update(self.session.as_bytes());
            hasher.update(&[low.number() as u8, high.number() as u8]);
            hasher.update(first.as_bytes()).update(second.as_bytes());
            pairs.push(finish(&mut hasher));
        }
        Ok(Agreed { common, pairs })
    }
}

fn finish(hasher: &mut blake3::Hasher) -> Seed {
    let seed = Seed::from_bytes(*hasher.finalize().as_bytes());
    hasher.zeroize();
    seed
}

impl PartyKeys {
    /// What they are for.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// This party's share of a vector of zeros, for the check of a load.
    pub(crate) fn zero_share_of_load(&self, limbs: Limbs, len: usize) -> LimbVec {
        let label = Label::new(Purpose::LoadZero, self.scope, 0);
        self.zero_share(limbs, len, |key| label.stream(key))
    }

    /// This party's share of a vector of zeros, for the check of an inference.
    ///
    /// It depends on `view`, a hash of everything the party saw: if two honest parties were shown
    /// different things (by a client that sends different inputs, say), their shares do not cancel,
    /// and the helper sees uniform noise instead of a sum that would depend on the difference.
    pub(crate) fn zero_share_of_inference(&self, view: &Digest, limbs: Limbs, len: usize) -> LimbVec {
        self.zero_share(limbs, len, |key| self.zeros_of(key, view))
    }

    /// Where proofs that bits are right begin from, given the transcript's hash by then. The helper is
    /// told hashes of transcripts, and must not know what hides things from it in proofs; so there is
    /// a key between them.
    pub(crate) fn point(&self, transcript: &Digest) -> Digest {
        let key = self.transcript.derive(b"amicus proofs");
        KeyedHash::new(key.as_bytes()).update(&transcript.0).finish()
    }

    /// This party's share of bits that add up to zero, for the report on proofs in the check of an
    /// inference. It depends on `view` as the others do.
    pub(crate) fn zero_bits_of_inference(&self, view: &Digest, len: usize) -> BitVec {
        let mut share = BitVec::zeros(len);
        for (_, key) in &self.pairs {
            share.xor_assign(&self.zeros_of(key, view).sample_bits(domain::ZERO_REPORT, 0, len));
        }
        share
    }

    /// What shares of zero with another party are drawn from in the check of an inference.
    fn zeros_of(&self, key: &Seed, view: &Digest) -> LabelStream {
        let label = Label::new(Purpose::CheckZero, self.scope, 0);
        label.expand(&label.seed(key).derive(&view.0))
    }

    fn zero_share(&self, limbs: Limbs, len: usize, stream: impl Fn(&Seed) -> LabelStream) -> LimbVec {
        let mut share = LimbVec::zeros(limbs, len);
        for (other, key) in &self.pairs {
            let term = stream(key).sample(domain::MAIN, limbs, len);
            if self.me < *other {
                share.add_assign(&term);
            } else {
                share.sub_assign(&term);
            }
        }
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amicus_field::OperatingSystem;

    fn begun(parties: Parties, me: PartyId) -> KeyAgreement {
        KeyAgreement::new(parties, me, SessionId::from_bytes([3; 16]), &mut OperatingSystem).unwrap()
    }

    #[test]
    fn second_and_short_contributions_are_refused() {
        let parties = Parties::new(2).unwrap();
        let (one, two) = (parties.party(1).unwrap(), parties.party(2).unwrap());
        let mut a = begun(parties, one);
        let b = begun(parties, two);
        assert!(a.receive(two, &[0; 63]).is_err());
        assert_eq!(a.missing(), Some(two));
        a.receive(two, &b.message(one)).unwrap();
        let again = a.receive(two, &b.message(one)).unwrap_err();
        assert!(again.to_string().contains("second key contribution"), "{again}");
    }
}
