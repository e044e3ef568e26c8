//! Waiting in the operating system for sockets, and being woken by other threads.
//!
//! `poll(2)` and not epoll: a thread has a handful of links, readiness is asked for anew each time
//! (so no edge can be missed and a link can move between threads freely), and timeouts have
//! nanoseconds where epoll has milliseconds.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What to wait for on one socket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Interest {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Interest {
    pub(crate) fn poll_fd(self, socket: &TcpStream) -> PollFd<'_> {
        self.poll_borrowed(socket.as_fd())
    }

    pub(crate) fn poll_listener(self, listener: &TcpListener) -> PollFd<'_> {
        self.poll_borrowed(listener.as_fd())
    }

    fn poll_borrowed(self, fd: BorrowedFd<'_>) -> PollFd<'_> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, self.read);
        flags.set(PollFlags::OUT, self.write);
        PollFd::from_borrowed_fd(fd, flags)
    }
}

/// Blocks until one of `fds` is ready, the deadline passes, or a signal arrives; the caller looks
/// at what happened.
pub(crate) fn wait(fds: &mut [PollFd<'_>], deadline: Instant) -> io::Result<()> {
    let timeout = Timespec::try_from(deadline.saturating_duration_since(Instant::now()))
        .unwrap_or(Timespec { tv_sec: 3600, tv_nsec: 0 });
    match poll(fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Wakes a thread blocked in [`Mesh::recv`](crate::Mesh::recv), which then returns
/// [`Event::Woken`](crate::Event::Woken). Several wakes before it looks are one.
#[derive(Clone, Debug)]
pub struct Waker(Arc<WakeSignal>);

impl Waker {
    /// Wakes the thread now, or makes its next `recv` return at once.
    pub fn wake(&self) {
        self.0.woken.store(true, Ordering::SeqCst);
        self.0.ring();
    }
}

/// Shared by a waiting thread and those that may wake it.
#[derive(Debug)]
pub(crate) struct WakeSignal {
    pipe: PipeWriter,
    /// Set while the thread is about to block or blocked, so that a wake costs no system call
    /// otherwise.
    parked: AtomicBool,
    woken: AtomicBool,
    /// The thread of a world that sleeps here.
    #[cfg(feature = "virtual-time")]
    sleeper: std::sync::Mutex<Option<crate::clock::world::Task>>,
}

impl WakeSignal {
    /// Makes a parked thread look again at whatever the caller changed before.
    pub(crate) fn ring(&self) {
        if self.parked.swap(false, Ordering::SeqCst) {
            #[cfg(feature = "virtual-time")]
            if let Some(task) = self.sleeper.lock().ok().and_then(|mut sleeper| sleeper.take()) {
                return task.wake();
            }
            // At most one byte per parking, so the pipe is never full; it fails only when the
            // thread is gone.
            let _ = (&self.pipe).write(&[1]);
        }
    }
}

/// The waiting side: owned by the thread that waits.
#[derive(Debug)]
pub(crate) struct Parker {
    pipe: PipeReader,
    signal: Arc<WakeSignal>,
}

impl Parker {
    pub(crate) fn new() -> io::Result<Self> {
        let (pipe, writer) = io::pipe()?;
        let signal = WakeSignal {
            pipe: writer,
            parked: AtomicBool::new(false),
            woken: AtomicBool::new(false),
            #[cfg(feature = "virtual-time")]
            sleeper: std::sync::Mutex::default(),
        };
        Ok(Self { pipe, signal: Arc::new(signal) })
    }

    pub(crate) fn signal(&self) -> &Arc<WakeSignal> {
        &self.signal
    }

    pub(crate) fn waker(&self) -> Waker {
        Waker(self.signal.clone())
    }

    /// Whether a [`Waker`] was used since the last call.
    pub(crate) fn take_woken(&self) -> bool {
        self.signal.woken.load(Ordering::SeqCst) && self.signal.woken.swap(false, Ordering::SeqCst)
    }

    /// Announces that this thread is going to block. Anything that happened before must be looked
    /// for **after** this call; anything later raises the signal.
    pub(crate) fn prepare(&self) {
        self.signal.parked.store(true, Ordering::SeqCst);
    }

    /// Does not block after all.
    pub(crate) fn cancel(&self) {
        self.signal.parked.store(false, Ordering::SeqCst);
    }

    /// Blocks until a socket is ready, the signal is raised or the deadline passes.
    pub(crate) fn park<'a>(
        &'a self,
        sockets: impl Iterator<Item = PollFd<'a>>,
        deadline: Instant,
    ) -> io::Result<()> {
        #[cfg(feature = "virtual-time")]
        if let Some(task) = crate::clock::world::current() {
            // Only links in memory: nobody rings for a socket.
            if let Ok(mut sleeper) = self.signal.sleeper.lock() {
                *sleeper = Some(task.clone());
            }
            task.park(Some(deadline));
            self.cancel();
            return Ok(());
        }
        let signal = Interest { read: true, write: false };
        let mut fds = vec![signal.poll_borrowed(self.pipe.as_fd())];
        fds.extend(sockets);
        let result = wait(&mut fds, deadline);
        self.cancel();
        if fds[0].revents().contains(PollFlags::IN) {
            // The poll says there is a byte and nobody else reads this pipe: this does not block.
            let _ = (&self.pipe).read(&mut [0; 16])?;
        }
        result
    }
}
