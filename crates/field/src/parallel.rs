//! Work that is split over threads which somebody else lends: this crate starts none.
//!
//! A thread that was lent [`Workers`] carries them ([`with_workers`]), and its larger pieces of
//! arithmetic are split over them; all other threads do the same work in place, in order. Results
//! are the same to the bit: parts never share an element, and sums of parts are sums of residues.
//!
//! Small work stays whole: to wake a thread takes 5 to 50 us, and what another core wrote lies in
//! that core's cache.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use crate::kernels::{Kernel, with_kernel};

/// Threads that do parts of a thread's work.
pub trait Workers {
    /// How many, the thread that is helped included.
    fn count(&self) -> usize;

    /// Calls `work` once with every number below `parts`, on any of the threads, and returns when
    /// all calls have returned.
    ///
    /// # Panics
    /// When a call did, after all others have returned.
    fn run(&self, parts: usize, work: &(dyn Fn(usize) + Sync));
}

/// Parts of a piece of work for each thread: some threads begin later than others.
const PARTS: usize = 4;

/// Residues of a part at least where each costs about as much as memory gives it: 15 to 20 us.
pub(crate) const LIGHT: usize = 64 << 10;

/// Parts at least, or work stays whole: what it takes to begin and to wait for each other is to be
/// small beside it.
const FEWEST: usize = 4;

thread_local! {
    static WORKERS: RefCell<Option<Rc<dyn Workers>>> = const { RefCell::new(None) };
}

/// Puts back what a thread carried.
struct Restore(Option<Rc<dyn Workers>>);

impl Drop for Restore {
    fn drop(&mut self) {
        // No handle while a thread ends.
        let _ = WORKERS.try_with(|workers| workers.replace(self.0.take()));
    }
}

/// Runs `f` on this thread, with threads that its larger work is split over.
pub fn with_workers<T>(workers: Rc<dyn Workers>, f: impl FnOnce() -> T) -> T {
    let _restore = Restore(WORKERS.replace(Some(workers)));
    f()
}

/// Threads that this thread's work may be split over, itself included.
pub fn threads() -> usize {
    WORKERS.with_borrow(|workers| workers.as_ref().map_or(1, |workers| workers.count().max(1)))
}

/// How planes of one length are split.
#[derive(Clone, Copy)]
pub(crate) struct Split {
    /// Elements of a part of a plane, a multiple of 64 or all of them. Never 0.
    pub(crate) part: usize,
    /// Nothing is split: not even planes are given to threads of their own.
    whole: bool,
}

/// Splits `planes` of `len` elements, where a part is to have `grain` at least: not at all on a thread
/// without workers.
pub(crate) fn split(len: usize, planes: usize, grain: usize) -> Split {
    match parts(len.saturating_mul(planes), grain) {
        1 => Split { part: len.max(1), whole: true },
        parts => {
            let of_plane = parts.div_ceil(planes.max(1));
            Split { part: len.div_ceil(of_plane).next_multiple_of(64), whole: false }
        }
    }
}

impl Split {
    /// Does `work` with every part, those of all planes.
    pub(crate) fn for_each<T: Send>(self, parts: impl IntoIterator<Item = T>, work: impl Fn(T) + Sync) {
        if self.whole { parts.into_iter().for_each(work) } else { for_each(parts, work) }
    }
}

/// How many elements of `len` one part has, as of one plane that is [`split`].
pub(crate) fn part_len(len: usize, grain: usize) -> usize {
    split(len, 1, grain).part
}

/// Into how many parts work of `cost` is split, where a part is to cost `grain` at least: one on a
/// thread without workers.
pub(crate) fn parts(cost: usize, grain: usize) -> usize {
    let most = cost / grain.max(1);
    if most < FEWEST {
        return 1;
    }
    match threads() {
        1 => 1,
        threads => most.min(threads * PARTS),
    }
}

/// Does `work` with every part: on this thread's workers, if it has any and there is more than one
/// part, else in place and in order. Within `work` nothing is split further.
///
/// # Panics
/// When `work` does.
pub fn for_each<T: Send>(parts: impl IntoIterator<Item = T>, work: impl Fn(T) + Sync) {
    let Some(workers) = WORKERS.with_borrow(Clone::clone) else {
        return parts.into_iter().for_each(work);
    };
    let parts: Vec<Mutex<Option<T>>> = parts.into_iter().map(|part| Mutex::new(Some(part))).collect();
    let take = |part: &Mutex<Option<T>>| part.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let [part] = &parts[..] {
        return take(part).into_iter().for_each(work);
    }
    let kernel = Kernel::active();
    let _restore = Restore(WORKERS.take());
    workers.run(parts.len(), &|number| {
        if let Some(part) = take(&parts[number]) {
            with_kernel(kernel, || work(part));
        }
    });
}

/// What `work` gives for every part, in order; done as [`for_each`] does it.
///
/// # Panics
/// When `work` does.
pub fn map<T: Send, R: Send>(parts: impl IntoIterator<Item = T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    if threads() == 1 {
        return parts.into_iter().map(work).collect();
    }
    let mut all: Vec<(Option<T>, Option<R>)> = parts.into_iter().map(|part| (Some(part), None)).collect();
    for_each(&mut all, |(part, result)| *result = part.take().map(&work));
    all.into_iter().filter_map(|(_, result)| result).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Threads of their own for every piece of work: slow, and enough for tests.
    pub(crate) struct Scoped(pub(crate) usize);

    impl Workers for Scoped {
        fn count(&self) -> usize {
            self.0
        }

        fn run(&self, parts: usize, work: &(dyn Fn(usize) + Sync)) {
            let next = AtomicUsize::new(0);
            let worker = || {
                while let Some(part) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&n| n < parts) {
                    work(part);
                }
            };
            std::thread::scope(|scope| {
                (1..self.0).for_each(|_| _ = scope.spawn(worker));
                worker();
            });
        }
    }

    #[test]
    fn every_part_is_done_once_and_alone_it_is_done_in_order() {
        for count in [0, 1, 2, 100] {
            let mut done = vec![0; count];
            for_each(done.iter_mut().enumerate(), |(n, done)| *done += n);
            let expected: Vec<usize> = (0..count).collect();
            assert_eq!(done, expected);
            for threads in [2, 3, 7] {
                let mut done = vec![0; count];
                with_workers(Rc::new(Scoped(threads)), || {
                    for_each(done.iter_mut().enumerate(), |(n, done)| *done += n);
                });
                assert_eq!(done, expected);
            }
        }
    }

    #[test]
    fn workers_are_carried_by_one_thread_for_a_while() {
        assert_eq!(threads(), 1);
        with_workers(Rc::new(Scoped(3)), || {
            assert_eq!(threads(), 3);
            std::thread::scope(|scope| {
                scope.spawn(|| assert_eq!(threads(), 1));
            });
            // One part may be split further, several are not.
            for_each([()], |()| assert_eq!(threads(), 3));
            for_each([(), ()], |()| assert_eq!(threads(), 1));
            assert_eq!(threads(), 3);
        });
        assert_eq!(threads(), 1);
    }

    #[test]
    fn workers_run_the_kernel_of_the_thread_that_they_help() {
        for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
            with_kernel(kernel, || {
                with_workers(Rc::new(Scoped(3)), || {
                    for_each(0..30, |_| assert_eq!(Kernel::active(), kernel));
                });
            });
        }
    }

    #[test]
    fn a_panic_of_a_part_reaches_the_thread_which_goes_on() {
        with_workers(Rc::new(Scoped(3)), || {
            let panics = || for_each(0..10, |part| assert_ne!(part, 5));
            assert!(std::panic::catch_unwind(panics).is_err());
            assert_eq!(threads(), 3);
            let done = AtomicUsize::new(0);
            for_each(0..10, |_| _ = done.fetch_add(1, Ordering::Relaxed));
            assert_eq!(done.into_inner(), 10);
        });
    }

    #[test]
    fn parts_are_neither_too_small_nor_too_many() {
        for (len, grain) in [(0, 10), (1, 10), (39, 10), (1000, 600), (1 << 20, 1 << 10)] {
            assert_eq!(part_len(len, grain), len.max(1));
        }
        with_workers(Rc::new(Scoped(3)), || {
            assert_eq!(part_len(0, 10), 1);
            assert_eq!(part_len(39, 10), 39);
            assert_eq!(part_len(400, 100), 128);
            // Many short planes are not split further, few long ones are.
            assert_eq!(split(1000, 40, 100).part, 1024);
            assert_eq!(split(6 << 10, 2, 1).part, 1 << 10);
            let (done, here) = (AtomicUsize::new(0), std::thread::current().id());
            // What is too small for parts is done here, all planes of it.
            split(100, 3, 100).for_each(0..3, |_| {
                assert_eq!(std::thread::current().id(), here);
                done.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(done.into_inner(), 3);
            assert_eq!(part_len(1 << 20, 1 << 17), 1 << 17);
            assert_eq!(part_len(1 << 20, 1), (1usize << 20).div_ceil(12).next_multiple_of(64));
        });
    }
}
