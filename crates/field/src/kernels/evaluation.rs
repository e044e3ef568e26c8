//! Polynomials on planes: evaluation on shares with their tags, Taylor coefficients of a masked
//! polynomial, and plain Horner (`docs/protocol.md`, 5, 6.3 and 6.7).

use super::lanes::{Lanes, MAX_TERMS, Residues};
use super::product::Lines;
use crate::prime::Prime;

/// The highest degree.
pub(crate) const MAX_DEGREE: usize = 8;

/// One plane of everything a share evaluation reads; all slices have the length of `v`.
#[derive(Clone, Copy)]
pub(crate) struct ShareRows<'a> {
    /// The opened values.
    pub(crate) v: &'a [u64],
    /// All ones where the differences are to be added; not read when there are none.
    pub(crate) wrap: &'a [u64],
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

/// `x^1 .. x^D` at their index, as a tree of depth `log2 D`.
#[inline(always)]
fn powers<S: Lanes, const D: usize>(f: &Residues<S>, x: S::V) -> [S::V; MAX_DEGREE + 1] {
    let mut powers = [x; MAX_DEGREE + 1];
    for k in 2..=D {
        powers[k] = f.mul(powers[k / 2], powers[k - k / 2]);
    }
    powers
}

/// Writes every value share to `out` and returns the sum of the tag shares, in one pass over
/// memory.
///
/// Products are summed lazily: a value has at most `2 D` terms, and the tag sums are folded before
/// they reach [`MAX_TERMS`]. At degree 6 with differences a vector of elements takes 83 `VPMADD52`,
/// two a cycle, and 26 vectors from or to memory; beyond the second-level cache memory is the
/// floor.
#[inline(always)]
pub(super) fn shares<S: Lanes>(s: S, prime: Prime, rows: &ShareRows<'_>, out: &mut [u64]) -> u64 {
    for_degree!(rows.degree, shares_of_degree(s, prime, rows, out))
}

#[allow(clippy::needless_range_loop)] // indices are exponents
#[inline(always)]
fn shares_of_degree<S: Lanes, const D: usize>(
    s: S,
    prime: Prime,
    rows: &ShareRows<'_>,
    out: &mut [u64],
) -> u64 {
    let f = Residues::new(s, prime);
    let (zero, one) = (s.splat(0), s.splat(1));
    let leading = s.splat(rows.leading);
    let value_leading = s.splat(if rows.add_leading { rows.leading } else { 0 });
    // Said once, so that one comparison a vector is enough for all of its loads.
    let len = out.len();
    assert!(rows.v.len() == len && rows.keys.len() == len);
    for k in 1..D {
        assert!(rows.c[k].len() == len && rows.tag_c[k].len() == len);
    }
    if rows.differences {
        assert!(rows.wrap.len() == len);
        for k in 0..D {
            assert!(rows.e[k].len() == len && rows.tag_e[k].len() == len);
        }
    }
    let block = const { MAX_TERMS / (MAX_DEGREE + 1) } * S::COUNT;
    let mut total = zero;
    for first in (0..out.len()).step_by(block) {
        // Two chains, at most D terms of a vector in each.
        let (mut tag, mut tag_differences) = (s.wide(zero), s.wide(zero));
        for i in (first..out.len().min(first + block)).step_by(S::COUNT) {
            let v = powers::<S, D>(&f, s.load(rows.v, i));
            let mut y = s.mac(s.wide(zero), v[D], value_leading);
            for k in 1..D {
                y = s.mac(y, v[k], s.load(rows.c[k], i));
                tag = s.mac(tag, v[k], s.load(rows.tag_c[k], i));
            }
            tag = s.mac(tag, f.mul(v[D], leading), s.load(rows.keys, i));
            if rows.differences {
                let wrap = s.load(rows.wrap, i);
                for k in 0..D {
                    let power = if k == 0 { one } else { v[k] };
                    y = s.mac(y, power, s.and(s.load(rows.e[k], i), wrap));
                    tag_differences = s.mac(tag_differences, power, s.and(s.load(rows.tag_e[k], i), wrap));
                }
            }
            s.store(out, i, f.reduce(y));
        }
        total = f.add(total, f.add(f.reduce(tag), f.reduce(tag_differences)));
    }
    f.total(total)
}

/// One plane of everything that the evaluation of a polynomial with chosen signs reads; all slices
/// but the bits have the length of `v`.
#[derive(Clone, Copy)]
pub(crate) struct SignedRows<'a> {
    /// The opened values.
    pub(crate) v: &'a [u64],
    /// Bits of elements, the first of `v` at bit `first`: set where the polynomial is added, clear
    /// where it is taken away.
    pub(crate) bits: &'a [u64],
    /// Where the bits begin.
    pub(crate) first: usize,
    /// Coefficients of the powers from 0 on.
    pub(crate) c: [&'a [u64]; MAX_DEGREE + 1],
    /// Their tags.
    pub(crate) tag_c: [&'a [u64]; MAX_DEGREE + 1],
    /// How many coefficients there are, at least one.
    pub(crate) count: usize,
}

/// Adds every value share with its sign to `out` and returns the sum of the tag shares with theirs,
/// in one pass over memory.
#[inline(always)]
pub(super) fn signed_shares<S: Lanes>(s: S, prime: Prime, rows: &SignedRows<'_>, out: &mut [u64]) -> u64 {
    match rows.count {
        1 => signed_shares_of_degree::<S, 0>(s, prime, rows, out),
        _ => for_degree!(rows.count - 1, signed_shares_of_degree(s, prime, rows, out)),
    }
}

#[allow(clippy::needless_range_loop)] // indices are exponents
#[inline(always)]
fn signed_shares_of_degree<S: Lanes, const D: usize>(
    s: S,
    prime: Prime,
    rows: &SignedRows<'_>,
    out: &mut [u64],
) -> u64 {
    let f = Residues::new(s, prime);
    let (zero, one, minus_one) = (s.splat(0), s.splat(1), s.splat(prime.value() - 1));
    let len = out.len();
    assert!(rows.v.len() == len && rows.bits.len() * 64 >= rows.first + len);
    for k in 0..=D {
        assert!(rows.c[k].len() == len && rows.tag_c[k].len() == len);
    }
    let block = const { MAX_TERMS / (MAX_DEGREE + 1) } * S::COUNT;
    let mut total = zero;
    for first in (0..len).step_by(block) {
        let mut tag = s.wide(zero);
        for i in (first..len.min(first + block)).step_by(S::COUNT) {
            let (word, bit) = ((rows.first + i) / 64, (rows.first + i) % 64);
            let mut bits = rows.bits[word] >> bit;
            if bit + S::COUNT > 64 {
                bits |= rows.bits.get(word + 1).map_or(0, |next| next << (64 - bit));
            }
            // Signs are in the powers, so that sums stay sums of products.
            let sign = s.xor(minus_one, s.and(s.xor(minus_one, one), s.spread(bits)));
            let v = s.load(rows.v, i);
            let mut power = sign;
            let mut y = s.mac(s.wide(s.load(out, i)), power, s.load(rows.c[0], i));
            tag = s.mac(tag, power, s.load(rows.tag_c[0], i));
            for k in 1..=D {
                power = f.mul(power, v);
                y = s.mac(y, power, s.load(rows.c[k], i));
                tag = s.mac(tag, power, s.load(rows.tag_c[k], i));
            }
            s.store(out, i, f.reduce(y));
        }
        total = f.add(total, f.reduce(tag));
    }
    f.total(total)
}

/// `C_j = sum_{k >= j} t[j][k] (-mu)^(k - j)` for `j < d = out.len()`, where
/// `t[j][k] = binom(k, j) B_k`.
///
/// `d - 1` products for the powers, then sums of products that are reduced once each: 97 `VPMADD52`
/// a vector at degree 6, so the floor is 49 cycles; only `d + 1` vectors move.
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

/// Words whose powers are computed together, 8 vectors of AVX-512. The processor looks ahead about
/// 200 instructions, one vector's worth, and a chain of dependent products takes 20 cycles a link:
/// with the powers of a block side by side there is always one to go on with (degree 6: 17.8
/// instead of 23 ns a vector; 20.5 with 4 vectors, 17.8 with 16).
const BLOCK: usize = 64;

#[inline(always)]
fn taylor_of_degree<S: Lanes, const D: usize>(
    s: S,
    prime: Prime,
    binomials: &[[u64; MAX_DEGREE + 1]; MAX_DEGREE + 1],
    mu: &[u64],
    out: &mut [&mut [u64]],
) {
    let f = Residues::new(s, prime);
    assert!(out.len() == D && out.iter().all(|out| out.len() == mu.len()));
    // `n^k` at `[k]`, for n = -mu.
    let mut powers: [Lines<BLOCK>; MAX_DEGREE + 1] = std::array::from_fn(|_| Lines([0; BLOCK]));
    for first in (0..mu.len()).step_by(BLOCK) {
        let len = (mu.len() - first).min(BLOCK);
        for i in (0..len).step_by(S::COUNT) {
            s.store(&mut powers[1].0, i, f.sub(s.splat(0), s.load(mu, first + i)));
        }
        for k in 2..=D {
            for i in (0..len).step_by(S::COUNT) {
                let (a, b) = (s.load(&powers[k / 2].0, i), s.load(&powers[k - k / 2].0, i));
                s.store(&mut powers[k].0, i, f.mul(a, b));
            }
        }
        for i in (0..len).step_by(S::COUNT) {
            for j in 0..D {
                let mut sum = s.wide(s.splat(binomials[j][j]));
                for k in j + 1..=D {
                    sum = s.mac(sum, s.splat(binomials[j][k]), s.load(&powers[k - j].0, i));
                }
                s.store(out[j], first + i, f.reduce(sum));
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
