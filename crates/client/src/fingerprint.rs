//! The fingerprint of the loaded model, compared at all parties.
//!
//! Equal fingerprints show that all parties hold the same masked weights; if they also equal the
//! one that the owner made known, that these are the owner's.

use crate::Message;
use amicus_protocol::transcript::Digest;
use amicus_protocol::wire::{Header, Kind};
use amicus_protocol::{EpochId, Fault, PartyId, ProtocolError, Step};

/// Fingerprints heard so far.
#[derive(Debug, Default)]
pub struct Fingerprints(Option<(EpochId, Digest)>);

impl Fingerprints {
    /// The question, for every party.
    pub fn question() -> Message {
        Message { header: Header::epoch(Kind::Fingerprint, EpochId(0), 0), body: Vec::new() }
    }

    /// The epoch that all parties heard so far have loaded.
    pub fn epoch(&self) -> Option<EpochId> {
        self.0.map(|(epoch, _)| epoch)
    }

    /// Takes a party's answer.
    ///
    /// # Errors
    /// A wrong length; another epoch or fingerprint than a party before had.
    pub fn answer(&mut self, from: PartyId, epoch: EpochId, body: &[u8]) -> Result<Digest, ProtocolError> {
        let fail = |fault| ProtocolError::peer(from, Step::load_part("fingerprint"), fault);
        let bytes = <[u8; 32]>::try_from(body);
        let digest = Digest(bytes.map_err(|_| fail(Fault::Length { expected: 32, got: body.len() }))?);
        if *self.0.get_or_insert((epoch, digest)) != (epoch, digest) {
            return Err(fail(Fault::Disagreement("fingerprint of the model".into())));
        }
        Ok(digest)
    }
}
