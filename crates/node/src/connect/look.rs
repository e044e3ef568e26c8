//! One look at another node: whether both accept each other, its version, its clock, its plans, and
//! how fast bytes travel. No thread of the node gets such a link, so that a node that runs is not
//! disturbed, nor one that is looked at.

use super::{Target, Terms};
use crate::{NodeError, Peer};
use amicus_net::{Identity, Link, NetError, clock};
use amicus_plan::PlanDigest;
use amicus_protocol::control::{self, About, Channel};
use amicus_protocol::wire::{HEADER_BYTES, Header, Kind};
use amicus_protocol::{Fault, Printable, ProtocolError, Scope, Step};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Bytes of one message that travels there and back.
pub(super) const ECHO: usize = 64 << 10;
/// Such messages in one look.
const ECHOES: usize = 16;
/// Bytes that are sent back to whoever looks, at most.
pub(super) const LOOKED: usize = 2 * ECHOES * ECHO;

/// What a look at a node shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Until both sides accepted each other.
    pub accepted: Duration,
    /// The version of its program.
    pub program: Printable,
    /// Its clock.
    pub clock: ClockSeen,
    /// The plans that it serves.
    pub plans: Vec<PlanDigest>,
    /// Bytes that travelled there and back, and how long all of them took.
    pub travelled: (usize, Duration),
}

/// Another node's clock beside this machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockSeen {
    /// Whether it is ahead of this one; else it is behind.
    pub ahead: bool,
    /// By how much.
    pub by: Duration,
    /// How exactly that is known: half the time that the question took.
    pub within: Duration,
}

impl ClockSeen {
    /// A clock that showed `theirs` at a moment between two of this machine's.
    fn between(sent: Duration, theirs: Duration, received: Duration) -> Self {
        let within = received.saturating_sub(sent) / 2;
        let ours = sent + within;
        ClockSeen { ahead: theirs > ours, by: theirs.abs_diff(ours), within }
    }
}

/// Milliseconds since 1970 by this machine's clock.
pub(super) fn now() -> Duration {
    let since = clock::of_day().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Duration::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// What this node says of itself.
pub(super) fn about(plans: &[PlanDigest]) -> Result<Vec<u8>, ProtocolError> {
    let time = u64::try_from(now().as_millis()).unwrap_or(u64::MAX);
    let body = control::encode(&About { time, plans: plans.to_vec() })?;
    Ok([&Header::new(Kind::About, Scope::NONE, 0).encode()[..], &body].concat())
}

/// Looks at a node, as one of its cluster.
///
/// # Errors
/// What the network or the greeting says; words that no node of this version says.
pub fn look(
    target: &Target,
    identity: &Identity,
    terms: Terms,
    deadline: Instant,
) -> Result<Seen, NodeError> {
    let (started, name) = (Instant::now(), target.peer.to_string());
    let expected = (name.as_str(), &target.fingerprints[..]);
    let mut link = amicus_net::dial_while(&target.address, identity, expected, deadline, || false)?;
    let accepted = started.elapsed();
    let sent = now();
    let program = terms.greet(&mut link, Channel::Look, deadline)?;
    let About { time, plans } = hear(&mut link, &target.peer, deadline)?;
    let clock = ClockSeen::between(sent, Duration::from_millis(time), now());
    let travelled = travel(&mut link, deadline)?;
    Ok(Seen { accepted, program, clock, plans, travelled })
}

fn hear(link: &mut Link, peer: &Peer, deadline: Instant) -> Result<About, NodeError> {
    let frame = link.recv(deadline)?;
    let read = Header::decode(&frame).and_then(|(header, body)| match header.kind {
        Kind::About => control::decode(body),
        other => Err(Fault::Unexpected(format!("{other:?} before About"))),
    });
    Ok(read.map_err(|fault| ProtocolError::peer(peer, Step::Keys, fault))?)
}

/// Has bytes sent there and back, all at once, as many as come in time.
fn travel(link: &mut Link, deadline: Instant) -> Result<(usize, Duration), NodeError> {
    let header = Header::new(Kind::Echo, Scope::NONE, 0).encode();
    let (body, started) = (vec![0; ECHO - HEADER_BYTES], Instant::now());
    for _ in 0..ECHOES {
        link.send(&[&header, &body])?;
    }
    let (mut bytes, mut elapsed) = (0, Duration::ZERO);
    for _ in 0..ECHOES {
        match link.recv(deadline) {
            Ok(frame) => (bytes, elapsed) = (bytes + frame.len(), started.elapsed()),
            Err(NetError::Timeout { .. }) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok((bytes, elapsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_compared_with_the_middle_of_the_question() {
        let at = Duration::from_millis;
        for (theirs, ahead, by) in [(1050, false, 0), (1060, true, 10), (40, false, 1010)] {
            let seen = ClockSeen::between(at(1000), at(theirs), at(1100));
            assert_eq!(seen, ClockSeen { ahead, by: at(by), within: at(50) });
        }
        // This clock was set back meanwhile.
        assert_eq!(ClockSeen::between(at(1000), at(1000), at(900)).within, Duration::ZERO);
    }
}
