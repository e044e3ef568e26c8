//! AlexNet for 32 x 32 colour images, ten classes, BatchNorm before every activation.
//!
//! conv 64-192-384-256-256, all 3x3 pad 1; pools of 2 (means or maxima) after the first, second and
//! fifth; fully connected 4096-1024-512-10.

use super::PixelRule;
use super::assembly::{Activations, Assembly, Weights};
use crate::error::ModelError;
use crate::fake_quantisation::SplitMix;
use crate::graph::{ConvOptions, Graph};

/// AlexNet for 32 x 32 images with seeded random weights, for tests: numbers of trained size,
/// nothing learned.
///
/// # Errors
/// None in practice.
pub fn alexnet_cifar_random(seed: u64) -> Result<Graph, ModelError> {
    // An activation halves the second moment.
    let weights = Weights::Random { generator: SplitMix(seed), gain: 2.0 };
    let (shape, activations) = ([3, 32, 32], Activations::random());
    build(Assembly::new("alexnet-cifar-random", shape, PixelRule::Symmetric, weights, activations))
}

pub(super) fn build(mut net: Assembly<'_>) -> Result<Graph, ModelError> {
    let mut x = net.input();
    for (i, (channels, pooled)) in
        [(64, true), (192, true), (384, false), (256, false), (256, true)].into_iter().enumerate()
    {
        let n = i + 1;
        x = net.conv(&format!("conv{n}"), x, ConvOptions::square(channels, 3).padding(1), false)?;
        x = net.activated(&format!("bn{n}"), &format!("act{n}"), x)?;
        if pooled {
            x = net.halved(&format!("pool{n}"), x)?;
        }
    }
    let x = net.flat("flatten", x)?;
    let x = net.dense("fc1", x, 1024, false)?;
    let x = net.activated("bn6", "act6", x)?;
    let x = net.dense("fc2", x, 512, false)?;
    let x = net.activated("bn7", "act7", x)?;
    let x = net.dense("fc3", x, 10, true)?;
    net.finish(x)
}
