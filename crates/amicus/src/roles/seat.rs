//! A role's seat in a deployment: who it is by its certificate, and whom it reaches how.

use crate::{Deployment, DeploymentError, Error};
use amicus_net::{Identity, Listener, PeerSet};
use amicus_node::connect::{Complaints, Connector, InboxHandles, Target, Terms};
use amicus_node::store::Place;
use amicus_node::{Limits, NodeError, Peer, Served};
use amicus_plan::{Plan, PlanDigest};
use amicus_protocol::Parties;
use amicus_protocol::control::Channel;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

/// Connection errors that are told where a role gives up, at most.
const TOLD: usize = 4;

/// What a role does in a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Deals, checks and releases.
    Helper,
    /// Computes.
    Party,
    /// Gives its model to the parties.
    Owner,
    /// Has images and gets answers.
    Client,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Helper => "the helper",
            Role::Party => "a compute party",
            Role::Owner => "the model owner",
            Role::Client => "a client",
        })
    }
}

impl Role {
    pub(super) fn of(peer: &Peer) -> Self {
        match peer {
            Peer::Helper => Role::Helper,
            Peer::Party(_) => Role::Party,
            Peer::Owner => Role::Owner,
            Peer::Client(_) => Role::Client,
        }
    }
}

/// A role that the deployment knows by its identity.
pub(super) struct Seat<'a> {
    deployment: &'a Deployment,
    identity: Arc<Identity>,
    terms: Terms,
    pub(super) me: Peer,
    pub(super) parties: Parties,
    pub(super) limits: Limits,
}

impl<'a> Seat<'a> {
    /// Finds the seat of an identity, which must be one for this role.
    pub(super) fn find(
        deployment: &'a Deployment,
        identity: Arc<Identity>,
        wanted: Role,
    ) -> Result<Self, Error> {
        let me = seat_of(deployment, &identity, wanted)?;
        let parties = deployment.count()?;
        Ok(Seat {
            terms: terms(deployment)?,
            limits: deployment.patience(),
            deployment,
            identity,
            me,
            parties,
        })
    }

    /// A model as the deployment has it served.
    pub(super) fn served(&self, plan: Arc<Plan>) -> Served {
        self.deployment.served(plan)
    }

    /// Inferences in flight that this node's machine gives, where its operator named any.
    pub(super) fn own_inferences(&self) -> Option<usize> {
        self.deployment.limits.own_lanes.map(|own| own as usize)
    }

    /// Threads for the arithmetic of each of the node's threads.
    pub(super) fn own_threads(&self) -> usize {
        self.deployment.limits.own_threads.map_or(1, |own| own as usize)
    }

    /// The node's folder.
    pub(super) fn place(&self, folder: PathBuf) -> Place {
        Place { folder, cluster: self.deployment.cluster_digest(self.parties) }
    }

    /// Listens to everybody of the deployment; returns where.
    pub(super) fn listen(
        &self,
        links: &Links,
        plans: Vec<PlanDigest>,
        inboxes: &InboxHandles,
    ) -> Result<SocketAddr, Error> {
        let pins = self.deployment.pins(&self.me, self.parties);
        let mut listener = Listener::bind(self.deployment.listens(&self.me), &self.identity, pins)?;
        if let Some(connections) = self.deployment.limits.connections {
            listener.set_max_pending(connections as usize);
        }
        let address = listener.local_addr();
        links.connector.listen(listener, self.terms, plans, inboxes.clone())?;
        Ok(address)
    }

    /// Dials nodes, now and whenever a link ends.
    pub(super) fn dial(
        &self,
        links: &Links,
        to: impl IntoIterator<Item = (Peer, Channel)>,
        inboxes: &InboxHandles,
    ) -> Result<(), Error> {
        let targets = to.into_iter().map(|(peer, channel)| self.deployment.target(peer, channel)).collect();
        Ok(links.connector.dial(&self.identity, targets, self.terms, inboxes)?)
    }

    /// Dials helper and parties, as who uses them does.
    pub(super) fn dial_all(&self, links: &Links, inboxes: &InboxHandles) -> Result<(), Error> {
        self.deployment.resolve(self.parties)?;
        let everybody = self.parties.all().map(Peer::Party).chain([Peer::Helper]);
        self.dial(links, everybody.map(|peer| (peer, Channel::Online)), inboxes)
    }
}

/// The digests of the plans of models.
pub(super) fn digests(models: &[Served]) -> Result<Vec<PlanDigest>, Error> {
    models.iter().map(|model| Ok(model.plan.digest()?)).collect()
}

/// What both ends of a link must agree on.
pub(super) fn terms(deployment: &Deployment) -> Result<Terms, DeploymentError> {
    let parties = deployment.count()?;
    Ok(Terms { cluster: deployment.cluster_digest(parties), parties })
}

/// Who an identity is in a deployment; it must be one for this role.
pub(super) fn seat_of(deployment: &Deployment, identity: &Identity, wanted: Role) -> Result<Peer, Error> {
    deployment.check()?;
    let fingerprint = identity.fingerprint();
    match deployment.role_of(fingerprint) {
        Some(peer) if Role::of(&peer) == wanted => Ok(peer),
        found => Err(Error::Identity { fingerprint, wanted, found }),
    }
}

/// Threads that keep a role's links, ended when this is dropped.
pub(crate) struct Links {
    connector: Connector,
    errors: Receiver<NodeError>,
}

impl Links {
    pub(crate) fn new() -> Self {
        let (complaints, errors) = Complaints::channel();
        Links { connector: Connector::new(complaints), errors }
    }

    /// Errors of single connections that nobody has heard yet.
    pub(super) fn errors(&self) -> impl Iterator<Item = NodeError> {
        self.errors.try_iter()
    }

    /// Why a role gave up, with what its connections say.
    pub(super) fn explain(&self, error: NodeError) -> Error {
        let mut links: Vec<String> = Vec::new();
        for text in self.errors().map(|error| error.to_string()) {
            if links.len() < TOLD && !links.contains(&text) {
                links.push(text);
            }
        }
        Error::Node { error: Box::new(error), links }
    }

    /// Takes up another identity, other pins and other addresses for links to come.
    pub(super) fn replace(&self, identity: &Arc<Identity>, pins: &PeerSet, targets: &[Target]) {
        self.connector.replace(identity, pins, targets);
    }

    /// Ends the threads.
    pub(super) fn stop(&self) {
        self.connector.stop();
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.stop();
    }
}
