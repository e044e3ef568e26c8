//! Functions of one real variable, as activations are, put together from a few elementary ones.
//!
//! What this is: exporters write activations out as chains of operators (`x * sigmoid(x)`,
//! `0.5 x (1 + erf(x / 1.41))`, `x^2 + 0.5 x`). A chain that starts and ends at one value is one
//! function of it, whatever it is called; here it is kept as a program for a stack machine,
//! simplified to a polynomial where it is one. Where it stands: between [`crate::onnx`] and
//! [`crate::approximate`], which replaces what is no polynomial by one.

use serde::{Deserialize, Serialize};

use crate::fit::evaluate;
use crate::pieces::{self, Pieces};

/// Highest degree kept as a polynomial, the plan's limit.
pub const MAX_DEGREE: usize = 8;
/// Most steps of a program.
const MAX_STEPS: usize = 64;
/// Where functions are compared with known ones to name them.
const PROBES: [f64; 12] = [-7.0, -3.5, -2.9, -1.0, -0.3, -0.01, 0.0, 0.2, 0.7, 2.2, 3.1, 6.5];

/// An elementary function.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // the names are the definitions
pub enum Elementary {
    Relu,
    Sigmoid,
    Tanh,
    Erf,
    Exp,
    Ln,
    Sqrt,
    Abs,
    Softplus,
    /// `1 / x`.
    Reciprocal,
    /// `x` below 0 times `alpha`.
    LeakyRelu {
        alpha: f64,
    },
    /// `alpha (e^x - 1)` below 0.
    Elu {
        alpha: f64,
    },
    /// `x` forced into an interval.
    Clip {
        low: f64,
        high: f64,
    },
    Sin,
    Cos,
    Atan,
    /// `x` above `alpha`, else 0.
    ThresholdedRelu {
        alpha: f64,
    },
    /// `x` without `bias` where it is further from 0 than `lambda`, else 0.
    Shrink {
        bias: f64,
        lambda: f64,
    },
}

impl Elementary {
    /// The function's value.
    pub fn at(self, x: f64) -> f64 {
        match self {
            Elementary::Relu => x.max(0.0),
            Elementary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Elementary::Tanh => x.tanh(),
            Elementary::Erf => erf(x),
            Elementary::Exp => x.exp(),
            Elementary::Ln => x.ln(),
            Elementary::Sqrt => x.sqrt(),
            Elementary::Abs => x.abs(),
            Elementary::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            Elementary::Reciprocal => 1.0 / x,
            Elementary::LeakyRelu { alpha } => x.max(0.0) + alpha * x.min(0.0),
            Elementary::Elu { alpha } => x.max(0.0) + alpha * x.min(0.0).exp_m1(),
            Elementary::Clip { low, high } => x.max(low).min(high),
            Elementary::Sin => x.sin(),
            Elementary::Cos => x.cos(),
            Elementary::Atan => x.atan(),
            Elementary::ThresholdedRelu { alpha } if x > alpha => x,
            Elementary::Shrink { bias, lambda } if x < -lambda => x + bias,
            Elementary::Shrink { bias, lambda } if x > lambda => x - bias,
            Elementary::ThresholdedRelu { .. } | Elementary::Shrink { .. } => 0.0,
        }
    }
}

/// The error function, by the series of positive terms
/// `2/sqrt(pi) e^(-x^2) sum 2^n x^(2n+1) / (2n+1)!!` (Abramowitz and Stegun, 7.1.6), to about
/// 1e-15.
pub(crate) fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 || x.is_nan() {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
        if term.abs() < 1e-17 * sum.abs() {
            break;
        }
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

/// One step: takes numbers from the stack, puts one back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Step {
    /// Puts the variable on the stack.
    X,
    /// The polynomial with these coefficients, constant first.
    Polynomial(Vec<f64>),
    Apply(Elementary),
    Pieces(Pieces),
    Add,
    Multiply,
}

/// A function of one real variable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Function(Vec<Step>);

impl Function {
    /// The variable itself.
    pub fn identity() -> Self {
        Function(vec![Step::X])
    }

    /// An elementary function of the variable.
    pub fn elementary(elementary: Elementary) -> Self {
        Function(vec![Step::X, Step::Apply(elementary)])
    }

    /// A function in pieces.
    pub(crate) fn in_pieces(pieces: Pieces) -> Self {
        Function(vec![Step::X, Step::Pieces(pieces)])
    }

    /// Whether the program is well formed: what [`Function::at`] needs. Programs built here are;
    /// those from files may not be.
    pub fn is_valid(&self) -> bool {
        let mut depth = 0usize;
        for step in &self.0 {
            match step {
                Step::X => depth += 1,
                Step::Polynomial(c) if depth > 0 && !c.is_empty() && c.len() <= MAX_DEGREE + 1 => {}
                Step::Apply(_) if depth > 0 => {}
                Step::Pieces(pieces) if depth > 0 && pieces.is_valid() => {}
                Step::Add | Step::Multiply if depth > 1 => depth -= 1,
                _ => return false,
            }
        }
        depth == 1 && self.0.len() <= MAX_STEPS
    }

    /// The function's value.
    pub fn at(&self, x: f64) -> f64 {
        let mut stack = Vec::with_capacity(4);
        for step in &self.0 {
            let result = match step {
                Step::X => x,
                Step::Polynomial(c) => stack.pop().map_or(f64::NAN, |t| evaluate(c, t)),
                Step::Apply(f) => stack.pop().map_or(f64::NAN, |t| f.at(t)),
                Step::Pieces(pieces) => stack.pop().map_or(f64::NAN, |t| pieces.at(t)),
                Step::Add | Step::Multiply => match (stack.pop(), stack.pop(), step) {
                    (Some(b), Some(a), Step::Add) => a + b,
                    (Some(b), Some(a), _) => a * b,
                    _ => f64::NAN,
                },
            };
            stack.push(result);
        }
        stack.pop().unwrap_or(f64::NAN)
    }

    /// The coefficients, constant first, when the function is a polynomial of degree up to
    /// [`MAX_DEGREE`].
    pub fn coefficients(&self) -> Option<Vec<f64>> {
        match self.0.as_slice() {
            [Step::X] => Some(vec![0.0, 1.0]),
            [Step::X, Step::Polynomial(c)] => Some(c.clone()),
            _ => None,
        }
    }

    /// The function in polynomial pieces, when it is put together from polynomials, ReLU and the
    /// like; `None` for others.
    pub fn pieces(&self) -> Option<Pieces> {
        let mut stack: Vec<Pieces> = Vec::with_capacity(4);
        for step in &self.0 {
            let result = match step {
                Step::X => Pieces::polynomial(vec![0.0, 1.0]),
                Step::Polynomial(c) => stack.pop()?.then_polynomial(c)?,
                Step::Apply(f) => stack.pop()?.then(&Pieces::elementary(*f)?)?,
                Step::Pieces(outer) => stack.pop()?.then(outer)?,
                Step::Add | Step::Multiply => {
                    let (b, a) = (stack.pop()?, stack.pop()?);
                    match step {
                        Step::Add => a.combined(&b, pieces::sum)?,
                        _ => a.combined(&b, pieces::times)?,
                    }
                }
            };
            stack.push(result);
        }
        stack.pop()
    }

    /// `f` after this function; `None` when that would be too long.
    pub fn then(mut self, f: Elementary) -> Option<Self> {
        self.0.push(Step::Apply(f));
        self.checked()
    }

    /// A polynomial after this function; `None` when that would be too long.
    pub fn then_polynomial(mut self, coefficients: &[f64]) -> Option<Self> {
        if let Some(Step::Polynomial(inner)) = self.0.last_mut()
            && let Some(composed) = compose(coefficients, inner)
        {
            *inner = composed;
        } else {
            self.0.push(Step::Polynomial(trimmed(coefficients.to_vec())));
        }
        self.checked()
    }

    /// The sum of two functions of the same variable; `None` when that would be too long.
    pub fn plus(self, other: Self) -> Option<Self> {
        if let (Some(a), Some(b)) = (self.coefficients(), other.coefficients()) {
            let at = |c: &[f64], k: usize| c.get(k).copied().unwrap_or(0.0);
            let sum = (0..a.len().max(b.len())).map(|k| at(&a, k) + at(&b, k)).collect();
            return Some(Function(vec![Step::X, Step::Polynomial(trimmed(sum))]));
        }
        self.joined(other, Step::Add)
    }

    /// The product of two functions of the same variable; `None` when that would be too long.
    pub fn times(self, other: Self) -> Option<Self> {
        if let (Some(a), Some(b)) = (self.coefficients(), other.coefficients())
            && a.len() + b.len() <= MAX_DEGREE + 2
        {
            return Some(Function(vec![Step::X, Step::Polynomial(trimmed(product(&a, &b)))]));
        }
        self.joined(other, Step::Multiply)
    }

    fn joined(mut self, other: Self, by: Step) -> Option<Self> {
        self.0.extend(other.0);
        self.0.push(by);
        self.checked()
    }

    fn checked(self) -> Option<Self> {
        self.is_valid().then_some(self)
    }

    /// What people call it.
    pub fn name(&self) -> String {
        if let Some(coefficients) = self.coefficients() {
            return format!("polynomial of degree {}", coefficients.len() - 1);
        }
        if let [Step::X, Step::Pieces(pieces)] = self.0.as_slice() {
            return format!("spline of {} pieces", pieces.polynomials().len());
        }
        if let [Step::X, Step::Apply(f)] = self.0.as_slice() {
            return format!("{f:?}");
        }
        let same = |f: &dyn Fn(f64) -> f64| {
            PROBES.iter().all(|&x| (self.at(x) - f(x)).abs() <= 1e-5 * (1.0 + f(x).abs()))
        };
        let sigmoid = |x: f64| Elementary::Sigmoid.at(x);
        let gelu = |x: f64| 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2));
        let gelu_tanh = |x: f64| 0.5 * x * (1.0 + (0.797_884_560_8 * (x + 0.044_715 * x.powi(3))).tanh());
        let hard = |x: f64| (x / 6.0 + 0.5).clamp(0.0, 1.0);
        let selu = |x: f64| 1.050_700_987 * if x > 0.0 { x } else { 1.673_263_242 * x.exp_m1() };
        let known: [(&str, &dyn Fn(f64) -> f64); 7] = [
            ("SELU", &selu),
            ("Softsign", &|x| x / (1.0 + x.abs())),
            ("SiLU", &|x| x * sigmoid(x)),
            ("GELU", &gelu),
            ("GELU (tanh)", &gelu_tanh),
            ("HardSwish", &|x| x * hard(x)),
            ("HardSigmoid", &hard),
        ];
        known
            .iter()
            .find(|(_, f)| same(f))
            .map_or_else(|| "a composed function".to_owned(), |(n, _)| (*n).to_owned())
    }
}

/// Without leading zeros, but at least a constant.
pub(crate) fn trimmed(mut coefficients: Vec<f64>) -> Vec<f64> {
    while coefficients.len() > 1 && coefficients.last() == Some(&0.0) {
        coefficients.pop();
    }
    coefficients
}

pub(crate) fn product(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; a.len() + b.len() - 1];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            out[i + j] += x * y;
        }
    }
    out
}

/// `outer(inner(x))`; `None` beyond [`MAX_DEGREE`].
pub(crate) fn compose(outer: &[f64], inner: &[f64]) -> Option<Vec<f64>> {
    if (outer.len() - 1) * (inner.len() - 1) > MAX_DEGREE {
        return None;
    }
    let mut result = vec![0.0];
    for &a in outer.iter().rev() {
        result = trimmed(product(&result, inner));
        result[0] += a;
    }
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn x() -> Function {
        Function::identity()
    }

    #[test]
    fn chains_of_operators_become_one_polynomial() {
        // (0.5 x + 1) x^2 - 3, as Horner and as powers.
        let horner = x().then_polynomial(&[1.0, 0.5]).unwrap().times(x()).unwrap().times(x()).unwrap();
        let horner = horner.then_polynomial(&[-3.0, 1.0]).unwrap();
        assert_eq!(horner.coefficients().unwrap(), [-3.0, 0.0, 1.0, 0.5]);
        let cube = x().then_polynomial(&[0.0, 0.0, 0.0, 1.0]).unwrap().then_polynomial(&[0.0, 0.5]).unwrap();
        let square = x().then_polynomial(&[-3.0, 0.0, 1.0]).unwrap();
        assert_eq!(cube.plus(square).unwrap(), horner);
        assert_eq!(horner.at(2.0), 5.0);
    }

    #[test]
    fn degrees_beyond_the_limit_stay_composed() {
        let square = [0.0, 0.0, 1.0];
        let mut f = x();
        for _ in 0..3 {
            f = f.then_polynomial(&square).unwrap();
        }
        assert_eq!(f.coefficients().unwrap().len(), 9);
        let f = f.then_polynomial(&square).unwrap();
        assert_eq!((f.coefficients(), f.at(2.0)), (None, 65536.0));
    }

    #[test]
    fn known_functions_have_names() {
        let sigmoid = || Function::elementary(Elementary::Sigmoid);
        assert_eq!(x().times(sigmoid()).unwrap().name(), "SiLU");
        let erf = x()
            .then_polynomial(&[0.0, std::f64::consts::FRAC_1_SQRT_2])
            .unwrap()
            .then(Elementary::Erf)
            .unwrap();
        let gelu = erf
            .then_polynomial(&[1.0, 1.0])
            .unwrap()
            .times(x())
            .unwrap()
            .then_polynomial(&[0.0, 0.5])
            .unwrap();
        assert_eq!(gelu.name(), "GELU");
        assert_eq!(sigmoid().name(), "Sigmoid");
        assert_eq!(x().name(), "polynomial of degree 1");
    }

    #[test]
    fn the_error_function() {
        // Abramowitz and Stegun, table 7.1, more digits by mpmath: erf(0.5), erf(1), erf(2),
        // erf(3.5).
        for (x, y) in [
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
            (-3.5, -0.999_999_256_901_627_6),
        ] {
            assert!((erf(x) - y).abs() < 1e-14, "{x}");
        }
        assert_eq!(erf(9.0), 1.0);
    }

    #[test]
    fn endless_programs_are_refused() {
        let mut f = Function::elementary(Elementary::Tanh);
        let grown = (0..10).try_for_each(|_| {
            f = f.clone().times(f.clone())?;
            Some(())
        });
        assert!(grown.is_none());
        assert!(!Function(vec![Step::Add]).is_valid());
        assert!(!Function(vec![Step::X, Step::X]).is_valid());
    }
}
