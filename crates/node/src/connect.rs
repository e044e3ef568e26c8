//! Links over TLS for nodes: who dials whom, the first message on a link, and dialling again when a
//! link ends.
//!
//! A party dials the helper (one link per channel) and every party with a smaller number; owner and
//! clients dial everybody. Both ends say which channel a link is for and which cluster they belong
//! to, and refuse one another when the clusters differ. A cluster may serve several models, so
//! messages that begin something say which plan it is for.

mod greeter;
mod look;

pub use look::{ClockSeen, Seen, look};

use crate::inbox::InboxHandle;
use crate::store::ClusterDigest;
use crate::threads::spawn;
use crate::{Culprit, NodeError, Peer};
use amicus_net::{Fingerprint, Identity, Link, Listener, NetError, PeerSet};
use amicus_plan::PlanDigest;
use amicus_protocol::control::{Channel, Hello};
use amicus_protocol::wire::Kind;
use amicus_protocol::{Fault, Parties, Printable, ProtocolError, Step, greeting};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long one attempt to connect, greeting included, may take.
const ATTEMPT: Duration = Duration::from_secs(10);

/// A link to a peer that said hello properly.
#[derive(Debug)]
pub struct Arrival {
    /// The peer, by its pinned certificate.
    pub peer: Peer,
    /// The link.
    pub link: Link,
}

/// The inboxes of a node, by channel.
#[derive(Clone, Debug)]
pub struct InboxHandles {
    /// The online thread.
    pub online: InboxHandle,
    /// The dealing thread; clients and owner have none.
    pub dealing: Option<InboxHandle>,
}

impl InboxHandles {
    /// The inbox of a channel's thread, if the node has one.
    pub fn of(&self, channel: Channel) -> Option<&InboxHandle> {
        match channel {
            Channel::Online => Some(&self.online),
            Channel::Dealing => self.dealing.as_ref(),
            Channel::Look => None,
        }
    }

    /// Delivers a link to the thread its channel belongs to.
    pub fn deliver(&self, channel: Channel, arrival: Arrival) {
        if let Some(handle) = self.of(channel) {
            handle.deliver(arrival);
        }
    }
}

/// What both ends of a link must agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The cluster.
    pub cluster: ClusterDigest,
    /// Number of compute parties.
    pub parties: Parties,
}

impl Terms {
    fn hello(&self, channel: Channel) -> Result<Vec<u8>, ProtocolError> {
        greeting::encode(&Hello { channel, cluster: self.cluster.0, parties: self.parties.into() })
    }

    /// Checks a peer's greeting: what the link is for, and the version of its program.
    fn check(&self, frame: &[u8]) -> Result<(Channel, Printable), Fault> {
        let (header, body) = greeting::header(frame)?;
        if header.kind != Kind::Hello {
            return Err(Fault::Unexpected(format!("{:?} before Hello", header.kind)));
        }
        let (hello, program) = greeting::decode(body)?;
        if hello.parties != u8::from(self.parties) {
            let ours = self.parties.count();
            return Err(Fault::Incompatible(format!("it knows {} parties, we know {ours}", hello.parties)));
        }
        let (its, ours) = (ClusterDigest(hello.cluster), self.cluster);
        if its != ours {
            return Err(Fault::Incompatible(format!("it belongs to cluster {its}, we to {ours}")));
        }
        Ok((hello.channel, program))
    }

    /// Greets over a link that we dialled, and hears the other end's greeting: the version of its
    /// program.
    fn greet(&self, link: &mut Link, channel: Channel, deadline: Instant) -> Result<Printable, NodeError> {
        link.send(&[&self.hello(channel)?])?;
        let frame = link.recv(deadline)?;
        let peer = Culprit::named(link.peer(), self.parties);
        let (_, program) =
            self.check(&frame).map_err(|fault| ProtocolError::peer(peer, Step::Keys, fault))?;
        Ok(program)
    }
}

/// Where a peer is reached, and its pinned certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The peer.
    pub peer: Peer,
    /// Its address, `HOST:PORT`; a name is resolved anew for every attempt.
    pub address: String,
    /// Its certificates: one, or two while it changes its key.
    pub fingerprints: Vec<Fingerprint>,
    /// What the link is for.
    pub channel: Channel,
}

/// Errors kept for whoever reads them; a flood of connections that fail costs no more memory than
/// that.
const KEPT_ERRORS: usize = 256;

/// Where errors of single connections go; what nobody reads is dropped.
#[derive(Clone, Debug)]
pub struct Complaints(SyncSender<NodeError>);

impl Complaints {
    /// A way to report, and where reports are read.
    pub fn channel() -> (Self, Receiver<NodeError>) {
        let (sender, receiver) = sync_channel(KEPT_ERRORS);
        (Complaints(sender), receiver)
    }

    fn report(&self, error: NodeError) {
        // Full, or nobody is there: connections go on.
        let _ = self.0.try_send(error);
    }
}

/// Threads that accept and dial links for one node. Ends with [`Connector::stop`].
#[derive(Debug)]
pub struct Connector {
    stop: Arc<AtomicBool>,
    /// Threads that accept, which are waited for so that their ports are free again, and that dial,
    /// so that none gets between the links of a node that is started in place of this one.
    threads: Mutex<Vec<JoinHandle<()>>>,
    complaints: Complaints,
    /// What threads that accept take up before the next connection.
    changes: Mutex<Vec<Arc<Mutex<Option<Change>>>>>,
    /// Whom threads dial, and as whom.
    dialled: Mutex<Vec<Arc<Mutex<Dialled>>>>,
}

/// Whom to let in from now on, and as whom to greet them.
#[derive(Clone, Debug)]
struct Change {
    identity: Arc<Identity>,
    pins: PeerSet,
}

/// Whom a thread dials, and as whom.
#[derive(Clone, Debug)]
struct Dialled {
    target: Target,
    identity: Arc<Identity>,
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connector {
    /// A connector without threads, and where errors of single connections go.
    pub fn new(complaints: Complaints) -> Self {
        Connector {
            stop: Arc::default(),
            threads: Mutex::default(),
            complaints,
            changes: Mutex::default(),
            dialled: Mutex::default(),
        }
    }

    /// Another connector that reports to the same place and is stopped on its own.
    pub fn sibling(&self) -> Self {
        Connector::new(self.complaints.clone())
    }

    /// Accepts links for a node that serves these plans.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn listen(
        &self,
        mut listener: Listener,
        terms: Terms,
        plans: Vec<PlanDigest>,
        inboxes: InboxHandles,
    ) -> Result<(), NodeError> {
        let (stop, complaints) = (Arc::clone(&self.stop), self.complaints.clone());
        // Another thread hears what accepted links say first. Only pinned peers get there.
        let (door, greeter) = greeter::start(terms, plans, inboxes, complaints.clone())?;
        let change = Arc::new(Mutex::new(None::<Change>));
        lock(&self.changes).push(Arc::clone(&change));
        let accepting = spawn("accept", move || {
            while !stop.load(Ordering::SeqCst) {
                let change = lock(&change).take();
                let changed = change.map(|Change { identity, pins }| listener.replace(&identity, pins));
                if let Some(Err(error)) = changed {
                    complaints.report(error.into());
                }
                match listener.accept(Instant::now() + Duration::from_millis(100)) {
                    Ok(link) => {
                        let peer = link.peer().to_owned();
                        if !door.hand(link) {
                            complaints.report(NodeError::Crowded { peer });
                        }
                    }
                    Err(NetError::Timeout { .. }) => {}
                    Err(error) => complaints.report(error.into()),
                }
            }
        })?;
        if let Ok(mut threads) = self.threads.lock() {
            threads.extend([accepting, greeter]);
        }
        Ok(())
    }

    /// Dials targets for a node, now and whenever a link ends.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn dial(
        &self,
        identity: &Arc<Identity>,
        targets: Vec<Target>,
        terms: Terms,
        inboxes: &InboxHandles,
    ) -> Result<(), NodeError> {
        for of_channel in [Channel::Online, Channel::Dealing] {
            let mut dialers = HashMap::new();
            for target in targets.iter().filter(|t| t.channel == of_channel) {
                // One wish at a time: a link that is being established need not be asked for again.
                let (sender, wanted) = sync_channel(1);
                sender.try_send(()).ok();
                dialers.insert(target.peer.clone(), sender);
                let dialled = Dialled { target: target.clone(), identity: Arc::clone(identity) };
                self.dialer(dialled, terms, inboxes.clone(), wanted)?;
            }
            if let Some(handle) = inboxes.of(of_channel) {
                handle.redial_with(dialers);
            }
        }
        Ok(())
    }

    fn dialer(
        &self,
        dialled: Dialled,
        terms: Terms,
        inboxes: InboxHandles,
        wanted: Receiver<()>,
    ) -> Result<(), NodeError> {
        let (stop, complaints) = (Arc::clone(&self.stop), self.complaints.clone());
        let channel = dialled.target.channel;
        let dialled = Arc::new(Mutex::new(dialled));
        {
            let mut known = lock(&self.dialled);
            // Nobody but this list holds those of threads that have ended.
            known.retain(|dialled| Arc::strong_count(dialled) > 1);
            known.push(Arc::clone(&dialled));
        }
        let dialling = spawn("dial", move || {
            // A user that is gone needs no links any more.
            let owned = || inboxes.of(channel).is_some_and(InboxHandle::is_owned);
            let goes_on = || !stop.load(Ordering::SeqCst) && owned();
            let mut asked = false;
            while goes_on() {
                if !asked {
                    match wanted.recv_timeout(Duration::from_millis(100)) {
                        Ok(()) => asked = true,
                        Err(RecvTimeoutError::Timeout) => continue,
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
                let Dialled { target, identity } = lock(&dialled).clone();
                match attempt(&target, &identity, terms, goes_on) {
                    Ok(link) => {
                        asked = false;
                        inboxes.deliver(channel, Arrival { peer: target.peer, link });
                    }
                    Err(error) => {
                        complaints.report(error);
                        std::thread::sleep(Duration::from_millis(100));
                    }
                }
            }
        })?;
        if let Ok(mut threads) = self.threads.lock() {
            // Those of users that are gone have ended.
            threads.retain(|thread| !thread.is_finished());
            threads.push(dialling);
        }
        Ok(())
    }

    /// Takes up another identity, other pins and other addresses, for links that come from now on;
    /// those that are there stay. Targets are those of peers and channels that are dialled already.
    pub fn replace(&self, identity: &Arc<Identity>, pins: &PeerSet, targets: &[Target]) {
        for change in lock(&self.changes).iter() {
            *lock(change) = Some(Change { identity: Arc::clone(identity), pins: pins.clone() });
        }
        for dialled in lock(&self.dialled).iter() {
            let mut dialled = lock(dialled);
            let now = &dialled.target;
            let same = targets.iter().find(|t| (&t.peer, t.channel) == (&now.peer, now.channel));
            if let Some(target) = same {
                *dialled = Dialled { target: target.clone(), identity: Arc::clone(identity) };
            }
        }
    }

    /// Ends all threads and waits for them: for one whose peer has begun to answer, at most as long
    /// as an attempt takes.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        let threads = self.threads.lock().map(|mut t| std::mem::take(&mut *t)).unwrap_or_default();
        for thread in threads {
            let _ = thread.join();
        }
    }
}

/// Dials a target once and greets it.
///
/// # Errors
/// What the network or the greeting says.
pub fn connect(target: &Target, identity: &Identity, terms: Terms) -> Result<Link, NodeError> {
    attempt(target, identity, terms, || true)
}

/// Dials and greets as [`connect`] does, as long as the link is wanted.
fn attempt(
    target: &Target,
    identity: &Identity,
    terms: Terms,
    wanted: impl Fn() -> bool,
) -> Result<Link, NodeError> {
    let deadline = Instant::now() + ATTEMPT;
    let name = target.peer.to_string();
    let expected = (name.as_str(), &target.fingerprints[..]);
    let mut link = amicus_net::dial_while(&target.address, identity, expected, deadline, wanted)?;
    terms.greet(&mut link, target.channel, deadline)?;
    Ok(link)
}
