//! How far activations leave the interval they are meant for.
//!
//! Fixed-point arithmetic leaves guard bits above the interval: with one guard bit, |t| below 2 B
//! is exact and anything beyond wraps. So the largest value matters more than the share of values
//! outside.

use serde::{Deserialize, Serialize};

/// The inputs t of one activation layer over a set of images, compared with the interval [-B, B].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerRange {
    /// The activation's name: that of the layer before it.
    pub layer: String,
    /// Values seen: images times activations.
    pub values: u64,
    /// Values with |t| > B.
    pub escaped: u64,
    /// Images seen.
    pub images: u64,
    /// Images with at least one such value.
    pub images_escaped: u64,
    /// Largest |t| / B; infinite when a value was not a number.
    pub max_ratio: f64,
    /// Root mean square of t / B.
    pub rms_ratio: f64,
}

impl LayerRange {
    /// Nothing seen yet.
    pub fn new(layer: &str) -> Self {
        Self {
            layer: layer.to_owned(),
            values: 0,
            escaped: 0,
            images: 0,
            images_escaped: 0,
            max_ratio: 0.0,
            rms_ratio: 0.0,
        }
    }

    /// Adds the values t of `images` images, one image after the other, for the half-width
    /// `interval`.
    pub fn add(&mut self, values: &[f32], images: usize, interval: f64) {
        if values.is_empty() || images == 0 {
            return;
        }
        let mut squares = self.rms_ratio.powi(2) * self.values as f64;
        for image in values.chunks(values.len().div_ceil(images)) {
            let before = self.escaped;
            for &t in image {
                let ratio = (f64::from(t) / interval).abs();
                let ratio = if ratio.is_nan() { f64::INFINITY } else { ratio };
                self.escaped += u64::from(ratio > 1.0);
                self.max_ratio = self.max_ratio.max(ratio);
                squares += ratio * ratio;
            }
            self.images_escaped += u64::from(self.escaped > before);
        }
        self.images += images as u64;
        self.values += values.len() as u64;
        self.rms_ratio = (squares / self.values as f64).sqrt();
    }

    /// Share of images with a value outside the interval.
    pub fn image_escape_rate(&self) -> f64 {
        if self.images == 0 { 0.0 } else { self.images_escaped as f64 / self.images as f64 }
    }

    /// Share of values outside the interval.
    pub fn escape_rate(&self) -> f64 {
        if self.values == 0 { 0.0 } else { self.escaped as f64 / self.values as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_both_sides_and_keeps_the_largest() {
        let mut range = LayerRange::new("fc1");
        range.add(&[1.0, -2.0, 2.5, 0.0], 2, 2.0);
        range.add(&[-3.0], 1, 2.0);
        range.add(&[], 0, 2.0);
        assert_eq!((range.values, range.escaped, range.max_ratio), (5, 2, 1.5));
        assert_eq!((range.images, range.images_escaped), (3, 2));
        assert!((range.escape_rate() - 0.4).abs() < 1e-12);
        assert!((range.image_escape_rate() - 2.0 / 3.0).abs() < 1e-12);
        assert!((range.rms_ratio - (20.25f64 / 4.0 / 5.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn what_is_not_a_number_counts_as_escaped() {
        let mut range = LayerRange::new("fc1");
        range.add(&[f32::NAN], 1, 2.0);
        assert_eq!((range.escaped, range.max_ratio), (1, f64::INFINITY));
    }
}
