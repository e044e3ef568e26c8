//! What an inference will cost, from the plan alone.
//!
//! Byte counts are payload: packed elements of `52 L` bits. Frame headers, TLS records and the few
//! control messages come on top (below 2% for every network in this repository).

use crate::{Activation, MaskKind, OpKind, Plan, PlanError, Schedule, WrapRule};
use amicus_field::{Limbs, packed_len};

/// Rounds, bytes and work of one inference of `batch` inputs among `parties` compute parties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// One-way hops in sequence from the client's first message to its result.
    pub rounds: usize,
    /// Bytes one party sends to one other party online.
    pub sent_bytes_per_party: u64,
    /// Bytes of corrections the helper sends, all parties together.
    pub dealt_bytes: u64,
    /// Multiply-adds with weights that one party computes online, all limbs together; preprocessing
    /// takes as many, with public weights only the helper's.
    pub multiply_adds: u64,
    /// Bytes of expanded one-time material one party holds for the inference.
    pub material_bytes: u64,
}

/// What one operation has of a [`Cost`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpCost {
    /// Bytes one party sends to one other party for it.
    pub sent_bytes_per_party: u64,
    /// Bytes of corrections for it, all parties together.
    pub dealt_bytes: u64,
    /// Multiply-adds with weights, all limbs together.
    pub multiply_adds: u64,
    /// Bytes of expanded one-time material for it.
    pub material_bytes: u64,
}

impl Activation {
    /// Correction elements dealt for one element fed in: coefficients and their tags.
    pub fn corrections_per_input(&self) -> usize {
        let d = self.degree();
        match self.wrap {
            WrapRule::Exact => 4 * d - 2,
            WrapRule::Statistical => 2 * d - 2,
        }
    }
}

impl Plan {
    /// The cost of one inference, for `batch` inputs at once.
    ///
    /// # Errors
    /// When the plan is invalid.
    pub fn cost(&self, batch: usize) -> Result<Cost, PlanError> {
        let input = self.values()?.get(crate::ValueId::INPUT).len;
        // Input, the openings, the check at the helper, the release.
        let rounds = Schedule::of(self).openings() + 3;
        let mut all = Cost {
            rounds,
            sent_bytes_per_party: 0,
            dealt_bytes: 0,
            multiply_adds: 0,
            material_bytes: expanded(self.limbs, input, batch),
        };
        for op in self.op_costs(batch)? {
            let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
            add(&mut all.sent_bytes_per_party, op.sent_bytes_per_party);
            add(&mut all.dealt_bytes, op.dealt_bytes);
            add(&mut all.multiply_adds, op.multiply_adds);
            add(&mut all.material_bytes, op.material_bytes);
        }
        Ok(all)
    }

    /// What every operation has of it, in their order; local ones have nothing.
    ///
    /// # Errors
    /// When the plan is invalid.
    pub fn op_costs(&self, batch: usize) -> Result<Vec<OpCost>, PlanError> {
        let values = self.values()?;
        let limbs = self.limbs;
        // Saturating: the shapes of a hostile plan and a batch multiply to more than a word.
        let element_bytes = |elements: usize| packed_len(limbs, elements.saturating_mul(batch)) as u64;
        // A plane of bits.
        let bit_bytes = |elements: usize| elements.saturating_mul(batch).div_ceil(8) as u64;
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        let mut all = Vec::new();
        for (index, op) in self.indexed_ops() {
            let (mut sent, mut dealt, mut macs, mut material) = (0u64, 0u64, 0u64, 0u64);
            let result = values.get(crate::ValueId::of(index));
            let out = result.len;
            // The mask of a result that the parties share is one correction more.
            let shared = usize::from(result.mask == MaskKind::Shared);
            let held = match &op.kind {
                OpKind::Linear { weights, .. } => {
                    add(&mut sent, element_bytes(out));
                    let each = self.weight(*weights).shape.multiply_adds() as u64;
                    add(&mut macs, each.saturating_mul(batch as u64).saturating_mul(limbs.count() as u64));
                    out
                }
                OpKind::PublicLinear { weights, .. } => {
                    let each = self.public_tensor(*weights).spec.shape.multiply_adds() as u64;
                    add(&mut macs, each.saturating_mul(batch as u64).saturating_mul(limbs.count() as u64));
                    0
                }
                OpKind::Multiply { .. } => {
                    add(&mut sent, element_bytes(out));
                    add(&mut dealt, element_bytes(out).saturating_mul(2));
                    out.saturating_mul(4)
                }
                OpKind::Activation(a) => {
                    let inputs = values.get(a.input).len;
                    add(&mut sent, element_bytes(out));
                    add(&mut dealt, element_bytes(inputs).saturating_mul(a.corrections_per_input() as u64));
                    add(&mut dealt, element_bytes(out).saturating_mul(shared as u64));
                    a.corrections_per_input() * inputs + (2 + shared) * out
                }
                OpKind::Compare(c) => {
                    add(&mut dealt, bit_bytes(out).saturating_mul(c.dealt_bits() as u64));
                    let openings: usize = c.openings().iter().sum();
                    add(&mut sent, bit_bytes(out).saturating_mul(openings as u64));
                    add(&mut sent, c.proof_bytes(out.saturating_mul(batch)) as u64);
                    // Bits that are dealt, and masks.
                    let bits = c.dealt_bits() + openings;
                    add(&mut material, bit_bytes(out).saturating_mul(bits as u64));
                    0
                }
                OpKind::Truncate(_) => {
                    add(&mut sent, element_bytes(out));
                    add(&mut dealt, element_bytes(out).saturating_mul(2 + shared as u64));
                    out.saturating_mul(4 + shared)
                }
                OpKind::Select(s) => {
                    let (inputs, each) = (values.get(s.input).len, s.corrections_per_input());
                    add(&mut sent, element_bytes(out));
                    add(&mut dealt, element_bytes(inputs).saturating_mul(each as u64));
                    add(&mut dealt, element_bytes(out).saturating_mul(shared as u64));
                    inputs.saturating_mul(each).saturating_add(out.saturating_mul(2 + shared))
                }
                OpKind::Outside(o) => {
                    let (inputs, numbers) = (values.get(o.input).len, o.numbers as usize);
                    add(&mut sent, element_bytes(out));
                    let each = o.corrections_per_input() as u64;
                    add(&mut dealt, element_bytes(inputs).saturating_mul(each));
                    inputs.saturating_mul(4 * numbers).saturating_add(2 * out)
                }
                OpKind::Add { .. }
                | OpKind::SumPool { .. }
                | OpKind::Slice { .. }
                | OpKind::Concat { .. }
                | OpKind::Weigh { .. }
                | OpKind::Subtract { .. }
                | OpKind::Gather { .. }
                | OpKind::Xnor { .. } => 0,
            };
            add(&mut material, expanded(limbs, held, batch));
            all.push(OpCost {
                sent_bytes_per_party: sent,
                dealt_bytes: dealt,
                multiply_adds: macs,
                material_bytes: material,
            });
        }
        Ok(all)
    }
}

/// Bytes of elements that are not packed, for every input.
fn expanded(limbs: Limbs, elements: usize, batch: usize) -> u64 {
    elements.saturating_mul(batch).saturating_mul(8 * limbs.count()) as u64
}
