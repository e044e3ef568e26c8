//! The model owner's side of a load: mask every weight tensor with a mask that only the helper knows too.

use super::{SEED_BYTES, sample_weights, seed_from};
use crate::affine::LayerWeights;
use crate::{EpochId, Fault, Parties, ProtocolError, Step};
use amicus_field::Seed;
use amicus_plan::{Plan, WeightId};
use std::sync::Arc;

/// The owner's grant: for every weight tensor the seeds of the parties' shares of its mask.
#[derive(Debug)]
pub struct OwnerLoad {
    plan: Arc<Plan>,
    parties: Parties,
    epoch: EpochId,
    seeds: Vec<Seed>,
}

impl OwnerLoad {
    /// Reads the helper's grant.
    ///
    /// # Errors
    /// A body of the wrong length.
    pub fn from_grant(
        plan: Arc<Plan>,
        parties: Parties,
        epoch: EpochId,
        body: &[u8],
    ) -> Result<Self, ProtocolError> {
        let expected = plan.weights.len() * parties.count() * SEED_BYTES;
        if body.len() != expected {
            let fault = Fault::Length { expected, got: body.len() };
            return Err(ProtocolError::peer("helper", Step::load_part("grant"), fault));
        }
        let seeds = body
            .chunks_exact(SEED_BYTES)
            .map(seed_from)
            .collect::<Result<_, _>>()
            .map_err(|fault| ProtocolError::peer("helper", Step::load_part("grant"), fault))?;
        Ok(OwnerLoad { plan, parties, epoch, seeds })
    }

    /// The epoch granted.
    pub fn epoch(&self) -> EpochId {
        self.epoch
    }

    /// `D_W = W + M_W` of one weight tensor. Goes to every party, the same bytes.
    ///
    /// # Errors
    /// Weights whose sizes do not fit the plan.
    pub fn mask(&self, id: WeightId, plain: &LayerWeights) -> Result<LayerWeights, ProtocolError> {
        let spec = self.plan.weight(id);
        plain.check(spec).map_err(|fault| ProtocolError::Misuse(format!("layer {}: {fault}", spec.name)))?;
        let n = self.parties.count();
        let mut masked = plain.clone();
        for seed in &self.seeds[id.index() * n..(id.index() + 1) * n] {
            masked.add_assign(&sample_weights(&seed.stream(), self.plan.limbs, spec));
        }
        Ok(masked)
    }
}
