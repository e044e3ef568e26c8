//! Polynomials in steps with rounding between, so that a modulus of few limbs holds them
//! (`docs/protocol.md`, section 8).
//!
//! A polynomial of degree `d` on integers of `f` bits has results of `d f` bits, and the weights
//! behind it bits of their own: degree 6 takes two limbs. One that is even but for its linear term
//! is `q(k u^2) + a u`. With `k u^2` rounded before `q`, and the sum before the next layer, no step
//! has more than about half as many bits, and with the right `k` the leading coefficient of `q` has
//! none. One limb holds that: layers take half the time, and fewer bytes are dealt, for more rounds.

use amicus_field::SumPool2d;
use amicus_plan::{OpKind, Part, ScaleBits, Select, ValueId};

use crate::fake_quantisation::power_of_two;
use crate::float::horner;
use crate::fold::{Folded, FoldedKind, FoldedOp};

/// Points on each side of 0 at which the largest result is looked for.
const POINTS: i32 = 64;

/// What the name of the argument has beyond the activation's.
const ARGUMENT: &str = ".argument";
/// What the name of its square has beyond it.
const SQUARE: &str = ".square";
/// What the name of the rounded square has beyond it.
const ROUNDED_SQUARE: &str = ".square.rounded";
/// What the name of the even part has beyond it.
const EVEN: &str = ".even";
/// What the name of the linear part has beyond it.
const LINEAR: &str = ".linear";
/// What the name of a value that is rounded for the layers behind has beyond its own.
const ROUNDED: &str = ".rounded";

/// A value opened as it is.
const ITSELF: [f64; 2] = [0.0, 1.0];
/// Bits that are kept at least, below 1 and below the first one, of what squares are multiplied by and
/// of coefficients of linear terms.
const FACTOR_BITS: i32 = 14;
/// Most bits of their scale.
const LARGEST_SCALE: i32 = 24;
/// Squares are multiplied by this at most, and by one over it at least.
const LARGEST_FACTOR: f64 = 64.0;

/// The network with polynomials in steps; `None` where none can be.
///
/// Its operations have the names of those they replace and follow one another in the same order: the
/// last step of an activation has the activation's own.
pub(crate) fn stepwise(folded: &Folded) -> Option<Folded> {
    let mut steps = Steps { ops: Vec::new(), factors: vec![folded.factors[0]] };
    // The new numbers of the network's values, and which of them have the bits of a polynomial.
    let mut new = vec![ValueId::INPUT];
    let mut wide = vec![false];
    let mut rounded: Vec<Option<ValueId>> = vec![None];
    let mut largest: Vec<Option<f64>> = vec![None];
    let mut taken = Vec::new();
    for (index, op) in folded.ops.iter().enumerate() {
        let factor = folded.factors[index + 1];
        let mut kind = op.kind.clone();
        let old = op.kind.inputs();
        if let FoldedKind::Linear { input, .. } = &mut kind {
            let value = input.index();
            if wide[value] {
                let name = input.op().map_or("input", |op| &folded.ops[op.index()].name);
                let read = *rounded[value].get_or_insert_with(|| {
                    let opened = FoldedOp {
                        name: format!("{name}{ROUNDED}"),
                        len: folded.value_len(*input),
                        recorded: largest[value],
                        kind: FoldedKind::Activation {
                            input: new[value],
                            coefficients: ITSELF.to_vec(),
                            interval: 1.0,
                            pool: None,
                        },
                    };
                    steps.push(opened, folded.factors[value])
                });
                *input = read;
            } else {
                *input = new[value];
            }
        } else {
            kind.inputs_mut().into_iter().for_each(|input| *input = new[input.index()]);
        }
        let squares = factor_of_square(&op.kind);
        // What is opened is rounded; a polynomial of low degree needs no more.
        let opens = matches!(op.kind, FoldedKind::Linear { .. } | FoldedKind::Activation { .. });
        wide.push(squares.is_some() || !opens && old.iter().any(|input| wide[input.index()]));
        rounded.push(None);
        largest.push(squares.and_then(|_| largest_result(op)));
        let result = match squares {
            Some(square) => {
                taken.push(op.name.clone());
                let argument = folded.factors[old[0].index()];
                steps.activation(op, kind, square, [argument, factor])
            }
            None => steps.push(FoldedOp { kind, ..op.clone() }, factor),
        };
        new.push(result);
    }
    if taken.is_empty() {
        return None;
    }
    let mut rewrites = folded.rewrites.clone();
    rewrites.push(format!("polynomials of {} in squares of their arguments, rounded", taken.join(", ")));
    Some(Folded {
        ops: steps.ops,
        factors: steps.factors,
        output: new[folded.output.index()],
        rewrites,
        ..folded.clone()
    })
}

/// What squares are multiplied by, if an activation is even but for its linear term, of degree 4 at
/// least: the leading coefficient of its even part is 1 or -1 then, which takes no bits.
fn factor_of_square(kind: &FoldedKind) -> Option<f64> {
    let FoldedKind::Activation { coefficients, .. } = kind else { return None };
    let odd = coefficients.iter().skip(3).step_by(2).all(|a| *a == 0.0);
    if !odd || coefficients.len() < 5 || coefficients.len().is_multiple_of(2) {
        return None;
    }
    let leading = coefficients.last()?.abs();
    let (factor, _) = dyadic(leading.powf(2.0 / (coefficients.len() - 1) as f64));
    (1.0 / LARGEST_FACTOR..=LARGEST_FACTOR).contains(&factor).then_some(factor)
}

/// A number rounded to an integer over a power of two, and the scale that takes: 0 for 0 and 1.
fn dyadic(x: f64) -> (f64, u32) {
    if x == 0.0 {
        return (0.0, 0);
    }
    let below = FACTOR_BITS - x.abs().log2().floor().clamp(-100.0, 100.0) as i32;
    let bits = below.clamp(FACTOR_BITS, LARGEST_SCALE) as u32;
    let rounded = (x * power_of_two(bits)).round() / power_of_two(bits);
    (rounded, if rounded == 1.0 { 0 } else { bits })
}

/// A polynomial as an operation: of a value of scale `at`; `coefficients` with the scale of the
/// leading one.
pub(crate) fn emit(
    input: ValueId,
    (coefficients, scale): (&[f64], u32),
    at: u32,
    pool: Option<SumPool2d>,
) -> OpKind {
    if *coefficients == ITSELF && scale == 0 {
        return match pool {
            Some(pool) => OpKind::SumPool { input, pool },
            None => OpKind::Concat { parts: vec![Part { input, shift: 0 }] },
        };
    }
    let degree = coefficients.len() as u32 - 1;
    let integer =
        |(k, a): (usize, &f64)| (a * power_of_two((degree - k as u32) * at + scale)).round() as i128;
    OpKind::Select(Select {
        input,
        bits: None,
        polynomials: vec![coefficients.iter().enumerate().map(integer).collect()],
        scale: ScaleBits(degree * at + scale),
        pool,
        base: None,
    })
}

/// The largest result of an activation within what is recorded of its argument.
fn largest_result(op: &FoldedOp) -> Option<f64> {
    let FoldedKind::Activation { coefficients, interval, pool, .. } = &op.kind else { return None };
    let end = op.recorded? * interval;
    let windows = pool.map_or(1, |pool| pool.kernel[0] * pool.kernel[1]) as f64;
    let points = (-POINTS..=POINTS).map(|i| end * f64::from(i) / f64::from(POINTS));
    Some(windows * points.map(|u| horner(coefficients, u).abs()).fold(0.0, f64::max))
}

struct Steps {
    ops: Vec<FoldedOp>,
    factors: Vec<f64>,
}

impl Steps {
    fn push(&mut self, op: FoldedOp, factor: f64) -> ValueId {
        self.ops.push(op);
        self.factors.push(factor);
        Folded::result(self.ops.len() - 1)
    }

    /// The steps of an activation of the kind `kind`, whose squares are multiplied by `factor`; numbers
    /// of its argument and its result stand for ones that are `argument` and `result` times as large.
    fn activation(
        &mut self,
        op: &FoldedOp,
        kind: FoldedKind,
        factor: f64,
        [argument, result]: [f64; 2],
    ) -> ValueId {
        let FoldedKind::Activation { input, coefficients, interval, pool } = kind else {
            return self.push(FoldedOp { kind, ..op.clone() }, result);
        };
        let inside = pool.as_ref().map_or(op.len, SumPool2d::inputs);
        let step = |suffix: &str, len, kind| FoldedOp {
            name: format!("{}{suffix}", op.name),
            len,
            recorded: None,
            kind,
        };
        let open = |input, interval| FoldedKind::Activation {
            input,
            coefficients: ITSELF.to_vec(),
            interval,
            pool: None,
        };
        let polynomial =
            |input, coefficients, scale, pool| FoldedKind::Polynomial { input, coefficients, scale, pool };
        let recorded = op.recorded;
        let u = self.push(FoldedOp { recorded, ..step(ARGUMENT, inside, open(input, interval)) }, argument);
        let square = polynomial(u, vec![0.0, 0.0, factor], dyadic(factor).1, None);
        let square = self.push(step(SQUARE, inside, square), argument * argument / factor);
        let interval = factor * interval * interval;
        let recorded = recorded.map(|largest| largest * largest);
        let rounded = FoldedOp { recorded, ..step(ROUNDED_SQUARE, inside, open(square, interval)) };
        let square = self.push(rounded, argument * argument / factor);
        let (linear, scale) = dyadic(coefficients[1]);
        let mut even: Vec<f64> = coefficients.into_iter().step_by(2).collect();
        let mut by = 1.0;
        for a in &mut even {
            *a *= by;
            by /= factor;
        }
        if let Some(leading) = even.last_mut() {
            *leading = leading.signum();
        }
        let even = polynomial(square, even, 0, pool);
        if linear == 0.0 {
            return self.push(step("", op.len, even), result);
        }
        let left = self.push(step(EVEN, op.len, even), result);
        let right = self.push(step(LINEAR, op.len, polynomial(u, vec![0.0, linear], scale, pool)), result);
        self.push(step("", op.len, FoldedKind::Add { left, right }), result)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot be set up fails
    use super::*;
    use crate::fake_quantisation::{FakeQuantised, Rounding, SplitMix};
    use crate::measure::relative_error;
    use crate::networks;

    fn networks() -> [Folded; 2] {
        let graphs = [networks::lenet5_random(3).unwrap(), networks::resnet8_random(3, 8).unwrap()];
        graphs.map(|graph| Folded::new(&graph).unwrap())
    }

    fn result(folded: &Folded, samples: &[Vec<f64>]) -> Vec<f64> {
        FakeQuantised::run(folded, samples, &Rounding::none(folded)).first(folded.output.index()).to_vec()
    }

    #[test]
    fn steps_are_the_polynomials() {
        let mut random = SplitMix(5);
        for plain in networks() {
            let steps = stepwise(&plain).unwrap();
            let sample: Vec<f64> = (0..plain.input_len()).map(|_| random.unit()).collect();
            let samples = [sample];
            let error = relative_error(&result(&steps, &samples), &result(&plain, &samples));
            // The leading coefficient is 1 to as many bits as the factor of the square has.
            assert!(error < 1e-3, "{error}");
            let highest = |op: &FoldedOp| match &op.kind {
                FoldedKind::Activation { coefficients, .. } => coefficients.len() - 1,
                FoldedKind::Polynomial { coefficients, .. } => coefficients.len() - 1,
                _ => 0,
            };
            assert_eq!(plain.ops.iter().map(highest).max(), Some(6));
            assert_eq!(steps.ops.iter().map(highest).max(), Some(3));
            // The network's own operations are all there, in order, with what their values stand for.
            let mut rest = steps.ops.iter().zip(&steps.factors[1..]);
            for (op, factor) in plain.ops.iter().zip(&plain.factors[1..]) {
                let (found, own) = rest.find(|(found, _)| found.name == op.name).unwrap();
                assert_eq!((found.len, own), (op.len, factor), "{}", op.name);
            }
            assert!(rest.next().is_none());
            // A value is rounded once, however many layers read it.
            let names: Vec<&str> = steps.ops.iter().map(|op| op.name.as_str()).collect();
            assert!(names.iter().all(|name| names.iter().filter(|other| *other == name).count() == 1));
        }
    }

    #[test]
    fn factors_keep_their_bits_however_small() {
        for x in [1.0 / 64.0, 0.013, 0.3, 1.00003, 1.59, 63.9, -0.02, -2.0] {
            let (rounded, scale) = dyadic(x);
            assert!((rounded / x - 1.0).abs() < 2f64.powi(-14), "{x}: {rounded}");
            assert_eq!((rounded * power_of_two(scale)).fract(), 0.0, "{x}");
        }
        assert_eq!([dyadic(0.0), dyadic(1.0), dyadic(1.0 + 1e-9)], [(0.0, 0), (1.0, 0), (1.0, 0)]);
        // A factor that is rounded stays what it is.
        assert_eq!(dyadic(dyadic(0.3).0), dyadic(0.3));
    }

    #[test]
    fn factors_of_all_steps_are_what_they_stand_for() {
        let mut random = SplitMix(6);
        for plain in networks() {
            let steps = stepwise(&plain).unwrap();
            let sample = vec![(0..plain.input_len()).map(|_| random.unit()).collect::<Vec<f64>>()];
            let run = FakeQuantised::run(&steps, &sample, &Rounding::none(&steps));
            let real = |v: usize| -> Vec<f64> { run.first(v).iter().map(|x| x * steps.factors[v]).collect() };
            let squares = steps.ops.iter().enumerate().filter(|(_, op)| op.name.ends_with(SQUARE));
            let mut seen = 0;
            for (index, op) in squares {
                let argument = real(op.kind.inputs()[0].index());
                for (square, u) in real(index + 1).iter().zip(argument) {
                    assert!((square - u * u).abs() < 1e-9 * u * u, "{}: {square}, {u}", op.name);
                }
                seen += 1;
            }
            assert!(seen >= 4);
        }
    }

    #[test]
    fn largest_values_recorded_hold_for_squares_and_results() {
        let [mut plain, _] = networks();
        for op in &mut plain.ops {
            if matches!(op.kind, FoldedKind::Activation { .. }) {
                op.recorded = Some(1.5);
            }
        }
        let steps = stepwise(&plain).unwrap();
        let find = |name: &str| steps.ops.iter().find(|op| op.name == name).unwrap();
        let end = |op: &FoldedOp| match &op.kind {
            FoldedKind::Activation { interval, .. } => op.recorded.unwrap() * interval,
            _ => f64::NAN,
        };
        let original = plain.ops.iter().find(|op| op.name == "act1").unwrap();
        let FoldedKind::Activation { coefficients, interval, .. } = &original.kind else { unreachable!() };
        let factor = factor_of_square(&original.kind).unwrap();
        let u = 1.5 * interval;
        assert_eq!(end(find("act1.argument")), u);
        assert!((end(find("act1.square.rounded")) - factor * u * u).abs() < 1e-12);
        let largest = 4.0 * horner(coefficients, u).abs().max(horner(coefficients, -u).abs());
        assert!(end(find("act1.rounded")) >= largest);
    }

    #[test]
    fn only_what_is_even_beside_its_linear_term_has_steps() {
        let kind = |coefficients: &[f64]| FoldedKind::Activation {
            input: ValueId::INPUT,
            coefficients: coefficients.to_vec(),
            interval: 1.0,
            pool: None,
        };
        for fits in [&[0.1, 2.0, 1.0, 0.0, -3.0][..], &[0.1, 0.0, 1.0, 0.0, 3.0, 0.0, 1.0]] {
            assert!(factor_of_square(&kind(fits)).is_some(), "{fits:?}");
        }
        for other in [
            &[0.0, 1.0][..],
            &[0.1, 2.0, 1.0],
            &[0.1, 2.0, 1.0, 0.0],
            &[0.1, 2.0, 1.0, 0.5, -3.0],
            &[0.1, 2.0, 1.0, 0.0, -3.0, 0.0],
            &[0.1, 2.0, 1.0, 0.0, 1e-9],
            &[0.1, 2.0, 1.0, 0.0, 1e9],
        ] {
            assert!(factor_of_square(&kind(other)).is_none(), "{other:?}");
        }
        let mut plain = networks()[0].clone();
        for op in &mut plain.ops {
            if let FoldedKind::Activation { coefficients, .. } = &mut op.kind {
                coefficients[3] = 0.1;
            }
        }
        assert!(stepwise(&plain).is_none());
    }
}
