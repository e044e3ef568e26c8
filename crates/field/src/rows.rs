//! Several vectors over GF(2^128) of one length, and sums of what bits choose of them
//! (`docs/protocol.md`, section 6.14).

use std::fmt;

use crate::binary::Gf128Vec;
use crate::bits::BitVec;
use crate::gf128::Gf128;
use crate::kernels;
use crate::stream::Stream;

/// Vectors over GF(2^128) of one length, one behind the other.
///
/// Wiped when dropped; `Debug` shows their number and length only.
pub struct Gf128Rows {
    len: usize,
    elements: Gf128Vec,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Among these.
    pub rows: &'a Gf128Rows,
    /// Its number.
    pub number: usize,
}

/// A sum of rows: of each all elements, or those whose bit is set.
pub type SumOfRows<'a> = Vec<(Row<'a>, Option<&'a BitVec>)>;

impl Gf128Rows {
    /// So many rows of zeros.
    pub fn zeros(count: usize, len: usize) -> Gf128Rows {
        Gf128Rows { len, elements: Gf128Vec::zeros(len * count) }
    }

    /// Takes another shape, with whatever elements were there: for memory that is written anew.
    pub fn refit(&mut self, count: usize, len: usize) {
        self.elements.refit(count * len);
        self.len = len;
    }

    /// Replaces all rows by the first elements of a stream, of as many domains from 0 on as there are
    /// rows.
    pub fn sample(&mut self, stream: &Stream) {
        if self.len > 0 {
            let rows = self.elements.words_mut().chunks_mut(2 * self.len);
            (0..).zip(rows).for_each(|(domain, row)| stream.words(domain, 0, row));
        }
    }

    /// Replaces rows from number `first` on by these sums.
    ///
    /// # Panics
    /// When a row or bits have another length, or there are fewer rows.
    pub fn write_sums(&mut self, first: usize, sums: &[SumOfRows<'_>]) {
        self.elements.write_sums(first * self.len, self.len, sums, false);
    }

    /// The length of a row.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether rows have no elements.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The sum of the elements of a row whose bit is set.
    ///
    /// # Panics
    /// When there is no such row, or the bits are of another length.
    pub fn sum_selected(&self, number: usize, bits: &BitVec) -> Gf128 {
        assert_eq!(self.len, bits.len(), "vectors of different lengths");
        Gf128::from_words(kernels::sum_selected(self.words(number), bits.words()))
    }

    fn words(&self, number: usize) -> &[u64] {
        &self.elements.words()[2 * number * self.len..][..2 * self.len]
    }
}

impl Gf128Vec {
    /// Writes sums of rows of `len` elements, one behind the other from element `at` on; with `more` adds
    /// them to what is there.
    ///
    /// # Panics
    /// When a row or bits have another length, or there are fewer elements.
    pub fn write_sums(&mut self, at: usize, len: usize, sums: &[SumOfRows<'_>], more: bool) {
        let sums: Vec<kernels::Sum<'_>> = sums
            .iter()
            .enumerate()
            .map(|(i, terms)| {
                let terms = terms.iter().map(|(row, bits)| {
                    assert_eq!(row.rows.len, len, "vectors of different lengths");
                    assert!(bits.is_none_or(|bits| bits.len() == len), "vectors of different lengths");
                    (row.rows.words(row.number), bits.map(BitVec::words))
                });
                (2 * (at + i * len), terms.collect())
            })
            .collect();
        kernels::combine(&sums, more, 2 * len, self.words_mut());
    }
}

impl fmt::Debug for Gf128Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gf128Rows").field("len", &self.len).finish_non_exhaustive()
    }
}
