//! `amicus compile`.

use super::comparison::print_comparison;
use super::files::{ImportArgs, Share, bar, bytes, destination};
use super::output::{self, Table};
use amicus::calibration::Calibration;
use amicus::compile::{self, ApproximateOptions, Compilation, CompileOptions, Options};
use amicus_cli::rates;
use amicus_cli::samples::{Invalid, Reading, Samples, samples};
use amicus_field::{Kernel, Limbs};
use amicus_model::amc::ModelFile;
use amicus_model::approximate::{Activations, Approximation, Candidate, MaxPooling, Recipe, Trial};
use amicus_model::compare::{Comparison, FixedPoint, Networks, compare};
use amicus_model::fit::Method;
use amicus_model::measure::{count_of, percent};
use amicus_model::onnx::import_file;
use amicus_model::quality::Quality;
use amicus_model::reveal::Reveals;
use amicus_model::shown::shown;
use amicus_model::{ModelError, Report};
use amicus_net::shaper::Shape;
use amicus_plan::Rates;
use anyhow::{Context, bail};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Clone, Copy, clap::ValueEnum)]
enum MaxPool {
    /// Refuse it by name.
    Refuse,
    /// Take means over the same windows.
    Average,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Activation {
    /// ReLU and its kin, clips and max pooling as they are, by comparisons; polynomials for what is
    /// left.
    Exact,
    /// Polynomials for all: fewer rounds, for networks that are trained for them.
    Polynomial,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Reveal {
    /// All outputs.
    Logits,
    /// The labels of the five largest outputs, the largest first.
    Top5,
    /// The label of the largest output.
    Label,
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
    /// Replace the compiled file if it is there.
    #[arg(long)]
    force: bool,
    /// Images that were not calibrated with, as for --calibrate: the compiled network is held to them,
    /// and the result is printed.
    #[arg(long, value_name = "DATA.npz")]
    validate: Option<PathBuf>,
    /// Images used for calibration, and for validation, at most.
    #[arg(long, value_name = "K", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..))]
    samples: u64,
    /// Leave images with numbers that are none (NaN, infinite) out.
    #[arg(long)]
    skip_invalid: bool,
    /// Degree of the polynomials that replace activations, 2 to 8 [default: the lowest of 2, 4 and
    /// 6 that answers about as well as the best].
    #[arg(long)]
    degree: Option<usize>,
    /// How these polynomials are found [default: whichever answers most like the network].
    #[arg(long)]
    fit: Option<Fit>,
    /// Intervals of polynomials are the largest number seen times this [default: whichever answers
    /// most like the network].
    #[arg(long)]
    margin: Option<f64>,
    /// How activations are computed.
    #[arg(long, default_value = "exact")]
    activations: Activation,
    /// What becomes of max pooling [default: it is computed as it is; with polynomial activations
    /// it is refused].
    #[arg(long)]
    maxpool: Option<MaxPool>,
    /// Let polynomials of the file end in straight lines outside their intervals, by comparisons: no
    /// hidden number then grows without bound. For networks that were trained with polynomials.
    #[arg(long, conflicts_with_all = ["degree", "fit"])]
    tails: bool,
    /// The network that comparisons are made for: few rounds where delays are long, few bytes where
    /// they are short. local, lan, wan, or a delay and a bandwidth as for `demo`.
    #[arg(long, value_name = "NET", default_value = "lan")]
    net: Shape,
    /// Median error of the fixed point, relative to the outputs, that must be met.
    #[arg(long, default_value = "0.5%")]
    max_error: Share,
    /// Median error of private answers against the network as imported, polynomials included, that
    /// must be met [default: any].
    #[arg(long)]
    max_total_error: Option<Share>,
    /// Write the file even when one of these errors is not met.
    #[arg(long)]
    allow_miss: bool,
    /// Primes of the modulus, 1 to 3 [default: the fewest that meet the target].
    #[arg(long)]
    limbs: Option<usize>,
    /// No statistical truncation, which deals less for a wrong result with probability 2^-40.
    #[arg(long)]
    exact_truncation: bool,
    /// Do not look for hidden values outside windows and intervals: cheaper, but they go unnoticed.
    #[arg(long)]
    no_watch: bool,
    /// What receivers get; of equal outputs the smallest label comes first. Images: at every pixel
    /// [default: label where the file ends in an ArgMax, the k labels of a TopK, else logits].
    #[arg(long)]
    reveal: Option<Reveal>,
    /// Round logits to multiples of two to the minus this before they are revealed, after errors were
    /// measured; 5 bits at least unless with --no-watch [default: 16, more where logits are small].
    #[arg(long, value_name = "BITS")]
    logit_bits: Option<u32>,
    #[command(flatten)]
    import: ImportArgs,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
}

/// What is printed with `--json`.
#[derive(Serialize)]
struct Summary<'a> {
    model: &'a str,
    /// The compiled file; none when a target was missed.
    output: Option<String>,
    digest: String,
    input_range: [f64; 2],
    notes: &'a [String],
    warnings: &'a [String],
    trials: &'a [Trial],
    approximations: &'a [Approximation],
    report: &'a Report,
    cost: Cost,
    /// Errors against the network as imported, their parts, and targets.
    quality: &'a Quality,
    meets_target: bool,
    missed_targets: &'a [String],
    measured: &'a Comparison,
    /// Whether the calibration data are enough.
    calibration: &'a Calibration,
    /// What was measured on validation data, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    validated: Option<Comparison>,
    /// What everybody learns who sees the plan.
    plan_shows: &'a [String],
    version: &'static str,
}

/// The cost of one inference.
#[derive(Serialize)]
struct Cost {
    rounds: usize,
    sent_bytes_per_party: u64,
    dealt_bytes: u64,
    multiply_adds: u64,
    /// Time of one inference on this machine, estimated.
    estimated_online_ms: f64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.tails && args.activations == Activation::Polynomial {
        bail!(
            "--tails: lines at the ends of polynomials take comparisons, which --activations polynomial rules out"
        );
    }
    let import = args.import.options();
    let mut network = import_file(&args.model, &import)?;
    let inputs: Vec<&Path> = [&args.model, &args.calibrate]
        .into_iter()
        .chain(&args.validate)
        .chain(&network.external)
        .map(PathBuf::as_path)
        .collect();
    let existing = destination(&args.output, args.force, &inputs)?;
    let reading = Reading {
        network: &network.graph,
        range: None,
        invalid: if args.skip_invalid { Invalid::Skip } else { Invalid::Refuse },
        limit: Some(usize::try_from(args.samples).unwrap_or(usize::MAX)),
    };
    let Samples { images, labels, notes: read, .. } = samples(&args.calibrate, reading)?;
    let steps = bar(3, "compiling");
    let approximate = ApproximateOptions {
        max_error: args.max_error.0,
        degree: args.degree,
        margin: args.margin,
        method: args.fit.map(|fit| match fit {
            Fit::LeastSquares => Method::LeastSquares,
            Fit::Chebyshev => Method::Chebyshev,
            Fit::Minimax => Method::Minimax,
        }),
        max_pooling: match (args.maxpool, args.activations) {
            (Some(MaxPool::Average), _) => MaxPooling::Average,
            (None, Activation::Exact) => MaxPooling::Exact,
            (Some(MaxPool::Refuse), _) | (None, Activation::Polynomial) => MaxPooling::Refuse,
        },
        tails: args.tails,
        activations: match args.activations {
            Activation::Exact => Activations::Exact,
            Activation::Polynomial => Activations::Polynomial,
        },
    };
    let limbs = match args.limbs {
        None => None,
        Some(n) => {
            let known = Limbs::ALL.into_iter().find(|l| l.count() == n);
            Some(known.with_context(|| format!("--limbs: {n}, 1 to 3 are possible"))?)
        }
    };
    let compile = CompileOptions {
        limbs,
        max_error: args.max_error.0,
        statistical: !args.exact_truncation,
        link: rates::link(&args.net),
        watch: !args.no_watch,
        ..CompileOptions::default()
    };
    let options = Options {
        import,
        approximate,
        compile,
        max_total_error: args.max_total_error.map(|share| share.0),
        reveal: args.reveal.map(|reveal| match reveal {
            Reveal::Logits => Reveals::Outputs,
            Reveal::Top5 => Reveals::Labels(5),
            Reveal::Label => Reveals::Labels(1),
        }),
        logit_bits: args.logit_bits,
    };
    network.notes.extend(read);
    let step = &mut || steps.inc(1);
    let compiled = compile::imported(network, &args.model, &images, labels.as_deref(), &options, step);
    let compiled = match compiled {
        Err(error @ amicus::Error::Model(ModelError::Data { .. })) => {
            Err(error).with_context(|| args.calibrate.display().to_string())
        }
        other => Ok(other?),
    };
    let Compilation { file, notes, warnings, trials, report, measured, calibration, grouped } = compiled?;
    let validated = args.validate.as_deref().map(|data| validated(args, &file, data)).transpose()?;
    let missed = file.quality.misses();
    let written = missed.is_empty() || args.allow_miss;
    if written {
        file.save(&args.output, existing)?;
    }
    steps.finish_and_clear();

    let rates = rates::load(Kernel::from_env()?).ok().flatten().map_or(Rates::STATED, |r| r.rates());
    let estimate = file.plan.estimate(2, 1, &rates::link(&Shape::local()), &rates)?;
    let summary = Summary {
        model: &file.plan.name,
        output: written.then(|| args.output.display().to_string()),
        digest: file.plan.digest()?.to_string(),
        input_range: [file.plan.input.range.low, file.plan.input.range.high],
        notes: &notes,
        warnings: &warnings,
        trials: &trials,
        approximations: &file.approximations,
        cost: Cost {
            rounds: report.cost.rounds,
            sent_bytes_per_party: report.cost.sent_bytes_per_party,
            dealt_bytes: report.cost.dealt_bytes,
            multiply_adds: report.cost.multiply_adds,
            estimated_online_ms: 1e3 * estimate.online,
        },
        quality: &file.quality,
        meets_target: missed.is_empty(),
        missed_targets: &missed,
        report: &report,
        measured: &measured,
        calibration: &calibration,
        validated,
        plan_shows: &shown(&file.plan, &file.approximations, grouped),
        version: env!("CARGO_PKG_VERSION"),
    };
    if args.json {
        output::json(&summary)?;
    } else {
        print(&summary);
    }
    if !written {
        bail!("{}; nothing is written (--allow-miss writes it all the same)", missed.join(", and "));
    }
    Ok(ExitCode::SUCCESS)
}

/// A compiled network on images that it was not calibrated with.
fn validated(args: &Args, file: &ModelFile, data: &Path) -> anyhow::Result<Comparison> {
    let reading = Reading {
        network: file.user_network(),
        range: Some(file.plan.input.range),
        invalid: if args.skip_invalid { Invalid::Skip } else { Invalid::Clip },
        limit: Some(usize::try_from(args.samples).unwrap_or(usize::MAX)),
    };
    let Samples { images, labels, .. } = samples(data, reading)?;
    let fixed = FixedPoint { plan: &file.plan, weights: &file.weights, factors: &file.factors };
    let polynomial = file.polynomial();
    let networks = Networks { original: file.user_network(), polynomial: &polynomial, fixed: Some(fixed) };
    Ok(compare(networks, &images, labels.as_deref(), &mut |_| ())?)
}

fn print(s: &Summary<'_>) {
    s.notes.iter().for_each(|note| output::line(format_args!("note: {note}")));
    output::line(format_args!(
        "input range {:.4} to {:.4}: clients' images outside are refused",
        s.input_range[0], s.input_range[1]
    ));
    if !s.trials.is_empty() {
        print_trials(s.trials);
    }
    if !s.approximations.is_empty() {
        print_approximations(s.approximations);
    }
    output::line(format_args!("{}", s.report));
    print_comparison(s.measured);
    output::line(format_args!("{}", s.calibration));
    if let Some(validated) = &s.validated {
        output::line(format_args!("\non {} images that were not calibrated with:", validated.samples));
        print_comparison(validated);
    }
    if !s.warnings.is_empty() {
        output::line(format_args!("\nwarning: the network was not trained for what it computes now:"));
        s.warnings.iter().for_each(|w| output::line(format_args!("  {w}")));
        output::line(format_args!(
            "  train it on with these polynomials in place if the measured loss above is too high"
        ));
    }
    output::line(format_args!("\nthe plan, which parties, helper and clients see, shows:"));
    s.plan_shows.iter().for_each(|line| output::line(format_args!("  {line}")));
    s.missed_targets.iter().for_each(|missed| output::line(format_args!("target missed: {missed}")));
    output::line(format_args!("\n{}", s.quality.headline()));
    if let Some(output) = &s.output {
        output::line(format_args!(
            "wrote {output} (plan {}); it holds the weights: keep it secret",
            s.digest
        ));
    }
    output::as_it_is(&conclusion(s));
}

/// What the user gets, in one line.
fn conclusion(s: &Summary<'_>) -> String {
    let measured = s.measured;
    let share = |n: usize| count_of(n, measured.samples);
    let accuracy = match (measured.float_correct, measured.fixed_correct, s.quality.same_class) {
        (Some(float), Some(private), _) => {
            format!("{} as labelled (your network {})", share(private), share(float))
        }
        (_, _, Some(same)) => format!("the class of your network for {}", share(same)),
        _ => format!("outputs within {} of your network's (median)", percent(s.quality.total.median)),
    };
    format!(
        "a private answer: {accuracy}, about {:.1} ms here, {} dealt",
        s.cost.estimated_online_ms,
        bytes(s.cost.dealt_bytes)
    )
}

fn print_trials(trials: &[Trial]) {
    let mut shown = Table::with_header(["fit", "margin", "degree", "same class, held out", "error"]);
    for t in trials {
        let same = t.same_class.map_or_else(|| "no classes".to_owned(), |n| count_of(n, t.samples));
        let taken = if t.taken { " (taken)" } else { "" };
        let Recipe { method, margin, degree } = t.recipe;
        let fit = format!("{method}{taken}");
        shown.row([fit, margin.to_string(), degree.to_string(), same, percent(t.error)]);
    }
    shown.print();
}

/// A size with three digits, however small.
fn short(size: f64) -> String {
    if size == 0.0 || size >= 0.01 { format!("{size:.3}") } else { format!("{size:.2e}") }
}

fn print_approximations(approximations: &[Approximation]) {
    let mut shown =
        Table::with_header(["activation", "was", "interval", "degree", "largest error", "weighted error"]);
    for a in approximations {
        let chosen = a.candidates.iter().find(|c| Some(c.method) == a.picked);
        let error = |of: fn(&Candidate) -> f64| {
            chosen.map_or_else(|| "as written".to_owned(), |c| format!("{:.4}", of(c)))
        };
        shown.row([
            a.node.clone(),
            a.function.clone(),
            format!("{} (seen {})", short(a.interval), short(a.seen)),
            match &a.pieces {
                Some(pieces) => format!("{}, {} pieces", pieces.degree(), pieces.polynomials().len()),
                None => (a.coefficients.len() - 1).to_string(),
            },
            error(|c| c.max_error),
            error(|c| c.weighted_error),
        ]);
    }
    shown.print();
}
