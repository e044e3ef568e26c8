//! Sealed files: a container for large secrets, written once and refused when anything of it
//! changed.
//!
//! A file holds a *subject*, some bytes that say what it is about, and sections that are written
//! and read in order, a piece at a time. All numbers are little endian:
//!
//! ```text
//! header   "amc.seal" (8) | version (4) | bytes of the subject (4) | bytes of the content (8)
//!          subject | BLAKE3 of everything before (32)
//! content  pieces of 2^18 bytes, the last one shorter, each followed by its keyed BLAKE3 (32)
//! section  name (4) | length (8) | bytes                         inside the content
//! ```
//!
//! A piece's checksum covers the subject, the piece's number, whether it is the last, and its
//! bytes; the file must have exactly the length that its header says. So a flipped bit, a lost or
//! added tail and exchanged pieces are noticed before a byte of the piece is handed out, and no
//! length is believed before it was held against the file's size. The checksums are no
//! authentication: whoever can write the file can make a right one.

mod read;
mod write;

pub use read::{SealedReader, read, subject};
pub use write::{SealedWriter, write};

use std::fmt;
use std::io;
use std::path::Path;

const MAGIC: &[u8; 8] = b"amc.seal";
const VERSION: u32 = 1;
/// Content under one checksum.
const PIECE: usize = 1 << 18;
const CHECKSUM: usize = 32;
/// Header before the subject.
const FIXED: usize = 24;
/// Longest subject.
const MAX_SUBJECT: usize = 1 << 10;
/// Name and length before a section.
const SECTION: usize = 12;

/// Why a sealed file cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct SealedError {
    /// The file.
    pub path: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a sealed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The system refused.
    System {
        /// Which kind of error.
        kind: io::ErrorKind,
        /// What it said.
        message: String,
    },
    /// The file is none of this kind.
    NotSealed,
    /// The file was written by another version of this program.
    Version {
        /// The version it names.
        found: u32,
    },
    /// The file has not the length that its header says.
    Length {
        /// Bytes that the header says.
        expected: u64,
        /// Bytes in the file.
        found: u64,
    },
    /// Something of the file changed since it was written.
    Damaged {
        /// Which part.
        what: &'static str,
    },
    /// The file holds other sections than its reader looks for.
    Content {
        /// What was looked for.
        expected: String,
        /// What was found.
        found: String,
    },
    /// The file is about something else than its reader looks for.
    Subject {
        /// What differs.
        what: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::System { message, .. } => write!(f, "{message}"),
            Problem::NotSealed => write!(f, "is no sealed file"),
            Problem::Version { found } => {
                write!(f, "has format {found}, this program reads format {VERSION}")
            }
            Problem::Length { expected, found } => {
                write!(f, "has {found} bytes instead of {expected}: it is cut off or something was added")
            }
            Problem::Damaged { what } => write!(f, "is damaged in its {what}"),
            Problem::Content { expected, found } => write!(f, "holds {found}, expected {expected}"),
            Problem::Subject { what } => write!(f, "{what}"),
        }
    }
}

impl SealedError {
    /// An error about a file.
    pub fn new(path: &Path, problem: Problem) -> Self {
        SealedError { path: path.display().to_string(), problem }
    }

    fn system(path: &Path, error: &io::Error) -> Self {
        SealedError::new(path, Problem::System { kind: error.kind(), message: error.to_string() })
    }
}

/// Checksums of the pieces of one file.
struct Checksums {
    key: [u8; 32],
    next: u64,
}

impl Checksums {
    fn of(subject: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("amicus 2026-11 sealed file");
        hasher.update(&VERSION.to_le_bytes()).update(subject);
        Checksums { key: *hasher.finalize().as_bytes(), next: 0 }
    }

    /// The checksum of the next piece.
    fn next(&mut self, piece: &[u8], last: bool) -> [u8; CHECKSUM] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&self.next.to_le_bytes()).update(&[u8::from(last)]).update(piece);
        self.next += 1;
        *hasher.finalize().as_bytes()
    }
}

/// The header of a file about `subject` with so many bytes of content.
fn header(subject: &[u8], content: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(subject.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&content.to_le_bytes());
    bytes.extend_from_slice(subject);
    let sum = *blake3::hash(&bytes).as_bytes();
    bytes.extend_from_slice(&sum);
    bytes
}

/// Length of a file; none when there is no file that long.
fn file_length(subject: usize, content: u64) -> Option<u64> {
    let pieces = content.div_ceil(PIECE as u64);
    let sums = pieces.checked_mul(CHECKSUM as u64)?;
    content.checked_add(sums)?.checked_add((FIXED + subject + CHECKSUM) as u64)
}

#[cfg(test)]
mod tests;
