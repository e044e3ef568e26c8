//! The MNIST folder.

use std::path::{Path, PathBuf};

use crate::TrainError;
use crate::data::{Images, format_error, idx};

/// Number of classes.
pub const CLASSES: u8 = 10;
/// Height and width in pixels.
pub const SIDE: usize = 28;

const TRAINING: [&str; 2] = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"];
const TEST: [&str; 2] = ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];
const TEST_ALTERNATIVE: [&str; 2] = ["test-images-idx3-ubyte", "test-labels-idx1-ubyte"];

/// Reads training and test set.
///
/// The folder holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, and `t10k-` or `test-`
/// files of the same form, each gzipped (`.gz`) or not.
///
/// # Errors
///
/// [`TrainError`] naming the folder or file.
pub fn load(folder: &Path) -> Result<(Images, Images), TrainError> {
    if !folder.is_dir() {
        return Err(TrainError::NoFolder { path: folder.into() });
    }
    let training = read_pair(folder, TRAINING)?;
    let test_names = if find(folder, TEST_ALTERNATIVE[0]).is_ok() { TEST_ALTERNATIVE } else { TEST };
    Ok((training, read_pair(folder, test_names)?))
}

fn read_pair(folder: &Path, [images, labels]: [&'static str; 2]) -> Result<Images, TrainError> {
    let images = find(folder, images)?;
    let set = idx::read(&images, &find(folder, labels)?, CLASSES)?;
    if (set.rows(), set.columns()) != (SIDE, SIDE) {
        let problem =
            format!("images of {} x {} pixels, MNIST has {SIDE} x {SIDE}", set.rows(), set.columns());
        return Err(format_error(&images.display().to_string(), problem));
    }
    if set.is_empty() {
        return Err(format_error(&images.display().to_string(), "no images"));
    }
    Ok(set)
}

fn find(folder: &Path, name: &'static str) -> Result<PathBuf, TrainError> {
    [folder.join(name), folder.join(format!("{name}.gz"))]
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| TrainError::NoFile { folder: folder.into(), name })
}
