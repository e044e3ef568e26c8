//! Matrix products, convolutions and pools against their naive definitions, for every prime and
//! kernel.

#![allow(clippy::unwrap_used)] // helpers of tests are outside of #[test] functions

mod common;

use amicus_field::{
    Conv2d, Dense, Element, FieldError, LimbVec, LimbVec as Vector, Limbs, LinearMap, LinearShape, Prime,
    ShapeError, SumPool2d, matmul, sum_pool, sum_pool_transposed,
};
use common::{for_each_kernel, for_each_kernel_and_limbs, largest, mixed, random};
use proptest::prelude::*;

/// The product of row-major matrices, one reduction per element and no cleverness.
fn naive_matmul(prime: Prime, a: &[u64], b: &[u64], [m, k, n]: [usize; 3]) -> Vec<u64> {
    let mut out = Vec::with_capacity(m * n);
    for row in 0..m {
        for column in 0..n {
            let terms = (0..k).map(|i| u128::from(a[row * k + i]) * u128::from(b[i * n + column]));
            // Below 2^104 each: 2^24 of them fit.
            out.push(prime.reduce_wide(terms.sum()));
        }
    }
    out
}

#[test]
fn products_on_boundary_shapes() {
    let sizes = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 33, 47, 48, 49];
    for_each_kernel(|| {
        for (i, &m) in [1, 2, 3, 4, 5, 8, 9].iter().enumerate() {
            for &n in &sizes {
                let k = sizes[(i * 7 + n) % sizes.len()];
                let limb = (i + n) % 3;
                let prime = Prime::of_limb(limb);
                let a = mixed(1, Limbs::THREE, m * k);
                let b = mixed(2, Limbs::THREE, k * n);
                let (a, b) = (a.plane(limb), b.plane(limb));
                assert_eq!(
                    matmul(prime, a, b, [m, k, n]),
                    naive_matmul(prime, a, b, [m, k, n]),
                    "{m} {k} {n}"
                );
            }
        }
    });
}

#[test]
fn long_sums_are_folded() {
    for k in [1023, 1024, 1025, 4095, 4096, 4097, 9000] {
        let (a, b) = (mixed(3, Limbs::THREE, 5 * k), mixed(4, Limbs::THREE, k * 25));
        for limb in 0..3 {
            let prime = Prime::of_limb(limb);
            let expected = naive_matmul(prime, a.plane(limb), b.plane(limb), [5, k, 25]);
            // Every residue p - 1, which is -1: the largest lazy sums there are.
            let largest = vec![prime.value() - 1; k * 25];
            for_each_kernel(|| {
                assert_eq!(matmul(prime, a.plane(limb), b.plane(limb), [5, k, 25]), expected);
                for m in 1..=5 {
                    let product = matmul(prime, &largest[..m * k], &largest, [m, k, 25]);
                    assert_eq!(product, vec![k as u64; m * 25], "{m} {k}");
                }
            });
        }
    }
}

/// The matrix of a linear layer, row-major `outputs x inputs`, straight from the definition.
fn matrix_of(shape: &LinearShape, weights: &Vector) -> Vec<Vec<Element>> {
    let zero = Element::zero(weights.limbs());
    let mut matrix = vec![vec![zero; shape.inputs()]; shape.outputs()];
    match *shape {
        LinearShape::Dense(dense) => {
            for (o, row) in matrix.iter_mut().enumerate() {
                for (i, entry) in row.iter_mut().enumerate() {
                    *entry = weights.get(o * dense.inputs + i);
                }
            }
        }
        LinearShape::Conv2d(conv) => {
            let [height, width] = conv.out_size();
            let (in_group, out_group) = (conv.in_channels / conv.groups, conv.out_channels / conv.groups);
            let [kernel_height, kernel_width] = conv.kernel;
            for (o, row) in matrix.iter_mut().enumerate() {
                let (channel, y, x) = (o / (height * width), o / width % height, o % width);
                for c in 0..in_group {
                    for ky in 0..kernel_height {
                        for kx in 0..kernel_width {
                            let in_y =
                                (y * conv.stride[0] + ky * conv.dilation[0]).checked_sub(conv.padding[0]);
                            let in_x =
                                (x * conv.stride[1] + kx * conv.dilation[1]).checked_sub(conv.padding[1]);
                            let (Some(in_y), Some(in_x)) = (in_y, in_x) else { continue };
                            if in_y < conv.in_height && in_x < conv.in_width {
                                let in_channel = channel / out_group * in_group + c;
                                let weight =
                                    ((channel * in_group + c) * kernel_height + ky) * kernel_width + kx;
                                row[(in_channel * conv.in_height + in_y) * conv.in_width + in_x] =
                                    weights.get(weight);
                            }
                        }
                    }
                }
            }
        }
    }
    matrix
}

/// Holds a map to its matrix, and its transpose to `<W x, y> = <x, W^T y>` and to the matrix'
/// columns.
fn check(shape: LinearShape, batch: usize, limbs: Limbs, label: u32) {
    let weights = mixed(label, limbs, shape.weights());
    let map = LinearMap::new(shape, &weights).unwrap();
    assert_eq!(map.weights(), weights);
    let x = mixed(label + 1, limbs, batch * shape.inputs());
    let y = mixed(label + 2, limbs, batch * shape.outputs());
    let product = map.apply(&x, batch);
    let transposed = map.apply_transposed(&y, batch);
    assert_eq!((product.len(), transposed.len()), (y.len(), x.len()));
    let matrix = matrix_of(&shape, &weights);
    let zero = Element::zero(limbs);
    for e in 0..batch {
        for (o, row) in matrix.iter().enumerate() {
            let terms = row.iter().enumerate().map(|(i, &w)| w * x.get(e * shape.inputs() + i));
            let sum = terms.fold(zero, |sum, term| sum + term);
            assert_eq!(product.get(e * shape.outputs() + o), sum, "{shape:?} output {o} of {e}");
        }
        for i in 0..shape.inputs() {
            let terms = matrix.iter().enumerate().map(|(o, row)| row[i] * y.get(e * shape.outputs() + o));
            let sum = terms.fold(zero, |sum, term| sum + term);
            assert_eq!(transposed.get(e * shape.inputs() + i), sum, "{shape:?} input {i} of {e}");
        }
    }
    assert_eq!(product.dot(&y), x.dot(&transposed));
}

#[test]
fn dense_layers() {
    for_each_kernel_and_limbs(|limbs| {
        for (inputs, outputs, batch) in
            [(1, 1, 1), (3, 8, 1), (5, 9, 2), (10, 23, 3), (7, 24, 4), (12, 25, 5), (65, 49, 1), (30, 10, 9)]
        {
            check(LinearShape::Dense(Dense { inputs, outputs }), batch, limbs, 100);
        }
    });
}

/// A convolution with everything plain; tests change what they are about.
fn plain(in_channels: usize, size: [usize; 2], out_channels: usize, kernel: [usize; 2]) -> Conv2d {
    Conv2d {
        in_channels,
        in_height: size[0],
        in_width: size[1],
        out_channels,
        kernel,
        stride: [1, 1],
        padding: [0; 4],
        dilation: [1, 1],
        groups: 1,
    }
}

#[test]
fn convolutions() {
    let shapes = [
        plain(1, [1, 1], 1, [1, 1]),
        plain(3, [4, 6], 2, [1, 1]),
        plain(1, [28, 28], 6, [5, 5]),
        Conv2d { padding: [2; 4], ..plain(1, [9, 9], 6, [5, 5]) },
        Conv2d { padding: [1, 0, 3, 2], ..plain(2, [5, 7], 5, [3, 2]) },
        Conv2d { padding: [1; 4], stride: [2, 3], ..plain(3, [8, 9], 4, [3, 3]) },
        Conv2d { dilation: [2, 3], ..plain(2, [9, 10], 3, [3, 3]) },
        Conv2d { dilation: [3, 1], padding: [0, 4, 1, 0], stride: [1, 2], ..plain(2, [9, 7], 3, [2, 4]) },
        Conv2d { groups: 2, padding: [1; 4], ..plain(4, [5, 5], 6, [3, 3]) },
        Conv2d { groups: 6, padding: [1; 4], ..plain(6, [4, 4], 6, [3, 3]) },
        Conv2d { groups: 3, stride: [2, 2], ..plain(3, [6, 6], 12, [2, 2]) },
        // Output channels of three panels, and more input channels than are transformed at a time.
        Conv2d { padding: [1; 4], ..plain(2, [5, 6], 50, [3, 3]) },
        plain(130, [4, 5], 9, [3, 3]),
        // The whole image: one pixel a batch element, panels full of batch elements.
        plain(3, [4, 4], 9, [4, 4]),
        // Wider than one panel's row.
        plain(1, [3, 60], 2, [2, 3]),
        // Padding beyond the image.
        Conv2d { padding: [5; 4], stride: [4, 4], ..plain(1, [2, 2], 2, [3, 3]) },
    ];
    for_each_kernel_and_limbs(|limbs| {
        for (i, shape) in shapes.into_iter().enumerate() {
            if limbs == Limbs::TWO || i % 2 == 0 {
                let batch = [1, 2, 5][i % 3];
                check(LinearShape::Conv2d(shape), if i == 2 { 1 } else { batch }, limbs, 200 + i as u32);
            }
        }
    });
}

#[test]
fn convolutions_with_long_sums() {
    for_each_kernel(|| {
        // 513 and 4608 taps: beyond a block of taps, beyond a lazy sum.
        for shape in [plain(57, [4, 3], 5, [3, 3]), plain(512, [3, 3], 2, [3, 3])] {
            let shape = LinearShape::Conv2d(shape);
            let limbs = Limbs::TWO;
            check(shape, 1, limbs, 300);
            let map = LinearMap::new(shape, &largest(limbs, shape.weights())).unwrap();
            let taps = Element::from_i128(limbs, (shape.weights() / shape.biases()) as i128);
            let product = map.apply(&largest(limbs, shape.inputs()), 1);
            assert!((0..product.len()).all(|i| product.get(i) == taps));
        }
    });
}

/// Every residue p - 1, which is -1: the largest sums of the transforms. Every kernel computes
/// these shapes over tiles.
#[test]
fn convolutions_over_tiles_with_the_largest_residues() {
    for_each_kernel(|| {
        let limbs = Limbs::THREE;
        for (side, kernel) in [(18, 3), (19, 4), (21, 5)] {
            let shape = LinearShape::Conv2d(plain(320, [side, side], 32, [kernel, kernel]));
            assert!(shape.products(1) < shape.multiply_adds(), "{side} {kernel} is not tiled");
            let map = LinearMap::new(shape, &largest(limbs, shape.weights())).unwrap();
            let product = map.apply(&largest(limbs, shape.inputs()), 1);
            let taps = Element::from_i128(limbs, (320 * kernel * kernel) as i128);
            assert!((0..product.len()).all(|i| product.get(i) == taps), "{side} {kernel}");
        }
    });
}

#[test]
fn transposed_products_fold_long_sums() {
    for_each_kernel(|| {
        let limbs = Limbs::ONE;
        for outputs in [4095, 4097, 33_000] {
            let shape = LinearShape::Dense(Dense { inputs: 3, outputs });
            let map = LinearMap::new(shape, &largest(limbs, shape.weights())).unwrap();
            let product = map.apply_transposed(&largest(limbs, outputs), 1);
            assert_eq!(product.to_i64().unwrap(), [outputs as i64; 3]);
        }
    });
}

#[test]
fn kernels_agree_bit_by_bit() {
    let shapes = [
        (LinearShape::Dense(Dense { inputs: 400, outputs: 120 }), 3),
        (LinearShape::Conv2d(plain(6, [14, 14], 16, [5, 5])), 2),
    ];
    for (shape, batch) in shapes {
        let weights = random(400, Limbs::THREE, shape.weights());
        let x = random(401, Limbs::THREE, batch * shape.inputs());
        let results = std::cell::RefCell::new(Vec::new());
        for_each_kernel(|| {
            results.borrow_mut().push(LinearMap::new(shape, &weights).unwrap().apply(&x, batch));
        });
        assert!(results.borrow().iter().all(|result| result == &results.borrow()[0]));
    }
}

#[test]
fn shapes_are_checked() {
    let good = plain(4, [5, 5], 6, [3, 3]);
    let refused = |shape: Conv2d| shape.validate().unwrap_err();
    assert!(good.validate().is_ok());
    assert_eq!(refused(Conv2d { in_channels: 0, ..good }), ShapeError::Empty { what: "in_channels" });
    assert_eq!(refused(Conv2d { stride: [1, 0], ..good }), ShapeError::Empty { what: "horizontal stride" });
    assert_eq!(refused(Conv2d { groups: 0, ..good }), ShapeError::Empty { what: "groups" });
    assert_eq!(
        refused(Conv2d { groups: 4, ..good }),
        ShapeError::Groups { what: "output", channels: 6, groups: 4 }
    );
    assert_eq!(
        refused(Conv2d { kernel: [6, 3], ..good }),
        ShapeError::KernelTooLarge { what: "height", span: 6, padded: 5 }
    );
    let huge = usize::MAX;
    for hostile in [
        Conv2d { in_channels: huge, groups: 1, ..good },
        Conv2d { in_height: huge, padding: [1; 4], ..good },
        Conv2d { in_height: huge / 2, ..good },
        Conv2d { out_channels: huge / 4, ..good },
        Conv2d { kernel: [huge, huge], dilation: [huge, 2], ..good },
        Conv2d { padding: [huge / 2; 4], ..good },
        Conv2d { padding: [huge / 8; 4], stride: [huge, huge], ..good },
    ] {
        assert!(hostile.validate().is_err(), "{hostile:?}");
        assert!(LinearMap::new(LinearShape::Conv2d(hostile), &Vector::zeros(Limbs::ONE, 1)).is_err());
    }
    assert!(Dense { inputs: huge, outputs: 2 }.validate().is_err());
    assert!(Dense { inputs: 0, outputs: 2 }.validate().is_err());
    let shape = LinearShape::Conv2d(good);
    assert_eq!(
        LinearMap::new(shape, &Vector::zeros(Limbs::ONE, 5)).unwrap_err(),
        FieldError::WeightCount { expected: 6 * 4 * 9, got: 5 }
    );
    assert_eq!((shape.inputs(), shape.outputs(), shape.biases()), (100, 54, 6));
    assert_eq!((shape.outputs_per_bias(), shape.multiply_adds()), (9, 54 * 36));
}

fn check_pool(pool: SumPool2d, batch: usize, limbs: Limbs) {
    pool.validate().unwrap();
    let x = mixed(500, limbs, batch * pool.inputs());
    let y = mixed(501, limbs, batch * pool.outputs());
    let sums = sum_pool(&pool, &x, batch);
    assert_eq!(sums.dot(&y), x.dot(&sum_pool_transposed(&pool, &y, batch)));
    // A sum pool is the depthwise convolution whose weights are 1.
    let conv = LinearShape::Conv2d(Conv2d {
        groups: pool.channels,
        stride: pool.stride,
        padding: pool.padding,
        ..plain(pool.channels, [pool.height, pool.width], pool.channels, pool.kernel)
    });
    let ones = LimbVec::from_i64(limbs, &vec![1; conv.weights()]);
    assert_eq!(sums, LinearMap::new(conv, &ones).unwrap().apply(&x, batch));
    let windows = sum_pool_transposed(&pool, &LimbVec::from_i64(limbs, &vec![1; y.len()]), batch);
    assert!(windows.to_i64().unwrap().iter().all(|&n| n <= (pool.kernel[0] * pool.kernel[1]) as i64));
}

#[test]
fn pools() {
    let plain =
        SumPool2d { channels: 2, height: 6, width: 8, kernel: [2, 2], stride: [2, 2], padding: [0; 4] };
    for_each_kernel_and_limbs(|limbs| {
        check_pool(plain, 1, limbs);
        check_pool(plain, 3, limbs);
        check_pool(SumPool2d { kernel: [3, 3], ..plain }, 2, limbs);
        check_pool(SumPool2d { kernel: [3, 2], stride: [1, 3], padding: [1, 0, 2, 1], ..plain }, 2, limbs);
        check_pool(SumPool2d { kernel: [6, 8], ..plain }, 2, limbs);
        check_pool(SumPool2d { kernel: [1, 1], stride: [1, 1], ..plain }, 1, limbs);
        check_pool(SumPool2d { kernel: [3, 3], padding: [6, 7, 0, 5], ..plain }, 1, limbs);
    });
    // Windows beyond a lazy sum of 4096 terms, of the largest residues.
    for_each_kernel(|| {
        let pool =
            SumPool2d { channels: 1, height: 65, width: 66, kernel: [64, 65], stride: [1, 1], ..plain };
        let sums = sum_pool(&pool, &largest(Limbs::TWO, pool.inputs()), 1);
        assert_eq!(sums.to_i64().unwrap(), [-64 * 65; 4]);
        let spread = sum_pool_transposed(&pool, &largest(Limbs::TWO, 4), 1);
        assert_eq!(spread.to_i64().unwrap().iter().sum::<i64>(), -4 * 64 * 65);
    });
    assert!(SumPool2d { channels: 0, ..plain }.validate().is_err());
    assert!(SumPool2d { kernel: [7, 1], ..plain }.validate().is_err());
    assert!(SumPool2d { padding: [usize::MAX; 4], ..plain }.validate().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn random_convolutions(
        channels in (1usize..4, 1usize..4, 1usize..4),
        size in [1usize..9, 1usize..9],
        kernel in [1usize..4, 1usize..4],
        stride in [1usize..4, 1usize..4],
        padding in [0usize..3, 0usize..3, 0usize..3, 0usize..3],
        dilation in [1usize..3, 1usize..3],
        batch in 1usize..4,
    ) {
        let (groups, per_group, out_per_group) = channels;
        let shape = Conv2d {
            groups, stride, padding, dilation,
            ..plain(groups * per_group, size, groups * out_per_group, kernel)
        };
        prop_assume!(shape.validate().is_ok());
        for_each_kernel(|| check(LinearShape::Conv2d(shape), batch, Limbs::TWO, 600));
    }

    #[test]
    fn random_products(m in 1usize..12, k in 1usize..80, n in 1usize..80, limb in 0usize..3) {
        let prime = Prime::of_limb(limb);
        let (a, b) = (mixed(700, Limbs::THREE, m * k), mixed(701, Limbs::THREE, k * n));
        let expected = naive_matmul(prime, a.plane(limb), b.plane(limb), [m, k, n]);
        for_each_kernel(|| {
            assert_eq!(matmul(prime, a.plane(limb), b.plane(limb), [m, k, n]), expected);
        });
    }
}

#[test]
fn weights_written_in_parts_are_the_weights() {
    let dense = LinearShape::Dense(Dense { inputs: 7, outputs: 53 });
    let conv = LinearShape::Conv2d(plain(3, [5, 4], 6, [2, 3]));
    for (shape, part) in [(dense, 1), (dense, 5), (dense, 100), (conv, 7), (conv, 1000)] {
        let weights = random(91, Limbs::TWO, shape.weights());
        let mut map = LinearMap::zeros(shape, Limbs::TWO).unwrap();
        for first in (0..weights.len()).step_by(part) {
            map.write(first, &weights.slice(first..weights.len().min(first + part)));
        }
        assert_eq!(map.weights(), weights);
        let x = random(92, Limbs::TWO, shape.inputs());
        assert_eq!(map.apply(&x, 1), LinearMap::new(shape, &weights).unwrap().apply(&x, 1));
    }
}

/// Pixels of two images of 2 x 3 a channel, rows and columns in any order and number.
#[test]
fn gathered_pixels_are_those_named() {
    let x = LimbVec::from_i64(Limbs::TWO, &(0..12).collect::<Vec<_>>());
    let picked = amicus_field::gather(&x, [2, 3], &[1, 0, 1], &[2, 2, 0, 1]);
    let line = |first: i64| [2, 2, 0, 1].map(|c| first + c);
    let expected: Vec<i64> = [3, 0, 3, 9, 6, 9].into_iter().flat_map(line).collect();
    assert_eq!(picked.to_i64().unwrap(), expected);
}
