//! Three parts of a data set: to train on, to choose by, to report on.

use std::collections::HashSet;

use crate::TrainError;
use crate::rng::{Rng, stream};
use amicus_data::Images;

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

/// Drops the excluded images from `all`, holds out `validation` images chosen by `seed`.
///
/// # Errors
///
/// [`TrainError::ExcludedNotFound`] when an excluded image is not there; [`TrainError::Config`]
/// when nothing would be left to train on.
pub fn split(
    all: &Images,
    test: Images,
    excluded: Option<&Images>,
    validation: usize,
    seed: u64,
) -> Result<Split, TrainError> {
    let (mut kept, dropped) = drop_excluded(all, excluded)?;
    if validation >= kept.len() {
        let problem =
            format!("{validation} of {} training images would leave nothing to train on", kept.len());
        return Err(TrainError::Config { name: "validation", problem });
    }
    Rng::new(seed, stream::SPLIT).shuffle(&mut kept);
    let (held_out, rest) = kept.split_at(validation);
    Ok(Split { training: all.select(rest), validation: all.select(held_out), test, dropped })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(n: u8) -> Images {
        let pixels = (0..n).flat_map(|i| [i, 255 - i]).collect();
        Images::new([1, 1, 2], pixels, (0..n).map(|i| i % 10).collect()).unwrap()
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
