//! Fitting an activation function by a polynomial.
//!
//! What this is: given f and an interval [-B, B], the polynomial p of degree 2 to 8 in u = t / B
//! that is closest to t -> f(t) in weighted least squares. Where it stands: before training (the
//! student's activation) and before compilation (`docs/protocol.md`, section 8: inputs of
//! polynomials are normalised to u in [-1, 1]).
//!
//! The weight says where values are expected: a Gaussian density of t mixed with a small uniform
//! part, without which the ends of the interval, hardly ever visited, would be free to blow up.
//!
//! Method: inner products are integrals over u, computed by 5-point Gauss-Legendre quadrature on
//! equal panels with a panel boundary at 0 (so a kink there, as ReLU's, costs no accuracy). The
//! polynomials orthonormal under that product come from Stieltjes' three-term recurrence, so no
//! system is solved whose condition grows with the degree; the recurrence is carried along on
//! monomial coefficients, which gives the result in powers of u. Beside least squares there are
//! interpolation at the Chebyshev points and minimax (module `minimax`), see [`fit_by`]. Source:
//! Gautschi, "Orthogonal Polynomials: Computation and Approximation" (2004), section 2.2.3.

mod distribution;
mod functions;
mod minimax;

pub use distribution::Distribution;
pub use functions::ActivationFunction;

use serde::{Deserialize, Serialize};

/// Degrees that can be fitted.
pub const DEGREES: std::ops::RangeInclusive<usize> = 2..=8;
/// Quadrature panels on each side of 0.
const PANELS: usize = 512;
/// Points on which the largest error is looked for, ends and 0 included.
const ERROR_POINTS: usize = 20_001;
/// Nodes of the 5-point Gauss-Legendre rule on [-1, 1] with their weights: exact up to degree 9.
const GAUSS: [(f64, f64); 5] = [
    (-0.906_179_845_938_664, 0.236_926_885_056_189_08),
    (-0.538_469_310_105_683_1, 0.478_628_670_499_366_47),
    (0.0, 0.568_888_888_888_888_9),
    (0.538_469_310_105_683_1, 0.478_628_670_499_366_47),
    (0.906_179_845_938_664, 0.236_926_885_056_189_08),
];

/// Where the activation's inputs t are expected in [-B, B].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weight {
    /// Everywhere alike.
    Uniform,
    /// `(1 - uniform_part)` of a Gaussian around 0 plus `uniform_part` spread evenly over the
    /// interval.
    Gaussian {
        /// Standard deviation of t, in the units of t and B.
        sigma: f64,
        /// Share of the even part, from above 0 to 1.
        uniform_part: f64,
    },
}

/// How a polynomial is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Smallest mean square error under the distribution.
    LeastSquares,
    /// Interpolation at the Chebyshev points: close to minimax, without iteration.
    Chebyshev,
    /// Smallest largest error (Remez' exchange).
    Minimax,
}

impl Method {
    /// All methods.
    pub const ALL: [Method; 3] = [Method::LeastSquares, Method::Chebyshev, Method::Minimax];
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Method::LeastSquares => "least squares",
            Method::Chebyshev => "Chebyshev interpolation",
            Method::Minimax => "minimax",
        })
    }
}

/// A polynomial activation p(t / B) and how far it is from the function it was fitted to.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// B: the fit holds for t in [-B, B].
    pub interval: f64,
    /// a_0 .. a_d of p(u) = a_0 + a_1 u + .. + a_d u^d, u = t / B.
    pub coefficients: Vec<f64>,
    /// Largest |p - f| on the interval.
    pub max_error: f64,
    /// Root of the weighted mean of (p - f)^2, the weight being a density.
    pub rms_error: f64,
}

/// Why a fit was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// The degree is not among [`DEGREES`].
    #[error("degree {0}, allowed are 2 to 8")]
    Degree(usize),
    /// The interval's half-width is not a positive finite number.
    #[error("interval half-width {0}, must be above 0 and finite")]
    Interval(f64),
    /// The weight's parameters are out of range.
    #[error(
        "weight with sigma {sigma} (must be above 0) and uniform part {uniform_part} (must be above 0, at most 1)"
    )]
    Weight {
        /// The standard deviation given.
        sigma: f64,
        /// The even share given.
        uniform_part: f64,
    },
    /// The function is not finite somewhere in the interval.
    #[error("the function is {value} at t = {at}")]
    Function {
        /// Where.
        at: f64,
        /// What it gives there.
        value: f64,
    },
}

/// max(0, t).
pub fn relu(t: f64) -> f64 {
    t.max(0.0)
}

/// The value at `u` of the polynomial with these coefficients, constant first (Horner's rule).
pub fn evaluate(coefficients: &[f64], u: f64) -> f64 {
    coefficients.iter().rev().fold(0.0, |sum, &a| sum * u + a)
}

/// The polynomial of degree `degree` in u = t / `interval` closest to `f` on [-interval, interval].
///
/// The leading coefficients may come out as 0 up to rounding, when a lower degree is already as
/// good.
///
/// # Errors
///
/// [`FitError`], naming the argument that is out of range, or the point where `f` is not finite.
pub fn fit(f: impl Fn(f64) -> f64, interval: f64, degree: usize, weight: Weight) -> Result<Fit, FitError> {
    fit_by(Method::LeastSquares, f, interval, degree, &Distribution::assumed(weight, interval)?)
}

/// The polynomial that the method asked for finds, with its errors under any distribution.
///
/// # Errors
///
/// What [`fit`] refuses.
pub fn fit_by(
    method: Method,
    f: impl Fn(f64) -> f64,
    interval: f64,
    degree: usize,
    distribution: &Distribution,
) -> Result<Fit, FitError> {
    if !DEGREES.contains(&degree) {
        return Err(FitError::Degree(degree));
    }
    if !(interval.is_finite() && interval > 0.0) {
        return Err(FitError::Interval(interval));
    }
    let checked = |u: f64| {
        let (at, value) = (interval * u, f(interval * u));
        if value.is_finite() { Ok(value) } else { Err(FitError::Function { at, value }) }
    };
    let grid = Grid::new(|u| distribution.density(u));
    let values = grid.nodes.iter().map(|&u| checked(u)).collect::<Result<Vec<f64>, _>>()?;
    let coefficients = match method {
        Method::LeastSquares => project(&grid, &values, degree),
        Method::Chebyshev => minimax::interpolate(&checked, degree)?,
        Method::Minimax => minimax::remez(&checked, degree)?,
    };
    let squared: Vec<f64> =
        grid.nodes.iter().zip(&values).map(|(&u, &y)| (evaluate(&coefficients, u) - y).powi(2)).collect();
    let mut max_error = 0f64;
    for i in 0..ERROR_POINTS {
        let u = 2.0 * i as f64 / (ERROR_POINTS - 1) as f64 - 1.0;
        max_error = max_error.max((evaluate(&coefficients, u) - checked(u)?).abs());
    }
    Ok(Fit { interval, coefficients, max_error, rms_error: grid.integral(|i| squared[i]).sqrt() })
}

/// Quadrature nodes in u with weights that add up to 1 and contain the density.
struct Grid {
    nodes: Vec<f64>,
    weights: Vec<f64>,
}

impl Grid {
    fn new(density: impl Fn(f64) -> f64) -> Self {
        let half = 0.5 / PANELS as f64;
        let (nodes, mut weights): (Vec<f64>, Vec<f64>) = (0..2 * PANELS)
            .flat_map(|panel| GAUSS.map(|(x, w)| ((2.0 * panel as f64 + 1.0 + x) * half - 1.0, w)))
            .map(|(u, w)| (u, w * density(u)))
            .unzip();
        let total: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|w| *w /= total);
        Self { nodes, weights }
    }

    /// The weighted mean of what `f` gives for each node's number.
    fn integral(&self, f: impl Fn(usize) -> f64) -> f64 {
        self.weights.iter().enumerate().map(|(i, w)| w * f(i)).sum()
    }
}

/// One orthonormal polynomial: its values on the grid and its coefficients, constant first.
#[derive(Clone)]
struct Basis {
    values: Vec<f64>,
    coefficients: Vec<f64>,
}

/// Coefficients of the orthogonal projection of `target` on the polynomials of degree `degree`.
///
/// Recurrence: b_{k+1} q_{k+1} = (u - a_k) q_k - b_k q_{k-1} with a_k = <u q_k, q_k> and b making
/// norms 1.
fn project(grid: &Grid, target: &[f64], degree: usize) -> Vec<f64> {
    let n = grid.nodes.len();
    let empty = Basis { values: vec![0.0; n], coefficients: vec![0.0; degree + 1] };
    let (mut previous, mut current) = (empty.clone(), empty);
    current.values.fill(1.0);
    current.coefficients[0] = 1.0;
    let mut norm = 0.0;
    let mut result = vec![0.0; degree + 1];
    for k in 0..=degree {
        let share = grid.integral(|i| target[i] * current.values[i]);
        result.iter_mut().zip(&current.coefficients).for_each(|(sum, c)| *sum += share * c);
        if k == degree {
            break;
        }
        let shift = grid.integral(|i| grid.nodes[i] * current.values[i].powi(2));
        let mut next = Basis {
            values: (0..n)
                .map(|i| (grid.nodes[i] - shift) * current.values[i] - norm * previous.values[i])
                .collect(),
            coefficients: (0..=degree)
                .map(|j| {
                    let raised = if j == 0 { 0.0 } else { current.coefficients[j - 1] };
                    raised - shift * current.coefficients[j] - norm * previous.coefficients[j]
                })
                .collect(),
        };
        norm = grid.integral(|i| next.values[i].powi(2)).sqrt();
        next.values.iter_mut().chain(&mut next.coefficients).for_each(|x| *x /= norm);
        previous = std::mem::replace(&mut current, next);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPREAD: Weight = Weight::Gaussian { sigma: 1.0, uniform_part: 0.02 };

    fn close(got: &[f64], expected: &[f64], tolerance: f64) {
        assert_eq!(got.len(), expected.len());
        for (g, e) in got.iter().zip(expected) {
            assert!((g - e).abs() <= tolerance, "{got:?} is not {expected:?}");
        }
    }

    /// By hand: <|u|, P_0> = 1, <|u|, P_2> = 1/4 on [-1, 1], so p = 1/2 + (5/8) P_2 = 3/16 +
    /// (15/16) u^2; the squared error is 2/3 - 1/2 - 5/32 = 1/96 over a length of 2; the largest
    /// error is 3/16, at 0.
    #[test]
    fn absolute_value_of_degree_two() {
        let fit = fit(f64::abs, 1.0, 2, Weight::Uniform).unwrap();
        close(&fit.coefficients, &[3.0 / 16.0, 0.0, 15.0 / 16.0], 1e-13);
        close(&[fit.rms_error, fit.max_error], &[(1.0f64 / 192.0).sqrt(), 3.0 / 16.0], 1e-13);
    }

    /// ReLU is (t + |t|) / 2; on [-B, B] everything scales with B.
    #[test]
    fn relu_of_degree_two_scales_with_the_interval() {
        for b in [1.0, 3.5] {
            let fit = fit(relu, b, 2, Weight::Uniform).unwrap();
            close(&fit.coefficients, &[b * 3.0 / 32.0, b / 2.0, b * 15.0 / 32.0], 1e-12);
            close(&[fit.rms_error, fit.max_error], &[b * (1.0f64 / 768.0).sqrt(), b * 3.0 / 32.0], 1e-12);
        }
    }

    /// By hand: <|u|, P_4> = -1/24, so degree 4 adds -(9/2)(1/24) P_4 = -(3/16)(35 u^4 - 30 u^2 +
    /// 3) / 8.
    #[test]
    fn absolute_value_of_degree_four() {
        let fit = fit(f64::abs, 1.0, 4, Weight::Uniform).unwrap();
        close(&fit.coefficients, &[15.0 / 128.0, 0.0, 210.0 / 128.0, 0.0, -105.0 / 128.0], 1e-12);
    }

    #[test]
    fn a_polynomial_reproduces_itself() {
        let own = [0.3, -1.0, 0.5, 2.0, -0.25, 0.125, 1.0, -3.0, 0.75];
        for degree in DEGREES {
            for weight in [Weight::Uniform, SPREAD, Weight::Gaussian { sigma: 0.3, uniform_part: 1e-4 }] {
                let fit = fit(|t| evaluate(&own[..=degree], t / 4.0), 4.0, degree, weight).unwrap();
                close(&fit.coefficients, &own[..=degree], 1e-8);
                assert!(fit.max_error < 1e-9 && fit.rms_error < 1e-9);
            }
        }
    }

    #[test]
    fn no_nearby_polynomial_is_better() {
        let grid = Grid::new(|u| Distribution::assumed(SPREAD, 4.0).unwrap().density(u));
        let best = fit(relu, 4.0, 6, SPREAD).unwrap();
        let error = |c: &[f64]| {
            grid.integral(|i| (evaluate(c, grid.nodes[i]) - relu(4.0 * grid.nodes[i])).powi(2)).sqrt()
        };
        close(&[error(&best.coefficients)], &[best.rms_error], 1e-12);
        for k in 0..=6 {
            for step in [-1e-3, 1e-3] {
                let mut moved = best.coefficients.clone();
                moved[k] += step;
                assert!(error(&moved) > best.rms_error, "coefficient {k}");
            }
        }
    }

    #[test]
    fn errors_fall_with_the_degree_and_odd_parts_of_relu_vanish() {
        let fits: Vec<Fit> = DEGREES.map(|d| fit(relu, 4.0, d, SPREAD).unwrap()).collect();
        assert!(fits.windows(2).all(|w| w[1].rms_error <= w[0].rms_error + 1e-12));
        assert!(fits[6].rms_error < 0.5 * fits[0].rms_error);
        close(
            &[fits[4].coefficients[1], fits[4].coefficients[3], fits[4].coefficients[5]],
            &[2.0, 0.0, 0.0],
            1e-10,
        );
    }

    #[test]
    fn bad_arguments_are_named() {
        let gaussian = |sigma, uniform_part| fit(relu, 1.0, 2, Weight::Gaussian { sigma, uniform_part });
        assert_eq!(fit(relu, 1.0, 1, Weight::Uniform), Err(FitError::Degree(1)));
        assert_eq!(fit(relu, 1.0, 9, Weight::Uniform), Err(FitError::Degree(9)));
        assert_eq!(fit(relu, 0.0, 2, Weight::Uniform), Err(FitError::Interval(0.0)));
        assert!(matches!(fit(relu, f64::NAN, 2, Weight::Uniform), Err(FitError::Interval(_))));
        assert!(matches!(gaussian(0.0, 0.1), Err(FitError::Weight { .. })));
        assert!(matches!(gaussian(1.0, 0.0), Err(FitError::Weight { .. })));
        assert!(matches!(gaussian(1.0, 1.5), Err(FitError::Weight { .. })));
        assert!(
            matches!(fit(f64::ln, 1.0, 2, Weight::Uniform), Err(FitError::Function { at, .. }) if at < 0.0)
        );
        assert!(matches!(fit(|t| 1.0 / t, 1.0, 2, Weight::Uniform), Err(FitError::Function { at: 0.0, .. })));
    }
}
