//! What can go wrong in training, whose fault it is and where.

use std::path::PathBuf;

/// Why training stopped. Every message names the file, the setting or the step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The data set cannot be read.
    #[error(transparent)]
    Data(#[from] amicus_data::DataError),
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
    /// Images to be kept out of training are not in the training set, so the set is not the one
    /// they came from.
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
    /// The loss or a gradient is not a number or infinite.
    #[error(
        "training diverged at step {step} of epoch {epoch} (counted from 1): {what}; {culprit}; lower the learning rates"
    )]
    Diverged {
        /// Epoch, from 1.
        epoch: usize,
        /// Step inside the epoch, from 1.
        step: usize,
        /// The value that is not finite.
        what: String,
        /// The first layer whose values are not finite, as a sentence.
        culprit: String,
    },
    /// The teacher's file is not what a student can learn from.
    #[error("teacher {path}: {problem}")]
    Teacher {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// There is nothing to resume.
    #[error("nothing to resume: there is no checkpoint {path}; checkpoints are written after every epoch")]
    NoCheckpoint {
        /// The file looked for.
        path: PathBuf,
    },
    /// The checkpoint's bytes are not what its format says.
    #[error("checkpoint {path}: {problem}; start again without --resume")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The checkpoint was written by a run with another configuration.
    #[error(
        "checkpoint {path} is of another run: setting {name} is {now} now, the checkpoint has {stored}; give the \
         setting as it was, or start again without --resume"
    )]
    OtherSettings {
        /// The file.
        path: PathBuf,
        /// The setting's name as on the command line.
        name: String,
        /// The value now, as JSON.
        now: String,
        /// The checkpoint's value, as JSON.
        stored: String,
    },
    /// A weight file could not be read.
    #[error(transparent)]
    Model(#[from] amicus_model::ModelError),
    /// The learning curve could not be drawn.
    #[error("drawing {path}: {problem}")]
    Plot {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        problem: String,
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
