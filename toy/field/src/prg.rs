//! Seeds as in the real crate, derived by BLAKE3; the oracle remembers where each one comes from.

use std::fmt;

use crate::error::RandomnessError;
use crate::oracle;
use crate::stream::Stream;

/// The name of a function that is drawn at random, position by position, as [`oracle`] says.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed([u8; 32]);

/// A source of fresh seeds.
pub trait Randomness {
    /// The next seed.
    ///
    /// # Errors
    /// When there is no randomness.
    fn seed(&mut self) -> Result<Seed, RandomnessError>;
}

impl Seed {
    /// The seed with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Seed {
        Seed(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The seed for `label`.
    pub fn derive(&self, label: &[u8]) -> Seed {
        let seed = Seed(*blake3::keyed_hash(&self.0, label).as_bytes());
        oracle::note_derived(&seed, self, label);
        seed
    }

    /// The stream of elements of this seed.
    pub fn stream(&self) -> Stream {
        Stream::new(self)
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

impl zeroize::Zeroize for Seed {
    fn zeroize(&mut self) {
        self.0 = [0; 32];
    }
}
