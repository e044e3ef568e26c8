//! Keyed hashes in progress. The key is part of their state, which is wiped when they are dropped.

use crate::transcript::Digest;
use std::fmt;
use zeroize::Zeroize;

/// A BLAKE3 hash under a key of 32 bytes.
pub(crate) struct KeyedHash(blake3::Hasher);

impl KeyedHash {
    /// The hash of nothing yet.
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        KeyedHash(blake3::Hasher::new_keyed(key))
    }

    /// Adds bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// The hash of what was added.
    pub(crate) fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

impl KeyedHash {
    /// Fills `out` with pseudorandom bytes that depend on what was added.
    pub(crate) fn fill(&self, out: &mut [u8]) {
        let mut reader = self.0.finalize_xof();
        reader.fill(out);
        reader.zeroize();
    }
}

impl Drop for KeyedHash {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for KeyedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyedHash(..)")
    }
}
