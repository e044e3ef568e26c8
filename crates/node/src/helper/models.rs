//! The models of the helper: their plans, and what is loaded and dealt of each.

use super::supply::Lot;
use crate::served::{Served, not_served};
use crate::{Ahead, NodeError, limits};
use amicus_plan::{Plan, PlanDigest};
use amicus_protocol::epoch::HelperEpoch;
use amicus_protocol::{EpochId, Fault, ProtocolError};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// A plan that is served, and the epoch of it that is loaded.
pub(super) struct Model {
    pub(super) plan: Arc<Plan>,
    pub(super) digest: PlanDigest,
    pub(super) max_batch: u32,
    pub(super) ahead: Ahead,
    /// Bytes of a release, for every input.
    pub(super) answer: usize,
    /// Bytes of one-time material at a party, for every input.
    pub(super) material: u64,
    /// The epoch that this helper has accepted, as its folder has it.
    pub(super) accepted: Option<Arc<HelperEpoch>>,
    /// The epoch that is used: the accepted one, once the parties have confirmed it.
    pub(super) epoch: Option<Arc<HelperEpoch>>,
    /// Why no epoch is used: requests are refused.
    pub(super) retired: Option<ProtocolError>,
    /// How many inferences are in flight, for the dealing thread.
    pub(super) in_flight: Arc<AtomicUsize>,
}

impl Model {
    fn new(served: &Served) -> Result<Self, NodeError> {
        let Served { plan, max_batch, ahead, .. } = served.clone();
        Ok(Model {
            digest: plan.digest().map_err(ProtocolError::from)?,
            max_batch,
            ahead,
            answer: limits::answer(&plan)?,
            material: served.material()?,
            accepted: None,
            epoch: None,
            retired: None,
            in_flight: Arc::default(),
            plan,
        })
    }

    /// What material of the used epoch is for, in a batch of this size.
    pub(super) fn lot(&self, batch: u32) -> Option<Lot> {
        let bytes = self.material.saturating_mul(batch.into());
        Some(Lot { epoch: self.epoch.as_ref()?.epoch(), batch, bytes })
    }
}

/// All models of the helper. A model's place never changes.
pub(super) struct Models(Vec<Model>);

impl Models {
    /// These models, none of them loaded.
    ///
    /// # Errors
    /// An invalid plan.
    pub(super) fn new(served: &[Served]) -> Result<Self, NodeError> {
        Ok(Models(served.iter().map(Model::new).collect::<Result<_, NodeError>>()?))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Model> {
        self.0.iter()
    }

    /// The model of a plan.
    pub(super) fn of_plan(&self, plan: &PlanDigest) -> Option<&Model> {
        self.0.iter().find(|model| model.digest == *plan)
    }

    /// The model of a plan, to change it.
    pub(super) fn of_plan_mut(&mut self, plan: &PlanDigest) -> Option<&mut Model> {
        self.0.iter_mut().find(|model| model.digest == *plan)
    }

    /// The model of which this is the used epoch.
    pub(super) fn of_epoch(&self, epoch: EpochId) -> Option<&Model> {
        self.0.iter().find(|model| model.epoch.as_ref().is_some_and(|used| used.epoch() == epoch))
    }

    /// The model of which this is the accepted epoch, to change it.
    pub(super) fn of_accepted_mut(&mut self, epoch: EpochId) -> Option<&mut Model> {
        self.0.iter_mut().find(|model| model.accepted.as_ref().is_some_and(|e| e.epoch() == epoch))
    }

    /// Why a plan is refused that is not served.
    pub(super) fn not_served(&self, plan: &PlanDigest) -> Fault {
        not_served(plan, self.0.iter().map(|model| (&*model.plan, model.digest)))
    }
}
