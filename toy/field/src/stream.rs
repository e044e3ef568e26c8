//! Streams of elements, whose values the oracle draws.

use crate::oracle::{self, Draw};
use crate::prg::Seed;
use crate::prime::{Limbs, word_bits};
use crate::vector::LimbVec;
use crate::word::WordVec;
use std::fmt;

/// A generator of uniform elements, random access.
pub struct Stream {
    seed: [u8; 32],
}

impl Stream {
    pub(crate) fn new(seed: &Seed) -> Stream {
        Stream { seed: *seed.as_bytes() }
    }

    /// The first `len` uniform elements of a domain.
    ///
    /// # Panics
    /// Outside [`oracle::Oracle::run`].
    pub fn sample(&self, domain: u32, limbs: Limbs, len: usize) -> LimbVec {
        self.sample_from(domain, limbs, 0, len)
    }

    /// Elements `first..first + len` of a domain.
    ///
    /// # Panics
    /// Outside [`oracle::Oracle::run`].
    pub fn sample_from(&self, domain: u32, limbs: Limbs, first: u64, len: usize) -> LimbVec {
        let mut out = LimbVec::zeros(limbs, len);
        for (limb, (prime, plane)) in out.planes_mut().enumerate() {
            for (position, residue) in (first..).zip(plane) {
                let draw = Draw { seed: self.seed, domain, limb, position };
                *residue = oracle::value(draw, prime.value());
            }
        }
        out
    }

    /// Adds elements `first..` of a domain to those of a vector.
    ///
    /// # Panics
    /// Outside [`oracle::Oracle::run`].
    pub fn add_sample_from(&self, domain: u32, first: u64, sum: &mut LimbVec) {
        sum.add_assign(&self.sample_from(domain, sum.limbs(), first, sum.len()));
    }

    /// Subtracts elements `first..` of a domain from those of a vector.
    ///
    /// # Panics
    /// Outside [`oracle::Oracle::run`].
    pub fn sub_sample_from(&self, domain: u32, first: u64, rest: &mut LimbVec) {
        rest.sub_assign(&self.sample_from(domain, rest.limbs(), first, rest.len()));
    }

    /// Words `first..first + len` of a domain.
    ///
    /// # Panics
    /// Outside [`oracle::Oracle::run`].
    pub fn sample_words(&self, domain: u32, first: u64, len: usize) -> WordVec {
        let mut out = WordVec::zeros(len);
        for (position, word) in (first..).zip(out.words_mut()) {
            let draw = Draw { seed: self.seed, domain, limb: 0, position };
            *word = oracle::value(draw, 1 << word_bits());
        }
        out
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream(..)")
    }
}
