//! Units of arguments between powers of two.
//!
//! The argument of an activation of degree `d` has scale `f_u`, which counts `d` times in the scale
//! of its result: one bit more of argument costs `d` bits of coefficients and weights, and up to
//! `d - 1` bits are left over. Storing `s u` instead of `u`, with `s = 2^(j/d)`, and coefficients
//! `a_k / s^k` moves `j` of these bits: the argument and the weights before it gain `j/d` bits, the
//! coefficients lose up to `j`. What the network computes stays the same.
//!
//! Nothing is measured again: with the units of stored numbers, what a rounding costs changes by
//! known factors.

use amicus_plan::ValueId;

use crate::calibrate::Calibration;
use crate::fold::{Folded, FoldedKind};

/// How often all activations are looked at: what is best for one depends a little on its
/// neighbours.
const SWEEPS: usize = 2;

/// A folded network in other units, with its calibration.
#[derive(Clone, Debug)]
pub(crate) struct Rescaled {
    pub(crate) folded: Folded,
    pub(crate) calibration: Calibration,
}

/// The units for which `predict`, the error to expect, is smallest; `None` when the present ones
/// are.
pub(crate) fn rescale(
    folded: &Folded,
    calibration: &Calibration,
    predict: impl Fn(&Folded, &Calibration) -> Option<f64>,
) -> Option<Rescaled> {
    let groups = Groups::of(folded);
    let mut steps = vec![0; folded.ops.len() + 1];
    let mut best = predict(folded, calibration)?;
    let mut found = None;
    for _ in 0..SWEEPS {
        let before = best;
        for &(group, degree) in &groups.free {
            for step in 0..degree {
                let kept = std::mem::replace(&mut steps[group], step);
                if step == kept {
                    continue;
                }
                let tried = Rescaled::new(folded, calibration, &groups.units(&steps));
                match predict(&tried.folded, &tried.calibration) {
                    Some(error) if error < best => (best, found) = (error, Some(tried)),
                    _ => steps[group] = kept,
                }
            }
        }
        if best == before {
            break;
        }
    }
    found
}

impl Rescaled {
    fn new(folded: &Folded, calibration: &Calibration, units: &[f64]) -> Self {
        let rescaled = in_units(folded, units);
        let calibration = calibration.in_units(&rescaled, units);
        Rescaled { folded: rescaled, calibration }
    }
}

/// The network in units of results in which polynomials that are even but for their linear term have
/// the argument itself for it, where these units are free; `None` where all stay as they are.
///
/// Nothing is rounded differently but by the units of the weights behind. Such polynomials can be dealt
/// as ones in the square of their argument ([`mod@super::behind_truncations`]).
pub(crate) fn with_slopes_of_one(folded: &Folded, calibration: &Calibration) -> Option<Rescaled> {
    let Groups { of, degree, .. } = Groups::of(folded);
    let fixed = [of[0], of[folded.output.index()]];
    let mut by_group: Vec<Option<f64>> = vec![None; of.len()];
    for (index, op) in folded.ops.iter().enumerate() {
        let FoldedKind::Activation { input, coefficients, .. } = &op.kind else { continue };
        let group = of[index + 1];
        let even = coefficients.len() >= 5 && coefficients.iter().skip(3).step_by(2).all(|a| *a == 0.0);
        let slope = coefficients.get(1).copied().filter(|a| even && *a > 0.0 && of[input.index()] != group);
        let slope = slope.map(|a| a * by_group[of[input.index()]].unwrap_or(1.0));
        // Where arguments are in them too they change by powers of two only.
        let free = !fixed.contains(&group) && by_group[group].is_none();
        let unit = slope.filter(|s| free && (degree[group] == 1 || s.log2().fract() == 0.0)).unwrap_or(1.0);
        // What an argument is in stays as it is from here on.
        by_group[of[input.index()]].get_or_insert(1.0);
        by_group[group].get_or_insert(unit);
    }
    let units: Vec<f64> = of.iter().map(|&group| by_group[group].unwrap_or(1.0)).collect();
    // What is off by rounding alone stays.
    units.iter().any(|unit| (unit - 1.0).abs() > 1e-12).then(|| Rescaled::new(folded, calibration, &units))
}

/// The network with value `v` in units of `units[v]` times its present one.
pub(crate) fn in_units(folded: &Folded, units: &[f64]) -> Folded {
    let mut rescaled = folded.clone();
    for (index, op) in rescaled.ops.iter_mut().enumerate() {
        let result = units[index + 1];
        match &mut op.kind {
            FoldedKind::Linear { input, linear } => {
                let layer = &mut rescaled.linears[*linear];
                let by = units[input.index()] / result;
                layer.row_scale.0.iter_mut().for_each(|s| *s *= by);
                layer.bias.0.iter_mut().for_each(|b| *b /= result);
            }
            FoldedKind::Activation { input, coefficients, interval, .. } => {
                let unit = units[input.index()];
                in_unit(coefficients, unit, result);
                *interval /= unit;
                if unit.log2().fract() != 0.0 {
                    rescaled.rewrites.push(format!(
                        "argument of {} rescaled to [-{:.4}, {:.4}], to use bits that were left over",
                        op.name, interval, interval
                    ));
                }
            }
            FoldedKind::Polynomial { input, coefficients, .. } => {
                in_unit(coefficients, units[input.index()], result);
            }
            FoldedKind::Pieces { .. }
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
    rescaled.factors.iter_mut().zip(units).for_each(|(f, unit)| *f *= unit);
    rescaled
}

/// A polynomial of a value in units of `unit`, its result in units of `result`.
fn in_unit(coefficients: &mut [f64], unit: f64, result: f64) {
    let mut by = 1.0 / result;
    for a in coefficients {
        *a *= by;
        by *= unit;
    }
}

/// Values that have one unit, tied by additions, pooling and activations that only open a value.
struct Groups {
    /// The group of every value, named by one of its values.
    of: Vec<usize>,
    /// Groups that feed activations and hold neither the input nor the result: the group, the
    /// highest degree.
    free: Vec<(usize, usize)>,
    /// That degree by group, 1 elsewhere.
    degree: Vec<usize>,
}

impl Groups {
    fn of(folded: &Folded) -> Self {
        let values = folded.ops.len() + 1;
        let mut of: Vec<usize> = (0..values).collect();
        let mut tie = |a: usize, b: ValueId| {
            let (from, to) = (of[a], of[b.index()]);
            of.iter_mut().filter(|g| **g == from).for_each(|g| *g = to);
        };
        for (index, op) in folded.ops.iter().enumerate() {
            match &op.kind {
                FoldedKind::Activation { input, coefficients, .. }
                    if matches!(coefficients[..], [0.0, _]) =>
                {
                    tie(index + 1, *input);
                }
                FoldedKind::Linear { .. } | FoldedKind::Activation { .. } | FoldedKind::Polynomial { .. } => {
                }
                kind => kind.inputs().into_iter().for_each(|input| tie(index + 1, input)),
            }
        }
        let fixed = [of[0], of[folded.output.index()]];
        let mut degree = vec![1; values];
        for op in &folded.ops {
            if let FoldedKind::Activation { input, coefficients, .. } = &op.kind {
                let group = of[input.index()];
                if !fixed.contains(&group) {
                    degree[group] = degree[group].max(coefficients.len() - 1);
                }
            }
        }
        let free = (0..values).filter(|&g| degree[g] > 1).map(|g| (g, degree[g])).collect();
        Groups { of, free, degree }
    }

    /// The unit of every value: `2^(-j/d)` of the present one, `j` by group.
    fn units(&self, steps: &[usize]) -> Vec<f64> {
        let unit = |&g: &usize| (-(steps[g] as f64) / self.degree[g] as f64).exp2();
        self.of.iter().map(unit).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot be set up fails
    use super::*;
    use crate::calibrate::calibrate;
    use crate::fake_quantisation::{FakeQuantised, Rounding, SplitMix};
    use crate::fold::FoldedOp;
    use crate::networks;

    fn close(a: f64, b: f64, tolerance: f64) -> bool {
        (a - b).abs() <= tolerance * a.abs().max(b.abs())
    }

    /// A network with sums, whose groups feed activations of their own.
    fn residual(seed: u64) -> (Folded, Vec<Vec<f64>>) {
        let folded = Folded::new(&networks::resnet8_random(seed, 8).unwrap()).unwrap();
        let mut random = SplitMix(seed);
        let samples = (0..3).map(|_| (0..folded.input_len()).map(|_| random.unit()).collect()).collect();
        (folded, samples)
    }

    /// Some step for every group that may have one.
    fn some_units(folded: &Folded) -> Vec<f64> {
        let groups = Groups::of(folded);
        let mut steps = vec![0; folded.ops.len() + 1];
        for (i, &(group, degree)) in groups.free.iter().enumerate() {
            steps[group] = (i + 1) % degree;
        }
        groups.units(&steps)
    }

    #[test]
    fn values_are_the_same_in_other_units() {
        let (folded, samples) = residual(3);
        let (calibration, _) = calibrate(&folded, &samples, 3).unwrap();
        let units = some_units(&folded);
        assert!(units.iter().filter(|u| **u < 1.0).count() >= 8, "{units:?}");
        assert_eq!((units[0], units[folded.output.index()]), (1.0, 1.0));
        let rescaled = Rescaled::new(&folded, &calibration, &units).folded;
        assert!(rescaled.rewrites.iter().any(|r| r.contains("rescaled to [-1.")), "{:?}", rescaled.rewrites);
        let run = |folded: &Folded| FakeQuantised::run(folded, &samples, &Rounding::none(folded));
        let (before, after) = (run(&folded), run(&rescaled));
        for (value, unit) in units.iter().enumerate() {
            let real = |run: &FakeQuantised, folded: &Folded| run.largest(value) * folded.factors[value];
            let [a, b] = [real(&before, &folded), real(&after, &rescaled)];
            assert!(close(a, b, 1e-9), "value {value}: {a} and {b}");
            assert!(close(rescaled.factors[value], folded.factors[value] * unit, 1e-12));
        }
        let error = crate::measure::relative_error(
            after.first(folded.output.index()),
            before.first(folded.output.index()),
        );
        assert!(error < 1e-9, "{error}");
    }

    #[test]
    fn linear_terms_are_the_argument_itself_where_units_are_free() {
        let (plain, samples) = residual(3);
        let (calibration, _) = calibrate(&plain, &samples, 3).unwrap();
        let slopes = |folded: &Folded| -> Vec<f64> {
            let of = |op: &FoldedOp| match &op.kind {
                FoldedKind::Activation { coefficients, .. } if coefficients.len() == 7 => {
                    Some(coefficients[1])
                }
                _ => None,
            };
            folded.ops.iter().filter_map(of).collect()
        };
        let ones = |folded: &Folded| slopes(folded).iter().filter(|s| close(**s, 1.0, 1e-12)).count();
        assert_eq!(ones(&plain), 0);
        // In units chosen for arguments too.
        let other = Rescaled::new(&plain, &calibration, &some_units(&plain));
        for Rescaled { folded, calibration } in [Rescaled { folded: plain, calibration }, other] {
            let one = with_slopes_of_one(&folded, &calibration).unwrap();
            assert_eq!(ones(&one.folded), slopes(&folded).len(), "{:?}", slopes(&one.folded));
            assert!(with_slopes_of_one(&one.folded, &one.calibration).is_none());
            let result = |folded: &Folded| {
                let run = FakeQuantised::run(folded, &samples, &Rounding::none(folded));
                run.first(folded.output.index()).to_vec()
            };
            let error = crate::measure::relative_error(&result(&one.folded), &result(&folded));
            assert!(error < 1e-9, "{error}");
            // Arguments are where they were, to powers of two.
            for (op, before) in one.folded.ops.iter().zip(&folded.ops) {
                if let (
                    FoldedKind::Activation { interval, .. },
                    FoldedKind::Activation { interval: before, .. },
                ) = (&op.kind, &before.kind)
                {
                    assert_eq!((interval / before).log2().fract(), 0.0);
                }
            }
            // Nothing to do where odd terms are more than that.
            let mut odd = folded.clone();
            for op in &mut odd.ops {
                if let FoldedKind::Activation { coefficients, .. } = &mut op.kind
                    && let Some(third) = coefficients.get_mut(3)
                {
                    *third = 0.25;
                }
            }
            assert!(with_slopes_of_one(&odd, &calibration).is_none());
        }
    }

    #[test]
    fn calibration_in_other_units_is_what_would_be_measured() {
        // Logarithms of known over measured. Rounding errors of single layers are random, those of
        // many even out.
        let (mut weights, mut arguments) = (Vec::new(), Vec::new());
        for seed in 0..16 {
            let (folded, samples) = residual(seed);
            let (calibration, _) = calibrate(&folded, &samples, 3).unwrap();
            let Rescaled { folded, calibration: known } =
                Rescaled::new(&folded, &calibration, &some_units(&folded));
            let (measured, _) = calibrate(&folded, &samples, 3).unwrap();
            for (value, (a, b)) in known.seen.iter().zip(&measured.seen).enumerate() {
                assert!(close(*a, *b, 1e-9), "range of value {value}: {a} and {b}");
            }
            let (known, measured) = (&known.sources, &measured.sources);
            for (op, FoldedOp { name, kind, .. }) in folded.ops.iter().enumerate() {
                match kind {
                    FoldedKind::Linear { linear, .. } => {
                        weights.push((known.weights(*linear, 12) / measured.weights(*linear, 12)).ln());
                    }
                    FoldedKind::Activation { .. } => {
                        arguments.push((known.argument(op, 12) / measured.argument(op, 12)).ln());
                        let [a, b] = [known, measured].map(|s| s.coefficients(op, 10));
                        assert!(close(a, b, 1e-3), "coefficients of {name}: {a} and {b}");
                    }
                    _ => {}
                }
            }
        }
        for mut ratios in [weights, arguments] {
            ratios.retain(|r| r.abs() > 1e-6);
            let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
            assert!(ratios.len() > 50 && mean.abs() < 0.3, "{mean}");
        }
    }

    #[test]
    fn the_best_units_are_found_and_none_when_all_are_worse() {
        let (folded, samples) = residual(3);
        let (calibration, _) = calibrate(&folded, &samples, 3).unwrap();
        // The nearer every interval to 1.4, the better.
        let predict = |folded: &Folded, _: &Calibration| {
            let off = |op: &FoldedOp| match op.kind {
                FoldedKind::Activation { interval, .. } => (interval - 1.4).abs(),
                _ => 0.0,
            };
            Some(folded.ops.iter().map(off).sum::<f64>())
        };
        let found = rescale(&folded, &calibration, predict).unwrap();
        assert!(predict(&found.folded, &found.calibration) < predict(&folded, &calibration));
        // 2^(3/6) = 1.414, the nearest of the sixth parts of a power of two.
        let at = |op: &FoldedOp| match &op.kind {
            FoldedKind::Activation { interval, coefficients, .. } if coefficients.len() == 7 => {
                Some(*interval)
            }
            _ => None,
        };
        assert!(found.folded.ops.iter().filter_map(at).any(|i| close(i, 2f64.sqrt(), 1e-12)));
        assert!(
            rescale(&folded, &calibration, |f, _| Some(if f.factors == folded.factors { 0.0 } else { 1.0 }))
                .is_none()
        );
        assert!(rescale(&folded, &calibration, |_, _| None).is_none());
    }
}
