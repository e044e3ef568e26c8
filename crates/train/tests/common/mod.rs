//! What the tests share: the naive network, folders that vanish, and a tiny data set.
#![allow(dead_code)] // each test file uses its own part

pub(crate) mod naive;

use std::path::{Path, PathBuf};

use amicus_data::{Images, idx};
use tempfile::TempDir;

/// A folder of its own that is removed in the end.
pub(crate) struct Folder(pub(crate) PathBuf, TempDir);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix(name).tempdir().unwrap();
        Self(folder.path().to_path_buf(), folder)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// `n` images of 28 x 28: class c is a bright rectangle whose place depends on c, everything else
/// is dim noise that depends on `seed`.
pub(crate) fn squares(n: usize, seed: u32) -> Images {
    let mut state = seed;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 26) as u8
    };
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for index in 0..n {
        let class = index % 10;
        let (top, left) = (2 + 13 * (class / 5), 1 + 5 * (class % 5));
        for row in 0..28 {
            for column in 0..28 {
                let inside = (top..top + 11).contains(&row) && (left..left + 7).contains(&column);
                pixels.push(if inside { 190 + noise() } else { noise() });
            }
        }
        labels.push(class as u8);
    }
    Images::new([1, 28, 28], pixels, labels).unwrap()
}

/// `n` colour images of 32 x 32: class c is a square of c's colour (its digits to base 3 are the
/// levels of red, green and blue) somewhere on dim noise that depends on `seed`.
pub(crate) fn colours(n: usize, seed: u32) -> Images {
    let mut state = seed;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 27) as u8
    };
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for index in 0..n {
        let class = index % 10;
        let (top, left) = (usize::from(noise() / 2), usize::from(noise() / 2));
        for channel in 0..3 {
            let level = 40 + 90 * (class / 3usize.pow(channel) % 3) as u8;
            for (row, column) in (0..32).flat_map(|row| (0..32).map(move |column| (row, column))) {
                let inside = (top..top + 16).contains(&row) && (left..left + 16).contains(&column);
                pixels.push(if inside { level + noise() } else { noise() });
            }
        }
        labels.push(class as u8);
    }
    Images::new([3, 32, 32], pixels, labels).unwrap()
}

/// The images as a batch of CIFAR-10's binary format.
pub(crate) fn binary_batch(images: &Images) -> Vec<u8> {
    let record = |i| std::iter::once(images.label(i)).chain(images.image(i).iter().copied());
    (0..images.len()).flat_map(record).collect()
}

/// Writes a training and a test set as CIFAR-10's binary batches.
pub(crate) fn write_batches(folder: &Path, training: &Images, test: &Images) {
    let share = training.len() / 5;
    for i in 0..5 {
        let part: Vec<usize> = (i * share..(i + 1) * share).collect();
        let file = folder.join(format!("data_batch_{}.bin", i + 1));
        std::fs::write(file, binary_batch(&training.select(&part))).unwrap();
    }
    std::fs::write(folder.join("test_batch.bin"), binary_batch(test)).unwrap();
}

/// Writes a training and a test set as MNIST's files are named.
pub(crate) fn write_set(folder: &Path, training: &Images, test: &Images) {
    for (name, images) in [("train", training), ("t10k", test)] {
        let file = |kind: &str| folder.join(format!("{name}-{kind}-ubyte"));
        idx::write(images, &file("images-idx3"), &file("labels-idx1")).unwrap();
    }
}
