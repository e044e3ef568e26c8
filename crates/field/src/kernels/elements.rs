//! GF(2^128) = GF(2)\[X\] / (X^128 + X^7 + X^2 + X + 1): the vector trait that its kernels are written
//! over, and its portable form, which is the definition.
//!
//! An element is two words, the low coefficients first; bits are packed, 64 in a word. Nothing
//! branches on an element or a bit, and no address depends on one.

use super::portable::Scalar;

/// A product of two elements before it is reduced, in four words.
pub(super) type Product = [u64; 4];

/// A token that proves that certain instructions can run, with operations on vectors of elements, as
/// [`super::lanes::Lanes`] has them on words.
pub(super) trait Elements: Copy {
    /// Elements of a vector; divides 64.
    const COUNT: usize;
    /// A vector.
    type V: Copy;
    /// A vector of sums of products that are not reduced.
    type Sums: Copy;
    /// A factor of many products, prepared once.
    type Factor: Copy;
    /// 64 bits that choose elements.
    type Choice: Copy;

    /// The element in every place.
    fn splat(self, element: [u64; 2]) -> Self::V;
    /// The elements in `words[at..]`; those beyond the end are 0.
    fn load(self, words: &[u64], at: usize) -> Self::V;
    /// Stores to `words[at..]`; elements beyond the end are dropped.
    fn store(self, words: &mut [u64], at: usize, v: Self::V);
    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// The sum of all elements of a vector.
    fn total(self, v: Self::V) -> [u64; 2];

    /// Makes a choice of 64 bits.
    fn choice(self, bits: u64) -> Self::Choice;
    /// `sum` plus those elements of `v` whose bit is set; the first one's is bit `at`, a multiple of
    /// the elements of a vector.
    fn add_chosen(self, sum: Self::V, v: Self::V, choice: Self::Choice, at: usize) -> Self::V;

    /// No products.
    fn no_sums(self) -> Self::Sums;
    /// `sums + a b`.
    fn add_product(self, sums: Self::Sums, a: Self::V, b: Self::V) -> Self::Sums;
    /// The sum of all products of a vector.
    fn total_product(self, sums: Self::Sums) -> Product;

    /// Prepares a factor.
    fn factor(self, r: [u64; 2]) -> Self::Factor;
    /// `sum + r_1 a_1 + r_2 a_2 + ...`, reduced.
    fn add_scaled<const N: usize>(self, sum: Self::V, a: [Self::V; N], r: [Self::Factor; N]) -> Self::V;
}

/// The product of two polynomials below `X^64`.
///
/// Integer products of numbers with three holes after every bit: a digit of four bits is the number
/// of terms that meet there, at most 15, and its lowest bit is their sum. Source: Pornin, BearSSL,
/// `ghash_ctmul64.c`; there the products are of 64 bits. With 128, sixteen terms would meet in the
/// middle, so the highest four bits of one factor are multiplied apart.
#[inline(always)]
fn carryless(x: u64, y: u64) -> u128 {
    const HOLES: u64 = 0x1111_1111_1111_1111;
    const WIDE: u128 = (HOLES as u128) << 64 | HOLES as u128;
    let x_of = |i: u32| u128::from(x & HOLES >> 4 << i);
    let y_of = |i: u32| u128::from(y & HOLES << i);
    let (x_of, y_of) = ([0, 1, 2, 3].map(x_of), [0, 1, 2, 3].map(y_of));
    let mut product = 0;
    for k in 0..4 {
        let sum = (0..4).fold(0, |sum, i| sum ^ (x_of[i] * y_of[(k + 4 - i) % 4]));
        product |= sum & WIDE << k;
    }
    for i in 60..64 {
        product ^= u128::from(y & (x >> i & 1).wrapping_neg()) << i;
    }
    product
}

/// The remainder by the modulus: `X^128` is `X^7 + X^2 + X + 1`, twice.
#[inline(always)]
pub(super) fn reduce([low, middle, high, top]: Product) -> [u64; 2] {
    // What the shifts of the top word push over X^192.
    let high = high ^ top >> 63 ^ top >> 62 ^ top >> 57;
    let middle = middle ^ top ^ top << 1 ^ top << 2 ^ top << 7 ^ high >> 63 ^ high >> 62 ^ high >> 57;
    [low ^ high ^ high << 1 ^ high << 2 ^ high << 7, middle]
}

/// `low + X^64 middle + X^128 high`.
#[inline(always)]
pub(super) fn joined([low, middle, high]: [[u64; 2]; 3]) -> Product {
    [low[0], low[1] ^ middle[0], middle[1] ^ high[0], high[1]]
}

impl Elements for Scalar {
    const COUNT: usize = 1;
    type V = [u64; 2];
    /// Karatsuba's three products.
    type Sums = [u128; 3];
    type Factor = [u64; 2];
    type Choice = u64;

    #[inline(always)]
    fn splat(self, element: [u64; 2]) -> [u64; 2] {
        element
    }
    #[inline(always)]
    fn load(self, words: &[u64], at: usize) -> [u64; 2] {
        [words[at], words[at + 1]]
    }
    #[inline(always)]
    fn store(self, words: &mut [u64], at: usize, v: [u64; 2]) {
        words[at..at + 2].copy_from_slice(&v);
    }
    #[inline(always)]
    fn add(self, a: [u64; 2], b: [u64; 2]) -> [u64; 2] {
        [a[0] ^ b[0], a[1] ^ b[1]]
    }
    #[inline(always)]
    fn total(self, v: [u64; 2]) -> [u64; 2] {
        v
    }
    #[inline(always)]
    fn choice(self, bits: u64) -> u64 {
        bits
    }
    #[inline(always)]
    fn add_chosen(self, sum: [u64; 2], v: [u64; 2], choice: u64, at: usize) -> [u64; 2] {
        let mask = (choice >> at & 1).wrapping_neg();
        self.add(sum, [v[0] & mask, v[1] & mask])
    }
    #[inline(always)]
    fn no_sums(self) -> [u128; 3] {
        [0; 3]
    }
    #[inline(always)]
    fn add_product(self, [low, cross, high]: [u128; 3], a: [u64; 2], b: [u64; 2]) -> [u128; 3] {
        [
            low ^ carryless(a[0], b[0]),
            cross ^ carryless(a[0] ^ a[1], b[0] ^ b[1]),
            high ^ carryless(a[1], b[1]),
        ]
    }
    #[inline(always)]
    fn total_product(self, [low, cross, high]: [u128; 3]) -> Product {
        joined([low, cross ^ low ^ high, high].map(|sum| [sum as u64, (sum >> 64) as u64]))
    }
    #[inline(always)]
    fn factor(self, r: [u64; 2]) -> [u64; 2] {
        r
    }
    #[inline(always)]
    fn add_scaled<const N: usize>(self, sum: [u64; 2], a: [[u64; 2]; N], r: [[u64; 2]; N]) -> [u64; 2] {
        let mut sums = self.no_sums();
        for (a, r) in a.into_iter().zip(r) {
            sums = self.add_product(sums, a, r);
        }
        self.add(sum, reduce(self.total_product(sums)))
    }
}

/// Words of 64 elements, as many as a word has bits.
pub(super) const BLOCK: usize = 128;

/// Does something with every block: `$at` is its first word, `$len` how many it has, [`BLOCK`] but in
/// the last one, so that the loop over a whole block is unrolled.
macro_rules! for_blocks {
    ($words:expr, $at:ident, $len:ident, $work:block) => {{
        let words: usize = $words;
        let whole = words / BLOCK * BLOCK;
        for $at in (0..whole).step_by(BLOCK) {
            let $len = BLOCK;
            $work
        }
        if whole < words {
            let ($at, $len) = (whole, words - whole);
            $work
        }
    }};
}

/// Where the vectors of a block begin.
#[inline(always)]
pub(super) fn vectors<E: Elements>(words: usize) -> impl Iterator<Item = usize> {
    (0..words).step_by(2 * E::COUNT)
}

pub(super) use for_blocks;
