//! Polynomials on planes: evaluation on shares with their tags, Taylor coefficients of a masked polynomial,
//! and plain Horner (`docs/protocol.md`, 5, 6.3 and 6.7).

use super::lanes::{Lanes, MAX_TERMS, Residues};
use crate::prime::Prime;

/// The highest degree.
pub(crate) const MAX_DEGREE: usize = 8;

/// One plane of everything a share evaluation reads; all slices have the length of `v`.
#[derive(Clone, Copy)]
pub(crate) struct ShareRows<'a> {
    /// The opened values.
    pub(crate) v: &'a [u64],
    /// All ones where the differences are to be added.
    pub(crate) case: &'a [u64],
    /// `C_k` at index `k`, `1 <= k < d`.
    pub(crate) c: [&'a [u64]; MAX_DEGREE],
    /// `E_k` at index `k`, `0 <= k < d`; not read when there are no differences.
    pub(crate) e: [&'a [u64]; MAX_DEGREE],
    /// Tags of `C_k`.
    pub(crate) tag_c: [&'a [u64]; MAX_DEGREE],
    /// Tags of `E_k`.
    pub(crate) tag_e: [&'a [u64]; MAX_DEGREE],
    /// Key of every element.
    pub(crate) keys: &'a [u64],
    /// `A_d`.
    pub(crate) leading: u64,
    /// Whether `A_d v^d` is part of the value.
    pub(crate) add_leading: bool,
    /// `d`.
    pub(crate) degree: usize,
    /// Whether there are differences.
    pub(crate) differences: bool,
}

/// Runs `$function::<S, D>` for a degree 1..=8.
macro_rules! for_degree {
    ($degree:expr, $function:ident($($arg:expr),*)) => {
        match $degree {
            1 => $function::<S, 1>($($arg),*),
            2 => $function::<S, 2>($($arg),*),
            3 => $function::<S, 3>($($arg),*),
            4 => $function::<S, 4>($($arg),*),
            5 => $function::<S, 5>($($arg),*),
            6 => $function::<S, 6>($($arg),*),
            7 => $function::<S, 7>($($arg),*),
            8 => $function::<S, 8>($($arg),*),
            _ => unreachable!("degrees are 1 to 8"),
        }
    };
}

/// Vectors whose powers are computed together. The processor looks ahead about 200 instructions, one vector's
/// worth, and a chain of dependent products takes 20 cycles a link: with the vectors of a block side by side
/// there is always one to go on with. Measured at degree 6: Taylor coefficients XX to YY ns a vector, shares
/// XX to YY.
const BLOCK: usize = 8;

/// `x^k` of a block of vectors at `[k]`.
type Powers<S> = [[<S as Lanes>::V; BLOCK]; MAX_DEGREE + 1];

/// Fills `powers[2..=D]` from `powers[1]`, as a tree of depth `log2 D`.
#[inline(always)]
fn raise<S: Lanes, const D: usize>(f: &Residues<S>, powers: &mut Powers<S>, vectors: usize) {
    for k in 2..=D {
        for i in 0..vectors {
            powers[k][i] = f.mul(powers[k / 2][i], powers[k - k / 2][i]);
        }
    }
}

/// Writes every value share to `out` and returns the sum of the tag shares, in one pass over memory.
///
/// Products are summed lazily: a value has at most `2 D` terms, and the tag sums are folded before they
/// reach [`MAX_TERMS`]. The floor is memory: at degree 6 with differences 25 words are read and one is
/// written for 23 multiply-adds and 6 reduced products.
#[inline(always)]
pub(super) fn shares<S: Lanes>(s: S, prime: Prime, rows: &ShareRows<'_>, out: &mut [u64]) -> u64 {
    const { assert!(BLOCK * MAX_DEGREE < MAX_TERMS) };
    for_degree!(rows.degree, shares_of_degree(s, prime, rows, out))
}

#[allow(clippy::needless_range_loop)] // indices are exponents
#[inline(always)]
fn shares_of_degree<S: Lanes, const D: usize>(s: S, prime: Prime, rows: &ShareRows<'_>, out: &mut [u64]) -> u64 {
    let f = Residues::new(s, prime);
    let (zero, one) = (s.splat(0), s.splat(1));
    let leading = s.splat(rows.leading);
    let value_leading = s.splat(if rows.add_leading { rows.leading } else { 0 });
    let mut total = zero;
    // Two chains of tag sums, each with at most D terms a vector, and the value they start with.
    let (mut tag, mut tag_differences) = (s.wide(zero), s.wide(zero));
    let mut terms = 1;
    let mut powers: Powers<S> = [[one; BLOCK]; MAX_DEGREE + 1];
    for first in (0..out.len()).step_by(BLOCK * S::COUNT) {
        let vectors = (out.len() - first).div_ceil(S::COUNT).min(BLOCK);
        for i in 0..vectors {
            powers[1][i] = s.load(rows.v, first + i * S::COUNT);
        }
        raise::<S, D>(&f, &mut powers, vectors);
        if terms + BLOCK * MAX_DEGREE > MAX_TERMS {
            total = f.add(total, f.add(f.reduce(tag), f.reduce(tag_differences)));
            (tag, tag_differences, terms) = (s.wide(zero), s.wide(zero), 1);
        }
        terms += BLOCK * MAX_DEGREE;
        for i in 0..vectors {
            let at = first + i * S::COUNT;
            let mut y = s.mac(s.wide(zero), powers[D][i], value_leading);
            for k in 1..D {
                y = s.mac(y, powers[k][i], s.load(rows.c[k], at));
                tag = s.mac(tag, powers[k][i], s.load(rows.tag_c[k], at));
            }
            tag = s.mac(tag, f.mul(powers[D][i], leading), s.load(rows.keys, at));
            if rows.differences {
                let case = s.load(rows.case, at);
                for k in 0..D {
                    y = s.mac(y, powers[k][i], s.and(s.load(rows.e[k], at), case));
                    let tag_e = s.and(s.load(rows.tag_e[k], at), case);
                    tag_differences = s.mac(tag_differences, powers[k][i], tag_e);
                }
            }
            s.store(out, at, f.reduce(y));
        }
    }
    total = f.add(total, f.add(f.reduce(tag), f.reduce(tag_differences)));
    f.total(total)
}

/// `C_j = sum_{k >= j} t[j][k] (-mu)^(k - j)` for `j < d = out.len()`, where `t[j][k] = binom(k, j) B_k`.
///
/// `d - 1` products for the powers, then sums of products that are reduced once each: 21 multiply-adds and
/// 11 reductions at degree 6, which is also the floor, since only `d + 1` words move.
#[inline(always)]
pub(super) fn taylor<S: Lanes>(
    s: S,
    prime: Prime,
    binomials: &[[u64; MAX_DEGREE + 1]; MAX_DEGREE + 1],
    mu: &[u64],
    out: &mut [&mut [u64]],
) {
    for_degree!(out.len(), taylor_of_degree(s, prime, binomials, mu, out))
}

#[inline(always)]
fn taylor_of_degree<S: Lanes, const D: usize>(
    s: S,
    prime: Prime,
    binomials: &[[u64; MAX_DEGREE + 1]; MAX_DEGREE + 1],
    mu: &[u64],
    out: &mut [&mut [u64]],
) {
    let f = Residues::new(s, prime);
    let zero = s.splat(0);
    let mut powers: Powers<S> = [[zero; BLOCK]; MAX_DEGREE + 1];
    for first in (0..mu.len()).step_by(BLOCK * S::COUNT) {
        let vectors = (mu.len() - first).div_ceil(S::COUNT).min(BLOCK);
        for i in 0..vectors {
            powers[1][i] = f.sub(zero, s.load(mu, first + i * S::COUNT));
        }
        raise::<S, D>(&f, &mut powers, vectors);
        for i in 0..vectors {
            for j in 0..D {
                let mut sum = s.wide(s.splat(binomials[j][j]));
                for k in j + 1..=D {
                    sum = s.mac(sum, s.splat(binomials[j][k]), powers[k - j][i]);
                }
                s.store(out[j], first + i * S::COUNT, f.reduce(sum));
            }
        }
    }
}

/// `out = b_0 + u (b_1 + u (b_2 + ...))`.
#[inline(always)]
pub(super) fn horner<S: Lanes>(s: S, prime: Prime, b: &[u64], u: &[u64], out: &mut [u64]) {
    let f = Residues::new(s, prime);
    for i in (0..u.len()).step_by(S::COUNT) {
        let x = s.load(u, i);
        let mut y = s.splat(0);
        for &coefficient in b.iter().rev() {
            y = f.mul_add(s.splat(coefficient), y, x);
        }
        s.store(out, i, y);
    }
}
