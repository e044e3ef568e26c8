//! Folders with a folder of PNG or JPEG files for each class.
//!
//! A class's number is its place in the alphabet. Files are listed first and decoded when they are
//! asked for.

mod decode;

use std::path::{Path, PathBuf};

pub use decode::{decode, read};

use crate::error::must_be_folder;
use crate::{DataError, Images};

const ENDINGS: [&str; 3] = [".jpg", ".jpeg", ".png"];
/// Most entries of a folder, and most images of a set.
pub(crate) const MAX_ENTRIES: usize = 1 << 18;

/// A class: its name and its image files, not yet read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Name of its folder.
    pub name: String,
    /// Its files in alphabetical order.
    pub files: Vec<PathBuf>,
}

/// Whether a file of that name is taken for an image.
pub(crate) fn is_picture(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    !name.starts_with('.') && ENDINGS.iter().any(|ending| lower.ends_with(ending))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What a folder holds, in alphabetical order.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    entries_up_to(folder, MAX_ENTRIES)
}

fn entries_up_to(folder: &Path, most: usize) -> Result<Vec<PathBuf>, DataError> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| DataError::reading(folder, e))? {
        if paths.len() == most {
            let problem = format!("more than {most} entries, which is no folder of images");
            return Err(DataError::format(folder.display().to_string(), problem));
        }
        paths.push(entry.map_err(|e| DataError::reading(folder, e))?.path());
    }
    paths.sort();
    Ok(paths)
}

/// The `count` classes of a folder: folders with at least one image in them, in alphabetical order.
///
/// # Errors
/// A folder that cannot be read, or with another number of classes.
pub fn classes(folder: &Path, count: usize) -> Result<Vec<Class>, DataError> {
    must_be_folder(folder)?;
    let mut found = Vec::new();
    let mut images = 0;
    for path in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        let image = |path: &PathBuf| is_picture(&name_of(path)) && path.is_file();
        let files: Vec<PathBuf> = entries(&path)?.into_iter().filter(image).collect();
        images += files.len();
        if images > MAX_ENTRIES {
            let problem = format!("more than {MAX_ENTRIES} images");
            return Err(DataError::format(folder.display().to_string(), problem));
        }
        if !files.is_empty() {
            found.push(Class { name: name_of(&path), files });
        }
    }
    let names = found.iter().map(|class| class.name.as_str());
    expect_classes(&folder.display().to_string(), names, count)?;
    Ok(found)
}

/// Refuses another number of classes; `whole` names the set.
pub(crate) fn expect_classes<'n>(
    whole: &str,
    names: impl ExactSizeIterator<Item = &'n str>,
    expected: usize,
) -> Result<(), DataError> {
    if names.len() == expected {
        return Ok(());
    }
    let count = names.len();
    // A person reads no more.
    let listed: Vec<&str> = names.take(20).collect();
    let found = if listed.is_empty() { String::new() } else { format!(" ({})", listed.join(", ")) };
    let problem = format!(
        "{count} class folders with PNG or JPEG images{found}, expected {expected}: one for each class"
    );
    Err(DataError::format(whole, problem))
}

/// Reads all files of a folder's classes, `side` x `side` pixels each.
///
/// # Errors
/// What [`classes`] and [`read`](fn@read) refuse.
pub fn load(folder: &Path, count: usize, side: usize) -> Result<Images, DataError> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for (class, label) in classes(folder, count.min(256))?.iter().zip(0..=u8::MAX) {
        for file in &class.files {
            push_planes(&read(file, [side; 2])?, &mut pixels);
            labels.push(label);
        }
    }
    Images::new([3, side, side], pixels, labels)
}

/// Appends the red, green and blue planes of an image.
pub(crate) fn push_planes(image: &[u8], out: &mut Vec<u8>) {
    for channel in 0..3 {
        out.extend(image.iter().skip(channel).step_by(3));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for class in ["b", "a", "empty"] {
            std::fs::create_dir(at(class)).unwrap();
        }
        for file in ["b/2.png", "b/1.JPG", "b/.hidden.png", "b/notes.txt", "a/x.jpeg", "c.png"] {
            std::fs::write(at(file), b"").unwrap();
        }
        std::fs::create_dir(at("a/folder.png")).unwrap();
        let found = classes(folder.path(), 2).unwrap();
        let class = |name: &str, files: &[&str]| Class {
            name: name.to_owned(),
            files: files.iter().map(|file| at(file)).collect(),
        };
        assert_eq!(found, [class("a", &["a/x.jpeg"]), class("b", &["b/1.JPG", "b/2.png"])]);
        let error = classes(folder.path(), 3).unwrap_err().to_string();
        assert!(error.contains("2 class folders with PNG or JPEG images (a, b), expected 3"), "{error}");
        assert!(matches!(classes(&at("none"), 2), Err(DataError::NoFolder { .. })));
    }

    #[test]
    fn a_folder_without_end_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        (0..5).for_each(|i| std::fs::write(folder.path().join(i.to_string()), b"").unwrap());
        assert_eq!(entries_up_to(folder.path(), 5).unwrap().len(), 5);
        let error = entries_up_to(folder.path(), 4).unwrap_err().to_string();
        assert!(error.contains("more than 4 entries"), "{error}");
    }
}
