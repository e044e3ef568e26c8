//! The plan as bytes: a magic word, a format version, then the plan in `postcard`; and its digest.

use crate::{OpKind, Plan, PlanError};
use serde::{Deserialize, Serialize};
use std::fmt;

const MAGIC: &[u8; 8] = b"amc.plan";
/// Newest version of the format that is read and written.
const VERSION: u16 = 6;
/// The first version whose plans may have public weights.
const PUBLIC: u16 = 6;
/// The first version with random numbers that tell of values outside.
const RANDOM: u16 = 5;
/// The first version whose plans may reveal labels only.
const REVEALING: u16 = 4;
/// The first version whose plans may look for values outside.
const WATCHED: u16 = 3;
/// The first version with comparisons.
const COMPARING: u16 = 2;
/// Largest encoded plan accepted: public weights are part of it.
pub const MAX_BYTES: usize = 64 << 20;
/// Largest part of it that is not public weights.
const MAX_OTHER: usize = 16 << 20;

/// BLAKE3 digest of an encoded plan; peers whose digests differ do not work together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PlanDigest(pub [u8; 32]);

impl fmt::Display for PlanDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for PlanDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlanDigest({self})")
    }
}

impl Plan {
    /// Version of the format: the first that knows all that is in it, so that plans without
    /// comparisons keep their bytes and their digest.
    fn version(&self) -> u16 {
        if !self.public.is_empty() {
            return PUBLIC;
        }
        if self.ops.iter().any(|op| matches!(op.kind, OpKind::Outside(_))) {
            return RANDOM;
        }
        match (&self.output.reveal, self.output.watch) {
            (Some(_), _) => REVEALING,
            (None, 0) if self.compares() => COMPARING,
            (None, 0) => 1,
            (None, _) => WATCHED,
        }
    }

    /// The plan as bytes. Equal plans give equal bytes.
    ///
    /// # Errors
    /// When serialisation fails (out of memory).
    pub fn encode(&self) -> Result<Vec<u8>, PlanError> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.version().to_le_bytes());
        let failed = |e: postcard::Error| PlanError::Encoding(e.to_string());
        let bytes = postcard::to_extend(self, bytes).map_err(failed)?;
        match (&self.output.reveal, self.output.watch) {
            (reveal, watch) if self.version() >= PUBLIC => {
                postcard::to_extend(&(watch, reveal, &self.public), bytes).map_err(failed)
            }
            (reveal, watch) if self.version() >= RANDOM => {
                postcard::to_extend(&(watch, reveal), bytes).map_err(failed)
            }
            (None, 0) => Ok(bytes),
            (None, watch) => postcard::to_extend(&watch, bytes).map_err(failed),
            (Some(reveal), watch) => postcard::to_extend(&(watch, reveal), bytes).map_err(failed),
        }
    }

    /// Reads and validates a plan.
    ///
    /// # Errors
    /// Bytes that are not a plan, of another version, with trailing bytes, not those that
    /// [`Plan::encode`] writes for the plan, or a plan that [`Plan::values`] refuses.
    pub fn decode(bytes: &[u8]) -> Result<Self, PlanError> {
        if bytes.len() > MAX_BYTES {
            return Err(PlanError::Encoding(format!("{} bytes, at most {MAX_BYTES}", bytes.len())));
        }
        let rest = bytes
            .strip_prefix(MAGIC)
            .ok_or_else(|| PlanError::Encoding("does not start with the plan's magic word".into()))?;
        let (version, body) = rest
            .split_first_chunk::<2>()
            .ok_or_else(|| PlanError::Encoding("ends inside the version".into()))?;
        let got = u16::from_le_bytes(*version);
        if !(1..=VERSION).contains(&got) {
            return Err(PlanError::Version { expected: VERSION, got });
        }
        let failed = |e: postcard::Error| PlanError::Encoding(e.to_string());
        let other = &body[..body.len().min(MAX_OTHER)];
        let (mut plan, behind): (Plan, _) = postcard::take_from_bytes(other).map_err(failed)?;
        let mut rest = &body[other.len() - behind.len()..];
        if got >= WATCHED {
            (plan.output.watch, rest) = postcard::take_from_bytes(rest).map_err(failed)?;
        }
        if got >= RANDOM {
            (plan.output.reveal, rest) = postcard::take_from_bytes(rest).map_err(failed)?;
        } else if got >= REVEALING {
            let (reveal, behind) = postcard::take_from_bytes(rest).map_err(failed)?;
            (plan.output.reveal, rest) = (Some(reveal), behind);
        }
        if got >= PUBLIC {
            (plan.public, rest) = crate::public::take(rest)?;
        }
        if !rest.is_empty() {
            return Err(PlanError::Encoding(format!("{} bytes after the end", rest.len())));
        }
        plan.values()?;
        if plan.encode()? != bytes {
            return Err(PlanError::Encoding("numbers in a form that is never written".into()));
        }
        Ok(plan)
    }

    /// The digest by which peers recognise that they run the same plan.
    ///
    /// # Errors
    /// When serialisation fails (out of memory).
    pub fn digest(&self) -> Result<PlanDigest, PlanError> {
        let mut hasher = blake3::Hasher::new_derive_key("amicus 2026-11 plan digest");
        hasher.update(&self.encode()?);
        Ok(PlanDigest(*hasher.finalize().as_bytes()))
    }
}
