//! MNIST: which files a folder holds, and what is in them.

use std::path::{Path, PathBuf};

use crate::error::must_be_folder;
use crate::{DataError, Images, idx};

/// Number of classes.
pub const CLASSES: u8 = 10;
/// Height and width in pixels.
pub const SIDE: usize = 28;
/// Names of the image and label files of the digits that ship with the command line.
pub const SHIPPED: [&str; 2] = ["digits-images.idx3-ubyte", "digits-labels.idx1-ubyte"];

const TRAINING: [[&str; 2]; 1] = [["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]];
/// Test sets; the first pair that is there is used.
const TEST: [[&str; 2]; 3] = [
    SHIPPED,
    ["test-images-idx3-ubyte", "test-labels-idx1-ubyte"],
    ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"],
];

/// Labelled digits from an image file and a label file, each given as (name for messages, unpacked
/// bytes).
///
/// # Errors
/// What [`idx::parse`] refuses, other sizes than 28 x 28, and no images at all.
pub fn parse(images: (&str, &[u8]), labels: (&str, &[u8])) -> Result<Images, DataError> {
    digits(images.0, idx::parse(images, labels, CLASSES)?)
}

/// Reads training and test set.
///
/// The folder holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, and `t10k-` or `test-`
/// files of the same form, each gzipped (`.gz`) or not.
///
/// # Errors
/// [`DataError`] naming the folder or file.
pub fn load(folder: &Path) -> Result<(Images, Images), DataError> {
    Ok((pair(folder, &TRAINING)?.1, pair(folder, &TEST[1..])?.1))
}

/// Reads a test set: files as [`load`] takes them, or named as those that ship. Also gives the
/// image file's path.
///
/// # Errors
/// [`DataError`] naming the folder or file.
pub fn test_set(folder: &Path) -> Result<(PathBuf, Images), DataError> {
    pair(folder, &TEST)
}

fn pair(folder: &Path, names: &[[&str; 2]]) -> Result<(PathBuf, Images), DataError> {
    must_be_folder(folder)?;
    let file = |name: &str| {
        [folder.join(name), folder.join(format!("{name}.gz"))].into_iter().find(|path| path.is_file())
    };
    let found = names.iter().find_map(|[images, labels]| Some([file(images)?, file(labels)?]));
    let [images, labels] = found.ok_or_else(|| {
        let known: Vec<String> = names.iter().map(|[i, l]| format!("{i} and {l}")).collect();
        let wanted = format!("{} (each gzipped or not)", known.join("; "));
        DataError::NoFile { folder: folder.into(), wanted }
    })?;
    let set = idx::read(&images, &labels, CLASSES)?;
    let set = digits(&images.display().to_string(), set)?;
    Ok((images, set))
}

fn digits(file: &str, images: Images) -> Result<Images, DataError> {
    let [_, rows, columns] = images.shape();
    if [rows, columns] != [SIDE; 2] {
        let problem = format!("images of {rows} x {columns} pixels, MNIST has {SIDE} x {SIDE}");
        return Err(DataError::format(file, problem));
    }
    if images.is_empty() { Err(DataError::format(file, "no images")) } else { Ok(images) }
}
