//! Small shifts and rotations of training images.

use crate::rng::Rng;

/// How far an image may be moved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Augment {
    /// Largest shift in pixels, each direction.
    pub(crate) max_shift: f32,
    /// Largest rotation in degrees, each way.
    pub(crate) max_rotation: f32,
}

/// Where the output's pixels come from in the input: rotation about the centre, then a shift.
#[derive(Clone, Copy, Debug)]
struct Motion {
    sin: f32,
    cos: f32,
    down: f32,
    right: f32,
}

impl Augment {
    /// Writes one randomly moved image, pixel / 255, `rows * columns` values, to the end of `out`.
    pub(crate) fn push(&self, image: &[u8], columns: usize, rng: &mut Rng, out: &mut Vec<f32>) {
        let (sin, cos) = (rng.symmetric() * self.max_rotation).to_radians().sin_cos();
        let motion = Motion {
            sin,
            cos,
            down: rng.symmetric() * self.max_shift,
            right: rng.symmetric() * self.max_shift,
        };
        push_moved(image, columns, motion, out);
    }
}

/// Writes the image unmoved, pixel / 255, to the end of `out`.
pub(crate) fn push_plain(image: &[u8], out: &mut Vec<f32>) {
    out.extend(image.iter().map(|&pixel| f32::from(pixel) / 255.0));
}

/// Bilinear resampling; outside the image is 0.
fn push_moved(image: &[u8], columns: usize, motion: Motion, out: &mut Vec<f32>) {
    let rows = image.len() / columns;
    let (middle_row, middle_column) = ((rows as f32 - 1.0) / 2.0, (columns as f32 - 1.0) / 2.0);
    let at = |row: isize, column: isize| -> f32 {
        if (0..rows as isize).contains(&row) && (0..columns as isize).contains(&column) {
            f32::from(image[row as usize * columns + column as usize])
        } else {
            0.0
        }
    };
    for row in 0..rows {
        let y = row as f32 - middle_row - motion.down;
        for column in 0..columns {
            let x = column as f32 - middle_column - motion.right;
            let from_row = motion.cos * y - motion.sin * x + middle_row;
            let from_column = motion.sin * y + motion.cos * x + middle_column;
            let (r, c) = (from_row.floor(), from_column.floor());
            let (fr, fc) = (from_row - r, from_column - c);
            let (r, c) = (r as isize, c as isize);
            let upper = at(r, c) * (1.0 - fc) + at(r, c + 1) * fc;
            let lower = at(r + 1, c) * (1.0 - fc) + at(r + 1, c + 1) * fc;
            out.push((upper * (1.0 - fr) + lower * fr) / 255.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 5 x 5 with one pixel at (1, 2) and one at (3, 3).
    fn image() -> Vec<u8> {
        let mut image = vec![0; 25];
        image[7] = 255;
        image[18] = 51;
        image
    }

    fn moved(sin: f32, cos: f32, down: f32, right: f32) -> Vec<f32> {
        let mut out = Vec::new();
        push_moved(&image(), 5, Motion { sin, cos, down, right }, &mut out);
        out
    }

    #[test]
    fn no_motion_changes_nothing() {
        let mut plain = Vec::new();
        push_plain(&image(), &mut plain);
        assert_eq!(moved(0.0, 1.0, 0.0, 0.0), plain);
        assert_eq!((plain[7], plain[18]), (1.0, 0.2));
    }

    #[test]
    fn shifts_move_pixels_and_drop_what_leaves() {
        let out = moved(0.0, 1.0, 1.0, -1.0);
        assert_eq!((out[11], out[22]), (1.0, 0.2));
        assert_eq!(moved(0.0, 1.0, 4.0, 0.0).iter().sum::<f32>(), 0.0);
    }

    #[test]
    fn half_a_pixel_is_shared_by_two() {
        let out = moved(0.0, 1.0, 0.0, 0.5);
        assert_eq!((out[7], out[8]), (0.5, 0.5));
    }

    #[test]
    fn a_quarter_turn_takes_up_to_a_side() {
        // (1, 2) is one above the centre (2, 2); a quarter turn puts it beside the centre.
        let out = moved(1.0, 0.0, 0.0, 0.0);
        let place = out.iter().position(|&x| x == 1.0).unwrap();
        assert!(place == 11 || place == 13, "{place}");
    }

    #[test]
    fn random_motion_stays_within_its_limits() {
        let augment = Augment { max_shift: 1.0, max_rotation: 0.0 };
        let mut rng = Rng::new(1, 0);
        for _ in 0..100 {
            let mut out = Vec::new();
            augment.push(&image(), 5, &mut rng, &mut out);
            assert_eq!(out.len(), 25);
            // The bright pixel at (1, 2) reaches rows 0..=2 and columns 1..=3; the dim one stays at 0.2 or less.
            let bright = (0..25).filter(|&i| out[i] > 0.2);
            assert!(bright.clone().all(|i| i / 5 <= 2 && (1..=3).contains(&(i % 5))));
        }
    }
}
