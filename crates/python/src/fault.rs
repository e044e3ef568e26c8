//! Errors of the library as exceptions of `amicus.errors`, with their four parts.

use amicus::client::https::Problem;
use amicus::images::ImageError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Exceptions of `amicus.errors`.
#[derive(Clone, Copy)]
pub(crate) enum Class {
    Input,
    Model,
    Configuration,
    Cluster,
    Refused,
    Unreachable,
    Cheated,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Class::Input => "InputError",
            Class::Model => "ModelError",
            Class::Configuration => "ConfigurationError",
            Class::Cluster => "ClusterError",
            Class::Refused => "RefusedError",
            Class::Unreachable => "UnreachableError",
            Class::Cheated => "CheatedError",
        }
    }

    fn of(error: &amicus::Error) -> Self {
        use amicus::Error;
        match error {
            _ if error.is_rejection() => Class::Cheated,
            Error::Input(_) | Error::NoImages => Class::Input,
            Error::Model(_) | Error::Compiled(_) | Error::Onnx(_) | Error::Plan(_) => Class::Model,
            Error::File { .. }
            | Error::Deployment(_)
            | Error::Identity { .. }
            | Error::NoFingerprint { .. }
            | Error::OtherCell { .. } => Class::Configuration,
            Error::Api { .. } => Class::Refused,
            Error::Https { .. } => Class::Unreachable,
            _ => Class::Cluster,
        }
    }
}

/// What went wrong, until Python's lock is held and it can be raised.
pub(crate) enum Fault {
    /// An error of the library.
    Library(Box<amicus::Error>),
    /// Its parts.
    Parts(Class, Box<Problem>),
}

impl<E: Into<amicus::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Fault::Library(Box::new(error.into()))
    }
}

impl Fault {
    /// What the caller can put right.
    pub(crate) fn yours(class: Class, what: impl Into<String>, place: &str, next: &str) -> Self {
        let problem =
            Problem { what: what.into(), place: place.into(), whose: "yours".into(), next: next.into() };
        Fault::Parts(class, Box::new(problem))
    }

    /// A picture that cannot be read.
    pub(crate) fn of_picture(error: ImageError) -> Self {
        match error {
            ImageError::Numbers(error) => error.into(),
            error => {
                let next = "give a PNG or JPEG file of the network's size, or numbers";
                Fault::yours(Class::Input, error.to_string(), "the picture", next)
            }
        }
    }

    /// A thread that ended without a word.
    pub(crate) fn lost() -> Self {
        let problem = Problem {
            what: "a thread of this package ended before its work was done".into(),
            place: "this process".into(),
            whose: "this package's".into(),
            next: "please report it, with what was printed before".into(),
        };
        Fault::Parts(Class::Cluster, Box::new(problem))
    }
}

impl From<Fault> for PyErr {
    fn from(fault: Fault) -> Self {
        let (class, problem, status) = match fault {
            Fault::Library(error) => {
                let status = match &*error {
                    amicus::Error::Api { status, .. } => Some(*status),
                    _ => None,
                };
                (Class::of(&error), error.problem(), status)
            }
            Fault::Parts(class, problem) => (class, *problem, None),
        };
        Python::attach(|py| raised(py, class, &problem, status).unwrap_or_else(|error| error))
    }
}

fn raised(py: Python<'_>, class: Class, problem: &Problem, status: Option<u16>) -> PyResult<PyErr> {
    let class = py.import("amicus.errors")?.getattr(class.name())?;
    let arguments = (&problem.what, &problem.place, &problem.whose, &problem.next);
    let named = PyDict::new(py);
    if let Some(status) = status {
        named.set_item("status", status)?;
    }
    Ok(PyErr::from_value(class.call(arguments, Some(&named))?))
}
