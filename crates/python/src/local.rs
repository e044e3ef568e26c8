//! A whole cluster in this process.

use crate::fault::{Class, Fault};
use crate::model::{Model, Plan};
use crate::pending::{Pending, Promise, lock};
use crate::wait::aside;
use crate::worker::caller;
use amicus::local::{Cluster, LocalConfig};
use amicus::plan::quantize_input;
use amicus::{Client, Expected, Parties};
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use zeroize::Zeroizing;

/// An inference that is asked for.
struct Asked {
    numbers: Zeroizing<Vec<f32>>,
    each: usize,
    promise: Promise,
}

/// What ends with the cluster.
struct Running {
    asked: Sender<Asked>,
    cluster: Cluster,
    _folder: TempDir,
}

/// Helper and parties as threads of this process, with a model loaded, and a client.
#[pyclass(frozen, module = "amicus._native")]
pub(crate) struct Local {
    running: Mutex<Option<Running>>,
    plan: Arc<amicus::Plan>,
    caller: Sender<Py<PyAny>>,
    #[pyo3(get)]
    parties: usize,
    #[pyo3(get)]
    fingerprint: String,
}

#[pymethods]
impl Local {
    /// Starts it.
    #[staticmethod]
    #[pyo3(signature = (model, parties, threads=1))]
    fn start(py: Python<'_>, model: &Model, parties: usize, threads: usize) -> PyResult<Self> {
        let count = Parties::new(parties).ok_or_else(|| {
            let what = format!("{parties} parties");
            Fault::yours(Class::Configuration, what, "parties", "give a number from 2 to 8")
        })?;
        let most = amicus::node::MAX_THREADS;
        if threads == 0 || threads > most {
            let advice = format!("give a number from 1 to {most}");
            return Err(
                Fault::yours(Class::Configuration, format!("{threads} threads"), "threads", &advice).into()
            );
        }
        let file = Arc::clone(&model.file);
        let plan = Arc::new(file.plan.clone());
        let folder = tempfile::tempdir()?;
        let (of, at) = (Arc::clone(&plan), folder.path().to_owned());
        let (cluster, client, fingerprint) = aside(py, move || {
            let config = LocalConfig { threads, ..LocalConfig::new(of, count, at) };
            let mut cluster = Cluster::start(config)?;
            let model = cluster.owner()?.load(&file.weights)?;
            let client = cluster.client("1", Expected::Model(model.fingerprint))?;
            Ok((cluster, client, model.fingerprint.to_string()))
        })?;
        let (asked, questions) = mpsc::channel::<Asked>();
        std::thread::Builder::new().name("amicus-client".into()).spawn(move || {
            let mut client: Client = client;
            for Asked { numbers, each, promise } in questions {
                let images: Vec<&[f32]> = numbers.chunks(each).collect();
                promise.keep(client.infer_batch(&images).map_err(Fault::from));
            }
        })?;
        let running = Mutex::new(Some(Running { asked, cluster, _folder: folder }));
        Ok(Local { running, plan, caller: caller()?, parties, fingerprint })
    }

    /// The model's public part.
    fn plan(&self) -> Plan {
        Plan::from(Arc::clone(&self.plan))
    }

    /// Begins an inference of so many images, one after the other in `numbers`.
    fn submit(&self, numbers: PyReadonlyArray1<'_, f32>, batch: usize) -> PyResult<Pending> {
        let numbers = Zeroizing::new(numbers.as_slice()?.to_vec());
        let each = (numbers.len() / batch.max(1)).max(1);
        for image in numbers.chunks(each) {
            quantize_input(&self.plan, image).map_err(|error| Fault::from(amicus::Error::from(error)))?;
        }
        let (pending, promise, _) = Pending::new(self.caller.clone());
        let running = lock(&self.running);
        let ended = || {
            let next = "begin another one with `amicus.local`";
            Fault::yours(Class::Configuration, "the cluster has ended", "the local cluster", next)
        };
        let running = running.as_ref().ok_or_else(ended)?;
        running.asked.send(Asked { numbers, each, promise }).map_err(|_| ended())?;
        Ok(pending)
    }

    /// Ends all of it.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let Some(running) = lock(&self.running).take() else { return Ok(()) };
        aside(py, move || {
            let Running { asked, cluster, _folder: folder } = running;
            drop(asked);
            drop(cluster);
            drop(folder);
            Ok(())
        })
    }
}
