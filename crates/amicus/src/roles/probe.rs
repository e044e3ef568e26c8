//! One look at another node, for whoever searches for a fault.

use super::seat::terms;
use crate::Deployment;
use amicus_net::{Fingerprint, Identity, NetError};
use amicus_node::connect::{Seen, look};
use amicus_node::{NodeError, Peer};
use amicus_protocol::control::Channel;
use std::time::Instant;

/// Looks at a node of a deployment once, as another of its nodes: whether both accept each other, its
/// version, clock and plans, and how fast bytes travel. Nodes that run, this one or that one, are not
/// disturbed.
///
/// # Errors
/// What keeps the two from each other.
pub fn probe(
    deployment: &Deployment,
    identity: &Identity,
    node: &Peer,
    deadline: Instant,
) -> Result<Seen, NodeError> {
    let target = deployment.target(node.clone(), Channel::Look);
    look(&target, identity, terms(deployment).map_err(misuse)?, deadline)
}

/// The certificate of whoever listens at an address, if it speaks TLS as nodes do.
pub fn probe_certificate(address: &str, identity: &Identity, deadline: Instant) -> Option<Fingerprint> {
    // Nobody is expected, so whoever is there is the wrong one.
    match amicus_net::dial_while(address, identity, ("this node", &[]), deadline, || false) {
        Err(NetError::WrongPeer { got, .. }) => Some(got),
        _ => None,
    }
}

fn misuse(error: crate::DeploymentError) -> NodeError {
    amicus_protocol::ProtocolError::Misuse(error.to_string()).into()
}
