//! Quadratic pieces close to a function, for comparisons to compute, with tails that it approaches:
//! no number escapes.
//!
//! Thresholds lie where the calibrated numbers and the function's curvature want them: for up to
//! [`MAX_THRESHOLDS`] of them the best places on a grid are found by dynamic programming, and the
//! fewest thresholds are taken whose error, weighted by how often numbers occur, is small enough.
//! Beyond the grid the function is a line: the one it approaches, or where it approaches none, its
//! tangent.

use crate::error::ModelError;
use crate::fit::evaluate;
use crate::pieces::{MAX_THRESHOLDS, Pieces};

/// Numbers of the calibration that are looked at, at most.
const SEEN: usize = 2048;
/// Numbers spread evenly over what was seen, and over the whole grid.
const SPREAD: usize = 512;
/// Places where thresholds may lie.
const PLACES: usize = 160;
/// Weights of numbers seen, of the range they come from with its margin, and of the whole grid.
const WEIGHTS: [f64; 3] = [0.9, 0.09, 0.01];
/// A function that is a line beyond this many times what was seen approaches it too late.
const LATE: f64 = 12.0;

/// Pieces with the error that they have on the calibrated numbers.
pub(super) struct Spline {
    pub(super) pieces: Pieces,
    /// Largest error where numbers were seen.
    pub(super) max_error: f64,
    /// Root of the weighted mean of squared errors.
    pub(super) rms_error: f64,
}

/// A number with its weight and the function's value.
struct Point {
    x: f64,
    weight: f64,
    y: f64,
}

/// Pieces for a function fed the numbers `fed`; `margin` widens their range, `tolerance` is the
/// largest root mean square error that is aimed at.
pub(super) fn spline(
    node: &str,
    f: &dyn Fn(f64) -> f64,
    fed: &[f64],
    margin: f64,
    tolerance: f64,
) -> Result<Spline, ModelError> {
    let low = fed.iter().copied().fold(f64::INFINITY, f64::min);
    let high = fed.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let more = ((margin - 1.0) * low.abs().max(high.abs())).max(1e-6);
    let undefined = |x: f64| ModelError::node(node, format!("the function is {} at {x}", f(x)));
    if let Some(&x) = fed.iter().find(|x| !f(**x).is_finite()) {
        return Err(undefined(x));
    }
    // Where the function is not defined beyond what was seen, its range ends there.
    let defined = |inside: f64, outside: f64| if f(outside).is_finite() { outside } else { inside };
    let (near, far) = (defined(low, low - more), defined(high, high + more));
    let left = tail(f, near, -1.0, tolerance);
    let right = tail(f, far, 1.0, tolerance);
    let points = points(f, fed, [near, far], [left.from, right.from]);
    if let Some(point) = points.iter().find(|point| !point.y.is_finite()) {
        return Err(undefined(point.x));
    }
    let places = places(fed, [left.from, right.from]);
    let table = Table::of(&points, &places, [&left.line, &right.line]);
    let (cost, chosen) = table.fewest(tolerance * tolerance);
    let thresholds: Vec<f64> = chosen.iter().map(|&at| places[at]).collect();
    let mut polynomials = vec![left.line];
    for pair in thresholds.windows(2) {
        let inside: Vec<&Point> = points.iter().filter(|p| p.x >= pair[0] && p.x < pair[1]).collect();
        polynomials.push(quadratic(&inside, pair[0], pair[1]));
    }
    polynomials.push(right.line);
    let pieces = Pieces::joined(thresholds, polynomials)
        .ok_or_else(|| ModelError::node(node, "its pieces have coefficients that are not finite"))?;
    let seen = fed.iter().map(|&x| (pieces.at(x) - f(x)).abs());
    Ok(Spline { max_error: seen.fold(0.0, f64::max), rms_error: cost.max(0.0).sqrt(), pieces })
}

/// A line beyond some number.
struct Tail {
    line: Vec<f64>,
    from: f64,
}

/// The line that a function approaches beyond `end` on one side, and from where it is one.
fn tail(f: &dyn Fn(f64) -> f64, end: f64, side: f64, tolerance: f64) -> Tail {
    let reach = end.abs().max(1.0);
    let [a, b, c] = [LATE * 4.0 * reach, LATE * 6.0 * reach, LATE * 8.0 * reach].map(|x| side * x);
    let slope = (f(c) - f(a)) / (c - a);
    let slope = if (slope - slope.round()).abs() < 1e-9 { slope.round() } else { slope };
    let offset = f(a) - slope * a;
    let line = [offset, slope];
    let off = |x: f64| (f(x) - evaluate(&line, x)).abs();
    let close = (tolerance / 4.0).max(1e-9);
    // A line that is reached only in the limit is none: three numbers far out must lie on it.
    let size = 1e-9 * (1.0 + f(b).abs());
    if [a, b, c].iter().all(|&x| off(x) <= size) {
        let steps = 400;
        let outermost = LATE.max(end.abs() + LATE / 2.0);
        let at = |i: usize| side * (outermost - (outermost - side * end) * i as f64 / steps as f64);
        if let Some(first) = (0..=steps).find(|&i| off(at(i)) > close) {
            let from = at(first.saturating_sub(1));
            if first > 0 {
                return Tail { line: line.to_vec(), from };
            }
        } else {
            return Tail { line: line.to_vec(), from: end };
        }
    }
    // The tangent at the end of the range, from within it.
    let step = 1e-5 * reach;
    let slope = side * (f(end) - f(end - side * step)) / step;
    Tail { line: vec![f(end) - slope * end, slope], from: end }
}

/// Numbers to fit on, ascending.
fn points(f: &dyn Fn(f64) -> f64, fed: &[f64], range: [f64; 2], whole: [f64; 2]) -> Vec<Point> {
    let every = fed.len().div_ceil(SEEN).max(1);
    let seen: Vec<f64> = fed.iter().copied().step_by(every).collect();
    let spread = |[low, high]: [f64; 2]| -> Vec<f64> {
        (0..SPREAD).map(|i| low + (high - low) * (i as f64 + 0.5) / SPREAD as f64).collect()
    };
    let groups = [seen, spread(range), spread([whole[0].min(range[0]), whole[1].max(range[1])])];
    let mut points = Vec::new();
    for (numbers, weight) in groups.into_iter().zip(WEIGHTS) {
        let each = weight / numbers.len() as f64;
        points.extend(numbers.into_iter().map(|x| Point { x, weight: each, y: f(x) }));
    }
    points.sort_by(|a, b| a.x.total_cmp(&b.x));
    points
}

/// Places of thresholds: evenly between the tails, and where numbers are.
fn places(fed: &[f64], [low, high]: [f64; 2]) -> Vec<f64> {
    let mut sorted = fed.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = PLACES / 2;
    let even = (0..=half).map(|i| low + (high - low) * i as f64 / half as f64);
    let seen = (0..half).map(|i| sorted[i * (sorted.len() - 1) / (half - 1)]);
    let mut places: Vec<f64> = even.chain(seen.filter(|x| *x > low && *x < high)).collect();
    places.sort_by(f64::total_cmp);
    let apart = 1e-6 * (high - low);
    places.dedup_by(|b, a| *b - *a <= apart);
    places
}

/// What pieces between places cost.
struct Table {
    /// `pieces[i][j]`: a quadratic piece from place `i` to place `j`.
    pieces: Vec<Vec<f64>>,
    /// The tail before each place, and behind it.
    before: Vec<f64>,
    behind: Vec<f64>,
}

impl Table {
    fn of(points: &[Point], places: &[f64], [left, right]: [&Vec<f64>; 2]) -> Self {
        let tail = |line: &[f64], inside: &dyn Fn(f64) -> bool| -> f64 {
            let off = |p: &Point| p.weight * (p.y - evaluate(line, p.x)).powi(2);
            points.iter().filter(|p| inside(p.x)).map(off).sum()
        };
        let starts: Vec<usize> = places.iter().map(|t| points.partition_point(|p| p.x < *t)).collect();
        let pieces = places.iter().enumerate().map(|(i, &from)| {
            // Sums relative to where the piece begins: nothing cancels.
            let mut sums = Moments::default();
            let origin = points.get(starts[i]).map_or(0.0, |p| p.y);
            let mut costs = vec![f64::INFINITY; places.len()];
            for j in i + 1..places.len() {
                let scale = (places[places.len() - 1] - places[0]).max(1e-12);
                points[starts[j - 1]..starts[j]]
                    .iter()
                    .for_each(|p| sums.add(p.weight, (p.x - from) / scale, p.y - origin));
                costs[j] = sums.residual();
            }
            costs
        });
        Table {
            pieces: pieces.collect(),
            before: places.iter().map(|t| tail(left, &|x| x < *t)).collect(),
            behind: places.iter().map(|t| tail(right, &|x| x >= *t)).collect(),
        }
    }

    /// The fewest thresholds whose cost is small enough, else the best there are: places.
    fn fewest(&self, enough: f64) -> (f64, Vec<usize>) {
        let count = self.before.len();
        let mut costs = self.before.clone();
        let mut from: Vec<Vec<usize>> = Vec::new();
        let mut best = (f64::INFINITY, Vec::new());
        for thresholds in 1..=MAX_THRESHOLDS {
            let total = |at: &usize| costs[*at] + self.behind[*at];
            let end = (0..count).min_by(|a, b| total(a).total_cmp(&total(b))).unwrap_or(0);
            if total(&end) < best.0 {
                let mut chosen = vec![end];
                for before in from.iter().rev() {
                    chosen.push(before[chosen[chosen.len() - 1]]);
                }
                chosen.reverse();
                best = (total(&end), chosen);
            }
            if best.0 <= enough || thresholds == MAX_THRESHOLDS {
                break;
            }
            let best_before = |j: usize| {
                let before = costs[..j].iter().zip(&self.pieces).map(|(cost, pieces)| cost + pieces[j]);
                before.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, f64::INFINITY))
            };
            let (origin, next): (Vec<usize>, Vec<f64>) = (0..count).map(best_before).unzip();
            from.push(origin);
            costs = next;
        }
        best
    }
}

/// Weighted sums of powers, for the best quadratic.
#[derive(Default)]
struct Moments {
    powers: [f64; 5],
    values: [f64; 3],
    squares: f64,
}

impl Moments {
    fn add(&mut self, weight: f64, x: f64, y: f64) {
        let mut power = weight;
        for k in 0..5 {
            self.powers[k] += power;
            if k < 3 {
                self.values[k] += power * y;
            }
            power *= x;
        }
        self.squares += weight * y * y;
    }

    /// Coefficients of the best polynomial of degree 2, or less where the numbers do not tell.
    fn best(&self) -> [f64; 3] {
        let mut matrix = [[0.0; 4]; 3];
        for (r, row) in matrix.iter_mut().enumerate() {
            row[..3].copy_from_slice(&self.powers[r..r + 3]);
            row[3] = self.values[r];
        }
        // Cholesky's order is safe for a matrix of moments; small pivots are left out.
        let mut used = [false; 3];
        for k in 0..3 {
            let pivot = matrix[k][k];
            if pivot <= 1e-13 * self.powers[2 * k].max(f64::MIN_POSITIVE) || pivot <= 0.0 {
                continue;
            }
            used[k] = true;
            let row = matrix[k];
            for (r, other) in matrix.iter_mut().enumerate() {
                if r != k {
                    let factor = other[k] / pivot;
                    other.iter_mut().zip(&row).for_each(|(x, y)| *x -= factor * y);
                }
            }
        }
        std::array::from_fn(|k| if used[k] { matrix[k][3] / matrix[k][k] } else { 0.0 })
    }

    fn residual(&self) -> f64 {
        let best = self.best();
        let explained: f64 = best.iter().zip(&self.values).map(|(c, v)| c * v).sum();
        (self.squares - explained).max(0.0)
    }
}

/// The best quadratic on some points between two places, in powers of `x`.
fn quadratic(points: &[&Point], from: f64, to: f64) -> Vec<f64> {
    let (middle, half) = ((from + to) / 2.0, ((to - from) / 2.0).max(1e-12));
    let origin = points.first().map_or(0.0, |p| p.y);
    let mut sums = Moments::default();
    points.iter().for_each(|p| sums.add(p.weight, (p.x - middle) / half, p.y - origin));
    let [c, b, a] = sums.best();
    let (b, a) = (b / half, a / (half * half));
    vec![origin + c - b * middle + a * middle * middle, b - 2.0 * a * middle, a]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a function that cannot be fitted fails the test
    use super::*;
    use crate::fake_quantisation::SplitMix;
    use crate::function::{Elementary, Function};

    fn normal(deviation: f64) -> Vec<f64> {
        let mut random = SplitMix(3);
        let sum = |random: &mut SplitMix| (0..12).map(|_| random.unit()).sum::<f64>() - 6.0;
        (0..4000).map(|_| deviation * sum(&mut random)).collect()
    }

    fn smooth() -> Vec<Function> {
        let x = Function::identity;
        let of = Function::elementary;
        let softsign = x().then(Elementary::Abs).unwrap().then_polynomial(&[1.0, 1.0]).unwrap();
        let softplus = || of(Elementary::Softplus);
        vec![
            of(Elementary::Sigmoid),
            of(Elementary::Tanh),
            of(Elementary::Sigmoid).times(x()).unwrap(),
            of(Elementary::Erf).then_polynomial(&[0.5, 0.5]).unwrap().times(x()).unwrap(),
            of(Elementary::Elu { alpha: 1.0 }),
            of(Elementary::Elu { alpha: 1.7 }).then_polynomial(&[0.0, 1.05]).unwrap(),
            softplus(),
            softsign.then(Elementary::Reciprocal).unwrap().times(x()).unwrap(),
            softplus().then(Elementary::Tanh).unwrap().times(x()).unwrap(),
            of(Elementary::Atan),
        ]
    }

    #[test]
    fn pieces_are_close_where_numbers_are_and_never_run_away() {
        for function in smooth() {
            for deviation in [0.3, 1.0, 4.0, 30.0] {
                let fed = normal(deviation);
                let name = format!("{function:?} at {deviation}");
                let size = fed.iter().map(|&x| function.at(x).powi(2)).sum::<f64>() / fed.len() as f64;
                let found = spline(&name, &|x| function.at(x), &fed, 1.5, 0.002 * size.sqrt()).unwrap();
                let error = |x: f64| (found.pieces.at(x) - function.at(x)).abs();
                let mean = fed.iter().map(|&x| error(x).powi(2)).sum::<f64>() / fed.len() as f64;
                assert!(mean.sqrt() < 0.004 * size.sqrt(), "{name}: {} of {}", mean.sqrt(), size.sqrt());
                // Far outside nothing is worse than the function's own size there.
                for times in [2.0, 25.0, 1000.0] {
                    for x in [-6.0, 6.0].map(|x| x * times * deviation) {
                        assert!(error(x) <= 0.3 * (1.0 + x.abs()), "{name}: {} at {x}", error(x));
                    }
                }
            }
        }
    }

    #[test]
    fn what_approaches_a_line_is_that_line_outside() {
        for (function, deviation) in smooth().into_iter().take(7).flat_map(|f| [(f.clone(), 1.0), (f, 10.0)])
        {
            let found = spline("f", &|x| function.at(x), &normal(deviation), 1.5, 1e-3).unwrap();
            for x in [-1e4, -300.0, -60.0, 60.0, 300.0, 1e4] {
                let error = (found.pieces.at(x) - function.at(x)).abs();
                assert!(error < 1e-6 * (1.0 + x.abs()), "{function:?}: {error} at {x}");
            }
        }
    }

    #[test]
    fn a_smaller_tolerance_takes_more_pieces() {
        let silu = Function::elementary(Elementary::Sigmoid).times(Function::identity()).unwrap();
        let fed = normal(2.0);
        let thresholds = |tolerance: f64| {
            spline("f", &|x| silu.at(x), &fed, 1.5, tolerance).unwrap().pieces.thresholds().len()
        };
        let counts = [0.1, 0.01, 0.001].map(thresholds);
        assert!(counts[0] < counts[1] && counts[1] < counts[2] && counts[2] <= MAX_THRESHOLDS, "{counts:?}");
    }

    #[test]
    fn a_function_that_is_not_defined_is_refused_where_numbers_are() {
        let ln = |x: f64| x.ln();
        assert!(spline("f", &ln, &[0.5, 1.0, -1.0], 1.5, 1e-3).is_err());
        let found = spline("f", &ln, &[0.5, 1.0, 2.0, 3.0], 1.5, 1e-3).unwrap();
        assert!((found.pieces.at(1.0) - 0.0).abs() < 0.02);
    }
}
