//! Random networks: small, of every kind of operation, for one, two and three limbs.

use crate::nets::{Draft, Net};
use crate::random::Random;
use crate::zoo;
use amicus_field::{Conv2d, Limbs, SumPool2d};
use amicus_plan::ValueId;

/// Draws a network.
///
/// # Panics
/// When the drawn network is not valid.
pub fn draw(random: &mut Random, limbs: Limbs) -> Net {
    match random.below(10) {
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
        _ => vector(random, limbs),
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
