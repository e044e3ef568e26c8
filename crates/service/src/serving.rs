//! A thread that serves connections until it is dropped.

use crate::error::StartError;
use std::future::Future;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// A thread with a runtime of its own. When it is dropped, its connections end.
pub(crate) struct Serving {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// Runs what accepts connections; `what` names the thread in errors.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start<F>(
        name: &str,
        what: &'static str,
        accepts: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Self, StartError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let system = |error| StartError::System { what, error };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            // Threads that ask the node how it is, which may take a moment.
            .max_blocking_threads(2)
            .build()
            .map_err(system)?;
        let (stop, stopped) = oneshot::channel();
        let work = move || {
            runtime.spawn(accepts());
            // Connections are served until the other end is dropped.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_timeout(Duration::from_secs(1));
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(system)?;
        Ok(Serving { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
