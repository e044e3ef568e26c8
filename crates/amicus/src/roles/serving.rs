//! A node at work: what [`Party`](super::Party) and [`Helper`](super::Helper) have in common.

use super::Links;
use super::notice::{Notice, Notices};
use crate::Error;
use amicus_node::event::Event;
use std::net::SocketAddr;
use std::time::Duration;

/// How long one look for notices lasts.
const LOOK: Duration = Duration::from_secs(3600);

/// What ends a node's threads.
type Stop = Box<dyn FnOnce() + Send>;

/// A running node.
pub(super) struct Serving {
    links: Links,
    stop: Option<Stop>,
    notices: Notices,
    pub(super) address: SocketAddr,
}

impl Serving {
    pub(super) fn new(
        links: Links,
        stop: impl FnOnce() + Send + 'static,
        notices: Notices,
        address: SocketAddr,
    ) -> Self {
        Serving { links, stop: Some(Box::new(stop)), notices, address }
    }

    pub(super) fn links(&self) -> &Links {
        &self.links
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
