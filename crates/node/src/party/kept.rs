//! What a party keeps of models across restarts: sealed once in a load, used in a session once the
//! helper confirms it (`docs/protocol.md`, sections 4 and 7.4).
//!
//! No message of a load is ever handled for an epoch that a file is named after: a party that is
//! set back to the middle of a load would answer other weights under the same masks, and the
//! difference of its answers would show the MAC key.

use super::Party;
use crate::event::Event;
use crate::{NodeError, Peer};
use amicus_protocol::control::{OfferedEpoch, OpenedEpoch};
use amicus_protocol::epoch::PartyEpoch;
use amicus_protocol::session::Holding;
use amicus_protocol::{EpochId, ProtocolError};
use std::sync::Arc;

impl Party {
    /// Refuses a load whose epoch this party has, or had.
    pub(super) fn is_new(&self, epoch: EpochId) -> Result<(), NodeError> {
        match self.store.is_retired(epoch) || self.store.epochs().has(epoch)? {
            true => Err(ProtocolError::Spent { what: epoch.to_string() }.into()),
            false => Ok(()),
        }
    }

    /// Erases an epoch whose load ended without acceptance, once the helper has said so: what it has
    /// not said may be accepted, and is offered in the next session then.
    pub(super) fn burn(&mut self, epoch: EpochId, error: NodeError) -> NodeError {
        let by_helper = matches!(error, NodeError::Protocol(ProtocolError::Aborted { by: Peer::Helper, .. }));
        match by_helper.then(|| self.store.retire(epoch)) {
            Some(Err(failed)) => failed,
            Some(Ok(())) => error,
            None => {
                self.unheard = Some(epoch);
                error
            }
        }
    }

    /// Retires all other epochs of the plan: this one is in use.
    pub(super) fn replace_others(&mut self, epoch: EpochId) -> Result<(), NodeError> {
        for sealed in self.store.epochs().list()?.into_iter().flatten() {
            if sealed.epoch != epoch && sealed.plan == self.ctx.digest {
                self.retire(sealed.epoch)?;
            }
        }
        Ok(())
    }

    /// Learns which epochs the helper knows to be retired, and looks for one that it offers: in
    /// memory, then in the folder.
    pub(super) fn recall(&mut self, offered: &[OfferedEpoch]) -> Result<(), NodeError> {
        for over in offered.iter().filter(|offered| offered.is_retired()) {
            // What this party never had it needs not know of.
            if self.store.epochs().has(over.epoch)? {
                self.retire(over.epoch)?;
            }
        }
        let offered = |epoch: EpochId| offered.iter().any(|o| o.epoch == epoch && !o.is_retired());
        if let Some(burned) = self.unheard.take().filter(|&epoch| !offered(epoch)) {
            self.retire(burned)?;
        }
        self.held.take_if(|held| !offered(held.epoch()) || self.store.is_retired(held.epoch()));
        if self.held.is_some() {
            return Ok(());
        }
        // Before another model is read.
        self.epoch = None;
        for sealed in self.store.epochs().list()? {
            let found = match sealed {
                Ok(sealed) if sealed.plan != self.ctx.digest || !offered(sealed.epoch) => continue,
                Ok(sealed) => self.store.of_party(sealed, self.ctx.clone()),
                Err(error) => Err(error),
            };
            match found {
                Ok(epoch) => {
                    self.held = Some(Arc::new(epoch));
                    return Ok(());
                }
                Err(error) => self.reporter.report(Event::Unusable { error }),
            }
        }
        Ok(())
    }

    /// What this party says of an offered epoch.
    pub(super) fn holding<'a>(&self, held: Option<&'a PartyEpoch>, offered: &OfferedEpoch) -> Holding<'a> {
        match held {
            _ if self.store.is_retired(offered.epoch) => Holding::Retired,
            Some(held) if held.epoch() == offered.epoch => {
                Holding::Epoch(held, self.store.failed_checks(offered.epoch))
            }
            _ => Holding::Nothing,
        }
    }

    /// Uses the epoch that the helper has opened, if there is one, with its count of failed checks.
    pub(super) fn use_opened(&mut self, opened: &[OpenedEpoch]) -> Result<(), NodeError> {
        let this = self.held.clone();
        let opened = this.as_ref().and_then(|held| opened.iter().find(|o| o.epoch == held.epoch()));
        self.epoch = this.clone().filter(|_| opened.is_some());
        if let Some(&OpenedEpoch { epoch, failures }) = opened {
            self.store.record_failed_checks(epoch, failures)?;
            self.replace_others(epoch)?;
            self.reporter.report(Event::Recalled { epoch });
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

    fn retire(&mut self, epoch: EpochId) -> Result<(), NodeError> {
        self.store.retire(epoch)?;
        self.reporter.report(Event::Retired { epoch });
        Ok(())
    }
}
