//! The helper's side of a session: offer, answers, and the one counter of all ids.

use super::ratchet::Ratchet;
use super::{MAX_EPOCHS, bound, party_seed};
use crate::control::{Held, OfferedEpoch, OpenedEpoch, SessionAnswer, SessionOffer, SessionOpening};
use crate::epoch::gather;
use crate::{EpochId, Fault, InferenceId, Parties, PartyId, ProtocolError, Scope, SessionId, Step};
use amicus_field::{Randomness, Seed};
use amicus_plan::PlanDigest;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// A session that is offered to the parties.
#[derive(Debug)]
pub struct SessionStart {
    id: SessionId,
    parties: Parties,
    parts: Vec<Seed>,
    offered: Vec<OfferedEpoch>,
}

/// How an offered epoch stands with the parties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All parties hold the same; the largest count of failed checks that any node knows.
    Confirmed {
        /// Failed checks.
        failures: u32,
    },
    /// A party does not have it.
    Missing,
    /// Parties hold different things under this id.
    Different,
    /// A party has retired it.
    Retired,
}

/// An offered epoch and how it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// The epoch.
    pub epoch: EpochId,
    /// How it stands.
    pub standing: Standing,
}

/// An open session at the helper.
pub struct HelperSession {
    id: SessionId,
    parties: Parties,
    /// One chain for each party, in order. Its counter is that of all loads and inferences.
    ratchet: Mutex<Ratchet>,
}

/// One-time keys of an inference, or a load, at the helper: a seed for each party. Drawn once, used
/// once.
#[derive(Debug)]
pub struct HelperKeys {
    pub(crate) scope: Scope,
    pub(crate) seeds: Vec<Seed>,
}

impl SessionStart {
    /// Draws a session's id and the helper's part of every party's seed; offers these epochs.
    ///
    /// # Errors
    /// No randomness, or too many epochs.
    pub fn draw(
        parties: Parties,
        offered: Vec<OfferedEpoch>,
        randomness: &mut dyn Randomness,
    ) -> Result<Self, ProtocolError> {
        if offered.len() > MAX_EPOCHS {
            let reason = format!("{} epochs, at most {MAX_EPOCHS} can be offered", offered.len());
            return Err(ProtocolError::Misuse(reason));
        }
        let id = SessionId::random(randomness)?;
        let parts = gather(parties.count(), parties.all().map(|_| randomness.seed()))?;
        Ok(SessionStart { id, parties, parts, offered })
    }

    /// The session's id.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// What one party is told.
    pub fn offer(&self, party: PartyId) -> SessionOffer {
        let part = self.parts[party.index()].as_bytes().to_vec();
        SessionOffer { part, epochs: self.offered.clone() }
    }

    /// Opens the session with the parties' answers, in party order.
    ///
    /// # Errors
    /// An answer of another form; [`ProtocolError::Rejected`] when parties do not have one common
    /// key, or the two of a pair not one key of theirs.
    pub fn open(self, answers: &[SessionAnswer]) -> Result<(HelperSession, Vec<Confirmed>), ProtocolError> {
        let SessionStart { id, parties, parts, offered } = self;
        if answers.len() != parties.count() {
            let reason = format!("{} answers, expected {}", answers.len(), parties.count());
            return Err(ProtocolError::Misuse(reason));
        }
        let mut chains = Vec::with_capacity(parts.len());
        for ((party, answer), part) in parties.all().zip(answers).zip(&parts) {
            let fail = |fault| ProtocolError::peer(party, Step::Keys, fault);
            let own = answer.part_seed().map_err(fail)?;
            if answer.epochs.len() != offered.len() {
                let fault = Fault::Length { expected: offered.len(), got: answer.epochs.len() };
                return Err(fail(fault));
            }
            let others = parties.count() - 1;
            if answer.pairs.len() != others {
                return Err(fail(Fault::Length { expected: others, got: answer.pairs.len() }));
            }
            chains.push(party_seed(part, &own, id, party));
        }
        if answers.iter().any(|answer| answer.hash != answers[0].hash) {
            return Err(ProtocolError::Rejected { step: Step::Keys });
        }
        // A party leaves itself out of its list.
        let differ = |low: usize, high: usize| answers[low].pairs[high - 1] != answers[high].pairs[low];
        if (1..answers.len()).any(|high| (0..high).any(|low| differ(low, high))) {
            return Err(ProtocolError::Rejected { step: Step::Keys });
        }
        let confirmed = offered
            .iter()
            .enumerate()
            .map(|(at, offered)| {
                let held: Vec<&Held> = answers.iter().map(|answer| &answer.epochs[at]).collect();
                Confirmed { epoch: offered.epoch, standing: standing(offered.failures, &held) }
            })
            .collect();
        Ok((HelperSession { id, parties, ratchet: Mutex::new(Ratchet::new(chains)) }, confirmed))
    }
}

/// An epoch that one node retired is refused; all must hold the same.
fn standing(known: u32, held: &[&Held]) -> Standing {
    if held.iter().any(|held| matches!(held, Held::Retired)) {
        return Standing::Retired;
    }
    let mut failures = known;
    let mut first = None;
    for held in held {
        let Held::Same { hash, failures: of_party } = held else { return Standing::Missing };
        if *first.get_or_insert(hash) != hash {
            return Standing::Different;
        }
        failures = failures.max(*of_party);
    }
    Standing::Confirmed { failures }
}

impl Confirmed {
    /// What the parties are told: the epochs that all hold.
    pub fn opening(all: &[Confirmed]) -> SessionOpening {
        let opened = all.iter().filter_map(|confirmed| match confirmed.standing {
            Standing::Confirmed { failures } => Some(OpenedEpoch { epoch: confirmed.epoch, failures }),
            _ => None,
        });
        SessionOpening { epochs: opened.collect() }
    }
}

impl HelperSession {
    /// The session's id.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Number of compute parties.
    pub fn parties(&self) -> Parties {
        self.parties
    }

    /// The next id of the session, and its keys: given out once.
    ///
    /// # Errors
    /// When all ids are spent.
    pub fn next(&self, epoch: EpochId, plan: &PlanDigest) -> Result<HelperKeys, ProtocolError> {
        let (id, keys) = self.lock(Ratchet::take_next).map_err(|_| ids_are_spent())?;
        Ok(self.keys(epoch, plan, id, &keys))
    }

    fn keys(&self, epoch: EpochId, plan: &PlanDigest, id: InferenceId, keys: &[Seed]) -> HelperKeys {
        let scope = Scope::new(self.id, epoch, id);
        HelperKeys { scope, seeds: keys.iter().map(|key| bound(key, scope, plan)).collect() }
    }

    fn lock<T>(&self, work: impl FnOnce(&mut Ratchet) -> T) -> T {
        work(&mut self.ratchet.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The keys of an id of the caller's choice, which may be taken only once here too. For tests
    /// that play a helper that breaks the rules.
    ///
    /// # Errors
    /// When it was taken before.
    #[cfg(feature = "danger")]
    pub fn danger_take(
        &self,
        epoch: EpochId,
        plan: &PlanDigest,
        id: InferenceId,
    ) -> Result<HelperKeys, ProtocolError> {
        let keys = self.lock(|ratchet| ratchet.take(id)).map_err(|_| ids_are_spent())?;
        Ok(self.keys(epoch, plan, id, &keys))
    }

    /// A second helper with the same session. For tests that look at what is dealt, or deal twice.
    #[cfg(feature = "danger")]
    pub fn danger_copy(&self) -> Self {
        let ratchet = Mutex::new(self.lock(|ratchet| ratchet.danger_copy()));
        HelperSession { id: self.id, parties: self.parties, ratchet }
    }
}

fn ids_are_spent() -> ProtocolError {
    ProtocolError::Spent { what: "every id of the session".into() }
}

impl HelperKeys {
    /// What they are for.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The parties' seeds, in order. For tests that look at what is drawn from them.
    #[cfg(feature = "danger")]
    pub fn danger_seeds(&self) -> &[Seed] {
        &self.seeds
    }
}

impl fmt::Debug for HelperSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HelperSession").field("id", &self.id).finish_non_exhaustive()
    }
}
