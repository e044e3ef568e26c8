//! A world of threads with a time of its own, for tests: one thread runs at a time, and time passes
//! only when all wait.
//!
//! A thread runs until it waits; which of those that can go on is next, a seed decides. When nobody
//! can, the time of the earliest deadline comes. So a run of many real nodes is repeatable, an hour
//! of silence takes no time, and no deadline is ever missed because a machine is busy.

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle, ThreadId};
use std::time::{Duration, Instant, SystemTime};

/// Turns after which a world that gets nowhere is given up.
const TURNS: u64 = 2_000_000;
/// First pause of a thread that waits for a channel, which nobody rings for.
const GLANCE: Duration = Duration::from_millis(1);
/// Longest such pause.
const LONG_GLANCE: Duration = Duration::from_secs(1);
/// The time of day at which a world begins, since 1970.
const BEGINNING: Duration = Duration::from_secs(2_000_000_000);

thread_local! {
    static CURRENT: RefCell<Option<Task>> = const { RefCell::new(None) };
}

/// The task that the calling thread is, inside a world.
pub(crate) fn current() -> Option<Task> {
    CURRENT.with_borrow(Clone::clone)
}

/// The calling thread's world, which ends when this is dropped. All other threads must have ended
/// then.
///
/// A world in which nothing can happen any more, or which goes on for ever, panics in this thread.
#[derive(Debug)]
pub struct World(Task);

/// A thread of a world.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    world: Arc<Shared>,
    number: usize,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    now: Duration,
    /// The time of day at the beginning, moved whenever it is set.
    midnight: SystemTime,
    turns: u64,
    random: u64,
    threads: Vec<Thread>,
    panics: Vec<String>,
    /// Nothing can happen any more, or too much did: the first thread is to say so.
    stuck: bool,
    /// Threads that could go on, the ones that wait for quiet apart.
    ready: VecDeque<usize>,
}

#[derive(Debug)]
struct Thread {
    name: String,
    id: Option<ThreadId>,
    what: What,
    /// Runs only when no other thread can.
    patient: bool,
    turn: Arc<Condvar>,
    /// Threads that wait for the end of this one.
    joining: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Ready,
    Running,
    Parked(Option<Duration>),
    Ended,
}

impl World {
    /// A world in which the calling thread is the first, and whose turns follow from a seed.
    pub fn enter(seed: u64) -> Self {
        let state = State {
            now: Duration::ZERO,
            midnight: SystemTime::UNIX_EPOCH + BEGINNING,
            turns: 0,
            random: seed,
            threads: vec![Thread::new("first", What::Running)],
            panics: Vec::new(),
            stuck: false,
            ready: VecDeque::new(),
        };
        let world = Arc::new(Shared { start: Instant::now(), state: Mutex::new(state) });
        let task = Task { world, number: 0 };
        CURRENT.set(Some(task.clone()));
        World(task)
    }

    /// What threads said that panicked so far.
    pub fn panics(&self) -> Vec<String> {
        self.0.lock().panics.clone()
    }

    /// Turns that threads had so far.
    pub fn turns(&self) -> u64 {
        self.0.lock().turns
    }

    /// Sets the time of day forwards; threads that wait notice nothing.
    pub fn set_forwards(&self, by: Duration) {
        self.0.lock().midnight += by;
    }

    /// Sets the time of day back.
    pub fn set_back(&self, by: Duration) {
        self.0.lock().midnight -= by;
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.0.lock().now
    }
}

impl Drop for World {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

/// Lets the other threads of this one's world run first.
pub fn pause() {
    if let Some(task) = current() {
        let mut state = task.lock();
        state.threads[task.number].what = What::Ready;
        state.ready.push_back(task.number);
        state.next();
        task.wait_for_turn(state);
    }
}

/// Lets the calling thread run only when no other thread of its world can: it sees all that others
/// do first.
pub fn be_patient(patient: bool) {
    if let Some(task) = current() {
        task.lock().threads[task.number].patient = patient;
    }
}

impl Thread {
    fn new(name: &str, what: What) -> Self {
        Thread {
            name: name.to_owned(),
            id: None,
            what,
            patient: false,
            turn: Arc::default(),
            joining: Vec::new(),
        }
    }
}

impl Task {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panics does so outside, in the thread's own work.
        self.world.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Instant {
        self.world.start + self.lock().now
    }

    pub(crate) fn of_day(&self) -> SystemTime {
        let state = self.lock();
        state.midnight + state.now
    }

    /// Waits until somebody wakes this thread or the deadline comes.
    pub(crate) fn park(&self, deadline: Option<Instant>) {
        let deadline = deadline.map(|at| at.saturating_duration_since(self.world.start));
        let mut state = self.lock();
        state.threads[self.number].what = What::Parked(deadline);
        state.next();
        self.wait_for_turn(state);
    }

    fn wait_for_turn(&self, mut state: MutexGuard<'_, State>) {
        let turn = Arc::clone(&state.threads[self.number].turn);
        while state.threads[self.number].what != What::Running {
            state = turn.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.stuck && self.number == 0 {
            let threads: Vec<String> =
                state.threads.iter().map(|t| format!("{}: {:?}", t.name, t.what)).collect();
            drop(state);
            panic!("the world gets nowhere: {threads:?}");
        }
    }

    /// Lets a parked thread go on; any other is not asleep.
    pub(crate) fn wake(&self) {
        self.lock().wake(self.number);
    }

    pub(crate) fn receive<T>(
        &self,
        receiver: &Receiver<T>,
        deadline: Instant,
    ) -> Result<T, RecvTimeoutError> {
        let mut pause = GLANCE;
        loop {
            match receiver.try_recv() {
                Ok(value) => return Ok(value),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) if self.now() >= deadline => return Err(RecvTimeoutError::Timeout),
                Err(TryRecvError::Empty) => self.park(Some(deadline.min(self.now() + pause))),
            }
            pause = (2 * pause).min(LONG_GLANCE);
        }
    }

    pub(crate) fn spawn(
        &self,
        builder: Builder,
        name: &str,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let mut state = self.lock();
        let task = Task { world: Arc::clone(&self.world), number: state.threads.len() };
        let number = task.number;
        let handle = builder.spawn(move || {
            CURRENT.set(Some(task.clone()));
            task.wait_for_turn(task.lock());
            let result = catch_unwind(AssertUnwindSafe(work));
            task.end(result.err());
        })?;
        let mut thread = Thread::new(name, What::Ready);
        thread.id = Some(handle.thread().id());
        state.threads.push(thread);
        state.ready.push_back(number);
        Ok(handle)
    }

    fn end(&self, panic: Option<Box<dyn Any + Send>>) {
        let mut state = self.lock();
        if let Some(panic) = panic {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            let words = words.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
            let words = format!("{}: {words}", state.threads[self.number].name);
            state.panics.push(words);
        }
        state.threads[self.number].what = What::Ended;
        for waiting in std::mem::take(&mut state.threads[self.number].joining) {
            state.wake(waiting);
        }
        state.next();
    }

    pub(crate) fn wait_for_end(&self, thread: ThreadId) {
        loop {
            let mut state = self.lock();
            let found = state.threads.iter_mut().find(|t| t.id == Some(thread) && t.what != What::Ended);
            let Some(found) = found else { return };
            found.joining.push(self.number);
            drop(state);
            self.park(None);
        }
    }
}

impl State {
    fn wake(&mut self, number: usize) {
        if let What::Parked(_) = self.threads[number].what {
            self.threads[number].what = What::Ready;
            self.ready.push_back(number);
        }
    }

    /// Gives the turn to another thread.
    fn next(&mut self) {
        self.turns += 1;
        if self.ready.is_empty() {
            self.let_time_pass();
        }
        if self.turns > TURNS || self.ready.is_empty() {
            self.stuck = true;
            self.threads[0].what = What::Running;
            self.threads[0].turn.notify_one();
            return;
        }
        let eager: Vec<usize> =
            (0..self.ready.len()).filter(|&at| !self.threads[self.ready[at]].patient).collect();
        let choice = self.below(eager.len().max(1));
        let at = eager.get(choice).copied().unwrap_or(0);
        if let Some(number) = self.ready.remove(at) {
            self.threads[number].what = What::Running;
            self.threads[number].turn.notify_one();
        }
    }

    /// The earliest deadline comes.
    fn let_time_pass(&mut self) {
        let deadlines = self.threads.iter().filter_map(|t| match t.what {
            What::Parked(deadline) => deadline,
            _ => None,
        });
        let Some(earliest) = deadlines.min() else { return };
        self.now = self.now.max(earliest);
        for number in 0..self.threads.len() {
            if self.threads[number].what == What::Parked(Some(earliest)) {
                self.wake(number);
            }
        }
    }

    /// SplitMix64, below `n`.
    fn below(&mut self, n: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.random;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % n as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::super::{join, now, receive, since, sleep, spawn};
    use super::World;
    use crate::{Event, Link, Mesh};
    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    const HOUR: Duration = Duration::from_secs(3600);

    /// Two threads and this one answer each other over links; the order in which they got to it.
    fn order(seed: u64) -> Vec<usize> {
        let world = World::enter(seed);
        let mut mesh = Mesh::new().unwrap();
        let threads: Vec<_> = (0..3)
            .map(|key| {
                let (here, mut there) = Link::pair("here", "there");
                mesh.insert(key, here);
                spawn("thread", move || {
                    for _ in 0..5 {
                        there.send(&[b"frame"]).unwrap();
                        sleep(HOUR);
                    }
                })
                .unwrap()
            })
            .collect();
        let order = (0..15).map(|_| match mesh.recv(now() + 2 * HOUR).unwrap() {
            Event::Frame { key, .. } => key,
            other => panic!("{other:?}"),
        });
        let order = order.collect();
        threads.into_iter().for_each(join);
        assert!(world.elapsed() == 5 * HOUR && world.panics().is_empty());
        order
    }

    #[test]
    fn time_passes_when_all_wait_and_turns_follow_from_the_seed() {
        let started = Instant::now();
        let orders: Vec<_> = (0..20).map(order).collect();
        assert!(started.elapsed() < HOUR);
        assert_eq!(order(7), orders[7]);
        assert!(orders.iter().any(|o| *o != orders[0]));
        // Outside it is the operating system's time.
        assert!(since(now()) < HOUR);
    }

    #[test]
    fn channels_and_panics_inside_a_world() {
        let world = World::enter(1);
        let (sender, receiver) = channel();
        let started = now();
        assert!(receive::<u8>(&receiver, started + HOUR).is_err());
        assert_eq!(since(started), HOUR);
        let thread = spawn("sender", move || {
            sleep(HOUR);
            sender.send(1).unwrap();
            panic!("on purpose");
        });
        assert_eq!(receive(&receiver, now() + 2 * HOUR), Ok(1));
        join(thread.unwrap());
        assert_eq!(world.panics(), ["sender: on purpose"]);
    }
}
