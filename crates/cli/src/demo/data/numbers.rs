//! Inputs as numbers: from a file, or at random.

use super::super::DemoError;
use super::{Content, Data, Item};
use crate::samples::{Invalid, Reading, Samples, samples};
use amicus_model::Graph;
use amicus_model::networks::PixelRule;
use std::path::Path;

/// Random inputs made.
const RANDOM: usize = 100;
/// How much of the input's range they fill, around its middle: the range goes a tenth beyond what
/// the network was calibrated with on either side, and numbers spread wider than those can leave
/// the intervals of activations layer after layer.
const FILLED: f64 = 0.8;

/// Arrays `x` and, if there, `y` of an `.npz` file.
pub(super) fn read(path: &Path, graph: &Graph, invalid: Invalid) -> Result<Data, DemoError> {
    let reading = Reading { network: graph, range: Some(graph.input_range()), invalid, limit: None };
    let Samples { images, labels, places, notes } = samples(path, reading)?;
    let label = |i: usize| labels.as_ref().map(|labels| labels[i]);
    let item = |(i, x)| Item { number: places[i], content: Content::Numbers(x), label: label(i) };
    let items = images.into_iter().enumerate().map(item).collect();
    Ok(Data { notes, ..data(path.display().to_string()).with_items(items) })
}

/// Repeatable numbers, evenly spread over the inner part of the input's range.
pub(super) fn random(graph: &Graph) -> Data {
    let (range, count) = (graph.input_range(), graph.input_shape().iter().product::<usize>());
    let (middle, width) = (f64::midpoint(range.low, range.high), FILLED * (range.high - range.low));
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut number = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let unit = (state >> 11) as f64 / (1u64 << 53) as f64;
        (middle + (unit - 0.5) * width) as f32
    };
    let mut item = |i| Item {
        number: i,
        content: Content::Numbers((0..count).map(|_| number()).collect()),
        label: None,
    };
    let items = (0..RANDOM).map(&mut item).collect();
    let [low, high] = [middle - width / 2.0, middle + width / 2.0];
    data(format!("random inputs from {low:.3} to {high:.3}")).with_items(items)
}

/// Numbers need no pixels.
fn data(source: String) -> Data {
    Data::new(source, None, [0; 3], PixelRule::Unit)
}
