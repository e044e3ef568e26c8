//! What a node reports while it works: for metrics, tests and the command line.

use crate::NodeError;
use amicus_protocol::{EpochId, InferenceId};
use std::sync::mpsc::Sender;
use std::time::Duration;

/// Something that happened at a node.
#[derive(Clone, Debug)]
pub enum Event {
    /// A model is loaded.
    Loaded {
        /// Its epoch.
        epoch: EpochId,
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
        /// Party: bytes sent to each other party in this inference, in party order.
        sent: Vec<u64>,
        /// Party: whether the online thread had to wait for its material.
        waited_for_material: bool,
    },
    /// An inference was given up; its id is burned.
    Failed {
        /// The inference.
        id: InferenceId,
        /// Why.
        error: NodeError,
    },
    /// The node itself cannot go on.
    Fatal {
        /// Why.
        error: NodeError,
    },
}

/// Where a node reports to; reports nobody listens to are dropped.
#[derive(Clone, Debug, Default)]
pub struct Reporter(Option<Sender<Event>>);

impl Reporter {
    /// Reports to a channel.
    pub fn to(sender: Sender<Event>) -> Self {
        Reporter(Some(sender))
    }

    pub(crate) fn report(&self, event: Event) {
        if let Some(sender) = &self.0 {
            // The listener may be gone; the node works on.
            let _ = sender.send(event);
        }
    }
}
