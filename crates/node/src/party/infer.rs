//! Inferences at a party (`docs/protocol.md`, section 6): many may be in flight, and each goes on
//! with every message that it waits for.

use super::Party;
use super::flight::{Flight, Stage};
use super::recipients::{Heard, Recipients};
use crate::event::Event;
use crate::exchange::{aborted_by, concerns};
use crate::inbox::{Incoming, Received};
use crate::limits::MAX_LANES;
use crate::{NodeError, Peer};
use amicus_net::{Frame, clock};
use amicus_protocol::control::{self, Binding};
use amicus_protocol::online::{AwaitingInput, Finished, Next, Running};
use amicus_protocol::output::ReceiverKey;
use amicus_protocol::preprocess::Material;
use amicus_protocol::wire::{HEADER_BYTES, Header, Kind};
use amicus_protocol::{Fault, Printable, ProtocolError, Scope, Step};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a node that ends waits until what it said last is on its way.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Party {
    /// Begins an inference that the helper bound to a client.
    pub(super) fn bind(&mut self, bind: &Received) -> Result<(), NodeError> {
        let scope = bind.header.scope();
        if let Err(error) = self.begin(scope.id) {
            self.reporter.report(Event::Failed { id: scope.id, error });
            return Ok(());
        }
        let binding = control::decode::<Binding>(bind.body());
        let client = binding.as_ref().ok().and_then(|b| Peer::parse(&b.client, self.parties));
        let flight = binding
            .map_err(|fault| ProtocolError::peer(Peer::Helper, Step::Input, fault).into())
            .and_then(|binding| self.flight(scope, &binding));
        match flight {
            Ok(mut flight) => {
                flight.hop = bind.header.hop;
                self.go_on(flight, |_, _| Ok(()))
            }
            Err(error) => self.give_up(scope, client.filter(|client| !client.is_guest()).as_ref(), error),
        }
    }

    /// The inference that a binding describes.
    fn flight(&mut self, scope: Scope, binding: &Binding) -> Result<Flight, NodeError> {
        if self.inbox.closing() {
            return Err(NodeError::Closing);
        }
        let refused = |fault| NodeError::from(ProtocolError::peer(Peer::Helper, Step::Input, fault));
        let role = |name: &String| match Peer::parse(name, self.parties) {
            Some(peer @ Peer::Client(_)) => Ok(peer),
            _ => Err(refused(Fault::Unexpected(format!("binding to {}", Printable::new(name))))),
        };
        if self.flights.len() >= MAX_LANES {
            return Err(refused(Fault::NotAllowed(format!("more than {MAX_LANES} inferences in flight"))));
        }
        let epoch = self.models.epoch(scope.epoch).cloned();
        let epoch = epoch.ok_or(ProtocolError::NotLoaded { epoch: scope.epoch })?;
        if binding.plan != epoch.context().digest {
            return Err(refused(Fault::Incompatible(format!("binding for plan {}", binding.plan))));
        }
        let client = role(&binding.client)?;
        let receivers = binding.receivers.iter().map(role).collect::<Result<Vec<_>, _>>()?;
        if receivers.first() != Some(&client) {
            return Err(refused(Fault::Unexpected("binding whose first receiver is not the client".into())));
        }
        let number = self.bound;
        self.bound += 1;
        let users = (client, receivers);
        Ok(Flight::new((scope, number), epoch, binding.batch as usize, users, &self.limits))
    }

    /// Takes a message for an inference in flight.
    pub(super) fn deliver(&mut self, message: &Received) -> Result<(), NodeError> {
        let Some(at) = self.flights.iter().position(|f| f.scope == message.header.scope()) else {
            if message.peer.is_guest() {
                let what = message.header.id.to_string();
                self.refuse_guest(message, &ProtocolError::Spent { what }.into());
            }
            return Ok(());
        };
        let flight = self.flights.swap_remove(at);
        self.go_on(flight, |party, flight| {
            flight.hop = flight.hop.max(message.header.hop);
            party.receive(flight, message)
        })
    }

    /// Tells a guest that its message comes to nothing.
    fn refuse_guest(&mut self, message: &Received, error: &NodeError) {
        let header = Header::new(Kind::Abort, message.header.scope(), 0);
        if let Ok(body) = control::encode(&error.notice(&Step::Input)) {
            // One that left needs not be told.
            self.send(&message.peer, header, &body).ok();
        }
    }

    /// Whether an inference may begin: those that run and those bound before it are fewer than this
    /// party's machine gives. All parties are told of inferences in one order, so none of two that wait
    /// for each other's shares holds another's turn.
    fn has_turn(&self, flight: &Flight) -> bool {
        let before = self.flights.iter().filter(|other| other.runs() || other.number < flight.number);
        before.count() < self.most_in_flight
    }

    /// Goes on with inferences that wait for their turn, if one has ended.
    pub(super) fn take_turns(&mut self) -> Result<(), NodeError> {
        let ended = std::mem::take(&mut self.turn_is_free);
        if ended && self.flights.iter().any(Flight::is_queued) { self.material_came() } else { Ok(()) }
    }

    /// Goes on with inferences that wait for material, those that were bound first before others.
    pub(super) fn material_came(&mut self) -> Result<(), NodeError> {
        let flights = std::mem::take(&mut self.flights);
        let (running, mut waiting): (Vec<_>, Vec<_>) = flights.into_iter().partition(Flight::runs);
        self.flights = running;
        waiting.sort_unstable_by_key(|flight| flight.number);
        for flight in waiting {
            self.go_on(flight, |_, _| Ok(()))?;
        }
        Ok(())
    }

    /// Ends every inference that cannot go on after what happened.
    pub(super) fn interrupt(&mut self, incoming: &Incoming) -> Result<(), NodeError> {
        let loading = self.loading.as_ref().map(|loading| loading.scope.id);
        let in_flight = |id| Some(id) == loading || self.flights.iter().any(|flight| flight.scope.id == id);
        let concerned = self.flights.iter().filter(|f| concerns(incoming, f.scope.id, in_flight));
        let ended = concerned.filter_map(|f| Some((f.scope, f.ended_by(incoming)?))).collect();
        self.end(ended)
    }

    /// An inference that waits for a client whose link ended before it did, how that ended, and
    /// when the client is given up: it may dial again, and say the same again.
    pub(super) fn client_that_left(&mut self) -> Option<(Scope, String, Instant)> {
        let (inbox, patience) = (&mut self.inbox, self.limits.relink());
        let left = self.flights.iter().filter_map(|f| {
            // A guest comes again by another way.
            let client = f.awaited_client().filter(|client| !client.is_guest())?;
            let (how, since) = inbox.left_since(client)?;
            Some((f.scope, how, since + patience))
        });
        left.min_by_key(|(.., until)| *until)
    }

    /// Ends an inference whose client left.
    pub(super) fn lost_client(&mut self, scope: Scope, how: String) -> Result<(), NodeError> {
        let Some(flight) = self.flights.iter().find(|f| f.scope == scope) else { return Ok(()) };
        let error = ProtocolError::peer(&flight.client, Step::Input, Fault::Lost(how));
        self.end(vec![(scope, error.into())])
    }

    /// Ends all inferences by a fault of the helper.
    pub(super) fn end_flights(&mut self, fault: &Fault) -> Result<(), NodeError> {
        let fail = |flight: &Flight| {
            let error = ProtocolError::peer(Peer::Helper, flight.step(), fault.clone());
            (flight.scope, error.into())
        };
        let ended = self.flights.iter().map(fail).collect();
        self.end(ended)
    }

    /// Ends everything in flight because this node ends.
    pub(super) fn give_up_flights(&mut self) {
        let ended = self.flights.iter().map(|f| (f.scope, NodeError::Closing)).collect();
        // What cannot be recorded any more ends with the node all the same.
        let _ = self.end(ended);
        self.inbox.flush(clock::now() + LAST_WORDS).ok();
    }

    fn end(&mut self, ended: Vec<(Scope, NodeError)>) -> Result<(), NodeError> {
        for (scope, error) in ended {
            if let Some(at) = self.flights.iter().position(|flight| flight.scope == scope) {
                let flight = self.flights.remove(at);
                self.give_up(scope, flight.client_at(), error)?;
            }
        }
        Ok(())
    }

    /// Does `first`, then as much of an inference as can be done without further messages.
    fn go_on(
        &mut self,
        mut flight: Flight,
        first: impl FnOnce(&mut Self, &mut Flight) -> Result<(), NodeError>,
    ) -> Result<(), NodeError> {
        let ended = first(self, &mut flight).and_then(|()| {
            self.inbox.set_hop(flight.hop);
            self.advance(&mut flight)
        });
        match ended {
            Ok(Some(event)) => {
                self.turn_is_free = true;
                self.reporter.report(event);
            }
            Ok(None) => self.flights.push(flight),
            Err(NodeError::Stopped) => return Err(NodeError::Stopped),
            Err(error) => self.give_up(flight.scope, flight.client_at(), error)?,
        }
        Ok(())
    }

    fn give_up(&mut self, scope: Scope, client: Option<&Peer>, error: NodeError) -> Result<(), NodeError> {
        self.turn_is_free = true;
        self.begun.give_up(scope.id);
        if matches!(&error, NodeError::Protocol(ProtocolError::Aborted { by: Peer::Helper, .. })) {
            // Nothing is released.
            self.outputs.forget(scope);
        }
        self.remember_failures(scope.epoch, &error)?;
        let header = Header::new(Kind::Abort, scope, 0);
        self.tell_abort(&error, &Step::Input, header, client.map_or(&[], std::slice::from_ref));
        self.reporter.report(Event::Failed { id: scope.id, error });
        Ok(())
    }

    fn receive(&mut self, flight: &mut Flight, message: &Received) -> Result<(), NodeError> {
        let (kind, peer, body) = (message.header.kind, &message.peer, message.body());
        match (&mut flight.stage, kind) {
            (_, Kind::Abort) => return Err(aborted_by(message)),
            (_, Kind::Input | Kind::ReceiverKey) => return self.of_recipient(flight, message),
            (Stage::Round { collecting, .. }, Kind::Opening) => {
                if let Peer::Party(from) = peer {
                    collecting.receive(*from, message.header.index, body)?;
                }
            }
            (Stage::Outcome, Kind::Outcome) => flight.stage = Stage::Done,
            _ => {}
        }
        Ok(())
    }

    /// Takes what a recipient says, if it is the recipient that says it.
    fn of_recipient(&mut self, flight: &mut Flight, message: &Received) -> Result<(), NodeError> {
        let (kind, peer) = (message.header.kind, &message.peer);
        // The client's input is of no other receiver.
        let may_speak = if kind == Kind::Input { &flight.receivers[..1] } else { &flight.receivers[..] };
        let among = peer.may_be(may_speak);
        let fail = |fault| NodeError::from(ProtocolError::peer(peer, Step::Input, fault));
        let Some(recipients) = flight.recipients.as_mut().filter(|_| !among.is_empty()) else {
            if peer.is_guest() {
                self.refuse_guest(message, &fail(Fault::Unauthenticated));
            }
            return Ok(());
        };
        let (at, heard) = recipients.hear(&among, message);
        match &heard {
            Heard::New(_) | Heard::Again => flight.reach(at, peer),
            Heard::Forged(fault) if peer.is_guest() => self.refuse_guest(message, &fail(fault.clone())),
            Heard::Other | Heard::Forged(_) => {}
        }
        match (heard, &mut flight.stage) {
            (Heard::New(input), Stage::Input { awaiting, running, .. }) if kind == Kind::Input => {
                if let Some(awaiting) = awaiting.take() {
                    *running = Some(awaiting.receive(peer, input)?);
                }
            }
            (Heard::New(key), Stage::Input { keys, .. }) => keys[at] = Some(ReceiverKey::decode(peer, key)?),
            (Heard::New(_) | Heard::Again, _) => {}
            (Heard::Other, _) => {
                let what = if kind == Kind::Input { "masked input" } else { "receiver key" };
                let error = fail(Fault::Duplicate(what.into()));
                if peer.is_guest() {
                    self.refuse_guest(message, &error);
                }
                return Err(error);
            }
            (Heard::Forged(fault), _) => self.reporter.report(Event::Unauthenticated { error: fail(fault) }),
        }
        Ok(())
    }

    /// Gives a receiver the output that it asks for, or takes its word that it has it.
    pub(super) fn tell_output(&mut self, message: &Received) {
        let found = match message.header.kind {
            Kind::Collect => self.outputs.asked(message),
            _ => self.outputs.collected(message).map(|()| None),
        };
        match found {
            Ok(Some(output)) => {
                let header = Header::new(Kind::Output, message.header.scope(), 0);
                self.inbox.set_hop(message.header.hop);
                // Whoever does not take it asks again.
                self.send(&message.peer, header, &output).ok();
            }
            Ok(None) if message.peer.is_guest() && message.header.kind == Kind::Collect => {
                let fault = Fault::NotAllowed("an output that is not kept here".into());
                self.refuse_guest(message, &ProtocolError::peer(&message.peer, Step::Output, fault).into());
            }
            Ok(None) => {}
            Err(fault) => {
                let error = ProtocolError::peer(&message.peer, Step::Output, fault).into();
                if message.peer.is_guest() {
                    self.refuse_guest(message, &error);
                }
                self.reporter.report(Event::Unauthenticated { error });
            }
        }
    }

    /// Does what can be done without further messages; tells how the inference ended, if it did.
    fn advance(&mut self, flight: &mut Flight) -> Result<Option<Event>, NodeError> {
        loop {
            match std::mem::replace(&mut flight.stage, Stage::Done) {
                Stage::Material if !self.has_turn(flight) => {
                    flight.wait_for_turn(self.most_in_flight, &self.limits);
                    flight.stage = Stage::Material;
                    return Ok(None);
                }
                Stage::Material => match self.material(flight)? {
                    Some(material) => {
                        let recipients = Recipients::new(&material.authentication(), flight.receivers.len());
                        flight.recipients = Some(recipients);
                        let awaiting = Some(AwaitingInput::new(Arc::clone(&flight.epoch), material)?);
                        let keys = flight.receivers.iter().map(|_| None).collect();
                        flight.enter(Stage::Input { awaiting, running: None, keys }, &self.limits);
                    }
                    None => {
                        flight.wait_for_material(&self.limits);
                        flight.stage = Stage::Material;
                        return Ok(None);
                    }
                },
                Stage::Input { running: Some(running), keys, .. } if keys.iter().all(Option::is_some) => {
                    self.proceed(flight, running, keys.into_iter().flatten().collect())?;
                }
                Stage::Round { collecting, keys, .. } if collecting.missing().is_none() => {
                    self.proceed(flight, collecting.complete()?, keys)?;
                }
                Stage::Done => {
                    let sent = self.others().iter().map(|_| flight.sent).collect();
                    let waited_for_material = flight.waited_for_material;
                    let (rounds, phases) = (flight.rounds, flight.phases());
                    let id = flight.scope.id;
                    return Ok(Some(Event::Finished { id, sent, waited_for_material, rounds, phases }));
                }
                waiting => {
                    flight.stage = waiting;
                    return Ok(None);
                }
            }
        }
    }

    /// The material of an inference, if it is there.
    fn material(&mut self, flight: &mut Flight) -> Result<Option<Material>, NodeError> {
        let Some(at) = self.ready.iter().position(|(m, _)| m.scope() == flight.scope) else {
            return Ok(None);
        };
        let (material, held) = self.ready.swap_remove(at);
        flight.held = Some(held);
        if material.batch() == flight.batch {
            return Ok(Some(material));
        }
        let fault = Fault::Unexpected(format!("batch {} for material of {}", flight.batch, material.batch()));
        Err(ProtocolError::peer(Peer::Helper, Step::Input, fault).into())
    }

    /// The next round, or the check after the last one.
    fn proceed(
        &mut self,
        flight: &mut Flight,
        running: Running,
        keys: Vec<ReceiverKey>,
    ) -> Result<(), NodeError> {
        let mut opening = match running.next()? {
            Next::Open(opening) => opening,
            Next::Check(finished) => return self.finish(flight, finished, &keys),
        };
        let plan = Arc::clone(&flight.epoch.context().plan);
        self.hooks.opening(&plan, &mut opening);
        let others = self.others();
        for (stage, share) in opening.shares() {
            let body = Frame::from(share.pack_in(Frame::zeros));
            let header = Header::new(Kind::Opening, flight.scope, stage.index());
            for other in &others {
                let sent = self.send(other, header, &body);
                sent.map_err(|e| {
                    let step = Step::opening(&plan, stage.op);
                    ProtocolError::peer(other, step, Fault::Lost(e.to_string()))
                })?;
            }
            flight.sent += (HEADER_BYTES + body.len()) as u64;
        }
        let round = opening.shares().first().and_then(|(stage, _)| flight.round_of(*stage)).unwrap_or(0);
        let collecting = opening.collect()?;
        flight.enter(Stage::Round { collecting, round, keys }, &self.limits);
        Ok(())
    }

    /// Sends the message for the check to the helper and the masked output to the receivers.
    fn finish(
        &mut self,
        flight: &mut Flight,
        finished: Finished,
        keys: &[ReceiverKey],
    ) -> Result<(), NodeError> {
        let scope = flight.scope;
        let (mut check, output) = finished.messages(keys)?;
        self.hooks.check(&mut check);
        let told = self.send(&Peer::Helper, Header::new(Kind::Check, scope, 0), &check.encode());
        let output: Arc<[u8]> = output.into();
        if let Some(recipients) = &flight.recipients {
            let receivers = (flight.receivers.clone(), recipients.of_output());
            self.outputs.keep(clock::now(), scope, receivers, Arc::clone(&output));
        }
        for receiver in &flight.reached() {
            // A receiver that is gone collects it when it comes back.
            self.send(receiver, Header::new(Kind::Output, scope, 0), &output).ok();
        }
        // The helper may have got the message although its link failed, and release the output.
        told.map_err(|e| ProtocolError::peer(Peer::Helper, Step::Check, Fault::Lost(e.to_string())))?;
        flight.enter(Stage::Outcome, &self.limits);
        Ok(())
    }
}
