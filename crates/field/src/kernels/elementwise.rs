//! Element-wise work and sums on one plane, written once for every kernel.
//!
//! Inputs are canonical residues of equal length, results are canonical. With AVX-512 all of these
//! but [`dot`] and [`sum`] in cache are bound by memory: the floor is the bytes they touch.

use super::lanes::{Lanes, MAX_TERMS, Residues};
use crate::prime::{MASK52, Prime};

#[inline(always)]
pub(super) fn add_assign<S: Lanes>(s: S, prime: Prime, a: &mut [u64], b: &[u64]) {
    let f = Residues::new(s, prime);
    for i in (0..a.len()).step_by(S::COUNT) {
        s.store(a, i, f.add(s.load(a, i), s.load(b, i)));
    }
}

#[inline(always)]
pub(super) fn sub_assign<S: Lanes>(s: S, prime: Prime, a: &mut [u64], b: &[u64]) {
    let f = Residues::new(s, prime);
    for i in (0..a.len()).step_by(S::COUNT) {
        s.store(a, i, f.sub(s.load(a, i), s.load(b, i)));
    }
}

#[inline(always)]
pub(super) fn neg_assign<S: Lanes>(s: S, prime: Prime, a: &mut [u64]) {
    let f = Residues::new(s, prime);
    let zero = s.splat(0);
    for i in (0..a.len()).step_by(S::COUNT) {
        s.store(a, i, f.sub(zero, s.load(a, i)));
    }
}

#[inline(always)]
pub(super) fn mul_assign<S: Lanes>(s: S, prime: Prime, a: &mut [u64], b: &[u64]) {
    let f = Residues::new(s, prime);
    for i in (0..a.len()).step_by(S::COUNT) {
        s.store(a, i, f.mul(s.load(a, i), s.load(b, i)));
    }
}

#[inline(always)]
pub(super) fn add_constant<S: Lanes>(s: S, prime: Prime, a: &mut [u64], constant: u64) {
    let f = Residues::new(s, prime);
    let constant = s.splat(constant);
    for i in (0..a.len()).step_by(S::COUNT) {
        s.store(a, i, f.add(s.load(a, i), constant));
    }
}

#[inline(always)]
pub(super) fn scale_assign<S: Lanes>(s: S, prime: Prime, a: &mut [u64], factor: u64) {
    let f = Residues::new(s, prime);
    let factor = s.splat(factor);
    for i in (0..a.len()).step_by(S::COUNT) {
        s.store(a, i, f.mul(s.load(a, i), factor));
    }
}

#[inline(always)]
pub(super) fn add_scaled<S: Lanes>(s: S, prime: Prime, a: &mut [u64], factor: u64, b: &[u64]) {
    let f = Residues::new(s, prime);
    let factor = s.splat(factor);
    for i in (0..a.len()).step_by(S::COUNT) {
        s.store(a, i, f.mul_add(s.load(a, i), s.load(b, i), factor));
    }
}

#[inline(always)]
pub(super) fn add_product<S: Lanes>(s: S, prime: Prime, a: &mut [u64], b: &[u64], c: &[u64]) {
    let f = Residues::new(s, prime);
    for i in (0..a.len()).step_by(S::COUNT) {
        s.store(a, i, f.mul_add(s.load(a, i), s.load(b, i), s.load(c, i)));
    }
}

/// `a += b` where the bit is set, `a -= b` elsewhere.
#[inline(always)]
pub(super) fn add_signed<S: Lanes>(s: S, prime: Prime, a: &mut [u64], b: &[u64], bits: &[u64]) {
    let f = Residues::new(s, prime);
    let zero = s.splat(0);
    for i in (0..a.len()).step_by(S::COUNT) {
        let (x, positive) = (s.load(b, i), s.spread(bits[i / 64] >> (i % 64)));
        let negated = f.sub(zero, x);
        // Where the bit is set the difference to `x` is put back.
        let signed = s.xor(negated, s.and(s.xor(negated, x), positive));
        s.store(a, i, f.add(s.load(a, i), signed));
    }
}

/// `sum a_i b_i mod p`, with two chains of sums that hide the latency of the multiply-adds.
#[inline(always)]
pub(super) fn dot<S: Lanes>(s: S, prime: Prime, a: &[u64], b: &[u64]) -> u64 {
    let f = Residues::new(s, prime);
    let zero = s.splat(0);
    let mut total = zero;
    let block = MAX_TERMS * S::COUNT;
    for (a, b) in a.chunks(block).zip(b.chunks(block)) {
        let mut even = s.wide(zero);
        let mut odd = s.wide(zero);
        for i in (0..a.len()).step_by(2 * S::COUNT) {
            even = s.mac(even, s.load(a, i), s.load(b, i));
            if i + S::COUNT < a.len() {
                odd = s.mac(odd, s.load(a, i + S::COUNT), s.load(b, i + S::COUNT));
            }
        }
        total = f.add(total, f.add(f.reduce(even), f.reduce(odd)));
    }
    f.total(total)
}

/// `sum a_i mod p`: up to 4096 residues below 2^52 fit a lane.
#[inline(always)]
pub(super) fn sum<S: Lanes>(s: S, prime: Prime, a: &[u64]) -> u64 {
    let f = Residues::new(s, prime);
    let zero = s.splat(0);
    let mut total = zero;
    for a in a.chunks(MAX_TERMS * S::COUNT) {
        let mut lazy = zero;
        for i in (0..a.len()).step_by(S::COUNT) {
            lazy = s.add(lazy, s.load(a, i));
        }
        total = f.add(total, f.reduce_word(lazy));
    }
    f.total(total)
}

/// Keeps the low 52 bits of every word and returns whether all are below the prime then.
#[inline(always)]
pub(super) fn mask52<S: Lanes>(s: S, prime: Prime, words: &mut [u64]) -> bool {
    let (p, mask) = (s.splat(prime.value()), s.splat(MASK52));
    // The top bit of `x - p` is set exactly when `x < p`; it must stay set in the conjunction of
    // all.
    let mut all = s.splat(u64::MAX);
    for i in (0..words.len()).step_by(S::COUNT) {
        let x = s.and(s.load(words, i), mask);
        all = s.and(all, s.sub(x, p));
        s.store(words, i, x);
    }
    s.total(s.shr(all, 63)) == S::COUNT as u64
}
