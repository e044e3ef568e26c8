//! Model loads at a party, message by message (`docs/protocol.md`, section 4).
//!
//! Nothing is waited for here: a load's messages come between all others, so that inferences of all
//! models go on while one is loaded.

use super::Party;
use super::recipients::{Heard, Owner};
use crate::error::lost;
use crate::event::Event;
use crate::exchange::{Part, Wait, aborted_by, concerns};
use crate::inbox::{Incoming, Received, Want};
use crate::store::EpochFiles;
use crate::{Limits, NodeError, Peer};
use amicus_field::LimbVec;
use amicus_net::clock;
use amicus_plan::{Plan, WeightId};
use amicus_protocol::epoch::{PartyConfirming, PartyEpoch, PartyLoad, PartyTagging, plan_of_word};
use amicus_protocol::wire::{Header, Kind, pack};
use amicus_protocol::{Fault, ProtocolError, Scope, Step};
use std::sync::Arc;
use std::time::Instant;
use zeroize::Zeroizing;

/// A load in progress.
pub(super) struct Loading {
    pub(super) scope: Scope,
    plan: Arc<Plan>,
    stage: Stage,
    owner: Owner,
    /// When the helper began it: deadlines of all stages count from here.
    started: Instant,
    /// When the stage began.
    since: Instant,
    until: Instant,
}

/// What a load waits for, in order.
enum Stage {
    /// Links to the other parties.
    Parties(PartyLoad),
    /// A link to the owner, which may be a moment late.
    Owner(PartyLoad),
    /// Masked weights, the nonce, corrections.
    Weights(PartyLoad),
    /// This party's own tags, which are being computed.
    Tagging,
    /// The other parties' tags.
    Tags(Box<PartyTagging>),
    /// The helper's challenge.
    Challenge(Box<PartyConfirming>),
    /// This party's own answer to it, which is being computed, and the epoch written to disk.
    Keeping,
    /// The helper's word that it accepts.
    Acceptance(Box<PartyEpoch>),
}

/// What work on a thread of its own came to.
pub(super) enum Done {
    /// The tags of a load.
    Tagged(Result<Box<PartyTagging>, ProtocolError>),
    /// The epoch, which is on disk, and this party's answer to the challenge.
    Kept(Result<(Box<PartyEpoch>, LimbVec), NodeError>),
    /// What was kept of an epoch is erased.
    Erased(Result<(), NodeError>),
}

impl Stage {
    /// Its place in the order of messages.
    fn place(&self) -> u8 {
        match self {
            Stage::Parties(_) | Stage::Owner(_) => 0,
            Stage::Weights(_) => 1,
            Stage::Tagging => 2,
            Stage::Tags(_) => 3,
            Stage::Challenge(_) => 4,
            Stage::Keeping => 5,
            Stage::Acceptance(_) => 6,
        }
    }
}

/// The place of the stage that a message belongs to; none when it is no message of a load, or not
/// this sender's.
fn place_of(peer: &Peer, kind: Kind) -> Option<u8> {
    match (peer, kind) {
        (Peer::Helper, Kind::LoadCorrection) => Some(1),
        (Peer::Party(_), Kind::Tags) => Some(3),
        (Peer::Helper, Kind::Challenge) => Some(4),
        (Peer::Helper, Kind::LoadAccepted) => Some(6),
        _ => None,
    }
}

impl Loading {
    /// Notes that a stage begins now.
    fn stage_begins(&mut self, limits: &Limits) {
        self.since = clock::now();
        self.until = self.started
            + match &self.stage {
                Stage::Parties(_) => limits.load,
                Stage::Owner(_) => limits.load_of_keys(),
                Stage::Weights(_) => limits.load_of_weights(),
                Stage::Tags(_) => limits.load_of_tags(),
                // Who is late itself hears so from the helper.
                Stage::Tagging | Stage::Challenge(_) | Stage::Keeping | Stage::Acceptance(_) => {
                    limits.load_by_helper()
                }
            };
        if matches!(self.stage, Stage::Owner(_)) {
            self.until = self.until.min(self.since + limits.round);
        }
    }

    /// When the load is given up.
    pub(super) fn deadline(&self) -> Instant {
        self.until
    }

    /// Whether questions about fingerprints wait: the owner may have heard of the acceptance first,
    /// and have told its clients.
    pub(super) fn holds_questions(&self) -> bool {
        matches!(self.stage, Stage::Acceptance(_))
    }

    /// Whose message is missing, and what for.
    fn waits_for(&self) -> (Peer, Step) {
        match &self.stage {
            Stage::Parties(_) | Stage::Owner(_) | Stage::Weights(_) => {
                (Peer::Owner, Step::load_part("masked weights"))
            }
            Stage::Tags(tagging) => match tagging.missing() {
                Some((party, tensor)) => (Peer::Party(party), Step::load("tags", &self.plan, tensor)),
                None => (Peer::Helper, Step::load_part("tags")),
            },
            Stage::Tagging => (Peer::Helper, Step::load_part("tags")),
            Stage::Challenge(_) | Stage::Keeping | Stage::Acceptance(_) => {
                (Peer::Helper, Step::load_part("check of the tags"))
            }
        }
    }

    /// What this load does with a message under its id.
    pub(super) fn want(&self, peer: &Peer, h: &Header) -> Want {
        match (peer, h.kind) {
            (Peer::Client(_), _) => Want::Drop,
            // Over a new link the owner asks what is here, be it all.
            (Peer::Owner, Kind::LoadReady) if h.scope() == self.scope && self.stage.place() > 0 => Want::Take,
            _ if self.part(peer) == Part::Bystander => Want::Drop,
            // What is the owner's, its key says.
            (Peer::Owner, Kind::Nonce | Kind::Weights) if h.scope() == self.scope => {
                if self.stage.place() == 0 { Want::Keep } else { Want::Take }
            }
            (Peer::Owner, _) => Want::Drop,
            // A share of an inference of another epoch, for an id that became this load's.
            (Peer::Party(_), _) if h.epoch != self.scope.epoch => Want::Drop,
            _ if h.scope() != self.scope => Want::Refuse(Fault::Unexpected(h.epoch.to_string())),
            (_, Kind::Abort) => Want::Take,
            (_, Kind::EpochBegin) => Want::Refuse(Fault::Replay(h.epoch.to_string())),
            (_, kind) => match (place_of(peer, kind), self.stage.place()) {
                (Some(this), now) if this == now => Want::Take,
                (Some(this), now) if this > now => Want::Keep,
                (Some(_), _) => Want::Refuse(Fault::Duplicate(format!("{kind:?}"))),
                (None, _) => Want::Refuse(Fault::Unexpected(format!("{kind:?}"))),
            },
        }
    }

    /// Why what happened ends this load, if it does; `owner` is how the owner left whose messages are
    /// waited for, `unlinked` another party without a link.
    fn ended_by(
        &self,
        incoming: &Incoming,
        owner: Option<String>,
        unlinked: Option<Peer>,
    ) -> Option<NodeError> {
        let (from, step) = self.waits_for();
        let wait = Wait { from: &from, step: &step, since: self.since, until: self.until };
        let waits_for_links = matches!(self.stage, Stage::Parties(_) | Stage::Owner(_));
        match incoming {
            // Links come again by themselves, and are what is waited for.
            Incoming::Lost(Peer::Party(_) | Peer::Owner, _) if waits_for_links => None,
            Incoming::Timeout if waits_for_links && clock::now() < self.until => None,
            Incoming::Timeout if waits_for_links => {
                let missing = unlinked.unwrap_or(Peer::Owner);
                let waited = clock::since(self.started).as_millis();
                Some(wait.fault_of(&missing, Fault::Lost(format!("no link for {waited} ms"))))
            }
            Incoming::Timeout if owner.is_some() => {
                owner.map(|how| wait.fault_of(&Peer::Owner, Fault::Lost(how)))
            }
            _ => wait.ended_by(incoming, |peer| self.part(peer)),
        }
    }

    /// Who takes part in a load. Once all its messages are here, the owner may leave. Once a party has
    /// answered the challenge, the helper alone decides: a party that gave up now would lack a model
    /// that the helper accepts.
    fn part(&self, peer: &Peer) -> Part {
        match peer {
            Peer::Party(_) | Peer::Owner if matches!(self.stage, Stage::Acceptance(_)) => Part::Bystander,
            Peer::Helper | Peer::Party(_) => Part::Needed,
            Peer::Owner => Part::MayLeave,
            Peer::Client(_) => Part::Bystander,
        }
    }
}

/// Answers a challenge, and writes the epoch to disk: when the answer is sent, all has been sent that
/// depends on the epoch's secrets.
fn keep(
    confirming: Box<PartyConfirming>,
    challenge: &[u8],
    files: &EpochFiles,
) -> Result<(Box<PartyEpoch>, LimbVec), NodeError> {
    let (awaiting, answer) = confirming.respond(challenge)?;
    let epoch = awaiting.unconfirmed();
    files.keep_of_party(&epoch)?;
    Ok((Box::new(epoch), answer))
}

impl Party {
    /// Begins a load. The epoch before of the same plan is used until the helper accepts this one.
    pub(super) fn begin_load(&mut self, begin: &Received) -> Result<(), NodeError> {
        let scope = begin.header.scope();
        match self.loading_of(begin) {
            Ok(loading) => {
                self.loading = Some(loading);
                Ok(())
            }
            Err(error) => self.fail_load(scope, error),
        }
    }

    fn loading_of(&mut self, begin: &Received) -> Result<Loading, NodeError> {
        let refused = |fault| ProtocolError::peer(Peer::Helper, Step::load_part("grant"), fault);
        let scope = begin.header.scope();
        self.is_new(scope.epoch)?;
        let session = self.begin(scope.id)?;
        let plan = plan_of_word(begin.body()).map_err(refused)?;
        let unknown = || refused(self.models.not_served(&plan));
        let ctx = self.models.context(&plan).cloned().ok_or_else(unknown)?;
        // From here on the id is spent, whatever happens.
        let keys = session.take(scope.epoch, &plan, scope.id)?;
        let now = clock::now();
        let (plan, load) = (Arc::clone(&ctx.plan), PartyLoad::begin(ctx, keys, begin.body())?);
        let (owner, until) = (Owner::new(load.owner()), now + self.limits.load);
        Ok(Loading { scope, plan, stage: Stage::Parties(load), owner, started: now, since: now, until })
    }

    /// Whether the links that a load waits for are there. What was sent before, and links that ended
    /// while this thread did something else, come first.
    pub(super) fn load_is_linked(&self) -> bool {
        match self.loading.as_ref().map(|loading| &loading.stage) {
            Some(Stage::Parties(_)) => self.unlinked().is_none(),
            Some(Stage::Owner(_)) => self.inbox.connected(&Peer::Owner),
            _ => false,
        }
    }

    /// How the owner left whose messages a load waits for, and when it is given up: it may dial
    /// again, and go on.
    pub(super) fn owner_that_left(&mut self) -> Option<(String, Instant)> {
        let waits = self.loading.as_ref().is_some_and(|l| matches!(l.stage, Stage::Weights(_)));
        let left = waits.then(|| self.inbox.left_since(&Peer::Owner)).flatten();
        left.map(|(how, since)| (how, since + self.limits.relink_of_owner()))
    }

    /// Goes on with a load whose links are there; nothing else waits to be heard.
    pub(super) fn take_links(&mut self) -> Result<(), NodeError> {
        if !self.load_is_linked() {
            return Ok(());
        }
        let Some(loading) = self.loading.take() else { return Ok(()) };
        let scope = loading.scope;
        let advanced = self.linked_load(loading);
        self.keep_load(scope, advanced)
    }

    fn linked_load(&mut self, mut loading: Loading) -> Result<Loading, NodeError> {
        loading.stage = match loading.stage {
            Stage::Parties(load) => Stage::Owner(load),
            Stage::Owner(load) => {
                // The owner waits for this: weights that come early would pile up here.
                let step = Step::load_part("masked weights");
                let header = Header::new(Kind::LoadReady, loading.scope, 0);
                self.send_in_load(&Peer::Owner, &step, header, &loading.owner.said().to_le_bytes())?;
                Stage::Weights(load)
            }
            other => other,
        };
        loading.stage_begins(&self.limits);
        Ok(loading)
    }

    /// Does what a load can do before anybody says more.
    pub(super) fn advance_load(&mut self) -> Result<(), NodeError> {
        let Some(loading) = self.loading.take() else { return Ok(()) };
        let scope = loading.scope;
        let advanced = self.advanced(loading);
        self.keep_load(scope, advanced)
    }

    fn keep_load(&mut self, scope: Scope, advanced: Result<Loading, NodeError>) -> Result<(), NodeError> {
        match advanced {
            Ok(loading) => {
                self.loading = Some(loading);
                Ok(())
            }
            Err(error) => self.fail_load(scope, error),
        }
    }

    fn advanced(&mut self, mut loading: Loading) -> Result<Loading, NodeError> {
        loop {
            let stage = match loading.stage {
                Stage::Weights(load) if load.complete() => {
                    let first = self.hooks.aside();
                    self.asides.begin(loading.scope.epoch, move || {
                        first();
                        Done::Tagged(load.tag().map(Box::new))
                    })?;
                    Stage::Tagging
                }
                Stage::Tags(tagging) if tagging.missing().is_none() => {
                    let confirming = Box::new(tagging.confirm()?);
                    let header = Header::new(Kind::LoadHash, loading.scope, 0);
                    self.send(&Peer::Helper, header, &confirming.hash().0)?;
                    Stage::Challenge(confirming)
                }
                waiting => {
                    loading.stage = waiting;
                    return Ok(loading);
                }
            };
            loading.stage = stage;
            loading.stage_begins(&self.limits);
        }
    }

    /// Takes what was done on other threads, and goes on with the load that it was done for.
    pub(super) fn take_asides(&mut self) -> Result<(), NodeError> {
        while let Some((epoch, done)) = self.asides.take()? {
            if let Done::Erased(erased) = done {
                self.erased(epoch, erased)?;
                continue;
            }
            let Some(loading) = self.loading.take_if(|loading| loading.scope.epoch == epoch) else {
                // It was given up meanwhile.
                if matches!(done, Done::Kept(_)) {
                    self.erase(epoch)?;
                }
                continue;
            };
            let scope = loading.scope;
            let next = match done {
                Done::Tagged(tagging) => {
                    tagging.map_err(NodeError::from).and_then(|tagging| self.tagged(loading, tagging))
                }
                Done::Kept(kept) => kept.and_then(|kept| self.kept(loading, kept)),
                Done::Erased(_) => Ok(loading),
            };
            self.keep_load(scope, next)?;
        }
        Ok(())
    }

    /// Sends this party's tags.
    fn tagged(&mut self, mut loading: Loading, mut tagging: Box<PartyTagging>) -> Result<Loading, NodeError> {
        let (plan, scope) = (Arc::clone(&loading.plan), loading.scope);
        self.hooks.tagging(&plan, &mut tagging);
        for index in 0..plan.weights.len() as u32 {
            let body = pack(tagging.message(WeightId(index)));
            let step = Step::load("tags", &plan, WeightId(index));
            for other in self.others() {
                self.send_in_load(&other, &step, Header::new(Kind::Tags, scope, index), &body)?;
            }
        }
        loading.stage = Stage::Tags(tagging);
        loading.stage_begins(&self.limits);
        Ok(loading)
    }

    /// Answers the challenge: the epoch is on disk, and the helper accepts only what all parties
    /// keep.
    fn kept(
        &mut self,
        mut loading: Loading,
        (epoch, answer): (Box<PartyEpoch>, LimbVec),
    ) -> Result<Loading, NodeError> {
        self.keeping = None;
        self.unheard.push(loading.scope.epoch);
        let header = Header::new(Kind::LoadResponse, loading.scope, 0);
        self.send(&Peer::Helper, header, &pack(&answer))?;
        loading.stage = Stage::Acceptance(epoch);
        loading.stage_begins(&self.limits);
        Ok(loading)
    }

    /// Takes a message of the load.
    pub(super) fn load_message(&mut self, message: &Received) -> Result<(), NodeError> {
        let Some(loading) = self.loading.take() else { return Ok(()) };
        let scope = loading.scope;
        match self.take_word(loading, message) {
            Ok(loading) => {
                self.loading = loading;
                Ok(())
            }
            Err(error) => self.fail_load(scope, error),
        }
    }

    /// Takes a message of the load; with the helper's last word there is none any more.
    fn take_word(&mut self, mut loading: Loading, m: &Received) -> Result<Option<Loading>, NodeError> {
        let scope = loading.scope;
        match (&mut loading.stage, m.header.kind, &m.peer) {
            (_, Kind::Abort, _) => return Err(aborted_by(m)),
            (_, Kind::Nonce | Kind::Weights, _) => self.of_owner(&mut loading, m)?,
            (_, Kind::LoadReady, _) => {
                let header = Header::new(Kind::LoadReady, scope, 0);
                // An owner that left again asks again.
                self.send(&Peer::Owner, header, &loading.owner.said().to_le_bytes()).ok();
            }
            (Stage::Weights(load), Kind::LoadCorrection, _) => load.correction(m.header.index, m.body())?,
            (Stage::Tags(tagging), Kind::Tags, Peer::Party(from)) => {
                tagging.receive(*from, m.header.index, m.body())?;
            }
            _ => {}
        }
        match loading.stage {
            Stage::Challenge(confirming) if m.header.kind == Kind::Challenge => {
                let (files, first) = (self.store.epochs().clone(), self.hooks.aside());
                let challenge = Zeroizing::new(m.body().to_vec());
                self.asides.begin(scope.epoch, move || {
                    first();
                    Done::Kept(keep(confirming, &challenge, &files))
                })?;
                self.keeping = Some(scope.epoch);
                loading.stage = Stage::Keeping;
                loading.stage_begins(&self.limits);
            }
            Stage::Acceptance(epoch) if m.header.kind == Kind::LoadAccepted => {
                self.unheard.retain(|unheard| *unheard != scope.epoch);
                self.replace_others(scope.epoch, &epoch.context().digest)?;
                self.models.hold(Arc::from(epoch));
                self.models.use_also(scope.epoch);
                self.serve();
                self.reporter.report(Event::Loaded { epoch: scope.epoch });
                return Ok(None);
            }
            stage => loading.stage = stage,
        }
        Ok(Some(loading))
    }

    /// Takes what the owner says, if it is the owner that says it.
    fn of_owner(&self, loading: &mut Loading, m: &Received) -> Result<(), NodeError> {
        let fail = |fault| ProtocolError::peer(Peer::Owner, Step::load_part("masked weights"), fault);
        match (loading.owner.hear(m), &mut loading.stage, m.header.kind) {
            (Heard::New(nonce), Stage::Weights(load), Kind::Nonce) => load.nonce(nonce)?,
            (Heard::New(part), Stage::Weights(load), _) => load.weights(m.header.index, part)?,
            // Nothing is missing of the owner: it may only say the same again.
            (Heard::New(_), _, kind) => return Err(fail(Fault::Duplicate(format!("{kind:?}"))).into()),
            (Heard::Forged(fault), ..) => {
                self.reporter.report(Event::Unauthenticated { error: fail(fault).into() });
            }
            (Heard::Again | Heard::Other, ..) => {}
        }
        Ok(())
    }

    /// Ends the load, if what happened is a reason to.
    pub(super) fn interrupt_load(
        &mut self,
        incoming: &Incoming,
        owner: Option<(String, Instant)>,
    ) -> Result<(), NodeError> {
        let Some(loading) = &self.loading else { return Ok(()) };
        let owner = owner.filter(|(_, until)| clock::now() >= *until).map(|(how, _)| how);
        let (scope, unlinked) = (loading.scope, self.unlinked());
        let in_flight = |id| self.flights.iter().any(|flight| flight.scope.id == id);
        if !concerns(incoming, scope.id, in_flight) {
            return Ok(());
        }
        match loading.ended_by(incoming, owner, unlinked) {
            Some(error) => self.fail_load(scope, error),
            None => Ok(()),
        }
    }

    /// Gives up the load in progress, if there is one.
    pub(super) fn end_load(&mut self, fault: &Fault) -> Result<(), NodeError> {
        let Some(loading) = &self.loading else { return Ok(()) };
        let (scope, (_, step)) = (loading.scope, loading.waits_for());
        self.fail_load(scope, ProtocolError::peer(Peer::Helper, step, fault.clone()).into())
    }

    fn fail_load(&mut self, scope: Scope, error: NodeError) -> Result<(), NodeError> {
        self.loading.take_if(|loading| loading.scope == scope);
        self.begun.give_up(scope.id);
        let burned = self.burn(scope.epoch, &error)?;
        self.tell_abort(&error, &Step::load_part("tags"), Header::new(Kind::Abort, scope, 0), &[]);
        match burned {
            true => self.erase_failed(scope.epoch, error),
            false => {
                self.reporter.report(Event::LoadFailed { error });
                Ok(())
            }
        }
    }

    /// Another party without a link.
    pub(super) fn unlinked(&self) -> Option<Peer> {
        self.others().into_iter().find(|other| !self.inbox.connected(other))
    }

    /// Sends a message to another role, whose fault it is when it cannot be reached.
    fn send_in_load(&mut self, to: &Peer, step: &Step, header: Header, body: &[u8]) -> Result<(), NodeError> {
        self.send(to, header, body).map_err(|e| match e {
            NodeError::Net(e) => ProtocolError::peer(to, step.clone(), lost(&e)).into(),
            e => e,
        })
    }
}
