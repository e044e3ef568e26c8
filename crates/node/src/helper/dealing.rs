//! Dealing ahead of time (`docs/protocol.md`, section 5): keeps a few inferences ready, and deals
//! on request.
//!
//! On machines that also run parties, dealing would slow down the inference in flight; so while one
//! is in flight and another is ready, dealing waits. An inference in flight counts as one that is
//! kept: with one at most, material for two of one batch size is never in memory at once.

use crate::event::{Event, Reporter};
use crate::exchange::{Part, Wait};
use crate::inbox::{Inbox, InboxHandle, Incoming, Want};
use crate::{Culprit, Limits, NodeError, Peer};
use amicus_net::{NetError, clock};
use amicus_protocol::control::{self, AbortNotice};
use amicus_protocol::epoch::HelperEpoch;
use amicus_protocol::preprocess::Dealt;
use amicus_protocol::session::HelperSession;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{Fault, Parties, ProtocolError, Scope, Step};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

/// Bytes of corrections in the queue from which on they leave before more are made: a large
/// network's are gigabytes.
const QUEUE: usize = 1 << 24;
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
    pub(super) busy: Arc<AtomicBool>,
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
            match command {
                Command::Serve(session, epoch) => {
                    self.inbox.enter(session.id());
                    self.serving = Some((session, epoch));
                    (self.ready, self.dealt_ahead) = (0, 0);
                    self.wanted.clear();
                }
                Command::Rest => {
                    self.serving = None;
                    self.wanted.clear();
                }
                // What was dealt ahead meanwhile serves as well.
                Command::Wanted(batch) if batch == self.ahead.batch && self.ready > 0 => {
                    if let Some(scope) = self.served() {
                        let _ = self.dealt.send(Ended { scope, batch, ordered: true, dealt: Ok(None) });
                        self.online.wake();
                    }
                }
                Command::Wanted(batch) => self.wanted.push_back(batch),
                Command::Taken(batch) if batch == self.ahead.batch => {
                    self.ready = self.ready.saturating_sub(1)
                }
                Command::Taken(_) => {}
                Command::Burn(scope) => self.burn(scope),
            }
        }
        let unlinked = self.peers().into_iter().find(|p| !self.inbox.connected(p));
        let next = self.next_batch().filter(|_| unlinked.is_none());
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
                        let dealt = Err(error.clone().into());
                        let _ = self.dealt.send(Ended { scope, batch, ordered: true, dealt });
                    }
                    self.unlinked = None;
                    self.online.wake();
                    return Ok(());
                }
            }
        }
        // Wakes come with commands and links; the end of an inference wakes too.
        match self.inbox.next(until, |_, _| Want::Drop)? {
            Incoming::Lost(..) | Incoming::Woken | Incoming::Timeout => Ok(()),
            Incoming::Message(_) | Incoming::Refused(..) => Ok(()),
        }
    }

    /// The session and epoch that is dealt for.
    fn served(&self) -> Option<Scope> {
        let (session, epoch) = self.serving.as_ref()?;
        Some(Scope { session: session.id(), ..Scope::epoch(epoch.epoch()) })
    }

    fn next_batch(&self) -> Option<u32> {
        let Ahead { batch, kept, total } = self.ahead;
        let busy = self.busy.load(Ordering::SeqCst);
        let wait = self.ready > 0 && busy;
        let room = self.ready + usize::from(busy) < kept && total.is_none_or(|n| self.dealt_ahead < n);
        self.wanted.front().copied().or_else(|| (room && !wait).then_some(batch))
    }

    fn peers(&self) -> Vec<Peer> {
        self.parties.all().map(Peer::Party).collect()
    }

    fn deal(&mut self, session: &HelperSession, epoch: &HelperEpoch, batch: u32) -> Result<(), NodeError> {
        let started = clock::now();
        let wanted = self.wanted.pop_front().is_some();
        let keys = session.next(epoch.epoch(), epoch.digest())?;
        let scope = keys.scope();
        let before: u64 = self.peers().iter().map(|p| self.inbox.bytes_sent(p)).sum();
        let dealt = epoch
            .usable()
            .map_err(NodeError::from)
            .and_then(|()| self.announce(scope, batch))
            .and_then(|()| {
                let last = Peer::Party(self.parties.last());
                let (inbox, parties, limit) = (&mut self.inbox, self.parties, self.limits.load);
                let mut queued = 0;
                epoch.deal::<NodeError>(keys, batch as usize, &mut |op, body| {
                    if queued > QUEUE {
                        drain(inbox, parties, started, limit)?;
                        queued = 0;
                    }
                    queued += body.len();
                    let header = Header::new(Kind::DealCorrection, scope, op.0);
                    Ok(inbox.send(&last, header, &body)?)
                })
            })
            .and_then(|dealt| self.wait_ready(scope).map(|()| dealt));
        match dealt {
            Ok(dealt) => {
                let after: u64 = self.peers().iter().map(|p| self.inbox.bytes_sent(p)).sum();
                let bytes = after.saturating_sub(before);
                let elapsed = clock::since(started);
                if !wanted {
                    self.ready += 1;
                    self.dealt_ahead += 1;
                }
                let dealt = Ok(Some(dealt));
                let _ = self.dealt.send(Ended { scope, batch, ordered: wanted, dealt });
                self.online.wake();
                // Last: who asks for an inference because of this must find it.
                self.reporter.report(Event::Dealt { id: scope.id, elapsed, bytes });
                Ok(())
            }
            Err(NodeError::Stopped) => Err(NodeError::Stopped),
            Err(error) => {
                let notice = error.notice(&Step::Preprocessing { layer: None });
                let header = Header::new(Kind::Abort, scope, 0);
                if let Ok(body) = control::encode(&notice) {
                    for peer in self.peers() {
                        self.inbox.send(&peer, header, &body).ok();
                    }
                }
                if epoch.usable().is_err() {
                    self.serving = None;
                }
                self.reporter.report(Event::DealFailed { error: error.clone() });
                // A client that asked meanwhile waits no longer, even where this was dealt ahead.
                let dealt = Err(error);
                let _ = self.dealt.send(Ended { scope, batch, ordered: wanted, dealt });
                self.online.wake();
                // Not at once again: a party that keeps failing must not keep the helper busy.
                clock::sleep(Duration::from_millis(50));
                Ok(())
            }
        }
    }

    /// Tells the parties that an id is not bound any more.
    fn burn(&mut self, scope: Scope) {
        let step = Step::Preprocessing { layer: None };
        let reason = "nobody claimed it".into();
        let notice = AbortNotice { accused: None, step, reason, rejected: false, reporter: None };
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

    fn wait_ready(&mut self, scope: Scope) -> Result<(), NodeError> {
        let since = clock::now();
        let step = Step::Preprocessing { layer: None };
        let mut missing = self.peers();
        while let Some(first) = missing.first().cloned() {
            let wait = Wait { from: &first, step: &step, since, until: since + self.limits.load };
            let ready = self.inbox.exchange(&wait, part, |peer, h| match h.kind {
                _ if !matches!(peer, Peer::Party(_)) => Want::Drop,
                Kind::Ready | Kind::Abort if h.scope() == scope => Want::Take,
                Kind::Ready | Kind::Abort if h.id < scope.id => Want::Drop,
                _ => Want::Refuse(Fault::Unexpected(format!("{:?}", h.kind))),
            })?;
            missing.retain(|party| *party != ready.peer);
        }
        Ok(())
    }
}

/// Who takes part in dealing.
fn part(peer: &Peer) -> Part {
    if matches!(peer, Peer::Party(_)) { Part::Needed } else { Part::Bystander }
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
