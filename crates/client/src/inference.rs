//! An inference as the client sees it.
//!
//! ```text
//! PendingRequest --request--> helper --ticket--> Admission --masked input, key--> parties
//!                                      Awaiting <--output-- parties, <--release-- helper
//! ```

use crate::{Message, ToParties};
use amicus_field::Randomness;
use amicus_plan::{Plan, PlanDigest};
use amicus_protocol::authentic::AuthenticationKeys;
use amicus_protocol::control::{self, Invitation, Request, TicketGrant};
use amicus_protocol::input::Ticket;
use amicus_protocol::output::Receiver;
use amicus_protocol::wire::{Header, Kind, pack};
use amicus_protocol::{Fault, Parties, PartyId, Peer, ProtocolError, Scope, Step};
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// A request that was sent to the helper.
#[derive(Debug)]
pub struct PendingRequest {
    plan: Arc<Plan>,
    parties: Parties,
    batch: u32,
}

/// The right to one inference, and what to receive its output with.
#[derive(Debug)]
pub struct Admission {
    ticket: Ticket,
    awaiting: Awaiting,
}

/// An inference whose output is on its way.
pub struct Awaiting {
    receiver: Receiver,
    keys: AuthenticationKeys,
    parties: Parties,
    scope: Scope,
    outputs: Vec<(PartyId, Vec<u8>)>,
    release: Option<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for Awaiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Outputs and release together are the logits.
        f.debug_struct("Awaiting")
            .field("scope", &self.scope)
            .field("outputs", &self.outputs.len())
            .field("released", &self.release.is_some())
            .finish_non_exhaustive()
    }
}

impl PendingRequest {
    /// Asks for an inference of `batch` inputs whose output goes to this client and the others
    /// named; the message is for the helper.
    ///
    /// # Errors
    /// When the message cannot be encoded.
    pub fn new(
        plan: Arc<Plan>,
        parties: Parties,
        batch: u32,
        also_to: Vec<String>,
    ) -> Result<(Self, Message), ProtocolError> {
        let body = control::encode(&Request { plan: plan.digest()?, batch, also_to })?;
        let header = Header::new(Kind::Request, Scope::NONE, 0);
        Ok((PendingRequest { plan, parties, batch }, Message { header, body }))
    }

    /// Takes the helper's ticket and draws this client's key.
    ///
    /// # Errors
    /// A ticket that does not decode, or is for another plan or batch size; no randomness.
    pub fn granted(
        self,
        header: &Header,
        body: &[u8],
        randomness: &mut dyn Randomness,
    ) -> Result<Admission, ProtocolError> {
        let fail = |fault| ProtocolError::peer(Peer::Helper, Step::Input, fault);
        let grant: TicketGrant = control::decode(body).map_err(fail)?;
        if grant.binding.batch != self.batch {
            return Err(fail(Fault::Unexpected(format!("ticket for a batch of {}", grant.binding.batch))));
        }
        of_this_plan(&grant.binding.plan, &self.plan)?.map_err(fail)?;
        let (scope, batch) = (header.scope(), self.batch as usize);
        let keys = AuthenticationKeys::decode(self.parties, &grant.keys).map_err(fail)?;
        let awaiting = Awaiting::new(&self.plan, (self.parties, keys), scope, batch, randomness)?;
        let ticket = Ticket::from_grant(self.plan, self.parties, scope, batch, &grant.seeds)?;
        Ok(Admission { ticket, awaiting })
    }
}

impl Admission {
    /// The inference, its session and epoch.
    pub fn scope(&self) -> Scope {
        self.awaiting.scope
    }

    /// Masks the inputs (integers at the plan's input scale, one input after the other). The
    /// messages are for every party, in this order: the masked input, then this client's key.
    ///
    /// # Errors
    /// Inputs of the wrong length.
    pub fn mask(self, x: &[i64]) -> Result<(Awaiting, [ToParties; 2]), ProtocolError> {
        let input = self.awaiting.to_parties(Kind::Input, pack(&self.ticket.mask(x)?));
        let key = self.awaiting.key();
        Ok((self.awaiting, [input, key]))
    }
}

impl Awaiting {
    fn new(
        plan: &Plan,
        (parties, keys): (Parties, AuthenticationKeys),
        scope: Scope,
        batch: usize,
        randomness: &mut dyn Randomness,
    ) -> Result<Self, ProtocolError> {
        let receiver = Receiver::new(plan, scope, batch, &keys, randomness)?;
        Ok(Awaiting { receiver, keys, parties, scope, outputs: Vec::new(), release: None })
    }

    /// An inference of another client whose output this one gets too, from the helper's invitation.
    /// The message is for every party.
    ///
    /// # Errors
    /// An invitation that does not decode, or is to no inputs or another plan; no randomness.
    pub fn invited(
        plan: &Plan,
        parties: Parties,
        header: &Header,
        body: &[u8],
        randomness: &mut dyn Randomness,
    ) -> Result<(Self, ToParties), ProtocolError> {
        let fail = |fault| ProtocolError::peer(Peer::Helper, Step::Output, fault);
        let invitation: Invitation = control::decode(body).map_err(fail)?;
        let binding = &invitation.binding;
        if binding.batch == 0 {
            return Err(fail(Fault::Unexpected("invitation to no inputs".into())));
        }
        let batch = binding.batch as usize;
        of_this_plan(&binding.plan, plan)?.map_err(fail)?;
        let keys = AuthenticationKeys::decode(parties, &invitation.keys).map_err(fail)?;
        let awaiting = Awaiting::new(plan, (parties, keys), header.scope(), batch, randomness)?;
        let key = awaiting.key();
        Ok((awaiting, key))
    }

    fn key(&self) -> ToParties {
        self.to_parties(Kind::ReceiverKey, self.receiver.key().encode().to_vec())
    }

    fn to_parties(&self, kind: Kind, body: Vec<u8>) -> ToParties {
        ToParties::new(Header::new(kind, self.scope, 0), body, &self.keys)
    }

    /// Asks every party for the output again, in whatever session.
    pub fn collect(&self) -> ToParties {
        self.of_output(Kind::Collect)
    }

    /// Tells every party that the output is here: it needs not be kept any more.
    pub fn collected(&self) -> ToParties {
        self.of_output(Kind::Collected)
    }

    fn of_output(&self, kind: Kind) -> ToParties {
        ToParties::new(Header::new(kind, self.scope, 0), Vec::new(), &self.keys.of_output())
    }

    /// The keys that this receiver shares with the parties.
    pub fn authentication(&self) -> &AuthenticationKeys {
        &self.keys
    }

    /// The inference, its session and epoch.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Takes a party's output; a second one of the same party is ignored.
    pub fn output(&mut self, from: PartyId, body: Vec<u8>) {
        if self.outputs.iter().all(|(party, _)| *party != from) {
            self.outputs.push((from, body));
        }
    }

    /// Takes the helper's release.
    pub fn release(&mut self, body: Vec<u8>) {
        self.release.get_or_insert(Zeroizing::new(body));
    }

    /// Whether the helper has released.
    pub fn released(&self) -> bool {
        self.release.is_some()
    }

    /// The logits, as soon as the release and an output that matches it are there.
    ///
    /// # Errors
    /// When every party's output is there and none matches, or the release does not decode.
    pub fn result(&self) -> Result<Option<Vec<f64>>, ProtocolError> {
        let Some(release) = &self.release else { return Ok(None) };
        match self.receiver.unmask(release, self.outputs.iter().map(|(_, body)| body.as_slice())) {
            Ok(logits) => Ok(Some(logits)),
            // The right message may still be on its way.
            Err(_) if self.outputs.len() < self.parties.count() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Tells the helper that the release arrived.
    pub fn acknowledgement(&self) -> Message {
        Message { header: Header::new(Kind::ReleaseAck, self.scope, 0), body: Vec::new() }
    }
}

/// Whether what the helper says is about the plan that this client has.
fn of_this_plan(said: &PlanDigest, plan: &Plan) -> Result<Result<(), Fault>, ProtocolError> {
    let digest = plan.digest()?;
    if *said == digest {
        return Ok(Ok(()));
    }
    Ok(Err(Fault::Incompatible(format!("it is for plan {said}, this is {digest}"))))
}
