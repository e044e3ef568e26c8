//! Matrix tiles with AVX2 and FMA.
//!
//! A product, as in [`super::avx2`], is two fused multiply-adds of doubles whose representations
//! are added up as integers. Here both factors are the residues closest to 0, below 2^51 in
//! absolute value: then `h = fma(a, b, TOP)` is `TOP + 2^51 r` with `|r| <= 2^51`, and
//! `fma(a, b, TOP + BOTTOM - h)` is `BOTTOM + s` with the rest `|s| <= 2^50`, without a further
//! addition. So a vector of 4 multiply-adds costs five instructions, two multiply-adds, a
//! subtraction and two integer additions, of which current cores issue three or four a cycle: the
//! floor of Zen 3 is 3.2 multiply-adds a cycle.
//!
//! What several tiles read is converted once, by [`prepare`] and [`convert_rows`]; the rest on the
//! way, like the panels of a fully connected layer with one input, which come from memory no
//! faster.

use std::arch::x86_64::*;

use super::avx2::{self, Avx2};
use super::lanes::{Lanes, Residues};
use super::product::{Extent, LANES, LEFT_DEPTH, Left, PANEL, Panel, TILE_ROWS, Tile};
use super::wipe::wipe;
use crate::prime::Prime;

/// Lanes of a vector.
const COUNT: usize = 4;
/// Vectors in a line of a full panel.
const VECTORS: usize = PANEL / COUNT;
/// Words of a panel that are fetched ahead when it is read once.
const PREFETCH: usize = 512;

/// Lines between two reductions.
const CHUNK: usize = 1024;

/// 1.5 2^103: doubles near it are multiples of 2^51.
const TOP: f64 = f64::from_bits((1023 + 103) << 52 | 1 << 51);
/// 1.5 2^52: doubles near it are the integers.
const BOTTOM: f64 = f64::from_bits((1023 + 52) << 52 | 1 << 51);

const _: () = {
    // Exact: a multiple of 2^51 in the range of TOP.
    assert!((TOP + BOTTOM) - TOP == BOTTOM);
    // Sums over a chunk stay below 2^61 in absolute value.
    assert!(CHUNK as u64 <= 1 << 10);
};

/// `[high, low]` of every vector of a tile: `2^51 high + low` is the sum of products plus
/// `2^51 2^62 + 2^62`.
type Sums = [[[__m256i; 2]; VECTORS]; TILE_ROWS];

/// Converts words below 2^52 to the residues closest to 0, as doubles.
struct Centre {
    exponent: __m256i,
    zero: __m256d,
    p: __m256d,
}

impl Centre {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn new(prime: Prime) -> Centre {
        let zero = f64::from_bits((1023 + 52) << 52);
        Centre {
            exponent: _mm256_set1_epi64x(zero.to_bits() as i64),
            zero: _mm256_set1_pd(zero),
            // Exact: below 2^53.
            p: _mm256_set1_pd(zero + prime.value() as f64),
        }
    }

    /// `x`, or `x - p` from 2^51 on: below 2^51 in absolute value.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn convert(&self, x: __m256i) -> __m256d {
        // Bit 51, where a blend looks.
        let large = _mm256_castsi256_pd(_mm256_slli_epi64::<12>(x));
        let double = _mm256_castsi256_pd(_mm256_or_si256(x, self.exponent));
        _mm256_sub_pd(double, _mm256_blendv_pd(self.zero, self.p, large))
    }
}

/// Brings a panel into the form that is multiplied without conversion.
pub(super) fn prepare(_: Avx2, prime: Prime, panel: &mut [u64]) {
    // SAFETY: the token proves that the instructions exist.
    unsafe { prepare_words(prime, panel) }
}

#[target_feature(enable = "avx2,fma")]
fn prepare_words(prime: Prime, panel: &mut [u64]) {
    let centre = Centre::new(prime);
    let (vectors, rest) = panel.as_chunks_mut::<COUNT>();
    debug_assert!(rest.is_empty(), "lines are vectors of 8 words");
    for words in vectors {
        // SAFETY: 32 bytes are read from and written to four words.
        unsafe {
            let x = _mm256_loadu_si256(words.as_ptr().cast());
            _mm256_storeu_pd(words.as_mut_ptr().cast(), centre.convert(x));
        }
    }
}

/// The tile product, see [`super::product::tile`].
pub(super) fn tile(
    token: Avx2,
    prime: Prime,
    left: Left<'_>,
    panel: Panel<'_>,
    extent: Extent,
    accumulate: bool,
    tile: &mut Tile,
) {
    // SAFETY: the token proves that the instructions exist. The caller, `product::tile`, checked
    // that `left` has `rows` rows and `depth` columns, and `panel` `depth` lines of `vectors`
    // vectors.
    unsafe {
        if panel.prepared {
            tile_of::<true>(token, prime, left, panel.words, extent, accumulate, tile);
        } else {
            tile_of::<false>(token, prime, left, panel.words, extent, accumulate, tile);
        }
    }
}

/// # Safety
/// `left` has `rows` rows and `depth` columns, `panel` has `depth` lines of `vectors` vectors.
#[target_feature(enable = "avx2,fma")]
unsafe fn tile_of<const PREPARED: bool>(
    token: Avx2,
    prime: Prime,
    left: Left<'_>,
    panel: &[u64],
    Extent { rows, vectors, depth }: Extent,
    accumulate: bool,
    tile: &mut Tile,
) {
    let f = Residues::new(token, prime);
    // What the sums start with to stay positive: 2^51 2^62 + 2^62.
    let offset = token.splat(prime.mul(prime.pow(2, 62), prime.add(prime.pow(2, 51), 1)));
    let stride = vectors * LANES;
    let mut sums: Sums = [[[token.splat(0); 2]; VECTORS]; TILE_ROWS];
    for chunk in (0..depth).step_by(CHUNK) {
        let terms = CHUNK.min(depth - chunk);
        // The constants that representations bring along, once a term, are taken out beforehand.
        let start = [TOP, BOTTOM].map(|constant| {
            token.splat((1u64 << 62).wrapping_sub((terms as u64).wrapping_mul(constant.to_bits())))
        });
        sums.iter_mut().flatten().for_each(|sum| *sum = start);
        for first in (chunk..chunk + terms).step_by(LEFT_DEPTH) {
            let lines = LEFT_DEPTH.min(chunk + terms - first);
            let a = if left.prepared {
                Left { values: &left.values[first..], ..left }
            } else {
                convert_left(prime, left, first, &mut tile.left[..rows * lines], lines);
                Left { values: &tile.left, row_stride: lines, depth_stride: 1, prepared: true }
            };
            let block = &panel[first * stride..][..lines * stride];
            let sums = &mut sums;
            // SAFETY: the instructions exist; `a` has `rows` rows and `lines` columns, next to each
            // other, the block as many lines of `stride` words, and V vectors of them lie beyond
            // the one a call starts at.
            unsafe {
                match (rows, vectors) {
                    (1, 1) => block_of::<1, 2, PREPARED>(prime, a, block, 0, stride, sums),
                    (1, 2) => block_of::<1, 4, PREPARED>(prime, a, block, 0, stride, sums),
                    (1, _) => block_of::<1, 6, PREPARED>(prime, a, block, 0, stride, sums),
                    _ => {
                        for vector in 0..stride / COUNT {
                            match rows {
                                2 => block_of::<2, 1, PREPARED>(prime, a, block, vector, stride, sums),
                                3 => block_of::<3, 1, PREPARED>(prime, a, block, vector, stride, sums),
                                _ => block_of::<4, 1, PREPARED>(prime, a, block, vector, stride, sums),
                            }
                        }
                    }
                }
            }
        }
        for (r, row) in sums.iter().take(rows).enumerate() {
            for (v, &[high, low]) in row.iter().take(stride / COUNT).enumerate() {
                let at = r * PANEL + v * COUNT;
                // 2^51 high = 2^52 floor(high / 2) + 2^51 (high mod 2).
                let odd = token.shl(token.and(high, token.splat(1)), 51);
                let low = token.sub(token.add(low, odd), token.splat(1 << 51));
                let sum = f.reduce(avx2::Sums::of(token.shr(high, 1), low));
                let mut result = f.sub(sum, offset);
                if accumulate || chunk > 0 {
                    result = f.add(result, token.load(&tile.out, at));
                }
                token.store(&mut tile.out, at, result);
            }
        }
    }
    // SAFETY: vectors are nothing but words.
    wipe(unsafe { std::slice::from_raw_parts_mut(sums.as_mut_ptr().cast::<u64>(), size_of::<Sums>() / 8) });
}

/// Converts rows of the left side, `depth` words each in `out`.
pub(super) fn convert_rows(_: Avx2, prime: Prime, left: Left<'_>, out: &mut [u64], depth: usize) {
    // SAFETY: the token proves that the instructions exist.
    unsafe { convert_left(prime, left, 0, out, depth) }
}

/// Converts columns `first..` of the left side; row `r` goes to `out` from `depth r` on.
#[target_feature(enable = "avx2,fma")]
fn convert_left(prime: Prime, left: Left<'_>, first: usize, out: &mut [u64], depth: usize) {
    let centre = Centre::new(prime);
    for (r, out) in out.chunks_exact_mut(depth).enumerate() {
        let values = &left.values[r * left.row_stride + first * left.depth_stride..];
        if left.depth_stride == 1 {
            let (blocks, rest) = values[..depth].as_chunks::<COUNT>();
            let (out_blocks, out_rest) = out.as_chunks_mut::<COUNT>();
            for (words, out) in blocks.iter().zip(out_blocks) {
                // SAFETY: 32 bytes are read from four words and written to four words.
                unsafe {
                    let x = _mm256_loadu_si256(words.as_ptr().cast());
                    _mm256_storeu_pd(out.as_mut_ptr().cast(), centre.convert(x));
                }
            }
            rest.iter().zip(out_rest).for_each(|(&x, out)| *out = centred(prime, x));
        } else {
            let values = values.iter().step_by(left.depth_stride);
            values.zip(out).for_each(|(&x, out)| *out = centred(prime, x));
        }
    }
}

/// [`Centre::convert`] of one word.
#[inline]
fn centred(prime: Prime, x: u64) -> u64 {
    let large = 0u64.wrapping_sub(x >> 51);
    (x.wrapping_sub(prime.value() & large) as i64 as f64).to_bits()
}

/// Adds the products of a block to the sums of `R` rows and `V` vectors from `vector` on.
///
/// # Safety
/// `panel` has lines of `stride` words, of which `vector + V` vectors are a part; `left` is
/// prepared and has `R` rows with as many columns, next to each other.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn block_of<const R: usize, const V: usize, const PREPARED: bool>(
    prime: Prime,
    left: Left<'_>,
    panel: &[u64],
    vector: usize,
    stride: usize,
    sums: &mut Sums,
) {
    const { assert!(R <= TILE_ROWS && V <= VECTORS) };
    let centre = Centre::new(prime);
    let (top, both) = (_mm256_set1_pd(TOP), _mm256_set1_pd(TOP + BOTTOM));
    let mut kept: [[[__m256i; 2]; V]; R] =
        std::array::from_fn(|r| std::array::from_fn(|v| sums[r][vector + v]));
    let mut a = left.values.as_ptr().cast::<f64>();
    let mut b = panel.as_ptr().wrapping_add(vector * COUNT);
    for _ in 0..panel.len() / stride {
        if R == 1 {
            for v in (0..V).step_by(2) {
                _mm_prefetch::<_MM_HINT_T0>(b.wrapping_add(PREFETCH + v * COUNT).cast());
            }
        }
        // SAFETY: the caller says that the line and the column are there.
        unsafe {
            let line: [__m256d; V] = std::array::from_fn(|v| {
                let words = b.add(v * COUNT);
                if PREPARED {
                    _mm256_loadu_pd(words.cast())
                } else {
                    centre.convert(_mm256_loadu_si256(words.cast()))
                }
            });
            for (r, row) in kept.iter_mut().enumerate() {
                let x = _mm256_broadcast_sd(&*a.add(r * left.row_stride));
                for (v, [high, low]) in row.iter_mut().enumerate() {
                    let product = _mm256_fmadd_pd(x, line[v], top);
                    let rest = _mm256_fmadd_pd(x, line[v], _mm256_sub_pd(both, product));
                    *high = _mm256_add_epi64(*high, _mm256_castpd_si256(product));
                    *low = _mm256_add_epi64(*low, _mm256_castpd_si256(rest));
                }
            }
        }
        // Wrapping: beyond the end after the last line, where nothing is read.
        a = a.wrapping_add(1);
        b = b.wrapping_add(stride);
    }
    for (r, row) in kept.into_iter().enumerate() {
        sums[r][vector..vector + V].copy_from_slice(&row);
    }
}
