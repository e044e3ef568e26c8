//! Labelled digits in the IDX format of MNIST.
//!
//! A big-endian header, then bytes. Images: magic 2051, count, rows, columns; labels: magic 2049,
//! count. Files are checked wholly: magic, sizes, exact length, labels below 10. Unpack gzip first.
//! Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits".

use crate::error::ModelError;

/// Height and width of a digit.
pub const SIDE: usize = 28;
const PIXELS: usize = SIDE * SIDE;
const IMAGES_MAGIC: u32 = 2051;
const LABELS_MAGIC: u32 = 2049;
const CLASSES: u8 = 10;

/// Grey digits of 28 x 28 pixels with their labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digits {
    images: Vec<u8>,
    labels: Vec<u8>,
}

impl Digits {
    /// Reads an image file and its label file, each given as (name for messages, bytes).
    ///
    /// # Errors
    /// A wrong magic number, size, length or label, or files of different counts; the file is
    /// named.
    pub fn parse(images: (&str, &[u8]), labels: (&str, &[u8])) -> Result<Self, ModelError> {
        let ([count, rows, columns], pixels) = header::<3>(images, IMAGES_MAGIC)?;
        if (rows, columns) != (SIDE, SIDE) {
            let reason = format!("images of {rows} x {columns} pixels, expected {SIDE} x {SIDE}");
            return Err(ModelError::data(images.0, reason));
        }
        expect_length(images.0, pixels, count, PIXELS)?;
        let ([label_count], classes) = header::<1>(labels, LABELS_MAGIC)?;
        expect_length(labels.0, classes, label_count, 1)?;
        if let Some(i) = classes.iter().position(|&c| c >= CLASSES) {
            return Err(ModelError::data(
                labels.0,
                format!("label {i} is {}, allowed are 0 to 9", classes[i]),
            ));
        }
        if count != label_count {
            let reason = format!("{label_count} labels, but {} has {count} images", images.0);
            return Err(ModelError::data(labels.0, reason));
        }
        Ok(Digits { images: pixels.to_vec(), labels: classes.to_vec() })
    }

    /// Number of digits.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Pixels of one digit, row by row, 0 (background) to 255.
    ///
    /// # Panics
    /// When there is no such digit.
    pub fn image(&self, index: usize) -> &[u8] {
        &self.images[index * PIXELS..(index + 1) * PIXELS]
    }

    /// Pixels of one digit as numbers from 0 to 1, as networks take them (`pixel/255`).
    ///
    /// # Panics
    /// When there is no such digit.
    pub fn input(&self, index: usize) -> Vec<f32> {
        self.image(index).iter().map(|&p| f32::from(p) / 255.0).collect()
    }

    /// The class of one digit, 0 to 9.
    ///
    /// # Panics
    /// When there is no such digit.
    pub fn label(&self, index: usize) -> usize {
        usize::from(self.labels[index])
    }
}

/// Checks the magic number and splits off the sizes behind it.
fn header<'b, const N: usize>(
    (name, bytes): (&str, &'b [u8]),
    magic: u32,
) -> Result<([usize; N], &'b [u8]), ModelError> {
    let mut rest = bytes;
    let mut word = || {
        let (first, tail) = rest.split_first_chunk::<4>().ok_or_else(|| {
            let reason = format!("{} bytes, too short for the header of an IDX file", bytes.len());
            ModelError::data(name, reason)
        })?;
        rest = tail;
        Ok::<u32, ModelError>(u32::from_be_bytes(*first))
    };
    let got = word()?;
    if got != magic {
        let hint = if bytes.starts_with(&[0x1f, 0x8b]) { " (a gzip file: unpack it first)" } else { "" };
        return Err(ModelError::data(name, format!("magic number {got}, expected {magic}{hint}")));
    }
    let mut sizes = [0; N];
    for size in &mut sizes {
        *size = word()? as usize;
    }
    Ok((sizes, rest))
}

fn expect_length(name: &str, bytes: &[u8], count: usize, each: usize) -> Result<(), ModelError> {
    let expected = count.checked_mul(each);
    if expected == Some(bytes.len()) {
        return Ok(());
    }
    let reason = format!("{} bytes behind the header, expected {count} times {each}", bytes.len());
    Err(ModelError::data(name, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(count: u32, side: u32, bytes: usize) -> Vec<u8> {
        let header = [IMAGES_MAGIC, count, side, side].map(u32::to_be_bytes).concat();
        [header, (0..bytes).map(|i| i as u8).collect()].concat()
    }

    fn labels(classes: &[u8]) -> Vec<u8> {
        [&LABELS_MAGIC.to_be_bytes()[..], &(classes.len() as u32).to_be_bytes(), classes].concat()
    }

    #[test]
    fn reads_digits() {
        let digits = Digits::parse(("i", &images(2, 28, 2 * 784)), ("l", &labels(&[7, 0]))).unwrap();
        assert_eq!((digits.len(), digits.label(0), digits.label(1)), (2, 7, 0));
        assert_eq!(digits.image(1)[0], (784 % 256) as u8);
        assert_eq!(digits.input(0)[255], 1.0);
    }

    #[test]
    fn refuses_other_files() {
        let good = (images(1, 28, 784), labels(&[3]));
        let case = |i: &[u8], l: &[u8]| Digits::parse(("i.idx", i), ("l.idx", l)).unwrap_err().to_string();
        assert_eq!(case(&good.0[..10], &good.1), "i.idx: 10 bytes, too short for the header of an IDX file");
        assert_eq!(case(&good.1, &good.1), "i.idx: magic number 2049, expected 2051");
        assert_eq!(case(&images(1, 32, 1024), &good.1), "i.idx: images of 32 x 32 pixels, expected 28 x 28");
        assert_eq!(case(&good.0[..799], &good.1), "i.idx: 783 bytes behind the header, expected 1 times 784");
        assert_eq!(
            case(&images(u32::MAX, 28, 784), &good.1),
            "i.idx: 784 bytes behind the header, expected 4294967295 times 784"
        );
        assert_eq!(case(&good.0, &labels(&[10])), "l.idx: label 0 is 10, allowed are 0 to 9");
        assert_eq!(case(&good.0, &labels(&[1, 2])), "l.idx: 2 labels, but i.idx has 1 images");
        assert!(case(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &good.1).contains("gzip"));
    }
}
