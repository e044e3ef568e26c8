//! The node's own port, and all other nodes: name, port, TLS, certificates, version, cluster, plans,
//! clock, bandwidth.

use super::{Finding, Subject, Whose};
use crate::node::{Agreed, Prepared};
use amicus::net::{Listener, NetError, PeerSet};
use amicus::node::connect::{ClockSeen, Seen};
use amicus::node::limits::SLOWEST;
use amicus::node::{NodeError, Peer};
use amicus::plan::PlanDigest;
use amicus::protocol::greeting::PROGRAM;
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
pub(super) fn others(prepared: &Prepared, patience: Duration) -> Vec<Finding> {
    let Ok(parties) = prepared.deployment.count() else { return Vec::new() };
    let nodes = [Peer::Helper].into_iter().chain(parties.all().map(Peer::Party));
    let mut clocks_seen = Vec::new();
    let mut findings: Vec<Finding> = nodes
        .filter(|node| *node != prepared.me)
        .flat_map(|node| other(prepared, &node, patience, &mut clocks_seen))
        .collect();
    findings.extend(clocks(&clocks_seen));
    findings
}

fn other(
    prepared: &Prepared,
    peer: &Peer,
    patience: Duration,
    clocks: &mut Vec<(Peer, ClockSeen)>,
) -> Vec<Finding> {
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
    match amicus::probe(&prepared.deployment, &prepared.identity, peer, Instant::now() + patience) {
        Ok(seen) => {
            let ms = seen.accepted.as_secs_f64() * 1e3;
            let text = format!("{peer}: both sides accept each other, in {ms:.1} ms");
            findings.push(Finding::fine(Subject::Pin, text));
            findings.push(Finding::fine(Subject::Cluster, format!("{peer}: it has the same cluster")));
            findings.push(version(peer, &seen));
            findings.extend(plans(prepared, peer, &seen));
            findings.push(bandwidth(peer, &seen));
            clocks.push((peer.clone(), seen.clock));
        }
        Err(error) => findings.push(refused(peer, &error)),
    }
    findings
}

/// Programs of one wire format work together; one day one of them is too old.
fn version(peer: &Peer, seen: &Seen) -> Finding {
    let (its, theirs) = (&seen.program, Whose::Of(peer.clone()));
    match its.as_str() == PROGRAM {
        true => Finding::fine(Subject::Version, format!("{peer}: it runs amicus {its}")),
        false => Finding::warning(
            Subject::Version,
            theirs,
            format!("{peer}: it runs amicus {its}, this is amicus {PROGRAM}; they understand each other"),
            "agree on one version, and replace the older program",
        ),
    }
}

/// Whether a node serves the same plans.
fn plans(prepared: &Prepared, peer: &Peer, seen: &Seen) -> Vec<Finding> {
    let ours: Vec<PlanDigest> = prepared.plans.iter().map(Agreed::digest).collect();
    let theirs = Whose::Of(peer.clone());
    let lacks = ours.iter().filter(|plan| !seen.plans.contains(plan)).map(|plan| {
        Finding::fault(
            Subject::Plans,
            theirs.clone(),
            format!("{peer}: it does not serve plan {plan}, which you do"),
            "its `plans` lack it, or you serve one that was not agreed on: compare `amicus cluster check`",
        )
    });
    let more = seen.plans.iter().filter(|plan| !ours.contains(plan)).map(|plan| {
        Finding::fault(
            Subject::Plans,
            theirs.clone(),
            format!("{peer}: it serves plan {plan}, which you do not"),
            "agree whether it is served, and have all nodes list the same `plans`",
        )
    });
    let found: Vec<Finding> = lacks.chain(more).collect();
    match found.is_empty() {
        true => vec![Finding::fine(Subject::Plans, format!("{peer}: it serves the same plans"))],
        false => found,
    }
}

/// How fast bytes travel there and back.
fn bandwidth(peer: &Peer, seen: &Seen) -> Finding {
    let (bytes, elapsed) = seen.travelled;
    let rate = bytes as f64 / elapsed.as_secs_f64().max(1e-9);
    let text = format!("{peer}: {:.1} MB/s there, and as many back at a time", rate / 1e6);
    match rate >= SLOWEST as f64 {
        true => Finding::fine(Subject::Bandwidth, text),
        false => Finding::warning(
            Subject::Bandwidth,
            Whose::All,
            text,
            "loads and dealing count on 1 MiB/s: look at both networks, or raise `load` of limits",
        ),
    }
}

/// How far a clock may be off.
const OFF: Duration = Duration::from_secs(60);

/// Whether all clocks show the same time. Whoever is alone with its own has to set it.
pub(super) fn clocks(seen: &[(Peer, ClockSeen)]) -> Vec<Finding> {
    // Seconds ahead of this machine's clock, whose operator is `None`.
    let ahead = |clock: &ClockSeen| clock.by.as_secs_f64() * if clock.ahead { 1.0 } else { -1.0 };
    let others = seen.iter().map(|(peer, clock)| (Some(peer), ahead(clock)));
    let all: Vec<(Option<&Peer>, f64)> = [(None, 0.0)].into_iter().chain(others).collect();
    let off = OFF.as_secs_f64();
    let near = |of: f64| all.iter().filter(|(_, at)| (at - of).abs() <= off).count();
    let right = all.iter().map(|(_, at)| *at).max_by_key(|at| near(*at)).unwrap_or(0.0);
    let agreed = 2 * near(right) > all.len();
    let mut findings = Vec::new();
    for (peer, at) in &all {
        let (who, whose) = match peer {
            None => ("this machine".to_owned(), Whose::Ours),
            Some(peer) => (peer.to_string(), Whose::Of((*peer).clone())),
        };
        let by = (at - right).abs();
        if by > off && agreed {
            let way = if *at > right { "ahead of" } else { "behind" };
            let text = format!("{who}: its clock is {:.0} minutes {way} the others'", by / 60.0);
            findings.push(Finding::fault(Subject::Clock, whose, text, "set it, and keep it by NTP"));
        } else if !agreed && peer.is_some() && at.abs() > off {
            let text = format!("{who}: its clock and yours are {:.0} minutes apart", at.abs() / 60.0);
            findings.push(Finding::fault(
                Subject::Clock,
                Whose::All,
                text,
                "find out which is wrong, and set it",
            ));
        } else if let Some(clock) = seen.iter().find(|(of, _)| Some(of) == *peer).map(|(_, clock)| clock) {
            let (by, within) = (clock.by.as_millis(), clock.within.as_millis());
            let text = format!("{who}: its clock and yours are {by} ms apart, give or take {within}");
            findings.push(Finding::fine(Subject::Clock, text));
        }
    }
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
        NodeError::Net(NetError::NotValidNow { .. }) => Finding::fault(
            Subject::Pin,
            theirs,
            text,
            "it makes a new key, and all take up its fingerprint; or a clock is wrong",
        ),
        NodeError::Protocol(ProtocolError::Peer { fault: Fault::Version(_), .. }) => Finding::fault(
            Subject::Version,
            theirs,
            text,
            "agree on one version, and replace the older program",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    /// Which clocks are found wrong, by these seconds of helper, party 2 and so on ahead of ours.
    fn wrong(ahead: &[i64]) -> Vec<(Whose, String)> {
        let peers = [Peer::Helper, Peer::Owner, Peer::Client("a".into()), Peer::Client("b".into())];
        let seen: Vec<(Peer, ClockSeen)> = peers
            .into_iter()
            .zip(ahead)
            .map(|(peer, ahead_by)| {
                let by = Duration::from_secs(ahead_by.unsigned_abs());
                (peer, ClockSeen { ahead: *ahead_by > 0, by, within: Duration::ZERO })
            })
            .collect();
        let found = clocks(&seen);
        found
            .into_iter()
            .filter(|finding| finding.verdict == Verdict::Fault)
            .map(|finding| (finding.whose.unwrap(), finding.found))
            .collect()
    }

    #[test]
    fn whoever_is_alone_with_its_clock_has_to_set_it() {
        assert!(wrong(&[]).is_empty() && wrong(&[50, -10]).is_empty() && wrong(&[3, 0, -59]).is_empty());
        let minutes = |text: &str| format!("{text}: its clock is 60 minutes");
        for (ahead, whose, words) in [
            (&[3600, 0][..], Whose::Of(Peer::Helper), format!("{} ahead of", minutes("helper"))),
            (&[1, -3600, 2], Whose::Of(Peer::Owner), format!("{} behind", minutes("model owner"))),
            (&[3600, 3601], Whose::Ours, format!("{} behind", minutes("this machine"))),
            (&[-3600, -3600, -3590], Whose::Ours, format!("{} ahead of", minutes("this machine"))),
        ] {
            let found = wrong(ahead);
            assert!(found.len() == 1 && found[0].0 == whose && found[0].1.contains(&words), "{found:?}");
        }
        // Two against two, or one against one: nobody knows.
        for (ahead, faults) in [(&[3600][..], 1), (&[3600, 3600, 0], 2), (&[3600, -3600], 2)] {
            let found = wrong(ahead);
            assert!(
                found.len() == faults && found.iter().all(|(whose, _)| *whose == Whose::All),
                "{found:?}"
            );
        }
    }
}
