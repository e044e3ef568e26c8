//! The helper: an online thread that loads models, binds inferences to clients, checks and
//! releases, and a dealing thread that deals material ahead of time.

mod dealing;
mod deals;
mod flight;
mod flights;
mod kept;
mod load;
mod requests;
mod serve;
mod session;
mod supply;

pub use dealing::Ahead;
use deals::Deals;
use serve::Helper;
use supply::Supply;

use crate::begun::Begun;
use crate::connect::InboxHandles;
use crate::event::Reporter;
use crate::inbox::Inbox;
use crate::limits::{MATERIAL, MAX_LANES, kept, lanes, largest_batch};
use crate::party::spawn;
use crate::store::{Place, Store};
use crate::{Limits, NodeError, Peer};
use amicus_net::clock;
use amicus_plan::Plan;
use amicus_protocol::check::FAILURE_LIMIT;
use amicus_protocol::{Parties, ProtocolError, SessionId};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

/// What the helper is told when it starts.
#[derive(Debug)]
pub struct HelperConfig {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Number of parties.
    pub parties: Parties,
    /// The folder of what must survive the helper.
    pub place: Place,
    /// Deadlines.
    pub limits: Limits,
    /// What is dealt before anybody asks.
    pub ahead: Ahead,
    /// Largest batch a client may ask for. As much is kept of material that was dealt for requests
    /// whose clients left, and as many inputs may be in flight at a time, or one in every lane.
    pub max_batch: u32,
    /// Inferences in flight at a time, at most [`MAX_LANES`].
    pub lanes: usize,
    /// Requests of one client that may wait at a time, and its inferences that may be in flight.
    pub requests_of_client: usize,
    /// Failed checks after which a model must be loaded again; never more than
    /// [`FAILURE_LIMIT`].
    pub failure_limit: u32,
    /// Where events go.
    pub reporter: Reporter,
    /// For tests of what happens when the helper dies: it stops after it recorded its first
    /// decision.
    #[cfg(feature = "danger")]
    pub danger_stop_after_decision: bool,
}

impl HelperConfig {
    /// A helper with the usual limits: lanes, and material for inferences of one input that is dealt
    /// ahead, as memory allows.
    pub fn new(plan: Arc<Plan>, parties: Parties, place: Place, reporter: Reporter) -> Self {
        HelperConfig {
            max_batch: largest_batch(&plan, MATERIAL),
            lanes: lanes(&plan, MATERIAL),
            ahead: Ahead::new(1, kept(&plan, MATERIAL)),
            plan,
            parties,
            place,
            limits: Limits::default(),
            requests_of_client: 1,
            failure_limit: FAILURE_LIMIT,
            reporter,
            #[cfg(feature = "danger")]
            danger_stop_after_decision: false,
        }
    }
}

/// A running helper.
#[derive(Debug)]
pub struct HelperNode {
    inboxes: InboxHandles,
    threads: Vec<JoinHandle<()>>,
}

impl HelperNode {
    /// Starts the threads. Links are delivered to [`HelperNode::inboxes`].
    ///
    /// # Errors
    /// An invalid plan, a folder that cannot be used, no threads.
    pub fn start(config: HelperConfig) -> Result<Self, NodeError> {
        let terms_plan = config.plan.digest().map_err(ProtocolError::from)?;
        let mut store = Store::open(&config.place, Peer::Helper)?;
        config.reporter.found(&store)?;
        let (plan, reporter) = (&config.plan, &config.reporter);
        let accepted = kept::recall(&mut store, plan, config.parties, config.failure_limit, reporter)?;
        let limits = config.limits.for_plan(&config.plan)?;
        let mut online = Inbox::new(crate::limits::online(&config.plan, config.max_batch)?)?;
        online.set_bounds(crate::bounds::online(&config.plan, config.max_batch)?);
        let mut dealing = Inbox::new(crate::limits::dealing(&config.plan, config.max_batch)?)?;
        dealing.set_bounds(crate::bounds::dealing(&config.plan, config.max_batch)?);
        let inboxes = InboxHandles { online: online.handle(), dealing: Some(dealing.handle()) };
        let (commands, commands_of_dealer) = channel();
        let (dealt, dealt_of_online) = channel();
        let in_flight = Arc::new(AtomicUsize::new(0));
        // Until a session begins, nothing that parties say is heard.
        online.enter(SessionId::NONE);
        let dealer = dealing::Dealer {
            inbox: dealing,
            parties: config.parties,
            commands: commands_of_dealer,
            dealt,
            online: inboxes.online.clone(),
            serving: None,
            ahead: config.ahead,
            ready: 0,
            dealt_ahead: 0,
            wanted: VecDeque::new(),
            unlinked: None,
            in_flight: Arc::clone(&in_flight),
            deals: Deals::default(),
            paused_until: None,
            limits,
            reporter: config.reporter.clone(),
        };
        let helper = Helper {
            digest: terms_plan,
            parties: config.parties,
            inbox: online,
            answer: crate::limits::answer(&config.plan)?,
            material: config.plan.cost(1).map_err(ProtocolError::from)?.material_bytes,
            store,
            session: None,
            starting: None,
            refused: None,
            paused_until: None,
            accepted,
            epoch: None,
            retired: None,
            commands,
            dealing: inboxes.dealing.clone(),
            dealt: dealt_of_online,
            supply: Supply::new(config.max_batch as usize),
            max_batch: config.max_batch,
            failure_limit: config.failure_limit,
            requests_of_client: config.requests_of_client,
            requests: VecDeque::new(),
            flights: Vec::new(),
            lanes: config.lanes.clamp(1, MAX_LANES),
            begun: Begun::default(),
            load_request: None,
            loading: None,
            in_flight,
            limits,
            plan: config.plan,
            reporter: config.reporter,
            #[cfg(feature = "danger")]
            stop_after_decision: config.danger_stop_after_decision,
        };
        let threads = vec![
            spawn("helper online", move || helper.run())?,
            spawn("helper dealing", move || dealer.run())?,
        ];
        Ok(HelperNode { inboxes, threads })
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
