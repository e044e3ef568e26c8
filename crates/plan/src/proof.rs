//! How the proof that a comparison's bits are right is cut into chunks (`docs/protocol.md`, section
//! 6.14).

use crate::values::MAX_DEALT;
use crate::{Compare, OpKind, Plan, Values};
use std::ops::Range;

/// Numbers that a chunk is a sum over, at most, where it has more than [`FEWEST`] elements: 1 MiB of
/// them, which stays in a core's second-level cache.
const LONGEST: usize = 1 << 16;

/// Elements of a chunk that is not the last one, at least. Chunks begin at multiples of it, which are
/// whole words of bits.
const FEWEST: usize = 64;

/// Rounds of a chunk's sumcheck, at most.
pub const MAX_ROUNDS: u32 = LONGEST.ilog2();

// Also where a chunk is as short as may be.
const _: () = assert!(FEWEST * (MAX_DEALT.0 + MAX_DEALT.1) < LONGEST);

/// Some elements whose bits are proven together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The elements, batch element by batch element.
    pub elements: Range<usize>,
    /// Rounds of the sumcheck: it is over `2^rounds` numbers, of which the last is no dealt bit's.
    pub rounds: usize,
}

impl Chunk {
    /// Bytes of its part of a party's proof: two elements of GF(2^128) for each round.
    pub fn proof_bytes(&self) -> usize {
        2 * 16 * self.rounds
    }

    /// Bytes of its part of the report on all parties' proofs: the seed of the weights, and for each
    /// party the challenges and two results.
    pub fn report_bytes(&self, parties: usize) -> usize {
        32 + parties * 16 * (self.rounds + 2)
    }
}

impl Compare {
    /// The chunks that the proof for `len` elements is cut into.
    pub fn chunks(&self, len: usize) -> impl Iterator<Item = Chunk> + use<> {
        let bits = self.dealt_bits().max(1);
        let each = ((LONGEST - 1) / bits).max(FEWEST) / FEWEST * FEWEST;
        (0..len).step_by(each).map(move |start| {
            let elements = start..len.min(start.saturating_add(each));
            let numbers = bits.saturating_mul(elements.len()).saturating_add(1);
            let rounds = numbers.checked_next_power_of_two().map_or(usize::BITS, usize::ilog2) as usize;
            Chunk { elements, rounds }
        })
    }

    /// Bytes of a party's proof for `len` elements.
    pub fn proof_bytes(&self, len: usize) -> usize {
        self.sum(len, Chunk::proof_bytes)
    }

    /// Bytes of the report on all parties' proofs for `len` elements.
    pub fn report_bytes(&self, len: usize, parties: usize) -> usize {
        self.sum(len, |chunk| chunk.report_bytes(parties))
    }

    /// Bytes that the helper keeps of a comparison of `len` elements which it dealt, until proofs are
    /// checked: all parties' shares of bits, dealt and masks, and masks of proofs.
    pub fn kept_bytes(&self, len: usize, parties: usize) -> usize {
        let bits = self.dealt_bits().saturating_add(self.openings().iter().sum());
        let shares = bits.saturating_mul(8 * len.div_ceil(64));
        shares.saturating_add(self.proof_bytes(len)).saturating_mul(parties)
    }

    /// The sum over all chunks, which are alike but for the last.
    fn sum(&self, len: usize, of: impl Fn(&Chunk) -> usize) -> usize {
        let each = self.chunks(len).next().map_or(1, |chunk| chunk.elements.len());
        let first = self.chunks(len.min(each)).map(|chunk| of(&chunk)).sum::<usize>();
        let rest = self.chunks(len % each).map(|chunk| of(&chunk)).sum::<usize>();
        (len / each).saturating_mul(first).saturating_add(rest)
    }
}

impl Plan {
    /// Bytes of the report on all parties' proofs of all comparisons of `batch` inputs.
    pub fn report_bytes(&self, values: &Values, batch: usize, parties: usize) -> usize {
        let of = |kind: &OpKind| match kind {
            OpKind::Compare(c) => c.report_bytes(values.get(c.input).len.saturating_mul(batch), parties),
            _ => 0,
        };
        self.ops.iter().map(|op| of(&op.kind)).fold(0, usize::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ValueId;

    fn compare(digits: &[u32], thresholds: usize) -> Compare {
        let thresholds = (0..thresholds as i128).collect();
        Compare { input: ValueId(0), thresholds, unit: 0, digits: digits.to_vec() }
    }

    #[test]
    fn chunks_hold_every_element_once_and_as_many_numbers_as_fit() {
        for compare in [compare(&[2; 6], 1), compare(&[1], 1), compare(&[9], 3), compare(&[2; 6], 20)] {
            let bits = compare.dealt_bits();
            for len in [0, 1, 63, 64, 65, 4704, 100_001] {
                let chunks: Vec<Chunk> = compare.chunks(len).collect();
                let mut next = 0;
                for chunk in &chunks {
                    assert_eq!((chunk.elements.start, chunk.elements.start % 64), (next, 0));
                    next = chunk.elements.end;
                    let numbers = bits * chunk.elements.len() + 1;
                    assert!(numbers <= 1 << chunk.rounds && numbers > 1 << (chunk.rounds - 1));
                    assert!(chunk.rounds <= 16 || chunk.elements.len() <= FEWEST);
                }
                assert_eq!(next, len);
                for parties in [2, 5] {
                    let bytes = |of: &dyn Fn(&Chunk) -> usize| chunks.iter().map(of).sum::<usize>();
                    assert_eq!(compare.proof_bytes(len), bytes(&Chunk::proof_bytes));
                    assert_eq!(compare.report_bytes(len, parties), bytes(&|c| c.report_bytes(parties)));
                }
            }
        }
    }

    #[test]
    fn absurd_lengths_saturate() {
        let compare = compare(&[2; 6], 1);
        assert!(compare.report_bytes(usize::MAX, 8) > compare.proof_bytes(1 << 40));
        assert!(compare.chunks(usize::MAX).next().is_some());
    }
}
