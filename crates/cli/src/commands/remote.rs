//! What users of a cluster on other machines have: its file, their key, the model's plan.

use super::cheated;
use super::output::note;
use amicus::files::{read_identity, read_plan};
use amicus::https::{Tokens, fetch_plan};
use amicus::{Deployment, Error, Identity, Plan};
use anyhow::{Context, bail};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub(super) struct ClusterArgs {
    /// The cluster's file.
    #[arg(long, value_name = "CLUSTER.toml", default_value = "cluster.toml")]
    cluster: PathBuf,
    /// Your key, made with `amicus keygen`.
    #[arg(long, value_name = "KEY.pem", required_unless_present = "token")]
    key: Option<PathBuf>,
    /// In place of a key: your tokens, a line for every node as `amicus token new` prints it. Nodes
    /// are reached over HTTPS then.
    #[arg(long, value_name = "TOKENS.toml", conflicts_with = "key")]
    token: Option<PathBuf>,
}

/// How a user shows who it is.
pub(super) enum Credentials {
    Key(Identity),
    Tokens(Tokens),
}

impl ClusterArgs {
    pub(super) fn deployment(&self) -> anyhow::Result<Deployment> {
        Ok(Deployment::read(&self.cluster)?)
    }

    pub(super) fn credentials(&self, deployment: &Deployment) -> anyhow::Result<Credentials> {
        match &self.token {
            Some(tokens) => Ok(Credentials::Tokens(Tokens::read(tokens, deployment)?)),
            None => Ok(Credentials::Key(self.identity()?)),
        }
    }

    pub(super) fn identity(&self) -> anyhow::Result<Identity> {
        let key = self.key.as_deref().context("give a key, or tokens")?;
        Ok(read_identity(key)?)
    }

    /// The plan of a model, from a file of its name beside the cluster's unless told; who has tokens
    /// and no such file gets it from the parties.
    pub(super) fn plan(
        &self,
        deployment: &Deployment,
        (model, file): (&str, Option<&PathBuf>),
        credentials: &Credentials,
    ) -> anyhow::Result<Plan> {
        let beside = self.cluster.with_file_name(format!("{model}.plan"));
        if let (None, Credentials::Tokens(tokens), false) = (file, credentials, beside.exists()) {
            return Ok(fetch_plan(deployment, tokens, model)?);
        }
        let file = file.cloned().unwrap_or(beside);
        let plan = read_plan(&file)?;
        let digest = plan.digest()?;
        match deployment.models.get(model) {
            Some(listed) if listed.plan == digest => Ok(plan),
            Some(listed) => bail!(
                "{}: it is plan {digest}, and model {model} of the cluster has plan {}; ask the model's owner",
                file.display(),
                listed.plan
            ),
            None if deployment.models.is_empty() => Ok(plan),
            None => {
                let known: Vec<&str> = deployment.models.keys().map(String::as_str).collect();
                bail!("the cluster has no model {model}; its models are {}", known.join(", "))
            }
        }
    }
}

/// Ends a command by an error: a cheat has an exit code of its own.
pub(super) fn ended(error: Error) -> anyhow::Result<ExitCode> {
    if error.is_rejection() {
        note(format_args!("error: {error}"));
        return Ok(cheated());
    }
    Err(error).context("the cluster gave no answer")
}
