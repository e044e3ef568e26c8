//! The helper's side of a load: deal masks and tags, check that the masked tags are right.

use super::{SEED_BYTES, challenge, correction_lengths};
use crate::affine::{Affine, columns, parts, sample};
use crate::check::FAILURE_LIMIT;
use crate::label::{Label, LabelStream, Purpose, correction, domain, sum_of};
use crate::transcript::Digest;
use crate::wire::{pack_all, unpack};
use crate::{EpochId, Fresh, InferenceId, Parties, PartyId, ProtocolError, Step};
use amicus_field::{Element, LimbVec, Randomness, Seed};
use amicus_plan::{Plan, Values, WeightId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What the helper keeps of one weight tensor.
#[derive(Debug)]
pub(crate) struct HelperLayer {
    /// The mask `M_W`, for products with input masks.
    pub(crate) mask: Affine,
    /// MAC key `b`, one element per output.
    pub(crate) key: LimbVec,
    /// Mask `u` of `G`, one element per column.
    pub(crate) tag_mask: LimbVec,
}

/// A load of which nothing has been checked yet.
#[derive(Debug)]
pub struct HelperLoad {
    plan: Arc<Plan>,
    parties: Parties,
    epoch: Fresh<EpochId>,
    seeds: Vec<Seed>,
    layers: Vec<HelperLayer>,
    tagged_masks: Vec<LimbVec>,
    checks: Vec<Element>,
}

/// A load whose hashes agree; the challenge may be sent.
#[derive(Debug)]
pub struct HelperChallenge {
    load: HelperLoad,
    seed: Seed,
}

/// A loaded model at the helper: deals material for inferences.
#[derive(Debug)]
pub struct HelperEpoch {
    pub(crate) plan: Arc<Plan>,
    pub(crate) values: Values,
    pub(crate) parties: Parties,
    pub(crate) epoch: EpochId,
    pub(crate) seeds: Vec<Seed>,
    pub(crate) layers: Vec<HelperLayer>,
    next: AtomicU64,
    pub(crate) failures: AtomicU32,
    /// Failed checks after which the epoch is used no more.
    pub(crate) failure_limit: u32,
}

impl HelperLoad {
    /// Draws the parties' seeds and the secrets of every weight tensor.
    ///
    /// # Errors
    /// An invalid plan, or no randomness.
    pub fn begin(
        plan: Arc<Plan>,
        parties: Parties,
        epoch: Fresh<EpochId>,
        randomness: &mut dyn Randomness,
    ) -> Result<Self, ProtocolError> {
        plan.values()?;
        let seeds: Vec<Seed> = parties.all().map(|_| randomness.seed()).collect::<Result<_, _>>()?;
        let mut load = HelperLoad {
            layers: Vec::with_capacity(plan.weights.len()),
            tagged_masks: Vec::with_capacity(plan.weights.len()),
            checks: Vec::with_capacity(plan.weights.len()),
            plan,
            parties,
            epoch,
            seeds,
        };
        for index in 0..load.plan.weights.len() {
            load.add_layer(WeightId(index as u32))?;
        }
        Ok(load)
    }

    fn add_layer(&mut self, id: WeightId) -> Result<(), ProtocolError> {
        let plan = Arc::clone(&self.plan);
        let (spec, limbs) = (plan.weight(id), plan.limbs);
        let masks = self.streams(Purpose::WeightMask, id);
        let mut mask = Affine::zeros(spec, limbs)?;
        for part in parts(spec) {
            let mut sum = LimbVec::zeros(limbs, part.len());
            masks.iter().for_each(|stream| sum.add_assign(&sample(&part, stream, limbs)));
            mask.write(&part, sum);
        }
        let tags = self.streams(Purpose::LoadTags, id);
        let key = sum_of(&tags, domain::TAG_KEY, limbs, spec.shape.outputs());
        let tag_mask = sum_of(&tags, domain::TAG_MASK, limbs, columns(spec));
        self.checks.push(sum_of(&tags, domain::CHECK, limbs, 1).get(0));
        self.tagged_masks.push(mask.transposed(&key));
        self.layers.push(HelperLayer { mask, key, tag_mask });
        Ok(())
    }

    fn streams(&self, purpose: Purpose, id: WeightId) -> Vec<LabelStream> {
        self.seeds.iter().map(|s| Label::load(purpose, self.epoch.id(), id.0).stream(s)).collect()
    }

    /// The epoch's id.
    pub fn epoch(&self) -> EpochId {
        self.epoch.id()
    }

    /// The owner's message: seeds of the mask shares, weight tensor by weight tensor.
    pub fn owner_grant(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.plan.weights.len() * self.parties.count() * SEED_BYTES);
        for index in 0..self.plan.weights.len() {
            for seed in &self.seeds {
                let label = Label::load(Purpose::WeightMask, self.epoch.id(), index as u32);
                body.extend_from_slice(label.seed(seed).as_bytes());
            }
        }
        body
    }

    /// A party's message: its seed for the whole epoch.
    pub fn party_grant(&self, party: PartyId) -> &Seed {
        &self.seeds[party.index()]
    }

    /// The last party's corrections of one weight tensor: `b^T M_W`, then `a b`.
    pub fn corrections(&self, id: WeightId) -> Vec<u8> {
        let tags = self.streams(Purpose::LoadTags, id);
        let mut check_key = self.layers[id.index()].key.clone();
        check_key.scale_assign(&self.checks[id.index()]);
        let corrections = [
            correction(&tags, domain::TAGGED_MASK, &self.tagged_masks[id.index()]),
            correction(&tags, domain::CHECK_KEY, &check_key),
        ];
        debug_assert_eq!(corrections.each_ref().map(LimbVec::len), correction_lengths(self.plan.weight(id)));
        pack_all(&corrections)
    }

    /// Compares the parties' hashes of masked weights and tags, in party order; draws the
    /// challenge.
    ///
    /// # Errors
    /// [`ProtocolError::Rejected`] when they do not all agree; the epoch is burned. No randomness.
    pub fn hashes(
        self,
        hashes: &[Digest],
        randomness: &mut dyn Randomness,
    ) -> Result<HelperChallenge, ProtocolError> {
        if hashes.len() != self.parties.count() || hashes.iter().any(|h| h != &hashes[0]) {
            return Err(ProtocolError::Rejected { step: Step::load_part("hash of masked weights and tags") });
        }
        Ok(HelperChallenge { load: self, seed: randomness.seed()? })
    }
}

impl HelperChallenge {
    /// Seed of the public challenge, the same for every party.
    pub fn seed(&self) -> &Seed {
        &self.seed
    }

    /// Checks the parties' answers (one packed element per weight tensor), in party order.
    ///
    /// # Errors
    /// An answer that does not decode; [`ProtocolError::Rejected`] when a sum is wrong. Both burn
    /// the epoch.
    pub fn responses(self, bodies: &[Vec<u8>]) -> Result<HelperEpoch, ProtocolError> {
        let HelperChallenge { load, seed } = self;
        let (limbs, count) = (load.plan.limbs, load.plan.weights.len());
        if bodies.len() != load.parties.count() {
            return Err(ProtocolError::Misuse(format!(
                "{} answers, expected {}",
                bodies.len(),
                load.parties.count()
            )));
        }
        let mut sum = LimbVec::zeros(limbs, count);
        for (party, body) in load.parties.all().zip(bodies) {
            let part = unpack(limbs, count, body).map_err(|fault| {
                ProtocolError::peer(party, Step::load_part("answer to the challenge"), fault)
            })?;
            sum.add_assign(&part);
        }
        let mut right = true;
        for index in 0..count {
            let id = WeightId(index as u32);
            let layer = &load.layers[index];
            let mut tags = load.tagged_masks[index].clone();
            tags.sub_assign(&layer.tag_mask);
            let c = challenge(&seed, load.epoch.id(), id, limbs, tags.len());
            right &= sum.get(index) == load.checks[index] * tags.dot(&c);
        }
        if !right {
            return Err(ProtocolError::Rejected { step: Step::load_part("check of the tags") });
        }
        let values = load.plan.values()?;
        Ok(HelperEpoch {
            values,
            plan: load.plan,
            parties: load.parties,
            epoch: load.epoch.id(),
            seeds: load.seeds,
            layers: load.layers,
            next: AtomicU64::new(1),
            failures: AtomicU32::new(0),
            failure_limit: FAILURE_LIMIT,
        })
    }
}

impl HelperEpoch {
    /// The epoch's id.
    pub fn epoch(&self) -> EpochId {
        self.epoch
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// How many checks failed so far.
    pub fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Number of compute parties.
    pub fn parties(&self) -> Parties {
        self.parties
    }

    /// The epoch, to be retired after fewer failed checks than [`FAILURE_LIMIT`]; more are never
    /// allowed.
    pub fn retired_after(self, failures: u32) -> Self {
        HelperEpoch { failure_limit: failures.min(FAILURE_LIMIT), ..self }
    }

    /// The next inference id; each is given out once. An epoch does not outlive the helper's
    /// process, so the counter need not be stored.
    pub fn next_inference(&self) -> Fresh<InferenceId> {
        Fresh::recorded(InferenceId(self.next.fetch_add(1, Ordering::Relaxed)))
    }
}
