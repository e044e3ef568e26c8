//! A party's share of what is opened: elements, or bits of a comparison, and its proof that the bits
//! are right (`docs/protocol.md`, section 6).

use crate::wire::{pack_bits, unpack_bits};
use crate::{Fault, Parties, PartyId};
use amicus_field::{BitVec, LimbVec, pack_to, packed_len};
use std::fmt;
use std::ops::{Deref, DerefMut};

/// A proof, or what is reported of one, as bytes. `Debug` shows the length only.
#[derive(Clone, PartialEq, Eq)]
pub struct ProofBytes(Vec<u8>);

impl From<Vec<u8>> for ProofBytes {
    fn from(bytes: Vec<u8>) -> Self {
        ProofBytes(bytes)
    }
}

impl Deref for ProofBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for ProofBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl fmt::Debug for ProofBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProofBytes({})", self.0.len())
    }
}

/// What a party sends of one operation in a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Share {
    /// Elements, which add up modulo `Q`.
    Elements(LimbVec),
    /// Planes of bits, which add up by exclusive or: a plane holds one bit of every element.
    Bits(Vec<BitVec>),
    /// A proof that all bits sent for a comparison are right.
    Proof(ProofBytes),
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
            Share::Proof(proof) => proof.to_vec(),
        }
    }

    /// How many elements, bits, or bytes of a proof there are.
    pub fn len(&self) -> usize {
        match self {
            Share::Elements(elements) => elements.len(),
            Share::Bits(planes) => planes.iter().map(BitVec::len).sum(),
            Share::Proof(proof) => proof.len(),
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an error to one element, or changes one bit, or the lowest of a proof's byte, where the error
    /// is not 0; bits are counted plane by plane. For attack tests and demonstrations only.
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
            Share::Proof(proof) => proof[at] ^= u8::from(!error.is_zero()),
        }
    }
}

/// What all parties sent of one operation in a round, as far as it is there.
#[derive(Debug)]
pub(crate) enum Collected {
    /// The sum of the elements.
    Elements(LimbVec),
    /// Every party's planes of bits, which each of them has to prove to be right.
    Bits(Vec<Vec<BitVec>>),
    /// Every party's proof.
    Proofs(Vec<(PartyId, ProofBytes)>),
}

impl Collected {
    /// What is sent of this party's share, and nothing of the others.
    pub(crate) fn new(share: Share, me: PartyId, parties: Parties) -> Self {
        match share {
            Share::Elements(elements) => Collected::Elements(elements),
            Share::Bits(planes) => {
                let of = |party| if party == me { planes.clone() } else { Vec::new() };
                Collected::Bits(parties.all().map(of).collect())
            }
            // Until it is there, a proof stands for its length.
            Share::Proof(proof) => {
                Collected::Proofs(parties.all().map(|party| (party, proof.clone())).collect())
            }
        }
    }

    /// Takes what another party sent, from its message.
    ///
    /// # Errors
    /// A wrong length, a residue out of range, padding that is not zero. What is collected is of no
    /// use then.
    pub(crate) fn receive(&mut self, me: PartyId, from: PartyId, body: &[u8]) -> Result<(), Fault> {
        match self {
            Collected::Elements(sum) => {
                let expected = packed_len(sum.limbs(), sum.len());
                if body.len() != expected {
                    return Err(Fault::Length { expected, got: body.len() });
                }
                Ok(amicus_field::unpack_add(sum, body)?)
            }
            Collected::Bits(all) => {
                let own = &all[me.index()];
                let len = own.first().map_or(0, BitVec::len);
                all[from.index()] = unpack_bits(own.len(), len, body)?;
                Ok(())
            }
            Collected::Proofs(all) => {
                let (_, proof) = &mut all[from.index()];
                let expected = proof.len();
                if body.len() != expected {
                    return Err(Fault::Length { expected, got: body.len() });
                }
                proof.copy_from_slice(body);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_of_another_length_are_refused() {
        let parties = Parties::new(3).unwrap();
        let [me, from] = [1, 2].map(|number| parties.party(number).unwrap());
        let mut collected = Collected::new(Share::Proof(vec![1; 64].into()), me, parties);
        for got in [0, 32, 63, 65] {
            let fault = collected.receive(me, from, &vec![2; got]).unwrap_err();
            assert_eq!(fault, Fault::Length { expected: 64, got });
        }
        collected.receive(me, from, &[2; 64]).unwrap();
        let Collected::Proofs(all) = collected else { panic!("proofs") };
        assert!(all[0].1[..] == [1; 64] && all[1].1[..] == [2; 64]);
    }
}
