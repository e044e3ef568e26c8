//! A client over links: drives the states of `amicus-client`.

use crate::begun::Begun;
use crate::connect::InboxHandles;
use crate::exchange::{Part, Wait};
use crate::inbox::{Inbox, Received, Want};
use crate::{Culprit, Limits, NodeError, Peer};
use amicus_client::fingerprint::Fingerprints;
use amicus_client::inference::{Admission, Awaiting, PendingRequest};
use amicus_client::{Message, ToParties};
use amicus_field::OperatingSystem;
use amicus_net::clock;
use amicus_plan::Plan;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{EpochId, Fault, InferenceId, Parties, PartyId, ProtocolError, Scope, SessionId, Step};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A client with its links to helper and parties. Links are delivered to [`ClientNode::inboxes`].
pub struct ClientNode {
    plan: Arc<Plan>,
    parties: Parties,
    inbox: Inbox,
    inboxes: InboxHandles,
    limits: Limits,
    tickets: Tickets,
    /// The epoch whose fingerprint was compared.
    compared: Option<EpochId>,
}

/// The tickets that a client had in a session. Another one for the same inference is no answer to a
/// new request: the mask of an input is used once.
#[derive(Debug, Default)]
struct Tickets {
    session: Option<SessionId>,
    begun: Begun,
}

impl Tickets {
    fn is_new(&self, scope: Scope) -> bool {
        self.session != Some(scope.session) || !self.begun.is_spent(scope.id)
    }

    /// Whether somebody else's inference, whose output this client gets too, begins or ends.
    fn is_of_another(&self, peer: &Peer, h: &Header) -> bool {
        let news = matches!(h.kind, Kind::Invite | Kind::Abort) && h.id != InferenceId(0);
        news && *peer == Peer::Helper && self.is_new(h.scope())
    }

    fn take(&mut self, scope: Scope) {
        if self.session.replace(scope.session) != Some(scope.session) {
            self.begun = Begun::default();
        }
        self.begun.begin(scope.id);
    }
}

/// An inference's result.
#[derive(Clone, PartialEq)]
pub struct Inferred {
    /// What is revealed of all inputs, one input after the other: logits, and where the plan looks
    /// for values outside, what it found (`Plan::answer`).
    pub logits: Vec<f64>,
    /// From the first message to the unmasked result.
    pub elapsed: Duration,
    /// One-way hops in sequence on that path.
    pub rounds: u16,
}

impl std::fmt::Debug for Inferred {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The answer is the client's own; it belongs into no log.
        f.debug_struct("Inferred")
            .field("logits", &self.logits.len())
            .field("elapsed", &self.elapsed)
            .field("rounds", &self.rounds)
            .finish()
    }
}

impl ClientNode {
    /// A client without links.
    ///
    /// # Errors
    /// An invalid plan, or no handle to wait on.
    pub fn new(plan: Arc<Plan>, parties: Parties, max_batch: u32, limits: Limits) -> Result<Self, NodeError> {
        let mut inbox = Inbox::new(crate::limits::online(&plan, max_batch)?)?;
        inbox.set_bounds(crate::bounds::online(&plan, max_batch)?);
        let inboxes = InboxHandles { online: inbox.handle(), dealing: None };
        let limits = limits.for_plan(&plan)?;
        let tickets = Tickets::default();
        Ok(ClientNode { plan, parties, inbox, inboxes, limits, tickets, compared: None })
    }

    /// Where links are delivered.
    pub fn inboxes(&self) -> &InboxHandles {
        &self.inboxes
    }

    fn party_peers(&self) -> Vec<Peer> {
        self.parties.all().map(Peer::Party).collect()
    }

    fn everybody(&self) -> Vec<Peer> {
        self.party_peers().into_iter().chain([Peer::Helper]).collect()
    }

    /// Asks every party for the fingerprint of the loaded model and compares them.
    ///
    /// # Errors
    /// A party that does not answer; fingerprints that differ: the owner gave parties different
    /// models.
    pub fn fingerprint(&mut self) -> Result<[u8; 32], NodeError> {
        let deadline = clock::now() + self.limits.round;
        self.inbox.wait_for(&self.everybody(), &Step::load_part("fingerprint"), deadline)?;
        let question = Fingerprints::question(&self.plan.digest().map_err(ProtocolError::from)?);
        let mut fingerprints = Fingerprints::default();
        let mut common = None;
        for party in self.parties.all() {
            let peer = Peer::Party(party);
            self.send(&peer, &question)?;
            let step = Step::load_part("fingerprint");
            let answer = self.wait(deadline, &peer, &step, |_, from, h| {
                let refused = h.kind == Kind::Abort && h.id == InferenceId(0);
                *from == peer && (h.kind == Kind::Fingerprint || refused)
            })?;
            common = Some(fingerprints.answer(party, answer.header.epoch, answer.body())?);
        }
        self.compared = fingerprints.epoch();
        common.map(|digest| digest.0).ok_or_else(|| ProtocolError::Internal("no parties".into()).into())
    }

    /// Asks the helper for an inference of `batch` inputs whose output goes to this client and
    /// `also_to`.
    ///
    /// # Errors
    /// The helper's refusal, no answer, or a model that was loaded anew since its fingerprint was
    /// compared.
    pub fn request(&mut self, batch: u32, also_to: &[Peer]) -> Result<Admission, NodeError> {
        let deadline = clock::now() + self.limits.ticket();
        self.inbox.wait_for(&self.everybody(), &Step::Input, deadline)?;
        let also_to = also_to.iter().map(Peer::to_string).collect();
        let (pending, message) = PendingRequest::new(Arc::clone(&self.plan), self.parties, batch, also_to)?;
        self.send(&Peer::Helper, &message)?;
        let answer = self.wait(deadline, &Peer::Helper, &Step::Input, |tickets, peer, h| {
            // A notice about an inference is none about this request: anybody may name this client
            // as a receiver.
            let new = match h.kind {
                Kind::Ticket => tickets.is_new(h.scope()),
                Kind::Abort => h.id == InferenceId(0),
                _ => false,
            };
            *peer == Peer::Helper && new
        })?;
        self.tickets.take(answer.header.scope());
        let admission = pending.granted(&answer.header, answer.body(), &mut OperatingSystem)?;
        match self.compared {
            Some(epoch) if epoch != admission.scope().epoch => {
                let (was, is) = (epoch, admission.scope().epoch);
                Err(ProtocolError::Reloaded { was, is }.into())
            }
            _ => Ok(admission),
        }
    }

    /// Sends the masked input and waits for the result. `x` holds the inputs one after the other,
    /// as integers at the plan's input scale.
    ///
    /// # Errors
    /// An abort, with its reason; a rejected check; no answer.
    pub fn infer(&mut self, admission: Admission, x: &[i64]) -> Result<Inferred, NodeError> {
        let started = clock::now();
        self.inbox.set_hop(0);
        let (awaiting, messages) = admission.mask(x)?;
        self.say(&messages);
        self.receive(awaiting, &messages, started)
    }

    /// Waits for an inference of another client whose output this client gets too.
    ///
    /// # Errors
    /// Those of [`ClientNode::infer`].
    pub fn receive_invited(&mut self) -> Result<(InferenceId, Inferred), NodeError> {
        // The client who asks may wait this long for a ticket.
        let deadline = clock::now() + self.limits.ticket();
        self.inbox.wait_for(&self.everybody(), &Step::Output, deadline)?;
        let invite = self.wait(deadline, &Peer::Helper, &Step::Output, |_, peer, h| {
            *peer == Peer::Helper && h.kind == Kind::Invite
        })?;
        let (header, body) = (&invite.header, invite.body());
        let (awaiting, key) =
            Awaiting::invited(&self.plan, self.parties, header, body, &mut OperatingSystem)?;
        let said = [key];
        self.say(&said);
        let id = awaiting.scope().id;
        Ok((id, self.receive(awaiting, &said, clock::now())?))
    }

    fn send(&mut self, to: &Peer, message: &Message) -> Result<(), NodeError> {
        Ok(self.inbox.send(to, message.header, &message.body)?)
    }

    fn send_to(&mut self, party: PartyId, message: &ToParties) {
        // Over a link that broke nothing is sent: it is said again over the next one.
        self.inbox.send_in_parts(&Peer::Party(party), message.header(), message.parts(party)).ok();
    }

    /// Sends every party these messages.
    fn say(&mut self, messages: &[ToParties]) {
        self.inbox.take_arrived();
        for party in self.parties.all() {
            messages.iter().for_each(|message| self.send_to(party, message));
        }
    }

    /// Says the same again to parties that have just been dialled anew, and asks for their outputs.
    fn say_again(&mut self, said: &[ToParties], awaiting: &Awaiting) {
        let arrived = self.inbox.take_arrived();
        for party in self.parties.all().filter(|party| arrived.contains(&Peer::Party(*party))) {
            said.iter().for_each(|message| self.send_to(party, message));
            self.send_to(party, &awaiting.collect());
        }
    }

    /// Collects the parties' outputs and the helper's release; `said` is what the parties were told.
    fn receive(
        &mut self,
        mut awaiting: Awaiting,
        said: &[ToParties],
        started: Instant,
    ) -> Result<Inferred, NodeError> {
        let deadline = started + self.limits.outcome();
        let this = awaiting.scope();
        loop {
            if let Some(logits) = awaiting.result()? {
                let (elapsed, rounds) = (clock::since(started), self.inbox.hop());
                self.send(&Peer::Helper, &awaiting.acknowledgement()).ok();
                let collected = awaiting.collected();
                self.parties.all().for_each(|party| self.send_to(party, &collected));
                self.inbox.flush(clock::now() + self.limits.round).ok();
                return Ok(Inferred { logits, elapsed, rounds });
            }
            let wait = Wait { from: &Peer::Helper, step: &Step::Output, since: started, until: deadline };
            let tickets = &self.tickets;
            // Nobody's fault ends it: a helper that comes back repeats its release, and of outputs
            // one is enough.
            let next = self.inbox.exchange_or_woken(
                &wait,
                |_| Part::Bystander,
                |peer, h| match (peer, h.kind) {
                    _ if h.scope() != this && tickets.is_of_another(peer, h) => Want::Keep,
                    _ if h.scope() != this => Want::Drop,
                    (Peer::Party(_), Kind::Output) | (Peer::Helper, Kind::Release | Kind::Abort) => {
                        Want::Take
                    }
                    // Only the helper's word counts: a single party could lie.
                    _ => Want::Drop,
                },
            );
            let next = next.map_err(|error| if awaiting.released() { no_output(error) } else { error })?;
            let Some(m) = next else {
                self.say_again(said, &awaiting);
                continue;
            };
            match &m.peer {
                Peer::Party(from) => awaiting.output(*from, m.body().to_vec()),
                _ => awaiting.release(m.body().to_vec()),
            }
        }
    }

    fn wait(
        &mut self,
        deadline: Instant,
        from: &Peer,
        step: &Step,
        take: impl Fn(&Tickets, &Peer, &Header) -> bool,
    ) -> Result<Received, NodeError> {
        let part = |peer: &Peer| if peer == from { Part::Needed } else { Part::Bystander };
        let tickets = &self.tickets;
        let want = |peer: &Peer, h: &Header| match take(tickets, peer, h) {
            true => Want::Take,
            false if tickets.is_of_another(peer, h) => Want::Keep,
            false => Want::Drop,
        };
        self.inbox.exchange(&Wait::new(from, step, deadline), part, want)
    }
}

/// Once the helper has released it, whoever was heard has sent no output that is right.
fn no_output(error: NodeError) -> NodeError {
    match error {
        NodeError::Protocol(ProtocolError::Peer { step, fault: fault @ Fault::Silent(_), .. }) => {
            ProtocolError::peer(Culprit::EveryPartyHeard, step, fault).into()
        }
        other => other,
    }
}
