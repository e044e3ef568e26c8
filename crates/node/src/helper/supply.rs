//! One-time material at the helper: what is ready, what was ordered for requests, and how much of
//! it nobody has claimed.
//!
//! A client that asks and leaves has material dealt that nobody wants. The next request of that
//! size gets it; what is left beyond a bound is burned, here and at the parties.
//!
//! Of the batch size that is dealt ahead the dealing thread keeps a queue for every model. Sizes beside
//! it that clients asked for more than once have queues here, up to a mark each: half of it while
//! inferences are in flight, which dealing slows down on machines that run parties too. They take
//! half of the room at most. One more is ordered at a time, when no request waits for any, so that
//! nobody waits for what may never be asked for.

use amicus_protocol::preprocess::Dealt;
use amicus_protocol::{EpochId, Scope};

/// Batch sizes beside those that are dealt ahead, of all models, that may have queues: those that
/// were asked for last.
const SIZES: usize = 8;
/// How often a size was asked for that has a queue, at least.
const OFTEN: u32 = 2;
/// Inferences of such a size for which material is kept ready.
const MARK: usize = 4;

/// What material is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lot {
    pub(super) epoch: EpochId,
    pub(super) batch: u32,
    /// Bytes that it takes at a party.
    pub(super) bytes: u64,
}

/// Material that waits for a request.
#[derive(Debug)]
struct Ready {
    dealt: Dealt,
    lot: Lot,
    /// It was ordered for a request, not dealt ahead.
    ordered: bool,
}

/// The helper's material, of all models.
#[derive(Debug)]
pub(super) struct Supply {
    /// Oldest first.
    ready: Vec<Ready>,
    /// What the dealing thread was asked for and has not dealt yet.
    ordered: Vec<Lot>,
    /// Bytes that ordered material may take while it waits or is on its way.
    most: u64,
    /// Sizes that inferences had, and how many, the last one first.
    asked: Vec<(Lot, u32)>,
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
    /// No material, and room for ordered material of so many bytes at a party.
    pub(super) fn new(most: u64) -> Self {
        Supply { ready: Vec::new(), ordered: Vec::new(), most, asked: Vec::new() }
    }

    /// Forgets everything: the session ended.
    pub(super) fn clear(&mut self) {
        *self = Supply::new(self.most);
    }

    /// Forgets what is for an epoch that is used no more.
    pub(super) fn leave(&mut self, epoch: EpochId) {
        self.ready.retain(|ready| ready.lot.epoch != epoch);
        self.ordered.retain(|lot| lot.epoch != epoch);
        self.asked.retain(|(lot, _)| lot.epoch != epoch);
    }

    /// Inferences for which material is ready, and the bytes that it takes at a party.
    pub(super) fn ready(&self) -> (usize, u64) {
        (self.ready.len(), self.ready.iter().map(|ready| ready.lot.bytes).sum())
    }

    /// Takes what was dealt.
    pub(super) fn add(&mut self, dealt: Dealt, lot: Lot, ordered: bool) {
        self.ready.push(Ready { dealt, lot, ordered });
    }

    /// An order that ended, well or not.
    pub(super) fn arrived(&mut self, lot: &Lot) {
        if let Some(at) = self.ordered.iter().position(|ordered| ordered == lot) {
            self.ordered.swap_remove(at);
        }
    }

    /// Material for a request: the oldest.
    pub(super) fn claim(&mut self, epoch: EpochId, batch: u32) -> Option<Claimed> {
        let at = self.ready.iter().position(|r| (r.lot.epoch, r.lot.batch) == (epoch, batch))?;
        let Ready { dealt, ordered, .. } = self.ready.remove(at);
        Some(Claimed { dealt, dealt_ahead: (!ordered).then_some(batch) })
    }

    /// Orders material, for so many requests that find none.
    pub(super) fn order(&mut self, lot: Lot, requests: usize) -> Order {
        let mut order = Order { send: 0, burned: Vec::new() };
        while self.ordered.iter().filter(|&&ordered| ordered == lot).count() < requests {
            while self.unclaimed() + lot.bytes > self.most {
                let Some(at) = self.ready.iter().position(|r| r.ordered) else { break };
                order.burned.push(self.ready.remove(at).dealt.scope());
            }
            // With nothing on its way, even one that is larger than the bound is dealt.
            if !self.ordered.is_empty() && self.unclaimed() + lot.bytes > self.most {
                break;
            }
            self.ordered.push(lot);
            order.send += 1;
        }
        order
    }

    /// Notes that an inference of this size began, of which nothing is dealt ahead.
    pub(super) fn asked_for(&mut self, lot: Lot) {
        let before = self.asked.iter().position(|(other, _)| *other == lot);
        let times = before.map_or(0, |at| self.asked.remove(at).1);
        self.asked.insert(0, (lot, times.saturating_add(1)));
        self.asked.truncate(SIZES);
    }

    /// Orders material that nobody waits for yet, if a queue is below its mark and there is room.
    pub(super) fn refill(&mut self, any_in_flight: bool) -> Option<Lot> {
        let mark = if any_in_flight { MARK / 2 } else { MARK };
        let ready = |lot: &Lot| self.ready.iter().filter(|ready| ready.lot == *lot).count();
        let fits = |lot: &Lot| self.unclaimed() + lot.bytes <= self.most / 2;
        let lacks = |lot: &Lot| self.ordered.is_empty() && ready(lot) < mark && fits(lot);
        let often = self.asked.iter().filter(|(_, times)| *times >= OFTEN).map(|(lot, _)| *lot);
        let lot = often.into_iter().find(lacks)?;
        self.ordered.push(lot);
        Some(lot)
    }

    /// Bytes of ordered material that no request has.
    fn unclaimed(&self) -> u64 {
        let ready = self.ready.iter().filter(|r| r.ordered).map(|r| r.lot.bytes);
        ready.chain(self.ordered.iter().map(|lot| lot.bytes)).sum()
    }
}
