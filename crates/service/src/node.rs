//! From the files of an operator to a running node, and what is wrong with them.

use crate::config::{Bytes, NodeConfig};
use crate::error::StartError;
use amicus::deployment::DeploymentDigest;
use amicus::node::Peer;
use amicus::plan::PlanDigest;
use amicus::{Asked, Deployment, Door, Error, Helper, Identity, Notice, Party, Plan, Role, Watch, files};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What a service runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceRole {
    /// The helper.
    Helper,
    /// A compute party.
    Party,
}

impl ServiceRole {
    fn role(self) -> Role {
        match self {
            ServiceRole::Helper => Role::Helper,
            ServiceRole::Party => Role::Party,
        }
    }
}

/// A node's files, read and found to fit together.
#[derive(Debug)]
pub struct Prepared {
    /// The cluster's file, with what this node's own says of its address and limits.
    pub deployment: Deployment,
    /// The digest of the cluster's file.
    pub digest: DeploymentDigest,
    /// Who the node is.
    pub me: Peer,
    /// Its key.
    pub identity: Arc<Identity>,
    /// The plans that it serves.
    pub plans: Vec<Agreed>,
    /// How a party deviates; none of an honest one.
    #[cfg(feature = "danger")]
    pub(crate) cheat: Option<amicus::node::conduct::Cheat>,
}

/// A plan that a node serves.
#[derive(Clone, Debug)]
pub struct Agreed {
    /// The name that the cluster's file has for it.
    pub name: Option<String>,
    /// The plan.
    pub plan: Arc<Plan>,
    digest: PlanDigest,
}

impl Prepared {
    /// Reads a node's files. `role` is what is to run; either, when there is none.
    ///
    /// # Errors
    /// A file that cannot be read or holds something else; a key that is that of another role, or
    /// nobody's; plans that are not those of the cluster; demands beyond the node's limits.
    pub fn read(config: &NodeConfig, role: Option<ServiceRole>) -> Result<Self, StartError> {
        let (deployment, identity) = Prepared::read_place(config)?;
        let digest = deployment.digest().map_err(Error::from)?;
        let fingerprint = identity.fingerprint();
        let me = match (deployment.role_of(fingerprint), role) {
            (Some(me @ Peer::Helper), None | Some(ServiceRole::Helper))
            | (Some(me @ Peer::Party(_)), None | Some(ServiceRole::Party)) => me,
            (found, role) => {
                let wanted = role.unwrap_or(ServiceRole::Party).role();
                return Err(Error::Identity { fingerprint, wanted, found }.into());
            }
        };
        let plans = plans(config, &deployment)?;
        let asked = deployment.asks(plans.iter().map(|agreed| Arc::clone(&agreed.plan)))?;
        within_limits(config, &me, asked)?;
        let deployment = localised(deployment, config, &me);
        Ok(Prepared {
            deployment,
            digest,
            me,
            identity,
            plans,
            #[cfg(feature = "danger")]
            cheat: None,
        })
    }

    /// Reads what a running node can take up: the cluster's file and its key.
    ///
    /// # Errors
    /// Files that cannot be read or hold something else.
    pub(crate) fn read_place(config: &NodeConfig) -> Result<(Deployment, Arc<Identity>), StartError> {
        let deployment = Deployment::read(&config.cluster)?;
        let identity = Arc::new(files::read_identity(&config.key)?);
        Ok((deployment, identity))
    }

    /// Starts the node.
    ///
    /// # Errors
    /// A folder that cannot be used, an address that cannot be listened at.
    pub(crate) fn start(&self, folder: &Path) -> Result<Node, StartError> {
        let plans = self.plans.iter().map(|agreed| Arc::clone(&agreed.plan));
        let identity = Arc::clone(&self.identity);
        #[cfg(feature = "danger")]
        if let (Peer::Party(_), Some(cheat), Some(agreed)) = (&self.me, self.cheat, self.plans.first()) {
            let conduct = cheat.into_conduct(&agreed.plan);
            let party = Party::start_deviating(&self.deployment, identity, plans, folder, conduct)?;
            return Ok(Node::Party(party));
        }
        Ok(match self.me {
            Peer::Helper => Node::Helper(Helper::start(&self.deployment, identity, plans, folder)?),
            _ => Node::Party(Party::start(&self.deployment, identity, plans, folder)?),
        })
    }
}

/// The plans that a node serves: all of the cluster's, if it lists any, and no others.
fn plans(config: &NodeConfig, deployment: &Deployment) -> Result<Vec<Agreed>, StartError> {
    let mut found: Vec<Agreed> = Vec::new();
    for file in &config.plans {
        let plan = files::read_plan(file)?;
        let digest = plan.digest().map_err(Error::from)?;
        if let Some(other) = found.iter().position(|known| known.digest == digest) {
            return Err(StartError::SamePlan { file: file.clone(), other: config.plans[other].clone() });
        }
        let name = deployment.model_of(digest).map(str::to_owned);
        if name.is_none() && !deployment.models.is_empty() {
            return Err(StartError::UnlistedPlan {
                file: file.clone(),
                digest,
                cluster: config.cluster.clone(),
            });
        }
        found.push(Agreed { name, plan: Arc::new(plan), digest });
    }
    for (name, model) in &deployment.models {
        if !found.iter().any(|agreed| agreed.digest == model.plan) {
            let (cluster, model, digest) = (config.cluster.clone(), name.as_str().into(), model.plan);
            return Err(StartError::LacksPlan { cluster, model, digest });
        }
    }
    Ok(found)
}

impl Agreed {
    /// The name of the model, for logs.
    pub(crate) fn shown(&self) -> String {
        self.name
            .clone()
            .unwrap_or_else(|| format!("{}, without a name in the cluster's file", self.plan.name))
    }

    /// The plan's digest.
    pub(crate) fn digest(&self) -> PlanDigest {
        self.digest
    }
}

/// Whether the node's machine gives what the cluster asks: honest nodes send messages of that length,
/// and the helper counts on that much room for material. The node itself refuses whatever goes beyond
/// what is asked. How many inferences go on at a time needs nobody's agreement: the helper begins
/// fewer, or they wait for their turn at a party.
fn within_limits(config: &NodeConfig, me: &Peer, asked: Asked) -> Result<(), StartError> {
    let limits = config.limits;
    let material = if matches!(me, Peer::Party(_)) { asked.material } else { 0 };
    for (key, given, asked, less) in [
        ("message", limits.message, asked.message as u64, "`batch`"),
        ("memory", limits.memory, material, "`lanes`, `ready` or `batch`"),
    ] {
        if let Some(given) = given.filter(|given| given.0 < asked) {
            return Err(StartError::Bytes { key, given, asked: Bytes(asked), less });
        }
    }
    Ok(())
}

/// The deployment as one node sees it: where it listens, how many strangers it listens to.
fn localised(mut deployment: Deployment, config: &NodeConfig, me: &Peer) -> Deployment {
    let node = match me {
        Peer::Party(party) => deployment.parties.get_mut(party.index()),
        _ => Some(&mut deployment.helper),
    };
    if let Some((node, listen)) = node.zip(config.listen.clone()) {
        node.listen = Some(listen);
    }
    deployment.limits.own_lanes = config.limits.inferences;
    deployment.limits.own_threads = Some(config.threads);
    deployment.limits.connections = config.limits.connections.or(deployment.limits.connections);
    deployment
}

/// A running node.
pub(crate) enum Node {
    Helper(Helper),
    Party(Party),
}

impl Node {
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Node::Helper(node) => node.address(),
            Node::Party(node) => node.address(),
        }
    }

    pub(crate) fn watch(&self) -> Watch {
        match self {
            Node::Helper(node) => node.watch(),
            Node::Party(node) => node.watch(),
        }
    }

    pub(crate) fn door(&self) -> Door {
        match self {
            Node::Helper(node) => node.door(),
            Node::Party(node) => node.door(),
        }
    }

    pub(crate) fn close(&self) {
        match self {
            Node::Helper(node) => node.close(),
            Node::Party(node) => node.close(),
        }
    }

    pub(crate) fn replace(&self, deployment: &Deployment, identity: Arc<Identity>) -> Result<(), Error> {
        match self {
            Node::Helper(node) => node.replace(deployment, identity),
            Node::Party(node) => node.replace(deployment, identity),
        }
    }

    pub(crate) fn next_notice(&mut self, patience: Duration) -> Option<Notice> {
        match self {
            Node::Helper(node) => node.next_notice(patience),
            Node::Party(node) => node.next_notice(patience),
        }
    }
}
