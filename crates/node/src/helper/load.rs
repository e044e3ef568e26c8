//! A model load at the helper, message by message (`docs/protocol.md`, section 4).
//!
//! Nothing is waited for here: a load's messages come between all others, so that releases,
//! acknowledgements and requests are served while one goes on.

use super::dealing::Command;
use super::serve::Helper;
use crate::event::Event;
use crate::exchange::{Part, Wait};
use crate::inbox::{Incoming, Received, Want};
use crate::{NodeError, Peer};
use amicus_field::OperatingSystem;
use amicus_net::clock;
use amicus_plan::WeightId;
use amicus_protocol::control;
use amicus_protocol::epoch::{HelperChallenge, HelperEpoch, HelperLoad};
use amicus_protocol::transcript::Digest;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{EpochId, Fault, Fresh, InferenceId, PartyId, ProtocolError, Step};
use std::sync::Arc;
use std::time::Instant;

/// A load in progress.
pub(super) struct Loading {
    epoch: EpochId,
    stage: Stage,
    /// What parties said in this stage, in party order.
    bodies: Vec<Option<Vec<u8>>>,
    since: Instant,
    until: Instant,
    /// The owner's link ended since: it may ask again.
    pub(super) owner_left: bool,
}

enum Stage {
    /// Waits for the parties' links.
    Links(Fresh<EpochId>),
    /// Sends the last party its corrections, from this weight tensor on.
    Corrections(HelperLoad, u32),
    /// Waits for the parties' hashes.
    Hashes(HelperLoad),
    /// Waits for the parties' answers to the challenge.
    Answers(HelperChallenge),
}

impl Loading {
    /// When the load is given up; now, when there is something to do before anybody says more.
    pub(super) fn deadline(&self) -> Instant {
        if matches!(self.stage, Stage::Corrections(..)) { clock::now() } else { self.until }
    }

    /// What its messages name.
    fn scope(&self) -> (EpochId, InferenceId) {
        (self.epoch, InferenceId(0))
    }

    fn step(&self) -> Step {
        Step::load_part(match self.stage {
            Stage::Links(_) => "request",
            Stage::Corrections(..) | Stage::Hashes(_) => "hash of masked weights and tags",
            Stage::Answers(_) => "answer to the challenge",
        })
    }

    /// What is done with a message while this load goes on; none when it is not the load's.
    pub(super) fn want(&self, peer: &Peer, h: &Header) -> Option<Want> {
        let this = (h.epoch, h.id) == self.scope();
        let expected = match self.stage {
            Stage::Links(_) | Stage::Corrections(..) => None,
            Stage::Hashes(_) => Some(Kind::LoadHash),
            Stage::Answers(_) => Some(Kind::LoadResponse),
        };
        match (peer, h.kind) {
            (Peer::Party(_) | Peer::Owner, Kind::Abort) if this => Some(Want::Take),
            (Peer::Party(_), _) if h.epoch < self.epoch => Some(Want::Drop),
            (Peer::Party(_), kind) if this && Some(kind) == expected => Some(Want::Take),
            // Nobody but the last party waits for the corrections.
            (Peer::Party(_), Kind::LoadHash) if this && matches!(self.stage, Stage::Corrections(..)) => {
                Some(Want::Keep)
            }
            (Peer::Party(_), kind) => Some(Want::Refuse(Fault::Unexpected(format!("{kind:?}")))),
            _ => None,
        }
    }

    /// Why the load ends, when that is what this means.
    pub(super) fn ended_by(&self, incoming: &Incoming, parties: &[Peer]) -> Option<NodeError> {
        match (incoming, &self.stage) {
            // Links are what the first stage waits for.
            (Incoming::Lost(..) | Incoming::Timeout, Stage::Links(_)) => return None,
            (Incoming::Message(m), _) if (m.header.epoch, m.header.id) != self.scope() => return None,
            _ => {}
        }
        let missing = self.bodies.iter().position(Option::is_none).unwrap_or(0);
        let step = self.step();
        let wait = Wait { from: &parties[missing], step: &step, since: self.since, until: self.until };
        wait.ended_by(incoming, |peer| match peer {
            Peer::Party(_) => Part::Needed,
            // Whether the owner is still needed, the parties know.
            Peer::Owner | Peer::Client(_) | Peer::Helper => Part::Bystander,
        })
    }
}

impl Helper {
    /// Begins the load that the owner asked for, when nothing else goes on.
    pub(super) fn begin_load(&mut self) -> Result<(), NodeError> {
        if self.flight.is_some() || self.loading.is_some() {
            return Ok(());
        }
        let Some(request) = self.load_request.take() else { return Ok(()) };
        let fresh = self.store.next_epoch()?;
        let (epoch, since) = (fresh.id(), clock::now());
        let until = since + self.limits.load_at_helper();
        if request.body() != self.digest.0 {
            let fault = Fault::Incompatible("the owner's plan is not this one".into());
            let error = ProtocolError::peer(&request.peer, Step::load_part("request"), fault);
            return self.fail_load(epoch, error.into());
        }
        let bodies = self.parties.all().map(|_| None).collect();
        let (stage, owner_left) = (Stage::Links(fresh), false);
        self.loading = Some(Loading { epoch, stage, bodies, since, until, owner_left });
        self.epoch = None;
        self.retired = None;
        self.supply.clear();
        // What was asked of the dealing thread was for the old epoch.
        self.requests.iter_mut().for_each(|waiting| waiting.asked = false);
        Ok(())
    }

    /// Does what a load can do before anybody says more.
    pub(super) fn advance_load(&mut self) -> Result<(), NodeError> {
        let Some(loading) = self.loading.take() else { return Ok(()) };
        let step = loading.step();
        let Loading { epoch, stage, bodies, since, until, owner_left } = loading;
        let advanced = match stage {
            Stage::Links(fresh) => self.grant(fresh, &step, since, until),
            Stage::Corrections(load, index) if (index as usize) < self.plan.weights.len() => {
                let last = Peer::Party(self.parties.last());
                let header = Header::epoch(Kind::LoadCorrection, epoch, index);
                let sent = self.send_in_load(&last, &step, header, &load.corrections(WeightId(index)));
                sent.map(|()| Stage::Corrections(load, index + 1))
            }
            Stage::Corrections(load, _) => Ok(Stage::Hashes(load)),
            stage @ (Stage::Hashes(_) | Stage::Answers(_)) => Ok(stage),
        };
        match advanced {
            Ok(stage) => {
                self.loading = Some(Loading { epoch, stage, bodies, since, until, owner_left });
                Ok(())
            }
            Err(error) => self.fail_load(epoch, error),
        }
    }

    /// Tells owner and parties that the epoch begins, once all parties have links.
    fn grant(
        &mut self,
        fresh: Fresh<EpochId>,
        step: &Step,
        since: Instant,
        until: Instant,
    ) -> Result<Stage, NodeError> {
        let parties = self.party_peers();
        match parties.iter().find(|party| !self.inbox.connected(party)) {
            Some(missing) if clock::now() >= until => {
                let fault = Fault::Lost(format!("no link for {} ms", clock::since(since).as_millis()));
                return Err(ProtocolError::peer(missing, step.clone(), fault).into());
            }
            Some(_) => return Ok(Stage::Links(fresh)),
            None => {}
        }
        let load = HelperLoad::begin(Arc::clone(&self.plan), self.parties, fresh, &mut OperatingSystem)?;
        let header = |kind| Header::epoch(kind, load.epoch(), 0);
        for party in self.parties.all() {
            let (to, seed) = (Peer::Party(party), load.party_grant(party));
            self.send_in_load(&to, step, header(Kind::EpochBegin), seed.as_bytes())?;
        }
        self.send_in_load(&Peer::Owner, step, header(Kind::LoadGrant), &load.owner_grant())?;
        Ok(Stage::Corrections(load, 0))
    }

    fn send_in_load(&mut self, to: &Peer, step: &Step, header: Header, body: &[u8]) -> Result<(), NodeError> {
        let sent = self.inbox.send(to, header, body);
        sent.map_err(|e| ProtocolError::peer(to, step.clone(), Fault::Lost(e.to_string())).into())
    }

    /// Takes a message of the load; with the last one of a stage, goes on to the next.
    pub(super) fn load_message(&mut self, message: &Received) -> Result<(), NodeError> {
        let Some(loading) = self.loading.take() else { return Ok(()) };
        let (epoch, step) = (loading.epoch, loading.step());
        match self.take_word(loading, &step, message) {
            Ok(Some(loaded)) => {
                self.accept_load(loaded);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => self.fail_load(epoch, error),
        }
    }

    /// Keeps a party's word; the model, once all of it was said.
    fn take_word(
        &mut self,
        mut loading: Loading,
        step: &Step,
        message: &Received,
    ) -> Result<Option<HelperEpoch>, NodeError> {
        let fail = |fault| NodeError::from(ProtocolError::peer(&message.peer, step.clone(), fault));
        let Peer::Party(from) = &message.peer else {
            return Err(fail(Fault::Unexpected(format!("{:?}", message.header.kind))));
        };
        let slot = &mut loading.bodies[from.index()];
        if slot.is_some() {
            return Err(fail(Fault::Duplicate(format!("{:?}", message.header.kind))));
        }
        *slot = Some(message.body().to_vec());
        if loading.bodies.iter().any(Option::is_none) {
            self.loading = Some(loading);
            return Ok(None);
        }
        let bodies: Vec<Vec<u8>> = loading.bodies.iter_mut().filter_map(Option::take).collect();
        let stage = match loading.stage {
            Stage::Hashes(load) => {
                let challenge = load.hashes(&self.digests(&bodies, step)?, &mut OperatingSystem)?;
                for party in self.party_peers() {
                    let header = Header::epoch(Kind::Challenge, loading.epoch, 0);
                    self.send_in_load(&party, step, header, challenge.seed().as_bytes())?;
                }
                Stage::Answers(challenge)
            }
            Stage::Answers(challenge) => {
                let loaded = challenge.responses(&bodies)?.retired_after(self.failure_limit);
                return Ok(Some(loaded));
            }
            stage @ (Stage::Links(_) | Stage::Corrections(..)) => stage,
        };
        self.loading = Some(Loading { stage, ..loading });
        Ok(None)
    }

    fn digests(&self, bodies: &[Vec<u8>], step: &Step) -> Result<Vec<Digest>, NodeError> {
        let digest = |(party, body): (PartyId, &Vec<u8>)| {
            let fault = Fault::Length { expected: 32, got: body.len() };
            let bytes = <[u8; 32]>::try_from(body.as_slice());
            bytes.map(Digest).map_err(|_| ProtocolError::peer(party, step.clone(), fault).into())
        };
        self.parties.all().zip(bodies).map(digest).collect()
    }

    fn accept_load(&mut self, loaded: HelperEpoch) {
        let (id, epoch) = (loaded.epoch(), Arc::new(loaded));
        self.command(Command::Epoch(Arc::clone(&epoch)));
        self.epoch = Some(epoch);
        for peer in self.party_peers().iter().chain([&Peer::Owner]) {
            self.inbox.send(peer, Header::epoch(Kind::LoadAccepted, id, 0), &[]).ok();
        }
        self.reporter.report(Event::Loaded { epoch: id });
    }

    /// Gives up the load in progress, if there is one.
    pub(super) fn give_up_load(&mut self, error: NodeError) -> Result<(), NodeError> {
        match self.loading.take() {
            Some(loading) => self.fail_load(loading.epoch, error),
            None => Ok(()),
        }
    }

    fn fail_load(&mut self, epoch: EpochId, error: NodeError) -> Result<(), NodeError> {
        let body = control::encode(&error.notice(&Step::load_part("request")))?;
        for peer in self.party_peers().iter().chain([&Peer::Owner]) {
            self.inbox.send(peer, Header::epoch(Kind::Abort, epoch, 0), &body).ok();
        }
        self.reporter.report(Event::LoadFailed { error });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amicus_field::{Dense, Limbs, LinearShape};
    use amicus_plan::*;
    use amicus_protocol::Parties;

    fn begun() -> HelperLoad {
        let shape = LinearShape::Dense(Dense { inputs: 2, outputs: 2 });
        let linear = OpKind::Linear { input: ValueId(0), weights: WeightId(0), use_index: UseIndex(0) };
        let plan = Plan {
            name: "one layer".into(),
            limbs: Limbs::ONE,
            input: InputSpec { shape: vec![2], scale: ScaleBits(4), range: Range { low: -1.0, high: 1.0 } },
            weights: vec![WeightSpec { name: "w".into(), shape, scale: ScaleBits(4), bias: false }],
            ops: vec![Op { name: "w".into(), kind: linear }],
            output: OutputSpec { value: ValueId(1), ell: 12, scale: ScaleBits(8) },
        };
        let parties = Parties::new(2).unwrap();
        HelperLoad::begin(Arc::new(plan), parties, Fresh::recorded(EpochId(1)), &mut OperatingSystem).unwrap()
    }

    /// Parties that send their hashes before all corrections have left are not taken for silent
    /// afterwards.
    #[test]
    fn early_hashes_are_kept_until_the_corrections_have_left() {
        let now = clock::now();
        let wanted = |stage| {
            let loading = Loading {
                epoch: EpochId(1),
                stage,
                bodies: vec![None; 2],
                since: now,
                until: now,
                owner_left: false,
            };
            let of = |kind, epoch| {
                loading.want(&Peer::Party(PartyId::FIRST), &Header::epoch(kind, EpochId(epoch), 0))
            };
            assert!(matches!(of(Kind::LoadResponse, 1), Some(Want::Refuse(_))));
            assert!(matches!(of(Kind::LoadHash, 2), Some(Want::Refuse(_))));
            of(Kind::LoadHash, 1)
        };
        assert!(matches!(wanted(Stage::Corrections(begun(), 0)), Some(Want::Keep)));
        assert!(matches!(wanted(Stage::Hashes(begun())), Some(Want::Take)));
    }
}
