//! A model load as the owner sees it.

use crate::{Message, ToParties};
use amicus_field::{Randomness, Seed, pack_into};
pub use amicus_plan::weights::WeightSource;
use amicus_plan::weights::parts;
use amicus_plan::{Plan, WeightId};
use amicus_protocol::authentic::AuthenticationKeys;
use amicus_protocol::epoch::OwnerLoad;
use amicus_protocol::fingerprint::{ModelFingerprint, TensorFingerprint};
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{EpochId, Parties, ProtocolError, Scope};
use std::sync::Arc;

/// A load that the helper granted.
#[derive(Debug)]
pub struct Loading {
    plan: Arc<Plan>,
    load: OwnerLoad,
    nonce: Seed,
}

/// Asks for a load of this plan; the message is for the helper.
///
/// # Errors
/// When the plan cannot be encoded.
pub fn request(plan: &Plan) -> Result<Message, ProtocolError> {
    let header = Header::new(Kind::LoadRequest, Scope::NONE, 0);
    Ok(Message { header, body: plan.digest()?.0.to_vec() })
}

impl Loading {
    /// Takes the helper's grant and draws the nonce.
    ///
    /// # Errors
    /// A grant that does not decode, or no randomness.
    pub fn granted(
        plan: Arc<Plan>,
        parties: Parties,
        header: &Header,
        body: &[u8],
        randomness: &mut dyn Randomness,
    ) -> Result<Self, ProtocolError> {
        let load = OwnerLoad::from_grant(Arc::clone(&plan), parties, header.scope(), body)?;
        Ok(Loading { plan, load, nonce: randomness.seed()? })
    }

    /// The epoch.
    pub fn epoch(&self) -> EpochId {
        self.scope().epoch
    }

    /// The load: its session, epoch and number.
    pub fn scope(&self) -> Scope {
        self.load.scope()
    }

    /// The nonce of the model's fingerprint, for every party; the helper must not have it.
    pub fn nonce(&self) -> ToParties {
        let header = Header::new(Kind::Nonce, self.scope(), 0);
        ToParties::new(header, self.nonce.as_bytes().to_vec(), self.authentication())
    }

    /// The keys that the owner shares with the parties.
    pub fn authentication(&self) -> &AuthenticationKeys {
        self.load.authentication()
    }

    /// The fingerprint of the masked model, to be fed with the messages that are sent. Clients get
    /// the result from the owner and compare it with what the parties say.
    ///
    /// # Errors
    /// When the plan cannot be encoded.
    pub fn fingerprint(&self) -> Result<ModelFingerprint, ProtocolError> {
        Ok(ModelFingerprint::new(&self.nonce, self.epoch(), &self.plan.digest()?))
    }

    /// The fingerprint of one tensor, to be fed with the bodies of its messages.
    pub fn tensor_fingerprint(&self, id: WeightId) -> TensorFingerprint {
        TensorFingerprint::new(&self.nonce, id)
    }

    /// The messages of one masked weight tensor, part by part.
    pub fn tensor<'a, W: WeightSource + ?Sized>(
        &'a self,
        id: WeightId,
        source: &'a W,
    ) -> impl Iterator<Item = Result<ToParties, ProtocolError>> + 'a {
        let spec = self.plan.weight(id);
        (0u32..).zip(parts(spec)).map(move |(number, part)| {
            let plain = source.part(id, &part, self.plan.limbs).ok_or_else(|| {
                ProtocolError::Misuse(format!("layer {}: there are no such weights: {part:?}", spec.name))
            })?;
            let mut body = number.to_le_bytes().to_vec();
            pack_into(&self.load.mask(id, &part, plain)?, &mut body);
            let header = Header::new(Kind::Weights, self.scope(), id.0);
            Ok(ToParties::new(header, body, self.authentication()))
        })
    }
}
