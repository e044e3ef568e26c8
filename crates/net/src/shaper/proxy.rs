//! The proxy: one thread that accepts, one for each connection.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use super::Shape;
use crate::NetError;
use crate::poll::wait;

/// Bytes on the line in one direction before the sender has to wait, as with any network buffer.
const MAX_IN_FLIGHT: usize = 64 << 20;
/// On lines longer than this, the time to wake up does not matter and no time is spent on watching
/// the clock.
const LONG: Duration = Duration::from_millis(5);
/// The proxy wakes up this long before a delivery and then watches the clock: waking up can take
/// that long.
const WAKE_UP: Duration = Duration::from_micros(80);
/// After a delivery an answer is likely: watch the sockets for a moment instead of sleeping, so
/// that it is not late by the time it takes to wake up.
const LINGER: Duration = Duration::from_micros(60);
/// How long a thread sleeps when it has nothing to do; it is woken by sockets and by the end of the
/// proxy.
const IDLE: Duration = Duration::from_secs(3600);

/// A TCP proxy in front of one listener, see the [module](super). Stops, and cuts its connections,
/// when dropped.
#[derive(Debug)]
pub struct ShapedProxy {
    address: SocketAddr,
    stopping: Arc<Stopping>,
    /// Dropping it makes the pipe readable for all threads.
    wake: Option<PipeWriter>,
    acceptor: Option<JoinHandle<()>>,
}

/// How the threads learn that they should end: the pipe when they sleep, the flag when they are
/// busy.
#[derive(Debug)]
struct Stopping {
    flag: AtomicBool,
    pipe: PipeReader,
}

impl Stopping {
    fn poll_fd(&self) -> PollFd<'_> {
        PollFd::from_borrowed_fd(self.pipe.as_fd(), PollFlags::IN)
    }

    fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }
}

impl ShapedProxy {
    /// Starts a proxy on a free port of the loopback interface that forwards to `target`.
    ///
    /// # Errors
    /// [`NetError::Io`] when the operating system gives no port, pipe or thread.
    pub fn spawn(target: SocketAddr, shape: Shape) -> Result<Self, NetError> {
        let start = || {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            let (pipe, wake) = io::pipe()?;
            let stopping = Arc::new(Stopping { flag: AtomicBool::new(false), pipe });
            let for_thread = stopping.clone();
            let acceptor = thread::Builder::new()
                .name("shaper".into())
                .spawn(move || accept(&listener, target, shape, &for_thread))?;
            Ok(Self { address, stopping, wake: Some(wake), acceptor: Some(acceptor) })
        };
        start().map_err(|error: io::Error| NetError::io(format!("starting a proxy to {target}"), &error))
    }

    /// Where to dial instead of the target.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for ShapedProxy {
    fn drop(&mut self) {
        self.stopping.flag.store(true, Ordering::Relaxed);
        drop(self.wake.take());
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, target: SocketAddr, shape: Shape, stopping: &Arc<Stopping>) {
    let mut connections: Vec<JoinHandle<()>> = Vec::new();
    loop {
        let mut fds = [stopping.poll_fd(), PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
        if wait(&mut fds, Instant::now() + IDLE).is_err() || stopping.is_set() {
            break;
        }
        connections.retain(|connection| !connection.is_finished());
        let Ok((near, _)) = listener.accept() else {
            // Without descriptors left the listener stays readable.
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        // A target that does not listen yet: dropping `near` tells the client, which tries again.
        let Ok(far) = TcpStream::connect_timeout(&target, Duration::from_secs(5)) else { continue };
        let stopping = stopping.clone();
        let forward = move || {
            // An error here is a broken connection: both ends see it when the sockets are dropped.
            let _ = Connection::new(near, far, shape).and_then(|mut connection| connection.run(&stopping));
        };
        connections.extend(thread::Builder::new().name("shaper line".into()).spawn(forward));
    }
    for connection in connections {
        let _ = connection.join();
    }
}

/// Bytes on their way, due at a time.
struct Parcel {
    due: Instant,
    bytes: Vec<u8>,
    written: usize,
}

/// One direction of a connection.
struct Line {
    parcels: VecDeque<Parcel>,
    in_flight: usize,
    /// When the last byte so far leaves the sender.
    departure: Instant,
    /// When the end of the stream is due.
    end: Option<Instant>,
    ended: bool,
    /// The receiver takes no more for now.
    blocked: bool,
    chunk: Vec<u8>,
    shape: Shape,
}

impl Line {
    fn new(shape: Shape) -> Self {
        // A parcel is delivered when its last byte is due, so it must be short in time: 0.25 ms at
        // the line's rate.
        let chunk = shape.bits_per_second.map_or(64 << 10, |rate| (rate / 8 / 4000).clamp(1500, 64 << 10));
        Self {
            parcels: VecDeque::new(),
            in_flight: 0,
            departure: Instant::now(),
            end: None,
            ended: false,
            blocked: false,
            chunk: vec![0; chunk as usize],
            shape,
        }
    }

    fn wants_input(&self) -> bool {
        self.end.is_none() && self.in_flight < MAX_IN_FLIGHT
    }

    /// Takes what has arrived; true if there was something.
    fn take_in(&mut self, mut from: &TcpStream) -> io::Result<bool> {
        if !self.wants_input() {
            return Ok(false);
        }
        let count = match from.read(&mut self.chunk) {
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        self.departure = self.departure.max(Instant::now()) + self.shape.line_time(count as u64);
        let due = self.departure + self.shape.one_way;
        if count == 0 {
            self.end = Some(due);
        } else {
            self.in_flight += count;
            self.parcels.push_back(Parcel { due, bytes: self.chunk[..count].to_vec(), written: 0 });
        }
        Ok(true)
    }

    /// Delivers what is due; true if anything was.
    fn deliver(&mut self, mut to: &TcpStream, now: Instant) -> io::Result<bool> {
        let mut progress = false;
        self.blocked = false;
        while let Some(parcel) = self.parcels.front_mut().filter(|parcel| parcel.due <= now) {
            match to.write(&parcel.bytes[parcel.written..]) {
                Ok(count) => {
                    progress = true;
                    parcel.written += count;
                    self.in_flight -= count;
                    if parcel.written == parcel.bytes.len() {
                        self.parcels.pop_front();
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Ok(progress);
                }
                Err(error) => return Err(error),
            }
        }
        if !self.ended && self.parcels.is_empty() && self.end.is_some_and(|due| due <= now) {
            to.shutdown(Shutdown::Write)?;
            self.ended = true;
        }
        Ok(progress)
    }

    fn is_short(&self) -> bool {
        self.shape.one_way < LONG
    }

    /// When to look at this line again; never while the receiver blocks.
    fn alarm(&self) -> Option<Instant> {
        if self.blocked {
            return None;
        }
        let due = match self.parcels.front() {
            Some(parcel) => parcel.due,
            None => self.end.filter(|_| !self.ended)?,
        };
        // In the middle of a bulk transfer nobody notices when a parcel is a little late: all due
        // times are absolute.
        let exact = self.is_short() && self.parcels.len() == 1;
        Some(if exact { due.checked_sub(WAKE_UP).unwrap_or(due) } else { due })
    }
}

struct Connection {
    /// The two ends, and for each the line that leads to it.
    ends: [(TcpStream, Line); 2],
}

impl Connection {
    fn new(near: TcpStream, far: TcpStream, shape: Shape) -> io::Result<Self> {
        for socket in [&near, &far] {
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
        }
        Ok(Self { ends: [(near, Line::new(shape)), (far, Line::new(shape))] })
    }

    fn run(&mut self, stopping: &Stopping) -> io::Result<()> {
        let mut watch_until = Instant::now();
        loop {
            let [(near, to_near), (far, to_far)] = &mut self.ends;
            // Both sides in turn, one chunk at a time: neither direction delays the other.
            let arrived = to_far.take_in(near)? | to_near.take_in(far)?;
            let now = Instant::now();
            if to_far.deliver(far, now)? | to_near.deliver(near, now)? {
                let answer_likely =
                    to_far.is_short() && to_far.parcels.is_empty() && to_near.parcels.is_empty();
                watch_until = if answer_likely { now + LINGER } else { now };
            }
            if to_far.ended && to_near.ended {
                return Ok(());
            }
            let alarm = [&*to_near, &*to_far].into_iter().filter_map(Line::alarm).min();
            let alarm = alarm.unwrap_or(now + IDLE);
            if stopping.is_set() {
                return Ok(());
            }
            if arrived || now < watch_until || alarm <= now {
                // Whoever waits for us may be waiting for this core.
                thread::yield_now();
                continue;
            }
            let mut fds = vec![stopping.poll_fd()];
            for (socket, reads, writes) in [
                (&*near, to_far.wants_input(), to_near.blocked),
                (&*far, to_near.wants_input(), to_far.blocked),
            ] {
                let mut flags = PollFlags::empty();
                flags.set(PollFlags::IN, reads);
                flags.set(PollFlags::OUT, writes);
                // A socket asked for nothing would still report that it is closed, again and again.
                if !flags.is_empty() {
                    fds.push(PollFd::from_borrowed_fd(socket.as_fd(), flags));
                }
            }
            wait(&mut fds, alarm)?;
        }
    }
}
