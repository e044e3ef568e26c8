//! Random networks: small, of every kind of operation, comparisons among them, for one, two and
//! three limbs.

use crate::nets::{Draft, Net, RELU};
use crate::random::Random;
use crate::zoo;
use amicus_field::{Conv2d, Limbs, SumPool2d};
use amicus_plan::ValueId;

/// Draws a network.
///
/// # Panics
/// When the drawn network is not valid.
pub fn draw(random: &mut Random, limbs: Limbs) -> Net {
    match random.below(17) {
        0 => zoo::mlp(limbs),
        1 => match random.below(5) {
            0 => zoo::conv_net(limbs),
            1 => zoo::pools(limbs),
            2 => zoo::joined(limbs),
            3 if limbs == Limbs::THREE => zoo::statistical(),
            _ => zoo::polynomial(limbs, 1 + random.below(8)),
        },
        2 => zoo::repeated(limbs),
        3 => zoo::products(limbs),
        4 | 5 => image(random, limbs),
        6..10 => vector(random, limbs),
        10..14 => sides(random, limbs),
        14..16 => windows(random, limbs),
        _ => zoo::maxima(limbs),
    }
}

/// Dense layers, products and sums on a vector.
fn vector(random: &mut Random, limbs: Limbs) -> Net {
    let mut len = 2 * (1 + random.below(3));
    let mut net = Draft::new(&format!("vector {}", random.below(1000)), limbs, &[len]);
    let mut value = ValueId::INPUT;
    for _ in 0..random.below(3) {
        let width = 1 + random.below(5);
        value = match random.below(4) {
            0 => {
                let half = len / 2;
                let (left, right) = (net.slice(value, 0, half), net.slice(value, len - half, half));
                len = half;
                net.multiply(left, right)
            }
            1 => {
                let (left, right) = (net.dense(value, len, width, true), net.dense(value, len, width, false));
                len = width;
                net.add(left, right)
            }
            _ => {
                let bias = random.below(2) == 0;
                let z = net.dense(value, len, width, bias);
                len = width;
                z
            }
        };
        let (argument, degree) = (2 + random.below(2) as u32, 1 + random.below(3));
        value = net.activation(value, argument, degree, None);
        if len < 2 {
            break;
        }
    }
    let outputs = 1 + random.below(3);
    let z = net.dense(value, len, outputs, random.below(2) == 0);
    net.reveal(z)
}

/// A convolution, an activation with a pool or without one, and a dense layer.
fn image(random: &mut Random, limbs: Limbs) -> Net {
    let side = 3 + random.below(3);
    let (channels, kernel, padding) = (1 + random.below(2), 1 + random.below(3), random.below(2));
    let conv = Conv2d {
        in_channels: channels,
        in_height: side,
        in_width: side,
        out_channels: 1 + random.below(3),
        kernel: [kernel; 2],
        stride: [1 + random.below(2); 2],
        padding: [padding; 4],
        dilation: [1; 2],
        groups: 1,
    };
    let [height, width] = [0, 1].map(|axis| (side + 2 * padding - kernel) / conv.stride[axis] + 1);
    let outputs = conv.out_channels;
    let mut net = Draft::new(&format!("image {}", random.below(1000)), limbs, &[channels, side, side]);
    let z = net.conv(ValueId::INPUT, conv, random.below(2) == 0);
    let pool = (height > 1 && random.below(2) == 0).then_some(SumPool2d {
        channels: outputs,
        height,
        width,
        kernel: [2; 2],
        stride: [1 + random.below(2); 2],
        padding: [0; 4],
    });
    let [height, width] = pool
        .as_ref()
        .map_or([height, width], |p| [(height - 2) / p.stride[0] + 1, (width - 2) / p.stride[1] + 1]);
    let y = net.activation(z, 3, 1 + random.below(3), pool);
    let z = net.dense(y, outputs * height * width, 1 + random.below(3), true);
    net.reveal(z)
}

/// Dense layers, and between them functions in pieces, larger ones of two vectors, products, sums,
/// and polynomials of one piece.
fn sides(random: &mut Random, limbs: Limbs) -> Net {
    let mut len = 1 + random.below(4);
    let mut net = Draft::new(&format!("sides {}", random.below(1000)), limbs, &[len]);
    let mut value = ValueId::INPUT;
    for _ in 0..1 + random.below(2) {
        let width = 1 + random.below(5);
        let bias = random.below(2) == 0;
        let z = net.dense(value, len, width, bias);
        value = match random.below(7) {
            4 => {
                let other = net.dense(value, len, width, !bias);
                let (scale, digits) = ((random.below(2) == 0).then_some(3), digits(random));
                net.relu_of_max(z, other, scale, &digits)
            }
            0 => {
                let other = net.dense(value, len, width, !bias);
                let digits = digits(random);
                net.max(z, other, &digits)
            }
            1 => {
                let (left, right) = (piecewise(random, &mut net, z), piecewise(random, &mut net, z));
                let product = net.multiply(left, right);
                net.truncate(product, 3)
            }
            2 => {
                let y = net.activation(z, 3, 2, None);
                piecewise(random, &mut net, y)
            }
            3 => {
                let (y, other) = (piecewise(random, &mut net, z), net.dense(value, len, width, bias));
                let sum = net.add(y, other);
                piecewise(random, &mut net, sum)
            }
            _ => piecewise(random, &mut net, z),
        };
        len = width;
    }
    let z = net.dense(value, len, 1 + random.below(3), random.below(2) == 0);
    net.reveal(z)
}

/// A convolution, maxima of windows or none, a function in pieces that may be pooled, and a dense
/// layer.
fn windows(random: &mut Random, limbs: Limbs) -> Net {
    let (side, channels) = (2 + random.below(3), 1 + random.below(2));
    let conv = Conv2d {
        in_channels: 1,
        in_height: side,
        in_width: side,
        out_channels: channels,
        kernel: [3; 2],
        stride: [1; 2],
        padding: [1; 4],
        dilation: [1; 2],
        groups: 1,
    };
    let mut net = Draft::new(&format!("windows {}", random.below(1000)), limbs, &[1, side, side]);
    let mut x = net.conv(ValueId::INPUT, conv, random.below(2) == 0);
    let mut size = [side; 2];
    let kernel = 1 + random.below(3.min(side));
    for axis in 0..2 {
        let stride = 1 + random.below(2);
        let windows = (size[axis] - kernel) / stride + 1;
        let taps: Vec<ValueId> = (0..kernel)
            .map(|tap| {
                let places: Vec<u32> = (0..windows).map(|w| (w * stride + tap) as u32).collect();
                let others: Vec<u32> = (0..size[1 - axis] as u32).collect();
                let (rows, columns) = if axis == 0 { (places, others) } else { (others, places) };
                net.gather(x, size, &rows, &columns)
            })
            .collect();
        let digits = digits(random);
        x = taps.into_iter().reduce(|most, tap| net.max(most, tap, &digits)).unwrap_or(x);
        size[axis] = windows;
    }
    let pool = (size[0] > 1 && size[1] > 1).then_some(SumPool2d {
        channels,
        height: size[0],
        width: size[1],
        kernel: [2; 2],
        stride: [1; 2],
        padding: [0; 4],
    });
    let pool = pool.filter(|_| random.below(2) == 0);
    let digits = digits(random);
    let bits = net.compare(x, &[0], 4, &digits);
    let value = if random.below(2) == 0 { net.truncate(x, 3) } else { x };
    let y = net.select(value, Some(bits), RELU, pool, None);
    let smaller = usize::from(pool.is_some());
    let inputs = channels * (size[0] - smaller) * (size[1] - smaller);
    let z = net.dense(y, inputs, 1 + random.below(3), true);
    net.reveal(z)
}

/// A continuous function in pieces, so that signs near a threshold change little: of a value as it
/// is or truncated.
fn piecewise(random: &mut Random, net: &mut Draft, x: ValueId) -> ValueId {
    let u = if random.below(2) == 0 { net.truncate(x, 3) } else { x };
    let one = 1i128 << net.scale(u);
    let digits = digits(random);
    let bits = |net: &mut Draft, thresholds: &[i64]| net.compare(x, thresholds, 4, &digits);
    match random.below(4) {
        0 => {
            let sign = bits(net, &[0]);
            net.select(u, Some(sign), RELU, None, None)
        }
        1 => {
            let sign = bits(net, &[0]);
            net.select(u, Some(sign), &[&[0, -1], &[0, 2]], None, None)
        }
        2 => {
            // Cut off at -1 and 1/2.
            let two = bits(net, &[-16, 8]);
            net.select(u, Some(two), &[&[-one], &[one, 1], &[one / 2, -1]], None, None)
        }
        _ => {
            // A slope of its own in each of four pieces.
            let three = bits(net, &[-8, 0, 8]);
            let bends: [&[i128]; 4] = [&[0, 1], &[one / 2, 1], &[0, -1], &[-one / 2, 1]];
            net.select(u, Some(three), &bends, None, None)
        }
    }
}

/// Widths of digits, of a window that holds what small networks compute.
fn digits(random: &mut Random) -> Vec<u32> {
    let count = 1 + random.below(8) as u32;
    let bits = if count == 1 { 8 } else { 8 + random.below(5) as u32 };
    (0..count).map(|i| bits / count + u32::from(i < bits % count)).collect()
}
