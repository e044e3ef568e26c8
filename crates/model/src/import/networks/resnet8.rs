//! A residual network of eight layers for 32 x 32 colour images, ten classes.
//!
//! conv 3x3, three residual blocks of widths w, 2w, 4w (the second and third halve height and
//! width), mean over the image, fully connected. BatchNorm stands after the sum of a block, so that
//! every activation has one right before it.

use super::assembly::{Activations, Assembly, Weights};
use super::{PixelRule, WeightFile};
use crate::error::ModelError;
use crate::fake_quantisation::SplitMix;
use crate::graph::{ConvOptions, Graph, NodeId};

/// Widest first stage.
const MAX_WIDTH: usize = 512;

/// ResNet-8 with seeded random weights, for tests: numbers of trained size, nothing learned.
/// `width` is the number of channels of the first stage, 1 to 512.
///
/// # Errors
/// A width of 0.
pub fn resnet8_random(seed: u64, width: usize) -> Result<Graph, ModelError> {
    // Sums of two branches grow from block to block; less gain keeps them inside the interval.
    let weights = Weights::Random { generator: SplitMix(seed), gain: 1.4 };
    let (shape, activations) = ([3, 32, 32], Activations::random());
    build(Assembly::new("resnet8-random", shape, PixelRule::Symmetric, weights, activations), width)
}

/// Channels of the first stage of a file's network.
pub(super) fn width(file: &WeightFile<'_>) -> Result<usize, ModelError> {
    let allowed = |width: &usize| (1..=MAX_WIDTH).contains(width);
    let Some(text) = file.find_metadata("width") else {
        // The first layer's weights say it too.
        let channels = file.shape("conv1.weight")?.first().copied().unwrap_or(0);
        let reason = format!("{channels} channels, 1 to {MAX_WIDTH} are possible");
        let wrong = ModelError::weights("tensor `conv1.weight`", reason);
        return Some(channels).filter(allowed).ok_or(wrong);
    };
    let width = text.parse().ok().filter(allowed);
    width.ok_or_else(|| file.wrong("width", &format!("a number from 1 to {MAX_WIDTH}")))
}

pub(super) fn build(mut net: Assembly<'_>, width: usize) -> Result<Graph, ModelError> {
    let x = net.conv("conv1", net.input(), three(width), false)?;
    let x = net.activated("bn1", "act1", x)?;
    let x = block(&mut net, "s1", x, width, None)?;
    let x = block(&mut net, "s2", x, 2 * width, Some(2))?;
    let x = block(&mut net, "s3", x, 4 * width, Some(2))?;
    let x = net.mean("mean", x)?;
    let x = net.dense("fc", x, 10, true)?;
    net.finish(x)
}

fn three(channels: usize) -> ConvOptions {
    ConvOptions::square(channels, 3).padding(1)
}

/// A residual block; with a stride its shortcut is a convolution 1x1, else the identity.
fn block(
    net: &mut Assembly<'_>,
    name: &str,
    x: NodeId,
    channels: usize,
    stride: Option<usize>,
) -> Result<NodeId, ModelError> {
    let of = |part: &str| format!("{name}.{part}");
    let y = net.conv(&of("conv1"), x, three(channels).stride(stride.unwrap_or(1)), false)?;
    let y = net.activated(&of("bn1"), &of("act1"), y)?;
    let y = net.conv(&of("conv2"), y, three(channels), false)?;
    let shortcut = match stride {
        None => x,
        Some(stride) => {
            net.conv(&of("shortcut"), x, ConvOptions::square(channels, 1).stride(stride), false)?
        }
    };
    let sum = net.add(&of("sum"), y, shortcut)?;
    net.activated(&of("bn2"), &of("act2"), sum)
}
