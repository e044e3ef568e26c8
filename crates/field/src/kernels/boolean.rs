//! Shared bits: words of 52 bits that add by exclusive or, and public bits that choose among them
//! (`docs/protocol.md`, sections 2 and 6.10).
//!
//! Public bits are packed, 64 in a word, bit `i % 64` of word `i / 64` for element `i`. All loops
//! touch every word once; the floor is the memory they read and write. Nothing branches on a word
//! or a bit, and no address depends on one.

use super::lanes::Lanes;
use crate::prime::MASK52;

/// One digit of every element of a window: `bits` bits from bit `low` on.
#[derive(Clone, Copy)]
pub(crate) struct Digits<'a> {
    /// The windows.
    pub(crate) window: &'a [u64],
    /// Position of the digit's lowest bit.
    pub(crate) low: u32,
    /// Width of the digit.
    pub(crate) width: u32,
}

impl Digits<'_> {
    #[inline(always)]
    fn load<S: Lanes>(&self, s: S, at: usize) -> S::V {
        s.and(s.shr(s.load(self.window, at), self.low), s.splat((1 << self.width) - 1))
    }
}

/// The public bits of the elements from `at` on, where `at` is a multiple of the lanes.
#[inline(always)]
fn choice<S: Lanes>(s: S, bits: &[u64], at: usize) -> S::V {
    s.spread(bits[at / 64] >> (at % 64))
}

/// Keeps the low 52 bits of every word.
#[inline(always)]
pub(super) fn keep52<S: Lanes>(s: S, words: &mut [u64]) {
    let mask = s.splat(MASK52);
    for i in (0..words.len()).step_by(S::COUNT) {
        s.store(words, i, s.and(s.load(words, i), mask));
    }
}

/// `a ^= b`.
#[inline(always)]
pub(super) fn xor_assign<S: Lanes>(s: S, a: &mut [u64], b: &[u64]) {
    for i in (0..a.len()).step_by(S::COUNT) {
        s.store(a, i, s.xor(s.load(a, i), s.load(b, i)));
    }
}

/// `out ^= ` the words of every term whose public bit is set, all terms in one pass.
#[inline(always)]
pub(super) fn xor_selected<S: Lanes>(s: S, terms: &[(&[u64], &[u64])], out: &mut [u64]) {
    for i in (0..out.len()).step_by(S::COUNT) {
        let mut sum = s.load(out, i);
        for (words, bits) in terms {
            sum = s.xor(sum, s.and(s.load(words, i), choice(s, bits, i)));
        }
        s.store(out, i, sum);
    }
}

/// Picks the words of a digit `j` from its table: `T[j]` to `less`, `T[j - 1] ^ T[j]` to `equal`,
/// where `T[-1]` is the key and the entry behind the last one is 0. An empty `equal` is not wanted.
///
/// All entries are read, one behind the other: neighbours have different digits, so a gather would
/// touch the same cache lines.
#[inline(always)]
pub(super) fn pick<S: Lanes>(
    s: S,
    digits: Digits<'_>,
    tables: &[&[u64]],
    key: &[u64],
    less: &mut [u64],
    equal: &mut [u64],
) {
    let zero = s.splat(0);
    for i in (0..less.len()).step_by(S::COUNT) {
        let digit = digits.load(s, i);
        let (mut below, mut at) = (zero, zero);
        for (j, table) in tables.iter().enumerate() {
            let (entry, j) = (s.load(table, i), j as u64);
            below = s.xor(below, s.and(entry, s.equal(digit, s.splat(j))));
            at = s.xor(at, s.and(entry, s.equal(digit, s.splat(j + 1))));
        }
        s.store(less, i, below);
        if !equal.is_empty() {
            let key = s.and(s.load(key, i), s.equal(digit, zero));
            s.store(equal, i, s.xor(s.xor(below, at), key));
        }
    }
}

/// An entry of the tables of a digit: the key where `position` is below the digit, 0 elsewhere.
#[inline(always)]
pub(super) fn entry<S: Lanes>(s: S, digits: Digits<'_>, position: u64, key: &[u64], out: &mut [u64]) {
    let (position, zero) = (s.splat(position), s.splat(0));
    for i in (0..out.len()).step_by(S::COUNT) {
        let below = s.shr(s.sub(position, digits.load(s, i)), 63);
        s.store(out, i, s.and(s.load(key, i), s.sub(zero, below)));
    }
}

/// One bit of every word, packed.
#[inline(always)]
pub(super) fn bit<S: Lanes>(s: S, words: &[u64], position: u32, bits: &mut [u64]) {
    for (words, bits) in words.chunks(64).zip(bits) {
        let mut packed = 0;
        for i in (0..words.len()).step_by(S::COUNT) {
            packed |= s.gather(s.shr(s.load(words, i), position)) << i;
        }
        *bits = packed;
    }
}

/// The exclusive or of all words, and of the keys of the elements whose public bit is set; the bit
/// of the first element is `first`.
#[inline(always)]
pub(super) fn xor_sum<S: Lanes>(s: S, words: &[u64], key: &[u64], bits: &[u64], first: usize) -> u64 {
    let mut sum = s.splat(0);
    for i in (0..words.len()).step_by(S::COUNT) {
        let (word, shift) = ((first + i) / 64, (first + i) % 64);
        // Bits of a vector may lie in two words; `<< 1` twice, for a shift by 64 is none.
        let above = bits.get(word + 1).copied().unwrap_or(0);
        let chosen = s.spread(bits[word] >> shift | above << 1 << (63 - shift));
        sum = s.xor(sum, s.xor(s.load(words, i), s.and(s.load(key, i), chosen)));
    }
    let mut lanes = [0; 8];
    s.store(&mut lanes, 0, sum);
    lanes.iter().fold(0, |sum, lane| sum ^ lane)
}
