//! How a node is now: what its online thread tells whoever watches it, when it is asked.
//!
//! The thread looks once a step whether somebody asks, so watching costs an inference nothing.

use amicus_plan::PlanDigest;
use amicus_protocol::{EpochId, InferenceId};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How a node is at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Whether a session is open.
    pub session: bool,
    /// Models that are served.
    pub models: usize,
    /// Which they are.
    pub loaded: Vec<Loaded>,
    /// The load that goes on, if one does.
    pub loading: Option<InferenceId>,
    /// Nodes that this one has a link to, of all the others.
    pub nodes: usize,
    /// Links to others on the online channel, users counted.
    pub links: usize,
    /// Inferences in flight.
    pub in_flight: usize,
    /// Requests that wait for their turn; at a party inferences beyond those that its machine gives.
    pub waiting: usize,
    /// Inferences for which material is ready and not taken.
    pub ready: usize,
    /// Bytes sent over links of the online channel since the node started.
    pub bytes_sent: u64,
    /// Bytes received over them.
    pub bytes_received: u64,
}

/// A model that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its plan.
    pub plan: PlanDigest,
    /// The epoch that it is loaded in.
    pub epoch: EpochId,
    /// Its fingerprint, which parties know and the helper does not.
    pub fingerprint: Option<[u8; 32]>,
}

/// Where the thread that is asked leaves its answer.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    asked: AtomicBool,
    /// The last answer, and how many there were.
    answer: Mutex<(u64, Level)>,
    answered: Condvar,
}

impl Watched {
    /// Asks by `wake`, and waits so long for an answer; an older one if none comes.
    pub(crate) fn ask(&self, wake: impl FnOnce(), patience: Duration) -> Level {
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        let before = answer.0;
        self.asked.store(true, Ordering::SeqCst);
        wake();
        let waited = self.answered.wait_timeout_while(answer, patience, |answer| answer.0 == before);
        waited.unwrap_or_else(PoisonError::into_inner).0.1.clone()
    }

    /// Answers, if somebody asked.
    pub(crate) fn answer(&self, level: impl FnOnce() -> Level) {
        if self.asked.load(Ordering::Relaxed) && self.asked.swap(false, Ordering::SeqCst) {
            let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
            *answer = (answer.0 + 1, level());
            drop(answer);
            self.answered.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_asked_answers_once_and_who_does_not_answer_is_waited_for_in_vain() {
        let watched = Watched::default();
        let of = |in_flight| Level { in_flight, ..Level::default() };
        watched.answer(|| panic!("nobody asked"));
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| watched.ask(|| (), Duration::from_secs(600)));
            while !asked.is_finished() {
                watched.answer(|| of(3));
                std::thread::yield_now();
            }
            assert_eq!(asked.join().unwrap(), of(3));
        });
        watched.answer(|| panic!("nobody asked"));
        assert_eq!(watched.ask(|| (), Duration::from_millis(1)), of(3));
    }
}
