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
    plans: Vec<Arc<Plan>>,
    nodes: Option<LocalCluster>,
}

impl Cluster {
    /// Starts helper and parties.
    ///
    /// # Errors
    /// An invalid plan, folders that cannot be used, a port in use.
    pub fn start(config: LocalConfig) -> Result<Self, Error> {
        let models = [&config.model].into_iter().chain(&config.others);
        let plans = models.map(|model| Arc::clone(&model.plan)).collect();
        Ok(Cluster { plans, nodes: Some(LocalCluster::start(config)?) })
    }

    /// The model owner.
    ///
    /// # Errors
    /// When it cannot be connected.
    pub fn owner(&mut self) -> Result<Owner, Error> {
        self.owner_of(0)
    }

    /// The owner of a model by its number: 0 is [`LocalConfig::model`], others follow.
    ///
    /// # Errors
    /// When there is no such model, or it cannot be connected.
    pub fn owner_of(&mut self, model: usize) -> Result<Owner, Error> {
        Ok(Owner::of(self.nodes().owner_of(model)?, Links::new()))
    }

    /// A client by its name, of which [`LocalConfig::clients`] has a list.
    ///
    /// # Errors
    /// When it cannot be connected, or the parties have no model or another one.
    pub fn client(&mut self, name: &str, expected: Expected) -> Result<Client, Error> {
        self.client_of(0, name, expected)
    }

    /// A client of a model by its number: 0 is [`LocalConfig::model`], others follow.
    ///
    /// # Errors
    /// When there is no such model, or it cannot be connected; parties that have no model or another
    /// one.
    pub fn client_of(&mut self, model: usize, name: &str, expected: Expected) -> Result<Client, Error> {
        let node = self.nodes().client_of(model, name)?;
        // The nodes know as many models.
        Client::of(node, Arc::clone(&self.plans[model]), Links::new(), expected)
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
