//! What calibration samples tell of a network that compares: how large values get, and how far
//! numbers of one window lie apart.

use rayon::prelude::*;

use crate::error::ModelError;
use crate::fake_quantisation::{FakeQuantised, Rounding};
use crate::fold::{Folded, FoldedKind};
use crate::run::linear;

/// Samples run at once: at most so many, and as many as hold so many numbers.
const CHUNK: usize = 32;
const CHUNK_NUMBERS: usize = 1 << 26;

/// Ranges of all values of a folded network, in stored numbers.
#[derive(Clone, Debug)]
pub(super) struct Ranges {
    /// Smallest and largest number of each value.
    ends: Vec<[f64; 2]>,
    /// Largest difference of two numbers that are compared with each other, by operation; 0 for all
    /// but maxima and minima.
    spreads: Vec<f64>,
    /// Unrounded results of the first samples.
    pub(super) results: Vec<Vec<f64>>,
    /// Samples looked at.
    pub(super) samples: usize,
}

impl Ranges {
    /// Runs all samples; keeps the results of the first `kept`.
    pub(super) fn of(folded: &Folded, samples: &[Vec<f64>], kept: usize) -> Result<Self, ModelError> {
        let numbers: usize = folded.ops.iter().map(|op| op.len).sum();
        let chunk = (CHUNK_NUMBERS / numbers.max(1)).clamp(1, CHUNK);
        let mut found = Ranges {
            ends: vec![[f64::INFINITY, f64::NEG_INFINITY]; folded.ops.len() + 1],
            spreads: vec![0.0; folded.ops.len()],
            results: Vec::new(),
            samples: samples.len(),
        };
        for part in samples.chunks(chunk) {
            let run = FakeQuantised::run(folded, part, &Rounding::none(folded));
            found.widen(folded, &run)?;
            let missing = kept.saturating_sub(found.results.len());
            found.results.extend(run.output(folded).iter().take(missing).cloned());
        }
        Ok(found)
    }

    fn widen(&mut self, folded: &Folded, run: &FakeQuantised) -> Result<(), ModelError> {
        for (value, [low, high]) in self.ends.iter_mut().enumerate() {
            for &x in run.samples(value).iter().flatten() {
                if !x.is_finite() {
                    let name = value.checked_sub(1).map_or("input", |op| folded.ops[op].name.as_str());
                    let reason = "its values are not finite on the calibration samples";
                    return Err(ModelError::node(name, reason));
                }
                (*low, *high) = (low.min(x), high.max(x));
            }
        }
        for (spread, op) in self.spreads.iter_mut().zip(&folded.ops) {
            if let FoldedKind::Extreme { left, right, .. } = &op.kind {
                let pairs = run.samples(left.index()).iter().zip(run.samples(right.index()));
                let numbers = pairs.flat_map(|(a, b)| a.iter().zip(b).map(|(a, b)| (a - b).abs()));
                *spread = numbers.fold(*spread, f64::max);
            }
            if let FoldedKind::MaxPool { input, pool } = &op.kind {
                let of = |x: &Vec<f64>| {
                    let negative: Vec<f64> = x.iter().map(|x| -x).collect();
                    let pairs = linear::max_pool(pool, x).into_iter().zip(linear::max_pool(pool, &negative));
                    pairs.map(|(most, least)| most + least).fold(0.0, f64::max)
                };
                let largest = run.samples(input.index()).par_iter().map(of).reduce(|| 0.0, f64::max);
                *spread = spread.max(largest);
            }
        }
        Ok(())
    }

    /// Largest absolute number of a value.
    pub(super) fn largest(&self, value: usize) -> f64 {
        let [low, high] = self.ends[value];
        low.abs().max(high.abs())
    }

    /// Largest distance of a number of a value from a number.
    pub(super) fn distance(&self, value: usize, from: f64) -> f64 {
        let [low, high] = self.ends[value];
        (low - from).abs().max((high - from).abs())
    }

    /// Largest difference of two numbers that an operation compares with each other.
    pub(super) fn spread(&self, op: usize) -> f64 {
        self.spreads[op]
    }
}
