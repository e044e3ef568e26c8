//! A network's numbers by name, in plain memory.
//!
//! burn sees them only for the forward and backward pass; everything else that is done to weights
//! (first values, reading a teacher, equalising, projecting, rounding, optimiser steps,
//! checkpoints, export) works on these arrays.

use std::collections::BTreeMap;
use std::path::Path;

use amicus_model::networks::WeightFile;

use crate::architecture::{Architecture, BN_EPS, Role};
use crate::export::{NamedTensor, key};
use crate::rng::{Rng, stream};
use crate::{ActivationName, TrainConfig, TrainError};

/// Polynomials on one interval, p(t / B), one for each activation in order of use.
#[derive(Clone, Debug, PartialEq)]
pub struct Polynomials {
    /// B.
    pub interval: f64,
    /// a_0 .. a_d of p(u), u = t / B, for each activation.
    pub coefficients: Vec<Vec<f64>>,
}

/// All tensors of one network, in alphabetical order of their names.
#[derive(Clone, PartialEq)]
pub struct Weights(BTreeMap<String, NamedTensor>);

/// Names only: weights by the million help nobody.
impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Weights").field(&self.0.keys().collect::<Vec<_>>()).finish()
    }
}

impl Weights {
    /// Fresh ones: weights and biases uniform in +-1 / sqrt(fan in), gamma as given, beta 0,
    /// statistics 0 and 1.
    pub fn fresh(architecture: &Architecture, gamma: f32, seed: u64) -> Self {
        let mut rng = Rng::new(seed, stream::INIT);
        let tensor = |parameter: crate::architecture::Parameter| {
            let count = parameter.shape.iter().product();
            let values = match parameter.role {
                Role::Weight { fan_in } | Role::Bias { fan_in } => {
                    let bound = 1.0 / (fan_in as f32).sqrt();
                    (0..count).map(|_| rng.symmetric() * bound).collect()
                }
                Role::Gamma => vec![gamma; count],
                Role::Beta | Role::Mean => vec![0.0; count],
                Role::Variance => vec![1.0; count],
            };
            NamedTensor { name: parameter.name, shape: parameter.shape, values }
        };
        Self::from_tensors(architecture.parameters().into_iter().map(tensor))
    }

    /// Takes tensors as they are.
    pub fn from_tensors(tensors: impl IntoIterator<Item = NamedTensor>) -> Self {
        Self(tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect())
    }

    /// The tensors of a safetensors file.
    ///
    /// # Errors
    ///
    /// [`TrainError::Model`] naming a tensor that is missing, of another shape, or holds a value
    /// that is not finite.
    pub fn of_file(file: &WeightFile<'_>, architecture: &Architecture) -> Result<Self, TrainError> {
        let mut tensors = Vec::new();
        for parameter in architecture.parameters() {
            let values = file.tensor(&parameter.name, &parameter.shape)?;
            tensors.push(NamedTensor { name: parameter.name, shape: parameter.shape, values });
        }
        Ok(Self::from_tensors(tensors))
    }

    /// All tensors.
    pub fn iter(&self) -> impl Iterator<Item = &NamedTensor> {
        self.0.values()
    }

    /// One tensor; panics when the network has none of that name.
    pub fn get(&self, name: &str) -> &NamedTensor {
        &self.0[name]
    }

    /// One tensor, if there is one of that name.
    pub fn find(&self, name: &str) -> Option<&NamedTensor> {
        self.0.get(name)
    }

    /// Calls `change` with a tensor's values; nothing when the network has none of that name.
    pub fn change(&mut self, name: &str, change: impl FnOnce(&mut Vec<f32>)) {
        if let Some(tensor) = self.0.get_mut(name) {
            change(&mut tensor.values);
        }
    }

    /// Adds or replaces a tensor.
    pub fn insert(&mut self, tensor: NamedTensor) {
        self.0.insert(tensor.name.clone(), tensor);
    }

    /// The first tensor with a value that is not finite.
    pub fn not_finite(&self) -> Option<&str> {
        self.0.values().find(|t| t.values.iter().any(|x| !x.is_finite())).map(|t| t.name.as_str())
    }
}

/// The ReLU teacher of a file, for the student of a configuration.
///
/// # Errors
///
/// [`TrainError::Io`], [`TrainError::Teacher`] and [`TrainError::Model`], naming the file and what
/// is wrong with it.
pub fn read_teacher(path: &Path, bytes: &[u8], student: &TrainConfig) -> Result<Weights, TrainError> {
    let wrong = |problem: String| TrainError::Teacher { path: path.into(), problem };
    let unreadable = |error: amicus_model::ModelError| wrong(error.to_string());
    let file = WeightFile::parse(bytes).map_err(unreadable)?;
    let found = file.metadata(key::ARCHITECTURE).map_err(unreadable)?;
    if found != student.model.as_str() {
        return Err(wrong(format!("a {found}, the student is a {}", student.model)));
    }
    if let Some(width) = file.find_metadata(key::WIDTH).filter(|width| *width != student.width.to_string()) {
        return Err(wrong(format!(
            "of width {width}, the student has {}; give --width {width}",
            student.width
        )));
    }
    if file.find_metadata(key::ACTIVATION) != Some(ActivationName::Relu.as_str()) {
        return Err(wrong("its activations are polynomials; train one with --activation relu".into()));
    }
    if file.find_metadata(key::POOL).is_some_and(|pool| pool != "average") {
        return Err(wrong(
            "its pools are maxima; students here take means (amicus-train distills it)".into(),
        ));
    }
    let eps = file.number(key::BN_EPS).map_err(unreadable)?;
    if eps != BN_EPS {
        return Err(wrong(format!("BatchNorm's epsilon is {eps}, expected {BN_EPS}")));
    }
    Weights::of_file(&file, &student.architecture()).map_err(|error| match error {
        TrainError::Model(error) => unreadable(error),
        error => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DatasetName, ModelName};

    #[test]
    fn fresh_weights_depend_on_the_seed_and_have_every_tensor() {
        let architecture = Architecture::of(ModelName::ResNet8);
        let weights = Weights::fresh(&architecture, 0.5, 1);
        assert_eq!(weights, Weights::fresh(&architecture, 0.5, 1));
        assert_ne!(weights, Weights::fresh(&architecture, 0.5, 2));
        assert_eq!(weights.iter().count(), architecture.parameters().len());
        let kernel = &weights.get("s2.shortcut.weight").values;
        let bound = 1.0 / 16f32.sqrt();
        assert!(kernel.iter().all(|x| x.abs() <= bound) && kernel.iter().any(|x| x.abs() > 0.9 * bound));
        assert!(weights.get("s1.bn2.weight").values.iter().all(|&x| x == 0.5));
        assert_eq!(weights.not_finite(), None);
    }

    #[test]
    fn a_teacher_with_max_pools_is_refused() {
        let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/assets");
        let read = |name: &str| {
            let path = assets.join(name);
            let student =
                TrainConfig::new(DatasetName::Mnist, ModelName::LeNet5, "mnist".into(), "out".into());
            read_teacher(&path, &std::fs::read(&path).unwrap(), &student)
        };
        assert!(read("lenet5-mnist-teacher.safetensors").is_ok());
        let error = read("lenet5-mnist-relu.safetensors").unwrap_err().to_string();
        assert!(error.contains("its pools are maxima"), "{error}");
    }

    #[test]
    fn the_first_tensor_that_is_not_finite_is_named() {
        let mut weights = Weights::fresh(&Architecture::of(ModelName::LeNet5), 1.0, 1);
        weights.change("fc2.weight", |values| values[7] = f32::NAN);
        assert_eq!(weights.not_finite(), Some("fc2.weight"));
    }
}
