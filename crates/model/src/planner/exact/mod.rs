//! The planner of networks that compare: ReLU, MaxPool and the like, computed as they are
//! (`docs/protocol.md`, "Comparison").
//!
//! Steps: measure ranges on the samples; for 1, 2 and 3 limbs and growing precision choose scales
//! that fit (the module `layout`), then widths of windows, and look at what the exact simulator
//! answers under random masks. The first choice that meets the target is taken.
//!
//! What differs from networks of polynomials: nothing is approximated; values keep their scale
//! through selections, so one limb serves whole networks; and an error near a threshold is one of
//! sign, bounded by half a unit of the decision.

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
use crate::fold::{Folded, FoldedKind};
use crate::planner::seconds;
use crate::proof::{self, LayerProof, Verdict};
use crate::quantize::{QuantizedLayer, QuantizedWeights, to_i64, to_integer};
use crate::report::Report;
use crate::scales::guard_bits;
use emit::{Comparing, Emitted};
use errors::Measured;
use layout::{Draft, Layout};
use ranges::Ranges;

/// Bits of arguments and weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Precision {
    argument: u32,
    weights: u32,
}

/// Precisions tried with one limb, and with more.
const ONE_LIMB: [Precision; 4] = [
    Precision { argument: 13, weights: 13 },
    Precision { argument: 14, weights: 14 },
    Precision { argument: 15, weights: 15 },
    Precision { argument: 17, weights: 16 },
];
const MORE_LIMBS: [Precision; 3] = [
    Precision { argument: 16, weights: 15 },
    Precision { argument: 20, weights: 18 },
    Precision { argument: 26, weights: 22 },
];
/// Bits of windows tried first, where rounds are cheap and where they are dear; and the most tried.
const WINDOW: u32 = 12;
const WINDOW_FAR: u32 = 8;
const WIDEST: u32 = 21;
/// A round is dear when a message travels longer than this many seconds.
const FAR: f64 = 0.005;
/// Digits of a comparison: two rounds, three, four.
const DIGITS: [usize; 3] = [3, 6, 12];
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
    let planner = Planner { folded, ranges: &ranges, samples, options };
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
    samples: &'a [Vec<f32>],
    options: &'a CompileOptions,
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
            let precisions = if limbs == Limbs::ONE { &ONE_LIMB[..] } else { &MORE_LIMBS[..] };
            for &precision in precisions {
                let bits = format!("{} limb(s), {} bits", limbs.count(), precision.argument);
                match self.with(limbs, precision, &bits, &mut looked_at) {
                    Ok(choice) => {
                        let meets = choice.measured.total.median <= self.options.max_error;
                        let better = |b: &Choice| choice.measured.total.median < b.measured.total.median;
                        if meets || best.as_ref().is_none_or(better) {
                            best = Some(choice);
                        }
                        if meets {
                            return best.map(|b| (b, looked_at)).ok_or_else(no_choice);
                        }
                    }
                    Err(error) => {
                        looked_at.push(format!("{bits}: {error}"));
                        last_error = Some(error);
                        break;
                    }
                }
            }
        }
        match (best, last_error) {
            (Some(best), _) => Ok((best, looked_at)),
            (None, Some(error)) => Err(error),
            (None, None) => Err(no_choice()),
        }
    }

    /// The narrowest windows that meet the target, or the widest, for one precision.
    fn with(
        &self,
        limbs: Limbs,
        precision: Precision,
        bits: &str,
        looked_at: &mut Vec<String>,
    ) -> Result<Choice, ModelError> {
        let Planner { folded, ranges, .. } = *self;
        let margin = self.options.margin;
        let draft = |fused| Draft { folded, ranges, margin, limbs, precision, fused };
        let apart = draft(false).layout()?;
        let fused = (0..folded.ops.len()).any(|op| layout::fusable(folded, op));
        let together = if fused { draft(true).layout().ok() } else { None };
        let layouts = [Some((apart, false)), together.map(|layout| (layout, true))];
        let far = self.options.link.one_way > FAR;
        let mut window = if far { WINDOW_FAR } else { WINDOW };
        let mut before = f64::INFINITY;
        loop {
            let (emitted, layout) = self.cheapest(layouts.iter().flatten(), limbs, window)?;
            let weights = integers(folded, layout)?;
            let measured = Measured::of(&emitted.plan, &weights, self.samples, &ranges.results)?;
            let error = measured.total.median;
            looked_at.push(format!(
                "{bits}, windows of {window}: median error {:.4}% (rounding alone {:.4}%)",
                100.0 * error,
                100.0 * measured.rounding.median
            ));
            // More windows do not help where rounding is what misses the target, or where they did
            // not help before.
            let hopeless =
                measured.rounding.median > ROUNDING_SHARE * self.options.max_error || error > 0.9 * before;
            if error <= self.options.max_error || hopeless || window >= WIDEST {
                return Ok(Choice { emitted, weights, measured });
            }
            before = error;
            window += 1;
        }
    }

    /// The plan that is cheapest over the network that it is made for: with maxima and activations
    /// apart or together, and as many digits.
    fn cheapest<'l>(
        &self,
        layouts: impl Iterator<Item = &'l (Layout, bool)>,
        limbs: Limbs,
        window: u32,
    ) -> Result<(Emitted, &'l Layout), ModelError> {
        let Planner { folded, ranges, options, .. } = *self;
        let mut best: Option<(f64, Emitted, &Layout)> = None;
        for ((layout, fused), digits) in layouts.flat_map(|l| DIGITS.map(|digits| (l, digits))) {
            let comparing = Comparing { window, digits, fused: *fused };
            let emitted =
                emit::emit(folded, ranges, layout, limbs, options.margin, comparing, self.output_scale());
            // The last numbers of a window may need a larger one than their maximum.
            if *fused && emitted.is_err() {
                continue;
            }
            let emitted = emitted?;
            let time = seconds(&emitted.plan, &options.link)?;
            if best.as_ref().is_none_or(|(least, ..)| time < *least) {
                best = Some((time, emitted, layout));
            }
        }
        best.map(|(_, emitted, layout)| (emitted, layout)).ok_or_else(no_choice)
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

fn layer(
    linear: &crate::fold::FoldedLinear,
    (weights, result): (u32, u32),
) -> Result<QuantizedLayer, ModelError> {
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
