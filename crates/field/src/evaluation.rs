//! The online hot loops: polynomials on shares together with their tags (`docs/protocol.md`, 6.3,
//! 6.7 and 6.12).

use std::ops::Range;

use crate::bits::BitVec;
use crate::element::Element;
use crate::kernels::{self, MAX_DEGREE, ShareRows, SignedRows};
use crate::parallel;
use crate::prime::Prime;
use crate::truncation::{Part, Truncation};
use crate::vector::LimbVec;

/// Elements that are opened before they are used: with everything in between they stay in the
/// first two levels of cache.
const BLOCK: usize = 2048;

/// Residues of a part: each takes several products and places in memory.
const HEAVY: usize = parallel::LIGHT / 16;

/// What polynomials are evaluated at: public opened values.
#[derive(Clone, Copy, Debug)]
pub struct Argument<'a> {
    /// The opened values, without a truncation's offset: `n` elements, element-major for all batch
    /// elements.
    pub d: &'a LimbVec,
    /// What they are truncated by first, if they are.
    pub truncation: Option<&'a Truncation>,
    /// The number of batch elements.
    pub batch: usize,
}

/// Shares of the coefficients of one polynomial per element, or of their tags.
#[derive(Clone, Copy, Debug)]
pub struct PolynomialShares<'a> {
    /// `C_1..C_{d-1}`, each as long as the opened values.
    pub c: &'a [LimbVec],
    /// The differences `E_0..E_{d-1}`, or none where statistical truncation or no truncation holds.
    pub e: &'a [LimbVec],
}

/// A party's shares of a polynomial's values and of its tag sums, in one pass over memory.
///
/// `keys` holds one key share for each element. The degree `d = values.c.len() + 1` is 1 to
/// [`crate::MAX_DEGREE`]; `leading` is `A_d`; `v` and `wrap` are what [`Truncation::open`] gives,
/// or the values themselves and 0 where nothing is truncated.
///
/// The first result has `n` elements `sum_{1 <= k < d} v^k C_k + wrap sum_{k < d} v^k E_k`, plus
/// `A_d v^d` if `add_leading` (for the first party; `C_0` is the caller's). The second has, for
/// every batch element, the sum over its elements of
/// `sum_{1 <= k < d} v^k gC_k + wrap sum_{k < d} v^k gE_k + A_d v^d key`, where `gC` and `gE` are
/// `tags`.
///
/// # Panics
/// When `values` and `tags` do not have the same number of vectors, there are neither 0 nor `d`
/// differences or some without a truncation, a length or modulus differs, or `n` is not a multiple
/// of the batch.
pub fn evaluate_shares(
    argument: Argument<'_>,
    values: PolynomialShares<'_>,
    tags: PolynomialShares<'_>,
    keys: &LimbVec,
    leading: &Element,
    add_leading: bool,
) -> (LimbVec, Vec<Element>) {
    let Argument { d, truncation, .. } = argument;
    let (limbs, len) = (d.limbs(), d.len());
    let degree = values.c.len() + 1;
    assert!(degree <= MAX_DEGREE, "degree {degree}");
    assert_eq!(values.c.len(), tags.c.len(), "coefficients and tags");
    assert_eq!(values.e.len(), tags.e.len(), "differences and tags");
    let differences = !values.e.is_empty();
    assert!(!differences || values.e.len() == degree, "{} differences", values.e.len());
    assert!(!differences || truncation.is_some(), "differences without a truncation");
    for vector in [values.c, values.e, tags.c, tags.e].into_iter().flatten().chain([keys]) {
        assert_eq!((vector.limbs(), vector.len()), (limbs, len), "moduli and lengths");
    }
    assert!(truncation.is_none_or(|t| t.limbs() == limbs), "a truncation of another modulus");
    assert_eq!(leading.limbs(), limbs, "the leading coefficient");

    let mut out = LimbVec::zeros(limbs, len);
    let size = if truncation.is_some() { BLOCK } else { usize::MAX };
    let room = || truncation.map(|t| (t, Part::new(limbs, BLOCK.min(argument.each()))));
    let sums = argument.for_parts(&mut out, room, |part, range, offset, out| {
        let mut sum = Element::zero(limbs);
        for range in pieces(range, size) {
            let opened = part.as_mut().map(|(truncation, part)| {
                truncation.open_part(d, range.clone(), part);
                &part.opened
            });
            let mut of_limbs = [0; 3];
            for (l, out) in out.iter_mut().enumerate().take(limbs.count()) {
                let (v, wrap) = match opened {
                    Some(opened) => (&opened.v.plane(l)[..range.len()], &opened.wrap.words()[..range.len()]),
                    None => (&d.plane(l)[range.clone()], &[][..]),
                };
                let rows = ShareRows {
                    v,
                    wrap,
                    c: rows(values.c, 1, l, &range),
                    e: rows(values.e, 0, l, &range),
                    tag_c: rows(tags.c, 1, l, &range),
                    tag_e: rows(tags.e, 0, l, &range),
                    keys: &keys.plane(l)[range.clone()],
                    leading: leading.limb(l),
                    add_leading,
                    degree,
                    differences,
                };
                let out = &mut out[range.start - offset..range.end - offset];
                of_limbs[l] = kernels::shares(Prime::of_limb(l), &rows, out);
            }
            sum = sum + Element::from_residues(limbs, |l| of_limbs[l]);
        }
        sum
    });
    (out, sums)
}

/// Adds a party's shares of a polynomial's values to `out`, where the element's bit is set, and
/// takes them away elsewhere; returns the sums of its tags with the same signs, one for every batch
/// element. One pass over memory.
///
/// `values` are the coefficients of `v^0, v^1, ..`, at least one and at most
/// [`crate::MAX_DEGREE`] + 1; `tags` theirs. Nothing is truncated.
///
/// # Panics
/// When there is a truncation, `values` and `tags` do not have the same number of vectors, there
/// are too few or too many, or a length or modulus differs.
pub fn add_signed_shares(
    argument: Argument<'_>,
    bits: &BitVec,
    values: &[LimbVec],
    tags: &[LimbVec],
    out: &mut LimbVec,
) -> Vec<Element> {
    let d = argument.d;
    let (limbs, len) = (d.limbs(), d.len());
    assert!(argument.truncation.is_none(), "a truncation");
    assert!((1..=MAX_DEGREE + 1).contains(&values.len()), "{} coefficients", values.len());
    assert_eq!(values.len(), tags.len(), "coefficients and tags");
    assert_eq!(bits.len(), len, "bits and opened values");
    for vector in values.iter().chain(tags).chain([&*out]) {
        assert_eq!((vector.limbs(), vector.len()), (limbs, len), "moduli and lengths");
    }
    argument.for_parts(
        out,
        || (),
        |(), range, offset, out| {
            let mut of_limbs = [0; 3];
            for (l, out) in out.iter_mut().enumerate().take(limbs.count()) {
                let rows = SignedRows {
                    v: &d.plane(l)[range.clone()],
                    bits: bits.words(),
                    first: range.start,
                    c: rows(values, 0, l, &range),
                    tag_c: rows(tags, 0, l, &range),
                    count: values.len(),
                };
                let out = &mut out[range.start - offset..range.end - offset];
                of_limbs[l] = kernels::signed_shares(Prime::of_limb(l), &rows, out);
            }
            Element::from_residues(limbs, |l| of_limbs[l])
        },
    )
}

impl Argument<'_> {
    /// Elements of a batch element.
    fn each(&self) -> usize {
        let (len, batch) = (self.d.len(), self.batch);
        assert!(batch > 0 && len.is_multiple_of(batch), "{len} elements in {batch} batch elements");
        len / batch
    }

    /// Does `work` with the elements of every batch element, some of them at a time where they are
    /// many; returns the sum of what it gives for each batch element.
    ///
    /// It has a `room` to work in, is told which elements, and writes them to planes of `out` that
    /// begin at the element said third.
    fn for_parts<R>(
        &self,
        out: &mut LimbVec,
        room: impl Fn() -> R + Sync,
        work: impl Fn(&mut R, Range<usize>, usize, &mut [&mut [u64]; 3]) -> Element + Sync,
    ) -> Vec<Element> {
        let (limbs, each) = (out.limbs(), self.each());
        let mut sums = vec![Element::zero(limbs); self.batch];
        if out.is_empty() {
            return sums;
        }
        let part = parallel::part_len(out.len(), HEAVY / limbs.count());
        let parts = parallel::map(out.parts_mut(part), |(range, mut out)| {
            let (first, last) = (range.start / each, (range.end - 1) / each);
            let of_element = |e: usize| (e * each).max(range.start)..((e + 1) * each).min(range.end);
            let mut room = room();
            let sums = (first..=last).map(|e| (e, work(&mut room, of_element(e), range.start, &mut out)));
            sums.collect::<Vec<_>>()
        });
        parts.into_iter().flatten().for_each(|(e, sum)| sums[e] = sums[e] + sum);
        sums
    }
}

/// A range in pieces of at most `size`.
fn pieces(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(size).map(move |first| first..end.min(first.saturating_add(size)))
}

/// Planes of the vectors, from index `first` on; the kernel never looks at the others.
fn rows<'a, const N: usize>(
    vectors: &'a [LimbVec],
    first: usize,
    l: usize,
    range: &Range<usize>,
) -> [&'a [u64]; N] {
    std::array::from_fn(|k| {
        let vector = k.checked_sub(first).and_then(|k| vectors.get(k));
        vector.map_or(&[][..], |vector| &vector.plane(l)[range.clone()])
    })
}
