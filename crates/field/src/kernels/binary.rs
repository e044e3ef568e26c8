//! Vectors over GF(2^128), written once for every kernel.
//!
//! Sums of chosen elements are bound by what they read; with AVX-512 on Intel, choosing takes one
//! cycle and a half for a vector of four.

use super::elements::{BLOCK, Elements, for_blocks, reduce, vectors};

/// `a b`.
#[inline(always)]
pub(super) fn multiply<E: Elements>(e: E, a: [u64; 2], b: [u64; 2]) -> [u64; 2] {
    reduce(e.total_product(e.add_product(e.no_sums(), e.load(&a, 0), e.load(&b, 0))))
}

/// Vectors of sums that stay in registers.
const SUMS: usize = 8;

/// Where a sum goes, and its terms: elements, and the bits that choose among them, if any do.
pub(crate) type Sum<'a> = (usize, Vec<(&'a [u64], Option<&'a [u64]>)>);

/// Sums of chosen elements: each is written to the words of `out` from its first number on, and is of
/// all its terms' elements whose bit is set, or of all where there are no bits. Block by block, so that
/// what several sums read is in the first-level cache. With `more`, sums are added to what is there.
#[inline(always)]
pub(super) fn combine<E: Elements>(e: E, sums: &[Sum<'_>], more: bool, words: usize, out: &mut [u64]) {
    let group = 2 * E::COUNT * SUMS;
    for start in (0..words).step_by(BLOCK) {
        let end = words.min(start + BLOCK);
        for (first, terms) in sums {
            let out = &mut out[*first..][..words];
            for from in (start..end).step_by(group) {
                if from + group > end {
                    for at in vectors::<E>(end - from).map(|at| from + at) {
                        // The last vector may be a part of one.
                        let part = &mut out[at..words];
                        let mut sum = if more { e.load(part, 0) } else { e.splat([0; 2]) };
                        for (elements, bits) in terms {
                            let choice = e.choice(bits.map_or(u64::MAX, |bits| bits[at / BLOCK]));
                            let elements = &elements[at..words];
                            sum = e.add_chosen(sum, e.load(elements, 0), choice, at % BLOCK / 2);
                        }
                        e.store(part, 0, sum);
                    }
                    continue;
                }
                let out = &mut out[from..][..group];
                let mut all = [e.splat([0; 2]); SUMS];
                if more {
                    for (i, sum) in all.iter_mut().enumerate() {
                        *sum = e.load(out, 2 * E::COUNT * i);
                    }
                }
                for (elements, bits) in terms {
                    let elements = &elements[from..][..group];
                    match bits {
                        None => {
                            for (i, sum) in all.iter_mut().enumerate() {
                                *sum = e.add(*sum, e.load(elements, 2 * E::COUNT * i));
                            }
                        }
                        Some(bits) => {
                            let choice = e.choice(bits[from / BLOCK] >> (from % BLOCK / 2));
                            for (i, sum) in all.iter_mut().enumerate() {
                                let at = 2 * E::COUNT * i;
                                *sum = e.add_chosen(*sum, e.load(elements, at), choice, at / 2);
                            }
                        }
                    }
                }
                for (i, sum) in all.into_iter().enumerate() {
                    e.store(out, 2 * E::COUNT * i, sum);
                }
            }
        }
    }
}

/// The sum of the elements whose bit is set.
#[inline(always)]
pub(super) fn sum_selected<E: Elements>(e: E, elements: &[u64], bits: &[u64]) -> [u64; 2] {
    let mut sum = e.splat([0; 2]);
    for_blocks!(elements.len(), start, len, {
        let (elements, choice) = (&elements[start..][..len], e.choice(bits[start / BLOCK]));
        for at in vectors::<E>(len) {
            sum = e.add_chosen(sum, e.load(elements, at), choice, at / 2);
        }
    });
    e.total(sum)
}

/// `<a, b>`.
#[inline(always)]
pub(super) fn inner_product<E: Elements>(e: E, a: &[u64], b: &[u64]) -> [u64; 2] {
    let mut sums = e.no_sums();
    for_blocks!(a.len(), start, len, {
        let (a, b) = (&a[start..][..len], &b[start..][..len]);
        for at in vectors::<E>(len) {
            sums = e.add_product(sums, e.load(a, at), e.load(b, at));
        }
    });
    reduce(e.total_product(sums))
}

/// `out = sum w b` over eight planes of bits with a weight for each.
#[inline(always)]
pub(super) fn weighted_bits<E: Elements>(e: E, planes: [&[u64]; 8], weights: [[u64; 2]; 8], out: &mut [u64]) {
    let (zero, mut all) = (e.splat([0; 2]), [e.splat([0; 2]); 8]);
    for (weight, words) in all.iter_mut().zip(weights) {
        *weight = e.splat(words);
    }
    for_blocks!(out.len(), start, len, {
        let out = &mut out[start..][..len];
        let mut choices = [e.choice(0); 8];
        for (choice, plane) in choices.iter_mut().zip(planes) {
            *choice = e.choice(plane[start / BLOCK]);
        }
        for at in vectors::<E>(len) {
            let mut sum = zero;
            for (&choice, &weight) in choices.iter().zip(&all) {
                sum = e.add_chosen(sum, weight, choice, at / 2);
            }
            e.store(out, at, sum);
        }
    });
}

/// `upper = r lower`, `lower += upper`.
#[inline(always)]
pub(super) fn split_by<E: Elements>(e: E, lower: &mut [u64], upper: &mut [u64], r: [u64; 2]) {
    let (zero, r) = (e.splat([0; 2]), e.factor(r));
    for at in vectors::<E>(lower.len()) {
        let whole = e.load(lower, at);
        let part = e.add_scaled(zero, [whole], [r]);
        e.store(upper, at, part);
        e.store(lower, at, e.add(whole, part));
    }
}
