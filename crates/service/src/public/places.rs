//! Places of a public port at its node: each is a user of the node, by a link in memory, and serves
//! one request at a time.
//!
//! There is a fixed number of them, so a node never knows more users than that. A place whose
//! request ended before the node had answered is taken anew: the old link ends, and what the node
//! still says over it reaches nobody.

use super::problem::Refused;
use amicus::Door;
use amicus::net::{Frame, Port};
use amicus::node::Peer;
use amicus::protocol::wire::{HEADER_BYTES, Header, Kind};
use amicus::protocol::{Scope, control};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Places for inferences and for the owner.
pub(super) struct Places {
    door: Door,
    all: Vec<Place>,
    free: Mutex<Vec<usize>>,
    /// Releases that nobody waited for when the node told them: those of before it was started anew.
    left: Mutex<VecDeque<Arc<Said>>>,
}

/// Releases that are kept for whoever asks, at most.
const MAX_LEFT: usize = 1 << 10;

struct Place {
    user: Peer,
    line: Mutex<Option<Arc<Line>>>,
}

/// A link to the node.
struct Line {
    port: Mutex<Port>,
    bell: Arc<Notify>,
}

/// A place that one request has.
pub(super) struct Guest {
    places: Arc<Places>,
    number: usize,
    line: Option<Arc<Line>>,
    /// The node owes it no answer.
    settled: bool,
}

/// A message of the node.
pub(super) struct Said {
    pub(super) header: Header,
    frame: Frame,
}

impl Said {
    pub(super) fn body(&self) -> &[u8] {
        &self.frame[HEADER_BYTES..]
    }

    /// Why the node refuses, if it does.
    pub(super) fn refusal(&self) -> Option<Refused> {
        if self.header.kind != Kind::Abort {
            return None;
        }
        Some(match control::decode(self.body()) {
            Ok(notice) => Refused::of_node(&notice),
            Err(_) => Refused::node_ended(),
        })
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Places {
    /// So many places for guests, and one for the owner.
    pub(super) fn new(door: Door, guests: usize) -> Arc<Self> {
        let users = (1..=guests).map(Peer::guest).chain([Peer::Owner]);
        let place = |user| Place { user, line: Mutex::default() };
        Arc::new(Places {
            door,
            all: users.map(place).collect(),
            free: Mutex::new((0..guests).rev().collect()),
            left: Mutex::default(),
        })
    }

    /// A place for an inference, if one is free.
    pub(super) fn guest(self: &Arc<Self>) -> Result<Guest, Refused> {
        let number = lock(&self.free).pop();
        let number =
            number.ok_or_else(|| Refused::busy("as many inferences are in flight as this port takes"))?;
        // Until something is asked.
        Ok(Guest { places: Arc::clone(self), number, line: None, settled: true })
    }

    /// The owner's place, over a new link. Whoever had it loses it.
    pub(super) fn owner(self: &Arc<Self>) -> Guest {
        let number = self.all.len() - 1;
        *lock(&self.all[number].line) = None;
        let line = Some(self.line(number));
        Guest { places: Arc::clone(self), number, line, settled: false }
    }

    /// The link of a place.
    fn line(&self, number: usize) -> Arc<Line> {
        let place = &self.all[number];
        let admit = || {
            let bell = Arc::new(Notify::new());
            let rung = Arc::clone(&bell);
            let port = self.door.admit(&place.user, Arc::new(move || rung.notify_one()));
            Arc::new(Line { port: Mutex::new(port), bell })
        };
        Arc::clone(lock(&place.line).get_or_insert_with(admit))
    }

    /// A release of before the node was started anew, if it has told one: it repeats to every place
    /// what that place is owed.
    pub(super) fn left(&self, scope: Scope) -> Option<Arc<Said>> {
        let free: Vec<usize> = lock(&self.free).clone();
        free.into_iter().for_each(|number| self.leave(&self.line(number)));
        lock(&self.left).iter().find(|said| said.header.scope() == scope).cloned()
    }

    /// Forgets what was said over a link that nobody listens to, but for releases.
    fn leave(&self, line: &Line) {
        while let Ok(Some(frame)) = line.next() {
            let Ok(header) = Header::decode(&frame).map(|(header, _)| header) else { continue };
            if header.kind == Kind::Release {
                let mut left = lock(&self.left);
                if left.len() >= MAX_LEFT {
                    left.pop_front();
                }
                left.push_back(Arc::new(Said { header, frame }));
            }
        }
    }

    /// Says something in the name of a place that is owed no answer.
    pub(super) fn say(&self, number: usize, header: Header, body: &[u8]) -> Result<(), Refused> {
        self.line(number).say(header, body)
    }
}

impl Line {
    fn say(&self, header: Header, body: &[u8]) -> Result<(), Refused> {
        let head = Header { hop: 1, ..header }.encode();
        lock(&self.port).send(&[&head, body]).map_err(|_| Refused::node_ended())
    }

    fn next(&self) -> Result<Option<Frame>, Refused> {
        lock(&self.port).take().map_err(|_| Refused::node_ended())
    }
}

impl Guest {
    /// Its number.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// Says something to the node, which owes an answer from then on.
    pub(super) fn ask(&mut self, header: Header, body: &[u8]) -> Result<(), Refused> {
        let (places, number) = (&self.places, self.number);
        let line = self.line.get_or_insert_with(|| {
            let line = places.line(number);
            // What was said to whoever had this place before.
            places.leave(&line);
            line
        });
        self.settled = false;
        line.say(header, body)
    }

    /// The node has said all that it will say.
    pub(super) fn settle(&mut self) {
        self.settled = true;
    }

    /// The next message of the node about what `about` says.
    pub(super) async fn hear(&self, about: impl Fn(Scope) -> bool) -> Result<Said, Refused> {
        let line = self.line.as_ref().ok_or_else(Refused::node_ended)?;
        loop {
            let Some(frame) = line.next()? else {
                line.bell.notified().await;
                continue;
            };
            match Header::decode(&frame).map(|(header, _)| header) {
                Ok(header) if about(header.scope()) => return Ok(Said { header, frame }),
                // It is about what this place was for before.
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Whether the node has not ended the link, to give its place to another.
    pub(super) fn is_open(&self) -> bool {
        self.line.as_ref().is_some_and(|line| lock(&line.port).is_open())
    }

    /// What waits for the node to take it.
    pub(super) fn untaken(&self) -> usize {
        self.line.as_ref().map_or(0, |line| lock(&line.port).untaken())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut now = lock(&self.places.all[self.number].line);
        let same = now.as_ref().zip(self.line.as_ref()).is_some_and(|(now, mine)| Arc::ptr_eq(now, mine));
        if !self.settled && same {
            // The link ends: what was asked is of no use to anybody any more.
            *now = None;
        }
        drop(now);
        if self.number + 1 < self.places.all.len() {
            lock(&self.places.free).push(self.number);
        }
    }
}
