//! Requests of clients that wait for their turn at the helper, and why some wait in vain.

use super::dealing::Ended;
use super::serve::Helper;
use crate::event::Event;
use crate::inbox::Received;
use crate::peer::MAX_NAME;
use crate::store::Promised;
use crate::{NodeError, Peer};
use amicus_net::clock;
use amicus_protocol::control::{self, AbortNotice, Request};
use amicus_protocol::output::Release;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{Fault, ProtocolError, Scope, Step};
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
            if request.batch == 0 || request.batch > self.max_batch {
                let (batch, most) = (request.batch, self.max_batch);
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
                let (batch, since) = (request.batch, clock::now());
                self.requests.push_back(Waiting { client, batch, receivers, asked: false, since });
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

    /// Tells all who wait why they wait in vain.
    pub(super) fn refuse_waiting(&mut self, error: &ProtocolError) {
        let notice = AbortNotice::of(error, &Step::Input);
        for waiting in std::mem::take(&mut self.requests) {
            self.refuse(&waiting.client, &notice);
        }
    }

    /// Refuses a request whose decision could not be recorded and kept until it is delivered,
    /// beside those in flight, before anything is told of it; true if it did.
    pub(super) fn refuse_what_cannot_be_kept(&mut self, at: usize) -> bool {
        let Waiting { batch, receivers, .. } = &self.requests[at];
        let bytes = |receivers: usize, batch: usize| Release::bytes(receivers, self.answer * batch);
        let in_flight = self.flights.iter().map(|flight| {
            let receivers = &flight.binding().receivers;
            Promised { receivers, release: bytes(receivers.len(), flight.batch()) }
        });
        let release = bytes(receivers.len(), *batch as usize);
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
            // Dealt while another model was being loaded, or in a session that ended.
            let used = self.uses(scope);
            if ordered && used {
                self.supply.arrived(batch);
            }
            match dealt {
                Ok(Some(dealt)) => {
                    let id = dealt.scope().id;
                    if used {
                        self.supply.add(dealt, ordered);
                    }
                    // Last: who asks for an inference because of this must find it.
                    let (ready, inputs) = self.supply.ready();
                    let material = self.material * inputs as u64;
                    self.reporter.report(Event::Dealt { id, elapsed, bytes, ready, material });
                }
                Ok(None) => {}
                Err(error) if used => self.refuse_one(batch, &error),
                Err(_) => {}
            }
        }
    }

    /// A request that waits for material of that size waits in vain.
    fn refuse_one(&mut self, batch: u32, error: &NodeError) {
        let waiting = self.requests.iter().position(|w| w.asked && w.batch == batch);
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
