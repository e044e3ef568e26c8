//! `amicus infer`.

use super::answers::{AnswerArgs, Meaning};
use super::cells::{Asking, CellsArgs, Pinned, Place};
use super::files::bar;
use super::output;
use super::remote::{ClusterArgs, ended};
use amicus::ModelFile;
use amicus_cli::beside::{Beside, Differs};
use amicus_cli::images::{Image, Pixels, read};
use anyhow::{Context, bail};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    amicus infer --key alice.pem --model lenet --fingerprint 3f.. digit.png\n  \
    amicus infer --key alice.pem --model lenet photographs/ --output answers.json\n  \
    amicus infer --token alice.tokens --model lenet digit.png\n\n\
    Exit code 3: a party cheated, and nothing was released.")]
pub(crate) struct Args {
    /// PNG, JPEG, `.npz` (array x) or `.f32` files, or folders of such files.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    cells: CellsArgs,
    /// The model's name in the cluster's file.
    #[arg(long, value_name = "NAME")]
    model: String,
    /// The model's plan [default: NAME.plan beside the cluster's file].
    #[arg(long, value_name = "FILE.plan")]
    plan: Option<PathBuf>,
    /// The model's fingerprint, as its owner told it; of a cell, CELL=FINGERPRINT, as often as there
    /// are cells. Without one, whichever model all parties name is taken.
    #[arg(long, value_name = "FINGERPRINT")]
    fingerprint: Vec<Pinned>,
    /// Run the integer simulator beside, with the compiled file that was uploaded, and name the first
    /// layer that may be why an answer differs. Exit code 5 when one does.
    #[arg(long, value_name = "MODEL.amc")]
    compare: Option<PathBuf>,
    /// Images in one inference.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// How pixels become numbers, where the plan's range leaves it open: pixel/255 or
    /// pixel/127.5-1.
    #[arg(long, value_name = "RULE")]
    pixels: Option<Pixels>,
    #[command(flatten)]
    answers: AnswerArgs,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
}

/// What is printed with `--json`.
#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    answers: Vec<Answer<'a>>,
    /// Answers that are not the simulator's, with --compare.
    #[serde(skip_serializing_if = "Option::is_none")]
    differing: Option<usize>,
    version: &'static str,
}

#[derive(Serialize)]
struct Answer<'a> {
    image: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    outputs: &'a [f64],
    /// Whether some hidden value left what the network was compiled for.
    #[serde(skip_serializing_if = "Option::is_none")]
    outside: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cell: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    differs: Option<&'a Differs>,
}

/// Some answers are not what the simulator gives.
const DIFFERS: u8 = 5;

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.batch == 0 {
        bail!("--batch 0: there is at least one image in an inference");
    }
    let place = Place::find(&args.cluster, &args.cells)?;
    let credentials = place.credentials(&args.cluster)?;
    let plan = place.plan((&args.cluster, &args.cells), (&args.model, args.plan.as_ref()), &credentials)?;
    let file = args.compare.as_ref().map(|file| ModelFile::load(file)).transpose()?;
    let beside = file
        .as_ref()
        .zip(args.compare.as_ref())
        .map(|(file, path)| Beside::new(file, &plan).with_context(|| path.display().to_string()));
    let beside = beside.transpose()?;
    let meaning = Meaning::planned(&plan)?;
    let classes = meaning.classes();
    let inputs: Vec<_> = args.images.iter().map(PathBuf::as_path).collect();
    let sink = args.answers.open(meaning, &inputs)?;
    // All of them before anything leaves: a mistake in the last is no reason to ask for the first.
    let images = read(&args.images, &plan, args.pixels)?;
    let mut client = match place.connect(credentials, plan.clone(), &args.fingerprint)? {
        Ok(client) => client,
        Err(error) => return ended(error),
    };
    if let Asking::Cluster { fingerprint, known: false, .. } = &client {
        output::note(format_args!(
            "note: the model that all parties name was taken; --fingerprint {fingerprint} takes no other"
        ));
    }
    let bar = bar(images.len(), "images");
    let mut outputs: Vec<Vec<f64>> = Vec::with_capacity(images.len());
    let mut outside: Vec<Option<bool>> = Vec::with_capacity(images.len());
    let mut cells: Vec<Option<String>> = Vec::with_capacity(images.len());
    for batch in images.chunks(args.batch) {
        let numbers: Vec<&[f32]> = batch.iter().map(|image| &image.numbers[..]).collect();
        match client.infer(&numbers) {
            Ok((cell, answers)) => {
                cells.extend(answers.iter().map(|_| cell.clone()));
                outputs.extend(answers.iter().map(|answer| answer.logits().to_vec()));
                outside.extend(answers.iter().map(amicus::Answer::outside));
            }
            Err(error) => {
                bar.abandon();
                return ended(error);
            }
        }
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    sink.write(&outputs, &vec![None; outputs.len()])?;
    let differing = beside.as_ref().map(|beside| compared(beside, &images, &outputs)).transpose()?;
    let count = differing.as_ref().map(|all| all.iter().flatten().count());
    let class = |outputs: &[f64]| classes.then(|| plan.class(outputs));
    let name = |class: usize| sink.names.as_ref().and_then(|names| names.get(class)).map(String::as_str);
    if args.json {
        let answers = images.iter().zip(&outputs).zip(0..).map(|((image, outputs), at)| {
            let (class, cell, outside) = (class(outputs), cells[at].as_deref(), outside[at]);
            let differs = differing.as_ref().and_then(|all| all[at].as_ref());
            Answer { image: &image.name, class, name: class.and_then(name), outputs, outside, cell, differs }
        });
        let answers = answers.collect();
        let fingerprint = match &client {
            Asking::Cluster { fingerprint, .. } => Some(fingerprint.to_string()),
            Asking::Cells(_) => None,
        };
        let (model, version) = (&args.model[..], env!("CARGO_PKG_VERSION"));
        output::json(&Report { model, fingerprint, answers, differing: count, version })?;
    } else {
        for ((image, outputs), &outside) in images.iter().zip(&outputs).zip(&outside) {
            let image = &image.name;
            match class(outputs).map(|class| (class, name(class))) {
                Some((_, Some(name))) => output::line(format_args!("{image}: {name}")),
                Some((class, None)) => output::line(format_args!("{image}: class {class}")),
                None if plan.output.reveal.is_some() => {
                    output::line(format_args!("{image}: {}", counted(outputs)))
                }
                None => output::line(format_args!("{image}: {}", outputs[0])),
            }
            if let (true, Some(reveal)) = (classes, plan.output.reveal.as_ref())
                && reveal.labels > 1
            {
                let others = outputs[1..].iter().map(|&label| {
                    let label = label as usize;
                    name(label).map_or_else(|| format!("class {label}"), str::to_owned)
                });
                output::line(format_args!("{image}: then {}", others.collect::<Vec<_>>().join(", ")));
            }
            if outside == Some(true) {
                output::line(format_args!(
                    "{image}: do not rely on this: inside the network a number is far larger than any that it was \
                     calibrated on"
                ));
            }
        }
        if let Some(differing) = &differing {
            say_differing(&images, differing);
        }
    }
    Ok(if count.is_none_or(|count| count == 0) { ExitCode::SUCCESS } else { ExitCode::from(DIFFERS) })
}

/// How many places have which label.
fn counted(labels: &[f64]) -> String {
    let mut counts = BTreeMap::new();
    labels.iter().for_each(|&label| *counts.entry(label as usize).or_insert(0usize) += 1);
    let each = counts.iter().map(|(label, count)| format!("class {label} at {count}"));
    format!("{} of {} places", each.collect::<Vec<_>>().join(", "), labels.len())
}

/// Holds every answer to the simulator.
fn compared(
    beside: &Beside<'_>,
    images: &[Image],
    outputs: &[Vec<f64>],
) -> anyhow::Result<Vec<Option<Differs>>> {
    let bar = bar(images.len(), "simulating");
    let compare = |(image, outputs): (&Image, &Vec<f64>)| {
        bar.inc(1);
        Ok(beside.compare(&image.numbers, outputs)?)
    };
    let all = images.iter().zip(outputs).map(compare).collect();
    bar.finish_and_clear();
    all
}

fn say_differing(images: &[Image], differing: &[Option<Differs>]) {
    for (image, differs) in images.iter().zip(differing) {
        let Some(Differs { error, allowed, layer }) = differs else { continue };
        let (name, error, allowed) = (&image.name, 100.0 * error, 100.0 * allowed);
        output::line(format_args!(
            "{name}: differs from the simulator by {error:.3}%, where roundings lead to {allowed:.3}% at most"
        ));
        output::line(match layer {
            Some(layer) => format!("  the first layer that this image takes out of its range is {layer}"),
            None => "  no layer leaves its range: the parties have other weights than this file".to_owned(),
        });
    }
    let count = differing.iter().flatten().count();
    output::line(match count {
        0 => format!("all {} answers equal the simulator's, but for roundings", differing.len()),
        count => format!("{count} of {} answers differ from the simulator's", differing.len()),
    });
}
