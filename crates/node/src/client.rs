//! A client: asks for an inference, masks its input, unmasks the output.

use crate::connect::Hubs;
use crate::error::lost;
use crate::inbox::{Inbox, Incoming, Received, Want};
use crate::{Limits, NodeError, Peer};
use amicus_plan::Plan;
use amicus_protocol::control::{self, Binding, Request, TicketGrant};
use amicus_protocol::input::Ticket;
use amicus_protocol::output::Receiver;
use amicus_protocol::wire::{Header, Kind, pack};
use amicus_protocol::{EpochId, Fault, InferenceId, Parties, ProtocolError, Step};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A client with its links to helper and parties. Links are delivered to [`ClientNode::hubs`].
pub struct ClientNode {
    plan: Arc<Plan>,
    parties: Parties,
    inbox: Inbox,
    hubs: Hubs,
    limits: Limits,
}

/// The right to one inference, and what to receive its output with.
#[derive(Debug)]
pub struct Admission {
    ticket: Ticket,
    receiver: Receiver,
    epoch: EpochId,
    id: InferenceId,
}

impl Admission {
    /// The inference.
    pub fn id(&self) -> InferenceId {
        self.id
    }
}

/// An inference's result.
#[derive(Clone, Debug, PartialEq)]
pub struct Inferred {
    /// Logits of all inputs, one input after the other.
    pub logits: Vec<f64>,
    /// From the first message to the unmasked result.
    pub elapsed: Duration,
    /// One-way hops in sequence on that path.
    pub rounds: u16,
}

impl ClientNode {
    /// A client without links.
    ///
    /// # Errors
    /// An invalid plan, or no handle to wait on.
    pub fn new(plan: Arc<Plan>, parties: Parties, max_batch: u32, limits: Limits) -> Result<Self, NodeError> {
        let inbox = Inbox::new(crate::limits::online(&plan, max_batch)?, Duration::ZERO)?;
        let hubs = Hubs { online: inbox.hub(), dealing: None };
        Ok(ClientNode { plan, parties, inbox, hubs, limits })
    }

    /// Where links are delivered.
    pub fn hubs(&self) -> &Hubs {
        &self.hubs
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
    /// A party that does not answer; fingerprints that differ: the owner gave parties different models.
    pub fn fingerprint(&mut self) -> Result<[u8; 32], NodeError> {
        let deadline = Instant::now() + self.limits.round;
        self.inbox.wait_for(&self.everybody(), deadline)?;
        let mut common: Option<(EpochId, [u8; 32])> = None;
        for party in self.party_peers() {
            self.inbox.send(&party, Header::epoch(Kind::Fingerprint, EpochId(0), 0), &[])?;
            let step = Step::load_part("fingerprint");
            let answer =
                self.wait(deadline, &party, &step, |peer, h| *peer == party && h.kind == Kind::Fingerprint)?;
            let digest = <[u8; 32]>::try_from(answer.body()).map_err(|_| {
                ProtocolError::peer(
                    &party,
                    step.clone(),
                    Fault::Length { expected: 32, got: answer.body().len() },
                )
            })?;
            let this = (answer.header.epoch, digest);
            if *common.get_or_insert(this) != this {
                let fault = Fault::Disagreement("fingerprint of the model".into());
                return Err(ProtocolError::peer(&party, step, fault).into());
            }
        }
        common.map(|(_, digest)| digest).ok_or_else(|| ProtocolError::Misuse("no parties".into()).into())
    }

    /// Asks the helper for an inference of `batch` inputs whose output goes to this client and `also_to`.
    ///
    /// # Errors
    /// The helper's refusal, or no answer.
    pub fn request(&mut self, batch: u32, also_to: &[Peer]) -> Result<Admission, NodeError> {
        let deadline = Instant::now() + self.limits.inference;
        self.inbox.wait_for(&self.everybody(), deadline)?;
        let request = Request { batch, also_to: also_to.iter().map(Peer::to_string).collect() };
        self.inbox.send(
            &Peer::Helper,
            Header::epoch(Kind::Request, EpochId(0), 0),
            &control::encode(&request)?,
        )?;
        let answer = self.wait(deadline, &Peer::Helper, &Step::Input, |peer, h| {
            *peer == Peer::Helper && (h.kind == Kind::Ticket || h.kind == Kind::Abort)
        })?;
        if answer.header.kind == Kind::Abort {
            return Err(crate::party::aborted_by(&answer));
        }
        let grant: TicketGrant = control::decode(answer.body())
            .map_err(|fault| ProtocolError::peer("helper", Step::Input, fault))?;
        if grant.binding.batch != batch {
            let fault = Fault::Unexpected(format!("ticket for a batch of {}", grant.binding.batch));
            return Err(ProtocolError::peer("helper", Step::Input, fault).into());
        }
        let (epoch, id) = (answer.header.epoch, answer.header.id);
        let plan = Arc::clone(&self.plan);
        let ticket = Ticket::from_grant(plan, self.parties, epoch, id, batch as usize, &grant.seeds)?;
        let receiver = Receiver::new(&self.plan, epoch, id, batch as usize)?;
        Ok(Admission { ticket, receiver, epoch, id })
    }

    /// Sends the masked input and waits for the result. `x` holds the inputs one after the other, as integers at the
    /// plan's input scale.
    ///
    /// # Errors
    /// An abort, with its reason; a rejected check; no answer.
    pub fn infer(&mut self, admission: Admission, x: &[i64]) -> Result<Inferred, NodeError> {
        let Admission { ticket, receiver, epoch, id } = admission;
        let started = Instant::now();
        self.inbox.reset_hop();
        let input = pack(&ticket.mask(x)?);
        for party in self.party_peers() {
            self.inbox.send(&party, Header::inference(Kind::Input, epoch, id, 0), &input)?;
            self.inbox.send(
                &party,
                Header::inference(Kind::ReceiverKey, epoch, id, 0),
                receiver.key().encode(),
            )?;
        }
        self.receive(&receiver, epoch, id, started)
    }

    /// Waits for an inference of another client whose output this client gets too.
    ///
    /// # Errors
    /// As [`ClientNode::infer`].
    pub fn receive_invited(&mut self) -> Result<(InferenceId, Inferred), NodeError> {
        let deadline = Instant::now() + self.limits.inference;
        self.inbox.wait_for(&self.everybody(), deadline)?;
        let invite = self.wait(deadline, &Peer::Helper, &Step::Output, |peer, h| {
            *peer == Peer::Helper && h.kind == Kind::Invite
        })?;
        let binding: Binding = control::decode(invite.body())
            .map_err(|fault| ProtocolError::peer("helper", Step::Output, fault))?;
        let (epoch, id) = (invite.header.epoch, invite.header.id);
        let receiver = Receiver::new(&self.plan, epoch, id, binding.batch as usize)?;
        for party in self.party_peers() {
            self.inbox.send(
                &party,
                Header::inference(Kind::ReceiverKey, epoch, id, 0),
                receiver.key().encode(),
            )?;
        }
        Ok((id, self.receive(&receiver, epoch, id, Instant::now())?))
    }

    /// Collects the parties' outputs and the helper's release.
    fn receive(
        &mut self,
        receiver: &Receiver,
        epoch: EpochId,
        id: InferenceId,
        started: Instant,
    ) -> Result<Inferred, NodeError> {
        let deadline = started + self.limits.inference;
        let mut outputs: Vec<(Peer, Vec<u8>)> = Vec::new();
        let mut release: Option<Vec<u8>> = None;
        loop {
            if let Some(release) = &release {
                let messages = outputs.iter().map(|(_, body)| body.as_slice());
                match receiver.unmask(release, messages) {
                    Ok(logits) => {
                        let (elapsed, rounds) = (started.elapsed(), self.inbox.hop());
                        self.inbox
                            .send(&Peer::Helper, Header::inference(Kind::ReleaseAck, epoch, id, 0), &[])
                            .ok();
                        self.inbox.flush(Instant::now() + self.limits.round).ok();
                        return Ok(Inferred { logits, elapsed, rounds });
                    }
                    Err(error) if outputs.len() == self.parties.count() => return Err(error.into()),
                    // The right message may still be on its way.
                    Err(_) => {}
                }
            }
            let incoming = self.inbox.next(deadline, |peer, h| match (peer, h.kind) {
                _ if (h.epoch, h.id) != (epoch, id) => Want::Drop,
                (Peer::Party(_), Kind::Output) | (Peer::Helper, Kind::Release | Kind::Abort) => Want::Take,
                // Only the helper's word counts: a single party could lie.
                _ => Want::Drop,
            })?;
            match incoming {
                Incoming::Message(m) if m.header.kind == Kind::Abort => {
                    return Err(crate::party::aborted_by(&m));
                }
                Incoming::Message(m) if m.header.kind == Kind::Release => release = Some(m.body().to_vec()),
                Incoming::Message(m) => {
                    if outputs.iter().all(|(peer, _)| *peer != m.peer) {
                        outputs.push((m.peer.clone(), m.body().to_vec()));
                    }
                }
                // A helper that comes back repeats its release.
                Incoming::Lost(..) | Incoming::Woken | Incoming::Refused(..) => {}
                Incoming::Timeout => {
                    let waited = Fault::Silent(started.elapsed().as_millis() as u64);
                    let who =
                        if release.is_none() { Peer::Helper.to_string() } else { "every party heard".into() };
                    return Err(ProtocolError::peer(who, Step::Output, waited).into());
                }
            }
        }
    }

    fn wait(
        &mut self,
        deadline: Instant,
        from: &Peer,
        step: &Step,
        take: impl Fn(&Peer, &Header) -> bool,
    ) -> Result<Received, NodeError> {
        let started = Instant::now();
        let fail = |fault| Err(ProtocolError::peer(from, step.clone(), fault).into());
        loop {
            match self.inbox.next(deadline, |peer, h| if take(peer, h) { Want::Take } else { Want::Drop })? {
                Incoming::Message(message) => return Ok(message),
                Incoming::Lost(peer, e) if peer == *from => return fail(lost(&e)),
                Incoming::Refused(peer, fault) if peer == *from => return fail(fault),
                Incoming::Lost(..) | Incoming::Refused(..) | Incoming::Woken => {}
                Incoming::Timeout => return fail(Fault::Silent(started.elapsed().as_millis() as u64)),
            }
        }
    }
}
