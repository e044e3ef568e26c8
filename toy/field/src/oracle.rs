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
use std::hash::{BuildHasherDefault, Hash, Hasher};

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

/// A seed of which a hash takes two words: of fresh ones they are numbers, of others parts of a hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Name([u8; 32]);

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let words = self.0.as_chunks::<8>().0;
        state.write_u64(u64::from_le_bytes(words[0]) ^ u64::from_le_bytes(words[1]).rotate_left(32));
    }
}

/// A stream, by its seed, domain and limb.
type StreamName = (Name, u32, usize);

/// The values of a stream, from its first position on, as far as they are drawn.
#[derive(Clone, Debug)]
struct Values {
    of: StreamName,
    values: Vec<Entry<u8>>,
}

/// Something, and the run in which it came: what came in one that was undone does not count.
#[derive(Clone, Copy, Debug)]
struct Entry<T> {
    run: u32,
    value: T,
}

/// What comes in no run.
const NOWHERE: Entry<u8> = Entry { run: u32::MAX, value: 0 };

/// Positions of a stream that are drawn lie below: the values before them take memory too.
const POSITIONS: u64 = 1 << 16;

/// Values and seeds that undone runs leave, most of them to come again, are kept until there are so
/// many.
const LEFT_OVER: [usize; 2] = [1 << 14, 1 << 10];

/// Seeds are hashes or numbers already, so multiplications mix them well enough.
#[derive(Clone, Default, Debug)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        // Tables take the lowest bits, which depend on few of a word's.
        self.0.rotate_left(26)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
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
    streams: Vec<Values>,
    numbers: HashMap<StreamName, usize, Mixed>,
    /// How long all streams are together.
    len: usize,
    /// Points drawn, in order: the stream, the position, and how many values there are.
    draws: Vec<(usize, u64, u64)>,
    salt: u64,
    tape: Vec<Option<u64>>,
    names: u64,
    fresh: u64,
    origins: HashMap<Name, Entry<Origin>, Mixed>,
    /// The number of this run; what came in number 0 is never undone.
    run: u32,
}

/// Where an oracle is when runs begin, again and again.
#[derive(Debug)]
pub struct Beginning {
    draws: usize,
    streams: usize,
    len: usize,
    origins: usize,
    tape: Vec<Option<u64>>,
    fresh: u64,
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
            streams: Vec::new(),
            numbers: HashMap::default(),
            len: 0,
            draws: Vec::new(),
            salt,
            tape: Vec::new(),
            names: 0,
            fresh: 0,
            origins: HashMap::default(),
            run: 0,
        }
    }

    /// This oracle, so that what runs draw from now on can be undone.
    ///
    /// # Panics
    /// When it is such a one already.
    pub fn repeatable(self) -> (Oracle, Beginning) {
        assert_eq!(self.run, 0, "an oracle whose runs are undone");
        let beginning = Beginning {
            draws: self.draws.len(),
            streams: self.streams.len(),
            len: self.len,
            origins: self.origins.len(),
            tape: self.tape.clone(),
            fresh: self.fresh,
        };
        (Oracle { run: 1, ..self }, beginning)
    }

    /// Goes back to the beginning, as a clone from there is, but with the memory of this one.
    pub fn undo(&mut self, to: &Beginning) {
        let [values, seeds] = LEFT_OVER;
        if self.len > to.len + values {
            self.streams.truncate(to.streams);
            self.numbers.retain(|_, number| *number < to.streams);
            self.len = self.streams.iter().map(|stream| stream.values.len()).sum();
        }
        if self.origins.len() > to.origins + seeds {
            self.origins.retain(|_, entry| entry.run == 0);
        }
        self.run += 1;
        self.draws.truncate(to.draws);
        self.tape.clone_from(&to.tape);
        self.fresh = to.fresh;
    }

    /// Whether what came in a run counts.
    fn counts(&self, run: u32) -> bool {
        run == 0 || run == self.run
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
    pub fn draws(&self) -> impl ExactSizeIterator<Item = (Draw, u64)> {
        self.draws.iter().map(|&(stream, position, size)| {
            let (Name(seed), domain, limb) = self.streams[stream].of;
            (Draw { seed, domain, limb, position }, size)
        })
    }

    /// The value at a point, if it is drawn.
    pub fn drawn(&self, draw: &Draw) -> Option<u64> {
        let &number = self.numbers.get(&(Name(draw.seed), draw.domain, draw.limb))?;
        let entry = self.streams[number].values.get(draw.position as usize)?;
        self.counts(entry.run).then_some(entry.value.into())
    }

    /// Where a seed comes from; `None` for bytes that are no seed, or one that was put together
    /// from others' bytes (the keys that parties agree on).
    pub fn origin(&self, seed: &[u8; 32]) -> Option<&Origin> {
        self.origins.get(&Name(*seed)).filter(|entry| self.counts(entry.run)).map(|entry| &entry.value)
    }

    /// The number of a stream.
    fn stream(&mut self, of: StreamName) -> usize {
        *self.numbers.entry(of).or_insert_with(|| {
            self.streams.push(Values { of, values: Vec::new() });
            self.streams.len() - 1
        })
    }

    /// The value at a position of a stream.
    fn value(&mut self, stream: usize, position: u64, size: u64) -> u64 {
        assert!(position < POSITIONS, "no position of a toy's stream");
        let values = &mut self.streams[stream].values;
        if values.len() <= position as usize {
            self.len += position as usize + 1 - values.len();
            values.resize(position as usize + 1, NOWHERE);
        }
        let entry = &mut values[position as usize];
        if entry.run == 0 || entry.run == self.run {
            return entry.value.into();
        }
        let index = self.draws.len();
        let value = match self.tape.get(index) {
            Some(Some(value)) => *value,
            _ => scramble(self.salt, index as u64) % size,
        };
        assert!(value < size, "the tape holds no residue, bit or element");
        *entry = Entry { run: self.run, value: value as u8 };
        self.draws.push((stream, position, size));
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

/// Draws values of a limb of a stream from position `first` on, each one of `0..size`.
pub(crate) fn draw<'a>(
    seed: &[u8; 32],
    (domain, limb, first): (u32, usize, u64),
    size: u64,
    values: impl IntoIterator<Item = &'a mut u64>,
) {
    with(|o| {
        let stream = o.stream((Name(*seed), domain, limb));
        (first..).zip(values).for_each(|(position, value)| *value = o.value(stream, position, size));
    });
}

pub(crate) fn note_derived(seed: &Seed, parent: &Seed, label: &[u8]) {
    with(|o| {
        let run = o.run;
        let derived = || Origin::Derived { parent: *parent.as_bytes(), label: label.to_vec() };
        let entry =
            o.origins.entry(Name(*seed.as_bytes())).or_insert_with(|| Entry { run, value: derived() });
        // What it says is the same in every run: the seed is a hash of it.
        if entry.run != 0 {
            entry.run = run;
        }
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
            o.origins.insert(Name(bytes), Entry { run: o.run, value: Origin::Fresh });
            Seed::from_bytes(bytes)
        }))
    }
}
