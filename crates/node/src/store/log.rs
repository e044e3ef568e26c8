//! A log in which every record stands twice: records survive the end of the process from the
//! moment that [`Log::write`] returns, and power cuts from [`Log::synchronise`] on; one damaged
//! spot on the disk costs none of them.
//!
//! The file consists of two halves with equal content, written with its full length and
//! synchronised before it gets its name. A half is a header and records, each at a multiple of 64
//! bytes; the rest is zero. All numbers are little endian, all checksums BLAKE3:
//!
//! ```text
//! header   "amc.log1" (8) | version (4) | zero (4) | bytes of a half (8) | cluster (32) | node (16)
//!          checksum (32) | zero (24)
//! record   number (8) | length (4) | zero (4) | checksum of the body (32) | checksum of the head (16)
//!          body | zeros
//! ```
//!
//! Records are numbered from 1; their checksums are keyed with the header's. Because a record is
//! appended only after the one before was synchronised, only the last can be torn: if neither copy
//! of a record is whole and no head of a later record is to be found, nobody waited for it to be on
//! disk, and the log ends before it. With a later head, somebody did, and the log is refused.

use super::folder::{Folder, error, fault};
use crate::NodeError;
use amicus_files::private_file::{self, Existing};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"amc.log1";
const VERSION: u32 = 2;
/// Bytes of a half's header, of a record's head, and what records are aligned to.
const HEADER: usize = 128;
const HEAD: usize = 64;
const CHECKED: usize = 48;
const NODE: usize = 16;
/// Bytes of a header under its checksum.
const SUMMED: usize = 72;
/// Bytes of the smallest half: enough for some hundred decisions before the log is written anew.
const MIN_HALF: u64 = 1 << 18;
/// Bytes of the largest half.
const MAX_HALF: u64 = 1 << 30;
/// Longest body of a record.
pub(super) const MAX_RECORD: usize = 1 << 24;
/// Bytes looked through at once for heads of later records.
const BLOCK: usize = 1 << 16;

/// A log that is written to.
pub(super) struct Log {
    path: PathBuf,
    file: File,
    key: [u8; 32],
    half: u64,
    /// Where the next record goes, and its number.
    at: u64,
    next: u64,
    /// The last record was written and not synchronised yet.
    ahead: bool,
    /// A write failed: what the file holds is uncertain, so nothing may be done that needs a
    /// record.
    broken: bool,
    /// Numbers of the records up to which it was synchronised, each time.
    #[cfg(test)]
    pub(super) synchronised: Vec<u64>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("path", &self.path)
            .field("records", &(self.next - 1))
            .finish_non_exhaustive()
    }
}

/// What was found in a log besides records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Records, headers included, of which one copy was damaged.
    pub(super) repaired: u32,
}

/// Bytes that a record takes in each half.
pub(super) fn framed(body: usize) -> u64 {
    (HEAD + body).next_multiple_of(HEAD) as u64
}

impl Log {
    /// Reads a log's records, in order.
    ///
    /// # Errors
    /// A file that is no log of this node, or in which both copies of a record are damaged.
    pub(super) fn read(
        path: &Path,
        folder: &Folder,
        mut take: impl FnMut(&[u8]) -> Result<(), NodeError>,
    ) -> Result<Findings, NodeError> {
        let file = File::open(path).map_err(|e| error(path, &e))?;
        let length = file.metadata().map_err(|e| error(path, &e))?.len();
        let half = length / 2;
        let mut findings = Findings::default();
        let copies = [0, half].map(|at| bytes_at(&file, at, HEADER));
        let right = header(folder, half);
        match copies.iter().filter(|copy| copy.as_deref() == Some(&right)).count() {
            2 if 2 * half == length => {}
            1 if length == 2 * half => findings.repaired += 1,
            _ => return Err(fault(path, &refusal(folder, length, copies.iter().flatten()))),
        }
        let reader = Reader { file: &file, key: key_of(&right), half };
        let (mut at, mut number) = (HEADER as u64, 1);
        loop {
            let bodies = [0, half].map(|copy| reader.body(copy, at, number));
            let whole = bodies.iter().flatten().count();
            let Some(body) = bodies.into_iter().flatten().next() else { break };
            findings.repaired += u32::from(whole == 1);
            take(&body)?;
            at += framed(body.len());
            number += 1;
        }
        if [0, half].into_iter().any(|copy| reader.finds_later(copy, at, number)) {
            let advice = format!(
                "record {number} is damaged in both its copies; ids might be used twice. Move the whole \
                 folder away and start with a new one: models must be loaded again, and answers that \
                 were not delivered are lost"
            );
            return Err(fault(path, &advice));
        }
        Ok(findings)
    }

    /// Writes a log with these records in the place of one that may be there, in one step.
    ///
    /// # Errors
    /// When the disk takes no more, or there are too many records.
    pub(super) fn create<'a>(
        path: &Path,
        folder: &Folder,
        records: impl Iterator<Item = Zeroizing<Vec<u8>>> + Clone + 'a,
        room: u64,
    ) -> Result<Self, NodeError> {
        let used = HEADER as u64 + records.clone().map(|body| framed(body.len())).sum::<u64>();
        // Twice what is needed, so that it is not written anew all the time.
        let half = ((used + room) * 2).next_power_of_two().max(MIN_HALF);
        if half > MAX_HALF {
            return Err(fault(path, "would become too long; answers that nobody collects fill it"));
        }
        let head = header(folder, half);
        let key = key_of(&head);
        let mut next = 1;
        let written = private_file::write_durably(path, Existing::Replace, |file| {
            for _ in 0..2 {
                file.write_all(&head)?;
                next = 1;
                for body in records.clone() {
                    file.write_all(&frame(&key, next, &body))?;
                    next += 1;
                }
                zeros(file, half - used)?;
            }
            Ok(())
        });
        written.map_err(|e| error(path, &e))?;
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(|e| error(path, &e))?;
        Ok(Log {
            path: path.to_owned(),
            file,
            key,
            half,
            at: used,
            next,
            ahead: false,
            broken: false,
            #[cfg(test)]
            synchronised: Vec::new(),
        })
    }

    /// Whether a record has room without writing the log anew.
    pub(super) fn has_room(&self, body: usize) -> bool {
        self.at + framed(body) <= self.half
    }

    /// Appends a record, once the one before it is synchronised. It survives the end of this
    /// process once this returns.
    ///
    /// # Errors
    /// A record that is too long or has no room; then nothing was written. When the disk fails;
    /// then every later record is refused, because nothing may follow one that may be torn.
    pub(super) fn write(&mut self, body: &[u8]) -> Result<(), NodeError> {
        self.synchronise()?;
        if body.len() > MAX_RECORD || !self.has_room(body.len()) {
            let text = format!("takes no record of {} bytes, at most {MAX_RECORD}", body.len());
            return Err(fault(&self.path, &text));
        }
        let bytes = frame(&self.key, self.next, body);
        let mut copies = [self.at, self.half + self.at].into_iter();
        self.done(copies.try_for_each(|at| self.file.write_all_at(&bytes, at)))?;
        self.at += bytes.len() as u64;
        self.next += 1;
        self.ahead = true;
        Ok(())
    }

    /// Has every record survive power cuts once this returns.
    ///
    /// # Errors
    /// When the disk fails, or failed before; then every later record is refused.
    pub(super) fn synchronise(&mut self) -> Result<(), NodeError> {
        self.writable()?;
        if self.ahead {
            self.done(self.file.sync_data())?;
            self.ahead = false;
            #[cfg(test)]
            self.synchronised.push(self.next - 1);
        }
        Ok(())
    }

    /// What the disk has done; nothing may follow that failed.
    fn done(&mut self, written: io::Result<()>) -> Result<(), NodeError> {
        self.broken |= written.is_err();
        written.map_err(|e| error(&self.path, &e))
    }

    /// Whether records may still be written.
    ///
    /// # Errors
    /// An earlier write failed.
    pub(super) fn writable(&self) -> Result<(), NodeError> {
        match self.broken {
            true => Err(fault(&self.path, "an earlier write failed; see to the disk and restart the node")),
            false => Ok(()),
        }
    }

    /// Nothing may be recorded any more.
    pub(super) fn give_up(&mut self) {
        self.broken = true;
    }

    /// A log whose disk takes nothing any more.
    #[cfg(test)]
    pub(super) fn fail_writes(&mut self) {
        self.file = File::open(&self.path).expect("the log");
    }

    /// A log whose disk takes what is written, and loses it.
    #[cfg(test)]
    pub(super) fn fail_synchronising(&mut self) {
        self.file = OpenOptions::new().write(true).open("/dev/null").expect("a device");
    }

    /// The disk works again.
    #[cfg(test)]
    pub(super) fn mend_writes(&mut self) {
        self.file = OpenOptions::new().read(true).write(true).open(&self.path).expect("the log");
    }
}

struct Reader<'a> {
    file: &'a File,
    key: [u8; 32],
    half: u64,
}

impl Reader<'_> {
    /// The body of a record, if this copy of it is whole.
    fn body(&self, copy: u64, at: u64, number: u64) -> Option<Zeroizing<Vec<u8>>> {
        if at + HEAD as u64 > self.half {
            return None;
        }
        let head = bytes_at(self.file, copy + at, HEAD)?;
        let (found, length) = self.head(&head)?;
        // What was checked was written here: it is no longer than the file.
        if found != number || at + framed(length) > self.half {
            return None;
        }
        let body = bytes_at(self.file, copy + at + HEAD as u64, length)?;
        (sum(&self.key, b"body", &body)[..] == head[16..CHECKED]).then_some(body)
    }

    /// Number and length of the record that a head belongs to.
    fn head(&self, head: &[u8]) -> Option<(u64, usize)> {
        let (checked, sum_of_head) = head.split_at_checked(CHECKED)?;
        let (number, rest) = checked.split_first_chunk::<8>()?;
        let (length, zero) = rest.split_first_chunk::<4>()?;
        let right = sum(&self.key, b"head", checked)[..HEAD - CHECKED] == *sum_of_head;
        let (number, length) = (u64::from_le_bytes(*number), u32::from_le_bytes(*length) as usize);
        (right && zero.starts_with(&[0; 4]) && length <= MAX_RECORD).then_some((number, length))
    }

    /// Whether a record after this one was ever begun.
    fn finds_later(&self, copy: u64, from: u64, number: u64) -> bool {
        let mut at = from;
        while at < self.half {
            let length = (self.half - at).min(BLOCK as u64) as usize;
            // What cannot be read says nothing; the other copy may.
            let block = bytes_at(self.file, copy + at, length).unwrap_or_default();
            let mut heads = block.chunks_exact(HEAD).filter(|head| head.iter().any(|&b| b != 0));
            if heads.any(|head| self.head(head).is_some_and(|(found, _)| found > number)) {
                return true;
            }
            at += length as u64;
        }
        false
    }
}

/// A header, which says whose log it is.
fn header(folder: &Folder, half: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&half.to_le_bytes());
    bytes.extend_from_slice(&folder.cluster.0);
    let mut name = folder.node.to_string().into_bytes();
    name.resize(NODE, 0);
    bytes.extend_from_slice(&name);
    let sum = *blake3::hash(&bytes).as_bytes();
    bytes.extend_from_slice(&sum);
    bytes.resize(HEADER, 0);
    bytes
}

/// The key of a log's checksums.
fn key_of(header: &[u8]) -> [u8; 32] {
    blake3::derive_key("amicus 2026-11 log of a node", header)
}

fn sum(key: &[u8; 32], what: &[u8; 4], bytes: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new_keyed(key).update(what).update(bytes).finalize().as_bytes()
}

/// A record as it stands in each half.
fn frame(key: &[u8; 32], number: u64, body: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(framed(body.len()) as usize));
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&sum(key, b"body", body));
    let head = sum(key, b"head", &bytes);
    bytes.extend_from_slice(&head[..HEAD - CHECKED]);
    bytes.extend_from_slice(body);
    bytes.resize(framed(body.len()) as usize, 0);
    bytes
}

fn zeros(file: &mut File, mut count: u64) -> io::Result<()> {
    let block = vec![0; BLOCK];
    while count > 0 {
        let now = count.min(BLOCK as u64);
        file.write_all(&block[..now as usize])?;
        count -= now;
    }
    Ok(())
}

/// Bytes of a file, if they are there and can be read. No more are asked for than a file holds.
fn bytes_at(file: &File, at: u64, length: usize) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; length]);
    file.read_exact_at(&mut bytes, at).ok().map(|()| bytes)
}

/// Why a log with these headers is not used.
fn refusal<'a>(
    folder: &Folder,
    length: u64,
    mut headers: impl Iterator<Item = &'a Zeroizing<Vec<u8>>> + Clone,
) -> String {
    let whole = |bytes: &[u8]| {
        let sum = *blake3::hash(&bytes[..SUMMED]).as_bytes();
        bytes[SUMMED..].starts_with(&sum)
    };
    let Some(found) = headers.clone().find(|bytes| whole(bytes)) else {
        return if headers.any(|bytes| bytes.starts_with(MAGIC)) {
            "is damaged at both its headers, or cut off. Move the whole folder away and start with a new \
             one: models must be loaded again, and answers that were not delivered are lost"
                .into()
        } else {
            "is no log of a node".into()
        };
    };
    let number = |at: usize| found[at..at + 8].iter().rev().fold(0, |n, &b| n << 8 | u64::from(b));
    if !found.starts_with(MAGIC) || found[8..12] != VERSION.to_le_bytes() {
        "was written by another version of this program; use that one, or start with a new folder".into()
    } else if found[24..56] != folder.cluster.0 {
        format!("is of another cluster than {}; each needs a folder of its own", folder.cluster)
    } else if number(16) * 2 != length {
        format!(
            "has {length} bytes instead of {}: it is cut off or something was added. Move the whole \
             folder away and start with a new one: models must be loaded again",
            number(16).saturating_mul(2)
        )
    } else {
        let name = String::from_utf8_lossy(&found[56..SUMMED]).trim_end_matches('\0').to_owned();
        let name = amicus_plan::Printable::new(&name);
        format!("is of {name}, this is {}; each needs a folder of its own", folder.node)
    }
}

#[cfg(test)]
mod tests;
