//! The wire between two roles: it can be cut, and everything that goes over it is looked at.
//!
//! Links are TLS between pinned certificates, so a proxy of bytes would see nothing. A relay has the
//! keys of both ends, which this cluster made for itself, and passes frames on.

use super::wire::Record;
use amicus_cli::up::UpError;
use amicus_net::{Event, Identity, Link, Listener, Mesh, NetError, PeerSet, dial_while};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a relay looks whether it is cut or over.
pub(super) const GLANCE: Duration = Duration::from_millis(20);
/// Longest frame that is passed on.
const MAX_FRAME: usize = 1 << 28;

/// What becomes of a role's wires.
#[derive(Debug, Default)]
pub(crate) struct Wires {
    /// Connections end, and none begins.
    pub(crate) closed: AtomicBool,
    /// Nothing arrives, and nobody is told.
    pub(crate) silent: AtomicBool,
}

/// One end of a relay: who it is, and the state of all wires of that role.
#[derive(Clone)]
pub(crate) struct End {
    pub(crate) name: String,
    pub(crate) identity: Arc<Identity>,
    pub(crate) wires: Arc<Wires>,
}

/// Starts a relay from whoever dials to a node; where it listens.
pub(crate) fn start(
    from: &End,
    to: &End,
    at: SocketAddr,
    record: &Arc<Record>,
    over: &Arc<AtomicBool>,
) -> Result<SocketAddr, UpError> {
    let system = |error: NetError| UpError::System { what: "a relay", error: std::io::Error::other(error) };
    let pins = PeerSet::from_iter([(from.identity.fingerprint(), from.name.clone())]);
    let mut listener = Listener::bind("127.0.0.1:0", &to.identity, pins).map_err(system)?;
    let address = listener.local_addr();
    let (from, to, record, over) = (from.clone(), to.clone(), Arc::clone(record), Arc::clone(over));
    std::thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            // Whoever is cut off takes part in nothing; else strangers and broken links are nothing.
            if from.is(|w| &w.silent) || to.is(|w| &w.silent) {
                std::thread::sleep(GLANCE);
                continue;
            }
            let Ok(near) = listener.accept(Instant::now() + GLANCE) else { continue };
            if from.is(|w| &w.closed) || to.is(|w| &w.closed) {
                continue;
            }
            let (from, to) = (from.clone(), to.clone());
            let (record, over) = (Arc::clone(&record), Arc::clone(&over));
            std::thread::spawn(move || {
                // The end of either end is the end of both, which see it by themselves.
                let _ = pass(near, &from, &to, at, &record, &over);
            });
        }
    });
    Ok(address)
}

impl End {
    pub(super) fn is(&self, state: impl Fn(&Wires) -> &AtomicBool) -> bool {
        state(&self.wires).load(Ordering::Relaxed)
    }
}

fn pass(
    mut near: Link,
    from: &End,
    to: &End,
    at: SocketAddr,
    record: &Record,
    over: &AtomicBool,
) -> Result<(), NetError> {
    let pinned = [to.identity.fingerprint()];
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut far = dial_while(at, &from.identity, (&to.name, &pinned), deadline, || false)?;
    near.set_max_frame(MAX_FRAME);
    far.set_max_frame(MAX_FRAME);
    let mut mesh = Mesh::new()?;
    mesh.insert(0, near);
    mesh.insert(1, far);
    loop {
        let stopped = from.is(|w| &w.closed) || to.is(|w| &w.closed) || over.load(Ordering::Relaxed);
        if stopped {
            return Ok(());
        }
        if from.is(|w| &w.silent) || to.is(|w| &w.silent) {
            std::thread::sleep(GLANCE);
            continue;
        }
        match mesh.recv(Instant::now() + GLANCE) {
            Ok(Event::Frame { key, bytes }) => {
                record.look(&bytes);
                mesh.send(1 - key, &[&bytes])?;
            }
            Ok(Event::Down { .. }) => {
                // What the other end was sent before still arrives.
                return mesh.flush(Instant::now() + GLANCE);
            }
            Ok(Event::Woken) | Err(NetError::Timeout { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}
