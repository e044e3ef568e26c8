//! `amicus train`.

use amicus::train::{TrainOptions, train};
use amicus_train::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  cargo run --release --features train -- train --dataset mnist --model lenet5 \
    --data-dir DIR --out lenet5.safetensors"
)]
pub(crate) struct Args {
    /// Data set: mnist.
    #[arg(long)]
    dataset: String,
    /// Network: lenet5.
    #[arg(long)]
    model: String,
    /// Folder with the data set's files (for mnist the four IDX files, gzipped or not).
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Where the weights go.
    #[arg(long, value_name = "FILE", default_value = "lenet5-mnist.safetensors")]
    out: PathBuf,
    /// Passes over the data [default: the network's].
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Source of every random choice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let options = TrainOptions {
        dataset: args.dataset.clone(),
        model: args.model.clone(),
        data_dir: args.data_dir.clone(),
        out: args.out.clone(),
        epochs: args.epochs,
        seed: args.seed,
    };
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} steps") {
        bar.set_style(style);
    }
    let report = train(&options, &mut |progress| match progress {
        Progress::Loaded { training, validation, test, dropped } => eprintln!(
            "{training} images to train on, {validation} for validation, {test} for the test; {dropped} left out"
        ),
        Progress::Step { epoch, step, steps, .. } => {
            bar.set_length(steps as u64);
            bar.set_position(step as u64);
            bar.set_message(format!("epoch {epoch}"));
        }
        Progress::Epoch { epoch, epochs, loss, validation, seconds } => bar.suspend(|| {
            eprintln!("epoch {epoch} of {epochs}: loss {loss:.4}, validation {validation}, {seconds:.1} s");
        }),
        _ => {}
    })?;
    bar.finish_and_clear();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("weights: {}", args.out.display());
        println!("validation: {}\ntest: {}", report.validation, report.test);
        println!("largest |t| / B on held-out data, layer by layer:");
        for layer in &report.test_ranges {
            println!(
                "  {:<6} {:.2}, {} of {} values outside",
                layer.layer, layer.max_ratio, layer.escaped, layer.values
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}
