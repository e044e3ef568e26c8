//! A model load at a party, message by message (`docs/protocol.md`, section 4).

use super::Party;
use crate::begun::Begun;
use crate::error::lost;
use crate::exchange::{Part, Wait};
use crate::inbox::{Received, Want};
use crate::{NodeError, Peer};
use amicus_net::clock;
use amicus_plan::WeightId;
use amicus_protocol::epoch::{PartyEpoch, PartyLoad};
use amicus_protocol::session::PartySession;
use amicus_protocol::wire::{Header, Kind, pack};
use amicus_protocol::{Fault, ProtocolError, Scope, Step};
use std::time::Instant;

impl Party {
    pub(super) fn run_load(
        &mut self,
        session: &PartySession,
        begin: &Received,
    ) -> Result<PartyEpoch, NodeError> {
        let scope = begin.header.scope();
        let started = clock::now();
        // From here on the id is spent, whatever happens.
        let keys = session.take(scope.epoch, &self.ctx.digest, scope.id)?;
        let want = |begun: &Begun, peer: &Peer, h: &Header| load_want(begun, scope, Stage::Weights, peer, h);
        self.linked(&self.others(), &Step::load_part("tags"), started + self.limits.load, want)?;
        let deadline = started + self.limits.load_of_keys();

        let mut load = PartyLoad::begin(self.ctx.clone(), keys, begin.body())?;
        // The owner waits for this: weights that come early would pile up here. Its link may be a
        // moment late.
        let (owner, step) = (Peer::Owner, Step::load_part("masked weights"));
        let patience = deadline.min(clock::now() + self.limits.round);
        self.linked(std::slice::from_ref(&owner), &step, patience, want)?;
        self.send_in_load(&owner, &step, Header::new(Kind::LoadReady, scope, 0), &[])?;
        let deadline = started + self.limits.load_of_weights();
        while !load.complete() {
            let waiting = (Peer::Owner, Step::load_part("masked weights"));
            let message = self.load_message(scope, Stage::Weights, deadline, &waiting)?;
            match message.header.kind {
                Kind::Nonce => load.nonce(message.body())?,
                Kind::Weights => load.weights(message.header.index, message.body())?,
                _ => load.correction(message.header.index, message.body())?,
            }
        }

        let mut tagging = load.tag()?;
        self.hooks.tagging(&self.ctx.plan, &mut tagging);
        for index in 0..self.ctx.plan.weights.len() as u32 {
            let body = pack(tagging.message(WeightId(index)));
            let step = Step::load("tags", &self.ctx.plan, WeightId(index));
            for other in self.others() {
                self.send_in_load(&other, &step, Header::new(Kind::Tags, scope, index), &body)?;
            }
        }
        let deadline = started + self.limits.load_of_tags();
        while let Some((missing, tensor)) = tagging.missing() {
            let waiting = (Peer::Party(missing), Step::load("tags", &self.ctx.plan, tensor));
            let message = self.load_message(scope, Stage::Tags, deadline, &waiting)?;
            if let Peer::Party(from) = message.peer {
                tagging.receive(from, message.header.index, message.body())?;
            }
        }

        let confirming = tagging.confirm()?;
        self.send(&Peer::Helper, Header::new(Kind::LoadHash, scope, 0), &confirming.hash().0)?;
        let deadline = started + self.limits.load_by_helper();
        let waiting = (Peer::Helper, Step::load_part("check of the tags"));
        let challenge = self.load_message(scope, Stage::Challenge, deadline, &waiting)?;
        let (awaiting, answer) = confirming.respond(challenge.body())?;
        let epoch = awaiting.unconfirmed();
        // All has been sent that depends on the epoch's secrets, and the helper accepts only what
        // all parties keep.
        if let Err(error) = self.store.keep_of_party(&epoch) {
            // Its file may be there all the same.
            self.store.retire(scope.epoch)?;
            return Err(error);
        }
        let sent = self.send(&Peer::Helper, Header::new(Kind::LoadResponse, scope, 0), &pack(&answer));
        sent.and_then(|()| self.load_message(scope, Stage::Acceptance, deadline, &waiting))
            .map_err(|error| self.burn(scope.epoch, error))?;
        self.replace_others(scope.epoch)?;
        Ok(epoch)
    }

    /// Sends a message to another role, whose fault it is when it cannot be reached.
    fn send_in_load(&mut self, to: &Peer, step: &Step, header: Header, body: &[u8]) -> Result<(), NodeError> {
        self.send(to, header, body).map_err(|e| match e {
            NodeError::Net(e) => ProtocolError::peer(to, step.clone(), lost(&e)).into(),
            e => e,
        })
    }

    /// The next message of this stage of the load.
    fn load_message(
        &mut self,
        scope: Scope,
        stage: Stage,
        deadline: Instant,
        (from, step): &(Peer, Step),
    ) -> Result<Received, NodeError> {
        let wait = Wait::new(from, step, deadline);
        self.exchange(
            &wait,
            |peer| part(stage, peer),
            |begun, peer, h| load_want(begun, scope, stage, peer, h),
        )
    }
}

/// Who takes part in a load. Once all its messages are here, the owner may leave. Once a party has
/// answered the challenge, the helper alone decides: a party that gave up now would lack a model
/// that the helper accepts.
fn part(stage: Stage, peer: &Peer) -> Part {
    match peer {
        Peer::Party(_) | Peer::Owner if matches!(stage, Stage::Acceptance) => Part::Bystander,
        Peer::Helper | Peer::Party(_) => Part::Needed,
        Peer::Owner => Part::MayLeave,
        Peer::Client(_) => Part::Bystander,
    }
}

/// What a load waits for, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Weights,
    Tags,
    Challenge,
    Acceptance,
}

impl Stage {
    /// The stage a message belongs to; none when it is no message of a load, or not this sender's.
    fn of(peer: &Peer, kind: Kind) -> Option<Self> {
        match (peer, kind) {
            (Peer::Owner, Kind::Nonce | Kind::Weights) | (Peer::Helper, Kind::LoadCorrection) => {
                Some(Stage::Weights)
            }
            (Peer::Party(_), Kind::Tags) => Some(Stage::Tags),
            (Peer::Helper, Kind::Challenge) => Some(Stage::Challenge),
            (Peer::Helper, Kind::LoadAccepted) => Some(Stage::Acceptance),
            _ => None,
        }
    }
}

fn load_want(begun: &Begun, scope: Scope, stage: Stage, peer: &Peer, h: &Header) -> Want {
    match (peer, h.kind) {
        // The owner may have heard of the acceptance first, and have told its clients.
        (Peer::Client(_), Kind::Fingerprint) if stage == Stage::Acceptance => return Want::Keep,
        (Peer::Client(_), Kind::Fingerprint) => return Want::Take,
        (Peer::Client(_), _) => return Want::Keep,
        _ => {}
    }
    if h.id < scope.id {
        return match (peer, h.kind) {
            // Nothing is left to send of an old load, unless it was given up midway.
            (Peer::Party(_), Kind::Tags) if !begun.gave_up(h.id) => {
                Want::Refuse(Fault::Replay(h.id.to_string()))
            }
            _ => Want::Drop,
        };
    }
    if h.id > scope.id {
        return Want::Keep;
    }
    match h.kind {
        _ if part(stage, peer) == Part::Bystander => Want::Drop,
        _ if h.scope() != scope => Want::Refuse(Fault::Unexpected(h.epoch.to_string())),
        Kind::Abort if *peer != Peer::Owner => Want::Take,
        Kind::EpochBegin => Want::Refuse(Fault::Replay(h.epoch.to_string())),
        kind => match Stage::of(peer, kind) {
            Some(this) if this == stage => Want::Take,
            Some(this) if this > stage => Want::Keep,
            Some(_) => Want::Refuse(Fault::Duplicate(format!("{kind:?}"))),
            None => Want::Refuse(Fault::Unexpected(format!("{kind:?}"))),
        },
    }
}
