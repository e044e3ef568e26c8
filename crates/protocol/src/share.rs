//! A party's share of what is opened: elements, or bits of a comparison (`docs/protocol.md`, section
//! 6).

use crate::Fault;
use crate::wire::{pack_bits, unpack_bits};
use amicus_field::{BitVec, LimbVec, pack_to, packed_len};

/// A share of everything that one operation opens in a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Share {
    /// Elements, which add up modulo `Q`.
    Elements(LimbVec),
    /// Planes of bits, which add up by exclusive or: a plane holds one bit of every element.
    Bits(Vec<BitVec>),
}

impl Share {
    /// The share as message body.
    pub fn pack(&self) -> Vec<u8> {
        self.pack_in(|bytes| vec![0; bytes])
    }

    /// The share as message body, that of elements in so many zeros as `memory` is asked for.
    pub fn pack_in(&self, memory: impl FnOnce(usize) -> Vec<u8>) -> Vec<u8> {
        match self {
            Share::Elements(elements) => {
                let mut body = memory(packed_len(elements.limbs(), elements.len()));
                pack_to(elements, &mut body);
                body
            }
            Share::Bits(planes) => pack_bits(planes),
        }
    }

    /// Adds another party's share, from its message.
    ///
    /// # Errors
    /// A wrong length, a residue out of range, padding that is not zero. The sum is of no use then.
    pub fn receive(&mut self, body: &[u8]) -> Result<(), Fault> {
        match self {
            Share::Elements(sum) => {
                let expected = packed_len(sum.limbs(), sum.len());
                if body.len() != expected {
                    return Err(Fault::Length { expected, got: body.len() });
                }
                Ok(amicus_field::unpack_add(sum, body)?)
            }
            Share::Bits(sum) => {
                let len = sum.first().map_or(0, BitVec::len);
                let planes = unpack_bits(sum.len(), len, body)?;
                sum.iter_mut().zip(&planes).for_each(|(sum, plane)| sum.xor_assign(plane));
                Ok(())
            }
        }
    }

    /// How many elements or bits there are.
    pub fn len(&self) -> usize {
        match self {
            Share::Elements(elements) => elements.len(),
            Share::Bits(planes) => planes.iter().map(BitVec::len).sum(),
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an error to one element, or changes one bit where the error is not 0; bits are counted
    /// plane by plane. For attack tests and demonstrations only.
    #[cfg(feature = "danger")]
    pub fn danger_shift(&mut self, at: usize, error: amicus_field::Element) {
        match self {
            Share::Elements(elements) => elements.set(at, elements.get(at) + error),
            Share::Bits(planes) => {
                let len = planes.first().map_or(1, BitVec::len);
                if !error.is_zero() {
                    planes[at / len].flip(at % len);
                }
            }
        }
    }
}
