//! ONNX files as graphs.
//!
//! Where it stands: the first step from a PyTorch export to a plan. Operator sets 9 to 22, weights
//! inside the file or beside it. The way of a file: the format (`wire`, `proto`), constants and
//! their folding (`constant`, `external`, `evaluate`), the order of nodes (`start`), then node by
//! node into a [`crate::graph::GraphBuilder`] (`importer`): linear and pooling layers (`layers`),
//! (`transposed`, `resize`), what is layout only (`layout`), what takes numbers by their places
//! (`rearrange`), functions of one variable that exporters write as chains of
//! operators (`elementwise`).
//!
//! Files may be hostile: no panic, no recursion, no allocation beyond a small multiple of the
//! files' sizes, see [`ImportOptions::generated_bytes`]. Nodes that cannot be imported are all
//! listed at once ([`Problem`]).

mod constant;
mod elementwise;
mod error;
mod evaluate;
mod external;
mod foreign;
mod importer;
mod layers;
mod layout;
mod ml;
mod proto;
mod rearrange;
mod resize;
mod start;
mod training;
mod transposed;
mod value;
mod window;
mod wire;

use std::path::{Path, PathBuf};

pub use error::{OnnxError, Problem};

use crate::graph::Graph;

/// Operator sets that can be read.
pub const OPSETS: std::ops::RangeInclusive<i64> = 9..=22;

/// What the caller knows better than the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Shape of one input without the batch dimension, for files whose height and width are not
    /// fixed.
    pub input_shape: Option<Vec<usize>>,
    /// Bytes of weights that the file may let be generated (`ConstantOfShape`) rather than hold:
    /// none unless told. Weights may take this plus 16 MiB plus eight times the files' sizes.
    pub generated_bytes: u64,
    /// The output to compute, of a file with several; all of them, one behind the other, unless told.
    pub output: Option<String>,
}

/// An imported network.
#[derive(Clone, Debug)]
pub struct Import {
    /// The network; its input range is 0 to 1 until calibration data say otherwise.
    pub graph: Graph,
    /// What was dropped or rewritten, for people.
    pub notes: Vec<String>,
    /// Operator set of the file.
    pub opset: i64,
    /// Program that wrote the file, with its version.
    pub producer: String,
    /// Operators in the file, by name, with their counts.
    pub operators: Vec<(String, usize)>,
    /// Files beside it that hold its weights.
    pub external: Vec<PathBuf>,
    /// How many labels of the largest outputs the file gives in place of outputs: it ends in an
    /// ArgMax or in the places of a TopK, class by class.
    pub labels: Option<u32>,
}

/// Imports a file; external data are looked for in its folder.
///
/// # Errors
/// [`OnnxError`]: the file, the node, and all nodes that cannot be imported.
pub fn import_file(path: &Path, options: &ImportOptions) -> Result<Import, OnnxError> {
    let file = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| {
        let reason = foreign::folder(path).map_or_else(|| error.to_string(), str::to_owned);
        OnnxError::File { file: file.clone(), reason }
    })?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    import_bytes(&file, &bytes, Some(folder), options)
}

/// Imports a file's bytes; `file` is its name in messages, `folder` where external data may lie.
///
/// # Errors
/// What [`import_file`] refuses.
pub fn import_bytes(
    file: &str,
    bytes: &[u8],
    folder: Option<&Path>,
    options: &ImportOptions,
) -> Result<Import, OnnxError> {
    importer::import(file, bytes, folder, options).map_err(OnnxError::visible)
}
