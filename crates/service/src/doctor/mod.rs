//! What is wrong with a node, before and while it runs: each finding says whose it is and what to
//! do about it.
//!
//! Its own files come first, then its machine, then the other nodes. Nodes that run are not
//! disturbed: who looks gets a link that no thread of theirs has.

mod machine;
mod peers;

use crate::config::NodeConfig;
use crate::error::StartError;
use crate::node::{Prepared, ServiceRole};
use amicus::Error;
use amicus::net::clock;
use amicus::node::Peer;
use serde::Serialize;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// Whether something is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is.
    Fine,
    /// It may become a fault.
    Warning,
    /// It keeps the node from working.
    Fault,
}

/// Who can put something right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The operator of this node.
    Ours,
    /// The operator of another one.
    Of(Peer),
    /// All operators together.
    All,
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whose::Ours => write!(f, "yours"),
            Whose::Of(peer) => write!(f, "the operator's of {peer}"),
            Whose::All => write!(f, "all operators'"),
        }
    }
}

impl Serialize for Whose {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// The node's own file, the cluster's, the limits.
    Files,
    /// The key, and the role that it has.
    Key,
    /// The plans.
    Plans,
    /// The folder: permissions, and room on the disk.
    Folder,
    /// Room on the disk.
    Disk,
    /// The clock.
    Clock,
    /// Where the node listens, and where it answers its operator.
    Port,
    /// The address of another node.
    Dns,
    /// The connection to another node.
    Connection,
    /// Its certificate, and whether it knows ours.
    Pin,
    /// Its version.
    Version,
    /// Its cluster's file.
    Cluster,
    /// How fast bytes travel to it and back.
    Bandwidth,
}

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: Subject,
    /// Whether it is as it should be.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// Who can put it right; nobody needs to where it is fine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whose: Option<Whose>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    fn fine(subject: Subject, found: impl Into<String>) -> Self {
        Finding { subject, verdict: Verdict::Fine, found: found.into(), whose: None, advice: None }
    }

    fn fault(subject: Subject, whose: Whose, found: impl Into<String>, advice: &str) -> Self {
        let (found, advice) = (found.into(), Some(advice.to_owned()));
        Finding { subject, verdict: Verdict::Fault, found, whose: Some(whose), advice }
    }

    fn warning(subject: Subject, whose: Whose, found: impl Into<String>, advice: &str) -> Self {
        Finding { verdict: Verdict::Warning, ..Finding::fault(subject, whose, found, advice) }
    }
}

/// Looks at a node. `role` is what is to run, either if none; each other node gets `patience` to
/// answer.
pub fn examine(file: &Path, role: Option<ServiceRole>, patience: Duration) -> Vec<Finding> {
    let config = match NodeConfig::read(file) {
        Ok(config) => config,
        Err(error) => {
            return vec![Finding::fault(Subject::Files, Whose::Ours, error.to_string(), "correct the file")];
        }
    };
    let mut findings = vec![Finding::fine(Subject::Files, format!("{}: is a node's file", file.display()))];
    findings.extend(machine::threads(&config));
    findings.extend(machine::folder(&config));
    findings.extend(machine::clock(&config));
    let prepared = match Prepared::read(&config, role) {
        Ok(prepared) => prepared,
        Err(error) => {
            findings.push(refused(&error));
            return findings;
        }
    };
    let Prepared { digest, me, .. } = &prepared;
    findings.push(Finding::fine(Subject::Cluster, format!("digest {digest}, to be compared by all")));
    let fingerprint = prepared.identity.fingerprint();
    findings.push(Finding::fine(Subject::Key, format!("{fingerprint} is that of {me}")));
    findings.push(machine::certificate(&prepared.identity, clock::of_day()));
    for agreed in &prepared.plans {
        findings.push(Finding::fine(Subject::Plans, format!("{}: {}", agreed.shown(), agreed.digest())));
    }
    let (port, runs) = peers::own_port(&prepared, patience);
    findings.push(port);
    findings.extend(machine::monitor(&config, runs));
    findings.extend(peers::others(&prepared, patience));
    findings
}

/// Why a node's files do not fit.
fn refused(error: &StartError) -> Finding {
    let text = error.to_string();
    let of = |subject, whose, advice| Finding::fault(subject, whose, text.clone(), advice);
    match error {
        StartError::Node(Error::Identity { found: None, .. }) => of(
            Subject::Key,
            Whose::All,
            "tell the others your fingerprint, and take up the cluster's file that has it",
        ),
        StartError::Node(Error::Identity { .. }) => {
            of(Subject::Key, Whose::Ours, "use the key of this node, or start the role that the key has")
        }
        StartError::Node(Error::File { path, .. }) if path.extension().is_some_and(|e| e == "plan") => {
            of(Subject::Plans, Whose::Ours, "put the plan there, as its owner gave it")
        }
        StartError::Node(Error::File { .. }) => of(
            Subject::Key,
            Whose::Ours,
            "make the file readable for the user that runs the node, and nobody else",
        ),
        StartError::UnlistedPlan { .. } | StartError::LacksPlan { .. } | StartError::SamePlan { .. } => {
            of(Subject::Plans, Whose::Ours, "compare the plans' digests with the cluster's file")
        }
        StartError::Bytes { .. } => {
            of(Subject::Files, Whose::Ours, "raise the limit, or agree on less with all operators")
        }
        _ => of(Subject::Files, Whose::Ours, "correct the file"),
    }
}
