//! What the helper keeps of models across restarts: an epoch that it accepted, from before it tells
//! anybody until it is retired (`docs/protocol.md`, sections 4 and 7.4).

use super::serve::Helper;
use crate::NodeError;
use crate::event::{Event, Reporter};
use crate::store::Store;
use crate::store::kept::Accepted;
use amicus_plan::Plan;
use amicus_protocol::control::{Held, OfferedEpoch, SessionAnswer};
use amicus_protocol::epoch::HelperEpoch;
use amicus_protocol::session::{Confirmed, Standing};
use amicus_protocol::{EpochId, Parties, PartyId, ProtocolError};
use std::sync::Arc;

/// Retired epochs that parties are told of when a session begins, at most: those that were retired
/// last.
const TOLD_RETIRED: usize = 32;

/// The accepted epoch of a plan in a helper's folder, if there is one.
///
/// # Errors
/// An invalid plan; a folder that cannot be read or written. A single file that cannot be used is
/// reported.
pub(super) fn recall(
    store: &mut Store,
    plan: &Arc<Plan>,
    parties: Parties,
    failure_limit: u32,
    reporter: &Reporter,
) -> Result<Option<Arc<HelperEpoch>>, NodeError> {
    let digest = plan.digest().map_err(ProtocolError::from)?;
    let mut all: Vec<Accepted> = Vec::new();
    for sealed in store.epochs().list()?.into_iter().flatten().filter(|sealed| sealed.plan == digest) {
        match store.of_helper(sealed, plan, parties) {
            Ok(accepted) => all.push(accepted),
            Err(error) => reporter.report(Event::Unusable { error }),
        }
    }
    // The helper may have died before it recorded what an epoch replaces.
    let replaced: Vec<EpochId> = all.iter().flat_map(|accepted| accepted.replaced.clone()).collect();
    for epoch in replaced {
        store.retire(epoch)?;
    }
    let mut current = all.into_iter().map(|accepted| accepted.epoch);
    let current = current.find(|epoch| !store.is_retired(epoch.epoch()));
    Ok(current.map(|epoch| {
        epoch.at_least(store.failed_checks(epoch.epoch()));
        Arc::new(epoch.retired_after(failure_limit))
    }))
}

impl Helper {
    /// What the parties are offered: the accepted epoch, and word of what is retired.
    pub(super) fn offered(&self) -> Vec<OfferedEpoch> {
        let accepted = self.accepted.iter().map(|epoch| OfferedEpoch {
            epoch: epoch.epoch(),
            plan: *epoch.digest(),
            failures: epoch.failures(),
        });
        let retired = self.store.retired().take(TOLD_RETIRED);
        let retired = retired.map(|epoch| OfferedEpoch::retired(epoch, self.digest));
        accepted.filter(|accepted| !accepted.is_retired()).chain(retired).collect()
    }

    /// Records that an epoch is accepted and replaces the one before: from here on it may be told.
    ///
    /// # Errors
    /// When it cannot be recorded; then it is not accepted.
    pub(super) fn accept(&mut self, epoch: HelperEpoch) -> Result<Arc<HelperEpoch>, NodeError> {
        let before: Vec<EpochId> = self.accepted.iter().map(|epoch| epoch.epoch()).collect();
        if let Err(error) = self.store.keep_of_helper(&epoch, &before) {
            // Its file may be there all the same.
            self.store.retire(epoch.epoch())?;
            return Err(error);
        }
        for epoch in before {
            self.retire(epoch)?;
        }
        Ok(Arc::clone(self.accepted.insert(Arc::new(epoch))))
    }

    /// Records that an epoch is used no more, and erases it.
    pub(super) fn retire(&mut self, epoch: EpochId) -> Result<(), NodeError> {
        self.store.retire(epoch)?;
        self.accepted.take_if(|accepted| accepted.epoch() == epoch);
        self.reporter.report(Event::Retired { epoch });
        Ok(())
    }

    /// How many checks of an epoch failed, for parties to remember.
    pub(super) fn failed_checks(&self, epoch: EpochId) -> u32 {
        let accepted = self.accepted.as_ref().filter(|accepted| accepted.epoch() == epoch);
        accepted.map_or(0, |accepted| accepted.failures())
    }

    /// What becomes of an epoch that was offered, by what the parties have of it.
    pub(super) fn settle(
        &mut self,
        (at, confirmed): (usize, &Confirmed),
        answers: &[SessionAnswer],
    ) -> Result<(), NodeError> {
        let accepted = self.accepted.clone().filter(|epoch| epoch.epoch() == confirmed.epoch);
        let Some(accepted) = accepted else { return Ok(()) };
        let epoch = accepted.epoch();
        match confirmed.standing {
            Standing::Confirmed { failures } => {
                accepted.at_least(failures);
                self.store.record_failed_checks(epoch, failures)?;
                // While the owner loads another model, this one rests.
                if self.loading.is_none() {
                    self.epoch = Some(accepted);
                    self.retired = None;
                    self.reporter.report(Event::Recalled { epoch });
                }
            }
            Standing::Retired => {
                self.retire(epoch)?;
                self.epoch = None;
                self.retired = Some(ProtocolError::Retired { failures: accepted.failures() });
            }
            Standing::Missing | Standing::Different => {
                let lacking = lacking(at, self.parties, answers);
                let error = ProtocolError::Unconfirmed { epoch, lacking };
                self.epoch = None;
                self.retired = Some(error.clone());
                self.reporter.report(Event::Unconfirmed { error: error.into() });
            }
        }
        Ok(())
    }
}

/// Parties that do not have an offered epoch.
fn lacking(at: usize, parties: Parties, answers: &[SessionAnswer]) -> Vec<PartyId> {
    let has = |answer: &SessionAnswer| matches!(answer.epochs.get(at), Some(Held::Same { .. }));
    parties.all().zip(answers).filter(|(_, answer)| !has(answer)).map(|(party, _)| party).collect()
}
