//! Weights as a safetensors file, names and shapes as PyTorch has them.
//!
//! Vectors are f32, matrices and kernels as asked, little-endian. Convolution weights are [out, in,
//! height, width], linear weights [out, in]; features are flattened channel, row, column. The same
//! tensors and metadata give the same bytes.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

use amicus_model::private_file::{self, Existing};
use safetensors::tensor::{Dtype, TensorView};

use crate::{TrainError, WeightsType};

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
    /// `polynomial` or `relu`.
    pub const ACTIVATION: &str = "activation";
    /// Channels of the first stage (ResNet-8 only).
    pub const WIDTH: &str = "width";
    /// Pools that are not means.
    pub const POOL: &str = "pool";
    /// Largest |t| / B seen before each activation, as a JSON array (polynomials only).
    pub const RANGES: &str = "activation.ranges";
    /// B in decimal: activations are p(t / B) (polynomials only).
    pub const INTERVAL: &str = "activation.interval";
    /// a_0 .. a_d of p(u) as a JSON array, or an array of such, one an activation (polynomials
    /// only).
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
    /// All settings of the run, as JSON.
    pub const SETTINGS: &str = "settings";
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
    /// The numbers, as many as the product of `shape`.
    pub values: Vec<f32>,
}

/// The file's bytes, matrices and kernels stored as `kind`.
///
/// # Errors
///
/// [`TrainError::Export`] when a value is not finite (also after rounding), a tensor's size does
/// not fit its shape or a name is used twice.
pub fn encode<'t>(
    tensors: impl IntoIterator<Item = &'t NamedTensor>,
    metadata: &BTreeMap<String, String>,
    kind: WeightsType,
) -> Result<Vec<u8>, TrainError> {
    let failed = |problem: String| TrainError::Export(problem);
    let mut bytes: BTreeMap<&str, (Dtype, Vec<usize>, Vec<u8>)> = BTreeMap::new();
    for NamedTensor { name, shape, values } in tensors {
        let kind = if shape.len() > 1 { kind } else { WeightsType::F32 };
        if let Some(bad) = values.iter().find(|&&value| !round(value, kind).is_finite()) {
            return Err(failed(format!("tensor {name} contains {bad}, which {kind} has no number for")));
        }
        let (dtype, data) = match kind {
            WeightsType::F32 => (Dtype::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
            WeightsType::F16 => (Dtype::F16, values.iter().flat_map(|&v| half(v).to_le_bytes()).collect()),
            WeightsType::Bf16 => (Dtype::BF16, values.iter().flat_map(|&v| brain(v).to_le_bytes()).collect()),
        };
        if bytes.insert(name, (dtype, shape.clone(), data)).is_some() {
            return Err(failed(format!("two tensors are named {name}")));
        }
    }
    let views = bytes
        .iter()
        .map(|(&name, (dtype, shape, data))| {
            let view = TensorView::new(*dtype, shape.clone(), data);
            view.map(|view| (name, view)).map_err(|error| failed(format!("tensor {name}: {error}")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let entries: HashMap<String, String> = metadata.clone().into_iter().collect();
    let file = safetensors::serialize(views, Some(entries)).map_err(|error| failed(error.to_string()))?;
    with_sorted_header(&file, metadata).map_err(|error| failed(format!("header: {error}")))
}

/// What is left of a number stored as `kind`.
pub fn round(value: f32, kind: WeightsType) -> f32 {
    match kind {
        WeightsType::F32 => value,
        WeightsType::Bf16 => f32::from_bits(u32::from(brain(value)) << 16),
        WeightsType::F16 => {
            let bits = half(value);
            let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
            let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
            match exponent {
                0 => sign * fraction * 2f32.powi(-24),
                31 => sign * if fraction == 0.0 { f32::INFINITY } else { f32::NAN },
                _ => sign * (1024.0 + fraction) * 2f32.powi(exponent - 25),
            }
        }
    }
}

/// The nearest bfloat16, ties to even.
fn brain(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The nearest IEEE half, ties to even.
fn half(value: f32) -> u16 {
    let sign = (value.to_bits() >> 31 << 15) as u16;
    let size = value.abs();
    if value.is_nan() {
        return sign | 0x7e00;
    }
    if size >= 65_520.0 {
        return sign | 0x7c00; // halfway to the first number it has no place for, and beyond
    }
    if size < 2f32.powi(-14) {
        return sign | (size * 2f32.powi(24)).round_ties_even() as u16; // 1024 is the smallest normal number
    }
    let bits = size.to_bits();
    let rounded = bits + 0xfff + (bits >> 13 & 1);
    sign | ((rounded >> 13) - (112 << 10)) as u16
}

/// A file with its header's entries in alphabetical order: the library takes metadata as a
/// hash map, whose order changes from run to run.
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

/// Writes the file in one step: see [`write_bytes`].
///
/// # Errors
///
/// What [`encode`] and [`write_bytes`] refuse.
pub fn write<'t>(
    path: &Path,
    tensors: impl IntoIterator<Item = &'t NamedTensor>,
    metadata: &BTreeMap<String, String>,
    kind: WeightsType,
) -> Result<(), TrainError> {
    write_bytes(path, &encode(tensors, metadata, kind)?)
}

/// Writes a file of which `path` is never a half, readable for its owner only: weights and
/// checkpoints are secrets.
///
/// # Errors
///
/// [`TrainError::Io`] naming the file; no draft is left then.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let io = |source| TrainError::Io { action: "write", path: path.into(), source };
    private_file::write(path, Existing::Replace, |file| file.write_all(bytes)).map_err(io)
}

/// A file's bytes.
///
/// # Errors
///
/// [`TrainError::Io`] naming the file.
pub fn read(path: &Path) -> Result<Vec<u8>, TrainError> {
    std::fs::read(path).map_err(|source| TrainError::Io { action: "read", path: path.into(), source })
}

/// `path` with an ending added, for the files beside it.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(ending);
    path.with_file_name(name)
}

/// Fails early when `path` cannot be written, before hours of training: its folder must exist and
/// take a file.
///
/// # Errors
///
/// [`TrainError::Io`] naming the file.
pub fn check_writable(path: &Path) -> Result<(), TrainError> {
    let io = |source| TrainError::Io { action: "write", path: path.into(), source };
    if path.is_dir() {
        return Err(io(std::io::ErrorKind::IsADirectory.into()));
    }
    private_file::try_draft(path).map_err(io)
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
        let file = encode(&tensors(), &metadata(), WeightsType::F32).unwrap();
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
        let first = encode(&tensors(), &metadata(), WeightsType::F32).unwrap();
        let reversed: Vec<_> = tensors().into_iter().rev().collect();
        assert!((0..8).all(|_| encode(&reversed, &metadata(), WeightsType::F32).unwrap() == first));
    }

    #[test]
    fn what_cannot_be_right_is_refused_by_name() {
        let with = |change: fn(&mut Vec<NamedTensor>)| {
            let mut all = tensors();
            change(&mut all);
            encode(&all, &metadata(), WeightsType::F32).unwrap_err().to_string()
        };
        assert!(with(|all| all[1].values[0] = f32::NAN).contains("fc.bias"));
        assert!(with(|all| all[0].shape = vec![2, 2]).contains("fc.weight"));
        assert!(with(|all| all[1].name = "fc.weight".into()).contains("two tensors"));
    }

    /// Values of the IEEE and bfloat16 tables: largest, smallest, ties to even, overflow.
    #[test]
    fn halves_are_rounded_to_nearest_even() {
        for (value, bits) in [
            (1.0, 0x3c00),
            (-2.0, 0xc000),
            (65_504.0, 0x7bff),
            (65_519.9, 0x7bff),
            (65_520.0, 0x7c00),
            (6.103_515_6e-5, 0x0400),
            (5.960_464_5e-8, 0x0001),
            (2.980_232_2e-8, 0x0000),
            (1.0 + 1.0 / 2048.0, 0x3c00),
            (1.0 + 3.0 / 2048.0, 0x3c02),
            (0.333_333_34, 0x3555),
        ] {
            assert_eq!(half(value), bits, "{value}");
        }
        for (value, bits) in
            [(1.0f32, 0x3f80), (1.0 + 1.0 / 256.0, 0x3f80), (1.0 + 3.0 / 256.0, 0x3f82), (f32::MAX, 0x7f80)]
        {
            assert_eq!(brain(value), bits, "{value}");
        }
        assert!(round(f32::NAN, WeightsType::F16).is_nan() && round(f32::NAN, WeightsType::Bf16).is_nan());
    }

    /// The reader of crate `amicus-model` knows nothing of the functions above.
    #[test]
    fn the_planners_reader_gets_the_rounded_values() {
        let kept = NamedTensor { name: "m".into(), shape: vec![2, 2], values: vec![0.1, -1e-6, 300.7, 1.0] };
        let vector = NamedTensor { name: "v".into(), shape: vec![1], values: vec![0.1] };
        for &kind in WeightsType::ALL {
            let file = encode([&kept, &vector], &metadata(), kind).unwrap();
            let read = amicus_model::networks::WeightFile::parse(&file).unwrap();
            let expected: Vec<f32> = kept.values.iter().map(|&v| round(v, kind)).collect();
            assert_eq!(read.tensor("m", &[2, 2]).unwrap(), expected);
            assert_eq!(read.tensor("v", &[1]).unwrap(), [0.1]);
        }
        let large = NamedTensor { name: "m".into(), shape: vec![1, 1], values: vec![1e5] };
        let error = encode([&large], &metadata(), WeightsType::F16).unwrap_err().to_string();
        assert!(error.contains("tensor m") && error.contains("f16"), "{error}");
    }
}
