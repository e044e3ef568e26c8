//! Convolutions of stride 1 by Winograd's method: two-dimensional Toom-Cook multiplication at the
//! points 0, 1, -1, 2, -2 and infinity, which is exact modulo a prime.
//!
//! A tile of `m x m` results of a filter of `r x r` taps, `m + r = 7`, takes 36 products of a
//! transformed patch of 6 x 6 pixels with a transformed filter instead of `m^2 r^2`: four times
//! fewer for 3 x 3 taps, 2.8 times for 5 x 5. All tiles and channels together, that is one matrix
//! product for each of the 36 points. Transforms are additions (`crate::kernels::winograd`).
//! Filters are transformed on the way, one panel of output channels at a time, since their
//! transforms take four times the memory of the weights.
//!
//! Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016, for real
//! numbers. Transforms of filters are divided by a number for each point there; here products are,
//! modulo the prime.

use crate::convolution::{Geometry, Layer, copy};
use crate::kernels::{self, Extent, LANES, Left, PANEL, Panel, TILE_ROWS, Tile, Token};
use crate::matrix::panel_vectors;
use crate::parallel;
use crate::prime::Prime;
use crate::results::{self, Rows, Whole};
use crate::shape::Conv2d;
use crate::storage::Words;

use std::ops::Range;

/// Points of evaluation along one axis, and pixels of a patch.
pub(crate) const POINTS: usize = 6;
/// Points over both axes.
pub(crate) const AREA: usize = POINTS * POINTS;
/// 24 over what interpolation divides by at a point, which is the product of its distances from the
/// other finite ones.
const FACTORS: [i64; POINTS] = [6, -4, -4, 1, 1, 24];

/// Words of transformed patches that one pass over the filters meets: as many as a second- or
/// third-level cache holds.
const PATCHES: usize = (4 << 20) / 8;
/// Tiles of a pass at least: filters are transformed anew in each.
const PASS: usize = 64;

/// Input channels whose filters are transformed at a time: those of a panel fit a second-level
/// cache, and products that meet them add up.
const DEPTH: usize = 128;

/// What transforming a tile costs for a channel of input or output, in products for every point.
const TILE_COST: usize = 14;

/// A shape as tiles.
#[derive(Clone, Copy)]
pub(crate) struct Tiling {
    /// Results of a tile along one axis.
    size: usize,
    /// Tiles of an image, vertically and horizontally.
    tiles: [usize; 2],
}

impl Tiling {
    /// The tiles of a validated shape, where this method costs the active kernel less for `batch`
    /// images than the plain one.
    pub(crate) fn of(shape: &Conv2d, batch: usize) -> Option<Tiling> {
        let [height, width] = shape.out_size();
        let columns = (height * width * batch).next_multiple_of(LANES);
        let plain = columns * shape.taps() * shape.out_channels;
        Tiling::possible(shape).filter(|tiling| tiling.products(shape, batch) < plain)
    }

    /// The tiles of a shape that this method computes at all.
    pub(crate) fn possible(shape: &Conv2d) -> Option<Tiling> {
        let taps = shape.kernel[0];
        let square = shape.kernel == [taps; 2] && (3..=5).contains(&taps);
        let dense = shape.stride == [1; 2] && shape.dilation == [1; 2] && shape.groups == 1;
        if !(square && dense) {
            return None;
        }
        let size = POINTS + 1 - taps;
        Some(Tiling { size, tiles: shape.out_size().map(|n| n.div_ceil(size)) })
    }

    /// Tiles of `batch` images.
    fn count(&self, batch: usize) -> usize {
        batch * self.tiles[0] * self.tiles[1]
    }

    /// The image, row and column of a tile.
    fn place(&self, tile: usize) -> (usize, usize, usize) {
        let [rows, columns] = self.tiles;
        (tile / (rows * columns), tile / columns % rows, tile % columns)
    }

    /// Products for `batch` images of a shape, with what the transforms cost on the active kernel.
    pub(crate) fn products(&self, shape: &Conv2d, batch: usize) -> usize {
        let tiles = self.count(batch);
        let (inputs, outputs) = (shape.in_channels, shape.out_channels);
        let filters = tiles.next_multiple_of(TILE_ROWS) + Token::active().filter_cost();
        // Shapes may be as large as a word counts.
        let products = filters.saturating_mul(inputs).saturating_mul(outputs);
        AREA.saturating_mul(products.saturating_add(tiles.saturating_mul(TILE_COST * (inputs + outputs))))
    }
}

/// The images with the channels of a pixel side by side, and zeros around.
struct Image {
    words: Words,
    /// Height and width.
    size: [usize; 2],
    /// Channels, up to the next multiple of a vector.
    channels: usize,
}

impl Image {
    fn new(shape: &Conv2d, tiling: Tiling, plane: &[u64], batch: usize) -> Image {
        let size = tiling.tiles.map(|n| n * tiling.size + POINTS - tiling.size);
        let channels = shape.in_channels.next_multiple_of(LANES);
        let mut words = Words::zeros(batch * size[0] * size[1] * channels);
        let [top, left, ..] = shape.padding;
        let (height, width) = (shape.in_height, shape.in_width);
        for image in 0..batch {
            for first in (0..shape.in_channels).step_by(LANES) {
                let lanes = LANES.min(shape.in_channels - first);
                let planes = &plane[(image * shape.in_channels + first) * height * width..];
                for y in 0..height {
                    let to = ((image * size[0] + top + y) * size[1] + left) * channels + first;
                    for (x, pixel) in words[to..].chunks_mut(channels).take(width).enumerate() {
                        for (lane, word) in pixel[..lanes].iter_mut().enumerate() {
                            *word = planes[(lane * height + y) * width + x];
                        }
                    }
                }
            }
        }
        Image { words, size, channels }
    }

    /// Words of a line of pixels.
    fn line(&self) -> usize {
        self.size[1] * self.channels
    }
}

/// Words from one point's numbers to the next one's: an odd number of cache lines, since 36 streams
/// a multiple of a page apart would fall into the same few places of a cache.
fn apart(words: usize) -> usize {
    let lines = words.div_ceil(LANES);
    (lines + 1 - lines % 2) * LANES
}

/// What the product at every point is multiplied by.
fn factors(prime: Prime) -> [u64; AREA] {
    let inverse = prime.inv(24 * 24).unwrap_or_else(|| unreachable!("576 is no multiple of the prime"));
    std::array::from_fn(|point| {
        let factor = prime.reduce_signed(FACTORS[point / POINTS] * FACTORS[point % POINTS]);
        prime.mul(factor, inverse)
    })
}

/// Transformed patches of some tiles: for each point, a line of channels for each tile.
struct Patches {
    words: Words,
    /// The tiles, counted over all images.
    tiles: Range<usize>,
    /// Words from one point's numbers to the next one's.
    stride: usize,
}

impl Patches {
    /// Room for so many tiles.
    fn room(image: &Image, tiles: usize) -> Patches {
        let stride = apart(tiles * image.channels);
        Patches { words: Words::zeros(AREA * stride), tiles: 0..0, stride }
    }

    /// Transforms the patches of tiles.
    fn fill(&mut self, prime: Prime, tiling: &Tiling, image: &Image, tiles: Range<usize>) {
        for (t, index) in tiles.clone().enumerate() {
            let (index, row, column) = tiling.place(index);
            let (size, line, channels) = (tiling.size, image.line(), image.channels);
            let at = (index * image.size[0] + row * size) * line + column * size * channels;
            let patch = &mut self.words[t * channels..];
            kernels::image_patch(prime, &image.words[at..], line, channels, patch, self.stride);
        }
        kernels::prepare(Token::active(), prime, &mut self.words);
        self.tiles = tiles;
    }
}

/// Tiles whose patches are kept at a time.
fn block(tiling: &Tiling, image: &Image, batch: usize) -> usize {
    let most = (PATCHES / (AREA * image.channels)).max(PASS).next_multiple_of(TILE_ROWS);
    most.min(tiling.count(batch))
}

/// `out = W x` for one plane of `batch` images; `weights` are panels of output channels, lines of
/// which are taps ([`crate::matrix`]).
pub(crate) fn apply(
    g: &Geometry,
    tiling: Tiling,
    prime: Prime,
    weights: &[u64],
    x: &[u64],
    batch: usize,
    out: &mut [u64],
) {
    let shape = g.shape();
    let image = Image::new(shape, tiling, x, batch);
    let (total, block) = (tiling.count(batch), block(&tiling, &image, batch));
    let mut patches = Patches::room(&image, block);
    let mut room = Room::new(shape, &tiling, block);
    let mut out = Whole { out, width: g.pixels() };
    for start in (0..total).step_by(block) {
        patches.fill(prime, &tiling, &image, start..total.min(start + block));
        let patches = std::slice::from_ref(&patches);
        products(g, &tiling, prime, weights, &image, patches, 0..shape.out_channels, &mut room, &mut out);
    }
}

/// `W x` of several planes, on the workers of this thread: patches are transformed some tiles at a
/// time, then panels of filters meet those of some images' lines of tiles.
pub(crate) fn apply_in_parts(
    g: &Geometry,
    tiling: Tiling,
    parts: usize,
    planes: Vec<Layer<'_, &[u64]>>,
    batch: usize,
) {
    let shape = g.shape();
    let images = parallel::map(planes.iter(), |(_, _, x, _)| Image::new(shape, tiling, x, batch));
    let [height, width] = shape.out_size();
    let (lines, of_line) = (batch * tiling.tiles[0], tiling.tiles[1]);
    let tiles = block(&tiling, &images[0], batch);
    let pass = (tiles / of_line).clamp(1, lines);
    let wanted = parts.div_ceil(planes.len());
    // Lines of tiles of one part of patches, and how many parts of patches meet the same filters.
    let some = pass.div_ceil(wanted).max(PART.div_ceil(of_line)).min(pass);
    let panels = shape.out_channels.div_ceil(PANEL);
    let together = pass.div_ceil(some).div_ceil(wanted.div_ceil(panels));
    let columns = panels.div_ceil(wanted.div_ceil(pass.div_ceil(some * together))) * PANEL;
    // The first pixel of a line of tiles.
    let pixel = |line: usize| {
        let (image, row) = (line / tiling.tiles[0], line % tiling.tiles[0]);
        (image * height + (row * tiling.size).min(height)) * width
    };
    let firsts = |lines: Range<usize>, step: usize| lines.clone().step_by(step).chain([lines.end]);
    let cuts_of = |lines: Range<usize>| firsts(lines, some * together).map(pixel);
    let passes: Vec<Range<usize>> =
        (0..lines).step_by(pass).map(|first| first..lines.min(first + pass)).collect();
    let mut cuts: Vec<usize> = passes.iter().cloned().flat_map(cuts_of).collect();
    cuts.dedup();
    let mut places = Vec::with_capacity(planes.len());
    let mut layers = Vec::with_capacity(planes.len());
    for (prime, weights, _, out) in planes {
        let size = [shape.out_channels, g.pixels()];
        places.push(results::pixels(out, size, columns, &cuts).into_iter());
        layers.push((prime, weights));
    }
    for pass in passes {
        let chunks: Vec<usize> = firsts(pass.clone(), some).collect();
        let patches = (0..layers.len()).flat_map(|l| chunks.windows(2).map(move |c| (l, c[0]..c[1])));
        let patches = parallel::map(patches, |(l, lines)| {
            let tiles = lines.start * of_line..lines.end * of_line;
            let mut patches = Patches::room(&images[l], tiles.len());
            patches.fill(layers[l].0, &tiling, &images[l], tiles);
            patches
        });
        let mut todo = Vec::new();
        for (l, patches) in patches.chunks(chunks.len() - 1).enumerate() {
            for patches in patches.chunks(together) {
                let parts = shape.out_channels.div_ceil(columns);
                todo.extend(places[l].by_ref().take(parts).map(|place| (l, patches, place)));
            }
        }
        parallel::for_each(todo, |(l, patches, mut place)| {
            let tiles = patches.iter().map(|patches| patches.tiles.len()).sum();
            let mut room = Room::new(shape, &tiling, tiles);
            let ((prime, weights), channels) = (layers[l], place.channels.clone());
            products(g, &tiling, prime, weights, &images[l], patches, channels, &mut room, &mut place);
        });
    }
}

/// Tiles at least for which patches are transformed at a time, and which filters are transformed for.
const PART: usize = 16;

/// What filters and products are kept in.
struct Room {
    filters: Words,
    products: Words,
    /// Words from one point's products to the next one's.
    stride: usize,
    pixels: Words,
}

impl Room {
    /// For so many tiles.
    fn new(shape: &Conv2d, tiling: &Tiling, tiles: usize) -> Room {
        let stride = apart(tiles * PANEL);
        Room {
            filters: Words::zeros(AREA * apart(DEPTH.min(shape.in_channels) * PANEL)),
            products: Words::zeros(AREA * stride),
            stride,
            pixels: Words::zeros(tiling.size * tiling.size * PANEL),
        }
    }
}

/// Output channels of the tiles of some patches. They begin where a panel does.
#[allow(clippy::too_many_arguments)] // what a convolution over tiles is made of
fn products(
    g: &Geometry,
    tiling: &Tiling,
    prime: Prime,
    weights: &[u64],
    image: &Image,
    patches: &[Patches],
    channels: Range<usize>,
    room: &mut Room,
    out: &mut impl Rows,
) {
    let (token, shape) = (Token::active(), g.shape());
    let (size, depth) = (tiling.size, shape.in_channels);
    let [height, width] = shape.out_size();
    let Room { filters, products, stride, pixels } = room;
    let mut tile = Tile::new();
    let (factors, area) = (factors(prime), shape.kernel[0] * shape.kernel[1]);
    // The first tile of all patches, which follow each other.
    let all = patches.first().map_or(0, |patches| patches.tiles.start);
    for column in channels.step_by(PANEL) {
        let line = panel_vectors(shape.out_channels, column) * LANES;
        let channels = line.min(shape.out_channels - column);
        let panel = &weights[column * shape.taps()..][..shape.taps() * line];
        for (first, panel) in (0..depth).step_by(DEPTH).zip(panel.chunks(DEPTH * area * line)) {
            let depth = DEPTH.min(depth - first);
            let filter_stride = apart(depth * line);
            let filters = &mut filters[..AREA * filter_stride];
            for (k, taps) in panel.chunks_exact(area * line).enumerate() {
                let filters = &mut filters[k * line..];
                kernels::filter_line(prime, shape.kernel[0], taps, line, filters, filter_stride);
            }
            kernels::prepare(token, prime, filters);
            for patches in patches {
                let (count, before) = (patches.tiles.len(), patches.tiles.start - all);
                for (point, words) in filters.chunks_exact(filter_stride).enumerate() {
                    for row in (0..count).step_by(TILE_ROWS) {
                        let rows = TILE_ROWS.min(count - row);
                        let left = Left {
                            values: &patches.words[point * patches.stride + row * image.channels + first..],
                            row_stride: image.channels,
                            depth_stride: 1,
                            prepared: token.converts_left(),
                        };
                        let extent = Extent { rows, vectors: line / LANES, depth };
                        let panel = Panel { words: &words[..depth * line], prepared: true };
                        let results = &mut products[point * *stride + (before + row) * PANEL..];
                        if first > 0 {
                            let lines = tile.out.chunks_exact_mut(PANEL).zip(results.chunks_exact(PANEL));
                            lines.take(rows).for_each(|(to, from)| copy(&mut to[..line], &from[..line]));
                        }
                        kernels::tile(token, prime, left, panel, extent, first > 0, &mut tile);
                        let lines = results.chunks_exact_mut(PANEL).zip(tile.out.chunks_exact(PANEL));
                        lines.take(rows).for_each(|(to, from)| copy(&mut to[..line], &from[..line]));
                    }
                }
            }
        }
        for patches in patches {
            for (t, index) in patches.tiles.clone().enumerate() {
                let t = patches.tiles.start - all + t;
                let (spacing, products) = ([*stride, line], &products[t * PANEL..]);
                kernels::output_patch(prime, size, &factors, products, spacing, pixels);
                let (index, row, left) = tiling.place(index);
                let (top, left) = (row * size, left * size);
                let columns = size.min(width - left);
                for c in 0..channels {
                    let plane = index * shape.out_channels + column + c;
                    for y in 0..size.min(height - top) {
                        let to = out.at(plane, (top + y) * width + left, columns);
                        for (x, to) in to.iter_mut().enumerate() {
                            *to = pixels[(y * size + x) * line + c];
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convolution::{self, Weights};
    use crate::kernels::{Kernel, with_kernel};
    use crate::matrix;
    use crate::parallel::tests::Scoped;
    use crate::parallel::with_workers;
    use std::rc::Rc;

    fn residues(count: usize, prime: Prime, seed: u64) -> Vec<u64> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // One in eight is the largest there is.
            if state >> 61 == 0 { prime.value() - 1 } else { prime.reduce(state >> 8) }
        };
        (0..count).map(|_| next()).collect()
    }

    /// Whatever it costs: full tiles and cut ones, padding on any side, channels that fill no
    /// vector and panels that are not full, one panel after a fuller one, batches, and passes of
    /// which the last is shorter.
    #[test]
    fn tiles_give_what_the_plain_way_gives() {
        let shapes = [
            (1, [4, 4], 1, 3, [0; 4], 1),
            (16, [8, 8], 16, 3, [1; 4], 2),
            (17, [9, 12], 26, 3, [0; 4], 1),
            (24, [7, 5], 50, 3, [2, 0, 1, 3], 3),
            (3, [13, 6], 9, 4, [0, 1, 2, 1], 2),
            (19, [7, 8], 21, 5, [2; 4], 1),
            (9, [5, 5], 8, 5, [0; 4], 5),
            (260, [37, 41], 25, 3, [1; 4], 1),
        ];
        for (in_channels, [in_height, in_width], out_channels, taps, padding, batch) in shapes {
            let [stride, dilation, kernel] = [[1; 2], [1; 2], [taps; 2]];
            let shape = Conv2d {
                in_channels,
                in_height,
                in_width,
                out_channels,
                kernel,
                stride,
                padding,
                dilation,
                groups: 1,
            };
            let (geometry, tiling) = (Geometry::new(shape), Tiling::possible(&shape).expect("stride 1"));
            let [height, width] = shape.out_size();
            for prime in Prime::ALL {
                let weights = residues(out_channels * shape.taps(), prime, 1);
                let mut panels = vec![0; matrix::packed_words(shape.taps(), out_channels)];
                matrix::write_transposed(&weights, 0, shape.taps(), out_channels, &mut panels);
                let x = residues(batch * in_channels * in_height * in_width, prime, 2);
                for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
                    let mut plain = vec![0; batch * out_channels * height * width];
                    let (mut tiles, mut from_panels) = (plain.clone(), plain.clone());
                    with_kernel(kernel, || {
                        let (rows, of_panels) = (Weights::Rows(&weights), Weights::Panels(&panels));
                        convolution::apply(&geometry, prime, rows, &x, batch, &mut plain);
                        convolution::apply(&geometry, prime, of_panels, &x, batch, &mut from_panels);
                        apply(&geometry, tiling, prime, &panels, &x, batch, &mut tiles);
                    });
                    assert!(plain == tiles, "{shape:?}, batch {batch}, {kernel:?}");
                    assert!(plain == from_panels, "{shape:?}, batch {batch}, {kernel:?}");
                    for (threads, parts) in [(2, 2), (3, 12), (7, 5), (7, 100)] {
                        let mut parted = vec![1; plain.len()];
                        let planes = vec![(prime, &panels[..], &x[..], &mut parted[..])];
                        with_workers(Rc::new(Scoped(threads)), || {
                            with_kernel(kernel, || apply_in_parts(&geometry, tiling, parts, planes, batch));
                        });
                        assert!(plain == parted, "{shape:?}, batch {batch}, {kernel:?}, {parts} parts");
                    }
                }
            }
        }
    }
}
