//! Requests of clients that wait for their turn at the helper, and why some wait in vain.

use super::dealing::Ended;
use super::serve::Helper;
use crate::event::Event;
use crate::inbox::Received;
use crate::peer::MAX_NAME;
use crate::store::Promised;
use crate::{NodeError, Peer};
use amicus_net::clock;
use amicus_plan::PlanDigest;
use amicus_protocol::control::{self, AbortNotice, Binding, Request};
use amicus_protocol::output::Release;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{Fault, ProtocolError, Scope, Step};
use std::collections::VecDeque;
use std::time::Instant;

/// Requests that wait, at most; further ones are refused.
const MAX_REQUESTS: usize = 256;
/// Receivers besides the client, at most.
const MAX_RECEIVERS: usize = 16;
// A binding that names all of them is no longer than parties and receivers accept.
const _: () = assert!((1 + MAX_RECEIVERS) * (MAX_NAME + 16) < control::MAX_BYTES);

/// A request that waits for its turn.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) client: Peer,
    pub(super) plan: PlanDigest,
    pub(super) batch: u32,
    /// The client first, each once.
    pub(super) receivers: Vec<String>,
    /// It waits for material, and hears why when there is none.
    pub(super) asked: bool,
    /// When it came.
    pub(super) since: Instant,
}

impl Helper {
    /// Queues a client's request, or says why not.
    pub(super) fn request(&mut self, message: &Received) {
        let client = message.peer.clone();
        let checked = control::decode::<Request>(message.body()).and_then(|request| {
            let known = |name: &String| matches!(Peer::parse(name, self.parties), Some(Peer::Client(_)));
            let unknown = || self.models.not_served(&request.plan);
            let most = self.models.of_plan(&request.plan).ok_or_else(unknown)?.max_batch;
            let batch = request.batch;
            if batch == 0 || batch > most {
                return Err(Fault::NotAllowed(format!("a batch of {batch}; 1 to {most} are allowed")));
            }
            if request.also_to.len() > MAX_RECEIVERS || !request.also_to.iter().all(known) {
                return Err(Fault::NotAllowed("these receivers".into()));
            }
            let of_client = self.requests.iter().filter(|waiting| waiting.client == client).count();
            if of_client >= self.requests_of_client {
                return Err(Fault::NotAllowed(format!("more than {of_client} waiting requests of a client")));
            }
            if self.requests.len() >= MAX_REQUESTS {
                return Err(Fault::NotAllowed(format!("more than {MAX_REQUESTS} waiting requests")));
            }
            Ok(request)
        });
        match checked {
            Ok(request) => {
                let receivers = receivers(&client, &request);
                let (plan, batch, since) = (request.plan, request.batch, clock::now());
                self.requests.push_back(Waiting { client, plan, batch, receivers, asked: false, since });
            }
            Err(fault) => {
                let error = ProtocolError::peer(&client, Step::Input, fault);
                self.tell(&client, message.header, &AbortNotice::of(&error, &Step::Input));
            }
        }
    }

    /// Tells a client that its request comes to nothing. It has no ticket, so it knows of no id.
    pub(super) fn refuse(&mut self, client: &Peer, notice: &AbortNotice) {
        self.tell(client, Header::new(Kind::Abort, Scope::NONE, 0), notice);
    }

    /// Refuses requests that waited so long that their clients are about to give up: for a session
    /// that some party kept from beginning, or in a queue, which is nobody's fault.
    pub(super) fn refuse_late(&mut self) {
        while self.requests.front().is_some_and(|w| clock::now() >= w.since + self.limits.turn()) {
            let Some(late) = self.requests.pop_front() else { return };
            let waited = clock::since(late.since).as_millis() as u64;
            let error = self.why_no_session(&Step::Input, late.since);
            let error = error.unwrap_or_else(|| ProtocolError::NoTurn { waited }.into());
            self.refuse(&late.client, &error.notice(&Step::Input));
        }
    }

    /// Tells all who wait for a model why they wait in vain.
    pub(super) fn refuse_waiting(&mut self, plan: &PlanDigest, error: &ProtocolError) {
        let notice = AbortNotice::of(error, &Step::Input);
        let all = std::mem::take(&mut self.requests).into_iter();
        let (refused, waiting): (VecDeque<_>, _) = all.partition(|waiting| waiting.plan == *plan);
        self.requests = waiting;
        for waiting in refused {
            self.refuse(&waiting.client, &notice);
        }
    }

    /// What was asked of the dealing thread is dealt no more.
    pub(super) fn ask_again(&mut self, plan: Option<&PlanDigest>) {
        let concerned = self.requests.iter_mut().filter(|waiting| plan.is_none_or(|p| waiting.plan == *p));
        concerned.for_each(|waiting| waiting.asked = false);
    }

    /// Refuses a request whose decision could not be recorded and kept until it is delivered,
    /// beside those in flight, before anything is told of it; true if it did.
    pub(super) fn refuse_what_cannot_be_kept(&mut self, at: usize) -> bool {
        let Waiting { plan, batch, receivers, .. } = &self.requests[at];
        let bytes = |plan: &PlanDigest, receivers: usize, batch: usize| {
            let model = self.models.of_plan(plan);
            Release::bytes(receivers, model.map_or(0, |model| model.answer) * batch)
        };
        let in_flight = self.flights.iter().map(|flight| {
            let Binding { plan, receivers, .. } = flight.binding();
            Promised { receivers, release: bytes(plan, receivers.len(), flight.batch()) }
        });
        let release = bytes(plan, receivers.len(), *batch as usize);
        let room = self.store.room_for_decision(Promised { receivers, release }, in_flight);
        let Err(what) = room else { return false };
        if let Some(Waiting { client, .. }) = self.requests.remove(at) {
            let error = ProtocolError::peer(client.clone(), Step::Input, Fault::NotAllowed(what));
            self.refuse(&client, &AbortNotice::of(&error, &Step::Input));
        }
        true
    }

    /// Takes what was dealt, or tells a client that waits for it why it was not.
    pub(super) fn take_dealt(&mut self) {
        while let Ok(Ended { scope, batch, ordered, elapsed, bytes, dealt }) = self.dealt.try_recv() {
            // Otherwise it was dealt for an epoch that was replaced, or in a session that ended.
            let of = self.model_of(scope).and_then(|model| Some((model.digest, model.lot(batch)?)));
            if let (true, Some((_, lot))) = (ordered, of) {
                self.supply.arrived(&lot);
            }
            match (dealt, of) {
                (Ok(Some(dealt)), Some((_, lot))) => {
                    self.supply.add(dealt, lot, ordered);
                    // Last: who asks for an inference because of this must find it.
                    let (id, (ready, material)) = (scope.id, self.supply.ready());
                    self.reporter.report(Event::Dealt { id, elapsed, bytes, ready, material });
                }
                (Err(error), Some((plan, _))) => self.refuse_one(&plan, batch, &error),
                (_, None) | (Ok(None), _) => {}
            }
        }
    }

    /// A request that waits for material of that size waits in vain.
    fn refuse_one(&mut self, plan: &PlanDigest, batch: u32, error: &NodeError) {
        let waits = |w: &Waiting| w.asked && w.plan == *plan && w.batch == batch;
        let waiting = self.requests.iter().position(waits);
        if let Some(waiting) = waiting.and_then(|at| self.requests.remove(at)) {
            self.refuse(&waiting.client, &error.notice(&Step::Preprocessing { layer: None }));
        }
    }
}

/// Receivers of an inference, the client first, each once.
fn receivers(client: &Peer, request: &Request) -> Vec<String> {
    let mut receivers = vec![client.to_string()];
    for name in &request.also_to {
        if !receivers.contains(name) {
            receivers.push(name.clone());
        }
    }
    receivers
}
