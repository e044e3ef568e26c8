//! Functions in polynomial pieces: what comparisons compute exactly.
//!
//! ReLU and its kin, clips, HardSwish, HardSigmoid, absolute values and whatever else is put
//! together from them are polynomials between a few thresholds. A secure run decides by comparison
//! on which side of each threshold a number lies (`docs/protocol.md`, "Comparison").

use serde::{Deserialize, Serialize};

use crate::fit::evaluate;
use crate::function::{Elementary, MAX_DEGREE, compose, product, trimmed};

/// Most thresholds: as many as one comparison of a plan has.
pub const MAX_THRESHOLDS: usize = amicus_plan::values::MAX_THRESHOLDS;
/// Thresholds and coefficients that differ by less are equal.
const SAME: f64 = 1e-12;

/// A function of one real variable: polynomials between thresholds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pieces {
    /// Where one polynomial ends and the next begins, ascending.
    thresholds: Vec<f64>,
    /// Coefficients, constant first: of the polynomial before the first threshold, and of the one
    /// behind each.
    polynomials: Vec<Vec<f64>>,
}

impl Pieces {
    /// One polynomial everywhere.
    pub(crate) fn polynomial(coefficients: Vec<f64>) -> Self {
        Pieces { thresholds: Vec::new(), polynomials: vec![trimmed(coefficients)] }
    }

    fn new(thresholds: &[f64], polynomials: &[&[f64]]) -> Self {
        let polynomials = polynomials.iter().map(|p| p.to_vec()).collect();
        Pieces { thresholds: thresholds.to_vec(), polynomials }
    }

    /// The pieces of an elementary function; `None` where it has none.
    pub(crate) fn elementary(f: Elementary) -> Option<Self> {
        let line = [0.0, 1.0];
        Some(match f {
            Elementary::Relu => Pieces::new(&[0.0], &[&[0.0], &line]),
            Elementary::Abs => Pieces::new(&[0.0], &[&[0.0, -1.0], &line]),
            Elementary::LeakyRelu { alpha } => Pieces::new(&[0.0], &[&[0.0, alpha], &line]),
            Elementary::ThresholdedRelu { alpha } => Pieces::new(&[alpha], &[&[0.0], &line]),
            Elementary::Shrink { bias, lambda } if lambda >= 0.0 => {
                Pieces::new(&[-lambda, lambda], &[&[bias, 1.0], &[0.0], &[-bias, 1.0]])
            }
            Elementary::Clip { low, high } => match (low.is_finite(), high.is_finite()) {
                (true, true) => Pieces::new(&[low, high], &[&[low], &line, &[high]]),
                (true, false) => Pieces::new(&[low], &[&[low], &line]),
                (false, true) => Pieces::new(&[high], &[&line, &[high]]),
                (false, false) => Pieces::polynomial(line.to_vec()),
            },
            _ => return None,
        })
    }

    /// Polynomials between thresholds; `None` when they are no pieces of a function.
    pub(crate) fn joined(thresholds: Vec<f64>, polynomials: Vec<Vec<f64>>) -> Option<Self> {
        let polynomials = polynomials.into_iter().map(trimmed).collect();
        let pieces = Pieces { thresholds, polynomials };
        pieces.is_valid().then_some(pieces)
    }

    /// Whether it is a function as built here; those from files may not be.
    pub(crate) fn is_valid(&self) -> bool {
        let sizes = (1..=MAX_DEGREE + 1).contains(&self.polynomials.iter().map(Vec::len).max().unwrap_or(0))
            && self.polynomials.iter().all(|p| !p.is_empty());
        let ascending = self.thresholds.windows(2).all(|pair| pair[0] < pair[1]);
        let finite = self.thresholds.iter().chain(self.polynomials.iter().flatten()).all(|x| x.is_finite());
        let count = self.polynomials.len() == self.thresholds.len() + 1;
        sizes && ascending && finite && count && self.thresholds.len() <= MAX_THRESHOLDS
    }

    /// The thresholds, ascending.
    pub fn thresholds(&self) -> &[f64] {
        &self.thresholds
    }

    /// The polynomials, one more than thresholds.
    pub fn polynomials(&self) -> &[Vec<f64>] {
        &self.polynomials
    }

    /// Highest degree of a piece.
    pub fn degree(&self) -> usize {
        self.polynomials.iter().map(|p| p.len() - 1).max().unwrap_or(0)
    }

    /// The value at `x`.
    pub fn at(&self, x: f64) -> f64 {
        let piece = self.thresholds.iter().take_while(|t| x >= **t).count();
        evaluate(&self.polynomials[piece], x)
    }

    /// This function for numbers up to `reach` in size alone: without thresholds beyond.
    pub(crate) fn within(&self, reach: f64) -> Self {
        let before = self.thresholds.iter().take_while(|t| **t <= -reach).count();
        let inside = self.thresholds[before..].iter().take_while(|t| **t < reach).count();
        Pieces {
            thresholds: self.thresholds[before..before + inside].to_vec(),
            polynomials: self.polynomials[before..=before + inside].to_vec(),
        }
    }

    /// Whether it never falls: then it may change places with the largest number of a window.
    pub fn never_falls(&self) -> bool {
        let rises = |p: &Vec<f64>| p.len() == 1 || (p.len() == 2 && p[1] >= 0.0);
        let steps = self.polynomials.windows(2).zip(&self.thresholds);
        self.polynomials.iter().all(rises)
            && steps
                .into_iter()
                .all(|(p, &t)| evaluate(&p[1], t) >= evaluate(&p[0], t) - 1e-9 * (1.0 + t.abs()))
    }

    /// This function of `inner x`, times `outer`.
    pub(crate) fn in_units(&self, inner: f64, outer: f64) -> Self {
        let scaled = |p: &Vec<f64>| {
            let mut power = outer;
            let next = |a: &f64| {
                let value = a * power;
                power *= inner;
                value
            };
            p.iter().map(next).collect()
        };
        Pieces {
            thresholds: self.thresholds.iter().map(|t| t / inner).collect(),
            polynomials: self.polynomials.iter().map(scaled).collect(),
        }
    }

    /// A polynomial of this; `None` when a degree is too high.
    pub(crate) fn then_polynomial(&self, outer: &[f64]) -> Option<Self> {
        let polynomials = self.polynomials.iter().map(|p| compose(outer, p)).collect::<Option<_>>()?;
        Some(Pieces { thresholds: self.thresholds.clone(), polynomials }.simplified())
    }

    /// `outer` of this; `None` when its pieces are not found or too many.
    pub(crate) fn then(&self, outer: &Pieces) -> Option<Self> {
        let mut thresholds = Vec::new();
        let mut polynomials = Vec::new();
        for (i, p) in self.polynomials.iter().enumerate() {
            let low = if i == 0 { f64::NEG_INFINITY } else { self.thresholds[i - 1] };
            let high = self.thresholds.get(i).copied().unwrap_or(f64::INFINITY);
            let mut cuts = Vec::new();
            for t in &outer.thresholds {
                cuts.extend(crossings(p, *t)?.into_iter().filter(|x| *x > low && *x < high));
            }
            cuts.sort_by(f64::total_cmp);
            cuts.dedup_by(|a, b| (*a - *b).abs() <= SAME * (1.0 + b.abs()));
            if i > 0 {
                thresholds.push(low);
            }
            let mut ends = vec![low];
            ends.extend(&cuts);
            ends.push(high);
            for pair in ends.windows(2) {
                let inside = evaluate(p, between(pair[0], pair[1]));
                let piece = outer.thresholds.iter().take_while(|t| inside >= **t).count();
                polynomials.push(compose(&outer.polynomials[piece], p)?);
            }
            thresholds.extend(cuts);
        }
        Pieces { thresholds, polynomials }.simplified().checked()
    }

    /// Both combined piece by piece; `None` when there are too many or a degree is too high.
    pub(crate) fn combined(&self, other: &Self, by: impl Fn(&[f64], &[f64]) -> Vec<f64>) -> Option<Self> {
        let mut thresholds: Vec<f64> = self.thresholds.iter().chain(&other.thresholds).copied().collect();
        thresholds.sort_by(f64::total_cmp);
        thresholds.dedup_by(|a, b| (*a - *b).abs() <= SAME * (1.0 + b.abs()));
        let mut polynomials = Vec::with_capacity(thresholds.len() + 1);
        for i in 0..=thresholds.len() {
            let low = if i == 0 { f64::NEG_INFINITY } else { thresholds[i - 1] };
            let x = between(low, thresholds.get(i).copied().unwrap_or(f64::INFINITY));
            let of = |f: &Self| f.polynomials[f.thresholds.iter().take_while(|t| x >= **t).count()].clone();
            polynomials.push(trimmed(by(&of(self), &of(other))));
        }
        Pieces { thresholds, polynomials }.simplified().checked()
    }

    /// Without thresholds between pieces that are the same.
    fn simplified(mut self) -> Self {
        let same = |a: &[f64], b: &[f64]| {
            (0..a.len().max(b.len())).all(|k| {
                let at = |c: &[f64]| c.get(k).copied().unwrap_or(0.0);
                (at(a) - at(b)).abs() <= SAME * (1.0 + at(a).abs())
            })
        };
        let mut i = 0;
        while i < self.thresholds.len() {
            if same(&self.polynomials[i], &self.polynomials[i + 1]) {
                self.thresholds.remove(i);
                self.polynomials.remove(i + 1);
            } else {
                i += 1;
            }
        }
        self
    }

    fn checked(self) -> Option<Self> {
        self.is_valid().then_some(self)
    }
}

/// The sum of two polynomials.
pub(crate) fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    let at = |c: &[f64], k: usize| c.get(k).copied().unwrap_or(0.0);
    (0..a.len().max(b.len())).map(|k| at(a, k) + at(b, k)).collect()
}

/// The product of two polynomials.
pub(crate) fn times(a: &[f64], b: &[f64]) -> Vec<f64> {
    product(a, b)
}

/// A number between two, either of which may be infinite.
fn between(low: f64, high: f64) -> f64 {
    match (low.is_finite(), high.is_finite()) {
        (true, true) => (low + high) / 2.0,
        (true, false) => low + 1.0 + low.abs(),
        (false, true) => high - 1.0 - high.abs(),
        (false, false) => 0.0,
    }
}

/// Where a polynomial takes a value; `None` above degree 2.
fn crossings(p: &[f64], value: f64) -> Option<Vec<f64>> {
    let p = trimmed(p.to_vec());
    Some(match p[..] {
        [_] => Vec::new(),
        [b, a] => vec![(value - b) / a],
        [c, b, a] => {
            let discriminant = b * b - 4.0 * a * (c - value);
            if discriminant < 0.0 {
                return Some(Vec::new());
            }
            let root = discriminant.sqrt();
            vec![(-b - root) / (2.0 * a), (-b + root) / (2.0 * a)]
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a function that is not there fails the test
    use super::*;
    use crate::function::Function;

    fn x() -> Function {
        Function::identity()
    }

    #[test]
    fn pieces_are_the_function() {
        let relu6 = x().then(Elementary::Clip { low: 0.0, high: 6.0 }).unwrap();
        let shifted =
            x().then_polynomial(&[3.0, 1.0]).unwrap().then(Elementary::Clip { low: 0.0, high: 6.0 });
        let hard_sigmoid = shifted.unwrap().then_polynomial(&[0.0, 1.0 / 6.0]).unwrap();
        let square = x().then_polynomial(&[-1.0, 0.0, 1.0]).unwrap();
        let cases: [(Function, usize, usize); 9] = [
            (Function::elementary(Elementary::Relu), 1, 1),
            (Function::elementary(Elementary::Abs), 1, 1),
            (Function::elementary(Elementary::LeakyRelu { alpha: 0.1 }), 1, 1),
            (relu6.clone(), 2, 1),
            (hard_sigmoid.clone(), 2, 1),
            (x().times(hard_sigmoid).unwrap(), 2, 2),
            (Function::elementary(Elementary::Shrink { bias: 0.5, lambda: 0.5 }), 2, 1),
            (square.then(Elementary::Relu).unwrap(), 2, 2),
            // A ReLU of what cannot be negative changes nothing.
            (relu6.then(Elementary::Relu).unwrap(), 2, 1),
        ];
        for (function, thresholds, degree) in cases {
            let pieces = function.pieces().unwrap();
            assert_eq!((pieces.thresholds().len(), pieces.degree()), (thresholds, degree), "{function:?}");
            for i in -900..=900 {
                let at = f64::from(i) / 100.0 + 1e-7;
                assert!((pieces.at(at) - function.at(at)).abs() < 1e-9, "{function:?} at {at}");
            }
        }
        for smooth in [Elementary::Sigmoid, Elementary::Tanh, Elementary::Exp] {
            assert!(Function::elementary(smooth).pieces().is_none());
        }
    }

    #[test]
    fn what_never_falls_may_change_places_with_a_maximum() {
        let of = |f: Function| f.pieces().unwrap().never_falls();
        assert!(of(Function::elementary(Elementary::Relu)));
        assert!(of(Function::elementary(Elementary::LeakyRelu { alpha: 0.2 })));
        assert!(of(Function::elementary(Elementary::Clip { low: -1.0, high: 1.0 })));
        assert!(of(Function::elementary(Elementary::ThresholdedRelu { alpha: 0.5 })));
        assert!(!of(Function::elementary(Elementary::LeakyRelu { alpha: -0.2 })));
        assert!(!of(Function::elementary(Elementary::Abs)));
        // It falls at its threshold.
        assert!(!of(Function::elementary(Elementary::ThresholdedRelu { alpha: -0.5 })));
        assert!(!of(Function::elementary(Elementary::Relu).then_polynomial(&[0.0, -1.0]).unwrap()));
    }

    #[test]
    fn units_change_thresholds_and_results() {
        let f = Function::elementary(Elementary::Clip { low: -1.0, high: 2.0 });
        let pieces = f.pieces().unwrap().in_units(4.0, 0.5);
        for i in -100..100 {
            let at = f64::from(i) / 50.0 + 1e-9;
            assert!((pieces.at(at) - 0.5 * f.at(4.0 * at)).abs() < 1e-12);
        }
    }
}
