//! Truncation of opened values, with its wrap bit (`docs/protocol.md`, 5 and 6.3).
//!
//! A value `z` with `|z| < 2^ell` is opened as `D = z + 2^ell + r mod Q`. All compute `v` and the
//! wrap bit `c` from the public `D`; the helper computes the mask `mu_c` from `r`. Then `v - mu_c` is
//! `z / 2^shift` within one unit.

use std::fmt;
use std::ops::Range;

use ethnum::U256;

use crate::element::Element;
use crate::error::FieldError;
use crate::kernels;
use crate::parallel;
use crate::prime::Limbs;
use crate::storage::Words;
use crate::vector::LimbVec;

/// Elements of a part: each is lifted to an integer and back.
const HEAVY: usize = parallel::LIGHT / 16;

/// The truncation of values below `2^ell` by `shift` bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Truncation {
    limbs: Limbs,
    ell: u32,
    shift: u32,
}

/// What everyone computes from opened values.
#[derive(Clone, Debug)]
pub struct Opened {
    /// `v = floor(D / 2^shift) - 2^(ell - shift)`.
    pub v: LimbVec,
    /// The wrap bit of every element: whether `D < Q / 2`.
    pub wrap: WrapBits,
}

/// One bit per element, as a word of zeros or ones. Wiped when dropped; `Debug` shows the length
/// only.
#[derive(Clone, PartialEq, Eq)]
pub struct WrapBits {
    words: Words,
}

/// Room to open some elements of a vector.
pub(crate) struct Part {
    /// With the offset.
    d: LimbVec,
    pub(crate) opened: Opened,
}

impl Part {
    /// Room for `len` elements.
    pub(crate) fn new(limbs: Limbs, len: usize) -> Part {
        let wrap = WrapBits { words: Words::zeros(len) };
        Part { d: LimbVec::zeros(limbs, len), opened: Opened { v: LimbVec::zeros(limbs, len), wrap } }
    }
}

impl Truncation {
    /// A truncation of values `|z| < 2^ell` by `shift` bits.
    ///
    /// # Errors
    /// Unless `shift <= ell` and `2^(ell + 1) <= Q / 2`.
    pub fn new(limbs: Limbs, ell: u32, shift: u32) -> Result<Truncation, FieldError> {
        // Q is just below 2^(52 L), so 2^(ell + 2) <= Q means ell + 2 <= 52 L - 1.
        let available = limbs.bits() - 1;
        if ell.checked_add(2).is_none_or(|bits| bits > available) {
            return Err(FieldError::ValueTooLong { ell, limbs: limbs.count(), available });
        }
        if shift > ell {
            return Err(FieldError::ShiftTooLong { shift, ell });
        }
        Ok(Truncation { limbs, ell, shift })
    }

    /// The modulus.
    pub const fn limbs(&self) -> Limbs {
        self.limbs
    }

    /// Bits of the values: `|z| < 2^ell`.
    pub const fn ell(&self) -> u32 {
        self.ell
    }

    /// Bits dropped.
    pub const fn shift(&self) -> u32 {
        self.shift
    }

    /// `2^ell`, which makes `z + 2^ell` non-negative. One party adds it before opening.
    pub fn offset(&self) -> Element {
        Element::power_of_two(self.limbs, self.ell)
    }

    /// `v` and the wrap bits of opened values that contain the [`offset`](Self::offset) already.
    ///
    /// # Panics
    /// When `d` is of another modulus.
    pub fn open(&self, d: &LimbVec) -> Opened {
        self.check(d);
        let mut v = LimbVec::zeros(self.limbs, d.len());
        let mut wrap = WrapBits { words: Words::zeros(d.len()) };
        let part = parallel::part_len(d.len(), HEAVY);
        let parts = v.parts_mut(part).zip(wrap.words.chunks_mut(part));
        parallel::for_each(parts, |((range, mut v), wrap)| {
            let (count, d) = (self.limbs.count(), parts_of(d, range));
            kernels::open(self.limbs, self.shift, self.ell, &d[..count], &mut v[..count], wrap);
        });
        Opened { v, wrap }
    }

    /// [`open`](Self::open) of the elements in `range`, without the offset, into the beginning of
    /// what is there already.
    pub(crate) fn open_part(&self, d: &LimbVec, range: Range<usize>, part: &mut Part) {
        let len = range.len();
        let offset = self.offset();
        for (l, (prime, plane)) in part.d.planes_mut().enumerate() {
            plane[..len].copy_from_slice(&d.plane(l)[range.clone()]);
            kernels::add_constant(prime, &mut plane[..len], offset.limb(l));
        }
        let d = parts_of(&part.d, 0..len);
        let d = &d[..self.limbs.count()];
        let mut v: Vec<&mut [u64]> = part.opened.v.planes_mut().map(|(_, plane)| &mut plane[..len]).collect();
        kernels::open(self.limbs, self.shift, self.ell, d, &mut v, &mut part.opened.wrap.words[..len]);
    }

    /// The truncated mask `mu_c = floor((r - Q [c and r >= Q / 2]) / 2^shift)` for a wrap bit, a signed
    /// integer mod every prime.
    ///
    /// # Panics
    /// When `r` is of another modulus.
    pub fn mask(&self, r: &LimbVec, wrap: bool) -> LimbVec {
        self.check(r);
        let mut mu = LimbVec::zeros(self.limbs, r.len());
        let part = parallel::part_len(r.len(), HEAVY);
        parallel::for_each(mu.parts_mut(part), |(range, mut mu)| {
            let (count, r) = (self.limbs.count(), parts_of(r, range));
            kernels::mask(self.limbs, self.shift, wrap, &r[..count], &mut mu[..count]);
        });
        mu
    }

    /// Whether `r >= Q / 2`, which can wrap.
    ///
    /// # Panics
    /// When `r` is of another modulus.
    pub fn high_half(&self, r: &LimbVec) -> WrapBits {
        self.check(r);
        let mut high = WrapBits { words: Words::zeros(r.len()) };
        if !r.is_empty() {
            let planes = parts_of(r, 0..r.len());
            kernels::high_half(self.limbs, &planes[..self.limbs.count()], &mut high.words);
        }
        high
    }

    /// `floor(D / 2^shift)` as integers, for the few values of an output.
    ///
    /// # Panics
    /// When `d` is of another modulus.
    pub fn floor(&self, d: &LimbVec) -> Vec<U256> {
        self.check(d);
        (0..d.len()).map(|i| d.get(i).lift() >> self.shift).collect()
    }

    fn check(&self, vector: &LimbVec) {
        assert_eq!(vector.limbs(), self.limbs, "a vector of another modulus than the truncation");
    }
}

/// The elements in a range of every plane; of limbs beyond the modulus nothing.
fn parts_of(vector: &LimbVec, range: Range<usize>) -> [&[u64]; 3] {
    let limbs = vector.limbs().count();
    std::array::from_fn(|l| if l < limbs { &vector.plane(l)[range.clone()] } else { &[][..] })
}

impl WrapBits {
    /// The number of elements.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The bit of element `i`.
    ///
    /// # Panics
    /// When `i` is not below the length.
    pub fn get(&self, i: usize) -> bool {
        self.words[i] != 0
    }

    /// One word per element, 0 or all ones.
    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }
}

impl FromIterator<bool> for WrapBits {
    fn from_iter<I: IntoIterator<Item = bool>>(bits: I) -> WrapBits {
        let bits: Vec<bool> = bits.into_iter().collect();
        let mut words = Words::zeros(bits.len());
        for (word, bit) in words.iter_mut().zip(bits) {
            *word = if bit { u64::MAX } else { 0 };
        }
        WrapBits { words }
    }
}

impl fmt::Debug for WrapBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrapBits").field("len", &self.len()).finish_non_exhaustive()
    }
}
