//! What can go wrong in training, whose fault it is and where.

use std::path::PathBuf;

/// Why training stopped. Every message names the file, the setting or the step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The data folder is missing or not a folder.
    #[error(
        "data folder {path} does not exist or is not a folder; give the folder with the data set's files"
    )]
    NoFolder {
        /// The folder asked for.
        path: PathBuf,
    },
    /// None of the names a file may have exists in the data folder.
    #[error("data folder {folder} has no file {name} (nor {name}.gz)")]
    NoFile {
        /// The folder searched.
        folder: PathBuf,
        /// The file's name without `.gz`.
        name: &'static str,
    },
    /// The operating system refused a file.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried, for example "read".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A data file's bytes are not what its format says.
    #[error("{file}: {problem}")]
    Format {
        /// The file's name as given.
        file: String,
        /// What was expected and what is there.
        problem: String,
    },
    /// Images and labels, or two sets, do not fit together.
    #[error("{problem}")]
    Mismatch {
        /// Both sides with their sizes.
        problem: String,
    },
    /// Images to be kept out of training are not in the training set, so the set is not the one they came from.
    #[error(
        "{missing} of the {of} excluded images are not in the training set: this is not the data set they were taken from"
    )]
    ExcludedNotFound {
        /// How many were not found.
        missing: usize,
        /// How many were to be excluded.
        of: usize,
    },
    /// A setting is out of its range.
    #[error("setting {name}: {problem}")]
    Config {
        /// The setting's name as on the command line.
        name: &'static str,
        /// Value and allowed range.
        problem: String,
    },
    /// The loss is not a number or infinite.
    #[error(
        "training diverged: loss {loss} at step {step} of epoch {epoch} (counted from 1); lower the learning rate or gamma"
    )]
    Diverged {
        /// Epoch, from 1.
        epoch: usize,
        /// Step inside the epoch, from 1.
        step: usize,
        /// The loss seen.
        loss: f32,
    },
    /// The activation could not be fitted.
    #[error("fitting the activation: {0}")]
    Fit(#[from] amicus_model::fit::FitError),
    /// The weights could not be encoded.
    #[error("writing weights: {0}")]
    Export(String),
    /// The program was built without the feature that trains.
    #[error("this program was built without training; rebuild with the cargo feature `burn` of amicus-train")]
    BuiltWithoutTraining,
}
