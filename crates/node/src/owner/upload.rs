//! The upload of a load's masked weights (`docs/protocol.md`, section 4): which message each party
//! is to get next.
//!
//! The owner's messages are numbered: the nonce is 0, then the parts of all tensors follow in order.
//! A party that is behind others, since its link broke, gets the same bytes again: masks follow
//! from the load's seeds, and weights that changed meanwhile end the load.

use super::OwnerNode;
use crate::exchange::{Part, Wait, aborted_by};
use crate::inbox::{Incoming, Want};
use crate::{NodeError, Peer};
use amicus_client::ToParties;
use amicus_client::load::{Loading, WeightSource};
use amicus_net::clock;
use amicus_plan::weights::parts;
use amicus_plan::{Plan, WeightId};
use amicus_protocol::authentic::BodyDigest;
use amicus_protocol::fingerprint::{ModelFingerprint, TensorFingerprint};
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{Fault, Parties, PartyId, ProtocolError, Scope, Step};
use std::time::{Duration, Instant};

/// How far an upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Messages that every party was given.
    pub given: usize,
    /// Messages in all.
    pub of: usize,
    /// How often a party went on over a new link.
    pub resumed: usize,
}

/// What a load still has to give.
pub(super) struct Upload<'a, W: ?Sized> {
    loading: Loading,
    weights: &'a W,
    /// Messages by number, after the nonce.
    parts: Vec<(WeightId, u32)>,
    /// Hashes of messages that were made: none may be made another way.
    made: Vec<BodyDigest>,
    fingerprint: ModelFingerprint,
    of_tensor: Option<TensorFingerprint>,
    /// What each party has been given, in party order.
    seats: Vec<Seat>,
    resumed: usize,
}

/// Where a party is.
#[derive(Clone, Copy, Debug, Default)]
struct Seat {
    /// The number of the next message for it.
    next: usize,
    /// Whether it said over its present link what it has.
    ready: bool,
    /// Whether it has said so before.
    begun: bool,
    /// When its link was lost.
    lost: Option<Instant>,
}

impl<'a, W: WeightSource + ?Sized> Upload<'a, W> {
    /// An upload that has not begun.
    pub(super) fn new(
        plan: &Plan,
        parties: Parties,
        loading: Loading,
        weights: &'a W,
    ) -> Result<Self, ProtocolError> {
        let ids = (0..plan.weights.len() as u32).map(WeightId);
        let parts = ids.flat_map(|id| (0u32..).zip(parts(plan.weight(id))).map(move |(part, _)| (id, part)));
        let (parts, fingerprint) = (parts.collect(), loading.fingerprint()?);
        let seats = parties.all().map(|_| Seat::default()).collect();
        let (made, of_tensor) = (Vec::new(), None);
        Ok(Upload { loading, weights, parts, made, fingerprint, of_tensor, seats, resumed: 0 })
    }

    pub(super) fn scope(&self) -> Scope {
        self.loading.scope()
    }

    fn count(&self) -> usize {
        1 + self.parts.len()
    }

    fn progress(&self) -> Progress {
        let given = self.seats.iter().map(|seat| seat.next).min().unwrap_or(0);
        Progress { given, of: self.count(), resumed: self.resumed }
    }

    /// The fingerprint, once all messages were made.
    pub(super) fn fingerprint(self) -> [u8; 32] {
        self.fingerprint.finish().0
    }

    /// The number of the message that is to be sent next, to those who wait for it.
    fn next(&self) -> Option<usize> {
        // Nobody gets anything before all are there.
        let begun = self.seats.iter().all(|seat| seat.begun);
        let ready = self.seats.iter().filter(|seat| seat.ready && begun).map(|seat| seat.next);
        ready.min().filter(|number| *number < self.count())
    }

    /// A message by number, the same whenever it is made.
    fn message(&mut self, number: usize) -> Result<ToParties, ProtocolError> {
        let message = match number.checked_sub(1).map(|at| self.parts[at]) {
            None => self.loading.nonce(),
            Some((id, part)) => self.loading.part(id, part, self.weights)?,
        };
        let digest = BodyDigest::of(message.body());
        match self.made.get(number) {
            Some(before) if *before == digest => return Ok(message),
            Some(_) => return Err(ProtocolError::Misuse("the weights changed during the load".into())),
            None => self.made.push(digest),
        }
        if let Some(at) = number.checked_sub(1) {
            let (id, part) = self.parts[at];
            if part == 0 {
                self.of_tensor = Some(self.loading.tensor_fingerprint(id));
            }
            if let Some(of_tensor) = &mut self.of_tensor {
                of_tensor.part(message.body());
            }
            if self.parts.get(at + 1).is_none_or(|(next, _)| *next != id)
                && let Some(of_tensor) = self.of_tensor.take()
            {
                self.fingerprint.tensor(&of_tensor.finish());
            }
        }
        Ok(message)
    }
}

impl<W: ?Sized> Upload<'_, W> {
    /// A party says how many messages it has; it gets those that follow.
    fn ready(&mut self, party: PartyId, body: &[u8]) -> Result<(), ProtocolError> {
        let fail = |fault| ProtocolError::peer(party, Step::load_part("masked weights"), fault);
        let length = || fail(Fault::Length { expected: 4, got: body.len() });
        let has = u32::from_le_bytes(body.try_into().map_err(|_| length())?) as usize;
        if has > self.made.len() {
            let more = format!("{has} messages of {} that were made", self.made.len());
            return Err(fail(Fault::Unexpected(more)));
        }
        let seat = &mut self.seats[party.index()];
        self.resumed += usize::from(seat.begun && !seat.ready);
        *seat = Seat { next: has, ready: true, begun: true, lost: None };
        Ok(())
    }

    /// Where a party is that lost its link.
    fn lost(&mut self, party: PartyId) {
        let seat = &mut self.seats[party.index()];
        seat.ready = false;
        seat.lost.get_or_insert_with(clock::now);
    }
}

impl OwnerNode {
    /// Gives the parties everything, and waits for the helper's word.
    pub(super) fn upload<W: WeightSource + ?Sized>(
        &mut self,
        upload: &mut Upload<'_, W>,
        watch: &mut dyn FnMut(Progress),
    ) -> Result<(), NodeError> {
        let scope = upload.scope();
        let started = clock::now();
        // Until it has its keys, a party could only pile weights up.
        let all_ready = started + self.limits.load_by_owner();
        let accepted = started + self.limits.load_by_helper();
        let step = Step::load_part("request");
        let mut helper_lost = None;
        loop {
            self.ask_those_who_came(scope);
            let number = upload.next();
            let missing = upload.seats.iter().position(|seat| !seat.begun);
            let missing = missing.and_then(|at| self.parties.all().nth(at)).map(Peer::Party);
            let (from, deadline) = match &missing {
                Some(party) => (party, all_ready),
                None => (&Peer::Helper, accepted),
            };
            let wait = Wait { from, step: &step, since: started, until: deadline };
            let lost = upload.seats.iter().filter_map(|seat| seat.lost).chain(helper_lost).min();
            let until = lost.map_or(wait.until, |since| wait.until.min(since + self.limits.round));
            let until = if number.is_some() { clock::now() } else { until };
            let incoming = self.inbox.next(until, |peer, h| want(scope, peer, h))?;
            match incoming {
                Incoming::Message(m) => match (&m.peer, m.header.kind) {
                    (Peer::Party(party), _) => {
                        upload.ready(*party, m.body())?;
                    }
                    (_, Kind::Abort) => return Err(aborted_by(&m)),
                    _ if upload.made.len() == upload.count() => return Ok(()),
                    _ => return Err(early_word(&wait)),
                },
                Incoming::Lost(Peer::Party(party), _) => upload.lost(party),
                Incoming::Lost(..) => drop(helper_lost.get_or_insert_with(clock::now)),
                Incoming::Refused(peer, fault, _) => return Err(wait.fault_of(&peer, fault)),
                Incoming::Timeout if number.is_some() => {
                    self.give(upload, accepted)?;
                    watch(upload.progress());
                }
                Incoming::Timeout => {
                    if let Some(error) = wait.ended_by(&Incoming::Timeout, |_| Part::Needed) {
                        return Err(error);
                    }
                }
                Incoming::Woken => {}
            }
            self.come_back(upload, &mut helper_lost, &wait)?;
        }
    }

    /// Over a new link, asks a party what it has, and the helper what has become of the load.
    fn ask_those_who_came(&mut self, scope: Scope) {
        for peer in self.inbox.take_arrived() {
            // A link that broke again comes again.
            self.inbox.send(&peer, Header::new(Kind::LoadReady, scope, 0), &[]).ok();
        }
    }

    /// Sends the next message to all that wait for it.
    fn give<W: WeightSource + ?Sized>(
        &mut self,
        upload: &mut Upload<'_, W>,
        deadline: Instant,
    ) -> Result<(), NodeError> {
        let Some(number) = upload.next() else { return Ok(()) };
        let message = upload.message(number)?;
        for party in self.parties.all() {
            let seat = &mut upload.seats[party.index()];
            if !seat.ready || seat.next != number {
                continue;
            }
            let peer = Peer::Party(party);
            // Nothing goes over a link that has just come before the party said what it has.
            let sent = self.inbox.connected(&peer)
                && self.inbox.send_in_parts(&peer, message.header(), message.parts(party)).is_ok();
            match sent {
                true => seat.next += 1,
                // What is lost is said again over the next link.
                false => upload.lost(party),
            }
        }
        // One part at a time: masked weights are not all held in memory.
        Ok(self.inbox.flush(deadline)?)
    }

    /// Waits for links that were lost, but not for ever.
    fn come_back<W: ?Sized>(
        &mut self,
        upload: &mut Upload<'_, W>,
        helper_lost: &mut Option<Instant>,
        wait: &Wait<'_>,
    ) -> Result<(), NodeError> {
        let patience = self.limits.round;
        let seats =
            self.parties.all().map(Peer::Party).zip(upload.seats.iter_mut().map(|seat| &mut seat.lost));
        for (peer, lost) in seats.chain([(Peer::Helper, helper_lost)]) {
            if self.inbox.connected(&peer) {
                *lost = None;
            }
            if let Some(waited) = lost.map(clock::since).filter(|waited| *waited >= patience) {
                return Err(wait.fault_of(&peer, gone(waited)));
            }
        }
        Ok(())
    }
}

fn gone(waited: Duration) -> Fault {
    Fault::Lost(format!("no link for {} ms", waited.as_millis()))
}

fn early_word(wait: &Wait<'_>) -> NodeError {
    wait.fault_of(&Peer::Helper, Fault::Unexpected("acceptance before all weights were sent".into()))
}

/// What an owner takes of others: what parties have, and the helper's word.
fn want(scope: Scope, peer: &Peer, h: &Header) -> Want {
    match (peer, h.kind) {
        _ if h.scope() != scope => Want::Drop,
        (Peer::Party(_), Kind::LoadReady) | (Peer::Helper, Kind::LoadAccepted | Kind::Abort) => Want::Take,
        // Only the helper's abort counts.
        _ => Want::Drop,
    }
}
