//! `amicus simulate`.

use super::answers::{AnswerArgs, Meaning, Sink};
use super::files::{InvalidArgs, bar};
use super::output;
use amicus::report::comparison;
use amicus_cli::demo::{DemoOptions, MODELS, Simulation, simulate};
use amicus_cli::samples::{Reading, Samples, samples};
use amicus_model::amc::ModelFile;
use amicus_model::compare::{Comparison, FixedPoint, Networks, compare};
use anyhow::bail;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  amicus simulate lenet.amc --data test.npz\n  \
    amicus simulate lenet5-mnist --data-dir mnist\n\n\
    The exact integer simulator computes what the secure run computes, within one unit per truncation; what the secure run \
    decides by chance (numbers within half a unit of a threshold) it decides rightly. A network that is known by name comes \
    with its plan, made from training images; with --weights it is compiled first, calibrated with 64 of the images.")]
pub(crate) struct Args {
    /// A compiled file, or one of lenet5-mnist, alexnet-cifar10, resnet8-cifar10,
    /// lenet5-mnist-degree2, resnet8-cifar10-degree2, lenet5-mnist-relu, resnet8-cifar10-relu.
    #[arg(value_name = "MODEL.amc|NAME", required_unless_present = "weights")]
    model: Option<String>,
    /// Images (array x) and, if there are labels, their classes (array y).
    #[arg(long, value_name = "DATA.npz")]
    data: Option<PathBuf>,
    /// For a model that is known by name: folder with images in place of those that ship, as in
    /// `amicus demo`.
    #[arg(long, value_name = "DIR", conflicts_with = "data")]
    data_dir: Option<PathBuf>,
    /// Weights (safetensors) in place of those that ship.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Images run [default: all].
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    samples: Option<u64>,
    #[command(flatten)]
    invalid: InvalidArgs,
    #[command(flatten)]
    answers: AnswerArgs,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
}

/// What is printed with `--json`.
#[derive(Serialize)]
struct Summary<'a> {
    model: &'a str,
    /// Where a compiled file comes from, or where the images of a named model do.
    source: &'a str,
    limbs: usize,
    /// Inputs that were skipped or clipped, labels that were not used.
    notes: &'a [String],
    /// Targets that the compiled file misses on its calibration data.
    missed_targets: &'a [String],
    #[serde(flatten)]
    comparison: &'a Comparison,
    version: &'static str,
}

/// What was simulated.
struct Found {
    model: String,
    source: String,
    limbs: usize,
    notes: Vec<String>,
    missed: Vec<String>,
    comparison: Comparison,
    labels: Option<Vec<usize>>,
    sink: Sink,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let known = args.model.as_deref().is_none_or(|name| MODELS.contains(&name));
    let found = match &args.model {
        Some(path) if !known => compiled(args, Path::new(path))?,
        _ => named(args)?,
    };
    let outputs = &found.comparison.outputs.fixed;
    let labels: Vec<Option<usize>> =
        (0..outputs.len()).map(|i| found.labels.as_ref().map(|l| l[i])).collect();
    found.sink.write(outputs, &labels)?;
    if args.json {
        let Found { model, source, limbs, notes, missed, comparison, .. } = &found;
        let version = env!("CARGO_PKG_VERSION");
        let (limbs, missed_targets) = (*limbs, missed.as_slice());
        let summary = Summary { model, source, limbs, notes, missed_targets, comparison, version };
        output::json(&summary)?;
    } else {
        output::line(format_args!("{}: {} limb(s), {}", found.model, found.limbs, found.source));
        found.notes.iter().for_each(|note| output::line(format_args!("note: {note}")));
        found
            .missed
            .iter()
            .for_each(|missed| output::line(format_args!("warning: compiled although {missed}")));
        output::text(&comparison(&found.comparison));
    }
    Ok(ExitCode::SUCCESS)
}

fn count(samples: Option<u64>) -> Option<usize> {
    samples.map(|n| usize::try_from(n).unwrap_or(usize::MAX))
}

fn compiled(args: &Args, path: &Path) -> anyhow::Result<Found> {
    let Some(data) = &args.data else {
        bail!("--data: a compiled model takes numbers; give an .npz file with images (array x)");
    };
    if args.weights.is_some() {
        bail!("--weights: a compiled model holds its weights already");
    }
    let file = ModelFile::load(path)?;
    let sink = args.answers.open(Meaning::of(file.user_network(), Some(&file.plan)), &[path, data])?;
    let range = Some(file.plan.input.range);
    let reading = Reading {
        network: file.user_network(),
        range,
        invalid: args.invalid.into(),
        limit: count(args.samples),
    };
    let Samples { images, labels, notes, .. } = samples(data, reading)?;
    let polynomial = file.polynomial();
    let networks = Networks {
        original: file.user_network(),
        polynomial: &polynomial,
        fixed: Some(FixedPoint { plan: &file.plan, weights: &file.weights, factors: &file.factors }),
    };
    let bar = bar(images.len(), "simulating");
    let comparison = compare(networks, &images, labels.as_deref(), &mut |n| bar.set_position(n as u64))?;
    bar.finish_and_clear();
    Ok(Found {
        model: file.plan.name.clone(),
        source: format!("compiled from {}", file.about.source),
        limbs: file.plan.limbs.count(),
        notes,
        missed: file.quality.misses(),
        comparison,
        labels,
        sink,
    })
}

fn named(args: &Args) -> anyhow::Result<Found> {
    let options = DemoOptions {
        model: args.model.clone(),
        weights: args.weights.clone(),
        data_dir: args.data_dir.clone(),
        data: args.data.clone(),
        samples: count(args.samples),
        invalid: args.invalid.into(),
        ..DemoOptions::default()
    };
    let bar = bar(0, "simulating");
    let simulation = simulate(&options, &mut |_| (), &mut |n, of| {
        bar.set_length(of as u64);
        bar.set_position(n as u64);
    })?;
    bar.finish_and_clear();
    let Simulation { model, data, limbs, network, labels, comparison } = simulation;
    let inputs: Vec<&Path> =
        [&args.data, &args.weights].into_iter().flatten().map(PathBuf::as_path).collect();
    let sink = args.answers.open(Meaning::of(&network, None), &inputs)?;
    let (notes, missed) = (Vec::new(), Vec::new());
    Ok(Found { model, source: data, limbs, notes, missed, comparison, labels, sink })
}
