//! One link to one peer: TLS over TCP or in memory.

use std::fmt;
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::PollFd;

use crate::error::Failure;
use crate::frame::{self, Inbox};
use crate::memory::MemoryEnd;
use crate::poll::{Interest, Parker, WakeSignal};
use crate::port::Port;
use crate::record::{Direction, Recorder};
use crate::stream::Stream;
use crate::{Fingerprint, Frame, NetError, clock};

/// The longest frame accepted unless [`Link::set_max_frame`] says otherwise: 1 MiB.
pub const DEFAULT_MAX_FRAME: usize = 1 << 20;

/// What went through a link so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes sent on the wire: ciphertext with the handshake for TLS, frames with their length
    /// prefixes in memory. Frames that are still queued do not count yet.
    pub bytes_sent: u64,
    /// Bytes received, likewise.
    pub bytes_received: u64,
    /// Frames given to `send`.
    pub frames_sent: u64,
    /// Frames taken out of `recv`.
    pub frames_received: u64,
    /// Payload of the frames sent, in bytes: what a plan can predict exactly.
    pub payload_sent: u64,
    /// Payload of the frames received, in bytes.
    pub payload_received: u64,
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.frames_sent += other.frames_sent;
        self.frames_received += other.frames_received;
        self.payload_sent += other.payload_sent;
        self.payload_received += other.payload_received;
    }
}

enum Transport {
    Tls(Box<Stream>),
    Memory(MemoryEnd),
}

/// An ordered, authenticated, framed link to one peer.
///
/// Frames queue up in user space, so [`Link::send`] never blocks and two ends that send large
/// frames to each other at the same time cannot deadlock. Dropping a link closes it like
/// [`Link::close`].
pub struct Link {
    peer: String,
    fingerprint: Option<Fingerprint>,
    transport: Transport,
    inbox: Inbox,
    failed: Option<NetError>,
    counters: Counters,
    max_unsent: usize,
    recorder: Option<Recorder>,
    /// Only for a link that is used without a mesh.
    parker: Option<Parker>,
}

impl Link {
    fn new(peer: String, fingerprint: Option<Fingerprint>, transport: Transport) -> Self {
        let mut link = Self {
            peer,
            fingerprint,
            transport,
            inbox: Inbox::new(),
            failed: None,
            counters: Counters::default(),
            max_unsent: usize::MAX,
            recorder: None,
            parker: None,
        };
        link.set_max_frame(DEFAULT_MAX_FRAME);
        link
    }

    /// Two ends of a link in memory: the first one talks to the peer `b_name`, the second one to
    /// `a_name`.
    pub fn pair(a_name: &str, b_name: &str) -> (Self, Self) {
        let (a, b) = MemoryEnd::pair(DEFAULT_MAX_FRAME);
        let end = |peer: &str, end| Self::new(peer.to_owned(), None, Transport::Memory(end));
        (end(b_name, a), end(a_name, b))
    }

    /// A link in memory whose other end is a [`Port`]: it talks to the peer `name`, and `arrived` is
    /// called by this end's thread whenever something was sent there.
    pub fn port(name: &str, arrived: Arc<dyn Fn() + Send + Sync>) -> (Port, Self) {
        let (link, mut port) = MemoryEnd::pair(DEFAULT_MAX_FRAME);
        port.call(arrived);
        let link = Self::new(name.to_owned(), None, Transport::Memory(link));
        (Port::new(name, port), link)
    }

    /// A link over an authenticated stream, with what it may have received already; `end` if it
    /// even ended already.
    pub(crate) fn over(
        peer: &str,
        fingerprint: Fingerprint,
        stream: Stream,
        inbox: Inbox,
        end: Option<Failure>,
    ) -> Self {
        let transport = Transport::Tls(Box::new(stream));
        let mut link = Self::new(peer.to_owned(), Some(fingerprint), transport);
        link.inbox = inbox;
        link.set_max_frame(DEFAULT_MAX_FRAME);
        if let Some(failure) = end {
            link.fail(failure);
        }
        link
    }

    /// The peer's name, from our configuration.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// The peer's certificate; none in memory.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint
    }

    /// Sets the longest frame this end accepts, in bytes. Takes effect with the next frame whose
    /// length arrives.
    ///
    /// It also bounds how much arrives unasked: about one such frame (at least 64 KiB) waits in the
    /// link, then the peer is slowed down.
    pub fn set_max_frame(&mut self, bytes: usize) {
        self.inbox.set_max_frame(bytes);
        match &mut self.transport {
            Transport::Tls(stream) => stream.set_max_frame(bytes),
            Transport::Memory(end) => end.set_max_frame(bytes),
        }
    }

    /// Sets how many bytes may wait for a peer that does not read them; no bound unless set. A
    /// frame that would exceed it, when others wait already, ends the link with
    /// [`NetError::Unread`], so that a peer's silence costs a bounded amount of memory.
    pub fn set_max_unsent(&mut self, bytes: usize) {
        self.max_unsent = bytes;
    }

    /// Bytes that frames take which were sent and have not left: not taken by the operating system,
    /// or, in memory, by the peer. None once the link has ended.
    pub fn unsent(&self) -> usize {
        match &self.transport {
            _ if self.failed.is_some() => 0,
            Transport::Tls(stream) => stream.unsent(),
            Transport::Memory(end) => end.unsent(),
        }
    }

    /// Ends the link as one whose peer does not read: together with others it keeps more waiting
    /// than `limit` bytes.
    pub fn end_unread(&mut self, limit: usize) {
        let waiting = self.unsent();
        self.fail(Failure::Unread { waiting, limit });
    }

    /// What went through so far.
    pub fn counters(&self) -> Counters {
        let (bytes_sent, bytes_received) = match &self.transport {
            Transport::Tls(stream) => stream.wire_bytes(),
            Transport::Memory(end) => end.wire_bytes(),
        };
        Counters { bytes_sent, bytes_received, ..self.counters }
    }

    /// Starts keeping a copy of every frame sent and received from now on.
    pub fn recorded(&mut self) -> Recorder {
        self.recorder.get_or_insert_default().clone()
    }

    /// Queues one frame, the concatenation of `parts`, and sends as much of it as goes without
    /// blocking. The rest leaves during later calls of `recv` or `flush`.
    ///
    /// # Errors
    /// The error that ended the link, if it has failed or fails now; nothing is sent then.
    pub fn send(&mut self, parts: &[&[u8]]) -> Result<(), NetError> {
        self.send_owned(parts, Frame::default())
    }

    /// Queues one frame, the concatenation of `parts` and `owned`, as [`Link::send`] does; what of
    /// `owned` cannot leave at once waits without being copied.
    ///
    /// # Errors
    /// Those of [`Link::send`].
    pub fn send_owned(&mut self, parts: &[&[u8]], owned: Frame) -> Result<(), NetError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let length = frame::length(parts) + owned.len();
        let Some(header) = frame::header(length) else {
            return Err(NetError::OversizedSend { peer: self.peer.clone(), length });
        };
        if let Some(recorder) = &self.recorder {
            recorder.push(Direction::Sent, [&parts.concat()[..], &owned].concat());
        }
        if self.max_unsent < usize::MAX {
            let (unsent, limit) = (self.unsent(), self.max_unsent);
            let waiting = unsent.saturating_add(length);
            if unsent > 0 && waiting > limit {
                return Err(self.fail(Failure::Unread { waiting, limit }));
            }
        }
        let result = match &mut self.transport {
            Transport::Tls(stream) => stream.send(&header, parts, owned, &mut self.inbox),
            Transport::Memory(end) => end.send(Frame::concat(&[parts, &[&owned]].concat())),
        };
        match result {
            Ok(()) => {
                self.counters.frames_sent += 1;
                self.counters.payload_sent += length as u64;
                Ok(())
            }
            Err(failure) => Err(self.fail_after_reading(failure)),
        }
    }

    /// The next frame, waiting for it until the deadline. Frames that arrived before the link
    /// failed come first.
    ///
    /// # Errors
    /// [`NetError::Timeout`], after which the link is still usable, or the error that ended the
    /// link.
    pub fn recv(&mut self, deadline: Instant) -> Result<Frame, NetError> {
        self.wait(deadline, |link| link.take().map(Ok).or_else(|| link.failed.clone().map(Err)))?
    }

    /// Waits until everything queued was given to the operating system.
    ///
    /// # Errors
    /// [`NetError::Timeout`], after which the link is still usable, or the error that ended the
    /// link.
    pub fn flush(&mut self, deadline: Instant) -> Result<(), NetError> {
        self.wait(deadline, |link| (!link.has_unsent()).then(|| link.failed.clone().map_or(Ok(()), Err)))?
    }

    /// Says goodbye and stops sending; later calls fail with [`NetError::Closed`]. Does not wait:
    /// [`Link::flush`] first, otherwise the peer finds the link cut off in the middle of what was
    /// queued.
    pub fn close(&mut self) {
        if self.failed.is_none() {
            self.hang_up();
            self.failed = Some(NetError::Closed { peer: self.peer.clone() });
        }
    }

    fn hang_up(&mut self) {
        match &mut self.transport {
            Transport::Tls(stream) => stream.close(),
            Transport::Memory(end) => end.close(),
        }
    }

    /// Moves data until `ready` finds what it looks for; takes at least one look, even after the
    /// deadline.
    fn wait<T>(
        &mut self,
        deadline: Instant,
        mut ready: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<T, NetError> {
        let start = clock::now();
        if let Some(found) = ready(self) {
            return Ok(found);
        }
        loop {
            let progress = self.pump();
            if let Some(found) = ready(self) {
                return Ok(found);
            }
            // Looked at even after progress: a peer that keeps us busy must not keep us forever.
            if clock::now() >= deadline {
                return Err(NetError::Timeout { peer: self.peer.clone(), waited: clock::since(start) });
            }
            if !progress {
                self.block(deadline)?;
            }
        }
    }

    /// Blocks this thread until something may have changed.
    fn block(&mut self, deadline: Instant) -> Result<(), NetError> {
        let context = || format!("waiting for {}", self.peer);
        let parker = match self.parker.take() {
            Some(parker) => parker,
            None => Parker::new().map_err(|error| NetError::io(context(), &error))?,
        };
        self.attach(parker.signal());
        parker.prepare();
        let result = if self.pump() {
            parker.cancel();
            Ok(())
        } else {
            parker.park(self.poll_fd().into_iter(), deadline)
        };
        self.parker = Some(parker);
        result.map_err(|error| NetError::io(format!("waiting for {}", self.peer), &error))
    }

    /// Whom to wake when something arrives in memory.
    pub(crate) fn attach(&mut self, signal: &Arc<WakeSignal>) {
        if let Transport::Memory(end) = &mut self.transport {
            end.attach(signal);
        }
    }

    /// The socket to wait for and what for; none in memory, and none when waiting would be in vain.
    pub(crate) fn poll_fd(&self) -> Option<PollFd<'_>> {
        let Transport::Tls(stream) = &self.transport else { return None };
        let interest = if self.failed.is_some() { Interest::default() } else { stream.interest(&self.inbox) };
        (interest.read || interest.write).then(|| interest.poll_fd(stream.socket()))
    }

    /// Moves what can be moved without blocking; true if anything changed, failure included.
    pub(crate) fn pump(&mut self) -> bool {
        if self.failed.is_some() {
            return false;
        }
        let result = match &mut self.transport {
            Transport::Tls(stream) => stream.pump(&mut self.inbox),
            Transport::Memory(end) => end.pump(&mut self.inbox),
        };
        result.unwrap_or_else(|failure| {
            self.fail(failure);
            true
        })
    }

    pub(crate) fn has_unsent(&self) -> bool {
        match &self.transport {
            Transport::Tls(stream) => self.failed.is_none() && stream.has_unsent(),
            Transport::Memory(_) => false,
        }
    }

    /// The next frame that has already arrived.
    pub(crate) fn take(&mut self) -> Option<Frame> {
        let frame = self.inbox.pop()?;
        self.counters.frames_received += 1;
        self.counters.payload_received += frame.len() as u64;
        if let Some(recorder) = &self.recorder {
            recorder.push(Direction::Received, frame.to_vec());
        }
        Some(frame)
    }

    /// The error that ended the link.
    pub(crate) fn failure(&self) -> Option<&NetError> {
        self.failed.as_ref()
    }

    /// A failed write often only means that the peer said something and left: what it said is the
    /// better error.
    fn fail_after_reading(&mut self, failure: Failure) -> NetError {
        while self.failed.is_none() && self.pump() {}
        self.fail(failure)
    }

    fn fail(&mut self, failure: Failure) -> NetError {
        if self.failed.is_none() {
            let unread = matches!(failure, Failure::Unread { .. });
            self.failed = Some(failure.named(&self.peer));
            // Sends the alert, if there is one, so that the peer learns why.
            self.hang_up();
            // A stream forgets what waits when it is closed; in memory the peer might still take it.
            if let (true, Transport::Memory(end)) = (unread, &mut self.transport) {
                end.forget_unsent();
            }
        }
        self.failed.clone().unwrap_or_else(|| NetError::Closed { peer: self.peer.clone() })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Tls(_) => "TLS",
            Transport::Memory(_) => "memory",
        };
        f.debug_struct("Link")
            .field("peer", &self.peer)
            .field("fingerprint", &self.fingerprint)
            .field("transport", &transport)
            .field("failed", &self.failed)
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}
