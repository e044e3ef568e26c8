//! TLS over a non-blocking TCP socket, cut into frames.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::buffer::Buffer;
use crate::error::Failure;
use crate::frame::{Assembler, FRAME_COST, Inbox};
use crate::poll::Interest;
use crate::session::{Desk, RECORD, Session, Stop};
use crate::{DEFAULT_MAX_FRAME, Frame};

/// One read takes at most this much: large frames need few system calls, and it stays in the
/// second-level cache. It must exceed the 64 KiB that rustls allows one handshake message to have.
pub(crate) const READ: usize = 128 << 10;
/// Reads in a row before other links get their turn and deadlines are looked at.
const READS: usize = 32;
/// Plaintext is encrypted at most this far ahead of the socket, so a large frame is not held twice.
const WRITE: usize = 128 << 10;

/// A part of a frame that is sent.
enum Whole<'a> {
    /// In memory that may wait in the queue, and how much of it was sent already.
    Ours(Frame, usize),
    /// In the caller's memory.
    Theirs(&'a [u8]),
}

/// A TLS connection that carries frames.
pub(crate) struct Stream {
    socket: TcpStream,
    session: Session,
    incoming: Buffer,
    outgoing: Buffer,
    assembler: Assembler,
    /// Plaintext the socket could not take yet, each with the number of bytes already encrypted.
    queue: VecDeque<(Frame, usize)>,
    /// What the queue costs, bytes already encrypted included.
    queued: usize,
    peer_closed: bool,
    /// The session found an error; rustls must not process anything any more.
    broken: bool,
    received: u64,
    sent: u64,
}

impl Stream {
    /// Takes a connected socket; the handshake happens in the first calls of [`Stream::pump`].
    /// Frames are only ever read from a peer that has proved to hold a pinned certificate: rustls
    /// gives out no data before.
    pub(crate) fn new(socket: TcpStream, session: Session) -> Result<Self, Failure> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            session,
            incoming: Buffer::new(READ),
            // Room for the overhead of the records and for alerts.
            outgoing: Buffer::new(WRITE + WRITE / 64),
            assembler: Assembler::new(DEFAULT_MAX_FRAME),
            queue: VecDeque::new(),
            queued: 0,
            peer_closed: false,
            broken: false,
            received: 0,
            sent: 0,
        })
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(crate) fn set_max_frame(&mut self, bytes: usize) {
        self.assembler.set_limit(bytes);
    }

    /// Ciphertext bytes sent and received, handshake included.
    pub(crate) fn wire_bytes(&self) -> (u64, u64) {
        (self.sent, self.received)
    }

    /// True while something waits for the socket to take it.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.queue.is_empty() || !self.outgoing.is_empty()
    }

    /// What waits for the socket costs.
    pub(crate) fn unsent(&self) -> usize {
        self.queued + self.outgoing.filled().len()
    }

    fn enqueue(&mut self, bytes: Frame, done: usize) {
        self.queued += bytes.len() + FRAME_COST;
        self.queue.push_back((bytes, done));
    }

    pub(crate) fn interest(&self, inbox: &Inbox) -> Interest {
        let write = !self.outgoing.is_empty() || (!self.queue.is_empty() && !self.session.is_handshaking());
        Interest { read: !inbox.is_full(), write }
    }

    /// Sends a frame given as header, parts, and a last part that may wait in its own memory:
    /// encrypts straight from there as long as the socket takes it, and copies only what is left of
    /// the others.
    pub(crate) fn send(
        &mut self,
        header: &[u8],
        parts: &[&[u8]],
        owned: Frame,
        inbox: &mut Inbox,
    ) -> Result<(), Failure> {
        // The first record takes header and payload together: a small frame is one record and one
        // packet.
        let length = header.len() + crate::frame::length(parts) + owned.len();
        let mut first = Frame::with_capacity(RECORD.min(length));
        first.extend(header);
        let mut begin = |part: &[u8]| {
            let done = part.len().min(RECORD - first.len());
            first.extend(&part[..done]);
            done
        };
        let begun: Vec<usize> = parts.iter().map(|part| begin(part)).collect();
        let done = begin(&owned);
        self.send_part(Whole::Ours(first, 0), inbox)?;
        for (part, begun) in parts.iter().zip(begun) {
            self.send_part(Whole::Theirs(&part[begun..]), inbox)?;
        }
        self.send_part(Whole::Ours(owned, done), inbox)
    }

    /// Sends a part if nothing waits before it, and queues what the socket does not take.
    fn send_part(&mut self, part: Whole<'_>, inbox: &mut Inbox) -> Result<(), Failure> {
        let bytes = match &part {
            Whole::Ours(frame, done) => &frame[*done..],
            Whole::Theirs(bytes) => bytes,
        };
        let mut left = bytes;
        if self.queue.is_empty() && !left.is_empty() {
            self.write_through(&mut left, inbox)?;
        }
        if !left.is_empty() {
            let (left, whole) = (left.len(), bytes.len());
            match part {
                Whole::Ours(frame, done) => self.enqueue(frame, done + whole - left),
                Whole::Theirs(bytes) => self.enqueue(Frame::concat(&[&bytes[whole - left..]]), 0),
            }
        }
        Ok(())
    }

    /// Encrypts and writes until all is taken or the socket is full. Records that have already been
    /// read are processed on the way, because rustls wants that first.
    fn write_through(&mut self, plaintext: &mut &[u8], inbox: &mut Inbox) -> Result<bool, Failure> {
        let mut progress = false;
        loop {
            let before = plaintext.len();
            // Encrypting into a nearly full buffer would make small records.
            if before > 0 && !self.session.is_handshaking() && self.outgoing.free() > RECORD {
                self.advance(plaintext, inbox)?;
            }
            if !self.write_out()? || self.outgoing.is_empty() && plaintext.is_empty() {
                return Ok(progress || before > plaintext.len());
            }
            progress = true;
        }
    }

    /// Writes ciphertext; false when nothing could be written.
    fn write_out(&mut self) -> Result<bool, Failure> {
        let mut progress = false;
        while !self.outgoing.is_empty() {
            match (&self.socket).write(self.outgoing.filled()) {
                Ok(0) => return Err(Failure::Truncated("the socket takes no more bytes")),
                Ok(count) => {
                    self.outgoing.consume(count);
                    self.sent += count as u64;
                    progress = true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(progress)
    }

    fn advance(&mut self, plaintext: &mut &[u8], inbox: &mut Inbox) -> Result<(), Failure> {
        let Self { session, incoming, outgoing, assembler, .. } = self;
        let stop = session.advance(&mut Desk { incoming, outgoing, assembler, inbox }, plaintext);
        self.broken = stop.is_err();
        match stop? {
            Stop::Idle => {}
            Stop::PeerClosed => self.peer_closed = true,
        }
        Ok(())
    }

    /// Moves whatever can be moved without blocking, in both directions; true if anything was.
    pub(crate) fn pump(&mut self, inbox: &mut Inbox) -> Result<bool, Failure> {
        let wrote = self.pump_out(inbox);
        // Even after a failed write: why the peer closed is in what it sent before.
        let read = self.pump_in(inbox)?;
        Ok(wrote? || read)
    }

    fn pump_out(&mut self, inbox: &mut Inbox) -> Result<bool, Failure> {
        let mut progress = self.write_out()?;
        while let Some((bytes, done)) = self.queue.pop_front() {
            let mut left = &bytes[done..];
            let result = self.write_through(&mut left, inbox);
            let done = bytes.len() - left.len();
            if done < bytes.len() {
                self.queue.push_front((bytes, done));
                return Ok(result? || progress);
            }
            self.queued -= bytes.len() + FRAME_COST;
            progress |= result?;
        }
        Ok(progress)
    }

    fn pump_in(&mut self, inbox: &mut Inbox) -> Result<bool, Failure> {
        let mut progress = false;
        if self.broken {
            return Ok(false);
        }
        // A client speaks first.
        if self.session.is_handshaking() {
            self.advance(&mut &[][..], inbox)?;
            progress |= self.write_out()?;
        }
        for _ in 0..READS {
            if inbox.is_full() {
                break;
            }
            if self.peer_closed {
                return Err(self.end());
            }
            if self.incoming.free() < READ / 2 {
                self.incoming.compact();
            }
            let room = self.incoming.free_mut();
            if room.is_empty() {
                return Err(rustls::Error::General("a handshake message without end".into()).into());
            }
            let asked = room.len();
            match (&self.socket).read(room) {
                Ok(0) => return Err(self.end()),
                Ok(count) => {
                    self.received += count as u64;
                    self.incoming.advance(count);
                    progress = true;
                    self.advance(&mut &[][..], inbox)?;
                    self.write_out()?;
                    if count < asked && !self.peer_closed {
                        // The socket is empty now; if not, the next look will find out.
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(progress)
    }

    /// What it means that the stream ends here.
    fn end(&self) -> Failure {
        if self.session.is_handshaking() {
            Failure::Truncated("during the handshake")
        } else if self.assembler.is_mid_frame() {
            Failure::Truncated("in the middle of a frame")
        } else if self.peer_closed {
            Failure::Closed
        } else {
            Failure::Truncated("without a goodbye")
        }
    }

    /// Says goodbye as far as that is possible without blocking. A goodbye after half a frame would
    /// be a lie, so there is none while frames are unsent.
    pub(crate) fn close(&mut self) {
        if self.queue.is_empty() || self.broken {
            self.session.say_goodbye(self.broken, &mut self.incoming, &mut self.outgoing);
            let _ = self.write_out();
        }
        let _ = self.socket.shutdown(Shutdown::Write);
        // It goes nowhere any more.
        self.queue.clear();
        self.queued = 0;
    }
}
