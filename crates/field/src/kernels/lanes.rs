//! The small vector trait that element-wise kernels are written over, and residues modulo one prime
//! in it.

use super::packing::{self, BYTES};
use super::product::LANES;
use crate::prime::Prime;

/// How many products (each below 2^104) a [`Lanes::Wide`] can hold before it must be folded. A
/// starting value counts as one.
///
/// The vector forms add the low and the high 52 bits of each product into 64-bit lanes of their
/// own.
pub(crate) const MAX_TERMS: usize = 4096;

const _: () = assert!(MAX_TERMS as u128 * ((1u128 << 52) - 1) <= u64::MAX as u128);

/// Marks the branch it is called in as unlikely, so that the other one has no jump.
#[cfg(target_arch = "x86_64")] // what calls it
#[cold]
#[inline]
pub(super) fn cold() {}

/// A token that proves that certain instructions can run, with operations on vectors of 64-bit
/// lanes.
///
/// All operations are lane by lane and safe: the token is the proof. Methods are always inlined, so
/// that they become part of a caller that is compiled for the instructions.
pub(crate) trait Lanes: Copy {
    /// Lanes of a vector.
    const COUNT: usize;
    /// A vector.
    type V: Copy;
    /// A vector of unreduced sums of up to [`MAX_TERMS`] products.
    type Wide: Copy;

    /// `x` in every lane.
    fn splat(self, x: u64) -> Self::V;
    /// `words[at..]`; lanes beyond the end are 0.
    fn load(self, words: &[u64], at: usize) -> Self::V;
    /// Asks for `words[at..]` to be brought closer; anything may be asked for.
    fn prefetch(self, words: &[u64], at: usize);
    /// Stores to `words[at..]`; lanes beyond the end are dropped.
    fn store(self, words: &mut [u64], at: usize, v: Self::V);
    /// `a + b mod 2^64`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b mod 2^64`.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `v` where its top bit is clear, `otherwise` where a subtraction has wrapped. `otherwise` is
    /// below 2^63, and not below a `v` without top bit: so this is the smaller unsigned value.
    fn unwrapped(self, v: Self::V, otherwise: Self::V) -> Self::V;
    /// Bitwise and.
    fn and(self, a: Self::V, b: Self::V) -> Self::V;
    /// Bitwise or.
    fn or(self, a: Self::V, b: Self::V) -> Self::V;
    /// Bitwise exclusive or.
    fn xor(self, a: Self::V, b: Self::V) -> Self::V;
    /// All ones where a bit of `bits` is set, the lowest for the first lane.
    fn spread(self, bits: u64) -> Self::V;
    /// Bit 0 of every lane, the first lane's the lowest.
    fn gather(self, v: Self::V) -> u64;
    /// `v << bits`, `bits < 64`.
    fn shl(self, v: Self::V, bits: u32) -> Self::V;
    /// `v >> bits`, `bits < 64`.
    fn shr(self, v: Self::V, bits: u32) -> Self::V;
    /// `a b` for `a, b < 2^32`.
    fn mul32(self, a: Self::V, b: Self::V) -> Self::V;
    /// `acc + a b` mod 2^64 for `a, b < 2^32` whose product is below 2^52.
    #[inline(always)]
    fn mul32_add(self, acc: Self::V, a: Self::V, b: Self::V) -> Self::V {
        self.add(acc, self.mul32(a, b))
    }
    /// `acc` + the low 52 bits of `a b`, for `a, b < 2^52`.
    fn madd_lo(self, acc: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// `acc` + the high 52 bits of `a b`, for `a, b < 2^52`.
    fn madd_hi(self, acc: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// Packs eight words below 2^52 into 52 bytes, little endian.
    #[inline(always)]
    fn pack8(self, words: &[u64; LANES], bytes: &mut [u8; BYTES]) {
        packing::pack8(words, bytes);
    }
    /// Unpacks eight 52-bit words.
    #[inline(always)]
    fn unpack8(self, bytes: &[u8; BYTES]) -> [u64; LANES] {
        packing::unpack8(bytes)
    }
    /// The sum of all lanes mod 2^64.
    fn total(self, v: Self::V) -> u64;

    /// A sum that starts with `v < 2^52`.
    fn wide(self, v: Self::V) -> Self::Wide;
    /// `sum + a b`, for `a, b < 2^52`.
    fn mac(self, sum: Self::Wide, a: Self::V, b: Self::V) -> Self::Wide;
    /// `acc + a b` in `[0, 4 p)`, for `acc, a, b < 2^52`, where `p = 2^52 - complement`.
    fn mul_add(self, acc: Self::V, a: Self::V, b: Self::V, complement: Self::V) -> Self::V;
    /// A sum in `[0, 4 p)`, for at most [`MAX_TERMS`] terms.
    fn fold(self, sum: Self::Wide, complement: Self::V) -> Self::V;
}

/// Arithmetic modulo one prime on vectors of canonical residues.
#[derive(Clone, Copy)]
pub(crate) struct Residues<S: Lanes> {
    pub(crate) lanes: S,
    p: S::V,
    two_p: S::V,
    complement: S::V,
}

impl<S: Lanes> Residues<S> {
    #[inline(always)]
    pub(crate) fn new(lanes: S, prime: Prime) -> Residues<S> {
        Residues {
            lanes,
            p: lanes.splat(prime.value()),
            two_p: lanes.splat(2 * prime.value()),
            complement: lanes.splat(prime.complement()),
        }
    }

    /// `x < 2 p` to canonical: `x - p` wraps exactly when `x < p`.
    #[inline(always)]
    pub(crate) fn canonical_2p(&self, x: S::V) -> S::V {
        self.lanes.unwrapped(self.lanes.sub(x, self.p), x)
    }

    /// `x < 4 p` to canonical.
    #[inline(always)]
    pub(crate) fn canonical_4p(&self, x: S::V) -> S::V {
        self.canonical_2p(self.lanes.unwrapped(self.lanes.sub(x, self.two_p), x))
    }

    #[inline(always)]
    pub(crate) fn add(&self, a: S::V, b: S::V) -> S::V {
        self.canonical_2p(self.lanes.add(a, b))
    }

    /// `a - b`: wraps exactly when `p` must be added.
    #[inline(always)]
    pub(crate) fn sub(&self, a: S::V, b: S::V) -> S::V {
        let difference = self.lanes.sub(a, b);
        self.lanes.unwrapped(difference, self.lanes.add(difference, self.p))
    }

    #[inline(always)]
    pub(crate) fn mul(&self, a: S::V, b: S::V) -> S::V {
        self.mul_add(self.lanes.splat(0), a, b)
    }

    /// `acc + a b`, for `acc, a, b < 2^52`.
    #[inline(always)]
    pub(crate) fn mul_add(&self, acc: S::V, a: S::V, b: S::V) -> S::V {
        self.canonical_4p(self.lanes.mul_add(acc, a, b, self.complement))
    }

    /// The canonical residue of a sum.
    #[inline(always)]
    pub(crate) fn reduce(&self, sum: S::Wide) -> S::V {
        self.canonical_4p(self.lanes.fold(sum, self.complement))
    }

    /// The canonical residue of the sum of all lanes of a canonical vector.
    #[inline(always)]
    pub(crate) fn total(&self, v: S::V) -> u64 {
        // At most 8 lanes below 2^52.
        let sum = self.lanes.splat(self.lanes.total(v));
        let mut out = [0; 8];
        self.lanes.store(&mut out, 0, self.reduce_word(sum));
        out[0]
    }

    /// The canonical residue of any 64-bit word: `x = x_0 + 2^52 x_1 = x_0 + c x_1 < 2^52 + 2^20`.
    #[inline(always)]
    pub(crate) fn reduce_word(&self, x: S::V) -> S::V {
        let s = self.lanes;
        let low = s.and(x, s.splat(crate::prime::MASK52));
        self.canonical_2p(s.mul32_add(low, s.shr(x, 52), self.complement))
    }
}
