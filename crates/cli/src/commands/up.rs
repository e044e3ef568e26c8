//! `amicus up`.

use super::export::write_images;
use super::output::{self, Table, note};
use amicus::files::read_identity;
use amicus::{ModelFile, Owner, Parties, Plan};
use amicus_cli::demo::{MODELS, shipped};
use amicus_cli::interrupt::TemporaryFolder;
use amicus_cli::up::{Cluster, DIST, Files, Model, Serving, Web};
use amicus_data::cifar10;
use amicus_net::shaper::Shape;
use amicus_node::conduct::Cheat;
use anyhow::{Context, anyhow, bail};
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use zeroize::Zeroizing;

/// How often signals and nodes are looked at.
const GLANCE: Duration = Duration::from_millis(50);

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  amicus up\n  amicus up resnet8-cifar10 mine.amc --parties 3 --folder trial\n  amicus up --web\n\n\
    Helper and parties are processes of their own, in a folder with all that operators have. Ctrl-C ends all of it; \
    they end, too, when this command is killed. Nodes answer over HTTPS too, with tokens in the folder. All of them on one machine protect nobody: it is for trying."
)]
pub(crate) struct Args {
    /// Models to serve: compiled files, or names of networks that ship [default: lenet5-mnist].
    #[arg(value_name = "MODEL")]
    models: Vec<String>,
    /// Put the weights into the plans, where all roles see them: layers of weights then take no round.
    #[arg(long)]
    public_model: bool,
    /// Compute parties.
    #[arg(long, default_value_t = 2)]
    parties: usize,
    /// Threads for the arithmetic of each of a node's two threads.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = super::threads())]
    threads: u32,
    /// A client; may be given several times [default: alice].
    #[arg(long, value_name = "NAME")]
    client: Vec<String>,
    /// A new folder, which stays [default: a temporary one, which goes].
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Serve a page that asks the cluster, from an address of its own, out of what `web/build.sh` made.
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, require_equals = true, default_missing_value = DIST)]
    web: Option<PathBuf>,
    /// Have the last party deviate once, as `amicus demo --cheat` does, to see it caught.
    #[arg(long, value_name = "WHERE")]
    cheat: Option<Cheat>,
    /// Print one JSON object once all is ready.
    #[arg(long)]
    json: bool,
}

/// Where things are, as `--json` prints it.
#[derive(Serialize)]
struct Ready {
    folder: String,
    cluster: String,
    digest: String,
    nodes: Vec<NodeReady>,
    owner_key: String,
    owner_tokens: String,
    clients: Vec<ClientReady>,
    models: Vec<ModelReady>,
    #[serde(skip_serializing_if = "Option::is_none")]
    web: Option<WebReady>,
    version: &'static str,
}

#[derive(Serialize)]
struct WebReady {
    /// The page, with the first client's tokens behind `#`, which browsers send nobody.
    page: String,
    /// Where the page reaches each node, the helper first.
    relays: Vec<String>,
}

#[derive(Serialize)]
struct NodeReady {
    name: String,
    address: String,
    monitor: String,
    /// Where it answers over HTTPS, and the pin of its public key.
    public: String,
    pin: String,
    pid: u32,
    log: String,
}

#[derive(Serialize)]
struct ClientReady {
    name: String,
    key: String,
    tokens: String,
}

#[derive(Serialize)]
struct ModelReady {
    name: String,
    plan: String,
    #[serde(skip)]
    digest: String,
    fingerprint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<String>,
}

/// A model that is to be served.
struct Served {
    name: String,
    file: ModelFile,
    images: Vec<(Option<usize>, Vec<f32>)>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let end = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&end)).context("handlers of signals")?;
    }
    let parties =
        Parties::new(args.parties).with_context(|| format!("--parties {}: 2 to 8", args.parties))?;
    let models = models(&args.models, args.public_model)?;
    let clients = if args.client.is_empty() { vec!["alice".to_owned()] } else { args.client.clone() };
    // Removed with all it holds when this ends.
    let temporary = args.folder.is_none().then(TemporaryFolder::new).transpose()?;
    let folder = match (&args.folder, &temporary) {
        (Some(folder), _) => {
            std::fs::create_dir(folder).with_context(|| folder.display().to_string())?;
            folder.canonicalize()?
        }
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => bail!("there is no folder"),
    };
    let plans: Vec<(String, &Plan)> = models.iter().map(|m| (m.name.clone(), &m.file.plan)).collect();
    if let Some(cheat) = args.cheat {
        let first = plans.first().context("there is no model")?;
        cheat.check_against(first.1, parties, 1).map_err(|reason| anyhow!("--cheat {reason}"))?;
    }
    let web = args.web.as_ref().map(|folder| Web::open(folder, parties.count() + 1)).transpose()?;
    let origins = web.as_ref().map(Web::origin).transpose()?;
    let files = Files::write(&folder, parties, &clients, &plans, origins.as_slice(), args.threads)?;
    let mut cluster = Cluster::start(files, args.cheat)?;
    let Some(mut ready) = make_ready(&mut cluster, &models, &clients, &end)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let serving =
        web.map(|web| web.serve(&cluster.files.deployment, &described(&models, &ready))).transpose()?;
    if let Some(serving) = &serving {
        ready.web = Some(of_web(serving, &ready)?);
    }
    show(&ready, args.json, args.folder.is_some())?;
    while !end.load(Ordering::SeqCst) {
        cluster.check()?;
        std::thread::sleep(GLANCE);
    }
    cluster.end();
    Ok(ExitCode::SUCCESS)
}

/// The models as the page is told of them.
fn described(models: &[Served], ready: &Ready) -> Vec<Model> {
    let of = |(served, model): (&Served, &ModelReady)| {
        let photographs = MODELS.contains(&served.name.as_str()) && served.name.contains("cifar10");
        let classes = if photographs { cifar10::NAMES.map(str::to_owned).to_vec() } else { Vec::new() };
        Model {
            name: served.name.clone(),
            plan: model.digest.clone(),
            fingerprint: model.fingerprint.clone(),
            classes,
        }
    };
    models.iter().zip(&ready.models).map(of).collect()
}

/// Where the page is, for the first client.
fn of_web(serving: &Serving, ready: &Ready) -> anyhow::Result<WebReady> {
    let client = ready.clients.first().context("there is no client")?;
    let tokens = Zeroizing::new(std::fs::read_to_string(&client.tokens).context("the client's tokens")?);
    let lines = tokens.lines().filter_map(|line| line.split_once(" = "));
    let tokens: Vec<String> =
        lines.map(|(node, token)| format!("{node}={}", token.trim_matches('"'))).collect();
    let page = format!("{}/#{}", serving.origin, tokens.join("&"));
    Ok(WebReady { page, relays: serving.relays.clone() })
}

fn models(named: &[String], public: bool) -> anyhow::Result<Vec<Served>> {
    let usual = [MODELS[0].to_owned()];
    let named = if named.is_empty() { &usual[..] } else { named };
    let mut models: Vec<Served> = Vec::new();
    for named in named {
        let path = Path::new(named);
        let mut served = if MODELS.contains(&named.as_str()) {
            let shipped = shipped(named, Shape::local(), 1)?;
            Served { name: named.clone(), file: shipped.file, images: shipped.images }
        } else {
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            let name = stem.with_context(|| format!("{named} is no compiled file"))?;
            Served { name, file: ModelFile::load(path)?, images: Vec::new() }
        };
        if public {
            served.file = served.file.published()?;
        }
        if models.iter().any(|other| other.name == served.name) {
            bail!("{named}: there are two models of that name");
        }
        models.push(served);
    }
    Ok(models)
}

/// Loads the models, while the nodes start; none when this was told to end meanwhile.
fn make_ready(
    cluster: &mut Cluster,
    models: &[Served],
    clients: &[String],
    end: &AtomicBool,
) -> anyhow::Result<Option<Ready>> {
    let Cluster { files, .. } = cluster;
    let (folder, deployment) = (files.folder.clone(), files.deployment.clone());
    let shown = |name: &str| folder.join(name).display().to_string();
    let mut ready = Vec::new();
    for Served { name, file, images } in models {
        let identity = read_identity(&folder.join("owner.pem"))?;
        let (deployment, plan, weights) = (&deployment, file.plan.clone(), &file.weights);
        let loaded = std::thread::scope(|scope| {
            let loading = scope.spawn(move || Owner::connect(deployment, identity, plan)?.load(weights));
            while !loading.is_finished() && !end.load(Ordering::SeqCst) {
                if let Err(error) = cluster.check() {
                    // The owner finds out when the others go.
                    cluster.end();
                    return Err(error.into());
                }
                std::thread::sleep(GLANCE);
            }
            if end.load(Ordering::SeqCst) {
                cluster.end();
                return Ok(None);
            }
            match loading.join() {
                Ok(loaded) => Ok(Some(loaded?)),
                Err(_) => bail!("the thread that loads {name} panicked"),
            }
        })?;
        let Some(model) = loaded else { return Ok(None) };
        let at = folder.join(format!("{name}.images"));
        if !images.is_empty() {
            write_images(&at, images)?;
        }
        ready.push(ModelReady {
            name: name.clone(),
            plan: shown(&format!("{name}.plan")),
            digest: file.plan.digest()?.to_string(),
            fingerprint: model.fingerprint.to_string(),
            images: (!images.is_empty()).then(|| at.display().to_string()),
        });
    }
    let nodes = cluster.files.nodes.iter().zip(&cluster.nodes).map(|(place, child)| NodeReady {
        name: place.name.clone(),
        address: place.address.to_string(),
        monitor: place.monitor.to_string(),
        public: format!("https://{}", place.public),
        pin: place.pin.clone(),
        pid: child.id(),
        log: place.log.display().to_string(),
    });
    Ok(Some(Ready {
        folder: folder.display().to_string(),
        cluster: shown("cluster.toml"),
        digest: deployment.digest()?.to_string(),
        nodes: nodes.collect(),
        owner_key: shown("owner.pem"),
        owner_tokens: shown("owner.tokens"),
        clients: clients
            .iter()
            .map(|name| ClientReady {
                name: name.clone(),
                key: shown(&format!("client-{name}.pem")),
                tokens: shown(&format!("client-{name}.tokens")),
            })
            .collect(),
        models: ready,
        web: None,
        version: env!("CARGO_PKG_VERSION"),
    }))
}

fn show(ready: &Ready, json: bool, stays: bool) -> anyhow::Result<()> {
    if json {
        return output::json(ready);
    }
    let mut table = Table::with_header(["node", "address", "monitor", "public"]);
    for node in &ready.nodes {
        table.row([node.name.clone(), node.address.clone(), node.monitor.clone(), node.public.clone()]);
    }
    table.print();
    for model in &ready.models {
        output::line(format_args!("model {}, fingerprint {}", model.name, model.fingerprint));
    }
    output::line(format_args!("folder {}{}", ready.folder, if stays { "" } else { ", which goes" }));
    if let (Some(client), Some(model)) = (ready.clients.first(), ready.models.first()) {
        let images = model.images.as_deref().unwrap_or("IMAGE...");
        output::line("In another terminal:");
        output::line(format_args!(
            "  amicus infer --cluster {} --key {} --model {} {images}",
            ready.cluster, client.key, model.name
        ));
        output::line("Over HTTPS, with tokens:");
        output::line(format_args!(
            "  amicus infer --cluster {} --token {} --model {} {images}",
            ready.cluster, client.tokens, model.name
        ));
        for node in &ready.nodes {
            // One line, to be pasted.
            output::as_it_is(&format!(
                "  curl --insecure --pinnedpubkey {} --header \"Authorization: Bearer $(sed -n 's/^{} = //p' '{}' | tr -d \\\")\" {}/v1/info",
                node.pin, node.name, client.tokens, node.public
            ));
        }
    }
    if let Some(web) = &ready.web {
        output::line("In a browser, with the tokens of that client:");
        output::as_it_is(&format!("  {}", web.page));
    }
    note("Ctrl-C ends all of it.");
    Ok(())
}
