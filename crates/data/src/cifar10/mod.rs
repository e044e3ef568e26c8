//! CIFAR-10: binary batches, class-named folders of pictures, or an archive of either.
//!
//! A record of a binary batch is a class, then 32 x 32 red, green and blue pixels, rows after rows.
//! Classes of folders are their names in alphabetical order, which gives the numbers of the binary
//! batches (airplane 0 .. truck 9). Source: Krizhevsky, "Learning Multiple Layers of Features from
//! Tiny Images" (2009), and its download page.

mod archive;

use std::path::{Path, PathBuf};

use crate::error::must_be_folder;
use crate::{DataError, Images, gzip, pictures};

/// Number of classes.
pub const CLASSES: usize = 10;
/// Names of the classes, which are numbered in alphabetical order.
pub const NAMES: [&str; CLASSES] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
/// Height and width in pixels.
pub const SIDE: usize = 32;

const RECORD: usize = 1 + 3 * SIDE * SIDE;
const TRAINING: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
const TEST: [&str; 1] = ["test_batch.bin"];
/// Folder inside the original archive.
const INNER: &str = "cifar-10-batches-bin";
/// Reads training and test set.
///
/// `place` is a folder with `data_batch_1.bin` .. `data_batch_5.bin` and `test_batch.bin` (or with
/// a folder `cifar-10-batches-bin` that has them), a folder with `train/CLASS/` and `test/CLASS/`
/// of JPEG or PNG files, a tar archive of one of these, gzipped or not, or a folder with one such
/// archive.
///
/// # Errors
///
/// [`DataError`] naming the folder, file or archive's entry.
pub fn load(place: &Path) -> Result<(Images, Images), DataError> {
    if place.is_file() {
        return archive::load(place);
    }
    must_be_folder(place)?;
    if let Some(folder) = with_file(place, TRAINING[0]) {
        return Ok((batches(&folder, &TRAINING)?, batches(&folder, &TEST)?));
    }
    if place.join("train").is_dir() {
        let read = |part: &str| pictures::load(&place.join(part), CLASSES, SIDE);
        return Ok((read("train")?, read("test")?));
    }
    match only_archive(place)? {
        Some(path) => archive::load(&path),
        None => Err(DataError::format(
            place.display().to_string(),
            format!("no {}, no folder train/CLASS/ and no tar archive of such", TRAINING[0]),
        )),
    }
}

/// The binary test batch of a folder, or of the folder it unpacks to, and its path; none if there
/// is no such file.
///
/// # Errors
/// [`DataError`] naming the folder or file.
pub fn test_batch(folder: &Path) -> Result<Option<(PathBuf, Images)>, DataError> {
    must_be_folder(folder)?;
    let Some(folder) = with_file(folder, TEST[0]) else { return Ok(None) };
    Ok(Some((folder.join(TEST[0]), batches(&folder, &TEST)?)))
}

/// The folder, or the one below that the original archive unpacks to, that has the file.
fn with_file(folder: &Path, file: &str) -> Option<PathBuf> {
    [folder.to_owned(), folder.join(INNER)].into_iter().find(|folder| folder.join(file).is_file())
}

/// The folder's archive, if it has exactly one.
fn only_archive(folder: &Path) -> Result<Option<PathBuf>, DataError> {
    let names = [".tar", ".tar.gz", ".tgz"];
    let is_archive = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| names.iter().any(|end| name.ends_with(end)))
    };
    let mut found: Vec<PathBuf> = pictures::entries(folder)?.into_iter().filter(is_archive).collect();
    if found.len() > 1 {
        let problem = format!("{} archives, give the path of one", found.len());
        return Err(DataError::format(folder.display().to_string(), problem));
    }
    Ok(found.pop())
}

fn batches(folder: &Path, names: &[&str]) -> Result<Images, DataError> {
    let mut records = Vec::new();
    for name in names {
        let path = folder.join(name);
        records.push((path.display().to_string(), gzip::read(&path)?));
    }
    parse(records.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())))
}

/// The images of binary batches, each given as (name for messages, bytes).
///
/// # Errors
///
/// [`DataError::Format`] for a batch that is empty, cut off, or holds a class above 9.
pub fn parse<'b>(batches: impl Iterator<Item = (&'b str, &'b [u8])>) -> Result<Images, DataError> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for (name, bytes) in batches {
        if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
            let problem =
                format!("{} bytes are no whole number of records of {RECORD} bytes each", bytes.len());
            return Err(DataError::format(name, problem));
        }
        for (index, record) in bytes.chunks_exact(RECORD).enumerate() {
            if usize::from(record[0]) >= CLASSES {
                let problem =
                    format!("label {} of image {index}, allowed are 0 to {}", record[0], CLASSES - 1);
                return Err(DataError::format(name, problem));
            }
            labels.push(record[0]);
            pixels.extend_from_slice(&record[1..]);
        }
    }
    Images::new([3, SIDE, SIDE], pixels, labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Images, String> {
        parse([("batch", bytes)].into_iter()).map_err(|e| e.to_string())
    }

    #[test]
    fn batches_that_are_cut_extended_or_lie_are_refused() {
        let good: Vec<u8> = (0..2 * RECORD).map(|i| if i % RECORD == 0 { 9 } else { i as u8 }).collect();
        let images = read(&good).unwrap();
        assert_eq!((images.len(), images.label(1), images.image(1)), (2, 9, &good[RECORD + 1..]));
        for length in [0, 1, RECORD - 1, RECORD + 1, 2 * RECORD - 1] {
            let error = read(&good[..length]).unwrap_err();
            assert!(error.contains(&format!("batch: {length} bytes are no whole number")), "{error}");
        }
        let error = read(&[&good[..], &[0]].concat()).unwrap_err();
        assert!(error.contains("records of 3073 bytes each"), "{error}");
        let mut lying = good;
        lying[RECORD] = 10;
        assert_eq!(read(&lying).unwrap_err(), "batch: label 10 of image 1, allowed are 0 to 9");
    }
}
