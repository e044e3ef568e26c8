//! Logs as crashes, power cuts and failing disks leave them.

use super::*;
use crate::Peer;
use crate::store::{ClusterDigest, Place};
use amicus_protocol::Parties;
use std::fs;

struct Fixture {
    _around: tempfile::TempDir,
    folder: Folder,
    path: PathBuf,
    log: Log,
}

/// A log with these records.
fn log(records: &[&[u8]]) -> Fixture {
    let around = tempfile::tempdir().unwrap();
    let cluster = ClusterDigest::local(Parties::new(2).unwrap());
    let place = Place { folder: around.path().join("node"), cluster };
    let folder = Folder::open(&place, Peer::Helper).unwrap();
    let path = folder.path.join("log");
    let mut log = Log::create(&path, &folder, std::iter::empty(), 0).unwrap();
    records.iter().for_each(|body| log.write(body).unwrap());
    Fixture { _around: around, folder, path, log }
}

impl Fixture {
    fn read(&self) -> Result<(Vec<Vec<u8>>, u32), NodeError> {
        let mut records = Vec::new();
        let findings = Log::read(&self.path, &self.folder, |body| {
            records.push(body.to_vec());
            Ok(())
        })?;
        Ok((records, findings.repaired))
    }

    /// Runs `then` with other bytes at some places.
    fn with(&self, changes: &[(u64, &[u8])], then: impl FnOnce()) {
        let file = OpenOptions::new().read(true).write(true).open(&self.path).unwrap();
        let before: Vec<_> =
            changes.iter().map(|(at, bytes)| bytes_at(&file, *at, bytes.len()).unwrap()).collect();
        changes.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());
        then();
        changes.iter().zip(&before).for_each(|((at, _), old)| file.write_all_at(old, *at).unwrap());
    }

    fn byte(&self, at: u64) -> u8 {
        bytes_at(&self.log.file, at, 1).unwrap()[0]
    }
}

const RECORDS: [&[u8]; 4] = [b"one", b"", &[7; 200], b"the last"];

#[test]
fn records_come_back_in_order() {
    let mut fixture = log(&RECORDS);
    assert_eq!(fixture.read().unwrap(), (RECORDS.map(<[u8]>::to_vec).to_vec(), 0));
    // So they do from a log that was written with some, and goes on.
    let bodies = RECORDS.iter().map(|body| Zeroizing::new(body.to_vec()));
    fixture.log = Log::create(&fixture.path, &fixture.folder, bodies, 0).unwrap();
    fixture.log.write(b"more").unwrap();
    let all: Vec<_> = RECORDS.iter().copied().chain([&b"more"[..]]).map(<[u8]>::to_vec).collect();
    assert_eq!(fixture.read().unwrap(), (all, 0));
}

/// Else two records could be torn, and a later one be whole.
#[test]
fn no_record_follows_one_that_a_power_cut_may_tear() {
    let mut fixture = log(&[b"one"]);
    assert_eq!(fixture.log.synchronised, [0; 0]);
    fixture.log.write(b"two").unwrap();
    assert_eq!(fixture.log.synchronised, [1]);
    // What is synchronised costs nothing.
    (0..2).for_each(|_| fixture.log.synchronise().unwrap());
    fixture.log.write(b"three").unwrap();
    assert_eq!(fixture.log.synchronised, [1, 2]);
}

#[test]
fn one_flipped_bit_anywhere_costs_nothing() {
    let fixture = log(&RECORDS);
    let whole = RECORDS.map(<[u8]>::to_vec).to_vec();
    let half = fixture.log.half;
    for copy in [0, half] {
        for at in copy..copy + fixture.log.at {
            for bit in [0x01, 0x80] {
                fixture.with(&[(at, &[fixture.byte(at) ^ bit])], || {
                    let (records, repaired) = fixture.read().unwrap_or_else(|e| panic!("byte {at}: {e}"));
                    assert_eq!(records, whole, "byte {at}");
                    assert!(repaired <= 1);
                });
            }
        }
        // Where no record is.
        for at in (copy + fixture.log.at..copy + half).step_by(1013) {
            fixture.with(&[(at, &[1])], || assert_eq!(fixture.read().unwrap(), (whole.clone(), 0)));
        }
    }
    // A sector that cannot be trusted at all, in one half.
    fixture.with(&[(0, &[0xff; 4096])], || assert_eq!(fixture.read().unwrap().0, whole));
    fixture.with(&[(half, &[0; 4096])], || assert_eq!(fixture.read().unwrap().0, whole));
}

#[test]
fn damage_to_both_copies_is_refused_unless_it_may_be_a_torn_write() {
    let fixture = log(&RECORDS);
    let half = fixture.log.half;
    let mut starts = vec![HEADER as u64];
    starts.extend(RECORDS.iter().scan(HEADER as u64, |at, body| {
        *at += framed(body.len());
        Some(*at)
    }));
    for (number, start) in starts[..RECORDS.len()].iter().enumerate() {
        for at in (*start..*start + (HEAD + RECORDS[number].len()) as u64).step_by(5) {
            let changes = [at, half + at].map(|at| (at, [fixture.byte(at) ^ 4]));
            fixture.with(&changes.each_ref().map(|(at, byte)| (*at, &byte[..])), || match fixture.read() {
                Ok((records, _)) => {
                    // Nobody can tell it from one that was being written when the power failed.
                    assert_eq!(number, RECORDS.len() - 1, "byte {at} was not missed");
                    assert_eq!(records, RECORDS[..number].iter().map(|r| r.to_vec()).collect::<Vec<_>>());
                }
                Err(error) => {
                    let text = error.to_string();
                    assert!(number < RECORDS.len() - 1, "{text}");
                    assert!(text.contains("ids might be used twice") && text.contains("new one"), "{text}");
                }
            });
        }
    }
}

#[test]
fn a_torn_write_costs_the_record_that_was_being_written_and_no_other() {
    let fixture = log(&RECORDS);
    let half = fixture.log.half;
    let last = fixture.log.at - framed(RECORDS[3].len());
    let length = framed(RECORDS[3].len()) as usize;
    let whole = bytes_at(&fixture.log.file, last, length).unwrap();
    // What arrived of each copy, from the front or from the back; the rest is zero, as it was.
    let part = |from: usize, to: usize| {
        let mut bytes = vec![0; length];
        bytes[from..to].copy_from_slice(&whole[from..to]);
        bytes
    };
    for cut in (0..length).step_by(3) {
        for (first, second) in [(cut, 0), (cut, cut), (length, cut), (0, length)] {
            for [a, b] in [[part(0, first), part(0, second)], [part(first, length), part(second, length)]] {
                fixture.with(&[(last, &a), (half + last, &b)], || {
                    let (records, _) = fixture.read().unwrap();
                    let arrived = [&a, &b]
                        .iter()
                        .any(|copy| copy[..HEAD + RECORDS[3].len()] == whole[..HEAD + RECORDS[3].len()]);
                    assert_eq!(records.len(), 3 + usize::from(arrived), "{first} {second}");
                });
            }
        }
    }
}

#[test]
fn a_lost_or_added_tail_is_refused() {
    let fixture = log(&RECORDS);
    let whole = fs::read(&fixture.path).unwrap();
    let used = fixture.log.at as usize;
    let cuts = (0..used).chain((used..whole.len()).step_by(4099)).chain([whole.len() - 1]);
    let file = OpenOptions::new().write(true).open(&fixture.path).unwrap();
    let mut cuts: Vec<usize> = cuts.collect();
    cuts.sort_unstable();
    for cut in cuts.into_iter().rev() {
        file.set_len(cut as u64).unwrap();
        let error = fixture.read().expect_err("a log that is cut off").to_string();
        assert!(error.contains(&fixture.path.display().to_string()), "{error}");
    }
    for added in [1, 2, 64, 128, whole.len()] {
        fs::write(&fixture.path, [&whole[..], &vec![0; added]].concat()).unwrap();
        assert!(fixture.read().is_err(), "{added} bytes added");
    }
    fs::write(&fixture.path, &whole).unwrap();
    fixture.read().unwrap();
}

#[test]
fn logs_of_others_are_told_apart() {
    let fixture = log(&RECORDS);
    let other = |cluster: u8, node: Peer, words: &str| {
        let around = tempfile::tempdir().unwrap();
        let cluster = match cluster {
            0 => fixture.folder.cluster,
            n => ClusterDigest([n; 32]),
        };
        let folder = Folder::open(&Place { folder: around.path().join("node"), cluster }, node).unwrap();
        let error = Log::read(&fixture.path, &folder, |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    other(9, Peer::Helper, "another cluster");
    other(0, Peer::Party(amicus_protocol::PartyId::FIRST), "is of helper, this is party 1");
    let words = |bytes: &[u8], words: &str| {
        fs::write(&fixture.path, bytes).unwrap();
        let error = fixture.read().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    words(b"", "no log");
    words(b"amc.jrn1 and so on", "no log");
    let mut newer = header(&fixture.folder, 64);
    newer[8] += 1;
    let sum = *blake3::hash(&newer[..SUMMED]).as_bytes();
    newer[SUMMED..SUMMED + 32].copy_from_slice(&sum);
    words(&newer, "another version");
}

#[test]
fn records_have_a_longest_length_and_the_log_an_end() {
    let mut fixture = log(&[]);
    let before = fixture.read().unwrap();
    assert!(fixture.log.write(&vec![0; MAX_RECORD + 1]).is_err());
    assert!(!fixture.log.has_room(MIN_HALF as usize) && fixture.log.write(&vec![0; 1 << 18]).is_err());
    assert_eq!(fixture.read().unwrap(), before);
    // A refused record does not stand in the way of others.
    let body = vec![1; MIN_HALF as usize - HEADER - HEAD];
    assert!(fixture.log.has_room(body.len()));
    fixture.log.write(&body).unwrap();
    assert!(!fixture.log.has_room(0));
    assert_eq!(fixture.read().unwrap().0, [body]);
}
