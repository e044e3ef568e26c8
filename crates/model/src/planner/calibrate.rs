//! What calibration samples tell: how large values get, and what each rounding costs.

use std::fmt;
use std::sync::Arc;

use amicus_plan::ValueId;
use rayon::prelude::*;

use crate::error::ModelError;
use crate::fake_quantisation::{FakeQuantised, Rounding, power_of_two};
use crate::fold::{Folded, FoldedKind, FoldedLinear};
use crate::measure::relative_error;
use crate::quantize::round_coefficients;
use crate::scales::shift_for;

/// Scales at which the cost of rounding is measured; elsewhere it is extrapolated, halving with
/// every bit.
const REFERENCE: u32 = 13;
/// Scales of coefficients looked at one by one: few numbers are rounded, always the same way, so
/// luck counts.
const COEFFICIENTS: std::ops::RangeInclusive<u32> = 6..=20;
/// Samples on which the effect of coefficients is measured: it is the same way on all.
const COEFFICIENT_SAMPLES: usize = 8;
/// Multiply-adds that one source of errors may cost, as a whole run of the network: every layer has
/// several sources. Large networks are measured on fewer samples, each of which has more numbers
/// that are rounded.
const AFFORDABLE: u64 = 4_000_000_000;
/// Multiply-adds that the error of one of an activation's coefficients may cost.
const AFFORDABLE_COEFFICIENT: u64 = AFFORDABLE / 3;
/// Samples run at once when ranges are measured: at most so many, and as many as hold so many
/// numbers.
const CHUNK: usize = 32;
const CHUNK_NUMBERS: usize = 1 << 26;

/// Calibrated ranges and error sources of one folded network.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// Largest absolute stored number seen at every value that is truncated (activation inputs, the
    /// result), with recorded ranges counted in; 0 elsewhere.
    pub seen: Vec<f64>,
    /// What rounding costs.
    pub sources: ErrorSources,
    /// Samples that ranges come from.
    pub samples: usize,
    /// Samples that errors come from.
    pub error_samples: usize,
}

/// Mean squared relative error of the logits from rounding one kind of number alone.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorSources {
    /// Bits by which scales are shifted.
    pub(crate) shifts: Shifts,
    input: f64,
    weights: Vec<f64>,
    arguments: Vec<f64>,
    coefficients: Vec<Vec<f64>>,
    slopes: Arc<Slopes>,
}

/// Bits by which the scales of small or large numbers are shifted, see
/// [`crate::scales::shift_for`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shifts {
    pub(crate) input: i64,
    pub(crate) weights: Vec<i64>,
}

impl Shifts {
    fn of(folded: &Folded) -> Self {
        let largest = |linear: &FoldedLinear| linear.real_weights().iter().fold(0f64, |m, w| m.max(w.abs()));
        let range = folded.input_range;
        Shifts {
            // Large inputs may be integers, which any scale holds: no scale is too fine for them.
            input: shift_for(range.low.abs().max(range.high.abs())).max(0),
            weights: folded.linears.iter().map(|l| shift_for(largest(l))).collect(),
        }
    }
}

/// What moving single coefficients does. It follows from the weights, so `Debug` shows none of it.
#[derive(Clone, PartialEq)]
struct Slopes {
    /// By operation; none for what is no activation.
    ops: Vec<Vec<Option<Slope>>>,
    /// The results they belong to, one vector a sample.
    results: Vec<Vec<f64>>,
}

impl ErrorSources {
    /// The input at scale `bits`.
    pub fn input(&self, bits: u32) -> f64 {
        extrapolate(self.input, bits, self.shifts.input)
    }

    /// The weights of linear layer `linear` at scale `bits`.
    pub fn weights(&self, linear: usize, bits: u32) -> f64 {
        extrapolate(self.weights[linear], bits, self.shifts.weights[linear])
    }

    /// The argument of activation `op` at scale `bits`.
    pub fn argument(&self, op: usize, bits: u32) -> f64 {
        extrapolate(self.arguments[op], bits, 0)
    }

    /// The coefficients of activation `op` at scale `bits`.
    pub fn coefficients(&self, op: usize, bits: u32) -> f64 {
        let (low, high) = (*COEFFICIENTS.start(), *COEFFICIENTS.end());
        let at = bits.clamp(low, high);
        self.coefficients[op].get((at - low) as usize).map_or(0.0, |e| e * 4f64.powi(at as i32 - bits as i32))
    }
}

impl Calibration {
    /// What would have been found for the same network, `folded`, with every value in units of
    /// `units[value]` times its present one.
    pub(crate) fn in_units(&self, folded: &Folded, units: &[f64]) -> Self {
        let mut changed = self.clone();
        changed.seen.iter_mut().zip(units).for_each(|(seen, unit)| *seen /= unit);
        let sources = &mut changed.sources;
        for (index, op) in folded.ops.iter().enumerate() {
            let result = units[index + 1];
            match &op.kind {
                FoldedKind::Linear { input, linear } => {
                    sources.weights[*linear] *= (result / units[input.index()]).powi(2);
                }
                FoldedKind::Activation { input, coefficients, .. } => {
                    let unit = units[input.index()];
                    if unit == 1.0 && result == 1.0 {
                        continue;
                    }
                    sources.arguments[index] *= unit.powi(2);
                    let moved = |k: usize| result / unit.powi(k as i32);
                    sources.coefficients[index] = sources.slopes.coefficients(index, coefficients, moved);
                }
                FoldedKind::Pieces { .. }
                | FoldedKind::Polynomial { .. }
                | FoldedKind::MaxPool { .. }
                | FoldedKind::Extreme { .. }
                | FoldedKind::Add { .. }
                | FoldedKind::Multiply { .. }
                | FoldedKind::Gather { .. }
                | FoldedKind::SumPool { .. }
                | FoldedKind::Concat { .. }
                | FoldedKind::Weigh { .. } => {}
            }
        }
        changed
    }
}

fn extrapolate(at_reference: f64, bits: u32, shift: i64) -> f64 {
    at_reference * 4f64.powi(reference(shift) as i32 - bits as i32)
}

/// The scale at which the cost of rounding numbers shifted by `shift` bits is measured.
fn reference(shift: i64) -> u32 {
    u32::try_from(i64::from(REFERENCE) + shift).unwrap_or(0)
}

/// Calibration data as the stored input numbers, checked.
pub(crate) fn inputs(folded: &Folded, samples: &[Vec<f32>]) -> Result<Vec<Vec<f64>>, ModelError> {
    if samples.is_empty() {
        return Err(ModelError::data("calibration", "no samples; at least one is needed"));
    }
    let range = folded.input_range;
    for (i, sample) in samples.iter().enumerate() {
        let what = || format!("calibration sample {i}");
        if sample.len() != folded.input_len() {
            let reason = format!(
                "{} numbers, expected {} ({:?})",
                sample.len(),
                folded.input_len(),
                folded.input_shape
            );
            return Err(ModelError::data(what(), reason));
        }
        if let Some(at) = sample.iter().position(|&x| range.hold(x).is_none()) {
            let x = sample[at];
            let reason =
                format!("element {at} is {x}, outside the input's range {} to {}", range.low, range.high);
            return Err(ModelError::data(what(), reason));
        }
    }
    Ok(samples.iter().map(|s| s.iter().map(|&x| f64::from(x)).collect()).collect())
}

/// Samples, at least `least`, that a run may have to cost no more than `affordable` multiply-adds.
fn affordable_samples(folded: &Folded, affordable: u64, least: usize) -> usize {
    let each: u64 = folded.linears.iter().map(|l| l.shape.multiply_adds() as u64).sum();
    usize::try_from(affordable / each.max(1)).unwrap_or(usize::MAX).max(least)
}

/// Measures ranges on all samples and error sources on the first `error_samples`, or fewer when the
/// network is large. Also gives the unrounded run of those, against which errors are measured.
pub(crate) fn calibrate(
    folded: &Folded,
    samples: &[Vec<f64>],
    error_samples: usize,
) -> Result<(Calibration, FakeQuantised), ModelError> {
    let exact = Rounding::none(folded);
    let error_samples = error_samples.min(affordable_samples(folded, AFFORDABLE, 2));
    let (head, tail) = samples.split_at(error_samples.clamp(1, samples.len()));
    let baseline = FakeQuantised::run(folded, head, &exact);
    let mut seen = vec![0f64; folded.ops.len() + 1];
    let truncated = truncated_values(folded);
    let mut widen = |run: &FakeQuantised| {
        for &(value, _) in &truncated {
            seen[value.index()] = seen[value.index()].max(run.largest(value.index()));
        }
    };
    widen(&baseline);
    let numbers: usize = folded.ops.iter().map(|op| op.len).sum();
    let chunk = (CHUNK_NUMBERS / numbers.max(1)).clamp(1, CHUNK);
    tail.chunks(chunk).for_each(|chunk| widen(&FakeQuantised::run(folded, chunk, &exact)));
    for &(value, recorded) in &truncated {
        // Recorded ranges are in units of the interval, as activations are; a result has interval
        // 1.
        let seen = &mut seen[value.index()];
        *seen = seen.max(recorded);
        if !seen.is_finite() {
            let name = value.op().map_or("input", |op| folded.ops[op.index()].name.as_str());
            return Err(ModelError::node(name, "its values are not finite on the calibration samples"));
        }
    }
    let sources = measure(folded, &baseline);
    Ok((Calibration { seen, sources, samples: samples.len(), error_samples: head.len() }, baseline))
}

/// The values that are truncated, each with the range recorded for it (0 when none is).
pub(crate) fn truncated_values(folded: &Folded) -> Vec<(ValueId, f64)> {
    let mut values = Vec::new();
    for op in &folded.ops {
        if let FoldedKind::Activation { input, interval, .. } = &op.kind {
            values.push((*input, op.recorded.unwrap_or(0.0) * interval));
        }
    }
    let recorded = folded.output.op().and_then(|op| match &folded.ops[op.index()] {
        op if matches!(op.kind, FoldedKind::Activation { .. }) => None,
        op => op.recorded,
    });
    values.push((folded.output, recorded.unwrap_or(0.0)));
    values
}

/// Mean squared relative error over samples.
pub(crate) fn mean_square_error(got: &[Vec<f64>], expected: &[Vec<f64>]) -> f64 {
    let sum: f64 = got.iter().zip(expected).map(|(g, e)| relative_error(g, e).powi(2)).sum();
    sum / expected.len().max(1) as f64
}

fn measure(folded: &Folded, baseline: &FakeQuantised) -> ErrorSources {
    let exact = Rounding::none(folded);
    let cost = |changed: usize, rounding: &Rounding| {
        mean_square_error(&baseline.rerun(folded, changed, rounding), baseline.output(folded))
    };
    let ops = folded.ops.len();
    let few = baseline.head(COEFFICIENT_SAMPLES.min(affordable_samples(folded, AFFORDABLE_COEFFICIENT, 1)));
    let shifts = Shifts::of(folded);
    let mut sources = ErrorSources {
        input: cost(0, &Rounding { input: Some(reference(shifts.input)), ..exact.clone() }),
        weights: vec![0.0; folded.linears.len()],
        arguments: vec![0.0; ops],
        coefficients: vec![Vec::new(); ops],
        slopes: Arc::new(Slopes { ops: Vec::new(), results: Vec::new() }),
        shifts,
    };
    let mut all = Slopes { ops: vec![Vec::new(); ops], results: few.output(folded).to_vec() };
    for (index, op) in folded.ops.iter().enumerate() {
        let mut rounding = exact.clone();
        match &op.kind {
            FoldedKind::Linear { linear, .. } => {
                rounding.weights[*linear] = Some(reference(sources.shifts.weights[*linear]));
                sources.weights[*linear] = cost(index + 1, &rounding);
            }
            FoldedKind::Activation { coefficients, .. } => {
                rounding.arguments[index] = Some(REFERENCE);
                sources.arguments[index] = cost(index + 1, &rounding);
                all.ops[index] = slopes(folded, &few, index, coefficients);
                sources.coefficients[index] = all.coefficients(index, coefficients, |_| 1.0);
            }
            FoldedKind::Pieces { .. }
            | FoldedKind::Polynomial { .. }
            | FoldedKind::MaxPool { .. }
            | FoldedKind::Extreme { .. }
            | FoldedKind::Add { .. }
            | FoldedKind::Multiply { .. }
            | FoldedKind::Gather { .. }
            | FoldedKind::SumPool { .. }
            | FoldedKind::Concat { .. }
            | FoldedKind::Weigh { .. } => {}
        }
    }
    sources.slopes = Arc::new(all);
    sources
}

/// How much one coefficient of an activation moves the results, one vector a sample.
type Slope = Vec<Vec<f64>>;

/// The slopes of all coefficients of activation `op`; none for zeros, and for the 1 of a value
/// opened by itself, which every scale holds exactly.
fn slopes(folded: &Folded, baseline: &FakeQuantised, op: usize, coefficients: &[f64]) -> Vec<Option<Slope>> {
    let step = 1.0 / power_of_two(REFERENCE);
    let slope = |(k, a): (usize, &f64)| {
        if *a == 0.0 || coefficients == [0.0, 1.0] {
            return None;
        }
        // Weights are shared, not copied.
        let mut moved = folded.clone();
        if let FoldedKind::Activation { coefficients: changed, .. } = &mut moved.ops[op].kind {
            changed.clone_from_slice(coefficients);
            changed[k] += step;
        }
        let mut results = baseline.rerun(&moved, op + 1, &Rounding::none(folded));
        for (result, before) in results.iter_mut().zip(baseline.output(folded)) {
            result.iter_mut().zip(before).for_each(|(y, b)| *y = (*y - b) / step);
        }
        Some(results)
    };
    coefficients.par_iter().enumerate().map(slope).collect()
}

impl fmt::Debug for Slopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slopes").finish_non_exhaustive()
    }
}

impl Slopes {
    /// Mean squared relative error of the results from rounding the coefficients of activation `op`
    /// to each number of bits, to first order. The slope of coefficient `k` is `by(k)` times that
    /// stored.
    fn coefficients(&self, op: usize, coefficients: &[f64], by: impl Fn(usize) -> f64) -> Vec<f64> {
        let cost = |bits| {
            let mut results = self.results.clone();
            let integers = round_coefficients(coefficients, bits);
            for (k, (slope, integer)) in self.ops[op].iter().zip(integers).enumerate() {
                let error = (integer as f64 / power_of_two(bits) - coefficients[k]) * by(k);
                for (result, slope) in results.iter_mut().zip(slope.iter().flatten()) {
                    result.iter_mut().zip(slope).for_each(|(y, s)| *y += error * s);
                }
            }
            mean_square_error(&results, &self.results)
        };
        COEFFICIENTS.map(cost).collect()
    }
}
