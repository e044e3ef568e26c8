//! The batch check at the helper and the value that proves it passed (`docs/protocol.md`, sections
//! 6.7 and 6.8).
//!
//! [`Accepted`] is made here only. Releasing an output consumes it, and goes through a
//! [`DecisionLog`] first.

use crate::affine::columns;
use crate::epoch::HelperEpoch;
use crate::output::Release;
use crate::preprocess::Dealt;
use crate::transcript::Digest;
use crate::wire::{pack, unpack};
use crate::{Fault, PartyId, ProtocolError, Scope, Step};
use amicus_field::{LimbVec, WordVec, packed_len};
use amicus_plan::Plan;
use std::sync::atomic::Ordering;

/// Failed checks after which an epoch is retired, at most.
pub const FAILURE_LIMIT: u32 = 1 << 10;

/// A party's message to the helper at the end of an inference.
#[derive(Debug)]
pub struct CheckMessage {
    /// One sum per batch element and use, under a share of zero.
    pub sums: LimbVec,
    /// One boolean sum per batch element and number of a bit, under a share of zero.
    pub bits: WordVec,
    /// Keyed hash of the client's input and every opened value.
    pub transcript: Digest,
    /// Per receiver, the hash of the output message under the receiver's key.
    pub outputs: Vec<Digest>,
}

impl CheckMessage {
    /// The message as bytes: packed sums, boolean sums, transcript hash, output hashes.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = pack(&self.sums);
        self.bits.pack_into(&mut body);
        body.extend_from_slice(&self.transcript.0);
        self.outputs.iter().for_each(|d| body.extend_from_slice(&d.0));
        body
    }

    /// Reads a party's message for `batch` inputs and a number of receivers.
    ///
    /// # Errors
    /// A wrong length, a residue out of range.
    pub fn decode(
        plan: &Plan,
        batch: usize,
        receivers: usize,
        from: PartyId,
        body: &[u8],
    ) -> Result<Self, ProtocolError> {
        let count = batch * plan.check_slots();
        let packed = packed_len(plan.limbs, count);
        let words = batch * plan.boolean_slots();
        let packed_words = WordVec::packed_len(words);
        let expected = packed + packed_words + 32 * (1 + receivers);
        let fail = |fault| ProtocolError::peer(from, Step::Check, fault);
        if body.len() != expected {
            return Err(fail(Fault::Length { expected, got: body.len() }));
        }
        let (sums, rest) = body.split_at(packed);
        let (bits, hashes) = rest.split_at(packed_words);
        let sums = unpack(plan.limbs, count, sums).map_err(fail)?;
        let bits = WordVec::unpack(words, bits).map_err(|e| fail(e.into()))?;
        let mut digests = hashes.chunks_exact(32).map(|chunk| {
            let mut digest = [0; 32];
            digest.copy_from_slice(chunk);
            Digest(digest)
        });
        let transcript = digests.next().ok_or_else(|| fail(Fault::Length { expected, got: body.len() }))?;
        Ok(CheckMessage { sums, bits, transcript, outputs: digests.collect() })
    }
}

/// Where the helper writes its decision, durably, before anything of it leaves the machine.
pub trait DecisionLog {
    /// Why a record could not be written.
    type Error;

    /// Records that an inference was accepted, with everything needed to repeat the release after a
    /// crash.
    ///
    /// # Errors
    /// When the record is not certain to survive a crash; nothing is released then.
    fn accepted(&mut self, scope: Scope, release: &[u8]) -> Result<(), Self::Error>;
}

/// Proof that the check of one inference passed. Only [`verify`](HelperEpoch::verify) makes it.
#[derive(Debug)]
pub struct Accepted {
    scope: Scope,
    release: Release,
}

impl Accepted {
    /// Records the decision, then hands out what the receivers may learn.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn release<L: DecisionLog>(self, log: &mut L) -> Result<Release, L::Error> {
        log.accepted(self.scope, &self.release.encode_all())?;
        Ok(self.release)
    }
}

impl HelperEpoch {
    /// Whether the epoch may still be used; it is retired after [`FAILURE_LIMIT`] failed checks, or
    /// fewer where [`retired_after`](HelperEpoch::retired_after) says so.
    ///
    /// # Errors
    /// [`ProtocolError::Retired`] with the number of failures.
    pub fn usable(&self) -> Result<(), ProtocolError> {
        match self.failures.load(Ordering::Relaxed) {
            failures if failures >= self.failure_limit => Err(ProtocolError::Retired { failures }),
            _ => Ok(()),
        }
    }

    /// Decides about one inference from all parties' messages, in party order. Consumes what was
    /// dealt: a decision is made once.
    ///
    /// # Errors
    /// [`ProtocolError::Rejected`] when hashes or sums are wrong, without saying which; nothing is
    /// released.
    pub fn verify(&self, dealt: Dealt, messages: &[CheckMessage]) -> Result<Accepted, ProtocolError> {
        if messages.len() != self.parties.count() {
            return Err(ProtocolError::Misuse(format!(
                "{} messages, expected {}",
                messages.len(),
                self.parties.count()
            )));
        }
        if dealt.scope.epoch != self.epoch {
            return Err(ProtocolError::Misuse(format!(
                "material of {} in {}",
                dealt.scope.epoch, self.epoch
            )));
        }
        let first = &messages[0];
        let agree = messages.iter().all(|m| m.transcript == first.transcript && m.outputs == first.outputs);
        let mut sums = LimbVec::zeros(self.plan.limbs, dealt.constants.len());
        messages.iter().for_each(|m| sums.add_assign(&m.sums));
        let mut bits = WordVec::from_words(&dealt.bit_constants);
        messages.iter().for_each(|m| bits.xor_assign(&m.bits));
        let right = sums == LimbVec::from_elements(self.plan.limbs, &dealt.constants)
            && bits == WordVec::zeros(dealt.bit_constants.len());
        if !(agree && right) {
            // Only agreeing parties' wrong sums tell anything of the keys (and without agreement
            // sums are noise).
            self.failures.fetch_add(u32::from(agree), Ordering::Relaxed);
            return Err(ProtocolError::Rejected { step: Step::Check });
        }
        let release = Release::new(&self.plan, &self.values, &dealt, &first.outputs)?;
        Ok(Accepted { scope: dealt.scope, release })
    }

    /// Bytes of the longest correction message of a load, for limits on frames.
    pub fn longest_load_message(plan: &Plan) -> usize {
        let layer = |w| packed_len(plan.limbs, columns(w)) + packed_len(plan.limbs, w.shape.outputs());
        plan.weights.iter().map(layer).max().unwrap_or(0)
    }
}
