//! The client's side of an inference's beginning: mask the input (`docs/protocol.md`, section 6.1).

use crate::epoch::SEED_BYTES;
use crate::label::{Label, Purpose, domain};
use crate::{Fault, Parties, Peer, ProtocolError, Scope, Step};
use amicus_field::{LimbVec, Seed};
use amicus_plan::{Plan, ValueId};
use std::sync::Arc;

/// The client's right to one inference: its id and the seeds of the input's mask. Used once.
#[derive(Debug)]
pub struct Ticket {
    plan: Arc<Plan>,
    scope: Scope,
    batch: usize,
    seeds: Vec<Seed>,
}

impl Ticket {
    /// Reads the helper's grant: one seed per party.
    ///
    /// # Errors
    /// A body of the wrong length.
    pub fn from_grant(
        plan: Arc<Plan>,
        parties: Parties,
        scope: Scope,
        batch: usize,
        body: &[u8],
    ) -> Result<Self, ProtocolError> {
        let expected = parties.count() * SEED_BYTES;
        if body.len() != expected {
            return Err(ProtocolError::peer(
                Peer::Helper,
                Step::Input,
                Fault::Length { expected, got: body.len() },
            ));
        }
        let seeds = body
            .chunks_exact(SEED_BYTES)
            .map(|chunk| {
                let mut seed = [0; SEED_BYTES];
                seed.copy_from_slice(chunk);
                Seed::from_bytes(seed)
            })
            .collect();
        Ok(Ticket { plan, scope, batch, seeds })
    }

    /// The inference, its session and epoch.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// `D_x = x + m_x`, the message for every party. `x` holds `batch` inputs one after the other,
    /// as integers at the plan's input scale.
    ///
    /// # Errors
    /// An input of the wrong length.
    pub fn mask(self, x: &[i64]) -> Result<LimbVec, ProtocolError> {
        let len = self.plan.values()?.get(ValueId::INPUT).len * self.batch;
        if x.len() != len {
            return Err(ProtocolError::Misuse(format!("input of {} elements, expected {len}", x.len())));
        }
        let mut masked = LimbVec::from_i64(self.plan.limbs, x);
        let label = Label::new(Purpose::InputMask, self.scope, 0);
        for seed in &self.seeds {
            masked.add_assign(&label.expand(seed).sample(domain::MAIN, self.plan.limbs, len));
        }
        Ok(masked)
    }
}
