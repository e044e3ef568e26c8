//! What a compiled model reached on calibration data, and what it was asked to reach.
//!
//! Where it stands: measured by `amicus compile`, kept in the compiled file, repeated by every
//! command that uses it. The error that counts is that of a private answer against the network as
//! its owner imported it. It has two parts: polynomials in place of activations, and the fixed
//! point.

use serde::{Deserialize, Serialize};

use crate::compare::Comparison;
use crate::measure::percent;
use crate::report::{ErrorFigures, Report};

/// Largest median errors that the owner accepts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Targets {
    /// Median error of the fixed point against the network with polynomials.
    pub fixed_point: f64,
    /// Median error of private answers against the network as imported; `None` when the owner set
    /// none.
    pub total: Option<f64>,
}

/// Relative errors of the outputs, and targets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Calibration samples measured on.
    pub samples: usize,
    /// Private answers against the network as imported.
    pub total: ErrorFigures,
    /// The part of it that polynomials cause: they against the network as imported.
    pub polynomials: ErrorFigures,
    /// The part that the fixed point causes: it against polynomials.
    pub fixed_point: ErrorFigures,
    /// Samples on which private answer and network as imported name the same class; `None` where
    /// outputs are no classes.
    pub same_class: Option<usize>,
    /// What was asked for.
    pub targets: Targets,
}

impl Quality {
    /// From a comparison of all three executions. Of the planner's expectation and what was
    /// measured for the fixed point the worse one counts.
    pub fn of(comparison: &Comparison, report: &Report, targets: Targets) -> Self {
        let mut quality = Self::measured(comparison, targets);
        let ErrorFigures { median, max } = &mut quality.fixed_point;
        (*median, *max) = (median.max(report.expected.median), max.max(report.expected.max));
        quality
    }

    /// From a comparison of all three executions alone.
    pub fn measured(comparison: &Comparison, targets: Targets) -> Self {
        let unknown = ErrorFigures { median: f64::INFINITY, max: f64::INFINITY };
        let figures =
            |a: &Option<crate::compare::Agreement>| a.as_ref().map_or(unknown, |a| a.relative_error);
        Quality {
            samples: comparison.samples,
            total: figures(&comparison.total),
            polynomials: comparison.polynomial.relative_error,
            fixed_point: figures(&comparison.fixed),
            same_class: comparison.total.as_ref().and_then(|a| a.same_class),
            targets,
        }
    }

    /// Whether every target is met.
    pub fn meets_targets(&self) -> bool {
        self.misses().is_empty()
    }

    /// The targets that are missed, a sentence each.
    pub fn misses(&self) -> Vec<String> {
        let missed = |what: &str, error: f64, target: f64| {
            format!("the median error {what} is {}, the target {}", percent(error), percent(target))
        };
        let mut misses = Vec::new();
        // An error that is no number meets nothing.
        let meets = |error: f64, target: f64| error <= target;
        let Targets { fixed_point, total } = self.targets;
        if !meets(self.fixed_point.median, fixed_point) {
            misses.push(missed("of the fixed point", self.fixed_point.median, fixed_point));
        }
        if let Some(total) = total
            && !meets(self.total.median, total)
        {
            misses.push(missed("against the network as imported", self.total.median, total));
        }
        misses
    }

    /// The error against the network as imported, with its parts.
    pub fn headline(&self) -> String {
        let both = |e: &ErrorFigures| format!("{} median, {} at most", percent(e.median), percent(e.max));
        format!(
            "private answers differ from your network's by {} (of which polynomials {}, fixed point {})",
            both(&self.total),
            percent(self.polynomials.median),
            percent(self.fixed_point.median)
        )
    }
}
