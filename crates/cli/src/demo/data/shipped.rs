//! Images that ship with the program; `assets/README.md` says where they come from.

use super::super::DemoError;
use super::{Content, Data, Item, items};
use amicus_data::cifar10::NAMES;
use amicus_data::{Images, mnist, pictures};
use amicus_model::networks::PixelRule;

const DIGITS: [&[u8]; 2] = [
    include_bytes!("../../../assets/digits-images.idx3-ubyte"),
    include_bytes!("../../../assets/digits-labels.idx1-ubyte"),
];
/// Photographs and their classes: all of CIFAR-10's but the frog.
const PHOTOGRAPHS: [(&str, &[u8]); 9] = [
    ("airplane", include_bytes!("../../../assets/photographs/airplane.png")),
    ("automobile", include_bytes!("../../../assets/photographs/automobile.png")),
    ("bird", include_bytes!("../../../assets/photographs/bird.png")),
    ("cat", include_bytes!("../../../assets/photographs/cat.png")),
    ("deer", include_bytes!("../../../assets/photographs/deer.png")),
    ("dog", include_bytes!("../../../assets/photographs/dog.png")),
    ("horse", include_bytes!("../../../assets/photographs/horse.png")),
    ("ship", include_bytes!("../../../assets/photographs/ship.png")),
    ("truck", include_bytes!("../../../assets/photographs/truck.png")),
];
const SHAPE: [usize; 3] = [32, 32, 3];
/// How far photographs are moved to make more of them for calibration, down and across.
const MOVES: [[isize; 2]; 5] = [[0, 0], [-4, 0], [4, 0], [0, -4], [0, 4]];

/// The digits that ship, for keeping them out of training: images and labels as named files.
pub fn shipped_digits() -> [(&'static str, &'static [u8]); 2] {
    [(mnist::SHIPPED[0], DIGITS[0]), (mnist::SHIPPED[1], DIGITS[1])]
}

/// The digits that ship.
pub(super) fn digits(pixels: PixelRule) -> Result<Data, DemoError> {
    let [images, labels] = shipped_digits();
    let digits = mnist::parse(images, labels)?;
    Ok(digits_of("the digits that ship".to_owned(), &digits, pixels))
}

/// Digits in memory.
pub(super) fn digits_of(source: String, digits: &Images, pixels: PixelRule) -> Data {
    let names = Some((0..10).map(|digit| digit.to_string()).collect());
    Data::new(source, names, [mnist::SIDE, mnist::SIDE, 1], pixels).with_items(items(digits))
}

/// The photographs that ship. They are few: calibration also uses them mirrored and moved.
pub(super) fn photographs(pixels: PixelRule) -> Result<Data, DemoError> {
    let names = Some(NAMES.map(String::from).to_vec());
    let mut data = Data::new("the photographs that ship".to_owned(), names, SHAPE, pixels);
    let mut items = Vec::new();
    for (name, bytes) in PHOTOGRAPHS {
        let photograph = pictures::decode(name, bytes, [SHAPE[0], SHAPE[1]])?;
        for mirrored in [false, true] {
            for by in MOVES {
                data.calibration.push(pixels.input(&moved(&photograph, by, mirrored), SHAPE)?);
            }
        }
        let label = NAMES.iter().position(|class| *class == name);
        items.push(Item { number: items.len(), content: Content::Pixels(photograph), label });
    }
    data.items = items;
    Ok(data)
}

/// An image moved, its border repeated, and perhaps mirrored.
fn moved(image: &[u8], [down, across]: [isize; 2], mirrored: bool) -> Vec<u8> {
    let [rows, columns, channels] = SHAPE;
    let clamp = |at: usize, by: isize, size: usize| at.saturating_add_signed(-by).min(size - 1);
    let mut out = Vec::with_capacity(image.len());
    for y in 0..rows {
        for x in 0..columns {
            let x = if mirrored { columns - 1 - x } else { x };
            let at = (clamp(y, down, rows) * columns + clamp(x, across, columns)) * channels;
            out.extend_from_slice(&image[at..at + channels]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photographs_are_read_and_varied() {
        let data = photographs(PixelRule::Symmetric).unwrap();
        assert_eq!((data.len(), data.calibration.len()), (9, 90));
        let labels: Vec<usize> = (0..9).map(|i| data.sample(i).unwrap().label.unwrap()).collect();
        assert_eq!(labels, [0, 1, 2, 3, 4, 5, 7, 8, 9]);
        assert_eq!(data.calibration[0], data.sample(0).unwrap().input);
        let image: Vec<u8> = (0..32 * 32 * 3).map(|i| (i / 3 % 32) as u8).collect();
        let row =
            |by, mirrored| moved(&image, by, mirrored)[..96].iter().step_by(3).copied().collect::<Vec<u8>>();
        assert_eq!(row([0, 4], false)[..6], [0, 0, 0, 0, 0, 1]);
        assert_eq!(row([3, 0], true)[..3], [31, 30, 29]);
    }
}
