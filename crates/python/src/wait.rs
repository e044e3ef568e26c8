//! Waiting for threads of Rust: without Python's lock, and with an eye on signals.

use crate::fault::Fault;
use pyo3::prelude::*;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

/// How often signals are looked at.
const GLANCE: Duration = Duration::from_millis(50);

/// Does work on a thread of its own; a signal whose handler raises ends the wait, and the thread is
/// left alone.
pub(crate) fn aside<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> PyResult<T> {
    let (done, mut result) = mpsc::channel();
    std::thread::Builder::new().name("amicus".into()).spawn(move || {
        // Nobody waits any more where a signal came.
        let _ = done.send(work());
    })?;
    result_of(py, &mut result, || Ok(()))
}

/// What a thread sends; `glance` is called whenever it takes longer.
pub(crate) fn result_of<T: Send>(
    py: Python<'_>,
    result: &mut Receiver<Result<T, Fault>>,
    mut glance: impl FnMut() -> PyResult<()>,
) -> PyResult<T> {
    loop {
        let waiting = &mut *result;
        match py.detach(move || waiting.recv_timeout(GLANCE)) {
            Ok(result) => return Ok(result?),
            Err(RecvTimeoutError::Disconnected) => return Err(Fault::lost().into()),
            Err(RecvTimeoutError::Timeout) => {
                py.check_signals()?;
                glance()?;
            }
        }
    }
}
