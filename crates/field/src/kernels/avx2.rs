//! Four 64-bit lanes of AVX2, with the products of floating-point FMA.
//!
//! AVX2 multiplies no integers of 52 bits, but a fused multiply-add of doubles rounds only once.
//! For integers `a, b < 2^52`, `h = fma(a, b, 2^104)` lies in `[2^104, 2^105)`, where doubles are
//! multiples of 2^52 apart, so it is `2^104 + 2^52 r` with `r` the integer nearest to `a b / 2^52`;
//! then `s = fma(a, b, 2^104 - h)` is exactly the rest `a b - 2^52 r`, at most 2^51 on either side.
//! The low bits of the representation of `h` are `r`, those of `s + 1.5 2^52` are `s` (plus a
//! constant), so both are added up as integers. Every step is exact; nothing depends on the order.
//!
//! Source of the idea: Emmart, Zheng and Weems, "Faster modular exponentiation using double
//! precision floating point arithmetic on the GPU", ARITH 2018. Time does not depend on values: all
//! doubles are integers, none is subnormal.

use std::arch::x86_64::*;

use super::lanes::{Lanes, cold};
use crate::prime::MASK52;

/// Proof that this processor has the instructions of the AVX2 kernels.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

/// Whether this processor (and its operating system) can run the AVX2 kernels.
pub(super) fn detected() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("pclmulqdq")
}

impl Avx2 {
    /// The proof.
    ///
    /// # Safety
    /// [`detected`] must have returned `true`.
    pub(super) unsafe fn new() -> Avx2 {
        Avx2(())
    }
}

/// `2^exponent` as a double.
const fn power(exponent: u64) -> f64 {
    f64::from_bits((1023 + exponent) << 52)
}

/// Added to integers below 2^52 in absolute value so that they become the low bits of the
/// representation.
const SIGNED: f64 = 1.5 * power(52);

/// Unreduced sums of products: representations of `h` and of `s + SIGNED` added up as integers.
#[derive(Clone, Copy)]
pub(crate) struct Sums {
    high: __m256i,
    low: __m256i,
    /// How many products, so how often the constants were added.
    terms: u64,
}

impl Sums {
    /// `2^52 high + low + 2^51`, where `low` is signed.
    #[inline(always)]
    pub(super) fn of(high: __m256i, low: __m256i) -> Sums {
        Sums { high, low, terms: 0 }
    }
}

impl Avx2 {
    /// All ones where `a` and `b` are equal.
    #[inline(always)]
    pub(super) fn equal(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm256_cmpeq_epi64(a, b) }
    }

    #[inline(always)]
    fn splat_f64(self, x: f64) -> __m256d {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm256_set1_pd(x) }
    }

    /// An integer below 2^52 as a double.
    #[inline(always)]
    fn to_f64(self, x: __m256i) -> __m256d {
        let bits = self.or(x, self.splat(power(52).to_bits()));
        // SAFETY: `self` proves that the instructions exist.
        unsafe { _mm256_sub_pd(_mm256_castsi256_pd(bits), self.splat_f64(power(52))) }
    }

    /// The representations of `h` and `s + SIGNED`.
    #[inline(always)]
    fn product(self, a: __m256i, b: __m256i) -> [__m256i; 2] {
        let (a, b, top) = (self.to_f64(a), self.to_f64(b), self.splat_f64(power(104)));
        // SAFETY: `self` proves that the instructions exist.
        unsafe {
            let high = _mm256_fmadd_pd(a, b, top);
            let rest = _mm256_fmadd_pd(a, b, _mm256_sub_pd(top, high));
            let low = _mm256_add_pd(rest, self.splat_f64(SIGNED));
            [_mm256_castpd_si256(high), _mm256_castpd_si256(low)]
        }
    }

    /// `a b = 2^52 r + s` with `0 <= r < 2^52` and `s` signed, at most 2^51 on either side.
    #[inline(always)]
    fn split(self, a: __m256i, b: __m256i) -> [__m256i; 2] {
        let [high, low] = self.product(a, b);
        let r = self.sub(high, self.splat(power(104).to_bits()));
        [r, self.sub(low, self.splat(SIGNED.to_bits()))]
    }

    /// `a b` for `a < 2^52` and `b < 2^12`.
    #[inline(always)]
    fn times_small(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves that the instructions exist.
        unsafe {
            let high = _mm256_mul_epu32(_mm256_srli_epi64::<32>(a), b);
            _mm256_add_epi64(_mm256_mul_epu32(a, b), _mm256_slli_epi64::<32>(high))
        }
    }

    /// The mask of the first `count` lanes.
    #[inline(always)]
    fn first_lanes(self, count: usize) -> __m256i {
        let lane = |i: usize| if i < count { -1 } else { 0 };
        // SAFETY: `self` proves that the instructions exist.
        unsafe { _mm256_set_epi64x(lane(3), lane(2), lane(1), lane(0)) }
    }
}

impl Lanes for Avx2 {
    const COUNT: usize = 4;
    type V = __m256i;
    type Wide = Sums;

    #[inline(always)]
    fn splat(self, x: u64) -> __m256i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm256_set1_epi64x(x as i64) }
    }

    #[inline(always)]
    fn load(self, words: &[u64], at: usize) -> __m256i {
        let words = &words[at..];
        if words.len() >= Self::COUNT {
            // SAFETY: `self` proves that the instruction exists; 32 bytes are there.
            unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
        } else {
            cold();
            // SAFETY: `self` proves that the instruction exists; only lanes that are there are
            // read.
            unsafe { _mm256_maskload_epi64(words.as_ptr().cast(), self.first_lanes(words.len())) }
        }
    }

    #[inline(always)]
    fn prefetch(self, words: &[u64], at: usize) {
        // SAFETY: it accesses no memory the program could see.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(words.as_ptr().wrapping_add(at).cast()) }
    }

    #[inline(always)]
    fn store(self, words: &mut [u64], at: usize, v: __m256i) {
        let words = &mut words[at..];
        if words.len() >= Self::COUNT {
            // SAFETY: `self` proves that the instruction exists; 32 bytes are there.
            unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), v) }
        } else {
            cold();
            // SAFETY: `self` proves that the instruction exists; only lanes that are there are
            // written.
            unsafe { _mm256_maskstore_epi64(words.as_mut_ptr().cast(), self.first_lanes(words.len()), v) }
        }
    }

    #[inline(always)]
    fn add(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm256_add_epi64(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm256_sub_epi64(a, b) }
    }

    #[inline(always)]
    fn unwrapped(self, v: __m256i, otherwise: __m256i) -> __m256i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe {
            let [v, otherwise] = [_mm256_castsi256_pd(v), _mm256_castsi256_pd(otherwise)];
            _mm256_castpd_si256(_mm256_blendv_pd(v, otherwise, v))
        }
    }

    #[inline(always)]
    fn and(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm256_and_si256(a, b) }
    }

    #[inline(always)]
    fn or(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm256_or_si256(a, b) }
    }

    #[inline(always)]
    fn xor(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm256_xor_si256(a, b) }
    }

    #[inline(always)]
    fn spread(self, bits: u64) -> __m256i {
        // SAFETY: `self` proves that the instruction exists.
        let lane = unsafe { _mm256_set_epi64x(8, 4, 2, 1) };
        self.equal(self.and(self.splat(bits), lane), lane)
    }

    #[inline(always)]
    fn gather(self, v: __m256i) -> u64 {
        let top = self.shl(v, 63);
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm256_movemask_pd(_mm256_castsi256_pd(top)) as u64 }
    }

    #[inline(always)]
    fn mul32(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm256_mul_epu32(a, b) }
    }

    #[inline(always)]
    fn shl(self, v: __m256i, bits: u32) -> __m256i {
        // SAFETY: `self` proves that the instructions exist.
        unsafe { _mm256_sll_epi64(v, _mm_cvtsi32_si128(bits as i32)) }
    }

    #[inline(always)]
    fn shr(self, v: __m256i, bits: u32) -> __m256i {
        // SAFETY: `self` proves that the instructions exist.
        unsafe { _mm256_srl_epi64(v, _mm_cvtsi32_si128(bits as i32)) }
    }

    #[inline(always)]
    fn madd_lo(self, acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
        let [_, s] = self.split(a, b);
        self.add(acc, self.and(s, self.splat(MASK52)))
    }

    /// The nearest integer is one too large where the rest is negative.
    #[inline(always)]
    fn madd_hi(self, acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
        let [r, s] = self.split(a, b);
        self.add(acc, self.sub(r, self.shr(s, 63)))
    }

    #[inline(always)]
    fn total(self, v: __m256i) -> u64 {
        let mut lanes = [0; 4];
        self.store(&mut lanes, 0, v);
        lanes.iter().fold(0, |sum, &lane| sum.wrapping_add(lane))
    }

    #[inline(always)]
    fn wide(self, v: __m256i) -> Sums {
        Sums::of(self.splat(0), self.sub(v, self.splat(1 << 51)))
    }

    #[inline(always)]
    fn mac(self, Sums { high, low, terms }: Sums, a: __m256i, b: __m256i) -> Sums {
        let [h, s] = self.product(a, b);
        Sums { high: self.add(high, h), low: self.add(low, s), terms: terms + 1 }
    }

    /// `a b = 2^52 r + s = c r + s`, and `c r`, at most 60 bits, is split once more. `acc` and the
    /// low half are below 2^52, `c` times the high half below 2^16, `s` between -2^51 and 2^51:
    /// with `p` added, above 0 and below 3.5 2^52 + 2^16, which is below 4 p.
    #[inline(always)]
    fn mul_add(self, acc: __m256i, a: __m256i, b: __m256i, complement: __m256i) -> __m256i {
        let [r, s] = self.split(a, b);
        let folded = self.times_small(r, complement);
        let low = self.add(acc, self.and(folded, self.splat(MASK52)));
        let top = self.mul32(self.shr(folded, 52), complement);
        let p = self.sub(self.splat(1 << 52), complement);
        self.add(self.add(low, top), self.add(s, p))
    }

    /// `high = h_0 + 2^52 h_1` is below 2^64 and `low = l_0 + 2^52 l_1` is signed,
    /// `-2^11 <= l_1 < 2^11` (4095 rests and a start, each at most 2^51 on either side). The sum is
    /// `l_0 + c h_0 + c (l_1 + c h_1) + 2^51`, where `c h_0` has at most 60 bits: with
    /// `t = floor(c h_0 / 2^52) + (l_1 + 2^11) + c h_1 < 2^21` it is
    /// `l_0 + (c h_0 mod 2^52) + c t + 2^51 - 2^11 c`, above 0 and below 2.5 2^52 + 2^29, which is
    /// below 4 p.
    #[inline(always)]
    fn fold(self, Sums { high, low, terms }: Sums, complement: __m256i) -> __m256i {
        let mask = self.splat(MASK52);
        let high = self.sub(high, self.splat(terms.wrapping_mul(power(104).to_bits())));
        let low = self.sub(low, self.splat(terms.wrapping_mul(SIGNED.to_bits())));
        let folded = self.times_small(self.and(high, mask), complement);
        // Adding 2^63 makes the top bits of a signed number unsigned.
        let l_1 = self.shr(self.add(low, self.splat(1 << 63)), 52);
        let t = self.add(self.shr(folded, 52), l_1);
        let t = self.add(t, self.mul32(self.shr(high, 52), complement));
        let sum = self.add(self.and(low, mask), self.and(folded, mask));
        let sum = self.add(sum, self.mul32(t, complement));
        let offset = self.sub(self.splat(1 << 51), self.shl(complement, 11));
        self.add(sum, offset)
    }
}
