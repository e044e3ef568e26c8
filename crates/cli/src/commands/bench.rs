//! `amicus bench`.

use super::output::{self, Table};
use super::{plaintext, throughput};
use amicus::report::bytes;
use amicus_cli::demo::{self, DemoOptions, DemoReport, ThroughputOptions, run as run_demo};
use amicus_cli::rates::{self, MachineRates};
use amicus_field::Kernel;
use amicus_net::shaper::Shape;
use anyhow::Context;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Suite {
    /// Measures the rates that `amicus estimate` uses, and keeps them.
    Calibrate,
    /// Runs models over networks and shows estimate and measurement side by side.
    Models,
    /// Classifies images one inference after the other, their material dealt meanwhile: images a
    /// second, and processor time of every role.
    Throughput,
    /// The same, and networks of ONNX files as they are: in 32-bit floating point, on one thread, by
    /// an ONNX runtime (needs a build with `--features plaintext`).
    Plaintext,
}

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  amicus bench --suite calibrate\n  \
    amicus bench --suite models --model lenet5-mnist --model resnet50.amc --net local --net wan\n  \
    amicus bench --suite throughput --batch 1 --batch 32 --output figures\n  \
    amicus bench --suite plaintext --model lenet.onnx --model lenet.amc --batch 1\n\n\
    For good figures nothing else should run. Rates take a few seconds and are kept in $XDG_CACHE_HOME/amicus \
    (~/.cache/amicus), one file for this machine and kernel; `amicus estimate` reads them. Benchmarks of kernels, links and \
    single steps: `cargo bench`.")]
pub(crate) struct Args {
    /// What is measured.
    #[arg(long)]
    suite: Suite,
    /// Models to run, as in `amicus demo`, ONNX files with `plaintext`; may be given several times
    /// [default: lenet5-mnist, lenet5-mnist-degree2].
    #[arg(long = "model", value_name = "NAME|MODEL.amc|MODEL.onnx")]
    models: Vec<String>,
    /// Networks to run them over; may be given several times [default: local, lan, wan].
    #[arg(long = "net")]
    nets: Vec<Shape>,
    /// Compute parties, 2 to 8.
    #[arg(long, default_value_t = 2, value_name = "N")]
    parties: usize,
    /// Inferences of each model over each network, images of each batch size with `throughput`
    /// [default: as in `amicus demo`; eight inferences, and at least 256 images of a small model].
    #[arg(long, value_name = "K")]
    samples: Option<usize>,
    /// Images in one inference, for `throughput`; may be given several times [default: 1, 8, 32,
    /// 128].
    #[arg(long = "batch", value_name = "B")]
    batches: Vec<usize>,
    /// Threads beside the roles that compute all the time, for `throughput`.
    #[arg(long, default_value_t = 0, value_name = "N")]
    busy: usize,
    /// A folder for the figures of `throughput`, as Markdown, JSON and SVG.
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
}

/// What is printed with `--json`.
#[derive(Serialize)]
struct Summary<'a> {
    suite: &'static str,
    /// Where the rates are kept.
    file: String,
    /// The last that were measured.
    rates: &'a MachineRates,
    /// What `amicus demo --json` prints, for every model and network.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    runs: Vec<DemoReport>,
    version: &'static str,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match args.suite {
        Suite::Calibrate => calibrate(args),
        Suite::Models => models(args),
        Suite::Throughput => throughput(args, "throughput"),
        Suite::Plaintext => throughput(args, "plaintext"),
    }
}

fn measure(args: &Args) -> anyhow::Result<(MachineRates, String)> {
    let kernel = Kernel::from_env()?;
    let rates = rates::measure(kernel, &mut |what| {
        if !args.json {
            output::note(format_args!("measuring {what}"));
        }
    })?;
    let file = rates::save(kernel, &rates)?.display().to_string();
    Ok((rates, file))
}

fn print_json(
    suite: &'static str,
    file: String,
    rates: &MachineRates,
    runs: Vec<DemoReport>,
) -> anyhow::Result<()> {
    let summary = Summary { suite, file, rates, runs, version: env!("CARGO_PKG_VERSION") };
    output::json(&summary)
}

fn calibrate(args: &Args) -> anyhow::Result<ExitCode> {
    let (rates, file) = measure(args)?;
    if args.json {
        print_json("calibrate", file, &rates, Vec::new())?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(format_args!(
        "{}, {} kernels\n  {:.2} G multiply-adds/s in convolutions\n  {:.2} G multiply-adds/s in fully connected \
         layers\n  {:.1} ns to use and {:.1} ns to deal an element of material\n  {:.0} us a hop, {:.0} us beside the \
         delay of a network\nkept in {file}",
        rates.machine,
        rates.kernel,
        rates.products_per_second / 1e9,
        rates.dense_products_per_second / 1e9,
        rates.online_element_ns,
        rates.dealt_element_ns,
        rates.hop_us,
        rates.delayed_hop_us
    ));
    Ok(ExitCode::SUCCESS)
}

/// Rates are measured anew before every run, so that estimates are of the machine as it is then.
fn models(args: &Args) -> anyhow::Result<ExitCode> {
    let nets = if args.nets.is_empty() {
        vec![Shape::local(), Shape::lan(), Shape::wan()]
    } else {
        args.nets.clone()
    };
    let (mut runs, mut measured) = (Vec::new(), None);
    for model in &models_of(args) {
        for net in &nets {
            let (rates, file) = measure(args)?;
            if !args.json {
                output::note(format_args!("{model}, {net}"));
            }
            let options = DemoOptions {
                model: Some(model.clone()),
                parties: args.parties,
                samples: args.samples,
                net: *net,
                rates: Some(rates.rates()),
                warm_up: true,
                ..DemoOptions::default()
            };
            runs.push(run_demo(&options, &mut |_| ()).with_context(|| format!("{model}, {net}"))?);
            measured = Some((rates, file));
        }
    }
    let (rates, file) = measured.context("no model and network to run")?;
    let accepted = runs.iter().all(DemoReport::accepted);
    if args.json {
        print_json("models", file, &rates, runs)?;
    } else {
        output::line(format_args!("{}, {} kernels, {} parties", rates.machine, rates.kernel, args.parties));
        table(&runs).print();
    }
    Ok(if accepted { ExitCode::SUCCESS } else { super::cheated() })
}

/// Private runs, and with the suite `plaintext` ONNX files run as they are.
fn throughput(args: &Args, suite: &'static str) -> anyhow::Result<ExitCode> {
    let batches = if args.batches.is_empty() { vec![1, 8, 32, 128] } else { args.batches.clone() };
    let mut rows = Vec::new();
    for model in models_of(args) {
        for &batch in &batches {
            if !args.json {
                output::note(format_args!("{model}, {batch} images an inference"));
            }
            let row = if args.suite == Suite::Plaintext && model.ends_with(".onnx") {
                plaintext::measure(&model, batch, args.samples)
            } else {
                let (model, images) = (model.clone(), args.samples);
                let options =
                    ThroughputOptions { model, parties: args.parties, batch, images, busy: args.busy };
                demo::throughput(&options).map_err(Into::into)
            };
            rows.push(row.with_context(|| format!("{model}, {batch} images an inference"))?);
        }
    }
    if let Some(folder) = &args.output {
        throughput::write(folder, suite, &rows)?;
    }
    if args.json {
        output::json(&throughput::Summary::of(suite, &rows))?;
    } else {
        throughput::print(&rows);
    }
    Ok(ExitCode::SUCCESS)
}

/// The models to run.
fn models_of(args: &Args) -> Vec<String> {
    let usual = || ["lenet5-mnist", "lenet5-mnist-degree2"].map(str::to_owned).into();
    if args.models.is_empty() { usual() } else { args.models.clone() }
}

fn table(runs: &[DemoReport]) -> Table {
    let mut table = Table::with_header([
        "model",
        "network",
        "estimated",
        "online, median (least to most)",
        "off by",
        "rounds, sent, dealt",
        "check",
    ]);
    for run in runs {
        let unknown = || "unknown".to_owned();
        let off = run.online_ms.zip(run.estimated_online_ms).map(|(o, e)| 100.0 * (e / o.median - 1.0));
        table.row([
            run.model.clone(),
            run.net.clone(),
            run.estimated_online_ms.map_or_else(unknown, |ms| format!("{ms:.2} ms")),
            run.online_ms
                .map_or_else(unknown, |o| format!("{:.2} ms ({:.2} to {:.2})", o.median, o.min, o.max)),
            off.map_or_else(unknown, |percent| format!("{percent:+.0}%")),
            [
                run.rounds.map_or_else(unknown, |r| r.to_string()),
                run.sent_bytes_per_party.map_or_else(unknown, bytes),
                run.dealt_bytes.map_or_else(unknown, bytes),
            ]
            .join(", "),
            run.check.clone(),
        ]);
    }
    table
}
