//! Matrix tiles with AVX-512 IFMA, and the patches of convolutions they multiply with.
//!
//! `VPMADD52LUQ` and `VPMADD52HUQ` add the low and the high 52 bits of eight 52 x 52-bit products
//! to 64-bit lanes. A multiply-add therefore costs two instructions, of which current cores issue
//! two a cycle: the floor is one vector, 8 multiply-adds, a cycle (32.4 G/s at 4.05 GHz; 28 to 31
//! measured). A tile of 4 rows and 3 vectors keeps 24 sums in registers and loads 7 vectors for 24
//! instructions, so loads are never the limit; with one row the product is bound by memory.

use std::arch::x86_64::*;

use super::avx512::Avx512;
use super::lanes::{Lanes, MAX_TERMS, Residues};
use super::product::{Extent, LANES, Left, PANEL, TILE_ROWS, Tile};
use crate::prime::Prime;

/// Words of a panel that are fetched ahead. The processor's own prefetcher does not keep up when 24
/// instructions pass between lines: products of 4 rows with 4096 x 4096 weights went from 8.3 to
/// 15.7 G/s, of one row from 3.9 to 4.6.
const PREFETCH: usize = 512;

/// The tile product, see [`super::product::tile`].
pub(super) fn tile(
    token: Avx512,
    prime: Prime,
    left: Left<'_>,
    panel: &[u64],
    Extent { rows, vectors, depth }: Extent,
    accumulate: bool,
    out: &mut Tile,
) {
    macro_rules! tile {
        ($rows:literal, $vectors:literal, $unroll:literal) => {
            // SAFETY: the token proves that the instructions exist. The caller, `product::tile`,
            // checked that `left` has `rows` rows and `panel` `depth` lines of `vectors` vectors.
            unsafe { tile_of::<$rows, $vectors, $unroll>(token, prime, left, panel, depth, accumulate, out) }
        };
    }
    // Fewer than 8 sums cannot hide the latency of 4 cycles, so small tiles keep several sets.
    match (rows, vectors) {
        (1, 1) => tile!(1, 1, 4),
        (1, 2) => tile!(1, 2, 2),
        (1, 3) => tile!(1, 3, 2),
        (2, 1) => tile!(2, 1, 2),
        (2, 2) => tile!(2, 2, 1),
        (2, 3) => tile!(2, 3, 1),
        (3, 1) => tile!(3, 1, 2),
        (3, 2) => tile!(3, 2, 1),
        (3, 3) => tile!(3, 3, 1),
        (4, 1) => tile!(4, 1, 1),
        (4, 2) => tile!(4, 2, 1),
        (4, 3) => tile!(4, 3, 1),
        _ => unreachable!("the caller checked the size of the tile"),
    }
}

/// A tile of `R` rows and `V` vectors with `U` sets of sums that take turns along `k`.
///
/// Inputs below 2^52. At most 4095 terms are added to a starting value below 2^52 before all sets
/// are added up and folded, so no lane reaches 2^64, whatever the inputs.
///
/// # Safety
/// `left` has `R` rows and `depth` columns, `panel` has `depth` lines of `V` vectors.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512ifma,avx512vbmi")]
unsafe fn tile_of<const R: usize, const V: usize, const U: usize>(
    token: Avx512,
    prime: Prime,
    left: Left<'_>,
    panel: &[u64],
    depth: usize,
    accumulate: bool,
    out: &mut Tile,
) {
    const { assert!(R <= TILE_ROWS && V * LANES <= PANEL) };
    let f = Residues::new(token, prime);
    let zero = token.splat(0);
    let mut results = [[zero; V]; R];
    if accumulate {
        for (r, row) in results.iter_mut().enumerate() {
            for (v, result) in row.iter_mut().enumerate() {
                *result = token.load(&out.out, r * PANEL + v * LANES);
            }
        }
    }
    let step = left.depth_stride;
    let mut a = left.values.as_ptr();
    let mut b = panel.as_ptr();
    let mut remaining = depth;
    while remaining > 0 {
        let block = remaining.min(MAX_TERMS - 1);
        remaining -= block;
        let mut low = [[[zero; V]; R]; U];
        let mut high = [[[zero; V]; R]; U];
        low[0] = results;
        let term =
            |low: &mut [[__m512i; V]; R], high: &mut [[__m512i; V]; R], a: *const u64, b: *const u64| {
                // SAFETY: the loops below call this once for each of `depth` columns of `left` and
                // lines of `panel`, which the caller says are there.
                unsafe {
                    for v in 0..V {
                        _mm_prefetch::<_MM_HINT_T0>(b.wrapping_add(PREFETCH + v * LANES).cast());
                    }
                    let line: [__m512i; V] =
                        std::array::from_fn(|v| _mm512_loadu_si512(b.add(v * LANES).cast()));
                    for r in 0..R {
                        let x = _mm512_set1_epi64(*a.add(r * left.row_stride) as i64);
                        for v in 0..V {
                            low[r][v] = _mm512_madd52lo_epu64(low[r][v], x, line[v]);
                            high[r][v] = _mm512_madd52hi_epu64(high[r][v], x, line[v]);
                        }
                    }
                }
            };
        for _ in 0..block / U {
            for u in 0..U {
                term(&mut low[u], &mut high[u], a, b);
                // Wrapping: `a` may go beyond the end after the last column, where it is not read.
                a = a.wrapping_add(step);
                b = b.wrapping_add(V * LANES);
            }
        }
        for _ in 0..block % U {
            term(&mut low[0], &mut high[0], a, b);
            a = a.wrapping_add(step);
            b = b.wrapping_add(V * LANES);
        }
        for r in 0..R {
            for v in 0..V {
                let (mut sum_low, mut sum_high) = (low[0][r][v], high[0][r][v]);
                for u in 1..U {
                    sum_low = token.add(sum_low, low[u][r][v]);
                    sum_high = token.add(sum_high, high[u][r][v]);
                }
                results[r][v] = f.reduce([sum_low, sum_high]);
            }
        }
    }
    for (r, row) in results.iter().enumerate() {
        for (v, &result) in row.iter().enumerate() {
            token.store(&mut out.out, r * PANEL + v * LANES, result);
        }
    }
}

/// One vector of a patch line: up to [`RUNS`] runs that are contiguous in the image, each with its
/// lanes and the place in the image that its lane 0 would have.
#[derive(Clone, Copy)]
struct Runs {
    masks: [__mmask8; RUNS],
    starts: [isize; RUNS],
    /// Whether there are more runs, so that words are gathered one by one.
    scattered: bool,
}

/// Masked loads are cheaper than a gather up to this many.
const RUNS: usize = 3;

impl Runs {
    fn new(bases: &[usize; LANES]) -> Runs {
        let mut runs = Runs { masks: [0; RUNS], starts: [0; RUNS], scattered: false };
        let mut run = 0;
        for (j, &base) in bases.iter().enumerate() {
            if j > 0 && base != bases[j - 1] + 1 {
                run += 1;
            }
            if run == RUNS {
                runs.scattered = true;
                break;
            }
            if runs.masks[run] == 0 {
                runs.starts[run] = base as isize - j as isize;
            }
            runs.masks[run] |= 1 << j;
        }
        runs
    }
}

/// See [`super::product::pack_patches`].
pub(super) fn pack_patches(_: Avx512, image: &[u64], offsets: &[usize], bases: &[usize], panel: &mut [u64]) {
    // SAFETY: the token proves that the instructions exist. The caller, `product::pack_patches`,
    // checked that the sum of every base and every offset is an index of the image and that the
    // panel is long enough.
    unsafe {
        match bases.as_chunks().0 {
            [a] => pack_vectors([a], image, offsets, panel),
            [a, b] => pack_vectors([a, b], image, offsets, panel),
            [a, b, c] => pack_vectors([a, b, c], image, offsets, panel),
            _ => unreachable!("panels have one to three vectors"),
        }
    }
}

/// # Safety
/// Every base plus every offset is an index of `image`; `panel` has as many lines of `V` vectors as
/// there are offsets.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn pack_vectors<const V: usize>(
    bases: [&[usize; LANES]; V],
    image: &[u64],
    offsets: &[usize],
    panel: &mut [u64],
) {
    let runs = bases.map(Runs::new);
    // SAFETY: 64 bytes are read from eight words (of 64 bits, on this architecture).
    let indices = bases.map(|bases| unsafe { _mm512_loadu_si512(bases.as_ptr().cast()) });
    let mut out = panel.as_mut_ptr();
    for &offset in offsets {
        let patch = image.as_ptr().wrapping_add(offset);
        for v in 0..V {
            let runs = &runs[v];
            // SAFETY: unmasked lanes `j` read `image[bases[j] + offset]`, which the caller says is
            // there; masked lanes are not accessed. The line is part of the panel.
            unsafe {
                let vector = if runs.scattered {
                    _mm512_i64gather_epi64::<8>(indices[v], patch.cast())
                } else {
                    let mut vector =
                        _mm512_maskz_loadu_epi64(runs.masks[0], patch.wrapping_offset(runs.starts[0]).cast());
                    for run in 1..RUNS {
                        if runs.masks[run] != 0 {
                            let start = patch.wrapping_offset(runs.starts[run]);
                            vector = _mm512_mask_loadu_epi64(vector, runs.masks[run], start.cast());
                        }
                    }
                    vector
                };
                _mm512_storeu_si512(out.cast(), vector);
                out = out.add(LANES);
            }
        }
    }
}
