//! A helper and three parties as processes of their own, two models, and wires between all.

use super::https;
use super::relay::{self, End, Wires};
use super::wire::Record;
use amicus::deployment::{Deployment, DeploymentLimits};
use amicus::files::read_identity;
use amicus::https::{HttpsOwner, Tokens};
use amicus::model::amc::ModelFile;
use amicus::node::Peer;
use amicus::{Identity, Owner, Parties};
use amicus_cli::images::{Image, read};
use amicus_cli::up::Files;
use amicus_net::shaper::{Shape, ShapedProxy};
use amicus_service::NodeConfig;
use anyhow::{Context, ensure};
use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Compute parties.
pub(super) const PARTIES: usize = 3;
/// Until a node that was started listens.
const PATIENCE: Duration = Duration::from_secs(120);

/// A model that is served, and what is asked of it.
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) file: ModelFile,
    pub(crate) images: Vec<Image>,
}

/// A node: its process, and its wires.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) wires: Arc<Wires>,
    config: PathBuf,
    log: PathBuf,
    program: PathBuf,
    child: Option<Child>,
}

impl Node {
    /// Starts its process; its log goes on where it was.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let role = if self.name == "helper" { "helper" } else { "party" };
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.args([role, "--config"]).arg(&self.config);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// Ends it as a machine that loses its power does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Sends its process a signal, by name.
    pub(crate) fn signal(&self, name: &str) -> anyhow::Result<()> {
        let id = self.id().context("the node does not run")?.to_string();
        ensure!(Command::new("kill").args([format!("-{name}"), id]).status()?.success(), "kill -{name}");
        Ok(())
    }

    /// The last lines of its log.
    pub(crate) fn tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How users reach nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Over {
    /// Nodes' own ports, with a certificate.
    Frames,
    /// Nodes' public ports, with tokens.
    Https,
}

/// A user of a site: its own file of the cluster, and how it shows who it is.
pub(crate) struct User {
    pub(crate) deployment: Deployment,
    pub(crate) identity: Arc<Identity>,
    pub(crate) tokens: Tokens,
}

/// What links go over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wire {
    /// This machine's own network.
    Direct,
    /// Wires that can be cut, and are recorded.
    Relayed,
    /// Lines with a latency and a bandwidth.
    Shaped(Shape),
}

/// Everything of one trial, in a folder that is gone after it.
pub(crate) struct Site {
    folder: tempfile::TempDir,
    pub(crate) nodes: Vec<Node>,
    pub(crate) models: Vec<Model>,
    pub(crate) record: Arc<Record>,
    over: Arc<AtomicBool>,
    _proxies: Vec<ShapedProxy>,
}

/// Waits until somebody listens at an address.
fn listening(address: &SocketAddr) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = TcpStream::connect(address) {
        ensure!(Instant::now() < deadline, "nobody listens at {address}: {error}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The ends of a cluster, by name, and what their files are called.
fn end(folder: &Path, name: &str, file: &str) -> anyhow::Result<End> {
    let identity = Arc::new(read_identity(&folder.join(format!("{file}.pem")))?);
    Ok(End { name: name.to_owned(), identity, wires: Arc::default() })
}

/// A model that ships, with its images.
fn exported(program: &Path, folder: &Path, name: &str) -> anyhow::Result<Model> {
    let (file, images) = (folder.join(format!("{name}.amc")), folder.join(format!("{name}-images")));
    let mut command = Command::new(program);
    command.args(["export", name, "-o"]).arg(&file).arg("--images").arg(&images);
    ensure!(command.stdout(Stdio::null()).status()?.success(), "amicus export {name}");
    let file = ModelFile::load(&file)?;
    let images = read(&[images], &file.plan, None)?;
    Ok(Model { name: name.to_owned(), file, images })
}

impl Site {
    /// Makes keys and files, and starts all nodes.
    pub(crate) fn start(
        program: &Path,
        models: &[&str],
        clients: usize,
        limits: DeploymentLimits,
        wire: Wire,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let at = folder.path();
        let models: Vec<Model> =
            models.iter().map(|name| exported(program, at, name)).collect::<anyhow::Result<_>>()?;
        let parties = Parties::new(PARTIES).context("three parties")?;
        let plans: Vec<_> = models.iter().map(|model| (model.name.clone(), &model.file.plan)).collect();
        let names: Vec<String> = (1..=clients).map(|number| number.to_string()).collect();
        let files = Files::write(at, parties, &names, &plans, &[], 1)?;
        let hosts = || (2..).map(|host| [127, 0, 0, host]).zip(&files.nodes);
        let listens: Vec<SocketAddr> =
            hosts().map(|(host, place)| (host, place.address.port()).into()).collect();
        let publics: Vec<SocketAddr> =
            hosts().map(|(host, place)| (host, place.public.port()).into()).collect();
        let peers: Vec<Peer> = [Peer::Helper].into_iter().chain(parties.all().map(Peer::Party)).collect();
        let ends: Vec<End> = peers
            .iter()
            .zip(&files.nodes)
            .map(|(peer, place)| end(at, &peer.to_string(), &place.name))
            .collect::<anyhow::Result<_>>()?;
        let owner = (end(at, &Peer::Owner.to_string(), "owner")?, "owner".to_owned());
        let users = names.iter().map(|name| {
            let file = format!("client-{name}");
            Ok((end(at, &Peer::Client(name.clone()).to_string(), &file)?, file))
        });
        let users: Vec<(End, String)> =
            std::iter::once(Ok(owner)).chain(users).collect::<anyhow::Result<_>>()?;
        let own = ends.iter().zip(&files.nodes).map(|(end, place)| (end.clone(), place.name.clone()));
        let mut proxies = Vec::new();
        let (record, over) = (Arc::new(Record::default()), Arc::new(AtomicBool::new(false)));
        // Everybody has a file of its own, with the wires to others in place of their addresses.
        for (number, (from, file)) in own.chain(users).enumerate() {
            let mut deployment = files.deployment.clone();
            deployment.limits = limits;
            for (to, listen) in listens.iter().enumerate() {
                let dials = number >= ends.len() || to == 0 || to < number;
                let address = match wire {
                    _ if !dials || to == number => *listen,
                    Wire::Direct => *listen,
                    Wire::Relayed => relay::start(&from, &ends[to], *listen, &record, &over)?,
                    Wire::Shaped(shape) => {
                        let proxy = ShapedProxy::spawn(*listen, shape)?;
                        let address = proxy.addr();
                        proxies.push(proxy);
                        address
                    }
                };
                node_of(&mut deployment, to).address = address.to_string();
            }
            for (to, listen) in publics.iter().enumerate() {
                let address = match wire {
                    _ if number < ends.len() => *listen,
                    Wire::Direct => *listen,
                    Wire::Relayed => https::start(&ends[to], *listen, &record, &over)?,
                    Wire::Shaped(shape) => {
                        let proxy = ShapedProxy::spawn(*listen, shape)?;
                        let address = proxy.addr();
                        proxies.push(proxy);
                        address
                    }
                };
                node_of(&mut deployment, to).public = Some(address.to_string());
            }
            std::fs::write(at.join(format!("{file}.cluster.toml")), deployment.to_toml()?)?;
        }
        let mut nodes = Vec::new();
        for (((place, listen), public), end) in files.nodes.iter().zip(&listens).zip(&publics).zip(&ends) {
            let mut config = NodeConfig::read(&place.config)?;
            config.cluster = at.join(format!("{}.cluster.toml", place.name));
            config.listen = Some(listen.to_string());
            if let Some(config) = &mut config.public {
                config.listen = public.to_string();
                // All users of a trial come from one address.
                config.limits.connections = 2048;
            }
            std::fs::write(&place.config, config.to_toml()?)?;
            let mut node = Node {
                name: place.name.clone(),
                wires: Arc::clone(&end.wires),
                config: place.config.clone(),
                log: place.log.clone(),
                program: program.to_owned(),
                child: None,
            };
            node.start()?;
            nodes.push(node);
        }
        listens.iter().chain(&publics).try_for_each(listening)?;
        Ok(Site { folder, nodes, models, record, over, _proxies: proxies })
    }

    /// A user, from its files.
    fn user(&self, name: &str) -> anyhow::Result<User> {
        let file = |kind: &str| self.folder.path().join(format!("{name}.{kind}"));
        let deployment = Deployment::read(&file("cluster.toml"))?;
        let tokens = Tokens::read(&file("tokens"), &deployment)?;
        Ok(User { deployment, identity: Arc::new(read_identity(&file("pem"))?), tokens })
    }

    /// The first so many clients.
    pub(crate) fn clients(&self, count: usize) -> anyhow::Result<Vec<User>> {
        (1..=count).map(|number| self.user(&format!("client-{number}"))).collect()
    }

    /// Gives every model to the nodes, as its owner does.
    pub(crate) fn load(&self, over: Over) -> anyhow::Result<()> {
        let User { deployment, identity, tokens } = self.user("owner")?;
        for model in &self.models {
            let (plan, weights) = (model.file.plan.clone(), &model.file.weights);
            match over {
                Over::Frames => Owner::connect(&deployment, Arc::clone(&identity), plan)?.load(weights)?,
                Over::Https => HttpsOwner::connect(&deployment, &tokens, plan)?.load(weights, |_| {})?,
            };
        }
        Ok(())
    }
}

fn node_of(deployment: &mut Deployment, number: usize) -> &mut amicus::deployment::Node {
    match number {
        0 => &mut deployment.helper,
        party => &mut deployment.parties[party - 1],
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.nodes.iter_mut().for_each(Node::kill);
    }
}
