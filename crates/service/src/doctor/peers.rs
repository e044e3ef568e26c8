//! The node's own port, and all other nodes: name, port, TLS, certificates, version, cluster.

use super::{Finding, Subject, Whose};
use crate::node::Prepared;
use amicus::net::{Listener, NetError, PeerSet};
use amicus::node::{NodeError, Peer};
use amicus::protocol::{Fault, ProtocolError};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Whether the node's port is free, or the node itself listens there.
pub(super) fn own_port(prepared: &Prepared, patience: Duration) -> (Finding, bool) {
    let address = prepared.deployment.listens(&prepared.me).to_owned();
    match Listener::bind(&address, &prepared.identity, PeerSet::new()) {
        Ok(_) => (Finding::fine(Subject::Port, format!("{address}: is free; the node does not run")), false),
        Err(NetError::AddressInUse { .. }) => match runs_at(prepared, &address, patience) {
            true => (Finding::fine(Subject::Port, format!("{address}: the node runs")), true),
            false => {
                let text = format!("{address}: another program has it");
                (Finding::fault(Subject::Port, Whose::Ours, text, "end it, or set `listen`"), false)
            }
        },
        Err(error) => {
            let advice = "set `listen` to an address of this machine";
            (Finding::fault(Subject::Port, Whose::Ours, error.to_string(), advice), false)
        }
    }
}

/// Whether who listens there shows this node's certificate; it lets nobody in who shows the same.
fn runs_at(prepared: &Prepared, address: &str, patience: Duration) -> bool {
    // Whoever listens at all addresses is reached at this machine's own.
    let reached = address.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
    let found = amicus::probe_certificate(&reached, &prepared.identity, Instant::now() + patience);
    found == Some(prepared.identity.fingerprint())
}

/// What is found of every other node.
pub(super) fn others(prepared: &Prepared, runs: bool, patience: Duration) -> Vec<Finding> {
    let Ok(parties) = prepared.deployment.count() else { return Vec::new() };
    let nodes = [Peer::Helper].into_iter().chain(parties.all().map(Peer::Party));
    nodes
        .filter(|node| *node != prepared.me)
        .flat_map(|node| other(prepared, &node, runs, patience))
        .collect()
}

fn other(prepared: &Prepared, peer: &Peer, runs: bool, patience: Duration) -> Vec<Finding> {
    let theirs = Whose::Of(peer.clone());
    let Some(node) = prepared.deployment.node(peer) else { return Vec::new() };
    let address = &node.address;
    let addresses: Vec<SocketAddr> = match address.to_socket_addrs() {
        Ok(found) => found.collect(),
        Err(error) => {
            let text = format!("{peer}: {address} is not found: {error}");
            let advice =
                "correct the name in the cluster's file with all operators, or this machine's resolver";
            return vec![Finding::fault(Subject::Dns, theirs, text, advice)];
        }
    };
    let listed: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    let mut findings =
        vec![Finding::fine(Subject::Dns, format!("{peer}: {address} is {}", listed.join(", ")))];
    match connect(&addresses, patience) {
        Ok(time) => {
            let ms = time.as_secs_f64() * 1e3;
            findings
                .push(Finding::fine(Subject::Connection, format!("{peer}: a round trip takes {ms:.1} ms")));
        }
        Err(error) => {
            let text = format!("{peer}: {address}: {error}");
            let advice = match error.kind() {
                ErrorKind::ConnectionRefused => {
                    "start the node, correct its port, or open it in the firewall"
                }
                _ => "open the way between both machines: firewall, route, address",
            };
            findings.push(Finding::fault(Subject::Connection, theirs, text, advice));
            return findings;
        }
    }
    let deadline = Instant::now() + patience;
    // As itself the node greets only while it does not run: others keep its newest link alone.
    let greeted = amicus::probe(&prepared.deployment, &prepared.identity, peer, !runs, deadline);
    findings.push(match greeted {
        Ok(time) => {
            let ms = time.as_secs_f64() * 1e3;
            let text = format!("{peer}: both sides accept each other, in {ms:.1} ms");
            Finding::fine(if runs { Subject::Pin } else { Subject::Cluster }, text)
        }
        Err(error) => refused(peer, &error),
    });
    findings
}

/// The time of one round trip, to the first address that answers.
fn connect(addresses: &[SocketAddr], patience: Duration) -> std::io::Result<Duration> {
    let mut last = std::io::Error::new(ErrorKind::AddrNotAvailable, "it has no address");
    let share = patience / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    for address in addresses {
        let started = Instant::now();
        match TcpStream::connect_timeout(address, share.max(Duration::from_millis(1))) {
            Ok(_) => return Ok(started.elapsed()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Whose fault it is that a node which answers is of no use.
fn refused(peer: &Peer, error: &NodeError) -> Finding {
    let (theirs, text) = (Whose::Of(peer.clone()), format!("{peer}: {error}"));
    match error {
        NodeError::Net(NetError::WrongPeer { .. }) => Finding::fault(
            Subject::Pin,
            theirs,
            text,
            "compare its fingerprint by telephone: it uses another key, or somebody is in its place",
        ),
        NodeError::Net(NetError::Refused { .. }) => Finding::fault(
            Subject::Pin,
            theirs,
            text,
            "its cluster's file does not have your certificate: compare digests, and reload it there",
        ),
        NodeError::Net(NetError::Incompatible { .. }) => Finding::fault(
            Subject::Version,
            theirs,
            text,
            "it runs another version: agree on one, and replace the older program",
        ),
        NodeError::Protocol(ProtocolError::Peer { fault: Fault::Incompatible(_), .. }) => Finding::fault(
            Subject::Cluster,
            Whose::All,
            text,
            "compare `amicus cluster digest`: your files are of different clusters",
        ),
        NodeError::Net(NetError::HandshakeStalled { .. } | NetError::Timeout { .. }) => Finding::fault(
            Subject::Connection,
            theirs,
            text,
            "something there takes connections and says nothing: another program, or a proxy",
        ),
        _ => Finding::fault(Subject::Connection, theirs, text, "look at its log"),
    }
}
