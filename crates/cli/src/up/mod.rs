//! A whole cluster of real processes on this machine: for trying, for notebooks and for tests.
//!
//! Files are those that operators have (`docs/deploy.md`), all in one folder; processes are this
//! program's `helper` and `party`. They end with this one, however it ends.

mod children;
mod files;
mod web;

pub use children::Child;
pub use files::{Files, Place};
pub use web::{DIST, Model, Serving, Web};

use amicus::deployment::DeploymentError;
use amicus_node::conduct::Cheat;
use amicus_service::ServiceRole;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long nodes get to end before they are killed.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often children are looked at.
const GLANCE: Duration = Duration::from_millis(50);

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpError {
    /// A key or a plan cannot be written.
    #[error(transparent)]
    Amicus(#[from] amicus::Error),
    /// The deployment is none.
    #[error(transparent)]
    Deployment(#[from] DeploymentError),
    /// A token cannot be made.
    #[error(transparent)]
    Tokens(#[from] amicus_service::token::TokenError),
    /// A file or folder.
    #[error("{}: {error}", amicus::plan::printable::visible(&path.display().to_string()))]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file of the page.
    #[error(
        "{}: there is no such file; `web/build.sh` makes it, in the project's folder",
        amicus::plan::printable::visible(&path.display().to_string())
    )]
    NoPage {
        /// Which.
        path: PathBuf,
    },
    /// A process or a port.
    #[error("the system refuses {what}: {error}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What it says.
        error: io::Error,
    },
    /// A node ended.
    #[error("{node} ended ({how}): {last}")]
    Ended {
        /// Which.
        node: String,
        /// Its exit code or signal.
        how: String,
        /// The last line of its log.
        last: String,
    },
}

/// Nodes that run; they end when this is dropped.
pub struct Cluster {
    /// Where everything is.
    pub files: Files,
    /// Helper and parties.
    pub nodes: Vec<Child>,
}

impl Cluster {
    /// Starts the nodes of these files; the last party deviates, if it is told how.
    ///
    /// # Errors
    /// When the system gives no processes.
    pub fn start(files: Files, cheat: Option<Cheat>) -> Result<Self, UpError> {
        let mut cluster = Cluster { files, nodes: Vec::new() };
        for at in 0..cluster.files.nodes.len() {
            let place = &cluster.files.nodes[at];
            let role = if at == 0 { ServiceRole::Helper } else { ServiceRole::Party };
            let last = at + 1 == cluster.files.nodes.len();
            let child = Child::start(role, place, cheat.filter(|_| last))?;
            cluster.nodes.push(child);
        }
        Ok(cluster)
    }

    /// Whether all nodes are still there.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&mut self) -> Result<(), UpError> {
        self.nodes.iter_mut().try_for_each(Child::check)
    }

    /// Ends all nodes at once and waits for them; those that do not end are killed.
    pub fn end(&mut self) {
        self.nodes.iter_mut().for_each(Child::tell_to_end);
        let deadline = Instant::now() + PATIENCE;
        for node in &mut self.nodes {
            while !node.ended() && Instant::now() < deadline {
                std::thread::sleep(GLANCE);
            }
        }
        self.nodes.clear();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end();
    }
}
