//! All randomness of a run as one random function, drawn lazily and from a tape.
//!
//! A uniform element is the function's value at (seed, domain, limb, position): whoever asks for
//! the same point gets the same value, as with a pseudo-random function, and different points are
//! independent. This is the world in which `docs/security.md` proves its Lemma 1. Points are
//! numbered in the order in which they are first asked for; the tape fixes the values of some of
//! them, the others follow from a salt. Tests walk through all values of the points they enumerate,
//! and run the protocol for each.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::error::RandomnessError;
use crate::prg::{Randomness, Seed};
use crate::prime::{Prime, with_primes};

/// A point at which the random function is asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Draw {
    /// The stream's seed.
    pub seed: [u8; 32],
    /// The domain of the stream.
    pub domain: u32,
    /// The limb.
    pub limb: usize,
    /// The position in the stream.
    pub position: u64,
}

/// Where a seed comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Drawn from [`FreshSeeds`].
    Fresh,
    /// Derived from another one by a label.
    Derived {
        /// The other seed.
        parent: [u8; 32],
        /// The label.
        label: Vec<u8>,
    },
}

/// Seeds are hashes or numbers already, so a multiplication mixes them well enough.
#[derive(Clone, Default, Debug)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

type Mixed = BuildHasherDefault<Mix>;

/// The random function of a run, as far as it has been drawn, and what decides about the rest.
#[derive(Clone, Debug)]
pub struct Oracle {
    primes: &'static [Prime; 3],
    values: HashMap<Draw, u64, Mixed>,
    draws: Vec<(Draw, u64)>,
    salt: u64,
    tape: Vec<Option<u64>>,
    names: u64,
    fresh: u64,
    origins: HashMap<[u8; 32], Origin, Mixed>,
}

thread_local! {
    static ORACLE: RefCell<Option<Oracle>> = const { RefCell::new(None) };
}

impl Oracle {
    /// A function of which nothing is drawn. What the tape does not say follows from `salt`.
    ///
    /// # Panics
    /// When two primes are equal.
    pub fn new(primes: &'static [Prime; 3], salt: u64) -> Oracle {
        let [a, b, c] = primes;
        assert!(a != b && b != c && a != c, "limbs have different primes");
        Oracle {
            primes,
            values: HashMap::default(),
            draws: Vec::new(),
            salt,
            tape: Vec::new(),
            names: 0,
            fresh: 0,
            origins: HashMap::default(),
        }
    }

    /// This oracle with other names for fresh seeds: nothing that may not be fixed is the same
    /// under two names.
    pub fn named(self, names: u64) -> Oracle {
        Oracle { names, ..self }
    }

    /// This oracle with another salt for everything that is not drawn yet.
    pub fn salted(self, salt: u64) -> Oracle {
        Oracle { salt, ..self }
    }

    /// Fixes the value of the point that is drawn as number `index`.
    pub fn fix(&mut self, index: usize, value: u64) {
        if self.tape.len() <= index {
            self.tape.resize(index + 1, None);
        }
        self.tape[index] = Some(value);
    }

    /// Runs `f` with this randomness and these primes; returns its result and what was drawn. One
    /// that runs already on this thread waits.
    pub fn run<T>(self, f: impl FnOnce() -> T) -> (T, Oracle) {
        struct Restore(Option<Oracle>);
        impl Drop for Restore {
            fn drop(&mut self) {
                ORACLE.set(self.0.take());
            }
        }
        let primes = self.primes;
        let _restore = Restore(ORACLE.replace(Some(self)));
        let result = with_primes(primes, f);
        let oracle = ORACLE.take().expect("the oracle of this run");
        (result, oracle)
    }

    /// Every point drawn, in order, with the number of its values: the prime of its limb, 2
    /// for a bit, 4 for an element of the binary field.
    pub fn draws(&self) -> &[(Draw, u64)] {
        &self.draws
    }

    /// The value at a point, if it is drawn.
    pub fn drawn(&self, draw: &Draw) -> Option<u64> {
        self.values.get(draw).copied()
    }

    /// Where a seed comes from; `None` for bytes that are no seed, or one that was put together
    /// from others' bytes (the keys that parties agree on).
    pub fn origin(&self, seed: &[u8; 32]) -> Option<&Origin> {
        self.origins.get(seed)
    }

    fn value(&mut self, draw: Draw, size: u64) -> u64 {
        if let Some(&value) = self.values.get(&draw) {
            return value;
        }
        let index = self.draws.len();
        let value = match self.tape.get(index) {
            Some(Some(value)) => *value,
            _ => scramble(self.salt, index as u64) % size,
        };
        assert!(value < size, "the tape holds no residue, bit or element");
        self.values.insert(draw, value);
        self.draws.push((draw, size));
        value
    }
}

/// Splitmix64, two steps.
fn scramble(salt: u64, index: u64) -> u64 {
    let mut z = salt.wrapping_mul(0xd129_0ddf_53c4_3e49).wrapping_add(index);
    for _ in 0..2 {
        z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
    }
    z >> 8
}

fn with<T>(f: impl FnOnce(&mut Oracle) -> T) -> T {
    ORACLE.with_borrow_mut(|o| f(o.as_mut().expect("toy randomness exists inside Oracle::run only")))
}

/// Whether one runs on this thread.
pub(crate) fn runs() -> bool {
    ORACLE.with_borrow(Option::is_some)
}

pub(crate) fn value(draw: Draw, size: u64) -> u64 {
    with(|o| o.value(draw, size))
}

pub(crate) fn note_derived(seed: &Seed, parent: &Seed, label: &[u8]) {
    with(|o| {
        let origin = || Origin::Derived { parent: *parent.as_bytes(), label: label.to_vec() };
        o.origins.entry(*seed.as_bytes()).or_insert_with(origin);
    });
}

/// Fresh seeds of the run: numbered, so that equal runs give them equal names.
#[derive(Clone, Copy, Debug)]
pub struct FreshSeeds;

impl Randomness for FreshSeeds {
    fn seed(&mut self) -> Result<Seed, RandomnessError> {
        Ok(with(|o| {
            // From 1: ids are the first half of a seed, and none is all zeros.
            o.fresh += 1;
            let mut bytes = [0x5e; 32];
            bytes[..8].copy_from_slice(&o.fresh.to_le_bytes());
            bytes[8..16].copy_from_slice(&o.names.to_le_bytes());
            o.origins.insert(bytes, Origin::Fresh);
            Seed::from_bytes(bytes)
        }))
    }
}
