//! Polynomials with a small largest error: interpolation at the Chebyshev points, and Remez'
//! exchange from there.
//!
//! Polynomials are carried in the Chebyshev basis, whose systems stay well conditioned at these
//! degrees, and given out in powers of u. Source: Trefethen, "Approximation Theory and
//! Approximation Practice" (2013), chapters 4 and 10.

use super::{FitError, evaluate};

/// Points on which extrema of the error are looked for, 0 among them.
const POINTS: usize = 4001;
/// Exchanges at most; a handful is enough for smooth functions.
const EXCHANGES: usize = 40;

type Function<'f> = &'f dyn Fn(f64) -> Result<f64, FitError>;

/// The polynomial through the function at the Chebyshev points of the first kind.
pub(super) fn interpolate(f: Function<'_>, degree: usize) -> Result<Vec<f64>, FitError> {
    let n = degree + 1;
    let angles = (0..n).map(|i| std::f64::consts::PI * (i as f64 + 0.5) / n as f64);
    let samples: Vec<(f64, f64)> = angles.map(|a| Ok((a, f(a.cos())?))).collect::<Result<_, FitError>>()?;
    let share = |k: usize| {
        let sum: f64 = samples.iter().map(|(a, y)| y * (k as f64 * a).cos()).sum();
        sum * if k == 0 { 1.0 } else { 2.0 } / n as f64
    };
    Ok(powers(&(0..n).map(share).collect::<Vec<f64>>()))
}

/// The polynomial whose largest error on the interval is smallest.
///
/// The exchange starts at the extrema of the Chebyshev polynomial. Where it does not settle (a
/// function that is itself a polynomial, up to rounding), the best polynomial met is given.
pub(super) fn remez(f: Function<'_>, degree: usize) -> Result<Vec<f64>, FitError> {
    let grid: Vec<f64> =
        (0..POINTS).map(|i| (std::f64::consts::PI * (1.0 - i as f64 / (POINTS - 1) as f64)).cos()).collect();
    let values = grid.iter().map(|&u| f(u)).collect::<Result<Vec<f64>, _>>()?;
    let size = values.iter().fold(0f64, |m, v| m.max(v.abs()));
    // The inner points a little to the side: symmetric ones level the error of an even function at
    // 0.
    let space = (POINTS - 1) / (degree + 1);
    let mut reference: Vec<usize> =
        (0..degree + 2).map(|i| (i * (POINTS - 1) / (degree + 1) + space / 3).min(POINTS - 1)).collect();
    reference[0] = 0;
    let error_of =
        |c: &[f64]| grid.iter().zip(&values).map(|(&u, y)| y - evaluate(c, u)).collect::<Vec<f64>>();
    let largest_of = |errors: &[f64]| errors.iter().fold(0f64, |m, e| m.max(e.abs()));
    let start = interpolate(f, degree)?;
    let mut best = (largest_of(&error_of(&start)), start);
    for _ in 0..EXCHANGES {
        let Some((coefficients, level)) = levelled(&grid, &values, &reference, degree) else { break };
        let errors = error_of(&coefficients);
        let largest = largest_of(&errors);
        if largest < best.0 {
            best = (largest, coefficients);
        }
        if largest - level.abs() <= 1e-9 * size.max(f64::MIN_POSITIVE) {
            break;
        }
        reference = match exchanged(&errors, degree + 2) {
            Some(next) => next,
            None => one_exchanged(&errors, reference),
        };
    }
    Ok(best.1)
}

/// The polynomial whose error at the reference points alternates between plus and minus one level,
/// and that level.
fn levelled(grid: &[f64], values: &[f64], reference: &[usize], degree: usize) -> Option<(Vec<f64>, f64)> {
    let rows = reference.iter().enumerate().map(|(i, &at)| {
        let mut row: Vec<f64> = chebyshev(grid[at], degree);
        row.push(if i % 2 == 0 { 1.0 } else { -1.0 });
        row.push(values[at]);
        row
    });
    let mut solution = solve(rows.collect())?;
    let level = solution.pop()?;
    Some((powers(&solution), level))
}

/// One extremum of the error for every stretch of one sign, as many as wanted, the smallest at the
/// ends left out.
fn exchanged(errors: &[f64], wanted: usize) -> Option<Vec<usize>> {
    let mut extrema: Vec<usize> = Vec::new();
    for (i, e) in errors.iter().enumerate() {
        match extrema.last_mut() {
            Some(last) if errors[*last] * e >= 0.0 => {
                if e.abs() > errors[*last].abs() {
                    *last = i;
                }
            }
            _ => extrema.push(i),
        }
    }
    while extrema.len() > wanted {
        let (first, last) = (errors[extrema[0]].abs(), errors[extrema[extrema.len() - 1]].abs());
        if first < last {
            extrema.remove(0);
        } else {
            extrema.pop();
        }
    }
    (extrema.len() == wanted).then_some(extrema)
}

/// The point of largest error in place of the neighbour whose error has its sign.
fn one_exchanged(errors: &[f64], mut reference: Vec<usize>) -> Vec<usize> {
    let new = (0..errors.len()).fold(0, |m, i| if errors[i].abs() > errors[m].abs() { i } else { m });
    let after = reference.partition_point(|&r| r < new);
    let same = |r: usize| errors[r] * errors[new] > 0.0;
    if after < reference.len() && same(reference[after]) {
        reference[after] = new;
    } else if after > 0 && same(reference[after - 1]) {
        reference[after - 1] = new;
    } else if after == 0 {
        reference.insert(0, new);
        reference.pop();
    } else {
        reference.insert(after, new);
        reference.remove(0);
    }
    reference
}

/// `T_0(u) .. T_degree(u)`.
fn chebyshev(u: f64, degree: usize) -> Vec<f64> {
    let mut t = vec![1.0, u];
    for k in 2..=degree {
        t.push(2.0 * u * t[k - 1] - t[k - 2]);
    }
    t.truncate(degree + 1);
    t
}

/// Coefficients in powers of u from those of Chebyshev polynomials.
fn powers(shares: &[f64]) -> Vec<f64> {
    let n = shares.len();
    let (mut before, mut current) = (vec![0.0; n], vec![0.0; n]);
    current[0] = 1.0;
    let mut result = vec![0.0; n];
    for (k, share) in shares.iter().enumerate() {
        result.iter_mut().zip(&current).for_each(|(r, c)| *r += share * c);
        let factor = if k == 0 { 1.0 } else { 2.0 };
        let next = (0..n).map(|j| {
            let raised = if j == 0 { 0.0 } else { current[j - 1] };
            factor * raised - before[j]
        });
        let next = next.collect();
        before = std::mem::replace(&mut current, next);
    }
    result
}

/// Gaussian elimination with row pivoting; the right side is the last column. `None` for a singular
/// system.
fn solve(mut rows: Vec<Vec<f64>>) -> Option<Vec<f64>> {
    let n = rows.len();
    for k in 0..n {
        let pivot = (k..n).max_by(|&a, &b| rows[a][k].abs().total_cmp(&rows[b][k].abs()))?;
        if rows[pivot][k].abs() < 1e-13 {
            return None;
        }
        rows.swap(k, pivot);
        let (above, below) = rows.split_at_mut(k + 1);
        for row in below {
            let factor = row[k] / above[k][k];
            row.iter_mut().zip(&above[k]).for_each(|(x, y)| *x -= factor * y);
        }
    }
    let mut solution = vec![0.0; n];
    for k in (0..n).rev() {
        let known: f64 = (k + 1..n).map(|j| rows[k][j] * solution[j]).sum();
        solution[k] = (rows[k][n] - known) / rows[k][k];
    }
    Some(solution)
}

#[cfg(test)]
mod tests {
    use super::super::{DEGREES, Distribution, Method, fit_by, relu};
    use super::*;

    fn even() -> Distribution {
        Distribution::of(std::iter::empty(), 1.0)
    }

    /// Known minimax results: |u| by degree 2 is u^2 + 1/8 with error 1/8; e^u by degree 2 has
    /// error 0.045017388...
    #[test]
    fn known_results() {
        let fit = fit_by(Method::Minimax, f64::abs, 1.0, 2, &even()).unwrap();
        assert!((fit.max_error - 0.125).abs() < 1e-6, "{fit:?}");
        assert!((fit.coefficients[0] - 0.125).abs() < 1e-6 && (fit.coefficients[2] - 1.0).abs() < 1e-6);
        let fit = fit_by(Method::Minimax, f64::exp, 1.0, 2, &even()).unwrap();
        assert!((fit.max_error - 0.045_017_388_4).abs() < 1e-7, "{fit:?}");
    }

    /// Published largest errors on [-1, 1]: |u| by Varga and Carpenter, "On the Bernstein
    /// conjecture in approximation theory" (1985), table 1 (given there as 2n E_2n); e^u by
    /// Meinardus, "Approximation of Functions" (1967), section 6.3. ReLU is (t + |t|) / 2, so on
    /// [-B, B] its error is B / 2 times that of |u|.
    #[test]
    fn published_errors() {
        let error = |f: fn(f64) -> f64, interval, degree| {
            fit_by(Method::Minimax, f, interval, degree, &even()).unwrap().max_error
        };
        for (degree, scaled) in [(2, 0.25), (4, 0.270_483_597), (6, 0.275_574_372), (8, 0.277_517_825)] {
            let expected = scaled / degree as f64;
            let got = error(f64::abs, 1.0, degree);
            assert!((got - expected).abs() < 2e-7, "|u|, degree {degree}: {got} {expected}");
            let got = error(relu, 4.0, degree);
            assert!((got - 2.0 * expected).abs() < 5e-7, "ReLU, degree {degree}: {got}");
        }
        for (degree, expected) in [(2, 0.045_017), (3, 0.005_528_4), (4, 0.000_546_67), (5, 4.520_6e-5)] {
            let got = error(f64::exp, 1.0, degree);
            assert!((got / expected - 1.0).abs() < 1e-4, "e^u, degree {degree}: {got}");
        }
    }

    /// Chebyshev's theorem: p is the minimax polynomial exactly when its error takes its largest
    /// size with alternating signs at degree + 2 points or more.
    #[test]
    fn errors_alternate_for_every_activation_and_degree() {
        use super::super::ActivationFunction;
        for function in ActivationFunction::ALL {
            for degree in DEGREES {
                let fit = fit_by(Method::Minimax, |t| function.at(t), 4.0, degree, &even()).unwrap();
                let mut signs: Vec<bool> = Vec::new();
                for i in 0..=40_000 {
                    let u = f64::from(i) / 20_000.0 - 1.0;
                    let error = evaluate(&fit.coefficients, u) - function.at(4.0 * u);
                    if error.abs() > fit.max_error * (1.0 - 1e-3) && signs.last() != Some(&(error > 0.0)) {
                        signs.push(error > 0.0);
                    }
                }
                assert!(signs.len() >= degree + 2, "{function}, degree {degree}: {} extrema", signs.len());
            }
        }
    }

    /// u^(d+1) minus its interpolant of degree d is T_(d+1) / 2^d, whose largest value is 2^-d.
    #[test]
    fn interpolation_of_the_next_power_leaves_a_chebyshev_polynomial() {
        for degree in DEGREES {
            let power = |u: f64| u.powi(degree as i32 + 1);
            let fit = fit_by(Method::Chebyshev, power, 1.0, degree, &even()).unwrap();
            assert!((fit.max_error - 2f64.powi(-(degree as i32))).abs() < 1e-12, "degree {degree}");
            for (k, a) in fit.coefficients.iter().enumerate() {
                // u^4 - T_4 / 8 = u^2 - 1/8, as in every table of Chebyshev polynomials.
                if degree == 3 {
                    assert!((a - [-0.125, 0.0, 1.0, 0.0][k]).abs() < 1e-14);
                }
            }
        }
    }

    #[test]
    fn each_method_is_best_at_what_it_minimises() {
        let silu = |t: f64| t / (1.0 + (-t).exp());
        let data = || (0..2000).map(|i| ((i * 7919 % 2000) as f64 / 1000.0 - 1.0).powi(3) * 5.0);
        for f in [relu as fn(f64) -> f64, silu, f64::tanh] {
            for degree in DEGREES {
                let of = |m| fit_by(m, f, 5.0, degree, &Distribution::of(data(), 5.0)).unwrap();
                let [least, chebyshev, minimax] = Method::ALL.map(of);
                // The largest error is looked for on a finer grid than the exchange uses.
                let slack = 1e-5 * minimax.max_error;
                assert!(
                    minimax.max_error <= chebyshev.max_error + slack,
                    "degree {degree}: {minimax:?} {chebyshev:?}"
                );
                assert!(minimax.max_error <= least.max_error + slack, "degree {degree}");
                assert!(least.rms_error <= minimax.rms_error + slack, "degree {degree}");
                assert!(least.rms_error <= chebyshev.rms_error + slack, "degree {degree}");
            }
        }
    }

    #[test]
    fn a_polynomial_reproduces_itself() {
        let own = [0.3, -1.0, 0.5, 2.0, -0.25];
        for method in Method::ALL {
            let fit = fit_by(method, |t| evaluate(&own, t / 3.0), 3.0, 4, &even()).unwrap();
            assert!(fit.max_error < 1e-10, "{method}: {fit:?}");
        }
    }
}
