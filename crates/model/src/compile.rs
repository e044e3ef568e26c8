//! From a graph and calibration samples to a plan, integer weights and a report (`docs/protocol.md`, section 8).
//!
//! Steps: fold, measure ranges and error sources on the samples, then for 1, 2 and 3 limbs choose scales and look at
//! the error they give. The first number of limbs that meets the target wins, within it the choice that deals least;
//! when none meets it, the most precise. Only then come integer weights, the overflow proof, the bounds of
//! truncations, and a run of the exact simulator.

use amicus_field::{LimbVec, Limbs};
use amicus_plan::Plan;
use rayon::prelude::*;

use crate::calibrate::{self, Calibration};
use crate::emit::{self, Truncated};
use crate::emulate::Emulation;
use crate::error::{ModelError, SMALLER_SCALES};
use crate::fold::{Folded, FoldedKind};
use crate::graph::Graph;
use crate::measure::{median, quantize_input, relative_error};
use crate::proof::{self, LayerProof, Verdict};
use crate::quantize::QuantizedWeights;
use crate::report::{ErrorFigures, Report};
use crate::scales::{self, ForcedScales, Room, Scales};
use crate::simulate::Simulator;

/// How far out of its interval, times its half-width, an activation is named as the reason why scales do not fit. Up to
/// here guard bits are few.
const FAR_OUT: f64 = 2.0;

/// What the caller decides.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// Number of limbs; the planner chooses when `None`.
    pub limbs: Option<Limbs>,
    /// Scales that are not the planner's to choose.
    pub scales: ForcedScales,
    /// Scale of the logits that receivers get.
    pub output_scale: u32,
    /// Largest median relative error of the logits, against the float model, that the planner aims at.
    pub max_error: f64,
    /// Calibrated ranges are what was seen times this, at least 1. The default of 1.5 keeps rare images, larger than
    /// any calibration sample, inside; ranges are rounded up to powers of two, so it costs at most a bit.
    pub margin: f64,
    /// Whether activations may use the slack rule (fewer dealt bytes, a wrong result with probability `2^-40` an
    /// inference).
    pub slack: bool,
    /// Samples on which errors are measured; ranges are taken from all. The exact simulator runs on fewer when the network
    /// is large.
    pub error_samples: usize,
}

impl Default for CompileOptions {
    fn default() -> Self {
        CompileOptions {
            limbs: None,
            scales: ForcedScales::default(),
            output_scale: 16,
            max_error: 0.005,
            margin: 1.5,
            slack: true,
            error_samples: 24,
        }
    }
}

/// Multiply-adds spent on the exact simulator for the report: seconds without AVX-512.
const SIMULATED: u64 = 2_000_000_000;
/// Samples simulated at least, if there are as many.
const LEAST_SIMULATED: usize = 4;

/// A compiled network.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What all roles run; public.
    pub plan: Plan,
    /// The model owner's integers; secret.
    pub weights: QuantizedWeights,
    /// How the plan came about.
    pub report: Report,
}

/// Compiles a graph. `samples` are calibration inputs in the graph's own numbers.
///
/// # Errors
/// A node that cannot be compiled, samples of the wrong size or range, or scales that do not fit: each names its
/// node, sample or layer.
pub fn compile(
    graph: &Graph,
    samples: &[Vec<f32>],
    options: &CompileOptions,
) -> Result<Compiled, ModelError> {
    check_options(options)?;
    let folded = Folded::new(graph)?;
    check_layer_names(&folded, &options.scales)?;
    let inputs = calibrate::inputs(&folded, samples)?;
    let (calibration, baseline) = calibrate::calibrate(&folded, &inputs, options.error_samples)?;
    let planner = Planner { folded: &folded, calibration: &calibration, baseline: &baseline, options };
    let choice = planner.choose(&inputs)?;
    let Draft { plan, weights, proofs } = choice.draft;
    let cost = plan.cost(1)?;
    let affordable = usize::try_from(SIMULATED / cost.multiply_adds.max(1)).unwrap_or(usize::MAX);
    let simulated_samples = calibration.error_samples.min(affordable.max(LEAST_SIMULATED));
    let expected = &baseline.output(&folded)[..simulated_samples];
    let simulated = simulate_errors(&plan, &weights, samples, expected)?;
    let report = Report {
        network: plan.name.clone(),
        limbs: plan.limbs.count(),
        rewrites: folded.rewrites.clone(),
        input_scale: plan.input.scale.0,
        output_scale: plan.output.scale.0,
        layers: crate::report::layers(&plan, &proofs),
        proofs,
        expected: choice.expected,
        predicted: choice.scales.predicted(&calibration.sources).sqrt(),
        simulated,
        simulated_samples,
        max_error: options.max_error,
        margin: options.margin,
        calibration_samples: calibration.samples,
        error_samples: calibration.error_samples,
        cost,
        passed_over: choice.passed_over,
    };
    Ok(Compiled { plan, weights, report })
}

fn check_options(options: &CompileOptions) -> Result<(), ModelError> {
    if !(options.margin >= 1.0 && options.margin.is_finite()) {
        return Err(ModelError::data("options", format!("margin {}, must be at least 1", options.margin)));
    }
    if options.max_error.is_nan() || options.max_error <= 0.0 {
        return Err(ModelError::data(
            "options",
            format!("largest error {}, must be above 0", options.max_error),
        ));
    }
    let s = &options.scales;
    let layers = s.layer_weights.iter().map(|(_, f)| Some(*f));
    for scale in [s.input, s.argument, s.coefficients, s.weights].into_iter().chain(layers).flatten() {
        if scale > 60 {
            return Err(ModelError::data("options", format!("scale 2^{scale}, at most 2^60 is possible")));
        }
    }
    Ok(())
}

fn check_layer_names(folded: &Folded, forced: &ForcedScales) -> Result<(), ModelError> {
    for (name, _) in &forced.layer_weights {
        if !folded.linears.iter().any(|l| l.name == *name) {
            let known: Vec<&str> = folded.linears.iter().map(|l| l.name.as_str()).collect();
            let reason =
                format!("no linear layer `{name}` to set the scale of; there are {}", known.join(", "));
            return Err(ModelError::data("options", reason));
        }
    }
    Ok(())
}

/// A plan with its weights and what is proven of it.
struct Draft {
    plan: Plan,
    weights: QuantizedWeights,
    proofs: Vec<LayerProof>,
}

struct Choice {
    scales: Scales,
    draft: Draft,
    expected: ErrorFigures,
    passed_over: Vec<String>,
}

struct Planner<'a> {
    folded: &'a Folded,
    calibration: &'a Calibration,
    baseline: &'a Emulation,
    options: &'a CompileOptions,
}

impl Planner<'_> {
    /// The cheapest choice that meets the target, else the most precise one.
    fn choose(&self, inputs: &[Vec<f64>]) -> Result<Choice, ModelError> {
        let samples = &inputs[..self.calibration.error_samples];
        let limbs: Vec<Limbs> = self.options.limbs.map_or_else(|| Limbs::ALL.to_vec(), |l| vec![l]);
        let (mut best, mut last_error, mut passed_over) =
            (None::<(Scales, Limbs, ErrorFigures)>, None, Vec::new());
        for limbs in limbs {
            let mut here = Vec::new();
            for all_slack in [true, false] {
                if all_slack && !self.options.slack {
                    continue;
                }
                let rule = if all_slack { "slack rule everywhere" } else { "exact wrap rule" };
                match scales::choose(
                    self.folded,
                    self.calibration,
                    &self.room(limbs, all_slack),
                    &self.options.scales,
                ) {
                    Ok(scales) => {
                        let errors = self.errors(samples, &scales);
                        passed_over.push(format!(
                            "{} limb(s), {rule}: median error {:.4}%",
                            limbs.count(),
                            100.0 * errors.median
                        ));
                        here.push((scales, limbs, errors));
                    }
                    Err(error) => {
                        if !all_slack {
                            passed_over.push(format!("{} limb(s), {rule}: {error}", limbs.count()));
                        }
                        last_error = Some(error);
                    }
                }
            }
            // The slack rule everywhere comes first: it deals less and sends the same.
            if let Some((scales, limbs, expected)) =
                here.iter().find(|(.., e)| e.median <= self.options.max_error).cloned()
            {
                let draft = self.draft(&scales, limbs)?;
                return Ok(Choice { scales, draft, expected, passed_over });
            }
            let more_precise = |e: &ErrorFigures| best.as_ref().is_none_or(|(.., b)| e.median < b.median);
            if let Some(better) = here
                .into_iter()
                .filter(|(.., e)| more_precise(e))
                .min_by(|a, b| a.2.median.total_cmp(&b.2.median))
            {
                best = Some(better);
            }
        }
        match (best, last_error) {
            (Some((scales, limbs, expected)), _) => {
                let draft = self.draft(&scales, limbs)?;
                Ok(Choice { scales, draft, expected, passed_over })
            }
            (None, Some(error)) => Err(self.explained(error)),
            (None, None) => Err(ModelError::data("options", "no number of limbs to try")),
        }
    }

    /// The error, with the first activation that calibration data drives far out of its interval if there is one: then
    /// large numbers are not a question of scales.
    fn explained(&self, mut error: ModelError) -> ModelError {
        let escape = self.folded.ops.iter().find_map(|op| match &op.kind {
            FoldedKind::Activation { input, interval, .. } => {
                let ratio = self.calibration.seen[input.index()] / interval;
                (ratio > FAR_OUT).then_some((op.name.as_str(), ratio))
            }
            _ => None,
        });
        if let (ModelError::Scale { advice, .. }, Some((name, ratio))) = (&mut error, escape) {
            let ratio = if ratio < 1e4 { format!("{ratio:.1}") } else { format!("{ratio:.0e}") };
            *advice = format!(
                "on the calibration data values at {name} leave its interval, {ratio} times as large as its end, and \
                 there a polynomial grows fast: use a wider interval, calibration data like what the network was \
                 trained on, or train with range control"
            );
        }
        error
    }

    fn room(&self, limbs: Limbs, all_slack: bool) -> Room {
        let largest = i64::from(emit::largest_ell(limbs));
        let activation = if all_slack { emit::slack_ell(self.folded, limbs).min(largest) } else { largest };
        let guard = self.calibrated().iter().map(|&r| scales::guard_bits(r)).collect();
        Room { limbs, activation, output: largest, guard }
    }

    /// Calibrated ranges by value.
    fn calibrated(&self) -> Vec<f64> {
        self.calibration.seen.iter().map(|s| s * self.options.margin).collect()
    }

    fn errors(&self, samples: &[Vec<f64>], scales: &Scales) -> ErrorFigures {
        let run = Emulation::run(self.folded, samples, &scales.rounding());
        ErrorFigures::of(run.output(self.folded), self.baseline.output(self.folded))
    }

    /// Integers, bounds and proof for chosen scales.
    fn draft(&self, scales: &Scales, limbs: Limbs) -> Result<Draft, ModelError> {
        let mut plan = emit::emit(self.folded, scales, limbs, self.options.output_scale)?;
        let weights = QuantizedWeights::of(self.folded, scales)?;
        weights.check(&plan)?;
        let calibrated = self.calibrated();
        let guard: Vec<i64> = calibrated.iter().map(|&r| scales::guard_bits(r)).collect();
        let always = proof::bounds(&plan, &weights, None);
        let inside = proof::bounds(&plan, &weights, Some(&calibrated));
        let truncated = emit::truncated(&plan, &guard, &always)?;
        emit::set_bounds(&mut plan, &truncated, self.options.slack);
        plan.values()?;
        let mut proofs = Vec::with_capacity(truncated.len());
        for t in &truncated {
            proofs.push(self.prove(&plan, t, [&always, &inside], &calibrated)?);
        }
        Ok(Draft { plan, weights, proofs })
    }

    fn prove(
        &self,
        plan: &Plan,
        t: &Truncated,
        [always, inside]: [&[f64]; 2],
        calibrated: &[f64],
    ) -> Result<LayerProof, ModelError> {
        let (name, ell) = match t.op.map(|op| &plan.ops[op]) {
            Some(op) => match &op.kind {
                amicus_plan::OpKind::Activation(a) => (op.name.as_str(), a.ell),
                _ => (op.name.as_str(), 0),
            },
            None => ("output", plan.output.ell),
        };
        let value = t.value.index();
        let limit = 2f64.powi(ell as i32 - t.scale as i32);
        let (seen, range) = (self.calibration.seen[value], calibrated[value]);
        if range >= limit {
            // Chosen scales leave room for the range; reaching this is a mistake of the planner, still an error.
            let needed = t.scale.saturating_add_signed(scales::guard_bits(range) as i32) + 3;
            let (available, limbs) = (plan.bits(), plan.limbs.count());
            let detail = format!("scale 2^{} and a range of {range}", t.scale);
            let (layer, advice) = (name.to_owned(), SMALLER_SCALES.to_owned());
            return Err(ModelError::Scale { layer, needed, available, limbs, detail, advice });
        }
        let verdict = if always[value] < limit {
            Verdict::Always
        } else if inside[value] < limit {
            Verdict::WhileEarlierLayersInRange
        } else {
            Verdict::WhileInRange
        };
        Ok(LayerProof {
            name: name.to_owned(),
            scale: t.scale,
            shift: t.shift,
            ell,
            seen,
            calibrated: range,
            guard_bits_left: (limit / range).log2(),
            safe_factor: limit / seen,
            from_input_range: always[value],
            from_earlier_ranges: inside[value],
            verdict,
        })
    }
}

/// Errors of the exact simulator on the samples that `expected` belongs to.
fn simulate_errors(
    plan: &Plan,
    weights: &QuantizedWeights,
    samples: &[Vec<f32>],
    expected: &[Vec<f64>],
) -> Result<ErrorFigures, ModelError> {
    let simulator = Simulator::new(plan, weights)?;
    let run = |sample: &Vec<f32>| -> Result<Vec<f64>, ModelError> {
        let input = LimbVec::from_i64(plan.limbs, &quantize_input(plan, sample)?);
        Ok(simulator.outputs(&input, 1)?.logits())
    };
    let logits: Result<Vec<Vec<f64>>, ModelError> = samples[..expected.len()].par_iter().map(run).collect();
    let logits = logits?;
    Ok(ErrorFigures::of(&logits, expected))
}

impl ErrorFigures {
    /// Figures of results against expected ones, one vector a sample.
    pub fn of(got: &[Vec<f64>], expected: &[Vec<f64>]) -> Self {
        let errors: Vec<f64> = got.iter().zip(expected).map(|(g, e)| relative_error(g, e)).collect();
        ErrorFigures { median: median(&errors), max: errors.iter().copied().fold(0.0, f64::max) }
    }
}
