//! Who is who, and who is at fault.

use crate::{Parties, PartyId, Printable};
use std::fmt;

/// Longest name of a client in bytes: names travel in bindings of many receivers and stand in every
/// error.
pub const MAX_NAME: usize = 64;

/// What names of guests begin with.
const GUEST: &str = "https ";

/// A node or user, as named in configurations and errors.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// The helper.
    Helper,
    /// A compute party.
    Party(PartyId),
    /// The model owner.
    Owner,
    /// A client or other receiver of outputs.
    Client(String),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Helper => write!(f, "helper"),
            Peer::Party(p) => write!(f, "{p}"),
            Peer::Owner => write!(f, "model owner"),
            Peer::Client(name) => write!(f, "client {name}"),
        }
    }
}

impl Peer {
    /// A client that came over a node's public port, by the number of its place there. It has no
    /// certificate and no name of its own: another node knows it by its keys alone.
    pub fn guest(place: usize) -> Self {
        Peer::Client(format!("{GUEST}{place}"))
    }

    /// Whether this is the name of a guest, which no certificate is pinned under.
    pub fn is_guest(&self) -> bool {
        matches!(self, Peer::Client(name) if name.starts_with(GUEST))
    }

    /// Which of these users this one may be, by number: itself, or for a guest any of the guests.
    pub fn may_be(&self, users: &[Peer]) -> Vec<usize> {
        let is = |user: &Peer| user == self || user.is_guest() && self.is_guest();
        users.iter().enumerate().filter(|(_, user)| is(user)).map(|(at, _)| at).collect()
    }

    /// Reads a name exactly as [`fmt::Display`] writes it; none when it is no role of a run with
    /// these parties, or a client's name that is empty, longer than [`MAX_NAME`] or not printable.
    pub fn parse(name: &str, parties: Parties) -> Option<Self> {
        match name {
            "helper" => Some(Peer::Helper),
            "model owner" => Some(Peer::Owner),
            _ => {
                let party = || parties.all().find(|party| party.to_string() == name);
                let fits = |n: &&str| !n.is_empty() && n.len() <= MAX_NAME && Printable::is(n);
                let client = || name.strip_prefix("client ").filter(fits);
                party().map(Peer::Party).or_else(|| client().map(|n| Peer::Client(n.to_owned())))
            }
        }
    }
}

/// Whoever is at fault, as far as it can be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Culprit {
    /// A node or user.
    Peer(Peer),
    /// One of these, two or more: which one cannot be known.
    OneOf(Vec<Peer>),
    /// The parties that were heard: none of them sent what is right.
    EveryPartyHeard,
    /// Somebody without a role here, by the name that its certificate is pinned under.
    Stranger(Printable),
}

impl Culprit {
    /// Whether it is this peer, and nobody else.
    pub fn is(&self, peer: &Peer) -> bool {
        matches!(self, Culprit::Peer(culprit) if culprit == peer)
    }

    /// The peer with this name, or a stranger.
    pub fn named(name: &str, parties: Parties) -> Self {
        Peer::parse(name, parties).map_or_else(|| Culprit::Stranger(name.into()), Culprit::Peer)
    }
}

impl From<Peer> for Culprit {
    fn from(peer: Peer) -> Self {
        Culprit::Peer(peer)
    }
}

impl From<&Peer> for Culprit {
    fn from(peer: &Peer) -> Self {
        Culprit::Peer(peer.clone())
    }
}

impl From<PartyId> for Culprit {
    fn from(party: PartyId) -> Self {
        Culprit::Peer(Peer::Party(party))
    }
}

impl From<&PartyId> for Culprit {
    fn from(party: &PartyId) -> Self {
        Culprit::from(*party)
    }
}

impl fmt::Display for Culprit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Culprit::Peer(peer) => write!(f, "{peer}"),
            Culprit::OneOf(peers) => {
                for (index, peer) in peers.iter().enumerate() {
                    let before = match index {
                        0 => "",
                        _ if index + 1 == peers.len() => " or ",
                        _ => ", ",
                    };
                    write!(f, "{before}{peer}")?;
                }
                Ok(())
            }
            Culprit::EveryPartyHeard => write!(f, "every party heard"),
            Culprit::Stranger(name) => write!(f, "{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_only_as_it_is_written() {
        let parties = Parties::new(3).unwrap();
        let long = "x".repeat(MAX_NAME);
        for name in
            ["helper", "model owner", "party 1", "party 3", "client 1", "client é", &format!("client {long}")]
        {
            assert_eq!(Peer::parse(name, parties).map(|p| p.to_string()).as_deref(), Some(name));
        }
        let hostile = ["client \x1b[2J", "client a\nb", "client \u{202e}a", "client ", "client"];
        let others = ["party 0", "party 4", "party 01", "party +1", "Helper", "", &format!("client {long}x")];
        for name in hostile.into_iter().chain(others) {
            assert_eq!(Peer::parse(name, parties), None, "{name:?}");
        }
    }

    #[test]
    fn culprits_are_shown_as_users_know_them() {
        let parties = Parties::new(3).unwrap();
        for name in ["helper", "party 2", "client a", "somebody"] {
            assert_eq!(Culprit::named(name, parties).to_string(), name);
        }
        assert_eq!(Culprit::named("somebody", parties), Culprit::Stranger("somebody".into()));
        assert!(Culprit::named("helper", parties).is(&Peer::Helper));
        let some: Vec<Peer> = parties.all().take(2).map(Peer::Party).chain([Peer::Owner]).collect();
        assert!(!Culprit::OneOf(some.clone()).is(&some[0]));
        assert_eq!(Culprit::OneOf(some.clone()).to_string(), "party 1, party 2 or model owner");
        assert_eq!(Culprit::OneOf(some[1..].to_vec()).to_string(), "party 2 or model owner");
    }
}
