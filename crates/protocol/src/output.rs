//! Output: what parties send, what the helper releases, how a receiver puts them together
//! (`docs/protocol.md`, 6.8).
//!
//! A party's message holds, per logit, `floor(D / 2^shift)` in the fewest whole bytes and the wrap
//! bit `c` in one byte. The helper's release holds the hash all parties agreed on and, per logit,
//! `mu_0` and `h`, encrypted to the receiver. Low-order bits of the logits go to nobody.

use crate::authentic::{Authentic, AuthenticationKeys};
use crate::keyed::KeyedHash;
use crate::preprocess::{Dealt, truncation};
use crate::release::{ReleaseKey, TAG_BYTES};
use crate::transcript::Digest;
use crate::{Culprit, Fault, Peer, ProtocolError, Scope, Step};
use amicus_field::{LimbVec, Randomness, Seed, Truncation, U256, with_wiped_stack};
use amicus_plan::{Plan, PlanDigest, Values};
use std::fmt;
use zeroize::Zeroizing;

/// Bytes of a key or digest.
const KEY_BYTES: usize = 32;

/// A key that a receiver shares with all parties, and the helper does not know.
///
/// It has a place of its own: from where it is moved, a copy would stay behind.
#[derive(Debug)]
pub struct ReceiverKey(Box<Seed>);

impl ReceiverKey {
    /// Draws a key.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn random(randomness: &mut dyn Randomness) -> Result<Self, ProtocolError> {
        with_wiped_stack(|| Ok(ReceiverKey(Box::new(randomness.seed()?))))
    }

    /// The message for every party.
    pub fn encode(&self) -> &[u8; KEY_BYTES] {
        self.0.as_bytes()
    }

    /// Reads a receiver's message, whose tag was verified with that receiver's key.
    ///
    /// # Errors
    /// A wrong length.
    pub fn decode(receiver: &Peer, message: Authentic<'_>) -> Result<Self, ProtocolError> {
        let body = message.body();
        with_wiped_stack(|| match <[u8; KEY_BYTES]>::try_from(body) {
            Ok(bytes) => Ok(ReceiverKey(Box::new(Seed::from_bytes(bytes)))),
            Err(_) => {
                let fault = Fault::Length { expected: KEY_BYTES, got: body.len() };
                Err(ProtocolError::peer(receiver, Step::Output, fault))
            }
        })
    }
}

/// The hash of a party's output message for one receiver.
pub(crate) fn hash(key: &ReceiverKey, scope: Scope, plan: &PlanDigest, message: &[u8]) -> Digest {
    let mut hasher = KeyedHash::new(key.0.as_bytes());
    hasher.update(b"output");
    hasher.update(&scope.encode()).update(&plan.0).update(message);
    hasher.finish()
}

/// Bytes of one floor: the modulus without the dropped bits.
fn floor_bytes(t: &Truncation) -> usize {
    ((t.limbs().bits() - t.shift()) as usize).div_ceil(8)
}

fn put(body: &mut Vec<u8>, value: U256, width: usize, bit: bool) {
    body.extend_from_slice(&value.to_le_bytes()[..width]);
    body.push(u8::from(bit));
}

fn take(entry: &[u8]) -> Option<(U256, bool)> {
    let (&bit, low) = entry.split_last()?;
    let mut bytes = [0; 32];
    bytes.get_mut(..low.len())?.copy_from_slice(low);
    Some((
        U256::from_le_bytes(bytes),
        match bit {
            0 => false,
            1 => true,
            _ => return None,
        },
    ))
}

/// A party's output message; `opened` contains the offset.
pub(crate) fn encode_masked(t: &Truncation, opened: &LimbVec) -> Vec<u8> {
    let bits = t.open(opened).wrap;
    let mut body = Vec::with_capacity(opened.len() * (floor_bytes(t) + 1));
    for (i, value) in t.floor(opened).into_iter().enumerate() {
        put(&mut body, value, floor_bytes(t), bits.get(i));
    }
    body
}

/// What acceptance releases to the receivers, encrypted to each.
pub struct Release {
    plan: PlanDigest,
    /// In the order of the receivers: the agreed hash and the masks, all of one length.
    messages: Vec<Vec<u8>>,
}

impl fmt::Debug for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // With its receiver's keys and a party's message it is the output.
        f.debug_struct("Release").field("receivers", &self.messages.len()).finish_non_exhaustive()
    }
}

impl Release {
    pub(crate) fn new(
        plan: &Plan,
        values: &Values,
        dealt: &Dealt,
        hashes: &[Digest],
    ) -> Result<Self, ProtocolError> {
        let t = output_truncation(plan, values)?;
        let digest = plan.digest()?;
        // Room for all of it: what grows leaves copies behind.
        let mut masks = Zeroizing::new(Vec::with_capacity(dealt.output_masks.len() * (floor_bytes(&t) + 1)));
        for (i, &mu) in dealt.output_masks.iter().enumerate() {
            put(&mut masks, mu, floor_bytes(&t), dealt.output_high.get(i));
        }
        let message = |(receiver, hash): (u32, &Digest)| {
            let key = ReleaseKey::of(&dealt.authentication(receiver), dealt.scope);
            key.encrypt(&Zeroizing::new([&hash.0[..], &masks].concat()))
        };
        Ok(Release { plan: digest, messages: (0u32..).zip(hashes).map(message).collect() })
    }

    /// The message for one receiver: the agreed hash, then the masks, encrypted to it.
    pub fn message(&self, receiver: usize) -> Option<&[u8]> {
        self.messages.get(receiver).map(Vec::as_slice)
    }

    /// How many receivers it is for.
    pub fn receivers(&self) -> usize {
        self.messages.len()
    }

    /// Bytes of a logged release with so many receivers and bytes of masks.
    pub const fn bytes(receivers: usize, masks: usize) -> usize {
        KEY_BYTES + 8 + receivers * (KEY_BYTES + masks + TAG_BYTES)
    }

    /// The plan whose output it is.
    pub fn plan(&self) -> &PlanDigest {
        &self.plan
    }

    /// Everything, for the helper's log: plan, number of receivers, bytes for each, messages.
    pub(crate) fn encode_all(&self) -> Vec<u8> {
        let each = self.messages.first().map_or(0, Vec::len);
        let numbers = [self.messages.len() as u32, each as u32].map(u32::to_le_bytes);
        [&self.plan.0[..], &numbers.concat(), &self.messages.concat()].concat()
    }

    /// Reads a logged release again, to repeat it after a crash.
    ///
    /// # Errors
    /// Bytes that are no record of a release.
    pub fn from_log(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let corrupt = || ProtocolError::Internal("the logged release is corrupt".into());
        let (plan, rest) = bytes.split_first_chunk::<KEY_BYTES>().ok_or_else(corrupt)?;
        let (count, rest) = rest.split_first_chunk::<4>().ok_or_else(corrupt)?;
        let (each, rest) = rest.split_first_chunk::<4>().ok_or_else(corrupt)?;
        let [count, each] = [count, each].map(|number| u32::from_le_bytes(*number) as usize);
        if each < KEY_BYTES + TAG_BYTES || count.checked_mul(each) != Some(rest.len()) {
            return Err(corrupt());
        }
        let messages = rest.chunks_exact(each).map(<[u8]>::to_vec).collect();
        Ok(Release { plan: PlanDigest(*plan), messages })
    }
}

fn output_truncation(plan: &Plan, values: &Values) -> Result<Truncation, ProtocolError> {
    let out = &plan.output;
    Ok(truncation(plan, values.get(out.value).scale, out.scale, out.ell)?)
}

/// A receiver of one inference's output: key, and what is needed to put messages together.
#[derive(Debug)]
pub struct Receiver {
    key: ReceiverKey,
    /// What the helper's release is encrypted under.
    release: ReleaseKey,
    scope: Scope,
    digest: PlanDigest,
    t: Truncation,
    /// Bytes of a party's message: every element with its wrap bit.
    bytes: usize,
    scale: u32,
}

impl Receiver {
    /// A receiver of an inference of `batch` inputs that got these keys for it, with a fresh key of its
    /// own.
    ///
    /// # Errors
    /// An invalid plan, a batch of no inputs or of more than can be counted, or no randomness.
    pub fn new(
        plan: &Plan,
        scope: Scope,
        batch: usize,
        keys: &AuthenticationKeys,
        randomness: &mut dyn Randomness,
    ) -> Result<Self, ProtocolError> {
        let values = plan.values()?;
        let t = output_truncation(plan, &values)?;
        let each = values.get(plan.output.value).len * (floor_bytes(&t) + 1);
        let bytes = each.checked_mul(batch).filter(|&bytes| bytes > 0 && bytes < usize::MAX - KEY_BYTES);
        Ok(Receiver {
            key: ReceiverKey::random(randomness)?,
            release: ReleaseKey::of(keys, scope),
            scope,
            digest: plan.digest()?,
            t,
            bytes: bytes.ok_or_else(|| ProtocolError::Misuse(format!("an output of {batch} inputs")))?,
            scale: plan.output.scale.0,
        })
    }

    /// The key, for every party.
    pub fn key(&self) -> &ReceiverKey {
        &self.key
    }

    /// Puts the helper's release and the parties' messages together: the first message that has the
    /// agreed hash is the output. Returns all logits, batch element by batch element, as real
    /// numbers.
    ///
    /// # Errors
    /// A release that does not decode; no message with the agreed hash.
    pub fn unmask<'a>(
        &self,
        release: &[u8],
        messages: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<f64>, ProtocolError> {
        let width = floor_bytes(&self.t) + 1;
        let expected = KEY_BYTES + self.bytes + TAG_BYTES;
        let fail = |fault| ProtocolError::peer(Peer::Helper, Step::Output, fault);
        if release.len() != expected {
            return Err(fail(Fault::Length { expected, got: release.len() }));
        }
        let release = self.release.decrypt(release).map_err(fail)?;
        let (agreed, masks) = release.split_at(KEY_BYTES);
        let right =
            |m: &&[u8]| m.len() == self.bytes && hash(&self.key, self.scope, &self.digest, m).0 == *agreed;
        let Some(message) = messages.into_iter().find(right) else {
            let fault = Fault::Disagreement(
                "no party's output has the hash the parties agreed on; the output".into(),
            );
            return Err(ProtocolError::peer(Culprit::EveryPartyHeard, Step::Output, fault));
        };
        let malformed = || fail(Fault::Encoding("output entry".into()));
        message
            .chunks_exact(width)
            .zip(masks.chunks_exact(width))
            .map(|(m, r)| {
                let ((floor, below), (mu, high)) =
                    (take(m).ok_or_else(malformed)?, take(r).ok_or_else(malformed)?);
                Ok(self.value(floor, below, mu, high).ok_or_else(malformed)? / 2f64.powi(self.scale as i32))
            })
            .collect()
    }

    /// `u = floor(D / 2^shift) - 2^(ell - shift) - mu_0 + h c round(Q / 2^shift)`.
    fn value(&self, floor: U256, below: bool, mu: U256, high: bool) -> Option<f64> {
        let (shift, modulus) = (self.t.shift(), self.t.limbs().modulus());
        if floor > modulus >> shift || mu > modulus >> shift {
            return None;
        }
        let half = if shift > 0 { U256::ONE << (shift - 1) } else { U256::ZERO };
        let wrap = if below && high { (modulus + half) >> shift } else { U256::ZERO };
        let offset = U256::ONE << (self.t.ell() - shift);
        Some(((floor + wrap).as_i256() - (mu + offset).as_i256()).as_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_part_of_an_output_hash() {
        use crate::{EpochId, InferenceId, SessionId};
        let of = |key, session, epoch, id, plan, message: &[u8]| {
            let key = ReceiverKey(Box::new(Seed::from_bytes([key; 32])));
            let (session, epoch) = (SessionId::from_bytes([session; 16]), EpochId::from_bytes([epoch; 16]));
            hash(&key, Scope::new(session, epoch, InferenceId(id)), &PlanDigest([plan; 32]), message)
        };
        let all = [
            of(1, 1, 1, 1, 1, b"output"),
            of(2, 1, 1, 1, 1, b"output"),
            of(1, 2, 1, 1, 1, b"output"),
            of(1, 1, 2, 1, 1, b"output"),
            of(1, 1, 1, 2, 1, b"output"),
            of(1, 1, 1, 1, 2, b"output"),
            of(1, 1, 1, 1, 1, b"Output"),
            of(1, 1, 1, 1, 1, b"output "),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b), "hash {i} is like an earlier one");
        }
    }
}
