//! Data sets in a folder of the user's.

use super::super::DemoError;
use super::{Content, Data, Item, shipped};
use amicus_data::{cifar10, mnist, pictures};
use amicus_model::networks::PixelRule;
use std::path::Path;

/// Labelled digits in the IDX format.
pub(super) fn digits(folder: &Path, pixels: PixelRule) -> Result<Data, DemoError> {
    let (path, digits) = mnist::test_set(folder)?;
    Ok(shipped::digits_of(path.display().to_string(), &digits, pixels))
}

/// Labelled photographs: `test_batch.bin`, or a folder of images for each class, perhaps below
/// `test`.
pub(super) fn photographs(folder: &Path, pixels: PixelRule, classes: usize) -> Result<Data, DemoError> {
    let shape = [cifar10::SIDE, cifar10::SIDE, 3];
    if let Some((path, batch)) = cifar10::test_batch(folder)? {
        let names = Some(cifar10::NAMES.map(String::from).to_vec());
        let data = Data::new(path.display().to_string(), names, shape, pixels);
        return Ok(data.with_items(super::items(&batch)));
    }
    let test = folder.join("test");
    let folder = if test.is_dir() { test } else { folder.to_owned() };
    let classes = pictures::classes(&folder, classes)?;
    let mut items = Vec::new();
    for (label, class) in classes.iter().enumerate() {
        let first = items.len();
        let item = |(at, path): (usize, &std::path::PathBuf)| Item {
            number: first + at,
            content: Content::File(path.clone()),
            label: Some(label),
        };
        items.extend(class.files.iter().enumerate().map(item));
    }
    let names = classes.into_iter().map(|class| class.name).collect();
    Ok(Data::new(folder.display().to_string(), Some(names), shape, pixels).with_items(items))
}
