//! Eight 64-bit lanes of AVX-512, with IFMA for 52-bit products and VBMI for packing.
//!
//! Sources: Intel 64 and IA-32 Architectures Software Developer's Manual, `VPMADD52LUQ`,
//! `VPMADD52HUQ`, `VPERMB`; reduction modulo `2^52 - c` as in Drucker and Gueron, "Fast modular
//! squaring with AVX512IFMA", 2019.

use std::arch::x86_64::*;

use super::lanes::{Lanes, cold};
use super::packing::BYTES;
use super::product::LANES;

/// Proof that this processor has the instructions of the AVX-512 kernels.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

/// Whether this processor (and its operating system) can run the AVX-512 kernels.
pub(super) fn detected() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512ifma")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("vaes")
        && is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("vpclmulqdq")
        && is_x86_feature_detected!("pclmulqdq")
}

impl Avx512 {
    /// The proof.
    ///
    /// # Safety
    /// [`detected`] must have returned `true`.
    pub(super) unsafe fn new() -> Avx512 {
        Avx512(())
    }
}

/// A mask of the first `count` lanes, at most 8.
#[inline(always)]
fn first_lanes(count: usize) -> __mmask8 {
    if count >= LANES { 0xff } else { (1 << count) - 1 }
}

impl Lanes for Avx512 {
    const COUNT: usize = LANES;
    type V = __m512i;
    /// Sums of the low and of the high 52 bits of products.
    type Wide = [__m512i; 2];

    #[inline(always)]
    fn splat(self, x: u64) -> __m512i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm512_set1_epi64(x as i64) }
    }

    #[inline(always)]
    fn load(self, words: &[u64], at: usize) -> __m512i {
        let words = &words[at..];
        if words.len() >= LANES {
            // SAFETY: `self` proves that the instruction exists; 64 bytes are there.
            unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
        } else {
            cold();
            // SAFETY: `self` proves that the instruction exists; only lanes that are there are
            // read.
            unsafe { _mm512_maskz_loadu_epi64(first_lanes(words.len()), words.as_ptr().cast()) }
        }
    }

    #[inline(always)]
    fn prefetch(self, words: &[u64], at: usize) {
        // SAFETY: `self` proves that the instruction exists; it accesses no memory the program
        // could see.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(words.as_ptr().wrapping_add(at).cast()) }
    }

    #[inline(always)]
    fn store(self, words: &mut [u64], at: usize, v: __m512i) {
        let words = &mut words[at..];
        if words.len() >= LANES {
            // SAFETY: `self` proves that the instruction exists; 64 bytes are there.
            unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), v) }
        } else {
            cold();
            // SAFETY: `self` proves that the instruction exists; only lanes that are there are
            // written.
            unsafe { _mm512_mask_storeu_epi64(words.as_mut_ptr().cast(), first_lanes(words.len()), v) }
        }
    }

    #[inline(always)]
    fn add(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm512_add_epi64(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm512_sub_epi64(a, b) }
    }

    #[inline(always)]
    fn unwrapped(self, v: __m512i, otherwise: __m512i) -> __m512i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm512_min_epu64(v, otherwise) }
    }

    #[inline(always)]
    fn and(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm512_and_si512(a, b) }
    }

    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm512_or_si512(a, b) }
    }

    #[inline(always)]
    fn xor(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm512_xor_si512(a, b) }
    }

    #[inline(always)]
    fn spread(self, bits: u64) -> __m512i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm512_movm_epi64(bits as __mmask8) }
    }

    #[inline(always)]
    fn gather(self, v: __m512i) -> u64 {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { u64::from(_mm512_test_epi64_mask(v, self.splat(1))) }
    }

    #[inline(always)]
    fn mul32(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm512_mul_epu32(a, b) }
    }

    #[inline(always)]
    fn mul32_add(self, acc: __m512i, a: __m512i, b: __m512i) -> __m512i {
        self.madd_lo(acc, a, b)
    }

    #[inline(always)]
    fn shl(self, v: __m512i, bits: u32) -> __m512i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm512_sll_epi64(v, _mm_cvtsi32_si128(bits as i32)) }
    }

    #[inline(always)]
    fn shr(self, v: __m512i, bits: u32) -> __m512i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm512_srl_epi64(v, _mm_cvtsi32_si128(bits as i32)) }
    }

    #[inline(always)]
    fn madd_lo(self, acc: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm512_madd52lo_epu64(acc, a, b) }
    }

    #[inline(always)]
    fn madd_hi(self, acc: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm512_madd52hi_epu64(acc, a, b) }
    }

    /// 52 bytes: pairs of lanes become 104 bits in 128, then `VPERMB` closes the gaps of 3 bytes.
    #[inline(always)]
    fn pack8(self, words: &[u64; LANES], bytes: &mut [u8; BYTES]) {
        // SAFETY: `self` proves that the instructions exist; 64 bytes are read from `words`, and
        // the mask of the store has 52 bits, the length of `bytes`.
        unsafe {
            let v = _mm512_loadu_si512(words.as_ptr().cast());
            // Even lanes: their 52 bits and the low 12 of the odd neighbour; odd lanes: the other
            // 40.
            let neighbour = _mm512_shuffle_epi32::<0b01_00_11_10>(v);
            let even = _mm512_or_si512(v, _mm512_slli_epi64::<52>(neighbour));
            let pairs = _mm512_mask_srli_epi64::<12>(even, 0b1010_1010, v);
            let packed = _mm512_permutexvar_epi8(_mm512_loadu_si512(CLOSE_GAPS.as_ptr().cast()), pairs);
            _mm512_mask_storeu_epi8(bytes.as_mut_ptr().cast(), (1 << BYTES) - 1, packed);
        }
    }

    /// `VPERMB` brings the bytes of every residue into its lane, half of them 4 bits too high.
    #[inline(always)]
    fn unpack8(self, bytes: &[u8; BYTES]) -> [u64; LANES] {
        let mut words = [0; LANES];
        // SAFETY: `self` proves that the instructions exist; the mask of the load has 52 bits, the
        // length of `bytes`, and 64 bytes are written to `words`.
        unsafe {
            let v = _mm512_maskz_loadu_epi8((1 << BYTES) - 1, bytes.as_ptr().cast());
            let spread = _mm512_permutexvar_epi8(_mm512_loadu_si512(SPREAD.as_ptr().cast()), v);
            let aligned = _mm512_mask_srli_epi64::<4>(spread, 0b1010_1010, spread);
            let masked = _mm512_and_si512(aligned, _mm512_set1_epi64(crate::prime::MASK52 as i64));
            _mm512_storeu_si512(words.as_mut_ptr().cast(), masked);
        }
        words
    }

    #[inline(always)]
    fn total(self, v: __m512i) -> u64 {
        // SAFETY: `self` proves that the instructions exist.
        unsafe { _mm512_reduce_add_epi64(v) as u64 }
    }

    #[inline(always)]
    fn wide(self, v: __m512i) -> [__m512i; 2] {
        [v, self.splat(0)]
    }

    #[inline(always)]
    fn mac(self, [low, high]: [__m512i; 2], a: __m512i, b: __m512i) -> [__m512i; 2] {
        [self.madd_lo(low, a, b), self.madd_hi(high, a, b)]
    }

    /// `acc + a b = (acc + low) + 2^52 high = (acc + low) + c high`, and `c high` once more. `acc`
    /// and the two low halves are below 2^52 each, the last term is below 2^16: below 3 2^52 +
    /// 2^16, which is below 4 p.
    #[inline(always)]
    fn mul_add(self, acc: __m512i, a: __m512i, b: __m512i, complement: __m512i) -> __m512i {
        let zero = self.splat(0);
        let low = self.madd_lo(acc, a, b);
        let high = self.madd_hi(zero, a, b);
        // `c high` has at most 60 bits: 8 above 2^52.
        let top = self.madd_hi(zero, high, complement);
        self.madd_lo(self.madd_lo(low, high, complement), top, complement)
    }

    /// `low + 2^52 high` with both below 2^64. With `low = l_0 + 2^52 l_1` and
    /// `high = h_0 + 2^52 h_1`, `l_1, h_1 < 2^12`: the sum is `l_0 + c h_0 + c (l_1 + c h_1)`,
    /// where `c h_0` is at most 60 bits. So `t = l_1 + c h_1 + floor(c h_0 / 2^52) < 2^21` and the
    /// result `l_0 + (c h_0 mod 2^52) + c t` is below 2^53 + 2^29, which is below 4 p.
    #[inline(always)]
    fn fold(self, [low, high]: [__m512i; 2], complement: __m512i) -> __m512i {
        let mask = self.splat(crate::prime::MASK52);
        // IFMA reads only the low 52 bits of `high`.
        let t = self.madd_hi(self.shr(low, 52), high, complement);
        let t = self.madd_lo(t, self.shr(high, 52), complement);
        let sum = self.madd_lo(self.and(low, mask), high, complement);
        self.madd_lo(sum, t, complement)
    }
}

/// Byte `i` of the packed form is byte `CLOSE_GAPS[i]` of the pairs: 13 of every 16.
static CLOSE_GAPS: [u8; 64] = {
    let mut table = [0; 64];
    let mut i = 0;
    while i < BYTES {
        table[i] = (i / 13 * 16 + i % 13) as u8;
        i += 1;
    }
    table
};

/// Byte `i` of the lanes is byte `SPREAD[i]` of the packed form. Residue `j` starts at bit `52 j`:
/// in byte `6.5 j`, rounded down. The eighth byte of a lane is masked away.
static SPREAD: [u8; 64] = {
    let mut table = [0; 64];
    let mut i = 0;
    while i < 64 {
        table[i] = (i / 8 * 13 / 2 + i % 8) as u8;
        i += 1;
    }
    table
};

// The largest index still is a byte of the (zero-extended) load.
const _: () = assert!(SPREAD[63] == 52);
