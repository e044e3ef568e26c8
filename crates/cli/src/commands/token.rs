//! `amicus token`: who may use a node's public port.

use super::output::{self, Table};
use amicus::files::read_identity;
use amicus_service::NodeConfig;
use amicus_service::token::{Grant, NewToken, NodeTag, Token, TokenRole, Tokens};
use anyhow::bail;
use clap::ValueEnum;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  amicus token new --role client --name alice --quota 100000 --rate 60 --days 90\n  \
    amicus token list\n  amicus token revoke alice\n\n\
    Every node has tokens of its own: a user gets one from each operator and keeps the printed lines in one file. The \
    node keeps hashes alone, so a token is shown once. What is revoked counts at once, without a restart."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
    /// The node's own file.
    #[arg(long, value_name = "NODE.toml", default_value = "node.toml", global = true)]
    config: PathBuf,
    /// Print one JSON object instead.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Makes a token and prints it: the only time that anybody sees it.
    New(NewArgs),
    /// Lists the tokens of this node.
    List,
    /// Takes a token back, by its id, or all of a name.
    Revoke {
        /// Id or name.
        which: String,
    },
}

#[derive(clap::Args)]
struct NewArgs {
    /// What it is for.
    #[arg(long, value_name = "ROLE")]
    role: Role,
    /// Who gets it.
    #[arg(long)]
    name: String,
    /// Models that it is for, by their names in the cluster's file [default: all].
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    models: Vec<String>,
    /// Images in all: answers say something of the model, so bound them [default: no bound].
    #[arg(long, value_name = "IMAGES")]
    quota: Option<u64>,
    /// Images a minute [default: no bound].
    #[arg(long, value_name = "IMAGES", value_parser = rate)]
    rate: Option<u32>,
    /// Inferences at a time.
    #[arg(long, default_value_t = 4)]
    lanes: u32,
    /// Days until it ends [default: it does not].
    #[arg(long)]
    days: Option<u32>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    Client,
    Owner,
}

/// "60" or "60/min".
fn rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/min").unwrap_or(text);
    number.parse().map_err(|_| "a rate is a number of images a minute, such as 60/min".to_owned())
}

/// What `new --json` prints.
#[derive(Serialize)]
struct Made<'a> {
    node: String,
    token: &'a str,
    id: &'a str,
    name: &'a str,
    version: &'static str,
}

/// What `list --json` prints.
#[derive(Serialize)]
struct List<'a> {
    tokens: Vec<Listed<'a>>,
    version: &'static str,
}

/// What `revoke --json` prints.
#[derive(Serialize)]
struct Revoked {
    revoked: usize,
    version: &'static str,
}

/// What `list --json` prints of every token.
#[derive(Serialize)]
struct Listed<'a> {
    id: &'a str,
    name: &'a str,
    role: TokenRole,
    models: &'a [String],
    quota: Option<u64>,
    rate: Option<u32>,
    lanes: u32,
    expires: Option<u64>,
    state: &'static str,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = NodeConfig::read(&args.config)?;
    let identity = read_identity(&config.key)?;
    let mut tokens = Tokens::open(&config.folder, NodeTag::of(&identity.fingerprint()))?;
    match &args.action {
        Action::New(new) => {
            let deployment = amicus::Deployment::read(&config.cluster)?;
            if let Some(model) = new.models.iter().find(|name| !deployment.models.contains_key(*name)) {
                let known: Vec<&str> = deployment.models.keys().map(String::as_str).collect();
                bail!("--models {model}: the cluster has no such model; its models are {}", known.join(", "));
            }
            let node = deployment.role_of(identity.fingerprint());
            let Some(node) = node.filter(|node| deployment.node(node).is_some()) else {
                bail!("{}: its key is that of no node of the cluster", config.key.display());
            };
            let (token, grant) = tokens.make(NewToken {
                name: new.name.clone(),
                role: match new.role {
                    Role::Client => TokenRole::Client,
                    Role::Owner => TokenRole::Owner,
                },
                models: new.models.clone(),
                quota: new.quota,
                rate: new.rate,
                lanes: new.lanes,
                days: new.days,
            })?;
            made(&amicus::https::name_of(&node), &token, &grant, args.json)?;
        }
        Action::List => list(tokens.all(), args.json)?,
        Action::Revoke { which } => {
            let revoked = tokens.revoke(which)?;
            if args.json {
                output::json(&Revoked { revoked, version: env!("CARGO_PKG_VERSION") })?;
            }
            output::note(format_args!("{revoked} taken back; it counts no more"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn made(node: &str, token: &Token, grant: &Grant, json: bool) -> anyhow::Result<()> {
    let (id, name) = (&grant.id[..], &grant.name[..]);
    if json {
        let (node, token) = (node.to_owned(), token.reveal());
        return output::json(&Made { node, token, id, name, version: env!("CARGO_PKG_VERSION") });
    }
    // A line of the user's file, as it is.
    output::as_it_is(&format!("{node} = \"{}\"", token.reveal()));
    output::note(format_args!("token {id} of {name}; it is not shown again"));
    Ok(())
}

fn list(all: &[Grant], json: bool) -> anyhow::Result<()> {
    let now = amicus::net::clock::of_day().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let listed: Vec<Listed<'_>> = all.iter().map(|grant| listed(grant, now)).collect();
    if json {
        return output::json(&List { tokens: listed, version: env!("CARGO_PKG_VERSION") });
    }
    let mut table =
        Table::with_header(["id", "name", "role", "models", "quota", "a minute", "lanes", "state"]);
    let number = |number: Option<u64>| number.map_or_else(|| "any".to_owned(), |number| number.to_string());
    for Listed { id, name, role, models, quota, rate, lanes, state, .. } in listed {
        let models = if models.is_empty() { "all".to_owned() } else { models.join(", ") };
        let (quota, rate) = (number(quota), number(rate.map(u64::from)));
        let cells = [id, name].map(str::to_owned);
        let [id, name] = cells;
        table.row([id, name, role.to_string(), models, quota, rate, lanes.to_string(), state.to_owned()]);
    }
    table.print();
    Ok(())
}

fn listed(grant: &Grant, now: u64) -> Listed<'_> {
    let state = match grant.expires {
        _ if grant.revoked => "revoked",
        Some(end) if now >= end => "expired",
        _ => "counts",
    };
    Listed {
        id: &grant.id,
        name: &grant.name,
        role: grant.role,
        models: &grant.models,
        quota: grant.quota,
        rate: grant.rate,
        lanes: grant.lanes,
        expires: grant.expires,
        state,
    }
}
