//! Linear layers and pooling on real numbers, accumulated in `f64`: shared by the float executor,
//! the planner's fake quantisation and the interval proof.
//!
//! Convolutions of some depth and fully connected layers of several samples become matrix products
//! (`matrixmultiply`, through `ndarray`: 10 to 20 times as fast as loops compiled for every
//! x86-64); samples run on all cores.

use amicus_field::{Conv2d, Dense, LinearShape, SumPool2d};
use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, Axis, Slice};
use rayon::prelude::*;

use crate::graph::SecretReals;

/// Convolutions with sums of fewer products are done tap by tap.
const MATRIX_FROM: usize = 16;
/// Numbers in a block of patches: 1 MB, so that it stays in a cache.
const BLOCK: usize = 1 << 17;
/// Outputs in a block at least, if there are as many: weights are packed anew for every block.
const BLOCK_OUTPUTS: usize = 192;
/// Rows of a fully connected layer converted at once.
const ROWS: usize = 32;

/// `out = W x` without bias; weights as in [`amicus_field::LinearShape`].
pub(crate) fn apply<W: Real>(shape: &LinearShape, weights: &[W], x: &[f64]) -> Vec<f64> {
    apply_all(shape, weights, &[x]).swap_remove(0)
}

/// Applies a layer to several inputs.
pub(crate) fn apply_all<W: Real, X: AsRef<[f64]> + Sync>(
    shape: &LinearShape,
    weights: &[W],
    inputs: &[X],
) -> Vec<Vec<f64>> {
    match shape {
        LinearShape::Dense(dense) => multiply(dense, weights, inputs),
        LinearShape::Conv2d(conv) => {
            let weights: SecretReals = weights.iter().map(|&w| w.into()).collect();
            let convolve = |x: &X| {
                let mut out = vec![0.0; shape.outputs()];
                convolve(conv, &weights, x.as_ref(), &mut out);
                out
            };
            inputs.par_iter().map(convolve).collect()
        }
    }
}

/// A number that weights may be kept as.
pub(crate) trait Real: Copy + Into<f64> + Sync {}
impl Real for f32 {}
impl Real for f64 {}

/// Fully connected layer.
fn multiply<W: Real, X: AsRef<[f64]> + Sync>(dense: &Dense, weights: &[W], inputs: &[X]) -> Vec<Vec<f64>> {
    let each = dense.inputs;
    if let [x] = inputs {
        let row = |row: &[W]| dot(row, x.as_ref());
        return vec![weights.par_chunks_exact(each).with_min_len(ROWS).map(row).collect()];
    }
    // One sample a row.
    let x: Vec<f64> = inputs.iter().flat_map(|x| x.as_ref()).copied().collect();
    let x = matrix(inputs.len(), each, &x);
    let blocks = weights.par_chunks(ROWS * each).map(|rows| {
        let rows: SecretReals = rows.iter().map(|&w| w.into()).collect();
        x.dot(&matrix(rows.len() / each, each, &rows).t())
    });
    let blocks: Vec<_> = blocks.collect();
    let sample = |at: usize| blocks.iter().flat_map(|block| block.row(at).to_vec()).collect();
    (0..inputs.len()).map(sample).collect()
}

fn matrix(rows: usize, columns: usize, values: &[f64]) -> ArrayView2<'_, f64> {
    ArrayView2::from_shape((rows, columns), values).expect("as many numbers as the shape has")
}

fn convolve(conv: &Conv2d, weights: &[f64], x: &[f64], out: &mut [f64]) {
    let depth = conv.in_channels / conv.groups * conv.kernel[0] * conv.kernel[1];
    if depth < MATRIX_FROM {
        return convolve_by_taps(conv, weights, x, out);
    }
    let [oh, ow] = conv.out_size();
    let (channels, pixels) = (conv.out_channels / conv.groups, oh * ow);
    let rows = (BLOCK / depth).max(BLOCK_OUTPUTS).div_ceil(ow).min(oh);
    let mut patches = vec![0.0; depth * rows * ow];
    let groups = weights.chunks_exact(channels * depth).zip(out.chunks_exact_mut(channels * pixels));
    for (group, (weights, out)) in groups.enumerate() {
        let weights = matrix(channels, depth, weights);
        let mut out = ArrayViewMut2::from_shape((channels, pixels), out).expect("one number an output");
        for first in (0..oh).step_by(rows) {
            let last = (first + rows).min(oh);
            let patches = &mut patches[..depth * (last - first) * ow];
            copy_patches(conv, group, x, first..last, patches);
            let patches = matrix(depth, (last - first) * ow, patches);
            let mut out = out.slice_axis_mut(Axis(1), Slice::from(first * ow..last * ow));
            general_mat_mul(1.0, &weights, &patches, 0.0, &mut out);
        }
    }
}

/// The inputs that each output of some rows reads: one row a tap, one column an output.
fn copy_patches(conv: &Conv2d, group: usize, x: &[f64], rows: std::ops::Range<usize>, patches: &mut [f64]) {
    let [oh, ow] = conv.out_size();
    let [kh, kw] = conv.kernel;
    let [top, left, ..] = conv.padding;
    let depth = conv.in_channels / conv.groups;
    patches.fill(0.0);
    for (tap, out) in patches.chunks_exact_mut(rows.len() * ow).enumerate() {
        let (channel, ky, kx) = (group * depth + tap / (kh * kw), tap / kw % kh, tap % kw);
        let (down, across) = (ky * conv.dilation[0], kx * conv.dilation[1]);
        let columns = valid(ow, conv.stride[1], across, left, conv.in_width);
        if columns.is_empty() {
            continue;
        }
        let inside = valid(oh, conv.stride[0], down, top, conv.in_height);
        let first_x = columns.start * conv.stride[1] + across - left;
        for oy in inside.start.max(rows.start)..inside.end.min(rows.end) {
            let y = channel * conv.in_height + oy * conv.stride[0] + down - top;
            let input = &x[y * conv.in_width + first_x..(y + 1) * conv.in_width];
            let at = (oy - rows.start) * ow;
            let out = &mut out[at + columns.start..at + columns.end];
            if conv.stride[1] == 1 {
                out.copy_from_slice(&input[..out.len()]);
            } else {
                let read = input.iter().step_by(conv.stride[1]);
                out.iter_mut().zip(read).for_each(|(z, x)| *z = *x);
            }
        }
    }
}

/// Sums over windows.
pub(crate) fn sum_pool(pool: &SumPool2d, x: &[f64]) -> Vec<f64> {
    let [oh, ow] = pool.out_size();
    let mut out = Vec::with_capacity(pool.outputs());
    for c in 0..pool.channels {
        for oy in 0..oh {
            for ox in 0..ow {
                let sum: f64 = pool_window(pool, c, oy, ox).map(|i| x[i]).sum();
                out.push(sum);
            }
        }
    }
    out
}

/// Every element times the factors of its row and column.
pub(crate) fn weigh(x: &[f64], rows: &[u32], columns: &[u32]) -> Vec<f64> {
    let plane = rows.iter().flat_map(|&r| columns.iter().map(move |&c| f64::from(r) * f64::from(c)));
    x.iter().zip(plane.cycle()).map(|(x, factor)| x * factor).collect()
}

/// Pixels `(rows[y], columns[x])` of images of one size.
pub(crate) fn gather(x: &[f64], [height, width]: [usize; 2], rows: &[u32], columns: &[u32]) -> Vec<f64> {
    let images = x.chunks_exact(height * width);
    images
        .flat_map(|image| rows.iter().map(move |&row| &image[row as usize * width..][..width]))
        .flat_map(|line| columns.iter().map(move |&column| line[column as usize]))
        .collect()
}

/// Largest numbers of windows.
pub(crate) fn max_pool(pool: &SumPool2d, x: &[f64]) -> Vec<f64> {
    let [oh, ow] = pool.out_size();
    let mut out = Vec::with_capacity(pool.outputs());
    for c in 0..pool.channels {
        for oy in 0..oh {
            for ox in 0..ow {
                out.push(pool_window(pool, c, oy, ox).map(|i| x[i]).fold(f64::NEG_INFINITY, f64::max));
            }
        }
    }
    out
}

/// Input elements of one pooling window, padding left out.
pub(crate) fn pool_window(
    pool: &SumPool2d,
    channel: usize,
    oy: usize,
    ox: usize,
) -> impl Iterator<Item = usize> + use<> {
    let (height, width) = (pool.height, pool.width);
    let rows = clip(oy * pool.stride[0], pool.kernel[0], pool.padding[0], height);
    let columns = clip(ox * pool.stride[1], pool.kernel[1], pool.padding[1], width);
    rows.flat_map(move |y| columns.clone().map(move |x| (channel * height + y) * width + x))
}

/// The part of a window that lies in the image.
fn clip(start: usize, kernel: usize, before: usize, size: usize) -> std::ops::Range<usize> {
    start.saturating_sub(before).min(size)..(start + kernel).saturating_sub(before).min(size)
}

/// Eight running sums, so that the compiler may use vector registers.
fn dot<W: Real>(row: &[W], x: &[f64]) -> f64 {
    let mut sums = [0.0f64; 8];
    let (rows, row_rest) = row.as_chunks::<8>();
    let (xs, x_rest) = x.as_chunks::<8>();
    for (w, x) in rows.iter().zip(xs) {
        for i in 0..8 {
            sums[i] += w[i].into() * x[i];
        }
    }
    let rest: f64 = row_rest.iter().zip(x_rest).map(|(&w, x)| w.into() * x).sum();
    sums.iter().sum::<f64>() + rest
}

/// One multiple of an input row added to an output row per kernel tap.
fn convolve_by_taps(conv: &Conv2d, weights: &[f64], x: &[f64], out: &mut [f64]) {
    let [oh, ow] = conv.out_size();
    let [kh, kw] = conv.kernel;
    let [top, left, ..] = conv.padding;
    let depth = conv.in_channels / conv.groups;
    let group_outputs = conv.out_channels / conv.groups;
    for (oc, out) in out.chunks_exact_mut(oh * ow).enumerate() {
        let first_channel = oc / group_outputs * depth;
        for ic in 0..depth {
            let plane_start = (first_channel + ic) * conv.in_height * conv.in_width;
            let plane = &x[plane_start..plane_start + conv.in_height * conv.in_width];
            for ky in 0..kh {
                let rows = valid(oh, conv.stride[0], ky * conv.dilation[0], top, conv.in_height);
                for kx in 0..kw {
                    let w = weights[((oc * depth + ic) * kh + ky) * kw + kx];
                    let tap = kx * conv.dilation[1];
                    let columns = valid(ow, conv.stride[1], tap, left, conv.in_width);
                    if w == 0.0 || columns.is_empty() {
                        continue;
                    }
                    let first_x = columns.start * conv.stride[1] + tap - left;
                    for oy in rows.clone() {
                        let iy = oy * conv.stride[0] + ky * conv.dilation[0] - top;
                        let input = &plane[iy * conv.in_width + first_x..(iy + 1) * conv.in_width];
                        let out = &mut out[oy * ow + columns.start..oy * ow + columns.end];
                        if conv.stride[1] == 1 {
                            out.iter_mut().zip(input).for_each(|(z, x)| *z += w * x);
                        } else {
                            out.iter_mut()
                                .zip(input.iter().step_by(conv.stride[1]))
                                .for_each(|(z, x)| *z += w * x);
                        }
                    }
                }
            }
        }
    }
}

/// The outputs along one axis for which a tap lies in the image:
/// `0 <= o stride + tap - before < size`.
fn valid(outputs: usize, stride: usize, tap: usize, before: usize, size: usize) -> std::ops::Range<usize> {
    let start = before.saturating_sub(tap).div_ceil(stride);
    let end = (size + before).saturating_sub(tap).div_ceil(stride);
    start.min(outputs)..end.min(outputs).max(start.min(outputs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition: every output by its own sum.
    fn naive(conv: &Conv2d, weights: &[f64], x: &[f64]) -> Vec<f64> {
        let [oh, ow] = conv.out_size();
        let depth = conv.in_channels / conv.groups;
        let mut out = Vec::new();
        for oc in 0..conv.out_channels {
            for oy in 0..oh {
                for ox in 0..ow {
                    let mut z = 0.0;
                    for ic in 0..depth {
                        for ky in 0..conv.kernel[0] {
                            for kx in 0..conv.kernel[1] {
                                let y = (oy * conv.stride[0] + ky * conv.dilation[0])
                                    .wrapping_sub(conv.padding[0]);
                                let xx = (ox * conv.stride[1] + kx * conv.dilation[1])
                                    .wrapping_sub(conv.padding[1]);
                                if y < conv.in_height && xx < conv.in_width {
                                    let c = oc / (conv.out_channels / conv.groups) * depth + ic;
                                    z += weights
                                        [((oc * depth + ic) * conv.kernel[0] + ky) * conv.kernel[1] + kx]
                                        * x[(c * conv.in_height + y) * conv.in_width + xx];
                                }
                            }
                        }
                    }
                    out.push(z);
                }
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn convolution_is_its_definition(
            (groups, depth, per_group) in (1usize..3, 1usize..12, 1usize..3),
            (h, w) in (1usize..9, 1usize..9),
            kernel in [1usize..4, 1..4],
            stride in [1usize..4, 1..4],
            dilation in [1usize..3, 1..3],
            padding in [0usize..4, 0..4, 0..4, 0..4],
        ) {
            let conv = Conv2d {
                in_channels: groups * depth, in_height: h, in_width: w, out_channels: groups * per_group,
                kernel, stride, padding, dilation, groups,
            };
            prop_assume!(conv.validate().is_ok());
            let shape = LinearShape::Conv2d(conv);
            // Small integers: sums are exact.
            let weights: Vec<f64> = (0..shape.weights()).map(|i| ((i * 37 + 11) % 19) as f64 - 9.0).collect();
            let x: Vec<f64> = (0..shape.inputs()).map(|i| ((i * 53 + 5) % 23) as f64 - 11.0).collect();
            let expected = naive(&conv, &weights, &x);
            prop_assert_eq!(&apply(&shape, &weights, &x), &expected);
            let mut by_taps = vec![0.0; expected.len()];
            convolve_by_taps(&conv, &weights, &x, &mut by_taps);
            prop_assert_eq!(by_taps, expected);
        }
    }

    #[test]
    fn several_inputs_give_what_each_gives() {
        let shape = LinearShape::Dense(Dense { inputs: 70, outputs: 75 });
        let weights: Vec<f32> = (0..shape.weights()).map(|i| ((i * 37 + 11) % 19) as f32 - 9.0).collect();
        let input = |k: usize| (0..70).map(|i| ((i * 53 + k) % 23) as f64 - 11.0).collect::<Vec<f64>>();
        let inputs: Vec<Vec<f64>> = (0..5).map(input).collect();
        let each: Vec<Vec<f64>> = inputs.iter().map(|x| apply(&shape, &weights, x)).collect();
        assert_eq!(apply_all(&shape, &weights, &inputs), each);
        let sum: f64 = (0..70).map(|i| f64::from(weights[70 + i]) * inputs[0][i]).sum();
        assert_eq!(each[0][1], sum);
    }
}
