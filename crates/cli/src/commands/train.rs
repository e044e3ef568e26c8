//! `amicus train`.

use super::output::{self, Table};
use amicus_cli::train::{
    ActivationName, DatasetName, ModelName, Progress, TrainConfig, TrainReport, WeightsType, train,
};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo run --release --features train -- train --dataset mnist --model lenet5 --activation relu \
    --data-dir DIR --out teacher.safetensors\n  cargo run --release --features train -- train --dataset mnist --model \
    lenet5 --teacher teacher.safetensors --data-dir DIR --out student.safetensors\n\nBeside OUT: OUT.csv and OUT.svg \
    with the learning curve, OUT.checkpoint for --resume."
)]
pub(crate) struct Args {
    /// Data set: mnist or cifar10.
    #[arg(long)]
    dataset: DatasetName,
    /// Network: lenet5, alexnet-cifar or resnet8.
    #[arg(long)]
    model: ModelName,
    /// Channels of resnet8's first stage.
    #[arg(long, value_name = "N")]
    width: Option<usize>,
    /// Folder with the data set's files: for mnist the four IDX files, gzipped or not; for cifar10
    /// binary batches, or train/CLASS/ and test/CLASS/ with JPEG or PNG files, or a tar archive of
    /// either.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Where the weights go [default: MODEL-DATASET.safetensors].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// relu (a teacher) or polynomial (for private inference).
    #[arg(long, default_value = "polynomial")]
    activation: ActivationName,
    /// Passes over the data.
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Source of every random choice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Go on from OUT.checkpoint.
    #[arg(long)]
    resume: bool,
    /// How matrices and kernels are stored: f32, f16 or bf16.
    #[arg(long, default_value = "f32")]
    weights_type: WeightsType,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    loop_: LoopArgs,
    #[command(flatten)]
    range: RangeArgs,
    #[command(flatten)]
    teacher: TeacherArgs,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Training")]
struct LoopArgs {
    /// Images in a step.
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Training images held out for validation.
    #[arg(long, value_name = "N")]
    validation: Option<usize>,
    /// Use only the first N training images after shuffling.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Highest learning rate of AdamW.
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Highest angle, in radians, that hidden matrices turn in a step; 0: AdamW for them too.
    #[arg(long, value_name = "ANGLE")]
    matrix_rate: Option<f64>,
    /// AdamW's decay of matrices.
    #[arg(long, value_name = "RATE")]
    weight_decay: Option<f64>,
    /// Share of the run in which rates go up.
    #[arg(long, value_name = "SHARE")]
    warm_up: Option<f64>,
    /// Largest Euclidean norm of all gradients together.
    #[arg(long, value_name = "NORM")]
    clip_norm: Option<f64>,
    /// Share of a label that is spread over all classes.
    #[arg(long, value_name = "SHARE")]
    label_smoothing: Option<f64>,
    /// Largest shift of training images in pixels.
    #[arg(long, value_name = "PIXELS")]
    max_shift: Option<f32>,
    /// Largest rotation of training images in degrees.
    #[arg(long, value_name = "DEGREES")]
    max_rotation: Option<f32>,
    /// Do not mirror training images.
    #[arg(long)]
    no_mirror: bool,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Polynomials and their range")]
struct RangeArgs {
    /// Degree of the polynomials, 2 to 8.
    #[arg(long, value_name = "D")]
    degree: Option<usize>,
    /// B: polynomials are meant for [-B, B].
    #[arg(long, value_name = "B")]
    interval: Option<f64>,
    /// Standard deviations that BatchNorm keeps inside the interval.
    #[arg(long, value_name = "K")]
    sigmas: Option<f64>,
    /// Do not project BatchNorm's gamma and beta after every step.
    #[arg(long)]
    no_projection: bool,
    /// Weight of the penalty on values near and beyond the interval's ends; 0: off.
    #[arg(long, value_name = "WEIGHT")]
    escape_penalty: Option<f64>,
    /// |t| / B from which the penalty acts.
    #[arg(long, value_name = "SHARE")]
    escape_margin: Option<f64>,
    /// Let each layer learn its own coefficients.
    #[arg(long)]
    learned: bool,
    /// Last epochs with rounding to fixed point in the forward pass.
    #[arg(long, value_name = "N")]
    fixed_epochs: Option<usize>,
    /// Fraction bits of activations' arguments in these epochs.
    #[arg(long, value_name = "BITS")]
    argument_bits: Option<u32>,
    /// Fraction bits of weights in these epochs.
    #[arg(long, value_name = "BITS")]
    weight_bits: Option<u32>,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Learning from a teacher")]
struct TeacherArgs {
    /// ReLU network to learn from, a file made with --activation relu.
    #[arg(long, value_name = "FILE")]
    teacher: Option<PathBuf>,
    /// Start from fresh weights instead of the teacher's.
    #[arg(long)]
    cold: bool,
    /// Epochs (with fractions) in which ReLU becomes the polynomial [default: 30% of them]; 0: at
    /// once.
    #[arg(long, value_name = "EPOCHS")]
    blend_epochs: Option<f64>,
    /// Weight of the teacher's answers beside the labels, 0 to 1.
    #[arg(long, value_name = "WEIGHT", conflicts_with = "no_distill")]
    distillation: Option<f64>,
    /// Learn from the labels alone; features are still matched.
    #[arg(long)]
    no_distill: bool,
    /// Temperature at which answers are compared.
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,
    /// Weight of matching the teacher's activations; 0: off.
    #[arg(long, value_name = "WEIGHT")]
    features: Option<f64>,
}

/// Replaces `setting` when something was given.
fn set<T>(setting: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *setting = given;
    }
}

impl Args {
    fn config(&self) -> TrainConfig {
        let name = || PathBuf::from(format!("{}-{}.safetensors", self.model, self.dataset));
        let out = self.out.clone().unwrap_or_else(name);
        let data = self.data_dir.clone();
        let mut c = match &self.teacher.teacher {
            Some(teacher) => TrainConfig::student(self.dataset, self.model, data, out, teacher.clone()),
            None => TrainConfig::new(self.dataset, self.model, data, out),
        };
        c.activation = self.activation;
        c.seed = self.seed;
        c.resume = self.resume;
        c.weights_type = self.weights_type;
        set(&mut c.width, self.width);
        set(&mut c.epochs, self.epochs);
        let LoopArgs { batch_size, validation, limit, .. } = self.loop_;
        set(&mut c.batch_size, batch_size);
        set(&mut c.validation, validation);
        c.limit = limit;
        set(&mut c.rates.learning_rate, self.loop_.learning_rate);
        set(&mut c.rates.matrix_rate, self.loop_.matrix_rate);
        set(&mut c.rates.weight_decay, self.loop_.weight_decay);
        set(&mut c.warm_up, self.loop_.warm_up);
        set(&mut c.clip_norm, self.loop_.clip_norm);
        set(&mut c.label_smoothing, self.loop_.label_smoothing);
        set(&mut c.max_shift, self.loop_.max_shift);
        set(&mut c.max_rotation, self.loop_.max_rotation);
        c.mirror &= !self.loop_.no_mirror;
        set(&mut c.degree, self.range.degree);
        set(&mut c.interval, self.range.interval);
        set(&mut c.sigmas, self.range.sigmas);
        c.projection = !self.range.no_projection;
        set(&mut c.escape_penalty, self.range.escape_penalty);
        set(&mut c.escape_margin, self.range.escape_margin);
        c.learned = self.range.learned;
        set(&mut c.fixed_epochs, self.range.fixed_epochs);
        set(&mut c.argument_bits, self.range.argument_bits);
        set(&mut c.weight_bits, self.range.weight_bits);
        c.warm_start = !self.teacher.cold;
        c.blend_epochs = self.teacher.blend_epochs;
        set(&mut c.distillation, self.teacher.no_distill.then_some(0.0).or(self.teacher.distillation));
        set(&mut c.temperature, self.teacher.temperature);
        set(&mut c.features, self.teacher.features);
        c.command = command(std::env::args().skip(1));
        c
    }
}

/// The command as given, without this machine's folders.
fn command(words: impl Iterator<Item = String>) -> String {
    let mut shown = vec!["amicus".to_owned()];
    for word in words {
        let is_folder = shown.last().is_some_and(|last| last == "--data-dir");
        let name = Path::new(&word).file_name().filter(|_| word.contains('/'));
        shown.push(match name {
            _ if is_folder => "DIR".to_owned(),
            Some(name) => name.to_string_lossy().into_owned(),
            None if word.starts_with("--data-dir=") => "--data-dir=DIR".to_owned(),
            None => word,
        });
    }
    shown.join(" ")
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = args.config();
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} steps, {eta} to go") {
        bar.set_style(style);
    }
    let result = train(config.clone(), &mut |progress| show(&bar, &progress));
    bar.finish_and_clear();
    let report = result?;
    if args.json {
        output::json(&report)?;
    } else {
        print(&config, &report);
    }
    Ok(ExitCode::SUCCESS)
}

fn show(bar: &ProgressBar, progress: &Progress) {
    match progress {
        Progress::Loaded { training, validation, test, dropped } => output::note(format_args!(
            "{training} images to train on, {validation} for validation, {test} for the test; {dropped} left out"
        )),
        Progress::Resumed { epochs } => output::note(format_args!("going on after epoch {epochs}")),
        Progress::Step { epoch, step, steps, loss, .. } => {
            if *step == 1 {
                bar.reset();
                bar.set_length(*steps as u64);
            }
            bar.set_position(*step as u64);
            bar.set_message(format!("epoch {epoch}, loss {loss:.3}"));
        }
        Progress::Epoch { epochs, validation, point } => {
            bar.suspend(|| {
                output::note(format_args!(
                    "epoch {} of {epochs}: loss {:.4}, validation {validation}, {:.1e} of values outside, {:.1} s",
                    point.epoch, point.loss, point.escape_rate, point.seconds
                ));
            });
        }
        _ => {}
    }
}

fn print(config: &TrainConfig, report: &TrainReport) {
    output::line(format_args!("weights: {}", config.out.display()));
    output::line(format_args!("validation: {}\ntest: {}", report.validation, report.test));
    if report.test_ranges.is_empty() {
        return;
    }
    output::line("arguments t of the activations against the interval [-B, B], on the test images:");
    let mut table = Table::with_header([
        "activation",
        "largest |t| / B",
        "values outside",
        "images with one",
        "largest in training",
    ]);
    for (layer, seen) in report.test_ranges.iter().zip(&report.ranges) {
        table.row([
            layer.layer.clone(),
            format!("{:.2}", layer.max_ratio),
            format!("{} of {}", layer.escaped, layer.values),
            format!("{} of {}", layer.images_escaped, layer.images),
            format!("{seen:.2}"),
        ]);
    }
    table.print();
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn config(line: &str) -> TrainConfig {
        let words = ["train", "--dataset", "cifar10", "--model", "resnet8", "--data-dir", "d"].into_iter();
        Line::parse_from(words.chain(line.split_whitespace())).args.config()
    }

    #[test]
    fn switches_reach_their_settings() {
        let plain = config("");
        assert!(plain.validate().is_ok() && plain.is_polynomial() && plain.projection && plain.warm_start);
        assert_eq!(plain.out.to_str(), Some("resnet8-cifar10.safetensors"));
        let c = config("--activation relu --epochs 3 --matrix-rate 0 --batch-size 64 --no-mirror");
        assert_eq!((c.activation, c.epochs, c.batch_size, c.mirror), (ActivationName::Relu, 3, 64, false));
        assert_eq!(c.rates.matrix_rate, 0.0);
        let c = config(
            "--teacher t --cold --no-distill --features 0.1 --degree 2 --sigmas 3.5 --no-projection --learned \
             --weights-type f16 --resume --fixed-epochs 1",
        );
        assert_eq!(c.teacher, Some("t".into()));
        assert!(!c.warm_start && !c.projection && c.learned && c.resume);
        assert_eq!((c.distillation, c.features, c.degree, c.sigmas), (0.0, 0.1, 2, 3.5));
        assert_eq!((c.weights_type, c.fixed_epochs), (WeightsType::F16, 1));
        assert!(
            Line::try_parse_from(["train", "--dataset", "svhn", "--model", "resnet8", "--data-dir", "d"])
                .is_err()
        );
    }

    #[test]
    fn the_command_is_kept_without_this_machines_folders() {
        let words = ["train", "--data-dir", "/home/me/data", "--out", "/tmp/x.safetensors", "--seed", "3"];
        assert_eq!(
            command(words.map(str::to_owned).into_iter()),
            "amicus train --data-dir DIR --out x.safetensors --seed 3"
        );
    }
}
