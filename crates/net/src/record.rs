//! Keeping a copy of every frame of a link, for tests that look at what went over the wire.

use std::sync::{Arc, Mutex, PoisonError};

/// Which way a frame went, seen from the recorded end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From this end to the peer.
    Sent,
    /// From the peer to this end.
    Received,
}

/// A frame that passed a recorded link.
#[derive(Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Which way it went.
    pub direction: Direction,
    /// Its content, without the length prefix.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Recorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recorded({:?}, {} bytes)", self.direction, self.bytes.len())
    }
}

/// Handle to the record of one link, see [`Link::recorded`](crate::Link::recorded). Records
/// plaintext and never forgets: for tests only.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Vec<Recorded>>>);

impl Recorder {
    /// Everything so far, in the order in which this end sent it or took it out of the link.
    pub fn frames(&self) -> Vec<Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn push(&self, direction: Direction, bytes: Vec<u8>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Recorded { direction, bytes });
    }
}
