//! From a network to a compiled model.

use crate::fault::{Class, Fault};
use crate::model::{Model, rates_here, shape, split};
use crate::report::Report;
use crate::wait::aside;
use amicus::compile::{ApproximateOptions, CompileOptions, ImportOptions, Options, imported};
use amicus::field::Limbs;
use amicus::model::approximate::{Activations, MaxPooling};
use amicus::model::onnx::{Import, OnnxError, import_bytes, import_file};
use amicus::model::reveal::Reveals;
use amicus::plan::Rates;
use amicus::rates;
use amicus::report::{Checked, Compiled};
use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A network: the bytes of an ONNX file and a name for messages, or its path.
#[derive(FromPyObject)]
pub(crate) enum Network {
    Bytes(String, Vec<u8>),
    File(PathBuf),
}

impl Network {
    fn name(&self) -> String {
        match self {
            Network::Bytes(name, _) => name.clone(),
            Network::File(path) => path.display().to_string(),
        }
    }

    fn import(&self, options: &ImportOptions) -> Result<Import, OnnxError> {
        match self {
            Network::Bytes(name, bytes) => import_bytes(name, bytes, None, options),
            Network::File(path) => import_file(path, options),
        }
    }
}

fn import_options(input_shape: Option<Vec<usize>>, output: Option<String>) -> ImportOptions {
    ImportOptions { input_shape, output, ..ImportOptions::default() }
}

/// Lists every node that cannot be compiled; whether there is none, too.
#[pyfunction]
pub(crate) fn check(
    py: Python<'_>,
    network: Network,
    input_shape: Option<Vec<usize>>,
    output: Option<String>,
) -> PyResult<(bool, Report)> {
    let options = import_options(input_shape, output);
    let found = aside(py, move || {
        let import = network.import(&options);
        Ok(Checked::of(&network.name(), import).map_err(amicus::Error::from)?)
    })?;
    Ok((found.ok, Report::new(&found, found.text())?))
}

/// How a network is compiled: the options of `amicus compile`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct How {
    input_shape: Option<Vec<usize>>,
    output: Option<String>,
    activations: String,
    maxpool: Option<String>,
    degree: Option<usize>,
    net: String,
    batch: usize,
    max_error: f64,
    max_total_error: Option<f64>,
    allow_miss: bool,
    limbs: Option<usize>,
    exact_truncation: bool,
    tails: bool,
    watch: bool,
    reveal: Option<String>,
    logit_bits: Option<u32>,
    public_model: bool,
}

impl How {
    fn options(self) -> PyResult<Options> {
        let wrong = |what: &str, found: &str, known: &str| {
            PyValueError::new_err(format!("{what}: {found:?}, known are {known}"))
        };
        let activations = match self.activations.as_str() {
            "exact" => Activations::Exact,
            "polynomial" if self.tails => {
                let what =
                    "tails: lines at the ends of polynomials take comparisons, which polynomial rules out";
                return Err(PyValueError::new_err(what));
            }
            "polynomial" => Activations::Polynomial,
            other => return Err(wrong("activations", other, "exact, polynomial")),
        };
        let max_pooling = match (self.maxpool.as_deref(), activations) {
            (Some("average"), _) => MaxPooling::Average,
            (None, Activations::Exact) => MaxPooling::Exact,
            (Some("refuse"), _) | (None, Activations::Polynomial) => MaxPooling::Refuse,
            (Some(other), _) => return Err(wrong("maxpool", other, "average, refuse")),
        };
        let limbs = match self.limbs {
            None => None,
            Some(n) => {
                let known = Limbs::ALL.into_iter().find(|limbs| limbs.count() == n);
                Some(known.ok_or_else(|| wrong("limbs", &n.to_string(), "1, 2, 3"))?)
            }
        };
        let positive = |what: &str, share: f64| match share > 0.0 && share <= 1.0 {
            true => Ok(share),
            false => Err(wrong(what, &share.to_string(), "shares above 0 and up to 1, such as 0.005")),
        };
        let reveal = match self.reveal.as_deref() {
            None => None,
            Some("logits") => Some(Reveals::Outputs),
            Some("top5") => Some(Reveals::Labels(5)),
            Some("label") => Some(Reveals::Labels(1)),
            Some(other) => return Err(wrong("reveal", other, "logits, top5, label")),
        };
        let max_error = positive("max_error", self.max_error)?;
        let max_total_error =
            self.max_total_error.map(|share| positive("max_total_error", share)).transpose()?;
        Ok(Options {
            import: import_options(self.input_shape, self.output),
            approximate: ApproximateOptions {
                max_error,
                degree: self.degree,
                margin: None,
                method: None,
                max_pooling,
                activations,
                tails: self.tails,
            },
            compile: CompileOptions {
                limbs,
                max_error,
                statistical: !self.exact_truncation,
                link: rates::link(&shape(&self.net)?),
                batch: self.batch,
                watch: self.watch,
                ..CompileOptions::default()
            },
            max_total_error,
            reveal,
            logit_bits: self.logit_bits,
            public_model: self.public_model,
        })
    }
}

/// Ends a compilation at its next step when whoever waits for it is gone.
struct GivenUp(Arc<AtomicBool>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Compiles a network, calibrated on so many images that lie one behind the other in `numbers`.
#[pyfunction]
pub(crate) fn compile(
    py: Python<'_>,
    network: Network,
    numbers: PyReadonlyArray1<'_, f32>,
    count: usize,
    labels: Option<Vec<usize>>,
    how: How,
) -> PyResult<(Model, Report)> {
    let images = split(&numbers, count)?;
    let allow_miss = how.allow_miss;
    let options = how.options()?;
    let over = Arc::new(AtomicBool::new(false));
    let _given_up = GivenUp(Arc::clone(&over));
    let compilation = aside(py, move || {
        let import = network.import(&options.import).map_err(amicus::Error::from)?;
        let images: Vec<Vec<f32>> = images.into_iter().map(|image| import.graph.arranged(image)).collect();
        let mut step = || {
            if over.load(Ordering::Relaxed) {
                // Ends this thread, whose result nobody wants, without a message.
                std::panic::resume_unwind(Box::new(()));
            }
        };
        let name = network.name();
        Ok(imported(import, Path::new(&name), &images, labels.as_deref(), &options, &mut step)?)
    })?;
    let rates = rates_here().map_or(Rates::STATED, |rates| rates.rates());
    let compiled = Compiled::of(&compilation, None, &rates).map_err(amicus::Error::from);
    let compiled = compiled.map_err(Fault::from)?;
    let report = Report::new(&compiled, compiled.text())?;
    let missed = compilation.file.quality.misses();
    if !missed.is_empty() && !allow_miss {
        let next =
            "calibrate with more images, allow a larger error, or take it all the same with allow_miss=True";
        return Err(Fault::yours(Class::Model, missed.join(", and "), "the compiled network", next).into());
    }
    Ok((Model { file: Arc::new(compilation.file) }, report))
}
