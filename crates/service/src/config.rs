//! `node.toml`: what one operator says of one node, for its own machine alone.
//!
//! ```toml
//! cluster = "cluster.toml"      # what all operators share
//! key = "party-1.pem"           # made here with `amicus keygen`, and never copied
//! folder = "state"              # what must survive the node; never copied either
//! plans = ["lenet.plan"]        # models that this node agrees to serve
//! listen = "0.0.0.0:7001"       # if not at its address in the cluster's file
//! monitor = "127.0.0.1:9101"    # health and metrics, for this operator alone
//! shutdown = 20                 # seconds that inferences in flight get to end
//! threads = 1                   # for the arithmetic of its online thread, and as many for dealing
//!
//! [public]                      # HTTPS for clients and owners with tokens, if they are to come
//! listen = "0.0.0.0:7443"
//! certificate = "chain.pem"     # what it shows, if not the node's own certificate
//! key = "chain.key.pem"
//! origins = ["https://app.example"] # of pages that may ask
//!
//! [public.limits]               # each may be left out
//! connections = 256             # at a time; a quarter of them of one address
//! requests = 256
//! inferences = 64
//! body = "64 MiB"               # the longest; else as long as the models need
//! seconds = 30                  # until a request must be there
//!
//! [log]
//! format = "json"               # or "text"
//! level = "info"                # error, warn, info, debug
//!
//! [limits]                      # what this machine gives; each may be left out
//! connections = 64              # of those who have not proved who they are yet
//! inferences = 16               # in flight at a time
//! message = "64 MiB"            # the longest message
//! memory = "4 GiB"              # one-time material of a party
//! disk = "1 GiB"                # `amicus doctor` wants as much free
//! ```
//!
//! Paths are relative to the file's folder.

use crate::public::PublicConfig;
use amicus::Error;
use amicus::deployment::{DeploymentError, DeploymentProblem, text};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Longest time that a node may take to end, in seconds.
const MAX_SHUTDOWN: u32 = 3600;

/// Most threads for the arithmetic of one thread.
const MAX_THREADS: u32 = amicus::node::MAX_THREADS as u32;

/// What one operator says of one node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The cluster's file.
    pub cluster: PathBuf,
    /// The node's key and certificate.
    pub key: PathBuf,
    /// The node's folder.
    pub folder: PathBuf,
    /// Plans of the models that it agrees to serve.
    pub plans: Vec<PathBuf>,
    /// Where it listens, if not at its address in the cluster's file: `HOST:PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Where it answers its operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<SocketAddr>,
    /// Its port for clients and owners with tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<PublicConfig>,
    /// Seconds that inferences in flight get to end.
    #[serde(default = "shutdown")]
    pub shutdown: u32,
    /// Threads for the arithmetic of its online thread, and as many for that of its dealing thread.
    #[serde(default = "threads", skip_serializing_if = "is_one")]
    pub threads: u32,
    /// How it logs.
    #[serde(default)]
    pub log: LogConfig,
    /// What its machine gives.
    #[serde(default)]
    pub limits: NodeLimits,
}

fn shutdown() -> u32 {
    20
}

fn threads() -> u32 {
    1
}

fn is_one(threads: &u32) -> bool {
    *threads == 1
}

/// How a node logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Lines of text, or of JSON.
    pub format: LogFormat,
    /// What is logged.
    pub level: LogLevel,
}

/// How a line of a log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged, and everything that matters more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What keeps the node from working, and failed checks.
    Error,
    /// What failed.
    Warn,
    /// Sessions and models.
    #[default]
    Info,
    /// Every inference.
    Debug,
}

/// What a node's machine gives. A cluster that asks for longer messages or more memory keeps the node
/// from starting; inferences beyond wait for their turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeLimits {
    /// Connections of those who have not proved who they are yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Inferences in flight at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inferences: Option<u32>,
    /// The longest message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Bytes>,
    /// One-time material of a party.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// What is to be free on the folder's disk, for `amicus doctor`; 256 MiB when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Bytes>,
}

impl NodeConfig {
    /// Reads a node's file. Its paths are made relative to the present folder.
    ///
    /// # Errors
    /// A file that cannot be read or is no `node.toml`: with file, line and key.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let mut config: NodeConfig = text::read(path, NodeConfig::check)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let paths = [&mut config.cluster, &mut config.key, &mut config.folder];
        for path in paths.into_iter().chain(&mut config.plans) {
            *path = folder.join(&*path);
        }
        if let Some(public) = &mut config.public {
            public.within(folder);
        }
        Ok(config)
    }

    /// The file's text.
    ///
    /// # Errors
    /// A configuration that is none.
    pub fn to_toml(&self) -> Result<String, DeploymentError> {
        self.check()?;
        toml::to_string(self).map_err(|error| {
            DeploymentError::of("", "", DeploymentProblem::Text(error.to_string().as_str().into()))
        })
    }

    /// Checks what every node relies on.
    fn check(&self) -> Result<(), DeploymentError> {
        let wrong = |table: &str, name: &str, problem| Err(DeploymentError::of(table, name, problem));
        let range = |found, most| DeploymentProblem::Range { found, most };
        if self.shutdown == 0 || self.shutdown > MAX_SHUTDOWN {
            return wrong("", "shutdown", range(self.shutdown, MAX_SHUTDOWN));
        }
        if self.threads == 0 || self.threads > MAX_THREADS {
            return wrong("", "threads", range(self.threads, MAX_THREADS));
        }
        if self.plans.is_empty() {
            let none = "there are none; a node serves at least one".into();
            return wrong("", "plans", DeploymentProblem::Text(none));
        }
        if self.listen.as_ref().is_some_and(|address| !amicus::deployment::is_address(address)) {
            return wrong("", "listen", DeploymentProblem::Address);
        }
        for (name, found) in
            [("connections", self.limits.connections), ("inferences", self.limits.inferences)]
        {
            if found == Some(0) {
                return wrong("limits", name, range(0, u32::MAX));
            }
        }
        self.public.as_ref().map_or(Ok(()), PublicConfig::check)
    }
}

impl FromStr for NodeConfig {
    type Err = DeploymentError;

    fn from_str(text: &str) -> Result<Self, DeploymentError> {
        text::parse(text, NodeConfig::check)
    }
}

/// A number of bytes: a number, or a text such as "512 MiB".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// Units of bytes, the largest first.
const UNITS: [(&str, u32); 4] = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.into_iter().find(|(_, bits)| self.0 >> bits > 0).unwrap_or(("B", 0));
        let whole = self.0 >> unit.1;
        // Rounded up: what a limit must be at least.
        let exact = whole << unit.1 == self.0;
        write!(f, "{} {}", whole + u64::from(!exact), unit.0)
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = text[digits.len()..].trim();
        let bits = UNITS.into_iter().find(|(name, _)| *name == unit).map(|(_, bits)| bits);
        let bits = bits.or_else(|| unit.is_empty().then_some(0));
        let number = digits.parse::<u64>().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
        let bytes = number.zip(bits).and_then(|(n, bits)| n.checked_mul(1 << bits)).filter(|n| *n > 0);
        bytes.map(Bytes).ok_or_else(|| {
            let shown = amicus::plan::Printable::new(text);
            format!("{:?} is no number of bytes; write \"64 MiB\", with B, KiB, MiB or GiB", shown.as_str())
        })
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{} B", self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "cluster = \"c\"\nkey = \"k\"\nfolder = \"f\"\nplans = [\"p\"]\n";

    #[test]
    fn a_small_file_is_enough_and_paths_are_relative_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.toml");
        std::fs::write(&path, SMALL.replace("\"f\"", "\"/state\"")).unwrap();
        let config = NodeConfig::read(&path).unwrap();
        assert_eq!((&config.key, &config.plans[0]), (&folder.path().join("k"), &folder.path().join("p")));
        assert_eq!(config.folder, Path::new("/state"));
        assert_eq!(
            (config.shutdown, config.threads, config.log, config.limits),
            (20, 1, LogConfig::default(), NodeLimits::default())
        );
    }

    #[test]
    fn a_mistake_is_named_with_line_key_and_what_may_be_meant() {
        for (text, line, words) in [
            (format!("{SMALL}monitr = \"127.0.0.1:1\"\n"), 5, "`monitr`: unknown field `monitr`"),
            (format!("{SMALL}monitr = \"127.0.0.1:1\"\n"), 5, "did you mean `monitor`?"),
            (format!("{SMALL}[log]\nformat = \"xml\"\n"), 6, "`format` of log: unknown variant `xml`"),
            (format!("{SMALL}[limit]\n"), 5, "did you mean `limits`?"),
            (format!("{SMALL}[limits]\nmemory = \"4 GB\"\n"), 6, "\"4 GB\" is no number of bytes"),
            (format!("{SMALL}[limits]\ninferences = 0\n"), 6, "`inferences` of limits: 0 cannot be"),
            (format!("{SMALL}shutdown = 3601\n"), 5, "`shutdown`: 3601 cannot be, 1 to 3600 can"),
            (format!("{SMALL}threads = 0\n"), 5, "`threads`: 0 cannot be, 1 to 256 can"),
            (format!("{SMALL}threads = 257\n"), 5, "`threads`: 257 cannot be, 1 to 256 can"),
            (format!("{SMALL}listen = \"here\"\n"), 5, "`listen`: an address is HOST:PORT"),
            (format!("{SMALL}monitor = \"localhost:1\"\n"), 5, "`monitor`: "),
            (
                format!("{SMALL}[public]\nlisten = \"here\"\n"),
                6,
                "`listen` of public: an address is HOST:PORT",
            ),
            (
                format!("{SMALL}[public]\nlisten = \"[::]:1\"\nkey = \"k\"\n"),
                7,
                "`key` of public: `certificate` and `key` are given together",
            ),
            (
                format!("{SMALL}[public]\nlisten = \"[::]:1\"\norigins = [\"*\"]\n"),
                7,
                "`origins` of public: an origin is exact",
            ),
            (
                format!("{SMALL}[public]\nlisten = \"[::]:1\"\n[public.limits]\nrequests = 0\n"),
                8,
                "`requests` of public limits: 0 cannot be",
            ),
            (SMALL.replace("[\"p\"]", "[]"), 4, "`plans`: there are none"),
            (SMALL.replace("key", "keys"), 2, "did you mean `key`?"),
        ] {
            let error = text.parse::<NodeConfig>().unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.line, Some(line), "{error}");
        }
    }

    #[test]
    fn numbers_of_bytes_have_units() {
        for (text, bytes, shown) in [
            ("1", 1, "1 B"),
            ("7 B", 7, "7 B"),
            ("64MiB", 64 << 20, "64 MiB"),
            ("3 GiB", 3 << 30, "3 GiB"),
            ("1025 B", 1025, "2 KiB"),
            ("18446744073709551615", u64::MAX, "17179869184 GiB"),
        ] {
            let parsed: Bytes = text.parse().unwrap();
            assert_eq!((parsed.0, parsed.to_string().as_str()), (bytes, shown));
        }
        for wrong in ["", "0", "-1", "1 MB", "MiB", "1 2 KiB", "17179869184 GiB", "1.5 GiB", "+1 B"] {
            assert!(wrong.parse::<Bytes>().is_err(), "{wrong}");
        }
    }
}
