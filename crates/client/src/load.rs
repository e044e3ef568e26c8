//! A model load as the owner sees it.

use crate::{Message, ToParties};
use amicus_field::{Randomness, Seed, pack_into};
pub use amicus_plan::weights::WeightSource;
use amicus_plan::weights::{Part, parts};
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
        let parts = (0u32..).zip(parts(self.plan.weight(id)));
        parts.map(move |(number, part)| self.masked(id, (number, &part), source))
    }

    /// The message of one part of a masked weight tensor, the same whenever it is asked for as long
    /// as the weights are.
    ///
    /// # Errors
    /// No such part, or no such weights.
    pub fn part<W: WeightSource + ?Sized>(
        &self,
        id: WeightId,
        number: u32,
        source: &W,
    ) -> Result<ToParties, ProtocolError> {
        let parts = parts(self.plan.weight(id));
        let unknown =
            || ProtocolError::Misuse(format!("there is no part {number} of weight tensor {}", id.0));
        let part = parts.get(number as usize).ok_or_else(unknown)?;
        self.masked(id, (number, part), source)
    }

    fn masked<W: WeightSource + ?Sized>(
        &self,
        id: WeightId,
        (number, part): (u32, &Part),
        source: &W,
    ) -> Result<ToParties, ProtocolError> {
        let spec = self.plan.weight(id);
        let plain = source.part(id, part, self.plan.limbs).ok_or_else(|| {
            ProtocolError::Misuse(format!("layer {}: there are no such weights: {part:?}", spec.name))
        })?;
        let mut body = number.to_le_bytes().to_vec();
        pack_into(&self.load.mask(id, part, plain)?, &mut body);
        let header = Header::new(Kind::Weights, self.scope(), id.0);
        Ok(ToParties::new(header, body, self.authentication()))
    }
}
