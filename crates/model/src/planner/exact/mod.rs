//! The planner of networks that compare: ReLU, MaxPool and the like, computed as they are
//! (`docs/protocol.md`, "Comparison").
//!
//! Steps: measure ranges on the samples; for 1, 2 and 3 limbs and growing precision choose scales
//! that fit (the module `layout`), then widths of windows, and look at what the exact simulator
//! answers under random masks. The first choice that meets the target is taken. The precision begun
//! with is the finest that costs nothing, or next to nothing: an element has as many bits however
//! many are used.
//!
//! What differs from networks of polynomials: nothing is approximated; values keep their scale
//! through selections, so one limb serves whole networks; and an error near a threshold is one of
//! sign, bounded by half a unit of the decision.

mod allot;
mod emit;
mod errors;
mod layout;
mod ranges;
mod tournament;
mod window;

use amicus_field::{I256, Limbs};
use amicus_plan::{OpKind, Plan, ValueId};

use crate::calibrate;
use crate::compile::{CompileOptions, Compiled};
use crate::error::ModelError;
use crate::fake_quantisation::power_of_two;
use crate::fold::{Folded, FoldedKind, FoldedLinear};
use crate::planner::seconds;
use crate::proof::{self, LayerProof, Verdict};
use crate::quantize::{QuantizedLayer, QuantizedWeights, to_i64, to_integer};
use crate::report::Report;
use crate::scales::guard_bits;
use crate::simulate::Simulator;
use emit::{Comparing, Emitted, Windows};
pub(crate) use errors::Measured;
use layout::{Draft, Layout};
use ranges::Ranges;
pub(super) use window::split;

/// Bits of arguments and weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Precision {
    argument: u32,
    weights: u32,
}

/// Precisions tried with one limb, and with more.
const ONE_LIMB: [Precision; 7] = [
    Precision { argument: 13, weights: 13 },
    Precision { argument: 14, weights: 14 },
    Precision { argument: 15, weights: 15 },
    Precision { argument: 16, weights: 16 },
    Precision { argument: 17, weights: 17 },
    Precision { argument: 18, weights: 18 },
    Precision { argument: 20, weights: 20 },
];
const MORE_LIMBS: [Precision; 4] = [
    Precision { argument: 16, weights: 15 },
    Precision { argument: 20, weights: 18 },
    Precision { argument: 26, weights: 22 },
    Precision { argument: 30, weights: 26 },
];
/// Bits that values have beyond their range with its margin, where that fits.
const ROOM: i64 = 2;
/// Times the least estimate that a finer precision may take. More truncations take at most that much,
/// mostly less, and rounding becomes up to a hundred times finer.
const NEARLY: f64 = 1.06;
/// Bits of windows tried first, where rounds are cheap and where they are dear; and the most tried.
const WINDOW: u32 = 12;
const WINDOW_FAR: u32 = 8;
const WIDEST: u32 = 21;
/// Bits that values have beyond their range where the plan looks for values outside: those that go
/// far are then noticed before they wrap.
const ROOMY: [i64; 2] = [8, 5];
/// Most bits of arguments begun with where the plan looks, with one limb, and bytes are dear: sums of
/// squares of numbers far beyond their border then fit in groups, without dropping bits of every number
/// first. Bytes are dear over slow networks, and where so many are dealt.
const LOOKED_AT: u32 = 15;
const DEAR_BYTES: u64 = 400_000_000;
/// A round is dear when a message travels longer than this many seconds.
pub(super) const FAR: f64 = 0.005;
/// Digits of a comparison: two rounds, three, four.
const DIGITS: [usize; 3] = [3, 6, 12];
/// Where windows are chosen one by one, their errors together are at most this share of the target
/// before all are widened instead.
const LEAST_GOAL: f64 = 0.3;
/// Rounding may take this share of the target, before windows are looked at.
const ROUNDING_SHARE: f64 = 0.7;

/// Compiles a folded network that compares.
pub(crate) fn compile(
    folded: &Folded,
    samples: &[Vec<f32>],
    options: &CompileOptions,
) -> Result<Compiled, ModelError> {
    let inputs = calibrate::inputs(folded, samples)?;
    let ranges = Ranges::of(folded, &inputs, options.error_samples.min(samples.len()))?;
    let folded = &near_thresholds(folded, &ranges, options.margin);
    let largest = |linear: &FoldedLinear| linear.real_weights().iter().fold(0f64, |m, w| m.max(w.abs()));
    let largest_weights: Vec<f64> = folded.linears.iter().map(largest).collect();
    let planner = Planner { folded, ranges: &ranges, largest_weights: &largest_weights, samples, options };
    let (choice, passed_over) = planner.choose()?;
    let Choice { emitted, weights, measured, .. } = choice;
    let Emitted { plan, factors, windows, values, largest } = emitted;
    let proofs = planner.proofs(&plan, &weights, &values, &largest)?;
    let report = Report {
        network: plan.name.clone(),
        limbs: plan.limbs.count(),
        rewrites: folded.rewrites.clone(),
        input_scale: plan.input.scale.0,
        output_scale: plan.output.scale.0,
        layers: crate::report::layers(&plan, &proofs),
        proofs,
        windows,
        expected: measured.total,
        rounding: Some(measured.rounding),
        signs: Some(measured.signs),
        predicted: measured.total.median,
        simulated: measured.nearest,
        simulated_samples: measured.samples,
        max_error: options.max_error,
        margin: options.margin,
        calibration_samples: ranges.samples,
        error_samples: measured.samples,
        cost: plan.cost(1)?,
        passed_over,
        watch: None,
        labels: None,
    };
    Ok(Compiled { plan, weights, factors, report })
}

/// The network without thresholds that no number comes near: windows need not reach them.
fn near_thresholds(folded: &Folded, ranges: &Ranges, margin: f64) -> Folded {
    let mut near = folded.clone();
    let Folded { ops, rewrites, .. } = &mut near;
    for op in ops {
        let FoldedKind::Pieces { input, pieces, .. } = &mut op.kind else { continue };
        // Twice the range with its margin: windows of the others need not hold more.
        let reach = 2.0 * margin * ranges.largest(input.index());
        let before = pieces.thresholds().len();
        *pieces = pieces.within(reach);
        let left_out = before - pieces.thresholds().len();
        if left_out > 0 {
            rewrites
                .push(format!("{left_out} threshold(s) of {} that no number comes near left out", op.name));
        }
    }
    near
}

struct Planner<'a> {
    folded: &'a Folded,
    ranges: &'a Ranges,
    largest_weights: &'a [f64],
    samples: &'a [Vec<f32>],
    options: &'a CompileOptions,
}

/// Scales for one precision, with maxima apart from activations and, where that fits, together.
struct Drafted {
    precision: Precision,
    layouts: Vec<(Layout, bool)>,
    /// Estimated seconds of an inference with windows of the least width.
    seconds: f64,
    /// Bytes dealt for it, without looking.
    dealt_bytes: u64,
}

impl std::fmt::Display for Drafted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bits", self.precision.argument)
    }
}

/// A plan to choose from.
struct Candidate {
    emitted: Emitted,
    weights: QuantizedWeights,
    /// The place of its layout.
    layout: usize,
}

impl Candidate {
    fn choice(self, measured: Measured) -> Choice {
        Choice { emitted: self.emitted, weights: self.weights, measured }
    }
}

struct Choice {
    emitted: Emitted,
    weights: QuantizedWeights,
    measured: Measured,
}

impl Planner<'_> {
    /// The first choice that meets the target, else the most precise one.
    fn choose(&self) -> Result<(Choice, Vec<String>), ModelError> {
        let limbs: Vec<Limbs> = self.options.limbs.map_or_else(|| Limbs::ALL.to_vec(), |l| vec![l]);
        let (mut best, mut last_error, mut looked_at) = (None::<Choice>, None, Vec::new());
        for limbs in limbs {
            let drafts = match self.drafts(limbs) {
                Ok(drafts) => drafts,
                Err(error) => {
                    looked_at.push(format!("{} limb(s): {error}", limbs.count()));
                    last_error = Some(error);
                    continue;
                }
            };
            for draft in &drafts {
                let choice = match self.with(limbs, draft, &mut looked_at) {
                    Ok(choice) => choice,
                    // What comes next may have less room, and fit.
                    Err(error) => {
                        looked_at.push(format!("{} limb(s), {draft}: {error}", limbs.count()));
                        last_error = Some(error);
                        continue;
                    }
                };
                let meets = choice.measured.total.median <= self.options.max_error;
                let better = |b: &Choice| choice.measured.total.median < b.measured.total.median;
                if meets || best.as_ref().is_none_or(better) {
                    best = Some(choice);
                }
                if meets {
                    return best.map(|b| (b, looked_at)).ok_or_else(no_choice);
                }
            }
        }
        match (best, last_error) {
            (Some(best), _) => Ok((best, looked_at)),
            (None, Some(error)) => Err(error),
            (None, None) => Err(no_choice()),
        }
    }

    /// What to try for a number of limbs, growing in precision: from the finest that takes hardly
    /// longer than any, and leaves room if one does.
    fn drafts(&self, limbs: Limbs) -> Result<Vec<Drafted>, ModelError> {
        let precisions = if limbs == Limbs::ONE { &ONE_LIMB[..] } else { &MORE_LIMBS[..] };
        let of = |room: i64| -> Result<Vec<Drafted>, ModelError> {
            let mut fitting = Vec::with_capacity(precisions.len());
            for &precision in precisions {
                match self.draft(limbs, precision, room) {
                    Ok(draft) => fitting.push(draft),
                    // A finer one needs more bits still.
                    Err(error) if fitting.is_empty() => return Err(error),
                    Err(_) => break,
                }
            }
            Ok(fitting)
        };
        let looks = self.options.watch && limbs == Limbs::ONE;
        let dear = |d: &Drafted| looks && (self.is_far() || d.dealt_bytes >= DEAR_BYTES);
        let chosen = |mut drafts: Vec<Drafted>| {
            let least = drafts.iter().map(|d| d.seconds).fold(f64::INFINITY, f64::min);
            let begun =
                |d: &Drafted| d.seconds <= NEARLY * least && (d.precision.argument <= LOOKED_AT || !dear(d));
            let first = drafts.iter().rposition(begun).unwrap_or(0);
            drafts.drain(..first);
            drafts
        };
        // Less room only where what has more is not precise enough.
        let rooms = ROOMY.into_iter().filter(|_| self.options.watch);
        let mut drafts: Vec<Drafted> = rooms.filter_map(|room| of(room).ok()).flat_map(chosen).collect();
        match of(ROOM).or_else(|_| of(0)) {
            Ok(others) => drafts.extend(chosen(others)),
            Err(error) if drafts.is_empty() => return Err(error),
            Err(_) => {}
        }
        Ok(drafts)
    }

    fn draft(&self, limbs: Limbs, precision: Precision, room: i64) -> Result<Drafted, ModelError> {
        let Planner { folded, ranges, largest_weights, options, .. } = *self;
        let layout = |fused| {
            let margin = options.margin;
            Draft { folded, ranges, largest_weights, margin, limbs, precision, fused, room }.layout()
        };
        let mut layouts = vec![(layout(false)?, false)];
        if (0..folded.ops.len()).any(|op| layout::fusable(folded, op)) {
            layouts.extend(layout(true).ok().map(|layout| (layout, true)));
        }
        let (emitted, _) = self.cheapest(&layouts, limbs, &Windows::Alike(self.narrowest()))?;
        let seconds = seconds(&emitted.plan, options)?;
        Ok(Drafted { precision, seconds, dealt_bytes: emitted.plan.cost(1)?.dealt_bytes, layouts })
    }

    fn is_far(&self) -> bool {
        self.options.link.one_way > FAR
    }

    /// Bits of windows to try first.
    fn narrowest(&self) -> u32 {
        if self.is_far() { WINDOW_FAR } else { WINDOW }
    }

    /// The narrowest windows that meet the target, or the widest, for one precision.
    fn with(&self, limbs: Limbs, draft: &Drafted, looked_at: &mut Vec<String>) -> Result<Choice, ModelError> {
        let mut looked = |windows: &Windows, measured: &Measured| {
            looked_at.push(format!(
                "{} limb(s), {draft}, windows of {windows}: median error {:.4}% (rounding alone {:.4}%)",
                limbs.count(),
                100.0 * measured.total.median,
                100.0 * measured.rounding.median
            ));
        };
        let target = self.options.max_error;
        let mut window = self.narrowest();
        let mut before = f64::INFINITY;
        loop {
            let windows = Windows::Alike(window);
            let (candidate, measured) = self.measured(&draft.layouts, limbs, &windows)?;
            looked(&windows, &measured);
            let error = measured.total.median;
            if error > target && self.is_far() && window == self.narrowest() {
                let mut goal = target;
                while goal > LEAST_GOAL * target {
                    let Some(windows) = self.allotted(&candidate, goal)? else { break };
                    let layouts = &draft.layouts[candidate.layout..=candidate.layout];
                    let (candidate, measured) = self.measured(layouts, limbs, &windows)?;
                    looked(&windows, &measured);
                    if measured.total.median <= target {
                        return Ok(candidate.choice(measured));
                    }
                    goal *= 0.8;
                }
            }
            // More windows do not help where rounding is what misses the target, or where they did
            // not help before.
            let hopeless = measured.rounding.median > ROUNDING_SHARE * target || error > 0.9 * before;
            if error <= target || hopeless || window >= WIDEST {
                return Ok(candidate.choice(measured));
            }
            before = error;
            window += 1;
        }
    }

    /// The cheapest plan with these windows, and its errors.
    fn measured(
        &self,
        layouts: &[(Layout, bool)],
        limbs: Limbs,
        windows: &Windows,
    ) -> Result<(Candidate, Measured), ModelError> {
        let (emitted, layout) = self.cheapest(layouts, limbs, windows)?;
        let weights = integers(self.folded, &layouts[layout].0)?;
        let simulator = Simulator::new(&emitted.plan, &weights)?;
        let measured = Measured::of(&simulator, self.samples, &self.ranges.results)?;
        Ok((Candidate { emitted, weights, layout }, measured))
    }

    /// Windows by what each comparison changes, `None` where that takes too long to find out.
    fn allotted(&self, candidate: &Candidate, goal: f64) -> Result<Option<Windows>, ModelError> {
        let Candidate { emitted, weights, .. } = candidate;
        let simulator = Simulator::new(&emitted.plan, weights)?;
        let samples = &self.samples[..self.ranges.results.len()];
        let Some(shares) = errors::shares(&simulator, samples)? else { return Ok(None) };
        let digits = emitted.windows.iter().map(|w| w.digits.len()).max().unwrap_or(1);
        Ok(Some(Windows::Each(allot::allot(&shares, digits, goal, WIDEST))))
    }

    /// The plan that is cheapest over the network that it is made for, and the place of its layout:
    /// with maxima and activations apart or together, and as many digits.
    fn cheapest(
        &self,
        layouts: &[(Layout, bool)],
        limbs: Limbs,
        windows: &Windows,
    ) -> Result<(Emitted, usize), ModelError> {
        let Planner { folded, ranges, options, .. } = *self;
        let mut best: Option<(f64, Emitted, usize)> = None;
        for (at, digits) in (0..layouts.len()).flat_map(|at| DIGITS.map(|digits| (at, digits))) {
            let (layout, fused) = &layouts[at];
            let comparing = Comparing { windows, digits, fused: *fused };
            let emitted =
                emit::emit(folded, ranges, layout, limbs, options.margin, comparing, self.output_scale());
            // The last numbers of a window may need a larger one than their maximum.
            if *fused && emitted.is_err() {
                continue;
            }
            let emitted = emitted?;
            let time = seconds(&emitted.plan, options)?;
            if best.as_ref().is_none_or(|(least, ..)| time < *least) {
                best = Some((time, emitted, at));
            }
        }
        best.map(|(_, emitted, at)| (emitted, at)).ok_or_else(no_choice)
    }

    /// The scale of the logits: finer than asked for where all of them are small.
    fn output_scale(&self) -> u32 {
        let seen = self.ranges.largest(self.folded.output.index()) * self.options.margin;
        self.options.output_scale + u32::try_from(-guard_bits(seen).min(0)).unwrap_or(0)
    }

    /// What is proven of every truncated value, the result last.
    fn proofs(
        &self,
        plan: &Plan,
        weights: &QuantizedWeights,
        values: &[ValueId],
        largest: &[f64],
    ) -> Result<Vec<LayerProof>, ModelError> {
        let margin = self.options.margin;
        let calibrated: Vec<f64> = largest.iter().map(|l| l * margin).collect();
        let always = proof::bounds(plan, weights, None);
        let inside = proof::bounds(plan, weights, Some(&calibrated));
        let infos = plan.values()?;
        let output = values[self.folded.output.index()];
        let truncations = plan.ops.iter().filter_map(|op| match &op.kind {
            OpKind::Truncate(t) => Some((op.name.clone(), t.input, t.scale.0, t.ell)),
            _ => None,
        });
        let result = ("output".to_owned(), output, plan.output.scale.0, plan.output.ell);
        let prove = |(name, value, kept, ell): (String, ValueId, u32, u32)| {
            let scale = infos.get(value).scale.0;
            let limit = 2f64.powi(ell as i32 - scale as i32);
            let (seen, range) = (largest[value.index()], calibrated[value.index()]);
            let [always, inside] = [&always, &inside].map(|b| b[value.index()]);
            LayerProof {
                name,
                scale,
                shift: scale - kept,
                ell,
                seen,
                calibrated: range,
                guard_bits_left: (limit / range).log2(),
                safe_factor: limit / seen,
                from_input_range: always,
                from_earlier_ranges: inside,
                verdict: match (always < limit, inside < limit) {
                    (true, _) => Verdict::Always,
                    (false, true) => Verdict::WhileEarlierLayersInRange,
                    (false, false) => Verdict::WhileInRange,
                },
            }
        };
        Ok(truncations.chain([result]).map(prove).collect())
    }
}

fn no_choice() -> ModelError {
    ModelError::data("options", "no number of limbs to try")
}

/// The integers of all layers, rounded to nearest.
fn integers(folded: &Folded, layout: &Layout) -> Result<QuantizedWeights, ModelError> {
    let mut layers = Vec::with_capacity(folded.linears.len());
    for (index, op) in folded.ops.iter().enumerate() {
        if let FoldedKind::Linear { linear, .. } = op.kind {
            let scale = (layout.weights[linear], layout.values[index + 1]);
            layers.push((linear, layer(&folded.linears[linear], scale)?));
        }
    }
    layers.sort_by_key(|(linear, _)| *linear);
    Ok(QuantizedWeights::of_layers(layers.into_iter().map(|(_, layer)| layer).collect()))
}

fn layer(linear: &FoldedLinear, (weights, result): (u32, u32)) -> Result<QuantizedLayer, ModelError> {
    let unit = power_of_two(weights);
    let integers: Option<Vec<i64>> = linear.real_weights().iter().map(|w| to_i64(w * unit)).collect();
    let integers = integers.ok_or_else(|| {
        ModelError::node(&linear.name, format!("a folded weight does not fit at scale 2^{weights}"))
    })?;
    let bias: Vec<I256> = linear.bias.0.iter().map(|&b| to_integer(b, result)).collect();
    Ok(QuantizedLayer::new(integers, bias))
}

/// The integer weights of a network for a plan made earlier; `values` are the plan's values that
/// hold those of the folded network.
pub(crate) fn weights_for(
    folded: &Folded,
    plan: &Plan,
    values: &[Option<ValueId>],
) -> Result<QuantizedWeights, ModelError> {
    let infos = plan.values()?;
    let layout = Layout {
        values: values.iter().map(|v| v.map_or(0, |v| infos.get(v).scale.0)).collect(),
        weights: plan.weights.iter().map(|w| w.scale.0).collect(),
        steps: Vec::new(),
    };
    let weights = integers(folded, &layout)?;
    weights.check(plan)?;
    Ok(weights)
}
