//! A user's tokens: one for every node, in a file for its owner alone.

use crate::deployment::text;
use crate::error::{Error, FileProblem};
use crate::{Deployment, DeploymentError};
use amicus_node::Peer;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use zeroize::Zeroizing;

/// Permissions of others than the file's owner.
const OTHERS: u32 = 0o077;

/// Tokens of a user, by node. `Debug` shows none of them.
#[derive(Clone, Default)]
pub struct Tokens(BTreeMap<Peer, Zeroizing<String>>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// The file: a line for every node, as `amicus token new` prints it.
#[derive(Deserialize)]
#[serde(transparent)]
struct Lines(BTreeMap<String, String>);

impl Tokens {
    /// Reads a file with a line `NODE = "TOKEN"` for every node of a deployment: `helper`,
    /// `party-1`, and so on.
    ///
    /// # Errors
    /// A file that cannot be read, that others can, or that lacks a node.
    pub fn read(path: &Path, deployment: &Deployment) -> Result<Self, Error> {
        let system = |error| Error::file(path, FileProblem::System(error));
        let mode = std::fs::metadata(path).map_err(system)?.mode() & 0o777;
        if mode & OTHERS != 0 {
            return Err(Error::file(path, FileProblem::TokensOpenToOthers { mode }));
        }
        let Lines(lines) = text::read(path, |_| Ok::<(), DeploymentError>(()))?;
        let mut lines: BTreeMap<String, Zeroizing<String>> =
            lines.into_iter().map(|(name, token)| (name, Zeroizing::new(token))).collect();
        let mut tokens = Tokens::default();
        for node in nodes(deployment)? {
            let name = name_of(&node);
            let token = lines.remove(&name);
            let token =
                token.ok_or_else(|| Error::file(path, FileProblem::NoToken { node: node.clone() }))?;
            tokens.insert(node, token);
        }
        Ok(tokens)
    }

    /// Adds the token of a node.
    pub fn insert(&mut self, node: Peer, token: Zeroizing<String>) {
        self.0.insert(node, token);
    }

    /// The token of a node.
    pub(super) fn of(&self, node: &Peer) -> Option<&str> {
        self.0.get(node).map(|token| token.as_str())
    }
}

/// The nodes of a deployment: the helper, then the parties.
///
/// # Errors
/// A deployment with too few parties, or too many.
pub fn nodes(deployment: &Deployment) -> Result<Vec<Peer>, DeploymentError> {
    let parties = deployment.count()?;
    Ok([Peer::Helper].into_iter().chain(parties.all().map(Peer::Party)).collect())
}

/// The name of a node in files.
pub fn name_of(node: &Peer) -> String {
    node.to_string().replace(' ', "-")
}
