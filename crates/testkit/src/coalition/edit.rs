//! What the bodies of messages hold, and changes of it: elements, bits of a comparison, proofs that
//! they are right, and the report on these.

use super::moves::Error;
use crate::nets::Net;
use amicus_field::{BitVec, Element, I256, LimbVec, Limbs, PRIMES, pack_into, packed_len, unpack};
use amicus_plan::{OpKind, Plan, Stage, ValueId, Values};
use amicus_protocol::authentic::TAG_BYTES;
use amicus_protocol::wire::{Header, Kind, pack_bits, unpack_bits};
use std::sync::Arc;

/// A change of what a body holds.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// Adds to an element; flips a bit.
    Add(usize, Element),
    /// Multiplies all by a number: bits by an even one are 0, and -1 inverts them.
    Scale(i64),
    /// Exchanges two elements, or bits.
    Swap(usize, usize),
    /// The negative of all; bits are their own.
    Negate,
}

/// How bodies of an execution are read.
#[derive(Debug)]
pub struct Bodies {
    plan: Arc<Plan>,
    values: Values,
    batch: usize,
    parties: usize,
}

impl Bodies {
    /// For inferences of `batch` inputs of a network among so many parties.
    ///
    /// # Panics
    /// When the network's plan is not valid.
    pub fn new(net: &Net, batch: usize, parties: usize) -> Self {
        let values = net.plan.values().expect("a valid plan");
        Bodies { plan: Arc::clone(&net.plan), values, batch, parties }
    }

    /// Indices of messages of openings, and of proofs behind those of their comparison, in the order of
    /// the plan.
    pub fn openings(&self) -> Vec<u32> {
        let ops = self.plan.indexed_ops();
        let stages = ops.flat_map(|(op, kind)| {
            let proof = usize::from(matches!(kind.kind, OpKind::Compare(_)));
            (0u32..).take(kind.kind.levels() + proof).map(move |level| Stage { op, level })
        });
        stages.map(Stage::index).collect()
    }

    /// Planes of bits that the opening of an index has, and their length; none where elements are
    /// opened.
    fn planes(&self, index: u32) -> Option<(usize, usize)> {
        let Stage { op, level } = Stage::from_index(index);
        let OpKind::Compare(compare) = &self.plan.ops.get(op.index())?.kind else { return None };
        let planes = compare.openings().get(level as usize).copied()?;
        Some((planes, self.values.get(ValueId::of(op)).len * self.batch))
    }

    /// Whether the message of an index is a proof.
    fn is_proof(&self, index: u32) -> bool {
        let stage = Stage::from_index(index);
        let kind = self.plan.ops.get(stage.op.index()).map(|op| &op.kind);
        matches!(kind, Some(OpKind::Compare(compare)) if stage.is_proof(compare))
    }

    /// A body with its contents changed; none when it holds nothing of the kind.
    pub fn edit(&self, header: &Header, body: &[u8], change: Change) -> Option<Vec<u8>> {
        let planes = (header.kind == Kind::Opening).then(|| self.planes(header.index)).flatten();
        if let Some((count, len)) = planes {
            let mut planes = unpack_bits(count, len, body).ok()?;
            change.of_bits(&mut planes);
            return Some(pack_bits(&planes));
        }
        if header.kind == Kind::Opening && self.is_proof(header.index) {
            return change.of_bytes(body);
        }
        let sums = self.batch * self.plan.check_slots();
        let limbs = self.plan.limbs;
        let before = if header.kind == Kind::Weights { 4 } else { 0 };
        let end = match header.kind {
            Kind::Check => packed_len(limbs, sums),
            Kind::Opening | Kind::Tags | Kind::LoadResponse => body.len(),
            Kind::Input | Kind::Weights => body.len().saturating_sub(TAG_BYTES),
            _ => return None,
        };
        let report = self.plan.report_bytes(&self.values, self.batch, self.parties);
        if let (Kind::Check, Change::Add(at, _)) = (header.kind, change)
            && let Some(byte) = (at % (sums + report)).checked_sub(sums)
        {
            // One bit of this party's share of the report on proofs.
            let mut edited = body.to_vec();
            *edited.get_mut(end + byte)? ^= 1 << (at % 8);
            return Some(edited);
        }
        let packed = body.get(before..end)?;
        // Two residues take 13 bytes, an odd last one 7.
        let plane = packed.len() / limbs.count();
        let mut vector = unpack(limbs, plane / 13 * 2 + usize::from(plane % 13 == 7), packed).ok()?;
        if vector.is_empty() {
            return None;
        }
        change.of_elements(&mut vector);
        let mut edited = body[..before].to_vec();
        pack_into(&vector, &mut edited);
        edited.extend_from_slice(&body[end..]);
        Some(edited)
    }
}

impl Change {
    fn of_elements(self, vector: &mut LimbVec) {
        let (limbs, len) = (vector.limbs(), vector.len());
        match self {
            Change::Add(at, error) => vector.set(at % len, vector.get(at % len) + error),
            Change::Scale(by) => vector.scale_assign(&Element::from_i128(limbs, i128::from(by))),
            Change::Swap(a, b) => {
                let (x, y) = (vector.get(a % len), vector.get(b % len));
                vector.set(a % len, y);
                vector.set(b % len, x);
            }
            Change::Negate => vector.neg_assign(),
        }
    }

    /// A body of a proof, of elements of GF(2^128), with one of them changed, or two.
    fn of_bytes(self, body: &[u8]) -> Option<Vec<u8>> {
        let mut body = body.to_vec();
        let count = body.len() / 16;
        match self {
            _ if count == 0 => return None,
            Change::Add(at, _) => body[at % count * 16 + at % 16] ^= 1,
            Change::Scale(_) => body.fill(0),
            Change::Swap(a, b) => {
                (0..16).for_each(|byte| body.swap(a % count * 16 + byte, b % count * 16 + byte));
            }
            Change::Negate => {}
        }
        Some(body)
    }

    fn of_bits(self, planes: &mut [BitVec]) {
        let len = planes.first().map_or(0, BitVec::len);
        let all = planes.len() * len;
        let get = |planes: &[BitVec], at: usize| planes[at % all / len].get(at % all % len);
        let flip = |planes: &mut [BitVec], at: usize| planes[at % all / len].flip(at % all % len);
        match self {
            Change::Add(at, _) => flip(planes, at),
            Change::Scale(-1) => planes.iter_mut().for_each(BitVec::invert),
            Change::Scale(_) => planes.iter_mut().for_each(|plane| *plane = BitVec::zeros(len)),
            Change::Swap(a, b) => {
                if get(planes, a) != get(planes, b) {
                    flip(planes, a);
                    flip(planes, b);
                }
            }
            Change::Negate => {}
        }
    }
}

impl Error {
    /// The error as an element; its negative if it is to cancel another.
    pub fn element(self, limbs: Limbs, negative: bool) -> Element {
        let of = |x: I256| Element::from_signed(limbs, x);
        let error = match self {
            Error::One => Element::one(limbs),
            Error::MinusOne => -Element::one(limbs),
            Error::Large(exponent) => Element::power_of_two(limbs, exponent),
            Error::Limb(limb) => {
                let others = (0..limbs.count()).filter(|&other| other != limb % limbs.count());
                others.fold(Element::one(limbs), |product, other| product * of(I256::from(PRIMES[other])))
            }
        };
        if negative { -error } else { error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zoo;
    use amicus_protocol::{EpochId, InferenceId, SessionId};

    fn header(kind: Kind, index: u32) -> Header {
        let (session, epoch) = (SessionId::from_bytes([0; 16]), EpochId::from_bytes([0; 16]));
        Header { kind, hop: 0, index, session, epoch, id: InferenceId(1) }
    }

    /// Openings of bits are changed as bits: the result is one that a party takes.
    #[test]
    fn changed_bits_are_bits() {
        let net = zoo::relu(Limbs::ONE, true, &[2; 6]);
        let bodies = Bodies::new(&net, 3, 2);
        let compare = net.op("compare 0");
        let level = |level: u32| compare | level << 16;
        assert!((0..3).all(|l| bodies.openings().contains(&level(l))), "{:?}", bodies.openings());
        // Five elements of three inputs, eight planes: three joins of pairs.
        let (count, len) = bodies.planes(level(0)).expect("bits");
        assert_eq!((count, len), (8, 15));
        let mut planes = vec![BitVec::zeros(len); count];
        planes[2].flip(7);
        let body = pack_bits(&planes);
        let one = Element::one(Limbs::ONE);
        let edit = |change| bodies.edit(&header(Kind::Opening, level(0)), &body, change).expect("an edit");
        let read = |body: &[u8]| unpack_bits(count, len, body).expect("bits");
        let set =
            |body: &[u8]| read(body).iter().map(|p| (0..len).filter(|&i| p.get(i)).count()).sum::<usize>();
        assert_eq!(set(&edit(Change::Add(119 + 120, one))), 2);
        assert_eq!(set(&edit(Change::Add(2 * 15 + 7, one))), 0);
        assert_eq!(set(&edit(Change::Scale(-1))), 119);
        assert_eq!(set(&edit(Change::Scale(2))), 0);
        assert!(read(&edit(Change::Swap(37, 4)))[0].get(4));
        assert_eq!(edit(Change::Negate), body);
        // Proofs are elements of GF(2^128).
        let proof: Vec<u8> = (0..64).collect();
        let edit = |change| bodies.edit(&header(Kind::Opening, level(3)), &proof, change).expect("an edit");
        assert_eq!(edit(Change::Add(5, one))[21], 21 ^ 1);
        assert_eq!(edit(Change::Swap(0, 5))[..16], proof[16..32]);
        // Elements of another operation as elements.
        let element = edit_of(&bodies, net.op("select 0"), &[0; 15]);
        assert_eq!(element.get(2), one);
    }

    fn edit_of(bodies: &Bodies, index: u32, values: &[i64]) -> LimbVec {
        let mut body = Vec::new();
        pack_into(&LimbVec::from_i64(Limbs::ONE, values), &mut body);
        let change = Change::Add(2, Element::one(Limbs::ONE));
        let edited = bodies.edit(&header(Kind::Opening, index), &body, change).expect("an edit");
        unpack(Limbs::ONE, values.len(), &edited).expect("elements")
    }

    /// Errors in a check message reach its sums and the report on proofs.
    #[test]
    fn all_of_a_check_can_be_changed() {
        let net = zoo::relu(Limbs::TWO, true, &[2; 6]);
        let bodies = Bodies::new(&net, 1, 2);
        let sums = packed_len(Limbs::TWO, net.plan.check_slots());
        let report = net.plan.report_bytes(&net.plan.values().expect("a valid plan"), 1, 2);
        assert!(report > 0);
        let body = vec![0; sums + report + 64];
        let count = net.plan.check_slots() + report;
        let mut seen: Vec<Vec<u8>> = (0..count)
            .map(|at| {
                let change = Change::Add(at, Element::one(Limbs::TWO));
                bodies.edit(&header(Kind::Check, 0), &body, change).expect("an edit")
            })
            .collect();
        assert!(seen.iter().all(|edited| edited.len() == body.len() && *edited != body));
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }
}
