//! The models that a cluster serves, by their plans, and what they demand of a node together.

use crate::bounds::{self, Bounds};
use crate::limits::{self, MATERIAL};
use crate::{Ahead, Limits, NodeError};
use amicus_plan::{Plan, PlanDigest};
use amicus_protocol::{Fault, ProtocolError};
use std::sync::Arc;

/// Models that a node serves, at most.
pub const MAX_MODELS: usize = 16;
/// Digits of a plan's digest in a message to a user.
const SHOWN: usize = 16;

/// A model that a node serves once an owner has loaded it.
#[derive(Clone, Debug)]
pub struct Served {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Largest batch a client may ask for.
    pub max_batch: u32,
    /// Inferences of one input in flight at a time, at most [`limits::MAX_LANES`].
    pub lanes: usize,
    /// What the helper deals before anybody asks.
    pub ahead: Ahead,
}

impl Served {
    /// A model with the usual limits: the largest batch, lanes, and material for inferences of one
    /// input that is dealt ahead, as memory allows.
    pub fn new(plan: impl Into<Arc<Plan>>) -> Self {
        let plan = plan.into();
        Served {
            max_batch: limits::largest_batch(&plan, MATERIAL),
            lanes: limits::lanes(&plan, MATERIAL),
            ahead: Ahead::new(1, limits::kept(&plan, MATERIAL)),
            plan,
        }
    }

    /// Bytes of one-time material at a party, for every input.
    ///
    /// # Errors
    /// An invalid plan.
    pub(crate) fn material(&self) -> Result<u64, NodeError> {
        Ok(self.plan.cost(1).map_err(ProtocolError::from)?.material_bytes)
    }
}

/// Bytes that one-time material may take at a party, of all models together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Bytes of inferences in flight: as many as those of any one model take, in its largest batch
    /// or one in every lane.
    pub(crate) in_flight: u64,
    /// Bytes of what is dealt before anybody asks.
    pub(crate) ahead: u64,
    /// Bytes of what was ordered by clients, until one claims it: the largest batch of any model.
    pub(crate) ordered: u64,
}

impl Budget {
    /// What these models take.
    ///
    /// # Errors
    /// An invalid plan.
    pub(crate) fn of(models: &[Served]) -> Result<Self, NodeError> {
        let mut all = Budget { in_flight: 0, ahead: 0, ordered: 0 };
        let mut most_ahead = MATERIAL;
        for model in models {
            let each = model.material()?;
            let of = |inputs: usize| each.saturating_mul(inputs as u64);
            let Served { max_batch, lanes, ahead, .. } = model;
            let max_batch = *max_batch as usize;
            let kept = of(ahead.kept.saturating_mul(ahead.batch as usize));
            all.in_flight = all.in_flight.max(of(max_batch.max(*lanes)));
            all.ordered = all.ordered.max(of(max_batch));
            all.ahead = all.ahead.saturating_add(kept);
            most_ahead = most_ahead.max(kept);
        }
        // Several share what one may take, unless more was asked for by name.
        all.ahead = all.ahead.min(most_ahead);
        Ok(all)
    }

    /// All that a party holds at a time: what is in flight, ready, ordered by clients that left, and
    /// dealt next.
    pub(crate) fn held(&self) -> u64 {
        self.in_flight.saturating_add(self.ahead).saturating_add(self.ordered.saturating_mul(4))
    }
}

/// What serving models asks of a node's machine, at most; a node refuses whatever goes beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Inferences in flight at a time.
    pub inferences: usize,
    /// Bytes of the longest message.
    pub message: usize,
    /// Bytes of one-time material that a party holds.
    pub material: u64,
}

impl Asked {
    /// What these models ask together.
    ///
    /// # Errors
    /// An invalid plan; no model, too many, or one plan twice.
    pub fn of(models: &[Served]) -> Result<Self, NodeError> {
        let demands = Demands::of(models, Limits::default())?;
        Ok(Asked {
            inferences: models.iter().map(|model| model.lanes).max().unwrap_or(0),
            message: demands.online.max(demands.dealing),
            material: demands.memory.held(),
        })
    }
}

/// Frame limits, bounds and deadlines that fit every model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demands {
    /// Longest message online or at load, in bytes.
    pub(crate) online: usize,
    /// Longest message that is dealt.
    pub(crate) dealing: usize,
    /// What the online thread keeps for and of others.
    pub(crate) bounds: Bounds,
    /// What the dealing thread does.
    pub(crate) dealing_bounds: Bounds,
    /// One-time material.
    pub(crate) memory: Budget,
    /// Deadlines.
    pub(crate) limits: Limits,
}

impl Demands {
    /// What these models demand together.
    ///
    /// # Errors
    /// An invalid plan; no model, too many, or one plan twice.
    pub(crate) fn of(models: &[Served], limits: Limits) -> Result<Self, NodeError> {
        let misuse = |what: String| NodeError::from(ProtocolError::Misuse(what));
        if models.is_empty() || models.len() > MAX_MODELS {
            return Err(misuse(format!("{} models, 1 to {MAX_MODELS} can be served", models.len())));
        }
        let mut all = Demands {
            online: 0,
            dealing: 0,
            bounds: Bounds::NOTHING,
            dealing_bounds: Bounds::NOTHING,
            memory: Budget::of(models)?,
            limits,
        };
        let mut digests: Vec<PlanDigest> = Vec::new();
        for Served { plan, max_batch, .. } in models {
            let digest = plan.digest().map_err(ProtocolError::from)?;
            if digests.contains(&digest) {
                return Err(misuse(format!("plan {digest} is served twice")));
            }
            digests.push(digest);
            all.online = all.online.max(limits::online(plan, *max_batch)?);
            all.dealing = all.dealing.max(limits::dealing(plan, *max_batch)?);
            all.bounds = all.bounds.or(bounds::online(plan, *max_batch)?);
            all.dealing_bounds = all.dealing_bounds.or(bounds::dealing(plan, *max_batch)?);
            all.limits = all.limits.for_plan(plan)?;
        }
        Ok(all)
    }
}

/// Why a plan that somebody named is refused: which ones are served.
pub(crate) fn not_served<'a>(
    plan: &PlanDigest,
    served: impl Iterator<Item = (&'a Plan, PlanDigest)>,
) -> Fault {
    let short = |digest: &PlanDigest| digest.to_string().chars().take(SHOWN).collect::<String>();
    let served: Vec<String> =
        served.map(|(plan, digest)| format!("{} ({})", plan.name, short(&digest))).collect();
    Fault::Incompatible(format!("plan {} is not served here; served: {}", short(plan), served.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use amicus_field::{Dense, Limbs, LinearShape};
    use amicus_plan::*;

    /// A layer and its square, of so many values.
    fn plan(values: usize) -> Arc<Plan> {
        let shape = LinearShape::Dense(Dense { inputs: values, outputs: values });
        let linear = OpKind::Linear { input: ValueId(0), weights: WeightId(0), use_index: UseIndex(0) };
        Arc::new(Plan {
            name: format!("{values} values"),
            limbs: Limbs::ONE,
            input: InputSpec {
                shape: vec![values],
                scale: ScaleBits(4),
                range: Range { low: -1.0, high: 1.0 },
            },
            weights: vec![WeightSpec { name: "w".into(), shape, scale: ScaleBits(4), bias: false }],
            public: Vec::new(),
            ops: vec![Op { name: "w".into(), kind: linear }],
            output: OutputSpec { value: ValueId(1), ell: 12, scale: ScaleBits(8), watch: 0, reveal: None },
        })
    }

    fn served(values: usize, max_batch: u32, lanes: usize, kept: usize) -> Served {
        Served { plan: plan(values), max_batch, lanes, ahead: Ahead::new(1, kept) }
    }

    #[test]
    fn memory_is_that_of_the_largest_and_shared_by_all() {
        let (small, large) = (served(2, 4, 2, 3), served(64, 2, 16, 1));
        let [one, other] = [&small, &large].map(|model| model.material().unwrap());
        assert!(0 < one && one < other);
        let memory = |models: &[&Served]| {
            let models: Vec<Served> = models.iter().map(|model| (*model).clone()).collect();
            Budget::of(&models).unwrap()
        };
        assert_eq!(memory(&[&small]), Budget { in_flight: 4 * one, ahead: 3 * one, ordered: 4 * one });
        let both = memory(&[&small, &large]);
        let ordered = (4 * one).max(2 * other);
        assert_eq!(both, Budget { in_flight: 16 * other, ahead: 3 * one + other, ordered });
        assert_eq!(both.held(), both.in_flight + both.ahead + 4 * ordered);
        // Each would take most of what one may take ahead: together they take no more than one.
        let much = |model: &Served| {
            let kept = (MATERIAL / 4 * 3 / model.material().unwrap()) as usize;
            Served { ahead: Ahead::new(1, kept), ..model.clone() }
        };
        assert_eq!(memory(&[&much(&small), &much(&large)]).ahead, MATERIAL);
        // Unless more was asked for by name.
        let more = Served { ahead: Ahead::new(1, (2 * MATERIAL / one) as usize), ..small.clone() };
        assert_eq!(memory(&[&more, &much(&large)]).ahead, 2 * MATERIAL / one * one);
    }

    #[test]
    fn each_plan_is_served_once_and_not_too_many() {
        let demands = |models: Vec<Served>| Demands::of(&models, Limits::default());
        let error = |models| demands(models).unwrap_err().to_string();
        let many = |n: usize| (1..=n).map(|values| served(values, 1, 1, 1)).collect::<Vec<_>>();
        assert!(error(Vec::new()).contains("0 models, 1 to 16"));
        assert!(error(many(MAX_MODELS + 1)).contains("17 models, 1 to 16"));
        assert!(error(vec![served(2, 1, 1, 1), served(2, 4, 1, 1)]).contains("is served twice"));
        // Whatever one of them needs fits.
        let all = demands(many(MAX_MODELS)).unwrap();
        for model in many(MAX_MODELS) {
            let one = demands(vec![model]).unwrap();
            assert!(one.online <= all.online && one.dealing <= all.dealing);
            assert_eq!((one.bounds.or(all.bounds), one.limits), (all.bounds, all.limits));
            assert_eq!(one.dealing_bounds.or(all.dealing_bounds), all.dealing_bounds);
        }
    }

    #[test]
    fn who_asks_for_a_plan_that_is_not_served_hears_which_are() {
        let (one, two) = (plan(1), plan(2));
        let served = [(&*one, one.digest().unwrap())];
        let asked = two.digest().unwrap();
        let said = not_served(&asked, served.into_iter()).to_string();
        assert!(said.contains("is not served here") && said.contains("1 values ("), "{said}");
        assert!(said.contains(&asked.to_string()[..SHOWN]), "{said}");
    }
}
