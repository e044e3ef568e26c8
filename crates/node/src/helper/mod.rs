//! The helper: an online thread that loads models, binds inferences to clients, checks and
//! releases, and a dealing thread that deals material ahead of time.

mod dealing;
mod deals;
mod flight;
mod flights;
mod kept;
mod load;
mod models;
mod requests;
mod serve;
mod session;
mod supply;

pub use dealing::Ahead;
use deals::Deals;
use models::Models;
use serve::Helper;
use supply::Supply;

use crate::aside::Asides;
use crate::begun::Begun;
#[cfg(feature = "danger")]
use crate::conduct::OfHelper;
use crate::connect::InboxHandles;
use crate::event::Reporter;
use crate::inbox::Inbox;
use crate::limits::MAX_LANES;
use crate::served::{Demands, Served};
use crate::store::{Place, Store};
use crate::threads::{Running, spawn_with};
use crate::{Limits, NodeError, Peer};
use amicus_protocol::check::FAILURE_LIMIT;
use amicus_protocol::{Parties, SessionId};
use std::collections::VecDeque;
use std::sync::mpsc::channel;

/// What the helper is told when it starts.
#[derive(Debug)]
pub struct HelperConfig {
    /// The models that it serves.
    pub models: Vec<Served>,
    /// Number of parties.
    pub parties: Parties,
    /// The folder of what must survive the helper.
    pub place: Place,
    /// Deadlines.
    pub limits: Limits,
    /// Requests of one client that may wait at a time, and its inferences that may be in flight.
    pub requests_of_client: usize,
    /// Failed checks after which a model must be loaded again; never more than
    /// [`FAILURE_LIMIT`].
    pub failure_limit: u32,
    /// Threads for the arithmetic of the online thread, and as many for that of the dealing thread,
    /// each with the thread itself: 1 is one thread for each.
    pub threads: usize,
    /// Where events go.
    pub reporter: Reporter,
    /// For tests.
    #[cfg(feature = "danger")]
    pub danger: OfHelper,
}

impl HelperConfig {
    /// A helper with the usual limits.
    pub fn new(models: Vec<Served>, parties: Parties, place: Place, reporter: Reporter) -> Self {
        HelperConfig {
            models,
            parties,
            place,
            limits: Limits::default(),
            requests_of_client: 1,
            failure_limit: FAILURE_LIMIT,
            threads: 1,
            reporter,
            #[cfg(feature = "danger")]
            danger: OfHelper::default(),
        }
    }
}

/// A running helper.
#[derive(Debug)]
pub struct HelperNode {
    running: Running,
}

impl HelperNode {
    /// Starts the threads. Links are delivered to [`HelperNode::inboxes`].
    ///
    /// # Errors
    /// An invalid plan, a folder that cannot be used, no threads.
    pub fn start(config: HelperConfig) -> Result<Self, NodeError> {
        let demands = Demands::of(&config.models, config.limits)?;
        let limits = demands.limits;
        let mut models = Models::new(&config.models)?;
        let mut store = Store::open(&config.place, Peer::Helper)?;
        config.reporter.found(&store)?;
        models.recall(&mut store, config.parties, config.failure_limit, &config.reporter)?;
        let mut online = Inbox::new(demands.online)?;
        online.set_bounds(demands.bounds);
        let mut dealing = Inbox::new(demands.dealing)?;
        dealing.set_bounds(demands.dealing_bounds);
        let inboxes = InboxHandles { online: online.handle(), dealing: Some(dealing.handle()) };
        let (commands, commands_of_dealer) = channel();
        let (dealt, dealt_of_online) = channel();
        // Until a session begins, nothing that parties say is heard.
        online.enter(SessionId::NONE);
        let dealer = dealing::Dealer {
            inbox: dealing,
            parties: config.parties,
            commands: commands_of_dealer,
            dealt,
            online: inboxes.online.clone(),
            epochs: VecDeque::new(),
            memory: demands.memory.ahead,
            unlinked: None,
            deals: Deals::default(),
            limits,
            reporter: config.reporter.clone(),
        };
        let lanes = config.models.iter().map(|model| model.lanes).max().unwrap_or(1);
        let helper = Helper {
            models,
            parties: config.parties,
            inbox: online,
            store,
            session: None,
            starting: None,
            refused: None,
            paused_until: None,
            commands,
            dealing: inboxes.dealing.clone(),
            dealt: dealt_of_online,
            supply: Supply::new(demands.memory.ordered),
            failure_limit: config.failure_limit,
            requests_of_client: config.requests_of_client,
            requests: VecDeque::new(),
            flights: Vec::new(),
            lanes: lanes.clamp(1, MAX_LANES),
            in_flight: demands.memory.in_flight,
            begun: Begun::default(),
            load_request: None,
            loading: None,
            failed_load: None,
            asides: Asides::new(inboxes.online.clone()),
            limits,
            reporter: config.reporter.clone(),
            #[cfg(feature = "danger")]
            danger: config.danger,
        };
        let threads = vec![
            spawn_with("helper online", config.threads, &config.reporter, move || helper.run())?,
            spawn_with("helper dealing", config.threads, &config.reporter, move || dealer.run())?,
        ];
        Ok(HelperNode { running: Running { inboxes, threads } })
    }

    /// Where links are delivered.
    pub fn inboxes(&self) -> &InboxHandles {
        &self.running.inboxes
    }

    /// Stops the threads and waits for them.
    pub fn stop(self) {
        self.running.stop();
    }
}
