//! Primes that are chosen at run time, and their scalar arithmetic.

use std::cell::Cell;
use std::ops::Index;

use ethnum::U256;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::FieldError;

/// The low 52 bits of a word: residues are packed in as many bits as real ones.
pub(crate) const MASK52: u64 = (1 << 52) - 1;

/// The primes of the real field.
const REAL: [Prime; 3] = [Prime((1 << 52) - 47), Prime((1 << 52) - 143), Prime((1 << 52) - 173)];

thread_local! {
    static CURRENT: Cell<&'static [Prime; 3]> = const { Cell::new(&REAL) };
}

/// Runs `f` with other primes on this thread.
pub(crate) fn with_primes<T>(primes: &'static [Prime; 3], f: impl FnOnce() -> T) -> T {
    struct Restore(&'static [Prime; 3]);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _restore = Restore(CURRENT.replace(primes));
    f()
}

/// The primes in use, to be read by index.
#[derive(Clone, Copy, Debug)]
pub struct Primes;

/// The primes in use.
pub static PRIMES: Primes = Primes;

impl Index<usize> for Primes {
    type Output = u64;

    fn index(&self, limb: usize) -> &u64 {
        &CURRENT.get()[limb].0
    }
}

/// A prime below 2^52.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Prime(u64);

impl Prime {
    /// The prime `p`.
    ///
    /// # Panics
    /// Unless it is a prime between 2 and 256.
    pub const fn toy(p: u64) -> Prime {
        assert!(p >= 2 && p < 256, "a toy prime is small");
        let mut d = 2;
        while d * d <= p {
            assert!(!p.is_multiple_of(d), "not a prime");
            d += 1;
        }
        Prime(p)
    }

    /// The prime of limb `limb`.
    pub fn of_limb(limb: usize) -> Prime {
        CURRENT.get()[limb]
    }

    /// The prime as an integer.
    pub const fn value(self) -> u64 {
        self.0
    }

    /// `x mod p` of any word.
    pub const fn reduce(self, x: u64) -> u64 {
        x % self.0
    }

    /// `x mod p` of a signed word.
    pub const fn reduce_signed(self, x: i64) -> u64 {
        x.rem_euclid(self.0 as i64) as u64
    }

    /// `a + b mod p`.
    pub const fn add(self, a: u64, b: u64) -> u64 {
        (a + b) % self.0
    }

    /// `a - b mod p`.
    pub const fn sub(self, a: u64, b: u64) -> u64 {
        (a + self.0 - b) % self.0
    }

    /// `a * b mod p`.
    pub const fn mul(self, a: u64, b: u64) -> u64 {
        (a as u128 * b as u128 % self.0 as u128) as u64
    }

    /// `a^exponent mod p`, with `0^0 = 1`.
    pub const fn pow(self, a: u64, mut exponent: u64) -> u64 {
        let (mut base, mut result) = (a % self.0, 1);
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = self.mul(result, base);
            }
            base = self.mul(base, base);
            exponent >>= 1;
        }
        result
    }
}

/// How many primes make up the modulus: 1, 2 or 3.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Limbs(u8);

impl Limbs {
    /// One limb.
    pub const ONE: Limbs = Limbs(1);
    /// Two limbs.
    pub const TWO: Limbs = Limbs(2);
    /// Three limbs.
    pub const THREE: Limbs = Limbs(3);
    /// Every value.
    pub const ALL: [Limbs; 3] = [Limbs::ONE, Limbs::TWO, Limbs::THREE];

    /// The number of limbs.
    pub const fn count(self) -> usize {
        self.0 as usize
    }

    /// The number of bits of an element on the wire, which is that of the real field: plans and
    /// messages keep their sizes.
    pub const fn bits(self) -> u32 {
        52 * self.0 as u32
    }

    /// The modulus.
    pub fn modulus(self) -> U256 {
        self.primes().iter().fold(U256::ONE, |q, p| q * U256::from(p.value()))
    }

    /// The primes of the limbs.
    pub fn primes(self) -> &'static [Prime] {
        &CURRENT.get()[..self.count()]
    }
}

impl TryFrom<usize> for Limbs {
    type Error = FieldError;

    fn try_from(count: usize) -> Result<Limbs, FieldError> {
        match count {
            1..=3 => Ok(Limbs(count as u8)),
            _ => Err(FieldError::LimbCount { got: count }),
        }
    }
}

impl Serialize for Limbs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.0)
    }
}

impl<'de> Deserialize<'de> for Limbs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Limbs, D::Error> {
        let count = u8::deserialize(deserializer)?;
        Limbs::try_from(usize::from(count)).map_err(serde::de::Error::custom)
    }
}
