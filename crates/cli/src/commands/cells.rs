//! `amicus cells`, and where users of a cluster, or of several cells, find it.

use super::output;
use super::remote::{ClusterArgs, Credentials};
use amicus::cells::{CellsClient, Expectations};
use amicus::deployment::DeploymentDigest;
use amicus::https::HttpsClient;
use amicus::{Answer, Cells, Client, Deployment, Error, Expected, ModelFingerprint, Plan};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  amicus cells cells.toml\n\n\
    A file of cells names clusters that share nothing. Whoever writes it decides whose nodes see masked images: clients \
    pin its digest.")]
pub(crate) struct Args {
    /// The file of cells.
    #[arg(value_name = "CELLS.toml")]
    file: PathBuf,
}

/// Says which cells there are, and the digest that clients pin.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let cells = Cells::read(&args.file)?;
    for cell in &cells.cells {
        let (name, cluster) = (&cell.name, &cell.deployment.cluster);
        output::line(format_args!("cell {name}: cluster {cluster}, {}", cell.deployment.digest()?));
    }
    output::line(format_args!("digest {}", cells.digest()?));
    Ok(ExitCode::SUCCESS)
}

#[derive(clap::Args)]
pub(super) struct CellsArgs {
    /// A file of cells in place of one cluster: the first that answers is taken. Takes a key.
    #[arg(long, value_name = "CELLS.toml", conflicts_with_all = ["cluster", "token"], requires = "cells_digest")]
    pub(super) cells: Option<PathBuf>,
    /// The digest of that file, as `amicus cells` prints it.
    #[arg(long, value_name = "DIGEST", requires = "cells")]
    cells_digest: Option<DeploymentDigest>,
    /// Use these of its cells only.
    #[arg(long, value_name = "NAME", requires = "cells")]
    cell: Vec<String>,
}

impl CellsArgs {
    /// The cells, if a file of them was given.
    pub(super) fn read(&self) -> anyhow::Result<Option<Cells>> {
        let Some((file, digest)) = self.cells.as_deref().zip(self.cells_digest) else { return Ok(None) };
        let cells = Cells::pinned(file, digest)?;
        Ok(Some(if self.cell.is_empty() { cells } else { cells.approved(&self.cell)? }))
    }
}

/// A model's fingerprint, of one cell if it is named: `FINGERPRINT` or `CELL=FINGERPRINT`.
#[derive(Clone)]
pub(super) struct Pinned {
    cell: Option<String>,
    fingerprint: ModelFingerprint,
}

impl std::str::FromStr for Pinned {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (cell, fingerprint) = match text.rsplit_once('=') {
            Some((cell, fingerprint)) => (Some(cell.to_owned()), fingerprint),
            None => (None, text),
        };
        Ok(Pinned { cell, fingerprint: fingerprint.parse()? })
    }
}

/// Where a client asks.
pub(super) enum Place {
    /// One cluster.
    Cluster(Box<Deployment>),
    /// The first of several cells that answers.
    Cells(Cells),
}

impl Place {
    pub(super) fn find(cluster: &ClusterArgs, cells: &CellsArgs) -> anyhow::Result<Self> {
        Ok(match cells.read()? {
            Some(cells) => Place::Cells(cells),
            None => Place::Cluster(Box::new(cluster.deployment()?)),
        })
    }

    /// How the user shows itself there.
    pub(super) fn credentials(&self, cluster: &ClusterArgs) -> anyhow::Result<Credentials> {
        match self {
            Place::Cluster(deployment) => cluster.credentials(deployment),
            Place::Cells(_) => Ok(Credentials::Key(cluster.identity()?)),
        }
    }

    /// The plan of a model, which all cells serve.
    pub(super) fn plan(
        &self,
        (cluster, cells): (&ClusterArgs, &CellsArgs),
        (model, file): (&str, Option<&PathBuf>),
        credentials: &Credentials,
    ) -> anyhow::Result<Plan> {
        match self {
            Place::Cluster(deployment) => cluster.plan(deployment, (model, file), credentials),
            Place::Cells(all) => {
                let beside =
                    cells.cells.as_deref().unwrap_or(Path::new("")).with_file_name(format!("{model}.plan"));
                let file = file.cloned().unwrap_or(beside);
                let mut found = None;
                for cell in &all.cells {
                    let plan = cluster.plan(&cell.deployment, (model, Some(&file)), credentials);
                    found = Some(plan.with_context(|| format!("cell {}", cell.name))?);
                }
                found.context("no cell")
            }
        }
    }

    /// Connects a client.
    pub(super) fn connect(
        self,
        credentials: Credentials,
        plan: Plan,
        pinned: &[Pinned],
    ) -> anyhow::Result<Result<Asking, Error>> {
        match (self, credentials) {
            (Place::Cluster(deployment), credentials) => {
                let expected = match pinned {
                    [] => Expected::Any,
                    [Pinned { cell: None, fingerprint }] => Expected::Model(*fingerprint),
                    _ => bail!(
                        "--fingerprint: one cluster has one model of a plan; cells are named with --cells"
                    ),
                };
                let client = match credentials {
                    Credentials::Key(identity) => Client::connect(&deployment, identity, plan, expected)
                        .map(|client| AnyClient::Frames(Box::new(client))),
                    Credentials::Tokens(tokens) => HttpsClient::connect(&deployment, &tokens, plan, expected)
                        .map(|client| AnyClient::Https(Box::new(client))),
                };
                Ok(client.and_then(|mut client| {
                    let fingerprint = client.compare(expected)?;
                    Ok(Asking::Cluster { client, fingerprint, known: expected != Expected::Any })
                }))
            }
            (Place::Cells(_), Credentials::Tokens(_)) => bail!("cells are asked with a key, not with tokens"),
            (Place::Cells(cells), Credentials::Key(identity)) => {
                let mut expected = Expectations::new();
                for Pinned { cell, fingerprint } in pinned {
                    let cell = cell.as_ref().context("--fingerprint: name the cell, CELL=FINGERPRINT")?;
                    expected.insert(cell.clone(), *fingerprint);
                }
                Ok(CellsClient::new(cells, identity, plan, &expected)
                    .map(|client| Asking::Cells(Box::new(client))))
            }
        }
    }
}

/// A client of one cluster, over either port.
pub(super) enum AnyClient {
    Frames(Box<Client>),
    Https(Box<HttpsClient>),
}

impl AnyClient {
    fn compare(&mut self, expected: Expected) -> Result<ModelFingerprint, Error> {
        match self {
            AnyClient::Frames(client) => client.compare(expected),
            AnyClient::Https(client) => client.compare(expected),
        }
    }

    fn infer_batch(&mut self, images: &[&[f32]]) -> Result<Vec<Answer>, Error> {
        match self {
            AnyClient::Frames(client) => client.infer_batch(images),
            AnyClient::Https(client) => client.infer_batch(images),
        }
    }
}

/// A client that asks.
pub(super) enum Asking {
    /// One cluster, with the model's fingerprint, and whether the user named it.
    Cluster { client: AnyClient, fingerprint: ModelFingerprint, known: bool },
    /// Several cells.
    Cells(Box<CellsClient>),
}

impl Asking {
    /// Has images classified; with the cell that did, where there are several.
    pub(super) fn infer(&mut self, images: &[&[f32]]) -> Result<(Option<String>, Vec<Answer>), Error> {
        match self {
            Asking::Cluster { client, .. } => Ok((None, client.infer_batch(images)?)),
            Asking::Cells(client) => {
                let found = client.infer_batch(images)?;
                for (cell, error) in &found.failed {
                    output::note(format_args!("note: cell {cell} did not answer: {error}"));
                }
                Ok((Some(found.cell), found.answers))
            }
        }
    }
}
