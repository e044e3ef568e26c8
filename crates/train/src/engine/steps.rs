//! The training loop: batches, teacher, loss, optimiser, schedules, checkpoints.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use burn::tensor::{Device, Tensor};
use serde_json::Value;

use crate::architecture::Architecture;
use crate::checkpoint::Checkpoint;
use crate::curve::{self, CurvePoint};
use crate::data::Split;
use crate::data::augment::Augment;
use crate::engine::activation::{Activation, Coefficients, Polynomial};
use crate::engine::evaluate::{Model, batch_of};
use crate::engine::loss::{self, Answers, Distillation};
use crate::engine::network::{Mode, Network, Statistics};
use crate::engine::product::Burn;
use crate::engine::watch::{Features, Finite, Nobody, Penalty};
use crate::equalise::project;
use crate::optimiser::{Optimiser, clip};
use crate::range::LayerRange;
use crate::rng::{Rng, stream};
use crate::rounding::rounded;
use crate::schedule::{blend, one_cycle};
use crate::weights::{Polynomials, Weights};
use crate::{Progress, TrainConfig, TrainError};

/// Share of a batch's statistics in BatchNorm's running ones.
const MOMENTUM: f32 = 0.1;

/// Everything a run reads.
pub(crate) struct Run<'a> {
    pub(crate) config: &'a TrainConfig,
    pub(crate) architecture: &'a Architecture,
    /// The student's polynomials; none for a ReLU network.
    pub(crate) polynomials: Option<&'a Polynomials>,
    /// The ReLU network to learn from, at the student's scale.
    pub(crate) teacher: Option<&'a Weights>,
    pub(crate) data: &'a Split,
    pub(crate) device: &'a Device,
    /// Where checkpoints and the learning curve go, and what they are checked against.
    pub(crate) checkpoint: PathBuf,
    pub(crate) table: PathBuf,
    pub(crate) settings: &'a Value,
}

/// What a step saw.
struct Step {
    loss: f32,
    gradients: BTreeMap<String, Vec<f32>>,
    statistics: Vec<Statistics>,
}

/// Images and one-hot classes of a step.
struct Batch {
    images: Tensor<4>,
    classes: Tensor<2>,
}

/// How training images are moved and mirrored.
pub(crate) fn augmentation(config: &TrainConfig, images: usize) -> Augment {
    let mirrored = if config.mirror { images } else { 0 };
    Augment::new(config.max_shift, config.max_rotation, mirrored, config.seed)
}

impl Run<'_> {
    /// The state before the first epoch.
    pub(crate) fn start(&self, weights: Weights) -> Checkpoint {
        Checkpoint {
            epochs: 0,
            weights,
            optimiser: Optimiser::default(),
            orders: Rng::new(self.config.seed, stream::ORDER).state(),
            order: (0..self.data.training.len()).collect(),
            moves: Rng::new(self.config.seed, stream::AUGMENT).state(),
            curve: Vec::new(),
        }
    }

    /// Trains from `state` to the end.
    pub(crate) fn run(
        &self,
        mut state: Checkpoint,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Checkpoint, TrainError> {
        let config = self.config;
        let steps = self.data.training.len() / config.batch_size;
        if steps == 0 {
            let (images, batch) = (self.data.training.len(), config.batch_size);
            let problem = format!("{images} images do not make one batch of {batch}");
            return Err(TrainError::Config { name: "batch-size", problem });
        }
        let augment = augmentation(config, self.data.training.len());
        while state.epochs < config.epochs {
            let start = Instant::now();
            let (loss, share) = self.epoch(&mut state, steps, &augment, progress)?;
            state.epochs += 1;
            self.end_of_epoch(&mut state, start, loss, share, progress)?;
        }
        Ok(state)
    }

    /// The steps of one epoch: their mean loss, and the last one's share of the highest rate.
    fn epoch(
        &self,
        state: &mut Checkpoint,
        steps: usize,
        augment: &Augment,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(f64, f64), TrainError> {
        let config = self.config;
        let (mut orders, mut moves) = (Rng::from_state(state.orders), Rng::from_state(state.moves));
        orders.shuffle(&mut state.order);
        let (mut sum, mut share) = (0.0, 0.0);
        // The rest that does not fill a batch comes up in another epoch's order.
        for (step, indices) in (1..).zip(state.order.chunks_exact(config.batch_size)) {
            let done = state.epochs as f64 + (step - 1) as f64 / steps as f64;
            let batch = self.batch(indices, state.epochs, augment, &mut moves);
            let activation = self.activation(done, state.epochs);
            // With rounding, gradients are those at the rounded weights and move the unrounded
            // ones.
            let fixed = self.polynomials.filter(|_| self.is_fixed(state.epochs)).map(|polynomials| {
                let interval = polynomials.interval as f32;
                rounded(&state.weights, self.architecture, interval, config.weight_bits)
            });
            let weights = fixed.as_ref().unwrap_or(&state.weights);
            let Step { loss, mut gradients, statistics } =
                self.forward_backward(weights, activation.clone(), &batch);
            let norm = clip(&mut gradients, config.clip_norm);
            if !loss.is_finite() || !norm.is_finite() {
                let what = if loss.is_finite() {
                    format!("the gradients' norm is {norm}")
                } else {
                    format!("the loss is {loss}")
                };
                let culprit = self.culprit(weights, activation, batch.images.without_autodiff());
                return Err(TrainError::Diverged { epoch: state.epochs + 1, step, what, culprit });
            }
            share = one_cycle(done / config.epochs as f64, config.warm_up);
            let product = Burn(self.device);
            let (rates, optimiser) = (config.rates, &mut state.optimiser);
            optimiser.step(&mut state.weights, self.architecture, &gradients, rates, share, &product);
            self.after_step(&mut state.weights, statistics);
            sum += f64::from(loss);
            let learning_rate = share * rates.learning_rate;
            progress(Progress::Step { epoch: state.epochs + 1, step, steps, loss, learning_rate });
        }
        (state.orders, state.moves) = (orders.state(), moves.state());
        Ok((sum / steps as f64, share))
    }

    /// Validation, learning curve, checkpoint.
    fn end_of_epoch(
        &self,
        state: &mut Checkpoint,
        start: Instant,
        loss: f64,
        share: f64,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), TrainError> {
        let activation = self.activation(state.epochs as f64, state.epochs - 1);
        let model = Model {
            architecture: self.architecture,
            weights: &state.weights,
            activation,
            device: self.device,
        };
        let held_out = &self.data.validation;
        let interval = self.polynomials.map(|polynomials| polynomials.interval);
        let (validation, ranges) = model.accuracy_and_ranges(held_out, held_out.len(), interval);
        let count = |of: fn(&LayerRange) -> u64| ranges.iter().map(of).sum::<u64>() as f64;
        let point = CurvePoint {
            epoch: state.epochs,
            loss,
            validation_accuracy: validation.rate(),
            escape_rate: count(|range| range.escaped) / count(|range| range.values).max(1.0),
            learning_rate: share * self.config.rates.learning_rate,
            seconds: start.elapsed().as_secs_f64(),
        };
        state.curve.push(point);
        curve::write(&self.table, &state.curve)?;
        state.write(&self.checkpoint, self.settings)?;
        progress(Progress::Epoch { epochs: self.config.epochs, validation, point });
        Ok(())
    }

    /// Whether epoch `epoch` (from 0) rounds to fixed point.
    fn is_fixed(&self, epoch: usize) -> bool {
        self.polynomials.is_some() && epoch + self.config.fixed_epochs >= self.config.epochs
    }

    /// The activations `done` epochs into the run, in epoch `epoch` (from 0).
    fn activation(&self, done: f64, epoch: usize) -> Activation {
        let Some(polynomials) = self.polynomials else { return Activation::Relu };
        let coefficients = polynomials.coefficients.iter().cloned().map(Coefficients::Fixed).collect();
        Activation::Polynomial(Polynomial {
            interval: polynomials.interval,
            coefficients,
            blend: blend(done, self.config.blending()),
            argument_bits: self.is_fixed(epoch).then_some(self.config.argument_bits),
        })
    }

    fn batch(&self, indices: &[usize], epoch: usize, augment: &Augment, moves: &mut Rng) -> Batch {
        let device = self.device.clone().autodiff();
        let images = &self.data.training;
        let rule = self.architecture.rule;
        Batch {
            images: batch_of(images, indices.iter().copied(), &device, |index, pixels| {
                augment.push(images, index, epoch, rule, moves, pixels);
            }),
            classes: loss::one_hot(
                indices.iter().map(|&index| images.label(index)),
                self.config.label_smoothing,
                &device,
            ),
        }
    }

    fn forward_backward(&self, weights: &Weights, activation: Activation, batch: &Batch) -> Step {
        let config = self.config;
        let how = Distillation {
            weight: config.distillation,
            temperature: config.temperature,
            features: config.features,
        };
        let teacher = self.teacher.filter(|_| how.weight > 0.0 || how.features > 0.0).map(|teacher| {
            let network =
                Network::new(self.architecture, teacher, Activation::Relu, Mode::Evaluation, self.device);
            let mut features = Features::new(how.features > 0.0);
            let logits = network.forward(batch.images.clone().without_autodiff(), &mut features).logits;
            let outputs = features.outputs.into_iter().map(Tensor::autodiff).collect();
            Answers { logits: logits.autodiff(), features: outputs }
        });
        let penalty = match self.polynomials {
            Some(p) => Penalty::new(p.interval, config.escape_margin, config.escape_penalty),
            None => Penalty::off(),
        };
        let mut watch = (penalty, Features::new(teacher.is_some() && how.features > 0.0));
        let device = self.device.clone().autodiff();
        let network = Network::new(self.architecture, weights, activation, Mode::Training, &device);
        let pass = network.forward(batch.images.clone(), &mut watch);
        let classes = batch.classes.clone();
        let mut total = match teacher {
            Some(teacher) => loss::distilled(pass.logits, watch.1.outputs, classes, teacher, how),
            None => loss::cross_entropy(pass.logits, classes),
        };
        if let Some(penalty) = watch.0.take() {
            total = total + penalty;
        }
        let loss: f32 = total.clone().into_scalar();
        let gradients = if loss.is_finite() { network.gradients(&total) } else { BTreeMap::new() };
        Step { loss, gradients, statistics: pass.statistics }
    }

    /// Running statistics and projection.
    fn after_step(&self, weights: &mut Weights, statistics: Vec<Statistics>) {
        for (block, batch) in self.architecture.blocks.iter().zip(statistics) {
            for (part, batch) in [("running_mean", batch.mean), ("running_var", batch.variance)] {
                weights.change(&format!("{}.{part}", block.norm), |running| {
                    running.iter_mut().zip(&batch).for_each(|(r, b)| *r += MOMENTUM * (b - *r));
                });
            }
        }
        if let Some(polynomials) = self.polynomials.filter(|_| self.config.projection) {
            let (interval, sigmas) = (polynomials.interval as f32, self.config.sigmas as f32);
            project(weights, self.architecture, interval, sigmas);
        }
    }

    /// The first layer whose values are not finite, as a sentence.
    fn culprit(&self, weights: &Weights, activation: Activation, images: Tensor<4>) -> String {
        let device = self.device;
        let mut finite = Finite::new(self.architecture);
        let network = Network::new(self.architecture, weights, activation, Mode::Training, device);
        let logits = network.forward(images.clone(), &mut finite).logits;
        finite.look(&self.architecture.output.name, &logits);
        if let Some(name) = finite.first {
            return format!("the first layer whose values are not finite is {name}");
        }
        if let Some(teacher) = self.teacher {
            let network =
                Network::new(self.architecture, teacher, Activation::Relu, Mode::Evaluation, device);
            let answers = network.forward(images, &mut Nobody).logits;
            let mut finite = Finite::new(self.architecture);
            finite.look("", &answers);
            if finite.first.is_some() {
                return "the teacher's answers are not finite".into();
            }
        }
        "every layer's values are finite, so it is the loss or its gradient".into()
    }
}
