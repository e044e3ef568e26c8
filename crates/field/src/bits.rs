//! Vectors of bits: opened ones, which all parties know, and masks, which only the helper knows.

use std::fmt;
use std::ops::Range;

use crate::error::UnpackError;
use crate::kernels;
use crate::storage::Words;

/// A vector of bits, 64 in a word; those behind the last one are 0.
///
/// Wiped when dropped; `Debug` shows the length only.
#[derive(Clone, PartialEq, Eq)]
pub struct BitVec {
    len: usize,
    words: Words,
}

impl BitVec {
    /// `len` bits 0.
    pub fn zeros(len: usize) -> BitVec {
        BitVec { len, words: Words::zeros(len.div_ceil(64)) }
    }

    /// `len` bits 1.
    pub fn ones(len: usize) -> BitVec {
        let mut bits = BitVec::zeros(len);
        bits.invert();
        bits
    }

    /// Bytes of `len` bits on the wire.
    pub const fn packed_len(len: usize) -> usize {
        len.div_ceil(8)
    }

    /// The number of bits.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bits.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bit `i`.
    ///
    /// # Panics
    /// When `i` is not below the length.
    pub fn get(&self, i: usize) -> bool {
        assert!(i < self.len, "bit {i} of {}", self.len);
        self.words[i / 64] >> (i % 64) & 1 == 1
    }

    /// Changes bit `i`.
    ///
    /// # Panics
    /// When `i` is not below the length.
    pub fn flip(&mut self, i: usize) {
        assert!(i < self.len, "bit {i} of {}", self.len);
        self.words[i / 64] ^= 1 << (i % 64);
    }

    /// `self ^= other`.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn xor_assign(&mut self, other: &BitVec) {
        assert_eq!(self.len, other.len, "vectors of different lengths");
        kernels::xor_assign(&mut self.words, &other.words);
    }

    /// `self ^= a & b`, in one pass.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn xor_and(&mut self, a: &BitVec, b: &BitVec) {
        assert!(self.len == a.len && self.len == b.len, "vectors of different lengths");
        let both = a.words.iter().zip(&*b.words).map(|(a, b)| a & b);
        self.words.iter_mut().zip(both).for_each(|(word, both)| *word ^= both);
    }

    /// Bits `range`, which begins at a multiple of 64.
    ///
    /// # Panics
    /// When there are no such bits, or the range begins elsewhere.
    pub fn slice(&self, range: Range<usize>) -> BitVec {
        assert!(range.start.is_multiple_of(64) && range.end <= self.len, "bits {range:?} of {}", self.len);
        let mut part = BitVec::zeros(range.len());
        let words = part.words.len();
        part.words.copy_from_slice(&self.words[range.start / 64..][..words]);
        part.clear_rest();
        part
    }

    /// Replaces the bits from `at` on, a multiple of 64, by those of `part`, which ends at a
    /// multiple of 64 or with this vector.
    ///
    /// # Panics
    /// When the part does not lie in the vector, or begins or ends elsewhere.
    pub fn put(&mut self, at: usize, part: &BitVec) {
        let end = at + part.len;
        let whole = end.is_multiple_of(64) || end == self.len;
        assert!(at.is_multiple_of(64) && whole && end <= self.len, "bits {at}..{end} of {}", self.len);
        self.words[at / 64..][..part.words.len()].copy_from_slice(&part.words);
    }

    /// Adds bits to those from `at` on, which may be any position.
    ///
    /// # Panics
    /// When there are no such bits.
    pub fn xor_at(&mut self, at: usize, part: &BitVec) {
        assert!(at + part.len <= self.len, "bits {at} + {} of {}", part.len, self.len);
        let (first, shift) = (at / 64, at % 64);
        for (i, &word) in part.words.iter().enumerate() {
            self.words[first + i] ^= word << shift;
            // What does not fit in is the beginning of the next one; `>> 1` first, for a shift by 64
            // is none.
            if let Some(next) = self.words.get_mut(first + i + 1) {
                *next ^= word >> 1 >> (63 - shift);
            }
        }
    }

    /// Changes every bit.
    pub fn invert(&mut self) {
        self.words.iter_mut().for_each(|word| *word = !*word);
        self.clear_rest();
    }

    pub(crate) fn clear_rest(&mut self) {
        if let (Some(last), rest @ 1..) = (self.words.last_mut(), self.len % 64) {
            *last &= (1 << rest) - 1;
        }
    }

    /// The bits that are set in both.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn and(&self, other: &BitVec) -> BitVec {
        assert_eq!(self.len, other.len, "vectors of different lengths");
        let mut both = self.clone();
        both.words.iter_mut().zip(&*other.words).for_each(|(a, b)| *a &= b);
        both
    }

    /// Appends the bits, eight in a byte, the first one lowest; bits behind the last one are 0.
    pub fn pack_into(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + BitVec::packed_len(self.len), 0);
        self.pack_to(&mut out[start..]);
    }

    /// Writes the bits as [`BitVec::pack_into`] does.
    ///
    /// # Panics
    /// Unless `packed` is [`BitVec::packed_len`] bytes long.
    pub fn pack_to(&self, packed: &mut [u8]) {
        assert_eq!(packed.len(), BitVec::packed_len(self.len), "bytes of another vector");
        for (bytes, word) in packed.chunks_mut(8).zip(&*self.words) {
            bytes.copy_from_slice(&word.to_le_bytes()[..bytes.len()]);
        }
    }

    /// Reads `len` bits from exactly their bytes.
    ///
    /// # Errors
    /// When the number of bytes is not [`BitVec::packed_len`] or bits behind the last one are set.
    pub fn unpack(len: usize, bytes: &[u8]) -> Result<BitVec, UnpackError> {
        check_packed(len, bytes)?;
        let mut bits = BitVec::zeros(len);
        bits.unpack_part(0..len, bytes)?;
        Ok(bits)
    }

    /// Reads the bits of a range from exactly their bytes, those of a vector of their own. The range
    /// begins at a multiple of 64, and ends at one or with this vector.
    ///
    /// # Errors
    /// What [`BitVec::unpack`] refuses. The bits are as before then.
    ///
    /// # Panics
    /// When there are no such bits, or the range begins or ends elsewhere.
    pub fn unpack_part(&mut self, range: Range<usize>, bytes: &[u8]) -> Result<(), UnpackError> {
        let whole = range.end.is_multiple_of(64) || range.end == self.len;
        assert!(
            range.start.is_multiple_of(64) && whole && range.end <= self.len,
            "bits {range:?} of {}",
            self.len
        );
        check_packed(range.len(), bytes)?;
        for (word, bytes) in self.words[range.start / 64..].iter_mut().zip(bytes.chunks(8)) {
            let mut full = [0; 8];
            full[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(full);
        }
        Ok(())
    }

    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    pub(crate) fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }
}

/// Whether these are the bytes of `len` bits, those behind the last one 0.
fn check_packed(len: usize, bytes: &[u8]) -> Result<(), UnpackError> {
    let expected = BitVec::packed_len(len);
    if bytes.len() != expected {
        return Err(UnpackError::Length { len, expected, got: bytes.len() });
    }
    match (bytes.last(), len % 8) {
        (Some(last), rest @ 1..) if last >> rest != 0 => Err(UnpackError::Padding { limb: 0 }),
        _ => Ok(()),
    }
}

impl FromIterator<bool> for BitVec {
    fn from_iter<I: IntoIterator<Item = bool>>(bits: I) -> BitVec {
        let bits: Vec<bool> = bits.into_iter().collect();
        let mut vector = BitVec::zeros(bits.len());
        (0..bits.len()).filter(|&i| bits[i]).for_each(|i| vector.flip(i));
        vector
    }
}

impl fmt::Debug for BitVec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BitVec").field("len", &self.len).finish_non_exhaustive()
    }
}
