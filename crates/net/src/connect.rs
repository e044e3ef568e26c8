//! Getting a [`Link`]: dialling and listening.
//!
//! In TLS 1.3 a client is done before the server has looked at the client's certificate. So that
//! `dial` succeeds only when both sides accepted each other, the server greets with one empty
//! frame, which `dial` waits for.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;

use crate::error::Failure;
use crate::frame::{self, Inbox};
use crate::poll::{Interest, wait};
use crate::session::Session;
use crate::stream::Stream;
use crate::{Fingerprint, Frame, Identity, Link, NetError, PeerSet, tls};

/// A stream whose peer has not proved who it is.
struct Handshake {
    stream: Stream,
    inbox: Inbox,
    address: SocketAddr,
    started: Instant,
}

impl Handshake {
    fn new(socket: TcpStream, address: SocketAddr, session: Session) -> Result<Self, Failure> {
        let stream = Stream::new(socket, session)?;
        Ok(Self { stream, inbox: Inbox::new(), address, started: Instant::now() })
    }

    /// Moves the handshake on as far as possible.
    fn advance(&mut self) -> Result<(), Failure> {
        self.stream.pump(&mut self.inbox).map(drop).inspect_err(|_| self.stream.close())
    }

    /// The certificate that the peer has proved to own; none before the handshake is complete.
    fn fingerprint(&self) -> Option<Fingerprint> {
        let session = self.stream.session();
        if session.is_handshaking() {
            return None;
        }
        session.peer_certificates()?.first().map(Fingerprint::of)
    }
}

/// Connects to a listener and authenticates both sides. Tries again until the deadline while nobody
/// listens there yet or the connection is cut off before TLS has said anything.
///
/// `expected` is the peer's name and pinned certificate.
///
/// # Errors
/// [`NetError::WrongPeer`] or [`NetError::Refused`] at once if either side does not accept the
/// other's certificate; [`NetError::HandshakeStalled`] or [`NetError::Io`] (the last reason) at the
/// deadline.
pub fn dial(
    address: impl ToSocketAddrs + fmt::Display,
    identity: &Identity,
    expected: (&str, Fingerprint),
    deadline: Instant,
) -> Result<Link, NetError> {
    let (peer, fingerprint) = expected;
    dial_while(address, identity, (peer, &[fingerprint]), deadline, || true)
}

/// Connects as [`dial`] does to a peer that has one of several pinned certificates, and tries again
/// only as long as `wanted` says so. Names are resolved anew for every attempt.
///
/// # Errors
/// Those of [`dial`].
pub fn dial_while(
    address: impl ToSocketAddrs + fmt::Display,
    identity: &Identity,
    expected: (&str, &[Fingerprint]),
    deadline: Instant,
    wanted: impl Fn() -> bool,
) -> Result<Link, NetError> {
    let (peer, fingerprints) = expected;
    let pins = fingerprints.iter().map(|fingerprint| (*fingerprint, peer)).collect();
    let config = tls::client_config(identity, pins)?;
    let mut pause = Duration::from_millis(5);
    loop {
        let error = match connect(&address, peer, deadline) {
            Ok((socket, at)) => {
                let session = Session::client(config.clone()).map_err(|failure| failure.named(peer))?;
                match greet(socket, at, session, expected, deadline) {
                    // Also what a proxy does that cannot reach its target yet.
                    Err(error @ NetError::Truncated { .. }) => error,
                    done => return done,
                }
            }
            Err(error) => error,
        };
        if Instant::now() + pause >= deadline || !wanted() {
            return Err(error);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

fn connect(
    address: &(impl ToSocketAddrs + fmt::Display),
    peer: &str,
    deadline: Instant,
) -> Result<(TcpStream, SocketAddr), NetError> {
    let failed = |error: &io::Error| NetError::io(format!("connecting to {peer} at {address}"), error);
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "no such address");
    let addresses: Vec<SocketAddr> = address.to_socket_addrs().map_err(|error| failed(&error))?.collect();
    for (tried, at) in addresses.iter().enumerate() {
        // Each gets its share of the time that is left: one that never answers must not keep the
        // next from being tried.
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        // A timeout of zero would be an error.
        match TcpStream::connect_timeout(at, share.max(Duration::from_millis(1))) {
            Ok(socket) => return Ok((socket, *at)),
            Err(error) => last = error,
        }
    }
    Err(failed(&last))
}

/// The client's side of the handshake, until the server's greeting.
fn greet(
    socket: TcpStream,
    address: SocketAddr,
    session: Session,
    (peer, expected): (&str, &[Fingerprint]),
    deadline: Instant,
) -> Result<Link, NetError> {
    let start = Instant::now();
    let named = |failure: Failure| match failure.not_pinned() {
        Some(got) => NetError::WrongPeer { peer: peer.to_owned(), expected: expected.to_vec(), got, address },
        None => failure.named(peer),
    };
    let mut handshake = Handshake::new(socket, address, session).map_err(named)?;
    loop {
        let result = handshake.advance();
        if let Some(fingerprint) = handshake.fingerprint()
            && handshake.inbox.pop().is_some()
        {
            // A server may greet us and leave at once: that is a link which has ended, not one that
            // failed to start.
            let Handshake { stream, inbox, .. } = handshake;
            return Ok(Link::over(peer, fingerprint, stream, inbox, result.err()));
        }
        result.map_err(named)?;
        if Instant::now() >= deadline {
            return Err(NetError::HandshakeStalled { address, waited: start.elapsed() });
        }
        let interest = handshake.stream.interest(&handshake.inbox);
        wait(&mut [interest.poll_fd(handshake.stream.socket())], deadline)
            .map_err(|error| NetError::io(format!("waiting for {peer}"), &error))?;
    }
}

/// Waits for connections and authenticates them.
///
/// Handshakes of many connections go on at the same time while [`Listener::accept`] waits, so one
/// that stalls holds up nobody; no threads are involved.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    config: Arc<ServerConfig>,
    peers: PeerSet,
    pending: Vec<Handshake>,
    handshake_limit: Duration,
    max_pending: usize,
    /// Nothing is accepted before this: the operating system had no room for another connection.
    resume: Option<Instant>,
}

impl Listener {
    /// Handshakes at a time unless set; beyond that the oldest is given up of the host that has most, so that
    /// stalled ones cannot lock others out.
    const MAX_PENDING: usize = 64;
    /// Rest after an error of the operating system. Without descriptors left the socket stays
    /// readable: without a rest the listener would report the same error as fast as it can.
    const PAUSE: Duration = Duration::from_millis(100);

    /// Starts listening; `peers` are those that may connect.
    ///
    /// # Errors
    /// [`NetError::AddressInUse`], or [`NetError::Io`] naming the address.
    pub fn bind(
        address: impl ToSocketAddrs + fmt::Display,
        identity: &Identity,
        peers: PeerSet,
    ) -> Result<Self, NetError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => NetError::AddressInUse { address: address.to_string() },
            _ => NetError::io(format!("listening on {address}"), &error),
        };
        let socket = TcpListener::bind(&address).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let config = tls::server_config(identity, peers.clone())?;
        Ok(Self {
            address: socket.local_addr().map_err(failed)?,
            socket,
            config,
            peers,
            pending: Vec::new(),
            handshake_limit: Duration::from_secs(10),
            max_pending: Self::MAX_PENDING,
            resume: None,
        })
    }

    /// Where this listens; tells the port when port 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Presents another identity from now on, and lets in others; links that were accepted before
    /// stay.
    ///
    /// # Errors
    /// An identity that TLS refuses; then nothing has changed.
    pub fn replace(&mut self, identity: &Identity, peers: PeerSet) -> Result<(), NetError> {
        self.config = tls::server_config(identity, peers.clone())?;
        self.peers = peers;
        Ok(())
    }

    /// How long a connection may take for its handshake, counted from its acceptance; 10 seconds
    /// unless set.
    pub fn set_handshake_limit(&mut self, limit: Duration) {
        self.handshake_limit = limit;
    }

    /// How many handshakes may go on at a time, at least one; 64 unless set.
    pub fn set_max_pending(&mut self, most: usize) {
        self.max_pending = most.max(1);
    }

    /// The next authenticated connection, or the next one that failed. The listener stays usable
    /// after every error.
    ///
    /// # Errors
    /// [`NetError::Timeout`] if nothing happened before the deadline; any other error is about one
    /// connection, which is closed: [`NetError::UnknownPeer`], [`NetError::HandshakeStalled`],
    /// [`NetError::Crowded`], [`NetError::Tls`], ...
    pub fn accept(&mut self, deadline: Instant) -> Result<Link, NetError> {
        let start = Instant::now();
        loop {
            let now = Instant::now();
            self.resume = self.resume.filter(|&until| now < until);
            if self.resume.is_none() {
                self.take_connections()?;
            }
            for index in 0..self.pending.len() {
                if let Some(result) = self.advance(index, now) {
                    return result;
                }
            }
            if now >= deadline {
                let peer = format!("anyone at {}", self.address);
                return Err(NetError::Timeout { peer, waited: start.elapsed() });
            }
            let limits = self.pending.iter().map(|handshake| handshake.started + self.handshake_limit);
            let until = limits.chain(self.resume).min().map_or(deadline, |limit| limit.min(deadline));
            let mut fds = Vec::with_capacity(1 + self.pending.len());
            if self.resume.is_none() {
                fds.push(Interest { read: true, write: false }.poll_listener(&self.socket));
            }
            fds.extend(self.pending.iter().map(|handshake| {
                handshake.stream.interest(&handshake.inbox).poll_fd(handshake.stream.socket())
            }));
            wait(&mut fds, until)
                .map_err(|error| NetError::io(format!("listening on {}", self.address), &error))?;
        }
    }

    fn take_connections(&mut self) -> Result<(), NetError> {
        loop {
            let (socket, address) = match self.socket.accept() {
                Ok(accepted) => accepted,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(()),
                    // The connection died while it waited in the queue.
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => continue,
                    _ => {
                        self.resume = Some(Instant::now() + Self::PAUSE);
                        return Err(NetError::io(format!("accepting on {}", self.address), &error));
                    }
                },
            };
            let handshake = Session::server(self.config.clone())
                .and_then(|session| Handshake::new(socket, address, session))
                .map_err(|failure| failure.named(&address.to_string()))?;
            self.pending.push(handshake);
            if self.pending.len() > self.max_pending {
                let oldest = self.pending.remove(self.most_crowded());
                return Err(NetError::Crowded { address: oldest.address, limit: self.max_pending });
            }
        }
    }

    /// The oldest handshake of the host that has most of them.
    fn most_crowded(&self) -> usize {
        let of_host = |host| self.pending.iter().filter(|h| h.address.ip() == host).count();
        let hosts = self.pending.iter().enumerate().map(|(index, h)| (of_host(h.address.ip()), index));
        // The first of equals is the oldest.
        hosts.max_by_key(|&(count, index)| (count, std::cmp::Reverse(index))).map_or(0, |(_, index)| index)
    }

    /// Moves one handshake on; its result when it has one.
    fn advance(&mut self, index: usize, now: Instant) -> Option<Result<Link, NetError>> {
        let handshake = &mut self.pending[index];
        let result = handshake.advance();
        let fingerprint = handshake.fingerprint();
        if result.is_ok() && fingerprint.is_none() && now < handshake.started + self.handshake_limit {
            return None;
        }
        let handshake = self.pending.remove(index);
        let address = handshake.address;
        Some(match (result, fingerprint) {
            (Ok(()), Some(fingerprint)) => self.welcome(handshake, fingerprint),
            (Ok(()), None) => Err(self.stalled(&handshake, now)),
            (Err(failure), _) => Err(match failure.not_pinned() {
                Some(fingerprint) => NetError::UnknownPeer { fingerprint, address },
                None => failure.named(&address.to_string()),
            }),
        })
    }

    /// Sends the greeting that tells the client it is accepted.
    fn welcome(&self, mut handshake: Handshake, fingerprint: Fingerprint) -> Result<Link, NetError> {
        let Some(peer) = self.peers.name_of(&fingerprint) else {
            // The verifier makes this impossible; should it ever not, nobody gets in.
            return Err(NetError::UnknownPeer { fingerprint, address: handshake.address });
        };
        let greeting =
            handshake.stream.send(&[0; frame::HEADER], &[], Frame::default(), &mut handshake.inbox);
        greeting.map_err(|failure| failure.named(peer))?;
        let Handshake { stream, inbox, .. } = handshake;
        Ok(Link::over(peer, fingerprint, stream, inbox, None))
    }

    fn stalled(&self, handshake: &Handshake, now: Instant) -> NetError {
        NetError::HandshakeStalled {
            address: handshake.address,
            waited: now.saturating_duration_since(handshake.started),
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("address", &self.address)
            .field("peers", &self.peers)
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}
