//! Running a network on images held out: answers, ranges, and BatchNorm's statistics computed anew.

use burn::tensor::{Device, Tensor, TensorData};

use crate::Accuracy;
use crate::architecture::{Architecture, CLASSES};
use crate::data::augment::{self, Augment};
use crate::engine::activation::{Activation, values};
use crate::engine::network::{Mode, Network, Statistics};
use crate::engine::watch::{Nobody, Ranges, Watch};
use crate::range::LayerRange;
use crate::rng::Rng;
use crate::weights::Weights;
use amicus_data::Images;

/// Images in one forward pass.
const BATCH: usize = 250;
/// Training images that statistics and ranges are measured on, at most.
pub(crate) const MEASURED: usize = 10_000;

/// Unmoved images as the network's input, `[indices, channels, rows, columns]`.
pub(crate) fn plain_batch(
    architecture: &Architecture,
    images: &Images,
    indices: std::ops::Range<usize>,
    device: &Device,
) -> Tensor<4> {
    batch_of(images, indices, device, |index, pixels| {
        augment::push_plain(images.image(index), architecture.rule, pixels);
    })
}

/// The images that `push` writes for every index, `[indices, channels, rows, columns]`.
pub(crate) fn batch_of(
    images: &Images,
    indices: impl ExactSizeIterator<Item = usize>,
    device: &Device,
    mut push: impl FnMut(usize, &mut Vec<f32>),
) -> Tensor<4> {
    let [channels, rows, columns] = images.shape();
    let shape = [indices.len(), channels, rows, columns];
    let mut pixels = Vec::with_capacity(shape.iter().product());
    indices.for_each(|index| push(index, &mut pixels));
    Tensor::from_data(TensorData::new(pixels, shape), device)
}

/// A network at rest: what it needs to answer.
pub(crate) struct Model<'a> {
    pub(crate) architecture: &'a Architecture,
    pub(crate) weights: &'a Weights,
    pub(crate) activation: Activation,
    /// A device without automatic differentiation.
    pub(crate) device: &'a Device,
}

impl Model<'_> {
    /// How many of the first `count` images get their class.
    pub(crate) fn accuracy(&self, images: &Images, count: usize, watch: &mut impl Watch) -> Accuracy {
        let network = self.network(Mode::Evaluation);
        let count = count.min(images.len());
        let mut correct = 0;
        for start in (0..count).step_by(BATCH) {
            let x = plain_batch(self.architecture, images, start..count.min(start + BATCH), self.device);
            let logits = values(&network.forward(x, watch).logits);
            let rows = logits.chunks_exact(CLASSES).enumerate();
            correct += rows.filter(|(i, row)| largest(row) == usize::from(images.label(start + i))).count();
        }
        Accuracy { correct, images: count }
    }

    /// The accuracy, and the range of every activation's inputs.
    pub(crate) fn accuracy_and_ranges(
        &self,
        images: &Images,
        count: usize,
        interval: Option<f64>,
    ) -> (Accuracy, Vec<LayerRange>) {
        let Some(interval) = interval else { return (self.accuracy(images, count, &mut Nobody), Vec::new()) };
        let mut ranges = Ranges::new(interval, self.architecture);
        let accuracy = self.accuracy(images, count, &mut ranges);
        (accuracy, ranges.layers)
    }

    /// The weights with every BatchNorm's running statistics replaced by their means over batches
    /// of training images, each normalised by its own; the images are moved and mirrored as
    /// `augment` does in `epoch`.
    pub(crate) fn reestimated(
        &self,
        images: &Images,
        augment: &Augment,
        epoch: usize,
        rng: &mut Rng,
    ) -> Weights {
        let network = self.network(Mode::Training);
        let count = images.len().min(MEASURED);
        let batch = BATCH.min(count);
        let mut sums: Vec<Statistics> = Vec::new();
        let batches = count / batch.max(1);
        for start in (0..batches).map(|i| i * batch) {
            let x = batch_of(images, start..start + batch, self.device, |index, pixels| {
                augment.push(images, index, epoch, self.architecture.rule, rng, pixels);
            });
            let found = network.forward(x, &mut Nobody).statistics;
            if sums.is_empty() {
                sums = found;
            } else {
                for (sum, one) in sums.iter_mut().zip(found) {
                    sum.mean.iter_mut().zip(one.mean).for_each(|(a, b)| *a += b);
                    sum.variance.iter_mut().zip(one.variance).for_each(|(a, b)| *a += b);
                }
            }
        }
        let mut weights = self.weights.clone();
        let share = 1.0 / batches.max(1) as f32;
        for (block, sum) in self.architecture.blocks.iter().zip(sums) {
            for (part, sum) in [("running_mean", sum.mean), ("running_var", sum.variance)] {
                weights.change(&format!("{}.{part}", block.norm), |values| {
                    *values = sum.iter().map(|x| x * share).collect();
                });
            }
        }
        weights
    }

    fn network(&self, mode: Mode) -> Network<'_> {
        Network::new(self.architecture, self.weights, self.activation.clone(), mode, self.device)
    }
}

fn largest(row: &[f32]) -> usize {
    row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(class, _)| class)
}
