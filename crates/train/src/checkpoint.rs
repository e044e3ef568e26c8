//! A run between two epochs, as one file: weights, optimiser, random generators, settings, learning
//! curve.
//!
//! The file is a safetensors file with tensors `weights/NAME`, `first/NAME` and `second/NAME` (the
//! optimiser's moments) and one metadata entry [`ENTRY`] with the rest as JSON. It is replaced in
//! one step after every epoch, so that a run that is killed at any time can go on from its last
//! whole epoch and gives what it would have given.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::architecture::Architecture;
use crate::curve::CurvePoint;
use crate::export::{self, NamedTensor};
use crate::optimiser::Optimiser;
use crate::weights::Weights;
use crate::{TrainConfig, TrainError, WeightsType};

/// Metadata entry that holds everything but tensors.
pub const ENTRY: &str = "amicus.checkpoint";
/// Ending of a checkpoint's name.
pub const ENDING: &str = ".checkpoint";
const VERSION: u32 = 1;

/// Everything a run needs to go on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Checkpoint {
    /// Epochs done.
    pub(crate) epochs: usize,
    pub(crate) weights: Weights,
    pub(crate) optimiser: Optimiser,
    /// Position of the generator of orders, and the last order it gave.
    pub(crate) orders: [u64; 4],
    pub(crate) order: Vec<usize>,
    /// Position of the generator of augmentation.
    pub(crate) moves: [u64; 4],
    pub(crate) curve: Vec<CurvePoint>,
}

/// The part that is no tensor.
#[derive(Serialize, Deserialize)]
struct State {
    version: u32,
    settings: Value,
    epochs: usize,
    steps: u32,
    orders: [u64; 4],
    order: Vec<usize>,
    moves: [u64; 4],
    curve: Vec<CurvePoint>,
}

/// The checkpoint beside the file a run is to write.
pub fn path_for(out: &Path) -> PathBuf {
    export::beside(out, ENDING)
}

/// What a run depends on: its settings, and fingerprints of data and teacher. Numbers are text,
/// which is compared exactly.
pub(crate) fn settings_of(
    config: &TrainConfig,
    data: u64,
    teacher: Option<u64>,
) -> Result<Value, TrainError> {
    let mut settings = serde_json::to_value(config).map_err(|error| TrainError::Export(error.to_string()))?;
    for value in settings.as_object_mut().into_iter().flat_map(|entries| entries.values_mut()) {
        if value.is_number() {
            *value = value.to_string().into();
        }
    }
    settings["data-dir"] = format!("data {data:016x}").into();
    settings["teacher"] = teacher.map(|hash| format!("file {hash:016x}")).into();
    Ok(settings)
}

impl Checkpoint {
    /// Replaces the file.
    ///
    /// # Errors
    ///
    /// [`TrainError::Io`] naming the file, [`TrainError::Export`] for weights that are not finite.
    pub(crate) fn write(&self, path: &Path, settings: &Value) -> Result<(), TrainError> {
        let state = State {
            version: VERSION,
            settings: settings.clone(),
            epochs: self.epochs,
            steps: self.optimiser.steps,
            orders: self.orders,
            order: self.order.clone(),
            moves: self.moves,
            curve: self.curve.clone(),
        };
        let state = serde_json::to_string(&state).map_err(|error| TrainError::Export(error.to_string()))?;
        let prefixed = |part: &str, name: &str, shape: Vec<usize>, values: &[f32]| NamedTensor {
            name: format!("{part}/{name}"),
            shape,
            values: values.to_vec(),
        };
        let mut tensors: Vec<NamedTensor> =
            self.weights.iter().map(|t| prefixed("weights", &t.name, t.shape.clone(), &t.values)).collect();
        for (part, moments) in [("first", &self.optimiser.first), ("second", &self.optimiser.second)] {
            tensors.extend(moments.iter().map(|(name, v)| prefixed(part, name, vec![v.len()], v)));
        }
        export::write(path, &tensors, &BTreeMap::from([(ENTRY.to_owned(), state)]), WeightsType::F32)
    }

    /// Reads a file and checks that it is of a run with these settings on this network.
    ///
    /// # Errors
    ///
    /// [`TrainError::NoCheckpoint`], [`TrainError::OtherSettings`] naming the first that differs,
    /// [`TrainError::Checkpoint`] for a file that is damaged or of another network.
    pub(crate) fn read(
        path: &Path,
        settings: &Value,
        architecture: &Architecture,
        images: usize,
    ) -> Result<Self, TrainError> {
        if !path.is_file() {
            return Err(TrainError::NoCheckpoint { path: path.into() });
        }
        let bytes = export::read(path)?;
        let wrong = |problem: String| TrainError::Checkpoint { path: path.into(), problem };
        let damaged = |error: safetensors::SafeTensorError| wrong(format!("damaged or cut off ({error})"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let file = SafeTensors::deserialize(&bytes).map_err(damaged)?;
        let entry = header.metadata().as_ref().and_then(|entries| entries.get(ENTRY));
        let entry = entry.ok_or_else(|| wrong(format!("no entry {ENTRY}: not a checkpoint")))?;
        let version: Value = serde_json::from_str(entry).map_err(|error| wrong(error.to_string()))?;
        if version["version"] != VERSION {
            return Err(wrong(format!("version {}, this program knows {VERSION}", version["version"])));
        }
        let state: State = serde_json::from_value(version).map_err(|error| wrong(error.to_string()))?;
        if let Some((name, now, stored)) = difference(settings, &state.settings) {
            return Err(TrainError::OtherSettings { path: path.into(), name, now, stored });
        }
        let mut parts: [BTreeMap<String, NamedTensor>; 3] = Default::default();
        for (name, view) in file.iter() {
            let Some((part, tensor)) = name.split_once('/') else { continue };
            let Some(index) = ["weights", "first", "second"].iter().position(|p| *p == part) else {
                continue;
            };
            if view.dtype() != Dtype::F32 {
                return Err(wrong(format!("tensor {name} is {:?}, expected F32", view.dtype())));
            }
            let values = view.data().as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
            let read = NamedTensor { name: tensor.to_owned(), shape: view.shape().to_vec(), values };
            parts[index].insert(tensor.to_owned(), read);
        }
        let [weights, first, second] = parts;
        let sizes: BTreeMap<String, usize> =
            weights.iter().map(|(name, tensor)| (name.clone(), tensor.values.len())).collect();
        for parameter in architecture.parameters() {
            if weights.get(&parameter.name).map(|tensor| &tensor.shape) != Some(&parameter.shape) {
                return Err(wrong(format!("no tensor {} of shape {:?}", parameter.name, parameter.shape)));
            }
        }
        for (name, moments) in first.iter().chain(&second) {
            if sizes.get(name) != Some(&moments.values.len()) {
                return Err(wrong(format!("moments of {name} do not fit it")));
            }
        }
        let mut seen = vec![false; images];
        let in_order =
            state.order.iter().all(|&i| seen.get_mut(i).is_some_and(|s| !std::mem::replace(s, true)));
        if state.order.len() != images || !in_order {
            return Err(wrong(format!("its order is not one of {images} images")));
        }
        let values = |part: BTreeMap<String, NamedTensor>| {
            part.into_iter().map(|(name, tensor)| (name, tensor.values)).collect()
        };
        Ok(Self {
            epochs: state.epochs,
            weights: Weights::from_tensors(weights.into_values()),
            optimiser: Optimiser { steps: state.steps, first: values(first), second: values(second) },
            orders: state.orders,
            order: state.order,
            moves: state.moves,
            curve: state.curve,
        })
    }
}

/// Entry points for fuzzing. No part of what this crate promises.
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz {
    use super::*;
    use crate::ModelName;

    /// Images of the run.
    const IMAGES: usize = 4;

    fn network() -> Architecture {
        Architecture::with_width(ModelName::ResNet8, 1)
    }

    /// Reads a checkpoint of the smallest residual network, as the run it says it is of. One that
    /// is accepted is written and read again.
    ///
    /// # Panics
    /// When what is written is read as something else.
    pub fn read(path: &Path) -> bool {
        let stored = || {
            let bytes = std::fs::read(path).ok()?;
            let (_, header) = SafeTensors::read_metadata(&bytes).ok()?;
            let entry: Value = serde_json::from_str(header.metadata().as_ref()?.get(ENTRY)?).ok()?;
            entry.get("settings").cloned()
        };
        let settings = stored().unwrap_or(Value::Null);
        let Ok(checkpoint) = Checkpoint::read(path, &settings, &network(), IMAGES) else { return false };
        if checkpoint.write(path, &settings).is_ok() {
            let again = Checkpoint::read(path, &settings, &network(), IMAGES);
            let again = again.expect("a checkpoint that was written");
            assert!(again.weights == checkpoint.weights && again.optimiser == checkpoint.optimiser);
            assert!(again.order == checkpoint.order && again.epochs == checkpoint.epochs);
        }
        true
    }

    /// Writes a checkpoint that [`read`] accepts.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn write(path: &Path) {
        let weights = Weights::fresh(&network(), 0.5, 7);
        let moments: BTreeMap<String, Vec<f32>> =
            weights.iter().map(|t| (t.name.clone(), vec![0.25; t.values.len()])).collect();
        let checkpoint = Checkpoint {
            epochs: 2,
            weights,
            optimiser: Optimiser { steps: 12, first: moments.clone(), second: moments },
            orders: [1, 2, 3, 4],
            order: vec![2, 0, 1, 3],
            moves: [5, 6, 7, 8],
            curve: Vec::new(),
        };
        checkpoint.write(path, &serde_json::json!({ "epochs": "3" })).expect("a file");
    }
}

/// The first setting in which two runs differ, with its value now and as stored.
fn difference(now: &Value, stored: &Value) -> Option<(String, String, String)> {
    let names =
        |value: &Value| value.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let mut all = names(now);
    all.extend(names(stored));
    all.sort();
    let first = all.into_iter().find(|name| now.get(name) != stored.get(name))?;
    let show = |value: &Value| match value.get(&first) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "none".to_owned(),
        Some(other) => other.to_string(),
    };
    Some((first.clone(), show(now), show(stored)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DatasetName, ModelName};

    fn config() -> TrainConfig {
        let mut config = TrainConfig::new(DatasetName::Mnist, ModelName::LeNet5, "data".into(), "out".into());
        config.rates.learning_rate = (0.1 + 0.2) / 100.0;
        config.interval = std::f64::consts::PI;
        config
    }

    fn sample() -> (Architecture, Checkpoint) {
        let architecture = Architecture::of(ModelName::LeNet5);
        let weights = Weights::fresh(&architecture, 0.5, 7);
        let moments = |scale: f32| {
            let of = |t: &NamedTensor| (t.name.clone(), t.values.iter().map(|v| v * scale).collect());
            weights.iter().map(of).collect()
        };
        let optimiser = Optimiser { steps: 12, first: moments(0.1), second: moments(0.01) };
        let point = CurvePoint {
            epoch: 3,
            loss: 0.1,
            validation_accuracy: 0.9,
            escape_rate: 1e-7,
            learning_rate: 2e-3,
            seconds: 1.5,
        };
        let checkpoint = Checkpoint {
            epochs: 3,
            weights,
            optimiser,
            orders: [u64::MAX, 1, 2, 3],
            order: vec![2, 0, 1, 3],
            moves: [4, 5, 6, u64::MAX - 1],
            curve: vec![point],
        };
        (architecture, checkpoint)
    }

    #[test]
    fn what_is_written_is_read_bit_by_bit() {
        let (files, (architecture, checkpoint)) = (tempfile::tempdir().unwrap(), sample());
        let (path, settings) =
            (path_for(&files.path().join("x.safetensors")), settings_of(&config(), 1, None).unwrap());
        assert!(path.ends_with("x.safetensors.checkpoint"));
        checkpoint.write(&path, &settings).unwrap();
        assert_eq!(Checkpoint::read(&path, &settings, &architecture, 4).unwrap(), checkpoint);
        assert_eq!(std::fs::read_dir(files.path()).unwrap().count(), 1, "a temporary file is left");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn the_first_setting_that_differs_is_named_with_both_values() {
        let (files, (architecture, checkpoint)) = (tempfile::tempdir().unwrap(), sample());
        let path = files.path().join("c");
        checkpoint.write(&path, &settings_of(&config(), 1, None).unwrap()).unwrap();
        let refuse = |change: fn(&mut TrainConfig), data, teacher| {
            let mut other = config();
            change(&mut other);
            let settings = settings_of(&other, data, teacher).unwrap();
            Checkpoint::read(&path, &settings, &architecture, 4).unwrap_err().to_string()
        };
        let message = refuse(|c| c.batch_size = 64, 1, None);
        assert!(message.contains("batch-size is 64") && message.contains("has 128"), "{message}");
        assert!(refuse(|c| c.rates.learning_rate = 1.0, 1, None).contains("learning-rate"));
        assert!(refuse(|_| (), 2, None).contains("data-dir"));
        assert!(refuse(|_| (), 1, Some(5)).contains("teacher"));
        // Where files lie is no setting, and numbers survive that have many digits.
        let mut moved = config();
        moved.out = "elsewhere".into();
        Checkpoint::read(&path, &settings_of(&moved, 1, None).unwrap(), &architecture, 4).unwrap();
    }

    #[test]
    fn damaged_and_foreign_files_are_refused_by_name() {
        let (files, (architecture, checkpoint)) = (tempfile::tempdir().unwrap(), sample());
        let (path, settings) = (files.path().join("c"), settings_of(&config(), 1, None).unwrap());
        let read = |images| Checkpoint::read(&path, &settings, &architecture, images);
        assert!(matches!(read(4), Err(TrainError::NoCheckpoint { .. })));
        checkpoint.write(&path, &settings).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for length in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let message = read(4).unwrap_err().to_string();
            assert!(message.contains("cut off") && message.contains("/c"), "{message}");
        }
        std::fs::write(&path, &bytes).unwrap();
        assert!(read(5).unwrap_err().to_string().contains("order"));
        let resnet = Architecture::of(ModelName::ResNet8);
        let other = Checkpoint::read(&path, &settings, &resnet, 4).unwrap_err().to_string();
        assert!(other.contains("no tensor conv1.weight"), "{other}");
        let weights = checkpoint.weights.iter().cloned().collect::<Vec<_>>();
        export::write(&path, &weights, &BTreeMap::new(), WeightsType::F32).unwrap();
        assert!(read(4).unwrap_err().to_string().contains("not a checkpoint"));
    }
}
