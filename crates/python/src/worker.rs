//! The threads of a client: one that moves its messages, one that tells Python.

use crate::pending::{Outcome, Pending};
use pyo3::prelude::*;
use std::pin::Pin;
use std::sync::mpsc::{self, Sender};
use std::task::Poll;
use std::thread::JoinHandle;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A runtime on a thread of its own: any number of jobs go on at a time.
pub(crate) struct Worker {
    jobs: Option<UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
    caller: Sender<Py<PyAny>>,
}

impl Worker {
    /// Starts it.
    pub(crate) fn start() -> PyResult<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (jobs, mut given) = unbounded_channel::<Job>();
        let thread = std::thread::Builder::new().name("amicus-client".into()).spawn(move || {
            runtime.block_on(async {
                while let Some(job) = given.recv().await {
                    tokio::spawn(job);
                }
            });
        })?;
        Ok(Worker { jobs: Some(jobs), thread: Some(thread), caller: caller()? })
    }

    /// Begins a job.
    pub(crate) fn begin(&self, job: impl Future<Output = ()> + Send + 'static) {
        if let Some(jobs) = &self.jobs {
            // The thread is there as long as this is.
            let _ = jobs.send(Box::pin(job));
        }
    }

    /// Begins an inference.
    pub(crate) fn infer(&self, inference: impl Future<Output = Outcome> + Send + 'static) -> Pending {
        let (pending, promise, mut stopped) = Pending::new(self.caller.clone());
        self.begin(async move {
            let mut inference = std::pin::pin!(inference);
            let outcome = std::future::poll_fn(|context| match inference.as_mut().poll(context) {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                Poll::Pending => Pin::new(&mut stopped).poll(context).map(|_| None),
            });
            if let Some(outcome) = outcome.await {
                promise.keep(outcome);
            }
        });
        pending
    }

    /// Ends when `last` is done.
    pub(crate) fn end(&mut self, last: impl Future<Output = ()> + Send + 'static) {
        let (done, ended) = mpsc::channel();
        self.begin(async move {
            last.await;
            drop(done);
        });
        // Nothing is sent: it ends when the job is over, or the thread is.
        let _: Result<(), _> = ended.recv();
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A thread that calls functions of Python, so that nobody else has to wait for its lock. It ends with
/// the last who can name functions.
pub(crate) fn caller() -> PyResult<Sender<Py<PyAny>>> {
    let (functions, named) = mpsc::channel::<Py<PyAny>>();
    std::thread::Builder::new().name("amicus-calls".into()).spawn(move || {
        for function in named {
            let called = Python::try_attach(|py| {
                if let Err(error) = function.call0(py) {
                    error.write_unraisable(py, None);
                }
            });
            // Python is at its end.
            if called.is_none() {
                return;
            }
        }
    })?;
    Ok(functions)
}
