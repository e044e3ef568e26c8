//! Steps of a sumcheck over GF(2^128), written once for every kernel.
//!
//! The floors with AVX-512 on Intel, where one unit multiplies, shuffles and compares, one vector of
//! four elements a cycle. For such a vector of each part of `A`: [`round`] eight products;
//! [`fold`] five and a shuffle; [`fold_and_round`] 32 in all; [`two_rounds_of_bits`] eight choices;
//! [`fold_twice_and_round_of_bits`] 26 products, two shuffles and eight choices. So a sumcheck of long
//! vectors takes 2.8 cycles an element at least.

use super::elements::{BLOCK, Elements, for_blocks, reduce, vectors};

/// `<a_0, b_0>` and `<a_0 + a_1, b_0 + b_1>`.
#[inline(always)]
pub(super) fn round<E: Elements>(e: E, a: [&[u64]; 2], b: [&[u64]; 2]) -> [[u64; 2]; 2] {
    let mut sums = [e.no_sums(); 2];
    for_blocks!(a[0].len(), start, len, {
        let (a_0, a_1) = (&a[0][start..][..len], &a[1][start..][..len]);
        let (b_0, b_1) = (&b[0][start..][..len], &b[1][start..][..len]);
        for at in vectors::<E>(len) {
            let (a_0, b_0) = (e.load(a_0, at), e.load(b_0, at));
            sums[0] = e.add_product(sums[0], a_0, b_0);
            sums[1] = e.add_product(sums[1], e.add(a_0, e.load(a_1, at)), e.add(b_0, e.load(b_1, at)));
        }
    });
    [reduce(e.total_product(sums[0])), reduce(e.total_product(sums[1]))]
}

/// `lower += r (lower + upper)`.
#[inline(always)]
pub(super) fn fold<E: Elements>(e: E, lower: &mut [u64], upper: &[u64], r: [u64; 2]) {
    let r = e.factor(r);
    for_blocks!(lower.len(), start, len, {
        let (lower, upper) = (&mut lower[start..][..len], &upper[start..][..len]);
        for at in vectors::<E>(len) {
            e.store(lower, at, folded(e, lower, upper, at, r));
        }
    });
}

#[inline(always)]
fn folded<E: Elements>(e: E, lower: &[u64], upper: &[u64], at: usize, r: E::Factor) -> E::V {
    let (lower, upper) = (e.load(lower, at), e.load(upper, at));
    e.add_scaled(lower, [e.add(lower, upper)], [r])
}

/// [`fold`] of two vectors and the [`round`] that follows, in one pass. Of each: the quarters.
#[inline(always)]
pub(super) fn fold_and_round<E: Elements>(
    e: E,
    [a, b]: [[&mut [u64]; 2]; 2],
    [a_upper, b_upper]: [[&[u64]; 2]; 2],
    r: [u64; 2],
) -> [[u64; 2]; 2] {
    let ([a_0, a_1], [b_0, b_1]) = (a, b);
    let r = e.factor(r);
    let mut sums = [e.no_sums(); 2];
    for_blocks!(a_0.len(), start, len, {
        let (a_0, a_1) = (&mut a_0[start..][..len], &mut a_1[start..][..len]);
        let (b_0, b_1) = (&mut b_0[start..][..len], &mut b_1[start..][..len]);
        let (a_2, a_3) = (&a_upper[0][start..][..len], &a_upper[1][start..][..len]);
        let (b_2, b_3) = (&b_upper[0][start..][..len], &b_upper[1][start..][..len]);
        for at in vectors::<E>(len) {
            let (x_0, x_1) = (folded(e, a_0, a_2, at, r), folded(e, a_1, a_3, at, r));
            let (y_0, y_1) = (folded(e, b_0, b_2, at, r), folded(e, b_1, b_3, at, r));
            e.store(a_0, at, x_0);
            e.store(a_1, at, x_1);
            e.store(b_0, at, y_0);
            e.store(b_1, at, y_1);
            sums[0] = e.add_product(sums[0], x_0, y_0);
            sums[1] = e.add_product(sums[1], e.add(x_0, x_1), e.add(y_0, y_1));
        }
    });
    [reduce(e.total_product(sums[0])), reduce(e.total_product(sums[1]))]
}

/// Sums over quarters of `A` and of bits, from which two rounds of a sumcheck follow. With the
/// quarters as `A_(i,j)`, with `A_(2,j) = A_(0,j) + A_(1,j)`, `A_(i,2) = A_(i,0) + A_(i,1)`, and of `B`
/// likewise: sum `3 i + j` is `<A_(i,j), B_(i,j)>`. The one of `i = j = 1` is not needed, and 0.
#[inline(always)]
pub(super) fn two_rounds_of_bits<E: Elements>(e: E, a: [&[u64]; 4], b: [&[u64]; 4]) -> [[u64; 2]; 9] {
    let mut sums = [e.splat([0; 2]); 9];
    for_blocks!(a[0].len(), start, len, {
        let (a_00, a_01) = (&a[0][start..][..len], &a[1][start..][..len]);
        let (a_10, a_11) = (&a[2][start..][..len], &a[3][start..][..len]);
        let block = start / BLOCK;
        let (b_00, b_01, b_10, b_11) = (b[0][block], b[1][block], b[2][block], b[3][block]);
        let c_00 = e.choice(b_00);
        let c_01 = e.choice(b_01);
        let c_10 = e.choice(b_10);
        let c_02 = e.choice(b_00 ^ b_01);
        let c_12 = e.choice(b_10 ^ b_11);
        let c_20 = e.choice(b_00 ^ b_10);
        let c_21 = e.choice(b_01 ^ b_11);
        let c_22 = e.choice(b_00 ^ b_01 ^ b_10 ^ b_11);
        for at in vectors::<E>(len) {
            let (a_00, a_01) = (e.load(a_00, at), e.load(a_01, at));
            let (a_10, a_11) = (e.load(a_10, at), e.load(a_11, at));
            let (a_02, a_12) = (e.add(a_00, a_01), e.add(a_10, a_11));
            sums[0] = e.add_chosen(sums[0], a_00, c_00, at / 2);
            sums[1] = e.add_chosen(sums[1], a_01, c_01, at / 2);
            sums[2] = e.add_chosen(sums[2], a_02, c_02, at / 2);
            sums[3] = e.add_chosen(sums[3], a_10, c_10, at / 2);
            sums[5] = e.add_chosen(sums[5], a_12, c_12, at / 2);
            sums[6] = e.add_chosen(sums[6], e.add(a_00, a_10), c_20, at / 2);
            sums[7] = e.add_chosen(sums[7], e.add(a_01, a_11), c_21, at / 2);
            sums[8] = e.add_chosen(sums[8], e.add(a_02, a_12), c_22, at / 2);
        }
    });
    let mut totals = [[0; 2]; 9];
    for (total, sum) in totals.iter_mut().zip(sums) {
        *total = e.total(sum);
    }
    totals
}

/// Two times [`fold`], by two challenges, of a vector to `out`, and [`round`] of what it gives, with bits,
/// for each of four planes of bits, in one pass. Of the vector: its eighths. The weights are those of
/// all quarters but the first, which has what is missing to 1.
#[inline(always)]
pub(super) fn fold_twice_and_round_of_bits<E: Elements>(
    e: E,
    a: [[&[u64]; 2]; 4],
    weights: [[u64; 2]; 3],
    [out_0, out_1]: [&mut [u64]; 2],
    planes: [[&[u64]; 2]; 4],
) -> [[[u64; 2]; 2]; 4] {
    let weights = [e.factor(weights[0]), e.factor(weights[1]), e.factor(weights[2])];
    let mut sums = [[e.splat([0; 2]); 2]; 4];
    for_blocks!(out_0.len(), start, len, {
        let (out_0, out_1) = (&mut out_0[start..][..len], &mut out_1[start..][..len]);
        let (a_0, a_1) = (
            [
                &a[0][0][start..][..len],
                &a[1][0][start..][..len],
                &a[2][0][start..][..len],
                &a[3][0][start..][..len],
            ],
            [
                &a[0][1][start..][..len],
                &a[1][1][start..][..len],
                &a[2][1][start..][..len],
                &a[3][1][start..][..len],
            ],
        );
        let mut choices = [[e.choice(0); 2]; 4];
        for (choices, plane) in choices.iter_mut().zip(planes) {
            let (b_0, b_1) = (plane[0][start / BLOCK], plane[1][start / BLOCK]);
            *choices = [e.choice(b_0), e.choice(b_0 ^ b_1)];
        }
        for at in vectors::<E>(len) {
            let (x_0, x_1) = (weighted(e, a_0, at, weights), weighted(e, a_1, at, weights));
            e.store(out_0, at, x_0);
            e.store(out_1, at, x_1);
            let both = e.add(x_0, x_1);
            for (sums, choices) in sums.iter_mut().zip(&choices) {
                sums[0] = e.add_chosen(sums[0], x_0, choices[0], at / 2);
                sums[1] = e.add_chosen(sums[1], both, choices[1], at / 2);
            }
        }
    });
    let mut totals = [[[0; 2]; 2]; 4];
    for (totals, sums) in totals.iter_mut().zip(sums) {
        *totals = [e.total(sums[0]), e.total(sums[1])];
    }
    totals
}

/// The sum of four elements whose weights have the sum 1.
#[inline(always)]
fn weighted<E: Elements>(e: E, a: [&[u64]; 4], at: usize, weights: [E::Factor; 3]) -> E::V {
    let first = e.load(a[0], at);
    let differences =
        [e.add(first, e.load(a[1], at)), e.add(first, e.load(a[2], at)), e.add(first, e.load(a[3], at))];
    e.add_scaled(first, differences, weights)
}
