//! The time of a node and its waiting: the operating system's, or that of a `World` of threads.
//!
//! Nodes ask for the time, sleep, start threads and wait for channels through these functions only.
//! Outside a world each is the standard library's; inside one, which exists for tests, time passes
//! when everybody waits.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

#[cfg(feature = "virtual-time")]
pub mod world;

/// The present time.
pub fn now() -> Instant {
    #[cfg(feature = "virtual-time")]
    if let Some(task) = world::current() {
        return task.now();
    }
    Instant::now()
}

/// The time of day, which operators and time servers set: it may jump, forwards and backwards. For
/// dates that outlive a process and to be shown; nothing is waited for by it.
#[expect(clippy::disallowed_methods, reason = "the one place that asks")]
pub fn of_day() -> SystemTime {
    #[cfg(feature = "virtual-time")]
    if let Some(task) = world::current() {
        return task.of_day();
    }
    SystemTime::now()
}

/// Time that has passed since an instant.
pub fn since(start: Instant) -> Duration {
    now().saturating_duration_since(start)
}

/// Whether time passes only when everybody waits.
pub(crate) fn is_virtual() -> bool {
    #[cfg(feature = "virtual-time")]
    return world::current().is_some();
    #[cfg(not(feature = "virtual-time"))]
    false
}

/// Waits for a time.
pub fn sleep(time: Duration) {
    #[cfg(feature = "virtual-time")]
    if let Some(task) = world::current() {
        let until = task.now() + time;
        while task.now() < until {
            task.park(Some(until));
        }
        return;
    }
    std::thread::sleep(time);
}

/// Waits for a value of a channel until a deadline.
///
/// # Errors
/// What [`Receiver::recv_timeout`] says: the deadline came, or nobody can send any more.
pub fn receive<T>(receiver: &Receiver<T>, deadline: Instant) -> Result<T, RecvTimeoutError> {
    #[cfg(feature = "virtual-time")]
    if let Some(task) = world::current() {
        return task.receive(receiver, deadline);
    }
    receiver.recv_timeout(deadline.saturating_duration_since(Instant::now()))
}

/// Starts a thread that belongs where this one does.
///
/// # Errors
/// When the operating system gives no thread.
pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let builder = Builder::new().name(name.to_owned());
    #[cfg(feature = "virtual-time")]
    if let Some(task) = world::current() {
        return task.spawn(builder, name, work);
    }
    builder.spawn(work)
}

/// Waits for a thread's end.
pub fn join(thread: JoinHandle<()>) {
    #[cfg(feature = "virtual-time")]
    if let Some(task) = world::current() {
        task.wait_for_end(thread.thread().id());
    }
    // A thread that panicked has ended too.
    let _ = thread.join();
}
