//! Pixels to the numbers that networks take.

use std::ops::RangeInclusive;

use crate::error::ModelError;

/// How a network takes 8-bit pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelRule {
    /// `pixel / 255`, from 0 to 1.
    Unit,
    /// `pixel / 127.5 - 1`, from -1 to 1.
    Symmetric,
}

impl PixelRule {
    /// The rule of that name: `pixel/255` or `pixel/127.5-1`.
    pub fn parse(name: &str) -> Option<Self> {
        [PixelRule::Unit, PixelRule::Symmetric].into_iter().find(|rule| rule.name() == name)
    }

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            PixelRule::Unit => "pixel/255",
            PixelRule::Symmetric => "pixel/127.5-1",
        }
    }

    /// The numbers it gives.
    pub fn range(self) -> RangeInclusive<f64> {
        match self {
            PixelRule::Unit => 0.0..=1.0,
            PixelRule::Symmetric => -1.0..=1.0,
        }
    }

    /// One pixel's number.
    pub fn number(self, pixel: u8) -> f32 {
        self.at(f32::from(pixel))
    }

    /// The number for a pixel of 0 to 255, also between whole ones.
    pub fn at(self, pixel: f32) -> f32 {
        match self {
            PixelRule::Unit => pixel / 255.0,
            PixelRule::Symmetric => pixel / 127.5 - 1.0,
        }
    }

    /// The pixel whose number is closest to 0: what comes in where an image was shifted away.
    pub fn fill(self) -> u8 {
        match self {
            PixelRule::Unit => 0,
            PixelRule::Symmetric => 128,
        }
    }

    /// An image as a network's input: from `[rows, columns, channels]`, the channels of a pixel
    /// side by side, to `[channels, rows, columns]`.
    ///
    /// # Errors
    /// When there are not as many pixels as the shape says.
    pub fn input(self, pixels: &[u8], [rows, columns, channels]: [usize; 3]) -> Result<Vec<f32>, ModelError> {
        if pixels.len() != rows * columns * channels {
            let reason = format!("{} numbers, expected {rows} x {columns} x {channels}", pixels.len());
            return Err(ModelError::data("image", reason));
        }
        let channel = |c| pixels.iter().skip(c).step_by(channels).map(|&p| self.number(p));
        Ok((0..channels).flat_map(channel).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_come_apart() {
        let pixels = [0, 51, 255, 102, 153, 204];
        let image = PixelRule::Unit.input(&pixels, [1, 2, 3]).unwrap();
        assert_eq!(image, [0.0, 0.4, 0.2, 0.6, 1.0, 0.8]);
        let image = PixelRule::Symmetric.input(&pixels, [2, 1, 3]).unwrap();
        assert_eq!((image[0], image[4]), (-1.0, 1.0));
        for rule in [PixelRule::Unit, PixelRule::Symmetric] {
            assert_eq!(PixelRule::parse(rule.name()), Some(rule));
            let inside = |p: u8| rule.range().contains(&f64::from(rule.number(p)));
            assert!((0..=255).all(inside));
            assert!(rule.number(rule.fill()).abs() < 0.01);
        }
        assert!(PixelRule::parse("pixel").is_none() && PixelRule::Unit.input(&pixels, [1, 1, 3]).is_err());
    }
}
