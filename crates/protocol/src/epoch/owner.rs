//! The model owner's side of a load: mask every weight tensor with a mask that only the helper
//! knows too.

use super::{SEED_BYTES, gather, seed_from};
use crate::affine::{Part, sample};
use crate::label::{Label, Purpose};
use crate::{Fault, Parties, Peer, ProtocolError, Scope, Step};
use amicus_field::{LimbVec, Seed};
use amicus_plan::{Plan, WeightId};
use std::sync::Arc;

/// The owner's grant: for every weight tensor the seeds of the parties' shares of its mask.
#[derive(Debug)]
pub struct OwnerLoad {
    plan: Arc<Plan>,
    parties: Parties,
    scope: Scope,
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
        scope: Scope,
        body: &[u8],
    ) -> Result<Self, ProtocolError> {
        let expected = plan.weights.len() * parties.count() * SEED_BYTES;
        if body.len() != expected {
            let fault = Fault::Length { expected, got: body.len() };
            return Err(ProtocolError::peer(Peer::Helper, Step::load_part("grant"), fault));
        }
        let seeds = body.chunks_exact(SEED_BYTES).map(seed_from);
        let seeds = gather(expected / SEED_BYTES, seeds)
            .map_err(|fault| ProtocolError::peer(Peer::Helper, Step::load_part("grant"), fault))?;
        Ok(OwnerLoad { plan, parties, scope, seeds })
    }

    /// The load granted: its session, epoch and number.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// One part of `D_W = W + M_W`. Goes to every party, the same bytes.
    ///
    /// # Errors
    /// When `plain` does not have as many elements as the part.
    pub fn mask(&self, id: WeightId, part: &Part, plain: LimbVec) -> Result<LimbVec, ProtocolError> {
        if plain.len() != part.len() || plain.limbs() != self.plan.limbs {
            let (name, got, expected) = (&self.plan.weight(id).name, plain.len(), part.len());
            return Err(ProtocolError::Misuse(format!("layer {name}: {got} values, expected {expected}")));
        }
        let n = self.parties.count();
        let label = Label::epoch(Purpose::WeightMask, self.scope.epoch, id.0);
        let mut masked = plain;
        for seed in &self.seeds[id.index() * n..(id.index() + 1) * n] {
            masked.add_assign(&sample(part, &label.expand(seed), self.plan.limbs));
        }
        Ok(masked)
    }
}
