//! Writing a compiled file: beside its place, then renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use amicus_field::I256;
use serde::Serialize;
use zeroize::Zeroizing;

use super::graph::{Description, Numbers, numbers};
use super::{About, FileError, MAGIC, ModelFile, VERSION};
use crate::approximate::Approximation;
use crate::fold::Folded;
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

pub(super) fn save(model: &ModelFile, path: &Path) -> Result<(), FileError> {
    let file = path.display().to_string();
    let format = |reason: String| FileError::Format { file: file.clone(), reason };
    let plan = model.plan.encode().map_err(|e| format(e.to_string()))?;
    let graph = Description::of(&model.original);
    let ModelFile { factors, approximations, quality, about, .. } = model;
    let header = Header { plan, factors, graph, approximations, quality, about };
    let header = postcard::to_stdvec(&header).map_err(|e| format(e.to_string()))?;
    let length = u32::try_from(header.len()).ok().filter(|&l| l as usize <= super::MAX_DESCRIPTION);
    let length = length.ok_or_else(|| format(format!("a description of {} bytes", header.len())))?;

    let draft = draft(path);
    let io = |error| FileError::Io { file: file.clone(), error };
    let written = write(model, &header, length, &draft)
        .map_err(io)
        .and_then(|()| read_back(model, &draft, &file))
        .and_then(|()| fs::rename(&draft, path).map_err(io));
    if let Err(error) = written {
        // Best effort: what is left is a file that nobody will look for.
        let _ = fs::remove_file(&draft);
        return Err(error);
    }
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        // The rename survives a power cut once the folder is written; systems that cannot do this go without.
        let _ = File::open(folder).and_then(|f| f.sync_all());
    }
    Ok(())
}

/// Holds a written draft to what every later command does with it: it is read, folded and planned.
fn read_back(model: &ModelFile, draft: &Path, file: &str) -> Result<(), FileError> {
    let useless = |reason: String| FileError::Useless { file: file.to_owned(), reason };
    let read = super::read::load(draft).map_err(|error| {
        useless(match error {
            FileError::Io { error, .. } => error.to_string(),
            FileError::Format { reason, .. } | FileError::Useless { reason, .. } => reason,
            FileError::Model { error, .. } => error.to_string(),
        })
    })?;
    if read.plan != model.plan {
        return Err(useless("its plan is not the one that was made".to_owned()));
    }
    read.plan.cost(1).map_err(|e| useless(e.to_string()))?;
    Folded::new(&read.polynomial()).map(drop).map_err(|e| useless(e.to_string()))
}

/// Where the file is written first.
fn draft(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.part", std::process::id()))
}

fn write(model: &ModelFile, header: &[u8], length: u32, path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut out = Hashing { inner: BufWriter::new(options.open(path)?), hasher: blake3::Hasher::new() };
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
    let file = out.inner.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()
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
struct Hashing {
    inner: BufWriter<File>,
    hasher: blake3::Hasher,
}

impl Hashing {
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
