//! The passes against other implementations of the same networks.

use amicus_model::{FloatExecutor, networks};
use burn::tensor::{Device, Tensor};

use super::*;
use crate::data::augment::{self, Augment};
use crate::engine::activation::values;
use crate::engine::evaluate::plain_batch;
use crate::engine::network::{Mode, Network};
use crate::engine::watch::{Nobody, Watch};
use crate::rng::Rng;
use crate::{DatasetName, WeightsType};
use amicus_data::Images;

fn random_images(architecture: &Architecture, count: usize) -> Images {
    let mut rng = Rng::new(5, 0);
    let size: usize = architecture.input.iter().product();
    let pixels = (0..count * size).map(|_| rng.below(256) as u8).collect();
    Images::new(architecture.input, pixels, vec![0; count]).unwrap()
}

fn unmoved() -> Augment {
    Augment::new(0.0, 0.0, 0, 0)
}

/// Weights in which every tensor matters: uneven gamma and beta, statistics of the images.
fn random_weights(architecture: &Architecture, activation: &Activation, images: &Images) -> Weights {
    let mut weights = Weights::fresh(architecture, 0.8, 3);
    let mut rng = Rng::new(9, 0);
    for block in &architecture.blocks {
        for (part, middle) in [("weight", 0.6), ("bias", 0.0)] {
            weights.change(&format!("{}.{part}", block.norm), |values| {
                values.iter_mut().for_each(|v| *v = middle + 0.3 * rng.symmetric());
            });
        }
    }
    Model { architecture, weights: &weights, activation: activation.clone(), device: &Device::flex() }
        .reestimated(images, &unmoved(), 0, &mut Rng::new(0, 0))
}

fn polynomials(architecture: &Architecture) -> Polynomials {
    let shared = vec![0.124, 2.0, 6.006, 0.25, -10.794, 0.0, 7.152];
    let mut coefficients = vec![shared; architecture.blocks.len()];
    // One that is its own, so that the order of activations matters.
    coefficients[1][0] = 0.5;
    Polynomials { interval: 4.0, coefficients }
}

fn logits(
    architecture: &Architecture,
    weights: &Weights,
    activation: Activation,
    images: &Images,
) -> Vec<f32> {
    let device = Device::flex();
    let network = Network::new(architecture, weights, activation, Mode::Evaluation, &device);
    values(&network.forward(plain_batch(architecture, images, 0..images.len(), &device), &mut Nobody).logits)
}

fn largest(values: &[f32]) -> f64 {
    values.iter().fold(0f64, |m, &x| m.max(f64::from(x).abs()))
}

#[test]
fn a_warm_student_at_blend_0_computes_what_its_teacher_does() {
    for &name in ModelName::ALL {
        let architecture = Architecture::of(name);
        let images = random_images(&architecture, 8);
        let teacher = random_weights(&architecture, &Activation::Relu, &images);
        let before = logits(&architecture, &teacher, Activation::Relu, &images);
        let mut student = teacher.clone();
        equalise(&mut student, &architecture, 4.0, 4.0);
        assert_ne!(student, teacher);
        let Activation::Polynomial(mut blended) = Activation::fixed(&polynomials(&architecture)) else {
            panic!("polynomials are polynomials");
        };
        blended.blend = 0.0;
        let after = logits(&architecture, &student, Activation::Polynomial(blended), &images);
        for (a, b) in before.iter().zip(&after) {
            assert!(f64::from(a - b).abs() < 1e-4 * largest(&before), "{name}: {a} {b}");
        }
    }
}

/// The exported file, read by crate `amicus-model`, gives the logits of the network it came from.
#[test]
fn the_exported_file_gives_the_same_logits_in_the_planners_float_path() {
    for &name in ModelName::ALL {
        let architecture = Architecture::of(name);
        let dataset = if name == ModelName::LeNet5 { DatasetName::Mnist } else { DatasetName::Cifar10 };
        let config = TrainConfig::new(dataset, name, "data".into(), "out".into());
        let images = random_images(&architecture, 16);
        let own = polynomials(&architecture);
        let weights = random_weights(&architecture, &Activation::fixed(&own), &images);
        let got = logits(&architecture, &weights, Activation::fixed(&own), &images);
        let none = Accuracy { correct: 0, images: 0 };
        let entries = metadata(&config, Some(&own), &vec![1.0; own.coefficients.len()], none, none).unwrap();
        let file = export::encode(weights.iter(), &entries, WeightsType::F32).unwrap();
        let network = networks::read(&file).unwrap();
        let executor = FloatExecutor::new(&network.graph);
        let mut expected = Vec::new();
        for i in 0..2 {
            let mut input = Vec::new();
            augment::push_plain(images.image(i), architecture.rule, &mut input);
            expected.extend(executor.run(&input).unwrap());
        }
        let size = largest(&got);
        assert!(size > 0.1, "{name}");
        for (got, expected) in got.iter().zip(&expected) {
            let off = (f64::from(*got) - expected).abs();
            assert!(off < 1e-4 * size.max(1.0), "{name}: {got} {expected}");
        }
    }
}

#[test]
fn ranges_that_are_not_finite_are_left_out() {
    let config = TrainConfig::new(DatasetName::Mnist, ModelName::LeNet5, "data".into(), "out".into());
    let own = polynomials(&config.architecture());
    let none = Accuracy { correct: 0, images: 0 };
    let has = |last| {
        metadata(&config, Some(&own), &[1.0, 0.5, 0.5, last], none, none).unwrap().contains_key(key::RANGES)
    };
    assert!(has(2.0) && !has(f64::INFINITY));
}

/// Re-estimated statistics normalise: over the same images every channel has mean beta and
/// deviation |gamma|.
#[test]
fn reestimated_statistics_normalise_the_images() {
    struct Check(f64);
    impl Watch for Check {
        fn before_activation<const D: usize>(&mut self, _: usize, t: &Tensor<D>) {
            let (t, channels) = (values(t), t.dims()[1]);
            let area = t.len() / (200 * channels);
            for channel in 0..channels {
                let own = t.chunks_exact(area).skip(channel).step_by(channels).flatten();
                let (sum, squares) =
                    own.fold((0.0, 0.0), |(s, q), &t| (s + f64::from(t), q + f64::from(t).powi(2)));
                let count = (200 * area) as f64;
                let (mean, variance) = (sum / count, squares / count - (sum / count).powi(2));
                self.0 = self.0.max(mean.abs()).max((variance.sqrt() - 0.5).abs());
            }
        }
    }
    let (device, architecture) = (Device::flex(), Architecture::of(ModelName::LeNet5));
    let images = random_images(&architecture, 200);
    let activation =
        Activation::fixed(&Polynomials { interval: 4.0, coefficients: vec![vec![0.1, 2.0, 3.0]; 4] });
    let fresh = Weights::fresh(&architecture, 0.5, 5);
    let model = Model {
        architecture: &architecture,
        weights: &fresh,
        activation: activation.clone(),
        device: &device,
    };
    let weights = model.reestimated(&images, &unmoved(), 0, &mut Rng::new(0, 0));
    let mut check = Check(0.0);
    Model { architecture: &architecture, weights: &weights, activation, device: &device }
        .accuracy(&images, 200, &mut check);
    // The variance kept is divided by 199 rather than 200.
    assert!(check.0 < 5e-3, "off by {}", check.0);
}

/// Every trained tensor gets a gradient, and it points uphill: a small step along it changes the
/// loss as it says.
#[test]
fn gradients_agree_with_differences() {
    for &name in ModelName::ALL {
        let architecture = Architecture::of(name);
        let images = random_images(&architecture, 6);
        let own = polynomials(&architecture);
        let weights = random_weights(&architecture, &Activation::fixed(&own), &images);
        let device = Device::flex().autodiff();
        let x = plain_batch(&architecture, &images, 0..6, &device);
        let classes = loss::one_hot([1u8, 2, 3, 4, 5, 6].into_iter(), 0.0, &device);
        let run = |weights: &Weights| {
            let network =
                Network::new(&architecture, weights, Activation::fixed(&own), Mode::Training, &device);
            let logits = network.forward(x.clone(), &mut Nobody).logits;
            let loss = loss::cross_entropy(logits, classes.clone());
            let value: f32 = loss.clone().into_scalar();
            (f64::from(value), network.gradients(&loss))
        };
        let (_, gradients) = run(&weights);
        let trained = architecture.parameters().iter().filter(|p| p.role.is_trained()).count();
        assert_eq!(gradients.len(), trained, "{name}");
        // Along the normalised gradient of a few tensors of every kind.
        for tensor in
            [architecture.blocks[0].norm.clone() + ".bias", architecture.output.name.clone() + ".weight"]
        {
            let gradient = &gradients[&tensor];
            let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
            let moved = |step: f64| {
                let mut weights = weights.clone();
                weights.change(&tensor, |values| {
                    values.iter_mut().zip(gradient).for_each(|(v, g)| *v += (step / norm) as f32 * g);
                });
                run(&weights).0
            };
            let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!((slope / norm - 1.0).abs() < 0.05, "{name} {tensor}: {slope} {norm}");
        }
    }
}
