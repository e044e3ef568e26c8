//! What the records of a log say, and the fewest records that say the same.

use super::record::{Decision, Record};
use super::releases::Releases;
use super::{BLOCK, EPOCHS};
use amicus_protocol::{EpochId, InferenceId, ProtocolError};
use std::collections::{BTreeMap, BTreeSet};

/// What a node knows of its past. Changed by records that are on disk only.
#[derive(Debug)]
pub(super) struct Known {
    /// Epochs up to this one were begun.
    last_epoch: EpochId,
    inferences: BTreeMap<EpochId, Spent>,
    failed_checks: BTreeMap<EpochId, u32>,
    retired: BTreeSet<EpochId>,
    pub(super) releases: Releases,
}

/// Inference ids of an epoch.
#[derive(Clone, Copy, Debug)]
struct Spent {
    /// The last that was given out.
    used: InferenceId,
    /// The last that is marked as spent on disk.
    marked: InferenceId,
}

impl Known {
    /// Nothing.
    pub(super) fn new() -> Self {
        Known {
            last_epoch: EpochId(0),
            inferences: BTreeMap::new(),
            failed_checks: BTreeMap::new(),
            retired: BTreeSet::new(),
            releases: Releases::default(),
        }
    }

    /// Learns what a record says that is on disk.
    pub(super) fn learn(&mut self, record: Record<'_>) {
        match record {
            Record::Epoch(epoch) => self.last_epoch = self.last_epoch.max(epoch),
            Record::Inferences(epoch, last) => {
                // Each may have been used before a crash: none of them is given out again.
                let spent = self.inferences.entry(epoch).or_insert(Spent { used: last, marked: last });
                spent.marked = spent.marked.max(last);
                spent.used = spent.marked;
                if self.inferences.len() > EPOCHS {
                    self.inferences.pop_first();
                }
            }
            Record::Accepted(decision) => self.releases.insert(decision),
            Record::Delivered(epoch, id, receiver) => {
                let receiver = usize::try_from(receiver).unwrap_or(usize::MAX);
                self.releases.delivered(epoch, id, receiver);
            }
            Record::FailedChecks(epoch, count) => {
                let known = self.failed_checks.entry(epoch).or_default();
                *known = count.max(*known);
                if self.failed_checks.len() > EPOCHS {
                    self.failed_checks.pop_first();
                }
            }
            Record::Retired(epoch) => {
                self.retired.insert(epoch);
                self.failed_checks.remove(&epoch);
                if self.retired.len() > EPOCHS {
                    self.retired.pop_first();
                }
            }
        }
    }

    /// The records of a log that says what is known.
    pub(super) fn records(&self) -> impl Iterator<Item = Record<'_>> + Clone {
        let epoch = (self.last_epoch > EpochId(0)).then_some(Record::Epoch(self.last_epoch));
        let inferences = self.inferences.iter().map(|(&epoch, s)| Record::Inferences(epoch, s.marked));
        let failed = self.failed_checks.iter().map(|(&epoch, &count)| Record::FailedChecks(epoch, count));
        let retired = self.retired.iter().map(|&epoch| Record::Retired(epoch));
        let releases = self.releases.iter().flat_map(|(epoch, id, pending)| {
            let (made, receivers, release) = (pending.made, pending.receivers.clone(), &pending.release[..]);
            let accepted = Record::Accepted(Decision { epoch, id, made, receivers, release });
            let delivered = pending.delivered.iter().enumerate().filter(|(_, delivered)| **delivered);
            let delivered = delivered.map(move |(at, _)| Record::Delivered(epoch, id, at as u64));
            std::iter::once(accepted).chain(delivered)
        });
        epoch.into_iter().chain(inferences).chain(failed).chain(retired).chain(releases)
    }

    /// The epoch after every one that was begun.
    pub(super) fn next_epoch(&self) -> Result<EpochId, ProtocolError> {
        let next = self.last_epoch.0.checked_add(1);
        next.map(EpochId).ok_or_else(|| ProtocolError::Spent { what: "every epoch id".into() })
    }

    /// Whether an epoch may begin.
    pub(super) fn unspent_epoch(&self, epoch: EpochId) -> Result<(), ProtocolError> {
        match epoch > self.last_epoch {
            true => Ok(()),
            false => Err(ProtocolError::Spent { what: epoch.to_string() }),
        }
    }

    /// Whether an inference may use its id. Returns the id to mark as spent on disk, if one must
    /// be.
    pub(super) fn unspent_inference(
        &self,
        epoch: EpochId,
        id: InferenceId,
    ) -> Result<Option<InferenceId>, ProtocolError> {
        let spent = || ProtocolError::Spent { what: format!("{id} of {epoch}") };
        let marked = id.0.checked_add(BLOCK).map(InferenceId).ok_or_else(spent)?;
        match self.inferences.get(&epoch) {
            Some(known) if id <= known.used => Err(spent()),
            Some(known) if id <= known.marked => Ok(None),
            Some(_) => Ok(Some(marked)),
            None if id.0 == 0 || self.forgot(epoch) => Err(spent()),
            None => Ok(Some(marked)),
        }
    }

    /// Whether inferences of an epoch may have been forgotten.
    fn forgot(&self, epoch: EpochId) -> bool {
        let oldest = self.inferences.first_key_value();
        self.inferences.len() >= EPOCHS && oldest.is_some_and(|(&oldest, _)| epoch < oldest)
    }

    /// An id that is marked as spent is given out.
    pub(super) fn use_inference(&mut self, epoch: EpochId, id: InferenceId) {
        if let Some(spent) = self.inferences.get_mut(&epoch) {
            spent.used = id;
        }
    }

    /// How many checks of an epoch failed.
    pub(super) fn failed_checks(&self, epoch: EpochId) -> u32 {
        self.failed_checks.get(&epoch).copied().unwrap_or(0)
    }

    /// Whether an epoch is used no more.
    pub(super) fn is_retired(&self, epoch: EpochId) -> bool {
        self.retired.contains(&epoch)
    }
}
