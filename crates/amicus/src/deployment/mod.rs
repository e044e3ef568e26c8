//! The deployment file: who takes part, where nodes are reached, and by which certificates all are
//! known.
//!
//! It holds nothing secret, and every role has the same one. Whoever can change it can put another
//! node in the place of one, so it comes to everybody over a channel they trust.
//!
//! ```toml
//! cluster = "ward 7"                  # nodes' folders are of this cluster alone
//! id = "5d0c…"                        # 32 hex digits; with it, certificates may change
//!
//! [helper]
//! address = "helper.example:7000"     # where others reach it
//! certificate = "8d0c1f64-…"          # its fingerprint, as `amicus fingerprint` and openssl print it
//! public = "helper.example:7443"      # where clients with tokens reach it over HTTPS
//!
//! [[party]]                           # 2 to 8 of them, party 1 first
//! address = "one.example:7001"
//! listen = "0.0.0.0:7001"             # where it listens, if not at its address
//! certificate = "…"
//!
//! [[party]]
//! address = "two.example:7002"
//! certificate = ["…", "…"]            # the old one and the new one, while it changes its key
//!
//! [owner]
//! certificate = "…"
//!
//! [client.alice]
//! certificate = "…"
//!
//! [model.lenet]                       # models that nodes load, if not any
//! plan = "…"                          # the plan's digest, as `amicus plan` prints it
//!
//! [limits]                            # each may be left out
//! round = 10                          # seconds to wait for a message of a round
//! inference = 60                      # for an inference
//! load = 120                          # for a step of a model load; more where a model is large
//! batch = 64                          # images in one inference; else as many as 1 GiB of material allows
//! lanes = 16                          # inferences in flight at a time; else as memory allows
//! ready = 32                          # inferences that are dealt ahead; else as memory allows
//! connections = 64                    # at a node, of those who have not proved who they are yet
//! ```

mod demands;
mod digest;
mod error;
mod pins;
pub mod text;

pub use digest::{ClusterId, DeploymentDigest};
pub use error::{DeploymentError, DeploymentProblem, Key};
pub use pins::Certificates;

use crate::Error;
use amicus_net::https::Trust;
use amicus_net::{Fingerprint, PeerSet};
use amicus_node::Peer;
use amicus_node::connect::Target;
use amicus_node::limits::{Limits, MAX_LANES, largest_batch};
use amicus_node::store::ClusterDigest;
use amicus_plan::{Plan, PlanDigest, Printable};
use amicus_protocol::Parties;
use amicus_protocol::control::Channel;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::ToSocketAddrs;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// Longest name of a cluster or model, in bytes.
const MAX_NAME: usize = 64;
/// Longest time that may be waited for anything: a day.
const MAX_SECONDS: u32 = 24 * 60 * 60;
/// Largest batch that a deployment may allow.
const MAX_BATCH: u32 = 1024;
/// Most inferences that may be dealt ahead.
const MAX_READY: u32 = 1024;
/// Most connections of strangers that a deployment may allow.
const MAX_CONNECTIONS: u32 = 4096;
/// Memory of a party for the material of one inference, from which the largest batch follows where
/// the file names none.
const MATERIAL: u64 = 1 << 30;

/// Who takes part in a deployment.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// Name of the cluster: 1 to 64 printable bytes.
    pub cluster: String,
    /// What nodes' folders are bound to in place of the certificates, which may then change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<ClusterId>,
    /// The helper.
    pub helper: Node,
    /// The compute parties, party 1 first.
    #[serde(rename = "party")]
    pub parties: Vec<Node>,
    /// The model owner.
    pub owner: User,
    /// Clients by name.
    #[serde(default, rename = "client")]
    pub clients: BTreeMap<String, User>,
    /// Models that nodes load, by name; whichever their operators give them when there are none.
    #[serde(default, rename = "model", skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, DeployedModel>,
    /// How long roles wait, and how much they take.
    #[serde(default)]
    pub limits: DeploymentLimits,
}

/// A helper or party: who listens.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Where others reach it: `HOST:PORT`.
    pub address: String,
    /// Where it listens, if not at its address: `HOST:PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Where clients with tokens reach it over HTTPS, if they do: `HOST:PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<String>,
    /// Whether it shows a certificate there that authorities vouch for, as browsers need it, and not
    /// its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub authorities: bool,
    /// The fingerprint of its certificate.
    pub certificate: Certificates,
}

/// An owner or client: who dials.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The fingerprint of its certificate.
    pub certificate: Certificates,
}

/// A model that nodes load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DeployedModel {
    /// The digest of its plan.
    #[serde(with = "digest::plan")]
    pub plan: PlanDigest,
}

/// How long roles wait, in seconds, and how much they take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeploymentLimits {
    /// For one message of a round.
    pub round: u32,
    /// For a whole inference.
    pub inference: u32,
    /// For a step of a model load or of dealing; more where a model is large.
    pub load: u32,
    /// Images in one inference, at most; as many as a gigabyte of material allows when there is
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
    /// Inferences in flight at a time; up to 16, as many as a gigabyte of material allows, when there
    /// is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lanes: Option<u32>,
    /// Inferences for which material is dealt ahead, those in flight counted; up to 32, as many as a
    /// gigabyte of material allows, when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<u32>,
    /// Connections at a node whose peers have not proved who they are yet; 64 when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Inferences in flight that a node's own machine gives, where it gives fewer than all agreed on:
    /// a helper begins no more, at a party those beyond wait. Nothing of the file that all share.
    #[serde(skip)]
    pub own_lanes: Option<u32>,
    /// Threads of a node's own machine for the arithmetic of each of the node's two threads, 1 when
    /// there is none. Nothing of the file that all share.
    #[serde(skip)]
    pub own_threads: Option<u32>,
}

impl Default for DeploymentLimits {
    fn default() -> Self {
        let Limits { round, inference, load } = Limits::default();
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(MAX_SECONDS);
        let (round, inference, load) = (seconds(round), seconds(inference), seconds(load));
        let (batch, lanes, ready, connections) = (None, None, None, None);
        let (own_lanes, own_threads) = (None, None);
        DeploymentLimits { round, inference, load, batch, lanes, ready, connections, own_lanes, own_threads }
    }
}

impl FromStr for Deployment {
    type Err = DeploymentError;

    fn from_str(text: &str) -> Result<Self, DeploymentError> {
        text::parse(text, Deployment::check)
    }
}

impl Deployment {
    /// Reads a deployment file.
    ///
    /// # Errors
    /// A file that cannot be read or is too long, is no TOML, lacks a key or has an unknown one, or
    /// describes no deployment: with file, line and key.
    pub fn read(path: &Path) -> Result<Self, Error> {
        text::read(path, Deployment::check)
    }

    /// Checks what every role relies on. Reading a file and starting a role do it by themselves.
    ///
    /// # Errors
    /// The first key with a value that cannot be.
    pub fn check(&self) -> Result<(), DeploymentError> {
        let wrong = |table: &str, name: &str, problem| Err(DeploymentError::of(table, name, problem));
        if self.cluster.is_empty() || self.cluster.len() > MAX_NAME || !Printable::is(&self.cluster) {
            return wrong("", "cluster", DeploymentProblem::Name);
        }
        let DeploymentLimits { round, inference, load, batch, lanes, ready, connections, .. } = self.limits;
        for (name, found, most) in [
            ("round", round, MAX_SECONDS),
            ("inference", inference, MAX_SECONDS),
            ("load", load, MAX_SECONDS),
            ("batch", batch.unwrap_or(1), MAX_BATCH),
            ("lanes", lanes.unwrap_or(1), MAX_LANES as u32),
            ("ready", ready.unwrap_or(1), MAX_READY),
            ("connections", connections.unwrap_or(1), MAX_CONNECTIONS),
        ] {
            if found == 0 || found > most {
                return wrong("limits", name, DeploymentProblem::Range { found, most });
            }
        }
        let parties = self.count()?;
        for name in self.clients.keys() {
            let client = Peer::Client(name.clone());
            if Peer::parse(&client.to_string(), parties).is_none() {
                return wrong(&format!("client {name}"), "", DeploymentProblem::Name);
            }
            if client.is_guest() {
                return wrong(&format!("client {name}"), "", DeploymentProblem::GuestName);
            }
        }
        let mut plans = BTreeMap::new();
        for (name, model) in &self.models {
            let table = format!("model {name}");
            if name.is_empty() || name.len() > MAX_NAME || !Printable::is(name) {
                return wrong(&table, "", DeploymentProblem::Name);
            }
            if let Some(other) = plans.insert(model.plan.0, name) {
                return wrong(&table, "plan", DeploymentProblem::SamePlan(other.as_str().into()));
            }
        }
        let (mut certificates, mut addresses) = (BTreeMap::new(), BTreeMap::new());
        for role in self.roles(parties) {
            let table = table(&role);
            if let Some(node) = self.node(&role) {
                for (name, address) in [
                    ("address", Some(&node.address)),
                    ("listen", node.listen.as_ref()),
                    ("public", node.public.as_ref()),
                ] {
                    if address.is_some_and(|address| !is_address(address)) {
                        return wrong(&table, name, DeploymentProblem::Address);
                    }
                }
                if let Some(other) = addresses.insert(&node.address, role.clone()) {
                    return wrong(&table, "address", DeploymentProblem::Shared(other));
                }
            }
            let of_role = self.certificates(&role);
            if of_role.len() > 1 && self.id.is_none() && self.node(&role).is_some() {
                return wrong(&table, "certificate", DeploymentProblem::NoId);
            }
            for certificate in of_role {
                if let Some(other) = certificates.insert(*certificate, role.clone()) {
                    return wrong(&table, "certificate", DeploymentProblem::Shared(other));
                }
            }
        }
        Ok(())
    }

    /// The number of compute parties.
    ///
    /// # Errors
    /// When there are not 2 to 8.
    pub fn count(&self) -> Result<Parties, DeploymentError> {
        let found = self.parties.len();
        let few = DeploymentProblem::Parties(found);
        Parties::new(found).ok_or_else(|| DeploymentError::of("", "party", few))
    }

    /// The fingerprints by which a role is known: none if it is not in this deployment, several
    /// while it changes its key.
    pub fn certificates(&self, role: &Peer) -> &[Fingerprint] {
        let known = match role {
            Peer::Helper | Peer::Party(_) => self.node(role).map(|node| &node.certificate),
            Peer::Owner => Some(&self.owner.certificate),
            Peer::Client(name) => self.clients.get(name).map(|user| &user.certificate),
        };
        known.map_or(&[], Certificates::all)
    }

    /// The name of the model with this plan, if it is one of this deployment's.
    pub fn model_of(&self, plan: PlanDigest) -> Option<&str> {
        self.models.iter().find(|(_, model)| model.plan == plan).map(|(name, _)| name.as_str())
    }

    /// The role that is known by a fingerprint, if any is.
    pub fn role_of(&self, fingerprint: Fingerprint) -> Option<Peer> {
        let parties = self.count().ok()?;
        self.roles(parties).find(|role| self.certificates(role).contains(&fingerprint))
    }

    /// The digest that nodes' folders carry: of the cluster's name, the number of its parties, and
    /// its id; without one, the roles and certificates of its nodes.
    pub(crate) fn cluster_digest(&self, parties: Parties) -> ClusterDigest {
        if let Some(id) = self.id {
            return ClusterDigest::identified(&self.cluster, parties, &id.0);
        }
        let nodes: Vec<Peer> = self.roles(parties).collect();
        let pinned = nodes.iter().filter_map(|role| Some((role, *self.certificates(role).first()?)));
        ClusterDigest::pinned(&self.cluster, parties, pinned)
    }

    /// A helper or party, if it is in this deployment.
    pub fn node(&self, role: &Peer) -> Option<&Node> {
        match role {
            Peer::Helper => Some(&self.helper),
            Peer::Party(party) => self.parties.get(party.index()),
            Peer::Owner | Peer::Client(_) => None,
        }
    }

    /// Everybody: the helper, the parties, the owner, the clients.
    pub fn roles(&self, parties: Parties) -> impl Iterator<Item = Peer> {
        let clients = self.clients.keys().cloned().map(Peer::Client);
        [Peer::Helper].into_iter().chain(parties.all().map(Peer::Party)).chain([Peer::Owner]).chain(clients)
    }

    /// How long nodes wait.
    pub fn patience(&self) -> Limits {
        let seconds = |n: u32| Duration::from_secs(n.into());
        let DeploymentLimits { round, inference, load, .. } = self.limits;
        Limits { round: seconds(round), inference: seconds(inference), load: seconds(load) }
    }

    /// Images of a model in one inference, at most.
    pub fn max_batch(&self, plan: &Plan) -> u32 {
        self.limits.batch.unwrap_or_else(|| largest_batch(plan, MATERIAL))
    }

    /// Everybody whom a node listens to.
    pub(crate) fn pins(&self, me: &Peer, parties: Parties) -> PeerSet {
        let others = self.roles(parties).filter(|role| role != me);
        let pinned = others.flat_map(|role| {
            self.certificates(&role).iter().map(move |certificate| (*certificate, role.to_string()))
        });
        pinned.collect()
    }

    /// Where a node listens.
    pub fn listens(&self, node: &Peer) -> &str {
        self.node(node).map_or("", |node| node.listen.as_deref().unwrap_or(&node.address))
    }

    /// Where clients with tokens reach a node, and how they know it.
    pub fn public(&self, node: &Peer) -> Option<(&str, Trust)> {
        let listed = self.node(node)?;
        let trust = match listed.authorities {
            true => Trust::Authorities,
            false => Trust::Pinned(listed.certificate.all().to_vec()),
        };
        Some((listed.public.as_deref()?, trust))
    }

    /// A link that a role dials to a node. Its name is resolved for every attempt.
    pub(crate) fn target(&self, peer: Peer, channel: Channel) -> Target {
        let node = self.node(&peer).unwrap_or(&self.helper);
        let fingerprints = node.certificate.all().to_vec();
        Target { address: node.address.clone(), fingerprints, peer, channel }
    }

    /// Whether the names of all nodes are found now: who runs for a moment only, as clients do, is
    /// told at once when one is not.
    pub(crate) fn resolve(&self, parties: Parties) -> Result<(), DeploymentError> {
        for peer in self.roles(parties) {
            let Some(node) = self.node(&peer) else { continue };
            let unknown = |reason: &str| {
                let problem = DeploymentProblem::Unresolved { reason: reason.into() };
                DeploymentError::of(&table(&peer), "address", problem)
            };
            let mut found = node.address.to_socket_addrs().map_err(|e| unknown(&e.to_string()))?;
            found.next().ok_or_else(|| unknown("it has no address"))?;
        }
        Ok(())
    }
}

/// The table of the file that a role stands in.
fn table(role: &Peer) -> String {
    match role {
        Peer::Owner => "owner".to_owned(),
        role => role.to_string(),
    }
}

/// Whether a text is `HOST:PORT`; an IPv6 address stands in brackets.
pub fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_fits = inner.is_some_and(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok())
        || !host.is_empty()
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    host_fits && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests;
