//! The models of a party: their plans, and the epoch of each that is in memory.

use crate::served::{Served, not_served};
use crate::{Loaded, NodeError};
use amicus_plan::PlanDigest;
use amicus_protocol::epoch::{PartyContext, PartyEpoch};
use amicus_protocol::{EpochId, Fault, Parties, PartyId};
use std::sync::Arc;

/// A plan that is served, and the epoch of it that is in memory.
struct Model {
    ctx: PartyContext,
    max_batch: u32,
    /// Bytes of one-time material, for every input.
    material: u64,
    epoch: Option<Arc<PartyEpoch>>,
    /// The helper has confirmed the epoch: it may be used.
    used: bool,
}

/// An epoch that is used, as the dealing thread needs to know it.
#[derive(Clone)]
pub(super) struct Used {
    pub(super) epoch: Arc<PartyEpoch>,
    /// Largest batch.
    pub(super) max_batch: u32,
    /// Bytes of one-time material, for every input.
    pub(super) material: u64,
}

impl Model {
    fn used(&self) -> Option<&Arc<PartyEpoch>> {
        self.epoch.as_ref().filter(|_| self.used)
    }
}

/// All models of a party.
pub(super) struct Models(Vec<Model>);

impl Models {
    /// These models, none of them loaded.
    ///
    /// # Errors
    /// An invalid plan.
    pub(super) fn new(served: &[Served], parties: Parties, me: PartyId) -> Result<Self, NodeError> {
        let model = |served: &Served| {
            let ctx = PartyContext::new(Arc::clone(&served.plan), parties, me)?;
            let (max_batch, material) = (served.max_batch, served.material()?);
            Ok(Model { ctx, max_batch, material, epoch: None, used: false })
        };
        Ok(Models(served.iter().map(model).collect::<Result<_, NodeError>>()?))
    }

    /// What is known of a plan that is served.
    pub(super) fn context(&self, plan: &PlanDigest) -> Option<&PartyContext> {
        self.0.iter().map(|model| &model.ctx).find(|ctx| ctx.digest == *plan)
    }

    /// Why a plan is refused that is not served.
    pub(super) fn not_served(&self, plan: &PlanDigest) -> Fault {
        not_served(plan, self.0.iter().map(|model| (&*model.ctx.plan, model.ctx.digest)))
    }

    /// The epoch of a plan that is used.
    pub(super) fn of_plan(&self, plan: &PlanDigest) -> Option<&Arc<PartyEpoch>> {
        self.0.iter().filter_map(Model::used).find(|epoch| epoch.context().digest == *plan)
    }

    /// An epoch that is used.
    pub(super) fn epoch(&self, id: EpochId) -> Option<&Arc<PartyEpoch>> {
        self.0.iter().filter_map(Model::used).find(|epoch| epoch.epoch() == id)
    }

    /// All epochs that are used, for the dealing thread.
    pub(super) fn all_used(&self) -> Vec<Used> {
        let used = |model: &Model| {
            let epoch = Arc::clone(model.used()?);
            Some(Used { epoch, max_batch: model.max_batch, material: model.material })
        };
        self.0.iter().filter_map(used).collect()
    }

    /// Those that are used, for whoever asks how this party is.
    pub(super) fn loaded(&self) -> Vec<Loaded> {
        let loaded = |epoch: &Arc<PartyEpoch>| Loaded {
            plan: epoch.context().digest,
            epoch: epoch.epoch(),
            fingerprint: Some(epoch.fingerprint().0),
        };
        self.0.iter().filter_map(Model::used).map(loaded).collect()
    }

    /// How many are used.
    pub(super) fn used(&self) -> usize {
        self.0.iter().filter_map(Model::used).count()
    }

    /// All epochs in memory, used or not.
    pub(super) fn held(&self) -> Vec<Arc<PartyEpoch>> {
        self.0.iter().filter_map(|model| model.epoch.clone()).collect()
    }

    /// Whether an epoch of this plan is in memory, used or not.
    pub(super) fn holds(&self, plan: &PlanDigest) -> bool {
        self.0.iter().any(|model| model.ctx.digest == *plan && model.epoch.is_some())
    }

    /// Keeps an epoch in memory in place of another of its plan; it is not used yet.
    pub(super) fn hold(&mut self, epoch: Arc<PartyEpoch>) {
        if let Some(model) = self.0.iter_mut().find(|model| model.ctx.digest == epoch.context().digest) {
            model.epoch = Some(epoch);
            model.used = false;
        }
    }

    /// From now on those of the epochs in memory are used of which this says so, and no others.
    pub(super) fn use_those(&mut self, used: impl Fn(EpochId) -> bool) {
        for model in &mut self.0 {
            model.used = model.epoch.as_ref().is_some_and(|epoch| used(epoch.epoch()));
        }
    }

    /// Uses an epoch that is in memory.
    pub(super) fn use_also(&mut self, epoch: EpochId) {
        for model in &mut self.0 {
            model.used |= model.epoch.as_ref().is_some_and(|held| held.epoch() == epoch);
        }
    }

    /// Forgets an epoch, if it is in memory.
    pub(super) fn forget(&mut self, epoch: EpochId) {
        for model in &mut self.0 {
            model.epoch.take_if(|held| held.epoch() == epoch);
        }
    }
}
