//! One-time material at the helper: what is ready, what was ordered for requests, and how much of
//! it nobody has claimed.
//!
//! A client that asks and leaves has material dealt that nobody wants. The next request of that
//! size gets it; what is left beyond a bound is burned, here and at the parties.

use amicus_protocol::Scope;
use amicus_protocol::preprocess::Dealt;

/// Material that waits for a request.
#[derive(Debug)]
struct Ready {
    dealt: Dealt,
    /// It was ordered for a request, not dealt ahead.
    ordered: bool,
}

/// The helper's material.
#[derive(Debug)]
pub(super) struct Supply {
    /// Oldest first.
    ready: Vec<Ready>,
    /// Batch sizes that the dealing thread was asked for and has not dealt yet.
    ordered: Vec<u32>,
    /// Inputs for which ordered material may wait or be on its way.
    most: usize,
}

/// Material that a request gets.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) dealt: Dealt,
    /// Its batch size, when it was dealt ahead.
    pub(super) dealt_ahead: Option<u32>,
}

/// What is to be done about an order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// How often the dealing thread is to be asked: not for material that is on its way, nor while
    /// there is no room for it.
    pub(super) send: usize,
    /// Material to burn: it had to make room.
    pub(super) burned: Vec<Scope>,
}

impl Supply {
    /// No material, and room for ordered material of so many inputs.
    pub(super) fn new(most: usize) -> Self {
        Supply { ready: Vec::new(), ordered: Vec::new(), most }
    }

    /// Forgets everything: another model is loaded, or the session ended.
    pub(super) fn clear(&mut self) {
        *self = Supply::new(self.most);
    }

    /// Inferences for which material is ready, and their inputs.
    pub(super) fn ready(&self) -> (usize, usize) {
        (self.ready.len(), self.ready.iter().map(|r| r.dealt.batch()).sum())
    }

    /// Takes what was dealt.
    pub(super) fn add(&mut self, dealt: Dealt, ordered: bool) {
        self.ready.push(Ready { dealt, ordered });
    }

    /// An order that ended, well or not.
    pub(super) fn arrived(&mut self, batch: u32) {
        if let Some(at) = self.ordered.iter().position(|&b| b == batch) {
            self.ordered.swap_remove(at);
        }
    }

    /// Material of a batch size, for a request: the oldest.
    pub(super) fn claim(&mut self, batch: u32) -> Option<Claimed> {
        let at = self.ready.iter().position(|r| r.dealt.batch() == batch as usize)?;
        let Ready { dealt, ordered } = self.ready.remove(at);
        Some(Claimed { dealt, dealt_ahead: (!ordered).then_some(batch) })
    }

    /// Orders material of a batch size, for so many requests that find none.
    pub(super) fn order(&mut self, batch: u32, requests: usize) -> Order {
        let mut order = Order { send: 0, burned: Vec::new() };
        while self.ordered.iter().filter(|&&b| b == batch).count() < requests {
            while self.unclaimed() + batch as usize > self.most {
                let Some(at) = self.ready.iter().position(|r| r.ordered) else { break };
                order.burned.push(self.ready.remove(at).dealt.scope());
            }
            // With nothing on its way, even one that is larger than the bound is dealt.
            if !self.ordered.is_empty() && self.unclaimed() + batch as usize > self.most {
                break;
            }
            self.ordered.push(batch);
            order.send += 1;
        }
        order
    }

    /// Inputs of ordered material that no request has.
    fn unclaimed(&self) -> usize {
        let ready = self.ready.iter().filter(|r| r.ordered).map(|r| r.dealt.batch());
        ready.chain(self.ordered.iter().map(|&batch| batch as usize)).sum()
    }
}
