//! The public port: HTTPS for clients and owners with tokens (`docs/api.md`).
//!
//! Requests become messages of users of the node, over links in memory: the node's states are the
//! same as those behind its own port, and judge them in the same way. One thread serves all
//! connections. What comes before a token is bounded in time and size, and what comes with one in
//! number too; bodies and tokens are in no log, and whoever is refused is told why in four parts.

mod answer;
mod config;
mod facts;
mod inferences;
mod inputs;
mod loads;
mod places;
mod problem;
mod routes;
mod server;

pub use config::{PublicConfig, PublicLimits};
pub(crate) use problem::Outcome;
pub(crate) use server::{Public, Socket};

use crate::token::{Grant, Meter, Spent, Tokens};
use amicus::protocol::EpochId;
use amicus::{Level, Watch};
use facts::{Facts, Model};
use hyper::StatusCode;
use inferences::Inferences;
use loads::Loads;
use places::Places;
use problem::{Refused, Whose};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The OpenAPI document of this API.
pub const OPEN_API: &str = include_str!("../../openapi.json");

/// What all requests share.
struct Front {
    facts: Facts,
    watch: Watch,
    tokens: Mutex<Tokens>,
    meter: Mutex<Meter>,
    places: Arc<Places>,
    inferences: Inferences,
    loads: Loads,
    /// How the node was when somebody asked last.
    level: Mutex<Level>,
    counts: crate::metrics::ApiCounts,
    origins: Vec<String>,
    limits: PublicLimits,
    longest: usize,
}

/// One of a token's lanes, given back when this is dropped.
struct Lane {
    front: Arc<Front>,
    token: String,
}

impl Drop for Lane {
    fn drop(&mut self) {
        lock(&self.front.meter).leave(&self.token);
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Front {
    /// Takes one of a token's lanes.
    fn enter(self: &Arc<Self>, grant: &Grant) -> Result<Lane, Refused> {
        lock(&self.meter).enter(grant, Instant::now()).map_err(limited)?;
        Ok(Lane { front: Arc::clone(self), token: grant.id.clone() })
    }

    /// Counts images against a token's quota and rate.
    fn take(&self, grant: &Grant, images: u32) -> Result<(), Refused> {
        match lock(&self.meter).take(grant, images, Instant::now()) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(spent)) => Err(limited(spent)),
            Err(error) => {
                tracing::error!(event = "meter_failed", "what tokens use cannot be written down: {error}");
                let what = "this node cannot write down what tokens use";
                let (status, next) =
                    (StatusCode::SERVICE_UNAVAILABLE, "ask the operator of this node to look at its log");
                Err(Refused::new(status, Outcome::Failed, what, Whose::Operators, next))
            }
        }
    }

    /// How the node is now. It is asked by another thread: it may be busy for a moment.
    async fn level(&self) -> Level {
        let watch = self.watch.clone();
        let level = tokio::task::spawn_blocking(move || watch.level()).await.unwrap_or_default();
        lock(&self.level).clone_from(&level);
        level
    }

    /// The model that is loaded in an epoch.
    async fn plan_of(&self, epoch: EpochId) -> Result<Arc<Model>, Refused> {
        let find = |level: &Level| {
            let loaded = level.loaded.iter().find(|loaded| loaded.epoch == epoch)?;
            self.facts.models.iter().find(|model| model.digest == loaded.plan).cloned()
        };
        let known = find(&lock(&self.level));
        let found = match known {
            Some(model) => Some(model),
            None => find(&self.level().await),
        };
        found.ok_or_else(|| {
            let what = "no model is loaded here in the epoch of this id";
            Refused::missing(what, "ask the helper for a new inference")
        })
    }
}

/// A token that is used up, for now or for good.
fn limited(spent: Spent) -> Refused {
    let refused = |what: String, next| {
        Refused::new(StatusCode::TOO_MANY_REQUESTS, Outcome::Limited, what, Whose::Yours, next)
    };
    match spent {
        Spent::Quota(quota) => refused(
            format!("this token's {quota} images are used up"),
            "ask the operator of this node for another",
        ),
        Spent::Rate(wait) => {
            refused("this token's images of a minute are used up".into(), "ask again a little later")
                .after(wait)
        }
        Spent::Lanes(lanes) => refused(
            format!("{lanes} inferences of this token are in flight, as many as it may have"),
            "wait until one of them ends",
        )
        .after(std::time::Duration::from_secs(1)),
    }
}
