//! Links of every kind, so that one test body runs over memory and TLS.
#![allow(dead_code)] // each test binary uses its part

use std::thread;
use std::time::{Duration, Instant};

use amicus_net::{Identity, Link, Listener, Mesh, PeerSet, dial};

/// Long enough for a busy machine; reaching it means a test hangs.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

pub(crate) fn in_ms(millis: u64) -> Instant {
    Instant::now() + Duration::from_millis(millis)
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Memory,
    Tls,
}

pub(crate) const KINDS: [Kind; 2] = [Kind::Memory, Kind::Tls];

impl Kind {
    /// The first end belongs to "a" and talks to "b".
    pub(crate) fn pair(self) -> (Link, Link) {
        match self {
            Self::Memory => Link::pair("a", "b"),
            Self::Tls => Site::new().pair(),
        }
    }
}

/// Two roles that know each other, one of them listening.
pub(crate) struct Site {
    pub(crate) a: Identity,
    pub(crate) b: Identity,
    pub(crate) listener: Listener,
}

impl Site {
    pub(crate) fn new() -> Self {
        let (a, b) = (Identity::generate("a").unwrap(), Identity::generate("b").unwrap());
        let peers = PeerSet::from_iter([(a.fingerprint(), "a")]);
        let listener = Listener::bind("127.0.0.1:0", &b, peers).unwrap();
        Self { a, b, listener }
    }

    pub(crate) fn pair(&mut self) -> (Link, Link) {
        let (address, expected) = (self.listener.local_addr(), self.b.fingerprint());
        thread::scope(|scope| {
            let dialling = scope.spawn(|| dial(address, &self.a, ("b", expected), soon()).unwrap());
            let accepted = self.listener.accept(soon()).unwrap();
            (dialling.join().unwrap(), accepted)
        })
    }
}

pub(crate) fn mesh(links: impl IntoIterator<Item = (usize, Link)>) -> Mesh {
    let mut mesh = Mesh::new().unwrap();
    for (key, link) in links {
        mesh.insert(key, link);
    }
    mesh
}

/// Content that differs from frame to frame and from place to place.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}
