//! Entry points for fuzzing: what the demonstration reads of images. No part of what this crate
//! promises.

use super::{Data, folder, image};
use amicus_model::networks::PixelRule;
use std::path::Path;

/// Decodes a PNG or JPEG image of `[rows, columns, 3]`.
///
/// # Panics
/// When it has another number of pixels than it says.
pub fn picture(bytes: &[u8], shape: [usize; 3]) {
    if let Ok(pixels) = image::decode(bytes, shape) {
        assert_eq!(pixels.len(), shape.iter().product::<usize>(), "pixels of an image");
    }
}

/// Reads a folder of digits as `--data-dir` takes it, and every digit. Gives their number.
///
/// # Panics
/// When what is read breaks a promise.
pub fn digits(folder: &Path) -> Option<usize> {
    folder::digits(folder, PixelRule::Unit).ok().map(|data| all(&data, 784, 10))
}

/// Reads a folder of photographs of so many classes as `--data-dir` takes it, and every photograph.
/// Gives their number.
///
/// # Panics
/// When what is read breaks a promise.
pub fn photographs(folder: &Path, classes: usize) -> Option<usize> {
    let data = folder::photographs(folder, PixelRule::Symmetric, classes).ok()?;
    Some(all(&data, 3 * 32 * 32, data.classes.as_ref().map_or(0, Vec::len)))
}

fn all(data: &Data, numbers: usize, classes: usize) -> usize {
    for index in 0..data.len() {
        if let Ok(sample) = data.sample(index) {
            assert_eq!(sample.input.len(), numbers, "numbers of an input");
            assert!(sample.input.iter().all(|v| (-1.0..=1.0).contains(v)), "an input out of range");
            assert!(sample.label.is_some_and(|label| label < classes), "a label that is no class");
        }
    }
    data.len()
}
