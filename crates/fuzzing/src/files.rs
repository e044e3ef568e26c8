//! Data sets: IDX, CIFAR-10, gzip, tar, folders, PNG and JPEG.

use crate::input::Input;
use amicus_data::{cifar10, gzip, idx, mnist, pictures};
use std::cell::OnceCell;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Side of the pictures decoded.
pub(crate) const SIDE: usize = 8;
/// Bytes that files are unpacked to, at most, when they are fuzzed.
pub(crate) const UNPACKED: u64 = 1 << 16;

thread_local! {
    static FOLDER: OnceCell<TempDir> = const { OnceCell::new() };
}

/// A folder for readers that want files; in memory where the system has such a place.
pub(crate) fn with_folder<T>(body: impl FnOnce(&Path) -> T) -> T {
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| {
            let memory = Path::new("/dev/shm");
            let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
            made.expect("a folder")
        });
        body(folder.path())
    })
}

/// An image file and a label file of IDX.
pub(crate) fn idx(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let first = input.word();
    let rest = input.rest();
    let (pixels, labels) = rest.split_at(first.min(rest.len()));
    if let Ok(images) = idx::parse(("images", pixels), ("labels", labels), 10) {
        let written = idx::encode(&images).expect("grey images");
        assert_eq!(written, (pixels.to_vec(), labels.to_vec()), "a data set has one encoding");
        assert!(images.labels().iter().all(|&label| label < 10));
    }
}

/// A binary batch of CIFAR-10.
pub(crate) fn cifar10(bytes: &[u8]) {
    if let Ok(images) = cifar10::parse([("batch", bytes)].into_iter()) {
        assert_eq!(images.len() * 3073, bytes.len());
        assert!(images.labels().iter().all(|&label| label < 10));
    }
}

/// A file that may be gzipped: its bound on memory does not grow with what it claims to hold.
pub(crate) fn gzip(bytes: &[u8]) {
    if let Ok(unpacked) = gzip::unpack("file", bytes, UNPACKED) {
        assert!(unpacked.len() as u64 <= UNPACKED);
    }
}

/// An archive of CIFAR-10, gzipped or not.
pub(crate) fn archive(bytes: &[u8]) {
    with_folder(|folder| {
        let path = folder.join("archive");
        fs::write(&path, bytes).expect("a file");
        let _ = cifar10::load(&path);
    });
}

/// A folder of a user's: digits, a binary batch, or a folder of images for each class.
pub(crate) fn folder(bytes: &[u8]) {
    with_folder(|folder| {
        let folder = folder.join("data");
        let _ = fs::remove_dir_all(&folder);
        read_folder(bytes, &folder);
        let _ = mnist::load(&folder);
        let _ = cifar10::load(&folder);
    });
}

/// Writes a folder of one of three kinds and reads it; the number of images, if they are accepted.
fn read_folder(bytes: &[u8], folder: &Path) -> Option<usize> {
    let mut input = Input::new(bytes);
    let (kind, first) = (input.byte() % 3, input.word());
    let rest = input.rest();
    let (one, other) = rest.split_at(first.min(rest.len()));
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    };
    let (images, classes) = match kind {
        0 => {
            write("test-images-idx3-ubyte", one);
            write("test-labels-idx1-ubyte.gz", other);
            (mnist::test_set(folder).ok()?.1, 10)
        }
        1 => {
            write("cifar-10-batches-bin/test_batch.bin", other);
            (cifar10::test_batch(folder).ok()??.1, 10)
        }
        _ => {
            write("test/cat/a.png", one);
            write("test/dog/b.jpeg", other);
            write("test/dog/.hidden.png", other);
            (pictures::load(&folder.join("test"), 2, cifar10::SIDE).ok()?, 2)
        }
    };
    assert!(images.labels().iter().all(|&label| label < classes), "a label that is no class");
    Some(images.len())
}

/// A PNG or JPEG file.
pub(crate) fn picture(bytes: &[u8]) {
    if let Ok(pixels) = pictures::decode("a.png", bytes, [SIDE; 2]) {
        assert_eq!(pixels.len(), 3 * SIDE * SIDE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds;

    #[test]
    fn folders_of_seeds_are_accepted() {
        let files = tempfile::tempdir().unwrap();
        for (name, bytes) in seeds::of("folder") {
            let images = read_folder(&bytes, &files.path().join(&name));
            assert_eq!(images, Some(if name == "batch" { 1 } else { 2 }), "{name}");
        }
    }
}
