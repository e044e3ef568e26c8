//! What a run tells while it goes and when it is done.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::curve::CurvePoint;
use crate::range::LayerRange;

/// Correct answers among images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Images whose largest logit is at their class.
    pub correct: usize,
    /// Images.
    pub images: usize,
}

impl Accuracy {
    /// Share of correct answers, 0 to 1; 0 for no images.
    pub fn rate(&self) -> f64 {
        if self.images == 0 { 0.0 } else { self.correct as f64 / self.images as f64 }
    }
}

impl std::fmt::Display for Accuracy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2}% ({} of {})", 100.0 * self.rate(), self.correct, self.images)
    }
}

/// News from a run. Epochs and steps count from 1.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Progress {
    /// The data is read and split.
    Loaded {
        /// Images to train on.
        training: usize,
        /// Images held out.
        validation: usize,
        /// Test images.
        test: usize,
        /// Training images dropped because they were to be excluded.
        dropped: usize,
    },
    /// A step is done.
    Step {
        /// Epoch.
        epoch: usize,
        /// Step inside the epoch.
        step: usize,
        /// Steps in an epoch.
        steps: usize,
        /// Loss of the step's images.
        loss: f32,
        /// Learning rate of the step.
        learning_rate: f64,
    },
    /// A run goes on from its checkpoint.
    Resumed {
        /// Epochs done before.
        epochs: usize,
    },
    /// An epoch is done, and the checkpoint written.
    Epoch {
        /// Epochs in all.
        epochs: usize,
        /// On the images held out, with running statistics.
        validation: Accuracy,
        /// The row of the learning curve.
        point: CurvePoint,
    },
    /// BatchNorm's statistics were computed anew over the training images.
    Reestimated,
}

/// What was trained and measured. Everything but times and `out` repeats for the same configuration
/// and data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainReport {
    /// Name of the data set.
    pub dataset: String,
    /// Name of the network.
    pub model: String,
    /// Seed of every random choice.
    pub seed: u64,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images trained on.
    pub training_images: usize,
    /// Training images dropped because they were to be excluded.
    pub dropped: usize,
    /// `relu` or `polynomial`.
    pub activation: String,
    /// B: activations are p(t / B); none for ReLU.
    pub interval: Option<f64>,
    /// a_0 .. a_d of p(u), u = t / B, one list for each activation; empty for ReLU.
    pub coefficients: Vec<Vec<f64>>,
    /// Largest |p - ReLU| on the interval, before coefficients were learned.
    pub fit_max_error: Option<f64>,
    /// Weighted root mean square of p - ReLU.
    pub fit_rms_error: Option<f64>,
    /// On the images held out from training.
    pub validation: Accuracy,
    /// On the test set.
    pub test: Accuracy,
    /// Activations' inputs on the images held out, one entry for each activation layer; empty for
    /// ReLU.
    pub validation_ranges: Vec<LayerRange>,
    /// Ranges on the test set.
    pub test_ranges: Vec<LayerRange>,
    /// Largest |t| / B of each activation on training images and images held out: what the planner
    /// leaves room for.
    pub ranges: Vec<f64>,
    /// One row an epoch.
    pub curve: Vec<CurvePoint>,
    /// Wall time of everything, in seconds.
    pub seconds: f64,
    /// The file written.
    pub out: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_reads_as_percent_with_its_counts() {
        assert_eq!(Accuracy { correct: 4961, images: 5000 }.to_string(), "99.22% (4961 of 5000)");
        assert_eq!(Accuracy { correct: 0, images: 0 }.rate(), 0.0);
    }
}
