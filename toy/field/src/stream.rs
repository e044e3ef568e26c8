//! Streams of elements, whose values the oracle draws.

use crate::binary::Gf128Vec;
use crate::bits::BitVec;
use crate::oracle;
use crate::prg::Seed;
use crate::prime::Limbs;
use crate::vector::LimbVec;
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
            oracle::draw(&self.seed, (domain, limb, first), prime.value(), plane);
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

    /// Bits `first..first + len` of a domain.
    ///
    /// # Panics
    /// Outside [`oracle::Oracle::run`], and when `first` is not a multiple of 64.
    pub fn sample_bits(&self, domain: u32, first: u64, len: usize) -> BitVec {
        assert!(first.is_multiple_of(64), "bits from the middle of a word, {first}");
        let mut bits = vec![0; len];
        oracle::draw(&self.seed, (domain, 0, first), 2, &mut bits);
        bits.into_iter().map(|bit| bit == 1).collect()
    }

    /// Elements `first..first + len` of the binary field of a domain.
    ///
    /// # Panics
    /// Outside [`oracle::Oracle::run`].
    pub fn sample_gf128(&self, domain: u32, first: u64, len: usize) -> Gf128Vec {
        let mut out = Gf128Vec::zeros(len);
        self.words(domain, 2 * first, out.words_mut());
        out
    }

    /// Words of elements of the binary field, from an even number on.
    pub(crate) fn words(&self, domain: u32, first: u64, out: &mut [u64]) {
        out.fill(0);
        let low = out.iter_mut().step_by(2);
        oracle::draw(&self.seed, (domain, 0, first / 2), 4, low);
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream(..)")
    }
}
