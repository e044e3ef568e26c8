//! What a node reports while it works: for metrics, tests and the command line.

use crate::NodeError;
use crate::store::Store;
use amicus_protocol::{EpochId, InferenceId, SessionId};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// A part of an inference's time at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Helper: the request waits for its turn and for material.
    Queue,
    /// Helper: from the binding to the verdict.
    Parties,
    /// Party: it waits for its material.
    Material,
    /// Party: it waits for the masked input and the receivers' keys.
    Input,
    /// Party: the rounds.
    Rounds,
    /// Party: it waits for the helper's word.
    Verdict,
}

/// Something that happened at a node.
#[derive(Clone, Debug)]
pub enum Event {
    /// A session is open: all nodes have what inferences and loads need.
    SessionOpened {
        /// The session.
        session: SessionId,
    },
    /// A session could not begin; the helper offers another.
    SessionFailed {
        /// Why.
        error: NodeError,
    },
    /// A model is loaded.
    Loaded {
        /// Its epoch.
        epoch: EpochId,
    },
    /// A model that was loaded before the session began is used in it.
    Recalled {
        /// Its epoch.
        epoch: EpochId,
    },
    /// An epoch is used no more; what was kept of it is erased.
    Retired {
        /// The epoch.
        epoch: EpochId,
    },
    /// Helper: a model that it accepted is not used, because the parties do not all hold it.
    Unconfirmed {
        /// Which epoch, who lacks it, and what operators can do.
        error: NodeError,
    },
    /// The file of a sealed epoch cannot be used.
    Unusable {
        /// Which file, why, and what can be done.
        error: NodeError,
    },
    /// A load failed; its epoch is burned.
    LoadFailed {
        /// Why.
        error: NodeError,
    },
    /// Helper: material for an inference is ready at all parties.
    Dealt {
        /// The inference.
        id: InferenceId,
        /// From the helper's first step to the last party's word.
        elapsed: Duration,
        /// Bytes sent to all parties.
        bytes: u64,
        /// Inferences for which material is ready now and not taken, this one counted.
        ready: usize,
        /// Bytes that their material takes at each party.
        material: u64,
    },
    /// Material could not be dealt; its id is burned.
    DealFailed {
        /// Why.
        error: NodeError,
    },
    /// An inference ended well.
    Finished {
        /// The inference.
        id: InferenceId,
        /// Party: bytes of messages to each other party in this inference, in party order, without
        /// what links add.
        sent: Vec<u64>,
        /// Party: whether the online thread had to wait for its material.
        waited_for_material: bool,
        /// Party: rounds of openings.
        rounds: usize,
        /// How long each part of it took.
        phases: Vec<(Phase, Duration)>,
    },
    /// An inference was given up; its id is burned.
    Failed {
        /// The inference.
        id: InferenceId,
        /// Why.
        error: NodeError,
    },
    /// Party: a message in a user's name was dropped, because its tag is not under that user's key. It
    /// changes nothing for the user who has the key.
    Unauthenticated {
        /// In whose name, and at which step.
        error: NodeError,
    },
    /// Whoever listens was too slow.
    Missed {
        /// Events that nobody heard.
        events: u64,
    },
    /// A damaged file of the node was repaired from its second copy; the disk may be failing.
    Repaired {
        /// Damaged records.
        records: u32,
    },
    /// The node itself cannot go on.
    Fatal {
        /// Why.
        error: NodeError,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::SessionOpened { session } => write!(f, "{session} is open"),
            Event::SessionFailed { error } => write!(f, "a session could not begin: {error}"),
            Event::Loaded { epoch } => write!(f, "a model is loaded ({epoch})"),
            Event::Recalled { epoch } => write!(f, "the model that was loaded before is used ({epoch})"),
            Event::Retired { epoch } => write!(f, "{epoch} is used no more, and erased"),
            Event::Unconfirmed { error } => write!(f, "no model is used: {error}"),
            Event::Unusable { error } => write!(f, "a file cannot be used: {error}"),
            Event::LoadFailed { error } => write!(f, "a model load failed: {error}"),
            Event::Dealt { id, elapsed, bytes, ready, material } => {
                let ms = elapsed.as_millis();
                write!(f, "{id} is dealt ({bytes} bytes in {ms} ms; ready: {ready}, {material} bytes)")
            }
            Event::DealFailed { error } => write!(f, "dealing failed: {error}"),
            Event::Finished { id, .. } => write!(f, "{id} ended well"),
            Event::Failed { id, error } => write!(f, "{id} was given up: {error}"),
            Event::Unauthenticated { error } => write!(f, "a message was dropped: {error}"),
            Event::Missed { events } => write!(f, "{events} events were not heard in time"),
            Event::Repaired { records } => {
                write!(f, "{records} damaged records were repaired; the disk may be failing")
            }
            Event::Fatal { error } => write!(f, "this node cannot go on: {error}"),
        }
    }
}

/// Events kept for a listener that does not read, at most.
const KEPT: usize = 1 << 10;

/// Where a node reports to; reports nobody listens to are dropped.
#[derive(Clone, Debug, Default)]
pub struct Reporter(Option<Outlet>);

#[derive(Clone, Debug)]
struct Outlet {
    events: SyncSender<Event>,
    /// Events that found no room since the listener heard of some that did not.
    missed: Arc<AtomicU64>,
}

impl Reporter {
    /// A way to report, and where reports are read. A listener that does not read misses events,
    /// and is told how many once there is room again ([`Event::Missed`]).
    pub fn channel() -> (Self, Receiver<Event>) {
        let (events, receiver) = sync_channel(KEPT);
        (Reporter(Some(Outlet { events, missed: Arc::default() })), receiver)
    }

    pub(crate) fn report(&self, event: Event) {
        // The listener may be gone; the node works on.
        let Some(Outlet { events, missed }) = &self.0 else { return };
        let before = missed.swap(0, Ordering::Relaxed);
        let room = before == 0 || events.try_send(Event::Missed { events: before }).is_ok();
        if !room {
            missed.fetch_add(before, Ordering::Relaxed);
        }
        if !room || events.try_send(event).is_err() {
            missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Reports damage that a store found: what it repaired, and sealed epochs that it cannot use.
    pub(crate) fn found(&self, store: &Store) -> Result<(), NodeError> {
        if store.repaired() > 0 {
            self.report(Event::Repaired { records: store.repaired() });
        }
        for error in store.epochs().list()?.into_iter().filter_map(Result::err) {
            self.report(Event::Unusable { error });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(id: InferenceId) -> Event {
        Event::Finished { id, sent: Vec::new(), waited_for_material: false, rounds: 0, phases: Vec::new() }
    }

    fn number(event: &Event) -> u64 {
        match event {
            Event::Finished { id, .. } => id.0,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_listener_that_does_not_read_misses_events_and_hears_how_many() {
        let (reporter, events) = Reporter::channel();
        let report = |id| {
            let id = InferenceId(id);
            reporter.report(finished(id));
        };
        let most = KEPT as u64;
        (0..3 * most).for_each(report);
        assert!(events.try_iter().take(10).map(|e| number(&e)).eq(0..10));
        (3 * most..3 * most + 5).for_each(report);
        let heard: Vec<Event> = events.try_iter().collect();
        assert!(heard[..KEPT - 10].iter().map(number).eq(10..most));
        assert!(matches!(heard[KEPT - 10], Event::Missed { events } if events == 2 * most));
        assert!(heard[KEPT - 9..].iter().map(number).eq(3 * most..3 * most + 5));
    }

    #[test]
    fn a_listener_that_is_gone_is_in_nobodys_way() {
        let (reporter, events) = Reporter::channel();
        drop(events);
        for id in (0..10).map(InferenceId) {
            reporter.report(finished(id));
        }
        Reporter::default().report(Event::Missed { events: 1 });
    }
}
