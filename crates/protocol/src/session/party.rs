//! A party's side of a session: join it, confirm what it holds, and take the keys of each id once.

use super::ratchet::{Ratchet, Refusal};
use super::{MAX_EPOCHS, bound, party_seed};
use crate::control::{self, Held, OfferedEpoch, SessionAnswer, SessionOffer};
use crate::epoch::PartyEpoch;
use crate::keys::{CONTRIBUTION_BYTES, KeyAgreement, PartyKeys};
use crate::transcript::{Digest, Topic, Transcript};
use crate::{EpochId, Fault, InferenceId, Parties, PartyId, Peer, ProtocolError, Scope, SessionId, Step};
use amicus_field::{Randomness, Seed};
use amicus_plan::PlanDigest;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Label of what the helper compares of a pair key. No key of an id derives from it.
const CONFIRMED_PAIR: &[u8] = b"amicus confirmation of a pair";

/// A session that a party is about to join.
#[derive(Debug)]
pub struct Joining {
    id: SessionId,
    me: PartyId,
    parties: Parties,
    part: Seed,
    seed: Seed,
    offered: Vec<OfferedEpoch>,
    agreement: KeyAgreement,
}

/// What a party has of an offered epoch.
#[derive(Debug)]
pub enum Holding<'a> {
    /// Nothing.
    Nothing,
    /// The knowledge that it is retired.
    Retired,
    /// The epoch, and the failed checks it knows of.
    Epoch(&'a PartyEpoch, u32),
}

/// A session at a party.
pub struct PartySession {
    id: SessionId,
    me: PartyId,
    parties: Parties,
    /// Key of the hashes of session and epochs.
    confirmation: Seed,
    /// Chains of the party's seed, the common key, and its pair keys in party order.
    ratchet: Mutex<Ratchet>,
}

impl Joining {
    /// Takes the helper's offer and draws this party's parts.
    ///
    /// # Errors
    /// An offer of another form, or no randomness.
    pub fn begin(
        parties: Parties,
        me: PartyId,
        id: SessionId,
        offer: &[u8],
        randomness: &mut dyn Randomness,
    ) -> Result<Self, ProtocolError> {
        let fail = |fault| ProtocolError::peer(Peer::Helper, Step::Keys, fault);
        let mut offer: SessionOffer = control::decode(offer).map_err(fail)?;
        if offer.epochs.len() > MAX_EPOCHS || id == SessionId::NONE {
            return Err(fail(Fault::Unexpected("offer of a session".into())));
        }
        let of_helper = offer.part_seed().map_err(fail)?;
        let part = randomness.seed()?;
        let seed = party_seed(&of_helper, &part, id, me);
        let agreement = KeyAgreement::new(parties, me, id, randomness)?;
        let offered = std::mem::take(&mut offer.epochs);
        Ok(Joining { id, me, parties, part, seed, offered, agreement })
    }

    /// The session's id.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The epochs that the helper offers.
    pub fn offered(&self) -> &[OfferedEpoch] {
        &self.offered
    }

    /// The key contributions for one other party.
    pub fn message(&self, to: PartyId) -> [u8; CONTRIBUTION_BYTES] {
        self.agreement.message(to)
    }

    /// Takes another party's key contributions.
    ///
    /// # Errors
    /// A message of the wrong length, or a second one.
    pub fn receive(&mut self, from: PartyId, message: &[u8]) -> Result<(), ProtocolError> {
        self.agreement.receive(from, message)
    }

    /// The first party whose contributions are missing.
    pub fn missing(&self) -> Option<PartyId> {
        self.agreement.missing()
    }

    /// The session, and the answer for the helper, once every contribution is there. `holding` says
    /// what this party has of an offered epoch.
    ///
    /// # Errors
    /// When a contribution is missing.
    pub fn answer<'a>(
        self,
        mut holding: impl FnMut(&OfferedEpoch) -> Holding<'a>,
    ) -> Result<(PartySession, SessionAnswer), ProtocolError> {
        let Joining { id, me, parties, part, seed, offered, agreement } = self;
        let agreed = agreement.finish()?;
        let confirmation = agreed.common.derive(b"amicus confirmation of a session");
        let pairs = agreed.pairs.iter().map(|key| *key.derive(CONFIRMED_PAIR).as_bytes()).collect();
        let mut chains = vec![seed, agreed.common];
        chains.extend(agreed.pairs);
        let ratchet = Mutex::new(Ratchet::new(chains));
        let session = PartySession { id, me, parties, confirmation, ratchet };
        let epochs = offered
            .iter()
            .map(|offered| match holding(offered) {
                Holding::Epoch(epoch, failures) if epoch.context().digest == offered.plan => {
                    Held::Same { hash: session.hash_of_epoch(epoch).0, failures }
                }
                Holding::Retired => Held::Retired,
                Holding::Nothing | Holding::Epoch(..) => Held::Nothing,
            })
            .collect();
        let (part, hash) = (part.as_bytes().to_vec(), session.hash().0);
        let answer = SessionAnswer { part, hash, pairs, epochs };
        Ok((session, answer))
    }
}

impl PartySession {
    /// The session's id.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The keys of an inference or a load, once: afterwards its id is spent.
    ///
    /// # Errors
    /// [`ProtocolError::Spent`] for an id that was taken or is too old; the helper's fault for one
    /// that is further ahead than an honest helper's.
    pub fn take(
        &self,
        epoch: EpochId,
        plan: &PlanDigest,
        id: InferenceId,
    ) -> Result<PartyKeys, ProtocolError> {
        let keys = self.lock(|ratchet| ratchet.take(id)).map_err(|refusal| match refusal {
            Refusal::Spent => ProtocolError::Spent { what: id.to_string() },
            Refusal::Ahead(next) => {
                let what = format!("{id}, too far ahead of the next one, {next}");
                ProtocolError::peer(Peer::Helper, Step::Keys, Fault::Unexpected(what))
            }
        })?;
        let scope = Scope::new(self.id, epoch, id);
        let mut keys = keys.iter().map(|key| bound(key, scope, plan));
        let missing = || ProtocolError::Internal("a session without keys".into());
        let (material, transcript) = (keys.next().ok_or_else(missing)?, keys.next().ok_or_else(missing)?);
        let pairs = self.parties.others(self.me).zip(keys).collect();
        Ok(PartyKeys { me: self.me, scope, plan: *plan, material, transcript, pairs })
    }

    /// A hash that is the same for all parties of the session: they have one common key.
    fn hash(&self) -> Digest {
        let scope = Scope::session(self.id);
        Transcript::new(&self.confirmation, Topic::Session, scope, &PlanDigest([0; 32])).finish()
    }

    /// A hash of everything public about an epoch; the helper has neither its key nor what is
    /// hashed.
    fn hash_of_epoch(&self, epoch: &PartyEpoch) -> Digest {
        let scope = Scope { session: self.id, ..Scope::epoch(epoch.epoch()) };
        let mut hash = Transcript::new(&self.confirmation, Topic::Epoch, scope, &epoch.context().digest);
        epoch.confirm(&mut hash);
        hash.finish()
    }

    fn lock<T>(&self, work: impl FnOnce(&mut Ratchet) -> T) -> T {
        work(&mut self.ratchet.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A second party with the same session. For tests that run an id twice.
    #[cfg(feature = "danger")]
    pub fn danger_copy(&self) -> Self {
        PartySession {
            id: self.id,
            me: self.me,
            parties: self.parties,
            confirmation: self.confirmation.clone(),
            ratchet: Mutex::new(self.lock(|ratchet| ratchet.danger_copy())),
        }
    }
}

impl fmt::Debug for PartySession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartySession").field("id", &self.id).field("me", &self.me).finish_non_exhaustive()
    }
}
