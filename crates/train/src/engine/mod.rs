//! Training with burn on the processor (its flex backend).

mod activation;
mod evaluate;
mod lenet5;
mod steps;

use std::collections::BTreeMap;
use std::time::Instant;

use amicus_model::fit::{self, Fit, Weight};
use burn::module::Module;
use burn::tensor::Device;

use crate::data::mnist;
use crate::engine::activation::Activation;
use crate::engine::lenet5::BN_EPS;
use crate::export::{self, key};
use crate::{Accuracy, Progress, TrainConfig, TrainError, TrainReport};

/// Share of the fit's weight that is spread evenly over the interval.
const UNIFORM_PART: f64 = 0.02;

/// Loads, trains, measures, writes. `config` has been validated.
pub(crate) fn train(
    config: &TrainConfig,
    progress: &mut dyn FnMut(Progress),
) -> Result<TrainReport, TrainError> {
    let start = Instant::now();
    export::check_writable(&config.out)?;
    let fit = fit_activation(config)?;
    let act = Activation { interval: fit.interval, coefficients: fit.coefficients.clone() };
    let mut data = mnist::load(&config.data_dir, config.excluded.as_ref(), config.validation, config.seed)?;
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

    let device = Device::flex();
    let trained = steps::run(config, &act, &data, &device, progress)?;
    let mut model = trained.valid();
    evaluate::reestimate(&mut model, &act, &data.training, &device);
    progress(Progress::Reestimated);
    let (validation, validation_ranges) =
        evaluate::accuracy_and_ranges(&model, &act, &data.validation, &device);
    let (test, test_ranges) = evaluate::accuracy_and_ranges(&model, &act, &data.test, &device);

    export::write(&config.out, &model.tensors(), &metadata(config, &fit, validation, test))?;
    Ok(TrainReport {
        dataset: config.dataset.as_str().to_owned(),
        model: config.model.as_str().to_owned(),
        seed: config.seed,
        epochs: config.epochs,
        training_images: data.training.len(),
        dropped: data.dropped,
        interval: fit.interval,
        coefficients: fit.coefficients,
        fit_max_error: fit.max_error,
        fit_rms_error: fit.rms_error,
        validation,
        test,
        validation_ranges,
        test_ranges,
        seconds: start.elapsed().as_secs_f64(),
        out: config.out.clone(),
    })
}

/// ReLU on [-B, B]; coefficients that are 0 but for rounding (ReLU's odd ones from the third on) become 0.
fn fit_activation(config: &TrainConfig) -> Result<Fit, TrainError> {
    let weight = Weight::Gaussian { sigma: config.fit_sigma, uniform_part: UNIFORM_PART };
    let mut fit = fit::fit(fit::relu, config.interval, config.degree, weight)?;
    let largest = fit.coefficients.iter().fold(0f64, |largest, a| largest.max(a.abs()));
    fit.coefficients.iter_mut().filter(|a| a.abs() < 1e-9 * largest).for_each(|a| *a = 0.0);
    Ok(fit)
}

fn metadata(
    config: &TrainConfig,
    fit: &Fit,
    validation: Accuracy,
    test: Accuracy,
) -> BTreeMap<String, String> {
    let list: Vec<String> = fit.coefficients.iter().map(|a| format!("{a:?}")).collect();
    let mut entries = vec![
        (key::FORMAT_VERSION, export::FORMAT_VERSION.to_owned()),
        (key::ARCHITECTURE, config.model.as_str().to_owned()),
        (key::DATASET, config.dataset.as_str().to_owned()),
        (key::INPUT, "pixel/255".to_owned()),
        (key::INTERVAL, format!("{:?}", fit.interval)),
        (key::COEFFICIENTS, format!("[{}]", list.join(","))),
        (key::BN_EPS, format!("{BN_EPS:?}")),
        (key::SEED, config.seed.to_string()),
        (key::EPOCHS, config.epochs.to_string()),
        (key::VALIDATION_ACCURACY, validation.to_string()),
        (key::TEST_ACCURACY, test.to_string()),
    ];
    if !config.command.is_empty() {
        entries.push((key::COMMAND, config.command.clone()));
    }
    entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
