//! What a demonstration measured, for people and machines.

use amicus_model::escapes::Escapes;
use amicus_model::report::ErrorFigures;
use serde::Serialize;

/// Smallest, median and largest of some figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Smallest.
    pub min: f64,
    /// Median.
    pub median: f64,
    /// Largest.
    pub max: f64,
}

impl Spread {
    /// The spread of a list; none when it is empty.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let n = values.len();
        Some(Spread { min, median: (values[(n - 1) / 2] + values[n / 2]) / 2.0, max })
    }
}

/// Fixed-point scales in bits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScaleReport {
    /// Scale of the input.
    pub input: u32,
    /// Scales of the weights, layer by layer.
    pub weights: Vec<u32>,
    /// Scales of the arguments of the activations.
    pub arguments: Vec<u32>,
    /// Scales of the coefficients of the activations.
    pub coefficients: Vec<u32>,
    /// Scale of the logits.
    pub output: u32,
}

/// Everything `amicus demo --json` prints. Unknown figures are null.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DemoReport {
    /// Name of the model.
    pub model: String,
    /// Compute parties.
    pub parties: usize,
    /// Inputs classified.
    pub samples: usize,
    /// Inputs in one inference.
    pub batch: usize,
    /// Where the inputs come from.
    pub data: String,
    /// Names of the classes, in the order of the network's outputs, if they have any.
    pub classes: Option<Vec<String>>,
    /// Whether the outputs tell classes apart; where not, predictions are null and errors are all
    /// there is to compare.
    pub tells_classes: bool,
    /// Inputs classified whose label is known.
    pub labelled: usize,
    /// Private predictions that equal the label, among those; none without labels.
    pub correct: Option<usize>,
    /// Predictions in plain text, of the network as its owner imported it, that equal the label;
    /// none without labels.
    pub plaintext_correct: Option<usize>,
    /// Predictions of the network with polynomials that equal the label; none without labels.
    pub polynomial_correct: Option<usize>,
    /// Private predictions that equal the integer simulator's.
    pub agree: Option<usize>,
    /// Private predictions that equal those in plain text.
    pub agree_plaintext: Option<usize>,
    /// Private predictions that equal those of the network with polynomials.
    pub agree_polynomial: Option<usize>,
    /// Median over the samples of the relative distance of private outputs from those in plain
    /// text.
    pub relative_error: Option<f64>,
    /// Largest over the samples.
    pub relative_error_max: Option<f64>,
    /// The part of it that polynomials cause: they against plain text.
    pub polynomials_error: Option<ErrorFigures>,
    /// The part that the fixed point causes: private outputs against polynomials.
    pub fixed_point_error: Option<ErrorFigures>,
    /// The largest relative distance of private outputs from the integer simulator's.
    pub simulator_error_max: Option<f64>,
    /// Values outside what the network was compiled for, by layer.
    pub escapes: Option<Escapes>,
    /// Numbers of the samples whose private answer told its client that a hidden value left what
    /// the network was compiled for; none where the plan does not look.
    pub noticed: Option<Vec<usize>>,
    /// Targets that a compiled file misses on its calibration data.
    pub missed_targets: Vec<String>,
    /// What was skipped, clipped or done otherwise than asked for.
    pub notes: Vec<String>,
    /// "accepted", or the error.
    pub check: String,
    /// Compiling the network, calibration included, in milliseconds; none for a compiled file and
    /// for networks that ship, which come with their plans.
    pub compile_ms: Option<f64>,
    /// From the owner's request to the checked tags at all parties, in milliseconds.
    pub load_ms: f64,
    /// From the client's first message to its unmasked result, in milliseconds for one inference.
    pub online_ms: Option<Spread>,
    /// What `amicus estimate` predicts for it; none where this machine's rates were not measured.
    pub estimated_online_ms: Option<f64>,
    /// From the helper's first step to all parties ready, in milliseconds for one inference
    /// (median).
    pub preprocessing_ms: Option<f64>,
    /// One-way hops in sequence on the online path.
    pub rounds: Option<u16>,
    /// Bytes one party sends to one other party online, on the wire, for one inference.
    pub sent_bytes_per_party: Option<u64>,
    /// Bytes the helper sends to all parties for one inference, on the wire (median).
    pub dealt_bytes: Option<u64>,
    /// Largest resident memory of the process, which holds all roles.
    pub peak_rss_bytes: Option<u64>,
    /// Primes of the modulus.
    pub limbs: usize,
    /// How many weights all roles know; none where they are secret.
    pub public_weights: usize,
    /// Fixed-point scales.
    pub scales: ScaleReport,
    /// Arithmetic kernel.
    pub kernel: String,
    /// Network between the roles.
    pub net: String,
    /// Version of the program.
    pub version: String,
    /// What a misbehaving party did, if one was asked for.
    pub cheat: Option<String>,
    /// With a misbehaving party: whether an inference without misbehaviour worked afterwards.
    pub recovered: Option<bool>,
}

impl DemoReport {
    /// Whether every inference was accepted.
    pub fn accepted(&self) -> bool {
        self.check == "accepted"
    }
}
