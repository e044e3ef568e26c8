//! The training loop: batches, loss, optimiser, schedule.

use std::time::Instant;

use burn::grad_clipping::GradientClippingConfig;
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::data::Images;
use crate::data::augment::Augment;
use crate::data::mnist::Split;
use crate::engine::activation::{Activation, Penalty};
use crate::engine::evaluate;
use crate::engine::lenet5::LeNet5;
use crate::rng::Rng;
use crate::schedule::one_cycle;
use crate::{Progress, TrainConfig, TrainError};

/// Streams of the configuration's seed; 1 is the split's.
const INIT_STREAM: u64 = 2;
const ORDER_STREAM: u64 = 3;
const AUGMENT_STREAM: u64 = 4;

/// Trains a new network on `data.training` and returns it in training mode.
pub(crate) fn run(
    config: &TrainConfig,
    act: &Activation,
    data: &Split,
    device: &Device,
    progress: &mut dyn FnMut(Progress),
) -> Result<LeNet5, TrainError> {
    let steps = data.training.len() / config.batch_size;
    if steps == 0 {
        let problem =
            format!("{} images do not make one batch of {}", data.training.len(), config.batch_size);
        return Err(TrainError::Config { name: "batch-size", problem });
    }
    let learning_device = device.clone().autodiff();
    let mut model =
        LeNet5::new(config.gamma_start, &mut Rng::new(config.seed, INIT_STREAM), &learning_device);
    let mut optimiser = AdamWConfig::new()
        .with_weight_decay(config.weight_decay)
        .with_grad_clipping(Some(GradientClippingConfig::Norm(config.clip_norm)))
        .init();
    let cross_entropy = CrossEntropyLossConfig::new().init(&learning_device);
    let augment = Augment { max_shift: config.max_shift, max_rotation: config.max_rotation };
    let (mut orders, mut moves) =
        (Rng::new(config.seed, ORDER_STREAM), Rng::new(config.seed, AUGMENT_STREAM));
    let mut order: Vec<usize> = (0..data.training.len()).collect();

    for epoch in 1..=config.epochs {
        let start = Instant::now();
        orders.shuffle(&mut order);
        let mut sum = 0.0;
        // The rest that does not fill a batch comes up in another epoch's order.
        for (step, indices) in (1..).zip(order.chunks_exact(config.batch_size)) {
            let (x, classes) = batch(&data.training, indices, &augment, &mut moves, &learning_device);
            let mut penalty = Penalty::new(act.interval, config.escape_margin, config.escape_penalty);
            let logits = model.forward(x, act, &mut penalty);
            let mut loss = cross_entropy.forward(logits, classes);
            if let Some(penalty) = penalty.take() {
                loss = loss + penalty;
            }
            let value: f32 = loss.clone().into_scalar();
            if !value.is_finite() {
                return Err(TrainError::Diverged { epoch, step, loss: value });
            }
            sum += value;
            let done = (epoch - 1) * steps + step - 1;
            let learning_rate = one_cycle(done, config.epochs * steps, config.learning_rate);
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            model = optimiser.step(learning_rate, model, gradients);
            progress(Progress::Step { epoch, step, steps, loss: value, learning_rate });
        }
        let validation = evaluate::accuracy(&model.valid(), act, &data.validation, device);
        let (loss, seconds) = (sum / steps as f32, start.elapsed().as_secs_f64());
        progress(Progress::Epoch { epoch, epochs: config.epochs, loss, validation, seconds });
    }
    Ok(model)
}

/// The images at `indices`, moved a little, `[indices, 1, rows, columns]`, and their classes.
fn batch(
    images: &Images,
    indices: &[usize],
    augment: &Augment,
    rng: &mut Rng,
    device: &Device,
) -> (Tensor<4>, Tensor<1, Int>) {
    let shape = [indices.len(), 1, images.rows(), images.columns()];
    let mut pixels = Vec::with_capacity(shape.iter().product());
    indices.iter().for_each(|&index| augment.push(images.image(index), images.columns(), rng, &mut pixels));
    let classes: Vec<i32> = indices.iter().map(|&index| i32::from(images.label(index))).collect();
    let classes = Tensor::from_data(TensorData::new(classes, [indices.len()]), device);
    (Tensor::from_data(TensorData::new(pixels, shape), device), classes)
}
