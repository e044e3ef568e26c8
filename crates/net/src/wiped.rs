//! Memory of messages, overwritten before it is released or used again: messages carry seeds, keys
//! and masks, and what a node forgets is not to be found in its memory later.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shorter frames cost less to make than to look up.
const SHORTEST_KEPT: usize = 16 << 10;

/// Bytes of memory that the process keeps for frames to come.
const MOST_KEPT: usize = 64 << 20;

/// Memory of frames that are gone, in the order in which they went: zeros, each as long as it was
/// made. Inferences send frames of the same lengths again and again, and memory that comes fresh
/// from the operating system costs more than all else that is done with a frame.
static KEPT: Mutex<Kept> = Mutex::new(Kept { frames: VecDeque::new(), bytes: 0 });

struct Kept {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Kept {
    /// Zeros of exactly this length, so that nobody gets more memory than was asked for.
    fn take(&mut self, bytes: usize) -> Option<Vec<u8>> {
        let at = self.frames.iter().rposition(|frame| frame.len() == bytes)?;
        self.bytes -= bytes;
        self.frames.remove(at)
    }

    /// Keeps zeros; what went the longest ago is given back when there is too much.
    fn keep(&mut self, frame: Vec<u8>, most: usize) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
        while self.bytes > most {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.bytes -= oldest.len();
        }
    }
}

/// Every change leaves it whole, so it can be used after a thread panicked.
fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Zeros that were kept.
fn reused(bytes: usize) -> Option<Vec<u8>> {
    if bytes < SHORTEST_KEPT { None } else { kept().take(bytes) }
}

/// Sets every byte to 0, also when nobody reads them afterwards.
///
/// A plain fill at the speed of `memset` with a barrier behind it. `Zeroize` stores byte by byte,
/// which takes as long as decrypting what it overwrites.
pub(crate) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    zeroize::optimization_barrier(bytes);
}

/// A frame's content. Wiped when dropped; `Debug` shows its length only.
#[derive(Clone, Default)]
pub struct Frame(Vec<u8>);

impl Frame {
    /// An empty frame that takes so many bytes without moving: what is moved leaves a copy behind.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        let mut frame = reused(bytes).unwrap_or_else(|| Vec::with_capacity(bytes));
        frame.clear();
        Self(frame)
    }

    /// So many zeros, to be overwritten with a message's body and given to
    /// [`Link::send_owned`](crate::Link::send_owned).
    pub fn zeros(bytes: usize) -> Vec<u8> {
        reused(bytes).unwrap_or_else(|| vec![0; bytes])
    }

    /// The concatenation of parts.
    pub(crate) fn concat(parts: &[&[u8]]) -> Self {
        let mut frame = Frame::with_capacity(crate::frame::length(parts));
        parts.iter().for_each(|part| frame.extend(part));
        frame
    }

    /// Adds bytes that [`Frame::with_capacity`] left room for.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        debug_assert!(self.0.capacity() - self.0.len() >= bytes.len());
        self.0.extend_from_slice(bytes);
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        wipe(&mut self.0);
        // All of a frame that is full is zeros now.
        if self.0.len() >= SHORTEST_KEPT && self.0.len() == self.0.capacity() {
            kept().keep(std::mem::take(&mut self.0), MOST_KEPT);
        }
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Frame {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Frame {}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Frame {
    fn eq(&self, other: &T) -> bool {
        self.0 == other.as_ref()
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_frame_serves_the_next_of_its_length_and_holds_zeros() {
        let bytes = SHORTEST_KEPT + 123;
        let mut frame = Frame::with_capacity(bytes);
        frame.extend(&vec![7; bytes]);
        let address = frame.as_ptr();
        drop(frame);
        assert_ne!(Frame::with_capacity(bytes - 1).0.as_ptr(), address);
        let again = Frame::zeros(bytes);
        assert_eq!(again.as_ptr(), address);
        assert!(again.len() == bytes && again.iter().all(|&byte| byte == 0));
        // A frame that was cut off half way is not kept: the rest of it was never written.
        let mut half = Frame::with_capacity(2 * bytes);
        half.extend(&vec![7; bytes]);
        drop(half);
        assert!(kept().take(2 * bytes).is_none());
    }

    #[test]
    fn a_process_keeps_a_bounded_amount() {
        let mut kept = Kept { frames: VecDeque::new(), bytes: 0 };
        for bytes in [100, 200, 300, 400] {
            kept.keep(vec![0; bytes], 800);
        }
        assert_eq!((kept.bytes, kept.frames.len()), (700, 2));
        assert!(kept.take(100).is_none());
        assert_eq!(kept.take(300).map(|frame| frame.len()), Some(300));
        kept.keep(vec![0; 900], 800);
        assert_eq!((kept.bytes, kept.frames.len()), (0, 0));
    }
}
