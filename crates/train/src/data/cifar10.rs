//! CIFAR-10: binary batches, class-named folders of pictures, or an archive of either.
//!
//! A record of a binary batch is a class, then 32 x 32 red, green and blue pixels, rows after rows.
//! Classes of folders are their names in alphabetical order, which gives the numbers of the binary
//! batches (airplane 0 .. truck 9). Source: Krizhevsky, "Learning Multiple Layers of Features from
//! Tiny Images" (2009), and its download page.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use crate::TrainError;
use crate::data::pictures::{self, Picture};
use crate::data::{GZIP, Images, MAX_BYTES, format_error, read_file};

/// Number of classes.
pub const CLASSES: usize = 10;
/// Height and width in pixels.
pub const SIDE: usize = 32;

const RECORD: usize = 1 + 3 * SIDE * SIDE;
const TRAINING: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
const TEST: [&str; 1] = ["test_batch.bin"];
/// Folder inside the original archive.
const INNER: &str = "cifar-10-batches-bin";
/// No file of an archive may be larger.
const MAX_ENTRY: u64 = 64 << 20;

/// Reads training and test set.
///
/// `place` is a folder with `data_batch_1.bin` .. `data_batch_5.bin` and `test_batch.bin` (or with
/// a folder `cifar-10-batches-bin` that has them), a folder with `train/CLASS/` and `test/CLASS/`
/// of JPEG or PNG files, a tar archive of one of these, gzipped or not, or a folder with one such
/// archive.
///
/// # Errors
///
/// [`TrainError`] naming the folder, file or archive's entry.
pub fn load(place: &Path) -> Result<(Images, Images), TrainError> {
    if place.is_file() {
        return archive(place);
    }
    if !place.is_dir() {
        return Err(TrainError::NoFolder { path: place.into() });
    }
    let inner = place.join(INNER);
    if let Some(folder) = [place, &inner].into_iter().find(|folder| folder.join(TRAINING[0]).is_file()) {
        return Ok((batches(folder, &TRAINING)?, batches(folder, &TEST)?));
    }
    if place.join("train").is_dir() {
        let read = |part: &str| {
            let folder = place.join(part);
            if !folder.is_dir() {
                return Err(TrainError::NoFolder { path: folder });
            }
            pictures::decode(pictures::in_folder(&folder)?, &folder.display().to_string(), CLASSES, SIDE)
        };
        return Ok((read("train")?, read("test")?));
    }
    match only_archive(place)? {
        Some(path) => archive(&path),
        None => Err(format_error(
            &place.display().to_string(),
            format!("no {}, no folder train/CLASS/ and no tar archive of such", TRAINING[0]),
        )),
    }
}

/// The folder's archive, if it has exactly one.
fn only_archive(folder: &Path) -> Result<Option<PathBuf>, TrainError> {
    let names = [".tar", ".tar.gz", ".tgz"];
    let is_archive = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| names.iter().any(|end| name.ends_with(end)))
    };
    let mut found: Vec<PathBuf> = pictures::entries(folder)?.into_iter().filter(is_archive).collect();
    if found.len() > 1 {
        let problem = format!("{} archives, give the path of one", found.len());
        return Err(format_error(&folder.display().to_string(), problem));
    }
    Ok(found.pop())
}

fn batches(folder: &Path, names: &[&str]) -> Result<Images, TrainError> {
    let mut records = Vec::new();
    for name in names {
        let path = folder.join(name);
        records.push((path.display().to_string(), read_file(&path)?));
    }
    parse(&records)
}

/// The images of binary batches, each given as (name for messages, bytes).
///
/// # Errors
///
/// [`TrainError::Format`] for a batch that is empty, cut off, or holds a class above 9.
pub fn parse(batches: &[(String, Vec<u8>)]) -> Result<Images, TrainError> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for (name, bytes) in batches {
        if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
            let problem = format!("{} bytes are no whole number of records of {RECORD}", bytes.len());
            return Err(format_error(name, problem));
        }
        for (index, record) in bytes.chunks_exact(RECORD).enumerate() {
            if usize::from(record[0]) >= CLASSES {
                let problem =
                    format!("class {} of record {index}, allowed are 0 to {}", record[0], CLASSES - 1);
                return Err(format_error(name, problem));
            }
            labels.push(record[0]);
            pixels.extend_from_slice(&record[1..]);
        }
    }
    Images::new([3, SIDE, SIDE], pixels, labels)
}

/// What an archive's entries are found to be.
#[derive(Default)]
struct Found {
    training: Vec<Picture>,
    test: Vec<Picture>,
    batches: Vec<(String, Vec<u8>)>,
}

fn archive(path: &Path) -> Result<(Images, Images), TrainError> {
    let name = path.display().to_string();
    let damaged = |error: std::io::Error| format_error(&name, format!("not a complete tar archive: {error}"));
    let io = |source| TrainError::Io { action: "read", path: path.into(), source };
    let mut file = BufReader::new(File::open(path).map_err(io)?);
    let packed = std::io::BufRead::fill_buf(&mut file).map_err(io)?.starts_with(&GZIP);
    let reader: Box<dyn Read> =
        if packed { Box::new(flate2::bufread::MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut tar = tar::Archive::new(reader.take(MAX_BYTES));
    let mut found = Found::default();
    for entry in tar.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let inner = entry.path().map_err(damaged)?.to_string_lossy().into_owned();
        let parts: Vec<&str> = inner.split('/').collect();
        let (class, part) = match parts.as_slice() {
            [.., part @ ("train" | "test"), class, file] if pictures::is_picture(file) => {
                (Some(*class), *part)
            }
            [.., file] if TRAINING.contains(file) || TEST.contains(file) => (None, *file),
            _ => continue,
        };
        let entry_name = format!("{name}:{inner}");
        if entry.size() > MAX_ENTRY {
            return Err(format_error(
                &entry_name,
                format!("{} bytes, more than any image set needs", entry.size()),
            ));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(damaged)?;
        match class {
            Some(class) => {
                let picture = Picture { class: class.to_owned(), name: entry_name, bytes };
                if part == "train" { &mut found.training } else { &mut found.test }.push(picture);
            }
            None => found.batches.push((inner, bytes)),
        }
    }
    found.images(&name)
}

impl Found {
    fn images(mut self, name: &str) -> Result<(Images, Images), TrainError> {
        if !self.batches.is_empty() {
            self.batches.sort();
            let take = |names: &[&str]| -> Result<Images, TrainError> {
                let ends = |entry: &str, name: &str| entry.rsplit('/').next() == Some(name);
                let chosen: Vec<(String, Vec<u8>)> = names
                    .iter()
                    .map(|&wanted| {
                        let found = self.batches.iter().find(|(entry, _)| ends(entry, wanted));
                        found.cloned().ok_or_else(|| format_error(name, format!("no entry {wanted}")))
                    })
                    .collect::<Result<_, _>>()?;
                parse(&chosen)
            };
            return Ok((take(&TRAINING)?, take(&TEST)?));
        }
        let decode = |pictures: Vec<Picture>, part: &str| {
            pictures::decode(pictures, &format!("{name}:{part}"), CLASSES, SIDE)
        };
        Ok((decode(self.training, "train")?, decode(self.test, "test")?))
    }
}
