//! Choosing fixed-point scales (`docs/protocol.md`, section 8).
//!
//! The scale of a linear layer's result is that of its input plus that of its weights,
//! `T = d f_u + f_c + f_w` behind an activation of degree `d`. `T` plus the bits of the largest
//! value must stay below a limit, so every bit given to `f_u`, `f_c` or `f_w` is taken from the
//! others. What a bit is worth has been measured ([`ErrorSources`]); errors of different places add
//! up as squares, so each activation with the layers behind it is chosen by itself.

use amicus_field::Limbs;
use amicus_plan::ValueId;
use serde::Serialize;

use crate::calibrate::{Calibration, ErrorSources};
use crate::error::{ModelError, SMALLER_SCALES};
use crate::fake_quantisation::Rounding;
use crate::fold::{Folded, FoldedKind, FoldedOp};

/// Scales tried for the argument of a polynomial.
const ARGUMENT: [u32; 2] = [6, 20];
/// Scales tried for coefficients.
const COEFFICIENTS: [u32; 2] = [6, 22];
/// Scales tried for weights.
const WEIGHTS: [u32; 2] = [6, 24];
/// Scales tried for the input and for weights that meet it: enough for images of 8 to 16 bits,
/// short enough for the statistical truncation.
///
/// These are for numbers of usual size; others are shifted, see [`shift_for`].
const INPUT: [u32; 2] = [6, 16];
const FIRST_WEIGHTS: [u32; 2] = [6, 20];
/// Numbers from `2^-4` to `2^4` are of usual size.
const USUAL_BITS: i64 = 4;

/// Scales that the caller wants, instead of those the planner would choose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForcedScales {
    /// Scale `f_in` of the input.
    pub input: Option<u32>,
    /// Scale `f_u` of every polynomial's argument.
    pub argument: Option<u32>,
    /// Scale `f_c` of every polynomial's coefficients.
    pub coefficients: Option<u32>,
    /// Scale `f_w` of the weights of every linear layer.
    pub weights: Option<u32>,
    /// Scale `f_w` of the weights of single layers, by name; goes before `weights`.
    pub layer_weights: Vec<(String, u32)>,
}

/// The scales of one plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scales {
    /// Scale of the input.
    pub input: u32,
    /// Scale of every linear layer's weights.
    pub weights: Vec<u32>,
    /// Scales of every operation that is an activation.
    pub activations: Vec<Option<ActivationScales>>,
}

/// Scales of one activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ActivationScales {
    /// Scale `f_u` of the argument.
    pub argument: u32,
    /// Scale `f_c` of the coefficients.
    pub coefficients: u32,
}

/// Bits a truncated value may have, and those its range takes.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    pub(crate) limbs: Limbs,
    /// Largest `ell` of an activation's input.
    pub(crate) activation: i64,
    /// Largest `ell` of the result.
    pub(crate) output: i64,
    /// Bits of the largest value (with margin) at every value that is truncated.
    pub(crate) guard: Vec<i64>,
}

/// The smallest `g` with `range < 2^g`, from -59 (ranges below `2^-60` are of no use) to 10,000
/// (more than any modulus has, infinite ranges included). A range of 0 says nothing: it counts as
/// one below 1.
pub(crate) fn guard_bits(range: f64) -> i64 {
    if range == 0.0 { 0 } else { range.log2().floor().clamp(-60.0, 9_999.0) as i64 + 1 }
}

/// Bits by which the scales of numbers up to `largest` are shifted: none where that is from 1/16 to
/// 16, else as many as bring it there.
pub(crate) fn shift_for(largest: f64) -> i64 {
    let bits = guard_bits(largest);
    (-bits - USUAL_BITS).max(0) - (bits - USUAL_BITS).max(0)
}

impl Scales {
    /// Scale of every value of a folded network.
    pub fn values(&self, folded: &Folded) -> Vec<u32> {
        let mut scales = vec![self.input];
        for index in 0..folded.ops.len() {
            scales.push(self.result(folded, index, &scales));
        }
        scales
    }

    /// Scale of the result of operation `op`, from those of the values before it.
    fn result(&self, folded: &Folded, op: usize, scales: &[u32]) -> u32 {
        match &folded.ops[op].kind {
            FoldedKind::Linear { input, linear } => scales[input.index()] + self.weights[*linear],
            FoldedKind::Activation { coefficients, .. } => {
                self.activations[op].map_or(0, |a| result_scale(coefficients.len() - 1, a))
            }
            FoldedKind::Polynomial { input, coefficients, scale, .. } => {
                (coefficients.len() as u32 - 1) * scales[input.index()] + scale
            }
            FoldedKind::Add { left, right } | FoldedKind::Extreme { left, right, .. } => {
                scales[left.index()].max(scales[right.index()])
            }
            FoldedKind::Concat { parts } => parts.iter().map(|p| scales[p.index()]).max().unwrap_or_default(),
            FoldedKind::Multiply { left, right } => scales[left.index()] + scales[right.index()],
            FoldedKind::SumPool { input, .. }
            | FoldedKind::Weigh { input, .. }
            | FoldedKind::Gather { input, .. }
            // The planner of comparisons has scales of its own.
            | FoldedKind::Pieces { input, .. }
            | FoldedKind::MaxPool { input, .. } => scales[input.index()],
        }
    }

    /// Scale of the result of every linear layer.
    pub(crate) fn linear_results(&self, folded: &Folded) -> Vec<u32> {
        let values = self.values(folded);
        let mut results = vec![0; folded.linears.len()];
        for (index, op) in folded.ops.iter().enumerate() {
            if let FoldedKind::Linear { linear, .. } = op.kind {
                results[linear] = values[index + 1];
            }
        }
        results
    }

    /// The rounding that these scales mean.
    pub(crate) fn rounding(&self) -> Rounding {
        Rounding {
            input: Some(self.input),
            weights: self.weights.iter().map(|&w| Some(w)).collect(),
            arguments: self.activations.iter().map(|a| a.map(|a| a.argument)).collect(),
            coefficients: self.activations.iter().map(|a| a.map(|a| a.coefficients)).collect(),
        }
    }

    /// The mean squared relative error that the sources predict.
    pub(crate) fn predicted(&self, sources: &ErrorSources) -> f64 {
        let weights: f64 = self.weights.iter().enumerate().map(|(l, &f)| sources.weights(l, f)).sum();
        let activations = self.activations.iter().enumerate().filter_map(|(op, a)| a.map(|a| (op, a)));
        let activations: f64 = activations
            .map(|(op, a)| sources.argument(op, a.argument) + sources.coefficients(op, a.coefficients))
            .sum();
        sources.input(self.input) + weights + activations
    }
}

fn result_scale(degree: usize, a: ActivationScales) -> u32 {
    a.argument * degree as u32 + a.coefficients
}

/// Chooses the most precise scales that fit.
///
/// # Errors
/// When none fit: the layer, bits needed with the smallest scales allowed, bits there.
pub(crate) fn choose(
    folded: &Folded,
    calibration: &Calibration,
    room: &Room,
    forced: &ForcedScales,
) -> Result<Scales, ModelError> {
    let search = Search { folded, sources: &calibration.sources, room, forced, caps: caps(folded, room) };
    search.run()
}

/// The largest scale each value may have: below the bits of the modulus, and because of the
/// truncations it reaches by additions and pooling alone.
fn caps(folded: &Folded, room: &Room) -> Vec<i64> {
    let mut caps = vec![i64::from(room.limbs.bits()) - 1; folded.ops.len() + 1];
    fn lower(caps: &mut [i64], value: ValueId, cap: i64) {
        let slot = &mut caps[value.index()];
        *slot = cap.min(*slot);
    }
    lower(&mut caps, folded.output, room.output - room.guard[folded.output.index()]);
    for (index, op) in folded.ops.iter().enumerate().rev() {
        let own = caps[index + 1];
        match &op.kind {
            FoldedKind::Linear { .. }
            | FoldedKind::Polynomial { .. }
            | FoldedKind::Pieces { .. }
            | FoldedKind::MaxPool { .. }
            | FoldedKind::Multiply { .. }
            | FoldedKind::Extreme { .. } => {}
            FoldedKind::Activation { input, .. } => {
                lower(&mut caps, *input, room.activation - room.guard[input.index()]);
            }
            FoldedKind::Add { left, right } => {
                lower(&mut caps, *left, own);
                lower(&mut caps, *right, own);
            }
            FoldedKind::Concat { parts } => parts.iter().for_each(|p| lower(&mut caps, *p, own)),
            FoldedKind::SumPool { input, .. }
            | FoldedKind::Weigh { input, .. }
            | FoldedKind::Gather { input, .. } => {
                lower(&mut caps, *input, own);
            }
        }
    }
    caps
}

struct Search<'a> {
    folded: &'a Folded,
    sources: &'a ErrorSources,
    room: &'a Room,
    forced: &'a ForcedScales,
    caps: Vec<i64>,
}

impl Search<'_> {
    fn run(&self) -> Result<Scales, ModelError> {
        let ops = self.folded.ops.len();
        let mut scales =
            Scales { input: 0, weights: vec![0; self.folded.linears.len()], activations: vec![None; ops] };
        let allowed = self.allowed(self.forced.input, INPUT, self.sources.shifts.input);
        // An argument is no finer than the value it is taken from.
        let opened = self.opened_input();
        let cost = |f: u32| {
            let arguments = opened.iter().map(|&op| self.sources.argument(op, f.min(ARGUMENT[1])));
            Some(self.sources.input(f) + arguments.sum::<f64>() + self.behind(0, f)?)
        };
        scales.input = cheapest(allowed.clone().map(|f| (f, cost(f))))
            .ok_or_else(|| self.too_large(0, *allowed.start(), format!("input at 2^{}", allowed.start())))?;
        let mut values = vec![scales.input];
        for (index, op) in self.folded.ops.iter().enumerate() {
            // What comes before is chosen: so is the scale of what is read.
            match &op.kind {
                FoldedKind::Activation { input, coefficients, .. } => {
                    let chosen = self.activation(index, coefficients.len() - 1, values[input.index()])?;
                    scales.activations[index] = Some(chosen);
                }
                FoldedKind::Linear { input, linear } => {
                    let at = values[input.index()];
                    let fits = self.weight_scale(index, *linear, at, *input == ValueId::INPUT);
                    scales.weights[*linear] = fits.unwrap_or(WEIGHTS[0]);
                }
                _ => {}
            }
            values.push(scales.result(self.folded, index, &values));
        }
        Ok(scales)
    }

    /// Activations that read the input, directly or through additions and pooling.
    fn opened_input(&self) -> Vec<usize> {
        let reached = self.reached(0);
        let reads = |(index, op): (usize, &FoldedOp)| match op.kind {
            FoldedKind::Activation { input, .. } if reached[input.index()] => Some(index),
            _ => None,
        };
        self.folded.ops.iter().enumerate().filter_map(reads).collect()
    }

    /// The best scales of an activation of a value of scale `at`.
    fn activation(&self, op: usize, degree: usize, at: u32) -> Result<ActivationScales, ModelError> {
        let arguments = self.allowed(self.forced.argument, ARGUMENT, 0);
        let arguments = (*arguments.start()).min(at)..=(*arguments.end()).min(at);
        // A value opened by itself needs none.
        let coefficients = match &self.folded.ops[op].kind {
            FoldedKind::Activation { coefficients, .. } if *coefficients == [0.0, 1.0] => 0..=0,
            _ => self.allowed(self.forced.coefficients, COEFFICIENTS, 0),
        };
        let pairs = arguments.clone().flat_map(|argument| {
            coefficients.clone().map(move |coefficients| ActivationScales { argument, coefficients })
        });
        let cost = |a: ActivationScales| {
            let own = self.sources.argument(op, a.argument) + self.sources.coefficients(op, a.coefficients);
            Some(own + self.behind(op + 1, result_scale(degree, a))?)
        };
        cheapest(pairs.map(|a| (a, cost(a)))).ok_or_else(|| {
            let smallest =
                ActivationScales { argument: *arguments.start(), coefficients: *coefficients.start() };
            let detail = format!(
                "argument 2^{} to the power {degree} and coefficients 2^{}",
                smallest.argument, smallest.coefficients
            );
            self.too_large(op + 1, result_scale(degree, smallest), detail)
        })
    }

    fn allowed(&self, forced: Option<u32>, range: [u32; 2], shift: i64) -> std::ops::RangeInclusive<u32> {
        let shifted = |f: u32| u32::try_from(i64::from(f) + shift).unwrap_or(0);
        forced.map_or(shifted(range[0])..=shifted(range[1]), |f| f..=f)
    }

    fn allowed_weights(&self, linear: usize, from_input: bool) -> std::ops::RangeInclusive<u32> {
        let name = &self.folded.linears[linear].name;
        let own = self.forced.layer_weights.iter().find(|(n, _)| n == name).map(|(_, f)| *f);
        let range = if from_input { FIRST_WEIGHTS } else { WEIGHTS };
        self.allowed(own.or(self.forced.weights), range, self.sources.shifts.weights[linear])
    }

    /// The values that hold value `value`'s numbers: itself, and what additions, pooling and
    /// joining make of it.
    fn reached(&self, value: usize) -> Vec<bool> {
        let mut reached = vec![false; self.folded.ops.len() + 1];
        reached[value] = true;
        for (index, op) in self.folded.ops.iter().enumerate() {
            if let FoldedKind::Add { .. }
            | FoldedKind::SumPool { .. }
            | FoldedKind::Concat { .. }
            | FoldedKind::Gather { .. }
            | FoldedKind::Weigh { .. } = op.kind
            {
                reached[index + 1] |= op.kind.inputs().iter().any(|v| reached[v.index()]);
            }
        }
        reached
    }

    /// The linear layers that read a value, directly or through additions and pooling: (operation,
    /// layer).
    fn readers(&self, value: usize) -> Vec<(usize, usize)> {
        let reached = self.reached(value);
        let reads = |(index, op): (usize, &FoldedOp)| match op.kind {
            FoldedKind::Linear { input, linear } if reached[input.index()] => Some((index, linear)),
            _ => None,
        };
        self.folded.ops.iter().enumerate().filter_map(reads).collect()
    }

    /// The largest allowed scale of a layer's weights when its input has scale `input`.
    fn weight_scale(&self, op: usize, linear: usize, input: u32, from_input: bool) -> Option<u32> {
        let allowed = self.allowed_weights(linear, from_input);
        let left = self.caps[op + 1] - i64::from(input);
        let most = left.min(i64::from(*allowed.end()));
        u32::try_from(most).ok().filter(|f| allowed.contains(f))
    }

    /// The cost of the weights behind a value of scale `scale`; `None` when that leaves no room for
    /// them, or for a polynomial of it.
    fn behind(&self, value: usize, scale: u32) -> Option<f64> {
        if i64::from(scale) > self.caps[value] {
            return None;
        }
        let reached = self.reached(value);
        for (index, op) in self.folded.ops.iter().enumerate() {
            if let FoldedKind::Polynomial { input, coefficients, scale: own, .. } = &op.kind
                && reached[input.index()]
                && (coefficients.len() as i64 - 1) * i64::from(scale) + i64::from(*own) > self.caps[index + 1]
            {
                return None;
            }
        }
        self.readers(value).into_iter().try_fold(0.0, |sum, (op, linear)| {
            let weights = self.weight_scale(op, linear, scale, value == 0)?;
            Some(sum + self.sources.weights(linear, weights))
        })
    }

    /// What does not fit behind a value even with its smallest scale.
    fn too_large(&self, value: usize, scale: u32, detail: String) -> ModelError {
        let name = |value: usize| match value.checked_sub(1) {
            None => "input".to_owned(),
            Some(op) => self.folded.ops[op].name.clone(),
        };
        let (mut excess, mut layer) = (i64::from(scale) - self.caps[value], name(value));
        let mut reason = detail.clone();
        for (op, linear) in self.readers(value) {
            let weights = *self.allowed_weights(linear, value == 0).start();
            let behind = i64::from(scale + weights) - self.caps[op + 1];
            if behind > excess {
                excess = behind;
                layer.clone_from(&self.folded.linears[linear].name);
                reason = format!("{detail}, weights 2^{weights}");
            }
        }
        let available = self.room.limbs.bits();
        ModelError::Scale {
            layer,
            needed: available.saturating_add_signed(i32::try_from(excess).unwrap_or(i32::MAX)),
            available,
            limbs: self.room.limbs.count(),
            detail: format!("{reason}, the calibrated range, sign and offset"),
            advice: SMALLER_SCALES.to_owned(),
        }
    }
}

/// The candidate of smallest cost, the first of equals; `None` when none has a cost.
fn cheapest<T>(candidates: impl Iterator<Item = (T, Option<f64>)>) -> Option<T> {
    let priced = candidates.filter_map(|(t, cost)| cost.map(|c| (t, c)));
    priced.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(t, _)| t)
}

#[cfg(test)]
mod tests {
    use super::{guard_bits, shift_for};

    #[test]
    fn guard_bits_hold_the_range() {
        for (range, bits) in [(0.99, 0), (1.0, 1), (1.01, 1), (2.0, 2), (0.25, -1), (0.2, -2), (18.5, 5)] {
            assert_eq!(guard_bits(range), bits, "{range}");
        }
        assert_eq!((guard_bits(0.0), guard_bits(1e-30)), (0, -59));
        for (largest, shift) in [(0.0, 0), (1.0, 0), (0.07, 0), (0.01, 2), (15.9, 0), (16.0, -1), (255.0, -4)]
        {
            assert_eq!(shift_for(largest), shift, "{largest}");
        }
        assert_eq!(guard_bits(f64::INFINITY), 10_000);
    }
}
