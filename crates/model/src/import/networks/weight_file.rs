//! A safetensors file whose tensors and metadata are asked for by name.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors};

use crate::error::ModelError;

/// Weights and metadata of one file.
pub struct WeightFile<'b> {
    tensors: SafeTensors<'b>,
    metadata: HashMap<String, String>,
}

impl std::fmt::Debug for WeightFile<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WeightFile({} tensors)", self.tensors.len())
    }
}

impl<'b> WeightFile<'b> {
    /// Reads a file's header.
    ///
    /// # Errors
    /// When the bytes are no safetensors file, or one that was cut off.
    pub fn parse(bytes: &'b [u8]) -> Result<Self, ModelError> {
        let invalid = |e: safetensors::SafeTensorError| {
            let size = bytes.len();
            ModelError::weights("file", format!("not a complete safetensors file ({size} bytes): {e}"))
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(invalid)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(invalid)?;
        Ok(WeightFile { tensors, metadata: header.metadata().clone().unwrap_or_default() })
    }

    /// A metadata entry, if there is one.
    pub fn find_metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// A metadata entry.
    ///
    /// # Errors
    /// When it is missing.
    pub fn metadata(&self, key: &str) -> Result<&str, ModelError> {
        self.find_metadata(key).ok_or_else(|| ModelError::weights(&format!("metadata `{key}`"), "missing"))
    }

    /// A metadata entry that is a number.
    ///
    /// # Errors
    /// When it is missing or not a finite number.
    pub fn number(&self, key: &str) -> Result<f64, ModelError> {
        let text = self.metadata(key)?;
        text.trim().parse().ok().filter(|x: &f64| x.is_finite()).ok_or_else(|| not(key, text, "a number"))
    }

    /// A metadata entry that is a JSON array of numbers, if there is one.
    ///
    /// # Errors
    /// When it is something else.
    pub fn find_numbers(&self, key: &str) -> Result<Option<Vec<f64>>, ModelError> {
        let Some(text) = self.find_metadata(key) else { return Ok(None) };
        serde_json::from_str(text).map(Some).map_err(|_| not(key, text, "a JSON array of numbers"))
    }

    /// A metadata entry that is a JSON array of numbers, or an array of such arrays: one list or
    /// more.
    ///
    /// # Errors
    /// When it is missing or something else.
    pub fn number_lists(&self, key: &str) -> Result<Vec<Vec<f64>>, ModelError> {
        let text = self.metadata(key)?;
        let one = serde_json::from_str(text).map(|list| vec![list]);
        let lists: Result<Vec<Vec<f64>>, _> = one.or_else(|_| serde_json::from_str(text));
        lists.map_err(|_| not(key, text, "a JSON array of numbers, or an array of such"))
    }

    /// The error of an entry that is not what was expected.
    pub(super) fn wrong(&self, key: &str, expected: &str) -> ModelError {
        not(key, self.find_metadata(key).unwrap_or_default(), expected)
    }

    /// Sizes of a tensor, outermost first.
    ///
    /// # Errors
    /// When there is no such tensor.
    pub fn shape(&self, name: &str) -> Result<Vec<usize>, ModelError> {
        let missing = |_| ModelError::weights(&format!("tensor `{name}`"), "missing");
        Ok(self.tensors.tensor(name).map_err(missing)?.shape().to_vec())
    }

    /// A tensor of `f32`, `f16` or `bf16` numbers, as `f32`.
    ///
    /// # Errors
    /// When it is missing, of another shape or type, or holds a number that is not finite.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let what = format!("tensor `{name}`");
        let view = self.tensors.tensor(name).map_err(|_| ModelError::weights(&what, "missing"))?;
        if view.shape() != shape {
            return Err(ModelError::weights(&what, format!("shape {:?}, expected {shape:?}", view.shape())));
        }
        let half = |f: fn(u16) -> f32| {
            view.data().as_chunks::<2>().0.iter().map(|&b| f(u16::from_le_bytes(b))).collect()
        };
        let values: Vec<f32> = match view.dtype() {
            Dtype::F32 => view.data().as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            Dtype::F16 => half(half_precision),
            Dtype::BF16 => half(|bits| f32::from_bits(u32::from(bits) << 16)),
            other => {
                return Err(ModelError::weights(&what, format!("type {other:?}, expected F32, F16 or BF16")));
            }
        };
        match values.iter().position(|v| !v.is_finite()) {
            Some(i) => Err(ModelError::weights(&what, format!("element {i} is {}", values[i]))),
            None => Ok(values),
        }
    }
}

fn not(key: &str, text: &str, expected: &str) -> ModelError {
    let shown: String = text.chars().take(60).collect();
    ModelError::weights(&format!("metadata `{key}`"), format!("`{shown}` is not {expected}"))
}

/// An IEEE 754 half-precision number, from its bits.
pub fn half_precision(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    match exponent {
        0 => sign * fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        _ => sign * (1024.0 + fraction) * 2f32.powi(exponent - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves() {
        for (bits, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x0001, 5.960_464_5e-8),
            (0x7bff, 65504.0),
        ] {
            assert_eq!(half_precision(bits), value, "{bits:x}");
        }
        assert!(half_precision(0x7c00).is_infinite() && half_precision(0x7e00).is_nan());
    }
}
