//! From a graph and calibration samples to a plan, integer weights and a report
//! (`docs/protocol.md`, section 8).
//!
//! Steps: fold, measure ranges and error sources on the samples, then for 1, 2 and 3 limbs choose
//! scales and look at the error they give; where it misses the target narrowly, arguments are
//! stored in finer units (the module `rescale`). With polynomials in steps (the module `stepwise`)
//! fewer limbs may do. Of the first number of limbs that meets the target, and of fewer with steps
//! that meet it, what takes least time by the estimate wins; when none meets it, the most precise.
//! Then come integer weights, the overflow proof, the bounds of truncations, and a run of the exact
//! simulator.

use std::rc::Rc;

use amicus_field::{LimbVec, Limbs};
use amicus_plan::quantize_input;
use amicus_plan::{Link, Plan};
use rayon::prelude::*;

use crate::calibrate::{self, Calibration};
use crate::error::{ModelError, SMALLER_SCALES};
use crate::fake_quantisation::FakeQuantised;
use crate::fold::{Folded, FoldedKind};
use crate::graph::Graph;
use crate::measure::{median, relative_error};
use crate::planner::behind_truncations;
use crate::planner::emit::{self, Truncated};
use crate::planner::exact;
use crate::planner::rescale::{self, Rescaled};
use crate::planner::reveal::{self, Reveals};
use crate::planner::seconds;
use crate::planner::stepwise::stepwise;
use crate::proof::{self, LayerProof, Verdict};
use crate::quantize::QuantizedWeights;
use crate::report::{ErrorFigures, Report};
use crate::scales::{self, ForcedScales, Room, Scales};
use crate::simulate::Simulator;
use crate::watch;

/// How far out of its interval, times its half-width, an activation is named as the reason why
/// scales do not fit. Up to here guard bits are few.
const FAR_OUT: f64 = 2.0;

/// Bits that values have beyond their range where the plan looks for values outside, if what rounding
/// costs then is at most this share of the target.
const ROOM: [i64; 3] = [7, 4, 2];
const ROOM_SHARE: f64 = 0.7;

/// Up to this many times the target for the error, finer units of arguments may make the
/// difference: they are worth less than a bit.
const NARROW: f64 = 2.0;

/// Polynomials are made ready for squares if the mean squared error to expect is at most this many
/// times what it is without.
const SLOPES: f64 = 1.1;

/// What the caller decides.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// Number of limbs; the planner chooses when `None`.
    pub limbs: Option<Limbs>,
    /// Scales that are not the planner's to choose.
    pub scales: ForcedScales,
    /// Scale of the logits that receivers get, where the largest of them is 1/2 or more; smaller
    /// ones get a finer scale.
    pub output_scale: u32,
    /// Largest median relative error of the logits, against the float model, that the planner aims
    /// at.
    pub max_error: f64,
    /// Calibrated ranges are what was seen times this, at least 1. The default of 1.5 keeps rare
    /// images, larger than any calibration sample, inside; ranges are rounded up to powers of two,
    /// so it costs at most a bit.
    pub margin: f64,
    /// Whether activations may use statistical truncation (fewer dealt bytes, a wrong result with
    /// probability `2^-40` an inference).
    pub statistical: bool,
    /// Samples on which errors are measured; ranges are taken from all. The exact simulator runs on
    /// fewer when the network is large.
    pub error_samples: usize,
    /// The network between the roles that widths of comparisons and truncations of polynomials are
    /// chosen for.
    pub link: Link,
    /// Images in one inference that these are chosen for, at least 1: what counts is the time of
    /// one of them, and rounds are shared.
    pub batch: usize,
    /// Whether the plan looks for hidden values outside what it was made for, and tells receivers
    /// ([`mod@crate::watch`]).
    pub watch: bool,
    /// What receivers get of the outputs.
    pub reveal: Reveals,
}

/// The network that is chosen for unless told otherwise: a quarter of a millisecond from
/// one machine to another, one gigabit a second.
pub const NEAR: Link = Link { one_way: 0.000_25, bandwidth: Some(125e6), shared_cores: None };

/// A network that is far: 20 milliseconds from one machine to another, 100 megabits a second.
pub const FAR: Link = Link { one_way: 0.02, bandwidth: Some(12.5e6), shared_cores: None };

impl Default for CompileOptions {
    fn default() -> Self {
        CompileOptions {
            limbs: None,
            scales: ForcedScales::default(),
            output_scale: 16,
            max_error: 0.005,
            margin: 1.5,
            statistical: true,
            error_samples: 24,
            link: NEAR,
            batch: 1,
            watch: false,
            reveal: Reveals::Outputs,
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
    /// The real number behind a stored number of value `v` is the stored number times `factors[v]`.
    pub factors: Vec<f64>,
    /// How the plan came about.
    pub report: Report,
}

/// Compiles a graph. `samples` are calibration inputs in the graph's own numbers.
///
/// # Errors
/// A node that cannot be compiled, samples of the wrong size or range, or scales that do not fit:
/// each names its node, sample or layer.
pub fn compile(
    graph: &Graph,
    samples: &[Vec<f32>],
    options: &CompileOptions,
) -> Result<Compiled, ModelError> {
    check_options(options)?;
    let folded = Folded::new(graph)?;
    if folded.compares() {
        let mut compiled = exact::compile(&folded, samples, options)?;
        reveal(&mut compiled, graph, samples, options)?;
        if options.watch {
            watch::watch(&mut compiled, &folded, samples, options.margin)?;
        }
        return Ok(compiled);
    }
    check_layer_names(&folded, &options.scales)?;
    let inputs = calibrate::inputs(&folded, samples)?;
    let (calibration, baseline) = calibrate::calibrate(&folded, &inputs, options.error_samples)?;
    let plain = Rc::new(View { folded, calibration, options });
    let baseline = baseline.output(&plain.folded);
    let choice = Planner { plain: Rc::clone(&plain), baseline }.choose(&inputs)?;
    let Choice { view, scales, draft: Draft { plan, weights, proofs }, factors, expected, passed_over } =
        choice;
    let View { folded, calibration, .. } = &*view;
    let cost = plan.cost(1)?;
    let affordable = usize::try_from(SIMULATED / cost.multiply_adds.max(1)).unwrap_or(usize::MAX);
    let simulated_samples = calibration.error_samples.min(affordable.max(LEAST_SIMULATED));
    let results = &baseline[..simulated_samples];
    let simulated = simulate_errors(&plan, &weights, samples, results)?;
    let report = Report {
        network: plan.name.clone(),
        limbs: plan.limbs.count(),
        rewrites: folded.rewrites.clone(),
        input_scale: plan.input.scale.0,
        output_scale: plan.output.scale.0,
        layers: crate::report::layers(&plan, &proofs),
        proofs,
        windows: Vec::new(),
        expected,
        rounding: None,
        signs: None,
        predicted: scales.predicted(&calibration.sources).sqrt(),
        simulated,
        simulated_samples,
        max_error: options.max_error,
        margin: options.margin,
        calibration_samples: calibration.samples,
        error_samples: calibration.error_samples,
        cost,
        passed_over,
        watch: None,
        labels: None,
    };
    let mut compiled = Compiled { plan, weights, factors, report };
    reveal(&mut compiled, graph, samples, options)?;
    if options.watch {
        watch::watch(&mut compiled, folded, samples, options.margin)?;
    }
    Ok(compiled)
}

fn reveal(
    compiled: &mut Compiled,
    graph: &Graph,
    samples: &[Vec<f32>],
    options: &CompileOptions,
) -> Result<(), ModelError> {
    match options.reveal {
        Reveals::Outputs => Ok(()),
        Reveals::Labels(count) => reveal::labels(compiled, graph, samples, count, options),
    }
}

fn check_options(options: &CompileOptions) -> Result<(), ModelError> {
    if !(options.margin >= 1.0 && options.margin.is_finite()) {
        return Err(ModelError::data("options", format!("margin {}, must be at least 1", options.margin)));
    }
    if options.batch == 0 {
        return Err(ModelError::data("options", "a batch of 0, at least 1 is needed"));
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

struct Choice<'a> {
    view: Rc<View<'a>>,
    scales: Scales,
    /// With polynomials behind truncations where that takes less time.
    draft: Draft,
    /// What the values of this plan stand for.
    factors: Vec<f64>,
    expected: ErrorFigures,
    passed_over: Vec<String>,
}

/// Scales for one number of limbs and one rule.
#[derive(Clone)]
struct Candidate<'a> {
    view: Rc<View<'a>>,
    scales: Scales,
    limbs: Limbs,
    expected: ErrorFigures,
}

struct Planner<'a> {
    plain: Rc<View<'a>>,
    /// The results of the unrounded run, which do not depend on units: one vector a sample.
    baseline: &'a [Vec<f64>],
}

impl<'a> Planner<'a> {
    /// The cheapest choice that meets the target, else the most precise one.
    fn choose(&self, inputs: &[Vec<f64>]) -> Result<Choice<'a>, ModelError> {
        let View { calibration, options, .. } = &*self.plain;
        let samples = &inputs[..calibration.error_samples];
        let meets = |c: &&Candidate<'_>| c.expected.median <= options.max_error;
        let limbs: Vec<Limbs> = options.limbs.map_or_else(|| Limbs::ALL.to_vec(), |l| vec![l]);
        let mut tried = Tried::default();
        let mut met: Vec<Candidate<'a>> = Vec::new();
        // What is known of it does not depend on limbs.
        let mut in_steps = None;
        for limbs in limbs {
            let before = tried.found.len();
            // Statistical truncation everywhere comes first: it deals less and sends the same.
            for all_statistical in [true, false] {
                if !all_statistical || options.statistical {
                    self.plain_ones(limbs, all_statistical, samples, &mut tried);
                }
            }
            if let Some(candidate) = tried.found[before..].iter().find(meets) {
                met.push(candidate.clone());
                break;
            }
            let view = in_steps.get_or_insert_with(|| self.plain.stepwise(inputs).transpose());
            if let Some(view) = view.clone() {
                let found = view.and_then(|view| {
                    let scales = view.scales(limbs, false)?;
                    Ok(self.candidate(&view, scales, limbs, samples))
                });
                if let Some(candidate) = tried.add(limbs, "polynomials in steps", found) {
                    met.extend(Some(candidate).filter(meets).cloned());
                }
            }
        }
        let Tried { mut found, mut passed_over, mut error } = tried;
        let none_meets = met.is_empty();
        if none_meets {
            found.sort_by(|a, b| a.expected.median.total_cmp(&b.expected.median));
            met = found;
        }
        let mut least = None::<(f64, Choice<'a>)>;
        for candidate in met {
            if none_meets && least.is_some() {
                break;
            }
            // Where integers of one do not fit after all, those of another may.
            let limbs = candidate.limbs.count();
            let choice = match candidate.chosen(passed_over.clone()) {
                Ok(choice) => choice,
                Err(refused) => {
                    passed_over.push(format!("{limbs} limb(s), not possible after all: {refused}"));
                    error = Some(refused);
                    continue;
                }
            };
            let time = seconds(&choice.draft.plan, options)?;
            if least.as_ref().is_none_or(|(least, _)| time < *least) {
                least = Some((time, choice));
            }
        }
        match (least, error) {
            (Some((_, choice)), _) => Ok(choice),
            (None, Some(error)) => Err(self.plain.explained(error)),
            (None, None) => Err(ModelError::data("options", "no number of limbs to try")),
        }
    }

    /// Tries the network as it is, and with finer units of arguments where that may make the
    /// difference.
    fn plain_ones(&self, limbs: Limbs, all_statistical: bool, samples: &[Vec<f64>], tried: &mut Tried<'a>) {
        let max_error = self.plain.options.max_error;
        let rule = if all_statistical { "statistical truncation everywhere" } else { "exact wrap rule" };
        match self.plain.scaled(limbs, all_statistical) {
            Ok((view, scales)) => {
                let plain = self.candidate(&view, scales, limbs, samples);
                let error = plain.expected.median;
                tried.add(limbs, rule, Ok(plain));
                let near = error > max_error && error <= NARROW * max_error;
                if near && let Some((view, scales)) = self.plain.rescaled(limbs, all_statistical) {
                    let finer = self.candidate(&view, scales, limbs, samples);
                    tried.add(limbs, &format!("{rule}, arguments rescaled"), Ok(finer));
                }
            }
            // With the exact rule more fits: its error says what does not.
            Err(error) if all_statistical => tried.error = Some(error),
            Err(error) => {
                tried.add(limbs, rule, Err(error.clone()));
                tried.error = Some(error);
            }
        }
    }

    fn candidate(
        &self,
        view: &Rc<View<'a>>,
        scales: Scales,
        limbs: Limbs,
        samples: &[Vec<f64>],
    ) -> Candidate<'a> {
        let folded = &view.folded;
        let run = FakeQuantised::run(folded, samples, &scales.rounding());
        let expected = ErrorFigures::of(run.output(folded), self.baseline);
        Candidate { view: Rc::clone(view), scales, limbs, expected }
    }
}

/// What was tried so far.
#[derive(Default)]
struct Tried<'a> {
    found: Vec<Candidate<'a>>,
    /// A line for each, for the report.
    passed_over: Vec<String>,
    /// Why the network as it is did not fit, the last time.
    error: Option<ModelError>,
}

impl<'a> Tried<'a> {
    fn add(
        &mut self,
        limbs: Limbs,
        how: &str,
        found: Result<Candidate<'a>, ModelError>,
    ) -> Option<&Candidate<'a>> {
        let limbs = limbs.count();
        match found {
            Ok(candidate) => {
                let error = 100.0 * candidate.expected.median;
                self.passed_over.push(format!("{limbs} limb(s), {how}: median error {error:.4}%"));
                self.found.push(candidate);
                self.found.last()
            }
            Err(error) => {
                self.passed_over.push(format!("{limbs} limb(s), {how}: {error}"));
                None
            }
        }
    }
}

impl<'a> Candidate<'a> {
    fn chosen(self, passed_over: Vec<String>) -> Result<Choice<'a>, ModelError> {
        let Candidate { view, scales, limbs, expected } = self;
        let Draft { plan, weights, proofs } = view.draft(&scales, limbs)?;
        let factors = view.folded.factors.clone();
        let (plan, factors) = behind_truncations::split(plan, factors, view.options)?;
        let draft = Draft { plan, weights, proofs };
        Ok(Choice { view, scales, draft, factors, expected, passed_over })
    }
}

/// A folded network in the units chosen for its values, and what is known of it.
struct View<'a> {
    folded: Folded,
    calibration: Calibration,
    options: &'a CompileOptions,
}

impl<'a> View<'a> {
    fn scales(&self, limbs: Limbs, all_statistical: bool) -> Result<Scales, ModelError> {
        choose_scales(&self.folded, &self.calibration, self.options, limbs, all_statistical)
    }

    /// The network and its scales: in units of results in which linear terms of polynomials are the
    /// arguments themselves, unless rounding then costs noticeably more.
    fn scaled(
        self: &Rc<Self>,
        limbs: Limbs,
        all_statistical: bool,
    ) -> Result<(Rc<Self>, Scales), ModelError> {
        let own = self.scales(limbs, all_statistical)?;
        if let Some(Rescaled { folded, calibration }) =
            rescale::with_slopes_of_one(&self.folded, &self.calibration)
        {
            let options = self.options;
            let view = View { folded, calibration, options };
            let most = SLOPES * own.predicted(&self.calibration.sources);
            match view.scales(limbs, all_statistical) {
                Ok(scales) if scales.predicted(&view.calibration.sources) <= most => {
                    return Ok((Rc::new(view), scales));
                }
                _ => {}
            }
        }
        Ok((Rc::clone(self), own))
    }

    /// This network with polynomials in steps, if it has any that can be, and what is known of it.
    fn stepwise(&self, inputs: &[Vec<f64>]) -> Result<Option<Rc<View<'a>>>, ModelError> {
        let one = rescale::with_slopes_of_one(&self.folded, &self.calibration);
        let Some(folded) = stepwise(one.as_ref().map_or(&self.folded, |one| &one.folded)) else {
            return Ok(None);
        };
        let (calibration, _) = calibrate::calibrate(&folded, inputs, self.options.error_samples)?;
        Ok(Some(Rc::new(View { folded, calibration, options: self.options })))
    }

    /// This network in units for which the error to expect is smaller, if there are any.
    fn rescaled(&self, limbs: Limbs, all_statistical: bool) -> Option<(Rc<View<'a>>, Scales)> {
        let options = self.options;
        let predict = |folded: &Folded, calibration: &Calibration| {
            let scales = choose_scales(folded, calibration, options, limbs, all_statistical).ok()?;
            Some(scales.predicted(&calibration.sources))
        };
        let Rescaled { folded, calibration } = rescale::rescale(&self.folded, &self.calibration, predict)?;
        Rc::new(View { folded, calibration, options }).scaled(limbs, all_statistical).ok()
    }

    /// The error, with the first activation that calibration data drives far out of its interval if
    /// there is one: then large numbers are not a question of scales.
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

    /// The scale of the logits: finer than asked for where all of them are small, or receivers
    /// would get zeros.
    fn output_scale(&self) -> u32 {
        let seen = self.calibration.seen[self.folded.output.index()] * self.options.margin;
        let finer = -scales::guard_bits(seen).min(0);
        self.options.output_scale + u32::try_from(finer).unwrap_or(0)
    }

    /// Integers, bounds and proof for chosen scales.
    fn draft(&self, scales: &Scales, limbs: Limbs) -> Result<Draft, ModelError> {
        let mut plan = emit::emit(&self.folded, scales, limbs, self.output_scale())?;
        let weights = QuantizedWeights::of(&self.folded, scales)?;
        weights.check(&plan)?;
        let calibrated = calibrated(&self.calibration, self.options);
        let guard: Vec<i64> = calibrated.iter().map(|&r| scales::guard_bits(r)).collect();
        let truncated = emit::truncated(&plan, &guard)?;
        emit::set_bounds(&mut plan, &truncated, self.options.statistical);
        plan.values()?;
        // For the owner's report only: the plan must not depend on them.
        let always = proof::bounds(&plan, &weights, None);
        let inside = proof::bounds(&plan, &weights, Some(&calibrated));
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
            // Chosen scales leave room for the range; reaching this is a mistake of the planner,
            // still an error.
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

/// Calibrated ranges by value.
fn calibrated(calibration: &Calibration, options: &CompileOptions) -> Vec<f64> {
    calibration.seen.iter().map(|s| s * options.margin).collect()
}

/// The most precise scales for a number of limbs and a rule.
fn choose_scales(
    folded: &Folded,
    calibration: &Calibration,
    options: &CompileOptions,
    limbs: Limbs,
    all_statistical: bool,
) -> Result<Scales, ModelError> {
    let largest = i64::from(emit::largest_ell(limbs));
    let activation =
        if all_statistical { emit::statistical_ell(folded, limbs).min(largest) } else { largest };
    let guard: Vec<i64> = calibrated(calibration, options).iter().map(|&r| scales::guard_bits(r)).collect();
    let choose = |more: i64| {
        let guard = guard.iter().map(|bits| bits + more).collect();
        scales::choose(
            folded,
            calibration,
            &Room { limbs, activation, output: largest, guard },
            &options.scales,
        )
    };
    let precise = |s: &Scales| s.predicted(&calibration.sources).sqrt() <= ROOM_SHARE * options.max_error;
    let rooms = ROOM.into_iter().filter(|_| options.watch);
    let roomy = rooms.filter_map(|more| choose(more).ok()).find(precise);
    roomy.map_or_else(|| choose(0), Ok)
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
