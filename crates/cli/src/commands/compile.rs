//! `amicus compile`.

use super::files::{ImportArgs, Share, bar, destination};
use super::output;
use amicus::compile::{self, ApproximateOptions, CompileOptions, Options};
use amicus::report::Compiled;
use amicus_cli::rates;
use amicus_cli::samples::{Invalid, Reading, Samples, samples};
use amicus_field::{Kernel, Limbs};
use amicus_model::ModelError;
use amicus_model::amc::ModelFile;
use amicus_model::approximate::{Activations, MaxPooling};
use amicus_model::compare::{Comparison, FixedPoint, Networks, compare};
use amicus_model::fit::Method;
use amicus_model::onnx::import_file;
use amicus_model::reveal::Reveals;
use amicus_net::shaper::Shape;
use amicus_plan::Rates;
use anyhow::{Context, bail};
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
    /// The compiled file. It holds the weights: keep it secret, unless they are public.
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
    /// The network that the plan is made for: few rounds where delays are long, few bytes where
    /// they are short. local, lan, wan, or a delay and a bandwidth as for `demo`.
    #[arg(long, value_name = "NET", default_value = "lan")]
    net: Shape,
    /// Images in one inference that the plan is made for: in large batches rounds weigh little.
    #[arg(long, value_name = "B", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    batch: u32,
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
    /// Put the weights into the plan, where parties, helper and clients see them: layers of weights then
    /// take no round. Inputs and outputs stay secret. For networks that are published anyway.
    #[arg(long)]
    public_model: bool,
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
        batch: args.batch as usize,
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
        public_model: args.public_model,
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
    let compilation = compiled?;
    let file = &compilation.file;
    let validated = args.validate.as_deref().map(|data| validated(args, file, data)).transpose()?;
    let missed = file.quality.misses();
    let written = missed.is_empty() || args.allow_miss;
    if written {
        file.save(&args.output, existing)?;
    }
    steps.finish_and_clear();

    let rates = rates::load(Kernel::from_env()?).ok().flatten().map_or(Rates::STATED, |r| r.rates());
    let mut summary = Compiled::of(&compilation, written.then(|| args.output.display().to_string()), &rates)?;
    summary.validated = validated;
    if args.json {
        output::json(&summary)?;
    } else {
        output::text(&summary.text());
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
