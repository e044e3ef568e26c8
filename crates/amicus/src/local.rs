//! All roles in this process: to try a model, and for tests of programs that use this library.
//!
//! Helper and parties are threads that share nothing but links, over TLS on the loopback device or
//! in memory ([`LocalConfig::wiring`]). Owner and clients are those of a deployment: only how they
//! come about differs.

pub use amicus_node::local::{LocalConfig, Wiring};

use crate::roles::Links;
use crate::{Client, Error, Expected, Owner};
use amicus_node::local::LocalCluster;
use amicus_plan::Plan;
use std::sync::Arc;

/// Helper and parties in this process. They stop when it is dropped.
pub struct Cluster {
    plan: Arc<Plan>,
    nodes: Option<LocalCluster>,
}

impl Cluster {
    /// Starts helper and parties.
    ///
    /// # Errors
    /// An invalid plan, folders that cannot be used, a port in use.
    pub fn start(config: LocalConfig) -> Result<Self, Error> {
        let plan = Arc::clone(&config.plan);
        Ok(Cluster { plan, nodes: Some(LocalCluster::start(config)?) })
    }

    /// The model owner.
    ///
    /// # Errors
    /// When it cannot be connected.
    pub fn owner(&mut self) -> Result<Owner, Error> {
        Ok(Owner::of(self.nodes().owner()?, Links::new()))
    }

    /// A client by its name, of which [`LocalConfig::clients`] has a list.
    ///
    /// # Errors
    /// When it cannot be connected, or the parties have no model or another one.
    pub fn client(&mut self, name: &str, expected: Expected) -> Result<Client, Error> {
        let plan = Arc::clone(&self.plan);
        Client::of(self.nodes().client(name)?, plan, Links::new(), expected)
    }

    fn nodes(&mut self) -> &mut LocalCluster {
        self.nodes.as_mut().expect("nodes are there until this is dropped")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(nodes) = self.nodes.take() {
            nodes.stop();
        }
    }
}
