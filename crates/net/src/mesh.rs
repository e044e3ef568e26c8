//! All links of one thread, driven together.

use std::time::Instant;

use crate::busy_poll::BusyPoll;
use crate::poll::Parker;
use crate::{Frame, Link, NetError, Waker, clock};

/// What [`Mesh::recv`] reports.
#[derive(Clone, PartialEq, Eq)]
pub enum Event {
    /// A frame arrived.
    Frame {
        /// The link it came from.
        key: usize,
        /// Its content.
        bytes: Frame,
    },
    /// A link ended; all its frames were reported before. It stays in the mesh (for its counters)
    /// until removed, and is reported once.
    Down {
        /// The link.
        key: usize,
        /// Why it ended, [`NetError::Closed`] if the peer said goodbye.
        error: NetError,
    },
    /// A [`Waker`] was used.
    Woken,
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Event::Frame { key, bytes } => write!(f, "Frame({key}, {} bytes)", bytes.len()),
            Event::Down { key, error } => write!(f, "Down({key}, {error:?})"),
            Event::Woken => write!(f, "Woken"),
        }
    }
}

struct Slot {
    key: usize,
    link: Link,
    reported: bool,
}

/// Owns the links of one thread and moves data on all of them, in both directions, whenever it
/// waits for any: large messages crossing between many parties cannot deadlock.
pub struct Mesh {
    slots: Vec<Slot>,
    /// Where the search for the next event starts, so that a busy link does not starve the others.
    turn: usize,
    parker: Parker,
    busy: BusyPoll,
}

impl Mesh {
    /// An empty mesh.
    ///
    /// # Errors
    /// [`NetError::Io`] if the operating system gives no pipe to wake it up with.
    pub fn new() -> Result<Self, NetError> {
        let parker = Parker::new().map_err(|error| NetError::io("making a mesh", &error))?;
        Ok(Self { slots: Vec::new(), turn: 0, parker, busy: BusyPoll::default() })
    }

    /// Whether the next waits look for data again and again for some 100 us before they block,
    /// where that spares being woken up: the wait before was short, and nobody else wants this
    /// core. For waits whose end is near.
    pub fn busy_poll(&mut self, on: bool) {
        self.busy.turn(on);
    }

    /// Adds a link under a key of the caller's choice; an older link under that key is closed.
    pub fn insert(&mut self, key: usize, mut link: Link) {
        link.attach(self.parker.signal());
        self.remove(key);
        self.slots.push(Slot { key, link, reported: false });
    }

    /// Takes a link out, with the frames that wait in it.
    pub fn remove(&mut self, key: usize) -> Option<Link> {
        let index = self.index(key)?;
        self.turn = 0;
        Some(self.slots.remove(index).link)
    }

    /// Whether there is a link under this key, ended or not.
    pub fn contains(&self, key: usize) -> bool {
        self.index(key).is_some()
    }

    /// The link under this key.
    pub fn get(&self, key: usize) -> Option<&Link> {
        self.index(key).map(|index| &self.slots[index].link)
    }

    /// The link under this key, to set its limits.
    pub fn get_mut(&mut self, key: usize) -> Option<&mut Link> {
        self.index(key).map(|index| &mut self.slots[index].link)
    }

    /// All links with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Link)> {
        self.slots.iter().map(|slot| (slot.key, &slot.link))
    }

    /// Queues a frame, see [`Link::send`].
    ///
    /// # Errors
    /// [`NetError::NoLink`], or the error that ended the link.
    pub fn send(&mut self, key: usize, parts: &[&[u8]]) -> Result<(), NetError> {
        self.send_owned(key, parts, Frame::default())
    }

    /// Queues a frame, see [`Link::send_owned`].
    ///
    /// # Errors
    /// [`NetError::NoLink`], or the error that ended the link.
    pub fn send_owned(&mut self, key: usize, parts: &[&[u8]], owned: Frame) -> Result<(), NetError> {
        self.get_mut(key).ok_or(NetError::NoLink { key })?.send_owned(parts, owned)
    }

    /// The next event of any link, waiting until the deadline.
    ///
    /// # Errors
    /// [`NetError::Timeout`]; whatever happens to a link is an [`Event::Down`].
    pub fn recv(&mut self, deadline: Instant) -> Result<Event, NetError> {
        self.wait(deadline, Self::next_event, |mesh| mesh.slots.iter().map(|slot| slot.link.peer()).collect())
    }

    /// The next frame of one link. Frames of other links, their ends and wakes are kept for later.
    ///
    /// # Errors
    /// [`NetError::Timeout`], [`NetError::NoLink`], or the error that ended this link (which then
    /// is not reported by [`Mesh::recv`] again).
    pub fn recv_from(&mut self, key: usize, deadline: Instant) -> Result<Frame, NetError> {
        let index = self.index(key).ok_or(NetError::NoLink { key })?;
        let next = |mesh: &mut Self| {
            let slot = &mut mesh.slots[index];
            if let Some(frame) = slot.link.take() {
                return Some(Ok(frame));
            }
            let error = slot.link.failure()?.clone();
            slot.reported = true;
            Some(Err(error))
        };
        self.wait(deadline, next, |mesh| vec![mesh.slots[index].link.peer()])?
    }

    /// Waits until everything queued on every link that has not ended was given to the operating
    /// system.
    ///
    /// # Errors
    /// [`NetError::Timeout`] naming the peers that do not take their data.
    pub fn flush(&mut self, deadline: Instant) -> Result<(), NetError> {
        let sent = |mesh: &mut Self| (!mesh.slots.iter().any(|slot| slot.link.has_unsent())).then_some(());
        self.wait(deadline, sent, |mesh| {
            mesh.slots.iter().filter(|slot| slot.link.has_unsent()).map(|slot| slot.link.peer()).collect()
        })
    }

    /// A handle with which other threads end a `recv` early.
    pub fn waker(&self) -> Waker {
        self.parker.waker()
    }

    fn index(&self, key: usize) -> Option<usize> {
        self.slots.iter().position(|slot| slot.key == key)
    }

    /// Frames first, link by link in turn; then ends; then wakes.
    fn next_event(&mut self) -> Option<Event> {
        let count = self.slots.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let slot = &mut self.slots[index];
            if let Some(bytes) = slot.link.take() {
                self.turn = index + 1;
                return Some(Event::Frame { key: slot.key, bytes });
            }
        }
        for slot in &mut self.slots {
            if let Some(error) = slot.link.failure().filter(|_| !slot.reported) {
                slot.reported = true;
                return Some(Event::Down { key: slot.key, error: error.clone() });
            }
        }
        self.parker.take_woken().then_some(Event::Woken)
    }

    /// Moves data on all links until `ready` finds what it looks for: first again and again, then
    /// blocking.
    fn wait<T>(
        &mut self,
        deadline: Instant,
        mut ready: impl FnMut(&mut Self) -> Option<T>,
        peers: impl Fn(&Self) -> Vec<&str>,
    ) -> Result<T, NetError> {
        let start = clock::now();
        // Waiting frames must not keep queued ones from leaving.
        for slot in self.slots.iter_mut().filter(|slot| slot.link.has_unsent()) {
            slot.link.pump();
        }
        if let Some(found) = ready(self) {
            return Ok(found);
        }
        // What was here at the first look says nothing of how long others take.
        let mut waited = false;
        loop {
            let progress = self.pump();
            if let Some(found) = ready(self) {
                if waited {
                    self.busy.waited(clock::since(start));
                }
                return Ok(found);
            }
            // Looked at even after progress: a peer that keeps us busy must not keep us forever.
            let now = clock::now();
            if now >= deadline {
                return Err(NetError::Timeout { peer: peers(self).join(", "), waited: clock::since(start) });
            }
            if progress {
                continue;
            }
            waited = true;
            if !clock::is_virtual() && self.busy.looks(now.saturating_duration_since(start), now) {
                self.busy.give_way();
                continue;
            }
            self.parker.prepare();
            // What happened before `prepare` raised no signal.
            let found = ready(self);
            if found.is_some() || self.pump() {
                self.parker.cancel();
                match found {
                    Some(found) => return Ok(found),
                    None => continue,
                }
            }
            let sockets = self.slots.iter().filter_map(|slot| slot.link.poll_fd());
            self.parker.park(sockets, deadline).map_err(|error| NetError::io("waiting for peers", &error))?;
        }
    }

    fn pump(&mut self) -> bool {
        // Every link gets its turn; `any` would stop at the first that moves.
        self.slots.iter_mut().filter_map(|slot| slot.link.pump().then_some(())).count() > 0
    }
}

impl std::fmt::Debug for Mesh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
