//! Comparisons and what is built from them: activations in pieces, maxima.
//!
//! A ReLU is three operations: [`Compare`] says for every element whether it is above 0, as a bit
//! that nobody knows; [`Truncate`] drops the bits that are not needed; [`Select`] gives the bit
//! times the value. A maximum `max(x, y)` is `y` plus a selection on `x - y`. [`Outside`] tells
//! whether any of many numbers is neither 0 nor 1.

use crate::{Activation, ScaleBits, ValueId, WrapRule};
use amicus_field::SumPool2d;
use serde::{Deserialize, Serialize};

/// Whether each element of a value is at or above each of some public thresholds. The result is
/// bits, one for each element and threshold, and goes into [`Select`] only.
///
/// Decisions are made in units of `2^unit`: an element at least half a unit away from a threshold
/// is decided rightly, nearer ones at random. It must lie less than `2^(unit + window - 1)`, less
/// half a unit, away from every threshold, or the bit is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// The value; its mask need not be shared.
    pub input: ValueId,
    /// The thresholds as integers at the scale of the input.
    pub thresholds: Vec<i128>,
    /// Binary logarithm of the unit in which decisions are made.
    pub unit: u32,
    /// Bits of the digits below the top bit of the window, most significant first.
    pub digits: Vec<u32>,
}

/// Drops low bits of a value; each result is off by less than one of its own units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truncate {
    /// The value; its mask need not be shared.
    pub input: ValueId,
    /// Scale of the result, at most that of the input.
    pub scale: ScaleBits,
    /// The integers fed in lie strictly between `-2^ell` and `2^ell`.
    pub ell: u32,
}

impl Truncate {
    /// A truncation as the activation that it is: by the polynomial `u` itself.
    pub fn as_activation(&self) -> Activation {
        Activation {
            input: self.input,
            ell: self.ell,
            input_scale: self.scale,
            coefficients: vec![0, 1],
            coefficient_scale: ScaleBits(0),
            pool: None,
            wrap: WrapRule::Exact,
        }
    }
}

/// `Q_0(z) + sum_t b_t Q_t(z)` of every element, exact modulo `Q`; then sum-pooling, then the sum
/// with another value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Select {
    /// The value `z`; its mask need not be shared.
    pub input: ValueId,
    /// The bits `b_1, b_2, ..`: a comparison of as many elements. None for a polynomial alone.
    pub bits: Option<ValueId>,
    /// `Q_0, Q_1, ..`: coefficients for the integers of the input, lowest first.
    pub polynomials: Vec<Vec<i128>>,
    /// Scale of the result.
    pub scale: ScaleBits,
    /// Windows summed before the result is opened.
    pub pool: Option<SumPool2d>,
    /// A value added to the result; its mask need not be shared.
    pub base: Option<ValueId>,
}

/// Numbers that say whether any element of a value is neither 0 nor 1, and no more: each is 0 if none
/// is, else random, uniform modulo `Q`. It is the sum of `x (x - 1)` times secret random factors,
/// which the parties' seeds give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outside {
    /// The value; its mask need not be shared.
    pub input: ValueId,
    /// How many numbers, each with random factors of its own.
    pub numbers: u32,
    /// Scale that the numbers are given, so that they can stand beside others.
    pub scale: ScaleBits,
}

impl Outside {
    /// Correction elements dealt for one element fed in: linear coefficients, and the tags of both.
    pub fn corrections_per_input(&self) -> usize {
        3 * self.numbers as usize
    }
}

/// One join of segments of digits (`docs/protocol.md`, "Comparison").
struct Join {
    /// Bits opened for each element.
    openings: usize,
    /// Bits dealt for each element.
    dealt: usize,
}

impl Compare {
    /// Bits of the window.
    pub fn window(&self) -> u32 {
        self.digits.iter().fold(1, |sum, w| sum.saturating_add(*w))
    }

    /// Lengths of the runs of segments that each level joins: pairs while more than three segments
    /// are left, then all of them.
    pub fn shape(&self) -> Vec<Vec<usize>> {
        let mut left = self.digits.len();
        let mut levels = Vec::new();
        while left > 3 {
            levels.push((0..left).step_by(2).map(|start| 2.min(left - start)).collect());
            left = left.div_ceil(2);
        }
        if left > 1 {
            levels.push(vec![left]);
        }
        levels
    }

    /// Number of rounds in which something is opened: one for each level of joins and a last one.
    pub fn levels(&self) -> usize {
        self.shape().len() + 1
    }

    /// Bits opened at each level, for each element, all thresholds together.
    pub fn openings(&self) -> Vec<usize> {
        let joins = self.joins();
        let bits = joins.iter().map(|level| level.iter().map(|j| j.openings).sum());
        bits.chain([1]).map(|bits: usize| bits * self.thresholds.len()).collect()
    }

    /// Bits of tables dealt for each element; all thresholds use the same.
    pub fn table_bits(&self) -> usize {
        self.digits
            .iter()
            .map(|&w| 1usize.checked_shl(w).map_or(usize::MAX, |n| n - 1))
            .fold(0, usize::saturating_add)
    }

    /// Bits of joins dealt for each element, all thresholds together.
    pub fn join_bits(&self) -> usize {
        self.joins().iter().flatten().map(|j| j.dealt).sum::<usize>().saturating_mul(self.thresholds.len())
    }

    /// Bits dealt for each element.
    pub fn dealt_bits(&self) -> usize {
        self.table_bits().saturating_add(self.join_bits())
    }

    fn joins(&self) -> Vec<Vec<Join>> {
        // Whether each segment is a digit: the shares of its masks come from the tables.
        let mut digit = vec![true; self.digits.len()];
        let mut levels = Vec::new();
        for runs in self.shape() {
            let (mut joins, mut next, mut at) = (Vec::new(), Vec::new(), 0);
            for run in runs {
                let parts = &digit[at..at + run];
                at += run;
                if run > 1 {
                    joins.push(Join::of(parts, at == digit.len()));
                }
                next.push(run == 1 && parts[0]);
            }
            digit = next;
            levels.push(joins);
        }
        levels
    }
}

impl Join {
    fn of(digit: &[bool], last: bool) -> Join {
        let dealt = |part: usize| usize::from(!digit[part]);
        match digit.len() {
            // Products of masks; the mask of the middle one is dealt within them.
            3 => Join { openings: 4, dealt: 3 + dealt(0) + dealt(1) + dealt(2) },
            _ if last => Join { openings: 2, dealt: dealt(0) + dealt(1) },
            _ => Join { openings: 3, dealt: dealt(0) + 2 * dealt(1) },
        }
    }
}

/// Degree of a polynomial; 0 for one that is 0.
fn degree(coefficients: impl DoubleEndedIterator<Item = bool> + ExactSizeIterator) -> usize {
    let len = coefficients.len();
    coefficients.rev().position(|not_zero| not_zero).map_or(0, |zeros| len - 1 - zeros)
}

impl Select {
    /// Degree of `Q_0 + (1/2) sum_t Q_t`, then of `Q_1, Q_2, ..`: how many coefficients are masked.
    pub fn degrees(&self) -> Vec<usize> {
        let longest = self.polynomials.iter().map(Vec::len).max().unwrap_or(0);
        let of = |t: usize, k: usize| self.polynomials[t].get(k).copied().unwrap_or(0);
        // Coefficients are below 2^120, so that sums of a few do not overflow.
        let twice = |k: usize| {
            (1..self.polynomials.len())
                .fold(of(0, k).saturating_mul(2), |sum, t| sum.saturating_add(of(t, k)))
        };
        let mean = (0..longest).map(|k| twice(k) != 0);
        let others = self.polynomials.iter().skip(1).map(|q| degree(q.iter().map(|&c| c != 0)));
        std::iter::once(degree(mean)).chain(others).collect()
    }

    /// Correction elements dealt for one element fed in: masked coefficients and their tags.
    pub fn corrections_per_input(&self) -> usize {
        let degrees = self.degrees();
        let of_bits: usize = degrees[1..].iter().map(|d| d + 1).sum();
        2 * (degrees[0].saturating_sub(1) + of_bits)
    }
}
