//! The MNIST folder: training and test set, with given images kept out and a part held out.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::TrainError;
use crate::data::{Images, idx};
use crate::rng::Rng;

/// Number of classes.
pub const CLASSES: u8 = 10;
/// Height and width in pixels.
pub const SIDE: usize = 28;

const TRAINING: [&str; 2] = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"];
const TEST: [&str; 2] = ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];
const TEST_ALTERNATIVE: [&str; 2] = ["test-images-idx3-ubyte", "test-labels-idx1-ubyte"];

/// A data set ready for training: three disjoint parts.
#[derive(Clone, Debug)]
pub struct Split {
    /// To train on.
    pub training: Images,
    /// Held out from the training set, for choices.
    pub validation: Images,
    /// The test set, looked at once.
    pub test: Images,
    /// Training images dropped because they were to be excluded.
    pub dropped: usize,
}

/// Reads the folder, drops the excluded images, holds out `validation` images chosen by `seed`.
///
/// The folder holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, and `t10k-` or `test-` files of the same
/// form, each gzipped (`.gz`) or not.
///
/// # Errors
///
/// [`TrainError`] naming the folder or file; [`TrainError::Config`] when nothing would be left to train on.
pub fn load(
    folder: &Path,
    excluded: Option<&Images>,
    validation: usize,
    seed: u64,
) -> Result<Split, TrainError> {
    if !folder.is_dir() {
        return Err(TrainError::NoFolder { path: folder.into() });
    }
    let all = read_pair(folder, TRAINING)?;
    let test_names = if find(folder, TEST_ALTERNATIVE[0]).is_ok() { TEST_ALTERNATIVE } else { TEST };
    let test = read_pair(folder, test_names)?;
    let (mut kept, dropped) = drop_excluded(&all, excluded)?;
    if validation >= kept.len() {
        let problem =
            format!("{validation} of {} training images would leave nothing to train on", kept.len());
        return Err(TrainError::Config { name: "validation", problem });
    }
    Rng::new(seed, 1).shuffle(&mut kept);
    let (held_out, rest) = kept.split_at(validation);
    Ok(Split { training: all.select(rest), validation: all.select(held_out), test, dropped })
}

/// Reads the training set as it is.
///
/// # Errors
///
/// As [`load`].
pub fn load_training(folder: &Path) -> Result<Images, TrainError> {
    if !folder.is_dir() {
        return Err(TrainError::NoFolder { path: folder.into() });
    }
    read_pair(folder, TRAINING)
}

/// Indices of the images of `all` that are not in `excluded`, and how many were dropped.
///
/// # Errors
///
/// [`TrainError::ExcludedNotFound`] when an excluded image is not in `all`.
fn drop_excluded(all: &Images, excluded: Option<&Images>) -> Result<(Vec<usize>, usize), TrainError> {
    let unwanted: HashSet<&[u8]> =
        excluded.map(|images| (0..images.len()).map(|i| images.image(i)).collect()).unwrap_or_default();
    let mut found: HashSet<&[u8]> = HashSet::new();
    let mut kept = Vec::with_capacity(all.len());
    for index in 0..all.len() {
        if unwanted.contains(all.image(index)) {
            found.insert(all.image(index));
        } else {
            kept.push(index);
        }
    }
    if found.len() < unwanted.len() {
        return Err(TrainError::ExcludedNotFound {
            missing: unwanted.len() - found.len(),
            of: unwanted.len(),
        });
    }
    let dropped = all.len() - kept.len();
    Ok((kept, dropped))
}

fn read_pair(folder: &Path, [images, labels]: [&'static str; 2]) -> Result<Images, TrainError> {
    let images = find(folder, images)?;
    let set = idx::read(&images, &find(folder, labels)?, CLASSES)?;
    if (set.rows(), set.columns()) != (SIDE, SIDE) {
        let problem =
            format!("images of {} x {} pixels, MNIST has {SIDE} x {SIDE}", set.rows(), set.columns());
        return Err(TrainError::Format { file: images.display().to_string(), problem });
    }
    if set.is_empty() {
        return Err(TrainError::Format { file: images.display().to_string(), problem: "no images".into() });
    }
    Ok(set)
}

fn find(folder: &Path, name: &'static str) -> Result<PathBuf, TrainError> {
    [folder.join(name), folder.join(format!("{name}.gz"))]
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| TrainError::NoFile { folder: folder.into(), name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(n: u8) -> Images {
        Images::new(1, 2, (0..n).flat_map(|i| [i, 255 - i]).collect(), (0..n).map(|i| i % 10).collect())
            .unwrap()
    }

    #[test]
    fn excluded_images_are_dropped_by_content_every_copy() {
        let all = numbered(20).select(&[0, 1, 2, 3, 2, 5]);
        let (kept, dropped) = drop_excluded(&all, Some(&numbered(20).select(&[2, 5]))).unwrap();
        assert_eq!((kept, dropped), (vec![0, 1, 3], 3));
    }

    #[test]
    fn an_excluded_image_that_is_not_there_is_an_error() {
        let error = drop_excluded(&numbered(5), Some(&numbered(7))).unwrap_err();
        assert!(matches!(error, TrainError::ExcludedNotFound { missing: 2, of: 7 }), "{error}");
    }

    #[test]
    fn nothing_excluded_keeps_all() {
        assert_eq!(drop_excluded(&numbered(4), None).unwrap(), (vec![0, 1, 2, 3], 0));
    }
}
