//! `amicus plan`.

use super::files::destination;
use super::output;
use amicus::files::write_plan;
use amicus::report::{bytes, weights};
use amicus_model::amc::ModelFile;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  amicus plan lenet.amc -o lenet.plan\n\n\
    Parties, helper and clients run from the plan alone; `amicus compile` lists what it shows. The compiled file, which \
    holds the weights, stays with the model owner. A plan holds weights only if its model was compiled with \
    --public-model.")]
pub(crate) struct Args {
    /// The compiled file.
    #[arg(value_name = "MODEL.amc")]
    model: PathBuf,
    /// Where the plan goes.
    #[arg(short, long, value_name = "MODEL.plan")]
    output: PathBuf,
    /// Replace the plan if it is there.
    #[arg(long)]
    force: bool,
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
    bytes: u64,
    /// How many weights it holds.
    public_weights: usize,
    version: &'static str,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let existing = destination(&args.output, args.force, &[&args.model])?;
    let plan = ModelFile::load(&args.model)?.plan;
    write_plan(&args.output, &plan, existing)?;
    let summary = Summary {
        model: &plan.name,
        output: args.output.display().to_string(),
        digest: plan.digest()?.to_string(),
        bytes: plan.encode()?.len() as u64,
        public_weights: plan.public_weights(),
        version: env!("CARGO_PKG_VERSION"),
    };
    if args.json {
        output::json(&summary)?;
    } else {
        let Summary { model, output, digest, bytes: size, public_weights, .. } = summary;
        output::line(format_args!(
            "wrote {output} ({}), the public part of {model}: give it to parties, helper and clients",
            bytes(size)
        ));
        output::line(format_args!("plan {digest}"));
        output::line(format_args!("weights {}", weights(public_weights)));
    }
    Ok(ExitCode::SUCCESS)
}
