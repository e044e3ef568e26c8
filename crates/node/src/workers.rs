//! Threads that do parts of a node thread's arithmetic, where a node is given more than one for
//! each.

use crate::NodeError;
use amicus_field::parallel::{Workers, with_workers};
use amicus_net::NetError;
use rayon::ThreadPool;
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use std::io;
use std::rc::Rc;
use std::thread::{Builder, JoinHandle};

/// Most threads of one thread's work.
pub const MAX_THREADS: usize = 256;

/// The calling thread and others. They end when this is dropped.
struct Pool {
    /// None only while it is dropped.
    threads: Option<ThreadPool>,
    count: usize,
    others: Vec<JoinHandle<()>>,
}

impl Pool {
    /// A thread is part of one pool in its life: what belongs to it there stays until the process
    /// ends.
    fn new(name: &str, count: usize) -> Result<Self, NodeError> {
        let mut others = Vec::with_capacity(count - 1);
        let spawn = |thread: rayon::ThreadBuilder| -> io::Result<()> {
            let name = format!("{name} {}", thread.index() + 1);
            others.push(Builder::new().name(name).spawn(|| thread.run())?);
            Ok(())
        };
        // The calling thread does its share, so that work never waits for a thread to wake up.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(count).use_current_thread();
        match pool.spawn_handler(spawn).build() {
            Ok(threads) => Ok(Pool { threads: Some(threads), count, others }),
            Err(error) => {
                let (context, message) = (format!("starting threads of {name}"), error.to_string());
                Err(NetError::Io { context, kind: io::ErrorKind::Other, message }.into())
            }
        }
    }
}

impl Workers for Pool {
    fn count(&self) -> usize {
        self.count
    }

    fn run(&self, parts: usize, work: &(dyn Fn(usize) + Sync)) {
        if let Some(threads) = &self.threads {
            threads.install(|| (0..parts).into_par_iter().with_max_len(1).for_each(work));
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        drop(self.threads.take());
        // They take no part in the time of tests.
        self.others.drain(..).for_each(|thread| _ = thread.join());
    }
}

/// Does the work of a thread with so many threads for its arithmetic, itself included; one and none
/// are the same. A thread can have others once in its life.
///
/// # Errors
/// When the operating system gives no threads.
pub fn with_threads<T>(name: &str, count: usize, work: impl FnOnce() -> T) -> Result<T, NodeError> {
    match count.min(MAX_THREADS) {
        0 | 1 => Ok(work()),
        count => {
            let pool = Rc::new(Pool::new(name, count)?);
            Ok(with_workers(pool, work))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amicus_field::parallel;
    use std::collections::BTreeSet;
    use std::panic::catch_unwind;
    use std::sync::Mutex;
    use std::thread;
    use std::time::Duration;

    fn on_a_thread(work: impl FnOnce() + Send + 'static) {
        thread::Builder::new().name("node".into()).spawn(work).unwrap().join().unwrap();
    }

    #[test]
    fn one_thread_is_the_calling_one() {
        on_a_thread(|| {
            for count in [0, 1] {
                assert_eq!(with_threads("a", count, parallel::threads).unwrap(), 1);
            }
        });
    }

    #[test]
    fn parts_are_done_by_the_calling_thread_and_others_which_end_with_it() {
        on_a_thread(|| {
            let seen = Mutex::new(BTreeSet::new());
            with_threads("a", 3, || {
                assert_eq!(parallel::threads(), 3);
                parallel::for_each(0..30, |_| {
                    thread::sleep(Duration::from_millis(5));
                    seen.lock().unwrap().insert(thread::current().name().map(str::to_owned));
                });
            })
            .unwrap();
            let seen = seen.into_inner().unwrap();
            assert!(seen.len() <= 3, "{seen:?}");
            assert!(seen.contains(&Some("node".into())) && seen.contains(&Some("a 2".into())), "{seen:?}");
            assert_eq!(parallel::threads(), 1);
        });
    }

    #[test]
    fn a_part_that_panics_hangs_nobody() {
        on_a_thread(|| {
            with_threads("a", 3, || {
                for _ in 0..10 {
                    let fails = || parallel::for_each(0..8, |part| assert_ne!(part, 6));
                    assert!(catch_unwind(fails).is_err());
                    assert_eq!(parallel::map(0..8, |part| 2 * part), [0, 2, 4, 6, 8, 10, 12, 14]);
                }
            })
            .unwrap();
            // And where nobody catches it, the threads end.
            let fails = || with_threads("b", 3, || parallel::for_each(0..8, |part| assert_ne!(part, 6)));
            assert!(thread::spawn(fails).join().is_err());
        });
    }
}
