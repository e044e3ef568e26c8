//! Memory of messages, overwritten before it is released or used again: messages carry seeds, keys
//! and masks, and what a node forgets is not to be found in its memory later.

use std::fmt;
use std::ops::Deref;

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
        Self(Vec::with_capacity(bytes))
    }

    /// The concatenation of parts.
    pub(crate) fn concat(parts: &[&[u8]]) -> Self {
        Self(parts.concat())
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
