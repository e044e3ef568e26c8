//! Training of networks with polynomial activations.
//!
//! What this is: the one place where weights come from. It reads a labelled image set, trains a network whose
//! activations are polynomials on a fixed interval from the first step, measures how far held-out activations
//! leave that interval, and writes one safetensors file. Nothing here runs during private inference; the file is
//! what the model owner loads, and crate `amicus-model` turns it into a plan.
//!
//! The data's way: [`data`] (IDX files, split, augmentation) -> `engine` (model and loop, feature `burn`) ->
//! [`range`] (did the activations stay inside?) -> [`export`] (safetensors) -> [`TrainReport`].
//!
//! Feature `burn` adds the training itself. It is off by default: burn takes many minutes to compile. Without it
//! everything else is there, and [`train`] answers [`TrainError::BuiltWithoutTraining`].
#![forbid(unsafe_code)]

mod config;
pub mod data;
#[cfg(feature = "burn")]
mod engine;
mod error;
pub mod export;
pub mod range;
mod report;
// Without the training loop only tests draw numbers.
#[cfg_attr(not(feature = "burn"), allow(dead_code))]
mod rng;
pub mod schedule;

#[cfg(all(test, feature = "burn"))]
#[path = "../tests/common/naive.rs"]
#[allow(dead_code, clippy::unwrap_used)]
mod naive;

pub use config::{DatasetName, ModelName, TrainConfig};
pub use error::TrainError;
pub use report::{Accuracy, Progress, TrainReport};

/// Trains the configured model, writes its weights to `config.out` and returns what was measured.
///
/// `progress` is called from the calling thread: once after loading, after every step and after every epoch.
/// The same configuration, program and data give the same weights on the same kind of processor: every random choice
/// is drawn from `config.seed`. (burn's matrix kernels differ between processors in the last bits.)
///
/// # Errors
///
/// [`TrainError`], which names the file, the setting or the step. Nothing is written unless training succeeded; an
/// existing file at `config.out` stays as it was until then.
pub fn train(config: &TrainConfig, progress: &mut dyn FnMut(Progress)) -> Result<TrainReport, TrainError> {
    config.validate()?;
    #[cfg(feature = "burn")]
    {
        match (config.dataset, config.model) {
            (DatasetName::Mnist, ModelName::LeNet5) => engine::train(config, progress),
        }
    }
    #[cfg(not(feature = "burn"))]
    {
        let _ = progress;
        Err(TrainError::BuiltWithoutTraining)
    }
}

#[cfg(all(test, not(feature = "burn")))]
mod tests {
    use super::*;

    #[test]
    fn without_the_feature_settings_are_checked_and_the_rest_says_how_to_get_it() {
        let mut config = TrainConfig::new(DatasetName::Mnist, ModelName::LeNet5, "data".into(), "out".into());
        let error = train(&config, &mut |_| ()).unwrap_err();
        assert!(error.to_string().contains("feature `burn`"), "{error}");
        config.epochs = 0;
        assert!(matches!(train(&config, &mut |_| ()), Err(TrainError::Config { name: "epochs", .. })));
    }
}
