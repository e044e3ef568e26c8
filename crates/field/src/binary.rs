//! Vectors over GF(2^128) (`docs/protocol.md`, section 6.14).

use std::fmt;
use std::ops::Range;

use crate::bits::BitVec;
use crate::gf128::Gf128;
use crate::kernels;
use crate::storage::Words;

/// A vector of elements of GF(2^128).
///
/// Wiped when dropped; `Debug` shows the length only. Methods that combine vectors panic when their
/// lengths differ, as those of [`crate::LimbVec`] do.
pub struct Gf128Vec {
    len: usize,
    /// Two for each element, the low coefficients first; a folded vector has more than it uses.
    words: Words,
}

impl Gf128Vec {
    /// `len` elements 0.
    pub fn zeros(len: usize) -> Gf128Vec {
        Gf128Vec { len, words: Words::zeros(2 * len) }
    }

    /// The number of elements.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Leaves the first `len` elements; the memory is wiped with all others.
    pub(crate) fn shorten(&mut self, len: usize) {
        assert!(len <= self.len, "{len} of {} elements", self.len);
        self.len = len;
    }

    /// Takes another length, with whatever elements were there: for memory that is written anew.
    pub fn refit(&mut self, len: usize) {
        if self.words.len() < 2 * len {
            self.words = Words::zeros(2 * len);
        }
        self.len = len;
    }

    /// Replaces the elements from `at` on by 0.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn clear_from(&mut self, at: usize) {
        self.words_mut()[2 * at..].fill(0);
    }

    /// Whether there are no elements.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Element `i`.
    ///
    /// # Panics
    /// When `i` is not below the length.
    pub fn get(&self, i: usize) -> Gf128 {
        let words = &self.words()[2 * i..];
        Gf128::from_words([words[0], words[1]])
    }

    /// Replaces element `i`.
    ///
    /// # Panics
    /// When `i` is not below the length.
    pub fn set(&mut self, i: usize, element: Gf128) {
        self.words_mut()[2 * i..][..2].copy_from_slice(&element.to_words());
    }

    /// A copy of a range.
    ///
    /// # Panics
    /// When there are no such elements.
    pub fn slice(&self, range: Range<usize>) -> Gf128Vec {
        let mut part = Gf128Vec::zeros(range.len());
        part.words.copy_from_slice(&self.words()[2 * range.start..2 * range.end]);
        part
    }

    /// Writes elements over those from `at` on.
    ///
    /// # Panics
    /// When there are no such elements.
    pub fn put(&mut self, at: usize, part: &Gf128Vec) {
        self.words_mut()[2 * at..2 * (at + part.len)].copy_from_slice(part.words());
    }

    /// The sum of the elements whose bit is set.
    pub fn sum_selected(&self, bits: &BitVec) -> Gf128 {
        self.check(bits.len());
        Gf128::from_words(kernels::sum_selected(self.words(), bits.words()))
    }

    /// `<self, other>`.
    pub fn inner_product(&self, other: &Gf128Vec) -> Gf128 {
        self.check(other.len);
        Gf128::from_words(kernels::inner_product(self.words(), other.words()))
    }

    pub(crate) fn words(&self) -> &[u64] {
        &self.words[..2 * self.len]
    }

    pub(crate) fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words[..2 * self.len]
    }

    pub(crate) fn check(&self, len: usize) {
        assert_eq!(self.len, len, "vectors of different lengths");
    }
}

impl Clone for Gf128Vec {
    fn clone(&self) -> Gf128Vec {
        self.slice(0..self.len)
    }
}

impl PartialEq for Gf128Vec {
    fn eq(&self, other: &Gf128Vec) -> bool {
        self.words() == other.words()
    }
}

impl Eq for Gf128Vec {}

impl fmt::Debug for Gf128Vec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gf128Vec").field("len", &self.len).finish_non_exhaustive()
    }
}
