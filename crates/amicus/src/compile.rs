//! From a network and typical images to a compiled model: plan and integer weights.
//!
//! What `amicus compile` does: the imported network is brought into a form that can be compiled.
//! ReLU and its kin and max pooling stay as they are, to be computed by comparisons, unless asked
//! otherwise; other activations are replaced by polynomials. The planner chooses scales and proves
//! that nothing overflows, and the result is compared with the network as it was imported.

use crate::Error;
use crate::calibration::{self, Calibration};
use amicus_model::amc::{About, ModelFile};
use amicus_model::approximate::{Approximated, Trial, approximate};
use amicus_model::compare::{Comparison, FixedPoint, Networks, compare};
use amicus_model::equalise::{Equalised, equalise};
use amicus_model::onnx::{Import, import_file};
use amicus_model::prepare::{Prepared, prepare};
use amicus_model::quality::{Quality, Targets};
use amicus_model::reveal::Reveals;
use amicus_model::{Compiled, ModelError, Report, compile};
use amicus_plan::Range;
use std::path::Path;

pub use amicus_model::CompileOptions;
pub use amicus_model::approximate::ApproximateOptions;
pub use amicus_model::onnx::ImportOptions;

/// Images on which accuracy is measured, at most.
const MEASURED: usize = 100;

/// What the owner decides; the rest is chosen.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the file is read.
    pub import: ImportOptions,
    /// Which activations become polynomials, and how; by default only those that comparisons do not
    /// compute.
    pub approximate: ApproximateOptions,
    /// How the plan is chosen.
    pub compile: CompileOptions,
    /// Largest median error against the network as imported, polynomials included; any when there
    /// is none.
    pub max_total_error: Option<f64>,
    /// What receivers get of the outputs; what the file says when there is none: labels where it
    /// ends in an ArgMax or a TopK, else the outputs.
    pub reveal: Option<Reveals>,
    /// Outputs are rounded to multiples of two to the minus this before they are revealed.
    pub logit_bits: Option<u32>,
    /// Whether the plan holds the weights, where everybody who sees it sees them.
    pub public_model: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            import: ImportOptions::default(),
            approximate: ApproximateOptions::exact(),
            compile: CompileOptions { watch: true, ..CompileOptions::default() },
            max_total_error: None,
            reveal: None,
            logit_bits: None,
            public_model: false,
        }
    }
}

/// A compiled model and how it came about.
#[derive(Debug)]
pub struct Compilation {
    /// Plan and weights, to be saved and loaded; whether it meets its targets is in its `quality`.
    pub file: ModelFile,
    /// What was rewritten on the way, for people.
    pub notes: Vec<String>,
    /// What its author should know: functions and pools that were replaced.
    pub warnings: Vec<String>,
    /// The polynomials that were tried.
    pub trials: Vec<Trial>,
    /// How the plan was chosen.
    pub report: Report,
    /// The network as imported, with polynomials, and in fixed point, side by side.
    pub measured: Comparison,
    /// Whether the images are enough.
    pub calibration: Calibration,
    /// Layers whose channels are computed in groups of similar size.
    pub grouped: usize,
}

/// Compiles an ONNX file; external data are looked for beside it. Images are typical inputs, as the
/// network takes them: they tell how large numbers get.
///
/// # Errors
/// A file that cannot be read, or all nodes of it that cannot be compiled; images of another size,
/// or without a spread; scales that do not fit.
pub fn onnx(path: &Path, images: &[Vec<f32>], options: &Options) -> Result<Compilation, Error> {
    let import = import_file(path, &options.import)?;
    let images: Vec<Vec<f32>> = images.iter().map(|image| import.graph.arranged(image.clone())).collect();
    imported(import, path, &images, None, options, &mut || ())
}

/// Compiles a network that was imported, from images in the order of its graph. `labels` are their
/// classes, for accuracy; `step` is called after each of the first two of three steps.
///
/// # Errors
/// Those of [`onnx`].
pub fn imported(
    import: Import,
    source: &Path,
    images: &[Vec<f32>],
    labels: Option<&[usize]>,
    options: &Options,
    step: &mut dyn FnMut(),
) -> Result<Compilation, Error> {
    let range = input_range(images)?;
    let Equalised { graph: equal, notes: equalised, grouped } =
        equalise(&import.graph.with_input_range(range)?, images)?;
    let Prepared { graph: original, notes: prepared } = prepare(&equal)?;
    let Approximated { graph, approximations, warnings, trials } =
        approximate(&original, images, &options.approximate)?;
    step();
    let reveal = options.reveal.unwrap_or(import.labels.map_or(Reveals::Outputs, Reveals::Labels));
    if reveal != Reveals::Outputs && options.logit_bits.is_some() {
        return Err(unusable("options", "no outputs are revealed that could be rounded".to_owned()).into());
    }
    let compile_options = CompileOptions { reveal, ..options.compile.clone() };
    let Compiled { mut plan, weights, factors, mut report } = compile(&graph, images, &compile_options)?;
    step();
    let measured = images.len().min(MEASURED);
    let fixed = FixedPoint { plan: &plan, weights: &weights, factors: &factors };
    let networks = Networks { original: &original, polynomial: &graph, fixed: Some(fixed) };
    let labels = labels.map(|labels| &labels[..measured.min(labels.len())]);
    let measured = compare(networks, &images[..measured], labels, &mut |_| ())?;
    let calibration = calibration::look(
        &original,
        images,
        options.compile.margin,
        plan.cost(1).map_err(ModelError::from)?.multiply_adds,
    )?;
    let targets = Targets { fixed_point: options.compile.max_error, total: options.max_total_error };
    let quality = Quality::of(&measured, &report, targets);
    // Errors are those of the computation; what is rounded away is the owner's choice.
    if let Some(bits) = options.logit_bits {
        plan.round_outputs(bits).map_err(ModelError::from)?;
    }
    let notes: Vec<String> = import.notes.into_iter().chain(equalised).chain(prepared).collect();
    let about = About {
        source: source.display().to_string(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        notes: notes.iter().chain(&warnings).cloned().collect(),
        report: String::new(),
    };
    let mut file = ModelFile { plan, weights, factors, original, approximations, quality, about };
    if options.public_model {
        file = file.published()?;
        report.cost = file.plan.cost(1).map_err(ModelError::from)?;
    }
    file.about.report = serde_json::to_string(&report).map_err(|e| unusable("report", e.to_string()))?;
    Ok(Compilation { file, notes, warnings, trials, report, measured, calibration, grouped })
}

/// The numbers seen, and a tenth of their spread more on both sides.
fn input_range(images: &[Vec<f32>]) -> Result<Range, ModelError> {
    let all = images.iter().flatten().map(|&v| f64::from(v));
    let (low, high) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return Err(unusable("images", "there are none; ranges are calibrated on them".to_owned()));
    }
    if low == high {
        let reason = format!("every number is {low}; ranges cannot be calibrated on that");
        return Err(unusable("images", reason));
    }
    let more = 0.1 * (high - low);
    Ok(Range { low: low - more, high: high + more })
}

fn unusable(what: &str, reason: String) -> ModelError {
    ModelError::Data { what: what.to_owned(), reason }
}
