//! Keys, plans, `cluster.toml` and every node's own file, in one folder.

use super::UpError;
use amicus::deployment::{Certificates, ClusterId, DeployedModel, Deployment, DeploymentLimits, Node, User};
use amicus::files::{Existing, new_identity, private, write_plan};
use amicus::{Identity, Parties, Plan};
use amicus_service::token::{NewToken, NodeTag, TokenRole, Tokens};
use amicus_service::{LogConfig, NodeConfig, NodeLimits, PublicConfig, PublicLimits};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Ports that are tried, below those that systems give to outgoing connections.
const PORTS: std::ops::Range<u16> = 10_000..30_000;
/// More than a cluster takes.
const APART: u32 = 32;

/// Inferences that a user with tokens may have in flight at a time.
const LANES: u32 = 16;

/// Files of a cluster on this machine.
#[derive(Debug)]
pub struct Files {
    /// The folder.
    pub folder: PathBuf,
    /// Who takes part.
    pub deployment: Deployment,
    /// The helper, then the parties.
    pub nodes: Vec<Place>,
}

/// Where a node is.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its name, such as "party-1".
    pub name: String,
    /// Where others reach it.
    pub address: SocketAddr,
    /// Where it answers its operator.
    pub monitor: SocketAddr,
    /// Where it answers clients and owners with tokens.
    pub public: SocketAddr,
    /// The hash of its public key, as `curl` takes it.
    pub pin: String,
    /// Its own file.
    pub config: PathBuf,
    /// Its log.
    pub log: PathBuf,
}

impl Files {
    /// Writes them for a new cluster of so many parties, that serves these plans to these clients, and
    /// to pages of these origins; its nodes have so many threads for the arithmetic of each of theirs.
    ///
    /// # Errors
    /// A folder that cannot be written or holds a cluster, names that are none, no free ports.
    pub fn write(
        folder: &Path,
        parties: Parties,
        clients: &[String],
        plans: &[(String, &Plan)],
        origins: &[String],
        threads: u32,
    ) -> Result<Self, UpError> {
        let names: Vec<String> = std::iter::once("helper".to_owned())
            .chain((1..=parties.count()).map(|n| format!("party-{n}")))
            .collect();
        let ports = free_ports(3 * names.len())?;
        let local = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let identity = |name: &str| -> Result<Identity, UpError> {
            let path = folder.join(format!("{name}.pem"));
            Ok(new_identity(&path, name, None, Existing::Keep)?)
        };
        let certificate =
            |name: &str| -> Result<Certificates, UpError> { Ok(identity(name)?.fingerprint().into()) };
        let mut tags = Vec::new();
        let mut nodes = Vec::new();
        let mut listed = Vec::new();
        for (at, name) in names.into_iter().enumerate() {
            let identity = identity(&name)?;
            let key = identity.public_key_hash().map_err(amicus::Error::from)?;
            let place = Place {
                address: local(ports[3 * at]),
                monitor: local(ports[3 * at + 1]),
                public: local(ports[3 * at + 2]),
                pin: format!("sha256//{}", BASE64_STANDARD.encode(key)),
                config: folder.join(format!("{name}.toml")),
                log: folder.join(format!("{name}.log")),
                name,
            };
            let (address, public) = (place.address.to_string(), Some(place.public.to_string()));
            let certificate = identity.fingerprint().into();
            tags.push(NodeTag::of(&identity.fingerprint()));
            listed.push(Node { address, listen: None, public, authorities: false, certificate });
            nodes.push(place);
        }
        let helper = listed.remove(0);
        let owner = User { certificate: certificate("owner")? };
        let mut users = BTreeMap::new();
        for name in clients {
            users.insert(name.clone(), User { certificate: certificate(&format!("client-{name}"))? });
        }
        let mut models = BTreeMap::new();
        let mut plan_files = Vec::new();
        for (name, plan) in plans {
            let file = PathBuf::from(format!("{name}.plan"));
            write_plan(&folder.join(&file), plan, Existing::Keep)?;
            let digest = plan.digest().map_err(amicus::Error::from)?;
            models.insert(name.clone(), DeployedModel { plan: digest });
            plan_files.push(file);
        }
        let id = ClusterId::random().map_err(|error| UpError::System { what: "random numbers", error })?;
        let deployment = Deployment {
            cluster: "this machine".to_owned(),
            id: Some(id),
            helper,
            parties: listed,
            owner,
            clients: users,
            models,
            limits: DeploymentLimits::default(),
        };
        put(&folder.join("cluster.toml"), &deployment.to_toml()?)?;
        for place in &nodes {
            let config = NodeConfig {
                cluster: "cluster.toml".into(),
                key: format!("{}.pem", place.name).into(),
                folder: place.name.clone().into(),
                plans: plan_files.clone(),
                listen: None,
                monitor: Some(place.monitor),
                public: Some(PublicConfig {
                    listen: place.public.to_string(),
                    certificate: None,
                    key: None,
                    origins: origins.to_vec(),
                    limits: PublicLimits::default(),
                }),
                shutdown: 5,
                threads,
                log: LogConfig::default(),
                limits: NodeLimits::default(),
            };
            put(&place.config, &config.to_toml()?)?;
        }
        let files = Files { folder: folder.to_owned(), deployment, nodes };
        files.write_tokens(&tags, "owner", TokenRole::Owner)?;
        clients
            .iter()
            .try_for_each(|name| files.write_tokens(&tags, &format!("client-{name}"), TokenRole::Client))?;
        Ok(files)
    }
}

impl Files {
    /// Makes a token of every node for a user, in a file that it alone can read.
    fn write_tokens(&self, tags: &[NodeTag], user: &str, role: TokenRole) -> Result<(), UpError> {
        let mut lines = Zeroizing::new(String::new());
        for (place, tag) in self.nodes.iter().zip(tags) {
            let mut tokens = Tokens::open(&self.folder.join(&place.name), tag.clone())?;
            let (token, _) = tokens.make(NewToken {
                name: user.to_owned(),
                role,
                models: Vec::new(),
                quota: None,
                rate: None,
                lanes: LANES,
                days: None,
            })?;
            lines.push_str(&format!("{} = \"{}\"\n", place.name, token.reveal()));
        }
        let path = self.folder.join(format!("{user}.tokens"));
        let written = private::write(&path, Existing::Keep, |file| file.write_all(lines.as_bytes()));
        written.map_err(|error| UpError::File { path, error })
    }
}

fn put(path: &Path, text: &str) -> Result<(), UpError> {
    std::fs::write(path, text).map_err(|error| UpError::File { path: path.to_owned(), error })
}

/// So many ports that are free now.
fn free_ports(count: usize) -> Result<Vec<u16>, UpError> {
    // Others who look at the same time look elsewhere, processes with neighbouring numbers too.
    let first = std::process::id() * APART % u32::from(PORTS.end - PORTS.start);
    let all = PORTS.skip(first as usize).chain(PORTS);
    let free = all.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let ports: Vec<u16> = free.take(count).collect();
    if ports.len() < count {
        let error = std::io::Error::other("none of 10000 to 29999 is free");
        return Err(UpError::System { what: "ports", error });
    }
    Ok(ports)
}
