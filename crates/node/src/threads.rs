//! The threads of a node.

use crate::NodeError;
use crate::connect::InboxHandles;
use crate::event::{Event, Reporter};
use crate::workers::with_threads;
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

/// Starts a thread with so many for its arithmetic, itself included.
///
/// # Errors
/// When the operating system gives none; where it gives none for the arithmetic, the thread reports
/// it and ends.
pub(crate) fn spawn_with(
    name: &str,
    threads: usize,
    reporter: &Reporter,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, NodeError> {
    let (of, reporter) = (name.to_owned(), reporter.clone());
    spawn(name, move || {
        if let Err(error) = with_threads(&of, threads, work) {
            reporter.report(Event::Fatal { error });
        }
    })
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
