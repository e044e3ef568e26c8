//! `amicus upload`.

use super::output;
use super::remote::{ClusterArgs, ended};
use amicus::{ModelFile, Owner};
use anyhow::bail;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  amicus upload lenet.amc --cluster cluster.toml --key owner.pem\n\n\
    The weights leave this machine masked: no node can tell them, unless the helper and a party collude. Tell clients \
    the fingerprint over a channel that they trust.")]
pub(crate) struct Args {
    /// The compiled file.
    #[arg(value_name = "MODEL.amc")]
    model: PathBuf,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
}

/// What is printed with `--json`.
#[derive(Serialize)]
struct Loaded {
    model: String,
    plan: String,
    epoch: String,
    fingerprint: String,
    version: &'static str,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let deployment = args.cluster.deployment()?;
    let identity = args.cluster.identity()?;
    let ModelFile { plan, weights, .. } = ModelFile::load(&args.model)?;
    let digest = plan.digest()?;
    let name = deployment.model_of(digest).map_or_else(|| plan.name.clone(), str::to_owned);
    if deployment.model_of(digest).is_none() && !deployment.models.is_empty() {
        bail!(
            "{}: its plan {digest} is none of the cluster's models; have all operators list it",
            args.model.display()
        );
    }
    let loaded = Owner::connect(&deployment, identity, plan).and_then(|mut owner| owner.load(&weights));
    let model = match loaded {
        Ok(model) => model,
        Err(error) => return ended(error),
    };
    let loaded = Loaded {
        model: name,
        plan: digest.to_string(),
        epoch: model.epoch.to_string(),
        fingerprint: model.fingerprint.to_string(),
        version: env!("CARGO_PKG_VERSION"),
    };
    if args.json {
        output::json(&loaded)?;
    } else {
        output::line(format_args!("{} is loaded as {}", loaded.model, loaded.epoch));
        output::line(format_args!("fingerprint {}", loaded.fingerprint));
    }
    Ok(ExitCode::SUCCESS)
}
