//! Reading a compiled file: a piece at a time, every length compared with what the file still has.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use amicus_field::I256;
use amicus_plan::Plan;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::graph::{Description, Tensors};
use super::{About, FileError, HASH, MAGIC, MAX_DESCRIPTION, ModelFile, VERSION};
use crate::approximate::Approximation;
use crate::error::ModelError;
use crate::quality::Quality;
use crate::quantize::{QuantizedLayer, QuantizedWeights};

/// Numbers converted at once.
const CHUNK: usize = 8192;

#[derive(Deserialize)]
struct Header {
    plan: Vec<u8>,
    factors: Vec<f64>,
    graph: Description,
    approximations: Vec<Approximation>,
    quality: Quality,
    about: About,
}

/// What goes wrong on the way; the file's name is added at the end.
enum Failure {
    Io(io::Error),
    Format(String),
    Model(ModelError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Io(error)
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        Failure::Model(error)
    }
}

pub(super) fn load(path: &Path) -> Result<ModelFile, FileError> {
    let file = path.display().to_string();
    File::open(path).map_err(Failure::Io).and_then(read).map_err(|failure| match failure {
        Failure::Io(error) => FileError::Io { file, error },
        Failure::Format(reason) => FileError::Format { file, reason },
        Failure::Model(error) => FileError::Model { file, error },
    })
}

/// Holds what was just written to what every later command does with it: it is read, folded and
/// planned. The error is the reason why one could not.
pub(super) fn read_back(written: &File, model: &ModelFile) -> Result<(), String> {
    let again = || {
        let mut file = written.try_clone()?;
        file.rewind()?;
        read(file)
    };
    let back = again().map_err(|failure| match failure {
        Failure::Io(error) => error.to_string(),
        Failure::Format(reason) => reason,
        Failure::Model(error) => error.to_string(),
    })?;
    if back.plan == model.plan && back.weights == model.weights {
        Ok(())
    } else {
        Err("its plan and weights are not those that were made".to_owned())
    }
}

fn read(file: File) -> Result<ModelFile, Failure> {
    let size = file.metadata()?.len();
    let mut source = Source {
        inner: BufReader::new(file),
        hasher: blake3::Hasher::new(),
        left: size.saturating_sub(HASH as u64),
        size,
    };
    let magic: [u8; 8] = source.array().map_err(|_| no_model(size))?;
    if magic != *MAGIC {
        return Err(no_model(size));
    }
    let version = u16::from_le_bytes(source.array()?);
    if version != VERSION {
        return Err(Failure::Format(format!(
            "format version {version}, this program reads version {VERSION}; compile the model again"
        )));
    }
    let length = u32::from_le_bytes(source.array()?) as usize;
    if length > MAX_DESCRIPTION {
        return Err(Failure::Format(format!("a description of {length} bytes, at most {MAX_DESCRIPTION}")));
    }
    let header = source.bytes(length)?;
    let damaged = |e: postcard::Error| Failure::Format(format!("its description is damaged: {e}"));
    let (header, rest) = postcard::take_from_bytes::<Header>(&header).map_err(damaged)?;
    if !rest.is_empty() {
        return Err(Failure::Format("its description is damaged: bytes after its end".to_owned()));
    }
    let plan = Plan::decode(&header.plan).map_err(ModelError::from)?;
    let original = header.graph.build(&mut source)?;
    let mut layers = Vec::with_capacity(plan.weights.len());
    for spec in &plan.weights {
        let weights = source.integers(spec.shape.weights())?;
        let biases = if spec.bias { spec.shape.biases() } else { 0 };
        layers.push(QuantizedLayer::new(weights, source.wide_integers(biases)?));
    }
    let weights = QuantizedWeights::new(&plan, layers)?;
    source.finish()?;
    let Header { factors, approximations, quality, about, .. } = header;
    if factors.len() != plan.ops.len() + 1 || !factors.iter().all(|f| f.is_finite() && *f > 0.0) {
        return Err(Failure::Format("its factors are not those of its plan".to_owned()));
    }
    if approximations.iter().any(|a| a.pieces.as_ref().is_some_and(|pieces| !pieces.is_valid())) {
        return Err(Failure::Format("its splines are no functions".to_owned()));
    }
    let model = ModelFile { plan, weights, factors, original, approximations, quality, about };
    model.check()?;
    Ok(model)
}

fn no_model(size: u64) -> Failure {
    Failure::Format(format!("no compiled model ({size} bytes); make one with `amicus compile`"))
}

/// The file so far unread.
struct Source {
    inner: BufReader<File>,
    hasher: blake3::Hasher,
    left: u64,
    size: u64,
}

impl Source {
    fn exact(&mut self, buffer: &mut [u8]) -> Result<(), Failure> {
        self.inner.read_exact(buffer)?;
        self.hasher.update(buffer);
        Ok(())
    }

    /// Takes `bytes` from what is left.
    fn claim(&mut self, bytes: Option<usize>) -> Result<(), Failure> {
        let left = bytes.and_then(|b| self.left.checked_sub(b as u64));
        self.left = left.ok_or_else(|| Failure::Format(format!("it is cut off at {} bytes", self.size)))?;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        self.claim(Some(N))?;
        let mut bytes = [0; N];
        self.exact(&mut bytes)?;
        Ok(bytes)
    }

    fn bytes(&mut self, length: usize) -> Result<Vec<u8>, Failure> {
        self.claim(Some(length))?;
        let mut bytes = vec![0; length];
        self.exact(&mut bytes)?;
        Ok(bytes)
    }

    /// `count` numbers of `N` bytes.
    fn all<T, const N: usize>(
        &mut self,
        count: usize,
        number: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, Failure> {
        self.claim(count.checked_mul(N))?;
        let mut values = Vec::with_capacity(count);
        let mut buffer = Zeroizing::new(vec![0; CHUNK.min(count) * N]);
        while values.len() < count {
            let piece = &mut buffer[..CHUNK.min(count - values.len()) * N];
            self.exact(piece)?;
            values.extend(piece.as_chunks::<N>().0.iter().map(|&b| number(b)));
        }
        Ok(values)
    }

    fn integers(&mut self, count: usize) -> Result<Vec<i64>, Failure> {
        match self.array()? {
            [2] => self.all(count, |b| i64::from(i16::from_le_bytes(b))),
            [4] => self.all(count, |b| i64::from(i32::from_le_bytes(b))),
            [8] => self.all(count, i64::from_le_bytes),
            [other] => Err(Failure::Format(format!("integers of {other} bytes"))),
        }
    }

    fn wide_integers(&mut self, count: usize) -> Result<Vec<I256>, Failure> {
        match self.array()? {
            [32] => self.all(count, I256::from_le_bytes),
            [other] => Err(Failure::Format(format!("biases of {other} bytes"))),
        }
    }

    fn finish(mut self) -> Result<(), Failure> {
        if self.left > 0 {
            return Err(Failure::Format(format!("{} bytes after its end", self.left)));
        }
        let mut hash = [0; HASH];
        self.inner.read_exact(&mut hash)?;
        if self.hasher.finalize() == blake3::Hash::from_bytes(hash) {
            Ok(())
        } else {
            Err(Failure::Format("its checksum does not match: it is damaged".to_owned()))
        }
    }
}

impl Tensors for Source {
    type Error = Failure;

    fn singles(&mut self, count: usize) -> Result<Vec<f32>, Failure> {
        self.all(count, f32::from_le_bytes)
    }

    fn doubles(&mut self, count: usize) -> Result<Vec<f64>, Failure> {
        self.all(count, f64::from_le_bytes)
    }
}
