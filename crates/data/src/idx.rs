//! The IDX format of MNIST: a big-endian header, then bytes; optionally gzipped.
//!
//! Images: magic 2051, count, rows, columns (32 bits each), then count * rows * columns pixels.
//! Labels: magic 2049, count, then count classes. Files are wholly checked: magic, sizes, exact
//! length, label range. Source: the description at LeCun, Cortes, Burges, "The MNIST database of
//! handwritten digits".

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::{DataError, Images, gzip};

const IMAGES_MAGIC: u32 = 2051;
const LABELS_MAGIC: u32 = 2049;

/// Reads an image file and its label file, each gzipped or not (told by their first bytes, not by
/// name).
///
/// `classes`: labels must be below it.
///
/// # Errors
///
/// [`DataError::Io`], [`DataError::Format`] naming the file, [`DataError::Mismatch`] for
/// different counts.
pub fn read(images: &Path, labels: &Path, classes: u8) -> Result<Images, DataError> {
    let (image_bytes, label_bytes) = (gzip::read(images)?, gzip::read(labels)?);
    parse(
        (&images.display().to_string(), &image_bytes),
        (&labels.display().to_string(), &label_bytes),
        classes,
    )
}

/// Parses unpacked image and label files, each given as (name for messages, bytes).
///
/// # Errors
///
/// What [`read`] refuses in a file.
pub fn parse(images: (&str, &[u8]), labels: (&str, &[u8]), classes: u8) -> Result<Images, DataError> {
    let (header, pixels) = split_header::<4>(images, "images", IMAGES_MAGIC)?;
    let [_, count, rows, columns] = header;
    if rows == 0 || columns == 0 {
        return Err(DataError::format(images.0, format!("images of {rows} x {columns} pixels")));
    }
    expect_length(images.0, pixels, &[count, rows, columns])?;
    let (header, classes_of) = split_header::<2>(labels, "labels", LABELS_MAGIC)?;
    expect_length(labels.0, classes_of, &header[1..])?;
    if let Some(index) = classes_of.iter().position(|&label| label >= classes) {
        let problem = format!(
            "label {} of image {index}, allowed are 0 to {}",
            classes_of[index],
            classes.saturating_sub(1)
        );
        return Err(DataError::format(labels.0, problem));
    }
    if count != header[1] {
        let problem = format!("{} has {count} images, {} has {} labels", images.0, labels.0, header[1]);
        return Err(DataError::Mismatch { problem });
    }
    Images::new([1, rows as usize, columns as usize], pixels.to_vec(), classes_of.to_vec())
}

/// The unpacked image file and label file of `images`, in this order.
///
/// # Errors
///
/// [`DataError::Mismatch`] when a size does not fit 32 bits, or images have several channels, for
/// which IDX has no place.
pub fn encode(images: &Images) -> Result<(Vec<u8>, Vec<u8>), DataError> {
    if images.shape()[0] != 1 {
        let problem = format!("IDX holds grey images, these have {} channels", images.shape()[0]);
        return Err(DataError::Mismatch { problem });
    }
    let field = |n: usize| {
        u32::try_from(n)
            .map_err(|_| DataError::Mismatch { problem: format!("{n} does not fit an IDX header") })
    };
    let count = field(images.len())?;
    let mut first = Vec::with_capacity(16 + images.pixels().len());
    for value in [IMAGES_MAGIC, count, field(images.rows())?, field(images.columns())?] {
        first.extend_from_slice(&value.to_be_bytes());
    }
    first.extend_from_slice(images.pixels());
    let mut second = Vec::with_capacity(8 + images.len());
    for value in [LABELS_MAGIC, count] {
        second.extend_from_slice(&value.to_be_bytes());
    }
    second.extend_from_slice(images.labels());
    Ok((first, second))
}

/// Writes `images` as two unpacked files.
///
/// # Errors
///
/// [`DataError::Io`], or as [`encode`].
pub fn write(images: &Images, image_file: &Path, label_file: &Path) -> Result<(), DataError> {
    let (pixels, labels) = encode(images)?;
    for (path, bytes) in [(image_file, pixels), (label_file, labels)] {
        File::create(path).and_then(|mut file| file.write_all(&bytes)).map_err(|source| DataError::Io {
            action: "write",
            path: path.into(),
            source,
        })?;
    }
    Ok(())
}

/// The header's N fields and the bytes after it.
fn split_header<'a, const N: usize>(
    (name, bytes): (&str, &'a [u8]),
    kind: &str,
    magic: u32,
) -> Result<([u32; N], &'a [u8]), DataError> {
    let Some((head, rest)) = bytes.split_at_checked(4 * N) else {
        return Err(DataError::format(
            name,
            format!("{} bytes, an IDX header of {kind} alone has {}", bytes.len(), 4 * N),
        ));
    };
    let fields: [u32; N] = std::array::from_fn(|i| {
        u32::from_be_bytes([head[4 * i], head[4 * i + 1], head[4 * i + 2], head[4 * i + 3]])
    });
    if fields[0] != magic {
        let problem = format!("starts with {}, an IDX file of {kind} starts with {magic}", fields[0]);
        return Err(DataError::format(name, problem));
    }
    Ok((fields, rest))
}

/// Checks that exactly the product of `dimensions` bytes follow the header.
fn expect_length(name: &str, data: &[u8], dimensions: &[u32]) -> Result<(), DataError> {
    let expected = dimensions.iter().map(|&n| u128::from(n)).product::<u128>();
    if expected != data.len() as u128 {
        let what = if (data.len() as u128) < expected { "cut off" } else { "too long" };
        let problem = format!(
            "{what}: the header {dimensions:?} asks for {expected} bytes after it, there are {}",
            data.len()
        );
        return Err(DataError::format(name, problem));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Images {
        Images::new([1, 2, 3], (0..18).collect(), vec![0, 9, 4]).unwrap()
    }

    fn parse_bytes(images: &[u8], labels: &[u8]) -> Result<Images, DataError> {
        parse(("pics", images), ("tags", labels), 10)
    }

    #[test]
    fn encode_then_parse_gives_the_same() {
        let (pixels, labels) = encode(&sample()).unwrap();
        assert_eq!(&pixels[..16], &[0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 3]);
        assert_eq!(&labels[..8], &[0, 0, 8, 1, 0, 0, 0, 3]);
        assert_eq!(parse_bytes(&pixels, &labels).unwrap(), sample());
    }

    #[test]
    fn every_cut_of_a_file_is_refused_and_names_it() {
        let (pixels, labels) = encode(&sample()).unwrap();
        for n in 0..pixels.len() {
            let message = parse_bytes(&pixels[..n], &labels).unwrap_err().to_string();
            assert!(message.contains("pics"), "{message}");
        }
        for n in 0..labels.len() {
            let message = parse_bytes(&pixels, &labels[..n]).unwrap_err().to_string();
            assert!(message.contains("tags"), "{message}");
        }
    }

    #[test]
    fn wrong_magic_extra_bytes_label_and_count_are_refused() {
        let (pixels, labels) = encode(&sample()).unwrap();
        let mut wrong = pixels.clone();
        wrong[3] = 1;
        assert!(parse_bytes(&wrong, &labels).unwrap_err().to_string().contains("starts with 2049"));
        let mut long = labels.clone();
        long.push(1);
        assert!(parse_bytes(&pixels, &long).unwrap_err().to_string().contains("too long"));
        let mut label = labels;
        label[9] = 10;
        let message = parse_bytes(&pixels, &label).unwrap_err().to_string();
        assert!(message.contains("label 10 of image 1"), "{message}");
        let (_, fewer) = encode(&sample().select(&[0, 1])).unwrap();
        let message = parse_bytes(&pixels, &fewer).unwrap_err().to_string();
        assert!(message.contains("3 images") && message.contains("2 labels"), "{message}");
    }

    #[test]
    fn a_header_that_asks_for_too_much_is_refused_without_allocating() {
        let mut header = vec![0, 0, 8, 3];
        header.extend_from_slice(&[0xff; 12]);
        let (_, labels) = encode(&sample()).unwrap();
        assert!(parse_bytes(&header, &labels).unwrap_err().to_string().contains("cut off"));
    }

    #[test]
    fn images_without_pixels_are_refused() {
        let header = [0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 3];
        let (_, labels) = encode(&sample()).unwrap();
        assert!(parse_bytes(&header, &labels).unwrap_err().to_string().contains("0 x 3"));
    }
}
