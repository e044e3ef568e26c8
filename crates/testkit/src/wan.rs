//! A deployment over lines of a shape in virtual time: what a message takes on its way follows from
//! its length, and work takes no time at all.

use crate::nets::Net;
use amicus_net::shaper::Shape;
use amicus_net::{Event as Heard, Frame, Link, Mesh, Waker, clock};
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
use amicus_protocol::control::Channel;
use amicus_protocol::{Parties, check};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Largest batch.
const MAX_BATCH: u32 = 64;

/// Two parties, a helper that keeps material ready, and clients, all joined by lines.
pub struct Wan {
    /// The network.
    pub net: Net,
    /// The clients; none while one is away in a thread.
    pub clients: Vec<ClientNode>,
    /// What the helper reports.
    pub helper_events: Receiver<Event>,
    nodes: Vec<PartyNode>,
    helper: HelperNode,
    lines: Vec<Line>,
    _folder: TempDir,
}

impl Wan {
    /// Starts the nodes and loads the model; waits until the helper has dealt all it keeps.
    ///
    /// # Panics
    /// When something does not start.
    pub fn start(net: Net, shape: Shape, clients: usize, lanes: usize, kept: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (all, limits) = (Parties::new(2).expect("two parties"), Limits::default());
        let place = |role: &Peer| Place::local(folder.path(), all, role);
        let served = || {
            let (plan, ahead) = (Arc::clone(&net.plan), Ahead::new(1, kept));
            vec![Served { plan, max_batch: MAX_BATCH, lanes, ahead }]
        };
        let start = |me| {
            PartyNode::start(PartyConfig {
                models: served(),
                parties: all,
                me,
                place: place(&Peer::Party(me)),
                limits,
                inferences: MAX_LANES,
                core: None,
                threads: 1,
                conduct: None,
                reporter: Reporter::default(),
            })
            .expect("a party")
        };
        let nodes: Vec<PartyNode> = all.all().map(start).collect();
        let (reporter, helper_events) = Reporter::channel();
        let helper = HelperNode::start(HelperConfig {
            models: served(),
            parties: all,
            place: place(&Peer::Helper),
            limits,
            requests_of_client: 1,
            failure_limit: check::FAILURE_LIMIT,
            threads: 1,
            reporter,
            danger: OfHelper::default(),
        })
        .expect("a helper");
        let mut owner = OwnerNode::new(Arc::clone(&net.plan), all, limits).expect("an owner");
        let client = |_| ClientNode::new(Arc::clone(&net.plan), all, MAX_BATCH, limits).expect("a client");
        let clients: Vec<ClientNode> = (0..clients).map(client).collect();

        let parties = || all.all().map(Peer::Party).zip(nodes.iter().map(PartyNode::inboxes));
        let servers: Vec<(Peer, &InboxHandles)> =
            parties().chain([(Peer::Helper, helper.inboxes())]).collect();
        let mut lines = Vec::new();
        let mut join = |a: (&Peer, &InboxHandles), b: (&Peer, &InboxHandles), channel| {
            lines.push(Line::new(shape, a, b, channel));
        };
        for (at, (peer, inboxes)) in servers.iter().enumerate() {
            for (other, of_other) in &servers[at + 1..] {
                join((peer, inboxes), (other, of_other), Channel::Online);
                if *other == Peer::Helper {
                    join((peer, inboxes), (other, of_other), Channel::Dealing);
                }
            }
            join((&Peer::Owner, owner.inboxes()), (peer, inboxes), Channel::Online);
            for (number, client) in clients.iter().enumerate() {
                let name = Peer::Client(number.to_string());
                join((&name, client.inboxes()), (peer, inboxes), Channel::Online);
            }
        }
        owner.load(net.layers().as_slice()).expect("an honest load");
        let mut dealt = 0;
        while dealt < kept {
            let event = clock::receive(&helper_events, clock::now() + Duration::from_secs(600));
            dealt += usize::from(matches!(event.expect("material"), Event::Dealt { .. }));
        }
        Wan { net, clients, helper_events, nodes, helper, lines, _folder: folder }
    }

    /// Stops everything.
    pub fn stop(self) {
        self.helper.stop();
        self.nodes.into_iter().for_each(PartyNode::stop);
        self.lines.into_iter().for_each(Line::stop);
    }
}

/// A line between two roles: a thread that holds messages back until they arrive.
struct Line {
    waker: Waker,
    thread: JoinHandle<()>,
}

impl Line {
    fn new(
        shape: Shape,
        (a, of_a): (&Peer, &InboxHandles),
        (b, of_b): (&Peer, &InboxHandles),
        channel: Channel,
    ) -> Self {
        let (at_a, here_a) = Link::pair(&a.to_string(), &b.to_string());
        let (here_b, at_b) = Link::pair(&a.to_string(), &b.to_string());
        of_a.deliver(channel, Arrival { peer: b.clone(), link: at_a });
        of_b.deliver(channel, Arrival { peer: a.clone(), link: at_b });
        let mut mesh = Mesh::new().expect("a handle to wait on");
        mesh.insert(0, here_a);
        mesh.insert(1, here_b);
        let waker = mesh.waker();
        let thread = clock::spawn("line", move || carry(&mut mesh, shape)).expect("a thread");
        Line { waker, thread }
    }

    fn stop(self) {
        self.waker.wake();
        clock::join(self.thread);
    }
}

/// Carries messages until somebody wakes the line.
fn carry(mesh: &mut Mesh, shape: Shape) {
    let mut on_their_way: VecDeque<(Instant, usize, Frame)> = VecDeque::new();
    let mut free = [clock::now(); 2];
    loop {
        let due = on_their_way.iter().map(|(due, ..)| *due).min();
        match mesh.recv(due.unwrap_or(clock::now() + Duration::from_secs(3600))) {
            Ok(Heard::Frame { key, bytes }) => {
                let bits = 8 * bytes.len() as u64;
                let takes = shape.bits_per_second.map_or(0.0, |rate| bits as f64 / rate as f64);
                free[key] = free[key].max(clock::now()) + Duration::from_secs_f64(takes);
                on_their_way.push_back((free[key] + shape.one_way, 1 - key, bytes));
            }
            Ok(Heard::Woken) => return,
            Ok(Heard::Down { .. }) | Err(_) => {}
        }
        let now = clock::now();
        while let Some(at) = on_their_way.iter().position(|(due, ..)| *due <= now) {
            if let Some((_, to, bytes)) = on_their_way.remove(at) {
                // Whoever is gone gets nothing more.
                mesh.send(to, &[&bytes]).ok();
            }
        }
    }
}
