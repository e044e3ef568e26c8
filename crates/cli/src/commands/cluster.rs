//! `amicus cluster`: the file that all operators share.

use super::files::destination;
use super::output::{self, Table};
use amicus::deployment::{ClusterId, DeployedModel, Deployment, DeploymentLimits, Node, User};
use amicus::files::read_plan;
use amicus::net::Fingerprint;
use amicus::node::Peer;
use amicus_model::private_file;
use anyhow::{Context, bail};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  amicus cluster check cluster.toml\n  \
    amicus cluster digest cluster.toml\n\n\
    Operators compare the digest over a channel that they trust. It is of what the file says, not of its layout.")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Writes a cluster's file from addresses and fingerprints, with a new id.
    New(Box<NewArgs>),
    /// Says who takes part, by which certificates, and the digest; or what is wrong, and where.
    Check {
        /// The cluster's file.
        #[arg(value_name = "CLUSTER.toml")]
        file: PathBuf,
        /// Print one JSON object instead.
        #[arg(long)]
        json: bool,
    },
    /// Prints the digest alone.
    Digest {
        /// The cluster's file.
        #[arg(value_name = "CLUSTER.toml")]
        file: PathBuf,
    },
}

#[derive(clap::Args)]
struct NewArgs {
    /// Name of the cluster.
    name: String,
    /// The helper: where it is reached, and its fingerprint.
    #[arg(long, value_name = "HOST:PORT=FINGERPRINT")]
    helper: Named<Fingerprint>,
    /// A compute party, party 1 first: where it is reached, and its fingerprint.
    #[arg(long, required = true, value_name = "HOST:PORT=FINGERPRINT")]
    party: Vec<Named<Fingerprint>>,
    /// The model owner's fingerprint.
    #[arg(long, value_name = "FINGERPRINT")]
    owner: Fingerprint,
    /// A client: its name, and its fingerprint.
    #[arg(long, value_name = "NAME=FINGERPRINT")]
    client: Vec<Named<Fingerprint>>,
    /// A model that nodes load: its name, and its plan.
    #[arg(long, value_name = "NAME=FILE.plan")]
    model: Vec<Named<PathBuf>>,
    /// Where clients with tokens reach a node over HTTPS: `helper`, `party-1` and so on.
    #[arg(long, value_name = "NODE=HOST:PORT")]
    public: Vec<Named<String>>,
    /// Where the file goes.
    #[arg(short, long, value_name = "CLUSTER.toml")]
    output: PathBuf,
    /// Replace the file if it is there.
    #[arg(long)]
    force: bool,
}

/// `NAME=VALUE`.
#[derive(Clone)]
struct Named<T> {
    name: String,
    value: T,
}

impl<T: FromStr<Err: ToString>> FromStr for Named<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("there is no `=`")?;
        let value = value.parse().map_err(|error: T::Err| error.to_string())?;
        Ok(Named { name: name.to_owned(), value })
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::New(args) => new(args)?,
        Action::Check { file, json } => check(&Deployment::read(file)?, *json)?,
        Action::Digest { file } => output::line(Deployment::read(file)?.digest()?),
    }
    Ok(ExitCode::SUCCESS)
}

fn new(args: &NewArgs) -> anyhow::Result<()> {
    let node = |named: &Named<Fingerprint>| Node {
        address: named.name.clone(),
        listen: None,
        public: None,
        authorities: false,
        certificate: named.value.into(),
    };
    let mut clients = BTreeMap::new();
    for Named { name, value } in &args.client {
        if clients.insert(name.clone(), User { certificate: (*value).into() }).is_some() {
            bail!("--client {name}: there are two of that name");
        }
    }
    let mut models = BTreeMap::new();
    for Named { name, value } in &args.model {
        let model = DeployedModel { plan: read_plan(value)?.digest()? };
        if models.insert(name.clone(), model).is_some() {
            bail!("--model {name}: there are two of that name");
        }
    }
    let mut deployment = Deployment {
        cluster: args.name.clone(),
        id: Some(ClusterId::random().context("no id can be drawn")?),
        helper: node(&args.helper),
        parties: args.party.iter().map(node).collect(),
        owner: User { certificate: args.owner.into() },
        clients,
        models,
        limits: DeploymentLimits::default(),
    };
    for Named { name, value } in &args.public {
        let nodes = deployment.parties.iter_mut().zip(1..).map(|(party, n)| (format!("party-{n}"), party));
        let mut nodes = nodes.chain([("helper".to_owned(), &mut deployment.helper)]);
        match nodes.find(|(known, _)| known == name) {
            Some((_, node)) => node.public = Some(value.clone()),
            None => bail!("--public {name}: there is no such node; there are helper, party-1 and so on"),
        }
    }
    let (text, digest) = (deployment.to_toml()?, deployment.digest()?);
    let inputs: Vec<&std::path::Path> = args.model.iter().map(|model| model.value.as_path()).collect();
    let existing = destination(&args.output, args.force, &inputs)?;
    private_file::write(&args.output, existing, |file| file.write_all(text.as_bytes()))
        .with_context(|| args.output.display().to_string())?;
    output::line(format_args!("wrote {}", args.output.display()));
    output::line(format_args!("digest {digest}"));
    Ok(())
}

/// Somebody of a cluster, for `--json`.
#[derive(Serialize)]
struct Member<'a> {
    role: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<&'a str>,
    certificates: Vec<String>,
}

/// What is printed with `--json`.
#[derive(Serialize)]
struct Checked<'a> {
    cluster: &'a str,
    id: Option<String>,
    digest: String,
    members: Vec<Member<'a>>,
    models: BTreeMap<&'a str, String>,
    notes: Vec<String>,
    version: &'static str,
}

fn check(deployment: &Deployment, json: bool) -> anyhow::Result<()> {
    let members = deployment.roles(deployment.count()?).map(|role| {
        let node = deployment.node(&role);
        Member {
            address: node.map(|node| node.address.as_str()),
            listen: node.and_then(|node| node.listen.as_deref()),
            certificates: deployment.certificates(&role).iter().map(Fingerprint::to_string).collect(),
            role: role.to_string(),
        }
    });
    let checked = Checked {
        cluster: &deployment.cluster,
        id: deployment.id.map(|id| id.to_string()),
        digest: deployment.digest()?.to_string(),
        members: members.collect(),
        models: deployment.models.iter().map(|(name, model)| (&name[..], model.plan.to_string())).collect(),
        notes: notes(deployment)?,
        version: env!("CARGO_PKG_VERSION"),
    };
    if json {
        return output::json(&checked);
    }
    output::line(format_args!("cluster {}", checked.cluster));
    output::line(format_args!("digest  {}", checked.digest));
    let mut table = Table::with_header(["role", "address", "certificate"]);
    for Member { role, address, certificates, .. } in checked.members {
        table.row([role, address.unwrap_or_default().to_owned(), certificates.join(" or ")]);
    }
    for (name, plan) in checked.models {
        table.row([format!("model {name}"), String::new(), format!("plan {plan}")]);
    }
    table.print();
    for note in checked.notes {
        output::line(format_args!("note: {note}"));
    }
    Ok(())
}

/// What is no mistake, and worth a thought.
fn notes(deployment: &Deployment) -> anyhow::Result<Vec<String>> {
    let mut notes = Vec::new();
    if deployment.id.is_none() {
        let without = "there is no `id`: no node can change its key; `amicus cluster new` draws one";
        notes.push(without.to_owned());
    }
    for role in deployment.roles(deployment.count()?) {
        if deployment.certificates(&role).len() > 1 {
            notes.push(format!(
                "{role} is known by several certificates: take the old one out once it shows the new one"
            ));
        }
        let local = |address: &str| address.starts_with("127.") || address.starts_with("localhost:");
        let here = deployment.node(&role).is_some_and(|node| local(&node.address));
        if here && role == Peer::Helper {
            notes.push("nodes are on this machine alone: for a trial, not for operators".to_owned());
        }
    }
    if deployment.models.is_empty() {
        notes.push("no models are listed: every operator's own list of plans counts".to_owned());
    }
    Ok(notes)
}
