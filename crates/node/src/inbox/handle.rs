//! How other threads reach the one that owns an inbox.

use crate::Peer;
use crate::connect::Arrival;
use crate::level::{Level, Watched};
use amicus_net::{NetError, Waker};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// Links on their way to the thread: the newest of each peer, so that a peer that connects again
/// and again while the thread is busy keeps one link open and no more.
#[derive(Default)]
pub(super) struct Arrivals(Mutex<Vec<Arrival>>);

impl Arrivals {
    fn lock(&self) -> MutexGuard<'_, Vec<Arrival>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all of them.
    pub(super) fn take(&self) -> Vec<Arrival> {
        std::mem::take(&mut *self.lock())
    }
}

/// Delivers links, and wake-ups, to the thread that owns an [`Inbox`](super::Inbox).
#[derive(Clone)]
pub struct InboxHandle {
    /// A node that has stopped takes no links.
    arrivals: Weak<Arrivals>,
    waker: Waker,
    stop: Arc<AtomicBool>,
    closing: Arc<AtomicBool>,
    watched: Arc<Watched>,
    /// Who establishes links to peers that this node dials.
    dialers: Arc<Mutex<HashMap<Peer, SyncSender<()>>>>,
}

impl InboxHandle {
    pub(super) fn new(arrivals: &Arc<Arrivals>, waker: Waker) -> Self {
        let arrivals = Arc::downgrade(arrivals);
        InboxHandle {
            arrivals,
            waker,
            stop: Arc::default(),
            closing: Arc::default(),
            watched: Arc::default(),
            dialers: Arc::default(),
        }
    }

    /// Whether the thread still has its inbox.
    pub fn is_owned(&self) -> bool {
        self.arrivals.strong_count() > 0
    }

    /// Adds those who re-establish links that end.
    pub fn redial_with(&self, dialers: HashMap<Peer, SyncSender<()>>) {
        if let Ok(mut known) = self.dialers.lock() {
            known.extend(dialers);
        }
    }

    /// Asks for a new link to a peer, if it is one that this node dials.
    pub(super) fn redial(&self, peer: &Peer) {
        if let Some(dialer) = self.dialers.lock().ok().and_then(|known| known.get(peer).cloned()) {
            // One that was asked already need not be asked again.
            dialer.try_send(()).ok();
        }
    }

    /// Delivers a new link.
    pub fn deliver(&self, arrival: Arrival) {
        // Without a greeting nothing is sent, and nothing fails.
        self.deliver_greeted(arrival, &[]).ok();
    }

    /// Sends a greeting, if there is one, over a new link and delivers it. Whoever hears the
    /// greeting may count on it that the thread has the link when it looks next.
    ///
    /// # Errors
    /// When the link does not take the greeting; it is closed then.
    pub fn deliver_greeted(&self, mut arrival: Arrival, greeting: &[&[u8]]) -> Result<(), NetError> {
        let Some(arrivals) = self.arrivals.upgrade() else { return Ok(()) };
        let mut waiting = arrivals.lock();
        if !greeting.is_empty() {
            arrival.link.send(greeting)?;
        }
        let at = waiting.iter().position(|other| other.peer == arrival.peer);
        let older = at.map(|at| waiting.swap_remove(at));
        waiting.push(arrival);
        drop(waiting);
        drop(older);
        self.waker.wake();
        Ok(())
    }

    /// Makes a waiting thread look for commands.
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// How the node is. A thread that is busy for longer than `patience` is not waited for; then it
    /// is what the thread said last.
    pub fn level(&self, patience: Duration) -> Level {
        self.watched.ask(|| self.waker.wake(), patience)
    }

    /// Answers whoever asked how the node is.
    pub(super) fn answer(&self, level: impl FnOnce() -> Level) {
        self.watched.answer(level);
    }

    /// Tells the thread to begin no more inferences; those in flight go on.
    pub fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    /// Whether the thread was told to begin no more inferences.
    pub fn closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Tells the thread to end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    /// Whether the thread was told to end.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

impl std::fmt::Debug for InboxHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InboxHandle").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::connect::Arrival;
    use crate::inbox::{Inbox, Incoming, Want};
    use crate::{NodeError, Peer};
    use amicus_net::{Link, NetError};
    use std::collections::HashMap;
    use std::sync::mpsc::sync_channel;
    use std::time::{Duration, Instant};

    fn alice() -> Peer {
        Peer::Client("alice".into())
    }

    fn comes_again(inbox: &Inbox, peer: &Peer) -> Link {
        let (there, link) = Link::pair(&peer.to_string(), "helper");
        inbox.handle().deliver(Arrival { peer: peer.clone(), link });
        there
    }

    fn is_open(link: &mut Link) -> bool {
        matches!(link.recv(Instant::now()), Err(NetError::Timeout { .. }))
    }

    /// Once, all links waited, each with its buffers and its descriptor, until the thread looked.
    #[test]
    fn a_thread_that_is_busy_keeps_one_link_of_each_peer() {
        let mut inbox = Inbox::new(1 << 10).unwrap();
        let peers = [alice(), Peer::Helper];
        let mut ends: Vec<Link> = (0..100).map(|n| comes_again(&inbox, &peers[n % 2])).collect();
        let open: Vec<bool> = ends.iter_mut().map(is_open).collect();
        assert!(open[98..].iter().all(|open| *open) && open[..98].iter().all(|open| !open));
        // The newest are the ones that count.
        assert!(matches!(inbox.next(Instant::now(), |_, _| Want::Take), Ok(Incoming::Woken)));
        assert_eq!(inbox.take_arrived().len(), 2);
        assert!(peers.iter().all(|peer| inbox.connected(peer)) && ends[98..].iter_mut().all(is_open));
    }

    #[test]
    fn a_node_that_is_gone_takes_no_links() {
        let inbox = Inbox::new(1 << 10).unwrap();
        let handle = inbox.handle();
        let mut before = comes_again(&inbox, &alice());
        drop(inbox);
        let (mut after, link) = Link::pair("client alice", "helper");
        handle.deliver_greeted(Arrival { peer: alice(), link }, &[b"hello"]).unwrap();
        assert!(!is_open(&mut before));
        assert!(matches!(after.recv(Instant::now()), Err(NetError::Closed { .. })));
    }

    #[test]
    fn whoever_hears_a_greeting_has_a_link() {
        let mut inbox = Inbox::new(1 << 10).unwrap();
        drop(comes_again(&inbox, &alice()));
        let deadline = || Instant::now() + Duration::from_secs(60);
        while !matches!(inbox.next(deadline(), |_, _| Want::Take), Ok(Incoming::Lost(..))) {}
        assert!(inbox.left(&alice()).is_some());
        let (mut there, link) = Link::pair("client alice", "helper");
        inbox.handle().deliver_greeted(Arrival { peer: alice(), link }, &[b"hello"]).unwrap();
        assert_eq!(there.recv(deadline()).unwrap(), b"hello");
        // Nobody has looked for new links since; still it does not count as one who left.
        assert!(inbox.left(&alice()).is_none());
    }

    #[test]
    fn one_wish_for_a_link_is_enough() {
        let mut inbox = Inbox::new(1 << 10).unwrap();
        let (dialer, wishes) = sync_channel(1);
        inbox.handle().redial_with(HashMap::from([(Peer::Helper, dialer)]));
        (0..1000).for_each(|_| inbox.close(&Peer::Helper));
        assert_eq!(wishes.try_iter().count(), 1);
        inbox.handle().stop();
        assert!(matches!(inbox.next(Instant::now(), |_, _| Want::Take), Err(NodeError::Stopped)));
    }
}
