//! Proof that no truncated value overflows: interval arithmetic on a plan and its integer weights.
//!
//! Every value gets one interval an element, from the input's range forwards. Rounding is covered:
//! half a unit at the input, one unit where an argument is truncated, and the rounding of this very
//! computation in `f64`. Two readings:
//!
//! - from the input's range alone: holds for every input in range, but grows through each
//!   polynomial, so it is sharp for the first layers only;
//! - given the calibrated range of every activation before: what a layer can reach at most while
//!   all earlier ones stay inside their ranges.

use amicus_field::{I256, LinearShape, SumPool2d};
use amicus_plan::{Activation, Compare, OpKind, Plan, PublicTensor, Select, ValueId, WeightSpec};
use serde::Serialize;

use crate::fake_quantisation::power_of_two;
use crate::graph::SecretReals;
use crate::planner::behind_truncations::Forms;
use crate::quantize::{QuantizedWeights, outputs_of_bias, to_real};
use crate::run::linear;

/// Relative rounding of a sum of up to 4 million products in `f64`.
const F64_SLACK: f64 = 1e-9;
/// Pieces an interval is cut into when the range of a polynomial is bounded.
const PIECES: usize = 48;

/// What is known about the size of one truncated value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerProof {
    /// The activation fed, or `output`.
    pub name: String,
    /// Scale `T` of the value.
    pub scale: u32,
    /// Bits dropped.
    pub shift: u32,
    /// The value must stay strictly between `-2^ell` and `2^ell`.
    pub ell: u32,
    /// Largest absolute value seen on calibration data (and recorded), as a real number.
    pub seen: f64,
    /// Largest absolute value allowed for: seen times the margin.
    pub calibrated: f64,
    /// Bits between the calibrated range and overflow, `ell - T - log2(calibrated)`.
    pub guard_bits_left: f64,
    /// How many times the largest value seen is still safe.
    pub safe_factor: f64,
    /// No input in range can make the value larger than this.
    pub from_input_range: f64,
    /// Nor can it become larger than this while all earlier layers stay in their calibrated ranges.
    pub from_earlier_ranges: f64,
    /// What follows.
    pub verdict: Verdict,
}

/// How far the absence of overflow is proven for one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// No input in range overflows.
    Always,
    /// No overflow while earlier layers stay in their calibrated ranges.
    WhileEarlierLayersInRange,
    /// No overflow while this layer stays in its own calibrated range, up to `safe_factor` times
    /// what was seen.
    WhileInRange,
}

/// Largest absolute real number that every value can reach: from the input's range, where
/// `calibrated` is given intersected with it at every activation's input (indexed by value; entries
/// for other values are not read).
pub fn bounds(plan: &Plan, weights: &QuantizedWeights, calibrated: Option<&[f64]>) -> Vec<f64> {
    bounds_of(plan, Some(weights), calibrated, false)
}

/// Bounds while all values before are inside the limits of theirs; for somebody who knows the plan
/// alone, without weights: results of linear layers can be anything.
pub(crate) fn bounds_inside(plan: &Plan, weights: Option<&QuantizedWeights>, limits: &[f64]) -> Vec<f64> {
    bounds_of(plan, weights, Some(limits), true)
}

/// `everywhere`: what is calibrated holds for every value, not only for what is fed to activations.
fn bounds_of(
    plan: &Plan,
    weights: Option<&QuantizedWeights>,
    calibrated: Option<&[f64]>,
    everywhere: bool,
) -> Vec<f64> {
    let scales = value_scales(plan);
    let half_unit = 0.5 / power_of_two(plan.input.scale.0);
    let (low, high) = (plan.input.range.low - half_unit, plan.input.range.high + half_unit);
    let len = plan.input.shape.iter().product();
    let mut values = vec![Intervals::uniform(len, low, high)];
    let mut largest = vec![values[0].largest()];
    let mut add = |values: &mut Vec<Intervals>, result: Intervals| {
        largest.push(result.largest());
        let limit = calibrated.filter(|_| everywhere).map_or(f64::INFINITY, |c| c[values.len()]);
        values.push(if limit.is_finite() { result.truncated(limit, 0.0) } else { result });
    };
    // Polynomials in squares are bounded as those in their arguments that they stand for.
    let forms = Forms::of(plan);
    let mut whole = None;
    for (index, op) in plan.ops.iter().enumerate() {
        whole = whole.filter(|(last, _)| *last >= index).or_else(|| forms.activation(index));
        if let Some((_, a)) = whole.as_ref().filter(|(last, _)| *last == index) {
            let limit = calibrated.map_or(f64::INFINITY, |c| c[a.input.index()]);
            let result = values[a.input.index()].activation(a, limit);
            add(&mut values, result);
            continue;
        }
        let result = match &op.kind {
            OpKind::Linear { input, weights: id, .. } => {
                let spec = plan.weight(*id);
                match weights.map(|weights| &weights.layers()[id.index()]) {
                    Some(layer) => {
                        let integers = (layer.weights(), layer.bias());
                        values[input.index()].weighted(spec, scales[input.index()], integers)
                    }
                    None => Intervals::anything(spec.shape.outputs()),
                }
            }
            OpKind::PublicLinear { input, weights } => {
                let PublicTensor { spec, values: known } = plan.public_tensor(*weights);
                let integers = (known.weights(), known.bias());
                values[input.index()].weighted(spec, scales[input.index()], integers)
            }
            OpKind::Multiply { left, right } => values[left.index()].times(&values[right.index()]),
            OpKind::Activation(a) => {
                let limit = calibrated.map_or(f64::INFINITY, |c| c[a.input.index()]);
                values[a.input.index()].activation(a, limit)
            }
            OpKind::Add { left, right, .. } => values[left.index()].plus(&values[right.index()]),
            OpKind::SumPool { input, pool } => values[input.index()].pooled(pool),
            OpKind::Slice { input, start, len } => values[input.index()].slice(*start, *len),
            OpKind::Concat { parts } => Intervals::joined(parts.iter().map(|p| &values[p.input.index()])),
            OpKind::Weigh { input, rows, columns } => values[input.index()].weighed(rows, columns),
            OpKind::Subtract { left, right, .. } => {
                values[left.index()].plus(&values[right.index()].negative())
            }
            OpKind::Gather { input, size, rows, columns } => {
                values[input.index()].gathered(*size, rows, columns)
            }
            OpKind::Compare(c) => {
                let len = values[c.input.index()].middle.len() * c.thresholds.len();
                Intervals::uniform(len, 0.0, 1.0)
            }
            OpKind::Xnor { left, .. } => Intervals::uniform(3 * values[left.index()].middle.len(), 0.0, 1.0),
            OpKind::Outside(o) => Intervals::anything(o.numbers as usize),
            OpKind::Truncate(t) => {
                let limit = calibrated.map_or(f64::INFINITY, |c| c[t.input.index()]);
                values[t.input.index()].truncated(limit, 1.0 / power_of_two(t.scale.0))
            }
            OpKind::Select(s) => match compared(plan, s) {
                Some(pair) => {
                    let [left, right] = pair.values.map(|v| &values[v.index()]);
                    left.extreme(right, &pair, 1.0 / power_of_two(scales[s.input.index()]))
                }
                None => {
                    let limit = calibrated.map_or(f64::INFINITY, |c| c[s.input.index()]);
                    let base = s.base.map(|base| &values[base.index()]);
                    let pieces = pieces(plan, s, scales[s.input.index()]);
                    values[s.input.index()].selected(&pieces, s.pool.as_ref(), limit, base)
                }
            },
        };
        add(&mut values, result);
    }
    largest
}

/// Two values of which a selection gives the larger or the smaller one.
pub(crate) struct Pair<'p> {
    pub(crate) values: [ValueId; 2],
    largest: bool,
    compare: &'p Compare,
}

/// The two values, if a selection gives the larger or the smaller one.
pub(crate) fn compared<'p>(plan: &'p Plan, s: &Select) -> Option<Pair<'p>> {
    let kind = |value: ValueId| Some(&plan.ops[value.op()?.index()].kind);
    let OpKind::Subtract { left, left_shift: 0, right, right_shift: 0 } = kind(s.input)? else {
        return None;
    };
    let OpKind::Compare(compare) = kind(s.bits?)? else { return None };
    let largest = s.polynomials == [vec![0], vec![0, 1]];
    let own = compare.input == s.input && compare.thresholds == [0];
    let extreme = largest || s.polynomials == [vec![0, 1], vec![0, -1]];
    (own && extreme && s.base == Some(*right) && s.pool.is_none()).then_some(Pair {
        values: [*left, *right],
        largest,
        compare,
    })
}

/// Scale of every value of a valid plan.
fn value_scales(plan: &Plan) -> Vec<u32> {
    let infos = plan.values();
    let values = (0..=plan.ops.len()).map(|v| ValueId(v as u32));
    values.map(|v| infos.as_ref().map_or(0, |i| i.get(v).scale.0)).collect()
}

/// One interval an element, as middle and half-width.
struct Intervals {
    middle: Vec<f64>,
    radius: Vec<f64>,
}

impl Intervals {
    fn uniform(len: usize, low: f64, high: f64) -> Self {
        Intervals { middle: vec![(low + high) / 2.0; len], radius: vec![(high - low) / 2.0; len] }
    }

    fn anything(len: usize) -> Self {
        Intervals { middle: vec![0.0; len], radius: vec![f64::INFINITY; len] }
    }

    fn largest(&self) -> f64 {
        let ends = self.middle.iter().zip(&self.radius).map(|(m, r)| m.abs() + r);
        // `max` ignores NaN (an infinite interval times 0), which must count as unbounded.
        ends.fold(0.0, |a: f64, b| if b.is_nan() { f64::INFINITY } else { a.max(b) }) * (1.0 + F64_SLACK)
    }

    /// A layer of weights and biases that are integers, on a value of a scale.
    fn weighted(&self, spec: &WeightSpec, scale: u32, (weights, bias): (&[i64], &[I256])) -> Self {
        let unit = power_of_two(spec.scale.0);
        let w: SecretReals = weights.iter().map(|&w| w as f64 / unit).collect();
        let bias: SecretReals = bias.iter().map(|&b| to_real(b, scale + spec.scale.0)).collect();
        self.linear(&spec.shape, w, &bias)
    }

    fn linear(&self, shape: &LinearShape, weights: SecretReals, bias: &[f64]) -> Self {
        let mut middle = linear::apply(shape, &weights, &self.middle);
        let sizes: SecretReals = weights.iter().map(|w| w.abs()).collect();
        // |middle| times the slack covers rounding even where products cancel.
        let spread: Vec<f64> =
            self.middle.iter().zip(&self.radius).map(|(m, r)| r + F64_SLACK * (m.abs() + r)).collect();
        let mut radius = linear::apply(shape, &sizes, &spread);
        for (c, b) in bias.iter().enumerate() {
            for i in outputs_of_bias(shape, c) {
                middle[i] += b;
                radius[i] += F64_SLACK * b.abs();
            }
        }
        Intervals { middle, radius }
    }

    fn activation(&self, a: &Activation, limit: f64) -> Self {
        let unit = 1.0 / power_of_two(a.input_scale.0);
        let scale = power_of_two(a.coefficient_scale.0);
        let coefficients: Vec<f64> = a.coefficients.iter().map(|&c| c as f64 / scale).collect();
        let mut result = Intervals { middle: Vec::new(), radius: Vec::new() };
        let mut last = None; // neighbouring pixels mostly have equal intervals
        for (&m, &r) in self.middle.iter().zip(&self.radius) {
            let low = (m - r).clamp(-limit, limit) - unit;
            let high = (m + r).clamp(-limit, limit) + unit;
            let (low, high) =
                if low.is_nan() || high.is_nan() { (-f64::INFINITY, f64::INFINITY) } else { (low, high) };
            let (middle, radius) = match last {
                Some((key, found)) if key == (low, high) => found,
                _ => polynomial_range(&coefficients, low, high),
            };
            last = Some(((low, high), (middle, radius)));
            result.middle.push(middle);
            result.radius.push(radius);
        }
        match &a.pool {
            Some(pool) => result.pooled(pool),
            None => result,
        }
    }

    /// One unit of the result more to either side.
    fn truncated(&self, limit: f64, unit: f64) -> Self {
        let clamp =
            |m: f64, r: f64| ((m - r).clamp(-limit, limit) - unit, (m + r).clamp(-limit, limit) + unit);
        let ends = self.middle.iter().zip(&self.radius).map(|(&m, &r)| clamp(m, r));
        let (middle, radius) = ends.map(|(low, high)| ((low + high) / 2.0, (high - low) / 2.0)).unzip();
        Intervals { middle, radius }
    }

    /// The larger or smaller of two: one that loses by less than half a unit may win, and any may
    /// where the difference leaves the window. `one` is what 1 of their integers is worth.
    fn extreme(&self, other: &Intervals, pair: &Pair<'_>, one: f64) -> Self {
        let half_unit = 2f64.powi(pair.compare.unit as i32 - 1) * one;
        let window = 2f64.powi((pair.compare.unit + pair.compare.window() - 1) as i32) * one - half_unit;
        let pick = |a: f64, b: f64| if pair.largest { a.max(b) } else { a.min(b) };
        let ends = |v: &Intervals, i: usize| (v.middle[i] - v.radius[i], v.middle[i] + v.radius[i]);
        let between = |i: usize| {
            let ((a, b), (c, d)) = (ends(self, i), ends(other, i));
            let (low, high) = if (b - c).max(d - a) < window {
                (pick(a, c) - half_unit, pick(b, d) + half_unit)
            } else {
                (a.min(c), b.max(d))
            };
            ((low + high) / 2.0, (high - low) / 2.0)
        };
        let (middle, radius) = (0..self.middle.len()).map(between).unzip();
        Intervals { middle, radius }
    }

    /// The values of all pieces: bits are taken for independent of what they were made of.
    fn selected(
        &self,
        pieces: &[Vec<f64>],
        pool: Option<&SumPool2d>,
        limit: f64,
        base: Option<&Intervals>,
    ) -> Self {
        let mut result = Intervals { middle: Vec::new(), radius: Vec::new() };
        let mut last = None;
        for (&m, &r) in self.middle.iter().zip(&self.radius) {
            let (low, high) = ((m - r).clamp(-limit, limit), (m + r).clamp(-limit, limit));
            let (low, high) =
                if low.is_nan() || high.is_nan() { (-f64::INFINITY, f64::INFINITY) } else { (low, high) };
            let (least, most) = match last {
                Some((key, found)) if key == (low, high) => found,
                _ => {
                    let ranges = pieces.iter().map(|p| polynomial_range(p, low, high));
                    ranges.fold((f64::INFINITY, -f64::INFINITY), |(least, most), (middle, radius)| {
                        (least.min(middle - radius), most.max(middle + radius))
                    })
                }
            };
            last = Some(((low, high), (least, most)));
            result.middle.push((least + most) / 2.0);
            result.radius.push((most - least) / 2.0);
        }
        let pooled = match pool {
            Some(pool) => result.pooled(pool),
            None => result,
        };
        match base {
            Some(base) => pooled.plus(base),
            None => pooled,
        }
    }

    fn negative(&self) -> Self {
        Intervals { middle: self.middle.iter().map(|m| -m).collect(), radius: self.radius.clone() }
    }

    fn gathered(&self, size: [usize; 2], rows: &[u32], columns: &[u32]) -> Self {
        let pick = |v: &[f64]| linear::gather(v, size, rows, columns);
        Intervals { middle: pick(&self.middle), radius: pick(&self.radius) }
    }

    fn plus(&self, other: &Intervals) -> Self {
        let sum = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a + b).collect();
        Intervals { middle: sum(&self.middle, &other.middle), radius: sum(&self.radius, &other.radius) }
    }

    fn times(&self, other: &Intervals) -> Self {
        let (a, b) = (self, other);
        let middle = a.middle.iter().zip(&b.middle).map(|(a, b)| a * b).collect();
        let radius = (0..a.middle.len())
            .map(|i| a.middle[i].abs() * b.radius[i] + (b.middle[i].abs() + b.radius[i]) * a.radius[i])
            .collect();
        Intervals { middle, radius }
    }

    fn pooled(&self, pool: &SumPool2d) -> Self {
        Intervals {
            middle: linear::sum_pool(pool, &self.middle),
            radius: linear::sum_pool(pool, &self.radius),
        }
    }

    fn joined<'v>(parts: impl Iterator<Item = &'v Intervals>) -> Self {
        let mut all = Intervals { middle: Vec::new(), radius: Vec::new() };
        for part in parts {
            all.middle.extend(&part.middle);
            all.radius.extend(&part.radius);
        }
        all
    }

    fn weighed(&self, rows: &[u32], columns: &[u32]) -> Self {
        Intervals {
            middle: linear::weigh(&self.middle, rows, columns),
            radius: linear::weigh(&self.radius, rows, columns),
        }
    }

    fn slice(&self, start: usize, len: usize) -> Self {
        let part = |v: &[f64]| v[start..start + len].to_vec();
        Intervals { middle: part(&self.middle), radius: part(&self.radius) }
    }
}

/// The polynomials on both sides of each threshold, on real numbers: `Q_0`, `Q_0 + Q_1`, ...
fn pieces(plan: &Plan, s: &Select, scale: u32) -> Vec<Vec<f64>> {
    let longest = s.polynomials.iter().map(Vec::len).max().unwrap_or(0);
    let bits = s.bits.and_then(ValueId::op).map(|op| &plan.op(op).kind);
    // Which bits are 1 together: those of a comparison up to some threshold; two bits as they like,
    // and the third where both are equal.
    let together: Vec<Vec<usize>> = match bits {
        Some(OpKind::Xnor { .. }) => vec![vec![3], vec![1], vec![2], vec![1, 2, 3]],
        _ => (0..s.polynomials.len()).map(|t| (1..=t).collect()).collect(),
    };
    let piece = |ones: &Vec<usize>| {
        let mut sum = vec![0.0; longest];
        for q in std::iter::once(0).chain(ones.iter().copied()).filter_map(|t| s.polynomials.get(t)) {
            for (k, &c) in q.iter().enumerate() {
                // An argument is an integer over 2^scale, the result one over 2^s.scale.
                sum[k] += c as f64 * 2f64.powi(scale as i32 * k as i32 - s.scale.0 as i32);
            }
        }
        sum
    };
    together.iter().map(piece).collect()
}

/// An interval (middle, half-width) that holds the polynomial's values on `[low, high]`.
///
/// On each piece: the value in its middle plus the Taylor terms there, each at its largest.
fn polynomial_range(coefficients: &[f64], low: f64, high: f64) -> (f64, f64) {
    let step = (high - low) / PIECES as f64;
    let (mut smallest, mut largest) = (f64::INFINITY, -f64::INFINITY);
    for piece in 0..PIECES {
        let at = low + (piece as f64 + 0.5) * step;
        let mut taylor = coefficients.to_vec();
        // Repeated synthetic division: `taylor[k]` becomes the k-th derivative at `at` over k!.
        for k in 0..taylor.len() {
            for i in (k..taylor.len() - 1).rev() {
                taylor[i] += at * taylor[i + 1];
            }
        }
        let spread = taylor.iter().skip(1).rev().fold(0.0, |s, t| (s + t.abs()) * (step / 2.0));
        let spread = spread + F64_SLACK * (taylor[0].abs() + spread);
        if (taylor[0] + spread).is_nan() {
            return (0.0, f64::INFINITY);
        }
        smallest = smallest.min(taylor[0] - spread);
        largest = largest.max(taylor[0] + spread);
    }
    ((smallest + largest) / 2.0, (largest - smallest) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::float::horner;

    #[test]
    fn ranges_of_polynomials_hold_and_are_sharp() {
        let p = [0.03, 0.5, 0.7, -0.1, -0.4, 0.0, 0.15];
        for (low, high) in [(-1.0, 1.0), (-2.0, 2.0), (0.1, 0.2), (-3.0, -0.5), (0.4, 0.4)] {
            let (middle, radius) = polynomial_range(&p, low, high);
            let values = (0..=1000).map(|i| horner(&p, low + (high - low) * f64::from(i) / 1000.0));
            let (mut least, mut most) = (f64::INFINITY, -f64::INFINITY);
            values.for_each(|v| (least, most) = (least.min(v), most.max(v)));
            assert!(middle - radius <= least && most <= middle + radius, "{low}..{high}");
            assert!(
                2.0 * radius <= (most - least) * 1.1 + 1e-6,
                "{low}..{high}: {radius} for {least}..{most}"
            );
        }
        assert_eq!(polynomial_range(&p, -f64::INFINITY, f64::INFINITY).1, f64::INFINITY);
    }
}
