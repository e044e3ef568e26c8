//! Convolutions as products: weights are the left side, patches of the image are packed on the fly
//! into the kernel's panels of 24 pixels. Never more than one block of one panel of patches exists
//! at a time.
//!
//! The image is padded first (one plane at a time), so that the patch element of tap `(c, y, x)` at
//! pixel `j` is `image[bases[j] + offset(c, y, x)]` with no further case: stride and dilation are
//! in the bases and the offsets, and pixels of different batch elements can share a panel.

use crate::kernels::{self, Extent, LANES, Left, PANEL, Panel, TILE_ROWS, Tile, Token};
use crate::matrix::panel_vectors;
use crate::parallel;
use crate::prime::Prime;
use crate::results::{self, Rows, Whole};
use crate::shape::Conv2d;
use crate::storage::Words;

use std::ops::Range;

/// How many patches are packed before all output channels meet them. They stay in the second-level
/// cache.
struct Blocks {
    /// Panels of 24 pixels.
    panels: usize,
    /// Lines of a panel.
    taps: usize,
}

impl Blocks {
    fn of(token: Token) -> Blocks {
        // 24 * 8 bytes a line. Where the left side is converted first, several panels share that
        // work.
        if token.converts_left() { Blocks { panels: 4, taps: 256 } } else { Blocks { panels: 1, taps: 512 } }
    }
}

/// Weights of a convolution: a row of taps for every output channel.
#[derive(Clone, Copy)]
pub(crate) enum Weights<'a> {
    /// Row after row.
    Rows(&'a [u64]),
    /// Panels of 24 output channels, lines of which are taps ([`crate::matrix`]).
    Panels(&'a [u64]),
}

impl<'a> Weights<'a> {
    /// Weights from an output channel and a tap on, and how far it is from there to the next channel
    /// of the same panel, and to the next tap.
    fn from(self, shape: &Conv2d, channel: usize, tap: usize) -> (&'a [u64], [usize; 2]) {
        let taps = shape.taps();
        match self {
            Weights::Rows(all) => (&all[channel * taps + tap..], [taps, 1]),
            Weights::Panels(all) => {
                let panel = channel / PANEL * PANEL;
                let line = panel_vectors(shape.out_channels, panel) * LANES;
                (&all[panel * taps + tap * line + channel - panel..], [1, line])
            }
        }
    }

    /// Output channels that lie a fixed number of words apart.
    fn run(self) -> usize {
        match self {
            Weights::Rows(_) => usize::MAX,
            Weights::Panels(_) => PANEL,
        }
    }
}

/// Sizes and offsets that follow from a shape.
pub(crate) struct Geometry {
    shape: Conv2d,
    /// Height and width of the padded image.
    padded: [usize; 2],
    /// Height and width of the output.
    out: [usize; 2],
    /// Offset in the padded image of every tap of the first group.
    offsets: Vec<usize>,
}

impl Geometry {
    /// The geometry of a validated shape.
    pub(crate) fn new(shape: Conv2d) -> Geometry {
        let [top, left, bottom, right] = shape.padding;
        let padded = [shape.in_height + top + bottom, shape.in_width + left + right];
        let mut offsets = Vec::with_capacity(shape.taps());
        for channel in 0..shape.depth() {
            for y in 0..shape.kernel[0] {
                for x in 0..shape.kernel[1] {
                    let row = channel * padded[0] + y * shape.dilation[0];
                    offsets.push(row * padded[1] + x * shape.dilation[1]);
                }
            }
        }
        Geometry { shape, padded, out: shape.out_size(), offsets }
    }

    /// The shape.
    pub(crate) fn shape(&self) -> &Conv2d {
        &self.shape
    }

    /// Pixels of an output channel.
    pub(crate) fn pixels(&self) -> usize {
        self.out[0] * self.out[1]
    }

    fn padded_len(&self) -> usize {
        self.shape.in_channels * self.padded[0] * self.padded[1]
    }

    fn is_padded(&self) -> bool {
        self.shape.padding != [0; 4]
    }

    /// Start of every image row in the padded image, for `batch` images.
    fn padded_rows(&self, batch: usize) -> impl Iterator<Item = usize> {
        let [height, width] = self.padded;
        let [top, left, ..] = self.shape.padding;
        let rows = self.shape.in_height;
        (0..batch * self.shape.in_channels)
            .flat_map(move |channel| (0..rows).map(move |y| (channel * height + top + y) * width + left))
    }

    /// The plane of `batch` images with zeros around each channel.
    fn pad(&self, plane: &[u64], batch: usize) -> Words {
        let mut image = Words::zeros(batch * self.padded_len());
        let width = self.shape.in_width;
        for (row, start) in plane.chunks_exact(width).zip(self.padded_rows(batch)) {
            image[start..start + width].copy_from_slice(row);
        }
        image
    }

    /// The images with zeros around each channel, if the shape has padding.
    fn padded_image(&self, plane: &[u64], batch: usize) -> Option<Words> {
        self.is_padded().then(|| self.pad(plane, batch))
    }

    /// Where the patches of output pixels `first..` start in the padded image of group 0. Pixels
    /// beyond the last repeat it.
    fn bases(&self, first: usize, total: usize, bases: &mut [usize]) {
        let pixels = self.pixels();
        let [height, width] = self.out;
        let [down, right] = [self.shape.stride[0] * self.padded[1], self.shape.stride[1]];
        // Divided once, then counted: there are as many columns as a small kernel has taps.
        let (mut image, mut y, mut x) = (first / pixels, first % pixels / width, first % pixels % width);
        let mut last = 0;
        for (base, index) in bases.iter_mut().zip(first..) {
            if index < total {
                last = image * self.padded_len() + y * down + x * right;
                x += 1;
                if x == width {
                    (x, y) = (0, y + 1);
                }
                if y == height {
                    (y, image) = (0, image + 1);
                }
            }
            *base = last;
        }
    }

    /// Splits output pixels `first..first + count` where a batch element ends: (panel column, batch
    /// element, pixel, length).
    fn runs(&self, first: usize, count: usize) -> impl Iterator<Item = (usize, usize, usize, usize)> {
        let pixels = self.pixels();
        let mut column = 0;
        std::iter::from_fn(move || {
            let index = first + column;
            let length = (pixels - index % pixels).min(count - column);
            let run = (column, index / pixels, index % pixels, length);
            column += length;
            (length > 0).then_some(run)
        })
    }
}

/// Copies part of a line of a tile; mostly all of it, which does not need a call of `memcpy`.
#[inline(always)]
pub(crate) fn copy(to: &mut [u64], from: &[u64]) {
    if let (Ok(to), Ok(from)) = (<&mut [u64; PANEL]>::try_from(&mut *to), <&[u64; PANEL]>::try_from(from)) {
        *to = *from;
    } else {
        to.copy_from_slice(from);
    }
}

/// `out = W x` for one plane of `batch` images.
pub(crate) fn apply(
    g: &Geometry,
    prime: Prime,
    weights: Weights<'_>,
    x: &[u64],
    batch: usize,
    out: &mut [u64],
) {
    let padded = g.padded_image(x, batch);
    let image = padded.as_deref().unwrap_or(x);
    let all = (0..batch * g.pixels(), 0..g.shape.out_channels);
    let mut out = Whole { out, width: g.pixels() };
    apply_part(g, prime, weights, image, all, &mut out);
}

/// What a plane is computed of: prime, weights, inputs, and place of the outputs.
pub(crate) type Layer<'a, W> = (Prime, W, &'a [u64], &'a mut [u64]);

/// `W x` of several planes, on the workers of this thread: parts are some output channels of some
/// pixels.
pub(crate) fn apply_in_parts(g: &Geometry, parts: usize, planes: Vec<Layer<'_, Weights<'_>>>, batch: usize) {
    let (shape, total) = (&g.shape, batch * g.pixels());
    // Pixels as many as are packed at a time, where that gives parts enough; parts that share pixels
    // and differ in channels pack these anew.
    let block = Blocks::of(Token::active()).panels.min(total.div_ceil(PANEL)) * PANEL;
    let (blocks, wanted) = (total.div_ceil(block), parts.div_ceil(planes.len()));
    let pixels = blocks.div_ceil(wanted) * block;
    let channels = match shape.out_channels.div_ceil(wanted.div_ceil(total.div_ceil(pixels))) {
        some if shape.groups == 1 => some.max(PART_CHANNELS).next_multiple_of(TILE_ROWS),
        some => some.next_multiple_of(shape.out_channels / shape.groups),
    };
    let cuts: Vec<usize> = (0..total).step_by(pixels).chain([total]).collect();
    let padded = parallel::map(planes.iter(), |(_, _, x, _)| g.padded_image(x, batch));
    let parts = planes.into_iter().zip(&padded).flat_map(|((prime, weights, x, out), padded)| {
        let image = padded.as_deref().unwrap_or(x);
        let parts = results::pixels(out, [shape.out_channels, g.pixels()], channels, &cuts);
        parts.into_iter().map(move |part| (prime, weights, image, part))
    });
    parallel::for_each(parts, |(prime, weights, image, mut part)| {
        let extent = (part.pixels.clone(), part.channels.clone());
        apply_part(g, prime, weights, image, extent, &mut part);
    });
}

/// Output channels of a part at least: what packing their patches anew costs is small beside them.
const PART_CHANNELS: usize = 32;

/// Pixels and output channels of `W x` for one plane of padded images. The channels begin and end
/// where groups do, if there are several.
fn apply_part(
    g: &Geometry,
    prime: Prime,
    weights: Weights<'_>,
    image: &[u64],
    (pixels, channels): (Range<usize>, Range<usize>),
    out: &mut impl Rows,
) {
    let token = Token::active();
    let Blocks { panels, taps: tap_block } = Blocks::of(token);
    let (shape, taps) = (&g.shape, g.shape.taps());
    let rows = shape.out_channels / shape.groups;
    let group_len = shape.depth() * g.padded[0] * g.padded[1];
    let panels = panels.min(pixels.len().div_ceil(PANEL));
    let groups = channels.start / rows..channels.end.div_ceil(rows);
    let size = tap_block.min(taps) * PANEL;
    let mut patches = Words::zeros(panels * size);
    let mut converted = kernels::left_buffer(token, tap_block.min(taps));
    let mut tile = Tile::new();
    let mut bases = [0; PANEL];
    for start in pixels.clone().step_by(panels * PANEL) {
        let firsts = (start..pixels.end.min(start + panels * PANEL)).step_by(PANEL);
        for group in groups.clone() {
            let of_group = group * rows..(group + 1) * rows;
            let channels = channels.start.max(of_group.start)..channels.end.min(of_group.end);
            for tap in (0..taps).step_by(tap_block) {
                let lines = tap_block.min(taps - tap);
                let image = &image[group * group_len..];
                for (first, panel) in firsts.clone().zip(patches.chunks_exact_mut(size)) {
                    let vectors = PANEL.min(pixels.end - first).div_ceil(LANES);
                    let bases = &mut bases[..vectors * LANES];
                    g.bases(first, pixels.end, bases);
                    let panel = &mut panel[..lines * vectors * LANES];
                    kernels::pack_patches(token, image, &g.offsets[tap..tap + lines], bases, panel);
                    kernels::prepare(token, prime, panel);
                }
                for channel in channels.clone().step_by(TILE_ROWS) {
                    let height = TILE_ROWS.min(channels.end - channel);
                    let (values, [row_stride, depth_stride]) = weights.from(shape, channel, tap);
                    let left = Left { values, row_stride, depth_stride, prepared: false };
                    let left = kernels::prepare_left(token, prime, left, [height, lines], &mut converted);
                    let row = |r: usize, image: usize| image * shape.out_channels + channel + r;
                    for (first, panel) in firsts.clone().zip(patches.chunks_exact(size)) {
                        let count = PANEL.min(pixels.end - first);
                        let vectors = count.div_ceil(LANES);
                        if tap > 0 {
                            for (column, image, pixel, length) in g.runs(first, count) {
                                for r in 0..height {
                                    let from = out.at(row(r, image), pixel, length);
                                    copy(&mut tile.out[r * PANEL + column..][..length], from);
                                }
                            }
                        }
                        let panel = Panel { words: &panel[..lines * vectors * LANES], prepared: true };
                        let extent = Extent { rows: height, vectors, depth: lines };
                        kernels::tile(token, prime, left, panel, extent, tap > 0, &mut tile);
                        for (column, image, pixel, length) in g.runs(first, count) {
                            for r in 0..height {
                                let to = out.at(row(r, image), pixel, length);
                                copy(to, &tile.out[r * PANEL + column..][..length]);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `out = W^T y` for one plane of `batch` images: the transposed convolution.
///
/// For every panel of 24 pixels, tiles of `W^T y` are added to the padded image at the places the
/// patches came from. Used once per model load, so it is simple rather than tuned.
pub(crate) fn apply_transposed(
    g: &Geometry,
    prime: Prime,
    weights: Weights<'_>,
    y: &[u64],
    batch: usize,
    out: &mut [u64],
) {
    let token = Token::active();
    let (shape, taps) = (&g.shape, g.shape.taps());
    let rows = shape.out_channels / shape.groups;
    let (pixels, total) = (g.pixels(), batch * g.pixels());
    let group_len = shape.depth() * g.padded[0] * g.padded[1];
    let mut image = Words::zeros(batch * g.padded_len());
    let mut panel = Words::zeros(rows * PANEL);
    let mut tile = Tile::new();
    let mut bases = [0; PANEL];
    for first in (0..total).step_by(PANEL) {
        let count = PANEL.min(total - first);
        let vectors = count.div_ceil(LANES);
        g.bases(first, total, &mut bases);
        for group in 0..shape.groups {
            let panel = &mut panel[..rows * vectors * LANES];
            panel.fill(0);
            for (row, line) in panel.chunks_exact_mut(vectors * LANES).enumerate() {
                for (column, image, pixel, length) in g.runs(first, count) {
                    let from = (image * shape.out_channels + group * rows + row) * pixels + pixel;
                    line[column..column + length].copy_from_slice(&y[from..from + length]);
                }
            }
            kernels::prepare(token, prime, panel);
            let image = &mut image[group * group_len..];
            for tap in (0..taps).step_by(TILE_ROWS) {
                let height = TILE_ROWS.min(taps - tap);
                for first in (0..rows).step_by(weights.run()) {
                    let depth = weights.run().min(rows - first);
                    let (values, [to_channel, to_tap]) = weights.from(shape, group * rows + first, tap);
                    let left = Left { values, row_stride: to_tap, depth_stride: to_channel, prepared: false };
                    let words = &panel[first * vectors * LANES..][..depth * vectors * LANES];
                    let panel = Panel { words, prepared: true };
                    let extent = Extent { rows: height, vectors, depth };
                    kernels::tile(token, prime, left, panel, extent, first > 0, &mut tile);
                }
                for r in 0..height {
                    for (&base, &value) in bases[..count].iter().zip(&tile.out[r * PANEL..]) {
                        let word = &mut image[base + g.offsets[tap + r]];
                        let sum = *word + value;
                        *word = sum.min(sum.wrapping_sub(prime.value()));
                    }
                }
            }
        }
    }
    let width = shape.in_width;
    for (row, start) in out.chunks_exact_mut(width).zip(g.padded_rows(batch)) {
        row.copy_from_slice(&image[start..start + width]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Kernel, with_kernel};
    use crate::parallel::tests::Scoped;
    use crate::parallel::with_workers;
    use std::rc::Rc;

    /// Parts that end inside of images, channels that fill no tile, groups, strides and padding.
    #[test]
    fn parts_give_what_the_whole_gives() {
        let shapes = [
            (1, [4, 4], 1, [3, 3], 1, [0; 4], 1, 1),
            (3, [13, 9], 70, [2, 3], 1, [1, 0, 2, 1], 1, 3),
            (8, [11, 11], 132, [1, 1], 2, [0; 4], 4, 2),
            (6, [9, 7], 6, [3, 3], 1, [1; 4], 6, 5),
            (40, [10, 10], 37, [4, 4], 1, [2; 4], 1, 1),
        ];
        for (in_channels, [in_height, in_width], out_channels, kernel, stride, padding, groups, batch) in
            shapes
        {
            let (stride, dilation) = ([stride; 2], [1; 2]);
            let shape = Conv2d {
                in_channels,
                in_height,
                in_width,
                out_channels,
                kernel,
                stride,
                padding,
                dilation,
                groups,
            };
            let geometry = Geometry::new(shape);
            let prime = Prime::of_limb(1);
            let word = |i: usize| prime.reduce((i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let weights: Vec<u64> = (0..out_channels * shape.taps()).map(word).collect();
            let x: Vec<u64> = (0..batch * in_channels * in_height * in_width).map(word).collect();
            let mut whole = vec![0; batch * out_channels * geometry.pixels()];
            apply(&geometry, prime, Weights::Rows(&weights), &x, batch, &mut whole);
            for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
                for (threads, parts) in [(2, 2), (3, 12), (7, 5), (7, 100)] {
                    let mut planes = vec![vec![1; whole.len()]; 2];
                    let of =
                        planes.iter_mut().map(|out| (prime, Weights::Rows(&weights), &x[..], &mut out[..]));
                    let of = of.collect();
                    with_workers(Rc::new(Scoped(threads)), || {
                        with_kernel(kernel, || apply_in_parts(&geometry, parts, of, batch));
                    });
                    assert!(planes.iter().all(|out| *out == whole), "{shape:?}, {kernel:?}, {parts} parts");
                }
            }
        }
    }
}
