//! Packed bits, 64 in a word: bit `i % 64` of word `i / 64` for element `i` (`docs/protocol.md`, sections
//! 2 and 6.10). All loops touch every word once; the floor is the memory they read and write. Nothing
//! branches on a bit, and no address depends on one.

use super::lanes::Lanes;

/// `a ^= b`.
#[inline(always)]
pub(super) fn xor_assign<S: Lanes>(s: S, a: &mut [u64], b: &[u64]) {
    for i in (0..a.len()).step_by(S::COUNT) {
        s.store(a, i, s.xor(s.load(a, i), s.load(b, i)));
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
