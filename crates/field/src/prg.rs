//! Seeds: where all randomness comes from (`docs/protocol.md`, section 7).

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::error::RandomnessError;
use crate::stream::Stream;

/// 256 secret bits that other seeds and streams of elements are derived from, one-way and by label.
///
/// Wiped when dropped; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; 32]);

/// The BLAKE3 context of AES keys. A context keeps them apart from derived seeds, whatever their
/// labels.
const STREAM_CONTEXT: &str = "amicus-field 2026-11 AES-128-CTR key of a stream";

/// A source of fresh seeds: of all keys, nonces and seeds that are not derived from others.
///
/// Whoever draws something takes its source as an argument. Outside tests there is one,
/// [`OperatingSystem`], and nodes name it where they draw: no configuration can put another in its
/// place.
pub trait Randomness {
    /// The next seed, independent of all others.
    ///
    /// # Errors
    /// When there is no randomness.
    fn seed(&mut self) -> Result<Seed, RandomnessError>;
}

/// The operating system's generator.
#[derive(Clone, Copy, Debug)]
pub struct OperatingSystem;

impl Randomness for OperatingSystem {
    /// A seed from the operating system. There is no fallback.
    fn seed(&mut self) -> Result<Seed, RandomnessError> {
        let mut seed = Seed([0; 32]);
        getrandom::fill(&mut seed.0).map_err(RandomnessError)?;
        Ok(seed)
    }
}

impl Seed {
    /// The seed with these bytes, which the caller wipes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Seed {
        Seed(bytes)
    }

    /// The secret bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The seed for `label`: BLAKE3 of the label with this seed as its key. Different labels give
    /// independent seeds, and a derived seed tells nothing of this one.
    pub fn derive(&self, label: &[u8]) -> Seed {
        let mut hash = blake3::keyed_hash(&self.0, label);
        let seed = Seed(*hash.as_bytes());
        hash.zeroize();
        seed
    }

    /// The stream of elements of this seed. Its 128-bit AES key is the first half of BLAKE3's key
    /// derivation from the seed in a context of its own, so neither the key nor the output tells
    /// anything of the seed or of seeds derived from it.
    pub fn stream(&self) -> Stream {
        let mut material = blake3::derive_key(STREAM_CONTEXT, &self.0);
        let mut key = [0; 16];
        key.copy_from_slice(&material[..16]);
        let stream = Stream::new(&key);
        material.zeroize();
        key.zeroize();
        stream
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ_by_label_and_hide_themselves() {
        let seed = Seed::from_bytes([7; 32]);
        assert_eq!(seed.derive(b"a"), seed.derive(b"a"));
        assert_ne!(seed.derive(b"a"), seed.derive(b"b"));
        assert_ne!(seed.derive(b"a").derive(b"b"), seed.derive(b"ab"));
        assert_ne!(OperatingSystem.seed().unwrap(), OperatingSystem.seed().unwrap());
        assert_eq!(format!("{seed:?}"), "Seed(..)");
        // The keyed hash itself, so that other implementations can follow.
        assert_eq!(seed.derive(b"a").as_bytes(), blake3::keyed_hash(&[7; 32], b"a").as_bytes());
    }
}
