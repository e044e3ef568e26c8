//! Writing a compiled file, as a private file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use amicus_field::I256;
use serde::Serialize;
use zeroize::Zeroizing;

use super::graph::{Description, Numbers, numbers};
use super::read::read_back;
use super::{About, FileError, MAGIC, ModelFile, VERSION};
use crate::approximate::Approximation;
use crate::private_file::{self, Existing};
use crate::quality::Quality;

/// Numbers converted at once.
const CHUNK: usize = 8192;

#[derive(Serialize)]
struct Header<'m> {
    plan: Vec<u8>,
    factors: &'m [f64],
    graph: Description,
    approximations: &'m [Approximation],
    quality: &'m Quality,
    about: &'m About,
}

pub(super) fn save(model: &ModelFile, path: &Path, existing: Existing) -> Result<(), FileError> {
    let file = path.display().to_string();
    let format = |reason: String| FileError::Format { file: file.clone(), reason };
    let plan = model.plan.encode().map_err(|e| format(e.to_string()))?;
    let graph = Description::of(&model.original);
    let ModelFile { factors, approximations, quality, about, .. } = model;
    let header = Header { plan, factors, graph, approximations, quality, about };
    let header = postcard::to_stdvec(&header).map_err(|e| format(e.to_string()))?;
    let length = u32::try_from(header.len()).ok().filter(|&l| l as usize <= super::MAX_DESCRIPTION);
    let length = length.ok_or_else(|| format(format!("a description of {} bytes", header.len())))?;

    let mut useless = None;
    let written = private_file::write(path, existing, |out| {
        write(model, &header, length, out)?;
        read_back(out, model).map_err(|reason| {
            useless = Some(reason);
            io::ErrorKind::InvalidData.into()
        })
    });
    written.map_err(|error| match useless {
        Some(reason) => FileError::Useless { file, reason },
        None => FileError::Io { file, error },
    })
}

fn write(model: &ModelFile, header: &[u8], length: u32, file: &mut File) -> io::Result<()> {
    let mut out = Hashing { inner: BufWriter::new(file), hasher: blake3::Hasher::new() };
    out.write_all(MAGIC)?;
    out.write_all(&VERSION.to_le_bytes())?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(header)?;
    for list in numbers(&model.original) {
        match list {
            Numbers::Singles(values) => out.all(values, |v| v.to_le_bytes())?,
            Numbers::Doubles(values) => out.all(values, |v| v.to_le_bytes())?,
        }
    }
    for layer in model.weights.layers() {
        let weights = layer.weights();
        match weights.iter().map(|w| width(*w)).max().unwrap_or(2) {
            2 => {
                out.write_all(&[2])?;
                out.all(weights, |&w| (w as i16).to_le_bytes())?;
            }
            4 => {
                out.write_all(&[4])?;
                out.all(weights, |&w| (w as i32).to_le_bytes())?;
            }
            _ => {
                out.write_all(&[8])?;
                out.all(weights, |w| w.to_le_bytes())?;
            }
        }
        out.write_all(&[32])?;
        out.all(layer.bias(), |b: &I256| b.to_le_bytes())?;
    }
    let hash = out.hasher.finalize();
    out.inner.write_all(hash.as_bytes())?;
    out.inner.flush()
}

/// Bytes that hold an integer: 2, 4 or 8.
fn width(w: i64) -> u8 {
    match w {
        w if i16::try_from(w).is_ok() => 2,
        w if i32::try_from(w).is_ok() => 4,
        _ => 8,
    }
}

/// A writer that hashes what passes.
struct Hashing<'f> {
    inner: BufWriter<&'f mut File>,
    hasher: blake3::Hasher,
}

impl Hashing<'_> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.inner.write_all(bytes)
    }

    /// A list of numbers, a piece at a time.
    fn all<T, const N: usize>(&mut self, values: &[T], bytes: impl Fn(&T) -> [u8; N]) -> io::Result<()> {
        let mut buffer = Zeroizing::new(Vec::with_capacity(CHUNK * N));
        for chunk in values.chunks(CHUNK) {
            buffer.clear();
            chunk.iter().for_each(|v| buffer.extend_from_slice(&bytes(v)));
            self.write_all(&buffer)?;
        }
        Ok(())
    }
}
