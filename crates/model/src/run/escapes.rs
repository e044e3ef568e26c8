//! Values outside what a network was compiled for: counted by layer, and what they mean.
//!
//! An input can be in range while a value behind some layer is far larger than anything calibration
//! saw. Nobody notices in the secure run: values are hidden, and the check says that the parties
//! computed what the plan says, not that its polynomials fit. So the float network tells, on
//! samples whose owner wants to know. Two borders matter:
//!
//! - the interval of an activation's polynomial, which was fitted inside only and grows fast
//!   outside;
//! - the window of a comparison, beyond which a number is taken for one on the other side of a
//!   threshold;
//! - the bound `2^ell` of a truncation (`docs/protocol.md`, section 5), beyond which numbers wrap
//!   around.

use amicus_field::SumPool2d;
use amicus_plan::{OpIndex, OpKind, Plan, Truncate, ValueId};
use serde::Serialize;

use crate::compare;
use crate::error::ModelError;
use crate::fake_quantisation::{FakeQuantised, Rounding, power_of_two};
use crate::fold::{Folded, FoldedKind};
use crate::graph::Graph;
use crate::run::linear;

/// Intervals are ends of what was seen with a margin; this much beyond is rounding.
const ROUNDING: f64 = 1e-6;
/// Samples that are listed by number, at most.
const LISTED: usize = 10;

/// Values of one layer outside.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerEscapes {
    /// The activation fed, or `output`.
    pub layer: String,
    /// Values looked at, over all samples.
    pub values: u64,
    /// Those outside the interval that the polynomial was fitted on.
    pub outside_interval: u64,
    /// Those that the fixed point cannot hold.
    pub wrapped: u64,
    /// Samples with any of them.
    pub samples: usize,
    /// The largest value over the end of the interval; `None` where there is no interval.
    pub largest: Option<f64>,
}

/// Values outside, layer by layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Escapes {
    /// Samples looked at.
    pub samples: usize,
    /// Numbers of the samples with a value outside some interval.
    pub outside_interval: Vec<usize>,
    /// Numbers of the samples with a value that the fixed point cannot hold.
    pub wrapped: Vec<usize>,
    /// The layers concerned, in order.
    pub layers: Vec<LayerEscapes>,
}

impl Escapes {
    /// What they mean, a line each; none when no value is outside.
    pub fn meaning(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.layers.iter().map(LayerEscapes::line).collect();
        if !self.outside_interval.is_empty() {
            lines.push(format!(
                "there a polynomial no longer follows the activation it stands for: do not rely on the answers of {}",
                self.listed(&self.outside_interval)
            ));
        }
        if !self.wrapped.is_empty() {
            lines.push(format!(
                "the fixed point cannot hold the numbers behind {}: their answers mean nothing, although the check \
                 accepts them",
                self.listed(&self.wrapped)
            ));
        }
        if !lines.is_empty() {
            lines.push("calibrate with data like these, or with a larger --margin".to_owned());
        }
        lines
    }

    fn listed(&self, samples: &[usize]) -> String {
        let first: Vec<String> = samples.iter().take(LISTED).map(ToString::to_string).collect();
        let more = if samples.len() > LISTED { ", .." } else { "" };
        let what = if samples.len() == 1 { "sample" } else { "samples" };
        format!("{} of {} {what} (number {}{more})", samples.len(), self.samples, first.join(", "))
    }
}

impl LayerEscapes {
    fn line(&self) -> String {
        let mut parts = Vec::new();
        if self.outside_interval > 0 {
            let times =
                self.largest.map_or_else(String::new, |l| format!(", up to {} times its end", times(l)));
            parts.push(format!("{} outside the interval{times}", self.outside_interval));
        }
        if self.wrapped > 0 {
            parts.push(format!("{} too large for the fixed point", self.wrapped));
        }
        format!(
            "{}: of {} values {} (in {} samples)",
            self.layer,
            self.values,
            parts.join(", "),
            self.samples
        )
    }
}

fn times(ratio: f64) -> String {
    if ratio < 1e4 { format!("{ratio:.2}") } else { format!("{ratio:.0e}") }
}

/// Borders of one truncated value, in numbers of the folded network.
#[derive(Clone, Debug)]
struct Bound {
    name: String,
    value: usize,
    interval: Option<f64>,
    limit: f64,
    /// What is compared with each other, where differences are bounded instead of numbers.
    windows: Option<Compared>,
}

/// Numbers that are compared with each other.
#[derive(Clone, Copy, Debug)]
enum Compared {
    /// All of each window.
    Windows(SumPool2d),
    /// Those of another value.
    With(usize),
}

/// Borders of all truncated values.
#[derive(Clone, Debug)]
pub(crate) struct Bounds(Vec<Bound>);

/// What one sample has outside at one truncated value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outside {
    values: u64,
    outside: u64,
    wrapped: u64,
    largest: f64,
}

impl Bounds {
    /// Those of a plan; `factors` are what its numbers stand for, as
    /// [`crate::compile::Compiled::factors`].
    pub(crate) fn of(plan: &Plan, folded: &Folded, factors: &[f64]) -> Result<Self, ModelError> {
        let values = compare::fits(folded, plan, factors)?;
        let plan = &plan.network();
        let infos = plan.values()?;
        // The number of the folded network that is `2^bits` of a value of the plan.
        let power = |value: ValueId, of: usize, bits: u32| {
            let unit = factors[value.index()] / folded.factors[of];
            power_of_two(bits) / power_of_two(infos.get(value).scale.0) * unit
        };
        let mut bounds = if folded.compares() {
            comparisons(plan, folded, &values, power)
        } else {
            polynomials(plan, folded, &values, power)
        };
        let value = folded.output.index();
        bounds.push(Bound {
            name: "output".to_owned(),
            value,
            interval: None,
            limit: power(plan.output.value, value, plan.output.ell),
            windows: None,
        });
        Ok(Bounds(bounds))
    }

    /// What the first sample of an unrounded run has outside.
    pub(crate) fn look(&self, run: &FakeQuantised) -> Vec<Outside> {
        let look = |bound: &Bound| {
            let end = bound.interval.map_or(f64::INFINITY, |i| i * (1.0 + ROUNDING));
            let mut found = Outside::default();
            let values = run.first(bound.value);
            let spreads = bound.windows.as_ref().map(|compared| match compared {
                Compared::Windows(pool) => spreads(pool, values),
                Compared::With(other) => values.iter().zip(run.first(*other)).map(|(a, b)| a - b).collect(),
            });
            for x in spreads.as_deref().unwrap_or(values) {
                // What is not finite is outside too.
                let size = if x.is_nan() { f64::INFINITY } else { x.abs() };
                found.values += 1;
                found.outside += u64::from(size > end);
                found.wrapped += u64::from(size >= bound.limit);
                found.largest = found.largest.max(size / bound.interval.unwrap_or(1.0));
            }
            found
        };
        self.0.iter().map(look).collect()
    }
}

/// Borders of polynomials: their intervals, and what their truncations hold.
fn polynomials(
    plan: &Plan,
    folded: &Folded,
    values: &[Option<ValueId>],
    power: impl Fn(ValueId, usize, u32) -> f64,
) -> Vec<Bound> {
    let mut bounds = Vec::new();
    for (index, op) in folded.ops.iter().enumerate() {
        let (input, interval) = match &op.kind {
            // A value opened by itself has no polynomial that could stop fitting.
            FoldedKind::Activation { input, coefficients, interval, .. } => {
                (*input, (*coefficients != [0.0, 1.0]).then_some(*interval))
            }
            // Results of polynomials in steps are rounded before.
            FoldedKind::Linear { input, .. } => (*input, None),
            _ => continue,
        };
        let [Some(read), Some(result)] = [values[input.index()], values[index + 1]] else { continue };
        // What the plan truncates for this operation.
        let before = values[..=index].iter().rev().find_map(|v| *v).map_or(0, ValueId::index);
        let truncated = |at: usize| match &plan.ops[at].kind {
            OpKind::Activation(a) => Some((at, a.input, a.ell)),
            OpKind::Truncate(t) => Some((at, t.input, t.ell)),
            _ => None,
        };
        let truncated: Vec<_> = (before..result.index()).filter_map(truncated).collect();
        let Some(&(first, _, ell)) = truncated.iter().find(|(_, value, _)| *value == read) else { continue };
        let mut limit = power(read, input.index(), ell);
        // A square in polynomials in steps has a bound of its own, often nearer.
        let opened = ValueId::of(OpIndex(first as u32));
        for (_, value, ell) in truncated {
            if let Some(factor) = square(plan, value, [read, opened]) {
                limit = limit.min((power_of_two(ell) / factor).sqrt() * power(opened, input.index(), 0));
            }
        }
        let name = plan.ops[result.index() - 1].name.clone();
        bounds.push(Bound { name, value: input.index(), interval, limit, windows: None });
    }
    bounds
}

/// What the square of a value is multiplied by, if that is what another value is.
fn square(plan: &Plan, value: ValueId, of: [ValueId; 2]) -> Option<f64> {
    let (input, factor) = match &plan.op(value.op()?).kind {
        OpKind::Activation(a) => match a.coefficients[..] {
            [0, 0, factor] => (a.input, factor as f64),
            _ => return None,
        },
        OpKind::Select(s) => match s.polynomials.first().map(|p| &p[..]) {
            Some(&[0, 0, factor]) => (s.input, factor as f64),
            _ => return None,
        },
        _ => return None,
    };
    (of.contains(&input) && factor > 0.0).then_some(factor)
}

/// Borders of comparisons and truncations: a number further from a threshold than the window holds
/// is decided wrongly.
fn comparisons(
    plan: &Plan,
    folded: &Folded,
    values: &[Option<ValueId>],
    power: impl Fn(ValueId, usize, u32) -> f64,
) -> Vec<Bound> {
    let mut bounds = Vec::new();
    for (index, op) in folded.ops.iter().enumerate() {
        if let FoldedKind::Activation { input, coefficients, interval, .. } = &op.kind
            && *coefficients != [0.0, 1.0]
        {
            let (name, value, limit) = (op.name.clone(), input.index(), f64::INFINITY);
            bounds.push(Bound { name, value, interval: Some(*interval), limit, windows: None });
        }
        let (input, windows) = match &op.kind {
            FoldedKind::Pieces { input, .. } | FoldedKind::Activation { input, .. } => (*input, None),
            FoldedKind::MaxPool { input, pool } => (*input, Some(Compared::Windows(*pool))),
            FoldedKind::Extreme { left, right, .. } => (*left, Some(Compared::With(right.index()))),
            _ => continue,
        };
        // What the plan does for this operation, and for a maximum before it that has no value.
        let before = values[..=index].iter().rev().find_map(|v| *v).map_or(0, ValueId::index);
        let Some(end) = values[index + 1] else { continue };
        let last = index.checked_sub(1).map(|op| &folded.ops[op].kind);
        let maximum = match (values[index], last) {
            (None, Some(FoldedKind::MaxPool { input, pool })) => Some((*input, Compared::Windows(*pool))),
            _ => None,
        };
        let input = maximum.map_or(input, |(input, _)| input);
        for step in &plan.ops[before..end.index()] {
            let (value, limit, windows) = match &step.kind {
                OpKind::Compare(c) => {
                    let difference = c.input.op().map(|op| &plan.op(op).kind);
                    let windows = match maximum {
                        Some((_, windows)) if matches!(difference, Some(OpKind::Subtract { .. })) => {
                            Some(windows)
                        }
                        _ => windows,
                    };
                    let half = power(c.input, input.index(), c.unit + c.window() - 1);
                    let furthest = c.thresholds.iter().map(|t| t.unsigned_abs()).max().unwrap_or(0);
                    let threshold = furthest as f64 * power(c.input, input.index(), 0);
                    let half_unit = power(c.input, input.index(), c.unit) / 2.0;
                    (input.index(), half - threshold - half_unit, windows)
                }
                OpKind::Truncate(t) if is_argument(plan, t, values[input.index()], maximum.is_some()) => {
                    (input.index(), power(t.input, input.index(), t.ell), None)
                }
                OpKind::Truncate(t) => (index + 1, power(t.input, index + 1, t.ell), None),
                _ => continue,
            };
            bounds.push(Bound { name: step.name.clone(), value, interval: None, limit, windows });
        }
    }
    bounds
}

/// Whether a truncation is of an activation's argument, not of its result: of the value itself or,
/// behind a maximum that has none, of one of the last two numbers of every window.
fn is_argument(plan: &Plan, t: &Truncate, argument: Option<ValueId>, of_maximum: bool) -> bool {
    let result = t.input.op().map(|op| &plan.op(op).kind);
    if of_maximum { !matches!(result, Some(OpKind::Add { .. })) } else { argument == Some(t.input) }
}

/// Largest difference of two numbers of each window.
fn spreads(pool: &SumPool2d, x: &[f64]) -> Vec<f64> {
    let negative: Vec<f64> = x.iter().map(|x| -x).collect();
    let pairs = linear::max_pool(pool, x).into_iter().zip(linear::max_pool(pool, &negative));
    pairs.map(|(most, least)| most + least).collect()
}

/// Counts over samples.
pub(crate) struct EscapeTally {
    intervals: Vec<bool>,
    found: Escapes,
}

impl EscapeTally {
    pub(crate) fn new(bounds: &Bounds) -> Self {
        let layer = |b: &Bound| LayerEscapes {
            layer: b.name.clone(),
            values: 0,
            outside_interval: 0,
            wrapped: 0,
            samples: 0,
            largest: b.interval.map(|_| 0.0),
        };
        let intervals = bounds.0.iter().map(|b| b.interval.is_some()).collect();
        EscapeTally {
            intervals,
            found: Escapes { layers: bounds.0.iter().map(layer).collect(), ..Escapes::default() },
        }
    }

    pub(crate) fn add(&mut self, sample: usize, outside: &[Outside]) {
        self.found.samples += 1;
        for ((layer, o), interval) in self.found.layers.iter_mut().zip(outside).zip(&self.intervals) {
            layer.values += o.values;
            layer.outside_interval += o.outside;
            layer.wrapped += o.wrapped;
            layer.samples += usize::from(o.outside + o.wrapped > 0);
            if *interval {
                layer.largest = layer.largest.map(|l| l.max(o.largest));
            }
        }
        if outside.iter().any(|o| o.outside > 0) {
            self.found.outside_interval.push(sample);
        }
        if outside.iter().any(|o| o.wrapped > 0) {
            self.found.wrapped.push(sample);
        }
    }

    pub(crate) fn finish(mut self) -> Escapes {
        self.found.layers.retain(|l| l.samples > 0);
        self.found
    }
}

/// Counts what `samples` have outside a compiled network; `polynomial` is the network that was
/// compiled.
///
/// # Errors
/// Samples of the wrong size, a network that cannot be folded, or a plan that is not its own.
pub fn escapes(
    plan: &Plan,
    factors: &[f64],
    polynomial: &Graph,
    samples: &[Vec<f32>],
) -> Result<Escapes, ModelError> {
    let folded = Folded::new(polynomial)?;
    compare::fits(&folded, plan, factors)?;
    let bounds = Bounds::of(plan, &folded, factors)?;
    let mut tally = EscapeTally::new(&bounds);
    for (i, sample) in samples.iter().enumerate() {
        if sample.len() != folded.input_len() {
            let reason = format!("{} numbers, expected {}", sample.len(), folded.input_len());
            return Err(ModelError::data(format!("sample {i}"), reason));
        }
        let real = vec![sample.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>()];
        tally.add(i, &bounds.look(&FakeQuantised::run(&folded, &real, &Rounding::none(&folded))));
    }
    Ok(tally.finish())
}
