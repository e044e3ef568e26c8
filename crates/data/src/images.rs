//! Labelled images in memory.

use amicus_model::networks::PixelRule;

use crate::DataError;

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
    /// [`DataError::Mismatch`] when there is not exactly one label for every
    /// `channels * rows * columns` pixels, or a size is 0.
    pub fn new(
        [channels, rows, columns]: [usize; 3],
        pixels: Vec<u8>,
        labels: Vec<u8>,
    ) -> Result<Self, DataError> {
        let size = channels.checked_mul(rows).and_then(|plane| plane.checked_mul(columns));
        let fits = size.filter(|&size| size > 0).and_then(|size| size.checked_mul(labels.len()))
            == Some(pixels.len());
        if !fits {
            let problem = format!(
                "{} pixels are not {} images (one for each label) of {channels} x {rows} x {columns}",
                pixels.len(),
                labels.len()
            );
            return Err(DataError::Mismatch { problem });
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

    /// Image `index` with the channels of a pixel side by side: `rows * columns * channels`. Panics
    /// when there is no such image.
    pub fn interleaved(&self, index: usize) -> Vec<u8> {
        let (image, plane) = (self.image(index), self.rows * self.columns);
        (0..plane).flat_map(|at| (0..self.channels).map(move |c| image[c * plane + at])).collect()
    }

    /// Image `index` as the input of a network that takes pixels by that rule. Panics when there is
    /// no such image.
    pub fn input(&self, index: usize, rule: PixelRule) -> Vec<f32> {
        self.image(index).iter().map(|&pixel| rule.number(pixel)).collect()
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
        assert_eq!(picked.input(1, PixelRule::Unit), [1.0 / 255.0, 2.0 / 255.0]);
        assert_ne!(picked.fingerprint(), images.fingerprint());
        assert_eq!(picked.select(&[1, 0]).fingerprint(), images.select(&[0, 2]).fingerprint());
    }

    #[test]
    fn channels_side_by_side() {
        let images = Images::new([3, 1, 2], vec![1, 2, 3, 4, 5, 6], vec![0]).unwrap();
        assert_eq!(images.interleaved(0), [1, 3, 5, 2, 4, 6]);
    }
}
