//! A model epoch: the owner's weights are masked, and tags for them are dealt and checked
//! (`docs/protocol.md`, section 4).
//!
//! ```text
//! owner  --request-->  helper  --seeds, corrections-->  parties
//! owner  --------- D_W = W + M_W, in parts ------->     parties
//!                      parties  --g_i = [G]_i + [u]_i-->  parties     (the sum is D_G = b^T W + u)
//!                      parties  --hash of D_W, D_G--> helper --challenge c--> parties --s_i--> helper --accepted-->
//! ```

mod helper;
mod owner;
mod party;
mod seal;
mod tensor;

pub use helper::{HelperChallenge, HelperEpoch, HelperLoad};
pub use owner::OwnerLoad;
pub use party::{PartyAwaiting, PartyConfirming, PartyContext, PartyEpoch, PartyLoad, PartyTagging};
pub use seal::longest_section;

use crate::Fault;
use crate::affine::columns;
use amicus_field::{LimbVec, Limbs, Seed};
use amicus_plan::{PlanDigest, WeightId, WeightSpec};

/// Bytes of a seed on the wire.
pub const SEED_BYTES: usize = 32;

/// The random public vector `c` of the load check for one weight tensor.
fn challenge(seed: &Seed, epoch: crate::EpochId, weights: WeightId, limbs: Limbs, len: usize) -> LimbVec {
    use crate::label::{Label, Purpose, domain};
    Label::epoch(Purpose::Challenge, epoch, weights.0).stream(seed).sample(domain::MAIN, limbs, len)
}

/// Lengths of the corrections of one weight tensor: `b^T M_W`, then `a b`.
fn correction_lengths(spec: &WeightSpec) -> [usize; 2] {
    [columns(spec), spec.shape.outputs()]
}

/// So many seeds, or the first error. There is room for all from the start: a vector that grows
/// leaves copies of them behind.
pub(crate) fn gather<E>(count: usize, seeds: impl Iterator<Item = Result<Seed, E>>) -> Result<Vec<Seed>, E> {
    let mut gathered = Vec::with_capacity(count);
    for seed in seeds {
        gathered.push(seed?);
    }
    Ok(gathered)
}

/// The plan of the load that a helper's word to a party begins: its digest, 32 bytes.
///
/// # Errors
/// Another length.
pub fn plan_of_word(word: &[u8]) -> Result<PlanDigest, Fault> {
    let digest = word.try_into().map_err(|_| Fault::Length { expected: 32, got: word.len() })?;
    Ok(PlanDigest(digest))
}

/// A seed from a message body of exactly its size.
pub(crate) fn seed_from(body: &[u8]) -> Result<Seed, Fault> {
    let bytes: [u8; SEED_BYTES] =
        body.try_into().map_err(|_| Fault::Length { expected: SEED_BYTES, got: body.len() })?;
    Ok(Seed::from_bytes(bytes))
}
