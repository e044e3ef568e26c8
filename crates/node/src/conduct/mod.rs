//! How a party can be made to misbehave: attack tests and `demo --cheat` plug in here.
//!
//! A malicious party speaks the real protocol and deviates where it wants. An honest node has no
//! [`Conduct`]. The deviations of `demo --cheat` are in [`cheat`].

pub mod cheat;

pub use cheat::Cheat;

use crate::Peer;
use amicus_plan::Plan;
use amicus_protocol::check::CheckMessage;
use amicus_protocol::epoch::PartyTagging;
use amicus_protocol::online::Opening;
use amicus_protocol::wire::Header;
use std::sync::Arc;

/// What is sent in place of an honest message.
#[derive(Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// A message with a proper header.
    Message(Header, Vec<u8>),
    /// A message to somebody else than was to be sent to.
    MessageTo(Peer, Header, Vec<u8>),
    /// Bytes that are no message.
    Raw(Vec<u8>),
    /// The link is closed.
    Close,
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outgoing::Message(header, body) => write!(f, "Message({header:?}, {} bytes)", body.len()),
            Outgoing::MessageTo(peer, header, body) => {
                write!(f, "MessageTo({peer:?}, {header:?}, {} bytes)", body.len())
            }
            Outgoing::Raw(bytes) => write!(f, "Raw({} bytes)", bytes.len()),
            Outgoing::Close => write!(f, "Close"),
        }
    }
}

/// What a helper does for a test beside its work; nothing as a rule.
#[derive(Clone, Default)]
pub struct OfHelper {
    /// It stops after it recorded its first decision.
    pub stop_after_decision: bool,
    /// What the thread does first that computes with a whole model.
    pub aside: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl std::fmt::Debug for OfHelper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OfHelper")
            .field("stop_after_decision", &self.stop_after_decision)
            .field("aside", &self.aside.is_some())
            .finish()
    }
}

/// A party's deviations. Every method may change what an honest party would do.
pub trait Conduct: Send {
    /// Before this party's part of the tags is sent.
    fn tagging(&mut self, _plan: &Plan, _tagging: &mut PartyTagging) {}

    /// Before this party's shares of a round are sent.
    fn opening(&mut self, _plan: &Plan, _opening: &mut Opening) {}

    /// Before the message to the helper is sent.
    fn check(&mut self, _message: &mut CheckMessage) {}

    /// For work on a whole model, which is done on a thread of its own: what this thread does first.
    fn aside(&mut self) -> Option<Box<dyn FnOnce() + Send>> {
        None
    }

    /// For every message: what is sent instead.
    fn send(&mut self, _to: &Peer, header: Header, body: &[u8]) -> Vec<Outgoing> {
        vec![Outgoing::Message(header, body.to_vec())]
    }
}
