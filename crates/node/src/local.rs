//! All roles of a deployment in one process: the demo, benchmarks and tests.
//!
//! Every role has its own identity, threads and folder; they share nothing but links, over
//! loopback TLS (as between machines, optionally through shaping proxies) or in memory.

use crate::client::ClientNode;
#[cfg(feature = "danger")]
use crate::conduct::Conduct;
use crate::connect::{Arrival, Complaints, Connector, InboxHandles, Target, Terms};
use crate::event::{Event, Reporter};
use crate::helper::{HelperConfig, HelperNode};
use crate::limits::{MATERIAL, held, lanes, largest_batch};
use crate::owner::OwnerNode;
use crate::party::{PartyConfig, PartyNode};
use crate::store::Place;
use crate::{Ahead, Limits, NodeError, Peer, cores};
use amicus_net::shaper::{Shape, ShapedProxy};
use amicus_net::{Fingerprint, Identity, Link, Listener, PeerSet};
use amicus_plan::Plan;
use amicus_protocol::check::FAILURE_LIMIT;
use amicus_protocol::control::Channel;
use amicus_protocol::{Parties, ProtocolError};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

/// Roles that work during an inference beside the parties: helper and client.
const OTHERS: usize = 2;

/// How the roles are connected.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Wiring {
    /// Queues in memory.
    Memory,
    /// Mutual TLS over loopback.
    #[default]
    Tls,
    /// Mutual TLS over loopback, every direction of every link delayed and limited.
    Shaped(Shape),
}

/// What a local deployment consists of.
pub struct LocalConfig {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Number of parties.
    pub parties: Parties,
    /// Names of the clients, without the word client.
    pub clients: Vec<String>,
    /// How roles are connected.
    pub wiring: Wiring,
    /// The folder in which every node makes its own.
    pub folder: PathBuf,
    /// Deadlines.
    pub limits: Limits,
    /// Cores of their own for the parties' online threads, in order; without one a thread runs
    /// anywhere.
    pub cores: Vec<usize>,
    /// What is dealt before anybody asks.
    pub ahead: Ahead,
    /// Largest batch.
    pub max_batch: u32,
    /// Inferences in flight at a time.
    pub lanes: usize,
    /// Requests of one client that may wait at a time, and its inferences that may be in flight.
    pub requests_of_client: usize,
    /// Failed checks after which the helper retires a model.
    pub failure_limit: u32,
    /// First port of helper and parties; any free ones when none is given.
    pub first_port: Option<u16>,
    /// The party that misbehaves, and how.
    #[cfg(feature = "danger")]
    pub conduct: Option<(amicus_protocol::PartyId, Box<dyn Conduct>)>,
    /// The helper stops after it recorded its first decision; for tests.
    #[cfg(feature = "danger")]
    pub danger_stop_after_decision: bool,
}

impl LocalConfig {
    /// The parties over TLS with one client called `1`, material for one inference at a time.
    ///
    /// Where every party can have a core but that leaves none for helper and client, each stays on
    /// its own: schedulers put two parties on one core, for milliseconds, while another has nothing
    /// to do (`docs/performance.md`, "Waiting").
    pub fn new(plan: Arc<Plan>, parties: Parties, folder: PathBuf) -> Self {
        let available = std::thread::available_parallelism().map_or(1, usize::from);
        let enough = available >= parties.count();
        let scarce = available < parties.count() + OTHERS;
        // Where fewer may be busy than may be used, as under a quota of a container, others would
        // choose the same ones.
        let cores = Some(cores::usable()).filter(|cores| enough && scarce && cores.len() == available);
        LocalConfig {
            parties,
            clients: vec!["1".into()],
            wiring: Wiring::Tls,
            folder,
            limits: Limits::default(),
            cores: cores.unwrap_or_default(),
            ahead: Ahead::new(1, 1),
            max_batch: largest_batch(&plan, MATERIAL),
            lanes: lanes(&plan, MATERIAL),
            plan,
            requests_of_client: 1,
            failure_limit: FAILURE_LIMIT,
            first_port: None,
            #[cfg(feature = "danger")]
            conduct: None,
            #[cfg(feature = "danger")]
            danger_stop_after_decision: false,
        }
    }
}

/// A running deployment.
pub struct LocalCluster {
    plan: Arc<Plan>,
    parties: Parties,
    limits: Limits,
    max_batch: u32,
    lanes: usize,
    requests_of_client: usize,
    failure_limit: u32,
    helper: Option<HelperNode>,
    helper_config: HelperSeed,
    nodes: Vec<PartyNode>,
    wires: Wires,
    /// Events of the helper.
    pub helper_events: Receiver<Event>,
    /// Events of the parties, in order.
    pub party_events: Vec<Receiver<Event>>,
    /// Errors of single connections.
    pub connection_errors: Receiver<NodeError>,
}

#[derive(Debug)]
struct HelperSeed {
    place: Place,
    ahead: Ahead,
    port: Option<u16>,
}

/// What connects roles.
enum Wires {
    Memory,
    Tls(Box<TlsWires>),
}

struct TlsWires {
    terms: Terms,
    shape: Option<Shape>,
    identities: BTreeMap<Peer, Arc<Identity>>,
    addresses: BTreeMap<Peer, SocketAddr>,
    proxies: Vec<ShapedProxy>,
    connector: Connector,
    helper_connector: Connector,
}

impl LocalCluster {
    /// Starts helper and parties and connects them.
    ///
    /// # Errors
    /// An invalid plan, folders that cannot be used, a port in use.
    pub fn start(config: LocalConfig) -> Result<Self, NodeError> {
        #[cfg(feature = "danger")]
        let mut config = config;
        #[cfg(feature = "danger")]
        let mut conduct = config.conduct.take();
        let (complaints, connection_errors) = Complaints::channel();
        let mut party_events = Vec::new();
        let mut nodes = Vec::new();
        for me in config.parties.all() {
            let (reporter, events) = Reporter::channel();
            party_events.push(events);
            let kept = config.ahead.kept * config.ahead.batch as usize;
            let max_inputs = held(config.lanes, kept, config.max_batch);
            nodes.push(PartyNode::start(PartyConfig {
                plan: Arc::clone(&config.plan),
                parties: config.parties,
                me,
                place: Place::local(&config.folder, config.parties, &Peer::Party(me)),
                limits: config.limits,
                max_batch: config.max_batch,
                max_inputs,
                core: config.cores.get(me.index()).copied(),
                #[cfg(feature = "danger")]
                conduct: conduct.take_if(|(party, _)| *party == me).map(|(_, conduct)| conduct),
                reporter,
            })?);
        }
        let helper_config = HelperSeed {
            place: Place::local(&config.folder, config.parties, &Peer::Helper),
            ahead: config.ahead,
            port: config.first_port,
        };
        let (_, helper_events) = Reporter::channel();
        let wires = match config.wiring {
            Wiring::Memory => Wires::Memory,
            Wiring::Tls => Wires::Tls(Box::new(TlsWires::new(&config, None, complaints)?)),
            Wiring::Shaped(shape) => Wires::Tls(Box::new(TlsWires::new(&config, Some(shape), complaints)?)),
        };
        let mut cluster = LocalCluster {
            plan: config.plan,
            parties: config.parties,
            limits: config.limits,
            max_batch: config.max_batch,
            lanes: config.lanes,
            requests_of_client: config.requests_of_client,
            failure_limit: config.failure_limit,
            helper: None,
            helper_config,
            nodes,
            wires,
            helper_events,
            party_events,
            connection_errors,
        };
        cluster.connect_parties(config.first_port)?;
        #[cfg(feature = "danger")]
        let dies = config.danger_stop_after_decision;
        #[cfg(not(feature = "danger"))]
        let dies = false;
        cluster.start_helper(dies)?;
        Ok(cluster)
    }

    fn connect_parties(&mut self, first_port: Option<u16>) -> Result<(), NodeError> {
        for me in self.parties.all() {
            let inboxes = self.nodes[me.index()].inboxes().clone();
            match &mut self.wires {
                Wires::Memory => {
                    for other in self.parties.all().filter(|o| o.number() < me.number()) {
                        let to = self.nodes[other.index()].inboxes();
                        join(&Peer::Party(me), &inboxes, &Peer::Party(other), to, Channel::Online);
                    }
                }
                Wires::Tls(tls) => {
                    let port = first_port.map_or(0, |p| p + me.number() as u16);
                    tls.listen(&Peer::Party(me), port, inboxes.clone(), false)?;
                    let lower = self.parties.all().filter(|o| o.number() < me.number());
                    let targets = lower.map(|o| (Peer::Party(o), Channel::Online)).collect();
                    tls.dial(&Peer::Party(me), targets, &inboxes)?;
                }
            }
        }
        Ok(())
    }

    /// Starts the helper; for tests, one that dies after it recorded its first decision.
    fn start_helper(&mut self, dies: bool) -> Result<(), NodeError> {
        #[cfg(not(feature = "danger"))]
        let _ = dies;
        let (reporter, events) = Reporter::channel();
        self.helper_events = events;
        let helper = HelperNode::start(HelperConfig {
            plan: Arc::clone(&self.plan),
            parties: self.parties,
            place: self.helper_config.place.clone(),
            limits: self.limits,
            ahead: self.helper_config.ahead,
            max_batch: self.max_batch,
            lanes: self.lanes,
            requests_of_client: self.requests_of_client,
            failure_limit: self.failure_limit,
            reporter,
            #[cfg(feature = "danger")]
            danger_stop_after_decision: dies,
        })?;
        let first = !matches!(&self.wires, Wires::Tls(tls) if tls.addresses.contains_key(&Peer::Helper));
        if let Wires::Tls(tls) = &mut self.wires {
            let known = tls.addresses.get(&Peer::Helper).map(SocketAddr::port);
            let port = known.or(self.helper_config.port).unwrap_or(0);
            tls.listen(&Peer::Helper, port, helper.inboxes().clone(), true)?;
        }
        for me in self.parties.all() {
            let inboxes = self.nodes[me.index()].inboxes().clone();
            match &mut self.wires {
                Wires::Memory => {
                    for channel in [Channel::Online, Channel::Dealing] {
                        join(&Peer::Party(me), &inboxes, &Peer::Helper, helper.inboxes(), channel);
                    }
                }
                // Later on parties dial again by themselves.
                Wires::Tls(tls) if first => {
                    let channels = [Channel::Online, Channel::Dealing];
                    let targets = channels.map(|c| (Peer::Helper, c)).to_vec();
                    tls.dial(&Peer::Party(me), targets, &inboxes)?;
                }
                Wires::Tls(_) => {}
            }
        }
        self.helper = Some(helper);
        Ok(())
    }

    /// Stops the helper and starts it again with its folder, as after a crash.
    ///
    /// # Errors
    /// Those of [`LocalCluster::start`].
    pub fn restart_helper(&mut self) -> Result<(), NodeError> {
        if let Some(helper) = self.helper.take() {
            helper.stop();
        }
        if let Wires::Tls(tls) = &mut self.wires {
            tls.helper_connector.stop();
            tls.helper_connector = tls.connector.sibling();
        }
        self.start_helper(false)
    }

    /// The model owner, connected.
    ///
    /// # Errors
    /// When it cannot be connected.
    pub fn owner(&mut self) -> Result<OwnerNode, NodeError> {
        let owner = OwnerNode::new(Arc::clone(&self.plan), self.parties, self.limits)?;
        self.connect_user(&Peer::Owner, owner.inboxes())?;
        Ok(owner)
    }

    /// A client, connected.
    ///
    /// # Errors
    /// When it cannot be connected.
    pub fn client(&mut self, name: &str) -> Result<ClientNode, NodeError> {
        let client = ClientNode::new(Arc::clone(&self.plan), self.parties, self.max_batch, self.limits)?;
        self.connect_user(&Peer::Client(name.to_owned()), client.inboxes())?;
        Ok(client)
    }

    /// Connects a user's inboxes to helper and parties.
    ///
    /// # Errors
    /// When it cannot be connected.
    pub fn connect_user(&mut self, user: &Peer, inboxes: &InboxHandles) -> Result<(), NodeError> {
        let everybody = self.parties.all().map(Peer::Party).chain([Peer::Helper]);
        match &mut self.wires {
            Wires::Memory => {
                for peer in everybody {
                    let to = match &peer {
                        Peer::Party(p) => Some(self.nodes[p.index()].inboxes()),
                        _ => self.helper.as_ref().map(HelperNode::inboxes),
                    };
                    if let Some(to) = to {
                        join(user, inboxes, &peer, to, Channel::Online);
                    }
                }
                Ok(())
            }
            Wires::Tls(tls) => tls.dial(user, everybody.map(|p| (p, Channel::Online)).collect(), inboxes),
        }
    }

    /// Where a role is reached, if it is over TLS.
    pub fn address(&self, peer: &Peer) -> Option<SocketAddr> {
        match &self.wires {
            Wires::Memory => None,
            Wires::Tls(tls) => tls.addresses.get(peer).copied(),
        }
    }

    /// Stops everything and waits for it.
    pub fn stop(self) {
        if let Wires::Tls(tls) = &self.wires {
            tls.connector.stop();
            tls.helper_connector.stop();
        }
        if let Some(helper) = self.helper {
            helper.stop();
        }
        self.nodes.into_iter().for_each(PartyNode::stop);
    }
}

/// Connects two roles in memory.
fn join(a: &Peer, of_a: &InboxHandles, b: &Peer, of_b: &InboxHandles, channel: Channel) {
    let (at_a, at_b) = Link::pair(&a.to_string(), &b.to_string());
    of_a.deliver(channel, Arrival { peer: b.clone(), link: at_a });
    of_b.deliver(channel, Arrival { peer: a.clone(), link: at_b });
}

impl TlsWires {
    fn new(config: &LocalConfig, shape: Option<Shape>, complaints: Complaints) -> Result<Self, NodeError> {
        let clients = config.clients.iter().map(|name| Peer::Client(name.clone()));
        let everybody =
            config.parties.all().map(Peer::Party).chain([Peer::Helper, Peer::Owner]).chain(clients);
        let mut identities = BTreeMap::new();
        for peer in everybody {
            let identity = Identity::generate(&peer.to_string())?;
            identities.insert(peer, Arc::new(identity));
        }
        let plan = config.plan.digest().map_err(ProtocolError::from)?;
        let connector = Connector::new(complaints);
        Ok(TlsWires {
            terms: Terms { plan, parties: config.parties },
            shape,
            identities,
            addresses: BTreeMap::new(),
            proxies: Vec::new(),
            helper_connector: connector.sibling(),
            connector,
        })
    }

    fn fingerprint(&self, peer: &Peer) -> Result<Fingerprint, NodeError> {
        let unknown = || ProtocolError::Misuse(format!("{peer} has no certificate here"));
        Ok(self.identities.get(peer).ok_or_else(unknown)?.fingerprint())
    }

    fn identity(&self, peer: &Peer) -> Result<Arc<Identity>, NodeError> {
        let unknown = || ProtocolError::Misuse(format!("{peer} has no certificate here"));
        Ok(Arc::clone(self.identities.get(peer).ok_or_else(unknown)?))
    }

    fn listen(&mut self, me: &Peer, port: u16, inboxes: InboxHandles, helper: bool) -> Result<(), NodeError> {
        let mut pinned = PeerSet::new();
        for (peer, identity) in self.identities.iter().filter(|(peer, _)| *peer != me) {
            pinned.insert(identity.fingerprint(), peer.to_string());
        }
        let listener = Listener::bind(format!("127.0.0.1:{port}"), &*self.identity(me)?, pinned)?;
        self.addresses.insert(me.clone(), listener.local_addr());
        let connector = if helper { &self.helper_connector } else { &self.connector };
        connector.listen(listener, self.terms, inboxes)
    }

    fn dial(&mut self, me: &Peer, to: Vec<(Peer, Channel)>, inboxes: &InboxHandles) -> Result<(), NodeError> {
        let mut targets = Vec::new();
        for (peer, channel) in to {
            let unknown = || ProtocolError::Misuse(format!("{peer} does not listen"));
            let mut address = *self.addresses.get(&peer).ok_or_else(unknown)?;
            if let Some(shape) = self.shape {
                let proxy = ShapedProxy::spawn(address, shape)?;
                address = proxy.addr();
                self.proxies.push(proxy);
            }
            let fingerprint = self.fingerprint(&peer)?;
            targets.push(Target { peer, address, fingerprint, channel });
        }
        self.connector.dial(&self.identity(me)?, targets, self.terms, inboxes)
    }
}
