//! A client of a cluster, over HTTPS.

use crate::fault::Fault;
use crate::model::Plan;
use crate::pending::{Pending, lock};
use crate::place::{Token, model_of, read};
use crate::wait::aside;
use crate::worker::Worker;
use amicus::files::read_plan;
use amicus::https::{AsyncHttpsClient, fetch_plan_async};
use amicus::plan::quantize_input;
use amicus::{Expected, ModelFingerprint};
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Lets so many inferences be in flight at a time.
#[pyclass(frozen, module = "amicus._native")]
pub(crate) struct Gate(Arc<Semaphore>);

#[pymethods]
impl Gate {
    #[new]
    fn new(at_a_time: usize) -> Self {
        Gate(Arc::new(Semaphore::new(at_a_time.clamp(1, Semaphore::MAX_PERMITS))))
    }
}

/// A client that talks to every node itself.
#[pyclass(frozen, module = "amicus._native")]
pub(crate) struct Client {
    client: AsyncHttpsClient,
    worker: Mutex<Option<Worker>>,
    #[pyo3(get)]
    model: String,
    #[pyo3(get)]
    cluster: String,
    #[pyo3(get)]
    fingerprint: String,
}

#[pymethods]
impl Client {
    /// Connects, and compares the model that all parties name with what is expected.
    #[staticmethod]
    #[pyo3(signature = (cluster, token, model, plan, fingerprint))]
    fn connect(
        py: Python<'_>,
        cluster: PathBuf,
        token: Token,
        model: Option<String>,
        plan: Option<PathBuf>,
        fingerprint: Option<String>,
    ) -> PyResult<Self> {
        let (deployment, tokens) = read(&cluster, token)?;
        let model = model_of(&deployment, model)?;
        let expected = match fingerprint {
            Some(text) => Expected::Model(text.parse::<ModelFingerprint>().map_err(Fault::from)?),
            None => Expected::Any,
        };
        let worker = Worker::start()?;
        let (done, mut connected) = mpsc::channel();
        let (name, of_model) = (deployment.cluster.clone(), model.clone());
        worker.begin(async move {
            let connect = async {
                let plan = match plan {
                    Some(file) => read_plan(&file)?,
                    None => fetch_plan_async(&deployment, &tokens, &of_model).await?,
                };
                let client = AsyncHttpsClient::connect(&deployment, &tokens, plan, expected).await?;
                let fingerprint = client.compare(expected).await?;
                Ok((client, fingerprint))
            };
            let _ = done.send(connect.await.map_err(|error: amicus::Error| error.into()));
        });
        let (client, fingerprint) = crate::wait::result_of(py, &mut connected, || Ok(()))?;
        let (worker, fingerprint) = (Mutex::new(Some(worker)), fingerprint.to_string());
        Ok(Client { client, worker, model, cluster: name, fingerprint })
    }

    /// The model's public part.
    fn plan(&self) -> Plan {
        Plan::from(Arc::clone(self.client.plan()))
    }

    /// Begins an inference of so many images, one after the other in `numbers`. Numbers that the
    /// network does not take are refused before anything is sent.
    fn submit(
        &self,
        numbers: PyReadonlyArray1<'_, f32>,
        batch: usize,
        gate: Option<&Gate>,
    ) -> PyResult<Pending> {
        let numbers = Zeroizing::new(numbers.as_slice()?.to_vec());
        let each = (numbers.len() / batch.max(1)).max(1);
        for image in numbers.chunks(each) {
            quantize_input(self.client.plan(), image)
                .map_err(|error| Fault::from(amicus::Error::from(error)))?;
        }
        let (client, gate) = (self.client.clone(), gate.map(|gate| Arc::clone(&gate.0)));
        let worker = lock(&self.worker);
        let worker = worker.as_ref().ok_or_else(closed)?;
        Ok(worker.infer(async move {
            // Gates are never closed.
            let _turn = match gate {
                Some(gate) => gate.acquire_owned().await.ok(),
                None => None,
            };
            let images: Vec<&[f32]> = numbers.chunks(each).collect();
            client.infer_batch(&images).await.map_err(Fault::from)
        }))
    }

    /// Compares again, after the model was loaded anew.
    fn compare(&self, py: Python<'_>, fingerprint: Option<String>) -> PyResult<String> {
        let expected = match fingerprint {
            Some(text) => Expected::Model(text.parse::<ModelFingerprint>().map_err(Fault::from)?),
            None => Expected::Any,
        };
        let client = self.client.clone();
        let (done, mut compared) = mpsc::channel();
        lock(&self.worker).as_ref().ok_or_else(closed)?.begin(async move {
            let _ = done.send(client.compare(expected).await.map_err(Fault::from));
        });
        Ok(crate::wait::result_of(py, &mut compared, || Ok(()))?.to_string())
    }

    /// Ends the client; nodes are told which answers are here.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let Some(mut worker) = lock(&self.worker).take() else { return Ok(()) };
        let client = self.client.clone();
        aside(py, move || {
            worker.end(async move { client.farewell().await });
            Ok(())
        })
    }
}

fn closed() -> Fault {
    let next = "connect again";
    Fault::yours(crate::fault::Class::Configuration, "the client is closed", "the client", next)
}
