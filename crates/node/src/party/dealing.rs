//! Preprocessing at a party: takes what the helper deals, expands it, and keeps it ready for the
//! online thread.

use super::held::{Held, Room};
use super::models::Used;
use crate::event::{Event, Reporter};
use crate::exchange::{Part, Wait};
use crate::inbox::{Inbox, InboxHandle, Incoming, Received, Want};
use crate::{Limits, NodeError, Peer};
use amicus_net::clock;
use amicus_protocol::preprocess::Material;
use amicus_protocol::session::PartySession;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{EpochId, Fault, ProtocolError, Scope, SessionId, Step};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

/// What the dealing thread tells the online thread.
#[derive(Debug)]
pub(super) enum Prepared {
    /// Material for an inference, and the room that it takes.
    Material(Material, Held),
    /// The helper will not bind this inference.
    Burned(Scope),
}

/// What material is dealt for.
#[derive(Clone, Default)]
pub(super) struct Serving {
    /// None when a session ended.
    pub(super) session: Option<Arc<PartySession>>,
    pub(super) epochs: Vec<Used>,
    /// Epochs of the session that are used no more: the helper may have begun to deal for them
    /// before it knew.
    pub(super) replaced: VecDeque<EpochId>,
}

pub(super) struct Dealer {
    pub(super) inbox: Inbox,
    /// What the online thread serves from now on.
    pub(super) serving: Receiver<Serving>,
    pub(super) now: Serving,
    /// The last session that ended.
    pub(super) ended: Option<SessionId>,
    pub(super) prepared: Sender<Prepared>,
    pub(super) online: InboxHandle,
    pub(super) room: Room,
    pub(super) limits: Limits,
    pub(super) reporter: Reporter,
}

impl Dealer {
    pub(super) fn run(mut self) {
        loop {
            // What is used no more is to leave memory.
            while let Ok(next) = self.serving.try_recv() {
                self.turn_to(next);
            }
            let deal =
                self.inbox.next(clock::now() + Duration::from_secs(3600), |peer, h| match (peer, h.kind) {
                    (Peer::Helper, Kind::Deal | Kind::Abort) => Want::Take,
                    (Peer::Helper, Kind::DealCorrection) => Want::Keep,
                    _ => Want::Drop,
                });
            let result = match deal {
                Ok(Incoming::Message(notice)) if notice.header.kind == Kind::Abort => {
                    self.tell(Prepared::Burned(notice.header.scope()));
                    Ok(())
                }
                Ok(Incoming::Message(deal)) => self.prepare(&deal).map_err(|e| (deal.header, e)),
                Ok(_) => Ok(()),
                Err(NodeError::Stopped) => return,
                Err(error) => {
                    self.reporter.report(Event::Fatal { error });
                    return;
                }
            };
            match result {
                Ok(()) => {}
                Err((_, NodeError::Stopped)) => return,
                Err((header, error)) => {
                    let step = Step::Preprocessing { layer: None };
                    if let Ok(body) = amicus_protocol::control::encode(&error.notice(&step)) {
                        self.inbox.send(&Peer::Helper, Header { kind: Kind::Abort, ..header }, &body).ok();
                    }
                    self.reporter.report(Event::DealFailed { error });
                }
            }
        }
    }

    fn prepare(&mut self, message: &Received) -> Result<(), NodeError> {
        let (scope, batch) = (message.header.scope(), message.header.index);
        let deadline = clock::now() + self.limits.load;
        let step = Step::Preprocessing { layer: None };
        let wait = Wait::new(&Peer::Helper, &step, deadline);
        let (session, Used { epoch, max_batch, material }) = self.serving(scope, deadline)?;
        if batch == 0 || batch > max_batch {
            return Err(wait.fault_of(wait.from, Fault::Unexpected(format!("batch of {batch}"))));
        }
        let held = self.room.take(material.saturating_mul(batch.into())).ok_or_else(|| {
            let most = self.room.most();
            wait.fault_of(wait.from, Fault::NotAllowed(format!("material of more than {most} bytes")))
        })?;
        // From here on the id is spent, whatever happens (`docs/protocol.md`, section 7).
        let keys = session.take(scope.epoch, &epoch.context().digest, scope.id)?;
        let mut deal = epoch.begin_deal(keys, batch as usize);
        deal.expand(&epoch)?;
        while !deal.complete() {
            let correction = self.inbox.exchange(&wait, part, |peer, h| match (peer, h.kind) {
                (Peer::Helper, Kind::DealCorrection) if h.scope() == scope => Want::Take,
                // For a session that began meanwhile, or dealt next.
                (Peer::Helper, Kind::DealCorrection | Kind::Deal)
                    if h.session != scope.session || h.id > scope.id =>
                {
                    Want::Keep
                }
                (Peer::Helper, Kind::DealCorrection) => Want::Drop,
                (Peer::Helper, Kind::Abort) if h.scope() == scope => Want::Take,
                (Peer::Helper, Kind::Abort) if h.session != scope.session => Want::Drop,
                (Peer::Helper, Kind::Abort) => Want::Keep,
                (Peer::Helper, _) => Want::Refuse(Fault::Unexpected(format!("{:?}", h.kind))),
                // Only the helper deals.
                _ => Want::Drop,
            })?;
            deal.correction(&epoch, correction.header.index, correction.body())?;
        }
        let material = epoch.prepare(deal)?;
        self.tell(Prepared::Material(material, held));
        self.inbox.send(&Peer::Helper, Header::new(Kind::Ready, scope, 0), &[])?;
        Ok(())
    }

    fn tell(&self, prepared: Prepared) {
        // The online thread ends only with this one.
        let _ = self.prepared.send(prepared);
        self.online.wake();
    }

    /// What is dealt for; the helper may deal before the online thread knows of it.
    fn serving(&mut self, scope: Scope, deadline: Instant) -> Result<(Arc<PartySession>, Used), NodeError> {
        let over = || NodeError::from(ProtocolError::NotLoaded { epoch: scope.epoch });
        loop {
            while let Ok(next) = self.serving.try_recv() {
                self.turn_to(next);
            }
            match &self.now.session {
                Some(session) if session.id() == scope.session => {
                    let mut used = self.now.epochs.iter();
                    if let Some(used) = used.find(|used| used.epoch.epoch() == scope.epoch) {
                        return Ok((Arc::clone(session), used.clone()));
                    }
                    if self.now.replaced.contains(&scope.epoch) {
                        return Err(over());
                    }
                }
                _ if self.ended == Some(scope.session) => return Err(over()),
                _ => {}
            }
            if self.inbox.handle().stopped() {
                return Err(NodeError::Stopped);
            }
            match clock::receive(&self.serving, clock::now() + Duration::from_millis(100)) {
                Ok(next) => self.turn_to(next),
                Err(_) if clock::now() < deadline => {}
                Err(_) => return Err(over()),
            }
        }
    }

    fn turn_to(&mut self, next: Serving) {
        let session = |serving: &Serving| serving.session.as_ref().map(|session| session.id());
        let (before, now) = (session(&self.now), session(&next));
        if before != now {
            self.ended = before.or(self.ended);
        }
        self.now = next;
    }
}

/// Who takes part in dealing.
fn part(peer: &Peer) -> Part {
    if *peer == Peer::Helper { Part::Needed } else { Part::Bystander }
}
