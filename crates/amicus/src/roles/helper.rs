//! The helper on a machine of its own.

use super::notice::Notice;
use super::seat::{Seat, digests};
use super::serving::{Door, Serving, Watch};
use super::{Links, Role};
use crate::{Deployment, Error};
use amicus_net::Identity;
use amicus_node::event::Reporter;
use amicus_node::helper::{HelperConfig, HelperNode};
use amicus_plan::Plan;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A running helper. It stops when it is dropped.
pub struct Helper(Serving);

impl Helper {
    /// Starts the helper of a deployment. It takes loads of these plans, which are the same at every
    /// node. What must survive it is kept in a folder of its own, which is made where there is none.
    ///
    /// # Errors
    /// A deployment that is none, an identity that is not the helper's, an invalid plan, a folder
    /// that cannot be used, an address that cannot be listened at.
    pub fn start(
        deployment: &Deployment,
        identity: impl Into<Arc<Identity>>,
        plans: impl IntoIterator<Item = impl Into<Arc<Plan>>>,
        folder: impl Into<PathBuf>,
    ) -> Result<Self, Error> {
        let seat = Seat::find(deployment, identity.into(), Role::Helper)?;
        let (reporter, events) = Reporter::channel();
        let place = seat.place(folder.into());
        let mut models: Vec<_> = plans.into_iter().map(|plan| seat.served(plan.into())).collect();
        if let Some(own) = seat.own_inferences() {
            models.iter_mut().for_each(|model| model.lanes = model.lanes.min(own));
        }
        let digests = digests(&models)?;
        let mut config = HelperConfig::new(models, seat.parties, place, reporter);
        config.limits = seat.limits;
        config.threads = seat.own_threads();
        let node = HelperNode::start(config)?;
        let inboxes = node.inboxes().clone();
        let links = Links::new();
        let address = seat.listen(&links, digests, &inboxes)?;
        Ok(Helper(Serving::new(&seat, links, inboxes, move || node.stop(), events, address)))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// How to look at it while it works, from any thread.
    pub fn watch(&self) -> Watch {
        self.0.watch()
    }

    /// How users come in who do not use its port.
    pub fn door(&self) -> Door {
        self.0.door()
    }

    /// Begins no more inferences; those in flight go on. Who asks is told so.
    pub fn close(&self) {
        self.0.close();
    }

    /// Takes up a changed deployment, and perhaps another identity of its own, while it works:
    /// certificates and addresses, for links to come. Those that are there stay, and whatever else
    /// changed counts from the next start. While a node changes its key, all others know its old
    /// and its new certificate, whichever it shows.
    ///
    /// # Errors
    /// A deployment that is none or of another cluster, an identity of another role or node.
    pub fn replace(&self, deployment: &Deployment, identity: impl Into<Arc<Identity>>) -> Result<(), Error> {
        self.0.replace(deployment, identity.into())
    }

    /// The next notice, if there is one in time.
    pub fn next_notice(&mut self, patience: Duration) -> Option<Notice> {
        self.0.next_notice(patience)
    }

    /// Works until it cannot go on, and returns why.
    pub fn run(self, tell: impl FnMut(Notice)) -> Error {
        self.0.run(tell)
    }
}
