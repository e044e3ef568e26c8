//! A plan made earlier, for the same network again.
//!
//! Networks that ship come with theirs, made from training images: nothing is calibrated on images
//! that are then classified, and no time goes into it. What is kept is public: the plan and what
//! its integers stand for. Weights are rounded anew, by the scales in the plan.

use amicus_plan::{OpKind, Plan};
use serde::{Deserialize, Serialize};

use crate::compare;
use crate::compile::Compiled;
use crate::error::ModelError;
use crate::fold::Folded;
use crate::graph::Graph;
use crate::planner::behind_truncations;
use crate::planner::emit;
use crate::planner::exact;
use crate::planner::rescale;
use crate::planner::stepwise::stepwise;
use crate::quantize::QuantizedWeights;
use crate::scales::{ActivationScales, Scales};

/// Magic of the file, with its version.
const MAGIC: &[u8] = b"amicus-planned-1\n";

/// Bits of a real number that products of rounded units leave as they are.
const EXACT_BITS: u32 = 46;

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

    /// The plan as a file's bytes.
    ///
    /// # Errors
    /// A plan that is not valid.
    pub fn encode(&self) -> Result<Vec<u8>, ModelError> {
        let stored = Stored { plan: self.plan.encode()?, factors: self.factors.clone() };
        let bytes = postcard::to_stdvec(&stored).map_err(|e| ModelError::data("plan", e.to_string()))?;
        Ok([MAGIC, &bytes].concat())
    }

    /// The plan in a file's bytes.
    ///
    /// # Errors
    /// Bytes that hold no plan, or factors that are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, ModelError> {
        let wrong = |reason: &str| ModelError::data("plan", reason);
        let body = bytes.strip_prefix(MAGIC).ok_or_else(|| wrong("not a plan of this version"))?;
        let (stored, rest): (Stored, &[u8]) =
            postcard::take_from_bytes(body).map_err(|e| wrong(&e.to_string()))?;
        if !rest.is_empty() {
            return Err(wrong("bytes behind its end"));
        }
        let plan = Plan::decode(&stored.plan)?;
        let finite = stored.factors.iter().all(|f| f.is_finite() && *f > 0.0);
        if !finite || stored.factors.len() != plan.ops.len() + 1 {
            return Err(wrong("its factors are not one positive number for each value"));
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
        let values = compare::fits(&folded, plan, factors)?;
        if folded.compares() {
            return exact::weights_for(&folded, plan, &values);
        }
        if let Some(weights) = self.weights_as(&folded)? {
            return Ok(weights);
        }
        // Polynomials in steps are made of those in the plan's units.
        let units = values.iter().zip(&folded.factors);
        let units = units.map(|(v, f)| v.map_or(1.0, |v| unit(factors[v.index()], *f))).collect::<Vec<f64>>();
        let weights = match stepwise(&rescale::in_units(&folded, &units)) {
            Some(folded) => self.weights_as(&folded)?,
            None => None,
        };
        weights.ok_or_else(|| ModelError::data("plan", "is not that of the network it comes with"))
    }

    /// The weights, if the plan is that of this network as it is here, in whatever units.
    fn weights_as(&self, folded: &Folded) -> Result<Option<QuantizedWeights>, ModelError> {
        let Planned { plan, factors } = self;
        let Some((whole, factors)) = behind_truncations::whole_as(plan, factors, folded) else {
            return Ok(None);
        };
        // Weights that everybody sees are not among these.
        if whole.weights.len() != folded.linears.len() {
            return Ok(None);
        }
        let units: Vec<f64> = factors.iter().zip(&folded.factors).map(|(own, f)| unit(*own, *f)).collect();
        let folded = rescale::in_units(folded, &units);
        let scales = scales_of(&whole);
        let again = emit::emit(&folded, &scales, plan.limbs, plan.output.scale.0)?;
        if !same(&whole, &again) {
            return Ok(None);
        }
        let weights = QuantizedWeights::of(&folded, &scales)?;
        weights.check(plan)?;
        Ok(Some(weights))
    }
}

/// What a value's numbers are in units of; what is off by rounding alone is 1.
fn unit(own: f64, network: f64) -> f64 {
    let unit = own / network;
    if (unit - 1.0).abs() < 1e-12 { 1.0 } else { unit }
}

fn scales_of(plan: &Plan) -> Scales {
    let activation = |kind: &OpKind| match kind {
        OpKind::Activation(a) => {
            Some(ActivationScales { argument: a.input_scale.0, coefficients: a.coefficient_scale.0 })
        }
        _ => None,
    };
    Scales {
        input: plan.input.scale.0,
        weights: plan.weights.iter().map(|w| w.scale.0).collect(),
        activations: plan.ops.iter().map(|op| activation(&op.kind)).collect(),
    }
}

/// Whether a plan made again is the kept one. Bounds are the kept plan's, from its calibration;
/// coefficients may be one unit off, because units of arguments are products of rounded numbers.
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
        if let (OpKind::Select(s), OpKind::Select(kept)) = (&mut op.kind, &kept.kind)
            && let ([own], [polynomial]) = (&mut s.polynomials[..], &kept.polynomials[..])
        {
            let close =
                own.len() == polynomial.len() && own.iter().zip(polynomial).all(|(a, k)| close(*a, *k));
            if close {
                own.clone_from(polynomial);
            }
        }
    }
    again == *kept
}

/// Whether a coefficient at the scale of a result, of more bits than an `f64` has, is another but for
/// rounding.
fn close(a: i128, kept: i128) -> bool {
    a.abs_diff(kept) <= 1 + (kept.unsigned_abs() >> EXACT_BITS)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot be set up fails
    use super::*;
    use crate::fake_quantisation::SplitMix;
    use crate::networks;
    use crate::{CompileOptions, compile};

    fn planned(max_error: f64) -> (Planned, QuantizedWeights) {
        let mut random = SplitMix(1);
        let samples: Vec<Vec<f32>> =
            (0..8).map(|_| (0..784).map(|_| random.unit() as f32).collect()).collect();
        let options = CompileOptions { max_error, ..CompileOptions::default() };
        let compiled = compile(&networks::lenet5_random(3).unwrap(), &samples, &options).unwrap();
        (Planned::of(&compiled), compiled.weights)
    }

    #[test]
    fn a_kept_plan_gives_the_same_weights_and_is_refused_for_others() {
        // Looser targets have arguments rescaled, with fewer limbs.
        for max_error in [0.005, 0.02, 0.05] {
            let (made, weights) = planned(max_error);
            let kept = Planned::decode(&made.encode().unwrap()).unwrap();
            assert_eq!(kept, made);
            assert!(kept.weights(&networks::lenet5_random(3).unwrap()).unwrap() == weights);
            let other = networks::resnet8_random(3, 8).unwrap();
            let error = kept.weights(&other).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("is not that of the network"), "{error}");
        }
    }

    #[test]
    fn a_plan_with_other_polynomials_or_scales_is_refused() {
        let (made, _) = planned(0.005);
        let graph = networks::lenet5_random(3).unwrap();
        let refused = |change: &dyn Fn(&mut Planned)| {
            let mut changed = made.clone();
            change(&mut changed);
            assert!(changed.weights(&graph).is_err());
        };
        let activation = |p: &mut Planned| p.plan.ops.iter().position(|op| activation_of(&op.kind)).unwrap();
        refused(&|p| {
            let at = activation(p);
            if let OpKind::Activation(a) = &mut p.plan.ops[at].kind {
                a.coefficients[1] += 2;
            }
        });
        refused(&|p| p.factors[1] *= 2.0);
        refused(&|p| p.plan.ops[0].name = "other".to_owned());
    }

    fn activation_of(kind: &OpKind) -> bool {
        matches!(kind, OpKind::Activation(_))
    }

    #[test]
    fn bytes_that_hold_no_plan_are_refused() {
        let bytes = planned(0.05).0.encode().unwrap();
        assert!(Planned::decode(b"no plan").is_err());
        assert!(Planned::decode(&[&bytes[..], &[0]].concat()).is_err());
        for cut in 0..bytes.len() {
            assert!(Planned::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        let mut short = Planned::decode(&bytes).unwrap();
        short.factors.pop();
        assert!(Planned::decode(&short.encode().unwrap()).is_err());
    }
}
