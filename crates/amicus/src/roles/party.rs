//! A compute party on a machine of its own.

use super::notice::Notice;
use super::seat::{Seat, digests};
use super::serving::{Door, Serving, Watch};
use super::{Links, Role};
use crate::{Deployment, Error};
use amicus_net::Identity;
use amicus_node::event::Reporter;
use amicus_node::limits::MAX_LANES;
use amicus_node::party::{PartyConfig, PartyNode};
use amicus_node::{NodeError, Peer};
use amicus_plan::Plan;
use amicus_protocol::control::Channel;
use amicus_protocol::{PartyId, ProtocolError};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A running compute party. It stops when it is dropped.
pub struct Party {
    number: PartyId,
    serving: Serving,
}

impl Party {
    /// Starts the party that the deployment knows by this identity. It takes loads of these plans,
    /// which are the same at every node. What must survive it is kept in a folder of its own, which
    /// is made where there is none.
    ///
    /// # Errors
    /// A deployment that is none, an identity of no party, an invalid plan, a folder that cannot be
    /// used, an address that cannot be listened at.
    pub fn start(
        deployment: &Deployment,
        identity: impl Into<Arc<Identity>>,
        plans: impl IntoIterator<Item = impl Into<Arc<Plan>>>,
        folder: impl Into<PathBuf>,
    ) -> Result<Self, Error> {
        Party::begin(deployment, identity.into(), plans, folder.into(), |_| ())
    }

    /// Starts a party that deviates from the protocol, to show that it is caught.
    ///
    /// # Errors
    /// Those of [`Party::start`].
    #[cfg(feature = "danger")]
    pub fn start_deviating(
        deployment: &Deployment,
        identity: impl Into<Arc<Identity>>,
        plans: impl IntoIterator<Item = impl Into<Arc<Plan>>>,
        folder: impl Into<PathBuf>,
        conduct: Box<dyn amicus_node::conduct::Conduct>,
    ) -> Result<Self, Error> {
        let deviate = |config: &mut PartyConfig| config.conduct = Some(conduct);
        Party::begin(deployment, identity.into(), plans, folder.into(), deviate)
    }

    fn begin(
        deployment: &Deployment,
        identity: Arc<Identity>,
        plans: impl IntoIterator<Item = impl Into<Arc<Plan>>>,
        folder: PathBuf,
        set: impl FnOnce(&mut PartyConfig),
    ) -> Result<Self, Error> {
        let seat = Seat::find(deployment, identity, Role::Party)?;
        let Peer::Party(me) = seat.me else {
            return Err(
                NodeError::from(ProtocolError::Internal("a party's seat is no party's".into())).into()
            );
        };
        let (reporter, events) = Reporter::channel();
        let place = seat.place(folder);
        let models: Vec<_> = plans.into_iter().map(|plan| seat.served(plan.into())).collect();
        let digests = digests(&models)?;
        let mut config = PartyConfig::new(models, seat.parties, me, place, reporter);
        config.limits = seat.limits;
        config.inferences = seat.own_inferences().unwrap_or(MAX_LANES);
        config.threads = seat.own_threads();
        set(&mut config);
        let node = PartyNode::start(config)?;
        let inboxes = node.inboxes().clone();
        let links = Links::new();
        let address = seat.listen(&links, digests, &inboxes)?;
        let serving = Serving::new(&seat, links, inboxes.clone(), move || node.stop(), events, address);
        let helper = [Channel::Online, Channel::Dealing].map(|channel| (Peer::Helper, channel));
        let lower = seat.parties.all().filter(|other| other.number() < me.number());
        let lower = lower.map(|other| (Peer::Party(other), Channel::Online));
        seat.dial(serving.links(), helper.into_iter().chain(lower), &inboxes)?;
        Ok(Party { number: me, serving })
    }

    /// Which party it is.
    pub fn number(&self) -> PartyId {
        self.number
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.serving.address
    }

    /// How to look at it while it works, from any thread.
    pub fn watch(&self) -> Watch {
        self.serving.watch()
    }

    /// How users come in who do not use its port.
    pub fn door(&self) -> Door {
        self.serving.door()
    }

    /// Begins no more inferences; those in flight go on. Who asks is told so.
    pub fn close(&self) {
        self.serving.close();
    }

    /// Takes up a changed deployment, and perhaps another identity of its own, while it works:
    /// certificates and addresses, for links to come. Those that are there stay, and whatever else
    /// changed counts from the next start. While a node changes its key, all others know its old
    /// and its new certificate, whichever it shows.
    ///
    /// # Errors
    /// A deployment that is none or of another cluster, an identity of another role or node.
    pub fn replace(&self, deployment: &Deployment, identity: impl Into<Arc<Identity>>) -> Result<(), Error> {
        self.serving.replace(deployment, identity.into())
    }

    /// The next notice, if there is one in time.
    pub fn next_notice(&mut self, patience: Duration) -> Option<Notice> {
        self.serving.next_notice(patience)
    }

    /// Works until it cannot go on, and returns why.
    pub fn run(self, tell: impl FnMut(Notice)) -> Error {
        self.serving.run(tell)
    }
}
