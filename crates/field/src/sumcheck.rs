//! The sumcheck of an inner product `<A, B>` over GF(2^128) (`docs/protocol.md`, section 6.14).
//!
//! `A` is public, `B` are bits. With `A_0` and `A_1` the lower and the upper half of `A`, and of `B`
//! likewise, a round sends `q_0 = <A_0, B_0>` and `q_2 = <A_0 + A_1, B_0 + B_1>`, is given `r`, and
//! goes on with `A_0 + r (A_0 + A_1)` and `B_0 + r (B_0 + B_1)`, whose product is
//! `q_0 + (<A, B> + q_2) r + q_2 r^2`.

use crate::binary::Gf128Vec;
use crate::bits::BitVec;
use crate::gf128::Gf128;
use crate::kernels;
use crate::storage::Words;

/// Coordinates of a point whose weights stay in the first-level cache: 8 KiB of them.
const COLUMNS: usize = 9;

impl Gf128Vec {
    /// Proves `<A, B>`, with `A` this vector: calls `challenge` with `q_0` and `q_2` of round after
    /// round, and goes on with what it returns. Returns what `A` and `B` come to.
    ///
    /// # Panics
    /// When the lengths differ or are no power of two.
    pub fn sumcheck(&self, b: &BitVec, mut challenge: impl FnMut([Gf128; 2]) -> Gf128) -> [Gf128; 2] {
        self.check(b.len());
        assert!(self.len().is_power_of_two(), "a sumcheck of {} elements", self.len());
        let (mut a, mut b) = match self.len() {
            // Nothing to divide into eighths.
            ..8 => (self.clone(), Gf128Vec::weighted_bits(b, [Gf128::ONE])),
            _ => self.three_rounds(b, &mut challenge),
        };
        if a.len() > 1 {
            let mut sums = a.round(&b);
            while a.len() > 2 {
                sums = a.fold_and_round(&mut b, challenge(sums));
            }
            let r = challenge(sums);
            a.fold(r);
            b.fold(r);
        }
        [a.get(0), b.get(0)]
    }

    /// The first rounds, in which `B` is bits: a sum over what it comes to is one over each of its
    /// parts, with weights that follow from the challenges. Additions are cheaper than products, and
    /// neither `A` nor `B` is written where it is long. Returns what is left of both.
    fn three_rounds(
        &self,
        b: &BitVec,
        mut challenge: impl FnMut([Gf128; 2]) -> Gf128,
    ) -> (Gf128Vec, Gf128Vec) {
        let mut short = Words::zeros(8);
        let eighth = self.len() / 8;
        let quarters: [&[u64]; 4] = std::array::from_fn(|i| &self.words()[4 * i * eighth..][..4 * eighth]);
        let sums = kernels::two_rounds_of_bits(quarters, parts(b, &mut short)).map(Gf128::from_words);
        let [q_00, q_01, q_02, q_10, _, q_12, q_20, q_21, q_22] = sums;
        let r_0 = challenge([q_00 + q_01, q_20 + q_21]);
        // The polynomial at the challenge, from its values at 0 and 1 and the coefficient of X^2.
        let at = |zero: Gf128, one: Gf128, square| zero + (zero + one + square) * r_0 + square * r_0 * r_0;
        let r_1 = challenge([at(q_00, q_10, q_20), at(q_02, q_12, q_22)]);

        let weights = [(Gf128::ONE + r_0) * r_1, r_0 * (Gf128::ONE + r_1), r_0 * r_1];
        let mut a = Gf128Vec::zeros(2 * eighth);
        let (lower, upper) = a.words_mut().split_at_mut(2 * eighth);
        let eighths: [&[u64]; 8] = parts(b, &mut short);
        let sums = kernels::fold_twice_and_round_of_bits(
            quarters.map(|quarter| quarter.split_at(2 * eighth).into()),
            weights.map(Gf128::to_words),
            [lower, upper],
            std::array::from_fn(|i| [eighths[2 * i], eighths[2 * i + 1]]),
        );
        let first = weights.into_iter().fold(Gf128::ONE, |rest, weight| rest + weight);
        let weights = [first, weights[0], weights[1], weights[2]];
        let q = |which: usize| {
            let terms = weights.iter().zip(&sums);
            terms.fold(Gf128::ZERO, |sum, (&weight, sums)| sum + weight * Gf128::from_words(sums[which]))
        };
        let r_2 = challenge([q(0), q(1)]);
        a.fold(r_2);
        let upper = weights.map(|weight| weight * r_2);
        let weights =
            std::array::from_fn(|i| if i % 2 == 1 { upper[i / 2] } else { weights[i / 2] + upper[i / 2] });
        (a, Gf128Vec::weighted_bits::<8>(b, weights))
    }

    /// The multilinear extension of these elements at a point, the highest bit of an index first:
    /// what [`Gf128Vec::sumcheck`] with these challenges comes to.
    ///
    /// # Panics
    /// Unless the length is two to the number of coordinates.
    pub fn evaluate(&self, point: &[Gf128]) -> Gf128 {
        assert_eq!(self.len(), 1 << point.len(), "a point with other coordinates");
        let (rows, columns) = rows_and_columns(point);
        let mut values = Gf128Vec::zeros(rows.len());
        for (i, row) in self.words().chunks(columns.words().len()).enumerate() {
            values.set(i, Gf128::from_words(kernels::inner_product(row, columns.words())));
        }
        rows.inner_product(&values)
    }

    /// [`Gf128Vec::evaluate`] of bits, elements 0 and 1.
    ///
    /// # Panics
    /// Unless the length is two to the number of coordinates.
    pub fn evaluate_bits(b: &BitVec, point: &[Gf128]) -> Gf128 {
        assert_eq!(b.len(), 1 << point.len(), "a point with other coordinates");
        let (rows, columns) = rows_and_columns(point);
        let mut values = Gf128Vec::zeros(rows.len());
        for (i, row) in b.words().chunks(columns.len().div_ceil(64)).enumerate() {
            values.set(i, Gf128::from_words(kernels::sum_selected(columns.words(), row)));
        }
        rows.inner_product(&values)
    }

    /// The weights of all elements in [`Gf128Vec::evaluate`]: the products of `r` where the index has
    /// a 1, and `1 + r` where it has a 0, over the coordinates `r`.
    fn weights(point: &[Gf128]) -> Gf128Vec {
        let mut weights = Gf128Vec::zeros(1 << point.len());
        weights.set(0, Gf128::ONE);
        for (k, r) in point.iter().rev().enumerate() {
            let (lower, upper) = weights.words_mut()[..4 << k].split_at_mut(2 << k);
            kernels::split_by(lower, upper, r.to_words());
        }
        weights
    }

    /// What a prover sends of one round of the sumcheck of `<A, B>`, with `A` this vector: `q_0` and
    /// `q_2`.
    ///
    /// # Panics
    /// Unless the length is a power of two and not 1.
    pub fn round(&self, b: &Gf128Vec) -> [Gf128; 2] {
        self.check(b.len());
        let half = half_of(self.len());
        let halves = [self, b].map(|v| v.words().split_at(2 * half));
        let [a, b] = halves.map(|(lower, upper)| [lower, upper]);
        kernels::round(a, b).map(Gf128::from_words)
    }

    /// `A_0 + r (A_0 + A_1)` of the halves of this vector, which becomes half as long.
    ///
    /// # Panics
    /// Unless the length is a power of two and not 1.
    pub fn fold(&mut self, r: Gf128) {
        let half = half_of(self.len());
        let (lower, upper) = self.words_mut().split_at_mut(2 * half);
        kernels::fold(lower, upper, r.to_words());
        self.shorten(half);
    }

    /// The sum of `N` parts of the bits, at most eight, with these weights.
    fn weighted_bits<const N: usize>(b: &BitVec, weights: [Gf128; N]) -> Gf128Vec {
        let mut sum = Gf128Vec::zeros(b.len() / N);
        let mut short = Words::zeros(N);
        let parts: [&[u64]; N] = parts(b, &mut short);
        // What is missing to eight has the weight 0.
        let parts = std::array::from_fn(|i| parts[i % N]);
        let weights = std::array::from_fn(|i| weights.get(i).map_or([0; 2], |weight| weight.to_words()));
        kernels::weighted_bits(parts, weights, sum.words_mut());
        sum
    }

    /// [`Gf128Vec::fold`] of both vectors and the [`Gf128Vec::round`] that follows, in one pass.
    fn fold_and_round(&mut self, b: &mut Gf128Vec, r: Gf128) -> [Gf128; 2] {
        let half = half_of(self.len());
        let quarter = half_of(half);
        let [(a, a_upper), (b_lower, b_upper)] =
            [self.words_mut(), b.words_mut()].map(|v| v.split_at_mut(2 * half));
        let lower = [a, b_lower].map(|v| v.split_at_mut(2 * quarter).into());
        let upper = [a_upper, b_upper].map(|v| v.split_at(2 * quarter).into());
        let sums = kernels::fold_and_round(lower, upper, r.to_words());
        self.shorten(half);
        b.shorten(half);
        sums.map(Gf128::from_words)
    }
}

fn half_of(len: usize) -> usize {
    assert!(len.is_power_of_two() && len > 1, "a vector of {len} elements has no halves");
    len / 2
}

/// The weights of rows of [`COLUMNS`] coordinates, and those of their elements.
fn rows_and_columns(point: &[Gf128]) -> (Gf128Vec, Gf128Vec) {
    let (rows, columns) = point.split_at(point.len().saturating_sub(COLUMNS));
    (Gf128Vec::weights(rows), Gf128Vec::weights(columns))
}

/// The bits in `N` equal parts, each from the beginning of a word on: that of the bits, or, if a part
/// is short, one of the words lent. Behind a short part are others' bits.
fn parts<'a, const N: usize>(b: &'a BitVec, short: &'a mut [u64]) -> [&'a [u64]; N] {
    let len = b.len() / N;
    if len.is_multiple_of(64) {
        return std::array::from_fn(|i| &b.words()[i * len / 64..][..len / 64]);
    }
    for (i, part) in short[..N].iter_mut().enumerate() {
        *part = b.words()[i * len / 64] >> (i * len % 64);
    }
    let short = &*short;
    std::array::from_fn(|i| &short[i..=i])
}
