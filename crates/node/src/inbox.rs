//! Messages for one thread: all its links, with what comes early kept for later.
//!
//! The states of the protocol say which message they want next; [`Inbox::next`] asks them about
//! every header and delivers, keeps, drops or refuses the message. New links arrive through a
//! [`InboxHandle`] while the thread waits.

mod early;
mod handle;

pub use early::{Early, MESSAGE_COST, MESSAGES_OF_NODE, Room};
pub use handle::InboxHandle;

use crate::bounds::{Bounds, Unread};
use crate::connect::Arrival;
use crate::level::Level;
use crate::{NodeError, Peer};
use amicus_net::{Counters, Event, Frame, Link, Mesh, NetError, clock};
use amicus_protocol::wire::{HEADER_BYTES, Header, Kind};
use amicus_protocol::{Fault, InferenceId, ProtocolError, SessionId, Step};
use early::is_user;
use handle::Arrivals;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// Messages heard after a deadline, at most: what was there already is heard, a flood keeps nobody
/// waiting.
const MAX_LATE: u32 = 1 << 12;
/// Messages in a row after which commands and new links get their turn.
const MAX_IN_A_ROW: u32 = 256;

/// What to do with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// Deliver it now.
    Take,
    /// Keep it for a later call.
    Keep,
    /// Forget it: it belongs to something that ended.
    Drop,
    /// No honest peer sends it here.
    Refuse(Fault),
}

/// A message with who sent it.
#[derive(Clone)]
pub struct Received {
    /// Who.
    pub peer: Peer,
    /// What it is about.
    pub header: Header,
    frame: Frame,
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Bodies hold seeds, keys and shares.
        f.debug_struct("Received")
            .field("peer", &self.peer)
            .field("header", &self.header)
            .field("bytes", &self.frame.len())
            .finish()
    }
}

impl Received {
    /// What follows the header.
    pub fn body(&self) -> &[u8] {
        &self.frame[HEADER_BYTES..]
    }
}

/// What [`Inbox::next`] delivers.
#[derive(Debug)]
pub enum Incoming {
    /// A wanted message.
    Message(Received),
    /// A message that no honest peer sends here, and the id it is about; none when it has no header.
    Refused(Peer, Fault, Option<InferenceId>),
    /// A link ended.
    Lost(Peer, NetError),
    /// Another thread rang: look for its commands.
    Woken,
    /// Nothing wanted came before the deadline.
    Timeout,
}

/// All links of one thread.
pub struct Inbox {
    mesh: Mesh,
    /// Peers by the keys of their links.
    peers: Vec<Peer>,
    /// What went through links that ended.
    past: Counters,
    /// How, and when, the last link of each peer ended that has none now.
    ended: HashMap<usize, (String, Instant)>,
    arrivals: Arc<Arrivals>,
    handle: InboxHandle,
    /// Peers whose links came since somebody asked.
    arrived: Vec<Peer>,
    kept: VecDeque<Received>,
    /// Faults seen while waiting for links; they are reported by the next call.
    refused: VecDeque<(Peer, Fault, Option<InferenceId>)>,
    /// Peers that came again before their link was seen to end: what was on its way then is lost.
    replaced: VecDeque<Peer>,
    hop: u16,
    max_frame: usize,
    /// Messages heard after the present deadline.
    late: u32,
    /// Messages heard since somebody looked for commands and new links.
    in_a_row: u32,
    bounds: Bounds,
    /// The session whose messages are heard; none for a user's inbox, which hears all.
    session: Option<SessionId>,
}

impl Inbox {
    /// An inbox without links. `max_frame` bounds every message, in bytes.
    ///
    /// # Errors
    /// When the operating system gives no handle to wait on.
    pub fn new(max_frame: usize) -> Result<Self, NetError> {
        let mesh = Mesh::new()?;
        let arrivals = Arc::default();
        let handle = InboxHandle::new(&arrivals, mesh.waker());
        Ok(Inbox {
            mesh,
            peers: Vec::new(),
            past: Counters::default(),
            ended: HashMap::new(),
            arrivals,
            handle,
            arrived: Vec::new(),
            kept: VecDeque::new(),
            refused: VecDeque::new(),
            replaced: VecDeque::new(),
            hop: 0,
            max_frame,
            late: 0,
            in_a_row: 0,
            bounds: Bounds { unread: Unread::ANY, early: Early::frames(max_frame) },
            session: None,
        })
    }

    /// From now on messages of this session only are heard, and others that are kept are forgotten.
    pub fn enter(&mut self, session: SessionId) {
        self.session = Some(session);
        self.kept.retain(|r| hears(session, &r.peer, &r.header).is_some());
    }

    /// Sets how much is kept for and of others, for links that come from now on.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Whether the next waits look for messages before they block, see [`Mesh::busy_poll`].
    pub fn busy_poll(&mut self, on: bool) {
        self.mesh.busy_poll(on);
    }

    /// How others deliver links to this inbox.
    pub fn handle(&self) -> InboxHandle {
        self.handle.clone()
    }

    fn key(&mut self, peer: &Peer) -> usize {
        self.peers.iter().position(|p| p == peer).unwrap_or_else(|| {
            self.peers.push(peer.clone());
            self.peers.len() - 1
        })
    }

    /// Number of peers that have, or had, a link.
    pub fn known(&self) -> usize {
        self.peers.len()
    }

    /// Whether there is a working link to a peer.
    pub fn connected(&self, peer: &Peer) -> bool {
        self.peers.iter().position(|p| p == peer).is_some_and(|key| self.mesh.contains(key))
    }

    /// How the link to a peer ended, when there was one and there is none now, nor on its way.
    pub fn left(&mut self, peer: &Peer) -> Option<String> {
        self.left_since(peer).map(|(how, _)| how)
    }

    /// How and when the link to a peer ended, when there was one and there is none now, nor on its
    /// way.
    pub fn left_since(&mut self, peer: &Peer) -> Option<(String, Instant)> {
        let key = self.peers.iter().position(|p| p == peer)?;
        if self.ended.contains_key(&key) {
            self.take_arrivals();
        }
        self.ended.get(&key).cloned()
    }

    /// Adds a link.
    pub fn insert(&mut self, peer: &Peer, mut link: Link) {
        link.set_max_frame(self.max_frame);
        let Unread { by_node, by_user, .. } = self.bounds.unread;
        link.set_max_unsent(if is_user(peer) { by_user } else { by_node });
        let key = self.key(peer);
        self.ended.remove(&key);
        self.forget(key);
        self.mesh.insert(key, link);
    }

    /// Takes a link out, and remembers what went through it.
    fn forget(&mut self, key: usize) {
        if let Some(link) = self.mesh.remove(key) {
            self.past += link.counters();
        }
    }

    /// Tells whoever asked how the node is; of `level` all but links and bytes counts.
    pub fn answer(&self, level: impl FnOnce() -> Level) {
        self.handle.answer(|| {
            let mut all = self.past;
            self.mesh.iter().for_each(|(_, link)| all += link.counters());
            let links = self.mesh.iter().count();
            Level { links, bytes_sent: all.bytes_sent, bytes_received: all.bytes_received, ..level() }
        });
    }

    /// Whether no more inferences are to begin.
    pub fn closing(&self) -> bool {
        self.handle.closing()
    }

    /// Peers that have connected since the last call.
    pub fn take_arrived(&mut self) -> Vec<Peer> {
        std::mem::take(&mut self.arrived)
    }

    /// Closes the link to a peer. Whoever dials the other establishes a new one.
    pub fn close(&mut self, peer: &Peer) {
        if let Some(key) = self.peers.iter().position(|p| p == peer) {
            self.forget(key);
        }
        self.handle.redial(peer);
    }

    /// Bytes sent to a peer over its present link.
    pub fn bytes_sent(&self, peer: &Peer) -> u64 {
        let key = self.peers.iter().position(|p| p == peer);
        key.and_then(|key| self.mesh.get(key)).map_or(0, |link| link.counters().bytes_sent)
    }

    /// Hops in sequence so far.
    pub fn hop(&self) -> u16 {
        self.hop
    }

    /// Goes on counting hops from here: what is sent next belongs to a sequence of so many.
    pub fn set_hop(&mut self, hop: u16) {
        self.hop = hop;
    }

    /// Sends a message; never blocks.
    ///
    /// # Errors
    /// When there is no link, or it has failed.
    pub fn send(&mut self, to: &Peer, header: Header, body: &[u8]) -> Result<(), NetError> {
        let header = Header { hop: self.hop.saturating_add(1), ..header };
        self.send_raw(to, &[&header.encode(), body])
    }

    /// Sends a message whose body is in two parts, one behind the other.
    ///
    /// # Errors
    /// Those of [`Inbox::send`].
    pub fn send_in_parts(&mut self, to: &Peer, header: Header, body: [&[u8]; 2]) -> Result<(), NetError> {
        let header = Header { hop: self.hop.saturating_add(1), ..header };
        self.send_raw(to, &[&header.encode(), body[0], body[1]])
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// Those of [`Inbox::send`].
    pub fn send_raw(&mut self, to: &Peer, parts: &[&[u8]]) -> Result<(), NetError> {
        self.send_frame(to, parts, Frame::default())
    }

    /// Sends a message whose body may wait where it is, without being copied.
    ///
    /// # Errors
    /// Those of [`Inbox::send`].
    pub fn send_owned(&mut self, to: &Peer, header: Header, body: Frame) -> Result<(), NetError> {
        let header = Header { hop: self.hop.saturating_add(1), ..header };
        self.send_frame(to, &[&header.encode()], body)
    }

    fn send_frame(&mut self, to: &Peer, parts: &[&[u8]], owned: Frame) -> Result<(), NetError> {
        if !self.connected(to) {
            // Its link may be here: others, who know of it, are heard before new links are looked for.
            self.take_arrivals();
        }
        // Whoever never had a link gets no key: names of receivers come from clients.
        let key = self.peers.iter().position(|p| p == to).filter(|&key| self.mesh.contains(key));
        let key = key.ok_or_else(|| NetError::Closed { peer: to.to_string() })?;
        if is_user(to) {
            self.make_room(parts.iter().map(|part| part.len()).sum::<usize>() + owned.len());
        }
        self.mesh.send_owned(key, parts, owned)
    }

    /// Ends links of users who do not read, the one first that leaves most unread, until so many
    /// more bytes may wait.
    fn make_room(&mut self, more: usize) {
        let most = self.bounds.unread.by_users;
        loop {
            let users = self.mesh.iter().filter(|(key, _)| is_user(&self.peers[*key]));
            let unread: Vec<(usize, usize)> = users.map(|(key, link)| (link.unsent(), key)).collect();
            if unread.iter().fold(more, |sum, (bytes, _)| sum.saturating_add(*bytes)) <= most {
                return;
            }
            let Some((_, key)) = unread.into_iter().filter(|(bytes, _)| *bytes > 0).max() else { return };
            if let Some(link) = self.mesh.get_mut(key) {
                link.end_unread(most);
            }
        }
    }

    /// Waits until everything sent has left.
    ///
    /// # Errors
    /// When a peer does not take its data before the deadline.
    pub fn flush(&mut self, deadline: Instant) -> Result<(), NetError> {
        self.mesh.flush(deadline)
    }

    /// Waits until all these peers are connected.
    ///
    /// # Errors
    /// [`NodeError::Stopped`], or that one of them is missing at this step.
    pub fn wait_for(&mut self, peers: &[Peer], step: &Step, deadline: Instant) -> Result<(), NodeError> {
        let since = clock::now();
        while self.wait_for_or(peers, step, since, deadline, |_, _| Want::Keep)?.is_some() {}
        Ok(())
    }

    /// Waits until all these peers are connected, or for a message that `want` takes, whichever
    /// comes first. What it refuses is refused by the next call.
    ///
    /// # Errors
    /// Those of [`Inbox::wait_for`].
    pub fn wait_for_or(
        &mut self,
        peers: &[Peer],
        step: &Step,
        since: Instant,
        deadline: Instant,
        mut want: impl FnMut(&Peer, &Header) -> Want,
    ) -> Result<Option<Received>, NodeError> {
        let started = clock::now();
        let mut faults = Vec::new();
        // Links that ended while this thread did something else do not count as connected.
        let mut until = started;
        let missing = loop {
            let missing = peers.iter().find(|p| !self.connected(p));
            if missing.is_none() && until > started {
                break None;
            }
            match self.next(until, &mut want) {
                Ok(Incoming::Timeout) if until == started => until = deadline,
                Ok(Incoming::Timeout) => break missing,
                Ok(Incoming::Refused(peer, fault, id)) => faults.push((peer, fault, id)),
                Ok(Incoming::Message(message)) => {
                    self.refused.extend(faults);
                    return Ok(Some(message));
                }
                Ok(Incoming::Lost(..) | Incoming::Woken) => {}
                Err(error) => return Err(error),
            }
        };
        self.refused.extend(faults);
        match missing {
            None => Ok(None),
            Some(peer) => {
                let fault = Fault::Lost(format!("no link for {} ms", clock::since(since).as_millis()));
                Err(ProtocolError::peer(peer, step.clone(), fault).into())
            }
        }
    }

    /// Takes links that were made meanwhile: messages of those that are here come first in
    /// [`Inbox::next`], and may be about somebody who has just connected.
    pub fn take_arrivals(&mut self) {
        for Arrival { peer, link } in self.arrivals.take() {
            if self.connected(&peer) {
                self.replaced.push_back(peer.clone());
            }
            self.insert(&peer, link);
            if !self.arrived.contains(&peer) {
                self.arrived.push(peer);
            }
        }
    }

    /// The next message that `want` takes, or whatever else ends the wait. Somebody who sends
    /// without end what is not taken cannot make it longer than the deadline, nor keep commands and
    /// new links away.
    ///
    /// # Errors
    /// [`NodeError::Stopped`] when the node was told to end.
    pub fn next(
        &mut self,
        deadline: Instant,
        mut want: impl FnMut(&Peer, &Header) -> Want,
    ) -> Result<Incoming, NodeError> {
        if let Some((peer, fault, id)) = self.refused.pop_front() {
            return Ok(Incoming::Refused(peer, fault, id));
        }
        if let Some(peer) = self.replaced.pop_front() {
            let error = NetError::Closed { peer: peer.to_string() };
            return Ok(Incoming::Lost(peer, error));
        }
        let mut at = 0;
        while at < self.kept.len() {
            match wanted(self.session, &mut want, &self.kept[at].peer, &self.kept[at].header) {
                Want::Keep => at += 1,
                verdict => {
                    if let Some(incoming) = self.kept.remove(at).and_then(|r| self.judged(r, verdict)) {
                        return Ok(incoming);
                    }
                }
            }
        }
        loop {
            if self.handle.stopped() {
                return Err(NodeError::Stopped);
            }
            if let Some(pause) = self.flooded(deadline) {
                return Ok(pause);
            }
            match self.mesh.recv(deadline) {
                Ok(Event::Frame { key, bytes }) => {
                    self.in_a_row += 1;
                    let peer = self.peers[key].clone();
                    let header = match Header::decode(&bytes) {
                        Ok((header, _)) => header,
                        Err(fault) => return Ok(Incoming::Refused(peer, fault, None)),
                    };
                    let verdict = match wanted(self.session, &mut want, &peer, &header) {
                        Want::Keep => self.bounds.early.admit(&mut self.kept, &peer, &header, bytes.len()),
                        verdict => verdict,
                    };
                    if let Some(incoming) = self.judged(Received { peer, header, frame: bytes }, verdict) {
                        return Ok(incoming);
                    }
                }
                Ok(Event::Down { key, error }) => {
                    self.forget(key);
                    self.ended.insert(key, (error.to_string(), clock::now()));
                    let peer = self.peers[key].clone();
                    // It may be back already.
                    self.take_arrivals();
                    if !self.connected(&peer) {
                        self.handle.redial(&peer);
                    }
                    return Ok(Incoming::Lost(peer, error));
                }
                Ok(Event::Woken) => {
                    self.in_a_row = 0;
                    self.take_arrivals();
                    return if self.handle.stopped() { Err(NodeError::Stopped) } else { Ok(Incoming::Woken) };
                }
                Err(NetError::Timeout { .. }) => return Ok(Incoming::Timeout),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What ends the wait although there may be more messages.
    fn flooded(&mut self, deadline: Instant) -> Option<Incoming> {
        if clock::now() < deadline {
            self.late = 0;
        } else if self.late == MAX_LATE {
            self.late = 0;
            return Some(Incoming::Timeout);
        } else {
            self.late += 1;
        }
        if self.in_a_row == MAX_IN_A_ROW {
            self.in_a_row = 0;
            self.take_arrivals();
            return Some(Incoming::Woken);
        }
        None
    }

    fn judged(&mut self, received: Received, verdict: Want) -> Option<Incoming> {
        match verdict {
            Want::Take => {
                // Questions belong to no sequence of messages.
                if !matches!(received.header.kind, Kind::Fingerprint | Kind::Collect | Kind::Collected) {
                    self.hop = self.hop.max(received.header.hop);
                }
                Some(Incoming::Message(received))
            }
            Want::Keep => {
                let (peer, header) = (&received.peer, &received.header);
                if self.session.and_then(|this| hears(this, peer, header)) == Some(Heard::Later) {
                    // What a peer said of how a session begins holds until it says it of another.
                    let later = |r: &Received| (&r.peer, r.header.kind) == (peer, header.kind);
                    let other = |r: &Received| Some(r.header.session) != self.session;
                    self.kept.retain(|r| !(later(r) && other(r)));
                }
                self.kept.push_back(received);
                None
            }
            Want::Drop => None,
            Want::Refuse(fault) => Some(Incoming::Refused(received.peer, fault, Some(received.header.id))),
        }
    }
}

/// When a message is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Now,
    /// It may belong to a session that begins: kept until that is known.
    Later,
}

/// What a thread that hears one session wants of a message.
fn wanted(
    session: Option<SessionId>,
    want: &mut impl FnMut(&Peer, &Header) -> Want,
    peer: &Peer,
    header: &Header,
) -> Want {
    match session.map_or(Some(Heard::Now), |this| hears(this, peer, header)) {
        None => Want::Drop,
        Some(Heard::Now) => want(peer, header),
        Some(Heard::Later) => match want(peer, header) {
            Want::Take => Want::Take,
            Want::Keep | Want::Drop | Want::Refuse(_) => Want::Keep,
        },
    }
}

/// Whether, and when, a node in a session hears a message. Of other sessions it hears how they
/// begin; links between two nodes outlive the restart of a third.
fn hears(this: SessionId, peer: &Peer, h: &Header) -> Option<Heard> {
    match (peer, h.kind) {
        _ if h.session == this && this != SessionId::NONE => Some(Heard::Now),
        (Peer::Helper, Kind::SessionBegin) | (Peer::Party(_), Kind::Keys) => Some(Heard::Later),
        (Peer::Helper | Peer::Party(_), _) => None,
        // Asked before anything is known, or about an output or load of an earlier session.
        (Peer::Client(_) | Peer::Owner, kind) => {
            let of_any = matches!(kind, Kind::ReleaseAck | Kind::Collect | Kind::Collected | Kind::LoadReady);
            (h.session == SessionId::NONE || of_any).then_some(Heard::Now)
        }
    }
}
