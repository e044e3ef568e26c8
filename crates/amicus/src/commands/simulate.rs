//! `amicus simulate`.

use super::files::bar;
use amicus::demo::{DemoOptions, MODELS, Simulation, simulate};
use amicus::model::amc::ModelFile;
use amicus::model::compare::{Agreement, Comparison, FixedPoint, Networks, compare};
use amicus::model::escapes::Escapes;
use amicus::model::measure::count_of;
use amicus::samples::{Samples, samples_for};
use anyhow::bail;
use comfy_table::{Table, presets};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  amicus simulate lenet.amc --data test.npz\n  \
    amicus simulate lenet5-mnist --data-dir mnist\n\n\
    The exact integer simulator computes what the secure run computes, within one unit per truncation. A network that is \
    known by name is compiled first, calibrated with 64 of the images.")]
pub(crate) struct Args {
    /// A compiled file, or one of lenet5-mnist, alexnet-cifar10, resnet8-cifar10, lenet5-mnist-degree2,
    /// resnet8-cifar10-degree2.
    #[arg(value_name = "MODEL.amc|NAME", required_unless_present = "weights")]
    model: Option<String>,
    /// Images (array x) and, if there are labels, their classes (array y).
    #[arg(long, value_name = "DATA.npz")]
    data: Option<PathBuf>,
    /// For a model that is known by name: folder with images in place of those that ship, as in `amicus demo`.
    #[arg(long, value_name = "DIR", conflicts_with = "data")]
    data_dir: Option<PathBuf>,
    /// Weights (safetensors) in place of those that ship.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Images run [default: all].
    #[arg(long, value_name = "K")]
    samples: Option<usize>,
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
    #[serde(flatten)]
    comparison: &'a Comparison,
    version: &'static str,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let known = args.model.as_deref().is_none_or(|name| MODELS.contains(&name));
    match &args.model {
        Some(path) if !known => compiled(args, Path::new(path))?,
        _ => named(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn compiled(args: &Args, path: &Path) -> anyhow::Result<()> {
    let Some(data) = &args.data else {
        bail!("--data: a compiled model takes numbers; give an .npz file with images (array x)");
    };
    if args.weights.is_some() {
        bail!("--weights: a compiled model holds its weights already");
    }
    let file = ModelFile::load(path)?;
    let Samples { images, labels } = samples_for(data, &file.original, args.samples)?;
    let polynomial = file.polynomial();
    let networks = Networks {
        original: &file.original,
        polynomial: &polynomial,
        fixed: Some(FixedPoint { plan: &file.plan, weights: &file.weights, factors: &file.factors }),
    };
    let bar = bar(images.len(), "simulating");
    let comparison = compare(networks, &images, labels.as_deref(), &mut |n| bar.set_position(n as u64))?;
    bar.finish_and_clear();
    let (source, limbs) = (&file.about.source, file.plan.limbs.count());
    print(args, &file.plan.name, limbs, &format!("compiled from {source}"), &comparison)
}

fn named(args: &Args) -> anyhow::Result<()> {
    let options = DemoOptions {
        model: args.model.clone(),
        weights: args.weights.clone(),
        data_dir: args.data_dir.clone(),
        data: args.data.clone(),
        samples: args.samples,
        ..DemoOptions::default()
    };
    let bar = bar(0, "simulating");
    let Simulation { model, data, limbs, comparison } = simulate(&options, &mut |_| (), &mut |n, of| {
        bar.set_length(of as u64);
        bar.set_position(n as u64);
    })?;
    bar.finish_and_clear();
    print(args, &model, limbs, &data, &comparison)
}

fn print(
    args: &Args,
    model: &str,
    limbs: usize,
    source: &str,
    comparison: &Comparison,
) -> anyhow::Result<()> {
    if args.json {
        let summary = Summary { model, source, limbs, comparison, version: env!("CARGO_PKG_VERSION") };
        println!("{}", serde_json::to_string_pretty(&summary)?);
    } else {
        println!("{model}: {limbs} limb(s), {source}");
        print_comparison(comparison);
    }
    Ok(())
}

/// The three executions, then layer by layer.
pub(super) fn print_comparison(c: &Comparison) {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header(["execution", "as labelled", "same class", "relative error of logits"]);
    let labelled =
        |correct: Option<usize>| correct.map_or_else(|| "no labels".to_owned(), |n| count_of(n, c.samples));
    let row = |name: &str, correct: Option<usize>, agreement: Option<&Agreement>| {
        let (same, error) = agreement.map_or(("".to_owned(), "".to_owned()), |a| {
            let (median, max) = (100.0 * a.relative_error.median, 100.0 * a.relative_error.max);
            (
                a.same_class.map_or_else(|| "no classes".to_owned(), |n| count_of(n, c.samples)),
                format!("median {median:.3}%, largest {max:.3}%"),
            )
        });
        [name.to_owned(), labelled(correct), same, error]
    };
    table.add_row(row("floating point, as imported", c.float_correct, None));
    table.add_row(row("with polynomials, against the row above", c.polynomial_correct, Some(&c.polynomial)));
    if let Some(fixed) = &c.fixed {
        table.add_row(row("fixed point, against the row above", c.fixed_correct, Some(fixed)));
    }
    println!("{table}");
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header(["layer", "error with polynomials", "error in fixed point"]);
    let percent = |e: f64| format!("{:.4}%", 100.0 * e);
    for layer in &c.layers {
        let fixed = layer.fixed_point.map_or_else(|| "folded away".to_owned(), percent);
        table.add_row([layer.name.clone(), percent(layer.approximation), fixed]);
    }
    println!("{table}");
    for line in c.escapes.iter().flat_map(Escapes::meaning) {
        println!("outside: {line}");
    }
    match &c.stands_out {
        Some(layer) => println!("the first layer whose error stands out is {layer}"),
        None => println!("no layer's error stands out"),
    }
}
