//! Messages of corrections: some elements of all vectors that are dealt together, so that what a
//! message is made of, and what it becomes, stays in a core's second-level cache, and so that all
//! parties get about as many bytes.

use crate::{Parties, PartyId};
use amicus_field::{BitVec, LimbVec, Limbs, pack_to, packed_len};
use std::ops::Range;
use zeroize::Zeroizing;

/// Bytes of a message of corrections, at most, where a vector has more than [`FEWEST`] elements.
const PIECE: usize = 1 << 16;

/// Elements of a vector in a message that is not the last one, at least. Messages begin at multiples
/// of it, which are whole bytes of every packed form.
const FEWEST: usize = 64;

/// Vectors of one length whose elements are dealt side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// How many.
    pub vectors: usize,
    /// Their length.
    pub len: usize,
}

/// The correction vectors of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorrectionShape {
    /// None.
    Nothing,
    /// Vectors of elements, in the order in which they are dealt.
    Elements(Vec<Group>),
    /// Vectors of bits, all of one length.
    Bits {
        /// How many.
        count: usize,
        /// Their length.
        len: usize,
    },
}

/// What one message holds: some elements of some of an operation's vectors, vector by vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The vectors, numbered over all groups.
    pub vectors: Range<usize>,
    /// The elements of each.
    pub elements: Range<usize>,
    /// Bytes of the message.
    pub bytes: usize,
    /// Whose shares of these elements it holds; all others draw theirs.
    pub to: PartyId,
}

/// Who gets which message of an inference's corrections: all parties about as many bytes.
///
/// Helper and parties ask for the operations in the plan's order, and get the same answers.
#[derive(Clone, Debug)]
pub struct Recipients {
    parties: Parties,
    /// Bytes of each party so far.
    bytes: Vec<u64>,
}

impl Recipients {
    /// Before the first operation.
    pub fn new(parties: Parties) -> Self {
        Recipients { parties, bytes: vec![0; parties.count()] }
    }

    /// Bytes of each party so far.
    pub fn bytes(&self) -> &[u64] {
        &self.bytes
    }

    /// The party of the next message: the one with the fewest bytes so far, the last one of several.
    fn next(&mut self, bytes: usize) -> PartyId {
        let so_far = |party: &PartyId| self.bytes[party.index()];
        let fewest = |least: PartyId, party| if so_far(&party) <= so_far(&least) { party } else { least };
        let to = self.parties.all().fold(PartyId::FIRST, fewest);
        self.bytes[to.index()] += bytes as u64;
        to
    }
}

impl CorrectionShape {
    /// Whether an operation has corrections at all.
    pub fn is_nothing(&self) -> bool {
        *self == CorrectionShape::Nothing
    }

    /// Bytes of all messages. Saturates: nothing is that long.
    pub fn bytes(&self, limbs: Limbs) -> usize {
        let of_group = |group: Group| self.packed(limbs, group.len).saturating_mul(group.vectors);
        self.groups().into_iter().map(of_group).fold(0, usize::saturating_add)
    }

    /// Bytes of the longest message. Saturates.
    pub fn longest(&self, limbs: Limbs) -> usize {
        let of_group = |group: Group| {
            let elements = group.len.min(self.block(limbs, group.vectors));
            self.packed(limbs, elements).saturating_mul(group.vectors)
        };
        self.groups().into_iter().map(of_group).max().unwrap_or(0)
    }

    /// How many messages there are. Saturates.
    pub fn messages(&self, limbs: Limbs) -> usize {
        let of_group = |group: Group| group.len.div_ceil(self.block(limbs, group.vectors));
        self.groups().into_iter().map(of_group).fold(0, usize::saturating_add)
    }

    /// The messages, in their order.
    pub fn pieces(&self, limbs: Limbs, recipients: &mut Recipients) -> Vec<Piece> {
        let mut first = 0;
        let groups = self.groups().into_iter().map(move |group| {
            let vectors = first..first + group.vectors;
            first = vectors.end;
            (vectors, group.len)
        });
        let mut pieces = Vec::new();
        for (vectors, len) in groups {
            let block = self.block(limbs, vectors.len());
            pieces.extend((0..len).step_by(block).map(|start| {
                let elements = start..len.min(start + block);
                let bytes = self.packed(limbs, elements.len()).saturating_mul(vectors.len());
                Piece { vectors: vectors.clone(), elements, bytes, to: recipients.next(bytes) }
            }));
        }
        pieces
    }

    /// Elements of so many vectors in a message, but for the last one.
    fn block(&self, limbs: Limbs, vectors: usize) -> usize {
        let pair = self.packed(limbs, 2).saturating_mul(vectors).max(1);
        (PIECE / pair).saturating_mul(2).max(FEWEST) / FEWEST * FEWEST
    }

    fn groups(&self) -> Vec<Group> {
        match self {
            CorrectionShape::Nothing => Vec::new(),
            CorrectionShape::Elements(groups) => groups.clone(),
            &CorrectionShape::Bits { count, len } => vec![Group { vectors: count, len }],
        }
    }

    /// Bytes of one vector.
    fn packed(&self, limbs: Limbs, len: usize) -> usize {
        match self {
            CorrectionShape::Nothing => 0,
            CorrectionShape::Elements(_) => packed_len(limbs, len),
            CorrectionShape::Bits { .. } => BitVec::packed_len(len),
        }
    }
}

/// The body of a message, written vector by vector. Wiped unless it is taken.
pub(crate) struct Body {
    bytes: Zeroizing<Vec<u8>>,
    filled: usize,
}

impl Body {
    /// A body in as many zeros as it has bytes.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Body { bytes: Zeroizing::new(bytes), filled: 0 }
    }

    /// Writes the elements of the next vector.
    pub(crate) fn push(&mut self, elements: &LimbVec) {
        pack_to(elements, self.next(packed_len(elements.limbs(), elements.len())));
    }

    /// Writes the bits of the next vector.
    pub(crate) fn push_bits(&mut self, bits: &BitVec) {
        bits.pack_to(self.next(BitVec::packed_len(bits.len())));
    }

    fn next(&mut self, bytes: usize) -> &mut [u8] {
        let start = self.filled;
        self.filled += bytes;
        &mut self.bytes[start..self.filled]
    }

    /// The bytes of all vectors.
    pub(crate) fn take(mut self) -> Vec<u8> {
        debug_assert_eq!(self.filled, self.bytes.len(), "bytes of vectors that were not written");
        std::mem::take(&mut *self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes() -> Vec<CorrectionShape> {
        let group = |vectors, len| Group { vectors, len };
        vec![
            CorrectionShape::Nothing,
            CorrectionShape::Elements(vec![group(22, 4704), group(1, 1176)]),
            CorrectionShape::Elements(vec![group(2, 1)]),
            CorrectionShape::Elements(vec![group(13, 100_001)]),
            CorrectionShape::Bits { count: 24, len: 5 },
            CorrectionShape::Bits { count: 20_000, len: 129 },
        ]
    }

    fn parties(n: usize) -> Parties {
        Parties::new(n).unwrap()
    }

    #[test]
    fn parties_get_as_many_bytes_but_for_one_message() {
        for (limbs, n) in Limbs::ALL.into_iter().zip([2, 3, 8]) {
            let mut recipients = Recipients::new(parties(n));
            let mut bytes = vec![0; n];
            for piece in shapes().iter().flat_map(|shape| shape.pieces(limbs, &mut recipients)) {
                bytes[piece.to.index()] += piece.bytes as u64;
            }
            assert_eq!(recipients.bytes(), bytes);
            let longest = shapes().iter().map(|shape| shape.longest(limbs)).max().unwrap() as u64;
            assert!(bytes.iter().max().unwrap() - bytes.iter().min().unwrap() <= longest, "{bytes:?}");
        }
        // One message for each operation, the first to the last party.
        let group = Group { vectors: 3, len: 10 };
        let one = CorrectionShape::Elements(vec![group]);
        let mut recipients = Recipients::new(parties(3));
        let of_each = (0..5).flat_map(|_| one.pieces(Limbs::ONE, &mut recipients)).map(|p| p.to.number());
        assert_eq!(of_each.collect::<Vec<_>>(), [3, 2, 1, 3, 2]);
    }

    #[test]
    fn numbers_of_absurd_shapes_saturate() {
        let group = Group { vectors: usize::MAX, len: usize::MAX };
        for limbs in Limbs::ALL {
            let shape = CorrectionShape::Elements(vec![group; 3]);
            assert_eq!((shape.bytes(limbs), shape.longest(limbs)), (usize::MAX, usize::MAX));
            assert_eq!(shape.messages(limbs), usize::MAX / 64 * 3 + 3);
        }
    }

    #[test]
    fn messages_hold_every_element_of_every_vector_once() {
        for limbs in Limbs::ALL {
            for shape in shapes() {
                let mut bytes = 0;
                let mut left: Vec<Vec<Range<usize>>> =
                    shape.groups().iter().flat_map(|g| vec![Vec::new(); g.vectors]).collect();
                let pieces = shape.pieces(limbs, &mut Recipients::new(parties(3)));
                assert_eq!(pieces.len(), shape.messages(limbs));
                assert_eq!(pieces.iter().map(|p| p.bytes).max().unwrap_or(0), shape.longest(limbs));
                for piece in pieces {
                    assert!(piece.elements.start.is_multiple_of(FEWEST) && !piece.elements.is_empty());
                    assert!(piece.bytes <= PIECE || piece.elements.len() <= FEWEST, "{piece:?}");
                    bytes += piece.bytes;
                    piece.vectors.for_each(|vector| left[vector].push(piece.elements.clone()));
                }
                assert_eq!(bytes, shape.bytes(limbs));
                let lengths = shape.groups().into_iter().flat_map(|g| vec![g.len; g.vectors]);
                for (parts, len) in left.into_iter().zip(lengths) {
                    assert_eq!(parts.into_iter().flatten().collect::<Vec<_>>(), (0..len).collect::<Vec<_>>());
                }
            }
        }
    }
}
