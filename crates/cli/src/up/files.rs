//! Keys, plans, `cluster.toml` and every node's own file, in one folder.

use super::UpError;
use amicus::deployment::{Certificates, ClusterId, DeployedModel, Deployment, DeploymentLimits, Node, User};
use amicus::files::{Existing, new_identity, write_plan};
use amicus::{Parties, Plan};
use amicus_service::{LogConfig, NodeConfig, NodeLimits};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// Ports that are tried, below those that systems give to outgoing connections.
const PORTS: std::ops::Range<u16> = 10_000..30_000;

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
    /// Its own file.
    pub config: PathBuf,
    /// Its log.
    pub log: PathBuf,
}

impl Files {
    /// Writes them for a new cluster of so many parties, that serves these plans to these clients.
    ///
    /// # Errors
    /// A folder that cannot be written or holds a cluster, names that are none, no free ports.
    pub fn write(
        folder: &Path,
        parties: Parties,
        clients: &[String],
        plans: &[(String, &Plan)],
    ) -> Result<Self, UpError> {
        let names: Vec<String> = std::iter::once("helper".to_owned())
            .chain((1..=parties.count()).map(|n| format!("party-{n}")))
            .collect();
        let ports = free_ports(2 * names.len())?;
        let local = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let certificate = |name: &str| -> Result<Certificates, UpError> {
            let path = folder.join(format!("{name}.pem"));
            Ok(new_identity(&path, name, Existing::Keep)?.fingerprint().into())
        };
        let mut nodes = Vec::new();
        let mut listed = Vec::new();
        for (at, name) in names.into_iter().enumerate() {
            let place = Place {
                address: local(ports[2 * at]),
                monitor: local(ports[2 * at + 1]),
                config: folder.join(format!("{name}.toml")),
                log: folder.join(format!("{name}.log")),
                name,
            };
            let address = place.address.to_string();
            listed.push(Node { address, listen: None, certificate: certificate(&place.name)? });
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
                shutdown: 5,
                log: LogConfig::default(),
                limits: NodeLimits::default(),
            };
            put(&place.config, &config.to_toml()?)?;
        }
        Ok(Files { folder: folder.to_owned(), deployment, nodes })
    }
}

fn put(path: &Path, text: &str) -> Result<(), UpError> {
    std::fs::write(path, text).map_err(|error| UpError::File { path: path.to_owned(), error })
}

/// So many ports that are free now.
fn free_ports(count: usize) -> Result<Vec<u16>, UpError> {
    // Others who look at the same time look elsewhere.
    let first = std::process::id() % u32::from(PORTS.end - PORTS.start);
    let all = PORTS.skip(first as usize).chain(PORTS);
    let free = all.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let ports: Vec<u16> = free.take(count).collect();
    if ports.len() < count {
        let error = std::io::Error::other("none of 10000 to 29999 is free");
        return Err(UpError::System { what: "ports", error });
    }
    Ok(ports)
}
