//! Training with burn on the processor (its flex backend).

mod activation;
mod evaluate;
mod loss;
mod network;
mod product;
mod steps;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::BTreeMap;
use std::time::Instant;

use amicus_model::fit::{self, Fit, Weight};
use burn::tensor::Device;

use crate::architecture::{Architecture, BN_EPS};
use crate::checkpoint::{self, Checkpoint};
use crate::data::{self, Split, split};
use crate::engine::activation::Activation;
use crate::engine::evaluate::{MEASURED, Model};
use crate::engine::network::coefficients_of;
use crate::engine::steps::{Run, augmentation};
use crate::equalise::{equalise, project};
use crate::export::{self, NamedTensor, key};
use crate::rng::{Rng, stream};
use crate::weights::{self, Polynomials, Weights};
use crate::{Accuracy, ModelName, Progress, TrainConfig, TrainError, TrainReport, plot};

/// Share of the fit's weight that is spread evenly over the interval.
const UNIFORM_PART: f64 = 0.02;

/// Loads, trains, measures, writes. `config` has been validated.
pub(crate) fn train(
    config: &TrainConfig,
    progress: &mut dyn FnMut(Progress),
) -> Result<TrainReport, TrainError> {
    let start = Instant::now();
    export::check_writable(&config.out)?;
    let architecture = config.architecture();
    let fit = config.is_polynomial().then(|| fit_activation(config)).transpose()?;
    let (mut teacher, mut teacher_file) = (None, None);
    if let Some(path) = &config.teacher {
        let bytes = export::read(path)?;
        teacher = Some(weights::read_teacher(path, &bytes, config)?);
        teacher_file = Some(data::fingerprint(&bytes));
    }
    let data = load(config, progress)?;
    let settings = checkpoint::settings_of(
        config,
        data.training.fingerprint() ^ data.validation.fingerprint().rotate_left(1),
        teacher_file,
    )?;

    let polynomials = fit.as_ref().map(|fit| Polynomials {
        interval: fit.interval,
        coefficients: vec![fit.coefficients.clone(); architecture.blocks.len()],
    });
    let first = first_weights(config, &architecture, polynomials.as_ref(), teacher.as_mut());
    let device = Device::flex();
    let run = Run {
        config,
        architecture: &architecture,
        polynomials: polynomials.as_ref(),
        teacher: teacher.as_ref(),
        data: &data,
        device: &device,
        checkpoint: checkpoint::path_for(&config.out),
        table: export::beside(&config.out, ".csv"),
        settings: &settings,
    };
    let state = if config.resume {
        let state = Checkpoint::read(&run.checkpoint, &settings, &architecture, data.training.len())?;
        progress(Progress::Resumed { epochs: state.epochs });
        state
    } else {
        run.start(first)
    };
    let trained = run.run(state, progress)?;
    finish(config, &architecture, fit.as_ref(), trained, &data, &device, start, progress)
}

fn load(config: &TrainConfig, progress: &mut dyn FnMut(Progress)) -> Result<Split, TrainError> {
    let (all, test) = data::load(config.dataset, &config.data_dir)?;
    let mut data = split::split(&all, test, config.excluded.as_ref(), config.validation, config.seed)?;
    if let Some(limit) = config.limit {
        let first: Vec<usize> = (0..data.training.len().min(limit)).collect();
        data.training = data.training.select(&first);
    }
    progress(Progress::Loaded {
        training: data.training.len(),
        validation: data.validation.len(),
        test: data.test.len(),
        dropped: data.dropped,
    });
    Ok(data)
}

/// The weights a run starts from; brings the teacher to the student's scale, so that features can
/// be compared.
fn first_weights(
    config: &TrainConfig,
    architecture: &Architecture,
    polynomials: Option<&Polynomials>,
    teacher: Option<&mut Weights>,
) -> Weights {
    let Some(polynomials) = polynomials else { return Weights::fresh(architecture, 1.0, config.seed) };
    let (interval, sigmas) = (polynomials.interval as f32, config.sigmas as f32);
    let mut first = match teacher {
        Some(teacher) if config.warm_start => {
            equalise(teacher, architecture, interval, sigmas);
            teacher.clone()
        }
        // The widest distribution that projection allows.
        _ => Weights::fresh(architecture, interval / sigmas, config.seed),
    };
    if config.projection {
        project(&mut first, architecture, interval, sigmas);
    }
    if config.learned {
        for (block, coefficients) in architecture.blocks.iter().zip(&polynomials.coefficients) {
            first.insert(NamedTensor {
                name: coefficients_of(block),
                shape: vec![coefficients.len()],
                values: coefficients.iter().map(|&a| a as f32).collect(),
            });
        }
    }
    first
}

/// Rounds weights as they will be stored, re-estimates statistics, measures, writes.
#[allow(clippy::too_many_arguments)] // all of them once
fn finish(
    config: &TrainConfig,
    architecture: &Architecture,
    fit: Option<&Fit>,
    trained: Checkpoint,
    data: &Split,
    device: &Device,
    start: Instant,
    progress: &mut dyn FnMut(Progress),
) -> Result<TrainReport, TrainError> {
    let mut weights = Vec::new();
    let mut coefficients: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for mut tensor in trained.weights.iter().cloned() {
        if let Some(activation) = tensor.name.strip_suffix(".coefficients") {
            let learned = tensor.values.iter().map(|&a| f64::from(a)).collect();
            coefficients.insert(activation.to_owned(), learned);
            continue;
        }
        if tensor.shape.len() > 1 {
            tensor.values.iter_mut().for_each(|v| *v = export::round(*v, config.weights_type));
        }
        weights.push(tensor);
    }
    let weights = Weights::from_tensors(weights);
    let polynomials = fit.map(|fit| Polynomials {
        interval: fit.interval,
        coefficients: architecture
            .blocks
            .iter()
            .map(|block| coefficients.remove(&block.activation).unwrap_or_else(|| fit.coefficients.clone()))
            .collect(),
    });
    let activation = polynomials.as_ref().map_or(Activation::Relu, Activation::fixed);
    let model = Model { architecture, weights: &weights, activation: activation.clone(), device };
    // The way training saw them: over unmoved images statistics are slightly off.
    let augment = augmentation(config, data.training.len());
    let mut moves = Rng::new(config.seed, stream::STATISTICS);
    let weights = model.reestimated(&data.training, &augment, config.epochs, &mut moves);
    progress(Progress::Reestimated);
    let model = Model { architecture, weights: &weights, activation, device };
    let interval = fit.map(|fit| fit.interval);
    let (validation, validation_ranges) =
        model.accuracy_and_ranges(&data.validation, data.validation.len(), interval);
    let (test, test_ranges) = model.accuracy_and_ranges(&data.test, data.test.len(), interval);
    let ranges: Vec<f64> = match interval {
        Some(_) => {
            let (_, seen) = model.accuracy_and_ranges(&data.training, MEASURED, interval);
            let largest = seen.iter().zip(&validation_ranges);
            largest.map(|(a, b)| a.max_ratio.max(b.max_ratio)).collect()
        }
        None => Vec::new(),
    };
    let entries = metadata(config, polynomials.as_ref(), &ranges, validation, test)?;
    export::write(&config.out, weights.iter(), &entries, config.weights_type)?;
    curve_files(config, &trained)?;
    Ok(TrainReport {
        dataset: config.dataset.as_str().to_owned(),
        model: config.model.as_str().to_owned(),
        seed: config.seed,
        epochs: config.epochs,
        training_images: data.training.len(),
        dropped: data.dropped,
        activation: config.activation.as_str().to_owned(),
        interval,
        coefficients: polynomials.map(|p| p.coefficients).unwrap_or_default(),
        fit_max_error: fit.map(|fit| fit.max_error),
        fit_rms_error: fit.map(|fit| fit.rms_error),
        validation,
        test,
        validation_ranges,
        test_ranges,
        ranges,
        curve: trained.curve,
        seconds: start.elapsed().as_secs_f64(),
        out: config.out.clone(),
    })
}

fn curve_files(config: &TrainConfig, trained: &Checkpoint) -> Result<(), TrainError> {
    let (table, picture) = (export::beside(&config.out, ".csv"), export::beside(&config.out, ".svg"));
    crate::curve::write(&table, &trained.curve)?;
    let title =
        format!("{} on {}, {}, seed {}", config.model, config.dataset, config.activation, config.seed);
    plot::learning_curve(&picture, &title, &trained.curve)
}

/// ReLU on [-B, B]; coefficients that are 0 but for rounding (ReLU's odd ones from the third on)
/// become 0.
fn fit_activation(config: &TrainConfig) -> Result<Fit, TrainError> {
    let weight = Weight::Gaussian { sigma: config.interval / config.sigmas, uniform_part: UNIFORM_PART };
    let mut fit = fit::fit(fit::relu, config.interval, config.degree, weight)?;
    let largest = fit.coefficients.iter().fold(0f64, |largest, a| largest.max(a.abs()));
    fit.coefficients.iter_mut().filter(|a| a.abs() < 1e-9 * largest).for_each(|a| *a = 0.0);
    Ok(fit)
}

fn metadata(
    config: &TrainConfig,
    polynomials: Option<&Polynomials>,
    ranges: &[f64],
    validation: Accuracy,
    test: Accuracy,
) -> Result<BTreeMap<String, String>, TrainError> {
    let json =
        |value: serde_json::Result<String>| value.map_err(|error| TrainError::Export(error.to_string()));
    let mut entries = vec![
        (key::FORMAT_VERSION, export::FORMAT_VERSION.to_owned()),
        (key::ARCHITECTURE, config.model.as_str().to_owned()),
        (key::DATASET, config.dataset.as_str().to_owned()),
        (key::INPUT, config.architecture().rule.name().to_owned()),
        (key::ACTIVATION, config.activation.as_str().to_owned()),
        (key::BN_EPS, format!("{BN_EPS:?}")),
        (key::SEED, config.seed.to_string()),
        (key::EPOCHS, config.epochs.to_string()),
        (key::SETTINGS, json(serde_json::to_string(config))?),
        (key::VALIDATION_ACCURACY, validation.to_string()),
        (key::TEST_ACCURACY, test.to_string()),
    ];
    if let Some(Polynomials { interval, coefficients }) = polynomials {
        let shared = coefficients.iter().all(|one| Some(one) == coefficients.first());
        let text = match coefficients.first() {
            Some(one) if shared => serde_json::to_string(one),
            _ => serde_json::to_string(coefficients),
        };
        entries.push((key::INTERVAL, format!("{interval:?}")));
        entries.push((key::COEFFICIENTS, json(text)?));
        // JSON has no infinity: a network that explodes on held-out data has no ranges to plan
        // with.
        if ranges.iter().all(|range| range.is_finite()) {
            entries.push((key::RANGES, json(serde_json::to_string(ranges))?));
        }
    }
    if config.model == ModelName::ResNet8 {
        entries.push((key::WIDTH, config.width.to_string()));
    }
    if !config.command.is_empty() {
        entries.push((key::COMMAND, config.command.clone()));
    }
    Ok(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
