//! Running a trained network: answers, ranges, and BatchNorm's statistics computed anew.

use burn::tensor::{Device, Tensor, TensorData};

use crate::Accuracy;
use crate::data::{Images, augment};
use crate::engine::activation::{Activation, Moments, Nobody, Ranges, Watch, values};
use crate::engine::lenet5::{ACTIVATIONS, LeNet5};
use crate::range::LayerRange;

/// Images in one forward pass.
const BATCH: usize = 250;

/// `[indices, 1, rows, columns]` of unmoved images, pixel / 255.
pub(crate) fn plain_batch(images: &Images, indices: std::ops::Range<usize>, device: &Device) -> Tensor<4> {
    let shape = [indices.len(), 1, images.rows(), images.columns()];
    let mut pixels = Vec::with_capacity(shape.iter().product());
    indices.for_each(|index| augment::push_plain(images.image(index), &mut pixels));
    Tensor::from_data(TensorData::new(pixels, shape), device)
}

/// Runs `model` (in validation mode, on `device`) over all images; `each` gets the number of a batch's first image
/// and the batch's logits, image after image.
fn run(
    model: &LeNet5,
    act: &Activation,
    images: &Images,
    device: &Device,
    watch: &mut impl Watch,
    mut each: impl FnMut(usize, &[f32]),
) {
    for start in (0..images.len()).step_by(BATCH) {
        let x = plain_batch(images, start..images.len().min(start + BATCH), device);
        each(start, &values(&model.forward(x, act, watch)));
    }
}

/// How many images get their class.
pub(crate) fn accuracy(model: &LeNet5, act: &Activation, images: &Images, device: &Device) -> Accuracy {
    let mut correct = 0;
    run(model, act, images, device, &mut Nobody, |start, logits| {
        correct += count_correct(images, start, logits)
    });
    Accuracy { correct, images: images.len() }
}

/// The same, with the range of every activation's inputs.
pub(crate) fn accuracy_and_ranges(
    model: &LeNet5,
    act: &Activation,
    images: &Images,
    device: &Device,
) -> (Accuracy, Vec<LayerRange>) {
    let mut correct = 0;
    let mut ranges = Ranges::new(act.interval, &ACTIVATIONS);
    run(model, act, images, device, &mut ranges, |start, logits| {
        correct += count_correct(images, start, logits)
    });
    (Accuracy { correct, images: images.len() }, ranges.layers)
}

/// Sets every BatchNorm's running mean and variance to those over `images`, layer by layer, so that each layer's are
/// computed with the final statistics of the layers before it.
pub(crate) fn reestimate(model: &mut LeNet5, act: &Activation, images: &Images, device: &Device) {
    for layer in 0..ACTIVATIONS.len() {
        let mut moments = Moments::new(layer);
        run(model, act, images, device, &mut moments, |_, _| ());
        let (mean, variance) = moments.finish();
        model.set_statistics(layer, mean, variance, device);
    }
}

fn count_correct(images: &Images, start: usize, logits: &[f32]) -> usize {
    let classes = usize::from(crate::data::mnist::CLASSES);
    let answer =
        |row: &[f32]| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(class, _)| class);
    let rows = logits.chunks_exact(classes).enumerate();
    rows.filter(|(i, row)| answer(row) == Some(usize::from(images.label(start + i)))).count()
}
