//! The thread that hears the first message of accepted links: one thread and a bounded number of
//! links, however many peers connect and say nothing.

use super::look::{ECHO, LOOKED, about};
use super::{ATTEMPT, Arrival, Complaints, InboxHandles, Terms};
use crate::threads::spawn;
use crate::{Culprit, NodeError, Peer};
use amicus_net::{Event, Link, Mesh, NetError, Waker};
use amicus_plan::PlanDigest;
use amicus_protocol::control::Channel;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{Fault, ProtocolError, Step};
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Silent links of one peer: a link for each channel, and one more where a peer dials again before
/// we saw its old link end. A further one ends the oldest, so that a peer can always get through to
/// itself.
const OF_A_PEER: usize = 4;
/// Silent links of all peers together.
const IN_ALL: usize = 256;
/// Accepted links on their way to this thread.
const WAITING: usize = 64;
/// Longest wait: the accepting thread may have ended.
const GLANCE: Duration = Duration::from_secs(1);

/// Where the accepting thread leaves links.
pub(super) struct Door {
    links: SyncSender<Link>,
    // Dropped after `links`, so that the thread finds out at once that no more will come.
    bell: Bell,
}

/// Wakes the thread, also when it is dropped.
struct Bell(Waker);

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.wake();
    }
}

impl Door {
    /// Hands a link over; false when it was closed because too many wait.
    pub(super) fn hand(&self, link: Link) -> bool {
        match self.links.try_send(link) {
            Ok(()) => {
                self.bell.0.wake();
                true
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

/// Starts the thread; it ends when the door is dropped.
///
/// # Errors
/// When there are no handles or no threads left.
pub(super) fn start(
    terms: Terms,
    plans: Vec<PlanDigest>,
    inboxes: InboxHandles,
    complaints: Complaints,
) -> Result<(Door, JoinHandle<()>), NodeError> {
    let (door, greeter, arrivals) = Greeter::new(terms, plans, inboxes, complaints)?;
    Ok((door, spawn("greet", move || greeter.run(&arrivals))?))
}

/// A link that has said nothing yet.
struct Silent {
    key: usize,
    peer: String,
    since: Instant,
}

/// A link of a node that looks at this one.
struct Look {
    key: usize,
    peer: String,
    since: Instant,
    /// Bytes that are sent back still.
    left: usize,
}

struct Greeter {
    terms: Terms,
    plans: Vec<PlanDigest>,
    inboxes: InboxHandles,
    complaints: Complaints,
    mesh: Mesh,
    /// In the order in which they came.
    silent: VecDeque<Silent>,
    /// One of a node, in the order in which they came.
    looks: VecDeque<Look>,
    next_key: usize,
}

impl Greeter {
    /// One that greets nobody yet, its door, and where links arrive from there.
    fn new(
        terms: Terms,
        plans: Vec<PlanDigest>,
        inboxes: InboxHandles,
        complaints: Complaints,
    ) -> Result<(Door, Self, Receiver<Link>), NodeError> {
        let mesh = Mesh::new()?;
        let (links, arrivals) = sync_channel(WAITING);
        let door = Door { links, bell: Bell(mesh.waker()) };
        let (silent, looks) = (VecDeque::new(), VecDeque::new());
        let greeter = Greeter { terms, plans, inboxes, complaints, mesh, silent, looks, next_key: 0 };
        Ok((door, greeter, arrivals))
    }

    fn run(mut self, arrivals: &Receiver<Link>) {
        loop {
            loop {
                match arrivals.recv_timeout(Duration::ZERO) {
                    Ok(link) => self.admit(link),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            let now = Instant::now();
            while self.silent.front().is_some_and(|silent| silent.since + ATTEMPT <= now) {
                self.give_up(0, |peer| NetError::Timeout { peer, waited: ATTEMPT }.into());
            }
            while self.looks.front().is_some_and(|look| look.since + ATTEMPT <= now) {
                self.end_look(0);
            }
            let oldest = [self.silent.front().map(|s| s.since), self.looks.front().map(|l| l.since)];
            let deadline = oldest.into_iter().flatten().map(|since| since + ATTEMPT).min();
            let deadline = deadline.map_or(now + GLANCE, |deadline| deadline.min(now + GLANCE));
            match self.mesh.recv(deadline) {
                Ok(Event::Frame { key, bytes }) => match self.look_of(key) {
                    Some(at) => self.echo(at, &bytes),
                    None => {
                        if let Some(link) = self.take(key) {
                            self.welcome(link, &bytes);
                        }
                    }
                },
                Ok(Event::Down { key, error }) => match self.look_of(key) {
                    // It has seen enough.
                    Some(at) => self.end_look(at),
                    None => {
                        self.take(key);
                        self.complaints.report(error.into());
                    }
                },
                Ok(Event::Woken) | Err(NetError::Timeout { .. }) => {}
                Err(error) => {
                    // The operating system cannot wait for sockets now; it may later.
                    self.complaints.report(error.into());
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    fn admit(&mut self, link: Link) {
        let peer = link.peer().to_owned();
        let of_peer = |peer: &str| self.silent.iter().filter(|s| s.peer == peer).count();
        if of_peer(&peer) >= OF_A_PEER {
            let oldest = self.silent.iter().position(|s| s.peer == peer);
            let parties = self.terms.parties;
            self.give_up(oldest.unwrap_or(0), |peer| {
                let fault = Fault::NotAllowed(format!("more than {OF_A_PEER} links without a greeting"));
                ProtocolError::peer(Culprit::named(&peer, parties), Step::Keys, fault).into()
            });
        } else if self.silent.len() >= IN_ALL {
            // The oldest of whoever has most of them; the first of equals is the oldest.
            let counts = self.silent.iter().enumerate().map(|(at, s)| (of_peer(&s.peer), Reverse(at)));
            let oldest = counts.max().map_or(0, |(_, Reverse(at))| at);
            self.give_up(oldest, |peer| NodeError::Crowded { peer });
        }
        let key = self.new_key();
        self.silent.push_back(Silent { key, peer, since: Instant::now() });
        self.mesh.insert(key, link);
    }

    fn new_key(&mut self) -> usize {
        self.next_key += 1;
        self.next_key - 1
    }

    /// Closes a silent link, and says why.
    fn give_up(&mut self, index: usize, why: impl FnOnce(String) -> NodeError) {
        if let Some(Silent { key, peer, .. }) = self.silent.remove(index) {
            self.mesh.remove(key);
            self.complaints.report(why(peer));
        }
    }

    fn take(&mut self, key: usize) -> Option<Link> {
        self.silent.retain(|silent| silent.key != key);
        self.mesh.remove(key)
    }

    fn look_of(&self, key: usize) -> Option<usize> {
        self.looks.iter().position(|look| look.key == key)
    }

    fn end_look(&mut self, at: usize) {
        if let Some(look) = self.looks.remove(at) {
            self.mesh.remove(look.key);
        }
    }

    /// Shows a node that looks at this one what there is to see.
    fn show(&mut self, mut link: Link, hello: &[u8]) -> Result<(), NodeError> {
        link.send(&[hello])?;
        link.send(&[&about(&self.plans)?])?;
        link.set_max_frame(ECHO);
        let peer = link.peer().to_owned();
        if let Some(earlier) = self.looks.iter().position(|look| look.peer == peer) {
            self.end_look(earlier);
        }
        let key = self.new_key();
        self.looks.push_back(Look { key, peer, since: Instant::now(), left: LOOKED });
        self.mesh.insert(key, link);
        Ok(())
    }

    /// Sends bytes back to a node that looks, up to a bound.
    fn echo(&mut self, at: usize, frame: &[u8]) {
        let echoes = matches!(Header::decode(frame), Ok((header, _)) if header.kind == Kind::Echo);
        let look = &mut self.looks[at];
        match look.left.checked_sub(frame.len()).filter(|_| echoes) {
            Some(left) => {
                look.left = left;
                let key = look.key;
                if self.mesh.send(key, &[frame]).is_err() {
                    self.end_look(at);
                }
            }
            None => self.end_look(at),
        }
    }

    /// Answers a peer's greeting and delivers the link, or says why not.
    fn welcome(&mut self, mut link: Link, frame: &[u8]) {
        let delivered = self.answer(&mut link, frame).and_then(|(channel, peer)| {
            let hello = self.terms.hello(channel)?;
            if channel == Channel::Look {
                return self.show(link, &hello);
            }
            match self.inboxes.of(channel) {
                // After a stop nobody greets.
                None => Ok(()),
                Some(inbox) => Ok(inbox.deliver_greeted(Arrival { peer, link }, &[&hello])?),
            }
        });
        if let Err(error) = delivered {
            self.complaints.report(error);
        }
    }

    /// What a greeted link is for and whose it is.
    fn answer(&self, link: &mut Link, frame: &[u8]) -> Result<(Channel, Peer), NodeError> {
        let name = link.peer().to_owned();
        let error = |fault| {
            NodeError::from(ProtocolError::peer(Culprit::named(&name, self.terms.parties), Step::Keys, fault))
        };
        let channel = match self.terms.check(frame) {
            Ok((channel, _)) => channel,
            Err(fault) => {
                if matches!(fault, Fault::Incompatible(_) | Fault::Version(_)) {
                    // Say what we run, so that the other end can tell its operator too.
                    link.send(&[&self.terms.hello(Channel::Online)?])?;
                }
                return Err(error(fault));
            }
        };
        let peer = Peer::parse(&name, self.terms.parties)
            .ok_or_else(|| error(Fault::NotAllowed("no role of this name".into())))?;
        // Between helper and parties; users have no business there.
        if channel != Channel::Online && matches!(peer, Peer::Owner | Peer::Client(_)) {
            return Err(error(Fault::NotAllowed("a link for dealing".into())));
        }
        Ok((channel, peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::{Inbox, Incoming, Want};
    use crate::store::ClusterDigest;
    use amicus_protocol::wire::{Header, Kind};
    use amicus_protocol::{Parties, Scope};

    const PATIENCE: Duration = Duration::from_secs(120);

    fn terms(cluster: u8, parties: usize) -> Terms {
        Terms { cluster: ClusterDigest([cluster; 32]), parties: Parties::new(parties).unwrap() }
    }

    /// How a link began.
    struct Beginning {
        /// What the dialling end says.
        dialled: Result<(), NodeError>,
        /// What the accepting end says.
        complaint: Option<String>,
        /// Links that its online and its dealing thread got.
        delivered: [usize; 2],
    }

    /// A peer with this name dials a node that accepts, and does as `dial` says.
    fn begin(name: &str, accepts: Terms, dial: impl Fn(&mut Link) -> Result<(), NodeError>) -> Beginning {
        let mut ends = [(); 2].map(|()| Inbox::new(1 << 16).unwrap());
        let inboxes = InboxHandles { online: ends[0].handle(), dealing: Some(ends[1].handle()) };
        let (complaints, heard) = Complaints::channel();
        let (door, thread) = start(accepts, Vec::new(), inboxes, complaints).unwrap();
        let (mut here, there) = Link::pair(name, "party 2");
        assert!(door.hand(there));
        let dialled = dial(&mut here);
        drop(door);
        thread.join().unwrap();
        let delivered = ends.each_mut().map(|inbox| {
            let next = inbox.next(Instant::now() + Duration::from_millis(20), |_, _| Want::Drop);
            assert!(matches!(next, Ok(Incoming::Woken | Incoming::Timeout)), "{next:?}");
            inbox.take_arrived().len()
        });
        Beginning { dialled, complaint: heard.try_recv().ok().map(|e| e.to_string()), delivered }
    }

    fn greets(name: &str, dials: Terms, channel: Channel, accepts: Terms) -> Beginning {
        begin(name, accepts, |link| dials.greet(link, channel, Instant::now() + PATIENCE).map(drop))
    }

    #[test]
    fn both_ends_must_belong_to_one_cluster_of_as_many_parties() {
        let ours = terms(1, 2);
        let alike = greets("party 1", ours, Channel::Online, ours);
        assert!(alike.dialled.is_ok() && alike.complaint.is_none() && alike.delivered == [1, 0]);
        for (other, word) in [(terms(2, 2), "it belongs to cluster"), (terms(1, 3), "it knows")] {
            for (dials, accepts) in [(ours, other), (other, ours)] {
                let Beginning { dialled, complaint, delivered } =
                    greets("party 1", dials, Channel::Online, accepts);
                for text in [dialled.unwrap_err().to_string(), complaint.unwrap()] {
                    assert!(text.contains("incompatible") && text.contains(word), "{text}");
                }
                assert_eq!(delivered, [0, 0]);
            }
        }
    }

    #[test]
    fn the_first_message_must_be_a_greeting() {
        let request = Header::new(Kind::Request, Scope::NONE, 0).encode();
        let beginning = begin("party 1", terms(1, 2), |link| {
            link.send(&[&request])?;
            Ok(link.recv(Instant::now() + PATIENCE).map(drop)?)
        });
        assert!(beginning.dialled.is_err());
        assert!(beginning.complaint.unwrap().contains("Request before Hello"));
        assert_eq!(beginning.delivered, [0, 0]);
    }

    #[test]
    fn users_get_no_link_for_dealing_and_strangers_none() {
        let ours = terms(1, 2);
        let both = [Channel::Online, Channel::Dealing];
        // Nor a look: clocks and plans of nodes are for nodes.
        let looks = greets("client a", ours, Channel::Look, ours);
        assert!(looks.dialled.is_err() && looks.complaint.unwrap().contains("a link for dealing"));
        for (name, online, dealing) in [
            ("party 1", Ok(()), Ok(())),
            ("helper", Ok(()), Ok(())),
            ("client a", Ok(()), Err("not allowed: a link for dealing")),
            ("model owner", Ok(()), Err("not allowed: a link for dealing")),
            ("party 3", Err("no role of this name"), Err("no role of this name")),
            ("somebody", Err("no role of this name"), Err("no role of this name")),
        ] {
            for (channel, expected) in both.into_iter().zip([online, dealing]) {
                let Beginning { dialled, complaint, delivered } = greets(name, ours, channel, ours);
                assert_eq!(dialled.is_ok(), expected.is_ok(), "{name}, {channel:?}");
                match expected {
                    Ok(()) => assert_eq!(delivered, both.map(|c| usize::from(c == channel)), "{name}"),
                    Err(words) => {
                        assert!(complaint.unwrap().contains(words), "{name}, {channel:?}");
                        assert_eq!(delivered, [0, 0], "{name}, {channel:?}");
                    }
                }
            }
        }
    }

    /// Silent links of these names, in order; which of them were closed and what was said of it.
    fn silent(names: impl Iterator<Item = String>) -> (Vec<bool>, Vec<String>) {
        let inbox = Inbox::new(1 << 16).unwrap();
        let inboxes = InboxHandles { online: inbox.handle(), dealing: None };
        let (complaints, heard) = Complaints::channel();
        let (door, mut greeter, _arrivals) =
            Greeter::new(terms(1, 2), Vec::new(), inboxes, complaints).unwrap();
        let mut ends = Vec::new();
        for name in names {
            let (here, there) = Link::pair(&name, "party 2");
            greeter.admit(there);
            ends.push(here);
        }
        let closed = |end: &mut Link| matches!(end.recv(Instant::now()), Err(NetError::Closed { .. }));
        let closed = ends.iter_mut().map(closed).collect();
        drop((greeter, door));
        (closed, heard.try_iter().map(|error| error.to_string()).collect())
    }

    #[test]
    fn silent_links_are_bounded_for_each_peer_and_it_is_its_own_fault() {
        let (closed, said) = silent((0..OF_A_PEER + 2).map(|_| "client a".into()));
        assert!(closed.iter().enumerate().all(|(at, closed)| *closed == (at < 2)), "{closed:?}");
        assert_eq!(said.len(), 2);
        assert!(
            said.iter().all(|e| e.contains("client a misbehaved: not allowed: more than 4 links")),
            "{said:?}"
        );
    }

    /// Once, the oldest link of all was closed and its peer was said to have been silent for ten
    /// seconds.
    #[test]
    fn silent_links_are_bounded_in_all_and_whoever_has_most_gives_way() {
        // One link each of many peers, the first of which is the oldest; then a few with more.
        let many = (0..IN_ALL - 2 * OF_A_PEER).map(|n| format!("client {n}"));
        let greedy = ["client x", "client y"].into_iter().flat_map(|name| [name; OF_A_PEER]);
        let late = (0..3).map(|n| format!("client late {n}"));
        let (closed, said) = silent(many.chain(greedy.map(String::from)).chain(late));
        let gone: Vec<usize> = closed.iter().enumerate().filter(|(_, c)| **c).map(|(at, _)| at).collect();
        let first = IN_ALL - 2 * OF_A_PEER;
        assert_eq!(gone, [first, first + 1, first + OF_A_PEER]);
        assert_eq!(said.len(), 3);
        for error in &said {
            assert!(error.contains("turned away: more links than can be greeted"), "{error}");
            assert!(!error.contains("misbehaved"), "{error}");
        }
    }

    #[test]
    fn links_that_cannot_be_handed_over_are_closed() {
        let (links, _arrivals) = sync_channel(WAITING);
        let door = Door { links, bell: Bell(Mesh::new().unwrap().waker()) };
        let mut ends: Vec<(Link, bool)> = (0..WAITING + 1)
            .map(|_| {
                let (here, there) = Link::pair("client a", "party 2");
                (here, door.hand(there))
            })
            .collect();
        assert!(ends[..WAITING].iter().all(|(_, handed)| *handed));
        let (last, handed) = &mut ends[WAITING];
        assert!(!*handed && matches!(last.recv(Instant::now()), Err(NetError::Closed { .. })));
    }
}
