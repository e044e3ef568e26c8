//! What a running node tells its operator.

use super::Links;
use amicus_node::NodeError;
use amicus_node::event::Event;
use std::collections::VecDeque;
use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How often connection errors are looked for.
const GLANCE: Duration = Duration::from_millis(200);
/// How long the same connection error is not told again: who is not there is dialled many times.
const AGAIN: Duration = Duration::from_secs(60);
/// Connection errors that are remembered for that.
const REMEMBERED: usize = 64;

/// Something that a node's operator may want to know. It prints as one line.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// Something happened at the node.
    Event(Event),
    /// A connection failed; it is tried again.
    Connection(NodeError),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Event(event) => write!(f, "{event}"),
            Notice::Connection(error) => write!(f, "connection: {error}"),
        }
    }
}

/// Where a node's notices are read.
pub(super) struct Notices {
    events: Receiver<Event>,
    told: VecDeque<(String, Instant)>,
}

impl Notices {
    pub(super) fn new(events: Receiver<Event>) -> Self {
        Notices { events, told: VecDeque::new() }
    }

    /// The next notice, if there is one in time.
    pub(super) fn next(&mut self, links: &Links, patience: Duration) -> Option<Notice> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(error) = links.errors().find(|error| self.is_new(error.to_string())) {
                return Some(Notice::Connection(error));
            }
            let left = deadline.saturating_duration_since(Instant::now()).min(GLANCE);
            match self.events.recv_timeout(left) {
                Ok(event) => return Some(Notice::Event(event)),
                // Its threads have ended; connections may still fail.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(left),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= deadline {
                return None;
            }
        }
    }

    /// Whether an error was not told lately; if so, it is now.
    fn is_new(&mut self, text: String) -> bool {
        let now = Instant::now();
        self.told.retain(|(_, when)| now.duration_since(*when) < AGAIN);
        if self.told.iter().any(|(known, _)| *known == text) {
            return false;
        }
        if self.told.len() == REMEMBERED {
            self.told.pop_front();
        }
        self.told.push_back((text, now));
        true
    }
}
