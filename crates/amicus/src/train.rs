//! `amicus train`: training on the user's own copy of a data set.

use crate::demo::shipped_digits;
use amicus_train::data::{idx, mnist};
use amicus_train::{Progress, TrainConfig, TrainError, TrainReport};
use std::path::PathBuf;

/// What to train.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// Data set, `mnist`.
    pub dataset: String,
    /// Network, `lenet5`.
    pub model: String,
    /// Folder with the data set's files.
    pub data_dir: PathBuf,
    /// Where the weights go.
    pub out: PathBuf,
    /// Passes over the data; the default of the network if none.
    pub epochs: Option<usize>,
    /// Source of every random choice.
    pub seed: u64,
}

/// Trains, writes the weights, and reports what was measured. The digits that ship are kept out of training.
///
/// # Errors
/// Unknown names, data that cannot be read, a loss that is not a number, or a program built without the feature
/// `train`.
pub fn train(options: &TrainOptions, progress: &mut dyn FnMut(Progress)) -> Result<TrainReport, TrainError> {
    let (dataset, model) = (options.dataset.parse()?, options.model.parse()?);
    let mut config = TrainConfig::new(dataset, model, options.data_dir.clone(), options.out.clone());
    config.epochs = options.epochs.unwrap_or(config.epochs);
    config.seed = options.seed;
    config.command = format!(
        "amicus train --dataset {} --model {} --data-dir DIR --epochs {} --seed {}",
        options.dataset, options.model, config.epochs, config.seed
    );
    let [images, labels] = shipped_digits();
    config.excluded = Some(idx::parse(images, labels, mnist::CLASSES)?);
    amicus_train::train(&config, progress)
}
