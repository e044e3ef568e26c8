//! What must survive a crash: spent ids, and the helper's decisions (`docs/protocol.md`, section
//! 7).
//!
//! An append-only file of checksummed records, each synchronised to the disk before the call
//! returns. A record that was cut off by a crash was never acted upon and is dropped; damage
//! anywhere else is an error, because an id might be used twice. A lock file beside it keeps two
//! nodes from sharing it.

use crate::NodeError;
use amicus_protocol::check::DecisionLog;
use amicus_protocol::{EpochId, Fresh, InferenceId, ProtocolError};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"amc.jrn1";
/// Bytes of length and checksum before each record.
const HEAD: usize = 12;
const MAX_RECORD: usize = 1 << 24;

const EPOCH: u8 = 1;
const INFERENCES: u8 = 2;
const ACCEPTED: u8 = 3;
const DELIVERED: u8 = 4;

/// How many inference ids one record marks as spent: one synchronisation for that many ids, at the
/// price of losing the unused rest in a crash.
const BLOCK: u64 = 64;

/// From this size on, at least, the file is written anew with what still matters, which also erases
/// delivered releases.
const COMPACT_AT: u64 = 1 << 20;

/// A release that is recorded but not acknowledged by every receiver.
#[derive(Clone, PartialEq, Eq)]
pub struct PendingRelease {
    /// Receivers in the order of the release's hashes.
    pub receivers: Vec<String>,
    /// Which of them acknowledged it.
    pub delivered: Vec<bool>,
    /// The release, as [`Release::from_log`](amicus_protocol::output::Release::from_log) reads it.
    pub release: Vec<u8>,
}

impl std::fmt::Debug for PendingRelease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingRelease")
            .field("receivers", &self.receivers)
            .field("delivered", &self.delivered)
            .finish_non_exhaustive()
    }
}

/// A node's journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Held as long as this node lives.
    _lock: File,
    last_epoch: u64,
    /// Per epoch: the last id given out, and the last id marked as spent on disk.
    inferences: BTreeMap<u64, (u64, u64)>,
    releases: BTreeMap<(u64, u64), PendingRelease>,
    receivers: Vec<String>,
    /// Bytes in the file.
    len: u64,
    /// Bytes from which on it is written anew.
    compact_at: u64,
    /// A write failed: what the file holds is uncertain, so nothing may be done that needs a
    /// record.
    broken: bool,
}

impl Journal {
    /// Opens or creates a journal.
    ///
    /// # Errors
    /// When the file cannot be opened, is locked by another node, or is damaged.
    pub fn open(path: &Path) -> Result<Self, NodeError> {
        let fail = |reason: String| NodeError::Store { path: path.display().to_string(), reason };
        // A file of its own, because the journal itself is replaced from time to time.
        let lock = open(&beside(path, ".lock")).map_err(|e| fail(e.to_string()))?;
        lock.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => fail("another node uses it".into()),
            TryLockError::Error(e) => fail(e.to_string()),
        })?;
        let mut file = open(path).map_err(|e| fail(e.to_string()))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|e| fail(e.to_string()))?;
        let mut journal = Journal {
            path: path.to_owned(),
            file,
            _lock: lock,
            last_epoch: 0,
            inferences: BTreeMap::new(),
            releases: BTreeMap::new(),
            receivers: Vec::new(),
            len: bytes.len() as u64,
            compact_at: COMPACT_AT,
            broken: false,
        };
        if bytes.len() < MAGIC.len() {
            journal.compact()?;
            return Ok(journal);
        }
        let Some(mut rest) = bytes.strip_prefix(MAGIC) else {
            return Err(fail("is not a journal".into()));
        };
        loop {
            match split_record(rest) {
                Split::End => break,
                Split::Record(record, tail) => {
                    journal.replay(record).ok_or_else(|| fail("holds a record of unknown form".into()))?;
                    rest = tail;
                }
                // Dropped when the file is written anew below.
                Split::Torn => break,
                Split::Damaged => {
                    return Err(fail("is damaged in the middle; ids might be used twice".into()));
                }
            }
        }
        // Ids marked as spent were perhaps used; none of them is given out again.
        for (used, spent) in journal.inferences.values_mut() {
            *used = *spent;
        }
        journal.compact()?;
        Ok(journal)
    }

    /// Writes the file anew: spent ids, and releases that somebody still waits for.
    fn compact(&mut self) -> Result<(), NodeError> {
        let mut bytes = MAGIC.to_vec();
        let mut add = |record: &[u8]| bytes.extend_from_slice(&framed(record));
        if self.last_epoch > 0 {
            add(&Record::new(EPOCH).number(self.last_epoch).0);
        }
        for (&epoch, &(_, spent)) in &self.inferences {
            add(&Record::new(INFERENCES).number(epoch).number(spent).0);
        }
        for (&(epoch, id), pending) in &self.releases {
            add(&Record::accepted(epoch, id, &pending.receivers, &pending.release).0);
            for (at, _) in pending.delivered.iter().enumerate().filter(|(_, delivered)| **delivered) {
                add(&Record::new(DELIVERED).number(epoch).number(id).number(at as u64).0);
            }
        }
        let written = self.replace(&bytes);
        self.broken |= written.is_err();
        written.map_err(|e| self.error(&e))
    }

    /// Puts a new file in the place of the old one, in one step.
    fn replace(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let path = beside(&self.path, ".new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&path, &self.path)?;
        sync_folder(&self.path)?;
        self.file = file;
        self.len = bytes.len() as u64;
        self.compact_at = COMPACT_AT.max(2 * self.len);
        Ok(())
    }

    fn error(&self, e: &std::io::Error) -> NodeError {
        NodeError::Store { path: self.path.display().to_string(), reason: e.to_string() }
    }

    fn append(&mut self, record: &[u8]) -> Result<(), NodeError> {
        if self.broken {
            return Err(self.error(&std::io::Error::other("an earlier write failed; restart the node")));
        }
        if record.len() > MAX_RECORD {
            // It could not be read back.
            let reason = format!("a record of {} bytes, at most {MAX_RECORD}", record.len());
            return Err(self.error(&std::io::Error::other(reason)));
        }
        let bytes = framed(record);
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        self.broken |= written.is_err();
        self.len += bytes.len() as u64;
        written.map_err(|e| self.error(&e))
    }

    fn replay(&mut self, record: &[u8]) -> Option<()> {
        let (&kind, rest) = record.split_first()?;
        let mut reader = Fields(rest);
        match kind {
            EPOCH => self.last_epoch = self.last_epoch.max(reader.number()?),
            INFERENCES => {
                let (epoch, spent) = (reader.number()?, reader.number()?);
                let entry = self.inferences.entry(epoch).or_default();
                entry.1 = entry.1.max(spent);
            }
            ACCEPTED => {
                let key = (reader.number()?, reader.number()?);
                let count = reader.number()?;
                let receivers: Vec<String> = (0..count).map(|_| reader.text()).collect::<Option<_>>()?;
                let delivered = vec![false; receivers.len()];
                self.releases
                    .insert(key, PendingRelease { receivers, delivered, release: reader.0.to_vec() });
                return Some(());
            }
            DELIVERED => {
                let key = (reader.number()?, reader.number()?);
                let receiver = reader.number()? as usize;
                self.note_delivery(key, receiver);
            }
            _ => return None,
        }
        reader.0.is_empty().then_some(())
    }

    /// Helper: a fresh epoch id, recorded as spent.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn next_epoch(&mut self) -> Result<Fresh<EpochId>, NodeError> {
        let next = self.last_epoch.checked_add(1);
        let next = next.ok_or_else(|| ProtocolError::Spent { what: "every epoch id".into() })?;
        self.spend_epoch(EpochId(next))
    }

    /// Records an epoch id as spent.
    ///
    /// # Errors
    /// [`ProtocolError::Spent`] unless it is above every epoch seen before; or when the record
    /// cannot be written.
    pub fn spend_epoch(&mut self, epoch: EpochId) -> Result<Fresh<EpochId>, NodeError> {
        if epoch.0 <= self.last_epoch {
            return Err(ProtocolError::Spent { what: epoch.to_string() }.into());
        }
        self.append(&Record::new(EPOCH).number(epoch.0).0)?;
        self.last_epoch = epoch.0;
        Ok(Fresh::recorded(epoch))
    }

    /// Records an inference id as spent.
    ///
    /// # Errors
    /// [`ProtocolError::Spent`] unless it is above every id of this epoch seen before; or when the
    /// record cannot be written.
    pub fn spend_inference(
        &mut self,
        epoch: EpochId,
        id: InferenceId,
    ) -> Result<Fresh<InferenceId>, NodeError> {
        let (used, spent) = self.inferences.get(&epoch.0).copied().unwrap_or_default();
        if id.0 <= used || id.0.checked_add(BLOCK).is_none() {
            return Err(ProtocolError::Spent { what: format!("{id} of {epoch}") }.into());
        }
        if id.0 > spent {
            let spent = id.0 + BLOCK;
            self.append(&Record::new(INFERENCES).number(epoch.0).number(spent).0)?;
            self.inferences.insert(epoch.0, (id.0, spent));
        } else {
            self.inferences.insert(epoch.0, (id.0, spent));
        }
        Ok(Fresh::recorded(id))
    }

    /// Sets the receivers that the next recorded decision is for.
    pub fn receivers(&mut self, receivers: &[String]) -> &mut Self {
        self.receivers = receivers.to_vec();
        self
    }

    /// Records that a receiver acknowledged its release.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn delivered(&mut self, epoch: EpochId, id: InferenceId, receiver: &str) -> Result<(), NodeError> {
        let key = (epoch.0, id.0);
        let position =
            self.releases.get(&key).and_then(|r| r.receivers.iter().position(|name| name == receiver));
        let Some(position) = position else { return Ok(()) };
        self.append(&Record::new(DELIVERED).number(key.0).number(key.1).number(position as u64).0)?;
        self.note_delivery(key, position);
        if self.len >= self.compact_at { self.compact() } else { Ok(()) }
    }

    fn note_delivery(&mut self, key: (u64, u64), receiver: usize) {
        if let Some(pending) = self.releases.get_mut(&key) {
            if let Some(delivered) = pending.delivered.get_mut(receiver) {
                *delivered = true;
            }
            if pending.delivered.iter().all(|&d| d) {
                self.releases.remove(&key);
            }
        }
    }

    /// Releases that are not acknowledged by every receiver, oldest first.
    pub fn pending(&self) -> impl Iterator<Item = (EpochId, InferenceId, &PendingRelease)> {
        self.releases.iter().map(|(&(epoch, id), release)| (EpochId(epoch), InferenceId(id), release))
    }
}

impl DecisionLog for Journal {
    type Error = NodeError;

    fn accepted(&mut self, epoch: EpochId, id: InferenceId, release: &[u8]) -> Result<(), NodeError> {
        let receivers = std::mem::take(&mut self.receivers);
        self.append(&Record::accepted(epoch.0, id.0, &receivers, release).0)?;
        let delivered = vec![false; receivers.len()];
        self.releases
            .insert((epoch.0, id.0), PendingRelease { receivers, delivered, release: release.to_vec() });
        Ok(())
    }
}

/// The path with something appended to the file's name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn checksum(record: &[u8]) -> [u8; 8] {
    let mut sum = [0; 8];
    sum.copy_from_slice(&blake3::hash(record).as_bytes()[..8]);
    sum
}

enum Split<'a> {
    End,
    Record(&'a [u8], &'a [u8]),
    Torn,
    Damaged,
}

fn split_record(bytes: &[u8]) -> Split<'_> {
    if bytes.is_empty() {
        return Split::End;
    }
    let Some((head, body)) = bytes.split_first_chunk::<HEAD>() else { return Split::Torn };
    let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let Some((record, tail)) = body.split_at_checked(len).filter(|_| len <= MAX_RECORD) else {
        return if len <= MAX_RECORD { Split::Torn } else { Split::Damaged };
    };
    match (checksum(record) == head[4..], tail.is_empty()) {
        (true, _) => Split::Record(record, tail),
        // The last record may have been cut off while its length was already there.
        (false, true) => Split::Torn,
        (false, false) => Split::Damaged,
    }
}

/// The folder's entry of a new file must survive too.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(folder) if cfg!(unix) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

/// A record with its length and checksum.
fn framed(record: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + record.len());
    bytes.extend_from_slice(&(record.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&checksum(record));
    bytes.extend_from_slice(record);
    bytes
}

struct Record(Vec<u8>);

impl Record {
    fn accepted(epoch: u64, id: u64, receivers: &[String], release: &[u8]) -> Self {
        let head = Record::new(ACCEPTED).number(epoch).number(id).number(receivers.len() as u64);
        let mut record = receivers.iter().fold(head, |record, name| record.text(name));
        record.0.extend_from_slice(release);
        record
    }

    fn new(kind: u8) -> Self {
        Record(vec![kind])
    }

    fn number(mut self, n: u64) -> Self {
        self.0.extend_from_slice(&n.to_le_bytes());
        self
    }

    fn text(self, text: &str) -> Self {
        let mut record = self.number(text.len() as u64);
        record.0.extend_from_slice(text.as_bytes());
        record
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn number(&mut self) -> Option<u64> {
        let (head, tail) = self.0.split_first_chunk::<8>()?;
        self.0 = tail;
        Some(u64::from_le_bytes(*head))
    }

    fn text(&mut self) -> Option<String> {
        let len = usize::try_from(self.number()?).ok()?;
        let (text, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        String::from_utf8(text.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reopen(path: &Path) -> Journal {
        Journal::open(path).unwrap()
    }

    #[test]
    fn ids_are_spent_across_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = reopen(&path);
        assert_eq!(journal.next_epoch().unwrap().id(), EpochId(1));
        journal.spend_inference(EpochId(1), InferenceId(5)).unwrap();
        assert!(journal.spend_inference(EpochId(1), InferenceId(5)).is_err());
        assert!(journal.spend_inference(EpochId(1), InferenceId(4)).is_err());
        journal.spend_inference(EpochId(1), InferenceId(6)).unwrap();
        assert!(Journal::open(&path).unwrap_err().to_string().contains("another node"));
        drop(journal);
        let mut journal = reopen(&path);
        assert!(journal.spend_epoch(EpochId(1)).is_err());
        // Id 7 was never given out, but it lies in a block that was marked as spent.
        assert!(journal.spend_inference(EpochId(1), InferenceId(7)).is_err());
        assert!(journal.spend_inference(EpochId(1), InferenceId(5 + BLOCK + 1)).is_ok());
        assert_eq!(journal.next_epoch().unwrap().id(), EpochId(2));
    }

    #[test]
    fn decisions_wait_for_every_receiver() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = reopen(&path);
        let names = ["client a".to_owned(), "client b".to_owned()];
        journal.receivers(&names).accepted(EpochId(1), InferenceId(9), b"release").unwrap();
        journal.delivered(EpochId(1), InferenceId(9), "client b").unwrap();
        drop(journal);
        // It is written anew each time it is opened; nothing is lost by that.
        drop(reopen(&path));
        let mut journal = reopen(&path);
        let (epoch, id, pending) = journal.pending().next().unwrap();
        assert_eq!((epoch, id, &pending.delivered[..]), (EpochId(1), InferenceId(9), &[false, true][..]));
        assert_eq!(pending.release, b"release");
        journal.delivered(EpochId(1), InferenceId(9), "client a").unwrap();
        assert_eq!(journal.pending().count(), 0);
    }

    #[test]
    fn delivered_releases_are_erased() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = reopen(&path);
        journal.next_epoch().unwrap();
        let release = vec![0xab; 4096];
        let mut kept = None;
        for id in 1..=400 {
            journal.spend_inference(EpochId(1), InferenceId(id)).unwrap();
            journal
                .receivers(&["client a".to_owned()])
                .accepted(EpochId(1), InferenceId(id), &release)
                .unwrap();
            if id == 77 {
                kept = Some(InferenceId(id));
            } else {
                journal.delivered(EpochId(1), InferenceId(id), "client a").unwrap();
            }
            assert!(std::fs::metadata(&path).unwrap().len() < COMPACT_AT + 8192);
        }
        drop(journal);
        drop(reopen(&path));
        let mut journal = reopen(&path);
        assert!(std::fs::metadata(&path).unwrap().len() < 5000);
        assert_eq!(journal.pending().map(|(_, id, _)| Some(id)).collect::<Vec<_>>(), [kept]);
        assert!(journal.spend_inference(EpochId(1), InferenceId(400)).is_err());
        assert_eq!(journal.next_epoch().unwrap().id(), EpochId(2));
    }

    /// A journal whose disk takes nothing any more.
    fn fail_writes(journal: &mut Journal) {
        journal.file = File::open(&journal.path).unwrap();
    }

    #[test]
    fn nothing_counts_as_recorded_that_could_not_be_written() {
        type Action = fn(&mut Journal) -> Result<(), NodeError>;
        let (epoch, id) = (EpochId(1), InferenceId(1));
        let actions: [(&str, Action); 5] = [
            ("a new epoch", |j| j.next_epoch().map(drop)),
            ("an epoch", |j| j.spend_epoch(EpochId(9)).map(drop)),
            ("an inference", |j| j.spend_inference(EpochId(1), InferenceId(9)).map(drop)),
            ("a decision", |j| j.receivers(&["client a".into()]).accepted(EpochId(1), InferenceId(2), b"r")),
            ("a delivery", |j| j.delivered(EpochId(1), InferenceId(1), "client a")),
        ];
        for (what, action) in actions {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("journal");
            let mut journal = reopen(&path);
            journal.receivers(&["client a".into()]).accepted(epoch, id, b"release").unwrap();
            fail_writes(&mut journal);
            let error = action(&mut journal).expect_err(what);
            assert!(matches!(error, NodeError::Store { .. }), "{what}: {error}");
            // Part of the record may be in the file: nothing may follow it, even when the disk
            // works again.
            journal.file = open(&path).unwrap();
            for (other, action) in actions {
                let error = action(&mut journal).expect_err(other);
                assert!(error.to_string().contains("restart the node"), "{other} after {what}: {error}");
            }
            // What was written before is still there.
            assert_eq!(journal.pending().count(), 1);
            drop(journal);
            let mut journal = reopen(&path);
            assert_eq!(journal.pending().map(|(_, id, _)| id).collect::<Vec<_>>(), [id]);
            assert_eq!(journal.next_epoch().unwrap().id(), epoch);
        }
    }

    #[test]
    fn the_last_ids_are_spent_before_they_could_wrap() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = reopen(&folder.path().join("journal"));
        for id in [u64::MAX, u64::MAX - BLOCK + 1] {
            assert!(journal.spend_inference(EpochId(1), InferenceId(id)).is_err());
        }
        journal.spend_inference(EpochId(1), InferenceId(u64::MAX - BLOCK)).unwrap();
        assert!(journal.spend_inference(EpochId(1), InferenceId(1)).is_err());
    }

    #[test]
    fn what_could_not_be_read_back_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = reopen(&path);
        let error = journal.accepted(EpochId(1), InferenceId(1), &vec![0; MAX_RECORD]).unwrap_err();
        assert!(error.to_string().contains("at most"), "{error}");
        assert_eq!(journal.pending().count(), 0);
        // The last epoch id there is was spent: no other follows, and the first is not given out
        // again.
        journal.spend_epoch(EpochId(u64::MAX)).unwrap();
        drop(journal);
        assert!(reopen(&path).next_epoch().unwrap_err().to_string().contains("spent"));
    }

    #[test]
    fn a_torn_record_is_dropped_and_damage_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = reopen(&path);
        journal.next_epoch().unwrap();
        journal.next_epoch().unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for cut in 1..20 {
            std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            assert_eq!(reopen(&path).next_epoch().unwrap().id(), EpochId(2), "{cut} bytes cut");
        }
        let mut damaged = whole.clone();
        damaged[MAGIC.len() + HEAD + 1] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        assert!(Journal::open(&path).unwrap_err().to_string().contains("damaged"));
        std::fs::write(&path, b"something else").unwrap();
        assert!(Journal::open(&path).is_err());
    }
}
