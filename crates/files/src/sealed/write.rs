//! Writing a sealed file, as a private file that is never replaced.

use super::{CHECKSUM, Checksums, FIXED, MAX_SUBJECT, PIECE, SECTION, SealedError, header};
use crate::private_file::{self, Existing};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use zeroize::Zeroizing;

/// Takes the sections of a sealed file.
///
/// [`SealedWriter::section`] begins a section, whose bytes are then written with [`Write`]; at most
/// one piece of them is in memory.
pub struct SealedWriter<'a> {
    file: &'a mut File,
    checksums: Checksums,
    piece: Zeroizing<Vec<u8>>,
    /// Bytes that went into the content.
    written: u64,
    /// Bytes that the present section still lacks.
    lacking: u64,
}

/// Writes a file about `subject` with the sections that `content` writes. It survives a power cut
/// once this returns.
///
/// # Errors
/// When the file system refuses, a file is there already, the subject is too long, or `content`
/// fails or leaves a section incomplete; then there is no file.
pub fn write(
    path: &Path,
    subject: &[u8],
    content: impl FnOnce(&mut SealedWriter<'_>) -> io::Result<()>,
) -> Result<(), SealedError> {
    let written = private_file::write_durably(path, Existing::Keep, |file| {
        if subject.len() > MAX_SUBJECT {
            return Err(misuse(format!("a subject of {} bytes, at most {MAX_SUBJECT}", subject.len())));
        }
        // The header is known only at the end.
        file.seek(SeekFrom::Start((FIXED + subject.len() + CHECKSUM) as u64))?;
        let mut writer = SealedWriter {
            file,
            checksums: Checksums::of(subject),
            piece: Zeroizing::new(Vec::with_capacity(PIECE)),
            written: 0,
            lacking: 0,
        };
        content(&mut writer)?;
        let total = writer.finish()?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header(subject, total))
    });
    written.map_err(|e| SealedError::system(path, &e))
}

impl SealedWriter<'_> {
    /// Begins a section of `length` bytes.
    ///
    /// # Errors
    /// When the section before is incomplete, or the file system refuses.
    pub fn section(&mut self, name: u32, length: u64) -> io::Result<()> {
        self.complete()?;
        let mut head = [0; SECTION];
        head[..4].copy_from_slice(&name.to_le_bytes());
        head[4..].copy_from_slice(&length.to_le_bytes());
        self.put(&head)?;
        self.lacking = length;
        Ok(())
    }

    /// Writes a whole section.
    ///
    /// # Errors
    /// Those of [`SealedWriter::section`].
    pub fn put_section(&mut self, name: u32, bytes: &[u8]) -> io::Result<()> {
        self.section(name, bytes.len() as u64)?;
        self.write_all(bytes)
    }

    fn complete(&self) -> io::Result<()> {
        match self.lacking {
            0 => Ok(()),
            lacking => Err(misuse(format!("a section that lacks {lacking} bytes"))),
        }
    }

    fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        while !bytes.is_empty() {
            // A full piece leaves only when more follows: it might be the last.
            if self.piece.len() == PIECE {
                self.leave(false)?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.piece.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    fn leave(&mut self, last: bool) -> io::Result<()> {
        let sum = self.checksums.next(&self.piece, last);
        self.file.write_all(&self.piece)?;
        self.file.write_all(&sum)?;
        self.piece.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<u64> {
        self.complete()?;
        if !self.piece.is_empty() {
            self.leave(true)?;
        }
        Ok(self.written)
    }
}

impl Write for SealedWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len() as u64;
        self.lacking = self
            .lacking
            .checked_sub(length)
            .ok_or_else(|| misuse(format!("{length} bytes for a section that lacks {}", self.lacking)))?;
        self.put(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn misuse(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
