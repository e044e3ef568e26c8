//! Weights as a safetensors file, names and shapes as PyTorch has them.
//!
//! All tensors are f32, little-endian. Convolution weights are [out, in, height, width], linear weights [out, in];
//! features are flattened channel, row, column. The same tensors and metadata give the same bytes.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};

use crate::TrainError;

/// Value of the metadata entry `format.version`; readers refuse others.
pub const FORMAT_VERSION: &str = "1";
/// Names of the metadata entries every file has.
pub mod key {
    /// [`FORMAT_VERSION`](super::FORMAT_VERSION).
    pub const FORMAT_VERSION: &str = "format.version";
    /// The network, for example `lenet5`.
    pub const ARCHITECTURE: &str = "architecture";
    /// The data set, for example `mnist`.
    pub const DATASET: &str = "dataset";
    /// What the first layer takes, for example `pixel/255`.
    pub const INPUT: &str = "input";
    /// B in decimal: activations are p(t / B).
    pub const INTERVAL: &str = "activation.interval";
    /// a_0 .. a_d of p(u) as a JSON array.
    pub const COEFFICIENTS: &str = "activation.coefficients";
    /// BatchNorm's epsilon in decimal.
    pub const BN_EPS: &str = "bn.eps";
    /// Seed of the run.
    pub const SEED: &str = "seed";
    /// Epochs of the run.
    pub const EPOCHS: &str = "epochs";
    /// Share of validation images answered correctly, with the counts.
    pub const VALIDATION_ACCURACY: &str = "accuracy.validation";
    /// Share of test images answered correctly, with the counts.
    pub const TEST_ACCURACY: &str = "accuracy.test";
    /// The command that made the file.
    pub const COMMAND: &str = "command";
}

/// One named tensor, values in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Name, for example `conv1.weight`.
    pub name: String,
    /// Sizes of the dimensions, outermost first.
    pub shape: Vec<usize>,
    /// As many values as the product of `shape`.
    pub values: Vec<f32>,
}

/// The file's bytes.
///
/// # Errors
///
/// [`TrainError::Export`] when a value is not finite, a tensor's size does not fit its shape or a name is used twice.
pub fn encode(tensors: &[NamedTensor], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>, TrainError> {
    let failed = |problem: String| TrainError::Export(problem);
    let mut bytes: BTreeMap<&str, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
    for NamedTensor { name, shape, values } in tensors {
        if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
            return Err(failed(format!("tensor {name} contains {bad}")));
        }
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        if bytes.insert(name, (shape.clone(), data)).is_some() {
            return Err(failed(format!("two tensors are named {name}")));
        }
    }
    let views = bytes
        .iter()
        .map(|(&name, (shape, data))| {
            let view = TensorView::new(Dtype::F32, shape.clone(), data);
            view.map(|view| (name, view)).map_err(|error| failed(format!("tensor {name}: {error}")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let entries: HashMap<String, String> = metadata.clone().into_iter().collect();
    let file = safetensors::serialize(views, Some(entries)).map_err(|error| failed(error.to_string()))?;
    with_sorted_header(&file, metadata).map_err(|error| failed(format!("header: {error}")))
}

/// The same file with its header's entries in alphabetical order: the library takes metadata as a hash map, whose
/// order changes from run to run.
fn with_sorted_header(
    file: &[u8],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, serde_json::Error> {
    let length = file[..8].iter().rev().fold(0usize, |n, &byte| n << 8 | usize::from(byte));
    let (header, data) = file[8..].split_at(length);
    let mut entries: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header)?;
    entries.insert("__metadata__".to_owned(), serde_json::to_value(metadata)?);
    let mut header = serde_json::to_vec(&entries)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok([&(header.len() as u64).to_le_bytes()[..], &header, data].concat())
}

/// Writes the file: first beside `path` under another name, then renamed, so that `path` is never half-written.
///
/// # Errors
///
/// As [`encode`], and [`TrainError::Io`] naming the file; the temporary file is removed then.
pub fn write(
    path: &Path,
    tensors: &[NamedTensor],
    metadata: &BTreeMap<String, String>,
) -> Result<(), TrainError> {
    let bytes = encode(tensors, metadata)?;
    let temporary = temporary_name(path);
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()
    });
    written.and_then(|()| std::fs::rename(&temporary, path)).map_err(|source| {
        // Best effort: the error that matters is the one above.
        let _ = std::fs::remove_file(&temporary);
        TrainError::Io { action: "write", path: path.into(), source }
    })
}

/// Fails early when `path` cannot be written, before hours of training: its folder must exist and take a file.
///
/// # Errors
///
/// [`TrainError::Io`] naming the file.
pub fn check_writable(path: &Path) -> Result<(), TrainError> {
    let io = |source| TrainError::Io { action: "write", path: path.into(), source };
    if path.is_dir() {
        return Err(io(std::io::ErrorKind::IsADirectory.into()));
    }
    let temporary = temporary_name(path);
    File::create(&temporary).map_err(io)?;
    std::fs::remove_file(&temporary).map_err(io)
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors() -> Vec<NamedTensor> {
        vec![
            NamedTensor {
                name: "fc.weight".into(),
                shape: vec![2, 3],
                values: vec![1.0, -2.5, 3.0, 0.0, 5.0, 6.0],
            },
            NamedTensor { name: "fc.bias".into(), shape: vec![2], values: vec![0.25, -1.0] },
        ]
    }

    fn metadata() -> BTreeMap<String, String> {
        (0..8).map(|i| (format!("key{i}"), format!("value \"{i}\""))).collect()
    }

    #[test]
    fn the_library_reads_back_what_was_written() {
        let file = encode(&tensors(), &metadata()).unwrap();
        let read = safetensors::SafeTensors::deserialize(&file).unwrap();
        for expected in tensors() {
            let tensor = read.tensor(&expected.name).unwrap();
            assert_eq!((tensor.dtype(), tensor.shape()), (Dtype::F32, &expected.shape[..]));
            let bytes: Vec<u8> = expected.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            assert_eq!(tensor.data(), bytes);
        }
        let (_, header) = safetensors::SafeTensors::read_metadata(&file).unwrap();
        let read: BTreeMap<String, String> = header.metadata().clone().unwrap().into_iter().collect();
        assert_eq!(read, metadata());
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        let first = encode(&tensors(), &metadata()).unwrap();
        let reversed: Vec<_> = tensors().into_iter().rev().collect();
        assert!((0..8).all(|_| encode(&reversed, &metadata()).unwrap() == first));
    }

    #[test]
    fn what_cannot_be_right_is_refused_by_name() {
        let with = |change: fn(&mut Vec<NamedTensor>)| {
            let mut all = tensors();
            change(&mut all);
            encode(&all, &metadata()).unwrap_err().to_string()
        };
        assert!(with(|all| all[1].values[0] = f32::NAN).contains("fc.bias"));
        assert!(with(|all| all[0].shape = vec![2, 2]).contains("fc.weight"));
        assert!(with(|all| all[1].name = "fc.weight".into()).contains("two tensors"));
    }
}
