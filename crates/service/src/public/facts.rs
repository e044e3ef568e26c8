//! What a public port knows of its node without asking it.

use super::inputs::batches;
use super::problem::{Outcome, Refused, Whose};
use crate::node::Prepared;
use crate::token::Grant;
use amicus::client::https::{Info, ModelInfo};
use amicus::node::{Limits, Peer};
use amicus::plan::PlanDigest;
use amicus::protocol::wire::VERSION;
use amicus::{Error, Level};
use hyper::StatusCode;
use std::sync::Arc;
use std::time::Duration;

/// A model that the node serves.
pub(super) struct Model {
    pub(super) name: String,
    pub(super) digest: PlanDigest,
    /// Its public plan as bytes.
    pub(super) plan: Arc<[u8]>,
    /// Bytes of masked inputs of one image, two images, and so on.
    pub(super) batches: Vec<usize>,
}

/// How long answers of the node are waited for: longer than the node waits itself.
pub(super) struct Patience {
    pub(super) round: Duration,
    pub(super) turn: Duration,
    pub(super) outcome: Duration,
    pub(super) load: Duration,
}

/// Who the node is and what it serves.
pub(super) struct Facts {
    pub(super) me: Peer,
    cluster: String,
    digest: String,
    parties: usize,
    pub(super) models: Vec<Arc<Model>>,
    /// Bytes of the longest message of any model.
    pub(super) longest: usize,
    pub(super) patience: Patience,
}

impl Facts {
    pub(super) fn of(prepared: &Prepared) -> Result<Self, Error> {
        let deployment = &prepared.deployment;
        let model = |agreed: &crate::node::Agreed| {
            let name = agreed.name.clone().unwrap_or_else(|| agreed.plan.name.clone());
            let plan = agreed.plan.encode()?.into();
            let batches = batches(&agreed.plan, deployment.max_batch(&agreed.plan));
            Ok(Arc::new(Model { name, digest: agreed.digest(), plan, batches }))
        };
        let models: Vec<Arc<Model>> = prepared.plans.iter().map(model).collect::<Result<_, Error>>()?;
        let plans = || prepared.plans.iter().map(|agreed| &agreed.plan);
        let mut limits = deployment.patience();
        let mut longest = 0;
        for plan in plans() {
            limits = limits.for_plan(plan)?;
            longest = longest.max(amicus::node::limits::online(plan, deployment.max_batch(plan))?);
        }
        let Limits { round, inference, load } = limits;
        let outcome = inference + 4 * round;
        let patience =
            Patience { round, turn: load + outcome + round, outcome, load: 2 * (load + 6 * round) };
        Ok(Facts {
            me: prepared.me.clone(),
            cluster: deployment.cluster.clone(),
            digest: prepared.digest.to_string(),
            parties: deployment.parties.len(),
            models,
            longest,
            patience,
        })
    }

    pub(super) fn is_helper(&self) -> bool {
        self.me == Peer::Helper
    }

    /// Whether a token is for the model of a plan.
    pub(super) fn allowed(&self, grant: &Grant, plan: &PlanDigest) -> Result<(), Refused> {
        let model = self.models.iter().find(|model| model.digest == *plan).ok_or_else(|| {
            let what = format!("this node serves no model of plan {plan}");
            Refused::missing(what, "take a plan that /v1/info lists")
        })?;
        if is_for(grant, &model.name) {
            return Ok(());
        }
        let what = format!("this token is not for the model {}", model.name);
        let next = "ask the operator of this node for one that is";
        Err(Refused::new(StatusCode::FORBIDDEN, Outcome::Forbidden, what, Whose::Yours, next))
    }

    /// What the node says of itself to whoever has this token.
    pub(super) fn info(&self, grant: &Grant, level: &Level) -> Info {
        let shown = self.models.iter().filter(|model| is_for(grant, &model.name));
        let models = shown.map(|model| {
            let loaded = level.loaded.iter().find(|loaded| loaded.plan == model.digest);
            let fingerprint = loaded.and_then(|loaded| loaded.fingerprint).filter(|_| !self.is_helper());
            ModelInfo {
                name: model.name.clone(),
                plan: model.digest.to_string(),
                batch: u32::try_from(model.batches.len()).unwrap_or(u32::MAX),
                epoch: loaded.map(|loaded| hex(loaded.epoch.as_bytes())),
                fingerprint: fingerprint.map(|fingerprint| hex(&fingerprint)),
            }
        });
        Info {
            role: self.me.to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            wire: VERSION,
            cluster: self.cluster.clone(),
            digest: self.digest.clone(),
            parties: self.parties,
            ready: level.session,
            models: models.collect(),
        }
    }
}

/// Whether a token is for the model with this name.
pub(super) fn is_for(grant: &Grant, model: &str) -> bool {
    grant.models.is_empty() || grant.models.iter().any(|name| name == model)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
