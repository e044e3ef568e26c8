//! The threads of a node.

use crate::NodeError;
use crate::connect::InboxHandles;
use amicus_net::{NetError, clock};
use std::thread::JoinHandle;

/// A running node: its threads, and where its links are delivered.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) inboxes: InboxHandles,
    pub(crate) threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// Stops the threads and waits for them.
    pub(crate) fn stop(self) {
        self.inboxes.online.stop();
        if let Some(dealing) = &self.inboxes.dealing {
            dealing.stop();
        }
        self.threads.into_iter().for_each(clock::join);
    }
}

/// Starts a thread.
///
/// # Errors
/// When the operating system gives none.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, NodeError> {
    clock::spawn(name, work).map_err(|e| {
        let context = format!("starting thread {name}");
        NetError::Io { context, kind: e.kind(), message: e.to_string() }.into()
    })
}
