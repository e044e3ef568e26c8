//! A plan that was made before, for the same network again.
//!
//! Networks that ship have theirs made from training images, so nothing is calibrated on images that are then classified,
//! and no time goes into it. What is kept is public: the plan and what its numbers stand for.

use amicus_plan::{OpKind, Plan};
use serde::{Deserialize, Serialize};

use crate::compare;
use crate::compile::Compiled;
use crate::emit;
use crate::error::ModelError;
use crate::fold::Folded;
use crate::graph::Graph;
use crate::quantize::QuantizedWeights;
use crate::scales::{ActivationScales, Scales};
use crate::stretch;

/// A plan with the factors of its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// What all roles run.
    pub plan: Plan,
    /// See [`Compiled::factors`].
    pub factors: Vec<f64>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    plan: Vec<u8>,
    factors: Vec<f64>,
}

impl Planned {
    /// The plan of a compiled network.
    pub fn of(compiled: &Compiled) -> Self {
        Planned { plan: compiled.plan.clone(), factors: compiled.factors.clone() }
    }

    /// As bytes.
    ///
    /// # Errors
    /// A plan that is not valid.
    pub fn encode(&self) -> Result<Vec<u8>, ModelError> {
        let stored = Stored { plan: self.plan.encode()?, factors: self.factors.clone() };
        postcard::to_stdvec(&stored).map_err(|e| ModelError::data("plan", e.to_string()))
    }

    /// From bytes.
    ///
    /// # Errors
    /// Bytes that hold no plan.
    pub fn decode(bytes: &[u8]) -> Result<Self, ModelError> {
        let stored: Stored =
            postcard::from_bytes(bytes).map_err(|e| ModelError::data("plan", e.to_string()))?;
        let plan = Plan::decode(&stored.plan)?;
        if !stored.factors.iter().all(|f| f.is_finite() && *f > 0.0) {
            return Err(ModelError::data("plan", "its factors are none"));
        }
        Ok(Planned { plan, factors: stored.factors })
    }

    /// The integer weights of a network for this plan.
    ///
    /// # Errors
    /// When the plan is another network's.
    pub fn weights(&self, graph: &Graph) -> Result<QuantizedWeights, ModelError> {
        let Planned { plan, factors } = self;
        let folded = Folded::new(graph)?;
        compare::fits(&folded, plan, factors)?;
        let units: Vec<f64> = factors.iter().zip(&folded.factors).map(|(own, f)| own / f).collect();
        let folded = stretch::in_units(&folded, &units);
        let scales = Scales {
            input: plan.input.scale.0,
            weights: plan.weights.iter().map(|w| w.scale.0).collect(),
            activations: plan.ops.iter().map(|op| activation_scales(&op.kind)).collect(),
        };
        let again = emit::emit(&folded, &scales, plan.limbs, plan.output.scale.0)?;
        if !same(plan, &again) {
            return Err(ModelError::data("plan", "is not that of the network it comes with"));
        }
        let weights = QuantizedWeights::of(&folded, &scales)?;
        weights.check(plan)?;
        Ok(weights)
    }
}

fn activation_scales(kind: &OpKind) -> Option<ActivationScales> {
    match kind {
        OpKind::Activation(a) => {
            Some(ActivationScales { argument: a.input_scale.0, coefficients: a.coefficient_scale.0 })
        }
        _ => None,
    }
}

/// Whether a plan made again is the same but for bounds, which are the kept plan's, and coefficients that units of
/// arguments round the other way.
fn same(kept: &Plan, again: &Plan) -> bool {
    let mut again = again.clone();
    again.output.ell = kept.output.ell;
    for (op, kept) in again.ops.iter_mut().zip(&kept.ops) {
        if let (OpKind::Activation(a), OpKind::Activation(kept)) = (&mut op.kind, &kept.kind) {
            (a.ell, a.wrap) = (kept.ell, kept.wrap);
            let close = a.coefficients.len() == kept.coefficients.len()
                && a.coefficients.iter().zip(&kept.coefficients).all(|(a, k)| a.abs_diff(*k) <= 1);
            if close {
                a.coefficients.clone_from(&kept.coefficients);
            }
        }
    }
    again == *kept
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot be set up fails
    use super::*;
    use crate::emulate::SplitMix;
    use crate::networks;
    use crate::{CompileOptions, compile};

    #[test]
    fn a_kept_plan_gives_the_same_weights_and_is_refused_for_others() {
        let network = |seed| networks::lenet5_random(seed).unwrap();
        let mut random = SplitMix(1);
        let samples: Vec<Vec<f32>> =
            (0..8).map(|_| (0..784).map(|_| random.unit() as f32).collect()).collect();
        // Looser targets stretch arguments with fewer limbs.
        for max_error in [0.005, 0.02, 0.05] {
            let options = CompileOptions { max_error, ..CompileOptions::default() };
            let compiled = compile(&network(3), &samples, &options).unwrap();
            let kept = Planned::decode(&Planned::of(&compiled).encode().unwrap()).unwrap();
            assert_eq!(kept, Planned::of(&compiled));
            assert!(kept.weights(&network(3)).unwrap() == compiled.weights);
            let other = networks::resnet8_random(3, 8).unwrap();
            let error = kept.weights(&other).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("is not that of the network"), "{error}");
        }
        assert!(Planned::decode(b"no plan").is_err());
    }
}
