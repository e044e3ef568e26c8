//! What takes long in a load, on a thread of its own: computing with a whole model, writing it to
//! disk, erasing the one before. The loop goes on meanwhile, so that no inference waits for it.

use crate::NodeError;
use crate::inbox::InboxHandle;
use crate::threads::spawn;
use amicus_net::clock;
use amicus_protocol::ProtocolError;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread::JoinHandle;

/// All such work of a node, each for a subject.
pub(crate) struct Asides<S, T> {
    online: InboxHandle,
    all: Vec<Aside<S, T>>,
}

struct Aside<S, T> {
    subject: S,
    done: Receiver<T>,
    thread: JoinHandle<()>,
}

impl<S: PartialEq, T: Send + 'static> Asides<S, T> {
    /// None yet; the online thread is woken by what ends.
    pub(crate) fn new(online: InboxHandle) -> Self {
        Asides { online, all: Vec::new() }
    }

    /// Begins work.
    ///
    /// # Errors
    /// No thread.
    pub(crate) fn begin(
        &mut self,
        subject: S,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(), NodeError> {
        let ((done, result), online) = (channel(), self.online.clone());
        let thread = spawn("aside", move || {
            // Nobody listens when the node has stopped.
            let _ = done.send(work());
            online.wake();
        })?;
        self.all.push(Aside { subject, done: result, thread });
        Ok(())
    }

    /// Whether any goes on: no load begins before it has ended, so that there is never more of it
    /// than a load and its end give to do.
    pub(crate) fn is_busy(&self) -> bool {
        !self.all.is_empty()
    }

    /// Whether any goes on for a subject.
    pub(crate) fn works_for(&self, subject: &S) -> bool {
        self.all.iter().any(|aside| aside.subject == *subject)
    }

    /// Work that has ended, and its subject.
    ///
    /// # Errors
    /// A fault of this program: the thread ended without a result.
    pub(crate) fn take(&mut self) -> Result<Option<(S, T)>, NodeError> {
        for at in 0..self.all.len() {
            let done = match self.all[at].done.try_recv() {
                Ok(done) => done,
                Err(TryRecvError::Empty) => continue,
                Err(TryRecvError::Disconnected) => {
                    return Err(ProtocolError::Internal("work on a model ended early".into()).into());
                }
            };
            let Aside { subject, thread, .. } = self.all.swap_remove(at);
            clock::join(thread);
            return Ok(Some((subject, done)));
        }
        Ok(None)
    }

    /// Waits for all of it: afterwards nothing is written any more.
    pub(crate) fn finish(self) {
        self.all.into_iter().for_each(|aside| clock::join(aside.thread));
    }
}
