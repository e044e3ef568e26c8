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
use amicus_net::{NetError, clock};
use amicus_protocol::control::{self, AbortNotice};
use amicus_protocol::epoch::HelperEpoch;
use amicus_protocol::preprocess::Dealt;
use amicus_protocol::session::HelperSession;
use amicus_protocol::wire::{HEADER_BYTES, Header, Kind};
use amicus_protocol::{Fault, Parties, ProtocolError, Scope, Step};
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
    /// Deal for this epoch in this session from now on.
    Serve(Arc<HelperSession>, Arc<HelperEpoch>),
    /// The session is over.
    Rest,
    /// An inference of this batch size is wanted now.
    Wanted(u32),
    /// An inference of this batch size that was dealt ahead was taken.
    Taken(u32),
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
    pub(super) serving: Option<(Arc<HelperSession>, Arc<HelperEpoch>)>,
    pub(super) ahead: Ahead,
    pub(super) ready: usize,
    pub(super) dealt_ahead: usize,
    pub(super) wanted: VecDeque<u32>,
    /// Since when material is wanted while a party has no link.
    pub(super) unlinked: Option<Instant>,
    /// Inferences in flight.
    pub(super) in_flight: Arc<AtomicUsize>,
    pub(super) deals: Deals,
    /// After a deal failed: a party that keeps failing must not keep the helper busy.
    pub(super) paused_until: Option<Instant>,
    pub(super) limits: Limits,
    pub(super) reporter: Reporter,
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
        self.paused_until.take_if(|until| clock::now() >= *until);
        let unlinked = self.peers().into_iter().find(|p| !self.inbox.connected(p));
        let may = unlinked.is_none() && self.paused_until.is_none() && self.deals.has_room();
        let next = self.next_batch().filter(|_| may);
        if let (Some((session, epoch)), Some(batch)) = (self.serving.clone(), next) {
            self.unlinked = None;
            return self.deal(&session, &epoch, batch);
        }
        let mut until = clock::now() + Duration::from_secs(3600);
        let served = self.served();
        match unlinked.filter(|_| !self.wanted.is_empty()).zip(served) {
            None => self.unlinked = None,
            Some((party, scope)) => {
                // Links come again by themselves, but a client is not to wait for one that does
                // not.
                until = *self.unlinked.get_or_insert(clock::now()) + self.limits.round;
                if clock::now() >= until {
                    let fault = Fault::Lost("no link for dealing".into());
                    let error = ProtocolError::peer(party, Step::Preprocessing { layer: None }, fault);
                    for batch in std::mem::take(&mut self.wanted) {
                        self.tell((scope, batch, true), (Duration::ZERO, 0), Err(error.clone().into()));
                    }
                    self.unlinked = None;
                    return Ok(());
                }
            }
        }
        let until = [self.deals.deadline(&self.limits), self.paused_until]
            .into_iter()
            .flatten()
            .fold(until, Instant::min);
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
            // Deals of an older epoch of the session end by themselves.
            Command::Serve(session, epoch) => {
                self.inbox.enter(session.id());
                self.serving = Some((session, epoch));
                (self.ready, self.dealt_ahead) = (0, 0);
                self.wanted.clear();
            }
            Command::Rest => {
                self.deals.clear();
                self.serving = None;
                self.wanted.clear();
            }
            // What was dealt ahead meanwhile serves as well.
            Command::Wanted(batch) if batch == self.ahead.batch && self.ready > 0 => {
                if let Some(scope) = self.served() {
                    self.tell((scope, batch, true), (Duration::ZERO, 0), Ok(None));
                }
            }
            Command::Wanted(batch) if self.is_coming(batch) => {}
            Command::Wanted(batch) => self.wanted.push_back(batch),
            Command::Taken(batch) if batch == self.ahead.batch => self.ready = self.ready.saturating_sub(1),
            Command::Taken(_) => {}
            Command::Burn(scope) => self.burn(scope),
        }
    }

    /// Serves an order with what is being dealt ahead, if anything is.
    fn is_coming(&mut self, batch: u32) -> bool {
        let epoch = self.served().map(|scope| scope.epoch);
        epoch.is_some_and(|epoch| self.deals.order(epoch, batch))
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

    /// The session and epoch that is dealt for.
    fn served(&self) -> Option<Scope> {
        let (session, epoch) = self.serving.as_ref()?;
        Some(Scope { session: session.id(), ..Scope::epoch(epoch.epoch()) })
    }

    fn next_batch(&self) -> Option<u32> {
        let Ahead { batch, kept, total } = self.ahead;
        let in_flight = self.in_flight.load(Ordering::SeqCst);
        let most = if in_flight == 0 { kept } else { (kept / 2).max(1).min(kept.saturating_sub(in_flight)) };
        let coming = self.served().map_or(0, |scope| self.deals.ahead(scope.epoch));
        let room = self.ready + coming < most && total.is_none_or(|n| self.dealt_ahead < n);
        self.wanted.front().copied().or_else(|| room.then_some(batch))
    }

    fn peers(&self) -> Vec<Peer> {
        self.parties.all().map(Peer::Party).collect()
    }

    /// Begins a deal; parties say when they are ready.
    fn deal(&mut self, session: &HelperSession, epoch: &HelperEpoch, batch: u32) -> Result<(), NodeError> {
        let started = clock::now();
        let ordered = self.wanted.pop_front().is_some();
        let keys = session.next(epoch.epoch(), epoch.digest())?;
        let scope = keys.scope();
        let (mut messages, mut bytes) = (0, (self.parties.count() * HEADER_BYTES) as u64);
        let dealt =
            epoch.usable().map_err(NodeError::from).and_then(|()| self.announce(scope, batch)).and_then(
                |()| {
                    let last = Peer::Party(self.parties.last());
                    let (inbox, parties, limit) = (&mut self.inbox, self.parties, self.limits.load);
                    let mut queued = 0;
                    epoch.deal::<NodeError>(keys, batch as usize, &mut |op, body| {
                        if queued > QUEUE {
                            drain(inbox, parties, started, limit)?;
                            queued = 0;
                        }
                        queued += body.len();
                        messages += 1;
                        bytes += (HEADER_BYTES + body.len()) as u64;
                        let header = Header::new(Kind::DealCorrection, scope, op.0);
                        Ok(inbox.send(&last, header, &body)?)
                    })
                },
            );
        match dealt {
            Ok(dealt) => {
                self.dealt_ahead += usize::from(!ordered);
                self.deals.push(Deal::new((dealt, ordered), (messages, bytes), self.parties, started));
                Ok(())
            }
            Err(NodeError::Stopped) => Err(NodeError::Stopped),
            Err(error) => {
                if epoch.usable().is_err() {
                    self.serving = None;
                }
                self.fail((scope, batch, ordered), error);
                Ok(())
            }
        }
    }

    /// A deal is over.
    fn over(&mut self, over: Over) {
        let Over { deal, elapsed, error } = over;
        let (scope, batch) = (deal.dealt.scope(), deal.batch());
        let ahead = !deal.ordered && self.served().is_some_and(|served| served.epoch == scope.epoch);
        let what = (scope, batch, deal.ordered);
        match error {
            None => {
                self.ready += usize::from(ahead);
                self.tell(what, (elapsed, deal.bytes), Ok(Some(deal.dealt)));
            }
            Some(error) => {
                self.dealt_ahead -= usize::from(ahead);
                self.fail(what, error);
            }
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
        self.paused_until = Some(clock::now() + PAUSE);
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

/// Waits until everything queued has left; who does not take it in time is named.
fn drain(inbox: &mut Inbox, parties: Parties, started: Instant, limit: Duration) -> Result<(), NodeError> {
    let deadline = started + limit;
    loop {
        match inbox.flush(deadline.min(clock::now() + GLANCE)) {
            Ok(()) => return Ok(()),
            Err(_) if inbox.handle().stopped() => return Err(NodeError::Stopped),
            Err(NetError::Timeout { .. }) if clock::now() < deadline => {}
            Err(NetError::Timeout { peer, .. }) => {
                let peer = Culprit::named(&peer, parties);
                let fault = Fault::Silent(clock::since(started).as_millis() as u64);
                return Err(ProtocolError::peer(peer, Step::Preprocessing { layer: None }, fault).into());
            }
            Err(error) => return Err(error.into()),
        }
    }
}
