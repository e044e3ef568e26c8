//! The tile at the heart of every matrix product and convolution, and the transposed panel product.

use super::dispatch::Token;
use super::lanes::{Lanes, MAX_TERMS, Residues};
use super::wipe::wipe;
use crate::prime::Prime;
use crate::storage::Words;

/// 64-bit lanes of an AVX-512 vector; panels are made of vectors of this many columns.
pub(crate) const LANES: usize = 8;
/// Columns of a full panel, three vectors.
pub(crate) const PANEL: usize = 3 * LANES;
/// Rows of a full tile. 4 rows times 3 vectors times 2 (low and high sums) fill 24 of 32 registers.
pub(crate) const TILE_ROWS: usize = 4;
/// Columns of the left side that a kernel converts at a time, if it does: so many lines of a panel
/// (24 KiB) fit the first-level cache beside them.
pub(super) const LEFT_DEPTH: usize = 128;

/// The results of one tile, and room for its left side in another form. Wiped when dropped.
#[repr(align(64))]
pub(crate) struct Tile {
    /// Row after row, [`PANEL`] columns each.
    pub(crate) out: [u64; TILE_ROWS * PANEL],
    pub(super) left: [u64; TILE_ROWS * LEFT_DEPTH],
}

impl Tile {
    /// Zeros.
    pub(crate) fn new() -> Tile {
        Tile { out: [0; TILE_ROWS * PANEL], left: [0; TILE_ROWS * LEFT_DEPTH] }
    }
}

impl Drop for Tile {
    fn drop(&mut self) {
        wipe(&mut self.out);
        wipe(&mut self.left);
    }
}

/// Words on the stack that start at a cache line.
#[repr(align(64))]
pub(crate) struct Lines<const N: usize>(pub(crate) [u64; N]);

/// The left side of a product: element `(row, k)` is `values[row * row_stride + k * depth_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    pub(crate) values: &'a [u64],
    pub(crate) row_stride: usize,
    pub(crate) depth_stride: usize,
    /// Whether it came from [`prepare_left`]; if not, values are residues.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(crate) prepared: bool,
}

/// The right side of a product: lines of `8 vectors` words.
#[derive(Clone, Copy)]
pub(crate) struct Panel<'a> {
    pub(crate) words: &'a [u64],
    /// Whether [`prepare`] was called on it; if not, words are residues.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(crate) prepared: bool,
}

/// The size of a tile: 1 to 4 rows, 1 to 3 vectors of 8 columns, any depth but 0.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) rows: usize,
    pub(crate) vectors: usize,
    pub(crate) depth: usize,
}

/// `out[r, c] = sum_k left[r, k] panel[k, c]`, added to the canonical residues in `out` when
/// `accumulate`. Rows and columns beyond the extent are left alone.
///
/// `panel` holds `depth` lines of `8 vectors` words. Inputs below 2^52, results canonical.
///
/// # Panics
/// When `left` or `panel` are shorter than that.
pub(crate) fn tile(
    token: Token,
    prime: Prime,
    left: Left<'_>,
    panel: Panel<'_>,
    extent: Extent,
    accumulate: bool,
    out: &mut Tile,
) {
    let Extent { rows, vectors, depth } = extent;
    assert!((1..=TILE_ROWS).contains(&rows) && (1..=PANEL / LANES).contains(&vectors) && depth > 0);
    let last = (rows - 1) * left.row_stride + (depth - 1) * left.depth_stride;
    assert!(left.depth_stride > 0 && last < left.values.len());
    assert!(panel.words.len() >= depth * vectors * LANES);
    match token {
        Token::Scalar(_) => super::portable::tile(prime, left, panel.words, extent, accumulate, out),
        #[cfg(target_arch = "x86_64")]
        Token::Avx2(token) => super::avx2_fma::tile(token, prime, left, panel, extent, accumulate, out),
        #[cfg(target_arch = "x86_64")]
        Token::Avx512(token) => {
            super::avx512_ifma::tile(token, prime, left, panel.words, extent, accumulate, out);
        }
    }
}

/// Room for what [`prepare_left`] makes of up to [`TILE_ROWS`] rows of `depth` columns.
pub(crate) fn left_buffer(token: Token, depth: usize) -> Words {
    Words::zeros(if token.converts_left() { TILE_ROWS * depth } else { 0 })
}

/// Brings rows of residues that several tiles read into the form the kernel multiplies fastest.
///
/// # Panics
/// When `left` is shorter than the rows and columns said, or `buffer` was made for fewer columns.
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))] // only kernels of that architecture have such a form
pub(crate) fn prepare_left<'a>(
    token: Token,
    prime: Prime,
    left: Left<'a>,
    [rows, depth]: [usize; 2],
    buffer: &'a mut [u64],
) -> Left<'a> {
    match token {
        Token::Scalar(_) => left,
        #[cfg(target_arch = "x86_64")]
        Token::Avx2(token) => {
            let buffer = &mut buffer[..rows * depth];
            super::avx2_fma::convert_rows(token, prime, left, buffer, depth);
            Left { values: buffer, row_stride: depth, depth_stride: 1, prepared: true }
        }
        #[cfg(target_arch = "x86_64")]
        Token::Avx512(_) => left,
    }
}

/// Brings a panel of residues that several tiles read into the form the kernel multiplies fastest.
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))] // only kernels of that architecture have such a form
pub(crate) fn prepare(token: Token, prime: Prime, panel: &mut [u64]) {
    match token {
        Token::Scalar(_) => {}
        #[cfg(target_arch = "x86_64")]
        Token::Avx2(token) => super::avx2_fma::prepare(token, prime, panel),
        #[cfg(target_arch = "x86_64")]
        Token::Avx512(_) => {}
    }
}

/// Lines of a panel whose sums are kept while its columns are walked through.
const LINES: usize = 64;

/// `out[k] = sum_c panels[k, c] y[c]`: the product with the transpose of a panel-packed matrix of
/// `out.len()` lines and `y.len()` columns.
///
/// Walks through memory in pieces of [`LINES`] lines of one panel (12 KiB), which streams.
#[inline(always)]
pub(super) fn panels_transposed<S: Lanes>(s: S, prime: Prime, panels: &[u64], y: &[u64], out: &mut [u64]) {
    let f = Residues::new(s, prime);
    let depth = out.len();
    let zero = s.splat(0);
    for first in (0..depth).step_by(LINES) {
        let lines = LINES.min(depth - first);
        let mut sums = [s.wide(zero); LINES];
        let mut terms = 0;
        for column in (0..y.len()).step_by(PANEL) {
            let stride = (y.len() - column).div_ceil(LANES).min(PANEL / LANES) * LANES;
            let panel = &panels[column * depth + first * stride..][..lines * stride];
            // One vector of columns of a panel is `LANES / COUNT` steps.
            let steps = stride / S::COUNT;
            if terms + steps > MAX_TERMS - 1 {
                for sum in &mut sums {
                    *sum = s.wide(f.reduce(*sum));
                }
                terms = 0;
            }
            terms += steps;
            // The part of `y` that meets this panel, zeros beyond its end.
            let mut factors = [0; PANEL];
            let count = stride.min(y.len() - column);
            factors[..count].copy_from_slice(&y[column..][..count]);
            // These lines of the next panel, which is too far away for the processor to guess.
            let next = (column + PANEL) * depth + first * stride;
            for ((i, line), sum) in panel.chunks_exact(stride).enumerate().zip(&mut sums) {
                for step in (0..stride).step_by(LANES) {
                    s.prefetch(panels, next + i * stride + step);
                }
                for step in (0..stride).step_by(S::COUNT) {
                    *sum = s.mac(*sum, s.load(line, step), s.load(&factors, step));
                }
            }
        }
        for (line, sum) in sums[..lines].iter().enumerate() {
            out[first + line] = f.total(f.reduce(*sum));
        }
    }
}

/// Packs lines of a patch panel: `line[j] = image[bases[j] + offset]` for every offset. There are
/// 8, 16 or 24 bases; those of one vector of eight are mostly contiguous in the image, or two
/// contiguous runs.
///
/// # Panics
/// When a patch element lies beyond the image or the panel is too short.
pub(crate) fn pack_patches(
    token: Token,
    image: &[u64],
    offsets: &[usize],
    bases: &[usize],
    panel: &mut [u64],
) {
    assert!(bases.len().is_multiple_of(LANES) && panel.len() >= offsets.len() * bases.len());
    let largest =
        bases.iter().max().zip(offsets.iter().max()).and_then(|(base, offset)| base.checked_add(*offset));
    assert!(largest.is_none_or(|largest| largest < image.len()), "a patch beyond the image");
    match token {
        Token::Scalar(_) => super::portable::pack_patches(image, offsets, bases, panel),
        #[cfg(target_arch = "x86_64")]
        Token::Avx2(_) => super::portable::pack_patches(image, offsets, bases, panel),
        #[cfg(target_arch = "x86_64")]
        Token::Avx512(token) => super::avx512_ifma::pack_patches(token, image, offsets, bases, panel),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Kernel, with_kernel};

    /// Words below 2^52, also those that are no residues.
    fn words(count: usize, p: u64) -> Vec<u64> {
        let edges = [0, 1, p - 1, p, (1 << 52) - 1, (1 << 51) - 1, 1 << 51, 1 << 26];
        let mut state = 9u64;
        let mut word = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let x = state >> 12;
            if x.is_multiple_of(3) { edges[(x >> 20) as usize % edges.len()] } else { x }
        };
        (0..count).map(|_| word()).collect()
    }

    #[test]
    fn tiles_of_every_size_and_depth() {
        for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
            let token = with_kernel(kernel, Token::active);
            for (prime, depth) in Prime::ALL.into_iter().cycle().zip([1, 3, 127, 129, 1025, 2500, 4100, 9000])
            {
                for (rows, vectors) in (1..=TILE_ROWS).flat_map(|r| (1..=PANEL / LANES).map(move |v| (r, v)))
                {
                    let a = words(rows * depth, prime.value());
                    let mut panel = words(depth * vectors * LANES, prime.value());
                    // The largest sums there are.
                    if depth == 9000 {
                        panel.fill((1 << 52) - 1);
                    }
                    check(token, prime, &a, &panel, Extent { rows, vectors, depth });
                }
            }
        }
    }

    fn check(token: Token, prime: Prime, a: &[u64], panel: &[u64], extent: Extent) {
        let Extent { rows, vectors, depth } = extent;
        let left = Left { values: a, row_stride: depth, depth_stride: 1, prepared: false };
        let (mut prepared, mut buffer) = (panel.to_vec(), left_buffer(token, depth));
        prepare(token, prime, &mut prepared);
        let plain = Panel { words: panel, prepared: false };
        let mut tile_1 = Tile::new();
        tile(token, prime, left, plain, extent, false, &mut tile_1);
        let mut tile_2 = Tile::new();
        tile_2.out.fill(5);
        let left = prepare_left(token, prime, left, [rows, depth], &mut buffer);
        let panel_2 = Panel { words: &prepared, prepared: true };
        tile(token, prime, left, panel_2, extent, true, &mut tile_2);
        for (r, c) in (0..rows).flat_map(|r| (0..vectors * LANES).map(move |c| (r, c))) {
            let term = |k: usize| u128::from(a[r * depth + k]) * u128::from(panel[k * vectors * LANES + c]);
            let sum = (0..depth).fold(0, |sum, k| prime.add(sum, prime.reduce_wide(term(k))));
            assert_eq!(tile_1.out[r * PANEL + c], sum, "{rows} {vectors} {depth}");
            assert_eq!(tile_2.out[r * PANEL + c], prime.add(sum, 5), "{rows} {vectors} {depth}");
        }
    }
}
