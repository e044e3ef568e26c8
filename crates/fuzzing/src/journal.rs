//! A node's journal as it is found on a disk.

use amicus_node::journal::Journal;
use amicus_protocol::output::Release;
use amicus_protocol::{EpochId, InferenceId};
use std::fs;
use std::path::Path;

/// Bytes of the magic word, and of length and checksum before each record.
const MAGIC: usize = 8;
const LENGTH: usize = 4;
const CHECKSUM: usize = 8;

/// The bytes as they are, and with the checksums of their records put right, so that what these
/// protect is reached.
pub(crate) fn journal(bytes: &[u8]) {
    opened(bytes);
    let right = put_right(bytes);
    if right != bytes {
        opened(&right);
    }
}

fn put_right(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = MAGIC;
    while let Some(length) = bytes.get(at..).and_then(|rest| rest.first_chunk::<LENGTH>()) {
        let start = at + LENGTH + CHECKSUM;
        let end = start.saturating_add(u32::from_le_bytes(*length) as usize);
        let Some(record) = bytes.get(start..end) else { break };
        let sum = blake3::hash(record);
        bytes[at + LENGTH..start].copy_from_slice(&sum.as_bytes()[..CHECKSUM]);
        at = end;
    }
    bytes
}

/// What is open is opened again as it was, and ids only grow.
fn opened(bytes: &[u8]) {
    crate::files::with_folder(|folder| {
        let path = folder.join("journal");
        fs::write(&path, bytes).expect("a file");
        let Ok(mut journal) = Journal::open(&path) else { return };
        for (_, _, pending) in journal.pending() {
            assert_eq!(pending.receivers.len(), pending.delivered.len());
            let _ = Release::from_log(&pending.release);
        }
        let before = pending(&journal);
        let Ok(epoch) = journal.next_epoch().map(|fresh| fresh.id()) else { return };
        let id = InferenceId(u64::from(bytes.len() as u32));
        let spent = journal.spend_inference(epoch, id).is_ok();
        drop(journal);

        let mut journal = Journal::open(&path).expect("what a journal wrote");
        assert_eq!(pending(&journal), before);
        assert!(journal.spend_epoch(epoch).is_err(), "an epoch is given out again");
        assert!(!spent || journal.spend_inference(epoch, id).is_err(), "an id is given out again");
        if let Ok(next) = journal.next_epoch() {
            assert!(next.id() > epoch);
        }
        remove(&path);
    });
}

fn pending(journal: &Journal) -> Vec<(EpochId, InferenceId, Vec<u8>, Vec<bool>)> {
    let all = journal.pending();
    all.map(|(epoch, id, p)| (epoch, id, p.release.clone(), p.delivered.clone())).collect()
}

fn remove(path: &Path) {
    fs::remove_file(path).expect("the journal's file");
}
