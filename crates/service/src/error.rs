//! Why a node does not start, or cannot go on.

use crate::config::Bytes;
use crate::token::TokenError;
use amicus::Error;
use amicus::plan::printable::visible;
use amicus::plan::{PlanDigest, Printable};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a node does not start: what, where, and what its operator can do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A file, the identity or the deployment is not what the node needs, or it cannot listen.
    #[error(transparent)]
    Node(#[from] Error),
    /// A plan that is none of the cluster's.
    #[error(
        "{}: the plan {digest} is none of the models of {}; take it out of `plans`, or have all operators list it",
        visible(&file.display().to_string()), visible(&cluster.display().to_string())
    )]
    UnlistedPlan {
        /// The plan's file.
        file: PathBuf,
        /// Its digest.
        digest: PlanDigest,
        /// The cluster's file.
        cluster: PathBuf,
    },
    /// A model of the cluster's whose plan the node has not.
    #[error(
        "{}: model {model} has the plan {digest}, which is none of this node's `plans`; get it from the model's owner",
        visible(&cluster.display().to_string())
    )]
    LacksPlan {
        /// The cluster's file.
        cluster: PathBuf,
        /// The model.
        model: Printable,
        /// The plan's digest.
        digest: PlanDigest,
    },
    /// Two files with one plan.
    #[error("{}: it is the same plan as {}; list it once", visible(&file.display().to_string()), visible(&other.display().to_string()))]
    SamePlan {
        /// The second file.
        file: PathBuf,
        /// The first file.
        other: PathBuf,
    },
    /// The cluster asks more bytes than the node's machine gives.
    #[error(
        "`{key}` of limits is {given}, and the cluster's models and limits ask for {asked}; raise it, or have all \
         operators agree on a smaller {less}"
    )]
    Bytes {
        /// The key.
        key: &'static str,
        /// What the machine gives.
        given: Bytes,
        /// What the cluster asks.
        asked: Bytes,
        /// What can be made smaller.
        less: &'static str,
    },
    /// Nothing can be answered at the monitor's address.
    #[error("`monitor`, {address}: {error}; choose another address, or end the program that has it")]
    Monitor {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// Nothing can be answered at the public port's address.
    #[error(
        "`listen` of public, {}: {error}; choose another address, or end the program that has it",
        visible(address)
    )]
    Public {
        /// The address.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// The public port's certificate.
    #[error("{}: {reason}; give the chain and its key in PEM, or none for the node's own", visible(&path.display().to_string()))]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Tokens of the public port.
    #[error(transparent)]
    Tokens(#[from] TokenError),
    /// Signals or threads are refused.
    #[error("the system refuses {what}: {error}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What it says.
        error: io::Error,
    },
}

impl StartError {
    /// Whether files of the node, its key or its plans are at fault, which starting again does not
    /// change; else the machine is, or the network.
    pub fn is_configuration(&self) -> bool {
        match self {
            StartError::Node(error) => {
                matches!(
                    error,
                    Error::File { .. } | Error::Deployment(_) | Error::Identity { .. } | Error::Plan(_)
                )
            }
            StartError::Monitor { .. } | StartError::Public { .. } | StartError::System { .. } => false,
            StartError::UnlistedPlan { .. }
            | StartError::LacksPlan { .. }
            | StartError::SamePlan { .. }
            | StartError::Certificate { .. }
            | StartError::Tokens(_)
            | StartError::Bytes { .. } => true,
        }
    }
}
