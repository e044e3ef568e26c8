//! A compute party: an online thread that loads models and runs inferences, and a dealing thread
//! that prepares material ahead of time.

mod dealing;
mod flight;
mod held;
mod hooks;
mod infer;
mod kept;
mod load;
mod models;
mod outputs;
mod recipients;
mod session;

use crate::aside::Asides;
use crate::begun::Begun;
#[cfg(feature = "danger")]
use crate::conduct::Conduct;
use crate::connect::InboxHandles;
use crate::event::{Event, Reporter};
use crate::exchange::{Part, Wait, aborted_by};
use crate::inbox::{Inbox, InboxHandle, Incoming, Received, Want};
use crate::limits::MAX_LANES;
use crate::served::{Demands, Served};
use crate::store::{Place, Store};
use crate::threads::{Running, spawn_with};
use crate::{Level, Limits, NodeError, Peer, cores};
use amicus_net::clock;
use amicus_plan::PlanDigest;
use amicus_protocol::control::{self, AbortNotice};
use amicus_protocol::preprocess::Material;
use amicus_protocol::session::PartySession;
use amicus_protocol::transcript::Digest;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{EpochId, Fault, InferenceId, Parties, PartyId, ProtocolError, Scope, SessionId, Step};
use dealing::{Prepared, Serving};
use flight::Flight;
use held::{Held, Room};
use hooks::Hooks;
use load::{Done, Loading};
use models::Models;
use outputs::Outputs;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// What a party is told when it starts.
pub struct PartyConfig {
    /// The models that it serves.
    pub models: Vec<Served>,
    /// Number of parties.
    pub parties: Parties,
    /// Which one this is.
    pub me: PartyId,
    /// The folder of what must survive the party.
    pub place: Place,
    /// Deadlines.
    pub limits: Limits,
    /// Inferences that its machine gives at a time; what is bound beyond waits for its turn.
    pub inferences: usize,
    /// The core that the online thread stays on, if it is to stay on one. Threads that share its
    /// arithmetic run anywhere.
    pub core: Option<usize>,
    /// Threads for the arithmetic of the online thread, and as many for that of the dealing thread,
    /// each with the thread itself: 1 is one thread for each.
    pub threads: usize,
    /// Deviations; none for an honest party.
    #[cfg(feature = "danger")]
    pub conduct: Option<Box<dyn Conduct>>,
    /// Where events go.
    pub reporter: Reporter,
}

impl PartyConfig {
    /// An honest party with the usual limits, on any core.
    pub fn new(models: Vec<Served>, parties: Parties, me: PartyId, place: Place, reporter: Reporter) -> Self {
        PartyConfig {
            models,
            parties,
            me,
            place,
            limits: Limits::default(),
            inferences: MAX_LANES,
            core: None,
            threads: 1,
            #[cfg(feature = "danger")]
            conduct: None,
            reporter,
        }
    }
}

/// A running party.
#[derive(Debug)]
pub struct PartyNode {
    running: Running,
}

impl PartyNode {
    /// Starts the threads. Links are delivered to [`PartyNode::inboxes`].
    ///
    /// # Errors
    /// An invalid plan, a folder that cannot be used, no threads.
    pub fn start(config: PartyConfig) -> Result<Self, NodeError> {
        let demands = Demands::of(&config.models, config.limits)?;
        let limits = demands.limits;
        let models = Models::new(&config.models, config.parties, config.me)?;
        let store = Store::open(&config.place, Peer::Party(config.me))?;
        config.reporter.found(&store)?;
        let mut online = Inbox::new(demands.online)?;
        online.set_bounds(demands.bounds);
        let mut dealing = Inbox::new(demands.dealing)?;
        dealing.set_bounds(demands.dealing_bounds);
        let inboxes = InboxHandles { online: online.handle(), dealing: Some(dealing.handle()) };
        let dealing_of_online = dealing.handle();
        // Until the helper begins a session, nothing else that nodes say is heard.
        online.enter(SessionId::NONE);
        let (serving, serving_of_dealer) = channel();
        let (prepared, prepared_of_online) = channel();
        let dealer = dealing::Dealer {
            inbox: dealing,
            serving: serving_of_dealer,
            now: Serving::default(),
            ended: None,
            prepared,
            online: inboxes.online.clone(),
            room: Room::new(demands.memory.held()),
            limits,
            reporter: config.reporter.clone(),
        };
        let party = Party {
            models,
            parties: config.parties,
            me: config.me,
            inbox: online,
            store,
            #[cfg(feature = "danger")]
            hooks: Hooks(config.conduct),
            #[cfg(not(feature = "danger"))]
            hooks: Hooks,
            session: None,
            next_session: None,
            loading: None,
            asides: Asides::new(inboxes.online.clone()),
            keeping: None,
            unheard: Vec::new(),
            failed: Vec::new(),
            replaced: VecDeque::new(),
            begun: Begun::default(),
            flights: Vec::new(),
            bound: 0,
            most_in_flight: config.inferences.max(1),
            turn_is_free: false,
            outputs: Outputs::default(),
            serving,
            dealing: dealing_of_online,
            prepared: prepared_of_online,
            ready: Vec::new(),
            limits,
            reporter: config.reporter.clone(),
        };
        let (name, core, threads) = (config.me.to_string(), config.core, config.threads);
        let online = move || {
            // Not before those for its arithmetic have started, which would stay there too.
            if let Some(core) = core {
                cores::stay_on(core);
            }
            party.run();
        };
        let threads = vec![
            spawn_with(&format!("{name} online"), threads, &config.reporter, online)?,
            spawn_with(&format!("{name} dealing"), threads, &config.reporter, move || dealer.run())?,
        ];
        Ok(PartyNode { running: Running { inboxes, threads } })
    }

    /// Where links are delivered.
    pub fn inboxes(&self) -> &InboxHandles {
        &self.running.inboxes
    }

    /// Stops the threads and waits for them.
    pub fn stop(self) {
        self.running.stop();
    }
}

/// The online thread.
struct Party {
    models: Models,
    parties: Parties,
    me: PartyId,
    inbox: Inbox,
    store: Store,
    hooks: Hooks,
    session: Option<Arc<PartySession>>,
    /// A session that began while the party was joining another.
    next_session: Option<Received>,
    loading: Option<Loading>,
    asides: Asides<EpochId, Done>,
    /// The epoch that is being written to disk, or was and is not answered for.
    keeping: Option<EpochId>,
    /// Epochs that were loaded, of which the helper has not said whether it accepts.
    unheard: Vec<EpochId>,
    /// Epochs whose loads failed, and why, until they are erased.
    failed: Vec<(EpochId, NodeError)>,
    /// Epochs of the session that are used no more, the last ones.
    replaced: VecDeque<EpochId>,
    /// Loads and inferences of the session that began here.
    begun: Begun,
    /// Inferences that have not ended.
    flights: Vec<Flight>,
    /// Inferences that the helper has bound.
    bound: u64,
    /// How many of those run at a time.
    most_in_flight: usize,
    /// One has ended since others that wait were looked at.
    turn_is_free: bool,
    /// Outputs that receivers may still collect, of this session or another.
    outputs: Outputs,
    serving: Sender<Serving>,
    dealing: InboxHandle,
    prepared: Receiver<Prepared>,
    ready: Vec<(Material, Held)>,
    limits: Limits,
    reporter: Reporter,
}

impl Party {
    fn run(mut self) {
        let error = loop {
            if let Err(error) = self.step() {
                break error;
            }
        };
        match error {
            // Whoever waits for an inference need not wait for this node to come back.
            NodeError::Stopped if self.inbox.closing() => self.give_up_flights(),
            NodeError::Stopped => {}
            error => self.reporter.report(Event::Fatal { error }),
        }
        self.asides.finish();
    }

    /// Takes the next message, and does what can be done with it.
    fn step(&mut self) -> Result<(), NodeError> {
        if let Some(begin) = self.next_session.take() {
            return self.join(&begin);
        }
        self.take_prepared()?;
        self.take_turns()?;
        self.take_asides()?;
        self.advance_load()?;
        self.inbox.answer(|| Level {
            session: self.session.is_some(),
            models: self.models.used(),
            loaded: self.models.loaded(),
            loading: self.loading.as_ref().map(|loading| loading.scope.id),
            nodes: self
                .others()
                .iter()
                .chain([&Peer::Helper])
                .filter(|peer| self.inbox.connected(peer))
                .count(),
            in_flight: self.flights.len(),
            waiting: self.flights.iter().filter(|flight| flight.is_queued()).count(),
            ready: self.ready.len(),
            ..Level::default()
        });
        let idle = clock::now() + Duration::from_secs(3600);
        let (client, owner) = (self.client_that_left(), self.owner_that_left());
        let at_once = self.load_is_linked();
        let owner_until = owner.as_ref().map(|owner| owner.1);
        let deadlines = self.flights.iter().map(Flight::deadline);
        let deadlines = deadlines.chain(self.loading.as_ref().map(Loading::deadline));
        let deadline = match at_once {
            true => clock::now(),
            false => {
                let left = client.as_ref().map(|client| client.2).into_iter().chain(owner_until);
                deadlines.chain(left).min().unwrap_or(idle)
            }
        };
        let ids = Ids {
            flights: &self.flights,
            loading: self.loading.as_ref(),
            may_load: self.loading.is_none() && !self.asides.is_busy(),
            begun: &self.begun,
        };
        let replaced = &self.replaced;
        self.inbox.busy_poll(self.flights.iter().any(Flight::exchanges));
        let incoming = self.inbox.next(deadline, |peer, h| ids.want(replaced, peer, h));
        self.inbox.busy_poll(false);
        let incoming = incoming?;
        let message = match (incoming, client) {
            (Incoming::Message(message), _) => message,
            (Incoming::Woken, _) => return Ok(()),
            // What the client said before it left has been heard.
            (Incoming::Timeout, Some((scope, how, until))) if clock::now() >= until => {
                return self.lost_client(scope, how);
            }
            (incoming, _) => {
                if matches!(incoming, Incoming::Timeout) {
                    self.take_links()?;
                }
                self.interrupt_load(&incoming, owner)?;
                self.interrupt(&incoming)?;
                // Without the helper there is no session.
                if matches!(incoming, Incoming::Lost(Peer::Helper, _)) {
                    self.end_session()?;
                }
                return Ok(());
            }
        };
        match message.header.kind {
            Kind::SessionBegin => self.join(&message),
            Kind::EpochBegin => self.begin_load(&message),
            Kind::EpochRetired => {
                self.leave(message.header.epoch)?;
                self.serve();
                Ok(())
            }
            Kind::Bind => self.bind(&message),
            Kind::Collect | Kind::Collected => {
                self.tell_output(&message);
                Ok(())
            }
            Kind::Fingerprint => {
                self.tell_fingerprint(&message);
                Ok(())
            }
            _ if self.loading.as_ref().is_some_and(|l| l.scope == message.header.scope()) => {
                self.load_message(&message)
            }
            _ => self.deliver(&message),
        }
    }

    /// Keeps what the dealing thread prepared until it is bound, or forgets what never will be; goes
    /// on with inferences that wait for it.
    fn take_prepared(&mut self) -> Result<(), NodeError> {
        let mut came = false;
        while let Ok(prepared) = self.prepared.try_recv() {
            match prepared {
                Prepared::Material(material, held) => self.ready.push((material, held)),
                Prepared::Burned(scope) => self.ready.retain(|(m, _)| m.scope() != scope),
            }
            came = true;
        }
        if !came {
            return Ok(());
        }
        self.forget_material();
        self.material_came()
    }

    /// Forgets material of epochs that are used no more, and of sessions before. There is none yet of
    /// a load that goes on.
    fn forget_material(&mut self) {
        let session = self.session.as_ref().map(|session| session.id());
        let models = &self.models;
        self.ready
            .retain(|(m, _)| Some(m.scope().session) == session && models.epoch(m.scope().epoch).is_some());
    }

    /// Answers a client's question; whoever does not take the answer asks in vain.
    fn tell_fingerprint(&mut self, question: &Received) {
        let client = &question.peer;
        match self.fingerprint(client, question.body()) {
            Ok((epoch, fingerprint)) => {
                let header = Header::new(Kind::Fingerprint, Scope::epoch(epoch), 0);
                self.send(client, header, &fingerprint.0).ok();
            }
            Err(error) => {
                let notice = AbortNotice::of(&error, &Step::load_part("fingerprint"));
                if let Ok(body) = control::encode(&notice) {
                    self.send(client, Header::new(Kind::Abort, Scope::NONE, 0), &body).ok();
                }
            }
        }
    }

    fn fingerprint(&self, client: &Peer, question: &[u8]) -> Result<(EpochId, Digest), ProtocolError> {
        let fail = |fault| ProtocolError::peer(client, Step::load_part("fingerprint"), fault);
        let length = || fail(Fault::Length { expected: 32, got: question.len() });
        let plan = PlanDigest(question.try_into().map_err(|_| length())?);
        if self.models.context(&plan).is_none() {
            return Err(fail(self.models.not_served(&plan)));
        }
        let epoch = self.models.of_plan(&plan).ok_or(ProtocolError::NoModel)?;
        Ok((epoch.epoch(), epoch.fingerprint()))
    }

    /// The next message of a session's beginning. Clients' questions are answered meanwhile.
    fn exchange(
        &mut self,
        wait: &Wait<'_>,
        part: impl Fn(&Peer) -> Part,
        want: impl Fn(&Begun, &Peer, &Header) -> Want,
    ) -> Result<Received, NodeError> {
        loop {
            let begun = &self.begun;
            let message = self.inbox.exchange(wait, &part, |peer, h| want(begun, peer, h))?;
            if message.header.kind != Kind::Fingerprint {
                return Ok(message);
            }
            self.tell_fingerprint(&message);
        }
    }

    /// Waits until peers have links. Clients' questions are answered, and notices heard, meanwhile.
    fn linked(
        &mut self,
        peers: &[Peer],
        step: &Step,
        deadline: Instant,
        want: impl Fn(&Begun, &Peer, &Header) -> Want,
    ) -> Result<(), NodeError> {
        let since = clock::now();
        loop {
            let begun = &self.begun;
            let want = |peer: &Peer, h: &Header| match h.kind {
                Kind::Fingerprint | Kind::Abort => want(begun, peer, h),
                _ => Want::Keep,
            };
            match self.inbox.wait_for_or(peers, step, since, deadline, want)? {
                None => return Ok(()),
                Some(m) if m.header.kind == Kind::Abort => return Err(aborted_by(&m)),
                Some(m) => self.tell_fingerprint(&m),
            }
        }
    }

    /// Begins an inference or a load, each id once; without a session there are none.
    fn begin(&mut self, id: InferenceId) -> Result<Arc<PartySession>, NodeError> {
        let Some(session) = self.session.clone() else {
            let fault = Fault::Unexpected(format!("{id} before a session is open"));
            return Err(ProtocolError::peer(Peer::Helper, Step::Keys, fault).into());
        };
        if !self.begun.begin(id) {
            return Err(ProtocolError::Spent { what: id.to_string() }.into());
        }
        Ok(session)
    }

    /// Tells everybody concerned why this party gave up, unless the helper said so: it tells
    /// everybody itself.
    fn tell_abort(&mut self, error: &NodeError, step: &Step, header: Header, also: &[Peer]) {
        let by_helper = matches!(error, NodeError::Protocol(ProtocolError::Aborted { by: Peer::Helper, .. }));
        let notice = error.notice(step);
        let Ok(body) = amicus_protocol::control::encode(&notice) else { return };
        let others = self.parties.others(self.me).map(Peer::Party);
        let all = others.chain([Peer::Helper]).chain(also.iter().cloned());
        // A guest waits here for an answer of this party.
        for peer in all.filter(|peer| !by_helper || peer.is_guest()) {
            // Who cannot be told finds out by its own deadline.
            self.send(&peer, header, &body).ok();
        }
    }

    /// Sends a message.
    fn send(&mut self, to: &Peer, header: Header, body: &[u8]) -> Result<(), NodeError> {
        self.hooks.send(&mut self.inbox, to, header, body)
    }

    fn others(&self) -> Vec<Peer> {
        self.parties.others(self.me).map(Peer::Party).collect()
    }
}

/// What is known of the ids of a session.
struct Ids<'a> {
    flights: &'a [Flight],
    loading: Option<&'a Loading>,
    may_load: bool,
    begun: &'a Begun,
}

impl Ids<'_> {
    /// What a party does with a message; these epochs of the session are used no more.
    fn want(&self, replaced: &VecDeque<EpochId>, peer: &Peer, h: &Header) -> Want {
        let Ids { flights, loading, may_load, begun } = *self;
        match (peer, h.kind) {
            (Peer::Client(_), Kind::Fingerprint) if loading.is_some_and(Loading::holds_questions) => {
                return Want::Keep;
            }
            // Asked before any id is known, and answered at once.
            (Peer::Client(_), Kind::Fingerprint | Kind::Collect | Kind::Collected) => return Want::Take,
            // About a load that is over.
            (Peer::Owner, Kind::LoadReady) if loading.is_none_or(|l| l.scope != h.scope()) => {
                return Want::Drop;
            }
            (Peer::Helper, Kind::SessionBegin | Kind::Bind | Kind::EpochRetired) => return Want::Take,
            (Peer::Helper, Kind::EpochBegin) if may_load => return Want::Take,
            (Peer::Helper, Kind::EpochBegin) if !begun.is_spent(h.id) => return Want::Keep,
            // Somebody waits for an answer.
            (guest, Kind::Input | Kind::ReceiverKey)
                if guest.is_guest() && flights.iter().all(|flight| flight.scope.id != h.id) =>
            {
                let over = replaced.contains(&h.epoch) || begun.is_spent(h.id);
                return if over { Want::Take } else { Want::Keep };
            }
            _ => {}
        }
        if let Some(loading) = loading.filter(|loading| loading.scope.id == h.id) {
            return loading.want(peer, h);
        }
        if let Some(flight) = flights.iter().find(|flight| flight.scope.id == h.id) {
            return flight.want(peer, h);
        }
        match (peer, h.kind) {
            (_, Kind::Abort) | (Peer::Helper, Kind::Outcome) => Want::Drop,
            // Nothing is left to send of an id that ended, unless it was given up midway.
            (Peer::Party(_), _) if begun.is_spent(h.id) && !begun.gave_up(h.id) => {
                Want::Refuse(Fault::Replay(h.id.to_string()))
            }
            // What was dealt for an epoch before is not bound any more.
            _ if begun.is_spent(h.id) || replaced.contains(&h.epoch) => Want::Drop,
            _ => Want::Keep,
        }
    }
}
