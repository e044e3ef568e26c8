//! What a call leaves on the stack, overwritten when it returns.

/// Bytes that are overwritten: more than it takes to derive a key.
const DEPTH: usize = 16 << 10;

/// Does `work`, then overwrites 16 KiB of the stack that it had.
///
/// Values leave copies where they are moved from, hash functions their state and output. Another
/// value comes to lie there, is moved to the heap with the bytes of it that nobody uses (those of
/// the larger variants of an enum, say), and carries the copies on: there they outlive all that is
/// wiped. So whoever makes a secret that has a place of its own makes it here.
pub fn with_wiped_stack<T>(work: impl FnOnce() -> T) -> T {
    let made = apart(work);
    overwrite();
    made
}

/// What `work` gives, from a frame of its own.
#[inline(never)]
fn apart<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Takes a frame where that of [`apart`] was, and fills it with zeros.
#[inline(never)]
fn overwrite() {
    let frame = [0; DEPTH];
    zeroize::optimization_barrier(&frame);
}
