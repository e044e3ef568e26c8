//! A party's side of a load: take masked weights, compute masked tags, answer the check.

use super::tensor::Tensor;
use super::{challenge, correction_lengths, plan_of_word, seed_from};
use crate::affine::{self, Affine, columns};
use crate::authentic::{Authentic, AuthenticationKey, AuthenticationRoot, FIRST_RECIPIENT};
use crate::fingerprint::ModelFingerprint;
use crate::keys::PartyKeys;
use crate::label::{Label, Purpose, domain};
use crate::transcript::{Digest, Topic, Transcript};
use crate::wire::{unpack, unpack_all};
use crate::{EpochId, Fault, Parties, PartyId, Peer, ProtocolError, Step};
use amicus_field::{Element, LimbVec, Seed};
use amicus_plan::{Plan, PlanDigest, Schedule, Values, WeightId};
use std::sync::Arc;

/// What a party knows before any epoch: the plan and who it is.
#[derive(Clone, Debug)]
pub struct PartyContext {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Its values.
    pub values: Arc<Values>,
    /// Its rounds.
    pub schedule: Arc<Schedule>,
    /// Its digest.
    pub digest: PlanDigest,
    /// Its public weights.
    pub(crate) public: Arc<Vec<Affine>>,
    /// Number of parties.
    pub parties: Parties,
    /// This party.
    pub me: PartyId,
}

impl PartyContext {
    /// Checks the plan and derives what a party needs of it.
    ///
    /// # Errors
    /// An invalid plan.
    pub fn new(plan: Arc<Plan>, parties: Parties, me: PartyId) -> Result<Self, ProtocolError> {
        let values = Arc::new(plan.values()?);
        let schedule = Arc::new(Schedule::of(&plan));
        let public = Arc::new(affine::public(&plan)?);
        Ok(PartyContext { public, values, schedule, digest: plan.digest()?, plan, parties, me })
    }
}

/// A load that collects masked weights, the nonce and, at the last party, corrections.
#[derive(Debug)]
pub struct PartyLoad {
    ctx: PartyContext,
    keys: PartyKeys,
    nonce: Option<Seed>,
    tensors: Vec<Option<(Tensor, Transcript)>>,
    corrections: Vec<Option<Vec<LimbVec>>>,
}

/// A load whose masked tags are exchanged.
#[derive(Debug)]
pub struct PartyTagging {
    base: Base,
    layers: Vec<Tagging>,
    received: Vec<Vec<bool>>,
}

/// A load whose hash goes to the helper.
#[derive(Debug)]
pub struct PartyConfirming {
    base: Base,
    layers: Vec<PartyLayer>,
    check_keys: Vec<LimbVec>,
    checks: Vec<Element>,
    hash: Digest,
}

/// A load that waits for the helper's word.
#[derive(Debug)]
pub struct PartyAwaiting {
    base: Base,
    layers: Vec<PartyLayer>,
}

/// A loaded model at a party.
#[derive(Debug)]
pub struct PartyEpoch {
    pub(crate) ctx: PartyContext,
    pub(crate) epoch: EpochId,
    /// The party's seed of the epoch: of what masks the model, and of nothing else.
    pub(super) seed: Seed,
    pub(super) nonce: Seed,
    pub(crate) layers: Vec<PartyLayer>,
    pub(super) fingerprint: Digest,
}

/// What a party keeps of one weight tensor.
#[derive(Debug)]
pub(crate) struct PartyLayer {
    /// Masked weights `D_W`, for products with shares of input masks.
    pub(crate) masked: Affine,
    /// Share `[W]_i`, for products with masked inputs.
    pub(crate) share: Affine,
    /// Share of the bias of every output.
    pub(crate) bias_share: Option<LimbVec>,
    /// Share of the MAC key `b`.
    pub(crate) key: LimbVec,
    /// Share of the tags `G = b^T W`, one per column.
    pub(crate) tags: LimbVec,
    /// Public masked tags `D_G = G + u`, one per column.
    pub(crate) masked_tags: LimbVec,
}

#[derive(Debug)]
struct Base {
    ctx: PartyContext,
    keys: PartyKeys,
    nonce: Seed,
    fingerprint: Digest,
    transcript: Transcript,
}

#[derive(Debug)]
struct Tagging {
    layer: PartyLayer,
    own: LimbVec,
    check_key: LimbVec,
    check: Element,
}

impl PartyLoad {
    /// Begins a load with the keys of its id, of which one is the party's seed of the epoch; the
    /// helper's word says for which plan it begins. The keys can be taken once, and everything
    /// here is in memory: a load is never gone on with after its session ended.
    ///
    /// # Errors
    /// A word for another plan.
    pub fn begin(ctx: PartyContext, keys: PartyKeys, word: &[u8]) -> Result<Self, ProtocolError> {
        let fail = |fault| ProtocolError::peer(Peer::Helper, Step::load_part("grant"), fault);
        let plan = plan_of_word(word).map_err(fail)?;
        if plan != ctx.digest {
            return Err(fail(Fault::Incompatible(format!("a load of plan {plan}, not {}", ctx.digest))));
        }
        let count = ctx.plan.weights.len();
        Ok(PartyLoad {
            ctx,
            keys,
            nonce: None,
            tensors: (0..count).map(|_| None).collect(),
            corrections: (0..count).map(|_| None).collect(),
        })
    }

    /// The owner's key. What has no tag under it is not the owner's: it is dropped, and the load
    /// goes on.
    pub fn owner(&self) -> AuthenticationKey {
        AuthenticationRoot::of(&self.keys.material, self.keys.scope).key(FIRST_RECIPIENT)
    }

    /// Takes the owner's nonce for the fingerprint.
    ///
    /// # Errors
    /// A wrong length, or a second nonce.
    pub fn nonce(&mut self, message: Authentic<'_>) -> Result<(), ProtocolError> {
        let fail = |fault| ProtocolError::peer(Peer::Owner, Step::load_part("nonce"), fault);
        if self.nonce.is_some() {
            return Err(fail(Fault::Duplicate("nonce".into())));
        }
        self.nonce = Some(seed_from(message.body()).map_err(fail)?);
        Ok(())
    }

    /// Takes the next part of a masked weight tensor from the owner, after the nonce: the part's
    /// number in four bytes, then its packed elements.
    ///
    /// # Errors
    /// An unknown tensor, a part out of turn, a wrong length, a residue out of range.
    pub fn weights(&mut self, index: u32, message: Authentic<'_>) -> Result<(), ProtocolError> {
        let (plan, id) = (Arc::clone(&self.ctx.plan), WeightId(index));
        let fail = |fault| ProtocolError::peer(Peer::Owner, Step::load("masked weights", &plan, id), fault);
        let Some(nonce) = &self.nonce else {
            return Err(fail(Fault::Unexpected("weights before the nonce".into())));
        };
        let slot = self.tensors.get_mut(id.index());
        let slot = slot.ok_or_else(|| fail(Fault::Unexpected(format!("weight tensor {index}"))))?;
        let (tensor, transcript) = match slot {
            Some(begun) => begun,
            None => {
                let keys = &self.keys;
                let topic = Topic::Tensor(index);
                let transcript = Transcript::new(&keys.transcript, topic, keys.scope, &keys.plan);
                let tensor = tensor_of(&self.ctx, keys.scope.epoch, &keys.material, nonce, id)?;
                slot.insert((tensor, transcript))
            }
        };
        tensor.part(message.body(), |number, part| transcript.values(number, part)).map_err(fail)
    }

    /// Takes the helper's corrections of one weight tensor (last party only).
    ///
    /// # Errors
    /// Those of [`PartyLoad::weights`], or when this party gets no corrections.
    pub fn correction(&mut self, index: u32, body: &[u8]) -> Result<(), ProtocolError> {
        let (plan, id) = (Arc::clone(&self.ctx.plan), WeightId(index));
        let fail = |fault| ProtocolError::peer(Peer::Helper, Step::load("corrections", &plan, id), fault);
        let last = self.is_last();
        let slot = self.corrections.get_mut(id.index()).filter(|_| last);
        let slot = slot.ok_or_else(|| fail(Fault::Unexpected(format!("corrections of tensor {index}"))))?;
        if slot.is_some() {
            return Err(fail(Fault::Duplicate("corrections".into())));
        }
        *slot = Some(unpack_all(plan.limbs, &correction_lengths(plan.weight(id)), body).map_err(fail)?);
        Ok(())
    }

    fn is_last(&self) -> bool {
        self.ctx.me == self.ctx.parties.last()
    }

    /// Whether everything from owner and helper is there.
    pub fn complete(&self) -> bool {
        self.nonce.is_some()
            && self.tensors.iter().all(|t| t.as_ref().is_some_and(|(tensor, _)| tensor.complete()))
            && (!self.is_last() || self.corrections.iter().all(Option::is_some))
    }

    /// Computes this party's tags (step 3): `[G]_i = [b]_i^T D_W - [b^T M_W]_i` and
    /// `g_i = [G]_i + [u]_i`.
    ///
    /// # Errors
    /// When something is still missing.
    pub fn tag(self) -> Result<PartyTagging, ProtocolError> {
        let incomplete = || ProtocolError::Misuse("the load is not complete".into());
        if !self.complete() {
            return Err(incomplete());
        }
        let PartyLoad { ctx, keys, nonce, tensors, corrections } = self;
        let (epoch, nonce) = (keys.scope.epoch, nonce.ok_or_else(incomplete)?);
        let mut transcript = Transcript::new(&keys.transcript, Topic::Load, keys.scope, &keys.plan);
        let mut fingerprint = ModelFingerprint::new(&nonce, epoch, &ctx.digest);
        let mut layers = Vec::with_capacity(tensors.len());
        for ((index, tensor), corrections) in (0u32..).zip(tensors).zip(corrections) {
            let (tensor, of_tensor) = tensor.ok_or_else(incomplete)?;
            let (masked, share, of_clients) = tensor.finish();
            transcript.digest(index, &of_tensor.finish());
            fingerprint.tensor(&of_clients);
            layers.push(tag_layer(
                &ctx,
                epoch,
                &keys.material,
                WeightId(index),
                [masked, share],
                corrections,
            ));
        }
        let fingerprint = fingerprint.finish();
        let received = layers.iter().map(|_| ctx.parties.all().map(|p| p == ctx.me).collect()).collect();
        Ok(PartyTagging { base: Base { ctx, keys, nonce, fingerprint, transcript }, layers, received })
    }
}

/// One tensor of which nothing has arrived.
pub(super) fn tensor_of(
    ctx: &PartyContext,
    epoch: EpochId,
    seed: &Seed,
    nonce: &Seed,
    id: WeightId,
) -> Result<Tensor, ProtocolError> {
    let mask = Label::epoch(Purpose::WeightMask, epoch, id.0).stream(seed);
    Ok(Tensor::new(&ctx.plan, id, mask, nonce, ctx.me == PartyId::FIRST)?)
}

fn tag_layer(
    ctx: &PartyContext,
    epoch: EpochId,
    seed: &Seed,
    id: WeightId,
    [masked, share]: [Affine; 2],
    corrections: Option<Vec<LimbVec>>,
) -> Tagging {
    let (spec, limbs) = (ctx.plan.weight(id), ctx.plan.limbs);
    let (rows, cols) = (spec.shape.outputs(), columns(spec));
    let tags = Label::epoch(Purpose::LoadTags, epoch, id.0).stream(seed);
    let mut corrections = corrections.into_iter().flatten();
    let mut dealt = |domain, len| corrections.next().unwrap_or_else(|| tags.sample(domain, limbs, len));
    let tagged_mask = dealt(domain::TAGGED_MASK, cols);
    let check_key = dealt(domain::CHECK_KEY, rows);
    let key = tags.sample(domain::MAC_KEY, limbs, rows);
    let mut g = masked.transposed(&key);
    g.sub_assign(&tagged_mask);
    let mut own = tags.sample(domain::TAG_MASK, limbs, cols);
    own.add_assign(&g);
    let check = tags.sample(domain::CHECK, limbs, 1).get(0);
    let bias_share = share.bias_of_outputs();
    let layer = PartyLayer { masked, share, bias_share, key, tags: g, masked_tags: own.clone() };
    Tagging { layer, own, check_key, check }
}

impl PartyTagging {
    /// This party's part `g_i` of one weight tensor's masked tags, for every other party.
    pub fn message(&self, id: WeightId) -> &LimbVec {
        &self.layers[id.index()].own
    }

    /// Adds an error to this party's own part, consistently: what a malicious party would do. For
    /// attack tests only.
    #[cfg(feature = "danger")]
    pub fn danger_shift(&mut self, id: WeightId, column: usize, error: Element) {
        let layer = &mut self.layers[id.index()];
        for v in [&mut layer.own, &mut layer.layer.masked_tags] {
            v.set(column, v.get(column) + error);
        }
    }

    /// Takes another party's part of one weight tensor.
    ///
    /// # Errors
    /// An unknown tensor, a second part, a wrong length, a residue out of range.
    pub fn receive(&mut self, from: PartyId, index: u32, body: &[u8]) -> Result<(), ProtocolError> {
        let plan = &self.base.ctx.plan;
        let fail = |fault| ProtocolError::peer(from, Step::load("tags", plan, WeightId(index)), fault);
        let Some(layer) = self.layers.get_mut(index as usize) else {
            return Err(fail(Fault::Unexpected(format!("tags of weight tensor {index}"))));
        };
        if self.received[index as usize][from.index()] {
            return Err(fail(Fault::Duplicate("part of the tags".into())));
        }
        let part = unpack(plan.limbs, layer.own.len(), body).map_err(fail)?;
        layer.layer.masked_tags.add_assign(&part);
        self.received[index as usize][from.index()] = true;
        Ok(())
    }

    /// The first party and tensor whose part is missing.
    pub fn missing(&self) -> Option<(PartyId, WeightId)> {
        for (index, received) in (0u32..).zip(&self.received) {
            if let Some(party) = self.base.ctx.parties.all().find(|p| !received[p.index()]) {
                return Some((party, WeightId(index)));
            }
        }
        None
    }

    /// Completes `D_G` and hashes everything public.
    ///
    /// # Errors
    /// When a part is missing.
    pub fn confirm(mut self) -> Result<PartyConfirming, ProtocolError> {
        if let Some((party, id)) = self.missing() {
            return Err(ProtocolError::Misuse(format!("tags of tensor {} from {party} are missing", id.0)));
        }
        let (mut layers, mut check_keys, mut checks) = (Vec::new(), Vec::new(), Vec::new());
        for (index, tagging) in (0u32..).zip(self.layers) {
            self.base.transcript.values(index, &tagging.layer.masked_tags);
            layers.push(tagging.layer);
            check_keys.push(tagging.check_key);
            checks.push(tagging.check);
        }
        let hash = self.base.transcript.finish();
        Ok(PartyConfirming { base: self.base, layers, check_keys, checks, hash })
    }
}

impl PartyConfirming {
    /// The hash of all masked weights and tags, for the helper.
    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// Answers the challenge: per weight tensor `[a b]_i . (D_W c) - [a]_i (D_G . c)` plus a share
    /// of zero.
    ///
    /// # Errors
    /// A challenge of the wrong length.
    pub fn respond(self, challenge_body: &[u8]) -> Result<(PartyAwaiting, LimbVec), ProtocolError> {
        let PartyConfirming { base, layers, check_keys, checks, .. } = self;
        let seed = seed_from(challenge_body)
            .map_err(|fault| ProtocolError::peer(Peer::Helper, Step::load_part("challenge"), fault))?;
        let limbs = base.ctx.plan.limbs;
        let mut answer = base.keys.zero_share_of_load(limbs, layers.len());
        for (index, layer) in layers.iter().enumerate() {
            let c = challenge(
                &seed,
                base.keys.scope.epoch,
                WeightId(index as u32),
                limbs,
                layer.masked_tags.len(),
            );
            let product = layer.masked.product_augmented(&c);
            let term = check_keys[index].dot(&product) - checks[index] * layer.masked_tags.dot(&c);
            answer.set(index, answer.get(index) + term);
        }
        Ok((PartyAwaiting { base, layers }, answer))
    }
}

impl PartyAwaiting {
    /// The epoch as it is kept: this party has sent all that the load makes it send. It may be used
    /// once the helper has accepted, or confirms it in a session.
    pub fn unconfirmed(self) -> PartyEpoch {
        let Base { ctx, keys: PartyKeys { scope, material: seed, .. }, nonce, fingerprint, .. } = self.base;
        PartyEpoch { ctx, epoch: scope.epoch, seed, nonce, layers: self.layers, fingerprint }
    }
}

impl PartyEpoch {
    /// The epoch's id.
    pub fn epoch(&self) -> EpochId {
        self.epoch
    }

    /// Plan and party.
    pub fn context(&self) -> &PartyContext {
        &self.ctx
    }

    /// Fingerprint of the masked model under the owner's nonce; clients compare it at all parties.
    pub fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// Adds what all parties hold of the epoch to a hash: `D_W`, by its fingerprint, and `D_G`.
    pub(crate) fn confirm(&self, hash: &mut Transcript) {
        hash.digest(0, &self.fingerprint);
        (0u32..).zip(&self.layers).for_each(|(index, layer)| hash.values(index, &layer.masked_tags));
    }
}
