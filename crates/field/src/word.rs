//! Windows of lifted integers: a few bits of every element (`docs/protocol.md`, section 6.10).

use std::fmt;
use std::ops::Range;

use crate::bits::BitVec;
use crate::kernels;
use crate::parallel::{self, LIGHT};
use crate::storage::Words;
use crate::vector::LimbVec;

/// A vector of words of up to 52 bits.
///
/// Wiped when dropped; `Debug` shows the length only.
#[derive(Clone, PartialEq, Eq)]
pub struct WordVec {
    words: Words,
}

impl WordVec {
    /// `floor(x / 2^unit) mod 2^width` of every lifted element.
    ///
    /// # Panics
    /// When the window is wider than a word or reaches beyond the modulus.
    pub fn window(x: &LimbVec, unit: u32, width: u32) -> WordVec {
        assert!(width <= 52 && unit + width <= x.limbs().bits(), "a window of bits {unit} + {width}");
        let planes: Vec<&[u64]> = (0..x.limbs().count()).map(|l| x.plane(l)).collect();
        let mut window = WordVec { words: Words::zeros(x.len()) };
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

    /// Does `work` with ranges of `grain` words at least, each with its words for writing.
    fn for_parts(&mut self, grain: usize, work: impl Fn(Range<usize>, &mut [u64]) + Sync) {
        let (len, part) = (self.len(), parallel::part_len(self.len(), grain));
        let ranges = (0..len).step_by(part).map(|start| start..len.min(start + part));
        parallel::for_each(ranges.zip(self.words.chunks_mut(part)), |(range, words)| work(range, words));
    }
}

impl fmt::Debug for WordVec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WordVec").field("len", &self.len()).finish_non_exhaustive()
    }
}
