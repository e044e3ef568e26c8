//! A data folder split into the parts that training needs.

#![allow(clippy::unwrap_used)] // a test may fail by panicking, its helpers too

mod common;

use amicus_data::{Images, mnist};
use amicus_train::TrainError;
use amicus_train::data::split::{Split, split};
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
fn too_many_held_out_are_refused() {
    let folder = Folder::new("held-out");
    write_set(&folder.0, &squares(20, 1), &squares(10, 2));
    let error = load(&folder.0, None, 20, 1).unwrap_err();
    assert!(matches!(error, TrainError::Config { name: "validation", .. }), "{error}");
}

#[test]
fn what_cannot_be_read_is_named() {
    let error = load(std::path::Path::new("/nowhere/at all"), None, 1, 1).unwrap_err();
    assert!(matches!(error, TrainError::Data(amicus_data::DataError::NoFolder { .. })), "{error}");
}

#[test]
fn excluded_images_from_elsewhere_are_refused() {
    let folder = Folder::new("elsewhere");
    write_set(&folder.0, &squares(20, 1), &squares(10, 2));
    let error = load(&folder.0, Some(&squares(4, 99)), 5, 1).unwrap_err();
    assert!(matches!(error, TrainError::ExcludedNotFound { missing: 4, of: 4 }), "{error}");
}
