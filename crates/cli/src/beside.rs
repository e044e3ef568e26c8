//! The integer simulator beside a cluster's answers: whether they are what the owner's own file
//! gives, and if not, the first layer that may be why.
//!
//! A secure run rounds at random, so answers differ a little from run to run. How far they may is
//! found by simulating an image under masks like those of a run. Values inside of a secure run nobody
//! sees; where an answer differs, the owner's file shows the first layer at which this image leaves
//! what the network was compiled for, from which on the two runs may part. When there is none, the
//! parties compute with other weights.

use amicus::field::{LimbVec, OperatingSystem, Randomness};
use amicus::model::amc::ModelFile;
use amicus::model::escapes::escapes;
use amicus::model::simulate::Simulator;
use amicus::model::{Graph, ModelError, QuantizedWeights, quantize_input, relative_error};
use amicus::plan::{Plan, ValueId};
use serde::Serialize;

/// Runs under random masks, from which it follows how far roundings lead.
const MASKED: u32 = 4;
/// How much farther than those an answer may be.
const MARGIN: f64 = 4.0;
/// An error that is none, whatever roundings do.
const NOTHING: f64 = 1e-3;

/// Why an answer cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BesideError {
    /// The file is of another network.
    #[error("it is of plan {found}, and the cluster serves plan {expected}; give the file that was uploaded")]
    OtherPlan {
        /// The file's.
        found: String,
        /// The cluster's.
        expected: String,
    },
    /// The network, or an image of it.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The plan.
    #[error(transparent)]
    Plan(#[from] amicus::plan::PlanError),
    /// An image.
    #[error(transparent)]
    Input(#[from] amicus::plan::InputError),
    /// No random numbers.
    #[error("the system gives no random numbers: {0}")]
    Randomness(String),
}

/// An answer that is not the simulator's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Differs {
    /// Distance from the simulator's, relative to it.
    pub error: f64,
    /// Distance that roundings may lead to.
    pub allowed: f64,
    /// The first layer at which the image leaves what the network was compiled for; none when it
    /// leaves it nowhere.
    pub layer: Option<String>,
}

/// A compiled network, ready to be compared with.
pub struct Beside<'f> {
    plan: &'f Plan,
    factors: &'f [f64],
    polynomial: Graph,
    simulator: Simulator<'f>,
}

impl<'f> Beside<'f> {
    /// A network that is to be the one of this plan.
    ///
    /// # Errors
    /// A file of another plan, or of none.
    pub fn new(file: &'f ModelFile, plan: &Plan) -> Result<Self, BesideError> {
        let (found, expected) = (file.plan.digest()?, plan.digest()?);
        if found != expected {
            let (found, expected) = (found.to_string(), expected.to_string());
            return Err(BesideError::OtherPlan { found, expected });
        }
        Beside::of(&file.plan, &file.weights, &file.factors, file.polynomial())
    }

    fn of(
        plan: &'f Plan,
        weights: &QuantizedWeights,
        factors: &'f [f64],
        polynomial: Graph,
    ) -> Result<Self, BesideError> {
        Ok(Beside { plan, factors, polynomial, simulator: Simulator::new(plan, weights)? })
    }

    /// Compares the answer to an image; none when it is what the simulator gives.
    ///
    /// # Errors
    /// An image that the network does not take, no random numbers.
    pub fn compare(&self, image: &[f32], answer: &[f64]) -> Result<Option<Differs>, BesideError> {
        let plan = self.plan;
        let input = LimbVec::from_i64(plan.limbs, &quantize_input(plan, image)?);
        let outputs = |revealed: Vec<f64>| plan.answer(&revealed).0.to_vec();
        let simulated = outputs(self.simulator.outputs(&input, 1)?.logits());
        let mut allowed = NOTHING;
        for _ in 0..MASKED {
            let masked = self.simulator.trace_masked(&input, &self.masks()?, 1)?;
            let masked = outputs(masked.into_outputs().logits());
            allowed = allowed.max(MARGIN * apart(plan, &masked, &simulated));
        }
        let error = apart(plan, answer, &simulated);
        if error <= allowed {
            return Ok(None);
        }
        let image = [image.to_vec()];
        let found = escapes(plan, self.factors, &self.polynomial, &image)?;
        let layer = found.layers.into_iter().next().map(|layer| layer.layer);
        Ok(Some(Differs { error, allowed, layer }))
    }

    /// Masks like those of a run.
    fn masks(&self) -> Result<Vec<LimbVec>, BesideError> {
        let plan = self.plan;
        let values = plan.values()?;
        let seed = OperatingSystem.seed().map_err(|error| BesideError::Randomness(error.to_string()))?;
        let stream = seed.stream();
        Ok((0..values.count() as u32)
            .map(|value| stream.sample(value, plan.limbs, values.get(ValueId(value)).len))
            .collect())
    }
}

/// How far revealed numbers are from others: the share of labels that differ where labels are
/// revealed, else the relative error.
pub fn apart(plan: &Plan, got: &[f64], expected: &[f64]) -> f64 {
    if plan.output.reveal.is_none() {
        return relative_error(got, expected);
    }
    let differ = got.iter().zip(expected).filter(|(g, e)| g != e).count();
    differ as f64 / expected.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use amicus::model::{CompileOptions, Compiled, GraphBuilder, compile};

    #[test]
    fn an_answer_that_differs_names_the_first_layer_that_the_image_takes_out_of_its_range() {
        let mut graph = GraphBuilder::new("tiny", &[2], -1.0..=1.0);
        let x = graph.input();
        let x = graph.linear("first", x, 2, vec![0.6, -0.8, 0.8, 0.6], None);
        let x = graph.polynomial("activation", x, 0.3, vec![0.1, 0.5, 0.25]);
        let x = graph.linear("second", x, 2, vec![1.0, -0.5, 0.25, 1.0], None);
        let graph = graph.finish(x).unwrap();
        let samples: Vec<Vec<f32>> =
            (0..8).map(|i| vec![i as f32 / 40.0 - 0.1, 0.1 - i as f32 / 50.0]).collect();
        let Compiled { plan, weights, factors, .. } =
            compile(&graph, &samples, &CompileOptions::default()).unwrap();
        let beside = Beside::of(&plan, &weights, &factors, graph).unwrap();
        let simulator = Simulator::new(&plan, &weights).unwrap();
        for (image, layer) in [([0.05, -0.02], None), ([1.0, -1.0], Some("activation"))] {
            let input = LimbVec::from_i64(plan.limbs, &quantize_input(&plan, &image).unwrap());
            let simulated = simulator.outputs(&input, 1).unwrap().logits();
            assert_eq!(beside.compare(&image, &simulated).unwrap(), None);
            let other: Vec<f64> = simulated.iter().map(|x| x + 1.0).collect();
            let differs = beside.compare(&image, &other).unwrap().unwrap();
            assert!(differs.error > differs.allowed && differs.allowed < 0.05, "{differs:?}");
            assert_eq!(differs.layer.as_deref(), layer);
        }
    }
}
