//! Links over TLS for nodes: who dials whom, the first message on a link, and dialling again when a link ends.
//!
//! A party dials the helper (one link per channel) and every party with a smaller number; owner and clients dial
//! everybody. Both ends say which channel a link is for and which plan they run, and refuse one another when the
//! plans differ.

use crate::inbox::Hub;
use crate::party::spawn;
use crate::{NodeError, Peer};
use amicus_net::{Fingerprint, Identity, Link, Listener, NetError};
use amicus_plan::PlanDigest;
use amicus_protocol::control::{self, Channel, Hello};
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{EpochId, Fault, Parties, ProtocolError, Step};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
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

/// The hubs of a node, by channel.
#[derive(Clone, Debug)]
pub struct Hubs {
    /// The online thread.
    pub online: Hub,
    /// The dealing thread; clients and owner have none.
    pub dealing: Option<Hub>,
}

impl Hubs {
    /// The hub of a channel's thread, if the node has one.
    pub fn of(&self, channel: Channel) -> Option<&Hub> {
        match channel {
            Channel::Online => Some(&self.online),
            Channel::Dealing => self.dealing.as_ref(),
        }
    }

    /// Delivers a link to the thread its channel belongs to.
    pub fn deliver(&self, channel: Channel, arrival: Arrival) {
        if let Some(hub) = self.of(channel) {
            hub.deliver(arrival);
        }
    }
}

/// What both ends of a link must agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The plan.
    pub plan: PlanDigest,
    /// Number of compute parties.
    pub parties: Parties,
}

impl Terms {
    fn hello(&self, channel: Channel) -> Result<Vec<u8>, ProtocolError> {
        let body = control::encode(&Hello { channel, plan: self.plan, parties: self.parties.into() })?;
        Ok([&Header::epoch(Kind::Hello, EpochId(0), 0).encode()[..], &body].concat())
    }

    /// Checks a peer's hello.
    fn check(&self, frame: &[u8]) -> Result<Channel, Fault> {
        let (header, body) = Header::decode(frame)?;
        if header.kind != Kind::Hello {
            return Err(Fault::Unexpected(format!("{:?} before Hello", header.kind)));
        }
        let hello: Hello = control::decode(body)?;
        if hello.plan != self.plan {
            return Err(Fault::Incompatible(format!("it runs plan {}, we run {}", hello.plan, self.plan)));
        }
        if hello.parties != u8::from(self.parties) {
            let ours = self.parties.count();
            return Err(Fault::Incompatible(format!("it knows {} parties, we know {ours}", hello.parties)));
        }
        Ok(hello.channel)
    }

    /// Greets over a fresh link. The dialling end names the channel; the other end repeats it.
    fn greet(
        &self,
        link: &mut Link,
        channel: Option<Channel>,
        deadline: Instant,
    ) -> Result<Channel, NodeError> {
        if let Some(channel) = channel {
            link.send(&[&self.hello(channel)?])?;
        }
        let frame = link.recv(deadline)?;
        let peer = link.peer().to_owned();
        let incompatible = |fault| NodeError::from(ProtocolError::peer(peer, Step::Keys, fault));
        let checked = self.check(&frame);
        let answer = match (channel, &checked) {
            (None, Ok(channel)) => Some(*channel),
            // Say what we run, so that the other end can tell its operator too.
            (None, Err(Fault::Incompatible(_))) => Some(Channel::Online),
            _ => None,
        };
        if let Some(channel) = answer {
            link.send(&[&self.hello(channel)?])?;
            link.flush(deadline)?;
        }
        let theirs = checked.map_err(incompatible)?;
        Ok(channel.unwrap_or(theirs))
    }
}

/// Where a peer is reached, and its pinned certificate.
#[derive(Clone, Debug)]
pub struct Target {
    /// The peer.
    pub peer: Peer,
    /// Its address.
    pub address: SocketAddr,
    /// Its certificate.
    pub fingerprint: Fingerprint,
    /// What the link is for.
    pub channel: Channel,
}

/// Threads that accept and dial links for one node. Ends with [`Connector::stop`].
#[derive(Debug)]
pub struct Connector {
    stop: Arc<AtomicBool>,
    /// Accepting threads; they are waited for, so that their ports are free again.
    listeners: Mutex<Vec<JoinHandle<()>>>,
    errors: Sender<NodeError>,
}

impl Connector {
    /// A connector without threads; errors of single connections go to `errors`.
    pub fn new(errors: Sender<NodeError>) -> Self {
        Connector { stop: Arc::default(), listeners: Mutex::default(), errors }
    }

    /// Another connector that reports to the same place and is stopped on its own.
    pub fn sibling(&self) -> Self {
        Connector::new(self.errors.clone())
    }

    /// Accepts links for a node.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn listen(&self, mut listener: Listener, terms: Terms, hubs: Hubs) -> Result<(), NodeError> {
        let (stop, errors) = (Arc::clone(&self.stop), self.errors.clone());
        let thread = spawn("accept", move || {
            // Links that are authenticated but have not said hello; each has a thread of its own, so that a silent
            // one holds up nobody. Only pinned peers get here.
            let mut greeting: Vec<JoinHandle<()>> = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                greeting.retain(|t| !t.is_finished());
                match listener.accept(Instant::now() + Duration::from_millis(100)) {
                    Ok(link) => {
                        let (hubs, errors) = (hubs.clone(), errors.clone());
                        greeting.push(std::thread::spawn(move || {
                            if let Err(e) = welcome(link, terms, &hubs) {
                                let _ = errors.send(e);
                            }
                        }));
                    }
                    Err(NetError::Timeout { .. }) => {}
                    Err(error) => {
                        let _ = errors.send(error.into());
                    }
                }
            }
        })?;
        if let Ok(mut listeners) = self.listeners.lock() {
            listeners.push(thread);
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
        hubs: &Hubs,
    ) -> Result<(), NodeError> {
        for of_channel in [Channel::Online, Channel::Dealing] {
            let mut dialers = HashMap::new();
            for target in targets.iter().filter(|t| t.channel == of_channel) {
                let (sender, wanted) = channel();
                sender.send(()).ok();
                dialers.insert(target.peer.clone(), sender);
                self.dialer(target.clone(), Arc::clone(identity), terms, hubs.clone(), wanted)?;
            }
            if let Some(hub) = hubs.of(of_channel) {
                hub.redial_with(dialers);
            }
        }
        Ok(())
    }

    fn dialer(
        &self,
        target: Target,
        identity: Arc<Identity>,
        terms: Terms,
        hubs: Hubs,
        wanted: Receiver<()>,
    ) -> Result<(), NodeError> {
        let (stop, errors) = (Arc::clone(&self.stop), self.errors.clone());
        spawn("dial", move || {
            let mut asked = false;
            while !stop.load(Ordering::SeqCst) {
                if !asked {
                    match wanted.recv_timeout(Duration::from_millis(100)) {
                        Ok(()) => asked = true,
                        Err(RecvTimeoutError::Timeout) => continue,
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
                match connect(&target, &identity, terms) {
                    Ok(link) => {
                        asked = false;
                        hubs.deliver(target.channel, Arrival { peer: target.peer.clone(), link });
                    }
                    Err(error) => {
                        let _ = errors.send(error);
                        std::thread::sleep(Duration::from_millis(100));
                    }
                }
            }
        })?;
        Ok(())
    }

    /// Ends all threads. Accepting ones are waited for; a dialling one may finish its attempt later.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        let listeners = self.listeners.lock().map(|mut t| std::mem::take(&mut *t)).unwrap_or_default();
        for thread in listeners {
            let _ = thread.join();
        }
    }
}

/// Dials a target once and greets it.
///
/// # Errors
/// What the network or the greeting says.
pub fn connect(target: &Target, identity: &Identity, terms: Terms) -> Result<Link, NodeError> {
    let deadline = Instant::now() + ATTEMPT;
    let name = target.peer.to_string();
    let mut link = amicus_net::dial(target.address, identity, (&name, target.fingerprint), deadline)?;
    terms.greet(&mut link, Some(target.channel), deadline)?;
    Ok(link)
}

fn welcome(mut link: Link, terms: Terms, hubs: &Hubs) -> Result<(), NodeError> {
    let channel = terms.greet(&mut link, None, Instant::now() + ATTEMPT)?;
    let name = link.peer().to_owned();
    let unknown = || ProtocolError::peer(&name, Step::Keys, Fault::NotAllowed("no role of this name".into()));
    let peer = Peer::parse(&name, terms.parties).ok_or_else(unknown)?;
    // Between helper and parties; users have no business there.
    if channel == Channel::Dealing && matches!(peer, Peer::Owner | Peer::Client(_)) {
        let fault = Fault::NotAllowed("a link for dealing".into());
        return Err(ProtocolError::peer(&name, Step::Keys, fault).into());
    }
    hubs.deliver(channel, Arrival { peer, link });
    Ok(())
}
