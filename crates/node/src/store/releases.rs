//! Releases that were decided and are not with every receiver yet: bounded in number, bytes and
//! time.

use super::log::framed;
use super::record::{Decision, decision_bytes};
use amicus_net::clock;
use amicus_protocol::Scope;
use std::time::{Duration, Instant, SystemTime};
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
    /// Until when it is kept. The time of day only says how old a release of an earlier process is: set
    /// while this one runs, it ends nothing and keeps nothing.
    until: Instant,
}

impl std::fmt::Debug for PendingRelease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingRelease")
            .field("receivers", &self.receivers)
            .field("delivered", &self.delivered)
            .finish_non_exhaustive()
    }
}

/// The decision about an inference that is in flight or about to be.
#[derive(Clone, Copy, Debug)]
pub struct Promised<'a> {
    /// Receivers, the client who asked first.
    pub receivers: &'a [String],
    /// Bytes of the release.
    pub release: usize,
}

impl Promised<'_> {
    pub(super) fn client(&self) -> &str {
        self.receivers.first().map_or("", String::as_str)
    }

    /// Bytes of its record.
    pub(super) fn bytes(&self) -> usize {
        decision_bytes(self.receivers.iter().map(String::as_str), self.release)
    }
}

/// The releases of a node, oldest first.
#[derive(Debug, Default)]
pub(super) struct Releases {
    all: Vec<(Scope, PendingRelease)>,
    /// Bytes that their records take in a half of the log.
    bytes: u64,
}

impl Releases {
    pub(super) fn insert(&mut self, decision: Decision<'_>) {
        let Decision { scope, made, receivers, release } = decision;
        let delivered = vec![false; receivers.len()];
        let release = Zeroizing::new(release.to_vec());
        let age = Duration::from_secs(seconds(clock::of_day()).saturating_sub(made));
        let until = clock::now() + RELEASES_KEPT.saturating_sub(age);
        let pending = PendingRelease { receivers, delivered, release, made, until };
        self.remove(scope);
        self.bytes += pending.bytes();
        self.all.push((scope, pending));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Scope, &PendingRelease)> + Clone {
        self.all.iter().map(|(scope, release)| (*scope, release))
    }

    /// The number of a receiver that still lacks a release.
    pub(super) fn lacking(&self, scope: Scope, receiver: &str) -> Option<usize> {
        let (_, pending) = self.all.iter().find(|(of, _)| *of == scope)?;
        let at = pending.receivers.iter().position(|name| name == receiver)?;
        (!pending.delivered[at]).then_some(at)
    }

    pub(super) fn delivered(&mut self, scope: Scope, receiver: usize) {
        let Some((_, pending)) = self.all.iter_mut().find(|(of, _)| *of == scope) else { return };
        if let Some(delivered) = pending.delivered.get_mut(receiver) {
            *delivered = true;
        }
        if pending.delivered.iter().all(|&d| d) {
            self.remove(scope);
        }
    }

    fn remove(&mut self, scope: Scope) {
        if let Some(at) = self.all.iter().position(|(of, _)| *of == scope) {
            self.bytes -= self.all.remove(at).1.bytes();
        }
    }

    /// Drops releases whose time is over.
    pub(super) fn expire(&mut self, now: Instant) {
        let over: Vec<Scope> = self.iter().filter(|(_, p)| now >= p.until).map(|(scope, _)| scope).collect();
        over.into_iter().for_each(|scope| self.remove(scope));
    }

    /// Whether one more release can be kept for an inference of this client, of whom so many others
    /// are in flight; the records of all that are take so many bytes.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn room_for(&self, client: &str, in_flight: usize, bytes: u64) -> Result<(), String> {
        let of_client = self.iter().filter(|(_, p)| p.receivers.first().is_some_and(|name| name == client));
        if of_client.count() + in_flight >= MAX_OF_CLIENT {
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
