//! Constants of an ONNX file: initializers, inline or in files beside it, and what is computed from
//! them.

use super::external::Externals;
use super::proto::TensorProto;
use crate::networks::half_precision;

/// Most elements of an integer constant (shapes, axes, pads).
const MAX_INTS: usize = 1 << 16;

/// Numbers with a shape.
#[derive(Clone, PartialEq)]
pub(super) struct Constant {
    pub(super) dims: Vec<usize>,
    pub(super) data: Data,
}

/// The numbers of a constant in row-major order.
#[derive(Clone, PartialEq)]
pub(super) enum Data {
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    /// One number everywhere: costs nothing until it becomes weights.
    Filled(f32),
}

impl std::fmt::Debug for Constant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Constant({:?})", self.dims)
    }
}

/// Number of elements of a shape.
pub(super) fn elements(dims: &[usize]) -> Result<usize, String> {
    dims.iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d))
        .filter(|&n| n <= isize::MAX as usize / 64)
        .ok_or_else(|| format!("shape {dims:?} has more elements than fit memory"))
}

/// A shape as sizes.
pub(super) fn sizes(dims: &[i64]) -> Result<Vec<usize>, String> {
    let size = |&d: &i64| usize::try_from(d).map_err(|_| format!("shape {dims:?} has a negative size"));
    dims.iter().map(size).collect()
}

impl Constant {
    pub(super) fn ints(values: Vec<i64>) -> Self {
        Constant { dims: vec![values.len()], data: Data::Ints(values) }
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// The only number, if there is just one or all are the same.
    pub(super) fn scalar(&self) -> Option<f64> {
        match &self.data {
            Data::Filled(v) => Some(f64::from(*v)),
            Data::Floats(v) => match v.as_slice() {
                [first, rest @ ..] if rest.iter().all(|x| x == first) => Some(f64::from(*first)),
                _ => None,
            },
            Data::Ints(v) => match v.as_slice() {
                [one] => Some(*one as f64),
                _ => None,
            },
        }
    }

    /// Integers, as shapes, axes and pads are.
    pub(super) fn as_ints(&self) -> Result<Vec<i64>, String> {
        match &self.data {
            Data::Ints(v) => Ok(v.clone()),
            Data::Filled(v) if self.len() <= MAX_INTS => Ok(vec![*v as i64; self.len()]),
            _ => Err("real numbers where integers belong".to_owned()),
        }
    }

    /// Real numbers.
    pub(super) fn to_floats(&self) -> Vec<f32> {
        match &self.data {
            Data::Floats(v) => v.clone(),
            Data::Ints(v) => v.iter().map(|&i| i as f32).collect(),
            Data::Filled(v) => vec![*v; self.len()],
        }
    }

    /// Reads a tensor of the file.
    pub(super) fn read(tensor: &TensorProto<'_>, externals: &mut Externals<'_>) -> Result<Self, String> {
        let dims = sizes(&tensor.dims)?;
        let len = elements(&dims)?;
        let kind = kind(tensor.data_type)?;
        let bytes = len.checked_mul(kind.bytes).ok_or("more elements than fit memory")?;
        let stored = usize::from(tensor.external || tensor.raw.is_some_and(|raw| !raw.is_empty()))
            + [tensor.floats.len(), tensor.ints.len(), tensor.doubles.len()]
                .iter()
                .filter(|&&n| n > 0)
                .count();
        if stored > 1 {
            return Err("its numbers are stored twice, in different forms".to_owned());
        }
        let raw;
        let data = if tensor.external {
            raw = externals.read(tensor, bytes)?;
            Some(raw.as_slice())
        } else {
            tensor.raw
        };
        let data = match data {
            Some(raw) if raw.len() == bytes => (kind.decode)(raw),
            Some(raw) => {
                return Err(format!("{} bytes of data, shape {dims:?} needs {bytes}", raw.len()));
            }
            None => listed(tensor, len)?,
        };
        if let Data::Ints(v) = &data
            && v.len() > MAX_INTS
        {
            return Err(format!("an integer tensor of {} elements, at most {MAX_INTS}", v.len()));
        }
        Ok(Constant { dims, data })
    }
}

/// Numbers stored in a list field and not as raw bytes.
fn listed(tensor: &TensorProto<'_>, len: usize) -> Result<Data, String> {
    let halves = |f: fn(u16) -> f32| tensor.ints.iter().map(|&i| f(i as u16)).collect();
    let data = match tensor.data_type {
        1 => Data::Floats(tensor.floats.clone()),
        11 => Data::Floats(tensor.doubles.iter().map(|&d| d as f32).collect()),
        10 => Data::Floats(halves(half_precision)),
        16 => Data::Floats(halves(bfloat)),
        _ => Data::Ints(tensor.ints.clone()),
    };
    let got = match &data {
        Data::Floats(v) => v.len(),
        Data::Ints(v) => v.len(),
        Data::Filled(_) => len,
    };
    if got == len { Ok(data) } else { Err(format!("{got} numbers, shape {:?} needs {len}", tensor.dims)) }
}

/// How one element type is stored.
struct Kind {
    bytes: usize,
    decode: fn(&[u8]) -> Data,
}

fn kind(data_type: i64) -> Result<Kind, String> {
    fn floats<const N: usize>(raw: &[u8], f: fn([u8; N]) -> f32) -> Data {
        Data::Floats(raw.as_chunks::<N>().0.iter().map(|&b| f(b)).collect())
    }
    fn ints<const N: usize>(raw: &[u8], f: fn([u8; N]) -> i64) -> Data {
        Data::Ints(raw.as_chunks::<N>().0.iter().map(|&b| f(b)).collect())
    }
    let (bytes, decode): (usize, fn(&[u8]) -> Data) = match data_type {
        1 => (4, |raw| floats(raw, f32::from_le_bytes)),
        11 => (8, |raw| floats(raw, |b| f64::from_le_bytes(b) as f32)),
        10 => (2, |raw| floats(raw, |b| half_precision(u16::from_le_bytes(b)))),
        16 => (2, |raw| floats(raw, |b| bfloat(u16::from_le_bytes(b)))),
        7 => (8, |raw| ints(raw, i64::from_le_bytes)),
        6 => (4, |raw| ints(raw, |b| i64::from(i32::from_le_bytes(b)))),
        3 => (1, |raw| ints(raw, |b: [u8; 1]| i64::from(b[0] as i8))),
        2 | 9 => (1, |raw| ints(raw, |b: [u8; 1]| i64::from(b[0]))),
        other => return Err(format!("element type {other}; export the model with float32 weights")),
    };
    Ok(Kind { bytes, decode })
}

fn bfloat(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}
