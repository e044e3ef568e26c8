//! Training of networks with polynomial activations.
//!
//! What this is: the one place where weights come from. It reads a labelled image set, trains a
//! ReLU network (a teacher) or one whose activations are polynomials on a fixed interval (a
//! student, with or without a teacher), measures how far held-out activations leave that interval,
//! and writes one safetensors file. Nothing here runs during private inference; the file is what
//! the model owner loads, and crate `amicus-model` turns it into a plan. The PyTorch package
//! `python/amicus` does the same; files of one are read by the other.
//!
//! The data's way: [`data`] (files, split, augmentation) -> `engine` (passes and loop, feature
//! `burn`; network by [`architecture`], numbers in [`weights`]) -> [`range`] (did the activations
//! stay inside?) -> [`export`] (safetensors) -> [`TrainReport`]. After every epoch a [`checkpoint`]
//! and a row of the [`curve`].
//!
//! Feature `burn` adds the training itself. It is off by default: burn takes many minutes to
//! compile. Without it everything else is there, and [`train`] answers
//! [`TrainError::BuiltWithoutTraining`].
#![forbid(unsafe_code)]
// Without the training loop only tests use what it is made of.
#![cfg_attr(not(feature = "burn"), allow(dead_code))]

pub mod architecture;
pub mod checkpoint;
mod config;
pub mod curve;
pub mod data;
#[cfg(feature = "burn")]
mod engine;
pub mod equalise;
mod error;
pub mod export;
mod names;
mod optimiser;
#[cfg(feature = "plot")]
pub mod plot;
pub mod range;
mod report;
mod rng;
pub mod rounding;
pub mod schedule;
pub mod weights;

#[cfg(all(test, feature = "burn"))]
#[path = "../tests/common/naive.rs"]
#[allow(dead_code, clippy::unwrap_used)]
mod naive;

pub use config::TrainConfig;
pub use error::TrainError;
pub use names::{ActivationName, DatasetName, ModelName, WeightsType};
pub use optimiser::Rates;
pub use report::{Accuracy, Progress, TrainReport};

/// Trains the configured model, writes its weights to `config.out` and returns what was measured.
///
/// `progress` is called from the calling thread: once after loading, after every step and after
/// every epoch. Beside `out` there are, after every epoch, the learning curve (`OUT.csv`) and the
/// checkpoint (`OUT.checkpoint`), and in the end a picture of the curve (`OUT.svg`). The same
/// configuration, program and data give the same weights on the same kind of processor: every
/// random choice is drawn from `config.seed`. (burn's matrix kernels differ between processors in
/// the last bits.)
///
/// # Errors
///
/// [`TrainError`], which names the file, the setting or the step. An existing file at `config.out`
/// stays as it was until training succeeded.
pub fn train(config: &TrainConfig, progress: &mut dyn FnMut(Progress)) -> Result<TrainReport, TrainError> {
    config.validate()?;
    #[cfg(feature = "burn")]
    {
        engine::train(config, progress)
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
