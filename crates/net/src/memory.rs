//! Links inside one process: whole frames handed over through a queue, for tests and for roles that
//! share a process.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Frame;
use crate::error::Failure;
use crate::frame::{FRAME_COST, HEADER, Inbox};
use crate::poll::WakeSignal;

/// One direction.
#[derive(Default)]
struct Pipe {
    frames: VecDeque<Frame>,
    /// What these frames cost.
    cost: usize,
    closed: bool,
    /// Whom to tell when something arrives.
    reader: Option<Reader>,
}

/// Who reads a direction.
#[derive(Clone)]
enum Reader {
    /// A thread that waits for its links.
    Thread(Arc<WakeSignal>),
    /// Whoever holds a port.
    Port(Arc<dyn Fn() + Send + Sync>),
}

/// One end of an in-memory link.
pub(crate) struct MemoryEnd {
    inward: Arc<Mutex<Pipe>>,
    outward: Arc<Mutex<Pipe>>,
    max_frame: usize,
    sent: u64,
    received: u64,
}

impl MemoryEnd {
    pub(crate) fn pair(max_frame: usize) -> (Self, Self) {
        let (a, b) = (Arc::<Mutex<Pipe>>::default(), Arc::<Mutex<Pipe>>::default());
        let end = |inward: &Arc<Mutex<Pipe>>, outward: &Arc<Mutex<Pipe>>| Self {
            inward: inward.clone(),
            outward: outward.clone(),
            max_frame,
            sent: 0,
            received: 0,
        };
        (end(&a, &b), end(&b, &a))
    }

    pub(crate) fn set_max_frame(&mut self, bytes: usize) {
        self.max_frame = bytes;
    }

    pub(crate) fn wire_bytes(&self) -> (u64, u64) {
        (self.sent, self.received)
    }

    pub(crate) fn attach(&mut self, signal: &Arc<WakeSignal>) {
        lock(&self.inward).reader = Some(Reader::Thread(signal.clone()));
    }

    /// Has `arrived` called, by the thread that sends, whenever something arrives.
    pub(crate) fn call(&mut self, arrived: Arc<dyn Fn() + Send + Sync>) {
        lock(&self.inward).reader = Some(Reader::Port(arrived));
    }

    /// Whether neither end has closed.
    pub(crate) fn is_open(&self) -> bool {
        !lock(&self.inward).closed
    }

    /// The next frame that has arrived.
    pub(crate) fn take(&mut self) -> Result<Option<Frame>, Failure> {
        let mut pipe = lock(&self.inward);
        match pipe.frames.pop_front() {
            Some(frame) => {
                pipe.cost -= frame.len() + FRAME_COST;
                self.received += (HEADER + frame.len()) as u64;
                Ok(Some(frame))
            }
            None if pipe.closed => Err(Failure::Closed),
            None => Ok(None),
        }
    }

    /// What the frames cost that the other end has not taken.
    pub(crate) fn unsent(&self) -> usize {
        lock(&self.outward).cost
    }

    pub(crate) fn send(&mut self, frame: Frame) -> Result<(), Failure> {
        let mut pipe = lock(&self.outward);
        if pipe.closed {
            return Err(Failure::Closed);
        }
        self.sent += (HEADER + frame.len()) as u64;
        pipe.cost += frame.len() + FRAME_COST;
        pipe.frames.push_back(frame);
        ring(pipe);
        Ok(())
    }

    pub(crate) fn pump(&mut self, inbox: &mut Inbox) -> Result<bool, Failure> {
        let mut pipe = lock(&self.inward);
        let mut progress = false;
        while !inbox.is_full() {
            let Some(frame) = pipe.frames.pop_front() else {
                return if pipe.closed { Err(Failure::Closed) } else { Ok(progress) };
            };
            pipe.cost -= frame.len() + FRAME_COST;
            if frame.len() > self.max_frame {
                return Err(Failure::TooLong { announced: frame.len(), limit: self.max_frame });
            }
            self.received += (HEADER + frame.len()) as u64;
            inbox.push(frame);
            progress = true;
        }
        Ok(progress)
    }

    /// Takes back what the other end has not taken.
    pub(crate) fn forget_unsent(&mut self) {
        let mut pipe = lock(&self.outward);
        pipe.frames.clear();
        pipe.cost = 0;
    }

    /// Closes both directions; what is on its way to the peer still arrives.
    pub(crate) fn close(&mut self) {
        for pipe in [&self.inward, &self.outward] {
            let mut pipe = lock(pipe);
            pipe.closed = true;
            ring(pipe);
        }
    }
}

/// Rings after unlocking: the reader that wakes up needs the lock.
fn ring(pipe: MutexGuard<'_, Pipe>) {
    let reader = pipe.reader.clone();
    drop(pipe);
    match reader {
        Some(Reader::Thread(signal)) => signal.ring(),
        Some(Reader::Port(arrived)) => arrived(),
        None => {}
    }
}

/// A thread that panicked while holding the lock left the queue whole: every change is one push or
/// pop.
fn lock(pipe: &Mutex<Pipe>) -> MutexGuard<'_, Pipe> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}
