//! One inference at a party: the loop over the plan's rounds (`docs/protocol.md`, section 6).

use super::{Aborted, Party};
use crate::event::Event;
use crate::exchange::{Part, Wait};
use crate::inbox::{Received, Want};
use crate::{Limits, NodeError, Peer};
use amicus_net::clock;
use amicus_plan::OpIndex;
use amicus_protocol::control::Binding;
use amicus_protocol::online::{AwaitingInput, Next, Opening, Running};
use amicus_protocol::output::ReceiverKey;
use amicus_protocol::preprocess::Material;
use amicus_protocol::wire::{Header, Kind, pack};
use amicus_protocol::{Fault, Printable, ProtocolError, Scope, Step};
use std::time::{Duration, Instant};

/// What a party knows of the inference it is in.
struct Current {
    scope: Scope,
    client: Peer,
    receivers: Vec<Peer>,
    /// Round of every operation that is opened; none for local ones.
    round_of: Vec<Option<usize>>,
    /// When the helper bound it.
    bound: Instant,
}

/// What the inference waits for.
#[derive(Clone, Copy)]
enum Phase<'a> {
    /// The client's input and the receivers' keys that are not there yet.
    Input { input: bool, keys: &'a [Option<ReceiverKey>] },
    /// Shares of a round.
    Round(usize),
    /// The helper's word.
    Outcome,
}

impl Party {
    pub(super) fn run_inference(&mut self, scope: Scope, binding: &Binding) -> Result<Event, NodeError> {
        let unknown = |name: &str| {
            let fault = Fault::Unexpected(format!("binding to {}", Printable::new(name)));
            ProtocolError::peer(Peer::Helper, Step::Input, fault)
        };
        let role = |name: &String| match Peer::parse(name, self.ctx.parties) {
            Some(peer @ Peer::Client(_)) => Ok(peer),
            _ => Err(unknown(name)),
        };
        if binding.plan != self.ctx.digest {
            let fault = Fault::Incompatible(format!("binding for plan {}", binding.plan));
            return Err(ProtocolError::peer(Peer::Helper, Step::Input, fault).into());
        }
        let mut round_of = vec![None; self.ctx.plan.ops.len()];
        for (round, r) in self.ctx.schedule.rounds.iter().enumerate() {
            r.open.iter().for_each(|op| round_of[op.index()] = Some(round));
        }
        let current = Current {
            scope,
            client: role(&binding.client)?,
            receivers: binding.receivers.iter().map(role).collect::<Result<_, _>>()?,
            round_of,
            bound: clock::now(),
        };
        let loaded = self.epoch.clone().filter(|e| e.epoch() == scope.epoch);
        let loaded = loaded.ok_or(ProtocolError::NotLoaded { epoch: scope.epoch })?;
        let (material, waited_for_material) = self.material(scope, binding.batch as usize)?;
        let sent_before = self.sent();

        let awaiting = AwaitingInput::new(loaded, material)?;
        let (mut running, keys) = self.input(&current, awaiting)?;
        let finished = loop {
            match running.next()? {
                Next::Open(opening) => running = self.round(&current, opening)?,
                Next::Check(finished) => break finished,
            }
        };
        let (mut check, output) = finished.messages(&keys)?;
        self.hooks.check(&mut check);
        let told = self.send(&Peer::Helper, Header::new(Kind::Check, scope, 0), &check.encode());
        for receiver in &current.receivers {
            // A receiver that is gone gets the output from another party, or not at all; that is
            // its own affair.
            self.send(receiver, Header::new(Kind::Output, scope, 0), &output).ok();
        }
        // The helper may have got the message although its link failed, and release the output.
        told.map_err(|e| ProtocolError::peer(Peer::Helper, Step::Check, Fault::Lost(e.to_string())))?;
        let wait = (clock::now(), self.limits.outcome());
        self.message(&current, Phase::Outcome, &Peer::Helper, &Step::Check, wait)?;
        let sent =
            self.sent().iter().zip(sent_before).map(|(after, before)| after.saturating_sub(before)).collect();
        Ok(Event::Finished { id: scope.id, sent, waited_for_material })
    }

    fn sent(&self) -> Vec<u64> {
        self.others().iter().map(|p| self.inbox.bytes_sent(p)).collect()
    }

    /// The material of an inference, and whether it had to be waited for. Material of earlier ids
    /// is dropped.
    fn material(&mut self, scope: Scope, batch: usize) -> Result<(Material, bool), NodeError> {
        let deadline = clock::now() + self.limits.load;
        let mut waited = false;
        loop {
            while let Ok(prepared) = self.prepared.try_recv() {
                self.take_prepared(prepared);
            }
            let of_epoch = |m: &Material| Scope { id: scope.id, ..m.scope() } == scope;
            self.ready.retain(|m| of_epoch(m) && m.id() >= scope.id);
            if let Some(at) = self.ready.iter().position(|m| m.scope() == scope) {
                let material = self.ready.swap_remove(at);
                if material.batch() == batch {
                    return Ok((material, waited));
                }
                let fault = Fault::Unexpected(format!("batch {batch} for material of {}", material.batch()));
                return Err(ProtocolError::peer(Peer::Helper, Step::Input, fault).into());
            }
            // Material of a later id is there, so that of this one never comes.
            if !self.ready.is_empty() {
                return Err(ProtocolError::Spent { what: scope.id.to_string() }.into());
            }
            waited = true;
            match clock::receive(&self.prepared, deadline) {
                Ok(prepared) => self.take_prepared(prepared),
                Err(_) => {
                    let fault = Fault::Silent(self.limits.load.as_millis() as u64);
                    return Err(ProtocolError::peer(
                        Peer::Helper,
                        Step::Preprocessing { layer: None },
                        fault,
                    )
                    .into());
                }
            }
        }
    }

    /// Takes the client's input and every receiver's key.
    fn input(
        &mut self,
        current: &Current,
        awaiting: AwaitingInput,
    ) -> Result<(Running, Vec<ReceiverKey>), NodeError> {
        let mut awaiting = Some(awaiting);
        let mut running = None;
        let mut keys: Vec<Option<ReceiverKey>> = current.receivers.iter().map(|_| None).collect();
        // For all messages together: who sends them one by one must not make this party late
        // itself.
        let wait = (clock::now(), self.limits.round);
        loop {
            let missing = match keys.iter().position(Option::is_none) {
                Some(at) => &current.receivers[at],
                None if running.is_none() => &current.client,
                None => break,
            };
            let phase = Phase::Input { input: running.is_none(), keys: &keys };
            let message = self.message(current, phase, missing, &Step::Input, wait)?;
            if message.header.kind == Kind::Input {
                if let Some(awaiting) = awaiting.take() {
                    running = Some(awaiting.receive(&message.peer, message.body())?);
                }
            } else if let Some(at) = current.receivers.iter().position(|r| *r == message.peer) {
                keys[at] = Some(ReceiverKey::decode(&message.peer, message.body())?);
            }
        }
        let running = running.ok_or_else(|| ProtocolError::Internal("no input".into()))?;
        Ok((running, keys.into_iter().flatten().collect()))
    }

    /// One round: send this party's shares, collect the others'.
    fn round(&mut self, current: &Current, mut opening: Opening) -> Result<Running, NodeError> {
        self.hooks.opening(&self.ctx.plan, &mut opening);
        let others = self.others();
        for (op, share) in opening.shares() {
            let body = pack(share);
            let header = Header::new(Kind::Opening, current.scope, op.0);
            for other in &others {
                let sent = self.send(other, header, &body);
                sent.map_err(|e| {
                    ProtocolError::peer(other, Step::opening(&self.ctx.plan, *op), Fault::Lost(e.to_string()))
                })?;
            }
        }
        let mut collecting = opening.collect()?;
        let started = clock::now();
        while let Some((missing, op)) = collecting.missing() {
            let round = current.round_of[op.index()].unwrap_or(0);
            let step = collecting.step();
            let wait = (started, self.limits.of_round(round));
            let message = self.message(current, Phase::Round(round), &Peer::Party(missing), &step, wait)?;
            if let Peer::Party(from) = message.peer {
                collecting.receive(from, message.header.index, message.body())?;
            }
        }
        Ok(collecting.complete()?)
    }

    /// The next message of a phase, which began at an instant and may take a time.
    fn message(
        &mut self,
        current: &Current,
        phase: Phase<'_>,
        from: &Peer,
        step: &Step,
        (since, limit): (Instant, Duration),
    ) -> Result<Received, NodeError> {
        let until = match current.in_all(&self.limits, phase) {
            Some(in_all) => (since + limit).min(current.bound + in_all),
            None => since + limit,
        };
        let wait = Wait { from, step, since, until };
        self.exchange(
            &wait,
            |peer| current.part(phase, peer),
            |aborted, peer, h| current.want(aborted, phase, peer, h),
        )
    }
}

impl Current {
    /// Whether a peer's faults end this inference: users who have no part in it cannot end it.
    fn part(&self, phase: Phase<'_>, peer: &Peer) -> Part {
        match peer {
            Peer::Helper | Peer::Party(_) => Part::Needed,
            Peer::Client(_) if *peer == self.client => match phase {
                Phase::Input { .. } => Part::Needed,
                Phase::Round(_) | Phase::Outcome => Part::MayLeave,
            },
            Peer::Client(_) | Peer::Owner => Part::Bystander,
        }
    }

    /// How long this party may take until the end of a phase, counted from the binding.
    fn in_all(&self, limits: &Limits, phase: Phase<'_>) -> Option<Duration> {
        let rounds = self.round_of.iter().flatten().max().map_or(0, |last| last + 1);
        match phase {
            Phase::Input { .. } => Some(limits.inference_of_round(0, rounds)),
            Phase::Round(round) => Some(limits.inference_of_round(round, rounds)),
            Phase::Outcome => None,
        }
    }

    fn want(&self, aborted: &Aborted, phase: Phase<'_>, peer: &Peer, h: &Header) -> Want {
        let (this, that) = (self.scope.id, h.id);
        let ends_here = h.kind == Kind::Abort && h.scope() == self.scope;
        match peer {
            // Asked before any id is known, and answered at once.
            Peer::Client(_) if h.kind == Kind::Fingerprint => Want::Take,
            // Nothing is left to send of an old id, unless it was given up midway.
            Peer::Party(_) if that < this && h.kind != Kind::Abort && !aborted.contains(&that) => {
                Want::Refuse(Fault::Replay(h.id.to_string()))
            }
            _ if that < this => Want::Drop,
            Peer::Party(_) | Peer::Helper if ends_here => Want::Take,
            _ if h.kind == Kind::Abort => Want::Drop,
            _ if that > this => Want::Keep,
            // This id, but not this session or epoch.
            Peer::Party(_) | Peer::Helper if h.scope() != self.scope => {
                Want::Refuse(Fault::Unexpected(h.epoch.to_string()))
            }
            _ if h.scope() != self.scope => Want::Drop,
            Peer::Party(_) => self.party_message(phase, h),
            Peer::Helper => match (phase, h.kind) {
                (Phase::Outcome, Kind::Outcome) => Want::Take,
                _ => Want::Refuse(Fault::Unexpected(format!("{:?}", h.kind))),
            },
            Peer::Client(_) => self.client_message(phase, peer, h.kind),
            Peer::Owner => Want::Drop,
        }
    }

    fn party_message(&self, phase: Phase<'_>, h: &Header) -> Want {
        let now = match phase {
            Phase::Input { .. } => 0,
            Phase::Round(round) => round,
            Phase::Outcome => usize::MAX,
        };
        if h.kind != Kind::Opening {
            return Want::Refuse(Fault::Unexpected(format!("{:?}", h.kind)));
        }
        match self.round_of.get(OpIndex(h.index).index()).copied().flatten() {
            None => Want::Refuse(Fault::Unexpected(format!("share of operation {}", h.index))),
            Some(round) if round == now => Want::Take,
            Some(round) if round > now => Want::Keep,
            Some(_) => Want::Refuse(Fault::Duplicate(format!("share of operation {}", h.index))),
        }
    }

    fn client_message(&self, phase: Phase<'_>, peer: &Peer, kind: Kind) -> Want {
        let receiver = self.receivers.iter().position(|r| r == peer);
        match (kind, phase, receiver) {
            (Kind::Input, Phase::Input { input: true, .. }, _) if *peer == self.client => Want::Take,
            (Kind::Input, ..) if *peer == self.client => {
                Want::Refuse(Fault::Duplicate("masked input".into()))
            }
            (Kind::ReceiverKey, Phase::Input { keys, .. }, Some(at)) if keys[at].is_none() => Want::Take,
            (Kind::ReceiverKey, _, Some(_)) => Want::Refuse(Fault::Duplicate("receiver key".into())),
            // Not a party to this inference.
            _ => Want::Drop,
        }
    }
}
