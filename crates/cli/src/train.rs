//! `amicus train`: training on the user's own copy of a data set.

use crate::demo::shipped_digits;
use amicus_data::mnist;

pub use amicus_train::{
    ActivationName, DatasetName, ModelName, Progress, TrainConfig, TrainError, TrainReport, WeightsType,
};

/// Trains, writes the weights, and reports what was measured. The digits that ship are kept out of
/// training.
///
/// # Errors
/// Settings out of range, data or a teacher that cannot be read, a checkpoint of another run, a
/// loss that is not a number, or a program built without the feature `train`.
pub fn train(mut config: TrainConfig, progress: &mut dyn FnMut(Progress)) -> Result<TrainReport, TrainError> {
    if config.dataset == DatasetName::Mnist && config.excluded.is_none() {
        let [images, labels] = shipped_digits();
        config.excluded = Some(mnist::parse(images, labels)?);
    }
    amicus_train::train(&config, progress)
}
