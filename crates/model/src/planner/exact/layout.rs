//! Scales of all values, and where bits are dropped.
//!
//! A selection is exact at any scale, so values grow from layer to layer until the next product
//! would not fit the modulus: only then the activation before it truncates. Two layers often share
//! one truncation.

use amicus_field::Limbs;
use amicus_plan::ValueId;

use super::Precision;
use super::ranges::Ranges;
use super::window::Window;
use crate::error::{ModelError, SMALLER_SCALES};
use crate::fold::{Folded, FoldedKind};
use crate::pieces::Pieces;
use crate::planner::emit::largest_ell;
use crate::scales::guard_bits;

/// Bits given to slopes that are no short binary fraction, at least.
const SLOPE_BITS: u32 = 12;
/// And to coefficients of squares and higher powers, which are often smaller than the slope beside
/// them.
const CURVE_BITS: u32 = 14;
/// How many bits fewer than an argument a coefficient may have: its rounding is the same for all
/// numbers, so that it adds up over layers, and means do not make it smaller.
const FEWER_BITS: u32 = 3;
/// Most bits of a threshold: plans hold them in 128.
const THRESHOLD_BITS: i64 = 120;
/// Largest scale of anything that is chosen.
const MOST: i64 = 60;

/// Where an activation drops bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cut {
    /// Nowhere.
    None,
    /// At its argument.
    Argument,
    /// At its argument and at its result.
    Both,
}

/// Scales of one activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) cut: Cut,
    /// Scale of the argument.
    pub(super) argument: u32,
    /// Scale of the polynomials' result.
    pub(super) full: u32,
}

/// Scales of a folded network.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Scale of every value.
    pub(super) values: Vec<u32>,
    /// Scale of every linear layer's weights.
    pub(super) weights: Vec<u32>,
    /// Scales of every operation that is an activation.
    pub(super) steps: Vec<Option<Steps>>,
}

/// What is laid out.
pub(super) struct Draft<'a> {
    pub(super) folded: &'a Folded,
    pub(super) ranges: &'a Ranges,
    /// Largest absolute weight of every linear layer.
    pub(super) largest_weights: &'a [f64],
    pub(super) margin: f64,
    pub(super) limbs: Limbs,
    pub(super) precision: Precision,
    /// Whether maxima are computed together with activations behind them.
    pub(super) fused: bool,
    /// Bits that values have beyond their range with its margin.
    pub(super) room: i64,
}

impl Draft<'_> {
    /// Scales with as few truncations as fit.
    pub(super) fn layout(&self) -> Result<Layout, ModelError> {
        let mut cuts: Vec<Cut> = self.folded.ops.iter().map(|op| self.least(&op.kind)).collect();
        loop {
            let layout = self.scales(&cuts);
            let Some(value) = self.overflow(&layout) else { return Ok(layout) };
            let culprit = self.culprit(&layout, ValueId(value as u32));
            match culprit {
                Some(op) => cuts[op] = if cuts[op] == Cut::None { Cut::Argument } else { Cut::Both },
                None => return Err(self.too_large(&layout, value)),
            }
        }
    }

    /// Powers of a number need a short one.
    fn least(&self, kind: &FoldedKind) -> Cut {
        match kind {
            FoldedKind::Pieces { pieces, .. } if pieces.degree() > 1 => Cut::Argument,
            FoldedKind::Activation { coefficients, .. } | FoldedKind::Polynomial { coefficients, .. }
                if coefficients.len() > 2 =>
            {
                Cut::Argument
            }
            _ => Cut::None,
        }
    }

    fn scales(&self, cuts: &[Cut]) -> Layout {
        let folded = self.folded;
        let weights: Vec<u32> =
            self.largest_weights.iter().map(|&largest| scale_for(self.precision.weights, largest)).collect();
        let range = folded.input_range;
        let mut values = vec![scale_for(self.precision.argument, range.low.abs().max(range.high.abs()))];
        let mut steps = vec![None; folded.ops.len()];
        for (index, op) in folded.ops.iter().enumerate() {
            let of = |v: &ValueId| values[v.index()];
            let scale = match &op.kind {
                FoldedKind::Linear { input, linear } => of(input) + weights[*linear],
                FoldedKind::Pieces { input, pieces, .. } => {
                    // Products of two bits come doubled.
                    let doubled = self.fused && index.checked_sub(1).is_some_and(|op| fusable(folded, op));
                    self.activation(index, cuts[index], of(input), input, &mut steps, |argument| {
                        self.full_scale(pieces, argument) + u32::from(doubled)
                    })
                }
                FoldedKind::Activation { input, coefficients, .. }
                | FoldedKind::Polynomial { input, coefficients, .. } => {
                    let polynomial = Pieces::polynomial(coefficients.clone());
                    self.activation(index, cuts[index], of(input), input, &mut steps, |argument| {
                        self.full_scale(&polynomial, argument)
                    })
                }
                FoldedKind::Multiply { left, right } => of(left) + of(right),
                FoldedKind::MaxPool { input, .. }
                | FoldedKind::SumPool { input, .. }
                | FoldedKind::Gather { input, .. }
                | FoldedKind::Weigh { input, .. } => of(input),
                FoldedKind::Add { left, right } | FoldedKind::Extreme { left, right, .. } => {
                    of(left).max(of(right))
                }
                FoldedKind::Concat { parts } => parts.iter().map(of).max().unwrap_or(0),
            };
            values.push(scale);
        }
        Layout { values, weights, steps }
    }

    fn activation(
        &self,
        op: usize,
        cut: Cut,
        scale: u32,
        input: &ValueId,
        steps: &mut [Option<Steps>],
        full: impl Fn(u32) -> u32,
    ) -> u32 {
        let short = scale_for(self.precision.argument, self.ranges.largest(input.index()));
        let argument = if cut == Cut::None { scale } else { scale.min(short) };
        let full = full(argument);
        steps[op] = Some(Steps { cut, argument, full });
        match cut {
            Cut::Both => full.min(scale_for(self.precision.argument, self.ranges.largest(op + 1))),
            _ => full,
        }
    }

    /// The first value whose integers, with the margin, do not fit.
    fn overflow(&self, layout: &Layout) -> Option<usize> {
        let largest = i64::from(largest_ell(self.limbs));
        let fits = |value: usize| {
            let full = value.checked_sub(1).and_then(|op| layout.steps[op]).map_or(0, |s| s.full);
            i64::from(layout.values[value].max(full)) + self.bits(value) <= largest
        };
        // What is compared must lie in its window, a guard bit further.
        let compared = self.folded.ops.iter().enumerate().find_map(|(op, folded)| {
            let (value, range) = match &folded.kind {
                FoldedKind::Pieces { input, pieces, .. } => {
                    let distances =
                        pieces.thresholds().iter().map(|&t| self.ranges.distance(input.index(), t));
                    (input.index(), distances.fold(0.0, f64::max))
                }
                FoldedKind::MaxPool { input, .. } => (input.index(), self.ranges.spread(op)),
                FoldedKind::Extreme { left, .. } => (left.index(), self.ranges.spread(op)),
                _ => return None,
            };
            let scale = match &folded.kind {
                FoldedKind::Extreme { .. } => layout.values[op + 1],
                _ => layout.values[value],
            };
            let furthest = match &folded.kind {
                FoldedKind::Pieces { pieces, .. } => {
                    pieces.thresholds().iter().fold(0.0, |m: f64, t| m.max(t.abs()))
                }
                _ => 0.0,
            };
            let threshold = i64::from(scale) + guard_bits(furthest);
            let fits = threshold <= THRESHOLD_BITS || furthest == 0.0;
            (!fits || !Window::fits(scale, range * self.margin, self.limbs.bits())).then_some(value)
        });
        (0..layout.values.len()).find(|&value| !fits(value)).or(compared)
    }

    fn bits(&self, value: usize) -> i64 {
        guard_bits(self.ranges.largest(value) * self.margin) + self.room
    }

    /// The activation before a value, or at it, that can drop bits which the value has too many.
    fn culprit(&self, layout: &Layout, value: ValueId) -> Option<usize> {
        let op = value.op()?.index();
        let largest_of = |values: &[ValueId]| values.iter().copied().max_by_key(|v| layout.values[v.index()]);
        match &self.folded.ops[op].kind {
            FoldedKind::Linear { input, .. }
            | FoldedKind::MaxPool { input, .. }
            | FoldedKind::SumPool { input, .. }
            | FoldedKind::Gather { input, .. }
            | FoldedKind::Weigh { input, .. } => self.culprit(layout, *input),
            FoldedKind::Multiply { left, right } => {
                let first = largest_of(&[*left, *right])?;
                let second = if first == *left { *right } else { *left };
                self.culprit(layout, first).or_else(|| self.culprit(layout, second))
            }
            FoldedKind::Add { left, right } | FoldedKind::Extreme { left, right, .. } => {
                self.culprit(layout, largest_of(&[*left, *right])?)
            }
            FoldedKind::Concat { parts } => self.culprit(layout, largest_of(parts)?),
            FoldedKind::Pieces { input, .. }
            | FoldedKind::Activation { input, .. }
            | FoldedKind::Polynomial { input, .. } => {
                let Steps { cut, full, .. } = layout.steps[op]?;
                let short = |value: usize| scale_for(self.precision.argument, self.ranges.largest(value));
                let helps = match cut {
                    Cut::None => layout.values[input.index()] > short(input.index()),
                    Cut::Argument => full > short(op + 1),
                    Cut::Both => false,
                };
                // Dropping bits of the result does not help it to fit before.
                let itself = i64::from(full) + self.bits(op + 1) > i64::from(largest_ell(self.limbs));
                (helps && !(itself && cut == Cut::Argument)).then_some(op)
            }
        }
    }

    /// Scale of the result of a function in pieces: that of its highest power, and bits for
    /// coefficients.
    fn full_scale(&self, pieces: &Pieces, argument: u32) -> u32 {
        let degree = pieces.degree() as u32;
        let slopes = pieces.polynomials().iter().flat_map(|p| p.iter().skip(1).copied());
        let exact = |bits: u32| {
            let unit = 2f64.powi(bits as i32);
            slopes.clone().all(|a| (a * unit).fract() == 0.0)
        };
        let least = if degree > 1 { CURVE_BITS } else { SLOPE_BITS };
        let most = least.max(self.precision.argument.saturating_sub(FEWER_BITS));
        let bits = (0..most).find(|&bits| exact(bits)).unwrap_or_else(|| {
            // Small coefficients get as many bits as others.
            let largest = slopes.clone().fold(0f64, |m, a| m.max(a.abs()));
            scale_for(most, largest)
        });
        degree * argument + bits
    }

    fn too_large(&self, layout: &Layout, value: usize) -> ModelError {
        let full = value.checked_sub(1).and_then(|op| layout.steps[op]).map_or(0, |s| s.full);
        let scale = layout.values[value].max(full);
        let name = value.checked_sub(1).map_or("input", |op| self.folded.ops[op].name.as_str());
        let needed = scale.saturating_add_signed(self.bits(value) as i32) + 3;
        ModelError::Scale {
            layer: name.to_owned(),
            needed,
            available: self.limbs.bits(),
            limbs: self.limbs.count(),
            detail: format!("scale 2^{scale} and a range of {}", self.ranges.largest(value) * self.margin),
            advice: SMALLER_SCALES.to_owned(),
        }
    }
}

/// Whether a maximum of windows can be computed together with what is behind it: an activation of one
/// threshold.
pub(super) fn fusable(folded: &Folded, maximum: usize) -> bool {
    let behind = folded.ops.get(maximum + 1).map(|op| &op.kind);
    let one = matches!(behind, Some(FoldedKind::Pieces { pieces, .. }) if pieces.thresholds().len() == 1);
    one && folded.is_maximum_before_pieces(maximum)
}

/// The scale at which numbers up to `largest` have `bits` bits.
fn scale_for(bits: u32, largest: f64) -> u32 {
    (i64::from(bits) - guard_bits(largest)).clamp(0, MOST) as u32
}
