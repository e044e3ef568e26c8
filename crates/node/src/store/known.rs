//! What the records of a log say, and the fewest records that say the same.

use super::EPOCHS;
use super::record::{Decision, Record};
use super::releases::Releases;
use amicus_protocol::EpochId;
use std::collections::VecDeque;

/// What a node knows of its past. Changed by records only that survive a power cut, and by
/// decisions that survive the end of the process.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Oldest first.
    failed_checks: VecDeque<(EpochId, u32)>,
    /// Oldest first.
    retired: VecDeque<EpochId>,
    pub(super) releases: Releases,
}

impl Known {
    /// Nothing.
    pub(super) fn new() -> Self {
        Known::default()
    }

    /// Learns what a record says that is in the log.
    pub(super) fn learn(&mut self, record: Record<'_>) {
        match record {
            Record::Accepted(decision) => self.releases.insert(decision),
            Record::Delivered(scope, receiver) => {
                let receiver = usize::try_from(receiver).unwrap_or(usize::MAX);
                self.releases.delivered(scope, receiver);
            }
            Record::FailedChecks(epoch, count) => {
                match self.failed_checks.iter_mut().find(|(known, _)| *known == epoch) {
                    Some((_, known)) => *known = count.max(*known),
                    None => self.failed_checks.push_back((epoch, count)),
                }
                if self.failed_checks.len() > EPOCHS {
                    self.failed_checks.pop_front();
                }
            }
            Record::Retired(epoch) => {
                self.failed_checks.retain(|(known, _)| *known != epoch);
                if !self.retired.contains(&epoch) {
                    self.retired.push_back(epoch);
                }
                if self.retired.len() > EPOCHS {
                    self.retired.pop_front();
                }
            }
        }
    }

    /// The records of a log that says what is known.
    pub(super) fn records(&self) -> impl Iterator<Item = Record<'_>> + Clone {
        let failed = self.failed_checks.iter().map(|&(epoch, count)| Record::FailedChecks(epoch, count));
        let retired = self.retired.iter().map(|&epoch| Record::Retired(epoch));
        let releases = self.releases.iter().flat_map(|(scope, pending)| {
            let (made, receivers, release) = (pending.made, pending.receivers.clone(), &pending.release[..]);
            let accepted = Record::Accepted(Decision { scope, made, receivers, release });
            let delivered = pending.delivered.iter().enumerate().filter(|(_, delivered)| **delivered);
            let delivered = delivered.map(move |(at, _)| Record::Delivered(scope, at as u64));
            std::iter::once(accepted).chain(delivered)
        });
        failed.chain(retired).chain(releases)
    }

    /// How many checks of an epoch failed.
    pub(super) fn failed_checks(&self, epoch: EpochId) -> u32 {
        self.failed_checks.iter().find(|(known, _)| *known == epoch).map_or(0, |(_, count)| *count)
    }

    /// Epochs that are used no more, the last one first.
    pub(super) fn retired(&self) -> impl Iterator<Item = EpochId> {
        self.retired.iter().rev().copied()
    }

    /// Whether an epoch is used no more.
    pub(super) fn is_retired(&self, epoch: EpochId) -> bool {
        self.retired.contains(&epoch)
    }
}
