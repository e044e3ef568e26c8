//! Labelled images: splitting, augmenting.
//!
//! `amicus-data` reads them; [`split`](mod@split) keeps given images out of training and holds a
//! part out; `augment` shifts, rotates and mirrors.

// Without the training loop only tests move images.
#[cfg_attr(not(feature = "burn"), allow(dead_code))]
pub(crate) mod augment;
pub mod split;

use std::path::Path;

use amicus_data::{Images, cifar10, mnist};

pub use split::Split;

use crate::{DatasetName, TrainError};

/// Training and test set of a data set's folder (for CIFAR-10 also an archive).
///
/// # Errors
///
/// [`TrainError::Data`] naming the folder or file.
pub fn load(dataset: DatasetName, folder: &Path) -> Result<(Images, Images), TrainError> {
    Ok(match dataset {
        DatasetName::Mnist => mnist::load(folder)?,
        DatasetName::Cifar10 => cifar10::load(folder)?,
    })
}
