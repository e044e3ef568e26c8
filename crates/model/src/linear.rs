//! Linear layers and pooling on real numbers, accumulated in `f64`: shared by the float executor, the planner's
//! emulation and the interval proof.

use amicus_field::{Conv2d, LinearShape, SumPool2d};

/// `out = W x` without bias; weights as in [`amicus_field::LinearShape`].
pub(crate) fn apply<W: Copy + Into<f64>>(shape: &LinearShape, weights: &[W], x: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; shape.outputs()];
    match shape {
        LinearShape::Dense(dense) => {
            for (row, z) in weights.chunks_exact(dense.inputs).zip(&mut out) {
                *z = dot(row, x);
            }
        }
        LinearShape::Conv2d(conv) => convolve(conv, weights, x, &mut out),
    }
    out
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
fn dot<W: Copy + Into<f64>>(row: &[W], x: &[f64]) -> f64 {
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
fn convolve<W: Copy + Into<f64>>(conv: &Conv2d, weights: &[W], x: &[f64], out: &mut [f64]) {
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
                    let w: f64 = weights[((oc * depth + ic) * kh + ky) * kw + kx].into();
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

/// The outputs along one axis for which a tap lies in the image: `0 <= o stride + tap - before < size`.
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
            (groups, depth, per_group) in (1usize..3, 1usize..3, 1usize..3),
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
            prop_assert_eq!(apply(&shape, &weights, &x), naive(&conv, &weights, &x));
        }
    }
}
