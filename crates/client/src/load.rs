//! A model load as the owner sees it.

use crate::Message;
use amicus_field::Seed;
use amicus_plan::{Plan, WeightId};
use amicus_protocol::affine::LayerWeights;
use amicus_protocol::epoch::OwnerLoad;
use amicus_protocol::wire::{Header, Kind, pack_all};
use amicus_protocol::{EpochId, Parties, ProtocolError};
use std::sync::Arc;

/// A load that the helper granted.
#[derive(Debug)]
pub struct Loading {
    load: OwnerLoad,
    nonce: Seed,
}

/// Asks for a load of this plan; the message is for the helper.
///
/// # Errors
/// When the plan cannot be encoded.
pub fn request(plan: &Plan) -> Result<Message, ProtocolError> {
    let header = Header::epoch(Kind::LoadRequest, EpochId(0), 0);
    Ok(Message { header, body: plan.digest()?.0.to_vec() })
}

impl Loading {
    /// Takes the helper's grant.
    ///
    /// # Errors
    /// A grant that does not decode, or no randomness.
    pub fn granted(
        plan: Arc<Plan>,
        parties: Parties,
        header: &Header,
        body: &[u8],
    ) -> Result<Self, ProtocolError> {
        let load = OwnerLoad::from_grant(plan, parties, header.epoch, body)?;
        Ok(Loading { load, nonce: Seed::random()? })
    }

    /// The epoch.
    pub fn epoch(&self) -> EpochId {
        self.load.epoch()
    }

    /// The nonce of the model's fingerprint, for every party; the helper must not have it.
    pub fn nonce(&self) -> Message {
        let header = Header::epoch(Kind::Nonce, self.epoch(), 0);
        Message { header, body: self.nonce.as_bytes().to_vec() }
    }

    /// One masked weight tensor, the same message for every party.
    ///
    /// # Errors
    /// Weights whose sizes do not fit the plan.
    pub fn tensor(&self, id: WeightId, plain: &LayerWeights) -> Result<Message, ProtocolError> {
        let body = pack_all(self.load.mask(id, plain)?.vectors());
        Ok(Message { header: Header::epoch(Kind::Weights, self.epoch(), id.0), body })
    }
}
