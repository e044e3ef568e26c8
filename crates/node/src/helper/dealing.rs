//! Dealing ahead of time (`docs/protocol.md`, section 5): keeps inferences ready, and deals on
//! request.
//!
//! On machines that also run parties, dealing slows down inferences in flight. So there are two
//! marks: while any is in flight, dealing goes on up to half of what is to be kept; the other half
//! is filled up when none is. An inference in flight counts as one that is kept: with one at most,
//! material for two of one batch size is never in memory at once.

use super::deals::{Deal, Deals, Over};
use crate::event::{Event, Reporter};
use crate::inbox::{Inbox, InboxHandle};
use crate::{Culprit, Limits, NodeError, Peer};
use amicus_net::{Frame, NetError, clock};
use amicus_plan::OpIndex;
use amicus_protocol::control::{self, AbortNotice};
use amicus_protocol::epoch::HelperEpoch;
use amicus_protocol::preprocess::{Dealt, Outlet};
use amicus_protocol::session::HelperSession;
use amicus_protocol::wire::{HEADER_BYTES, Header, Kind};
use amicus_protocol::{EpochId, Fault, Parties, PartyId, ProtocolError, Scope, Step};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

/// Bytes of corrections in the queue from which on they leave before more are made: a large
/// network's are gigabytes.
const QUEUE: usize = 1 << 24;
/// Pause after a deal that failed.
const PAUSE: Duration = Duration::from_millis(50);
/// How often a thread that waits for its queue to empty looks whether it is to stop.
const GLANCE: Duration = Duration::from_millis(100);

/// What the helper deals before anybody asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// Inputs of an inference. Other sizes are dealt when asked for.
    pub batch: u32,
    /// Inferences for which material is kept, the one in flight counted.
    pub kept: usize,
    /// Inferences dealt ahead in all, where that is known; more are dealt when asked for.
    pub total: Option<usize>,
}

impl Ahead {
    /// Material of that batch size for so many inferences, always.
    pub fn new(batch: u32, kept: usize) -> Self {
        Ahead { batch, kept, total: None }
    }
}

/// What the online thread asks of the dealing thread.
#[derive(Debug)]
pub(super) enum Command {
    /// Deal for this epoch from now on.
    Serve(Epoch),
    /// This epoch is used no more.
    Leave(EpochId),
    /// The session is over.
    Rest,
    /// An inference of this epoch and batch size is wanted now.
    Wanted(EpochId, u32),
    /// An inference of this epoch and batch size that was dealt ahead was taken.
    Taken(EpochId, u32),
    /// Material that nobody claimed is to be forgotten by the parties too.
    Burn(Scope),
}

/// How a deal ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// The session and the epoch.
    pub(super) scope: Scope,
    pub(super) batch: u32,
    /// It was ordered, not dealt ahead.
    pub(super) ordered: bool,
    /// From the helper's first step, or the end of the deal before, to the last party's word.
    pub(super) elapsed: Duration,
    /// Bytes sent to all parties.
    pub(super) bytes: u64,
    /// The material; none when material that was dealt ahead serves the order.
    pub(super) dealt: Result<Option<Dealt>, NodeError>,
}

pub(super) struct Dealer {
    pub(super) inbox: Inbox,
    pub(super) parties: Parties,
    pub(super) commands: Receiver<Command>,
    pub(super) dealt: Sender<Ended>,
    pub(super) online: InboxHandle,
    /// Epochs that are dealt for; the one whose turn it is comes first.
    pub(super) epochs: VecDeque<Epoch>,
    /// Bytes that material which is dealt ahead may take at a party, of all models.
    pub(super) memory: u64,
    /// Since when material is wanted while a party has no link.
    pub(super) unlinked: Option<Instant>,
    pub(super) deals: Deals,
    pub(super) limits: Limits,
    pub(super) reporter: Reporter,
}

/// An epoch that is dealt for.
#[derive(Debug)]
pub(super) struct Epoch {
    session: Arc<HelperSession>,
    epoch: Arc<HelperEpoch>,
    ahead: Ahead,
    /// Bytes of one-time material at a party, for every input.
    material: u64,
    /// Inferences of its model in flight.
    in_flight: Arc<AtomicUsize>,
    /// Inferences that are ready and were dealt ahead.
    ready: usize,
    /// Inferences dealt ahead in all.
    dealt_ahead: usize,
    /// Batch sizes that are ordered and not begun.
    wanted: VecDeque<u32>,
    /// After a deal failed: a party that keeps failing must not keep the helper busy.
    paused_until: Option<Instant>,
}

impl Epoch {
    /// An epoch in a session, of which nothing is dealt yet.
    pub(super) fn new(
        session: Arc<HelperSession>,
        epoch: Arc<HelperEpoch>,
        (ahead, material): (Ahead, u64),
        in_flight: &Arc<AtomicUsize>,
    ) -> Self {
        let (in_flight, wanted) = (Arc::clone(in_flight), VecDeque::new());
        let (ready, dealt_ahead, paused_until) = (0, 0, None);
        Epoch { session, epoch, ahead, material, in_flight, ready, dealt_ahead, wanted, paused_until }
    }

    fn id(&self) -> EpochId {
        self.epoch.epoch()
    }

    fn scope(&self) -> Scope {
        Scope { session: self.session.id(), ..Scope::epoch(self.id()) }
    }

    fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Bytes of so many inferences that are dealt ahead.
    fn bytes(&self, inferences: usize) -> u64 {
        self.material.saturating_mul(self.ahead.batch.into()).saturating_mul(inferences as u64)
    }

    /// Whether another inference is to be dealt ahead; `coming` are being dealt.
    fn lacks(&self, any_in_flight: bool, coming: usize) -> bool {
        if self.paused_until.is_some() {
            return false;
        }
        let Ahead { kept, total, .. } = self.ahead;
        let half = || (kept / 2).max(1).min(kept.saturating_sub(self.in_flight()));
        let most = if any_in_flight { half() } else { kept };
        self.ready + coming < most && total.is_none_or(|n| self.dealt_ahead < n)
    }
}

/// What is kept ready of an epoch, in bytes at a party, and what one more inference takes, if one is
/// to be dealt.
struct Queue {
    kept: u64,
    next: Option<u64>,
}

/// The first epoch for which one more inference is dealt ahead, as memory allows for all together.
fn next_of(queues: &[Queue], memory: u64) -> Option<usize> {
    let kept = queues.iter().fold(0u64, |sum, queue| sum.saturating_add(queue.kept));
    queues.iter().position(|queue| queue.next.is_some_and(|next| kept.saturating_add(next) <= memory))
}

impl Dealer {
    pub(super) fn run(mut self) {
        loop {
            match self.work() {
                Ok(()) => {}
                Err(NodeError::Stopped) => return,
                Err(error) => {
                    self.reporter.report(Event::Fatal { error });
                    return;
                }
            }
        }
    }

    fn work(&mut self) -> Result<(), NodeError> {
        while let Ok(command) = self.commands.try_recv() {
            self.obey(command);
        }
        for epoch in &mut self.epochs {
            epoch.paused_until.take_if(|until| clock::now() >= *until);
        }
        let unlinked = self.peers().into_iter().find(|p| !self.inbox.connected(p));
        let may = unlinked.is_none() && self.deals.has_room();
        if let Some((at, batch)) = self.next().filter(|_| may) {
            self.unlinked = None;
            return self.deal(at, batch);
        }
        let mut until = clock::now() + Duration::from_secs(3600);
        match unlinked.filter(|_| self.epochs.iter().any(|epoch| !epoch.wanted.is_empty())) {
            None => self.unlinked = None,
            Some(party) => {
                // Links come again by themselves, but a client is not to wait for one that does
                // not.
                until = *self.unlinked.get_or_insert(clock::now()) + self.limits.round;
                if clock::now() >= until {
                    let fault = Fault::Lost("no link for dealing".into());
                    let error = ProtocolError::peer(party, Step::Preprocessing { layer: None }, fault);
                    let orders = |e: &mut Epoch| (e.scope(), std::mem::take(&mut e.wanted));
                    let orders: Vec<_> = self.epochs.iter_mut().map(orders).collect();
                    for (scope, batch) in
                        orders.into_iter().flat_map(|(s, all)| all.into_iter().map(move |b| (s, b)))
                    {
                        self.tell((scope, batch, true), (Duration::ZERO, 0), Err(error.clone().into()));
                    }
                    self.unlinked = None;
                    return Ok(());
                }
            }
        }
        let pauses = self.epochs.iter().filter_map(|epoch| epoch.paused_until);
        let until = pauses.chain(self.deals.deadline(&self.limits)).fold(until, Instant::min);
        // Wakes come with commands and links; the end of an inference wakes too.
        let deals = &self.deals;
        let incoming = self.inbox.next(until, |peer, h| deals.want(peer, h))?;
        for over in self.deals.hear(&incoming, &self.limits) {
            self.over(over);
        }
        Ok(())
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Serve(epoch) => {
                self.inbox.enter(epoch.session.id());
                self.leave(epoch.id());
                self.epochs.push_back(epoch);
            }
            // Its deals end by themselves.
            Command::Leave(epoch) => self.leave(epoch),
            Command::Rest => {
                self.deals.clear();
                self.epochs.clear();
            }
            Command::Wanted(epoch, batch) => self.order(epoch, batch),
            Command::Taken(epoch, batch) => {
                if let Some(epoch) = self.of(epoch).filter(|epoch| epoch.ahead.batch == batch) {
                    epoch.ready = epoch.ready.saturating_sub(1);
                }
            }
            Command::Burn(scope) => self.burn(scope),
        }
    }

    fn leave(&mut self, epoch: EpochId) {
        self.epochs.retain(|e| e.id() != epoch);
    }

    fn of(&mut self, epoch: EpochId) -> Option<&mut Epoch> {
        self.epochs.iter_mut().find(|e| e.id() == epoch)
    }

    /// Deals for an order, unless what is dealt ahead serves it.
    fn order(&mut self, id: EpochId, batch: u32) {
        let Some(epoch) = self.epochs.iter_mut().find(|e| e.id() == id) else { return };
        if epoch.ahead.batch == batch && epoch.ready > 0 {
            let scope = epoch.scope();
            self.tell((scope, batch, true), (Duration::ZERO, 0), Ok(None));
        } else if !self.deals.order(id, batch) {
            epoch.wanted.push_back(batch);
        }
    }

    fn tell(
        &self,
        (scope, batch, ordered): (Scope, u32, bool),
        (elapsed, bytes): (Duration, u64),
        dealt: Result<Option<Dealt>, NodeError>,
    ) {
        // The online thread ends only with this one.
        let _ = self.dealt.send(Ended { scope, batch, ordered, elapsed, bytes, dealt });
        self.online.wake();
    }

    /// What to deal next: the place of an epoch, and a batch size. What is ordered comes before what
    /// is dealt ahead, and epochs take turns.
    fn next(&self) -> Option<(usize, u32)> {
        let all = || self.epochs.iter().enumerate().filter(|(_, epoch)| epoch.paused_until.is_none());
        let ordered = all().find_map(|(at, epoch)| Some((at, *epoch.wanted.front()?)));
        ordered.or_else(|| {
            let any_in_flight = self.epochs.iter().any(|epoch| epoch.in_flight() > 0);
            let queue = |epoch: &Epoch| {
                let coming = self.deals.ahead(epoch.id());
                let kept = epoch.bytes(epoch.ready + coming);
                Queue { kept, next: epoch.lacks(any_in_flight, coming).then(|| epoch.bytes(1)) }
            };
            let queues: Vec<Queue> = self.epochs.iter().map(queue).collect();
            let of = |at: usize| Some((at, self.epochs.get(at)?.ahead.batch));
            next_of(&queues, self.memory).and_then(of)
        })
    }

    fn peers(&self) -> Vec<Peer> {
        self.parties.all().map(Peer::Party).collect()
    }

    /// Begins a deal; parties say when they are ready.
    fn deal(&mut self, at: usize, batch: u32) -> Result<(), NodeError> {
        let started = clock::now();
        let Some(mut of) = self.epochs.remove(at) else { return Ok(()) };
        let (session, epoch) = (Arc::clone(&of.session), Arc::clone(&of.epoch));
        let ordered = of.wanted.pop_front().is_some();
        self.epochs.push_back(of);
        let keys = session.next(epoch.epoch(), epoch.digest())?;
        let scope = keys.scope();
        let announced = epoch.usable().map_err(NodeError::from).and_then(|()| self.announce(scope, batch));
        let mut outlet = ToParties {
            inbox: &mut self.inbox,
            parties: self.parties,
            scope,
            started,
            until: started + self.limits.load,
            queued: 0,
            messages: 0,
            bytes: (self.parties.count() * HEADER_BYTES) as u64,
        };
        let dealt = announced.and_then(|()| epoch.deal(keys, batch as usize, &mut outlet));
        let (messages, bytes) = (outlet.messages, outlet.bytes);
        match dealt {
            Ok(dealt) => {
                if let Some(of) = self.of(scope.epoch).filter(|_| !ordered) {
                    of.dealt_ahead += 1;
                }
                self.deals.push(Deal::new((dealt, ordered), (messages, bytes), self.parties, started));
                Ok(())
            }
            Err(NodeError::Stopped) => Err(NodeError::Stopped),
            Err(error) => {
                if epoch.usable().is_err() {
                    self.leave(scope.epoch);
                }
                self.fail((scope, batch, ordered), error);
                Ok(())
            }
        }
    }

    /// A deal is over.
    fn over(&mut self, over: Over) {
        let Over { deal, elapsed, error } = over;
        let (scope, batch, ordered) = (deal.dealt.scope(), deal.batch(), deal.ordered);
        let ahead = self.of(scope.epoch).filter(|_| !ordered);
        match (&error, ahead) {
            (None, Some(epoch)) => epoch.ready += 1,
            (Some(_), Some(epoch)) => epoch.dealt_ahead = epoch.dealt_ahead.saturating_sub(1),
            _ => {}
        }
        match error {
            None => self.tell((scope, batch, ordered), (elapsed, deal.bytes), Ok(Some(deal.dealt))),
            Some(error) => self.fail((scope, batch, ordered), error),
        }
    }

    fn fail(&mut self, what: (Scope, u32, bool), error: NodeError) {
        let notice = error.notice(&Step::Preprocessing { layer: None });
        let header = Header::new(Kind::Abort, what.0, 0);
        if let Ok(body) = control::encode(&notice) {
            for peer in self.peers() {
                self.inbox.send(&peer, header, &body).ok();
            }
        }
        self.reporter.report(Event::DealFailed { error: error.clone() });
        // A client that asked meanwhile waits no longer, even where this was dealt ahead.
        self.tell(what, (Duration::ZERO, 0), Err(error));
        if let Some(epoch) = self.of(what.0.epoch) {
            epoch.paused_until = Some(clock::now() + PAUSE);
        }
    }

    /// Tells the parties that an id is not bound any more.
    fn burn(&mut self, scope: Scope) {
        let step = Step::Preprocessing { layer: None };
        let reason = "nobody claimed it".into();
        let notice =
            AbortNotice { accused: None, step, reason, rejected: false, failures: 0, reporter: None };
        if let Ok(body) = control::encode(&notice) {
            for peer in self.peers() {
                // A party that is gone forgets it with the epoch.
                self.inbox.send(&peer, Header::new(Kind::Abort, scope, 0), &body).ok();
            }
        }
    }

    fn announce(&mut self, scope: Scope, batch: u32) -> Result<(), NodeError> {
        for peer in self.peers() {
            self.inbox.send(&peer, Header::new(Kind::Deal, scope, batch), &[])?;
        }
        Ok(())
    }
}

/// The way of a deal's corrections, each to its party.
struct ToParties<'a> {
    inbox: &'a mut Inbox,
    parties: Parties,
    scope: Scope,
    started: Instant,
    until: Instant,
    /// Bytes that were sent since all had left.
    queued: usize,
    messages: usize,
    /// Bytes of all messages.
    bytes: u64,
}

impl Outlet<NodeError> for ToParties<'_> {
    fn memory(&mut self, bytes: usize) -> Vec<u8> {
        Frame::zeros(bytes)
    }

    fn send(&mut self, op: OpIndex, to: PartyId, corrections: Vec<u8>) -> Result<(), NodeError> {
        let corrections = Frame::from(corrections);
        if self.queued > QUEUE {
            self.drain()?;
        }
        self.queued += corrections.len();
        self.messages += 1;
        self.bytes += (HEADER_BYTES + corrections.len()) as u64;
        let header = Header::new(Kind::DealCorrection, self.scope, op.0);
        Ok(self.inbox.send_owned(&Peer::Party(to), header, corrections)?)
    }
}

impl ToParties<'_> {
    /// Waits until everything queued has left; who does not take it in time is named.
    fn drain(&mut self) -> Result<(), NodeError> {
        self.queued = 0;
        loop {
            match self.inbox.flush(self.until.min(clock::now() + GLANCE)) {
                Ok(()) => return Ok(()),
                Err(_) if self.inbox.handle().stopped() => return Err(NodeError::Stopped),
                Err(NetError::Timeout { .. }) if clock::now() < self.until => {}
                Err(NetError::Timeout { peer, .. }) => {
                    let peer = Culprit::named(&peer, self.parties);
                    let fault = Fault::Silent(clock::since(self.started).as_millis() as u64);
                    return Err(ProtocolError::peer(peer, Step::Preprocessing { layer: None }, fault).into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dealt_ahead_is_bounded_over_all_models() {
        let queue = |kept, next| Queue { kept, next };
        // The one whose turn it is, if it lacks any.
        assert_eq!(next_of(&[queue(10, Some(10)), queue(0, Some(30))], 100), Some(0));
        assert_eq!(next_of(&[queue(10, None), queue(0, Some(30))], 100), Some(1));
        // What all others keep counts.
        assert_eq!(next_of(&[queue(10, None), queue(60, Some(30))], 100), Some(1));
        assert_eq!(next_of(&[queue(11, None), queue(60, Some(30))], 100), None);
        assert_eq!(next_of(&[queue(60, Some(50)), queue(10, Some(30))], 100), Some(1));
        assert_eq!(next_of(&[queue(u64::MAX, Some(1)), queue(1, Some(u64::MAX))], 100), None);
        assert_eq!(next_of(&[], 100), None);
    }
}
