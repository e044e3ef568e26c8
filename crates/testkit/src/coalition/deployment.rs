//! The nodes of an execution, joined by links in memory, those of corrupt roles through the
//! adversary.

use super::adversary::Handle;
use super::scenario::{CLIENTS, Scenario, client};
use crate::nets::Net;
use amicus_net::Link;
use amicus_node::client::ClientNode;
use amicus_node::conduct::OfHelper;
use amicus_node::connect::{Arrival, InboxHandles};
use amicus_node::event::{Event, Reporter};
use amicus_node::helper::{HelperConfig, HelperNode};
use amicus_node::limits::MAX_LANES;
use amicus_node::owner::OwnerNode;
use amicus_node::party::{PartyConfig, PartyNode};
use amicus_node::store::Place;
use amicus_node::{Ahead, Limits, Peer, Served};
use amicus_protocol::SessionId;
use amicus_protocol::control::Channel;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use tempfile::TempDir;

/// Largest batch.
const MAX_BATCH: u32 = 4;
/// A folder in memory, where there is one: nothing is to survive an execution.
const MEMORY: &str = "/dev/shm";

/// Running nodes.
pub struct Deployment {
    /// The network.
    pub net: Net,
    /// The model owner.
    pub owner: OwnerNode,
    /// Clients by number; none while one is away in a thread.
    pub clients: Vec<Option<ClientNode>>,
    /// What helper and parties report.
    pub events: BTreeMap<Peer, Receiver<Event>>,
    /// The session that the helper opened last, as far as its events were read.
    pub session: Option<SessionId>,
    /// Who holds the links of corrupt roles.
    pub adversary: Handle,
    parties: Vec<PartyNode>,
    helper: HelperNode,
    _folder: TempDir,
}

impl Deployment {
    /// Starts the nodes of a scenario, with the deadlines of a product.
    ///
    /// # Panics
    /// When something does not start.
    pub fn start(scenario: &Scenario) -> Self {
        let net = scenario.net();
        let folder =
            if Path::new(MEMORY).is_dir() { tempfile::tempdir_in(MEMORY) } else { tempfile::tempdir() };
        let folder = folder.expect("a folder");
        let (all, limits) = (scenario.all_parties(), Limits::default());
        let (mut events, mut inboxes) = (BTreeMap::new(), BTreeMap::new());
        let mut report = |role: &Peer| {
            let (reporter, receiver) = Reporter::channel();
            events.insert(role.clone(), receiver);
            reporter
        };
        let served = || {
            let (plan, ahead) = (Arc::clone(&net.plan), Ahead::new(scenario.batch, 1));
            vec![Served { plan, max_batch: MAX_BATCH, lanes: 16, ahead }]
        };
        let start = |me| {
            PartyNode::start(PartyConfig {
                models: served(),
                parties: all,
                me,
                place: Place::local(folder.path(), all, &Peer::Party(me)),
                limits,
                inferences: MAX_LANES,
                core: None,
                threads: 1,
                conduct: None,
                reporter: report(&Peer::Party(me)),
            })
            .expect("a party")
        };
        let parties: Vec<PartyNode> = all.all().map(start).collect();
        let helper = HelperNode::start(HelperConfig {
            models: served(),
            parties: all,
            place: Place::local(folder.path(), all, &Peer::Helper),
            limits,
            requests_of_client: 1,
            failure_limit: amicus_protocol::check::FAILURE_LIMIT,
            threads: 1,
            reporter: report(&Peer::Helper),
            danger: OfHelper::default(),
        })
        .expect("a helper");
        let owner = OwnerNode::new(Arc::clone(&net.plan), all, limits).expect("an owner");
        let clients: Vec<ClientNode> = (0..=CLIENTS)
            .map(|_| ClientNode::new(Arc::clone(&net.plan), all, MAX_BATCH, limits).expect("a client"))
            .collect();
        inboxes.extend(all.all().zip(&parties).map(|(p, node)| (Peer::Party(p), node.inboxes().clone())));
        inboxes.insert(Peer::Helper, helper.inboxes().clone());
        inboxes.insert(Peer::Owner, owner.inboxes().clone());
        inboxes.extend(
            clients.iter().enumerate().map(|(number, node)| (client(number), node.inboxes().clone())),
        );

        let (tapped, plain): (Vec<_>, Vec<_>) = links(&inboxes)
            .into_iter()
            .partition(|(a, b, _)| !(scenario.is_honest(a) && scenario.is_honest(b)));
        for (a, b, channel) in plain {
            let (at_a, at_b) = Link::pair(&a.to_string(), &b.to_string());
            inboxes[&a].deliver(channel, Arrival { peer: b.clone(), link: at_a });
            inboxes[&b].deliver(channel, Arrival { peer: a, link: at_b });
        }
        let adversary = Handle::start(scenario, &net, &inboxes, &tapped);
        let clients = clients.into_iter().map(Some).collect();
        Deployment { net, owner, clients, events, session: None, adversary, parties, helper, _folder: folder }
    }

    /// Stops everything.
    pub fn stop(self) {
        self.adversary.stop();
        self.helper.stop();
        self.parties.into_iter().for_each(PartyNode::stop);
    }
}

/// Who talks to whom: parties to each other, everybody to helper and parties.
fn links(inboxes: &BTreeMap<Peer, InboxHandles>) -> Vec<(Peer, Peer, Channel)> {
    let mut all = Vec::new();
    let node = |role: &Peer| matches!(role, Peer::Party(_) | Peer::Helper);
    for (at, a) in inboxes.keys().enumerate() {
        for b in inboxes.keys().skip(at + 1).filter(|b| node(a) || node(b)) {
            all.push((a.clone(), b.clone(), Channel::Online));
            if node(a) && node(b) && (*a == Peer::Helper || *b == Peer::Helper) {
                all.push((a.clone(), b.clone(), Channel::Dealing));
            }
        }
    }
    all
}
