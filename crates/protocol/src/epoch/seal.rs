//! A loaded epoch as sections of bytes, for a file that outlives the process, and back.
//!
//! How many sections there are, and how long each is, follows from the plan. A party's hold its seed
//! of the epoch, `D_W` part by part, `[G]_i` and `D_G`; the helper's one section holds the parties'
//! seeds. Nothing of an inference is among them. An epoch that was read is used as it is, once the
//! helper confirms it in a session; no message of a load follows from it.

use super::helper::{HelperEpoch, layers};
use super::party::{PartyContext, PartyEpoch, PartyLayer, tensor_of};
use super::tensor::PART_NUMBER_BYTES;
use super::{SEED_BYTES, gather, seed_from};
use crate::affine::{self, PART, columns, parts};
use crate::check::FAILURE_LIMIT;
use crate::fingerprint::ModelFingerprint;
use crate::ids::{ID_BYTES, PARTIES};
use crate::label::{Label, Purpose, domain};
use crate::wire::{pack_all, unpack_all};
use crate::{EpochId, Parties, ProtocolError};
use amicus_field::{Limbs, Seed, pack_into, packed_len};
use amicus_plan::{Plan, PlanDigest, WeightId};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use zeroize::Zeroizing;

/// What a section of a party's begins with.
const OF_PARTY: &[u8; 16] = b"amicus party 1\0\0";
/// What the helper's section begins with.
const OF_HELPER: &[u8; 16] = b"amicus helper 1\0";
/// Bytes of mark, epoch, plan, number of parties and which one.
const HEAD: usize = 16 + ID_BYTES + 32 + 2;

/// Most bytes of a section of any epoch of this plan.
pub fn longest_section(plan: &Plan) -> usize {
    let tags = plan.weights.iter().map(|spec| packed_len(plan.limbs, columns(spec)).saturating_mul(2));
    let part = PART_NUMBER_BYTES + packed_len(Limbs::THREE, PART);
    tags.chain([part, HEAD + PARTIES.end() * SEED_BYTES]).max().unwrap_or(part)
}

fn head(
    mark: &[u8; 16],
    epoch: EpochId,
    plan: &PlanDigest,
    parties: Parties,
    me: usize,
) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(HEAD + PARTIES.end() * SEED_BYTES));
    bytes.extend_from_slice(mark);
    bytes.extend_from_slice(epoch.as_bytes());
    bytes.extend_from_slice(&plan.0);
    bytes.extend_from_slice(&[parties.into(), me as u8]);
    bytes
}

fn damaged(what: &str) -> ProtocolError {
    ProtocolError::Misuse(format!("a kept epoch is damaged, or another node's: {what}"))
}

/// The epoch of a section that begins as it should, and what follows its head.
fn read_head<'a>(
    section: &'a [u8],
    mark: &[u8; 16],
    plan: &PlanDigest,
    parties: Parties,
    me: usize,
) -> Result<(EpochId, &'a [u8]), ProtocolError> {
    let (start, rest) = section.split_at_checked(HEAD).ok_or_else(|| damaged("its head"))?;
    let mut id = [0; ID_BYTES];
    id.copy_from_slice(&start[16..16 + ID_BYTES]);
    let epoch = EpochId::from_bytes(id);
    if epoch == EpochId::NONE || *start != **head(mark, epoch, plan, parties, me) {
        return Err(damaged("its head"));
    }
    Ok((epoch, rest))
}

impl PartyEpoch {
    /// Gives the epoch's sections, in order, to `write`.
    ///
    /// # Errors
    /// What `write` returns.
    pub fn seal<E>(&self, write: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let (ctx, plan) = (&self.ctx, &self.ctx.plan);
        let mut first = head(OF_PARTY, self.epoch, &ctx.digest, ctx.parties, ctx.me.number());
        first.extend_from_slice(self.seed.as_bytes());
        first.extend_from_slice(self.nonce.as_bytes());
        first.extend_from_slice(&self.fingerprint.0);
        write(&first)?;
        for (index, layer) in (0u32..).zip(&self.layers) {
            for (number, part) in (0u32..).zip(parts(plan.weight(WeightId(index)))) {
                let mut body = number.to_le_bytes().to_vec();
                pack_into(&layer.masked.read(&part), &mut body);
                write(&body)?;
            }
            write(&Zeroizing::new(pack_all([&layer.tags, &layer.masked_tags])))?;
        }
        Ok(())
    }

    /// Reads an epoch from its sections, which `read` gives in order.
    ///
    /// # Errors
    /// What `read` returns; sections of another plan, party or form, or not as they were written.
    pub fn unseal<E: From<ProtocolError>>(
        ctx: PartyContext,
        read: &mut dyn FnMut() -> Result<Zeroizing<Vec<u8>>, E>,
    ) -> Result<Self, E> {
        let first = read()?;
        let (epoch, rest) = read_head(&first, OF_PARTY, &ctx.digest, ctx.parties, ctx.me.number())?;
        let [seed, nonce, fingerprint] = three_seeds(rest).ok_or_else(|| damaged("its seeds"))?;
        let mut of_model = ModelFingerprint::new(&nonce, epoch, &ctx.digest);
        let mut layers = Vec::with_capacity(ctx.plan.weights.len());
        for id in (0..ctx.plan.weights.len() as u32).map(WeightId) {
            let spec = ctx.plan.weight(id);
            let mut tensor = tensor_of(&ctx, epoch, &seed, &nonce, id)?;
            while !tensor.complete() {
                tensor.part(&read()?, |_, _| ()).map_err(|fault| damaged(&fault.to_string()))?;
            }
            let tags = unpack_all(ctx.plan.limbs, &[columns(spec); 2], &read()?);
            let [tags, masked_tags] = tags
                .ok()
                .and_then(|tags| <[_; 2]>::try_from(tags).ok())
                .ok_or_else(|| damaged("its tags"))?;
            let (masked, share, of_tensor) = tensor.finish();
            of_model.tensor(&of_tensor);
            let stream = Label::epoch(Purpose::LoadTags, epoch, id.0).stream(&seed);
            let key = stream.sample(domain::MAC_KEY, ctx.plan.limbs, spec.shape.outputs());
            let bias_share = share.bias_of_outputs();
            layers.push(PartyLayer { masked, share, bias_share, key, tags, masked_tags });
        }
        if of_model.finish().0 != *fingerprint.as_bytes() {
            return Err(damaged("its masked weights").into());
        }
        Ok(PartyEpoch { ctx, epoch, seed, nonce, layers, fingerprint: of_model.finish() })
    }
}

fn three_seeds(bytes: &[u8]) -> Option<[Seed; 3]> {
    let chunks = bytes.as_chunks::<SEED_BYTES>();
    match chunks {
        ([a, b, c], []) => Some([a, b, c].map(|seed| Seed::from_bytes(*seed))),
        _ => None,
    }
}

impl HelperEpoch {
    /// The epoch's one section.
    pub fn seal(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = head(OF_HELPER, self.epoch, &self.digest, self.parties, 0);
        self.seeds.iter().for_each(|seed| bytes.extend_from_slice(seed.as_bytes()));
        bytes
    }

    /// Reads an epoch from its section; failed checks are counted elsewhere.
    ///
    /// # Errors
    /// A section of another plan, number of parties or form; an invalid plan.
    pub fn unseal(plan: Arc<Plan>, parties: Parties, section: &[u8]) -> Result<Self, ProtocolError> {
        let (values, digest) = (plan.values()?, plan.digest()?);
        let (epoch, rest) = read_head(section, OF_HELPER, &digest, parties, 0)?;
        if rest.len() != parties.count() * SEED_BYTES {
            return Err(damaged("its seeds"));
        }
        let seeds = gather(parties.count(), rest.chunks_exact(SEED_BYTES).map(seed_from));
        let seeds = seeds.map_err(|fault| damaged(&fault.to_string()))?;
        Ok(HelperEpoch {
            layers: layers(&plan, epoch, &seeds)?,
            public: affine::public(&plan)?,
            plan,
            values,
            parties,
            digest,
            epoch,
            seeds,
            failures: AtomicU32::new(0),
            failure_limit: FAILURE_LIMIT,
        })
    }
}
