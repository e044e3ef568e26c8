//! How a network was compiled, and what came of it.

use super::{Block, Table, Text, bytes, comparison};
use crate::calibration::Calibration;
use crate::compile::Compilation;
use crate::rates;
use amicus_model::Report;
use amicus_model::approximate::{Approximation, Candidate, Recipe, Trial};
use amicus_model::compare::Comparison;
use amicus_model::measure::{count_of, percent};
use amicus_model::quality::Quality;
use amicus_model::shown::shown;
use amicus_net::shaper::Shape;
use amicus_plan::{PlanError, Rates};
use serde::Serialize;

/// What `amicus compile` says of a network.
#[derive(Clone, Debug, Serialize)]
pub struct Compiled<'a> {
    /// Its name.
    pub model: &'a str,
    /// The compiled file; none when it was not written.
    pub output: Option<String>,
    /// Digest of the plan.
    pub digest: String,
    /// Numbers that clients' images may have.
    pub input_range: [f64; 2],
    /// What was rewritten.
    pub notes: &'a [String],
    /// What its author should know.
    pub warnings: &'a [String],
    /// Polynomials that were tried.
    pub trials: &'a [Trial],
    /// Polynomials and splines that were taken.
    pub approximations: &'a [Approximation],
    /// How the plan was chosen.
    pub report: &'a Report,
    /// The cost of one inference.
    pub cost: Cost,
    /// Errors against the network as imported, their parts, and targets.
    pub quality: &'a Quality,
    /// Whether all targets are met.
    pub meets_target: bool,
    /// Those that are not.
    pub missed_targets: Vec<String>,
    /// The executions side by side.
    pub measured: &'a Comparison,
    /// Whether the calibration data are enough.
    pub calibration: &'a Calibration,
    /// What was measured on images that were not calibrated with, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validated: Option<Comparison>,
    /// What everybody learns who sees the plan.
    pub plan_shows: Vec<String>,
    /// How many weights are public.
    pub public_weights: usize,
    /// Version of this library.
    pub version: &'static str,
}

/// The cost of one inference.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    /// One-way hops.
    pub rounds: usize,
    /// Bytes that a party sends to another.
    pub sent_bytes_per_party: u64,
    /// Bytes that the helper deals.
    pub dealt_bytes: u64,
    /// Multiply-adds of a party.
    pub multiply_adds: u64,
    /// Time of one inference on this machine, estimated.
    pub estimated_online_ms: f64,
}

impl<'a> Compiled<'a> {
    /// Tells of a compilation whose file is written there, if it is; `rates` are those of this machine.
    ///
    /// # Errors
    /// A plan that is not valid.
    pub fn of(
        compilation: &'a Compilation,
        output: Option<String>,
        rates: &Rates,
    ) -> Result<Self, PlanError> {
        let Compilation { file, notes, warnings, trials, report, measured, calibration, grouped } =
            compilation;
        let missed_targets = file.quality.misses();
        let estimate = file.plan.estimate(2, 1, &rates::link(&Shape::local()), rates)?;
        Ok(Compiled {
            model: &file.plan.name,
            output,
            digest: file.plan.digest()?.to_string(),
            input_range: [file.plan.input.range.low, file.plan.input.range.high],
            notes,
            warnings,
            trials,
            approximations: &file.approximations,
            cost: Cost {
                rounds: report.cost.rounds,
                sent_bytes_per_party: report.cost.sent_bytes_per_party,
                dealt_bytes: report.cost.dealt_bytes,
                multiply_adds: report.cost.multiply_adds,
                estimated_online_ms: 1e3 * estimate.online,
            },
            quality: &file.quality,
            meets_target: missed_targets.is_empty(),
            missed_targets,
            report,
            measured,
            calibration,
            validated: None,
            public_weights: file.plan.public_weights(),
            plan_shows: shown(&file.plan, &file.approximations, *grouped),
            version: env!("CARGO_PKG_VERSION"),
        })
    }

    /// For people.
    pub fn text(&self) -> Text {
        let s = self;
        let mut text = Text::default();
        s.notes.iter().for_each(|note| text.line(format_args!("note: {note}")));
        text.line(format_args!(
            "input range {:.4} to {:.4}: clients' images outside are refused",
            s.input_range[0], s.input_range[1]
        ));
        if !s.trials.is_empty() {
            text.table(trials(s.trials));
        }
        if !s.approximations.is_empty() {
            text.table(approximations(s.approximations));
        }
        text.line(format_args!("{}", s.report));
        text.add(comparison(s.measured));
        text.line(format_args!("{}", s.calibration));
        if let Some(validated) = &s.validated {
            text.line(format_args!("\non {} images that were not calibrated with:", validated.samples));
            text.add(comparison(validated));
        }
        if !s.warnings.is_empty() {
            text.line(format_args!("\nwarning: the network was not trained for what it computes now:"));
            s.warnings.iter().for_each(|w| text.line(format_args!("  {w}")));
            text.line(format_args!(
                "  train it on with these polynomials in place if the measured loss above is too high"
            ));
        }
        text.line(format_args!("\nthe plan, which parties, helper and clients see, shows:"));
        s.plan_shows.iter().for_each(|line| text.line(format_args!("  {line}")));
        s.missed_targets.iter().for_each(|missed| text.line(format_args!("target missed: {missed}")));
        text.line(format_args!("\n{}", s.quality.headline()));
        if let Some(output) = &s.output {
            let holds = match s.public_weights {
                0 => "it holds the weights: keep it secret",
                _ => "its plan holds the weights, for everybody to see",
            };
            text.line(format_args!("wrote {output} (plan {}); {holds}", s.digest));
        }
        text.blocks.push(Block::Whole(conclusion(s)));
        text
    }
}

/// What the user gets, in one line.
fn conclusion(s: &Compiled<'_>) -> String {
    let measured = s.measured;
    let share = |n: usize| count_of(n, measured.samples);
    let accuracy = match (measured.float_correct, measured.fixed_correct, s.quality.same_class) {
        (Some(float), Some(private), _) => {
            format!("{} as labelled (your network {})", share(private), share(float))
        }
        (_, _, Some(same)) => format!("the class of your network for {}", share(same)),
        _ => format!("outputs with a median error of {}", percent(s.quality.total.median)),
    };
    format!(
        "a private answer: {accuracy}, about {:.1} ms here, {} dealt",
        s.cost.estimated_online_ms,
        bytes(s.cost.dealt_bytes)
    )
}

fn trials(trials: &[Trial]) -> Table {
    let mut shown = Table::with_header(["fit", "margin", "degree", "same class, held out", "error"]);
    for t in trials {
        let same = t.same_class.map_or_else(|| "no classes".to_owned(), |n| count_of(n, t.samples));
        let taken = if t.taken { " (taken)" } else { "" };
        let Recipe { method, margin, degree } = t.recipe;
        let fit = format!("{method}{taken}");
        shown.row([fit, margin.to_string(), degree.to_string(), same, percent(t.error)]);
    }
    shown
}

/// A size with three digits, however small.
fn short(size: f64) -> String {
    if size == 0.0 || size >= 0.01 { format!("{size:.3}") } else { format!("{size:.2e}") }
}

fn approximations(approximations: &[Approximation]) -> Table {
    let mut shown =
        Table::with_header(["activation", "was", "interval", "degree", "largest error", "weighted error"]);
    for a in approximations {
        let chosen = a.candidates.iter().find(|c| Some(c.method) == a.picked);
        let error = |of: fn(&Candidate) -> f64| {
            chosen.map_or_else(|| "as written".to_owned(), |c| format!("{:.4}", of(c)))
        };
        shown.row([
            a.node.clone(),
            a.function.clone(),
            format!("{} (seen {})", short(a.interval), short(a.seen)),
            match &a.pieces {
                Some(pieces) => format!("{}, {} pieces", pieces.degree(), pieces.polynomials().len()),
                None => (a.coefficients.len() - 1).to_string(),
            },
            error(|c| c.max_error),
            error(|c| c.weighted_error),
        ]);
    }
    shown
}
