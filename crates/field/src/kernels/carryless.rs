//! Elements of GF(2^128) with carry-less multiplication: four in a vector of AVX-512, two of AVX2
//! where there is `VPCLMULQDQ`, one otherwise.
//!
//! Sums of products by schoolbook: Karatsuba's method saves one product of four and needs two
//! shuffles for it, which take the same unit as products on Intel.

use std::arch::x86_64::*;

use super::avx2::Avx2;
use super::avx512::Avx512;
use super::elements::{Elements, Product, joined, reduce};
use super::lanes::Lanes;

/// AVX2 with products of one element at a time.
#[derive(Clone, Copy)]
pub(super) struct Single(Avx2);

/// AVX2 with products of two elements at a time.
#[derive(Clone, Copy)]
pub(super) struct Pairs(Avx2);

impl Single {
    /// Every processor with AVX2 that this project runs on has these products.
    #[inline(always)]
    pub(super) fn new(token: Avx2) -> Single {
        Single(token)
    }
}

impl Pairs {
    /// Only where there are such products.
    #[inline(always)]
    pub(super) fn new(token: Avx2) -> Option<Pairs> {
        is_x86_feature_detected!("vpclmulqdq").then_some(Pairs(token))
    }
}

/// A token that proves that certain instructions can run, with operations on vectors of elements.
pub(super) trait Carryless: Copy {
    /// Elements of a vector.
    const COUNT: usize;
    /// A vector.
    type V: Copy;

    /// The two words in every place.
    fn splat(self, words: [u64; 2]) -> Self::V;
    /// The elements in `words[at..]`; those beyond the end are 0.
    fn load(self, words: &[u64], at: usize) -> Self::V;
    /// Stores to `words[at..]`; elements beyond the end are dropped.
    fn store(self, words: &mut [u64], at: usize, v: Self::V);
    /// Bitwise exclusive or.
    fn xor(self, a: Self::V, b: Self::V) -> Self::V;
    /// `sum ^ v`, where all bits of `places` are set in `choice`, `sum` elsewhere: word by word.
    fn xor_chosen(self, sum: Self::V, v: Self::V, choice: Self::V, places: Self::V) -> Self::V;
    /// The product of one word each of every element: of the high one where a bit of `WORDS` is set,
    /// bit 0 for `a` and bit 4 for `b`.
    fn product<const WORDS: i32>(self, a: Self::V, b: Self::V) -> Self::V;
    /// The low words as high ones.
    fn raised(self, v: Self::V) -> Self::V;
}

/// `X^128` modulo the rest.
const REST: u64 = 0x87;

/// For every element of 64, its bit in both its words. Aligned as vectors are.
#[repr(align(64))]
struct Places([[u64; 2]; 64]);

static PLACES: Places = {
    let mut places = [[0; 2]; 64];
    let mut i = 0;
    while i < 64 {
        places[i] = [1 << i; 2];
        i += 1;
    }
    Places(places)
};

impl<C: Carryless> Elements for C {
    const COUNT: usize = C::COUNT;
    type V = C::V;
    /// What is to be at `X^0`, `X^64` and `X^128`.
    type Sums = [C::V; 3];
    /// `r` and `r X^64`: with both, the product with `x_0 + x_1 X^64` is below `X^192`, and only one
    /// word is to be reduced.
    type Factor = [C::V; 2];
    type Choice = C::V;

    #[inline(always)]
    fn splat(self, element: [u64; 2]) -> C::V {
        Carryless::splat(self, element)
    }
    #[inline(always)]
    fn load(self, words: &[u64], at: usize) -> C::V {
        Carryless::load(self, words, at)
    }
    #[inline(always)]
    fn store(self, words: &mut [u64], at: usize, v: C::V) {
        Carryless::store(self, words, at, v);
    }
    #[inline(always)]
    fn add(self, a: C::V, b: C::V) -> C::V {
        self.xor(a, b)
    }
    #[inline(always)]
    fn total(self, v: C::V) -> [u64; 2] {
        let mut words = [0; 8];
        Carryless::store(self, &mut words, 0, v);
        words.as_chunks::<2>().0.iter().fold([0; 2], |[a, b], [c, d]| [a ^ c, b ^ d])
    }
    #[inline(always)]
    fn choice(self, bits: u64) -> C::V {
        Carryless::splat(self, [bits; 2])
    }
    #[inline(always)]
    fn add_chosen(self, sum: C::V, v: C::V, choice: C::V, at: usize) -> C::V {
        self.xor_chosen(sum, v, choice, Carryless::load(self, PLACES.0.as_flattened(), 2 * at))
    }
    #[inline(always)]
    fn no_sums(self) -> [C::V; 3] {
        [Carryless::splat(self, [0; 2]); 3]
    }
    #[inline(always)]
    fn add_product(self, [low, middle, high]: [C::V; 3], a: C::V, b: C::V) -> [C::V; 3] {
        [
            self.xor(low, self.product::<0x00>(a, b)),
            self.xor(self.xor(middle, self.product::<0x01>(a, b)), self.product::<0x10>(a, b)),
            self.xor(high, self.product::<0x11>(a, b)),
        ]
    }
    #[inline(always)]
    fn total_product(self, [low, middle, high]: [C::V; 3]) -> Product {
        joined([self.total(low), self.total(middle), self.total(high)])
    }
    #[inline(always)]
    fn factor(self, r: [u64; 2]) -> [C::V; 2] {
        [Carryless::splat(self, r), Carryless::splat(self, reduce([0, r[0], r[1], 0]))]
    }
    #[inline(always)]
    fn add_scaled<const N: usize>(self, sum: C::V, a: [C::V; N], r: [[C::V; 2]; N]) -> C::V {
        let (mut low, mut high) = (sum, Carryless::splat(self, [0; 2]));
        for (a, [r, raised]) in a.into_iter().zip(r) {
            low = self.xor(low, self.xor(self.product::<0x00>(a, r), self.product::<0x01>(a, raised)));
            high = self.xor(high, self.xor(self.product::<0x10>(a, r), self.product::<0x11>(a, raised)));
        }
        let rest = self.product::<0x01>(high, Carryless::splat(self, [REST; 2]));
        self.xor(low, self.xor(self.raised(high), rest))
    }
}

impl Carryless for Avx512 {
    const COUNT: usize = 4;
    type V = __m512i;

    #[inline(always)]
    fn splat(self, [low, high]: [u64; 2]) -> __m512i {
        let [low, high] = [low as i64, high as i64];
        // SAFETY: `self` proves that the instructions exist.
        unsafe { _mm512_set_epi64(high, low, high, low, high, low, high, low) }
    }
    #[inline(always)]
    fn load(self, words: &[u64], at: usize) -> __m512i {
        Lanes::load(self, words, at)
    }
    #[inline(always)]
    fn store(self, words: &mut [u64], at: usize, v: __m512i) {
        Lanes::store(self, words, at, v);
    }
    #[inline(always)]
    fn xor(self, a: __m512i, b: __m512i) -> __m512i {
        Lanes::xor(self, a, b)
    }
    #[inline(always)]
    fn xor_chosen(self, sum: __m512i, v: __m512i, choice: __m512i, places: __m512i) -> __m512i {
        // SAFETY: `self` proves that the instructions exist.
        unsafe { _mm512_mask_xor_epi64(sum, _mm512_test_epi64_mask(choice, places), sum, v) }
    }
    #[inline(always)]
    fn product<const WORDS: i32>(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm512_clmulepi64_epi128::<WORDS>(a, b) }
    }
    #[inline(always)]
    fn raised(self, v: __m512i) -> __m512i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm512_bslli_epi128::<8>(v) }
    }
}

impl Carryless for Pairs {
    const COUNT: usize = 2;
    type V = __m256i;

    #[inline(always)]
    fn splat(self, [low, high]: [u64; 2]) -> __m256i {
        let [low, high] = [low as i64, high as i64];
        // SAFETY: `self` proves that the instructions exist.
        unsafe { _mm256_set_epi64x(high, low, high, low) }
    }
    #[inline(always)]
    fn load(self, words: &[u64], at: usize) -> __m256i {
        self.0.load(words, at)
    }
    #[inline(always)]
    fn store(self, words: &mut [u64], at: usize, v: __m256i) {
        self.0.store(words, at, v);
    }
    #[inline(always)]
    fn xor(self, a: __m256i, b: __m256i) -> __m256i {
        self.0.xor(a, b)
    }
    #[inline(always)]
    fn xor_chosen(self, sum: __m256i, v: __m256i, choice: __m256i, places: __m256i) -> __m256i {
        let chosen = self.0.equal(self.0.and(choice, places), places);
        self.0.xor(sum, self.0.and(v, chosen))
    }
    #[inline(always)]
    fn product<const WORDS: i32>(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm256_clmulepi64_epi128::<WORDS>(a, b) }
    }
    #[inline(always)]
    fn raised(self, v: __m256i) -> __m256i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm256_bslli_epi128::<8>(v) }
    }
}

impl Carryless for Single {
    const COUNT: usize = 1;
    type V = __m128i;

    #[inline(always)]
    fn splat(self, [low, high]: [u64; 2]) -> __m128i {
        // SAFETY: `self` proves that the instructions exist.
        unsafe { _mm_set_epi64x(high as i64, low as i64) }
    }
    #[inline(always)]
    fn load(self, words: &[u64], at: usize) -> __m128i {
        let words = &words[at..at + 2];
        // SAFETY: `self` proves that the instruction exists; 16 bytes are there.
        unsafe { _mm_loadu_si128(words.as_ptr().cast()) }
    }
    #[inline(always)]
    fn store(self, words: &mut [u64], at: usize, v: __m128i) {
        let words = &mut words[at..at + 2];
        // SAFETY: `self` proves that the instruction exists; 16 bytes are there.
        unsafe { _mm_storeu_si128(words.as_mut_ptr().cast(), v) }
    }
    #[inline(always)]
    fn xor(self, a: __m128i, b: __m128i) -> __m128i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm_xor_si128(a, b) }
    }
    #[inline(always)]
    fn xor_chosen(self, sum: __m128i, v: __m128i, choice: __m128i, places: __m128i) -> __m128i {
        // SAFETY: `self` proves that the instructions exist.
        unsafe {
            let chosen = _mm_cmpeq_epi64(_mm_and_si128(choice, places), places);
            _mm_xor_si128(sum, _mm_and_si128(v, chosen))
        }
    }
    #[inline(always)]
    fn product<const WORDS: i32>(self, a: __m128i, b: __m128i) -> __m128i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm_clmulepi64_si128::<WORDS>(a, b) }
    }
    #[inline(always)]
    fn raised(self, v: __m128i) -> __m128i {
        // SAFETY: `self` proves that the instruction exists.
        unsafe { _mm_bslli_si128::<8>(v) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::binary::*;
    use super::super::portable::Scalar;
    use super::super::sumcheck::*;
    use super::*;
    use crate::kernels::{Kernel, Token, with_kernel};
    use crate::prg::Seed;

    /// Everything that is computed of eight vectors of `len` elements and as many of bits.
    fn results<E: Elements>(e: E, len: usize) -> Vec<Vec<u64>> {
        let stream = Seed::from_bytes([6; 32]).stream();
        let words = |domain, len| {
            let mut words = vec![0; len];
            stream.words(domain, 0, &mut words);
            words
        };
        let v: [Vec<u64>; 8] = std::array::from_fn(|i| words(i as u32, 2 * len));
        let bits: [Vec<u64>; 8] = std::array::from_fn(|i| words(8 + i as u32, len.div_ceil(64)));
        let (v, b) = (v.each_ref().map(|v| &v[..]), bits.each_ref().map(|bits| &bits[..]));
        let r: [[u64; 2]; 8] = std::array::from_fn(|i| [words(16, 16)[2 * i], words(16, 16)[2 * i + 1]]);
        let mut all = vec![
            multiply(e, r[0], r[1]).to_vec(),
            sum_selected(e, v[0], b[0]).to_vec(),
            inner_product(e, v[0], v[1]).to_vec(),
            round(e, [v[0], v[1]], [v[2], v[3]]).concat(),
            two_rounds_of_bits(e, [v[0], v[1], v[2], v[3]], [b[0], b[1], b[2], b[3]]).concat(),
        ];
        let mut out: [Vec<u64>; 5] = std::array::from_fn(|i| v[i].to_vec());
        let [x, y, z, w, t] = &mut out;
        let terms = vec![(v[1], Some(b[0])), (v[2], Some(b[1])), (v[3], None)];
        combine(e, &[(0, terms)], true, 2 * len, x);
        fold(e, x, v[2], r[0]);
        weighted_bits(e, b, r, y);
        all.push(fold_and_round(e, [[x, y], [z, w]], [[v[3], v[4]], [v[5], v[6]]], r[1]).concat());
        split_by(e, z, t, r[2]);
        let eighths = [[v[0], v[1]], [v[2], v[3]], [v[4], v[5]], [v[6], v[7]]];
        let planes = [[b[0], b[1]], [b[2], b[3]], [b[4], b[5]], [b[6], b[7]]];
        let sums = fold_twice_and_round_of_bits(e, eighths, [r[3], r[4], r[5]], [x, y], planes);
        all.push(sums.concat().concat());
        all.extend(out);
        all
    }

    #[test]
    fn elements_one_and_two_at_a_time_are_the_portable_ones() {
        if !Kernel::Avx2.is_available() {
            return;
        }
        let Token::Avx2(token) = with_kernel(Kernel::Avx2, Token::active) else {
            unreachable!("just chosen")
        };
        for len in (0..40).chain([63, 64, 65, 66, 127, 128, 129, 300]) {
            let expected = results(Scalar, len);
            assert_eq!(results(Single::new(token), len), expected, "{len}");
            if let Some(pairs) = Pairs::new(token) {
                assert_eq!(results(pairs, len), expected, "{len}");
            }
        }
    }
}
