//! Inferences use memory again: once the first ones are over, no node asks for memory that grows
//! with model or batch, neither to deal nor online.
#![allow(clippy::unwrap_used)] // a failure here is a failed test

use amicus_field::Limbs;
use amicus_testkit::nets::Net;
use amicus_testkit::run::Setup;
use amicus_testkit::zoo;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What grows with the model is larger here, at this batch; nothing else is.
const LARGE: usize = 32 << 10;
const BATCH: u32 = 64;
/// Inferences that are counted, and as many before.
const INFERENCES: usize = 40;

/// The system's allocator, which counts what other threads than the test's ask of it.
struct Counting {
    on: AtomicBool,
    large: AtomicUsize,
}

#[global_allocator]
static COUNTING: Counting = Counting { on: AtomicBool::new(false), large: AtomicUsize::new(0) };

thread_local! {
    /// The test's own thread, which is the client's too.
    static APART: Cell<bool> = const { Cell::new(false) };
}

impl Counting {
    fn count(&self, bytes: usize) {
        // No thread-local values while a thread ends.
        if bytes >= LARGE && self.on.load(Ordering::SeqCst) && APART.try_with(Cell::get) == Ok(false) {
            self.large.fetch_add(1, Ordering::SeqCst);
        }
    }
}

// SAFETY: allocates as the system's allocator does; counting asks for no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size());
        // SAFETY: the caller's promise about the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size());
        // SAFETY: the caller's promise about the layout.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        self.count(bytes);
        // SAFETY: the caller's promise about block, layout and size.
        unsafe { System.realloc(block, layout, bytes) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise about block and layout.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Large blocks that the nodes asked for in so many inferences after the first ones.
fn large(net: Net) -> usize {
    let mut run = Setup::new(net, 2).batch(BATCH).tls().start();
    for _ in 0..INFERENCES {
        run.infer().unwrap();
    }
    COUNTING.large.store(0, Ordering::SeqCst);
    COUNTING.on.store(true, Ordering::SeqCst);
    for _ in 0..INFERENCES {
        run.infer().unwrap();
    }
    COUNTING.on.store(false, Ordering::SeqCst);
    run.finish();
    COUNTING.large.load(Ordering::SeqCst)
}

#[test]
fn memory_of_one_inference_serves_the_next() {
    APART.set(true);
    for (name, net) in
        [("convolutions", zoo::conv_net(Limbs::TWO)), ("largest of windows", zoo::maxima(Limbs::TWO))]
    {
        // What is dealt ahead and in flight together differs, and a new maximum takes memory once.
        let large = large(net);
        assert!(large < INFERENCES / 2, "{name}: {large} large blocks in {INFERENCES} inferences");
    }
}
