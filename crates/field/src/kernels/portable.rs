//! The portable kernel: one lane of plain Rust, and matrix tiles with 128-bit sums.

use super::lanes::{Lanes, MAX_TERMS};
use super::product::{Extent, LANES, Left, PANEL, Tile};
use crate::prime::{MASK52, Prime};

/// The token of the portable kernel; it needs no instructions.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

impl Lanes for Scalar {
    const COUNT: usize = 1;
    type V = u64;
    /// The sum itself: 4096 terms stay below 2^116.
    type Wide = u128;

    #[inline(always)]
    fn splat(self, x: u64) -> u64 {
        x
    }
    #[inline(always)]
    fn load(self, words: &[u64], at: usize) -> u64 {
        words[at]
    }
    #[inline(always)]
    fn prefetch(self, _: &[u64], _: usize) {}
    #[inline(always)]
    fn store(self, words: &mut [u64], at: usize, v: u64) {
        words[at] = v;
    }
    #[inline(always)]
    fn add(self, a: u64, b: u64) -> u64 {
        a.wrapping_add(b)
    }
    #[inline(always)]
    fn sub(self, a: u64, b: u64) -> u64 {
        a.wrapping_sub(b)
    }
    #[inline(always)]
    fn unwrapped(self, v: u64, otherwise: u64) -> u64 {
        v.min(otherwise)
    }
    #[inline(always)]
    fn and(self, a: u64, b: u64) -> u64 {
        a & b
    }
    #[inline(always)]
    fn or(self, a: u64, b: u64) -> u64 {
        a | b
    }
    #[inline(always)]
    fn xor(self, a: u64, b: u64) -> u64 {
        a ^ b
    }
    #[inline(always)]
    fn spread(self, bits: u64) -> u64 {
        (bits & 1).wrapping_neg()
    }
    #[inline(always)]
    fn gather(self, v: u64) -> u64 {
        v & 1
    }
    #[inline(always)]
    fn mul32(self, a: u64, b: u64) -> u64 {
        a * b
    }
    #[inline(always)]
    fn shl(self, v: u64, bits: u32) -> u64 {
        v << bits
    }
    #[inline(always)]
    fn shr(self, v: u64, bits: u32) -> u64 {
        v >> bits
    }
    #[inline(always)]
    fn madd_lo(self, acc: u64, a: u64, b: u64) -> u64 {
        acc.wrapping_add(a.wrapping_mul(b) & MASK52)
    }
    #[inline(always)]
    fn madd_hi(self, acc: u64, a: u64, b: u64) -> u64 {
        acc.wrapping_add(((u128::from(a) * u128::from(b)) >> 52) as u64)
    }
    #[inline(always)]
    fn total(self, v: u64) -> u64 {
        v
    }
    #[inline(always)]
    fn wide(self, v: u64) -> u128 {
        u128::from(v)
    }
    #[inline(always)]
    fn mac(self, sum: u128, a: u64, b: u64) -> u128 {
        sum + u128::from(a) * u128::from(b)
    }
    #[inline(always)]
    fn mul_add(self, acc: u64, a: u64, b: u64, complement: u64) -> u64 {
        self.fold(self.mac(u128::from(acc), a, b), complement)
    }

    /// `x = x_0 + 2^52 x_1` twice: after the first step the sum is below 2^52 + 2^8 2^64, after the
    /// second below 2^52 + 2^8 2^21.
    #[inline(always)]
    fn fold(self, sum: u128, complement: u64) -> u64 {
        let high = (sum >> 52) as u64;
        let sum = u128::from(sum as u64 & MASK52) + u128::from(complement) * u128::from(high);
        (sum as u64 & MASK52) + complement * (sum >> 52) as u64
    }
}

/// Columns whose sums stay in registers (two 64-bit words each).
const COLUMNS: usize = 4;

const _: () = assert!(LANES.is_multiple_of(COLUMNS));

/// The tile product, see [`super::product::tile`]: `COLUMNS` sums of 128 bits at a time, one 64-bit
/// multiplication and two additions a term. The floor is one multiplication a cycle.
pub(super) fn tile(
    prime: Prime,
    left: Left<'_>,
    panel: &[u64],
    Extent { rows, vectors, depth }: Extent,
    accumulate: bool,
    out: &mut Tile,
) {
    let stride = vectors * LANES;
    for row in 0..rows {
        for column in (0..stride).step_by(COLUMNS) {
            let results = &mut out.out[row * PANEL + column..][..COLUMNS];
            let mut sums = [0u128; COLUMNS];
            if accumulate {
                sums = std::array::from_fn(|c| u128::from(results[c]));
            }
            let mut at = 0;
            // One term less than the limit, for the value a block starts with.
            while at < depth {
                let end = depth.min(at + MAX_TERMS - 1);
                let values = left.values[row * left.row_stride + at * left.depth_stride..]
                    .iter()
                    .step_by(left.depth_stride);
                let lines = panel[at * stride..end * stride].chunks_exact(stride);
                for (&a, line) in values.zip(lines) {
                    let line = &line[column..column + COLUMNS];
                    for c in 0..COLUMNS {
                        sums[c] = Scalar.mac(sums[c], a, line[c]);
                    }
                }
                for sum in &mut sums {
                    *sum = u128::from(Scalar.fold(*sum, prime.complement()));
                }
                at = end;
            }
            for (result, sum) in results.iter_mut().zip(sums) {
                // Folded: below 2^52 + 2^29, which is below 2 p.
                let x = sum as u64;
                *result = x.min(x.wrapping_sub(prime.value()));
            }
        }
    }
}

/// See [`super::product::pack_patches`].
pub(super) fn pack_patches(image: &[u64], offsets: &[usize], bases: &[usize], panel: &mut [u64]) {
    let mut contiguous = [false; PANEL / LANES];
    for (flag, bases) in contiguous.iter_mut().zip(bases.as_chunks::<LANES>().0) {
        *flag = bases.iter().enumerate().all(|(j, &base)| base == bases[0] + j);
    }
    for (line, &offset) in panel.chunks_exact_mut(bases.len()).zip(offsets) {
        let vectors = line.as_chunks_mut::<LANES>().0.iter_mut().zip(bases.as_chunks::<LANES>().0);
        for ((vector, bases), &contiguous) in vectors.zip(&contiguous) {
            if contiguous {
                vector.copy_from_slice(&image[bases[0] + offset..][..LANES]);
            } else {
                for (word, &base) in vector.iter_mut().zip(bases) {
                    *word = image[base + offset];
                }
            }
        }
    }
}
