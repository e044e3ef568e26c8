//! A compiled model, and its public part.

use crate::fault::Fault;
use crate::report::Report;
use crate::wait::aside;
use amicus::field::{Kernel, LimbVec, OperatingSystem, Randomness};
use amicus::files::{Existing, read_plan, write_plan};
use amicus::images;
use amicus::model::compare::{Comparison, FixedPoint, Networks, compare};
use amicus::model::shown::shown;
use amicus::net::shaper::Shape;
use amicus::plan::quantize_input;
use amicus::rates::{self, MachineRates};
use amicus::report::{Estimated, comparison};
use amicus::{ModelFile, Plan as PublicPlan};
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::path::PathBuf;
use std::sync::Arc;

/// Outputs in fixed point, then in floating point, and what is said of both.
type Simulated<'py> = (Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<f64>>, Report);

/// Rates of this machine, if they were measured and can be read.
pub(crate) fn rates_here() -> Option<MachineRates> {
    Kernel::from_env().ok().and_then(|kernel| rates::load(kernel).ok().flatten())
}

/// A network between roles by its name.
pub(crate) fn shape(net: &str) -> PyResult<Shape> {
    net.parse().map_err(|error: amicus::net::shaper::ShapeError| PyValueError::new_err(error.to_string()))
}

fn existing(force: bool) -> Existing {
    if force { Existing::Replace } else { Existing::Keep }
}

/// A compiled model, which holds the weights.
#[pyclass(frozen, module = "amicus._native")]
pub(crate) struct Model {
    pub(crate) file: Arc<ModelFile>,
}

#[pymethods]
impl Model {
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let file = aside(py, move || Ok(ModelFile::load(&path)?))?;
        Ok(Model { file: Arc::new(file) })
    }

    fn save(&self, py: Python<'_>, path: PathBuf, force: bool) -> PyResult<()> {
        let file = Arc::clone(&self.file);
        aside(py, move || Ok(file.save(&path, existing(force))?))
    }

    #[getter]
    fn source(&self) -> String {
        self.file.about.source.clone()
    }

    /// Targets for the error that it misses on its calibration data.
    #[getter]
    fn missed_targets(&self) -> Vec<String> {
        self.file.quality.misses()
    }

    fn plan(&self) -> Plan {
        Plan::from(Arc::new(self.file.plan.clone()))
    }

    /// What everybody learns who sees the plan.
    fn shows(&self) -> Vec<String> {
        shown(&self.file.plan, &self.file.approximations, 0)
    }

    fn estimate(&self, parties: usize, batch: usize, net: &str) -> PyResult<Report> {
        let estimated = Estimated::of(&self.file, (parties, batch), &shape(net)?, rates_here().as_ref());
        let estimated = estimated.map_err(amicus::Error::from).map_err(Fault::from)?;
        Report::new(&estimated, estimated.text())
    }

    /// Runs so many images, one after the other in `numbers`, in floating point and in fixed point.
    fn simulate<'py>(
        &self,
        py: Python<'py>,
        numbers: PyReadonlyArray1<'py, f32>,
        count: usize,
        labels: Option<Vec<usize>>,
    ) -> PyResult<Simulated<'py>> {
        let images = split(&numbers, count)?;
        let file = Arc::clone(&self.file);
        let compared = aside(py, move || {
            let network = file.user_network();
            let images: Vec<Vec<f32>> = images.into_iter().map(|image| network.arranged(image)).collect();
            let polynomial = file.polynomial();
            let fixed = FixedPoint { plan: &file.plan, weights: &file.weights, factors: &file.factors };
            let networks = Networks { original: network, polynomial: &polynomial, fixed: Some(fixed) };
            Ok(compare(networks, &images, labels.as_deref(), &mut |_| ()).map_err(amicus::Error::from)?)
        })?;
        let Comparison { outputs, .. } = &compared;
        let [fixed, float] = [&outputs.fixed, &outputs.float].map(|all| PyArray1::from_vec(py, all.concat()));
        let text = comparison(&compared);
        Ok((fixed, float, Report::new(&compared, text)?))
    }
}

/// Images that lie one behind the other.
pub(crate) fn split(numbers: &PyReadonlyArray1<'_, f32>, count: usize) -> PyResult<Vec<Vec<f32>>> {
    let numbers = numbers.as_slice()?;
    let each = (numbers.len() / count.max(1)).max(1);
    Ok(numbers.chunks(each).map(<[f32]>::to_vec).collect())
}

/// The public part of a model: what all roles but the owner run from.
#[pyclass(frozen, module = "amicus._native")]
pub(crate) struct Plan {
    plan: Arc<PublicPlan>,
}

impl From<Arc<PublicPlan>> for Plan {
    fn from(plan: Arc<PublicPlan>) -> Self {
        Plan { plan }
    }
}

#[pymethods]
impl Plan {
    #[staticmethod]
    fn load(path: PathBuf) -> PyResult<Self> {
        Ok(Plan::from(Arc::new(read_plan(&path).map_err(Fault::from)?)))
    }

    fn save(&self, path: PathBuf, force: bool) -> PyResult<()> {
        Ok(write_plan(&path, &self.plan, existing(force)).map_err(Fault::from)?)
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.plan.encode().map_err(amicus::Error::from).map_err(Fault::from)?;
        Ok(PyBytes::new(py, &bytes))
    }

    #[getter]
    fn name(&self) -> String {
        self.plan.name.clone()
    }

    #[getter]
    fn digest(&self) -> PyResult<String> {
        let digest = self.plan.digest().map_err(amicus::Error::from).map_err(Fault::from)?;
        Ok(digest.to_string())
    }

    #[getter]
    fn input_shape(&self) -> Vec<usize> {
        self.plan.input.shape.clone()
    }

    #[getter]
    fn input_range(&self) -> (f64, f64) {
        (self.plan.input.range.low, self.plan.input.range.high)
    }

    #[getter]
    fn outputs(&self) -> PyResult<usize> {
        Ok(self.plan.outputs().map_err(amicus::Error::from).map_err(Fault::from)?)
    }

    /// Whether it looks for hidden values outside what it was made for.
    #[getter]
    fn watches(&self) -> bool {
        self.plan.output.watch > 0
    }

    /// How many of the largest outputs' labels an answer has, where it has no outputs.
    #[getter]
    fn labels(&self) -> Option<u32> {
        self.plan.output.reveal.as_ref().map(|reveal| reveal.labels)
    }

    /// What a node sees of numbers: their integers behind a mask, drawn anew, as shares of the first
    /// prime.
    fn masked<'py>(
        &self,
        py: Python<'py>,
        numbers: PyReadonlyArray1<'py, f32>,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let integers = quantize_input(&self.plan, numbers.as_slice()?).map_err(amicus::Error::from);
        let mut masked = LimbVec::from_i64(self.plan.limbs, &integers.map_err(Fault::from)?);
        let seed = OperatingSystem.seed().map_err(|error| PyOSError::new_err(error.to_string()))?;
        masked.sub_assign(&seed.stream().sample(0, self.plan.limbs, masked.len()));
        let prime = self.plan.limbs.primes()[0].value() as f64;
        Ok(PyArray1::from_vec(py, masked.plane(0).iter().map(|element| *element as f64 / prime).collect()))
    }

    /// The numbers of a picture's file as the network takes them.
    fn picture<'py>(&self, py: Python<'py>, path: PathBuf) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let read = images::read(std::slice::from_ref(&path), &self.plan, None).map_err(Fault::of_picture)?;
        let numbers: Vec<f32> = read.into_iter().flat_map(|image| image.numbers).collect();
        Ok(PyArray1::from_vec(py, numbers))
    }
}
