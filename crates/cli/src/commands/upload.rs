//! `amicus upload`.

use super::cells::CellsArgs;
use super::files::bar;
use super::output;
use super::remote::{ClusterArgs, Credentials, ended};
use amicus::https::HttpsOwner;
use amicus::{Deployment, ModelFile, Owner, UploadProgress};
use anyhow::bail;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  amicus upload lenet.amc --cluster cluster.toml --key owner.pem\n  \
    amicus upload lenet.amc --cluster cluster.toml --token owner.tokens\n\n\
    The weights leave this machine masked: no node can tell them, unless the helper and a party collude. (Those of a \
    model compiled with --public-model are in the plan that all nodes have; this command then only says that it may be \
    used.) Where a link \
    breaks, the upload goes on over the next one. Tell clients the fingerprint over a channel that they trust.")]
pub(crate) struct Args {
    /// The compiled file.
    #[arg(value_name = "MODEL.amc")]
    model: PathBuf,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    cells: CellsArgs,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
}

/// What is printed with `--json`: an array of these, one a cell, with --cells.
#[derive(Serialize)]
struct Loaded {
    #[serde(skip_serializing_if = "Option::is_none")]
    cell: Option<String>,
    model: String,
    plan: String,
    epoch: String,
    fingerprint: String,
    version: &'static str,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let file = ModelFile::load(&args.model)?;
    let mut all = Vec::new();
    match args.cells.read()? {
        None => match load(args, None, &args.cluster.deployment()?, &file)? {
            Ok(loaded) => all.push(loaded),
            Err(error) => return ended(error),
        },
        // Each with a nonce of its own: what one cell's nodes know says nothing of another's.
        Some(cells) => {
            for cell in cells.cells {
                match load(args, Some(cell.name), &cell.deployment, &file)? {
                    Ok(loaded) => all.push(loaded),
                    Err(error) => return ended(error),
                }
            }
        }
    }
    match (args.json, &all[..]) {
        (true, [one @ Loaded { cell: None, .. }]) => output::json(one)?,
        (true, all) => output::json(&all)?,
        (false, all) => {
            for Loaded { cell, model, epoch, fingerprint, .. } in all {
                let at = cell.as_ref().map_or_else(String::new, |cell| format!(" in cell {cell}"));
                output::line(format_args!("{model} is loaded as {epoch}{at}"));
                match cell {
                    None => output::line(format_args!("fingerprint {fingerprint}")),
                    Some(cell) => output::line(format_args!("fingerprint {cell}={fingerprint}")),
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Loads a model into one cluster.
fn load(
    args: &Args,
    cell: Option<String>,
    deployment: &Deployment,
    file: &ModelFile,
) -> anyhow::Result<Result<Loaded, amicus::Error>> {
    let credentials = args.cluster.credentials(deployment)?;
    let (plan, digest) = (file.plan.clone(), file.plan.digest()?);
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
        Credentials::Key(identity) => Owner::connect(deployment, identity, plan)
            .and_then(|mut owner| owner.load_watched(&file.weights, show)),
        Credentials::Tokens(tokens) => HttpsOwner::connect(deployment, &tokens, plan)
            .and_then(|mut owner| owner.load(&file.weights, show)),
    };
    bar.finish_and_clear();
    Ok(loaded.map(|model| Loaded {
        cell,
        model: name,
        plan: digest.to_string(),
        epoch: model.epoch.to_string(),
        fingerprint: model.fingerprint.to_string(),
        version: env!("CARGO_PKG_VERSION"),
    }))
}
