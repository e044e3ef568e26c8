//! Data sets: IDX, CIFAR-10, gzip, tar, PNG and JPEG.

use crate::input::Input;
use amicus_model::digits::Digits;
use amicus_train::data::pictures::Picture;
use amicus_train::data::{cifar10, idx, pictures};
use std::cell::OnceCell;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Side of the pictures decoded.
pub(crate) const SIDE: usize = 8;

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

/// An image file and a label file, and a binary batch.
pub(crate) fn images(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let first = input.word();
    let rest = input.rest();
    let (pixels, labels) = rest.split_at(first.min(rest.len()));
    if let Ok(digits) = Digits::parse(("images", pixels), ("labels", labels)) {
        (0..digits.len()).for_each(|i| assert!(digits.label(i) < 10 && digits.image(i).len() == 28 * 28));
    }
    if let Ok(images) = idx::parse(("images", pixels), ("labels", labels), 10) {
        let written = idx::encode(&images).expect("grey images");
        assert_eq!(written, (pixels.to_vec(), labels.to_vec()), "a data set has one encoding");
    }
    if let Ok(images) = cifar10::parse(&[("batch".to_owned(), rest.to_vec())]) {
        assert_eq!(images.len() * 3073, rest.len());
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

/// A picture of one class.
pub(crate) fn picture(bytes: &[u8]) {
    let picture = Picture { class: "cat".to_owned(), name: "a.png".to_owned(), bytes: bytes.to_vec() };
    if let Ok(images) = pictures::decode(vec![picture], "pictures", 1, SIDE) {
        assert_eq!(images.shape(), [3, SIDE, SIDE]);
    }
}
