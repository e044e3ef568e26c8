//! The learning curve: one row an epoch, as a CSV file.

use std::fmt::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{TrainError, export};

/// What an epoch gave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Mean loss of its steps.
    pub loss: f64,
    /// Share of the images held out that are answered correctly, with running statistics.
    pub validation_accuracy: f64,
    /// Share of the activations' arguments outside the interval, on the images held out; 0 for ReLU
    /// networks.
    pub escape_rate: f64,
    /// The optimiser's learning rate in the last step.
    pub learning_rate: f64,
    /// Wall time with validation.
    pub seconds: f64,
}

/// The rows as CSV, with a header.
pub fn csv(points: &[CurvePoint]) -> String {
    let mut text = "epoch,loss,validation_accuracy,escape_rate,learning_rate,seconds\n".to_owned();
    for p in points {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{},{:.6},{:.5},{:.4e},{:.4e},{:.1}",
            p.epoch, p.loss, p.validation_accuracy, p.escape_rate, p.learning_rate, p.seconds
        );
    }
    text
}

/// Writes the CSV file in one step.
///
/// # Errors
///
/// [`TrainError::Io`] naming the file.
pub fn write(path: &Path, points: &[CurvePoint]) -> Result<(), TrainError> {
    export::write_bytes(path, csv(points).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_an_epoch() {
        let point = CurvePoint {
            epoch: 1,
            loss: 0.25,
            validation_accuracy: 0.9876,
            escape_rate: 1.5e-4,
            learning_rate: 0.002,
            seconds: 3.04,
        };
        let text = csv(&[point, CurvePoint { epoch: 2, ..point }]);
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[0].split(',').count(), rows[1].split(',').count());
        assert_eq!(rows[1], "1,0.250000,0.98760,1.5000e-4,2.0000e-3,3.0");
        assert!(rows[2].starts_with("2,"));
    }
}
