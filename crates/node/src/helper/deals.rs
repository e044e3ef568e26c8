//! Deals that parties work on: several at a time, so that the next one travels while parties still
//! expand the last.

use crate::exchange::{Part, Wait, concerns};
use crate::inbox::{Incoming, Want};
use crate::{Limits, NodeError, Peer};
use amicus_net::clock;
use amicus_protocol::preprocess::Dealt;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{EpochId, Fault, InferenceId, Parties, Scope, Step};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Deals that parties work on, at most: while they expand one, the others wait there.
const MOST: usize = 3;
/// Bytes of corrections on their way from which on nothing more is dealt: parties keep them until
/// they have expanded what came before.
const BYTES: u64 = 1 << 23;
/// Messages of corrections on their way from which on nothing more is dealt.
const MESSAGES: usize = 200;

/// A deal that not all parties are ready with.
#[derive(Debug)]
pub(super) struct Deal {
    pub(super) dealt: Dealt,
    /// It was ordered, not dealt ahead.
    pub(super) ordered: bool,
    /// Messages of corrections, and bytes of all messages.
    pub(super) messages: usize,
    pub(super) bytes: u64,
    /// When the helper began it.
    pub(super) started: Instant,
    /// Parties that have not said that they are ready.
    missing: Vec<Peer>,
}

impl Deal {
    pub(super) fn new(
        (dealt, ordered): (Dealt, bool),
        (messages, bytes): (usize, u64),
        parties: Parties,
        started: Instant,
    ) -> Self {
        let missing = parties.all().map(Peer::Party).collect();
        Deal { dealt, ordered, messages, bytes, started, missing }
    }

    fn is_ahead(&self, epoch: EpochId) -> bool {
        !self.ordered && self.dealt.scope().epoch == epoch
    }

    pub(super) fn batch(&self) -> u32 {
        self.dealt.batch() as u32
    }
}

/// All of them, in the order in which parties expand them.
#[derive(Debug, Default)]
pub(super) struct Deals {
    all: VecDeque<Deal>,
    /// Since when the first one is first: parties expand one after the other.
    turn: Option<Instant>,
    /// The newest id dealt.
    newest: Option<InferenceId>,
}

/// How a deal ended.
#[derive(Debug)]
pub(super) struct Over {
    pub(super) deal: Deal,
    /// Since it began and those before were over.
    pub(super) elapsed: Duration,
    /// None when all parties are ready.
    pub(super) error: Option<NodeError>,
}

impl Deals {
    /// Whether another one may begin.
    pub(super) fn has_room(&self) -> bool {
        let (messages, bytes) =
            self.all.iter().fold((0, 0), |(messages, bytes), d| (messages + d.messages, bytes + d.bytes));
        self.all.is_empty() || (self.all.len() < MOST && messages < MESSAGES && bytes < BYTES)
    }

    /// Those of an epoch that were not ordered.
    pub(super) fn ahead(&self, epoch: EpochId) -> usize {
        self.all.iter().filter(|deal| deal.is_ahead(epoch)).count()
    }

    /// Serves an order with one of that batch size that was begun without any; true if there is
    /// one.
    pub(super) fn order(&mut self, epoch: EpochId, batch: u32) -> bool {
        let ahead = self.all.iter_mut().find(|deal| deal.is_ahead(epoch) && deal.batch() == batch);
        let Some(deal) = ahead else { return false };
        deal.ordered = true;
        true
    }

    /// Adds one.
    pub(super) fn push(&mut self, deal: Deal) {
        self.newest = self.newest.max(Some(deal.dealt.scope().id));
        if self.all.is_empty() {
            self.turn = Some(deal.started);
        }
        self.all.push_back(deal);
    }

    /// When the first one is given up.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        self.turn.filter(|_| !self.all.is_empty()).map(|turn| turn + limits.load)
    }

    /// What is done with a message of a dealing link.
    pub(super) fn want(&self, peer: &Peer, h: &Header) -> Want {
        match (peer, h.kind) {
            (Peer::Party(_), Kind::Ready | Kind::Abort) if self.position(h.scope()).is_some() => Want::Take,
            (Peer::Party(_), Kind::Ready | Kind::Abort) if Some(h.id) <= self.newest => Want::Drop,
            (Peer::Party(_), kind) => Want::Refuse(Fault::Unexpected(format!("{kind:?}"))),
            _ => Want::Drop,
        }
    }

    /// Takes what happened; what is over because of it.
    pub(super) fn hear(&mut self, incoming: &Incoming, limits: &Limits) -> Vec<Over> {
        if let Incoming::Message(ready) = incoming
            && ready.header.kind == Kind::Ready
        {
            let Some(at) = self.position(ready.header.scope()) else { return Vec::new() };
            let missing = &mut self.all[at].missing;
            missing.retain(|party| *party != ready.peer);
            let done = missing.is_empty();
            return if done { self.remove(at, None).into_iter().collect() } else { Vec::new() };
        }
        let mut over = Vec::new();
        let mut at = 0;
        while at < self.all.len() {
            match self.ended_by(at, incoming, limits) {
                Some(error) => over.extend(self.remove(at, Some(error))),
                None => at += 1,
            }
        }
        over
    }

    /// Forgets all of them: their session is over.
    pub(super) fn clear(&mut self) {
        *self = Deals::default();
    }

    fn position(&self, scope: Scope) -> Option<usize> {
        self.all.iter().position(|deal| deal.dealt.scope() == scope)
    }

    fn remove(&mut self, at: usize, error: Option<NodeError>) -> Option<Over> {
        let deal = self.all.remove(at)?;
        let began = self.turn.map_or(deal.started, |turn| turn.max(deal.started));
        if at == 0 {
            self.turn = Some(clock::now());
        }
        Some(Over { deal, elapsed: clock::since(began), error })
    }

    fn ended_by(&self, at: usize, incoming: &Incoming, limits: &Limits) -> Option<NodeError> {
        let deal = &self.all[at];
        let scope = deal.dealt.scope();
        let in_flight = |id| self.all.iter().any(|deal| deal.dealt.scope().id == id);
        match incoming {
            Incoming::Message(m) if m.header.scope() != scope => return None,
            // Those behind it have all their time yet.
            Incoming::Timeout if at > 0 => return None,
            _ if !concerns(incoming, scope.id, in_flight) => return None,
            _ => {}
        }
        let since = self.turn.unwrap_or(deal.started);
        let step = Step::Preprocessing { layer: None };
        let from = deal.missing.first()?;
        Wait { from, step: &step, since, until: since + limits.load }.ended_by(incoming, |peer| match peer {
            Peer::Party(_) => Part::Needed,
            Peer::Helper | Peer::Owner | Peer::Client(_) => Part::Bystander,
        })
    }
}
