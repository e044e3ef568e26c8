//! All roles of a deployment in one process: the demo, benchmarks and tests.
//!
//! Every role has its own identity, threads and folder; they share nothing but links, over
//! loopback TLS (as between machines, optionally through shaping proxies) or in memory.

use crate::client::ClientNode;
#[cfg(feature = "danger")]
use crate::conduct::{Conduct, OfHelper};
use crate::connect::{Arrival, Complaints, Connector, InboxHandles, Target, Terms};
use crate::event::{Event, Reporter};
use crate::helper::{HelperConfig, HelperNode};
use crate::limits::MAX_LANES;
use crate::owner::OwnerNode;
use crate::party::{PartyConfig, PartyNode};
use crate::served::Served;
use crate::store::{ClusterDigest, Place};
use crate::{Ahead, Limits, NodeError, Peer, cores};
use amicus_net::shaper::{Shape, ShapedProxy};
#[cfg(feature = "danger")]
use amicus_net::{Direction, Recorder};
use amicus_net::{Fingerprint, Identity, Link, Listener, PeerSet};
use amicus_plan::Plan;
use amicus_protocol::check::FAILURE_LIMIT;
use amicus_protocol::control::Channel;
use amicus_protocol::{Parties, PartyId, ProtocolError};
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
    /// The model that users are connected for unless they name another.
    pub model: Served,
    /// Further models.
    pub others: Vec<Served>,
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
    /// Threads for the arithmetic of each of the two threads of helper and parties. More than one are
    /// not kept to a party's own core.
    pub threads: usize,
    /// Requests of one client that may wait at a time, and its inferences that may be in flight.
    pub requests_of_client: usize,
    /// Failed checks after which the helper retires a model.
    pub failure_limit: u32,
    /// First port of helper and parties; any free ones when none is given.
    pub first_port: Option<u16>,
    /// The party that misbehaves, and how.
    #[cfg(feature = "danger")]
    pub conduct: Option<(PartyId, Box<dyn Conduct>)>,
    /// What the helper does beside its work until it is started anew; for tests.
    #[cfg(feature = "danger")]
    pub danger_helper: OfHelper,
    /// Links in memory are recorded; for tests that look at what went over them.
    #[cfg(feature = "danger")]
    pub danger_record: bool,
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
            threads: 1,
            model: Served { ahead: Ahead::new(1, 1), ..Served::new(plan) },
            others: Vec::new(),
            requests_of_client: 1,
            failure_limit: FAILURE_LIMIT,
            first_port: None,
            #[cfg(feature = "danger")]
            conduct: None,
            #[cfg(feature = "danger")]
            danger_helper: OfHelper::default(),
            #[cfg(feature = "danger")]
            danger_record: false,
        }
    }
}

/// A running deployment.
pub struct LocalCluster {
    /// The first one is that of users who name none.
    models: Vec<Served>,
    parties: Parties,
    limits: Limits,
    requests_of_client: usize,
    failure_limit: u32,
    folder: PathBuf,
    cores: Vec<usize>,
    threads: usize,
    first_port: Option<u16>,
    helper: Option<HelperNode>,
    /// In order; none where a party is stopped.
    nodes: Vec<Option<PartyNode>>,
    wires: Wires,
    /// Events of the helper.
    pub helper_events: Receiver<Event>,
    /// Events of the parties, in order.
    pub party_events: Vec<Receiver<Event>>,
    /// Errors of single connections.
    pub connection_errors: Receiver<NodeError>,
}

/// What connects roles.
enum Wires {
    Memory(MemoryWires),
    Tls(Box<TlsWires>),
}

/// Queues in memory, recorded where a test wants to know what went over them.
#[derive(Debug, Default)]
struct MemoryWires {
    #[cfg(feature = "danger")]
    records: Option<Vec<(Peer, Peer, Recorder)>>,
}

struct TlsWires {
    terms: Terms,
    shape: Option<Shape>,
    identities: BTreeMap<Peer, Arc<Identity>>,
    addresses: BTreeMap<Peer, SocketAddr>,
    proxies: Vec<ShapedProxy>,
    /// Links of users.
    connector: Connector,
    /// Links of helper and parties, each stopped with its node.
    connectors: BTreeMap<Peer, Connector>,
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
        let models: Vec<Served> = [&config.model].into_iter().chain(&config.others).cloned().collect();
        let (complaints, connection_errors) = Complaints::channel();
        let wires = match config.wiring {
            #[cfg(feature = "danger")]
            Wiring::Memory if config.danger_record => {
                Wires::Memory(MemoryWires { records: Some(Vec::new()) })
            }
            Wiring::Memory => Wires::Memory(MemoryWires::default()),
            Wiring::Tls => Wires::Tls(Box::new(TlsWires::new(&config, None, complaints)?)),
            Wiring::Shaped(shape) => Wires::Tls(Box::new(TlsWires::new(&config, Some(shape), complaints)?)),
        };
        let (_, helper_events) = Reporter::channel();
        let mut cluster = LocalCluster {
            models,
            parties: config.parties,
            limits: config.limits,
            requests_of_client: config.requests_of_client,
            failure_limit: config.failure_limit,
            folder: config.folder,
            cores: config.cores,
            threads: config.threads,
            first_port: config.first_port,
            helper: None,
            nodes: config.parties.all().map(|_| None).collect(),
            wires,
            helper_events,
            party_events: config.parties.all().map(|_| Reporter::channel().1).collect(),
            connection_errors,
        };
        for me in config.parties.all() {
            cluster.start_party(
                me,
                #[cfg(feature = "danger")]
                conduct.take_if(|(party, _)| *party == me).map(|(_, conduct)| conduct),
            )?;
        }
        cluster.start_helper(
            #[cfg(feature = "danger")]
            config.danger_helper,
        )?;
        Ok(cluster)
    }

    fn start_party(
        &mut self,
        me: PartyId,
        #[cfg(feature = "danger")] conduct: Option<Box<dyn Conduct>>,
    ) -> Result<(), NodeError> {
        let (reporter, events) = Reporter::channel();
        let peer = Peer::Party(me);
        let node = PartyNode::start(PartyConfig {
            models: self.models.clone(),
            parties: self.parties,
            me,
            place: Place::local(&self.folder, self.parties, &peer),
            limits: self.limits,
            inferences: MAX_LANES,
            core: self.cores.get(me.index()).copied().filter(|_| self.threads <= 1),
            threads: self.threads,
            #[cfg(feature = "danger")]
            conduct,
            reporter,
        })?;
        self.party_events[me.index()] = events;
        let inboxes = node.inboxes().clone();
        match &mut self.wires {
            Wires::Memory(memory) => {
                for (other, node) in self.parties.all().zip(&self.nodes) {
                    if let Some(node) = node {
                        let to = (&Peer::Party(other), node.inboxes());
                        memory.join((&peer, &inboxes), to, Channel::Online);
                    }
                }
                if let Some(helper) = &self.helper {
                    for channel in [Channel::Online, Channel::Dealing] {
                        memory.join((&peer, &inboxes), (&Peer::Helper, helper.inboxes()), channel);
                    }
                }
            }
            Wires::Tls(tls) => {
                let port = self.first_port.map_or(0, |p| p + me.number() as u16);
                tls.listen(&peer, port, inboxes.clone())?;
                let lower = self.parties.all().filter(|o| o.number() < me.number());
                let mut targets: Vec<_> = lower.map(|o| (Peer::Party(o), Channel::Online)).collect();
                if tls.addresses.contains_key(&Peer::Helper) {
                    targets.extend(TO_HELPER);
                }
                tls.dial(&peer, targets, &inboxes)?;
            }
        }
        self.nodes[me.index()] = Some(node);
        Ok(())
    }

    fn start_helper(&mut self, #[cfg(feature = "danger")] danger: OfHelper) -> Result<(), NodeError> {
        let (reporter, events) = Reporter::channel();
        self.helper_events = events;
        let helper = HelperNode::start(HelperConfig {
            models: self.models.clone(),
            parties: self.parties,
            place: Place::local(&self.folder, self.parties, &Peer::Helper),
            limits: self.limits,
            requests_of_client: self.requests_of_client,
            failure_limit: self.failure_limit,
            threads: self.threads,
            reporter,
            #[cfg(feature = "danger")]
            danger,
        })?;
        let running = self.parties.all().zip(&self.nodes);
        let running = running.filter_map(|(me, node)| Some((Peer::Party(me), node.as_ref()?.inboxes())));
        match &mut self.wires {
            Wires::Memory(memory) => {
                for (peer, inboxes) in running {
                    for channel in [Channel::Online, Channel::Dealing] {
                        memory.join((&peer, inboxes), (&Peer::Helper, helper.inboxes()), channel);
                    }
                }
            }
            Wires::Tls(tls) => {
                let first = !tls.addresses.contains_key(&Peer::Helper);
                tls.listen(&Peer::Helper, self.first_port.unwrap_or(0), helper.inboxes().clone())?;
                // Later on parties dial again by themselves.
                for (peer, inboxes) in running.filter(|_| first) {
                    tls.dial(&peer, TO_HELPER.to_vec(), inboxes)?;
                }
            }
        }
        self.helper = Some(helper);
        Ok(())
    }

    /// Stops helper or party, if it runs; nothing is said to anybody, as in a crash.
    pub fn stop_node(&mut self, node: &Peer) {
        if let Wires::Tls(tls) = &mut self.wires
            && let Some(connector) = tls.connectors.remove(node)
        {
            connector.stop();
        }
        match node {
            Peer::Helper => self.helper.take().map(HelperNode::stop),
            Peer::Party(party) => self.nodes[party.index()].take().map(PartyNode::stop),
            Peer::Owner | Peer::Client(_) => None,
        };
    }

    /// Starts helper or party, honest, with its folder. Links in memory to owner and clients end
    /// with a node; [`LocalCluster::connect_user`] makes new ones.
    ///
    /// # Errors
    /// Those of [`LocalCluster::start`].
    pub fn start_node(&mut self, node: &Peer) -> Result<(), NodeError> {
        self.stop_node(node);
        match node {
            Peer::Helper => self.start_helper(
                #[cfg(feature = "danger")]
                OfHelper::default(),
            ),
            Peer::Party(party) => self.start_party(
                *party,
                #[cfg(feature = "danger")]
                None,
            ),
            Peer::Owner | Peer::Client(_) => Err(ProtocolError::Misuse(format!("{node} is no node")).into()),
        }
    }

    /// What went over links in memory: sender, recipient, the frame.
    #[cfg(feature = "danger")]
    pub fn danger_frames(&self) -> Vec<(Peer, Peer, Vec<u8>)> {
        let Wires::Memory(memory) = &self.wires else { return Vec::new() };
        let mut all = Vec::new();
        for (here, there, recorder) in memory.records.iter().flatten() {
            for frame in recorder.frames() {
                let (from, to) = match frame.direction {
                    Direction::Sent => (here, there),
                    Direction::Received => (there, here),
                };
                all.push((from.clone(), to.clone(), frame.bytes));
            }
        }
        all
    }

    /// The model owner, connected.
    ///
    /// # Errors
    /// When it cannot be connected.
    pub fn owner(&mut self) -> Result<OwnerNode, NodeError> {
        self.owner_of(0)
    }

    /// The owner of a model by its number, connected: 0 is the first one, others follow.
    ///
    /// # Errors
    /// When there is no such model, or it cannot be connected.
    pub fn owner_of(&mut self, model: usize) -> Result<OwnerNode, NodeError> {
        let Served { plan, .. } = self.model(model)?;
        let owner = OwnerNode::new(plan, self.parties, self.limits)?;
        self.connect_user(&Peer::Owner, owner.inboxes())?;
        Ok(owner)
    }

    /// A client, connected.
    ///
    /// # Errors
    /// When it cannot be connected.
    pub fn client(&mut self, name: &str) -> Result<ClientNode, NodeError> {
        self.client_of(0, name)
    }

    /// A client of a model by its number, connected: 0 is the first one, others follow.
    ///
    /// # Errors
    /// When there is no such model, or it cannot be connected.
    pub fn client_of(&mut self, model: usize, name: &str) -> Result<ClientNode, NodeError> {
        let Served { plan, max_batch, .. } = self.model(model)?;
        let client = ClientNode::new(plan, self.parties, max_batch, self.limits)?;
        self.connect_user(&Peer::Client(name.to_owned()), client.inboxes())?;
        Ok(client)
    }

    fn model(&self, number: usize) -> Result<Served, NodeError> {
        let unknown = || ProtocolError::Misuse(format!("there is no model {number}"));
        Ok(self.models.get(number).cloned().ok_or_else(unknown)?)
    }

    /// Connects a user's inboxes to helper and parties.
    ///
    /// # Errors
    /// When it cannot be connected.
    pub fn connect_user(&mut self, user: &Peer, inboxes: &InboxHandles) -> Result<(), NodeError> {
        let everybody: Vec<Peer> = self.parties.all().map(Peer::Party).chain([Peer::Helper]).collect();
        self.connect_user_to(user, inboxes, &everybody)
    }

    /// Connects a user's inboxes to some of the nodes.
    ///
    /// # Errors
    /// When it cannot be connected.
    pub fn connect_user_to(
        &mut self,
        user: &Peer,
        inboxes: &InboxHandles,
        nodes: &[Peer],
    ) -> Result<(), NodeError> {
        match &mut self.wires {
            Wires::Memory(memory) => {
                for peer in nodes {
                    let to = match peer {
                        Peer::Party(p) => self.nodes[p.index()].as_ref().map(PartyNode::inboxes),
                        _ => self.helper.as_ref().map(HelperNode::inboxes),
                    };
                    if let Some(to) = to {
                        memory.join((user, inboxes), (peer, to), Channel::Online);
                    }
                }
                Ok(())
            }
            Wires::Tls(tls) => {
                tls.dial(user, nodes.iter().map(|p| (p.clone(), Channel::Online)).collect(), inboxes)
            }
        }
    }

    /// Where a role is reached, if it is over TLS.
    pub fn address(&self, peer: &Peer) -> Option<SocketAddr> {
        match &self.wires {
            Wires::Memory(_) => None,
            Wires::Tls(tls) => tls.addresses.get(peer).copied(),
        }
    }

    /// Stops everything and waits for it.
    pub fn stop(self) {
        if let Wires::Tls(tls) = &self.wires {
            tls.connector.stop();
            tls.connectors.values().for_each(Connector::stop);
        }
        if let Some(helper) = self.helper {
            helper.stop();
        }
        self.nodes.into_iter().flatten().for_each(PartyNode::stop);
    }
}

/// Links from a party to the helper.
const TO_HELPER: [(Peer, Channel); 2] = [(Peer::Helper, Channel::Online), (Peer::Helper, Channel::Dealing)];

impl MemoryWires {
    /// Connects two roles.
    fn join(
        &mut self,
        (a, of_a): (&Peer, &InboxHandles),
        (b, of_b): (&Peer, &InboxHandles),
        channel: Channel,
    ) {
        let (at_a, at_b) = Link::pair(&a.to_string(), &b.to_string());
        #[cfg(feature = "danger")]
        let at_a = match &mut self.records {
            Some(records) => {
                let mut at_a = at_a;
                records.push((a.clone(), b.clone(), at_a.recorded()));
                at_a
            }
            None => at_a,
        };
        of_a.deliver(channel, Arrival { peer: b.clone(), link: at_a });
        of_b.deliver(channel, Arrival { peer: a.clone(), link: at_b });
    }
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
        let cluster = ClusterDigest::local(config.parties);
        let connector = Connector::new(complaints);
        Ok(TlsWires {
            terms: Terms { cluster, parties: config.parties },
            shape,
            identities,
            addresses: BTreeMap::new(),
            proxies: Vec::new(),
            connectors: BTreeMap::new(),
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

    /// The connector of a node, or of all users.
    fn connector(&mut self, of: &Peer) -> &Connector {
        match of {
            Peer::Helper | Peer::Party(_) => {
                self.connectors.entry(of.clone()).or_insert_with(|| self.connector.sibling())
            }
            Peer::Owner | Peer::Client(_) => &self.connector,
        }
    }

    /// Accepts links for a node, at the port that it had before if it had one.
    fn listen(&mut self, me: &Peer, port: u16, inboxes: InboxHandles) -> Result<(), NodeError> {
        let port = self.addresses.get(me).map_or(port, SocketAddr::port);
        let mut pinned = PeerSet::new();
        for (peer, identity) in self.identities.iter().filter(|(peer, _)| *peer != me) {
            pinned.insert(identity.fingerprint(), peer.to_string());
        }
        let listener = Listener::bind(format!("127.0.0.1:{port}"), &*self.identity(me)?, pinned)?;
        self.addresses.insert(me.clone(), listener.local_addr());
        let terms = self.terms;
        // Nobody looks at nodes of one process.
        self.connector(me).listen(listener, terms, Vec::new(), inboxes)
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
            let (address, fingerprints) = (address.to_string(), vec![fingerprint]);
            targets.push(Target { peer, address, fingerprints, channel });
        }
        let (identity, terms) = (self.identity(me)?, self.terms);
        self.connector(me).dial(&identity, targets, terms, inboxes)
    }
}
