//! Reading a sealed file piece by piece.

use super::{
    CHECKSUM, Checksums, FIXED, MAGIC, MAX_SUBJECT, PIECE, Problem, SECTION, SealedError, VERSION,
    file_length,
};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use zeroize::{Zeroize, Zeroizing};

/// Hands out the sections of a sealed file.
pub struct SealedReader<'a> {
    path: &'a Path,
    file: File,
    checksums: Checksums,
    /// Checked content; what was handed out of it is `taken`.
    piece: Zeroizing<Vec<u8>>,
    taken: usize,
    /// Bytes of content that are still in the file.
    unread: u64,
    /// Bytes that are left of the present section.
    left: u64,
    /// A piece could not be read: nothing counts as read to the end.
    broken: Option<SealedError>,
}

/// Reads a file whose subject `fits` accepts; `content` takes all its sections, in order.
///
/// # Errors
/// A file that is missing, damaged, or about something else; what `content` says; sections that it
/// left.
pub fn read<T, E: From<SealedError>>(
    path: &Path,
    fits: impl FnOnce(&[u8]) -> Result<(), String>,
    content: impl FnOnce(&mut SealedReader<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let (file, subject, unread) = open(path)?;
    fits(&subject).map_err(|what| SealedError::new(path, Problem::Subject { what }))?;
    let mut reader = SealedReader {
        path,
        file,
        checksums: Checksums::of(&subject),
        piece: Zeroizing::new(Vec::new()),
        taken: 0,
        unread,
        left: 0,
        broken: None,
    };
    let value = content(&mut reader)?;
    if let Some(error) = reader.broken {
        return Err(error.into());
    }
    match reader.left + reader.unread + reader.ready() as u64 {
        0 => Ok(value),
        left => Err(reader.content("the end", format!("{left} more bytes")).into()),
    }
}

/// What a file is about, according to its header; the rest is not looked at, but for its length.
///
/// # Errors
/// A file that is missing, or whose header or length is wrong.
pub fn subject(path: &Path) -> Result<Vec<u8>, SealedError> {
    open(path).map(|(_, subject, _)| subject)
}

/// Opens a file and checks header and length. Returns the file at its content, the subject, and the
/// content's length.
fn open(path: &Path) -> Result<(File, Vec<u8>, u64), SealedError> {
    let fail = |problem| SealedError::new(path, problem);
    let system = |e: io::Error| SealedError::system(path, &e);
    let mut file = File::open(path).map_err(system)?;
    let found = file.metadata().map_err(system)?.len();
    let mut fixed = [0; FIXED];
    if found < FIXED as u64 {
        return Err(fail(Problem::NotSealed));
    }
    file.read_exact(&mut fixed).map_err(system)?;
    let Some(fields) = fixed.strip_prefix(MAGIC) else { return Err(fail(Problem::NotSealed)) };
    let number = |at: usize, width: usize| {
        fields[at..at + width].iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
    };
    let (version, subject, content) = (number(0, 4) as u32, number(4, 4) as usize, number(8, 8));
    let damaged = || fail(Problem::Damaged { what: "header" });
    // Another version may have another header, and a checksum elsewhere.
    if version != VERSION {
        return Err(fail(Problem::Version { found: version }));
    }
    if subject > MAX_SUBJECT || found < (FIXED + subject + CHECKSUM) as u64 {
        return Err(damaged());
    }
    let mut rest = vec![0; subject + CHECKSUM];
    file.read_exact(&mut rest).map_err(system)?;
    let sum = rest.split_off(subject);
    if super::header(&rest, content)[FIXED + subject..] != sum {
        return Err(damaged());
    }
    match file_length(subject, content) {
        Some(expected) if expected == found => Ok((file, rest, content)),
        expected => Err(fail(Problem::Length { expected: expected.unwrap_or(u64::MAX), found })),
    }
}

impl SealedReader<'_> {
    /// Name and length of the next section; none at the end. Whoever allocates by the length
    /// allocates no more than the file holds.
    ///
    /// # Errors
    /// Bytes left of the section before, a section longer than the file, or damage.
    pub fn next_section(&mut self) -> Result<Option<(u32, u64)>, SealedError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let fail = |reader: &Self, found| Err(reader.content("a section", found));
        if self.left > 0 {
            return fail(self, format!("{} bytes of the section before", self.left));
        }
        let available = self.unread + self.ready() as u64;
        let Some(rest) = available.checked_sub(SECTION as u64) else {
            return if available == 0 { Ok(None) } else { fail(self, format!("{available} bytes")) };
        };
        let mut head = [0; SECTION];
        self.take(&mut head)?;
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
        let (name, length) = (number(&head[..4]) as u32, number(&head[4..]));
        if length > rest {
            return fail(self, format!("one of {length} bytes, longer than the file"));
        }
        self.left = length;
        Ok(Some((name, length)))
    }

    /// The length of the next section, which must have this name.
    ///
    /// # Errors
    /// Those of [`SealedReader::next_section`], another section, or the end.
    pub fn section(&mut self, name: u32) -> Result<u64, SealedError> {
        let wanted = format!("section {name}");
        match self.next_section()? {
            Some((found, length)) if found == name => Ok(length),
            Some((found, _)) => Err(self.content(&wanted, format!("section {found}"))),
            None => Err(self.content(&wanted, "the end".into())),
        }
    }

    /// Fills a buffer with the next bytes of the present section.
    ///
    /// # Errors
    /// Fewer bytes left, or damage.
    pub fn fill(&mut self, into: &mut [u8]) -> Result<(), SealedError> {
        let length = into.len() as u64;
        if length > self.left {
            return Err(self.content(&format!("{length} bytes"), format!("{} bytes", self.left)));
        }
        self.left -= length;
        self.take(into)
    }

    /// A whole section of exactly `N` bytes.
    ///
    /// # Errors
    /// Those of [`SealedReader::section`], or another length.
    pub fn array<const N: usize>(&mut self, name: u32) -> Result<Zeroizing<[u8; N]>, SealedError> {
        let mut bytes = Zeroizing::new([0; N]);
        match self.section(name)? {
            length if length == N as u64 => self.fill(&mut *bytes)?,
            length => {
                return Err(self.content(&format!("{N} bytes in section {name}"), format!("{length} bytes")));
            }
        }
        Ok(bytes)
    }

    /// A whole section of at most `longest` bytes.
    ///
    /// # Errors
    /// Those of [`SealedReader::section`], or a longer one.
    pub fn bytes(&mut self, name: u32, longest: usize) -> Result<Zeroizing<Vec<u8>>, SealedError> {
        let length = self.section(name)?;
        if length > longest as u64 {
            let expected = format!("at most {longest} bytes in section {name}");
            return Err(self.content(&expected, format!("{length} bytes")));
        }
        let mut bytes = Zeroizing::new(vec![0; length as usize]);
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn content(&self, expected: &str, found: String) -> SealedError {
        SealedError::new(self.path, Problem::Content { expected: expected.to_owned(), found })
    }

    fn ready(&self) -> usize {
        self.piece.len() - self.taken
    }

    fn take(&mut self, mut into: &mut [u8]) -> Result<(), SealedError> {
        while !into.is_empty() {
            if self.ready() == 0 {
                self.next_piece()?;
            }
            let count = into.len().min(self.ready());
            let (now, later) = into.split_at_mut(count);
            now.copy_from_slice(&self.piece[self.taken..self.taken + count]);
            self.taken += count;
            into = later;
        }
        Ok(())
    }

    /// Reads and checks the next piece.
    fn next_piece(&mut self) -> Result<(), SealedError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let length = self.unread.min(PIECE as u64) as usize;
        self.unread -= length as u64;
        self.piece.resize(length, 0);
        self.taken = 0;
        let mut sum = [0; CHECKSUM];
        let read = self.file.read_exact(&mut self.piece).and_then(|()| self.file.read_exact(&mut sum));
        let error = match read {
            Ok(()) if self.checksums.next(&self.piece, self.unread == 0) == sum => return Ok(()),
            Ok(()) => SealedError::new(self.path, Problem::Damaged { what: "content" }),
            Err(error) => SealedError::system(self.path, &error),
        };
        self.piece.zeroize();
        self.broken = Some(error.clone());
        Err(error)
    }
}
