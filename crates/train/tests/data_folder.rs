//! A data folder as it should be, and everything that can be wrong with it.

#![allow(clippy::unwrap_used)] // a test may fail by panicking, its helpers too

mod common;

use std::io::Write;

use amicus_train::TrainError;
use amicus_train::data::split::{Split, split};
use amicus_train::data::{Images, mnist};
use common::{Folder, squares, write_set};

fn load(
    folder: &std::path::Path,
    excluded: Option<&Images>,
    validation: usize,
    seed: u64,
) -> Result<Split, TrainError> {
    let (training, test) = mnist::load(folder)?;
    split(&training, test, excluded, validation, seed)
}

#[test]
fn three_disjoint_parts_without_the_excluded_images() {
    let folder = Folder::new("parts");
    let all = squares(60, 1);
    write_set(&folder.0, &all, &squares(20, 2));
    let excluded = all.select(&[3, 10, 59]);
    let split = load(&folder.0, Some(&excluded), 17, 5).unwrap();
    assert_eq!(
        (split.dropped, split.training.len(), split.validation.len(), split.test.len()),
        (3, 40, 17, 20)
    );
    let mut seen = std::collections::HashSet::new();
    for part in [&split.training, &split.validation, &excluded] {
        assert!((0..part.len()).all(|i| seen.insert(part.image(i).to_vec())), "an image is in two parts");
    }
    assert_eq!(seen.len(), 60);
    // Labels stay with their pixels: class c has its square where `squares` puts it.
    for i in 0..split.training.len() {
        let class = usize::from(split.training.label(i));
        assert!(split.training.image(i)[(4 + 13 * (class / 5)) * 28 + 3 + 5 * (class % 5)] >= 190);
    }
    assert_eq!(split.test, squares(20, 2));
}

#[test]
fn the_seed_decides_the_split() {
    let folder = Folder::new("seed");
    write_set(&folder.0, &squares(60, 1), &squares(20, 2));
    let held_out = |seed| load(&folder.0, None, 20, seed).unwrap().validation;
    assert_eq!(held_out(1), held_out(1));
    assert_ne!(held_out(1), held_out(2));
}

#[test]
fn gzipped_files_give_the_same() {
    let (plain, packed) = (Folder::new("plain"), Folder::new("packed"));
    write_set(&plain.0, &squares(30, 1), &squares(10, 2));
    for entry in std::fs::read_dir(&plain.0).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{}.gz", entry.file_name().to_str().unwrap());
        let file = std::fs::File::create(packed.file(&name)).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        encoder.write_all(&std::fs::read(entry.path()).unwrap()).unwrap();
        encoder.finish().unwrap();
    }
    let read = |folder: &Folder| load(&folder.0, None, 5, 1).unwrap();
    let (a, b) = (read(&plain), read(&packed));
    assert_eq!((a.training, a.validation, a.test), (b.training, b.validation, b.test));

    let name = packed.file("train-images-idx3-ubyte.gz");
    let bytes = std::fs::read(&name).unwrap();
    std::fs::write(&name, &bytes[..bytes.len() / 2]).unwrap();
    let message = load(&packed.0, None, 5, 1).unwrap_err().to_string();
    assert!(message.contains("train-images-idx3-ubyte.gz") && message.contains("cut off"), "{message}");
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let folder = Folder::new("wrong");
    let message = |validation| load(&folder.0, None, validation, 1).unwrap_err().to_string();
    let missing = load(&folder.file("nowhere"), None, 1, 1).unwrap_err();
    assert!(matches!(missing, TrainError::NoFolder { ref path } if path.ends_with("nowhere")), "{missing}");
    assert!(message(1).contains("no file train-images-idx3-ubyte"));

    write_set(&folder.0, &squares(20, 1), &squares(10, 2));
    assert!(message(20).contains("validation"));
    std::fs::remove_file(folder.file("t10k-labels-idx1-ubyte")).unwrap();
    assert!(message(5).contains("t10k-labels-idx1-ubyte"));

    write_set(&folder.0, &squares(20, 1), &squares(10, 2));
    let path = folder.file("train-images-idx3-ubyte");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let cut = message(5);
    assert!(
        cut.contains("train-images-idx3-ubyte") && cut.contains("15680") && cut.contains("15679"),
        "{cut}"
    );

    let narrow = Images::new([1, 28, 14], vec![0; 28 * 14 * 10], vec![0; 10]).unwrap();
    write_set(&folder.0, &squares(20, 1), &narrow);
    let size = message(5);
    assert!(size.contains("t10k-images") && size.contains("28 x 14"), "{size}");
}

#[test]
fn excluded_images_from_elsewhere_are_refused() {
    let folder = Folder::new("elsewhere");
    write_set(&folder.0, &squares(20, 1), &squares(10, 2));
    let error = load(&folder.0, Some(&squares(4, 99)), 5, 1).unwrap_err();
    assert!(matches!(error, TrainError::ExcludedNotFound { missing: 4, of: 4 }), "{error}");
}
