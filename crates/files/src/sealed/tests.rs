//! Sealed files as a disk could change them.

use super::*;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

const SUBJECT: &[u8] = b"a model of a party";

/// Sections of these lengths, each of a byte of its own.
fn sealed(folder: &Path, lengths: &[usize]) -> PathBuf {
    let path = folder.join("file");
    write(&path, SUBJECT, |out| {
        for (name, &length) in (0..).zip(lengths) {
            out.section(name, length as u64)?;
            vec![name as u8 + 1; length].chunks(1000).try_for_each(|chunk| out.write_all(chunk))?;
        }
        Ok(())
    })
    .unwrap();
    path
}

/// Reads all sections, a little at a time.
fn unsealed(path: &Path, lengths: &[usize]) -> Result<(), SealedError> {
    let fits = |subject: &[u8]| if subject == SUBJECT { Ok(()) } else { Err("is of another".to_owned()) };
    read(path, fits, |file| {
        for (name, &length) in (0..).zip(lengths) {
            assert_eq!(file.section(name)?, length as u64);
            let mut buffer = vec![0; 777];
            let mut left = length;
            while left > 0 {
                let some = &mut buffer[..left.min(777)];
                file.fill(some)?;
                assert!(some.iter().all(|&b| b == name as u8 + 1), "wrong bytes were handed out");
                left -= some.len();
            }
        }
        Ok(())
    })
}

#[test]
fn content_of_any_length_comes_back() {
    let around = |n: usize| [n - SECTION - 1, n - SECTION, n - SECTION + 1];
    let mut all = vec![vec![], vec![0], vec![0, 0, 1], vec![3, 500_000, 7]];
    all.extend(around(PIECE).map(|n| vec![n]));
    all.extend(around(2 * PIECE).map(|n| vec![n]));
    for lengths in all {
        let folder = tempfile::tempdir().unwrap();
        let path = sealed(folder.path(), &lengths);
        unsealed(&path, &lengths).unwrap_or_else(|e| panic!("{lengths:?}: {e}"));
        let content = lengths.iter().map(|n| (n + SECTION) as u64).sum();
        assert_eq!(fs::metadata(&path).unwrap().len(), file_length(SUBJECT.len(), content).unwrap());
        assert_eq!(subject(&path).unwrap(), SUBJECT);
    }
}

#[test]
fn a_changed_bit_anywhere_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    for (lengths, step) in [(vec![20, 0, 9], 1), (vec![2 * PIECE, 100], 2311)] {
        let path = sealed(folder.path(), &lengths);
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(step) {
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at % 8);
            fs::write(&path, &changed).unwrap();
            let error = unsealed(&path, &lengths).expect_err(&format!("byte {at}"));
            assert!(error.path.ends_with("file"), "{error}");
        }
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_lost_or_added_tail_is_noticed_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    for (lengths, step) in [(vec![20, 0, 9], 1), (vec![2 * PIECE, 100], 2311)] {
        let path = sealed(folder.path(), &lengths);
        let whole = fs::read(&path).unwrap();
        let changed = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let error = unsealed(&path, &lengths).unwrap_err();
            // It is not even listed.
            assert_eq!(subject(&path).unwrap_err(), error);
            error.problem
        };
        for cut in (0..whole.len()).step_by(step) {
            changed(&whole[..cut]);
        }
        for added in [1, CHECKSUM, PIECE] {
            let problem = changed(&[&whole[..], &vec![0; added]].concat());
            let found = (whole.len() + added) as u64;
            assert_eq!(problem, Problem::Length { expected: whole.len() as u64, found });
        }
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn pieces_have_their_place_and_their_file() {
    let folder = tempfile::tempdir().unwrap();
    // The second and the third piece are whole, equal, and not the last.
    let lengths = [4 * PIECE - SECTION];
    let path = sealed(folder.path(), &lengths);
    let whole = fs::read(&path).unwrap();
    let first = FIXED + SUBJECT.len() + CHECKSUM;
    let piece = |n: usize| first + n * (PIECE + CHECKSUM)..first + (n + 1) * (PIECE + CHECKSUM);
    let mut exchanged = whole.clone();
    exchanged[piece(1)].copy_from_slice(&whole[piece(2)]);
    fs::write(&path, &exchanged).unwrap();
    assert_eq!(unsealed(&path, &lengths).unwrap_err().problem, Problem::Damaged { what: "content" });

    let other = folder.path().join("other");
    write(&other, b"a model of a part_", |out| out.put_section(0, &vec![1; lengths[0]])).unwrap();
    let mut mixed = whole;
    mixed[piece(1)].copy_from_slice(&fs::read(&other).unwrap()[piece(1)]);
    fs::write(&path, &mixed).unwrap();
    assert_eq!(unsealed(&path, &lengths).unwrap_err().problem, Problem::Damaged { what: "content" });
    assert!(matches!(unsealed(&other, &lengths).unwrap_err().problem, Problem::Subject { .. }));
}

#[test]
fn lengths_are_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    // Headers and sections with right checksums that speak of more than there is.
    for (content, section) in [(u64::MAX, 1), (1 << 62, 1), (SECTION as u64 + 1, u64::MAX), (13, 1 << 40)] {
        let mut bytes = header(SUBJECT, content);
        let head = [&0u32.to_le_bytes()[..], &u64::to_le_bytes(section), &[1]].concat();
        let sum = Checksums::of(SUBJECT).next(&head, true);
        bytes.extend_from_slice(&[&head[..], &sum].concat());
        fs::write(&path, &bytes).unwrap();
        let read: Result<(), SealedError> = read(&path, |_| Ok(()), |file| file.bytes(0, 100).map(drop));
        let problem = read.unwrap_err().problem;
        assert!(matches!(problem, Problem::Length { .. } | Problem::Content { .. }), "{problem:?}");
    }
}

#[test]
fn sections_are_read_as_they_were_written_and_to_the_end() {
    type Action = fn(&mut SealedReader<'_>) -> Result<(), SealedError>;
    let folder = tempfile::tempdir().unwrap();
    let path = sealed(folder.path(), &[4, 2]);
    let actions: [(&str, Action); 8] = [
        ("nothing", |_| Ok(())),
        ("one of two sections", |f| f.array::<4>(0).map(drop)),
        ("a part of a section", |f| f.section(0).and_then(|_| f.fill(&mut [0; 3]))),
        ("a section within another", |f| f.section(0).and_then(|_| f.section(1)).map(drop)),
        ("more than a section", |f| f.section(0).and_then(|_| f.fill(&mut [0; 5]))),
        ("another name", |f| f.bytes(1, 10).map(drop)),
        ("a longer section than allowed", |f| f.bytes(0, 3).map(drop)),
        ("another length", |f| f.array::<3>(0).map(drop)),
    ];
    for (what, action) in actions {
        let error = read(&path, |_| Ok(()), action).expect_err(what);
        assert!(matches!(error.problem, Problem::Content { .. }), "{what}: {error}");
    }
    let both = |f: &mut SealedReader<'_>| Ok::<_, SealedError>((f.array::<4>(0)?, f.bytes(1, 2)?));
    let (a, b) = read(&path, |_| Ok(()), both).unwrap();
    assert_eq!((*a, &b[..]), ([1; 4], &[2, 2][..]));
    // Whoever goes on after an error has read nothing.
    let mut whole = fs::read(&path).unwrap();
    *whole.last_mut().unwrap() ^= 1;
    fs::write(&path, &whole).unwrap();
    let ignored = read(
        &path,
        |_| Ok(()),
        |f| {
            let _ = both(f);
            Ok::<_, SealedError>(())
        },
    );
    assert_eq!(ignored.unwrap_err().problem, Problem::Damaged { what: "content" });
}

#[test]
fn a_file_is_written_once_and_whole() {
    type Action = fn(&mut SealedWriter<'_>) -> io::Result<()>;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let actions: [(&str, Action); 4] = [
        ("an incomplete section", |out| out.section(0, 5).and_then(|()| out.write_all(b"four"))),
        ("bytes beyond a section", |out| out.section(0, 3).and_then(|()| out.write_all(b"four"))),
        ("bytes without a section", |out| out.write_all(b"four")),
        ("a failure of the caller", |_| Err(io::Error::other("full"))),
    ];
    for (what, action) in actions {
        assert!(write(&path, SUBJECT, action).is_err(), "{what}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{what}");
    }
    assert!(write(&path, &[0; MAX_SUBJECT + 1], |_| Ok(())).is_err());
    write(&path, SUBJECT, |out| out.put_section(0, b"one")).unwrap();
    let error = write(&path, SUBJECT, |out| out.put_section(0, b"two")).unwrap_err();
    assert!(matches!(error.problem, Problem::System { kind: io::ErrorKind::AlreadyExists, .. }), "{error}");
    let one = read(&path, |_| Ok(()), |f| f.array::<3>(0)).unwrap();
    assert_eq!(&*one, b"one");
}

#[test]
fn files_of_other_kinds_and_versions_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let problem = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        unsealed(&path, &[]).unwrap_err().problem
    };
    assert_eq!(problem(b""), Problem::NotSealed);
    assert_eq!(problem(&[7; 200]), Problem::NotSealed);
    let mut newer = header(SUBJECT, 0);
    newer[8] = 2;
    assert_eq!(problem(&newer), Problem::Version { found: 2 });
    fs::remove_file(&path).unwrap();
    let missing = unsealed(&path, &[]).unwrap_err();
    assert!(matches!(missing.problem, Problem::System { kind: io::ErrorKind::NotFound, .. }));
}
