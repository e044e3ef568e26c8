//! An inference on its way.

use crate::fault::Fault;
use crate::wait::result_of;
use amicus::Answer;
use numpy::PyArray1;
use pyo3::prelude::*;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Answers to the images of one inference, or why there are none.
pub(crate) type Outcome = Result<Vec<Answer>, Fault>;

/// Outputs of all images, one after the other, and whether hidden values of each were outside.
type Told<'py> = (Bound<'py, PyArray1<f64>>, Vec<Option<bool>>);

/// Locks what no panic leaves half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whom to tell that an outcome is there.
#[derive(Default)]
enum Notify {
    #[default]
    Nobody,
    Function(Py<PyAny>, Sender<Py<PyAny>>),
    Done,
}

/// Where an outcome is put.
pub(crate) struct Promise {
    outcome: Sender<Outcome>,
    notify: Arc<Mutex<Notify>>,
}

impl Promise {
    /// Puts it there.
    pub(crate) fn keep(self, outcome: Outcome) {
        // Nobody waits any more where it was given up.
        let _ = self.outcome.send(outcome);
        let notify = std::mem::replace(&mut *lock(&self.notify), Notify::Done);
        if let Notify::Function(function, caller) = notify {
            let _ = caller.send(function);
        }
    }
}

/// An inference on its way. When it is dropped, it is given up.
#[pyclass(frozen, module = "amicus._native")]
pub(crate) struct Pending {
    outcome: Mutex<Option<Receiver<Outcome>>>,
    notify: Arc<Mutex<Notify>>,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    /// The thread that calls functions.
    caller: Sender<Py<PyAny>>,
}

impl Pending {
    /// An outcome that somebody promises, and what `stop` is told when nobody wants it any more.
    pub(crate) fn new(caller: Sender<Py<PyAny>>) -> (Self, Promise, oneshot::Receiver<()>) {
        let (outcome, receiver) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let notify = Arc::new(Mutex::new(Notify::Nobody));
        let promise = Promise { outcome, notify: Arc::clone(&notify) };
        let (outcome, stop) = (Mutex::new(Some(receiver)), Mutex::new(Some(stop)));
        (Pending { outcome, notify, stop, caller }, promise, stopped)
    }
}

#[pymethods]
impl Pending {
    /// Waits for the outputs, all images' one after the other, and for whether hidden values of each
    /// left what the plan was made for, where it looks.
    fn result<'py>(&self, py: Python<'py>) -> PyResult<Told<'py>> {
        let mut receiver = lock(&self.outcome).take().ok_or_else(Fault::lost)?;
        let answers = result_of(py, &mut receiver, || Ok(()))?;
        let all: Vec<f64> = answers.iter().flat_map(|answer| answer.logits().iter().copied()).collect();
        Ok((PyArray1::from_vec(py, all), answers.iter().map(Answer::outside).collect()))
    }

    /// Has a function called, on a thread of this package, when the outcome is there.
    fn notify(&self, function: Py<PyAny>) {
        let mut notify = lock(&self.notify);
        match &*notify {
            Notify::Done => drop(self.caller.send(function)),
            _ => *notify = Notify::Function(function, self.caller.clone()),
        }
    }

    /// Gives it up.
    fn cancel(&self) {
        lock(&self.stop).take();
    }
}
