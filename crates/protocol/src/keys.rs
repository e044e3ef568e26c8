//! Keys the parties agree on among themselves, once per epoch, unknown to the helper.
//!
//! Every party sends every other party one message with two fresh contributions: one common to all
//! parties, one for the pair. The common key hashes transcripts; pair keys make shares of zero.
//! Both depend on every contributor, so one honest party suffices to make them unpredictable to the
//! helper (`docs/protocol.md`, section 7).

use crate::label::{Label, LabelStream, Purpose, domain};
use crate::transcript::Digest;
use crate::{EpochId, Fault, InferenceId, Parties, PartyId, ProtocolError, Step};
use amicus_field::{LimbVec, Limbs, Randomness, Seed};
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
    epoch: EpochId,
    common: Vec<Option<Seed>>,
    own_pairs: Vec<Seed>,
    pairs: Vec<Option<Seed>>,
}

/// The keys of one epoch.
#[derive(Debug)]
pub struct PartyKeys {
    me: PartyId,
    transcript: Seed,
    pairs: Vec<(PartyId, Seed)>,
}

impl KeyAgreement {
    /// Draws this party's contributions for an epoch.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn new(
        parties: Parties,
        me: PartyId,
        epoch: EpochId,
        randomness: &mut dyn Randomness,
    ) -> Result<Self, ProtocolError> {
        let mut common: Vec<Option<Seed>> = parties.all().map(|_| None).collect();
        common[me.index()] = Some(randomness.seed()?);
        let own_pairs = parties.all().map(|_| randomness.seed()).collect::<Result<_, _>>()?;
        Ok(KeyAgreement {
            parties,
            me,
            epoch,
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
    ///
    /// # Errors
    /// When one is missing.
    pub fn finish(self) -> Result<PartyKeys, ProtocolError> {
        if let Some(missing) = self.missing() {
            return Err(ProtocolError::Misuse(format!("key contribution of {missing} is missing")));
        }
        let mut hasher = blake3::Hasher::new_derive_key(COMMON_CONTEXT);
        hasher.update(&self.epoch.0.to_le_bytes());
        for seed in self.common.iter().flatten() {
            hasher.update(seed.as_bytes());
        }
        let transcript = finish(&mut hasher);
        let mut pairs = Vec::with_capacity(self.parties.count() - 1);
        for other in self.parties.others(self.me) {
            let theirs = self.pairs[other.index()].as_ref();
            let theirs =
                theirs.ok_or_else(|| ProtocolError::Internal("pair contribution is missing".into()))?;
            let ours = &self.own_pairs[other.index()];
            let (low, high, first, second) =
                if self.me < other { (self.me, other, ours, theirs) } else { (other, self.me, theirs, ours) };
            let mut hasher = blake3::Hasher::new_derive_key(PAIR_CONTEXT);
            hasher.update(&self.epoch.0.to_le_bytes());
            hasher.update(&[low.number() as u8, high.number() as u8]);
            hasher.update(first.as_bytes()).update(second.as_bytes());
            pairs.push((other, finish(&mut hasher)));
        }
        Ok(PartyKeys { me: self.me, transcript, pairs })
    }
}

fn finish(hasher: &mut blake3::Hasher) -> Seed {
    let seed = Seed::from_bytes(*hasher.finalize().as_bytes());
    hasher.zeroize();
    seed
}

impl PartyKeys {
    /// Key of the transcript hashes.
    pub(crate) fn transcript(&self) -> &Seed {
        &self.transcript
    }

    /// This party's share of a vector of zeros, for the check of a load.
    pub(crate) fn zero_share_of_load(&self, epoch: EpochId, limbs: Limbs, len: usize) -> LimbVec {
        let label = Label::load(Purpose::LoadZero, epoch, 0);
        self.zero_share(limbs, len, |key| label.stream(key))
    }

    /// This party's share of a vector of zeros, for the check of an inference.
    ///
    /// It depends on `view`, a hash of everything the party saw: if two honest parties were shown
    /// different things (by a client that sends different inputs, say), their shares do not cancel,
    /// and the helper sees uniform noise instead of a sum that would depend on the difference.
    pub(crate) fn zero_share_of_inference(
        &self,
        epoch: EpochId,
        id: InferenceId,
        view: &Digest,
        limbs: Limbs,
        len: usize,
    ) -> LimbVec {
        let label = Label::inference(Purpose::CheckZero, epoch, id, 0);
        self.zero_share(limbs, len, |key| label.expand(&label.seed(key).derive(&view.0)))
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

    fn begun(parties: Parties, me: PartyId, epoch: u64) -> KeyAgreement {
        KeyAgreement::new(parties, me, EpochId(epoch), &mut OperatingSystem).unwrap()
    }

    fn agree(n: usize) -> Vec<PartyKeys> {
        let parties = Parties::new(n).unwrap();
        let mut all: Vec<KeyAgreement> = parties.all().map(|p| begun(parties, p, 3)).collect();
        for from in parties.all() {
            for to in parties.others(from) {
                let message = all[from.index()].message(to);
                all[to.index()].receive(from, &message).unwrap();
            }
        }
        all.into_iter().map(|k| k.finish().unwrap()).collect()
    }

    #[test]
    fn zero_shares_add_up_to_zero_and_differ_by_label() {
        for n in [2, 3, 5] {
            let keys = agree(n);
            assert!(keys.iter().all(|k| k.transcript().as_bytes() == keys[0].transcript().as_bytes()));
            let sum = |shares: &[LimbVec]| {
                let mut sum = LimbVec::zeros(Limbs::TWO, 5);
                shares.iter().for_each(|s| sum.add_assign(s));
                sum
            };
            let zero = LimbVec::zeros(Limbs::TWO, 5);
            let of_load: Vec<LimbVec> =
                keys.iter().map(|k| k.zero_share_of_load(EpochId(3), Limbs::TWO, 5)).collect();
            assert_eq!(sum(&of_load), zero);
            assert_ne!(of_load[0], zero);
            let of = |k: &PartyKeys, id: u64, view: u8| {
                k.zero_share_of_inference(EpochId(3), InferenceId(id), &Digest([view; 32]), Limbs::TWO, 5)
            };
            let mut shares: Vec<LimbVec> = keys.iter().map(|k| of(k, 1, 1)).collect();
            assert_eq!(sum(&shares), zero);
            assert_ne!(of(&keys[0], 1, 1), of(&keys[0], 2, 1));
            // One party saw something else: nothing cancels.
            shares[0] = of(&keys[0], 1, 2);
            let noise = sum(&shares);
            assert!((0..5).all(|i| !noise.get(i).is_zero()));
        }
    }

    #[test]
    fn second_and_short_contributions_are_refused() {
        let parties = Parties::new(2).unwrap();
        let (one, two) = (parties.party(1).unwrap(), parties.party(2).unwrap());
        let mut a = begun(parties, one, 1);
        let b = begun(parties, two, 1);
        assert!(a.receive(two, &[0; 63]).is_err());
        assert_eq!(a.missing(), Some(two));
        a.receive(two, &b.message(one)).unwrap();
        let again = a.receive(two, &b.message(one)).unwrap_err();
        assert!(again.to_string().contains("second key contribution"), "{again}");
    }
}
