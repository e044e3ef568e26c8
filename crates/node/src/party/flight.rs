//! An inference in flight at a party: what it waits for, from whom, and until when.

use super::held::Held;
use super::recipients::Recipients;
use crate::event::Phase;
use crate::exchange::{Part, Wait};
use crate::inbox::{Incoming, Want};
use crate::{Limits, NodeError, Peer};
use amicus_net::clock;
use amicus_protocol::epoch::PartyEpoch;
use amicus_protocol::online::{AwaitingInput, Collecting, Running};
use amicus_protocol::output::ReceiverKey;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{Fault, ProtocolError, Scope, Step};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An inference that was bound to a client and has not ended.
pub(super) struct Flight {
    pub(super) scope: Scope,
    /// Its place in the order in which the helper bound inferences, which is the same at all parties.
    pub(super) number: u64,
    pub(super) epoch: Arc<PartyEpoch>,
    pub(super) batch: usize,
    pub(super) client: Peer,
    pub(super) receivers: Vec<Peer>,
    /// Where each of them is reached: a guest where its key was heard last.
    routes: Vec<Option<Peer>>,
    /// Their keys, once the material is there, and what they have said.
    pub(super) recipients: Option<Recipients>,
    pub(super) stage: Stage,
    /// When the helper bound it.
    bound: Instant,
    /// When the stage began.
    since: Instant,
    /// When the inference is given up unless the stage ends. One time for all messages of a stage:
    /// who sends them one by one must not make this party late itself.
    until: Instant,
    /// How many are in flight at a time, while this one waits for its turn among them.
    queued: Option<usize>,
    /// Hops in sequence so far.
    pub(super) hop: u16,
    /// Bytes of messages to every other party.
    pub(super) sent: u64,
    /// The room that its material takes until it ends.
    pub(super) held: Option<Held>,
    /// Whether its material was not there yet when it began.
    pub(super) waited_for_material: bool,
    /// Rounds that have begun.
    pub(super) rounds: usize,
    /// When phases after the first began.
    began: Vec<(Phase, Instant)>,
}

/// What an inference waits for.
pub(super) enum Stage {
    /// Its material, from the dealing thread.
    Material,
    /// The client's input and the receivers' keys that are not there yet.
    Input { awaiting: Option<AwaitingInput>, running: Option<Running>, keys: Vec<Option<ReceiverKey>> },
    /// The other parties' shares of a round.
    Round { collecting: Collecting, round: usize, keys: Vec<ReceiverKey> },
    /// The helper's word.
    Outcome,
    /// Nothing more.
    Done,
}

impl Flight {
    /// An inference that waits for its material.
    pub(super) fn new(
        (scope, number): (Scope, u64),
        epoch: Arc<PartyEpoch>,
        batch: usize,
        users: (Peer, Vec<Peer>),
        limits: &Limits,
    ) -> Self {
        let (client, receivers) = users;
        let routes = receivers.iter().map(|peer| (!peer.is_guest()).then(|| peer.clone())).collect();
        let now = clock::now();
        Flight {
            scope,
            number,
            epoch,
            batch,
            client,
            receivers,
            routes,
            recipients: None,
            stage: Stage::Material,
            bound: now,
            since: now,
            until: now + limits.load,
            queued: None,
            hop: 0,
            sent: 0,
            held: None,
            waited_for_material: false,
            rounds: 0,
            began: Vec::with_capacity(3),
        }
    }

    /// Whether it has begun: it is more than bound.
    pub(super) fn runs(&self) -> bool {
        !matches!(self.stage, Stage::Material)
    }

    /// Whether it has its material and waits for messages that others are about to send.
    pub(super) fn exchanges(&self) -> bool {
        matches!(self.stage, Stage::Input { .. } | Stage::Round { .. })
    }

    /// Whether it waits for its turn.
    pub(super) fn is_queued(&self) -> bool {
        self.queued.is_some()
    }

    /// From now on it waits for its turn among so many.
    pub(super) fn wait_for_turn(&mut self, most: usize, limits: &Limits) {
        self.queued = Some(most);
        self.until = self.bound + limits.turn_at_party();
    }

    /// From now on it waits for its material.
    pub(super) fn wait_for_material(&mut self, limits: &Limits) {
        self.queued = None;
        self.until = self.bound + limits.load;
        self.waited_for_material = true;
    }

    /// Goes on to a stage, which begins now.
    pub(super) fn enter(&mut self, stage: Stage, limits: &Limits) {
        let now = clock::now();
        let rounds = self.epoch.context().schedule.rounds.len();
        // How long this party may take until the end of a round, counted from the binding.
        let in_all = |round| self.bound + limits.inference_of_round(round, rounds);
        self.until = match &stage {
            Stage::Material => now + limits.load,
            Stage::Input { .. } => in_all(0).min(now + limits.round),
            Stage::Round { round, .. } => in_all(*round).min(now + limits.of_round(*round)),
            Stage::Outcome | Stage::Done => now + limits.outcome(),
        };
        self.queued = None;
        let phase = match &stage {
            Stage::Material | Stage::Done => None,
            Stage::Input { .. } => Some(Phase::Input),
            Stage::Round { .. } => {
                self.rounds += 1;
                (self.rounds == 1).then_some(Phase::Rounds)
            }
            Stage::Outcome => Some(Phase::Verdict),
        };
        self.began.extend(phase.map(|phase| (phase, now)));
        (self.stage, self.since) = (stage, now);
    }

    /// How long each phase took, the last one until now.
    pub(super) fn phases(&self) -> Vec<(Phase, Duration)> {
        let began = [(Phase::Material, self.bound)].into_iter().chain(self.began.iter().copied());
        let ends = self.began.iter().map(|(_, at)| *at).chain([clock::now()]);
        began.zip(ends).map(|((phase, from), to)| (phase, to.saturating_duration_since(from))).collect()
    }

    /// What it is waiting for, for errors.
    pub(super) fn step(&self) -> Step {
        self.waits_for().1
    }

    /// The client, when nothing but its input or key is missing.
    pub(super) fn awaited_client(&self) -> Option<&Peer> {
        let input = matches!(self.stage, Stage::Input { .. });
        (input && self.waits_for().0 == self.client).then_some(&self.client)
    }

    /// When this inference is given up unless it gets what it waits for.
    pub(super) fn deadline(&self) -> Instant {
        self.until
    }

    /// Whose message is missing, and what for.
    fn waits_for(&self) -> (Peer, Step) {
        match &self.stage {
            Stage::Material => (Peer::Helper, Step::Preprocessing { layer: None }),
            Stage::Input { keys, .. } => {
                let missing = keys.iter().position(Option::is_none).map(|at| &self.receivers[at]);
                (missing.unwrap_or(&self.client).clone(), Step::Input)
            }
            Stage::Round { collecting, .. } => {
                let missing = collecting.missing().map_or(Peer::Helper, |(party, _)| Peer::Party(party));
                (missing, collecting.step())
            }
            Stage::Outcome | Stage::Done => (Peer::Helper, Step::Check),
        }
    }

    /// Why what happened ends this inference, if it does.
    pub(super) fn ended_by(&self, incoming: &Incoming) -> Option<NodeError> {
        if let Some(most) = self.queued
            && matches!(incoming, Incoming::Timeout)
            && clock::now() >= self.until
        {
            let waited = clock::since(self.bound).as_millis() as u64;
            return Some(ProtocolError::Busy { most, waited }.into());
        }
        let (from, step) = self.waits_for();
        let wait = Wait { from: &from, step: &step, since: self.since, until: self.until };
        wait.ended_by(incoming, |peer| self.part(peer))
    }

    /// Whether a peer's faults end this inference: those of users do not, unless they authenticated
    /// what is wrong.
    fn part(&self, peer: &Peer) -> Part {
        match peer {
            Peer::Helper | Peer::Party(_) => Part::Needed,
            // What was not authenticated may be anybody's.
            Peer::Client(_) | Peer::Owner => Part::Bystander,
        }
    }

    /// What this inference does with a message under its id.
    pub(super) fn want(&self, peer: &Peer, h: &Header) -> Want {
        let node = matches!(peer, Peer::Helper | Peer::Party(_));
        match (peer, h.kind) {
            (_, Kind::Abort) if node && h.scope() == self.scope => Want::Take,
            (_, Kind::Abort) => Want::Drop,
            // Tags of a load that failed, under an id that became this inference's.
            (Peer::Party(_), Kind::Tags) if h.epoch != self.scope.epoch => Want::Drop,
            // This id, but not this session or epoch.
            _ if h.scope() != self.scope && node => Want::Refuse(Fault::Unexpected(h.epoch.to_string())),
            // Somebody waits for an answer.
            (guest, Kind::Input | Kind::ReceiverKey) if h.scope() != self.scope && guest.is_guest() => {
                Want::Take
            }
            _ if h.scope() != self.scope => Want::Drop,
            (Peer::Party(_), Kind::Opening) => self.share(h.index),
            (Peer::Helper, Kind::Outcome) if matches!(self.stage, Stage::Outcome) => Want::Take,
            (Peer::Party(_) | Peer::Helper, kind) => Want::Refuse(Fault::Unexpected(format!("{kind:?}"))),
            (Peer::Client(_), kind) => self.of_client(peer, kind),
            (Peer::Owner, _) => Want::Drop,
        }
    }

    /// What is done with another party's share of an operation.
    fn share(&self, index: u32) -> Want {
        let stage = amicus_plan::Stage::from_index(index);
        let opened = self.round_of(stage);
        let now = match &self.stage {
            Stage::Material | Stage::Input { .. } => 0,
            Stage::Round { round, .. } => *round,
            Stage::Outcome | Stage::Done => usize::MAX,
        };
        match opened {
            None => Want::Refuse(Fault::Unexpected(format!("share of {stage}"))),
            Some(round) if round == now => Want::Take,
            Some(round) if round > now => Want::Keep,
            Some(_) => Want::Refuse(Fault::Duplicate(format!("share of {stage}"))),
        }
    }

    /// The round of an opening.
    pub(super) fn round_of(&self, stage: amicus_plan::Stage) -> Option<usize> {
        self.epoch.context().schedule.rounds.iter().position(|round| round.open.contains(&stage))
    }

    /// From now on this receiver is reached here.
    pub(super) fn reach(&mut self, at: usize, peer: &Peer) {
        if let Some(route) = self.routes.get_mut(at) {
            *route = Some(peer.clone());
        }
    }

    /// Where receivers are reached, as far as that is known.
    pub(super) fn reached(&self) -> Vec<Peer> {
        self.routes.iter().flatten().cloned().collect()
    }

    /// Where the client is reached, if that is known.
    pub(super) fn client_at(&self) -> Option<&Peer> {
        self.routes.first().and_then(Option::as_ref)
    }

    fn of_client(&self, peer: &Peer, kind: Kind) -> Want {
        let speaks = match kind {
            Kind::Input => !peer.may_be(std::slice::from_ref(&self.client)).is_empty(),
            Kind::ReceiverKey => !peer.may_be(&self.receivers).is_empty(),
            _ => false,
        };
        match &self.recipients {
            // Somebody waits for an answer.
            _ if !speaks && peer.is_guest() && matches!(kind, Kind::Input | Kind::ReceiverKey) => Want::Take,
            // Not a party to this inference.
            _ if !speaks => Want::Drop,
            Some(_) => Want::Take,
            // Whose it is shows with the material.
            None => Want::Keep,
        }
    }
}
