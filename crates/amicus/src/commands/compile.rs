//! `amicus compile`.

use super::files::{Bytes, Share, Sizes, bar};
use super::simulate::print_comparison;
use amicus::field::Limbs;
use amicus::model::amc::{About, ModelFile};
use amicus::model::approximate::{ApproximateOptions, Approximated, Approximation, MaxPooling, approximate};
use amicus::model::compare::{Comparison, FixedPoint, Networks, compare};
use amicus::model::fit::Method;
use amicus::model::onnx::{ImportOptions, import_file};
use amicus::model::prepare::{Prepared, prepare};
use amicus::model::quality::{Quality, Targets};
use amicus::model::{CompileOptions, Compiled, Report, compile};
use amicus::plan::Range;
use amicus::samples::{Samples, samples_for};
use anyhow::Context;
use comfy_table::{Table, presets};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Samples on which accuracy is measured, at most.
const MEASURED: usize = 100;

#[derive(Clone, Copy, clap::ValueEnum)]
enum MaxPool {
    /// Refuse it by name.
    Refuse,
    /// Take means over the same windows.
    Average,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Fit {
    LeastSquares,
    Chebyshev,
    Minimax,
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  amicus compile lenet.onnx --calibrate calibration.npz -o lenet.amc\n\n\
    calibration.npz, from Python: numpy.savez(\"calibration.npz\", x=images, y=labels), where images are as the model \
    takes them, float32 of shape [samples, channels, height, width], and labels (optional) are classes.")]
pub(crate) struct Args {
    /// The model; external data are looked for beside it.
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// Typical images: array x and, if there are labels, y.
    #[arg(long, value_name = "DATA.npz")]
    calibrate: PathBuf,
    /// The compiled file. It holds the weights: keep it secret.
    #[arg(short, long, value_name = "MODEL.amc")]
    output: PathBuf,
    /// Images used for calibration, at most.
    #[arg(long, value_name = "K", default_value_t = 256)]
    samples: usize,
    /// Degree of the polynomials that replace activations, 2 to 8.
    #[arg(long, default_value_t = 4)]
    degree: usize,
    /// How these polynomials are found [default: whichever is best].
    #[arg(long)]
    fit: Option<Fit>,
    /// Intervals of polynomials are the largest number seen times this.
    #[arg(long, default_value_t = 1.2)]
    margin: f64,
    /// What becomes of max pooling.
    #[arg(long, default_value = "refuse")]
    maxpool: MaxPool,
    /// Error of the fixed point, relative to the logits, to aim at.
    #[arg(long, default_value = "0.5%")]
    max_error: Share,
    /// Primes of the modulus, 1 to 3 [default: the fewest that meet the target].
    #[arg(long)]
    limbs: Option<usize>,
    /// Never use the rule that deals less for a wrong result with probability 2^-40.
    #[arg(long)]
    no_slack: bool,
    /// Shape of one image where the file leaves it open, for example 3,224,224.
    #[arg(long, value_name = "SHAPE")]
    input_shape: Option<Sizes>,
    /// Weights that the file may generate rather than hold, for example 1GiB.
    #[arg(long, value_name = "BYTES", default_value = "0")]
    generated_weights: Bytes,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
}

/// What is printed with `--json`.
#[derive(Serialize)]
struct Summary<'a> {
    model: &'a str,
    output: String,
    digest: String,
    input_range: [f64; 2],
    notes: &'a [String],
    warnings: &'a [String],
    approximations: &'a [Approximation],
    report: &'a Report,
    cost: Cost,
    meets_target: bool,
    measured: &'a Comparison,
    version: &'static str,
}

/// The cost of one inference.
#[derive(Serialize)]
struct Cost {
    rounds: usize,
    sent_bytes_per_party: u64,
    dealt_bytes: u64,
    multiply_adds: u64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let import = import_file(
        &args.model,
        &ImportOptions {
            input_shape: args.input_shape.clone().map(|s| s.0),
            generated_bytes: args.generated_weights.0,
        },
    )?;
    let Samples { images, labels } = samples_for(&args.calibrate, &import.graph, Some(args.samples.max(1)))?;
    let range = input_range(&images);
    let Prepared { graph: original, notes: prepared } = prepare(&import.graph.with_input_range(range)?)?;

    let steps = bar(3, "compiling");
    let options = ApproximateOptions {
        degree: args.degree,
        margin: args.margin,
        method: args.fit.map(|fit| match fit {
            Fit::LeastSquares => Method::LeastSquares,
            Fit::Chebyshev => Method::Chebyshev,
            Fit::Minimax => Method::Minimax,
        }),
        max_pooling: match args.maxpool {
            MaxPool::Refuse => MaxPooling::Refuse,
            MaxPool::Average => MaxPooling::Average,
        },
    };
    let Approximated { graph, approximations, warnings } = approximate(&original, &images, &options)?;
    steps.inc(1);
    let limbs = match args.limbs {
        None => None,
        Some(n) => {
            let known = Limbs::ALL.into_iter().find(|l| l.count() == n);
            Some(known.with_context(|| format!("--limbs: {n}, 1 to 3 are possible"))?)
        }
    };
    let options = CompileOptions {
        limbs,
        max_error: args.max_error.0,
        slack: !args.no_slack,
        ..CompileOptions::default()
    };
    let Compiled { plan, weights, factors, report } = compile(&graph, &images, &options)?;
    steps.inc(1);
    let measured = images.len().min(MEASURED);
    let fixed = FixedPoint { plan: &plan, weights: &weights, factors: &factors };
    let networks = Networks { original: &original, polynomial: &graph, fixed: Some(fixed) };
    let labels = labels.as_ref().map(|l| &l[..measured]);
    let measured = compare(networks, &images[..measured], labels, &mut |_| ())?;
    let targets = Targets { fixed_point: args.max_error.0, total: None };
    let quality = Quality::of(&measured, &report, targets);
    let import_notes: Vec<String> = import.notes.into_iter().chain(prepared).collect();
    let notes: Vec<String> = import_notes.iter().chain(&warnings).cloned().collect();
    let file = ModelFile {
        plan,
        weights,
        factors,
        original,
        approximations,
        quality,
        about: About {
            source: args.model.display().to_string(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            notes,
            report: serde_json::to_string(&report)?,
        },
    };
    file.save(&args.output)?;
    steps.finish_and_clear();

    let summary = Summary {
        model: &file.plan.name,
        output: args.output.display().to_string(),
        digest: file.plan.digest()?.to_string(),
        input_range: [range.low, range.high],
        notes: &import_notes,
        warnings: &warnings,
        approximations: &file.approximations,
        cost: Cost {
            rounds: report.cost.rounds,
            sent_bytes_per_party: report.cost.sent_bytes_per_party,
            dealt_bytes: report.cost.dealt_bytes,
            multiply_adds: report.cost.multiply_adds,
        },
        meets_target: report.meets_target(),
        report: &report,
        measured: &measured,
        version: env!("CARGO_PKG_VERSION"),
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
    } else {
        print(&summary);
    }
    Ok(ExitCode::SUCCESS)
}

/// The numbers seen, and a tenth of their spread more on both sides.
fn input_range(images: &[Vec<f32>]) -> Range {
    let all = images.iter().flatten().map(|&v| f64::from(v));
    let (low, high) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    let more = 0.1 * (high - low);
    Range { low: low - more, high: high + more }
}

fn print(s: &Summary<'_>) {
    s.notes.iter().for_each(|note| println!("note: {note}"));
    println!(
        "input range {:.4} to {:.4}: clients' images outside are refused",
        s.input_range[0], s.input_range[1]
    );
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header([
        "activation",
        "was",
        "interval",
        "degree",
        "picked",
        "largest error",
        "weighted error",
    ]);
    for a in s.approximations {
        let chosen = a.candidates.iter().find(|c| Some(c.method) == a.picked);
        let error = |of: fn(&amicus::model::approximate::Candidate) -> f64| {
            let each = |c: &amicus::model::approximate::Candidate| format!("{:.4}", of(c));
            match chosen {
                None => "exact".to_owned(),
                Some(c) => {
                    let others: Vec<String> =
                        a.candidates.iter().filter(|o| o.method != c.method).map(each).collect();
                    if others.is_empty() { each(c) } else { format!("{} ({})", each(c), others.join(", ")) }
                }
            }
        };
        table.add_row([
            a.node.clone(),
            a.function.clone(),
            format!("{:.3} (seen {:.3})", a.interval, a.seen),
            (a.coefficients.len() - 1).to_string(),
            a.picked.map_or_else(|| "as written".to_owned(), |m| m.to_string()),
            error(|c| c.max_error),
            error(|c| c.weighted_error),
        ]);
    }
    if !s.approximations.is_empty() {
        println!("{table}\nin brackets: the methods that were not picked\n");
    }
    println!("{}", s.report);
    print_comparison(s.measured);
    if !s.warnings.is_empty() {
        println!("\nwarning: the network was not trained for what it computes now:");
        s.warnings.iter().for_each(|w| println!("  {w}"));
        println!("  train it on with these polynomials in place if the measured loss above is too high");
    }
    println!("\nwrote {} (plan {}); it holds the weights: keep it secret", s.output, s.digest);
}
