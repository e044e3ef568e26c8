//! What compilation decided and why, for people (`Display`) and machines (`Serialize`).

use std::fmt;

use amicus_plan::{Cost, OpKind, Plan, WrapRule};
use serde::{Deserialize, Serialize};

use crate::planner::reveal::Found;
use crate::proof::{LayerProof, Verdict};
use crate::watch::Watch;

/// Relative errors of logits against the float model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorFigures {
    /// Median over samples.
    pub median: f64,
    /// Largest over samples.
    pub max: f64,
}

/// Scales of one operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum LayerScales {
    /// A linear layer.
    Linear {
        /// Name of the layer.
        name: String,
        /// Scale `f_w` of its weights.
        weights: u32,
        /// Scale `T` of its result.
        result: u32,
    },
    /// An activation.
    Activation {
        /// Name of the activation.
        name: String,
        /// Degree of the polynomial.
        degree: usize,
        /// Scale `f_u` of the argument.
        argument: u32,
        /// Scale `f_c` of the coefficients.
        coefficients: u32,
        /// Scale of the result.
        result: u32,
        /// Bits dropped before it.
        shift: u32,
        /// Whether statistical truncation is used.
        statistical: bool,
    },
    /// Polynomials chosen by comparisons, or one behind a truncation of its own.
    Selection {
        /// Name of the activation.
        name: String,
        /// Number of thresholds.
        thresholds: usize,
        /// Scale of the argument.
        argument: u32,
        /// Scale of the result.
        result: u32,
    },
    /// A truncation alone.
    Truncation {
        /// Name of the operation.
        name: String,
        /// Bits dropped.
        shift: u32,
        /// Scale of the result.
        result: u32,
    },
}

/// The window of one comparison, for the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WindowReport {
    /// The comparison.
    pub name: String,
    /// Number of comparisons for one input.
    pub comparisons: usize,
    /// Bits of the window.
    pub bits: u32,
    /// Bits of its digits below the top one, most significant first.
    pub digits: Vec<u32>,
    /// A number less than half of this away from a threshold is decided at random.
    pub unit: f64,
    /// Largest distance from a threshold seen on calibration data.
    pub seen: f64,
    /// Bits between that, times the margin, and the end of the window.
    pub guard_bits: f64,
}

/// How a plan came about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Name of the network.
    pub network: String,
    /// Number of limbs.
    pub limbs: usize,
    /// Rewrites applied to the graph.
    pub rewrites: Vec<String>,
    /// Scale of the input.
    pub input_scale: u32,
    /// Scale of the logits.
    pub output_scale: u32,
    /// Scales of linear layers and activations, in order.
    pub layers: Vec<LayerScales>,
    /// Bounds and what is proven of every truncated value, in order; the result last.
    pub proofs: Vec<LayerProof>,
    /// Windows of comparisons, in order; none for networks of polynomials.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<WindowReport>,
    /// Error expected of the secure run (truncation rounds up or down at random), measured by fake
    /// quantisation on calibration samples.
    pub expected: ErrorFigures,
    /// The part of it that rounding has, where there are comparisons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounding: Option<ErrorFigures>,
    /// What comparisons of numbers near a threshold change, against a run that decides them all
    /// rightly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signs: Option<ErrorFigures>,
    /// Root mean square error that the measured sources predict for the chosen scales.
    pub predicted: f64,
    /// Error of the exact simulator (truncation to nearest) on the first of these samples.
    pub simulated: ErrorFigures,
    /// Samples that the simulator ran on.
    pub simulated_samples: usize,
    /// The target for the median.
    pub max_error: f64,
    /// Calibrated ranges are what was seen times this.
    pub margin: f64,
    /// Samples that ranges come from.
    pub calibration_samples: usize,
    /// Samples that errors come from.
    pub error_samples: usize,
    /// Cost of one inference.
    #[serde(skip)]
    pub cost: Cost,
    /// Every choice looked at, with its error or why it did not fit.
    pub passed_over: Vec<String>,
    /// How the plan looks for values outside what it was made for; `None` if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watch>,
    /// How labels are found, where receivers get labels in place of outputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Found>,
}

impl Report {
    /// Whether the expected median error meets the target.
    pub fn meets_target(&self) -> bool {
        self.expected.median <= self.max_error
    }
}

pub(crate) fn layers(plan: &Plan, proofs: &[LayerProof]) -> Vec<LayerScales> {
    let mut scales = vec![plan.input.scale.0];
    let mut layers = Vec::new();
    for op in &plan.ops {
        let scale = match &op.kind {
            OpKind::Linear { input, weights, .. } => {
                let f_w = plan.weight(*weights).scale.0;
                let result = scales[input.index()] + f_w;
                layers.push(LayerScales::Linear { name: op.name.clone(), weights: f_w, result });
                result
            }
            OpKind::PublicLinear { input, weights } => {
                let f_w = plan.public_tensor(*weights).spec.scale.0;
                let result = scales[input.index()] + f_w;
                layers.push(LayerScales::Linear { name: op.name.clone(), weights: f_w, result });
                result
            }
            OpKind::Activation(a) => {
                let result = a.degree() as u32 * a.input_scale.0 + a.coefficient_scale.0;
                layers.push(LayerScales::Activation {
                    name: op.name.clone(),
                    degree: a.degree(),
                    argument: a.input_scale.0,
                    coefficients: a.coefficient_scale.0,
                    result,
                    shift: proofs.iter().find(|p| p.name == op.name).map_or(0, |p| p.shift),
                    statistical: a.wrap == WrapRule::Statistical,
                });
                result
            }
            OpKind::Multiply { left, right } => scales[left.index()] + scales[right.index()],
            OpKind::Add { left, left_shift, .. } | OpKind::Subtract { left, left_shift, .. } => {
                scales[left.index()] + left_shift
            }
            OpKind::SumPool { input, .. }
            | OpKind::Slice { input, .. }
            | OpKind::Weigh { input, .. }
            | OpKind::Gather { input, .. } => scales[input.index()],
            OpKind::Compare(_) | OpKind::Xnor { .. } => 0,
            OpKind::Outside(o) => o.scale.0,
            OpKind::Truncate(t) => {
                let (result, shift) = (t.scale.0, scales[t.input.index()] - t.scale.0);
                layers.push(LayerScales::Truncation { name: op.name.clone(), shift, result });
                result
            }
            // A maximum changes no scale.
            OpKind::Select(s) if s.bits.is_some() && s.base.is_some() => s.scale.0,
            OpKind::Select(s) => {
                layers.push(LayerScales::Selection {
                    name: op.name.clone(),
                    thresholds: s.polynomials.len() - 1,
                    argument: scales[s.input.index()],
                    result: s.scale.0,
                });
                s.scale.0
            }
            OpKind::Concat { parts } => parts.first().map_or(0, |p| scales[p.input.index()] + p.shift),
        };
        scales.push(scale);
    }
    layers
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} limb(s), input 2^{}, logits 2^{}",
            self.network, self.limbs, self.input_scale, self.output_scale
        )?;
        writeln!(f, "rewrites:")?;
        self.rewrites.iter().try_for_each(|r| writeln!(f, "  {r}"))?;
        writeln!(f, "scales:")?;
        for layer in &self.layers {
            match layer {
                LayerScales::Linear { name, weights, result } => {
                    writeln!(f, "  {name:12} weights 2^{weights}, result 2^{result}")?;
                }
                LayerScales::Selection { name, thresholds, argument, result } => writeln!(
                    f,
                    "  {name:12} {thresholds} threshold(s), argument 2^{argument}, result 2^{result}"
                )?,
                LayerScales::Truncation { name, shift, result } => {
                    writeln!(f, "  {name:12} drops {shift} bits, result 2^{result}")?;
                }
                LayerScales::Activation {
                    name,
                    argument,
                    coefficients,
                    degree,
                    result,
                    shift,
                    statistical,
                } => {
                    let rule = if *statistical { "statistical" } else { "exact" };
                    writeln!(
                        f,
                        "  {name:12} drops {shift} bits, argument 2^{argument}, degree {degree}, coefficients \
                         2^{coefficients}, result 2^{result}, {rule} wrap rule"
                    )?;
                }
            }
        }
        if !self.windows.is_empty() {
            writeln!(
                f,
                "comparisons (a number nearer to a threshold than half a unit is decided at random):"
            )?;
        }
        for w in &self.windows {
            writeln!(
                f,
                "  {:12} {} of {} bits in digits of {:?}: unit {:.2e}, seen {:.3}, {:.1} bits beyond the calibrated range",
                w.name, w.comparisons, w.bits, w.digits, w.unit, w.seen, w.guard_bits
            )?;
        }
        writeln!(f, "headroom (ranges from {} samples, margin {}):", self.calibration_samples, self.margin)?;
        for p in &self.proofs {
            let proven = match p.verdict {
                Verdict::Always => {
                    format!("proven for every input in range (at most {:.3})", p.from_input_range)
                }
                Verdict::WhileEarlierLayersInRange => {
                    format!(
                        "proven while earlier layers stay in range (at most {:.3})",
                        p.from_earlier_ranges
                    )
                }
                Verdict::WhileInRange => "holds while inside the calibrated range".to_owned(),
            };
            writeln!(
                f,
                "  {:12} |z| < 2^{} at 2^{}, seen {:.3}, safe up to {:.1} times that ({:.1} bits beyond the \
                 calibrated range); {proven}",
                p.name, p.ell, p.scale, p.seen, p.safe_factor, p.guard_bits_left
            )?;
        }
        writeln!(
            f,
            "relative error of logits: expected {:.4}% median, {:.4}% at most on {} samples (exact integers, nearest \
             rounding, on {} of them: {:.4}%, {:.4}%); target {:.4}% {}",
            100.0 * self.expected.median,
            100.0 * self.expected.max,
            self.error_samples,
            self.simulated_samples,
            100.0 * self.simulated.median,
            100.0 * self.simulated.max,
            100.0 * self.max_error,
            if self.meets_target() { "met" } else { "NOT met: this is the most precise choice" }
        )?;
        if let (Some(rounding), Some(signs)) = (&self.rounding, &self.signs) {
            writeln!(
                f,
                "of that, rounding {:.4}% median, {:.4}% at most; wrong signs near thresholds {:.4}%, {:.4}%; nothing is \
                 approximated",
                100.0 * rounding.median,
                100.0 * rounding.max,
                100.0 * signs.median,
                100.0 * signs.max
            )?;
        }
        writeln!(
            f,
            "cost of one inference: {} rounds, {} bytes sent by each party to each other, {} bytes dealt",
            self.cost.rounds, self.cost.sent_bytes_per_party, self.cost.dealt_bytes
        )?;
        if let Some(labels) = &self.labels {
            writeln!(f, "{labels}")?;
        }
        if let Some(watch) = &self.watch {
            writeln!(f, "{watch}")?;
        }
        writeln!(f, "choices looked at:")?;
        self.passed_over.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}
