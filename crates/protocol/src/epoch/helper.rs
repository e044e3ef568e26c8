//! The helper's side of a load: deal masks and tags, check that the masked tags are right.

use super::{SEED_BYTES, challenge, correction_lengths};
use crate::affine::{self, Affine, columns, parts, sample};
use crate::authentic::{AuthenticationKeys, AuthenticationRoot, FIRST_RECIPIENT};
use crate::check::FAILURE_LIMIT;
use crate::label::{Label, LabelStream, Purpose, correction, domain, sum_of};
use crate::session::{HelperKeys, HelperSession};
use crate::transcript::Digest;
use crate::wire::{pack_all, unpack};
use crate::{EpochId, Parties, ProtocolError, Scope, Step};
use amicus_field::{Element, LimbVec, Randomness, Seed};
use amicus_plan::{Plan, PlanDigest, Values, WeightId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use zeroize::Zeroizing;

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
    digest: PlanDigest,
    scope: Scope,
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
    pub(crate) digest: PlanDigest,
    pub(crate) epoch: EpochId,
    /// The parties' seeds of the epoch: of what masks the model, and of nothing else.
    pub(super) seeds: Vec<Seed>,
    pub(crate) layers: Vec<HelperLayer>,
    /// The plan's public weights.
    pub(crate) public: Vec<Affine>,
    pub(crate) failures: AtomicU32,
    /// Failed checks after which the epoch is used no more.
    pub(crate) failure_limit: u32,
}

impl HelperLoad {
    /// Draws the epoch's id, and takes an id of the session for the load. The parties' seeds of the
    /// epoch are keys of that id, which both sides had a part in.
    ///
    /// # Errors
    /// An invalid plan, or no randomness.
    pub fn begin(
        plan: Arc<Plan>,
        session: &HelperSession,
        randomness: &mut dyn Randomness,
    ) -> Result<Self, ProtocolError> {
        plan.values()?;
        let (digest, parties) = (plan.digest()?, session.parties());
        let epoch = EpochId::random(randomness)?;
        let HelperKeys { scope, seeds } = session.next(epoch, &digest)?;
        let layers = layers(&plan, epoch, &seeds)?;
        let mut load = HelperLoad {
            tagged_masks: layers.iter().map(|layer| layer.mask.transposed(&layer.key)).collect(),
            checks: Vec::with_capacity(plan.weights.len()),
            scope,
            plan,
            parties,
            digest,
            seeds,
            layers,
        };
        for index in 0..load.plan.weights.len() {
            let tags = load.streams(Purpose::LoadTags, WeightId(index as u32));
            load.checks.push(sum_of(&tags, domain::CHECK, load.plan.limbs, 1).get(0));
        }
        Ok(load)
    }

    fn streams(&self, purpose: Purpose, id: WeightId) -> Vec<LabelStream> {
        streams(purpose, self.scope.epoch, &self.seeds, id)
    }

    /// The load: its session, epoch and number.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The owner's message: seeds of the mask shares, weight tensor by weight tensor, then the
    /// owner's authentication keys.
    pub fn owner_grant(&self) -> Zeroizing<Vec<u8>> {
        let length = (self.plan.weights.len() + 1) * self.parties.count() * SEED_BYTES;
        let mut body = Zeroizing::new(Vec::with_capacity(length));
        for index in 0..self.plan.weights.len() {
            for seed in &self.seeds {
                let label = Label::epoch(Purpose::WeightMask, self.scope.epoch, index as u32);
                body.extend_from_slice(label.seed(seed).as_bytes());
            }
        }
        let roots = self.seeds.iter().map(|seed| AuthenticationRoot::of(seed, self.scope));
        let keys = AuthenticationKeys::of(&roots.collect::<Vec<_>>(), FIRST_RECIPIENT);
        body.extend_from_slice(&Zeroizing::new(keys.encode()));
        body
    }

    /// The parties' seeds of the epoch, in order. For tests that look at what is drawn from them.
    #[cfg(feature = "danger")]
    pub fn danger_seeds(&self) -> &[Seed] {
        &self.seeds
    }

    /// The last party's corrections of one weight tensor: `b^T M_W`, then `a b`.
    pub fn corrections(&self, id: WeightId) -> Vec<u8> {
        let tags = self.streams(Purpose::LoadTags, id);
        let mut check_key = self.layers[id.index()].key.clone();
        check_key.scale_assign(&self.checks[id.index()]);
        let last = self.parties.last();
        let corrections = [
            correction(&tags, last, domain::TAGGED_MASK, 0, self.tagged_masks[id.index()].clone()),
            correction(&tags, last, domain::CHECK_KEY, 0, check_key),
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
            let c = challenge(&seed, load.scope.epoch, id, limbs, tags.len());
            right &= sum.get(index) == load.checks[index] * tags.dot(&c);
        }
        if !right {
            return Err(ProtocolError::Rejected { step: Step::load_part("check of the tags") });
        }
        let values = load.plan.values()?;
        Ok(HelperEpoch {
            values,
            public: affine::public(&load.plan)?,
            plan: load.plan,
            parties: load.parties,
            digest: load.digest,
            epoch: load.scope.epoch,
            seeds: load.seeds,
            layers: load.layers,
            failures: AtomicU32::new(0),
            failure_limit: FAILURE_LIMIT,
        })
    }
}

impl HelperEpoch {
    /// The parties' seeds of the epoch, in order. For tests that look at what is drawn from them.
    #[cfg(feature = "danger")]
    pub fn danger_seeds(&self) -> &[Seed] {
        &self.seeds
    }

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

    /// The plan's digest.
    pub fn digest(&self) -> &PlanDigest {
        &self.digest
    }

    /// Takes over what another node knows of failed checks; the count never falls.
    pub fn at_least(&self, failures: u32) {
        self.failures.fetch_max(failures, Ordering::Relaxed);
    }
}

fn streams(purpose: Purpose, epoch: EpochId, seeds: &[Seed], id: WeightId) -> Vec<LabelStream> {
    seeds.iter().map(|seed| Label::epoch(purpose, epoch, id.0).stream(seed)).collect()
}

/// What the helper keeps of every weight tensor, from the parties' seeds of the epoch.
pub(super) fn layers(plan: &Plan, epoch: EpochId, seeds: &[Seed]) -> Result<Vec<HelperLayer>, ProtocolError> {
    let layer = |index: u32| {
        let (id, limbs) = (WeightId(index), plan.limbs);
        let spec = plan.weight(id);
        let masks = streams(Purpose::WeightMask, epoch, seeds, id);
        let mut mask = Affine::zeros(spec, limbs)?;
        for part in parts(spec) {
            let mut sum = LimbVec::zeros(limbs, part.len());
            masks.iter().for_each(|stream| sum.add_assign(&sample(&part, stream, limbs)));
            mask.write(&part, sum);
        }
        let tags = streams(Purpose::LoadTags, epoch, seeds, id);
        let key = sum_of(&tags, domain::MAC_KEY, limbs, spec.shape.outputs());
        let tag_mask = sum_of(&tags, domain::TAG_MASK, limbs, columns(spec));
        Ok(HelperLayer { mask, key, tag_mask })
    };
    (0..plan.weights.len() as u32).map(layer).collect()
}
