//! Labelled images: reading, splitting, augmenting.
//!
//! [`mnist`] and [`cifar10`] find a data set's files; [`idx`] parses and writes the IDX format,
//! [`pictures`] reads class-named folders and archives of JPEG and PNG files; [`split`](mod@split)
//! keeps given images out of training and holds a part out; `augment` shifts, rotates and mirrors.

// Without the training loop only tests move images.
#[cfg_attr(not(feature = "burn"), allow(dead_code))]
pub(crate) mod augment;
pub mod cifar10;
pub mod idx;
pub mod mnist;
pub mod pictures;
pub mod split;

use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use split::Split;

use crate::{DatasetName, TrainError};

/// No file is read or unpacked beyond this many bytes: a small packed file can claim to be endless.
pub(crate) const MAX_BYTES: u64 = 1 << 30;
/// First bytes of gzipped data.
pub(crate) const GZIP: [u8; 2] = [0x1f, 0x8b];

/// From a pixel, 0 to 255, to a number of the network's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InputRule {
    /// 0 to 1.
    #[serde(rename = "pixel/255")]
    Unit,
    /// -1 to 1.
    #[serde(rename = "pixel/127.5-1")]
    Symmetric,
}

impl InputRule {
    /// The rule as weight files name it.
    pub fn as_str(self) -> &'static str {
        match self {
            InputRule::Unit => "pixel/255",
            InputRule::Symmetric => "pixel/127.5-1",
        }
    }

    /// The number for a pixel (0 to 255, also between whole ones).
    pub fn at(self, pixel: f32) -> f32 {
        match self {
            InputRule::Unit => pixel / 255.0,
            InputRule::Symmetric => pixel / 127.5 - 1.0,
        }
    }

    /// The pixel that comes in where an image was shifted away: the one closest to 0.
    pub fn fill(self) -> u8 {
        match self {
            InputRule::Unit => 0,
            InputRule::Symmetric => 128,
        }
    }
}

/// Training and test set of a data set's folder (for CIFAR-10 also an archive).
///
/// # Errors
///
/// [`TrainError`] naming the folder or file.
pub fn load(dataset: DatasetName, folder: &Path) -> Result<(Images, Images), TrainError> {
    match dataset {
        DatasetName::Mnist => mnist::load(folder),
        DatasetName::Cifar10 => cifar10::load(folder),
    }
}

/// The bytes of a file, unpacked if it is gzipped (told by its first bytes, not by its name).
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, TrainError> {
    let io = |source| TrainError::Io { action: "read", path: path.into(), source };
    let raw = std::fs::read(path).map_err(io)?;
    if !raw.starts_with(&GZIP) {
        return Ok(raw);
    }
    let (mut unpacked, file) = (Vec::new(), path.display().to_string());
    let mut reader = flate2::read::MultiGzDecoder::new(&raw[..]).take(MAX_BYTES + 1);
    reader
        .read_to_end(&mut unpacked)
        .map_err(|error| format_error(&file, format!("gzip data is damaged or cut off: {error}")))?;
    if unpacked.len() as u64 > MAX_BYTES {
        return Err(format_error(&file, format!("unpacks to more than {MAX_BYTES} bytes")));
    }
    Ok(unpacked)
}

/// What `file` holds is not what its format says.
pub(crate) fn format_error(file: &str, problem: impl Into<String>) -> TrainError {
    TrainError::Format { file: file.to_owned(), problem: problem.into() }
}

/// Images of one size with a class each. Pixels are rows after rows, channels after channels,
/// images after images, 0 to 255.
#[derive(Clone, PartialEq, Eq)]
pub struct Images {
    channels: usize,
    rows: usize,
    columns: usize,
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

/// Sizes only: pixels by the million help nobody.
impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Images({} of {} x {} x {})", self.len(), self.channels, self.rows, self.columns)
    }
}

impl Images {
    /// Puts pixels and labels together.
    ///
    /// # Errors
    ///
    /// [`TrainError::Mismatch`] when there is not exactly one label for every
    /// `channels * rows * columns` pixels, or a size is 0.
    pub fn new(
        [channels, rows, columns]: [usize; 3],
        pixels: Vec<u8>,
        labels: Vec<u8>,
    ) -> Result<Self, TrainError> {
        let size = channels.checked_mul(rows).and_then(|plane| plane.checked_mul(columns));
        let fits = size.filter(|&size| size > 0).and_then(|size| size.checked_mul(labels.len()))
            == Some(pixels.len());
        if !fits {
            let problem = format!(
                "{} pixels are not {} images (one for each label) of {channels} x {rows} x {columns}",
                pixels.len(),
                labels.len()
            );
            return Err(TrainError::Mismatch { problem });
        }
        Ok(Self { channels, rows, columns, pixels, labels })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Channels, rows and columns.
    pub fn shape(&self) -> [usize; 3] {
        [self.channels, self.rows, self.columns]
    }

    /// Height in pixels.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Width in pixels.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The pixels of image `index`, `channels * rows * columns` of them. Panics when there is no
    /// such image.
    pub fn image(&self, index: usize) -> &[u8] {
        let size = self.channels * self.rows * self.columns;
        &self.pixels[index * size..(index + 1) * size]
    }

    /// The class of image `index`. Panics when there is no such image.
    pub fn label(&self, index: usize) -> u8 {
        self.labels[index]
    }

    /// All pixels, image after image.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// All classes.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// The images at `indices`, in that order. Panics when one does not exist.
    pub fn select(&self, indices: &[usize]) -> Self {
        let mut pixels = Vec::with_capacity(indices.len() * self.channels * self.rows * self.columns);
        for &index in indices {
            pixels.extend_from_slice(self.image(index));
        }
        let labels = indices.iter().map(|&index| self.labels[index]).collect();
        Self { pixels, labels, ..*self }
    }

    /// A number that changes with any pixel or label, for telling data sets apart.
    pub fn fingerprint(&self) -> u64 {
        fingerprint(&self.pixels) ^ fingerprint(&self.labels).rotate_left(32)
    }
}

/// FNV-1a of 64 bits: tells files apart that differ by accident, not those an attacker made.
pub fn fingerprint(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_checked() {
        assert!(Images::new([1, 2, 2], vec![0; 8], vec![0, 1]).is_ok());
        assert!(Images::new([2, 2, 1], vec![0; 8], vec![0, 1]).is_ok());
        assert!(Images::new([1, 2, 2], vec![0; 7], vec![0, 1]).is_err());
        assert!(Images::new([1, 0, 2], vec![], vec![]).is_err());
        assert!(Images::new([3, usize::MAX, 2], vec![0; 8], vec![0]).is_err());
    }

    #[test]
    fn selection_keeps_pixels_with_labels() {
        let images = Images::new([1, 1, 2], vec![1, 2, 3, 4, 5, 6], vec![7, 8, 9]).unwrap();
        let picked = images.select(&[2, 0]);
        assert_eq!((picked.image(0), picked.label(0)), (&[5, 6][..], 9));
        assert_eq!((picked.image(1), picked.label(1)), (&[1, 2][..], 7));
        assert_ne!(picked.fingerprint(), images.fingerprint());
        assert_eq!(picked.select(&[1, 0]).fingerprint(), images.select(&[0, 2]).fingerprint());
    }

    #[test]
    fn input_rules() {
        assert_eq!((InputRule::Unit.at(255.0), InputRule::Unit.at(51.0)), (1.0, 0.2));
        assert_eq!((InputRule::Symmetric.at(0.0), InputRule::Symmetric.at(255.0)), (-1.0, 1.0));
        for rule in [InputRule::Unit, InputRule::Symmetric] {
            assert!(rule.at(f32::from(rule.fill())).abs() < 0.01);
            assert_eq!(serde_json::to_string(&rule).unwrap(), format!("\"{}\"", rule.as_str()));
        }
    }
}
