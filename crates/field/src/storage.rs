//! Memory of vectors: wiped when it is released, and kept for the next vector of the same length.
//!
//! Secrets are overwritten with zeros anyway, and a new vector has to be zero, so released memory
//! is a new vector for free: no second pass of zeros and no page faults, which together cost as
//! much as the cheaper kernels themselves (sampling 2 x 32 Ki residues takes 17.9 us instead of
//! 21.6). Inferences ask for the same lengths again and again.
//!
//! Every thread keeps what it released and may ask for again, of a length no more than it had to
//! make itself. What one thread makes and another releases, as material that is dealt on one and
//! used up on the other, goes through a store of the whole process.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use crate::kernels::{self, Aligned};

/// Words a thread keeps at most: 64 MiB. When more are released, all of them are given back and
/// keeping starts anew, so lengths that are not asked for any more do not stay.
const KEPT: usize = (64 << 20) / 8;

/// Words that the process keeps at most, or half as many as are in use, where that is more: 256
/// MiB. Then lengths that have not been asked for the longest are given back.
const SHARED: usize = (256 << 20) / 8;

/// Shorter vectors cost less to make than to look up.
const SHORTEST: usize = 16;

/// Shorter vectors are not worth a lock that other threads may hold.
const SHORTEST_SHARED: usize = 1024;

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

/// What threads made for each other.
#[derive(Default)]
struct SharedStore {
    by_length: HashMap<usize, Released, BuildHasherDefault<LengthHasher>>,
    words: usize,
    /// Counts what is taken and released.
    now: u64,
}

/// Zeros of a length, and when one was last asked for or released.
#[derive(Default)]
struct Released {
    kept: Vec<Aligned>,
    used: u64,
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

static SHARED_STORE: LazyLock<Mutex<SharedStore>> = LazyLock::new(Mutex::default);

/// Words of vectors in use that are long enough to be shared.
static IN_USE: AtomicUsize = AtomicUsize::new(0);

/// Every change leaves the store whole, so it can be used after a thread panicked.
fn shared() -> MutexGuard<'static, SharedStore> {
    SHARED_STORE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SharedStore {
    fn take(&mut self, len: usize) -> Option<Aligned> {
        self.now += 1;
        let of_length = self.by_length.get_mut(&len)?;
        of_length.used = self.now;
        let words = of_length.kept.pop()?;
        self.words -= len;
        Some(words)
    }

    /// Keeps zeros, and no more than `most` words of all lengths; what is given back is returned, to
    /// be freed without the lock.
    fn release(&mut self, words: Aligned, most: usize) -> Vec<Aligned> {
        self.now += 1;
        self.words += words.len();
        let of_length = self.by_length.entry(words.len()).or_default();
        of_length.used = self.now;
        of_length.kept.push(words);
        let mut freed = Vec::new();
        while self.words > most {
            let oldest = self.by_length.iter().min_by_key(|(_, of)| of.used).map(|(&len, _)| len);
            let Some(len) = oldest else { break };
            let Some(of_length) = self.by_length.get_mut(&len) else { break };
            match of_length.kept.pop() {
                Some(words) => {
                    self.words -= len;
                    freed.push(words);
                }
                None => _ = self.by_length.remove(&len),
            }
        }
        freed
    }
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
        if len >= SHORTEST_SHARED {
            IN_USE.fetch_add(len, Ordering::Relaxed);
            kept = kept.or_else(|| shared().take(len));
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
        let in_use = match len {
            SHORTEST_SHARED.. => IN_USE.fetch_sub(len, Ordering::Relaxed) - len,
            _ => 0,
        };
        let mut left = Some(words);
        if (SHORTEST..=KEPT / 4).contains(&len) {
            // No store while a thread ends.
            let _ = STORE.try_with(|store| {
                let mut store = store.borrow_mut();
                if store.by_length.get(&len).is_none_or(|of| of.kept.len() >= of.made) {
                    return;
                }
                if store.words + len > KEPT {
                    *store = Store::default();
                }
                store.words += len;
                store.by_length.entry(len).or_default().kept.extend(left.take());
            });
        }
        if let Some(words) = left.filter(|_| len >= SHORTEST_SHARED) {
            let freed = shared().release(words, SHARED.max(in_use / 2));
            drop(freed);
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
    fn memory_that_other_threads_made_serves_them_again() {
        let theirs = |len| std::thread::spawn(move || Words::zeros(len)).join().unwrap();
        let mine = Words::zeros(2003);
        let before = STORE.with(|store| store.borrow().words);
        let made: Vec<Words> = (0..10).map(|_| theirs(2003)).collect();
        let mut addresses: Vec<_> = made.iter().map(|words| words.as_ptr().addr()).collect();
        drop((made, mine));
        // A thread keeps as many as it made, and nothing of a length that it never asked for.
        assert_eq!(STORE.with(|store| store.borrow().words), before + 2003);
        drop(theirs(3001));
        assert_eq!(STORE.with(|store| store.borrow().words), before + 2003);
        // The others get what is left.
        let again: Vec<Words> = (0..10).map(|_| theirs(2003)).collect();
        addresses.retain(|address| again.iter().any(|words| words.as_ptr().addr() == *address));
        assert_eq!(addresses.len(), 9);
        assert!(again.iter().all(|words| words.iter().all(|&word| word == 0)));
    }

    #[test]
    fn a_process_keeps_a_bounded_amount_of_the_lengths_used_last() {
        let mut store = SharedStore::default();
        for _ in 0..10 {
            assert!(store.release(Aligned::zeros(100), 2000).is_empty());
        }
        assert!(store.release(Aligned::zeros(700), 2000).is_empty());
        assert_eq!(store.words, 1700);
        assert!(store.take(300).is_none());
        // 600 do not fit: three of 100 words, which were released first, go.
        assert_eq!(store.release(Aligned::zeros(600), 2000).len(), 3);
        assert_eq!(store.words, 2000);
        // Those that were asked for stay, and the next oldest go.
        drop(store.take(100));
        let freed = store.release(Aligned::zeros(300), 2000);
        assert_eq!(freed.iter().map(|words| words.len()).collect::<Vec<_>>(), [700]);
        assert_eq!(store.words, 1500);
        // What alone is too long is not kept.
        assert!(store.release(Aligned::zeros(3000), 2000).iter().any(|words| words.len() == 3000));
        assert!(store.words <= 2000);
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
