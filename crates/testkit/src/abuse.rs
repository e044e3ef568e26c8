//! Clients that cost nodes memory: they ask and leave, ask and do not read, connect and say nothing.

use crate::PATIENCE;
use crate::random::Random;
use crate::run::Run;
use crate::user::User;
use amicus_client::fingerprint::Fingerprints;
use amicus_client::inference::PendingRequest;
use amicus_net::{Identity, Link, Listener, PeerSet, dial};
use amicus_node::connect::{Complaints, Connector, InboxHandles, Target, Terms, connect};
use amicus_node::inbox::Inbox;
use amicus_node::store::ClusterDigest;
use amicus_node::{NodeError, Peer};
use amicus_protocol::control::Channel;
use amicus_protocol::{Parties, Step};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Clients that ask in turn.
const CLIENTS: usize = 8;
/// Silent links whose own ends are kept: the node keeps no more of one peer.
const KEPT: usize = 8;

/// Clients that ask for batches of all sizes and leave.
pub struct Hasty {
    random: Random,
    asked: usize,
}

impl Default for Hasty {
    fn default() -> Self {
        Hasty { random: Random(7), asked: 0 }
    }
}

impl Hasty {
    /// Asks once more and leaves.
    ///
    /// # Panics
    /// When the deployment is gone.
    pub fn ask_and_leave(&mut self, run: &mut Run) {
        // What nodes report is read; otherwise it would be the reader's memory that grows.
        run.drain();
        let client = Peer::Client(format!("hasty {}", self.asked % CLIENTS));
        self.asked += 1;
        let mut user = User::connect(&mut run.cluster, run.parties, &client);
        let batch = 1 + self.random.below(64) as u32;
        let plan = Arc::clone(&run.net.plan);
        let (_, request) = PendingRequest::new(plan, run.parties, batch, Vec::new()).expect("a request");
        user.send(&Peer::Helper, &request);
    }
}

/// A client that asks all parties for fingerprints and reads no answer; cut off, it comes again.
#[derive(Default)]
pub struct Deaf {
    user: Option<User>,
    /// How often it was cut off.
    pub cut_off: usize,
}

impl Deaf {
    /// Asks every party once more.
    ///
    /// # Panics
    /// When the deployment is gone.
    pub fn ask(&mut self, run: &mut Run) {
        let connect = |run: &mut Run| User::connect(&mut run.cluster, run.parties, &Peer::Client("2".into()));
        let question = Fingerprints::question(&run.net.plan.digest().expect("a plan"));
        loop {
            let user = self.user.get_or_insert_with(|| connect(run));
            let mut parties = run.parties.all().map(Peer::Party);
            if parties.all(|party| user.try_send(&party, &question).is_ok()) && user.try_flush() {
                return;
            }
            self.user = None;
            self.cut_off += 1;
            run.drain();
        }
    }
}

/// A node, and a client of it that connects and says nothing.
pub struct Silent {
    alice: Identity,
    bob: Identity,
    target: Target,
    terms: Terms,
    inbox: Inbox,
    connector: Connector,
    _errors: Receiver<NodeError>,
    links: VecDeque<Link>,
}

impl Default for Silent {
    fn default() -> Self {
        Self::new()
    }
}

impl Silent {
    /// A node without links.
    ///
    /// # Panics
    /// When there is no port or thread for it.
    pub fn new() -> Self {
        let [node, alice, bob] =
            ["helper", "client alice", "client bob"].map(|name| Identity::generate(name).expect("a key"));
        let pins = [(alice.fingerprint(), "client alice"), (bob.fingerprint(), "client bob")];
        let listener = Listener::bind("127.0.0.1:0", &node, PeerSet::from_iter(pins)).expect("a port");
        let address = listener.local_addr();
        let terms = Terms { cluster: ClusterDigest([7; 32]), parties: Parties::new(2).expect("two parties") };
        let inbox = Inbox::new(1 << 20).expect("an inbox");
        let (complaints, errors) = Complaints::channel();
        let connector = Connector::new(complaints);
        let inboxes = InboxHandles { online: inbox.handle(), dealing: None };
        connector.listen(listener, terms, Vec::new(), inboxes).expect("threads");
        let target = Target {
            peer: Peer::Helper,
            address: address.to_string(),
            fingerprints: vec![node.fingerprint()],
            channel: Channel::Online,
        };
        let links = VecDeque::new();
        Silent { alice, bob, target, terms, inbox, connector, _errors: errors, links }
    }

    /// Connects once more and says nothing.
    ///
    /// # Panics
    /// When it does not come through.
    pub fn connect(&mut self) {
        let (by, expected) = (Instant::now() + PATIENCE, ("helper", self.target.fingerprints[0]));
        self.links.push_back(dial(&self.target.address, &self.alice, expected, by).expect("a link"));
        if self.links.len() > KEPT {
            self.links.pop_front();
        }
    }

    /// Another client gets through; how long that took. The node stops.
    ///
    /// # Panics
    /// When it does not.
    pub fn another_comes(mut self) -> Duration {
        let started = Instant::now();
        let _link = connect(&self.target, &self.bob, self.terms).expect("another peer gets through");
        let bob = [Peer::Client("bob".into())];
        self.inbox.wait_for(&bob, &Step::Keys, Instant::now() + PATIENCE).expect("a link");
        let took = started.elapsed();
        self.connector.stop();
        took
    }
}
