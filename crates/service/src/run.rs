//! A service from its start to its end.

use crate::config::NodeConfig;
use crate::error::StartError;
use crate::log;
use crate::metrics::Metrics;
use crate::monitor::{Monitor, State};
use crate::node::{Node, Prepared, ServiceRole};
use crate::public::{Public, Socket};
use amicus::Notice;
use amicus::node::event::Event;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often signals are looked for.
const GLANCE: Duration = Duration::from_millis(100);
/// Exit code of a node that is told to end a second time and does so at once.
const AT_ONCE: i32 = 130;

/// What a process is told by signals.
struct Signals {
    end: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Signals {
    /// From now on SIGTERM and SIGINT end the node gracefully, the second one at once, and SIGHUP
    /// makes it read its files again.
    fn take() -> Result<Self, StartError> {
        let system = |error| StartError::System { what: "handlers of signals", error };
        let (end, reload) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        for signal in [SIGTERM, SIGINT] {
            // In this order: the first one finds the flag unset.
            flag::register_conditional_shutdown(signal, AT_ONCE, Arc::clone(&end)).map_err(system)?;
            flag::register(signal, Arc::clone(&end)).map_err(system)?;
        }
        flag::register(SIGHUP, Arc::clone(&reload)).map_err(system)?;
        Ok(Signals { end, reload })
    }
}

/// How a node that had started ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to, and did.
    Told,
    /// It could not go on; its log says why.
    Fatal,
}

/// A node with its monitor and its public port. They end when this is dropped.
pub struct Service {
    // In this order: who asks over the ports is answered as long as the node is there.
    public: Option<Public>,
    monitor: Option<Monitor>,
    node: Node,
    state: Arc<State>,
    config: NodeConfig,
}

impl Service {
    /// Starts a node, without taking signals.
    ///
    /// # Errors
    /// Whatever keeps it from starting.
    pub fn start(config: &NodeConfig, role: ServiceRole) -> Result<Self, StartError> {
        Service::of(config, Prepared::read(config, Some(role))?)
    }

    fn of(config: &NodeConfig, prepared: Prepared) -> Result<Self, StartError> {
        let monitor = config.monitor.map(Monitor::bind).transpose()?;
        let public = config.public.as_ref();
        let public = public.map(|public| Ok::<_, StartError>((public, Socket::bind(public, &prepared)?)));
        let public = public.transpose()?;
        let node = prepared.start(&config.folder)?;
        let (me, digest) = (prepared.me.to_string(), prepared.digest.to_string());
        let state = Arc::new(State {
            watch: node.watch(),
            metrics: Metrics::new(&me, &prepared.deployment.cluster, &digest),
            nodes: prepared.deployment.parties.len(),
            closing: AtomicBool::new(false),
            fatal: AtomicBool::new(false),
        });
        let monitor = monitor.map(|listener| Monitor::start(listener, Arc::clone(&state))).transpose()?;
        let start = |(public, socket)| {
            let (node, counts) = ((node.door(), node.watch()), state.metrics.api());
            Public::start(socket, public, &prepared, node, (&config.folder, counts))
        };
        let public = public.map(start).transpose()?;
        tell_start(&prepared, &node, monitor.as_ref(), public.as_ref());
        Ok(Service { public, monitor, node, state, config: config.clone() })
    }

    /// Where the node listens for others.
    pub fn address(&self) -> SocketAddr {
        self.node.address()
    }

    /// Where it answers clients and owners with tokens.
    pub fn public(&self) -> Option<SocketAddr> {
        self.public.as_ref().map(|public| public.address)
    }

    /// Where it answers its operator.
    pub fn monitor(&self) -> Option<SocketAddr> {
        self.monitor.as_ref().map(|monitor| monitor.address)
    }

    /// Hears the node for a moment, and logs and counts what it says; false when it cannot go on.
    pub fn hear(&mut self, patience: Duration) -> bool {
        let Some(notice) = self.node.next_notice(patience) else { return true };
        self.state.metrics.count(&notice);
        log::notice(&notice);
        let fatal = matches!(notice, Notice::Event(Event::Fatal { .. }));
        self.state.fatal.fetch_or(fatal, Ordering::SeqCst);
        !fatal
    }

    /// Takes up what changed in the node's files.
    fn reload(&self) {
        let changed = Prepared::read_place(&self.config).and_then(|(deployment, identity)| {
            let (digest, fingerprint) =
                (deployment.digest().map_err(amicus::Error::from)?, identity.fingerprint());
            if let Some((public, config)) = self.public.as_ref().zip(self.config.public.as_ref()) {
                public.reload(config, &identity)?;
            }
            self.node.replace(&deployment, identity)?;
            Ok((digest, fingerprint))
        });
        match changed {
            Ok((digest, fingerprint)) => tracing::info!(
                event = "reloaded", %digest, %fingerprint,
                "certificates and addresses are taken up, for connections to come"
            ),
            Err(error) => tracing::error!(event = "reload_failed", "nothing is taken up: {error}"),
        }
    }

    /// Ends the node: nothing begins any more, and what is in flight gets some time.
    fn end(mut self) -> Ended {
        self.state.closing.store(true, Ordering::SeqCst);
        tracing::info!(event = "stopping", "told to end: no inference begins any more");
        self.node.close();
        let deadline = Instant::now() + Duration::from_secs(self.config.shutdown.into());
        let left = loop {
            // What ended meanwhile is counted before the node goes.
            if !self.hear(GLANCE) {
                return Ended::Fatal;
            }
            let left = self.state.watch.level().in_flight;
            if left == 0 || Instant::now() >= deadline {
                break left;
            }
        };
        while let Some(notice) = self.node.next_notice(Duration::ZERO) {
            self.state.metrics.count(&notice);
            log::notice(&notice);
        }
        drop(self);
        match left {
            0 => tracing::info!(event = "stopped", "ended; nothing was in flight"),
            left => tracing::warn!(event = "stopped", "ended; {left} inferences were given up"),
        }
        Ended::Told
    }
}

/// Runs a node until it is told to end, or cannot go on.
///
/// # Errors
/// Whatever keeps it from starting.
pub fn run(config: &NodeConfig, role: ServiceRole) -> Result<Ended, StartError> {
    serve(config, Prepared::read(config, Some(role))?)
}

/// Runs a party that deviates from the protocol, to show that it is caught.
///
/// # Errors
/// Whatever keeps it from starting.
#[cfg(feature = "danger")]
pub fn run_deviating(config: &NodeConfig, cheat: amicus::node::conduct::Cheat) -> Result<Ended, StartError> {
    let prepared = Prepared::read(config, Some(ServiceRole::Party))?;
    serve(config, Prepared { cheat: Some(cheat), ..prepared })
}

fn serve(config: &NodeConfig, prepared: Prepared) -> Result<Ended, StartError> {
    // Before anything is begun that a signal should end well.
    let signals = Signals::take()?;
    let mut service = Service::of(config, prepared)?;
    while !signals.end.load(Ordering::SeqCst) {
        if signals.reload.swap(false, Ordering::SeqCst) {
            service.reload();
        }
        if !service.hear(GLANCE) {
            return Ok(Ended::Fatal);
        }
    }
    Ok(service.end())
}

fn tell_start(prepared: &Prepared, node: &Node, monitor: Option<&Monitor>, public: Option<&Public>) {
    let (version, listens) = (env!("CARGO_PKG_VERSION"), node.address());
    let monitor = monitor.map_or_else(|| "none".to_owned(), |monitor| monitor.address.to_string());
    let public = public.map_or_else(|| "none".to_owned(), |public| public.address.to_string());
    let (digest, fingerprint) = (prepared.digest, prepared.identity.fingerprint());
    let threads = prepared.deployment.limits.own_threads.unwrap_or(1);
    tracing::info!(
        event = "start",
        %version, %digest, %fingerprint, %monitor, %public, threads,
        "{} of cluster {} listens at {listens}", prepared.me, prepared.deployment.cluster
    );
    for agreed in &prepared.plans {
        tracing::info!(event = "serves", plan = %agreed.digest(), "{}", agreed.shown());
    }
}
