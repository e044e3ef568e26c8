//! What is wrong with a deployment, and where.

use amicus_node::Peer;
use amicus_plan::Printable;
use amicus_plan::printable::visible;
use std::fmt;
use std::path::PathBuf;

/// Why a deployment cannot be: file and line where it was read from one, the key, and what is wrong
/// with it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeploymentError {
    /// The file, if it was read from one.
    pub file: Option<PathBuf>,
    /// The line, counted from 1, if it is known.
    pub line: Option<usize>,
    /// The key, if one is at fault.
    pub key: Option<Key>,
    /// What is wrong.
    pub problem: DeploymentProblem,
}

/// A key of a deployment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The table that it stands in, such as "party 2"; empty outside of all tables.
    pub table: Printable,
    /// Its name; empty when the table itself is meant.
    pub name: Printable,
}

/// What is wrong with a deployment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeploymentProblem {
    /// It does not parse, lacks a key or has an unknown one.
    #[error("{0}")]
    Text(Printable),
    /// It is too long.
    #[error("has more than {most} bytes, which is too long for a configuration")]
    TooLong {
        /// Most bytes that are read.
        most: u64,
    },
    /// There is none.
    #[error("there is no such file")]
    Missing,
    /// The system refuses to read it.
    #[error("{0}")]
    System(Printable),
    /// A name that is none.
    #[error("a name has 1 to 64 bytes, all printable")]
    Name,
    /// A name that those have who come over HTTPS.
    #[error("names that begin with \"https \" are those of clients with tokens; choose another")]
    GuestName,
    /// Too few or too many parties.
    #[error("{0} parties; list 2 to 8 of them, each under [[party]]")]
    Parties(usize),
    /// An address that is none.
    #[error("an address is HOST:PORT, with an IPv6 address in brackets")]
    Address,
    /// An address whose host is not found.
    #[error("the host is not found ({reason}); correct it, or the resolver of this machine")]
    Unresolved {
        /// What the system says.
        reason: Printable,
    },
    /// A plan of two models.
    #[error("it is that of model {0} too; a plan has one name")]
    SamePlan(Printable),
    /// Two certificates of a node in a deployment without an id.
    #[error(
        "a node has two certificates while it changes its key, for which the cluster needs an `id`; \
         without one its folders are bound to the certificates"
    )]
    NoId,
    /// Another cluster's file where a running node looks for changes of its own.
    #[error(
        "this is another cluster than the one that the node runs in: name, id and number of parties stay"
    )]
    OtherCluster,
    /// A certificate or an address of two roles.
    #[error("it is that of {0} too; give every role its own")]
    Shared(Peer),
    /// A limit that is too small or too large.
    #[error("{found} cannot be, 1 to {most} can")]
    Range {
        /// What the file says.
        found: u32,
        /// The largest value.
        most: u32,
    },
}

impl DeploymentError {
    /// A problem of one key.
    pub fn of(table: &str, name: &str, problem: DeploymentProblem) -> Self {
        let key = Some(Key { table: table.into(), name: name.into() });
        DeploymentError { file: None, line: None, key, problem }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.table.as_str(), self.name.as_str()) {
            ("", name) => write!(f, "`{name}`"),
            (table, "") => write!(f, "{table}"),
            (table, name) => write!(f, "`{name}` of {table}"),
        }
    }
}

impl fmt::Display for DeploymentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file =
            self.file.as_ref().map_or("deployment".into(), |file| visible(&file.display().to_string()));
        write!(f, "{file}")?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ", {key}")?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for DeploymentError {}
