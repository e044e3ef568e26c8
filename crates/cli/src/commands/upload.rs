//! `amicus upload`.

use super::files::bar;
use super::output;
use super::remote::{ClusterArgs, Credentials, ended};
use amicus::https::HttpsOwner;
use amicus::{ModelFile, Owner, UploadProgress};
use anyhow::bail;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  amicus upload lenet.amc --cluster cluster.toml --key owner.pem\n  \
    amicus upload lenet.amc --cluster cluster.toml --token owner.tokens\n\n\
    The weights leave this machine masked: no node can tell them, unless the helper and a party collude. Where a link \
    breaks, the upload goes on over the next one. Tell clients the fingerprint over a channel that they trust.")]
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
    let credentials = args.cluster.credentials(&deployment)?;
    let ModelFile { plan, weights, .. } = ModelFile::load(&args.model)?;
    let digest = plan.digest()?;
    let name = deployment.model_of(digest).map_or_else(|| plan.name.clone(), str::to_owned);
    if deployment.model_of(digest).is_none() && !deployment.models.is_empty() {
        bail!(
            "{}: its plan {digest} is none of the cluster's models; have all operators list it",
            args.model.display()
        );
    }
    let bar = bar(0, "parts");
    let show = |progress: UploadProgress| {
        bar.set_length(progress.of as u64);
        bar.set_position(progress.given as u64);
        if progress.resumed > 0 {
            bar.set_message(format!("parts, {} links made anew", progress.resumed));
        }
    };
    let loaded = match credentials {
        Credentials::Key(identity) => Owner::connect(&deployment, identity, plan)
            .and_then(|mut owner| owner.load_watched(&weights, show)),
        Credentials::Tokens(tokens) => {
            HttpsOwner::connect(&deployment, &tokens, plan).and_then(|mut owner| owner.load(&weights, show))
        }
    };
    bar.finish_and_clear();
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
