//! What a party keeps of models across restarts: sealed once in a load, used in a session once the
//! helper confirms it (`docs/protocol.md`, sections 4 and 7.4).
//!
//! No message of a load is ever handled for an epoch that a file is named after: a party that is
//! set back to the middle of a load would answer other weights under the same masks, and the
//! difference of its answers would show the MAC key.

use super::Party;
use super::load::Done;
use super::models::Used;
use crate::event::Event;
use crate::{NodeError, Peer};
use amicus_plan::PlanDigest;
use amicus_protocol::control::{OfferedEpoch, OpenedEpoch};
use amicus_protocol::epoch::PartyEpoch;
use amicus_protocol::session::Holding;
use amicus_protocol::{EpochId, ProtocolError};
use std::sync::Arc;

/// Epochs that are remembered as used no more: helper and dealing thread hear of it a moment later.
const REPLACED: usize = 64;

impl Party {
    /// Refuses a load whose epoch this party has, or had.
    pub(super) fn is_new(&self, epoch: EpochId) -> Result<(), NodeError> {
        match self.store.is_retired(epoch) || self.store.epochs().has(epoch)? {
            true => Err(ProtocolError::Spent { what: epoch.to_string() }.into()),
            false => Ok(()),
        }
    }

    /// Records that an epoch is burned whose load ended before this party's answer was sent, or after
    /// it by the helper's word: what the helper has not said may be accepted, and is offered in the
    /// next session then. True if there may be a file of it.
    pub(super) fn burn(&mut self, epoch: EpochId, error: &NodeError) -> Result<bool, NodeError> {
        let by_helper = matches!(error, NodeError::Protocol(ProtocolError::Aborted { by: Peer::Helper, .. }));
        let unanswered = self.keeping.take_if(|keeping| *keeping == epoch).is_some();
        let burned = unanswered || (by_helper && self.unheard.contains(&epoch));
        if burned {
            self.unheard.retain(|unheard| *unheard != epoch);
            self.store.record_retired(epoch)?;
        }
        Ok(burned)
    }

    /// Erases what there is of an epoch whose load failed; then its failure is reported.
    pub(super) fn erase_failed(&mut self, epoch: EpochId, error: NodeError) -> Result<(), NodeError> {
        self.failed.push((epoch, error));
        // Else once it is written.
        if self.asides.works_for(&epoch) { Ok(()) } else { self.erase(epoch) }
    }

    /// Erases what there is of an epoch that is recorded as retired.
    pub(super) fn erase(&mut self, epoch: EpochId) -> Result<(), NodeError> {
        let (files, first) = (self.store.epochs().clone(), self.hooks.aside());
        self.asides.begin(epoch, move || {
            first();
            Done::Erased(files.erase(epoch))
        })
    }

    /// What was kept of an epoch is erased.
    pub(super) fn erased(&mut self, epoch: EpochId, erased: Result<(), NodeError>) -> Result<(), NodeError> {
        erased?;
        let failed = self.failed.iter().position(|(failed, _)| *failed == epoch);
        self.reporter.report(match failed.map(|at| self.failed.swap_remove(at)) {
            Some((_, error)) => Event::LoadFailed { error },
            None => Event::Retired { epoch },
        });
        Ok(())
    }

    /// Retires all other epochs of a plan: this one is in use.
    pub(super) fn replace_others(&mut self, epoch: EpochId, plan: &PlanDigest) -> Result<(), NodeError> {
        for sealed in self.store.epochs().list()?.into_iter().flatten() {
            if sealed.epoch != epoch && sealed.plan == *plan && !self.store.is_retired(sealed.epoch) {
                self.retire(sealed.epoch)?;
            }
        }
        Ok(())
    }

    /// Learns which epochs the helper knows to be retired, and looks for those that it offers: in
    /// memory, then in the folder.
    pub(super) fn recall(&mut self, offered: &[OfferedEpoch]) -> Result<(), NodeError> {
        for over in offered.iter().filter(|offered| offered.is_retired()) {
            self.leave(over.epoch)?;
        }
        let offered = |epoch: EpochId| offered.iter().any(|o| o.epoch == epoch && !o.is_retired());
        for burned in std::mem::take(&mut self.unheard) {
            if !offered(burned) {
                self.retire(burned)?;
            }
        }
        // Before others are read.
        for held in self.models.held() {
            if !offered(held.epoch()) || self.store.is_retired(held.epoch()) {
                self.models.forget(held.epoch());
            }
        }
        for sealed in self.store.epochs().list()? {
            let found = match sealed {
                Ok(sealed) if self.models.holds(&sealed.plan) || !offered(sealed.epoch) => continue,
                // It is being erased.
                Ok(sealed) if self.store.is_retired(sealed.epoch) => continue,
                Ok(sealed) => match self.models.context(&sealed.plan) {
                    Some(ctx) => self.store.of_party(sealed, ctx.clone()),
                    None => continue,
                },
                Err(error) => Err(error),
            };
            match found {
                Ok(epoch) => self.models.hold(Arc::new(epoch)),
                Err(error) => self.reporter.report(Event::Unusable { error }),
            }
        }
        Ok(())
    }

    /// What this party says of an offered epoch.
    pub(super) fn holding<'a>(&self, held: &'a [Arc<PartyEpoch>], offered: &OfferedEpoch) -> Holding<'a> {
        if self.store.is_retired(offered.epoch) {
            return Holding::Retired;
        }
        match held.iter().find(|held| held.epoch() == offered.epoch) {
            Some(held) => Holding::Epoch(held, self.store.failed_checks(offered.epoch)),
            None => Holding::Nothing,
        }
    }

    /// Uses those of the epochs in memory that the helper has opened, with its counts of failed
    /// checks.
    pub(super) fn use_opened(&mut self, opened: &[OpenedEpoch]) -> Result<(), NodeError> {
        self.models.use_those(|epoch| opened.iter().any(|opened| opened.epoch == epoch));
        for Used { epoch, .. } in self.models.all_used() {
            let (id, plan) = (epoch.epoch(), epoch.context().digest);
            let failures = opened.iter().find(|opened| opened.epoch == id).map_or(0, |o| o.failures);
            self.store.record_failed_checks(id, failures)?;
            self.replace_others(id, &plan)?;
            self.reporter.report(Event::Recalled { epoch: id });
        }
        Ok(())
    }

    /// Remembers how many checks of an epoch failed, when an inference ended with the helper's word
    /// of it: a helper that is set back is reminded when a session begins.
    pub(super) fn remember_failures(&mut self, epoch: EpochId, error: &NodeError) -> Result<(), NodeError> {
        match error {
            NodeError::Protocol(ProtocolError::Aborted { notice, .. }) => {
                self.store.record_failed_checks(epoch, notice.failures)
            }
            _ => Ok(()),
        }
    }

    /// Ends the use of an epoch that the helper has retired. What this party never had it needs not
    /// know of.
    pub(super) fn leave(&mut self, epoch: EpochId) -> Result<(), NodeError> {
        if !self.store.is_retired(epoch) && self.store.epochs().has(epoch)? {
            self.retire(epoch)?;
        }
        Ok(())
    }

    /// Records that an epoch is used no more, forgets what was dealt for it, and erases it.
    pub(super) fn retire(&mut self, epoch: EpochId) -> Result<(), NodeError> {
        self.store.record_retired(epoch)?;
        self.models.forget(epoch);
        self.forget_material();
        if self.replaced.len() == REPLACED {
            self.replaced.pop_front();
        }
        self.replaced.push_back(epoch);
        self.erase(epoch)
    }
}
