//! A compute party: an online thread that loads models and runs inferences, and a dealing thread
//! that prepares material ahead of time.

mod dealing;
mod flight;
mod held;
mod hooks;
mod infer;
mod kept;
mod load;
mod session;

use crate::begun::Begun;
#[cfg(feature = "danger")]
use crate::conduct::Conduct;
use crate::connect::InboxHandles;
use crate::event::{Event, Reporter};
use crate::exchange::{Part, Wait, aborted_by};
use crate::inbox::{Inbox, Incoming, Received, Want};
use crate::limits::{MATERIAL, held, kept, lanes, largest_batch};
use crate::store::{Place, Store};
use crate::{Limits, NodeError, Peer, cores};
use amicus_net::{NetError, clock};
use amicus_plan::Plan;
use amicus_protocol::control::{self, AbortNotice};
use amicus_protocol::epoch::{PartyContext, PartyEpoch};
use amicus_protocol::preprocess::Material;
use amicus_protocol::session::PartySession;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{EpochId, Fault, InferenceId, Parties, PartyId, ProtocolError, Scope, SessionId, Step};
use dealing::Prepared;
use flight::Flight;
use held::{Held, Room};
use hooks::Hooks;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a party is told when it starts.
pub struct PartyConfig {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Number of parties.
    pub parties: Parties,
    /// Which one this is.
    pub me: PartyId,
    /// The folder of what must survive the party.
    pub place: Place,
    /// Deadlines.
    pub limits: Limits,
    /// Largest batch accepted.
    pub max_batch: u32,
    /// Inputs for which one-time material is held at a time, ready or in flight: the helper may deal
    /// no more.
    pub max_inputs: usize,
    /// The core that the online thread stays on, if it is to stay on one.
    pub core: Option<usize>,
    /// Deviations; none for an honest party.
    #[cfg(feature = "danger")]
    pub conduct: Option<Box<dyn Conduct>>,
    /// Where events go.
    pub reporter: Reporter,
}

impl PartyConfig {
    /// An honest party with the usual limits, on any core.
    pub fn new(plan: Arc<Plan>, parties: Parties, me: PartyId, place: Place, reporter: Reporter) -> Self {
        let max_batch = largest_batch(&plan, MATERIAL);
        PartyConfig {
            max_batch,
            max_inputs: held(lanes(&plan, MATERIAL), kept(&plan, MATERIAL), max_batch),
            plan,
            parties,
            me,
            place,
            limits: Limits::default(),
            core: None,
            #[cfg(feature = "danger")]
            conduct: None,
            reporter,
        }
    }
}

/// A running party.
#[derive(Debug)]
pub struct PartyNode {
    inboxes: InboxHandles,
    threads: Vec<JoinHandle<()>>,
}

impl PartyNode {
    /// Starts the threads. Links are delivered to [`PartyNode::inboxes`].
    ///
    /// # Errors
    /// An invalid plan, a folder that cannot be used, no threads.
    pub fn start(config: PartyConfig) -> Result<Self, NodeError> {
        let ctx = PartyContext::new(Arc::clone(&config.plan), config.parties, config.me)?;
        let limits = config.limits.for_plan(&config.plan)?;
        let store = Store::open(&config.place, Peer::Party(config.me))?;
        config.reporter.found(&store)?;
        let mut online = Inbox::new(crate::limits::online(&config.plan, config.max_batch)?)?;
        online.set_bounds(crate::bounds::online(&config.plan, config.max_batch)?);
        let mut dealing = Inbox::new(crate::limits::dealing(&config.plan, config.max_batch)?)?;
        dealing.set_bounds(crate::bounds::dealing(&config.plan, config.max_batch)?);
        let inboxes = InboxHandles { online: online.handle(), dealing: Some(dealing.handle()) };
        // Until the helper begins a session, nothing else that nodes say is heard.
        online.enter(SessionId::NONE);
        let (serving, serving_of_dealer) = channel();
        let (prepared, prepared_of_online) = channel();
        let dealer = dealing::Dealer {
            inbox: dealing,
            serving: serving_of_dealer,
            current: None,
            ended: None,
            replaced: None,
            prepared,
            online: inboxes.online.clone(),
            max_batch: config.max_batch,
            room: Room::new(config.max_inputs),
            limits,
            reporter: config.reporter.clone(),
        };
        let party = Party {
            ctx,
            inbox: online,
            store,
            #[cfg(feature = "danger")]
            hooks: Hooks(config.conduct),
            #[cfg(not(feature = "danger"))]
            hooks: Hooks,
            session: None,
            next_session: None,
            epoch: None,
            held: None,
            unheard: None,
            begun: Begun::default(),
            flights: Vec::new(),
            serving,
            prepared: prepared_of_online,
            ready: Vec::new(),
            limits,
            reporter: config.reporter,
        };
        let (name, core) = (config.me.to_string(), config.core);
        let threads = vec![
            spawn(&format!("{name} online"), move || {
                if let Some(core) = core {
                    cores::stay_on(core);
                }
                party.run();
            })?,
            spawn(&format!("{name} dealing"), move || dealer.run())?,
        ];
        Ok(PartyNode { inboxes, threads })
    }

    /// Where links are delivered.
    pub fn inboxes(&self) -> &InboxHandles {
        &self.inboxes
    }

    /// Stops the threads and waits for them.
    pub fn stop(self) {
        self.inboxes.online.stop();
        if let Some(dealing) = &self.inboxes.dealing {
            dealing.stop();
        }
        for thread in self.threads {
            clock::join(thread);
        }
    }
}

pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, NodeError> {
    clock::spawn(name, work).map_err(|e| {
        let context = format!("starting thread {name}");
        NetError::Io { context, kind: e.kind(), message: e.to_string() }.into()
    })
}

/// The online thread.
struct Party {
    ctx: PartyContext,
    inbox: Inbox,
    store: Store,
    hooks: Hooks,
    session: Option<Arc<PartySession>>,
    /// A session that began while the party was joining another.
    next_session: Option<Received>,
    epoch: Option<Arc<PartyEpoch>>,
    /// The epoch that is in memory, confirmed or not.
    held: Option<Arc<PartyEpoch>>,
    /// An epoch that was loaded, of which the helper has not said whether it accepts.
    unheard: Option<EpochId>,
    /// Loads and inferences of the session that began here.
    begun: Begun,
    /// Inferences that have not ended.
    flights: Vec<Flight>,
    serving: Sender<Option<dealing::Serving>>,
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
        if !matches!(error, NodeError::Stopped) {
            self.reporter.report(Event::Fatal { error });
        }
    }

    /// Takes the next message, and does what can be done with it.
    fn step(&mut self) -> Result<(), NodeError> {
        if let Some(begin) = self.next_session.take() {
            return self.join(&begin);
        }
        self.take_prepared()?;
        let idle = clock::now() + Duration::from_secs(3600);
        let gone = self.client_that_left();
        let deadline = match &gone {
            Some(_) => clock::now(),
            None => self.flights.iter().map(Flight::deadline).min().unwrap_or(idle),
        };
        let (flights, begun) = (&self.flights, &self.begun);
        let incoming = self.inbox.next(deadline, |peer, h| want(flights, begun, peer, h))?;
        let message = match (incoming, gone) {
            (Incoming::Message(message), _) => message,
            (Incoming::Woken, _) => return Ok(()),
            // What the client said before it left has been heard.
            (Incoming::Timeout, Some((scope, how))) => return self.lost_client(scope, how),
            (incoming, _) => {
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
            Kind::EpochBegin => self.load(&message),
            Kind::Bind => self.bind(&message),
            Kind::Fingerprint => {
                self.tell_fingerprint(&message.peer);
                Ok(())
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
        // There is no material of a load that goes on yet, and none is needed of an old model or
        // session.
        let epoch = self.epoch.as_ref().map(|epoch| epoch.epoch());
        let session = self.session.as_ref().map(|session| session.id());
        self.ready.retain(|(m, _)| (Some(m.scope().epoch), Some(m.scope().session)) == (epoch, session));
        self.material_came()
    }

    /// Answers a client's question; whoever does not take the answer asks in vain.
    fn tell_fingerprint(&mut self, client: &Peer) {
        match self.epoch.as_ref().map(|e| (e.epoch(), e.fingerprint())) {
            Some((epoch, fingerprint)) => {
                let header = Header::new(Kind::Fingerprint, Scope::epoch(epoch), 0);
                self.send(client, header, &fingerprint.0).ok();
            }
            None => {
                let notice = AbortNotice::of(&ProtocolError::NoModel, &Step::load_part("fingerprint"));
                if let Ok(body) = control::encode(&notice) {
                    self.send(client, Header::new(Kind::Abort, Scope::NONE, 0), &body).ok();
                }
            }
        }
    }

    /// The next message of a load or an inference. Clients' questions are answered meanwhile.
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
            self.tell_fingerprint(&message.peer);
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
                Some(m) => self.tell_fingerprint(&m.peer),
            }
        }
    }

    fn load(&mut self, begin: &Received) -> Result<(), NodeError> {
        let scope = begin.header.scope();
        let fresh = self.is_new(scope.epoch).and_then(|()| self.begin(scope.id, Begun::begin_after_all));
        if fresh.is_ok() {
            self.epoch = None;
            self.held = None;
            self.ready.clear();
            self.inbox.begin_epoch(scope.epoch);
        }
        match fresh.and_then(|session| self.run_load(&session, begin)) {
            Ok(loaded) => {
                self.held = Some(Arc::new(loaded));
                self.epoch.clone_from(&self.held);
                self.serve(scope.id);
                self.reporter.report(Event::Loaded { epoch: scope.epoch });
                Ok(())
            }
            Err(NodeError::Stopped) => Err(NodeError::Stopped),
            Err(error) => {
                self.begun.give_up(scope.id);
                self.tell_abort(&error, &Step::load_part("tags"), Header::new(Kind::Abort, scope, 0), &[]);
                self.reporter.report(Event::LoadFailed { error });
                Ok(())
            }
        }
    }

    /// Begins an inference or a load, each id once; without a session there are none.
    fn begin(
        &mut self,
        id: InferenceId,
        begin: fn(&mut Begun, InferenceId) -> bool,
    ) -> Result<Arc<PartySession>, NodeError> {
        let Some(session) = self.session.clone() else {
            let fault = Fault::Unexpected(format!("{id} before a session is open"));
            return Err(ProtocolError::peer(Peer::Helper, Step::Keys, fault).into());
        };
        if !begin(&mut self.begun, id) {
            return Err(ProtocolError::Spent { what: id.to_string() }.into());
        }
        Ok(session)
    }

    /// Tells everybody concerned why this party gave up, unless the helper said so: it tells
    /// everybody itself.
    fn tell_abort(&mut self, error: &NodeError, step: &Step, header: Header, also: &[Peer]) {
        if matches!(error, NodeError::Protocol(ProtocolError::Aborted { by: Peer::Helper, .. })) {
            return;
        }
        let notice = error.notice(step);
        let Ok(body) = amicus_protocol::control::encode(&notice) else { return };
        let others = self.ctx.parties.others(self.ctx.me).map(Peer::Party);
        for peer in others.chain([Peer::Helper]).chain(also.iter().cloned()) {
            // Who cannot be told finds out by its own deadline.
            self.send(&peer, header, &body).ok();
        }
    }

    /// Sends a message.
    fn send(&mut self, to: &Peer, header: Header, body: &[u8]) -> Result<(), NodeError> {
        self.hooks.send(&mut self.inbox, to, header, body)
    }

    fn others(&self) -> Vec<Peer> {
        self.ctx.parties.others(self.ctx.me).map(Peer::Party).collect()
    }
}

/// What a party does with a message while no load goes on.
fn want(flights: &[Flight], begun: &Begun, peer: &Peer, h: &Header) -> Want {
    match (peer, h.kind) {
        // Asked before any id is known, and answered at once.
        (Peer::Client(_), Kind::Fingerprint) => return Want::Take,
        (Peer::Helper, Kind::SessionBegin | Kind::Bind) => return Want::Take,
        // A load changes the model that inferences in flight are of.
        (Peer::Helper, Kind::EpochBegin) if flights.is_empty() => return Want::Take,
        (Peer::Helper, Kind::EpochBegin) => return Want::Keep,
        _ => {}
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
        _ if begun.is_spent(h.id) => Want::Drop,
        _ => Want::Keep,
    }
}
