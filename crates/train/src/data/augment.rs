//! Small changes of training images that leave their classes alone.

use amicus_data::Images;
use amicus_model::networks::PixelRule;

use crate::rng::{Rng, stream};

/// How far images may be changed.
///
/// With a rotation, images are resampled and shifts are fractions of pixels; without, shifts are
/// whole pixels. Mirroring takes every image in every second epoch, starting at random, so that in
/// two epochs each is seen both ways (Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU",
/// 2024, section 3.6).
#[derive(Clone, Debug)]
pub(crate) struct Augment {
    max_shift: f32,
    max_rotation: f32,
    /// Whether an image is mirrored in even epochs; empty: never.
    mirrored: Vec<bool>,
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
    /// Shifts of up to `max_shift` pixels in each direction and rotations of up to `max_rotation`
    /// degrees each way; mirroring of `images` of them, 0 for none.
    pub(crate) fn new(max_shift: f32, max_rotation: f32, images: usize, seed: u64) -> Self {
        let mut rng = Rng::new(seed, stream::MIRROR);
        Self { max_shift, max_rotation, mirrored: (0..images).map(|_| rng.below(2) == 1).collect() }
    }

    /// Writes image `index` as it looks in `epoch`, as the network's input, to the end of `out`.
    pub(crate) fn push(
        &self,
        images: &Images,
        index: usize,
        epoch: usize,
        rule: PixelRule,
        rng: &mut Rng,
        out: &mut Vec<f32>,
    ) {
        let [_, rows, columns] = images.shape();
        let mirror = self.mirrored.get(index).is_some_and(|&first| first == epoch.is_multiple_of(2));
        let mut pixels = images.image(index).to_vec();
        if mirror {
            pixels.chunks_exact_mut(columns).for_each(|row| row.reverse());
        }
        if self.max_rotation > 0.0 {
            let (sin, cos) = (rng.symmetric() * self.max_rotation).to_radians().sin_cos();
            let motion = Motion {
                sin,
                cos,
                down: rng.symmetric() * self.max_shift,
                right: rng.symmetric() * self.max_shift,
            };
            for plane in pixels.chunks_exact(rows * columns) {
                push_moved(plane, columns, motion, rule, out);
            }
        } else {
            let reach = self.max_shift as usize;
            let mut draw = || rng.below(2 * reach + 1) as isize - reach as isize;
            let (down, right) = (draw(), draw());
            for plane in pixels.chunks_exact(rows * columns) {
                push_shifted(plane, columns, [down, right], rule, out);
            }
        }
    }
}

/// Writes the image unmoved, as the network's input, to the end of `out`.
pub(crate) fn push_plain(image: &[u8], rule: PixelRule, out: &mut Vec<f32>) {
    out.extend(image.iter().map(|&pixel| rule.at(f32::from(pixel))));
}

fn push_shifted(
    plane: &[u8],
    columns: usize,
    [down, right]: [isize; 2],
    rule: PixelRule,
    out: &mut Vec<f32>,
) {
    let (height, width) = ((plane.len() / columns) as isize, columns as isize);
    for row in 0..height {
        for column in 0..width {
            let (r, c) = (row - down, column - right);
            let inside = (0..height).contains(&r) && (0..width).contains(&c);
            let pixel = if inside { plane[(r * width + c) as usize] } else { rule.fill() };
            out.push(rule.at(f32::from(pixel)));
        }
    }
}

/// Bilinear resampling.
fn push_moved(plane: &[u8], columns: usize, motion: Motion, rule: PixelRule, out: &mut Vec<f32>) {
    let rows = plane.len() / columns;
    let (middle_row, middle_column) = ((rows as f32 - 1.0) / 2.0, (columns as f32 - 1.0) / 2.0);
    let outside = f32::from(rule.fill());
    let at = |row: isize, column: isize| -> f32 {
        if (0..rows as isize).contains(&row) && (0..columns as isize).contains(&column) {
            f32::from(plane[row as usize * columns + column as usize])
        } else {
            outside
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
            out.push(rule.at(upper * (1.0 - fr) + lower * fr));
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
        push_moved(&image(), 5, Motion { sin, cos, down, right }, PixelRule::Unit, &mut out);
        out
    }

    fn pushed(augment: &Augment, index: usize, epoch: usize, rng: &mut Rng) -> Vec<f32> {
        let images = Images::new([2, 5, 5], [image(), image()].concat(), vec![0]).unwrap();
        let images = images.select(&vec![0; index + 1]);
        let mut out = Vec::new();
        augment.push(&images, index, epoch, PixelRule::Unit, rng, &mut out);
        assert_eq!(out[..25], out[25..], "channels move together");
        out
    }

    #[test]
    fn no_motion_changes_nothing() {
        let mut plain = Vec::new();
        push_plain(&image(), PixelRule::Unit, &mut plain);
        assert_eq!(moved(0.0, 1.0, 0.0, 0.0), plain);
        assert_eq!((plain[7], plain[18]), (1.0, 0.2));
        let still = pushed(&Augment::new(0.0, 0.0, 0, 1), 0, 0, &mut Rng::new(1, 0));
        assert_eq!(still[..25], plain);
    }

    #[test]
    fn shifts_move_pixels_and_drop_what_leaves() {
        let out = moved(0.0, 1.0, 1.0, -1.0);
        assert_eq!((out[11], out[22]), (1.0, 0.2));
        assert_eq!(moved(0.0, 1.0, 4.0, 0.0).iter().sum::<f32>(), 0.0);
        let mut shifted = Vec::new();
        push_shifted(&image(), 5, [1, -1], PixelRule::Unit, &mut shifted);
        assert_eq!(shifted, out);
        shifted.clear();
        push_shifted(&image(), 5, [4, 0], PixelRule::Symmetric, &mut shifted);
        assert!(shifted[..20].iter().all(|&x| (x - 0.5 / 127.5).abs() < 1e-6), "mid grey comes in");
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
    fn random_motion_stays_within_its_limits_and_uses_them() {
        for rotation in [0.0, 1e-6] {
            let augment = Augment::new(1.0, rotation, 0, 1);
            let mut rng = Rng::new(1, 0);
            let mut places = std::collections::HashSet::new();
            for _ in 0..100 {
                let out = pushed(&augment, 0, 0, &mut rng);
                // The bright pixel at (1, 2) reaches rows 0..=2 and columns 1..=3; the dim one
                // stays at 0.2 or less.
                let bright: Vec<usize> = (0..25).filter(|&i| out[i] > 0.21).collect();
                assert!(bright.iter().all(|&i| i / 5 <= 2 && (1..=3).contains(&(i % 5))));
                places.extend(bright);
            }
            assert_eq!(places.len(), 9, "rotation {rotation}");
        }
    }

    #[test]
    fn every_image_is_mirrored_in_every_second_epoch() {
        let augment = Augment::new(0.0, 0.0, 64, 3);
        let mirrored = |index, epoch| pushed(&augment, index, epoch, &mut Rng::new(1, 0))[16] == 0.2;
        let first: usize = (0..64).filter(|&index| mirrored(index, 0)).count();
        assert!((16..48).contains(&first), "{first}");
        assert!((0..64).all(|index| mirrored(index, 0) != mirrored(index, 1)));
        assert!((0..64).all(|index| mirrored(index, 0) == mirrored(index, 2)));
        assert!(
            (0..64)
                .all(|index| !pushed(&Augment::new(0.0, 0.0, 0, 3), index, 0, &mut Rng::new(1, 0))[16]
                    .eq(&0.2))
        );
    }
}
