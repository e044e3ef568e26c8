//! Labelled images: reading, splitting, augmenting.
//!
//! [`idx`] parses and writes the IDX format, [`mnist`] finds a data set's files, keeps given images out of
//! training and splits, `augment` shifts and rotates.

// Without the training loop only tests move images.
#[cfg_attr(not(feature = "burn"), allow(dead_code))]
pub(crate) mod augment;
pub mod idx;
pub mod mnist;

use crate::TrainError;

/// Grey images of one size with a class each. Pixels are rows after rows, images after images, 0 to 255.
#[derive(Clone, PartialEq, Eq)]
pub struct Images {
    rows: usize,
    columns: usize,
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

/// Sizes only: pixels by the million help nobody.
impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Images({} of {} x {})", self.len(), self.rows, self.columns)
    }
}

impl Images {
    /// Puts pixels and labels together.
    ///
    /// # Errors
    ///
    /// [`TrainError::Mismatch`] when there is not exactly one label for every `rows * columns` pixels, or a size
    /// is 0.
    pub fn new(rows: usize, columns: usize, pixels: Vec<u8>, labels: Vec<u8>) -> Result<Self, TrainError> {
        let size = rows.checked_mul(columns).filter(|&size| size > 0);
        let fits = size.and_then(|size| size.checked_mul(labels.len())) == Some(pixels.len());
        if !fits {
            let problem = format!(
                "{} pixels are not {} images (one for each label) of {rows} x {columns}",
                pixels.len(),
                labels.len()
            );
            return Err(TrainError::Mismatch { problem });
        }
        Ok(Self { rows, columns, pixels, labels })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Height in pixels.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Width in pixels.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The pixels of image `index`, `rows * columns` of them. Panics when there is no such image.
    pub fn image(&self, index: usize) -> &[u8] {
        let size = self.rows * self.columns;
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
        let mut pixels = Vec::with_capacity(indices.len() * self.rows * self.columns);
        for &index in indices {
            pixels.extend_from_slice(self.image(index));
        }
        let labels = indices.iter().map(|&index| self.labels[index]).collect();
        Self { rows: self.rows, columns: self.columns, pixels, labels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_checked() {
        assert!(Images::new(2, 2, vec![0; 8], vec![0, 1]).is_ok());
        assert!(Images::new(2, 2, vec![0; 7], vec![0, 1]).is_err());
        assert!(Images::new(0, 2, vec![], vec![]).is_err());
        assert!(Images::new(usize::MAX, 2, vec![0; 8], vec![0]).is_err());
    }

    #[test]
    fn selection_keeps_pixels_with_labels() {
        let images = Images::new(1, 2, vec![1, 2, 3, 4, 5, 6], vec![7, 8, 9]).unwrap();
        let picked = images.select(&[2, 0]);
        assert_eq!((picked.image(0), picked.label(0)), (&[5, 6][..], 9));
        assert_eq!((picked.image(1), picked.label(1)), (&[1, 2][..], 7));
    }
}
