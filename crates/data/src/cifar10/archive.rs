//! CIFAR-10 in one tar archive, gzipped or not.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::{CLASSES, SIDE, TEST, TRAINING, parse};
use crate::gzip::{self, opened};
use crate::pictures::{self, MAX_ENTRIES};
use crate::{DataError, Images};

/// No file of an archive may be larger.
const MAX_ENTRY: u64 = 64 << 20;

/// What an archive's entries are found to be.
#[derive(Default)]
struct Found {
    training: Vec<Picture>,
    test: Vec<Picture>,
    /// Batches by name, with the entry's whole name.
    batches: BTreeMap<String, (String, Vec<u8>)>,
}

/// A decoded image; ordered as folders are listed.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Picture {
    class: String,
    file: String,
    pixels: Vec<u8>,
}

pub(super) fn load(path: &Path) -> Result<(Images, Images), DataError> {
    let file = File::open(path).map_err(|e| DataError::reading(path, e))?;
    let (_, reader) = opened(BufReader::new(file)).map_err(|e| DataError::reading(path, e))?;
    let mut found = Found::default();
    let name = path.display().to_string();
    let damaged =
        |error: std::io::Error| DataError::format(&name, format!("not a complete tar archive: {error}"));
    let mut tar = tar::Archive::new(reader.take(gzip::MAX_BYTES));
    for entry in tar.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let inner = entry.path().map_err(damaged)?.to_string_lossy().into_owned();
        let kind = Kind::of(&inner);
        if kind == Kind::Other {
            continue;
        }
        let whole = format!("{name}:{inner}");
        if entry.size() > MAX_ENTRY {
            let problem = format!("{} bytes, more than any image set needs", entry.size());
            return Err(DataError::format(whole, problem));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(damaged)?;
        found.take(kind, whole, &bytes)?;
    }
    found.images(&name)
}

/// What an entry is, by its name.
#[derive(PartialEq, Eq)]
enum Kind {
    Training { class: String, file: String },
    Test { class: String, file: String },
    Batch(String),
    Other,
}

impl Kind {
    fn of(inner: &str) -> Self {
        let mut parts = inner.rsplit('/');
        let file = parts.next().unwrap_or_default().to_owned();
        if TRAINING.contains(&file.as_str()) || TEST.contains(&file.as_str()) {
            return Kind::Batch(file);
        }
        let class = parts.next().unwrap_or_default().to_owned();
        match parts.next() {
            Some("train") if pictures::is_picture(&file) => Kind::Training { class, file },
            Some("test") if pictures::is_picture(&file) => Kind::Test { class, file },
            _ => Kind::Other,
        }
    }
}

impl Found {
    fn take(&mut self, kind: Kind, whole: String, bytes: &[u8]) -> Result<(), DataError> {
        let images = self.training.len() + self.test.len();
        let (part, class, file) = match kind {
            Kind::Training { class, file } => (&mut self.training, class, file),
            Kind::Test { class, file } => (&mut self.test, class, file),
            Kind::Batch(file) => {
                if self.batches.contains_key(&file) {
                    return Err(DataError::format(whole, "there is another batch of that name"));
                }
                self.batches.insert(file, (whole, bytes.to_vec()));
                return Ok(());
            }
            Kind::Other => return Ok(()),
        };
        if images == MAX_ENTRIES {
            return Err(DataError::format(whole, format!("more than {MAX_ENTRIES} images")));
        }
        // Decoded at once: a small picture of the right size is all that stays.
        let pixels = pictures::decode(&whole, bytes, [SIDE; 2])?;
        part.push(Picture { class, file, pixels });
        Ok(())
    }

    fn images(self, name: &str) -> Result<(Images, Images), DataError> {
        if self.batches.is_empty() {
            return Ok((set(self.training, name, "train")?, set(self.test, name, "test")?));
        }
        let take = |names: &[&str]| {
            let mut chosen = Vec::new();
            for &wanted in names {
                let found = self.batches.get(wanted);
                let (entry, bytes) =
                    found.ok_or_else(|| DataError::format(name, format!("no entry {wanted}")))?;
                chosen.push((entry.as_str(), bytes.as_slice()));
            }
            parse(chosen.into_iter())
        };
        Ok((take(&TRAINING)?, take(&TEST)?))
    }
}

/// The images of one part, in the order of folders.
fn set(mut found: Vec<Picture>, name: &str, part: &str) -> Result<Images, DataError> {
    found.sort();
    let mut names: Vec<&str> = found.iter().map(|picture| picture.class.as_str()).collect();
    names.dedup();
    pictures::expect_classes(&format!("{name}:{part}"), names.iter().copied(), CLASSES)?;
    let (mut pixels, mut labels) = (Vec::with_capacity(found.len() * 3 * SIDE * SIDE), Vec::new());
    for picture in &found {
        pictures::push_planes(&picture.pixels, &mut pixels);
        // Found: the names are those of the pictures, ten in all.
        labels.push(names.binary_search(&picture.class.as_str()).unwrap_or_default() as u8);
    }
    Images::new([3, SIDE, SIDE], pixels, labels)
}
