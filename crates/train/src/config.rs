//! What to train, on what and how.

use std::path::PathBuf;

use amicus_data::Images;
use serde::{Deserialize, Serialize};

use crate::architecture::{Architecture, RESNET8_WIDTH};
use crate::optimiser::Rates;
use crate::{ActivationName, DatasetName, ModelName, TrainError, WeightsType};

/// Share of a run in which ReLU gives way to the polynomial, where nothing else is said.
const BLEND_SHARE: f64 = 0.3;

/// Everything a training run depends on besides the bytes of data and teacher.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrainConfig {
    /// What to train on.
    pub dataset: DatasetName,
    /// What to train.
    pub model: ModelName,
    /// Channels of ResNet-8's first stage; means nothing for the others.
    pub width: usize,
    /// ReLU for a teacher, polynomials for private inference.
    pub activation: ActivationName,
    /// Folder (for CIFAR-10 also an archive) with the data set's files.
    #[serde(skip)]
    pub data_dir: PathBuf,
    /// Where the weights go (safetensors); replaced in one step at the end. Learning curve and
    /// checkpoint go beside it.
    #[serde(skip)]
    pub out: PathBuf,
    /// The ReLU network to learn from, a file written by an earlier run.
    #[serde(skip)]
    pub teacher: Option<PathBuf>,
    /// Images that must not be trained on, found in the training set by their pixels; every one
    /// must be there.
    #[serde(skip)]
    pub excluded: Option<Images>,
    /// Go on from the checkpoint beside `out`.
    #[serde(skip)]
    pub resume: bool,
    /// The command that was given, for the file's metadata; empty: none.
    #[serde(skip)]
    pub command: String,
    /// Passes over the training images, at least 1.
    pub epochs: usize,
    /// Source of every random choice.
    pub seed: u64,
    /// Images in a step, at least 2 (BatchNorm needs a variance).
    pub batch_size: usize,
    /// Training images held out for validation.
    pub validation: usize,
    /// Use only the first so many training images after shuffling (for tests and quick looks);
    /// `None`: all.
    pub limit: Option<usize>,
    /// Highest rates of the one-cycle schedule, and decay.
    #[serde(flatten)]
    pub rates: Rates,
    /// Share of the run in which the rate goes up.
    pub warm_up: f64,
    /// All gradients together are clipped to this Euclidean norm.
    pub clip_norm: f64,
    /// Share of a label that is spread over all classes.
    pub label_smoothing: f64,
    /// Augmentation: largest shift in pixels, each direction.
    pub max_shift: f32,
    /// Augmentation: largest rotation in degrees, each way.
    pub max_rotation: f32,
    /// Augmentation: every image mirrored in every second epoch.
    pub mirror: bool,
    /// B: activations are p(t / B), meant for t in [-B, B].
    pub interval: f64,
    /// Degree of p, 2 to 8.
    pub degree: usize,
    /// k: BatchNorm keeps mean +- k standard deviations inside the interval, and p is fitted for
    /// deviation B / k.
    pub sigmas: f64,
    /// Students start from the teacher's weights, equalised to the interval.
    pub warm_start: bool,
    /// Epochs (with fractions) in which ReLU becomes the polynomial; `None`: 30% of the run; 0:
    /// polynomial at once.
    pub blend_epochs: Option<f64>,
    /// Weight of the teacher's answers, 0 to 1; the labels have the rest.
    pub distillation: f64,
    /// Temperature of both answers when they are compared.
    pub temperature: f64,
    /// Weight of the distance between the teacher's and the student's activations; 0: off.
    pub features: f64,
    /// Whether each layer learns its own coefficients.
    pub learned: bool,
    /// Whether gamma and beta are projected after every step.
    pub projection: bool,
    /// Weight in the loss of `max(0, |t| / B - margin)^2`, averaged over the images, summed over
    /// the activations.
    pub escape_penalty: f64,
    /// |t| / B from which the penalty acts.
    pub escape_margin: f64,
    /// Last epochs with rounding to fixed point in the forward pass; 0: none.
    pub fixed_epochs: usize,
    /// Arguments u = t / B are rounded to multiples of 2 to the minus this.
    pub argument_bits: u32,
    /// Weights with BatchNorm folded in are rounded to multiples of 2 to the minus this.
    pub weight_bits: u32,
    /// How matrices and kernels are stored.
    pub weights_type: WeightsType,
}

impl TrainConfig {
    /// The settings for training a network from scratch; `data_dir` and `out` are the caller's.
    /// Activations are polynomials until they are set to ReLU.
    pub fn new(dataset: DatasetName, model: ModelName, data_dir: PathBuf, out: PathBuf) -> Self {
        let digits = dataset == DatasetName::Mnist;
        let (epochs, matrix_rate, learning_rate, label_smoothing) = match model {
            ModelName::LeNet5 => (20, 0.05, 2e-3, 0.0),
            ModelName::AlexNetCifar => (10, 0.08, 2e-3, 0.1),
            ModelName::ResNet8 => (12, 0.0, 6e-3, 0.05),
        };
        Self {
            dataset,
            model,
            width: RESNET8_WIDTH,
            activation: ActivationName::Polynomial,
            data_dir,
            out,
            teacher: None,
            excluded: None,
            resume: false,
            command: String::new(),
            epochs,
            seed: 1,
            batch_size: if digits { 128 } else { 256 },
            validation: 2500,
            limit: None,
            rates: Rates { matrix_rate, learning_rate, weight_decay: 0.05 },
            warm_up: 0.2,
            clip_norm: 2.0,
            label_smoothing,
            max_shift: if digits { 2.0 } else { 4.0 },
            max_rotation: if digits { 10.0 } else { 0.0 },
            mirror: !digits,
            interval: 4.0,
            degree: 6,
            sigmas: 5.0,
            warm_start: true,
            blend_epochs: None,
            distillation: 0.9,
            temperature: 3.0,
            features: 0.5,
            learned: false,
            projection: true,
            escape_penalty: 1.0,
            escape_margin: 0.8,
            fixed_epochs: 0,
            argument_bits: 11,
            weight_bits: 14,
            weights_type: WeightsType::F32,
        }
    }

    /// Settings for a student of a ReLU network in the file `teacher`: fewer epochs and smaller
    /// steps.
    pub fn student(
        dataset: DatasetName,
        model: ModelName,
        data_dir: PathBuf,
        out: PathBuf,
        teacher: PathBuf,
    ) -> Self {
        let mut config = Self::new(dataset, model, data_dir, out);
        (config.epochs, config.rates.matrix_rate, config.rates.learning_rate) = match model {
            ModelName::LeNet5 => (10, 0.02, 1e-3),
            ModelName::AlexNetCifar => (4, 0.04, 1e-3),
            ModelName::ResNet8 => (8, 0.0, 3e-3),
        };
        config.label_smoothing = 0.0;
        config.teacher = Some(teacher);
        config
    }

    /// The network.
    pub fn architecture(&self) -> Architecture {
        Architecture::with_width(self.model, self.width)
    }

    /// Whether activations are polynomials.
    pub fn is_polynomial(&self) -> bool {
        self.activation == ActivationName::Polynomial
    }

    /// Epochs in which ReLU becomes the polynomial: none without a warm start.
    pub fn blending(&self) -> f64 {
        if self.is_polynomial() && self.teacher.is_some() && self.warm_start {
            self.blend_epochs.unwrap_or(BLEND_SHARE * self.epochs as f64)
        } else {
            0.0
        }
    }

    /// Refuses settings outside their ranges or that contradict each other, naming the first one.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`].
    pub fn validate(&self) -> Result<(), TrainError> {
        fn demand(ok: bool, name: &'static str, problem: String) -> Result<(), TrainError> {
            if ok { Ok(()) } else { Err(TrainError::Config { name, problem }) }
        }
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let not_negative = |x: f64| x.is_finite() && x >= 0.0;
        demand(self.epochs >= 1, "epochs", "0, at least 1 is needed".into())?;
        demand(self.batch_size >= 2, "batch-size", format!("{}, at least 2 are needed", self.batch_size))?;
        demand(self.validation >= 1, "validation", "0, at least 1 image is needed".into())?;
        for (name, value) in [
            ("learning-rate", self.rates.learning_rate),
            ("clip-norm", self.clip_norm),
            ("interval", self.interval),
            ("sigmas", self.sigmas),
            ("temperature", self.temperature),
        ] {
            demand(positive(value), name, format!("{value}, must be above 0 and finite"))?;
        }
        for (name, value) in [
            ("matrix-rate", self.rates.matrix_rate),
            ("weight-decay", self.rates.weight_decay),
            ("escape-penalty", self.escape_penalty),
            ("escape-margin", self.escape_margin),
            ("max-shift", f64::from(self.max_shift)),
            ("max-rotation", f64::from(self.max_rotation)),
            ("features", self.features),
            ("blend-epochs", self.blend_epochs.unwrap_or(0.0)),
        ] {
            demand(not_negative(value), name, format!("{value}, must be 0 or more and finite"))?;
        }
        for (name, value) in [
            ("warm-up", self.warm_up),
            ("distillation", self.distillation),
            ("label-smoothing", self.label_smoothing),
        ] {
            demand((0.0..=1.0).contains(&value), name, format!("{value}, must be between 0 and 1"))?;
        }
        for (name, bits) in [("argument-bits", self.argument_bits), ("weight-bits", self.weight_bits)] {
            demand((4..=24).contains(&bits), name, format!("{bits}, allowed are 4 to 24"))?;
        }
        demand((2..=8).contains(&self.degree), "degree", format!("{}, allowed are 2 to 8", self.degree))?;
        let fits = self.fixed_epochs <= self.epochs;
        demand(fits, "fixed-epochs", format!("{}, the run has {}", self.fixed_epochs, self.epochs))?;
        if let Some(blend) = self.blend_epochs {
            let fits = blend <= self.epochs as f64;
            demand(fits, "blend-epochs", format!("{blend}, the run has {}", self.epochs))?;
        }
        let polynomial = self.is_polynomial();
        let only = "only for polynomial students, not with --activation relu".to_owned();
        demand(polynomial || self.teacher.is_none(), "teacher", only.clone())?;
        demand(polynomial || self.fixed_epochs == 0, "fixed-epochs", only.clone())?;
        demand(polynomial || !self.learned, "learned", only)?;
        let width = self.width;
        demand((1..=512).contains(&width), "width", format!("{width}, allowed are 1 to 512"))?;
        let fits = self.model == ModelName::ResNet8 || width == RESNET8_WIDTH;
        demand(fits, "width", format!("{width}, only resnet8 has one, not {}", self.model))?;
        let (given, taken) = (self.dataset.image_shape(), self.architecture().input);
        let problem = format!("{} takes images of {taken:?}, {} has {given:?}", self.model, self.dataset);
        demand(given == taken, "model", problem)
    }
}

impl DatasetName {
    /// Channels, rows and columns of its images.
    pub fn image_shape(self) -> [usize; 3] {
        match self {
            Self::Mnist => [1, 28, 28],
            Self::Cifar10 => [3, 32, 32],
        }
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
        for model in [ModelName::AlexNetCifar, ModelName::ResNet8] {
            TrainConfig::new(DatasetName::Cifar10, model, "data".into(), "out".into()).validate().unwrap();
        }
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
        assert!(bad(|c| c.rates.learning_rate = f64::NAN).contains("learning-rate"));
        assert!(bad(|c| c.interval = 0.0).contains("interval"));
        assert!(bad(|c| c.degree = 9).contains("degree"));
        assert!(bad(|c| c.max_shift = f32::INFINITY).contains("max-shift"));
        assert!(bad(|c| c.escape_penalty = -1.0).contains("escape-penalty"));
        assert!(bad(|c| c.distillation = 1.5).contains("distillation"));
        assert!(bad(|c| c.weight_bits = 60).contains("weight-bits"));
        assert!(bad(|c| c.blend_epochs = Some(20.5)).contains("blend-epochs"));
        assert!(bad(|c| c.fixed_epochs = 21).contains("fixed-epochs"));
        assert!(bad(|c| c.width = 8).contains("only resnet8"));
        assert!(bad(|c| c.model = ModelName::ResNet8).contains("mnist has [1, 28, 28]"));
        let relu = bad(|c| (c.activation, c.teacher) = (ActivationName::Relu, Some("t".into())));
        assert!(relu.contains("teacher"), "{relu}");
    }

    #[test]
    fn only_warm_students_blend() {
        let mut c = config();
        assert_eq!(c.blending(), 0.0);
        c.teacher = Some("teacher".into());
        assert!((c.blending() - 6.0).abs() < 1e-12);
        c.blend_epochs = Some(1.5);
        assert_eq!(c.blending(), 1.5);
        c.warm_start = false;
        assert_eq!(c.blending(), 0.0);
    }

    #[test]
    fn a_stored_form_has_one_entry_a_setting_and_reads_back() {
        let stored = serde_json::to_value(config()).unwrap();
        for name in ["batch-size", "matrix-rate", "learning-rate", "escape-margin", "weights-type"] {
            assert!(stored.get(name).is_some(), "{name} is not in {stored}");
        }
        assert!(stored.get("out").is_none() && stored.get("data-dir").is_none());
        let back: TrainConfig = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(serde_json::to_value(back).unwrap(), stored);
    }
}
