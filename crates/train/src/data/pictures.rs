//! JPEG and PNG files in folders named after their classes.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::{ImageFormat, ImageReader};

use crate::TrainError;
use crate::data::{Images, format_error};

const ENDINGS: [&str; 3] = [".jpg", ".jpeg", ".png"];

/// One file, not yet decoded.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Name of its folder.
    pub class: String,
    /// Where it comes from, for messages.
    pub name: String,
    /// The file's bytes.
    pub bytes: Vec<u8>,
}

/// Whether a file of that name is taken for a picture.
pub(crate) fn is_picture(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    !name.starts_with('.') && ENDINGS.iter().any(|ending| lower.ends_with(ending))
}

/// What a folder holds, in alphabetical order.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let io = |source| TrainError::Io { action: "read", path: folder.into(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        paths.push(entry.map_err(io)?.path());
    }
    paths.sort();
    Ok(paths)
}

/// All pictures `folder/CLASS/FILE`, in alphabetical order.
///
/// # Errors
///
/// [`TrainError::Io`] naming the folder or file.
pub fn in_folder(folder: &Path) -> Result<Vec<Picture>, TrainError> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut pictures = Vec::new();
    for class in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        for path in entries(&class)?.into_iter().filter(|path| is_picture(&name(path))) {
            let bytes = std::fs::read(&path).map_err(|source| TrainError::Io {
                action: "read",
                path: path.clone(),
                source,
            })?;
            pictures.push(Picture { class: name(&class), name: path.display().to_string(), bytes });
        }
    }
    Ok(pictures)
}

/// Decodes pictures to `side` x `side` colour images; a class's number is its place in the alphabet
/// among the `classes` names there must be. `whole` names the set in messages.
///
/// # Errors
///
/// [`TrainError::Format`]: a file that cannot be decoded or has another size, or another number of classes.
pub fn decode(
    mut pictures: Vec<Picture>,
    whole: &str,
    classes: usize,
    side: usize,
) -> Result<Images, TrainError> {
    pictures.sort_by(|a, b| (&a.class, &a.name).cmp(&(&b.class, &b.name)));
    let mut names: Vec<&str> = pictures.iter().map(|picture| picture.class.as_str()).collect();
    names.dedup();
    if names.len() != classes || classes > 256 {
        let problem = format!("{} class folders with pictures, expected {classes}", names.len());
        return Err(format_error(whole, problem));
    }
    let mut pixels = Vec::with_capacity(pictures.len() * 3 * side * side);
    let mut labels = Vec::with_capacity(pictures.len());
    for picture in &pictures {
        push_planes(picture, side, &mut pixels)?;
        // Found and below 256: both were looked at above.
        labels.push(names.binary_search(&picture.class.as_str()).unwrap_or_default() as u8);
    }
    Images::new([3, side, side], pixels, labels)
}

/// Writes red, green and blue plane of one picture to the end of `out`.
fn push_planes(picture: &Picture, side: usize, out: &mut Vec<u8>) -> Result<(), TrainError> {
    let unreadable = |error: &dyn std::fmt::Display| {
        format_error(&picture.name, format!("not a readable JPEG or PNG picture ({error})"))
    };
    let reader = || {
        let reader = ImageReader::new(Cursor::new(&picture.bytes)).with_guessed_format();
        let reader = reader.map_err(|error| unreadable(&error))?;
        match reader.format() {
            Some(ImageFormat::Jpeg | ImageFormat::Png) => Ok(reader),
            _ => Err(unreadable(&"it starts as neither does")),
        }
    };
    // The size is looked at before anything is decoded: a header can claim a gigantic picture.
    let (width, height) = reader()?.into_dimensions().map_err(|error| unreadable(&error))?;
    if (width as usize, height as usize) != (side, side) {
        let problem = format!("{width} x {height} pixels, expected {side} x {side}");
        return Err(format_error(&picture.name, problem));
    }
    let decoded = reader()?.decode().map_err(|error| unreadable(&error))?.into_rgb8();
    for channel in 0..3 {
        out.extend(decoded.pixels().map(|pixel| pixel.0[channel]));
    }
    Ok(())
}
