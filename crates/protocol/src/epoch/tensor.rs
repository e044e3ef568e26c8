//! One masked weight tensor as it arrives at a party, part by part: there is never a second copy of
//! all weights.

use crate::Fault;
use crate::affine::{Affine, Part, parts, sample};
use crate::fingerprint::TensorFingerprint;
use crate::label::LabelStream;
use crate::transcript::Digest;
use crate::wire::unpack;
use amicus_field::{FieldError, LimbVec, Limbs, Seed};
use amicus_plan::{Plan, WeightId};

/// Bytes of a part's number before its elements.
pub(crate) const PART_NUMBER_BYTES: usize = 4;

/// `D_W` and `[W]_i` of one tensor, as far as they have arrived.
#[derive(Debug)]
pub(super) struct Tensor {
    limbs: Limbs,
    parts: Vec<Part>,
    next: usize,
    mask: LabelStream,
    /// Whether this is the party whose share contains `D_W`.
    first: bool,
    masked: Affine,
    share: Affine,
    fingerprint: TensorFingerprint,
}

impl Tensor {
    /// A tensor of which nothing has arrived; `mask` is the stream of this party's share of its
    /// mask.
    pub(super) fn new(
        plan: &Plan,
        id: WeightId,
        mask: LabelStream,
        nonce: &Seed,
        first: bool,
    ) -> Result<Self, FieldError> {
        let (spec, limbs) = (plan.weight(id), plan.limbs);
        Ok(Tensor {
            limbs,
            parts: parts(spec),
            next: 0,
            mask,
            first,
            masked: Affine::zeros(spec, limbs)?,
            share: Affine::zeros(spec, limbs)?,
            fingerprint: TensorFingerprint::new(nonce, id),
        })
    }

    pub(super) fn complete(&self) -> bool {
        self.next == self.parts.len()
    }

    /// Takes the next part; `seen` gets its number and its elements.
    pub(super) fn part(&mut self, body: &[u8], seen: impl FnOnce(u32, &LimbVec)) -> Result<(), Fault> {
        let Some((number, packed)) = body.split_first_chunk::<PART_NUMBER_BYTES>() else {
            return Err(Fault::Length { expected: PART_NUMBER_BYTES, got: body.len() });
        };
        let number = u32::from_le_bytes(*number) as usize;
        if number < self.next {
            return Err(Fault::Duplicate(format!("part {number} of masked weights")));
        }
        let Some(part) = self.parts.get(self.next).filter(|_| number == self.next) else {
            return Err(Fault::Unexpected(format!(
                "part {number} of masked weights, {} are there",
                self.next
            )));
        };
        let masked = unpack(self.limbs, part.len(), packed)?;
        seen(number as u32, &masked);
        self.fingerprint.part(body);
        let mut share = sample(part, &self.mask, self.limbs);
        share.neg_assign();
        if self.first {
            share.add_assign(&masked);
        }
        self.share.write(part, share);
        self.masked.write(part, masked);
        self.next += 1;
        Ok(())
    }

    /// `D_W`, `[W]_i`, and the fingerprint of `D_W`.
    pub(super) fn finish(self) -> (Affine, Affine, Digest) {
        (self.masked, self.share, self.fingerprint.finish())
    }
}
