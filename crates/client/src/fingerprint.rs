//! The fingerprint of the loaded model, compared at all parties.
//!
//! Equal fingerprints show that all parties hold the same masked weights; if they also equal the
//! one that the owner made known, that these are the owner's.

use crate::Message;
use amicus_plan::PlanDigest;
use amicus_protocol::transcript::Digest;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{Culprit, EpochId, Fault, PartyId, Peer, ProtocolError, Scope, Step};

/// Fingerprints heard so far.
#[derive(Debug, Default)]
pub struct Fingerprints(Option<(PartyId, EpochId, Digest)>);

impl Fingerprints {
    /// The question for the model of a plan, for every party.
    pub fn question(plan: &PlanDigest) -> Message {
        Message { header: Header::new(Kind::Fingerprint, Scope::NONE, 0), body: plan.0.to_vec() }
    }

    /// The epoch that all parties heard so far have loaded.
    pub fn epoch(&self) -> Option<EpochId> {
        self.0.map(|(_, epoch, _)| epoch)
    }

    /// Takes a party's answer.
    ///
    /// # Errors
    /// A wrong length; another epoch or fingerprint than a party before had. Either of them may lie
    /// then, or the owner told them different things.
    pub fn answer(&mut self, from: PartyId, epoch: EpochId, body: &[u8]) -> Result<Digest, ProtocolError> {
        let step = Step::load_part("fingerprint");
        let Ok(bytes) = <[u8; 32]>::try_from(body) else {
            let fault = Fault::Length { expected: 32, got: body.len() };
            return Err(ProtocolError::peer(from, step, fault));
        };
        let digest = Digest(bytes);
        let (first, loaded, known) = *self.0.get_or_insert((from, epoch, digest));
        if (loaded, known) != (epoch, digest) {
            let culprits = Culprit::OneOf(vec![Peer::Party(first), Peer::Party(from), Peer::Owner]);
            let fault = Fault::Disagreement("fingerprint of the model".into());
            return Err(ProtocolError::peer(culprits, step, fault));
        }
        Ok(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amicus_protocol::Parties;

    /// Whoever is asked first is not believed more than others.
    #[test]
    fn no_party_is_believed_more_than_another_or_the_owner() {
        let [one, two] = [1, 2].map(|n| Parties::new(2).unwrap().party(n).unwrap());
        let [first, second] = [1, 2].map(|byte| EpochId::from_bytes([byte; 16]));
        for (epoch, body) in [(first, [8; 32]), (second, [7; 32])] {
            let mut fingerprints = Fingerprints::default();
            fingerprints.answer(one, first, &[7; 32]).unwrap();
            let error = fingerprints.answer(two, epoch, &body).unwrap_err().to_string();
            assert!(error.contains("party 1, party 2 or model owner misbehaved"), "{error}");
        }
        let error = Fingerprints::default().answer(two, first, &[7; 31]).unwrap_err().to_string();
        assert!(error.contains("party 2 misbehaved: message of 31 bytes"), "{error}");
    }
}
