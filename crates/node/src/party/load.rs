//! A model load at a party, message by message (`docs/protocol.md`, section 4).

use super::{Party, aborted_by};
use crate::error::lost;
use crate::inbox::{Incoming, Received, Want};
use crate::{NodeError, Peer};
use amicus_plan::WeightId;
use amicus_protocol::epoch::{PartyEpoch, PartyLoad};
use amicus_protocol::keys::KeyAgreement;
use amicus_protocol::wire::{Header, Kind, pack};
use amicus_protocol::{EpochId, Fault, InferenceId, ProtocolError, Step};
use std::collections::VecDeque;
use std::time::Instant;

impl Party {
    pub(super) fn run_load(&mut self, begin: &Received) -> Result<PartyEpoch, NodeError> {
        let epoch = begin.header.epoch;
        let deadline = Instant::now() + self.limits.load;
        let fresh = self.lock_journal()?.spend_epoch(epoch)?;
        self.inbox.wait_for(&self.others(), deadline)?;

        let mut agreement = KeyAgreement::new(self.ctx.parties, self.ctx.me, epoch)?;
        for other in self.ctx.parties.others(self.ctx.me) {
            self.send(&Peer::Party(other), Header::epoch(Kind::Keys, epoch, 0), &agreement.message(other))?;
        }
        while let Some(missing) = agreement.missing() {
            let waiting = (Peer::Party(missing), Step::Keys);
            let message = self.load_message(epoch, deadline, &waiting, |peer, h| {
                matches!((peer, h.kind), (Peer::Party(_), Kind::Keys))
            })?;
            if let Peer::Party(from) = message.peer {
                agreement.receive(from, message.body())?;
            }
        }

        let mut load = PartyLoad::begin(self.ctx.clone(), fresh, agreement.finish()?, begin.body())?;
        while !load.complete() {
            let waiting = (Peer::Owner, Step::load_part("masked weights"));
            let message = self.load_message(epoch, deadline, &waiting, |peer, h| {
                matches!(
                    (peer, h.kind),
                    (Peer::Owner, Kind::Nonce | Kind::Weights) | (Peer::Helper, Kind::LoadCorrection)
                )
            })?;
            match message.header.kind {
                Kind::Nonce => load.nonce(message.body())?,
                Kind::Weights => load.weights(message.header.index, message.body())?,
                _ => load.correction(message.header.index, message.body())?,
            }
        }

        let mut tagging = load.tag()?;
        if let Some(conduct) = &mut self.conduct {
            conduct.tagging(&self.ctx.plan, &mut tagging);
        }
        for index in 0..self.ctx.plan.weights.len() as u32 {
            let body = pack(tagging.message(WeightId(index)));
            for other in self.others() {
                self.send(&other, Header::epoch(Kind::Tags, epoch, index), &body)?;
            }
        }
        while let Some((missing, tensor)) = tagging.missing() {
            let waiting = (Peer::Party(missing), Step::load("tags", &self.ctx.plan, tensor));
            let message = self.load_message(epoch, deadline, &waiting, |peer, h| {
                matches!((peer, h.kind), (Peer::Party(_), Kind::Tags))
            })?;
            if let Peer::Party(from) = message.peer {
                tagging.receive(from, message.header.index, message.body())?;
            }
        }

        let confirming = tagging.confirm()?;
        self.send(&Peer::Helper, Header::epoch(Kind::LoadHash, epoch, 0), &confirming.hash().0)?;
        let challenge = self.next_of_helper(epoch, deadline, Kind::Challenge)?;
        let (awaiting, answer) = confirming.respond(challenge.body())?;
        self.send(&Peer::Helper, Header::epoch(Kind::LoadResponse, epoch, 0), &pack(&answer))?;
        self.next_of_helper(epoch, deadline, Kind::LoadAccepted)?;
        Ok(awaiting.accepted())
    }

    fn next_of_helper(
        &mut self,
        epoch: EpochId,
        deadline: Instant,
        kind: Kind,
    ) -> Result<Received, NodeError> {
        let waiting = (Peer::Helper, Step::load_part("check of the tags"));
        self.load_message(epoch, deadline, &waiting, |peer, h| *peer == Peer::Helper && h.kind == kind)
    }

    /// The next message of this load that `take` names; others of it are kept.
    fn load_message(
        &mut self,
        epoch: EpochId,
        deadline: Instant,
        (waiting_for, step): &(Peer, Step),
        take: impl Fn(&Peer, &Header) -> bool,
    ) -> Result<Received, NodeError> {
        let started = Instant::now();
        let fail = |peer: Peer, fault| NodeError::from(ProtocolError::peer(peer, step.clone(), fault));
        loop {
            let aborted = &self.aborted;
            let incoming = self.inbox.next(deadline, |peer, h| load_want(aborted, epoch, peer, h, &take))?;
            match incoming {
                Incoming::Message(m) if m.header.kind == Kind::Abort => return Err(aborted_by(&m)),
                Incoming::Message(m) => return Ok(m),
                Incoming::Refused(peer @ (Peer::Helper | Peer::Party(_) | Peer::Owner), fault) => {
                    return Err(fail(peer, fault));
                }
                Incoming::Lost(peer @ (Peer::Helper | Peer::Party(_)), e) => {
                    return Err(fail(peer, lost(&e)));
                }
                // Once all its messages are here, the owner may leave.
                Incoming::Lost(Peer::Owner, e) if *waiting_for == Peer::Owner => {
                    return Err(fail(Peer::Owner, lost(&e)));
                }
                Incoming::Lost(..) | Incoming::Refused(..) | Incoming::Woken => {}
                Incoming::Timeout => {
                    return Err(fail(
                        waiting_for.clone(),
                        Fault::Silent(started.elapsed().as_millis() as u64),
                    ));
                }
            }
        }
    }
}

fn load_want(
    aborted: &VecDeque<(EpochId, InferenceId)>,
    epoch: EpochId,
    peer: &Peer,
    h: &Header,
    take: &impl Fn(&Peer, &Header) -> bool,
) -> Want {
    // Clients ask for fingerprints before they know any epoch.
    if matches!(peer, Peer::Client(_)) {
        return Want::Keep;
    }
    if h.epoch < epoch {
        return match (peer, h.kind) {
            // Of an old load nothing is left to send, unless it was given up midway.
            (Peer::Party(_), Kind::Keys | Kind::Tags) if !aborted.contains(&(h.epoch, h.id)) => {
                Want::Refuse(Fault::Replay(h.epoch.to_string()))
            }
            _ => Want::Drop,
        };
    }
    if h.epoch > epoch {
        return Want::Keep;
    }
    match h.kind {
        Kind::Abort if *peer != Peer::Owner => Want::Take,
        Kind::EpochBegin => Want::Refuse(Fault::Replay(epoch.to_string())),
        _ if take(peer, h) => Want::Take,
        _ => Want::Keep,
    }
}
