//! A node at work: what [`Party`](super::Party) and [`Helper`](super::Helper) have in common.

use super::notice::{Notice, Notices};
use super::seat::{Seat, seat_of};
use super::{Links, Role};
use crate::deployment::DeploymentProblem;
use crate::{Deployment, DeploymentError, Error};
use amicus_net::{Identity, Link, Port};
use amicus_node::connect::{Arrival, InboxHandles, Target};
use amicus_node::event::Event;
use amicus_node::store::{ClusterDigest, Place};
use amicus_node::{Level, Peer};
use amicus_protocol::control::Channel;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

/// How long one look for notices lasts.
const LOOK: Duration = Duration::from_secs(3600);

/// What ends a node's threads.
type Stop = Box<dyn FnOnce() + Send>;

/// How long a node that is busy is waited for when somebody asks how it is.
const PATIENCE: Duration = Duration::from_millis(250);

/// Tells at any time how a running node is. It outlives the node; then it tells what was last.
#[derive(Clone, Debug)]
pub struct Watch(InboxHandles);

impl Watch {
    /// How the node is now, or was a moment ago when it is busy: a party that loads a model answers
    /// when that is done.
    pub fn level(&self) -> Level {
        self.0.online.level(PATIENCE)
    }
}

/// Takes users to a running node that did not come over its own port, such as those of its public
/// port.
#[derive(Clone, Debug)]
pub struct Door(InboxHandles);

impl Door {
    /// Lets a user in; `arrived` is called by the node's thread whenever it has said something. A
    /// link of the same user that was there before ends.
    pub fn admit(&self, user: &Peer, arrived: Arc<dyn Fn() + Send + Sync>) -> Port {
        let (port, link) = Link::port(&user.to_string(), arrived);
        self.0.online.deliver(Arrival { peer: user.clone(), link });
        port
    }
}

/// A running node.
pub(super) struct Serving {
    me: Peer,
    cluster: ClusterDigest,
    links: Links,
    inboxes: InboxHandles,
    stop: Option<Stop>,
    notices: Notices,
    pub(super) address: SocketAddr,
}

impl Serving {
    pub(super) fn new(
        seat: &Seat<'_>,
        links: Links,
        inboxes: InboxHandles,
        stop: impl FnOnce() + Send + 'static,
        events: Receiver<Event>,
        address: SocketAddr,
    ) -> Self {
        let Place { cluster, .. } = seat.place(PathBuf::new());
        let (me, notices) = (seat.me.clone(), Notices::new(events));
        Serving { me, cluster, links, inboxes, stop: Some(Box::new(stop)), notices, address }
    }

    pub(super) fn links(&self) -> &Links {
        &self.links
    }

    pub(super) fn watch(&self) -> Watch {
        Watch(self.inboxes.clone())
    }

    pub(super) fn door(&self) -> Door {
        Door(self.inboxes.clone())
    }

    pub(super) fn close(&self) {
        self.inboxes.online.close();
    }

    /// Takes up the identity, pins and addresses of a changed deployment, for links to come.
    pub(super) fn replace(&self, deployment: &Deployment, identity: Arc<Identity>) -> Result<(), Error> {
        let me = seat_of(deployment, &identity, Role::of(&self.me))?;
        let parties = deployment.count()?;
        if me != self.me {
            return Err(Error::OtherSeat { is: self.me.clone(), becomes: me });
        }
        if deployment.cluster_digest(parties) != self.cluster {
            return Err(DeploymentError::of("", "id", DeploymentProblem::OtherCluster).into());
        }
        let everybody = parties.all().map(Peer::Party).chain([Peer::Helper]);
        let channels = [Channel::Online, Channel::Dealing];
        let targets: Vec<Target> = everybody
            .flat_map(|peer| channels.map(|channel| deployment.target(peer.clone(), channel)))
            .collect();
        self.links.replace(&identity, &deployment.pins(&me, parties), &targets);
        Ok(())
    }

    pub(super) fn next_notice(&mut self, patience: Duration) -> Option<Notice> {
        self.notices.next(&self.links, patience)
    }

    pub(super) fn run(mut self, mut tell: impl FnMut(Notice)) -> Error {
        loop {
            match self.next_notice(LOOK) {
                Some(Notice::Event(Event::Fatal { error })) => return self.links.explain(error),
                Some(notice) => tell(notice),
                None => {}
            }
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.links.stop();
        if let Some(stop) = self.stop.take() {
            stop();
        }
    }
}
