//! Matrices packed for the tile kernel, and products with them.
//!
//! The right side of a product `A B` is stored in panels of 24 columns (three vectors): for every
//! `k` the 24 residues `B[k, c..c + 24]` are contiguous, and so are the lines of one panel. The
//! kernel reads a panel as one stream, whatever the matrix' size. The last panel has only as many
//! vectors as it needs; columns beyond the matrix are 0.

use crate::kernels::{self, Extent, LANES, Left, PANEL, Panel, TILE_ROWS, Tile, Token};
use crate::prime::Prime;
use crate::results::{Rows, Whole};
use crate::storage::Words;

use std::ops::Range;

/// Lines of a panel in one call of the kernel: 1024 * 24 * 8 bytes stay in the L2 cache while all
/// rows of the left side meet them.
pub(crate) const DEPTH_BLOCK: usize = 1024;

/// Words of one plane of a panel-packed matrix with `depth` rows and `width` columns.
pub(crate) fn packed_words(depth: usize, width: usize) -> usize {
    depth * width.next_multiple_of(LANES)
}

/// Vectors of the panel that starts at `column`.
pub(crate) fn panel_vectors(width: usize, column: usize) -> usize {
    (width - column).div_ceil(LANES).min(PANEL / LANES)
}

/// Packs the panel of columns `column..` from
/// `at(k, column) = source[k * k_stride + column * column_stride]`.
pub(crate) fn pack_panel(
    source: &[u64],
    (k_stride, column_stride): (usize, usize),
    width: usize,
    column: usize,
    panel: &mut [u64],
) {
    let line = panel_vectors(width, column) * LANES;
    let columns = line.min(width - column);
    for (k, line) in panel.chunks_exact_mut(line).enumerate() {
        let first = k * k_stride + column * column_stride;
        for (c, word) in line[..columns].iter_mut().enumerate() {
            *word = source[first + c * column_stride];
        }
        line[columns..].fill(0);
    }
}

/// Writes a run of a row-major `width x depth` matrix, from its element `first` on, into the packed
/// transpose, so that products with it are `W x`.
pub(crate) fn write_transposed(
    weights: &[u64],
    first: usize,
    depth: usize,
    width: usize,
    packed: &mut [u64],
) {
    let mut rest = weights;
    let mut at = first;
    while !rest.is_empty() {
        let (column, k) = (at / depth, at % depth);
        let (row, tail) = rest.split_at((depth - k).min(rest.len()));
        let start = column / PANEL * PANEL;
        let line = panel_vectors(width, start) * LANES;
        let lines = packed[start * depth + k * line..].chunks_mut(line);
        for (line, &weight) in lines.zip(row) {
            line[column - start] = weight;
        }
        at += row.len();
        rest = tail;
    }
}

/// Undoes [`write_transposed`]: reads a run of the matrix, from its element `first` on.
pub(crate) fn read_transposed(packed: &[u64], first: usize, depth: usize, width: usize, weights: &mut [u64]) {
    let mut rest = weights;
    let mut at = first;
    while !rest.is_empty() {
        let (column, k) = (at / depth, at % depth);
        let count = (depth - k).min(rest.len());
        let (row, tail) = rest.split_at_mut(count);
        let start = column / PANEL * PANEL;
        let line = panel_vectors(width, start) * LANES;
        let lines = packed[start * depth + k * line..].chunks(line);
        for (line, word) in lines.zip(row) {
            *word = line[column - start];
        }
        at += count;
        rest = tail;
    }
}

/// One panel's part of a product: `out[row, column..] = sum_k a[row, k] panel[k, ..]` for all rows.
///
/// `a` is row-major with `depth` columns, `out` has rows of `width`; both are one plane.
fn multiply_panel(
    token: Token,
    prime: Prime,
    a: &[u64],
    panel: Panel<'_>,
    (depth, width, column): (usize, usize, usize),
    tile: &mut Tile,
    out: &mut impl Rows,
) {
    let rows = a.len() / depth;
    let vectors = panel_vectors(width, column);
    let columns = (vectors * LANES).min(width - column);
    for first in (0..depth).step_by(DEPTH_BLOCK) {
        let lines = DEPTH_BLOCK.min(depth - first);
        let words = &panel.words[first * vectors * LANES..][..lines * vectors * LANES];
        for row in (0..rows).step_by(TILE_ROWS) {
            let count = TILE_ROWS.min(rows - row);
            if first > 0 {
                for r in 0..count {
                    tile.out[r * PANEL..][..columns].copy_from_slice(out.at(row + r, column, columns));
                }
            }
            let values = &a[row * depth + first..];
            let left = Left { values, row_stride: depth, depth_stride: 1, prepared: false };
            let extent = Extent { rows: count, vectors, depth: lines };
            kernels::tile(token, prime, left, Panel { words, ..panel }, extent, first > 0, tile);
            for r in 0..count {
                out.at(row + r, column, columns).copy_from_slice(&tile.out[r * PANEL..][..columns]);
            }
        }
    }
}

/// Columns of `out = a b` for a row-major `a` and a packed `b` of `depth` rows and `width` columns;
/// they begin where a panel does.
pub(crate) fn multiply_packed(
    prime: Prime,
    a: &[u64],
    packed: &[u64],
    (depth, width, columns): (usize, usize, Range<usize>),
    out: &mut impl Rows,
) {
    let (token, mut tile) = (Token::active(), Tile::new());
    for column in columns.step_by(PANEL) {
        let size = depth * panel_vectors(width, column) * LANES;
        let panel = Panel { words: &packed[column * depth..][..size], prepared: false };
        multiply_panel(token, prime, a, panel, (depth, width, column), &mut tile, out);
    }
}

/// The product of two row-major matrices of canonical residues modulo one prime: `a` is `m x k`,
/// `b` is `k x n`, the result `m x n`. The raw kernel, for benches and tests; layers use
/// [`crate::LinearMap`].
///
/// # Panics
/// When `m`, `k` or `n` is 0 or a slice does not have the length they say.
pub fn matmul(prime: Prime, a: &[u64], b: &[u64], [m, k, n]: [usize; 3]) -> Vec<u64> {
    assert!(m > 0 && k > 0 && n > 0, "empty matrices have no product");
    assert_eq!(a.len(), m * k, "the left side is not {m} x {k}");
    assert_eq!(b.len(), k * n, "the right side is not {k} x {n}");
    let (token, mut tile) = (Token::active(), Tile::new());
    let mut out = vec![0; m * n];
    let mut rows = Whole { out: &mut out, width: n };
    let mut panel = Words::zeros(k * PANEL);
    for column in (0..n).step_by(PANEL) {
        let size = k * panel_vectors(n, column) * LANES;
        pack_panel(b, (n, 1), n, column, &mut panel[..size]);
        kernels::prepare(token, prime, &mut panel[..size]);
        let panel = Panel { words: &panel[..size], prepared: true };
        multiply_panel(token, prime, a, panel, (k, n, column), &mut tile, &mut rows);
    }
    out
}
