//! Who is who: roles by the names their certificates are pinned under.

use amicus_protocol::{Parties, PartyId};
use std::fmt;

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
    /// Reads a name as [`fmt::Display`] writes it; none when it is no role of a run with these parties.
    pub fn parse(name: &str, parties: Parties) -> Option<Self> {
        match name {
            "helper" => Some(Peer::Helper),
            "model owner" => Some(Peer::Owner),
            _ => {
                if let Some(number) = name.strip_prefix("party ") {
                    return number.parse().ok().and_then(|n| parties.party(n)).map(Peer::Party);
                }
                name.strip_prefix("client ").filter(|n| !n.is_empty()).map(|n| Peer::Client(n.to_owned()))
            }
        }
    }
}
