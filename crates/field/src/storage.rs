//! Memory of vectors: wiped when it is released, and kept for the next vector of the same length.
//!
//! Secrets are overwritten with zeros anyway, and a new vector has to be zero, so released memory is a new
//! vector for free: no second pass of zeros and no page faults, which together cost as much as the cheaper
//! kernels themselves (sampling 2 x 32 Ki residues takes YY us with and ZZ us without). Inferences ask for
//! the same lengths again and again. Every thread keeps a bounded amount.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::kernels;

/// Words a thread keeps at most: 64 MiB. When more are released, all of them are given back and keeping
/// starts anew, so lengths that are not asked for any more do not stay.
const KEPT: usize = (64 << 20) / 8;

/// Shorter vectors cost less to make than to look up.
const SHORTEST: usize = 512;

#[derive(Default)]
struct Store {
    /// Vectors of zeros by their length, which is their capacity.
    by_length: HashMap<usize, Vec<Vec<u64>>>,
    words: usize,
}

thread_local! {
    static STORE: RefCell<Store> = RefCell::default();
}

/// `len` zeros.
pub(crate) fn zeros(len: usize) -> Vec<u64> {
    if len >= SHORTEST {
        // No store while a thread ends.
        let kept = STORE.try_with(|store| {
            let mut store = store.borrow_mut();
            let vector = store.by_length.get_mut(&len)?.pop()?;
            store.words -= len;
            Some(vector)
        });
        if let Ok(Some(vector)) = kept {
            debug_assert!(vector.iter().all(|&word| word == 0));
            return vector;
        }
    }
    vec![0; len]
}

/// Wipes a vector and keeps its memory, if it is not too much.
pub(crate) fn release(mut words: Vec<u64>) {
    kernels::wipe(&mut words);
    let len = words.len();
    if (SHORTEST..=KEPT / 4).contains(&len) && words.capacity() == len {
        // No store while a thread ends: the vector is freed.
        let _ = STORE.try_with(|store| {
            let mut store = store.borrow_mut();
            if store.words + len > KEPT {
                *store = Store::default();
            }
            store.words += len;
            store.by_length.entry(len).or_default().push(words);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_memory_is_reused_and_zero() {
        let mut vector = zeros(1000);
        vector.fill(7);
        let address = vector.as_ptr();
        release(vector);
        assert_eq!(zeros(999).len(), 999);
        let again = zeros(1000);
        assert_eq!(again.as_ptr(), address);
        assert!(again.iter().all(|&word| word == 0));
        let other = zeros(1000);
        assert_ne!(other.as_ptr(), address);
    }

    #[test]
    fn a_thread_keeps_a_bounded_amount() {
        let kept = || STORE.with(|store| store.borrow().words);
        for _ in 0..20 {
            release(vec![1; KEPT / 8]);
            assert!(kept() <= KEPT);
        }
        assert!(kept() > 0);
        release(vec![1; KEPT]);
        assert!(kept() <= KEPT);
    }
}
