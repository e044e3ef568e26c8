//! A model owner, over HTTPS.

use crate::fault::Fault;
use crate::model::Model;
use crate::place::{Token, read};
use crate::wait::result_of;
use amicus::https::HttpsOwner;
use pyo3::prelude::*;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use tokio::sync::oneshot;

/// Gives a compiled model to a cluster, masked, and returns its fingerprint. `progress` is called with
/// how many parts are given, and of how many.
#[pyfunction]
pub(crate) fn upload(
    py: Python<'_>,
    cluster: PathBuf,
    token: Token,
    model: &Model,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let (deployment, tokens) = read(&cluster, token)?;
    let file = Arc::clone(&model.file);
    let given = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let (counts, (done, mut loaded)) = (Arc::clone(&given), mpsc::channel());
    // When the wait ends by a signal, this is dropped, and the upload is given up.
    let (_stop, stopped) = oneshot::channel::<()>();
    std::thread::Builder::new().name("amicus-owner".into()).spawn(move || {
        let load = || {
            let mut owner = HttpsOwner::connect(&deployment, &tokens, file.plan.clone())?;
            let watch = |at: amicus::UploadProgress| {
                counts.0.store(at.given, Ordering::Relaxed);
                counts.1.store(at.of, Ordering::Relaxed);
            };
            let stopped = async { drop(stopped.await) };
            let model = owner.load_unless(&file.weights, watch, stopped)?;
            model.ok_or_else(Fault::lost).map(|model| model.fingerprint.to_string())
        };
        let _ = done.send(load());
    })?;
    let tell = || match (&progress, given.1.load(Ordering::Relaxed)) {
        (Some(progress), of) if of > 0 => {
            Python::attach(|py| progress.call1(py, (given.0.load(Ordering::Relaxed), of))).map(drop)
        }
        _ => Ok(()),
    };
    let fingerprint = result_of(py, &mut loaded, tell)?;
    tell()?;
    Ok(fingerprint)
}
