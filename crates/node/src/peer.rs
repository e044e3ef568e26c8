//! Who is who: roles by the names their certificates are pinned under.

use amicus_protocol::{Parties, PartyId, Printable};
use std::fmt;

/// Longest name of a client in bytes: names travel in bindings of many receivers and stand in every
/// error.
pub const MAX_NAME: usize = 64;

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
}
