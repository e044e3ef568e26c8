//! What the helper keeps of models across restarts: an epoch that it accepted, from before it tells
//! anybody until it is retired (`docs/protocol.md`, sections 4 and 7.4).

use super::dealing::Command;
use super::models::Models;
use super::serve::Helper;
use crate::NodeError;
use crate::event::{Event, Reporter};
use crate::store::Store;
use crate::store::kept::Accepted;
use amicus_protocol::control::{Held, OfferedEpoch, SessionAnswer};
use amicus_protocol::epoch::HelperEpoch;
use amicus_protocol::session::{Confirmed, Standing};
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{EpochId, InferenceId, Parties, PartyId, ProtocolError, Scope};
use std::sync::Arc;

/// Retired epochs that parties are told of when a session begins, at most: those that were retired
/// last.
const TOLD_RETIRED: usize = 32;

impl Models {
    /// Takes up the accepted epochs of these models that are in a helper's folder.
    ///
    /// # Errors
    /// A folder that cannot be read or written. A single file that cannot be used is reported.
    pub(super) fn recall(
        &mut self,
        store: &mut Store,
        parties: Parties,
        failure_limit: u32,
        reporter: &Reporter,
    ) -> Result<(), NodeError> {
        let mut all: Vec<Accepted> = Vec::new();
        for sealed in store.epochs().list()?.into_iter().flatten() {
            let Some(model) = self.of_plan(&sealed.plan) else { continue };
            match store.of_helper(sealed, &model.plan, parties) {
                Ok(accepted) => all.push(accepted),
                Err(error) => reporter.report(Event::Unusable { error }),
            }
        }
        // The helper may have died before it recorded what an epoch replaces.
        let replaced: Vec<EpochId> = all.iter().flat_map(|accepted| accepted.replaced.clone()).collect();
        for epoch in replaced {
            store.retire(epoch)?;
        }
        for Accepted { epoch, .. } in all {
            let id = epoch.epoch();
            if let Some(model) = self.of_plan_mut(epoch.digest()).filter(|_| !store.is_retired(id)) {
                epoch.at_least(store.failed_checks(id));
                model.accepted.get_or_insert(Arc::new(epoch.retired_after(failure_limit)));
            }
        }
        Ok(())
    }
}

impl Helper {
    /// What the parties are offered: the accepted epochs, and word of what is retired.
    pub(super) fn offered(&self) -> Vec<OfferedEpoch> {
        let accepted = self.models.iter().filter_map(|model| model.accepted.as_ref());
        let accepted = accepted.map(|epoch| OfferedEpoch {
            epoch: epoch.epoch(),
            plan: *epoch.digest(),
            failures: epoch.failures(),
        });
        let retired = self.store.retired().take(TOLD_RETIRED).map(OfferedEpoch::retired);
        accepted.filter(|accepted| !accepted.is_retired()).chain(retired).collect()
    }

    /// Records that an epoch is accepted and replaces the one before of its plan: from here on it may
    /// be told, and is used.
    ///
    /// # Errors
    /// When it cannot be recorded; then it is not accepted.
    pub(super) fn accept(&mut self, epoch: HelperEpoch) -> Result<(), NodeError> {
        let model = self.models.of_plan(epoch.digest()).and_then(|model| model.accepted.as_ref());
        let before: Vec<EpochId> = model.map(|epoch| epoch.epoch()).into_iter().collect();
        if let Err(error) = self.store.keep_of_helper(&epoch, &before) {
            // Its file may be there all the same.
            self.store.retire(epoch.epoch())?;
            return Err(error);
        }
        for epoch in before {
            self.retire(epoch)?;
        }
        if let Some(model) = self.models.of_plan_mut(epoch.digest()) {
            let accepted = Arc::new(epoch);
            model.accepted = Some(Arc::clone(&accepted));
            model.epoch = Some(accepted);
            model.retired = None;
        }
        Ok(())
    }

    /// Records that an epoch is used no more, and erases it; what was dealt for it is forgotten.
    pub(super) fn retire(&mut self, epoch: EpochId) -> Result<(), NodeError> {
        self.store.retire(epoch)?;
        if let Some(model) = self.models.of_accepted_mut(epoch) {
            (model.accepted, model.epoch) = (None, None);
            let plan = model.digest;
            // What was asked of the dealing thread was for this epoch.
            self.ask_again(Some(&plan));
        }
        self.supply.leave(epoch);
        self.command(Command::Leave(epoch));
        self.reporter.report(Event::Retired { epoch });
        Ok(())
    }

    /// How many checks of an epoch failed, for parties to remember.
    pub(super) fn failed_checks(&self, epoch: EpochId) -> u32 {
        let accepted = self.models.iter().filter_map(|model| model.accepted.as_ref());
        accepted.filter(|accepted| accepted.epoch() == epoch).map(|epoch| epoch.failures()).max().unwrap_or(0)
    }

    /// What becomes of an epoch that was offered, by what the parties have of it.
    pub(super) fn settle(
        &mut self,
        (at, confirmed): (usize, &Confirmed),
        answers: &[SessionAnswer],
    ) -> Result<(), NodeError> {
        let epoch = confirmed.epoch;
        let Some(model) = self.models.of_accepted_mut(epoch) else { return Ok(()) };
        let Some(accepted) = model.accepted.clone() else { return Ok(()) };
        let plan = model.digest;
        let why_not = match confirmed.standing {
            Standing::Confirmed { failures } => {
                accepted.at_least(failures);
                (model.epoch, model.retired) = (Some(accepted), None);
                self.store.record_failed_checks(epoch, failures)?;
                self.reporter.report(Event::Recalled { epoch });
                return Ok(());
            }
            Standing::Retired => {
                self.retire(epoch)?;
                self.tell_retired(epoch);
                ProtocolError::Retired { failures: accepted.failures() }
            }
            Standing::Missing | Standing::Different => {
                let lacking = lacking(at, self.parties, answers);
                let error = ProtocolError::Unconfirmed { epoch, lacking };
                self.reporter.report(Event::Unconfirmed { error: error.clone().into() });
                error
            }
        };
        if let Some(model) = self.models.of_plan_mut(&plan) {
            (model.epoch, model.retired) = (None, Some(why_not));
        }
        Ok(())
    }

    /// Tells the parties that an epoch is used no more. Who does not hear it hears it when the next
    /// session begins.
    pub(super) fn tell_retired(&mut self, epoch: EpochId) {
        let Some(session) = self.session.as_ref().map(|session| session.id()) else { return };
        let header = Header::new(Kind::EpochRetired, Scope::new(session, epoch, InferenceId(0)), 0);
        for party in self.party_peers() {
            self.inbox.send(&party, header, &[]).ok();
        }
    }
}

/// Parties that do not have an offered epoch.
fn lacking(at: usize, parties: Parties, answers: &[SessionAnswer]) -> Vec<PartyId> {
    let has = |answer: &SessionAnswer| matches!(answer.epochs.get(at), Some(Held::Same { .. }));
    parties.all().zip(answers).filter(|(_, answer)| !has(answer)).map(|(party, _)| party).collect()
}
