//! What a deployment asks of the machine of a node, so that its operator can say no.

use super::{Deployment, DeploymentLimits};
use crate::Error;
use amicus_node::{Ahead, Asked, Served};
use amicus_plan::Plan;
use std::sync::Arc;

impl Deployment {
    /// What serving these plans asks of a node, at most.
    ///
    /// # Errors
    /// An invalid plan, none, too many, or one twice.
    pub fn asks(&self, plans: impl IntoIterator<Item = impl Into<Arc<Plan>>>) -> Result<Asked, Error> {
        let models: Vec<Served> = plans.into_iter().map(|plan| self.served(plan.into())).collect();
        Ok(Asked::of(&models)?)
    }

    /// A model as the deployment has it served.
    pub(crate) fn served(&self, plan: Arc<Plan>) -> Served {
        let max_batch = self.max_batch(&plan);
        let DeploymentLimits { lanes, ready, .. } = self.limits;
        let usual = Served::new(plan);
        Served {
            max_batch,
            lanes: lanes.map_or(usual.lanes, |lanes| lanes as usize),
            ahead: ready.map_or(usual.ahead, |ready| Ahead::new(1, ready as usize)),
            ..usual
        }
    }
}
