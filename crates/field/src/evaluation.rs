//! The online hot loop: a polynomial on shares together with its tags (`docs/protocol.md`, 6.3 and
//! 6.7).

use std::ops::Range;

use crate::element::Element;
use crate::kernels::{self, MAX_DEGREE, ShareRows};
use crate::truncation::Opened;
use crate::vector::LimbVec;

/// Shares of the coefficients of one polynomial per element, or of their tags.
#[derive(Clone, Copy, Debug)]
pub struct PolynomialShares<'a> {
    /// `C_1..C_{d-1}`, each as long as the opened values.
    pub c: &'a [LimbVec],
    /// The differences `E_0..E_{d-1}`, or none where statistical truncation holds.
    pub e: &'a [LimbVec],
}

/// A party's shares of a polynomial's values and of its tag sums, in one pass over memory.
///
/// `opened` holds `n` elements, element-major for `batch` batch elements; `keys` one key share for
/// each. The degree `d = values.c.len() + 1` is 1 to [`crate::MAX_DEGREE`]; `leading` is `A_d`.
///
/// The first result has `n` elements `sum_{1 <= k < d} v^k C_k + wrap sum_{k < d} v^k E_k`, plus
/// `A_d v^d` if `add_leading` (for the first party; `C_0` is the caller's). The second has, for
/// every batch element, the sum over its elements of
/// `sum_{1 <= k < d} v^k gC_k + wrap sum_{k < d} v^k gE_k + A_d v^d key`, where `gC` and `gE` are
/// `tags`.
///
/// # Panics
/// When `values` and `tags` do not have the same number of vectors, there are neither 0 nor `d`
/// differences, a length or modulus differs, or `n` is not a multiple of `batch`.
pub fn evaluate_shares(
    opened: &Opened,
    values: PolynomialShares<'_>,
    tags: PolynomialShares<'_>,
    keys: &LimbVec,
    leading: &Element,
    add_leading: bool,
    batch: usize,
) -> (LimbVec, Vec<Element>) {
    let (limbs, len) = (opened.v.limbs(), opened.v.len());
    let degree = values.c.len() + 1;
    assert!(degree <= MAX_DEGREE, "degree {degree}");
    assert_eq!(values.c.len(), tags.c.len(), "coefficients and tags");
    assert_eq!(values.e.len(), tags.e.len(), "differences and tags");
    assert!(values.e.is_empty() || values.e.len() == degree, "{} differences", values.e.len());
    assert_eq!(opened.wrap.len(), len, "wrap bits and opened values");
    assert!(batch > 0 && len.is_multiple_of(batch), "{len} elements in {batch} batch elements");
    for vector in [values.c, values.e, tags.c, tags.e].into_iter().flatten().chain([keys]) {
        assert_eq!((vector.limbs(), vector.len()), (limbs, len), "moduli and lengths");
    }
    assert_eq!(leading.limbs(), limbs, "the leading coefficient");

    let each = len / batch;
    let mut out = LimbVec::zeros(limbs, len);
    let mut sums = vec![[0; 3]; batch];
    for (l, (prime, out)) in out.planes_mut().enumerate() {
        for (element, sum) in sums.iter_mut().enumerate() {
            let range = element * each..(element + 1) * each;
            let rows = |vectors, first| rows(vectors, first, l, &range);
            let rows = ShareRows {
                v: &opened.v.plane(l)[range.clone()],
                wrap: &opened.wrap.words()[range.clone()],
                c: rows(values.c, 1),
                e: rows(values.e, 0),
                tag_c: rows(tags.c, 1),
                tag_e: rows(tags.e, 0),
                keys: &keys.plane(l)[range.clone()],
                leading: leading.limb(l),
                add_leading,
                degree,
                differences: !values.e.is_empty(),
            };
            sum[l] = kernels::shares(prime, &rows, &mut out[range]);
        }
    }
    (out, sums.iter().map(|sum| Element::from_residues(limbs, |l| sum[l])).collect())
}

/// Planes of the vectors, from index `first` on; the kernel never looks at the others.
fn rows<'a>(vectors: &'a [LimbVec], first: usize, l: usize, range: &Range<usize>) -> [&'a [u64]; MAX_DEGREE] {
    std::array::from_fn(|k| {
        let vector = k.checked_sub(first).and_then(|k| vectors.get(k));
        vector.map_or(&[][..], |vector| &vector.plane(l)[range.clone()])
    })
}
