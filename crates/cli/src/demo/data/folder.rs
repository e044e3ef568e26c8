//! Data sets in a folder of the user's.

use super::super::DemoError;
use super::shipped::{IMAGES, LABELS, digits_of};
use super::{Content, Data, Item};
use amicus_model::networks::PixelRule;
use flate2::read::MultiGzDecoder;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Names of image and label files in the IDX format, each gzipped (`.gz`) or not; the first pair
/// there is used.
const IDX: [[&str; 2]; 3] = [
    [IMAGES, LABELS],
    ["test-images-idx3-ubyte", "test-labels-idx1-ubyte"],
    ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"],
];
/// No file is unpacked beyond this many bytes: a small gzip file can claim to be endless.
const MAX_BYTES: u64 = 1 << 30;
/// The test set of CIFAR-10's binary version, here or in the folder it unpacks to.
const BATCHES: [&str; 2] = ["test_batch.bin", "cifar-10-batches-bin/test_batch.bin"];
/// Its classes, which are numbered in alphabetical order.
pub(super) const CIFAR10: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
const CIFAR_SHAPE: [usize; 3] = [32, 32, 3];
const CIFAR_PLANE: usize = 32 * 32;

fn error(path: &Path, reason: impl ToString) -> DemoError {
    DemoError::File { path: path.display().to_string(), reason: reason.to_string() }
}

/// Labelled digits.
pub(super) fn digits(folder: &Path, pixels: PixelRule) -> Result<Data, DemoError> {
    must_exist(folder)?;
    let file = |name: &str| {
        [folder.join(name), folder.join(format!("{name}.gz"))].into_iter().find(|path| path.is_file())
    };
    let pair = IDX.iter().find_map(|[images, labels]| Some([file(images)?, file(labels)?]));
    let Some([images, labels]) = pair else {
        let known: Vec<String> = IDX.iter().map(|[i, l]| format!("{i} and {l}")).collect();
        return Err(error(folder, format!("holds none of: {} (each gzipped or not)", known.join("; "))));
    };
    let (image_bytes, label_bytes) = (unpacked(&images)?, unpacked(&labels)?);
    let name = |path: &Path| path.display().to_string();
    digits_of(name(&images), (&name(&images), &image_bytes), (&name(&labels), &label_bytes), pixels)
}

/// Labelled photographs: `test_batch.bin`, or a folder of images for each class, perhaps below
/// `test`.
pub(super) fn photographs(folder: &Path, pixels: PixelRule, classes: usize) -> Result<Data, DemoError> {
    must_exist(folder)?;
    if let Some(path) = BATCHES.iter().map(|name| folder.join(name)).find(|path| path.is_file()) {
        let names = Some(CIFAR10.map(String::from).to_vec());
        let data = Data::new(path.display().to_string(), names, CIFAR_SHAPE, pixels);
        return Ok(data.with_items(batch(&path)?));
    }
    let test = folder.join("test");
    let folder = if test.is_dir() { test } else { folder.to_owned() };
    let (mut names, mut items) = (Vec::new(), Vec::new());
    for class in entries(&folder)? {
        let images: Vec<PathBuf> = if class.is_dir() { entries(&class)? } else { Vec::new() };
        let images: Vec<PathBuf> = images.into_iter().filter(|path| is_image(path)).collect();
        if !images.is_empty() {
            let label = Some(names.len());
            names.push(class.file_name().unwrap_or_default().to_string_lossy().into_owned());
            let first = items.len();
            let item = |(i, path)| Item { number: first + i, content: Content::File(path), label };
            items.extend(images.into_iter().enumerate().map(item));
        }
    }
    if names.len() != classes {
        let found = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
        let reason = format!(
            "{} folders with PNG or JPEG images{found}; the network tells {classes} classes apart: one folder for each, \
             or {}, is needed",
            names.len(),
            BATCHES[0]
        );
        return Err(error(&folder, reason));
    }
    let data = Data::new(folder.display().to_string(), Some(names), CIFAR_SHAPE, pixels);
    Ok(data.with_items(items))
}

fn must_exist(folder: &Path) -> Result<(), DemoError> {
    if folder.is_dir() { Ok(()) } else { Err(error(folder, "no such folder")) }
}

/// What is in a folder, in alphabetical order.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DemoError> {
    let read = std::fs::read_dir(folder).and_then(|dir| dir.map(|e| e.map(|e| e.path())).collect());
    let mut paths: Vec<PathBuf> = read.map_err(|e: std::io::Error| error(folder, e))?;
    paths.sort();
    Ok(paths)
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    matches!(extension.as_deref(), Some("png" | "jpg" | "jpeg"))
}

/// Records of a class and 32 x 32 pixels, first all red, then all green, then all blue.
fn batch(path: &Path) -> Result<Vec<Item>, DemoError> {
    let bytes = std::fs::read(path).map_err(|e| error(path, e))?;
    let (records, rest) = bytes.as_chunks::<{ 1 + 3 * CIFAR_PLANE }>();
    if records.is_empty() || !rest.is_empty() {
        let reason = format!("{} bytes are no records of 3073 bytes each", bytes.len());
        return Err(error(path, reason));
    }
    let item = |(at, record): (usize, &[u8; 1 + 3 * CIFAR_PLANE])| {
        let (label, planes) = (usize::from(record[0]), &record[1..]);
        if label >= CIFAR10.len() {
            return Err(error(path, format!("label {label} of image {at}, allowed are 0 to 9")));
        }
        let pixel = |i: usize| [planes[i], planes[CIFAR_PLANE + i], planes[2 * CIFAR_PLANE + i]];
        let content = Content::Pixels((0..CIFAR_PLANE).flat_map(pixel).collect());
        Ok(Item { number: at, content, label: Some(label) })
    };
    records.iter().enumerate().map(item).collect()
}

/// The bytes of a file, unpacked if it is gzipped.
fn unpacked(path: &Path) -> Result<Vec<u8>, DemoError> {
    let raw = std::fs::read(path).map_err(|e| error(path, e))?;
    if !raw.starts_with(&[0x1f, 0x8b]) {
        return Ok(raw);
    }
    let mut bytes = Vec::new();
    let read = MultiGzDecoder::new(&raw[..]).take(MAX_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|e| error(path, format!("gzip data is damaged or cut off: {e}")))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(error(path, format!("unpacks to more than {MAX_BYTES} bytes")));
    }
    Ok(bytes)
}
