//! Vectors of elements, stored limb by limb (`docs/protocol.md`, section 2).

use std::fmt;
use std::ops::Range;

use ethnum::I256;

use crate::bits::BitVec;
use crate::element::Element;
use crate::error::FieldError;
use crate::kernels;
use crate::parallel::{self, LIGHT, Split};
use crate::prime::{Limbs, Prime};
use crate::storage::Words;

/// A vector over `Z_Q` as a structure of arrays: one contiguous plane of `len` residues per limb.
///
/// Residues are canonical (below their prime) at all times. The memory is wiped when a vector is
/// dropped, whether its values are secret or not, and `Debug` shows the number of limbs and the
/// length only.
///
/// Methods that combine two vectors or an element and a vector panic when their lengths or moduli
/// differ: that is an error of the program, never of a peer, whose bytes are checked by
/// [`crate::unpack`].
#[derive(Clone, PartialEq, Eq)]
pub struct LimbVec {
    limbs: Limbs,
    len: usize,
    /// Plane after plane, each starting at a cache line; the words between planes are 0.
    words: Words,
}

/// Words from one plane to the next: whole cache lines, and not 0 for an empty vector.
const fn stride(len: usize) -> usize {
    if len == 0 { 8 } else { len.next_multiple_of(8) }
}

impl LimbVec {
    /// `len` elements 0.
    pub fn zeros(limbs: Limbs, len: usize) -> LimbVec {
        LimbVec { limbs, len, words: Words::zeros(limbs.count() * stride(len)) }
    }

    /// The vector with the given planes, `limbs * len` residues, all of limb 0 first.
    ///
    /// # Errors
    /// [`FieldError::PlaneLength`] when the number of residues is no multiple of the number of
    /// limbs, [`FieldError::NotCanonical`] when one is not below its prime.
    pub fn from_planes(limbs: Limbs, mut planes: Vec<u64>) -> Result<LimbVec, FieldError> {
        let (words, len) = (planes.len(), planes.len() / limbs.count());
        let mut vector = LimbVec::zeros(limbs, len);
        let mut result = Ok(());
        if words.is_multiple_of(limbs.count()) {
            for (limb, (p, plane)) in vector.planes_mut().enumerate() {
                plane.copy_from_slice(&planes[limb * len..(limb + 1) * len]);
                if let Some(index) = plane.iter().position(|&r| r >= p.value()) {
                    result = result.and(Err(FieldError::NotCanonical { limb, index }));
                }
            }
        } else {
            result = Err(FieldError::PlaneLength { limbs: limbs.count(), words });
        }
        kernels::wipe(&mut planes);
        result.map(|()| vector)
    }

    /// The residues of the given integers.
    pub fn from_i64(limbs: Limbs, values: &[i64]) -> LimbVec {
        let mut vector = LimbVec::zeros(limbs, values.len());
        for (p, plane) in vector.planes_mut() {
            for (r, &x) in plane.iter_mut().zip(values) {
                *r = p.reduce_signed(x);
            }
        }
        vector
    }

    /// The residues of the given integers.
    pub fn from_signed(limbs: Limbs, values: impl IntoIterator<Item = I256>) -> LimbVec {
        let elements: Vec<Element> = values.into_iter().map(|x| Element::from_signed(limbs, x)).collect();
        LimbVec::from_elements(limbs, &elements)
    }

    /// The vector of the given elements.
    ///
    /// # Panics
    /// When an element is of another modulus.
    pub fn from_elements(limbs: Limbs, elements: &[Element]) -> LimbVec {
        let mut vector = LimbVec::zeros(limbs, elements.len());
        for (i, &element) in elements.iter().enumerate() {
            vector.set(i, element);
        }
        vector
    }

    /// The modulus.
    pub const fn limbs(&self) -> Limbs {
        self.limbs
    }

    /// The number of elements.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The residues of limb `l`, all below `PRIMES[l]`.
    ///
    /// # Panics
    /// When there is no limb `l`.
    pub fn plane(&self, l: usize) -> &[u64] {
        assert!(l < self.limbs.count(), "limb {l} of {}", self.limbs.count());
        &self.words[l * stride(self.len)..][..self.len]
    }

    /// The residues of limb `l` for writing; whoever writes keeps them canonical.
    pub(crate) fn plane_mut(&mut self, l: usize) -> &mut [u64] {
        &mut self.words[l * stride(self.len)..][..self.len]
    }

    /// Every prime with its plane for writing; whoever writes keeps them canonical.
    pub(crate) fn planes_mut(&mut self) -> impl Iterator<Item = (Prime, &mut [u64])> {
        let len = self.len;
        let planes = self.words.chunks_exact_mut(stride(len)).map(move |plane| &mut plane[..len]);
        self.limbs.primes().iter().copied().zip(planes)
    }

    /// Element `i`.
    ///
    /// # Panics
    /// When `i` is not below the length.
    pub fn get(&self, i: usize) -> Element {
        Element::from_residues(self.limbs, |l| self.plane(l)[i])
    }

    /// Replaces element `i`.
    ///
    /// # Panics
    /// When `i` is not below the length or the moduli differ.
    pub fn set(&mut self, i: usize, element: Element) {
        assert_eq!(self.limbs, element.limbs(), "an element of another modulus");
        for l in 0..self.limbs.count() {
            self.plane_mut(l)[i] = element.limb(l);
        }
    }

    /// A copy of the elements in `range`.
    ///
    /// # Panics
    /// When the range goes beyond the length.
    pub fn slice(&self, range: Range<usize>) -> LimbVec {
        let mut part = LimbVec::zeros(self.limbs, range.len());
        for l in 0..self.limbs.count() {
            part.plane_mut(l).copy_from_slice(&self.plane(l)[range.clone()]);
        }
        part
    }

    /// Replaces the elements from `at` on by those of a part.
    ///
    /// # Panics
    /// When the part goes beyond the length or the moduli differ.
    pub fn put(&mut self, at: usize, part: &LimbVec) {
        assert_eq!(self.limbs, part.limbs, "vectors of different moduli");
        for l in 0..self.limbs.count() {
            self.plane_mut(l)[at..at + part.len].copy_from_slice(part.plane(l));
        }
    }

    /// The elements of all parts, one part after the other.
    ///
    /// # Panics
    /// When there is no part or the moduli differ.
    pub fn concat(parts: &[&LimbVec]) -> LimbVec {
        assert!(!parts.is_empty(), "nothing to concatenate");
        let limbs = parts[0].limbs;
        assert!(parts.iter().all(|part| part.limbs == limbs), "vectors of different moduli");
        let mut whole = LimbVec::zeros(limbs, parts.iter().map(|part| part.len).sum());
        for l in 0..limbs.count() {
            let mut rest = whole.plane_mut(l);
            for part in parts {
                let (place, behind) = rest.split_at_mut(part.len);
                place.copy_from_slice(part.plane(l));
                rest = behind;
            }
        }
        whole
    }

    /// `self += other`, element by element.
    ///
    /// # Panics
    /// When lengths or moduli differ.
    pub fn add_assign(&mut self, other: &LimbVec) {
        self.zip(other, kernels::add_assign);
    }

    /// `self -= other`, element by element.
    ///
    /// # Panics
    /// When lengths or moduli differ.
    pub fn sub_assign(&mut self, other: &LimbVec) {
        self.zip(other, kernels::sub_assign);
    }

    /// `self = -self`.
    pub fn neg_assign(&mut self) {
        for (p, plane) in self.planes_mut() {
            kernels::neg_assign(p, plane);
        }
    }

    /// `self *= other`, element by element.
    ///
    /// # Panics
    /// When lengths or moduli differ.
    pub fn mul_assign(&mut self, other: &LimbVec) {
        self.zip(other, kernels::mul_assign);
    }

    /// Adds one constant to every element.
    ///
    /// # Panics
    /// When the moduli differ.
    pub fn add_constant(&mut self, constant: &Element) {
        self.check_modulus(constant);
        for (l, (p, plane)) in self.planes_mut().enumerate() {
            kernels::add_constant(p, plane, constant.limb(l));
        }
    }

    /// Multiplies every element by one constant.
    ///
    /// # Panics
    /// When the moduli differ.
    pub fn scale_assign(&mut self, factor: &Element) {
        self.check_modulus(factor);
        for (l, (p, plane)) in self.planes_mut().enumerate() {
            kernels::scale_assign(p, plane, factor.limb(l));
        }
    }

    /// `self += factor * other`.
    ///
    /// # Panics
    /// When lengths or moduli differ.
    pub fn add_scaled(&mut self, factor: &Element, other: &LimbVec) {
        self.check_modulus(factor);
        self.check_vector(other);
        for (l, (p, plane)) in self.planes_mut().enumerate() {
            kernels::add_scaled(p, plane, factor.limb(l), other.plane(l));
        }
    }

    /// `self += a * b`, element by element.
    ///
    /// # Panics
    /// When lengths or moduli differ.
    pub fn add_product(&mut self, a: &LimbVec, b: &LimbVec) {
        self.check_vector(a);
        self.check_vector(b);
        let split = self.light_split();
        let part = split.part;
        let parts = self.planes_mut().enumerate().flat_map(|(l, (p, plane))| {
            let factors = a.plane(l).chunks(part).zip(b.plane(l).chunks(part));
            plane.chunks_mut(part).zip(factors).map(move |(sum, factors)| (p, sum, factors))
        });
        split.for_each(parts, |(p, sum, (a, b))| kernels::add_product(p, sum, a, b));
    }

    /// `self += other` where the bit is set, `self -= other` elsewhere.
    ///
    /// # Panics
    /// When lengths or moduli differ.
    pub fn add_signed(&mut self, other: &LimbVec, bits: &BitVec) {
        self.check_vector(other);
        assert_eq!(self.len, bits.len(), "vectors of different lengths");
        let split = self.light_split();
        let part = split.part;
        let parts = self.planes_mut().enumerate().flat_map(|(l, (p, plane))| {
            // Parts begin at multiples of 64 bits.
            let terms = other.plane(l).chunks(part).zip(bits.words().chunks(part.div_ceil(64)));
            plane.chunks_mut(part).zip(terms).map(move |(sum, terms)| (p, sum, terms))
        });
        split.for_each(parts, |(p, sum, (b, bits))| kernels::add_signed(p, sum, b, bits));
    }

    /// The inner product.
    ///
    /// # Panics
    /// When lengths or moduli differ.
    pub fn dot(&self, other: &LimbVec) -> Element {
        self.check_vector(other);
        self.dot_parts(0..self.len, other, 0..self.len)
    }

    /// The inner product of a part of this vector and a part of another.
    ///
    /// # Panics
    /// When the parts' lengths or the moduli differ, or a part goes beyond its vector.
    pub fn dot_parts(&self, here: Range<usize>, other: &LimbVec, there: Range<usize>) -> Element {
        assert_eq!(self.limbs, other.limbs, "vectors of different moduli");
        assert_eq!(here.len(), there.len(), "parts of different lengths");
        let part = parallel::split(here.len(), self.limbs.count(), LIGHT).part;
        if part >= here.len() {
            return Element::from_residues(self.limbs, |l| {
                let (a, b) = (&self.plane(l)[here.clone()], &other.plane(l)[there.clone()]);
                kernels::dot(Prime::of_limb(l), a, b)
            });
        }
        let parts = (0..self.limbs.count()).flat_map(|l| {
            let (a, b) = (&self.plane(l)[here.clone()], &other.plane(l)[there.clone()]);
            a.chunks(part).zip(b.chunks(part)).map(move |(a, b)| (l, a, b))
        });
        let mut sums = [0; 3];
        for (l, sum) in parallel::map(parts, |(l, a, b)| (l, kernels::dot(Prime::of_limb(l), a, b))) {
            sums[l] = Prime::of_limb(l).add(sums[l], sum);
        }
        Element::from_residues(self.limbs, |l| sums[l])
    }

    /// The sum of all elements.
    pub fn sum(&self) -> Element {
        Element::from_residues(self.limbs, |l| kernels::sum(Prime::of_limb(l), self.plane(l)))
    }

    /// Every element as an integer in `(-Q/2, Q/2)`.
    pub fn signed(&self) -> Vec<I256> {
        (0..self.len).map(|i| self.get(i).signed()).collect()
    }

    /// Every element as a signed integer, or `None` when one does not fit.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        (0..self.len).map(|i| i64::try_from(self.get(i).signed()).ok()).collect()
    }

    fn zip(&mut self, other: &LimbVec, kernel: impl Fn(Prime, &mut [u64], &[u64]) + Sync) {
        self.check_vector(other);
        let split = self.light_split();
        let part = split.part;
        let parts = self.planes_mut().enumerate().flat_map(|(l, (p, plane))| {
            let parts = plane.chunks_mut(part).zip(other.plane(l).chunks(part));
            parts.map(move |(a, b)| (p, a, b))
        });
        split.for_each(parts, |(p, a, b)| kernel(p, a, b));
    }

    /// How work is split that costs little more than memory.
    fn light_split(&self) -> Split {
        parallel::split(self.len, self.limbs.count(), LIGHT)
    }

    /// Ranges of `part` elements, the last one shorter, each with its part of every plane for
    /// writing; of limbs beyond the modulus nothing.
    pub(crate) fn parts_mut(&mut self, part: usize) -> impl Iterator<Item = (Range<usize>, [&mut [u64]; 3])> {
        let len = self.len;
        let mut planes = self.planes_mut().map(|(_, plane)| plane.chunks_mut(part));
        let mut planes: [_; 3] = std::array::from_fn(|_| planes.next());
        (0..len).step_by(part).map(move |start| {
            let parts = planes.each_mut().map(|plane| plane.as_mut().and_then(Iterator::next));
            (start..len.min(start + part), parts.map(Option::unwrap_or_default))
        })
    }

    fn check_vector(&self, other: &LimbVec) {
        assert_eq!(self.limbs, other.limbs, "vectors of different moduli");
        assert_eq!(self.len, other.len, "vectors of different lengths");
    }

    fn check_modulus(&self, element: &Element) {
        assert_eq!(self.limbs, element.limbs(), "an element of another modulus");
    }
}

impl fmt::Debug for LimbVec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimbVec")
            .field("limbs", &self.limbs.count())
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
