//! LeNet-5 for 28 x 28 grey images, ten classes, BatchNorm before every activation.
//!
//! conv 6@5x5 pad 2, pool 2, conv 16@5x5, pool 2, fully connected 400-120-84-10; pools are means or
//! maxima.

use super::PixelRule;
use super::assembly::{Activations, Assembly, Weights};
use crate::error::ModelError;
use crate::fake_quantisation::SplitMix;
use crate::graph::{ConvOptions, Graph};

/// LeNet-5 with seeded random weights, for tests: numbers of trained size, nothing learned.
///
/// # Errors
/// None in practice.
pub fn lenet5_random(seed: u64) -> Result<Graph, ModelError> {
    let weights = Weights::Random { generator: SplitMix(seed), gain: 1.0 };
    build(Assembly::new("lenet5-random", [1, 28, 28], PixelRule::Unit, weights, Activations::random()))
}

pub(super) fn build(mut net: Assembly<'_>) -> Result<Graph, ModelError> {
    let x = net.conv("conv1", net.input(), ConvOptions::square(6, 5).padding(2), true)?;
    let x = net.activated("bn1", "act1", x)?;
    let x = net.halved("pool1", x)?;
    let x = net.conv("conv2", x, ConvOptions::square(16, 5), true)?;
    let x = net.activated("bn2", "act2", x)?;
    let x = net.halved("pool2", x)?;
    let x = net.flat("flatten", x)?;
    let x = net.dense("fc1", x, 120, true)?;
    let x = net.activated("bn3", "act3", x)?;
    let x = net.dense("fc2", x, 84, true)?;
    let x = net.activated("bn4", "act4", x)?;
    let x = net.dense("fc3", x, 10, true)?;
    net.finish(x)
}
