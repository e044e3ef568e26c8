//! What to train, on what and how.

use std::path::PathBuf;
use std::str::FromStr;

use crate::TrainError;
use crate::data::Images;

/// A labelled image set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatasetName {
    /// MNIST: 28 x 28 grey digits, ten classes.
    Mnist,
}

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelName {
    /// LeNet-5 for 28 x 28 grey images, ten classes, BatchNorm before every activation.
    LeNet5,
}

impl DatasetName {
    /// The name used on the command line and in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mnist => "mnist",
        }
    }
}

impl ModelName {
    /// The name used on the command line and in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LeNet5 => "lenet5",
        }
    }
}

impl FromStr for DatasetName {
    type Err = TrainError;

    fn from_str(name: &str) -> Result<Self, TrainError> {
        match name {
            "mnist" => Ok(Self::Mnist),
            _ => Err(TrainError::Config {
                name: "dataset",
                problem: format!("unknown `{name}`, known: mnist"),
            }),
        }
    }
}

impl FromStr for ModelName {
    type Err = TrainError;

    fn from_str(name: &str) -> Result<Self, TrainError> {
        match name {
            "lenet5" => Ok(Self::LeNet5),
            _ => {
                Err(TrainError::Config { name: "model", problem: format!("unknown `{name}`, known: lenet5") })
            }
        }
    }
}

/// Everything a training run depends on besides the data's bytes.
#[derive(Clone, Debug)]
pub struct TrainConfig {
    /// What to train on.
    pub dataset: DatasetName,
    /// What to train.
    pub model: ModelName,
    /// Folder with the data set's files.
    pub data_dir: PathBuf,
    /// Where the weights go (safetensors); replaced in one step at the end.
    pub out: PathBuf,
    /// Images that must not be trained on, found in the training set by their pixels; every one must be there.
    pub excluded: Option<Images>,
    /// Passes over the training images, at least 1.
    pub epochs: usize,
    /// Source of every random choice.
    pub seed: u64,
    /// Images in a step, at least 2 (BatchNorm needs a variance).
    pub batch_size: usize,
    /// Training images held out for validation.
    pub validation: usize,
    /// Use only the first so many training images after shuffling (for tests and quick looks); `None`: all.
    pub limit: Option<usize>,
    /// Highest learning rate of the one-cycle schedule.
    pub learning_rate: f64,
    /// AdamW's decoupled weight decay.
    pub weight_decay: f32,
    /// Each parameter's gradient is clipped to this Euclidean norm.
    pub clip_norm: f32,
    /// B: activations are p(t / B), meant for t in [-B, B].
    pub interval: f64,
    /// Degree of p, 2 to 8.
    pub degree: usize,
    /// Standard deviation of t that p is fitted for.
    pub fit_sigma: f64,
    /// BatchNorm's gamma at the start; the standard deviation of t in the first step.
    pub gamma_start: f64,
    /// Weight in the loss of `max(0, |t| / B - margin)^2`, averaged over the images, summed over the activations.
    pub escape_penalty: f32,
    /// |t| / B from which the penalty acts.
    pub escape_margin: f32,
    /// Augmentation: largest shift in pixels, each direction.
    pub max_shift: f32,
    /// Augmentation: largest rotation in degrees, each way.
    pub max_rotation: f32,
    /// The command that was given, for the file's metadata; empty: none.
    pub command: String,
}

impl TrainConfig {
    /// The settings the shipped weights were trained with; `data_dir` and `out` are the caller's.
    pub fn new(dataset: DatasetName, model: ModelName, data_dir: PathBuf, out: PathBuf) -> Self {
        Self {
            dataset,
            model,
            data_dir,
            out,
            excluded: None,
            epochs: 20,
            seed: 1,
            batch_size: 128,
            validation: 5000,
            limit: None,
            learning_rate: 0.01,
            weight_decay: 0.01,
            clip_norm: 1.0,
            interval: 3.0,
            degree: 6,
            fit_sigma: 0.8,
            gamma_start: 0.45,
            escape_penalty: 1.0,
            escape_margin: 0.75,
            max_shift: 2.0,
            max_rotation: 10.0,
            command: String::new(),
        }
    }

    /// Refuses settings outside their ranges, naming the first one.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`].
    pub fn validate(&self) -> Result<(), TrainError> {
        fn demand(ok: bool, name: &'static str, problem: String) -> Result<(), TrainError> {
            if ok { Ok(()) } else { Err(TrainError::Config { name, problem }) }
        }
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let not_negative = |x: f32| x.is_finite() && x >= 0.0;
        demand(self.epochs >= 1, "epochs", "0, at least 1 is needed".into())?;
        demand(self.batch_size >= 2, "batch-size", format!("{}, at least 2 are needed", self.batch_size))?;
        demand(self.validation >= 1, "validation", "0, at least 1 image is needed".into())?;
        for (name, value) in [
            ("learning-rate", self.learning_rate),
            ("clip-norm", f64::from(self.clip_norm)),
            ("interval", self.interval),
            ("fit-sigma", self.fit_sigma),
            ("gamma-start", self.gamma_start),
        ] {
            demand(positive(value), name, format!("{value}, must be above 0 and finite"))?;
        }
        for (name, value) in [
            ("weight-decay", self.weight_decay),
            ("escape-penalty", self.escape_penalty),
            ("escape-margin", self.escape_margin),
            ("max-shift", self.max_shift),
            ("max-rotation", self.max_rotation),
        ] {
            demand(not_negative(value), name, format!("{value}, must be 0 or more and finite"))?;
        }
        demand((2..=8).contains(&self.degree), "degree", format!("{}, allowed are 2 to 8", self.degree))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TrainConfig {
        TrainConfig::new(DatasetName::Mnist, ModelName::LeNet5, "data".into(), "out".into())
    }

    #[test]
    fn defaults_are_valid() {
        config().validate().unwrap();
    }

    #[test]
    fn each_bad_setting_is_named() {
        let bad = |change: fn(&mut TrainConfig)| {
            let mut c = config();
            change(&mut c);
            c.validate().unwrap_err().to_string()
        };
        assert!(bad(|c| c.epochs = 0).contains("epochs"));
        assert!(bad(|c| c.batch_size = 1).contains("batch-size"));
        assert!(bad(|c| c.validation = 0).contains("validation"));
        assert!(bad(|c| c.learning_rate = f64::NAN).contains("learning-rate"));
        assert!(bad(|c| c.interval = 0.0).contains("interval"));
        assert!(bad(|c| c.degree = 9).contains("degree"));
        assert!(bad(|c| c.max_shift = f32::INFINITY).contains("max-shift"));
        assert!(bad(|c| c.escape_penalty = -1.0).contains("escape-penalty"));
    }

    #[test]
    fn names_go_there_and_back() {
        assert_eq!("mnist".parse::<DatasetName>().unwrap().as_str(), "mnist");
        assert_eq!("lenet5".parse::<ModelName>().unwrap().as_str(), "lenet5");
        assert!("vgg".parse::<ModelName>().unwrap_err().to_string().contains("lenet5"));
    }
}
