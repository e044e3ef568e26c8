//! A compute party: an online thread that loads models and runs inferences, and a dealing thread
//! that prepares material ahead of time.

mod dealing;
mod hooks;
mod infer;
mod load;
mod session;

#[cfg(feature = "danger")]
use crate::conduct::Conduct;
use crate::connect::InboxHandles;
use crate::event::{Event, Reporter};
use crate::exchange::{Part, Wait, aborted_by};
use crate::inbox::{Inbox, Incoming, Received, Want};
use crate::limits::{MATERIAL, largest_batch};
use crate::store::{Place, Store};
use crate::{Limits, NodeError, Peer, cores};
use amicus_net::{NetError, clock};
use amicus_plan::Plan;
use amicus_protocol::control::{self, AbortNotice, Binding};
use amicus_protocol::epoch::{PartyContext, PartyEpoch};
use amicus_protocol::preprocess::Material;
use amicus_protocol::session::PartySession;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{Fault, InferenceId, Parties, PartyId, ProtocolError, Scope, SessionId, Step};
use dealing::Prepared;
use hooks::Hooks;
use std::collections::VecDeque;
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
        PartyConfig {
            max_batch: largest_batch(&plan, MATERIAL),
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
        config.reporter.found(&store);
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
            prepared,
            online: inboxes.online.clone(),
            max_batch: config.max_batch,
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
            last: InferenceId(0),
            aborted: Aborted::default(),
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
    /// The last inference or load of the session that began here.
    last: InferenceId,
    aborted: Aborted,
    serving: Sender<Option<dealing::Serving>>,
    prepared: Receiver<Prepared>,
    ready: Vec<Material>,
    limits: Limits,
    reporter: Reporter,
}

/// Inferences and loads of the session given up lately: what still arrives for them is no replay.
#[derive(Debug, Default)]
struct Aborted(VecDeque<InferenceId>);

impl Aborted {
    /// How many are remembered.
    const MOST: usize = 64;

    fn remember(&mut self, id: InferenceId) {
        if self.0.len() == Self::MOST {
            self.0.pop_front();
        }
        self.0.push_back(id);
    }

    fn contains(&self, which: &InferenceId) -> bool {
        self.0.contains(which)
    }
}

impl Party {
    fn run(mut self) {
        let error = loop {
            if let Err(error) = self.idle() {
                break error;
            }
        };
        if !matches!(error, NodeError::Stopped) {
            self.reporter.report(Event::Fatal { error });
        }
    }

    /// Waits for the helper to begin something, and does it.
    fn idle(&mut self) -> Result<(), NodeError> {
        if let Some(begin) = self.next_session.take() {
            return self.join(&begin);
        }
        while let Ok(prepared) = self.prepared.try_recv() {
            self.take_prepared(prepared);
        }
        let last = self.last;
        let incoming =
            self.inbox.next(clock::now() + Duration::from_secs(3600), |peer, h| idle_want(last, peer, h))?;
        let message = match incoming {
            Incoming::Message(message) => message,
            // Without the helper there is no session.
            Incoming::Lost(Peer::Helper, _) => {
                self.end_session();
                return Ok(());
            }
            Incoming::Lost(..) | Incoming::Refused(..) | Incoming::Woken | Incoming::Timeout => {
                return Ok(());
            }
        };
        match message.header.kind {
            Kind::SessionBegin => self.join(&message),
            Kind::EpochBegin => self.load(&message),
            Kind::Bind => self.inference(&message),
            Kind::Fingerprint => {
                self.tell_fingerprint(&message.peer);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Keeps what the dealing thread prepared until it is bound, or forgets what never will be.
    fn take_prepared(&mut self, prepared: Prepared) {
        match prepared {
            Prepared::Material(material) => self.ready.push(material),
            Prepared::Burned(scope) => self.ready.retain(|m| m.scope() != scope),
        }
        // There is no material of a load that goes on yet, and none is needed of an old model or
        // session.
        let epoch = self.epoch.as_ref().map(|epoch| epoch.epoch());
        let session = self.session.as_ref().map(|session| session.id());
        self.ready.retain(|m| (Some(m.scope().epoch), Some(m.scope().session)) == (epoch, session));
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
        want: impl Fn(&Aborted, &Peer, &Header) -> Want,
    ) -> Result<Received, NodeError> {
        loop {
            let aborted = &self.aborted;
            let message = self.inbox.exchange(wait, &part, |peer, h| want(aborted, peer, h))?;
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
        want: impl Fn(&Aborted, &Peer, &Header) -> Want,
    ) -> Result<(), NodeError> {
        let since = clock::now();
        loop {
            let aborted = &self.aborted;
            let want = |peer: &Peer, h: &Header| match h.kind {
                Kind::Fingerprint | Kind::Abort => want(aborted, peer, h),
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
        let fresh = self.begin(scope.id);
        if fresh.is_ok() {
            self.epoch = None;
            self.ready.clear();
            self.inbox.begin_epoch(scope.epoch);
        }
        match fresh.and_then(|session| self.run_load(&session, begin)) {
            Ok(loaded) => {
                self.epoch = Some(Arc::new(loaded));
                self.serve(scope.id);
                self.reporter.report(Event::Loaded { epoch: scope.epoch });
                Ok(())
            }
            Err(NodeError::Stopped) => Err(NodeError::Stopped),
            Err(error) => {
                self.aborted.remember(scope.id);
                self.tell_abort(&error, &Step::load_part("tags"), Header::new(Kind::Abort, scope, 0), &[]);
                self.reporter.report(Event::LoadFailed { error });
                Ok(())
            }
        }
    }

    fn inference(&mut self, bind: &Received) -> Result<(), NodeError> {
        let scope = bind.header.scope();
        if let Err(error) = self.begin(scope.id) {
            self.reporter.report(Event::Failed { id: scope.id, error });
            return Ok(());
        }
        self.inbox.reset_hop();
        let binding = control::decode::<Binding>(bind.body());
        let client = binding.as_ref().ok().and_then(|b| Peer::parse(&b.client, self.ctx.parties));
        let result = binding
            .map_err(|fault| ProtocolError::peer(Peer::Helper, Step::Input, fault).into())
            .and_then(|binding| self.run_inference(scope, &binding));
        match result {
            Ok(event) => {
                self.reporter.report(event);
                Ok(())
            }
            Err(NodeError::Stopped) => Err(NodeError::Stopped),
            Err(error) => {
                self.aborted.remember(scope.id);
                if error.is_rejection() {
                    let failed = self.store.failed_checks(scope.epoch) + 1;
                    self.store.record_failed_checks(scope.epoch, failed)?;
                }
                let header = Header::new(Kind::Abort, scope, 0);
                self.tell_abort(&error, &Step::Input, header, client.as_slice());
                self.reporter.report(Event::Failed { id: scope.id, error });
                Ok(())
            }
        }
    }

    /// Begins an inference or a load: ids of a session grow, and without a session there are none.
    fn begin(&mut self, id: InferenceId) -> Result<Arc<PartySession>, NodeError> {
        let Some(session) = self.session.clone() else {
            let fault = Fault::Unexpected(format!("{id} before a session is open"));
            return Err(ProtocolError::peer(Peer::Helper, Step::Keys, fault).into());
        };
        if id <= self.last {
            return Err(ProtocolError::Spent { what: id.to_string() }.into());
        }
        self.last = id;
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

/// What an idle party does with a message.
fn idle_want(last: InferenceId, peer: &Peer, h: &Header) -> Want {
    let later = h.id > last;
    match (peer, h.kind) {
        (Peer::Helper, Kind::SessionBegin | Kind::EpochBegin | Kind::Bind)
        | (Peer::Client(_), Kind::Fingerprint) => Want::Take,
        (_, Kind::Abort) | (Peer::Helper, Kind::Outcome) => Want::Drop,
        _ if later => Want::Keep,
        _ => Want::Drop,
    }
}
