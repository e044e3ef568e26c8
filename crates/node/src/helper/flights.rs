//! Inferences in flight at the helper: which begin, how they are decided, and how they end.
//!
//! As many go on at a time as there are lanes, and material and memory for. One thread takes all
//! messages, so verdicts of an epoch come one after the other: a failure is counted, durably,
//! before anybody hears of it, and when the epoch is retired no further verdict is given.

use super::dealing::Command;
use super::flight::{Flight, Verdict};
use super::load::Loading;
use super::models::Model;
use super::requests::Waiting;
use super::serve::{Helper, send_release};
use super::supply::{Claimed, Lot};
use crate::error::lost;
use crate::event::{Event, Phase};
use crate::inbox::{Incoming, Received};
use crate::{NodeError, Peer};
use amicus_net::clock;
use amicus_protocol::control::{self, AbortNotice, Binding};
use amicus_protocol::epoch::HelperEpoch;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{ProtocolError, Scope, Step};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a node that ends waits until what it said last is on its way.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Helper {
    /// Binds requests to dealt material, the oldest first, as long as there are lanes.
    pub(super) fn start_flights(&mut self) -> Result<(), NodeError> {
        self.retire_if_due()?;
        // While a model is being loaded, requests for it wait.
        let loading = self.loading.as_ref().map(Loading::plan);
        let retired = self.models.iter().filter_map(|m| Some((m.digest, m.retired.clone()?)));
        for (plan, retired) in retired.filter(|(plan, _)| Some(plan) != loading.as_ref()).collect::<Vec<_>>()
        {
            self.refuse_waiting(&plan, &retired);
        }
        if self.session.is_none() || self.requests.is_empty() {
            return Ok(());
        }
        if self.inbox.closing() {
            let notice = NodeError::Closing.notice(&Step::Input);
            for waiting in std::mem::take(&mut self.requests) {
                self.refuse(&waiting.client, &notice);
            }
            return Ok(());
        }
        self.store.expire_releases();
        let mut at = 0;
        while at < self.requests.len() && self.flights.len() < self.lanes {
            let Waiting { client, plan, batch, .. } = &self.requests[at];
            let lot = self.models.of_plan(plan).and_then(|model| model.lot(*batch));
            let Some(lot) = lot.filter(|_| self.may_have_another(client)) else {
                at += 1;
                continue;
            };
            if !self.has_memory_for(&lot) {
                // Smaller ones do not overtake it for ever.
                return Ok(());
            }
            if !self.refuse_what_cannot_be_kept(at) {
                match self.claim(&lot) {
                    None => at += 1,
                    Some(claimed) => {
                        if let Some(waiting) = self.requests.remove(at) {
                            self.start(waiting, claimed, &lot)?;
                        }
                    }
                }
            }
        }
        self.order_material();
        Ok(())
    }

    /// Material that parties take. What waited so long that they remember its id no more is burned.
    fn claim(&mut self, lot: &Lot) -> Option<Claimed> {
        while let Some(claimed) = self.supply.claim(lot.epoch, lot.batch) {
            let scope = claimed.dealt.scope();
            if self.begun.begin(scope.id) {
                return Some(claimed);
            }
            claimed.dealt_ahead.into_iter().for_each(|b| self.command(Command::Taken(scope.epoch, b)));
            self.command(Command::Burn(scope));
        }
        None
    }

    /// Whether there is memory for the material of one more in flight.
    fn has_memory_for(&self, lot: &Lot) -> bool {
        let in_flight: u64 = self.flights.iter().map(Flight::material).sum();
        in_flight == 0 || in_flight.saturating_add(lot.bytes) <= self.in_flight
    }

    /// Whether another inference of a client may be in flight.
    fn may_have_another(&self, client: &Peer) -> bool {
        let of_client = self.flights.iter().filter(|flight| flight.client() == client).count();
        of_client < self.requests_of_client
    }

    /// Orders material for requests that could begin if there were some.
    fn order_material(&mut self) {
        let mut free = self.lanes - self.flights.len().min(self.lanes);
        let mut wanted: Vec<(Lot, usize)> = Vec::new();
        for at in 0..self.requests.len() {
            let Waiting { client, plan, batch, .. } = &self.requests[at];
            let lot = self.models.of_plan(plan).and_then(|model| model.lot(*batch));
            let Some(lot) = lot.filter(|_| free > 0 && self.may_have_another(client)) else { continue };
            free -= 1;
            self.requests[at].asked = true;
            match wanted.iter_mut().find(|(other, _)| *other == lot) {
                Some((_, requests)) => *requests += 1,
                None => wanted.push((lot, 1)),
            }
        }
        for (lot, requests) in wanted {
            let order = self.supply.order(lot, requests);
            order.burned.into_iter().for_each(|scope| self.command(Command::Burn(scope)));
            (0..order.send).for_each(|_| self.command(Command::Wanted(lot.epoch, lot.batch)));
        }
    }

    /// Orders material of batch sizes that were asked for before, while nobody waits for any.
    pub(super) fn refill_material(&mut self) {
        if self.session.is_none() || !self.requests.is_empty() || self.inbox.closing() {
            return;
        }
        if let Some(lot) = self.supply.refill(!self.flights.is_empty()) {
            self.command(Command::Wanted(lot.epoch, lot.batch));
        }
    }

    fn start(&mut self, waiting: Waiting, claimed: Claimed, lot: &Lot) -> Result<(), NodeError> {
        let Waiting { client, plan: digest, batch, receivers, since, .. } = waiting;
        let Some(epoch) = self.models.of_epoch(lot.epoch).and_then(|model| {
            // Before the dealing thread hears that one was taken: it is to deal less while inferences
            // are in flight.
            model.in_flight.fetch_add(1, Ordering::SeqCst);
            model.epoch.clone()
        }) else {
            return Ok(());
        };
        claimed.dealt_ahead.into_iter().for_each(|batch| self.command(Command::Taken(lot.epoch, batch)));
        if self.models.of_epoch(lot.epoch).is_some_and(|model| model.ahead.batch != lot.batch) {
            self.supply.asked_for(*lot);
        }
        let binding = Binding { plan: digest, batch, client: client.to_string(), receivers };
        self.inbox.set_hop(0);
        // A receiver may have connected just before the client asked.
        self.inbox.take_arrivals();
        let dealt = (claimed.dealt, lot.bytes);
        let mut flight = Flight::new(dealt, epoch, client.clone(), binding, &self.limits);
        flight.queued = clock::since(since);
        let started = self.announce(&flight, &client);
        self.flights.push(flight);
        if let Err(error) = started {
            self.refuse(&client, &error.notice(&Step::Input));
            if let Some(flight) = self.flights.pop() {
                self.fail(&flight, error);
            }
            self.landed();
        }
        Ok(())
    }

    fn announce(&mut self, flight: &Flight, client: &Peer) -> Result<(), NodeError> {
        let body = control::encode(flight.binding())?;
        for party in self.party_peers() {
            self.announce_to(&party, flight.header(Kind::Bind), &body)?;
        }
        for (number, name) in (0u32..).zip(&flight.binding().receivers).skip(1) {
            if let Some(receiver) = Peer::parse(name, self.parties) {
                self.announce_to(&receiver, flight.header(Kind::Invite), &flight.invitation(number)?)?;
            }
        }
        self.announce_to(client, flight.header(Kind::Ticket), &flight.ticket()?)
    }

    /// Sends a message without which an inference cannot be; who cannot be reached is named.
    fn announce_to(&mut self, to: &Peer, header: Header, body: &[u8]) -> Result<(), NodeError> {
        let sent = self.inbox.send(to, header, body);
        sent.map_err(|e| ProtocolError::peer(to, Step::Input, lost(&e)).into())
    }

    /// Takes a party's message; with the last one, decides.
    pub(super) fn check(&mut self, message: &Received) -> Result<(), NodeError> {
        let Peer::Party(from) = &message.peer else { return Ok(()) };
        let Some(at) = self.flights.iter().position(|f| f.scope() == message.header.scope()) else {
            return Ok(());
        };
        match self.flights[at].check(*from, message) {
            Ok(false) => Ok(()),
            Ok(true) => {
                let verdict = self.flights.remove(at).decide();
                self.conclude(verdict)?;
                self.landed();
                Ok(())
            }
            Err(error) => {
                let flight = self.flights.remove(at);
                self.fail(&flight, error.into());
                self.landed();
                Ok(())
            }
        }
    }

    /// Records a verdict, then makes it known; a sole receiver is told before the disk has it.
    fn conclude(&mut self, verdict: Verdict) -> Result<(), NodeError> {
        let Verdict { scope, epoch, binding, hop, queued, since, accepted } = verdict;
        self.inbox.set_hop(hop);
        match accepted {
            Ok(accepted) => {
                let log = self.store.receivers(&binding.receivers);
                let (inbox, parties) = (&mut self.inbox, self.parties);
                accepted.release(log, |release| {
                    #[cfg(feature = "danger")]
                    if self.danger.stop_after_decision {
                        return;
                    }
                    for (index, name) in binding.receivers.iter().enumerate() {
                        send_release(inbox, parties, scope, (index, name), release);
                    }
                })?;
                #[cfg(feature = "danger")]
                if self.danger.stop_after_decision {
                    return Err(NodeError::Stopped);
                }
                for party in self.party_peers() {
                    self.inbox.send(&party, Header::new(Kind::Outcome, scope, 0), &[]).ok();
                }
                self.reporter.report(Event::Finished {
                    id: scope.id,
                    sent: Vec::new(),
                    waited_for_material: false,
                    rounds: 0,
                    phases: vec![(Phase::Queue, queued), (Phase::Parties, clock::since(since))],
                });
            }
            Err(error) => {
                // Counted before anybody hears of it: what failures say of the keys is bounded
                // across restarts.
                self.store.record_failed_checks(epoch.epoch(), epoch.failures())?;
                self.tell_failure(scope, &binding.receivers, error.into());
            }
        }
        Ok(())
    }

    /// Ends the use of models whose checks failed too often, with everything of them that is in
    /// flight.
    fn retire_if_due(&mut self) -> Result<(), NodeError> {
        let due = |epoch: &Arc<HelperEpoch>| Some((epoch.epoch(), *epoch.digest(), epoch.usable().err()?));
        let due: Vec<_> = self.models.iter().filter_map(|m| due(m.epoch.as_ref()?)).collect();
        for (epoch, ..) in &due {
            self.retire(*epoch)?;
        }
        // Each verdict more would say something of the keys.
        let over: Vec<Flight> = self.flights.extract_if(.., |flight| flight.usable().is_err()).collect();
        for flight in &over {
            if let Err(retired) = flight.usable() {
                self.fail(flight, retired.into());
            }
        }
        if !over.is_empty() {
            self.landed();
        }
        for (epoch, plan, retired) in due {
            self.tell_retired(epoch);
            if let Some(model) = self.models.of_plan_mut(&plan) {
                model.retired = Some(retired);
            }
        }
        Ok(())
    }

    /// Ends every inference that cannot go on after what happened; true if there was one.
    pub(super) fn interrupt(&mut self, incoming: &Incoming) -> bool {
        let parties = self.party_peers();
        let loading = self.loading.as_ref().map(Loading::id);
        let in_flight = |id| Some(id) == loading || self.flights.iter().any(|flight| flight.scope().id == id);
        let ended_by = |flight: &Flight| flight.ended_by(incoming, &parties, in_flight);
        let ended: Vec<(Scope, NodeError)> =
            self.flights.iter().filter_map(|f| Some((f.scope(), ended_by(f)?))).collect();
        for (scope, error) in &ended {
            if let Some(at) = self.flights.iter().position(|flight| flight.scope() == *scope) {
                let flight = self.flights.remove(at);
                self.fail(&flight, error.clone());
            }
        }
        if !ended.is_empty() {
            self.landed();
        }
        !ended.is_empty()
    }

    /// Ends everything in flight because this node ends.
    pub(super) fn give_up_flights(&mut self) {
        for flight in std::mem::take(&mut self.flights) {
            self.fail(&flight, NodeError::Closing);
        }
        self.inbox.flush(clock::now() + LAST_WORDS).ok();
    }

    fn fail(&mut self, flight: &Flight, error: NodeError) {
        self.tell_failure(flight.scope(), &flight.binding().receivers, error);
    }

    fn tell_failure(&mut self, scope: Scope, receivers: &[String], error: NodeError) {
        let notice = error.notice(&Step::Check);
        let header = Header::new(Kind::Abort, scope, 0);
        let receivers = receivers.iter().filter_map(|name| Peer::parse(name, self.parties));
        for receiver in receivers.collect::<Vec<_>>() {
            self.tell(&receiver, header, &notice);
        }
        let failures = if notice.rejected { self.failed_checks(scope.epoch) } else { 0 };
        let notice = AbortNotice { failures, ..notice };
        for party in self.party_peers() {
            self.tell(&party, header, &notice);
        }
        self.reporter.report(Event::Failed { id: scope.id, error });
    }

    /// Tells the dealing thread how many are in flight, if that has changed.
    fn landed(&mut self) {
        let changed = |model: &Model| {
            let of_model = self.flights.iter().filter(|flight| flight.binding().plan == model.digest);
            let now = of_model.count();
            model.in_flight.swap(now, Ordering::SeqCst) != now
        };
        if self.models.iter().filter(|model| changed(model)).count() > 0
            && let Some(handle) = &self.dealing
        {
            handle.wake();
        }
    }
}
