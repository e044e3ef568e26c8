//! One look at another node, for whoever searches for a fault.

use super::seat::terms;
use crate::Deployment;
use amicus_net::{Fingerprint, Identity, NetError};
use amicus_node::{NodeError, Peer};
use amicus_protocol::control::Channel;
use std::time::{Duration, Instant};

/// Connects to a node once, as one of a deployment: how long it took until both sides accepted each
/// other. With `greet` it also says which cluster it belongs to, as a node does when it starts: a
/// running node of this identity would lose its link.
///
/// # Errors
/// What keeps the two from each other.
pub fn probe(
    deployment: &Deployment,
    identity: &Identity,
    node: &Peer,
    greet: bool,
    deadline: Instant,
) -> Result<Duration, NodeError> {
    let target = deployment.target(node.clone(), Channel::Online);
    let terms = if greet { Some(terms(deployment).map_err(misuse)?) } else { None };
    amicus_node::connect::probe(&target, identity, terms, deadline)
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
