//! Memory of vectors: wiped when it is released, and kept for the next vector of the same length.
//!
//! Secrets are overwritten with zeros anyway, and a new vector has to be zero, so released memory
//! is a new vector for free: no second pass of zeros and no page faults, which together cost as
//! much as the cheaper kernels themselves (sampling 2 x 32 Ki residues takes 17.9 us instead of
//! 21.6). Inferences ask for the same lengths again and again. Every thread keeps a bounded amount,
//! and of a length no more than it had to make itself: vectors that another thread made come back
//! to no use here.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::{Deref, DerefMut};

use crate::kernels::{self, Aligned};

/// Words a thread keeps at most: 64 MiB. When more are released, all of them are given back and
/// keeping starts anew, so lengths that are not asked for any more do not stay.
const KEPT: usize = (64 << 20) / 8;

/// Shorter vectors cost less to make than to look up.
const SHORTEST: usize = 16;

/// Words that are wiped when they are dropped, the first of them at the start of a cache line.
pub(crate) struct Words {
    /// `None` only while it is dropped.
    words: Option<Aligned>,
}

#[derive(Default)]
struct Store {
    by_length: HashMap<usize, OfLength, BuildHasherDefault<LengthHasher>>,
    words: usize,
}

/// Zeros of a length.
#[derive(Default)]
struct OfLength {
    kept: Vec<Aligned>,
    /// How many this thread made because it kept none.
    made: usize,
}

/// Lengths are not chosen by strangers, so a multiplication (by 2^64 over the golden ratio) is hash
/// enough.
#[derive(Default)]
struct LengthHasher(u64);

impl Hasher for LengthHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_usize(usize::from(byte)));
    }

    fn write_usize(&mut self, length: usize) {
        self.0 = (self.0 ^ length as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

thread_local! {
    static STORE: RefCell<Store> = RefCell::default();
}

impl Words {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Words {
        let mut kept = None;
        if len >= SHORTEST {
            // No store while a thread ends.
            let _ = STORE.try_with(|store| {
                let mut store = store.borrow_mut();
                let of_length = store.by_length.entry(len).or_default();
                kept = of_length.kept.pop();
                of_length.made += usize::from(kept.is_none());
                store.words -= kept.as_deref().map_or(0, <[u64]>::len);
            });
        }
        debug_assert!(kept.iter().all(|words| words.iter().all(|&word| word == 0)));
        Words { words: Some(kept.unwrap_or_else(|| Aligned::zeros(len))) }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        let Some(mut words) = self.words.take() else { return };
        kernels::wipe(&mut words);
        let len = words.len();
        if (SHORTEST..=KEPT / 4).contains(&len) {
            // No store while a thread ends: the words are freed.
            let _ = STORE.try_with(|store| {
                let mut store = store.borrow_mut();
                if store.by_length.get(&len).is_none_or(|of| of.kept.len() >= of.made) {
                    return;
                }
                if store.words + len > KEPT {
                    *store = Store::default();
                }
                store.words += len;
                store.by_length.entry(len).or_default().kept.push(words);
            });
        }
    }
}

impl Deref for Words {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        self.words.as_deref().unwrap_or(&[])
    }
}

impl DerefMut for Words {
    fn deref_mut(&mut self) -> &mut [u64] {
        self.words.as_deref_mut().unwrap_or(&mut [])
    }
}

impl Clone for Words {
    fn clone(&self) -> Words {
        let mut copy = Words::zeros(self.len());
        copy.copy_from_slice(self);
        copy
    }
}

impl PartialEq for Words {
    fn eq(&self, other: &Words) -> bool {
        **self == **other
    }
}

impl Eq for Words {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_memory_is_reused_and_zero() {
        let mut words = Words::zeros(1000);
        words.fill(7);
        let address = words.as_ptr();
        drop(words);
        assert_eq!(Words::zeros(999).len(), 999);
        let again = Words::zeros(1000);
        assert_eq!(again.as_ptr(), address);
        assert!(again.iter().all(|&word| word == 0));
        let other = Words::zeros(1000);
        assert_ne!(other.as_ptr(), address);
    }

    #[test]
    fn memory_that_other_threads_made_is_given_back() {
        let mine = Words::zeros(2000);
        let theirs: Vec<Words> =
            (0..10).map(|_| std::thread::spawn(|| Words::zeros(2000)).join().unwrap()).collect();
        let before = STORE.with(|store| store.borrow().words);
        drop((mine, theirs));
        assert_eq!(STORE.with(|store| store.borrow().words), before + 2000);
        // Nothing stays of a length that this thread never asked for.
        drop(std::thread::spawn(|| Words::zeros(3000)).join().unwrap());
        assert_eq!(STORE.with(|store| store.borrow().words), before + 2000);
    }

    #[test]
    fn words_start_at_a_cache_line() {
        let all: Vec<Words> = [1, 7, 8, 9, 1000].map(Words::zeros).into();
        assert!(all.iter().all(|words| words.as_ptr().addr().is_multiple_of(64)));
        assert_eq!(Words::zeros(0).len(), 0);
    }

    #[test]
    fn a_thread_keeps_a_bounded_amount() {
        let kept = || STORE.with(|store| store.borrow().words);
        for _ in 0..20 {
            drop((Words::zeros(KEPT / 8), Words::zeros(KEPT / 16)));
            assert!(kept() <= KEPT);
        }
        let many: Vec<Words> = (0..20).map(|_| Words::zeros(KEPT / 8)).collect();
        drop(many);
        assert!(kept() > 0 && kept() <= KEPT);
        drop(Words::zeros(KEPT));
        assert!(kept() <= KEPT);
    }
}
