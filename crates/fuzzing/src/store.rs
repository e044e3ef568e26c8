//! A node's folder as it is found on a disk: the log and sealed files.

use amicus_files::sealed::{self, SealedError};
use amicus_node::Peer;
use amicus_node::store::{Place, Store, fuzz};
use amicus_protocol::output::Release;
use amicus_protocol::{Parties, Scope};
use std::fs;
use std::path::Path;

/// Longest piece of a section that is read at once.
const PIECE: usize = 4096;

/// The place of the log that is fuzzed.
pub(crate) fn place(folder: &Path) -> Place {
    Place::local(folder, Parties::new(2).expect("two parties"), &Peer::Helper)
}

/// Records as the input of the target: each after its length in two bytes.
pub(crate) fn joined(records: &[Vec<u8>]) -> Vec<u8> {
    let framed = |record: &Vec<u8>| [&(record.len() as u16).to_le_bytes()[..], record].concat();
    records.iter().flat_map(framed).collect()
}

fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let (record, later) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes(*length))));
        records.push(record);
        bytes = later;
    }
    records
}

/// The bytes as a log, as records of one, and as damage to one copy of these.
pub(crate) fn store(bytes: &[u8]) {
    crate::files::with_folder(|folder| {
        let place = place(folder);
        fuzz::write_log(&place, Peer::Helper, &[]).expect("a log");
        let path = place.folder.join("log");
        fs::write(&path, bytes).expect("a file");
        drop(Store::open(&place, Peer::Helper));

        let records = split(bytes);
        fuzz::write_log(&place, Peer::Helper, &records).expect("a log");
        let whole = fs::read(&path).expect("a log");
        let Ok(store) = Store::open(&place, Peer::Helper) else { return };
        let before = pending(&store);
        drop(store);

        let mut damaged = whole;
        let at = bytes.iter().take(8).fold(0, |at, &b| at << 8 | usize::from(b)) % damaged.len();
        let half = damaged.len() / 2;
        let end = (at + bytes.len()).min(if at < half { half } else { 2 * half });
        damaged[at..end].copy_from_slice(&bytes[..end - at]);
        fs::write(&path, &damaged).expect("a file");
        let store = Store::open(&place, Peer::Helper).expect("a log with one whole copy of everything");
        assert_eq!(pending(&store), before);
        used(&place, store);
    });
}

/// What is open is opened again as it was.
fn used(place: &Place, store: Store) {
    for (_, pending) in store.pending() {
        assert_eq!(pending.receivers.len(), pending.delivered.len());
        let _ = Release::from_log(&pending.release);
    }
    let before = pending(&store);
    drop(store);
    let store = Store::open(place, Peer::Helper).expect("what a store wrote");
    assert_eq!((pending(&store), store.repaired()), (before, 0));
}

fn pending(store: &Store) -> Vec<(Scope, Vec<u8>, Vec<bool>)> {
    let all = store.pending();
    all.map(|(scope, p)| (scope, p.release.to_vec(), p.delivered.clone())).collect()
}

/// The bytes as a sealed file: what is read to the end is what was written.
pub(crate) fn sealed(bytes: &[u8]) {
    crate::files::with_folder(|folder| {
        let (path, again) = (folder.join("sealed"), folder.join("again"));
        fs::write(&path, bytes).expect("a file");
        let mut sections: Vec<(u32, Vec<u8>)> = Vec::new();
        let mut subject = Vec::new();
        let fits = |found: &[u8]| {
            subject = found.to_vec();
            Ok(())
        };
        let read = sealed::read(&path, fits, |file| {
            while let Some((name, length)) = file.next_section()? {
                let mut left = length as usize;
                let mut content = Vec::new();
                while left > 0 {
                    let mut piece = vec![0; left.min(PIECE)];
                    file.fill(&mut piece)?;
                    left -= piece.len();
                    content.extend_from_slice(&piece);
                }
                sections.push((name, content));
            }
            Ok::<(), SealedError>(())
        });
        if read.is_ok() {
            let put = |out: &mut sealed::SealedWriter<'_>| {
                sections.iter().try_for_each(|(name, content)| out.put_section(*name, content))
            };
            sealed::write(&again, &subject, put).expect("a sealed file");
            assert_eq!(fs::read(&again).expect("a sealed file"), bytes, "a sealed file has one form");
            fs::remove_file(&again).expect("a file");
        }
    });
}
