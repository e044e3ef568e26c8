//! Bodies of corrections: vectors of known lengths, written block by block.

use super::CorrectionShape;
use amicus_field::{LimbVec, Limbs, pack_part, packed_len};
use std::ops::Range;

/// Elements that are dealt at a time: all vectors of so many stay in a core's second-level cache.
/// Even, for two residues share a byte.
const BLOCK: usize = 1024;

/// The body of an operation's corrections.
pub(crate) struct Body<'a> {
    limbs: Limbs,
    lengths: &'a [usize],
    bytes: &'a mut [u8],
}

impl<'a> Body<'a> {
    /// A body of this shape, in as many zeros as it has bytes.
    pub(crate) fn new(limbs: Limbs, shape: &'a CorrectionShape, bytes: &'a mut [u8]) -> Self {
        let lengths = match shape {
            CorrectionShape::Elements(lengths) => &lengths[..],
            CorrectionShape::Words { .. } | CorrectionShape::Nothing => &[],
        };
        Body { limbs, lengths, bytes }
    }

    /// Number of vectors of elements.
    pub(crate) fn vectors(&self) -> usize {
        self.lengths.len()
    }

    /// Writes a part of a vector, from element `first` on.
    pub(crate) fn write(&mut self, vector: usize, first: usize, part: &LimbVec) {
        let before: usize = self.lengths[..vector].iter().map(|&len| packed_len(self.limbs, len)).sum();
        let len = self.lengths[vector];
        let packed = &mut self.bytes[before..][..packed_len(self.limbs, len)];
        pack_part(part, first, len, packed);
    }

    /// Writes all of it at once.
    pub(crate) fn fill(&mut self, bytes: &[u8]) {
        self.bytes.copy_from_slice(bytes);
    }
}

/// Blocks of a vector.
pub(crate) fn blocks(len: usize) -> impl Iterator<Item = Range<usize>> {
    (0..len).step_by(BLOCK).map(move |first| first..len.min(first + BLOCK))
}
