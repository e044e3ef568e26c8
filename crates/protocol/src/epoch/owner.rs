//! The model owner's side of a load: mask every weight tensor with a mask that only the helper
//! knows too.

use super::{SEED_BYTES, gather, seed_from};
use crate::affine::{Part, sample};
use crate::authentic::AuthenticationKeys;
use crate::label::{Label, Purpose};
use crate::{Fault, Parties, Peer, ProtocolError, Scope, Step};
use amicus_field::{LimbVec, Seed};
use amicus_plan::{Plan, WeightId};
use std::sync::Arc;

/// The owner's grant: for every weight tensor the seeds of the parties' shares of its mask, and a
/// key shared with each party.
#[derive(Debug)]
pub struct OwnerLoad {
    plan: Arc<Plan>,
    parties: Parties,
    scope: Scope,
    seeds: Vec<Seed>,
    keys: AuthenticationKeys,
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
        let count = plan.weights.len() * parties.count();
        let expected = (count + parties.count()) * SEED_BYTES;
        let fail = |fault| ProtocolError::peer(Peer::Helper, Step::load_part("grant"), fault);
        let wrong = || fail(Fault::Length { expected, got: body.len() });
        let (seeds, keys) = body.split_at_checked(count * SEED_BYTES).ok_or_else(wrong)?;
        let keys = AuthenticationKeys::decode(parties, keys).map_err(|_| wrong())?;
        let seeds = gather(count, seeds.chunks_exact(SEED_BYTES).map(seed_from)).map_err(fail)?;
        Ok(OwnerLoad { plan, parties, scope, seeds, keys })
    }

    /// The load granted: its session, epoch and number.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The owner's keys: every message to a party carries a tag under one of them.
    pub fn authentication(&self) -> &AuthenticationKeys {
        &self.keys
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
