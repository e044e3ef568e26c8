//! The batch check at the helper and the value that proves it passed (`docs/protocol.md`, sections
//! 6.7 and 6.8).
//!
//! [`Accepted`] is made here only. Releasing an output consumes it, and goes through a
//! [`DecisionLog`].

use crate::affine::columns;
use crate::epoch::HelperEpoch;
use crate::output::Release;
use crate::preprocess::Dealt;
use crate::transcript::Digest;
use crate::wire::{pack, unpack};
use crate::{Fault, PartyId, ProtocolError, Scope, Step};
use amicus_field::{BitVec, LimbVec, Limbs, packed_len};
use amicus_plan::{OpKind, Plan, Values};
use std::sync::atomic::Ordering;

/// Failed checks after which an epoch is retired, at most.
pub const FAILURE_LIMIT: u32 = 1 << 10;

/// What a party reports of the proofs that bits of comparisons are right (section 6.14).
#[derive(Clone, Debug)]
pub struct ProofReport {
    /// A share of the report, whole bytes: the shares of all parties that saw the same add up to it.
    pub share: BitVec,
    /// Hash of the report under the transcript's hash.
    pub hash: Digest,
}

/// What a check message of an inference holds.
#[derive(Clone, Copy, Debug)]
pub struct CheckShape {
    limbs: Limbs,
    sums: usize,
    report: usize,
    receivers: usize,
}

impl CheckShape {
    /// For a number of parties, inputs and receivers.
    pub fn new(plan: &Plan, values: &Values, parties: usize, batch: usize, receivers: usize) -> Self {
        let sums = batch.saturating_mul(plan.check_slots());
        let report = plan.report_bytes(values, batch, parties);
        CheckShape { limbs: plan.limbs, sums, report, receivers }
    }

    /// Bytes of such a message. Saturates.
    pub fn bytes(&self) -> usize {
        let digests = 1 + usize::from(self.report > 0) + self.receivers;
        packed_len(self.limbs, self.sums).saturating_add(self.report).saturating_add(32 * digests)
    }
}

/// A party's message to the helper at the end of an inference.
#[derive(Debug)]
pub struct CheckMessage {
    /// One sum per batch element and use, under a share of zero.
    pub sums: LimbVec,
    /// What is reported of the proofs that bits are right; none where nothing is compared.
    pub proofs: Option<ProofReport>,
    /// Keyed hash of the client's input and every opened value.
    pub transcript: Digest,
    /// Per receiver, the hash of the output message under the receiver's key.
    pub outputs: Vec<Digest>,
}

impl CheckMessage {
    /// The message as bytes: packed sums, share and hash of the report on proofs, transcript
    /// hash, output hashes.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = pack(&self.sums);
        if let Some(ProofReport { share, hash }) = &self.proofs {
            share.pack_into(&mut body);
            body.extend_from_slice(&hash.0);
        }
        body.extend_from_slice(&self.transcript.0);
        self.outputs.iter().for_each(|d| body.extend_from_slice(&d.0));
        body
    }

    /// Reads a party's message.
    ///
    /// # Errors
    /// A wrong length, a residue out of range.
    pub fn decode(shape: &CheckShape, from: PartyId, body: &[u8]) -> Result<Self, ProtocolError> {
        let expected = shape.bytes();
        let fail = |fault| ProtocolError::peer(from, Step::Check, fault);
        if body.len() != expected {
            return Err(fail(Fault::Length { expected, got: body.len() }));
        }
        let (sums, rest) = body.split_at(packed_len(shape.limbs, shape.sums));
        let (report, hashes) = rest.split_at(shape.report);
        let sums = unpack(shape.limbs, shape.sums, sums).map_err(fail)?;
        let mut digests = hashes.chunks_exact(32).map(|chunk| {
            let mut digest = [0; 32];
            digest.copy_from_slice(chunk);
            Digest(digest)
        });
        let mut next = || digests.next().ok_or_else(|| fail(Fault::Length { expected, got: body.len() }));
        let proofs = match report {
            [] => None,
            report => {
                let share = BitVec::unpack(8 * report.len(), report).map_err(|e| fail(e.into()))?;
                Some(ProofReport { share, hash: next()? })
            }
        };
        let transcript = next()?;
        Ok(CheckMessage { sums, proofs, transcript, outputs: digests.collect() })
    }
}

/// Where the helper writes its decision before anything of it leaves the machine.
pub trait DecisionLog {
    /// Why a record could not be written.
    type Error;

    /// Records that an inference was accepted, with everything needed to repeat the release. The
    /// record survives the end of the process, at whatever moment.
    ///
    /// # Errors
    /// When it is not certain to; nothing is released then.
    fn accepted(&mut self, scope: Scope, release: &[u8]) -> Result<(), Self::Error>;

    /// Has what was recorded survive the end of the machine's power too.
    ///
    /// # Errors
    /// When it is not certain to.
    fn synchronise(&mut self) -> Result<(), Self::Error>;
}

/// Proof that the check of one inference passed. Only [`verify`](HelperEpoch::verify) makes it.
#[derive(Debug)]
pub struct Accepted {
    scope: Scope,
    release: Release,
}

impl Accepted {
    /// Records the decision, and gives what the receivers may learn to `tell`.
    ///
    /// Several receivers are told once the record survives whatever may happen: all of them get the
    /// output or none. A sole one need not wait for the disk. If that fails meanwhile, or the power,
    /// it has the output or not, and nobody is worse off than it.
    ///
    /// # Errors
    /// When the log cannot be written. Nobody was told then, unless there is one receiver and only
    /// [`DecisionLog::synchronise`] failed.
    pub fn release<L: DecisionLog, T>(
        self,
        log: &mut L,
        tell: impl FnOnce(&Release) -> T,
    ) -> Result<T, L::Error> {
        log.accepted(self.scope, &self.release.encode_all())?;
        let alone = self.release.receivers() == 1;
        if !alone {
            log.synchronise()?;
        }
        let told = tell(&self.release);
        if alone {
            log.synchronise()?;
        }
        Ok(told)
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

    /// What check messages of an inference of `batch` inputs hold.
    pub fn check_shape(&self, batch: usize, receivers: usize) -> CheckShape {
        CheckShape::new(&self.plan, &self.values, self.parties.count(), batch, receivers)
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
        // Proofs are looked at whatever the sums are: a rejection takes as long for wrong sums as for right
        // ones, of which only the verdict may tell.
        let proven = self.proven(&dealt, messages);
        let right = sums == LimbVec::from_elements(self.plan.limbs, &dealt.constants) && proven;
        if !(agree && right) {
            // Only agreeing parties' wrong sums tell anything of the keys (and without agreement
            // sums are noise).
            self.failures.fetch_add(u32::from(agree), Ordering::Relaxed);
            return Err(ProtocolError::Rejected { step: Step::Check });
        }
        let release = Release::new(&self.plan, &self.values, &dealt, &first.outputs)?;
        Ok(Accepted { scope: dealt.scope, release })
    }

    /// Whether the parties report the same of all proofs, and what they report is right.
    fn proven(&self, dealt: &Dealt, messages: &[CheckMessage]) -> bool {
        let reports: Vec<&ProofReport> = messages.iter().filter_map(|m| m.proofs.as_ref()).collect();
        let [first, others @ ..] = &reports[..] else { return dealt.comparisons.is_empty() };
        let mut sum = first.share.clone();
        if reports.len() != messages.len() || others.iter().any(|other| other.share.len() != sum.len()) {
            return false;
        }
        others.iter().for_each(|other| sum.xor_assign(&other.share));
        let mut report = Vec::new();
        sum.pack_into(&mut report);
        // Shares can be shifted by whoever gave one; what an honest party vouches for cannot.
        let hash = messages[0].transcript.with_bytes(&report);
        if reports.iter().any(|report| report.hash != hash) {
            return false;
        }
        let mut rest = &report[..];
        let mut right = true;
        for (index, committed) in &dealt.comparisons {
            let OpKind::Compare(compare) = &self.plan.op(*index).kind else { return false };
            let len = self.values.get(compare.input).len * dealt.batch;
            let Some((part, behind)) = rest.split_at_checked(compare.report_bytes(len, messages.len()))
            else {
                return false;
            };
            rest = behind;
            right &= committed.holds(compare, len, part);
        }
        right && rest.is_empty()
    }

    /// Bytes of the longest correction message of a load, for limits on frames.
    pub fn longest_load_message(plan: &Plan) -> usize {
        let layer = |w| packed_len(plan.limbs, columns(w)) + packed_len(plan.limbs, w.shape.outputs());
        plan.weights.iter().map(layer).max().unwrap_or(0)
    }
}
