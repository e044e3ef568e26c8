//! Releases that were decided and are not with every receiver yet: bounded in number, bytes and
//! time.

use super::log::framed;
use super::record::{Decision, decision_bytes};
use amicus_protocol::{EpochId, InferenceId};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use zeroize::Zeroizing;

/// How long a release is kept for receivers that do not come. Whoever waits for an output gives up
/// and forgets its key after minutes.
pub const RELEASES_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Bytes of all releases that are kept, at most.
const MAX_BYTES: u64 = 1 << 27;
/// Releases of one client's inferences that are kept, at most: receivers that never come are its
/// choice, and are not to cost others their answers.
const MAX_OF_CLIENT: usize = 64;

/// A release that is recorded but not acknowledged by every receiver.
#[derive(Clone, PartialEq, Eq)]
pub struct PendingRelease {
    /// Receivers in the order of the release's hashes; the first is the client who asked.
    pub receivers: Vec<String>,
    /// Which of them acknowledged it.
    pub delivered: Vec<bool>,
    /// The release, as [`Release::from_log`](amicus_protocol::output::Release::from_log) reads it.
    pub release: Zeroizing<Vec<u8>>,
    /// When it was decided, in seconds since 1970.
    pub(super) made: u64,
}

impl std::fmt::Debug for PendingRelease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingRelease")
            .field("receivers", &self.receivers)
            .field("delivered", &self.delivered)
            .finish_non_exhaustive()
    }
}

/// The releases of a node, oldest first.
#[derive(Debug, Default)]
pub(super) struct Releases {
    all: BTreeMap<(EpochId, InferenceId), PendingRelease>,
    /// Bytes that their records take in a half of the log.
    bytes: u64,
}

impl Releases {
    pub(super) fn insert(&mut self, decision: Decision<'_>) {
        let Decision { epoch, id, made, receivers, release } = decision;
        let delivered = vec![false; receivers.len()];
        let release = Zeroizing::new(release.to_vec());
        let pending = PendingRelease { receivers, delivered, release, made };
        self.bytes += pending.bytes();
        if let Some(replaced) = self.all.insert((epoch, id), pending) {
            self.bytes -= replaced.bytes();
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (EpochId, InferenceId, &PendingRelease)> + Clone {
        self.all.iter().map(|(&(epoch, id), release)| (epoch, id, release))
    }

    /// The number of a receiver that still lacks a release.
    pub(super) fn lacking(&self, epoch: EpochId, id: InferenceId, receiver: &str) -> Option<usize> {
        let pending = self.all.get(&(epoch, id))?;
        let at = pending.receivers.iter().position(|name| name == receiver)?;
        (!pending.delivered[at]).then_some(at)
    }

    pub(super) fn delivered(&mut self, epoch: EpochId, id: InferenceId, receiver: usize) {
        let Some(pending) = self.all.get_mut(&(epoch, id)) else { return };
        if let Some(delivered) = pending.delivered.get_mut(receiver) {
            *delivered = true;
        }
        if pending.delivered.iter().all(|&d| d) {
            self.remove(epoch, id);
        }
    }

    fn remove(&mut self, epoch: EpochId, id: InferenceId) {
        if let Some(pending) = self.all.remove(&(epoch, id)) {
            self.bytes -= pending.bytes();
        }
    }

    /// Drops releases whose time is over. A clock that was set back keeps them longer.
    pub(super) fn expire(&mut self, now: SystemTime) {
        let now = seconds(now);
        let over = |p: &PendingRelease| now.saturating_sub(p.made) > RELEASES_KEPT.as_secs();
        let over: Vec<_> = self.iter().filter(|(.., p)| over(p)).map(|(epoch, id, _)| (epoch, id)).collect();
        over.into_iter().for_each(|(epoch, id)| self.remove(epoch, id));
    }

    /// Whether one more release, with a record of so many bytes, can be kept for an inference of
    /// this client.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn room_for(&self, client: &str, bytes: u64) -> Result<(), String> {
        let of_client = self.all.values().filter(|p| p.receivers.first().is_some_and(|name| name == client));
        if of_client.count() >= MAX_OF_CLIENT {
            return Err(format!("more than {MAX_OF_CLIENT} answers that receivers have not collected"));
        }
        if self.bytes + bytes > MAX_BYTES {
            return Err("an answer while the store of uncollected answers is full".into());
        }
        Ok(())
    }
}

impl PendingRelease {
    fn bytes(&self) -> u64 {
        framed(decision_bytes(self.receivers.iter().map(String::as_str), self.release.len()))
    }
}

/// Seconds since 1970; none before.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
