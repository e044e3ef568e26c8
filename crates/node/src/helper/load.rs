//! A model load at the helper, message by message (`docs/protocol.md`, section 4).
//!
//! Nothing is waited for here: a load's messages come between all others, so that releases,
//! acknowledgements and requests are served while one goes on.

use super::serve::Helper;
use crate::event::Event;
use crate::exchange::{Part, Wait, concerns};
use crate::inbox::{Incoming, Received, Want};
use crate::{NodeError, Peer};
use amicus_field::OperatingSystem;
use amicus_net::clock;
use amicus_plan::{Plan, PlanDigest, WeightId};
use amicus_protocol::control;
use amicus_protocol::epoch::{HelperChallenge, HelperEpoch, HelperLoad, plan_of_word};
use amicus_protocol::transcript::Digest;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{Fault, InferenceId, PartyId, ProtocolError, Scope, SessionId, Step};
use std::sync::Arc;
use std::time::Instant;

/// A load in progress.
pub(super) struct Loading {
    /// What its messages name; nothing before it is granted.
    scope: Scope,
    plan: Arc<Plan>,
    digest: PlanDigest,
    stage: Stage,
    /// What parties said in this stage, in party order.
    bodies: Vec<Option<Vec<u8>>>,
    since: Instant,
    until: Instant,
    /// The owner's link ended since: it may ask again.
    pub(super) owner_left: bool,
}

enum Stage {
    /// Waits for a session, which needs the parties' links.
    Session,
    /// Material for the load is being computed, in this session.
    Beginning(SessionId),
    /// Sends the last party its corrections, from this weight tensor on.
    Corrections(HelperLoad, u32),
    /// Waits for the parties' hashes.
    Hashes(HelperLoad),
    /// Waits for the parties' answers to the challenge.
    Answers(HelperChallenge),
}

impl Loading {
    /// When the load is given up, if anybody is waited for; now, when there is something to do
    /// before anybody says more.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Beginning(_) => None,
            Stage::Corrections(..) => Some(clock::now()),
            Stage::Session | Stage::Hashes(_) | Stage::Answers(_) => Some(self.until),
        }
    }

    /// When it began to wait for what it waits for.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Its id; none before it is granted.
    pub(super) fn id(&self) -> InferenceId {
        self.scope.id
    }

    /// The plan of the model that is loaded.
    pub(super) fn plan(&self) -> PlanDigest {
        self.digest
    }

    /// Whether it waits for a session.
    pub(super) fn waits(&self) -> bool {
        matches!(self.stage, Stage::Session | Stage::Beginning(_))
    }

    pub(super) fn step(&self) -> Step {
        Step::load_part(match self.stage {
            Stage::Session | Stage::Beginning(_) => "request",
            Stage::Corrections(..) | Stage::Hashes(_) => "hash of masked weights and tags",
            Stage::Answers(_) => "answer to the challenge",
        })
    }

    /// What is done with a message while this load goes on; none when it is not the load's.
    pub(super) fn want(&self, peer: &Peer, h: &Header) -> Option<Want> {
        let this = h.scope() == self.scope;
        let expected = match self.stage {
            Stage::Session | Stage::Beginning(_) => return None,
            Stage::Corrections(..) => None,
            Stage::Hashes(_) => Some(Kind::LoadHash),
            Stage::Answers(_) => Some(Kind::LoadResponse),
        };
        match (peer, h.kind) {
            (Peer::Party(_) | Peer::Owner, Kind::Abort) if this => Some(Want::Take),
            (Peer::Party(_), _) if h.id != self.scope.id => None,
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
            // When the first stage ends, others say.
            (_, Stage::Session | Stage::Beginning(_)) => return None,
            (Incoming::Message(m), _) if m.header.scope() != self.scope => return None,
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
    /// Begins the load that the owner asked for, when no other goes on. All models are served
    /// meanwhile, also an older one of this plan.
    pub(super) fn begin_load(&mut self) -> Result<(), NodeError> {
        if self.loading.is_some() || self.asides.is_busy() {
            return Ok(());
        }
        let Some(request) = self.load_request.take() else { return Ok(()) };
        let since = clock::now();
        let until = since + self.limits.load_at_helper();
        let (digest, plan) = match self.plan_asked_for(&request) {
            Ok(asked) => asked,
            Err(error) => return self.fail_load(&request.peer, Scope::NONE, error),
        };
        let bodies = self.parties.all().map(|_| None).collect();
        let (stage, owner_left) = (Stage::Session, false);
        let scope = Scope::NONE;
        self.loading = Some(Loading { scope, plan, digest, stage, bodies, since, until, owner_left });
        Ok(())
    }

    /// The plan that an owner asks to load.
    ///
    /// # Errors
    /// No digest, or that of a plan that is not served.
    pub(super) fn plan_asked_for(&self, request: &Received) -> Result<(PlanDigest, Arc<Plan>), NodeError> {
        let fail =
            |fault| NodeError::from(ProtocolError::peer(&request.peer, Step::load_part("request"), fault));
        let digest = plan_of_word(request.body()).map_err(fail)?;
        match self.models.of_plan(&digest) {
            Some(model) => Ok((digest, Arc::clone(&model.plan))),
            None => Err(fail(self.models.not_served(&digest))),
        }
    }

    /// Does what a load can do before anybody says more.
    pub(super) fn advance_load(&mut self) -> Result<(), NodeError> {
        let Some(loading) = self.loading.take() else { return Ok(()) };
        let step = loading.step();
        let Loading { mut scope, plan, digest, stage, bodies, mut since, mut until, owner_left } = loading;
        let advanced = match stage {
            Stage::Session if self.session.is_none() => self.await_session(&step, since, until),
            Stage::Session => self.begin_material(&plan),
            Stage::Beginning(of) => match self.material_of_load(of) {
                Ok(Some(load)) => {
                    // Parties' deadlines begin now too, and are to end before this one.
                    since = clock::now();
                    until = since + self.limits.load_at_helper();
                    scope = load.scope();
                    self.grant(load, &digest, &step)
                }
                Ok(None) if self.asides.is_busy() => Ok(Stage::Beginning(of)),
                // That session is over.
                Ok(None) => {
                    until = clock::now() + self.limits.load_at_helper();
                    Ok(Stage::Session)
                }
                Err(error) => Err(error),
            },
            Stage::Corrections(load, index) if (index as usize) < plan.weights.len() => {
                let last = Peer::Party(self.parties.last());
                let header = Header::new(Kind::LoadCorrection, scope, index);
                let sent = self.send_in_load(&last, &step, header, &load.corrections(WeightId(index)));
                sent.map(|()| Stage::Corrections(load, index + 1))
            }
            Stage::Corrections(load, _) => Ok(Stage::Hashes(load)),
            stage @ (Stage::Hashes(_) | Stage::Answers(_)) => Ok(stage),
        };
        match advanced {
            Ok(stage) => {
                self.loading = Some(Loading { scope, plan, digest, stage, bodies, since, until, owner_left });
                Ok(())
            }
            Err(error) => self.fail_load(&Peer::Owner, scope, error),
        }
    }

    /// Waits for a session to begin. One that is being begun ends by itself, well or not.
    fn await_session(&self, step: &Step, since: Instant, until: Instant) -> Result<Stage, NodeError> {
        if self.starting.is_some() || clock::now() < until {
            return Ok(Stage::Session);
        }
        let unknown = || ProtocolError::Internal("no session was begun".into()).into();
        Err(self.why_no_session(step, since).unwrap_or_else(unknown))
    }

    /// Has what the load deals computed, on a thread of its own.
    fn begin_material(&mut self, plan: &Arc<Plan>) -> Result<Stage, NodeError> {
        let Some(session) = self.session.clone() else { return Ok(Stage::Session) };
        let (id, plan) = (session.id(), Arc::clone(plan));
        #[cfg(feature = "danger")]
        let first = self.danger.aside.clone();
        self.asides.begin(id, move || {
            #[cfg(feature = "danger")]
            first.iter().for_each(|first| first());
            HelperLoad::begin(plan, &session, &mut OperatingSystem)
        })?;
        Ok(Stage::Beginning(id))
    }

    /// Forgets what was computed for a load that was given up meanwhile.
    pub(super) fn forget_material_of_loads(&mut self) -> Result<(), NodeError> {
        if !self.loading.as_ref().is_some_and(|load| matches!(load.stage, Stage::Beginning(_))) {
            while self.asides.take()?.is_some() {}
        }
        Ok(())
    }

    /// What was computed for a load that began in a session, once it is there; of a session that
    /// ended it is of no use.
    fn material_of_load(&mut self, of: SessionId) -> Result<Option<HelperLoad>, NodeError> {
        let present = self.session.as_ref().is_some_and(|session| session.id() == of);
        match self.asides.take()? {
            Some((session, load)) if session == of && present => Ok(Some(load?)),
            _ => Ok(None),
        }
    }

    /// Tells owner and parties that the epoch begins.
    fn grant(&mut self, load: HelperLoad, digest: &PlanDigest, step: &Step) -> Result<Stage, NodeError> {
        self.begun.begin(load.scope().id);
        let header = |kind| Header::new(kind, load.scope(), 0);
        for party in self.party_peers() {
            self.send_in_load(&party, step, header(Kind::EpochBegin), &digest.0)?;
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
        let (scope, step) = (loading.scope, loading.step());
        match self.take_word(loading, &step, message) {
            Ok(Some(loaded)) => self.accept_load(scope, loaded),
            Ok(None) => Ok(()),
            Err(error) => self.fail_load(&Peer::Owner, scope, error),
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
                    let header = Header::new(Kind::Challenge, loading.scope, 0);
                    self.send_in_load(&party, step, header, challenge.seed().as_bytes())?;
                }
                Stage::Answers(challenge)
            }
            Stage::Answers(challenge) => {
                let loaded = challenge.responses(&bodies)?.retired_after(self.failure_limit);
                return Ok(Some(loaded));
            }
            stage @ (Stage::Session | Stage::Beginning(_) | Stage::Corrections(..)) => stage,
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

    fn accept_load(&mut self, scope: Scope, loaded: HelperEpoch) -> Result<(), NodeError> {
        let plan = *loaded.digest();
        // On disk before anybody hears of it.
        if let Err(error) = self.accept(loaded) {
            return self.fail_load(&Peer::Owner, scope, error);
        }
        for peer in self.party_peers().iter().chain([&Peer::Owner]) {
            self.inbox.send(peer, Header::new(Kind::LoadAccepted, scope, 0), &[]).ok();
        }
        self.serve(&plan);
        self.reporter.report(Event::Loaded { epoch: scope.epoch });
        Ok(())
    }

    /// Ends the load, if what happened is a reason to; true if it did.
    pub(super) fn interrupt_load(
        &mut self,
        incoming: &Incoming,
        parties: &[Peer],
    ) -> Result<bool, NodeError> {
        let Some(loading) = &self.loading else { return Ok(false) };
        let in_flight = |id| self.flights.iter().any(|flight| flight.scope().id == id);
        if !concerns(incoming, loading.scope.id, in_flight) {
            return Ok(false);
        }
        match loading.ended_by(incoming, parties) {
            Some(error) => self.give_up_load(error).map(|()| true),
            None => Ok(false),
        }
    }

    /// Gives up the load in progress, if there is one.
    pub(super) fn give_up_load(&mut self, error: NodeError) -> Result<(), NodeError> {
        match self.loading.take() {
            Some(loading) => self.fail_load(&Peer::Owner, loading.scope, error),
            None => Ok(()),
        }
    }

    /// Tells an owner that comes back what has become of its load, unless it goes on.
    pub(super) fn tell_of_load(&mut self, question: &Received) {
        let scope = question.header.scope();
        if let Some(loading) = self.loading.as_mut().filter(|loading| loading.scope == scope) {
            loading.owner_left = false;
            return;
        }
        let mut accepted = self.models.iter().filter_map(|model| model.accepted.as_ref());
        let (kind, body) = match &self.failed_load {
            _ if accepted.any(|epoch| epoch.epoch() == scope.epoch) => (Kind::LoadAccepted, Vec::new()),
            Some((failed, notice)) if *failed == scope => (Kind::Abort, notice.clone()),
            _ => {
                let error = NodeError::from(ProtocolError::NotLoaded { epoch: scope.epoch });
                let notice = error.notice(&Step::load_part("request"));
                (Kind::Abort, control::encode(&notice).unwrap_or_default())
            }
        };
        self.inbox.send(&question.peer, Header::new(kind, scope, 0), &body).ok();
    }

    pub(super) fn fail_load(
        &mut self,
        owner: &Peer,
        scope: Scope,
        error: NodeError,
    ) -> Result<(), NodeError> {
        let body = control::encode(&error.notice(&Step::load_part("request")))?;
        let header = Header::new(Kind::Abort, scope, 0);
        self.inbox.send(owner, header, &body).ok();
        // Parties know nothing of a load that was not granted.
        if scope != Scope::NONE {
            self.failed_load = Some((scope, body.clone()));
            for party in self.party_peers() {
                // Who cannot be told has no link, and without one there is no session.
                self.inbox.send(&party, header, &body).ok();
            }
        }
        self.reporter.report(Event::LoadFailed { error });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Stage;
    use super::*;
    use amicus_field::{Dense, Limbs, LinearShape};
    use amicus_plan::*;
    use amicus_protocol::Parties;
    use amicus_protocol::session::{HelperSession, Holding, Joining, SessionStart};

    fn plan() -> Arc<Plan> {
        let shape = LinearShape::Dense(Dense { inputs: 2, outputs: 2 });
        let linear = OpKind::Linear { input: ValueId(0), weights: WeightId(0), use_index: UseIndex(0) };
        Arc::new(Plan {
            name: "one layer".into(),
            limbs: Limbs::ONE,
            input: InputSpec { shape: vec![2], scale: ScaleBits(4), range: Range { low: -1.0, high: 1.0 } },
            weights: vec![WeightSpec { name: "w".into(), shape, scale: ScaleBits(4), bias: false }],
            public: Vec::new(),
            ops: vec![Op { name: "w".into(), kind: linear }],
            output: OutputSpec { value: ValueId(1), ell: 12, scale: ScaleBits(8), watch: 0, reveal: None },
        })
    }

    fn begun() -> HelperLoad {
        HelperLoad::begin(plan(), &session(), &mut OperatingSystem).unwrap()
    }

    fn session() -> HelperSession {
        let parties = Parties::new(2).unwrap();
        let start = SessionStart::draw(parties, Vec::new(), &mut OperatingSystem).unwrap();
        let join = |me| {
            let offer = control::encode(&start.offer(me)).unwrap();
            Joining::begin(parties, me, start.id(), &offer, &mut OperatingSystem).unwrap()
        };
        let (mut one, mut two) = (join(PartyId::FIRST), join(parties.last()));
        one.receive(parties.last(), &two.message(PartyId::FIRST)).unwrap();
        two.receive(PartyId::FIRST, &one.message(parties.last())).unwrap();
        let answers = [one, two].map(|joining| joining.answer(|_| Holding::Nothing).unwrap().1);
        start.open(&answers).unwrap().0
    }

    /// Parties that send their hashes before all corrections have left are not taken for silent
    /// afterwards.
    #[test]
    fn early_hashes_are_kept_until_the_corrections_have_left() {
        let now = clock::now();
        let scope = |id| Scope { id: InferenceId(id), ..Scope::NONE };
        let wanted = |stage| {
            let loading = Loading {
                scope: scope(1),
                digest: plan().digest().unwrap(),
                plan: plan(),
                stage,
                bodies: vec![None; 2],
                since: now,
                until: now,
                owner_left: false,
            };
            let of = |kind, id| loading.want(&Peer::Party(PartyId::FIRST), &Header::new(kind, scope(id), 0));
            assert!(matches!(of(Kind::LoadResponse, 1), Some(Want::Refuse(_))));
            assert!(of(Kind::LoadHash, 2).is_none(), "the hash of another load");
            of(Kind::LoadHash, 1)
        };
        assert!(matches!(wanted(Stage::Corrections(begun(), 0)), Some(Want::Keep)));
        assert!(matches!(wanted(Stage::Hashes(begun())), Some(Want::Take)));
    }
}
