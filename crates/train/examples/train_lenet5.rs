//! Trains a network from the command line: what `amicus train` does, before that command is there.
//!
//! ```text
//! cargo run --release -p amicus-train --features burn --example train_lenet5 -- \
//!     --data-dir DIR --exclude ASSETS --out FILE [--epochs N] [--seed S]
//! ```
//!
//! `ASSETS` is the folder with the shipped digits, which are kept out of training. Prints the report as JSON.

use std::path::Path;
use std::process::ExitCode;

use amicus_train::data::{idx, mnist};
use amicus_train::{DatasetName, ModelName, Progress, TrainConfig, train};

fn parse(arguments: &[String]) -> Result<TrainConfig, Box<dyn std::error::Error>> {
    let mut config = TrainConfig::new(DatasetName::Mnist, ModelName::LeNet5, "".into(), "".into());
    let mut others = String::new();
    let mut options = arguments.iter();
    while let Some(option) = options.next() {
        let value = options.next().ok_or_else(|| format!("{option} needs a value"))?;
        match option.as_str() {
            "--data-dir" => config.data_dir = value.into(),
            "--out" => config.out = value.into(),
            "--exclude" => {
                let images = Path::new(value).join("digits-images.idx3-ubyte");
                let labels = Path::new(value).join("digits-labels.idx1-ubyte");
                config.excluded = Some(idx::read(&images, &labels, mnist::CLASSES)?);
            }
            "--epochs" => config.epochs = value.parse()?,
            "--seed" => config.seed = value.parse()?,
            "--batch-size" => config.batch_size = value.parse()?,
            "--learning-rate" => config.learning_rate = value.parse()?,
            "--weight-decay" => config.weight_decay = value.parse()?,
            "--clip-norm" => config.clip_norm = value.parse()?,
            "--interval" => config.interval = value.parse()?,
            "--degree" => config.degree = value.parse()?,
            "--fit-sigma" => config.fit_sigma = value.parse()?,
            "--gamma-start" => config.gamma_start = value.parse()?,
            "--escape-penalty" => config.escape_penalty = value.parse()?,
            "--escape-margin" => config.escape_margin = value.parse()?,
            "--max-shift" => config.max_shift = value.parse()?,
            "--max-rotation" => config.max_rotation = value.parse()?,
            _ => return Err(format!("unknown option {option}").into()),
        }
        // Folders are the user's own business; everything else goes into the file's metadata.
        if !["--data-dir", "--out", "--exclude", "--epochs", "--seed"].contains(&option.as_str()) {
            others.push_str(&format!(" {option} {value}"));
        }
    }
    let (epochs, seed) = (config.epochs, config.seed);
    config.command = format!(
        "amicus train --dataset mnist --model lenet5 --data-dir DIR --epochs {epochs} --seed {seed}{others}"
    );
    Ok(config)
}

fn tell(progress: Progress) {
    match progress {
        Progress::Loaded { training, validation, test, dropped } => eprintln!(
            "{training} images to train on, {validation} for validation, {test} for the test, {dropped} dropped"
        ),
        Progress::Epoch { epoch, epochs, loss, validation, seconds } => {
            eprintln!("epoch {epoch} of {epochs}: loss {loss:.4}, validation {validation}, {seconds:.1} s")
        }
        _ => {}
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let report = parse(&arguments).and_then(|config| Ok(train(&config, &mut tell)?));
    match report.and_then(|report| Ok(serde_json::to_string_pretty(&report)?)) {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
