//! Vectors of words: 52 bits that add by exclusive or (`docs/protocol.md`, section 2). Shares of
//! bits with their tags, keys of them, and windows of lifted integers.

use std::fmt;
use std::ops::Range;

use crate::bits::BitVec;
use crate::error::UnpackError;
use crate::kernels::{self, Digits};
use crate::parallel::{self, LIGHT};
use crate::prime::word_bits;
use crate::storage::Words;
use crate::vector::LimbVec;

/// A vector of 52-bit words.
///
/// Wiped when dropped; `Debug` shows the length only. Methods that combine vectors panic when their
/// lengths differ, as those of [`LimbVec`] do.
#[derive(Clone, PartialEq, Eq)]
pub struct WordVec {
    words: Words,
}

/// One digit of every element of a window.
#[derive(Clone, Copy, Debug)]
pub struct Digit<'a> {
    /// The windows, from [`WordVec::window`].
    pub window: &'a WordVec,
    /// Position of its lowest bit.
    pub low: u32,
    /// Its bits.
    pub width: u32,
}

impl Digit<'_> {
    fn rows(&self, range: &Range<usize>) -> Digits<'_> {
        assert!(self.low + self.width <= 52, "a digit beyond the words");
        Digits { window: &self.window.words[range.clone()], low: self.low, width: self.width }
    }
}

impl WordVec {
    /// Bits of a word.
    pub fn bits() -> u32 {
        word_bits()
    }

    /// `len` words 0.
    pub fn zeros(len: usize) -> WordVec {
        WordVec { words: Words::zeros(len) }
    }

    /// The words given.
    ///
    /// # Panics
    /// When one is not below 2^52.
    pub fn from_words(words: &[u64]) -> WordVec {
        assert!(words.iter().all(|word| word >> 52 == 0), "a word of more than 52 bits");
        let mut vector = WordVec::zeros(words.len());
        vector.words.copy_from_slice(words);
        vector
    }

    /// `floor(x / 2^unit) mod 2^width` of every lifted element.
    ///
    /// # Panics
    /// When the window is wider than a word or reaches beyond the modulus.
    pub fn window(x: &LimbVec, unit: u32, width: u32) -> WordVec {
        assert!(width <= 52 && unit + width <= x.limbs().bits(), "a window of bits {unit} + {width}");
        let planes: Vec<&[u64]> = (0..x.limbs().count()).map(|l| x.plane(l)).collect();
        let mut window = WordVec::zeros(x.len());
        window.for_parts(LIGHT / 16, |range, window| {
            let planes: Vec<&[u64]> = planes.iter().map(|plane| &plane[range.clone()]).collect();
            kernels::window(x.limbs(), unit, width, &planes, window);
        });
        window
    }

    /// The number of words.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there are no words.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Word `i`.
    ///
    /// # Panics
    /// When `i` is not below the length.
    pub fn get(&self, i: usize) -> u64 {
        self.words[i]
    }

    /// Replaces word `i`.
    ///
    /// # Panics
    /// When `i` is not below the length or the word is not below 2^52.
    pub fn set(&mut self, i: usize, word: u64) {
        assert!(word >> 52 == 0, "a word of more than 52 bits");
        self.words[i] = word;
    }

    /// `self ^= other`.
    pub fn xor_assign(&mut self, other: &WordVec) {
        self.check(other.len());
        self.for_parts(LIGHT, |range, words| kernels::xor_assign(words, &other.words[range]));
    }

    /// `self ^=` the words of every term whose bit is set.
    pub fn xor_selected(&mut self, terms: &[(&WordVec, &BitVec)]) {
        terms.iter().for_each(|(words, bits)| {
            self.check(words.len());
            self.check(bits.len());
        });
        let terms: Vec<(&[u64], &[u64])> =
            terms.iter().map(|(words, bits)| (&*words.words, bits.words())).collect();
        self.for_parts(LIGHT / terms.len().max(1), |range, words| {
            let terms = terms.iter().map(|&(words, bits)| (&words[range.clone()], bits_of(bits, &range)));
            let terms: Vec<(&[u64], &[u64])> = terms.collect();
            kernels::xor_selected(&terms, words);
        });
    }

    /// The words whose bit is set, 0 elsewhere.
    pub fn selected(&self, bits: &BitVec) -> WordVec {
        let mut selected = WordVec::zeros(self.len());
        selected.xor_selected(&[(self, bits)]);
        selected
    }

    /// The entry of a digit's table at `position`: this key where `position` is below the digit, 0
    /// elsewhere.
    pub fn entry(&self, digit: Digit<'_>, position: u64) -> WordVec {
        self.check(digit.window.len());
        let mut entry = WordVec::zeros(self.len());
        entry.for_parts(LIGHT, |range, entry| {
            kernels::entry(digit.rows(&range), position, &self.words[range.clone()], entry);
        });
        entry
    }

    /// With this key, the words that a digit picks from the entries of its table: of the bit "less",
    /// and of the bit "equal" if it is wanted.
    pub fn pick(&self, digit: Digit<'_>, table: &[WordVec], equal: bool) -> (WordVec, Option<WordVec>) {
        self.check(digit.window.len());
        table.iter().for_each(|entry| self.check(entry.len()));
        let entries: Vec<&[u64]> = table.iter().map(|entry| &*entry.words).collect();
        let mut less = WordVec::zeros(self.len());
        let mut same = WordVec::zeros(if equal { self.len() } else { 0 });
        let part = parallel::part_len(self.len(), LIGHT / (entries.len() + 2));
        let ranges = (0..self.len()).step_by(part).map(|start| start..self.len().min(start + part));
        let mut equals = same.words.chunks_mut(part);
        let parts = ranges.zip(less.words.chunks_mut(part)).map(|(r, less)| (r, less, equals.next()));
        parallel::for_each(parts, |(range, less, equal)| {
            let entries: Vec<&[u64]> = entries.iter().map(|entry| &entry[range.clone()]).collect();
            let key = &self.words[range.clone()];
            kernels::pick(digit.rows(&range), &entries, key, less, equal.unwrap_or_default());
        });
        (less, equal.then_some(same))
    }

    /// One bit of every word.
    ///
    /// # Panics
    /// When words have no such bit.
    pub fn bit(&self, position: u32) -> BitVec {
        assert!(position < 52, "bit {position} of a word");
        let mut bits = BitVec::zeros(self.len());
        kernels::bit(&self.words, position, bits.words_mut());
        bits
    }

    /// Sets bit 0 of every word to `value`.
    pub fn force_low_bit(&mut self, value: bool) {
        self.words.iter_mut().for_each(|word| *word = *word & !1 | u64::from(value));
    }

    /// The exclusive or of the words of a range, and of the keys there whose bit is set.
    pub fn xor_sum(&self, key: &WordVec, bits: &BitVec, range: Range<usize>) -> u64 {
        self.check(key.len());
        self.check(bits.len());
        kernels::xor_sum(&self.words[range.clone()], &key.words[range.clone()], bits.words(), range.start)
    }

    /// Bytes of `len` packed words: 13 for every two, 7 for an odd last one. Saturates.
    pub const fn packed_len(len: usize) -> usize {
        (len / 2).saturating_mul(13).saturating_add(len % 2 * 7)
    }

    /// Appends the packed words, as residues are packed.
    pub fn pack_into(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + WordVec::packed_len(self.len()), 0);
        self.pack_to(&mut out[start..]);
    }

    /// Writes the packed words.
    ///
    /// # Panics
    /// Unless `packed` is [`WordVec::packed_len`] bytes long.
    pub fn pack_to(&self, packed: &mut [u8]) {
        assert_eq!(packed.len(), WordVec::packed_len(self.len()), "bytes of another vector");
        let part = parallel::part_len(self.len(), LIGHT);
        let parts = self.words.chunks(part).zip(packed.chunks_mut(WordVec::packed_len(part)));
        parallel::for_each(parts, |(words, bytes)| kernels::pack(words, bytes));
    }

    /// Reads `len` words from exactly their bytes. Every word of 52 bits is one.
    ///
    /// # Errors
    /// When the number of bytes is not [`WordVec::packed_len`] or padding bits are not zero.
    pub fn unpack(len: usize, bytes: &[u8]) -> Result<WordVec, UnpackError> {
        check_length(len, bytes)?;
        let mut words = WordVec::zeros(len);
        words.unpack_part(0..len, bytes)?;
        Ok(words)
    }

    /// Reads the words of a range from exactly their bytes, those of a vector of their own.
    ///
    /// # Errors
    /// What [`WordVec::unpack`] refuses. The words are unspecified then.
    ///
    /// # Panics
    /// When there are no such words.
    pub fn unpack_part(&mut self, range: Range<usize>, bytes: &[u8]) -> Result<(), UnpackError> {
        check_length(range.len(), bytes)?;
        if kernels::unpack_words(bytes, &mut self.words[range]) {
            Ok(())
        } else {
            Err(UnpackError::Padding { limb: 0 })
        }
    }

    /// Writes words over those from `at` on.
    ///
    /// # Panics
    /// When there are no such words.
    pub fn put(&mut self, at: usize, part: &WordVec) {
        self.words[at..at + part.len()].copy_from_slice(&part.words);
    }

    pub(crate) fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }

    /// Does `work` with ranges of `grain` words at least, each with its words for writing.
    fn for_parts(&mut self, grain: usize, work: impl Fn(Range<usize>, &mut [u64]) + Sync) {
        let (len, part) = (self.len(), parallel::part_len(self.len(), grain));
        let ranges = (0..len).step_by(part).map(|start| start..len.min(start + part));
        parallel::for_each(ranges.zip(self.words.chunks_mut(part)), |(range, words)| work(range, words));
    }

    fn check(&self, len: usize) {
        assert_eq!(self.len(), len, "vectors of different lengths");
    }
}

/// The bits of a range that begins at a multiple of 64.
fn bits_of<'a>(bits: &'a [u64], range: &Range<usize>) -> &'a [u64] {
    &bits[range.start / 64..range.end.div_ceil(64)]
}

fn check_length(len: usize, bytes: &[u8]) -> Result<(), UnpackError> {
    let expected = WordVec::packed_len(len);
    if bytes.len() == expected {
        Ok(())
    } else {
        Err(UnpackError::Length { len, expected, got: bytes.len() })
    }
}

impl fmt::Debug for WordVec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WordVec").field("len", &self.len()).finish_non_exhaustive()
    }
}
