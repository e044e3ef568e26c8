//! CIFAR-10 in every form it may come in, and everything that can be wrong with it.

#![allow(clippy::unwrap_used)] // a test may fail by panicking, its helpers too

use std::io::Cursor;
use std::path::{Path, PathBuf};

use amicus_data::cifar10::NAMES;
use amicus_data::{DataError, Images, cifar10};
use tempfile::TempDir;

/// A folder of its own that is removed in the end.
struct Folder(PathBuf, #[expect(dead_code, reason = "dropping it removes the folder")] TempDir);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix(name).tempdir().unwrap();
        Self(folder.path().to_path_buf(), folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// `n` colour images of repeatable noise, the classes in turn.
fn colours(n: usize, seed: u32) -> Images {
    let mut state = seed;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let pixels = (0..n * 3072).map(|_| noise()).collect();
    Images::new([3, 32, 32], pixels, (0..n).map(|i| (i % 10) as u8).collect()).unwrap()
}

/// The images as a batch of the binary format.
fn binary_batch(images: &Images) -> Vec<u8> {
    let record = |i| std::iter::once(images.label(i)).chain(images.image(i).iter().copied());
    (0..images.len()).flat_map(record).collect()
}

/// Writes a training and a test set as binary batches.
fn write_batches(folder: &Path, training: &Images, test: &Images) {
    let share = training.len() / 5;
    for i in 0..5 {
        let part: Vec<usize> = (i * share..(i + 1) * share).collect();
        let file = folder.join(format!("data_batch_{}.bin", i + 1));
        std::fs::write(file, binary_batch(&training.select(&part))).unwrap();
    }
    std::fs::write(folder.join("test_batch.bin"), binary_batch(test)).unwrap();
}

/// An image as a PNG file, which loses nothing.
fn png(images: &Images, index: usize) -> Vec<u8> {
    let plane = images.rows() * images.columns();
    let pixels = images.image(index);
    let interleaved =
        (0..plane).flat_map(|i| [pixels[i], pixels[plane + i], pixels[2 * plane + i]]).collect();
    let (width, height) = (images.columns() as u32, images.rows() as u32);
    let image = image::RgbImage::from_raw(width, height, interleaved).unwrap();
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// (name, bytes) of every file of a class-named tree.
fn tree(training: &Images, test: &Images) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for (part, images) in [("train", training), ("test", test)] {
        for i in 0..images.len() {
            let class = NAMES[usize::from(images.label(i))];
            files.push((format!("{part}/{class}/{i:04}.png"), png(images, i)));
        }
    }
    files
}

fn write_tree(folder: &Path, files: &[(String, Vec<u8>)]) {
    for (name, bytes) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

/// The images class by class, each class in order: how folders are read.
fn by_class(images: &Images) -> Images {
    let mut order: Vec<usize> = (0..images.len()).collect();
    order.sort_by_key(|&i| (images.label(i), i));
    images.select(&order)
}

fn message(place: &Path) -> String {
    cifar10::load(place).unwrap_err().to_string()
}

#[test]
fn binary_batches_in_the_folder_or_one_below() {
    let folder = Folder::new("batches");
    let (training, test) = (colours(50, 1), colours(10, 2));
    write_batches(&folder.0, &training, &test);
    assert_eq!(cifar10::load(&folder.0).unwrap(), (training.clone(), test.clone()));
    let (path, batch) = cifar10::test_batch(&folder.0).unwrap().unwrap();
    assert_eq!((path, batch), (folder.file("test_batch.bin"), test.clone()));
    let outer = Folder::new("batches-outer");
    let inner = outer.file("cifar-10-batches-bin");
    std::fs::create_dir(&inner).unwrap();
    assert!(cifar10::test_batch(&outer.0).unwrap().is_none());
    write_batches(&inner, &training, &test);
    assert_eq!(cifar10::load(&outer.0).unwrap(), (training, test));
}

#[test]
fn pictures_in_class_folders_and_archives_of_them() {
    let (training, test) = (colours(30, 1), colours(10, 2));
    let expected = (by_class(&training), by_class(&test));
    let files = tree(&training, &test);
    let folder = Folder::new("tree");
    write_tree(&folder.0, &files);
    std::fs::write(folder.file("train/cat/notes.txt"), "not a picture").unwrap();
    assert_eq!(cifar10::load(&folder.0).unwrap(), expected);

    let archives = Folder::new("archives");
    let deeper: Vec<_> =
        files.iter().map(|(name, bytes)| (format!("./cifar10/{name}"), bytes.clone())).collect();
    for (name, bytes) in [("a.tar", tar(&files)), ("b.tar.gz", gzip(&tar(&deeper)))] {
        std::fs::write(archives.file(name), bytes).unwrap();
        assert_eq!(cifar10::load(&archives.file(name)).unwrap(), expected, "{name}");
    }
    assert!(message(&archives.0).contains("2 archives"));
    std::fs::remove_file(archives.file("a.tar")).unwrap();
    assert_eq!(cifar10::load(&archives.0).unwrap(), expected);
}

#[test]
fn the_original_archive_of_binary_batches() {
    let folder = Folder::new("original");
    let (training, test) = (colours(50, 1), colours(10, 2));
    let part = |i: usize| training.select(&(10 * i..10 * i + 10).collect::<Vec<_>>());
    let mut files: Vec<(String, Vec<u8>)> = (0..5)
        .map(|i| (format!("cifar-10-batches-bin/data_batch_{}.bin", i + 1), binary_batch(&part(i))))
        .collect();
    files.push(("cifar-10-batches-bin/test_batch.bin".into(), binary_batch(&test)));
    files.reverse();
    let path = folder.file("cifar-10-binary.tar.gz");
    std::fs::write(&path, gzip(&tar(&files))).unwrap();
    assert_eq!(cifar10::load(&path).unwrap(), (training, test));
    std::fs::write(&path, gzip(&tar(&files[..5]))).unwrap();
    assert!(message(&path).contains("no entry data_batch_1.bin"));
    let twice: Vec<_> = files.iter().chain(&files[..1]).cloned().collect();
    std::fs::write(&path, gzip(&tar(&twice))).unwrap();
    assert!(message(&path).contains("another batch of that name"));
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let folder = Folder::new("cifar-wrong");
    assert!(matches!(cifar10::load(&folder.file("nowhere")), Err(DataError::NoFolder { .. })));
    assert!(message(&folder.0).contains("no data_batch_1.bin"));

    write_batches(&folder.0, &colours(50, 1), &colours(10, 2));
    let third = folder.file("data_batch_3.bin");
    let bytes = std::fs::read(&third).unwrap();
    std::fs::write(&third, &bytes[..bytes.len() - 1]).unwrap();
    let cut = message(&folder.0);
    assert!(cut.contains("data_batch_3.bin") && cut.contains("3073"), "{cut}");
    let mut wrong = bytes;
    wrong[3073] = 10;
    std::fs::write(&third, &wrong).unwrap();
    assert!(message(&folder.0).contains("label 10 of image 1"));
    std::fs::remove_file(&third).unwrap();
    assert!(message(&folder.0).contains("data_batch_3.bin"));
}

#[test]
fn pictures_that_are_wrong_are_named() {
    let folder = Folder::new("pictures-wrong");
    write_tree(&folder.0, &tree(&colours(20, 1), &colours(10, 2)));
    let cat = folder.file("train/cat/0003.png");
    let good = std::fs::read(&cat).unwrap();
    for (bytes, expected) in [
        (good[..good.len() / 2].to_vec(), "damaged image"),
        (b"no picture at all".to_vec(), "neither a PNG nor a JPEG"),
        (Vec::new(), "neither a PNG nor a JPEG"),
        (
            png(&Images::new([3, 16, 32], vec![0; 1536], vec![0]).unwrap(), 0),
            "32 x 16 pixels, expected 32 x 32",
        ),
    ] {
        std::fs::write(&cat, bytes).unwrap();
        let said = message(&folder.0);
        assert!(said.contains("train/cat/0003.png") && said.contains(expected), "{said}");
    }
    std::fs::write(&cat, &good).unwrap();
    std::fs::remove_dir_all(folder.file("train/ship")).unwrap();
    let classes = message(&folder.0);
    assert!(classes.contains("train: 9 class folders") && classes.contains("expected 10"), "{classes}");
    std::fs::remove_dir_all(folder.file("test")).unwrap();
    write_tree(&folder.0, &tree(&colours(20, 1), &colours(0, 2)));
    assert!(message(&folder.0).contains("test"));
}

#[test]
fn archives_that_are_cut_off_are_refused() {
    let folder = Folder::new("archive-cut");
    let path = folder.file("set.tar.gz");
    let plain = tar(&tree(&colours(20, 1), &colours(10, 2)));
    let packed = gzip(&plain);
    for bytes in [&packed[..packed.len() / 2], &plain[..plain.len() / 2], b"neither"] {
        std::fs::write(&path, bytes).unwrap();
        let said = message(&path);
        assert!(said.contains("set.tar.gz"), "{said}");
    }
}

/// One JPEG file as other programs write it: grey, with a known mean.
#[test]
fn jpeg_files_are_read() {
    let folder = Folder::new("jpeg");
    let mut files = tree(&colours(20, 1), &colours(10, 2));
    let grey = image::GrayImage::from_pixel(32, 32, image::Luma([77]));
    let mut bytes = Cursor::new(Vec::new());
    grey.write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
    files.push(("train/airplane/zz.JPEG".into(), bytes.into_inner()));
    write_tree(&folder.0, &files);
    let (training, _) = cifar10::load(&folder.0).unwrap();
    // Airplanes come first, and this one after the two others.
    assert_eq!(training.label(2), 0);
    assert!(training.image(2).iter().all(|&p| p.abs_diff(77) <= 2));
}
