//! A model load at the helper, message by message (`docs/protocol.md`, section 4).

use super::serve::Helper;
use crate::exchange::{Part, Wait};
use crate::inbox::{Received, Want};
use crate::{NodeError, Peer};
use amicus_field::OperatingSystem;
use amicus_net::clock;
use amicus_plan::WeightId;
use amicus_protocol::epoch::{HelperEpoch, HelperLoad};
use amicus_protocol::transcript::Digest;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{EpochId, Fault, ProtocolError, Step};
use std::sync::Arc;
use std::time::Instant;

impl Helper {
    pub(super) fn run_load(
        &mut self,
        epoch: amicus_protocol::Fresh<EpochId>,
    ) -> Result<HelperEpoch, NodeError> {
        let deadline = clock::now() + self.limits.load_at_helper();
        let id = epoch.id();
        let parties = self.party_peers();
        self.inbox.wait_for(&parties, &Step::load_part("request"), deadline)?;
        let load = HelperLoad::begin(Arc::clone(&self.plan), self.parties, epoch, &mut OperatingSystem)?;
        for party in self.parties.all() {
            let header = Header::epoch(Kind::EpochBegin, id, 0);
            self.inbox.send(&Peer::Party(party), header, load.party_grant(party).as_bytes())?;
        }
        self.inbox.send(&Peer::Owner, Header::epoch(Kind::LoadGrant, id, 0), &load.owner_grant())?;
        let last = Peer::Party(self.parties.last());
        for index in 0..self.plan.weights.len() as u32 {
            let body = load.corrections(WeightId(index));
            self.inbox.send(&last, Header::epoch(Kind::LoadCorrection, id, index), &body)?;
        }

        let step = Step::load_part("hash of masked weights and tags");
        let bodies = self.one_of_each(id, Kind::LoadHash, &step, deadline)?;
        let mut hashes = Vec::with_capacity(bodies.len());
        for (party, body) in parties.iter().zip(bodies) {
            let digest = <[u8; 32]>::try_from(body.as_slice()).map_err(|_| {
                ProtocolError::peer(party, step.clone(), Fault::Length { expected: 32, got: body.len() })
            })?;
            hashes.push(Digest(digest));
        }
        let challenge = load.hashes(&hashes, &mut OperatingSystem)?;
        for party in &parties {
            self.inbox.send(party, Header::epoch(Kind::Challenge, id, 0), challenge.seed().as_bytes())?;
        }
        let step = Step::load_part("answer to the challenge");
        let answers = self.one_of_each(id, Kind::LoadResponse, &step, deadline)?;
        Ok(challenge.responses(&answers)?.retired_after(self.failure_limit))
    }

    /// One message of a kind from every party, in party order.
    fn one_of_each(
        &mut self,
        epoch: EpochId,
        kind: Kind,
        step: &Step,
        deadline: Instant,
    ) -> Result<Vec<Vec<u8>>, NodeError> {
        let since = clock::now();
        let parties = self.party_peers();
        let mut bodies: Vec<Option<Vec<u8>>> = parties.iter().map(|_| None).collect();
        while let Some(missing) = bodies.iter().position(Option::is_none) {
            let wait = Wait { from: &parties[missing], step, since, until: deadline };
            let message = self.inbox.exchange(&wait, part, |peer, h| load_want(epoch, kind, peer, h))?;
            take_body(&parties, &mut bodies, &message).map_err(|f| wait.fault_of(&message.peer, f))?;
        }
        Ok(bodies.into_iter().flatten().collect())
    }
}

/// Who takes part in a load at the helper: whether the owner is still needed, the parties know.
fn part(peer: &Peer) -> Part {
    if matches!(peer, Peer::Party(_)) { Part::Needed } else { Part::Bystander }
}

fn take_body(parties: &[Peer], bodies: &mut [Option<Vec<u8>>], message: &Received) -> Result<(), Fault> {
    let Some(at) = parties.iter().position(|p| *p == message.peer) else {
        return Err(Fault::Unexpected(format!("{:?}", message.header.kind)));
    };
    if bodies[at].is_some() {
        return Err(Fault::Duplicate(format!("{:?}", message.header.kind)));
    }
    bodies[at] = Some(message.body().to_vec());
    Ok(())
}

fn load_want(epoch: EpochId, kind: Kind, peer: &Peer, h: &Header) -> Want {
    match (peer, h.kind) {
        (Peer::Client(_), Kind::Request) => Want::Keep,
        (Peer::Party(_) | Peer::Owner, _) if h.epoch < epoch => Want::Drop,
        (Peer::Party(_) | Peer::Owner, Kind::Abort) if h.epoch == epoch => Want::Take,
        (Peer::Party(_), k) if k == kind && h.epoch == epoch => Want::Take,
        (Peer::Party(_), k) => Want::Refuse(Fault::Unexpected(format!("{k:?}"))),
        _ => Want::Drop,
    }
}
