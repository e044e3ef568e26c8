//! How the helper begins and ends sessions (`docs/protocol.md`, section 7).
//!
//! A session begins when there is none and every party has a link, and ends when a party's link is
//! lost. Nothing is waited for here: answers come like other messages.

use super::dealing::{Command, Epoch};
use super::models::Model;
use super::serve::Helper;
use crate::begun::Begun;
use crate::error::lost;
use crate::event::Event;
use crate::exchange::{Part, Wait};
use crate::inbox::{Incoming, Received};
use crate::{NodeError, Peer};
use amicus_field::OperatingSystem;
use amicus_net::clock;
use amicus_plan::PlanDigest;
use amicus_protocol::control::{self, SessionAnswer};
use amicus_protocol::session::{Confirmed, SessionStart};
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{Fault, ProtocolError, Scope, Step};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Pause before a session is offered again after one that could not begin.
const PAUSE: Duration = Duration::from_millis(200);

/// A session that is offered and not open yet.
#[derive(Debug)]
pub(super) struct Starting {
    start: SessionStart,
    answers: Vec<Option<SessionAnswer>>,
    since: Instant,
    until: Instant,
}

impl Starting {
    /// When it is given up.
    pub(super) fn deadline(&self) -> Instant {
        self.until
    }

    /// Why the session cannot begin, when that is what this means.
    pub(super) fn ended_by(&self, incoming: &Incoming, parties: &[Peer]) -> Option<NodeError> {
        let scope = Scope::session(self.start.id());
        if matches!(incoming, Incoming::Message(m) if m.header.scope() != scope) {
            return None;
        }
        let missing = self.answers.iter().position(Option::is_none).unwrap_or(0);
        let wait = Wait { from: &parties[missing], step: &Step::Keys, since: self.since, until: self.until };
        wait.ended_by(incoming, |peer| match peer {
            Peer::Party(_) => Part::Needed,
            Peer::Helper | Peer::Owner | Peer::Client(_) => Part::Bystander,
        })
    }
}

impl Helper {
    /// Offers a session when there is none and every party has a link.
    pub(super) fn keep_session(&mut self) -> Result<(), NodeError> {
        let paused = self.paused_until.is_some_and(|until| clock::now() < until);
        let linked = self.party_peers().iter().all(|party| self.inbox.connected(party));
        if self.session.is_some() || self.starting.is_some() || paused || !linked {
            return Ok(());
        }
        let start = SessionStart::draw(self.parties, self.offered(), &mut OperatingSystem)?;
        self.inbox.enter(start.id());
        let header = Header::new(Kind::SessionBegin, Scope::session(start.id()), 0);
        let mut unreached = None;
        for party in self.parties.all() {
            let body = Zeroizing::new(control::encode(&start.offer(party))?);
            if let Err(e) = self.inbox.send(&Peer::Party(party), header, &body) {
                unreached.get_or_insert(ProtocolError::peer(party, Step::Keys, lost(&e)));
            }
        }
        let answers = self.parties.all().map(|_| None).collect();
        let since = clock::now();
        let until = since + self.limits.load_at_helper();
        self.starting = Some(Starting { start, answers, since, until });
        match unreached {
            Some(error) => self.fail_start(error.into()),
            None => Ok(()),
        }
    }

    /// Takes a party's answer; with the last one, opens the session.
    pub(super) fn answer(&mut self, message: &Received) -> Result<(), NodeError> {
        let (Some(starting), Peer::Party(from)) = (&mut self.starting, &message.peer) else { return Ok(()) };
        let slot = &mut starting.answers[from.index()];
        let fault = match (control::decode::<SessionAnswer>(message.body()), slot.is_some()) {
            (Err(fault), _) => Some(fault),
            (Ok(_), true) => Some(Fault::Duplicate("answer to a session".into())),
            (Ok(answer), false) => {
                *slot = Some(answer);
                None
            }
        };
        if let Some(fault) = fault {
            return self.fail_start(ProtocolError::peer(from, Step::Keys, fault).into());
        }
        if starting.answers.iter().any(Option::is_none) {
            return Ok(());
        }
        let Some(Starting { start, answers, since, .. }) = self.starting.take() else { return Ok(()) };
        let id = start.id();
        let answers: Vec<SessionAnswer> = answers.into_iter().flatten().collect();
        match start.open(&answers) {
            Ok((session, confirmed)) => {
                let body = control::encode(&Confirmed::opening(&confirmed))?;
                for party in self.party_peers() {
                    // Who is gone is noticed, and ends the session.
                    self.inbox
                        .send(&party, Header::new(Kind::SessionOpen, Scope::session(id), 0), &body)
                        .ok();
                }
                self.session = Some(Arc::new(session));
                self.refused = None;
                for confirmed in confirmed.iter().enumerate() {
                    self.settle(confirmed, &answers)?;
                }
                self.serve_all();
                self.reporter.report(Event::SessionOpened { session: id });
                Ok(())
            }
            Err(error) => self.refuse_start(Scope::session(id), since, error.into()),
        }
    }

    /// Has the dealing thread deal for all used epochs in the present session.
    fn serve_all(&mut self) {
        let plans: Vec<PlanDigest> = self.models.iter().map(|model| model.digest).collect();
        plans.iter().for_each(|plan| self.serve(plan));
    }

    /// Has the dealing thread deal for the used epoch of a plan in the present session, if there are
    /// both.
    pub(super) fn serve(&self, plan: &PlanDigest) {
        let model = self.models.of_plan(plan);
        if let (Some(session), Some(model)) = (self.session.clone(), model)
            && let Some(epoch) = model.epoch.clone()
        {
            let Model { ahead, material, ref in_flight, .. } = *model;
            self.command(Command::Serve(Epoch::new(session, epoch, (ahead, material), in_flight)));
        }
    }

    /// Gives up a session that is being begun.
    pub(super) fn fail_start(&mut self, error: NodeError) -> Result<(), NodeError> {
        match self.starting.take() {
            Some(Starting { start, since, .. }) => {
                self.refuse_start(Scope::session(start.id()), since, error)
            }
            None => Ok(()),
        }
    }

    fn refuse_start(&mut self, scope: Scope, since: Instant, error: NodeError) -> Result<(), NodeError> {
        self.paused_until = Some(clock::now() + PAUSE);
        let notice = error.notice(&Step::Keys);
        for party in self.party_peers() {
            self.tell(&party, Header::new(Kind::Abort, scope, 0), &notice);
        }
        self.reporter.report(Event::SessionFailed { error: error.clone() });
        self.refused = Some(error.clone());
        // What came while this session was being begun waits for the next one.
        match self.loading.as_ref().is_some_and(|load| load.waits() && load.since() <= since) {
            true => self.give_up_load(error),
            false => Ok(()),
        }
    }

    /// Why a load or request waits in vain, when that is for want of a session.
    pub(super) fn why_no_session(&self, step: &Step, since: Instant) -> Option<NodeError> {
        if self.session.is_some() {
            return None;
        }
        match self.party_peers().into_iter().find(|party| !self.inbox.connected(party)) {
            Some(missing) => {
                let fault = Fault::Lost(format!("no link for {} ms", clock::since(since).as_millis()));
                Some(ProtocolError::peer(missing, step.clone(), fault).into())
            }
            None => self.refused.clone(),
        }
    }

    /// Nothing of the present session is used any more.
    pub(super) fn end_session(&mut self) {
        if self.session.take().is_some() {
            self.supply.clear();
            self.begun = Begun::default();
            self.ask_again(None);
            self.command(Command::Rest);
        }
    }
}
