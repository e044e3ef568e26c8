//! The networks tests run on.

use crate::nets::{Draft, Net, RELU, bound};
use crate::random::Random;
use amicus_field::{Conv2d, Limbs, SumPool2d};
use amicus_model::compile::NEAR;
use amicus_model::reveal::Reveals;
use amicus_model::{CompileOptions, GraphBuilder, compile};
use amicus_plan::{Link, ValueId, WeightId, WrapRule};
use std::sync::Arc;

fn conv([in_channels, in_height, in_width]: [usize; 3], out_channels: usize, kernel: usize) -> Conv2d {
    Conv2d {
        in_channels,
        in_height,
        in_width,
        out_channels,
        kernel: [kernel; 2],
        stride: [1; 2],
        padding: [0; 4],
        dilation: [1; 2],
        groups: 1,
    }
}

fn pool([channels, height, width]: [usize; 3], kernel: usize, stride: usize) -> SumPool2d {
    SumPool2d { channels, height, width, kernel: [kernel; 2], stride: [stride; 2], padding: [0; 4] }
}

/// Two dense layers with a polynomial between them: `linear 0`, `activation 0`, `linear 1`.
pub fn mlp(limbs: Limbs) -> Net {
    let mut net = Draft::new("mlp", limbs, &[6]);
    let z = net.dense(ValueId::INPUT, 6, 5, true);
    let y = net.activation(z, 3, 2, None);
    let z = net.dense(y, 5, 3, true);
    net.reveal(z)
}

/// Convolutions (padding, stride, groups), pools inside activations, side by side and overlapping.
pub fn conv_net(limbs: Limbs) -> Net {
    let mut net = Draft::new("convolutions", limbs, &[2, 6, 6]);
    let z = net.conv(ValueId::INPUT, Conv2d { padding: [1; 4], ..conv([2, 6, 6], 4, 3) }, true);
    let y = net.activation(z, 3, 2, Some(pool([4, 6, 6], 2, 2)));
    let z = net.conv(
        y,
        Conv2d { groups: 2, stride: [1, 2], padding: [0, 1, 1, 1], ..conv([4, 3, 3], 6, 2) },
        false,
    );
    let y = net.activation(z, 2, 2, Some(SumPool2d { padding: [1, 0, 0, 0], ..pool([6, 3, 2], 2, 1) }));
    let z = net.dense(y, 18, 4, true);
    net.reveal(z)
}

/// Convolutions, a pool and a ReLU whose vectors are long enough for threads in batches of 64.
pub fn wide(limbs: Limbs) -> Net {
    let mut net = Draft::new("wide", limbs, &[3, 12, 12]);
    let z = net.conv(ValueId::INPUT, Conv2d { padding: [1; 4], ..conv([3, 12, 12], 24, 3) }, true);
    let y = net.activation(z, 3, 2, Some(pool([24, 12, 12], 2, 2)));
    let z = net.conv(y, Conv2d { padding: [1; 4], ..conv([24, 6, 6], 40, 3) }, true);
    let y = net.relu(z, None, &[3, 3, 3]);
    let z = net.dense(y, 40 * 36, 10, true);
    net.reveal(z)
}

/// Residual sums: of two activations (masks shared) and of two linear results (masks at the
/// helper), scales differ.
pub fn residual(limbs: Limbs) -> Net {
    let mut net = Draft::new("residual", limbs, &[5]);
    let z = net.dense(ValueId::INPUT, 5, 5, true);
    let y = net.activation(z, 3, 2, None);
    let sum = net.add(ValueId::INPUT, y);
    let left = net.dense(sum, 5, 4, false);
    let right = net.dense(ValueId::INPUT, 5, 4, true);
    let sum = net.add(left, right);
    let y = net.activation(sum, 2, 2, None);
    let z = net.dense(y, 4, 3, true);
    net.reveal(z)
}

/// Weights of which some are public: of a product of two layers of them, and of one before secret
/// weights, whose masks the parties share, and of the last layer, behind a secret one.
pub fn mixed(limbs: Limbs) -> Net {
    let mut net = Draft::new("mixed", limbs, &[5]);
    let left = net.public(ValueId::INPUT, 5, 3, true);
    let right = net.public(ValueId::INPUT, 5, 3, false);
    let z = net.multiply(left, right);
    let y = net.activation(z, 3, 2, None);
    let z = net.public(y, 3, 3, true);
    let z = net.dense(z, 3, 3, true);
    let y = net.activation(z, 2, 2, None);
    let z = net.dense(y, 3, 2, true);
    let z = net.public(z, 2, 4, true);
    net.reveal(z)
}

/// Products of two secret vectors: halves of the input, and an activation with itself.
pub fn products(limbs: Limbs) -> Net {
    let mut net = Draft::new("products", limbs, &[8]);
    let left = net.slice(ValueId::INPUT, 0, 4);
    let right = net.slice(ValueId::INPUT, 4, 4);
    let z = net.multiply(left, right);
    let y = net.activation(z, 3, 1, None);
    let z = net.multiply(y, y);
    let y = net.activation(z, 2, 2, None);
    let z = net.dense(y, 4, 3, true);
    net.reveal(z)
}

/// One weight tensor used three times: `linear 0`, `linear 1`, `linear 2`.
pub fn repeated(limbs: Limbs) -> Net {
    let mut net = Draft::new("repeated", limbs, &[4]);
    let z = net.dense(ValueId::INPUT, 4, 4, true);
    let y = net.activation(z, 2, 2, None);
    let z = net.again(y, WeightId(0));
    let y = net.activation(z, 2, 1, None);
    let z = net.again(y, WeightId(0));
    net.reveal(z)
}

/// Pools of open values: of a linear result and of an activation.
pub fn pools(limbs: Limbs) -> Net {
    let mut net = Draft::new("pools", limbs, &[1, 5, 5]);
    let z = net.conv(ValueId::INPUT, conv([1, 5, 5], 2, 2), true);
    let pooled = net.pool(z, pool([2, 4, 4], 2, 1));
    let y = net.activation(pooled, 3, 2, None);
    let pooled = net.pool(y, SumPool2d { padding: [1, 1, 0, 0], ..pool([2, 3, 3], 2, 2) });
    let z = net.dense(pooled, 8, 3, false);
    net.reveal(z)
}

/// Values joined, all masks shared, all at the helper and mixed, of different scales; factors by
/// position of a linear result and of a pooled activation.
pub fn joined(limbs: Limbs) -> Net {
    let mut net = Draft::new("joined", limbs, &[2, 3, 3]);
    let z = net.conv(ValueId::INPUT, conv([2, 3, 3], 1, 1), true);
    let z = net.weigh(z, &[3, 2, 3], &[1, 1, 2]);
    let y = net.activation(z, 3, 2, None);
    let shared = net.concat(&[ValueId::INPUT, y]);
    let left = net.conv(shared, conv([3, 3, 3], 2, 2), true);
    let right = net.conv(ValueId::INPUT, conv([2, 3, 3], 1, 2), false);
    let helper = net.concat(&[left, right]);
    let y = net.activation(helper, 2, 2, None);
    let pooled = net.pool(y, SumPool2d { padding: [1; 4], ..pool([3, 2, 2], 2, 2) });
    let pooled = net.weigh(pooled, &[2, 1], &[1, 4]);
    let z = net.dense(pooled, 12, 2, true);
    let mixed = net.concat(&[z, ValueId::INPUT]);
    net.reveal(mixed)
}

/// A polynomial of one degree alone, on the truncated input.
pub fn polynomial(limbs: Limbs, degree: usize) -> Net {
    let mut net = Draft::new("polynomial", limbs, &[7]).input_scale(7);
    let y = net.activation(ValueId::INPUT, 4, degree, None);
    net.reveal(y)
}

/// A power `u^k` alone.
pub fn power(limbs: Limbs, k: usize) -> Net {
    let mut net = Draft::new("power", limbs, &[7]).input_scale(7);
    let mut coefficients = vec![0; k + 1];
    coefficients[k] = 1;
    let y = net.polynomial(ValueId::INPUT, 4, coefficients, None, WrapRule::Exact, bound(limbs));
    net.reveal(y)
}

/// Statistical truncation, where three limbs leave room for it.
pub fn statistical() -> Net {
    let limbs = Limbs::THREE;
    let mut net = Draft::new("statistical", limbs, &[1, 4, 4]);
    let z = net.conv(ValueId::INPUT, Conv2d { padding: [1; 4], ..conv([1, 4, 4], 2, 3) }, true);
    let y = net.polynomial(z, 3, vec![3, -2, 5, 1], Some(pool([2, 4, 4], 2, 2)), WrapRule::Statistical, 100);
    let z = net.dense(y, 8, 4, true);
    let y = net.polynomial(z, 2, vec![1, 2, 0, 1], None, WrapRule::Statistical, 100);
    let z = net.dense(y, 4, 2, true);
    net.reveal(z)
}

/// A ReLU between two dense layers, truncated or not: `compare 0`, perhaps `truncate 0`, `select 0`.
pub fn relu(limbs: Limbs, truncated: bool, digits: &[u32]) -> Net {
    let name = format!("relu by {} digits", digits.len());
    let mut net = Draft::new(&name, limbs, &[6]);
    let z = net.dense(ValueId::INPUT, 6, 5, true);
    let y = net.relu(z, truncated.then_some(3), digits);
    let z = net.dense(y, 5, 3, true);
    net.reveal(z)
}

/// Largest elements of windows, behind them a ReLU that is summed over windows.
pub fn maxima(limbs: Limbs) -> Net {
    let mut net = Draft::new("maxima", limbs, &[1, 4, 4]);
    let z = net.conv(ValueId::INPUT, Conv2d { padding: [1; 4], ..conv([1, 4, 4], 2, 3) }, true);
    let taps =
        [[0, 2], [1, 3]].map(|rows| [[0, 2], [1, 3]].map(|columns| net.gather(z, [4, 4], &rows, &columns)));
    let [top, bottom] = taps.map(|[left, right]| net.max(left, right, &[3, 3, 3]));
    let largest = net.max(top, bottom, &[2; 5]);
    let bits = net.compare(largest, &[0], 4, &[2; 6]);
    let value = net.truncate(largest, 3);
    let y = net.select(value, Some(bits), RELU, Some(pool([2, 2, 2], 2, 1)), None);
    let z = net.dense(y, 2, 3, true);
    net.reveal(z)
}

/// Functions in pieces: one whose mean of pieces is constant, one whose mean is 0, one of seven
/// thresholds, whose mask bits take two words, and a polynomial behind a truncation.
pub fn pieces(limbs: Limbs) -> Net {
    let mut net = Draft::new("pieces", limbs, &[5]);
    let z = net.dense(ValueId::INPUT, 5, 3, true);
    let u = net.truncate(z, 3);
    let one = 1i128 << net.scale(u);
    let two = net.compare(z, &[-1, 6], 4, &[4, 4]);
    let clip = net.select(u, Some(two), &[&[-one], &[one, 1], &[6 * one, -1]], None, None);
    let sign = net.compare(z, &[0], 4, &[5]);
    let absolute = net.select(u, Some(sign), &[&[0, -1], &[0, 2]], None, None);
    let seven = net.compare(z, &[-12, -8, -4, 0, 4, 8, 12], 4, &[2; 6]);
    let steps: [&[i128]; 8] = [&[1], &[5, 0, 1], &[-3], &[0, 2], &[7, 1], &[-2, 0, -1], &[4], &[0, -3]];
    let stairs = net.select(u, Some(seven), &steps, None, None);
    let cubic = net.select(u, None, &[&[1, 2, 3, 1]], None, None);
    let all = net.concat(&[clip, absolute, stairs, cubic]);
    let z = net.dense(all, 12, 3, true);
    net.reveal(z)
}

/// A polynomial of degree 6 that is even but for its linear term, as one in squares, summed over
/// windows: `truncate 0`, `select 0`, `pool 0`, `concat 0`, `select 1`.
pub fn squares(limbs: Limbs) -> Net {
    let mut net = Draft::new("squares", limbs, &[1, 4, 4]);
    let z = net.conv(ValueId::INPUT, Conv2d { padding: [1; 4], ..conv([1, 4, 4], 2, 3) }, true);
    let u = net.truncate(z, 3);
    let square = net.select(u, None, &[&[0, 0, 1]], None, None);
    let windows = pool([2, 4, 4], 2, 2);
    let summed = net.pool(u, windows);
    let linear = net.finer(summed, 5 * net.scale(u));
    let y = net.select(square, None, &[&[3, -1, 2, 1]], Some(windows), Some(linear));
    let z = net.dense(y, 8, 3, true);
    net.reveal(z)
}

/// ReLU of the larger of two values, both decided at once: `compare 0`, `compare 1`, `compare 2`,
/// `xnor 0`, `xnor 1`, `select 0`, `select 1`.
pub fn relu_of_maxima(limbs: Limbs, truncated: bool) -> Net {
    let mut net = Draft::new("relu of maxima", limbs, &[6]);
    let left = net.dense(ValueId::INPUT, 6, 4, true);
    let right = net.dense(ValueId::INPUT, 6, 4, false);
    let y = net.relu_of_max(left, right, truncated.then_some(3), &[3, 3, 3]);
    let z = net.dense(y, 4, 3, true);
    net.reveal(z)
}

/// A dense layer with what tells of values outside beside it: squares in groups, bits dropped of
/// them, and numbers that say whether any is neither 0 nor 1: `select 0`, `truncate 0`, `outside 0`.
pub fn watched(limbs: Limbs) -> Net {
    let mut net = Draft::new("watched", limbs, &[6]);
    let z = net.dense(ValueId::INPUT, 6, 4, true);
    let u = net.truncate(z, 3);
    let group =
        SumPool2d { channels: 1, height: 1, width: 4, kernel: [1, 2], stride: [1, 2], padding: [0; 4] };
    let squares = net.select(u, None, &[&[1, 0, 3]], Some(group), None);
    let units = net.truncate(squares, 2);
    let told = net.outside(units, 3, z);
    let all = net.concat(&[z, told]);
    net.reveal(all)
}

/// Networks with comparisons, for one number of limbs.
pub fn comparing(limbs: Limbs) -> Vec<Net> {
    let relus: [(bool, &[u32]); 5] = [
        (true, &[2; 6]),
        (false, &[3, 3, 3]),
        (true, &[8]),
        (false, &[4, 4]),
        (true, &[1, 2, 1, 2, 1, 2, 2]),
    ];
    let mut nets: Vec<Net> =
        relus.iter().map(|(truncated, digits)| relu(limbs, *truncated, digits)).collect();
    nets.extend([
        maxima(limbs),
        pieces(limbs),
        squares(limbs),
        relu_of_maxima(limbs, true),
        relu_of_maxima(limbs, false),
        watched(limbs),
    ]);
    nets
}

/// All of them for one number of limbs; those of many degrees for every degree.
pub fn all(limbs: Limbs) -> Vec<Net> {
    let mut nets = vec![
        mlp(limbs),
        conv_net(limbs),
        residual(limbs),
        products(limbs),
        mixed(limbs),
        repeated(limbs),
        pools(limbs),
        joined(limbs),
    ];
    nets.extend((1..=8).flat_map(|degree| [polynomial(limbs, degree), power(limbs, degree)]));
    if limbs == Limbs::THREE {
        nets.push(statistical());
    }
    nets
}

/// Labels of a dense layer's outputs in place of them, as the planner finds them: one label by a
/// tournament, or so many by pairs where rounds are dear.
pub fn labels(classes: usize, labels: u32, far: bool) -> Net {
    let one_way = if far { 0.02 } else { NEAR.one_way };
    let reveal = Reveals::Labels(labels);
    let options = CompileOptions { reveal, link: Link { one_way, ..NEAR }, ..CompileOptions::default() };
    classified(classes, 1.0, &options)
}

/// One label of seven, made for inputs of a tenth of the range: of most others receivers are told.
pub fn watched_label() -> Net {
    let options = CompileOptions { reveal: Reveals::Labels(1), watch: true, ..CompileOptions::default() };
    classified(7, 0.1, &options)
}

/// A dense layer compiled with inputs up to `most`.
fn classified(classes: usize, most: f32, options: &CompileOptions) -> Net {
    let mut random = Random(classes as u64);
    let mut numbers = |count: usize, most: f32| -> Vec<f32> {
        random.integers(count, 1 << 12).into_iter().map(|i| most * i as f32 / 4096.0).collect()
    };
    let mut graph = GraphBuilder::new("labels", &[4], -1.0..=1.0);
    let outputs = graph.linear("outputs", graph.input(), classes, numbers(4 * classes, 1.0), None);
    let graph = graph.finish(outputs).expect("a valid network");
    let samples: Vec<Vec<f32>> = (0..8).map(|_| numbers(4, most)).collect();
    let compiled = compile(&graph, &samples, options).expect("a network that compiles");
    Net { plan: Arc::new(compiled.plan), weights: compiled.weights }
}
