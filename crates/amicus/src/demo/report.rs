//! What a demonstration measured, for people and machines.

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
    /// Of a list; none when it is empty.
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
    /// Of the input.
    pub input: u32,
    /// Of the weights, layer by layer.
    pub weights: Vec<u32>,
    /// Of the arguments of the activations.
    pub arguments: Vec<u32>,
    /// Of the coefficients of the activations.
    pub coefficients: Vec<u32>,
    /// Of the logits.
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
    /// Inputs classified whose label is known.
    pub labelled: usize,
    /// Private predictions that equal the label, among those; none without labels.
    pub correct: Option<usize>,
    /// Predictions of the float polynomial network that equal the label; none without labels.
    pub plaintext_correct: Option<usize>,
    /// Private predictions that equal the integer simulator's.
    pub agree: usize,
    /// Private predictions that equal the float polynomial network's.
    pub agree_plaintext: usize,
    /// Median over the samples of the relative distance of private logits from the float polynomial network's.
    pub relative_error: Option<f64>,
    /// Largest over the samples.
    pub relative_error_max: Option<f64>,
    /// "accepted", or the error.
    pub check: String,
    /// Compiling the network, calibration included, in milliseconds; none for a compiled file.
    pub compile_ms: Option<f64>,
    /// From the owner's request to the checked tags at all parties, in milliseconds.
    pub load_ms: f64,
    /// From the client's first message to its unmasked result, in milliseconds for one inference.
    pub online_ms: Option<Spread>,
    /// The same as `amicus estimate` predicts it; none where this machine's rates were not measured.
    pub estimated_online_ms: Option<f64>,
    /// From the helper's first step to all parties ready, in milliseconds for one inference (median).
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

/// The largest resident memory of this process so far, where the system tells.
pub(super) fn peak_rss() -> Option<u64> {
    bytes_in("/proc/self/status", "VmHWM:")
}

/// Memory that the system has left, where it tells.
pub(super) fn available_memory() -> Option<u64> {
    bytes_in("/proc/meminfo", "MemAvailable:")
}

fn bytes_in(file: &str, key: &str) -> Option<u64> {
    let status = std::fs::read_to_string(file).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
