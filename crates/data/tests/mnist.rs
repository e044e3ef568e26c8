//! A folder with MNIST's files as it should be, and everything that can be wrong with it.
#![allow(clippy::unwrap_used)] // a test may fail by panicking, its helpers too

use std::io::Write;
use std::path::Path;

use amicus_data::{DataError, Images, idx, mnist};

/// `n` digits of repeatable noise, the classes in turn.
fn digits(n: usize, seed: usize) -> Images {
    let pixels = (0..n * 784).map(|i| ((i * 31 + seed * 17) % 251) as u8).collect();
    Images::new([1, 28, 28], pixels, (0..n).map(|i| (i % 10) as u8).collect()).unwrap()
}

fn write_set(folder: &Path, training: &Images, test: &Images) {
    for (name, images) in [("train", training), ("t10k", test)] {
        let file = |kind: &str| folder.join(format!("{name}-{kind}-ubyte"));
        idx::write(images, &file("images-idx3"), &file("labels-idx1")).unwrap();
    }
}

#[test]
fn packed_or_not() {
    let folder = tempfile::tempdir().unwrap();
    write_set(folder.path(), &digits(30, 1), &digits(10, 2));
    let expected = (digits(30, 1), digits(10, 2));
    assert_eq!(mnist::load(folder.path()).unwrap(), expected);
    for entry in std::fs::read_dir(folder.path()).unwrap().collect::<Vec<_>>() {
        let path = entry.unwrap().path();
        let file = std::fs::File::create(format!("{}.gz", path.display())).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        encoder.write_all(&std::fs::read(&path).unwrap()).unwrap();
        encoder.finish().unwrap();
        std::fs::remove_file(path).unwrap();
    }
    assert_eq!(mnist::load(folder.path()).unwrap(), expected);
    let (path, test) = mnist::test_set(folder.path()).unwrap();
    assert_eq!((path, test), (folder.path().join("t10k-images-idx3-ubyte.gz"), digits(10, 2)));

    let name = folder.path().join("train-images-idx3-ubyte.gz");
    let bytes = std::fs::read(&name).unwrap();
    std::fs::write(&name, &bytes[..bytes.len() / 2]).unwrap();
    let message = mnist::load(folder.path()).unwrap_err().to_string();
    assert!(message.contains("train-images-idx3-ubyte.gz: gzip data is damaged or cut off"), "{message}");
}

#[test]
fn a_test_set_by_any_of_its_names() {
    for [images, labels] in [mnist::SHIPPED, ["test-images-idx3-ubyte", "test-labels-idx1-ubyte"]] {
        let folder = tempfile::tempdir().unwrap();
        idx::write(&digits(3, 1), &folder.path().join(images), &folder.path().join(labels)).unwrap();
        assert_eq!(mnist::test_set(folder.path()).unwrap(), (folder.path().join(images), digits(3, 1)));
    }
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let message = || mnist::load(folder.path()).unwrap_err().to_string();
    let missing = mnist::load(&file("nowhere")).unwrap_err();
    assert!(matches!(missing, DataError::NoFolder { ref path } if path.ends_with("nowhere")), "{missing}");
    assert!(message().contains("holds none of: train-images-idx3-ubyte and train-labels"), "{}", message());

    write_set(folder.path(), &digits(20, 1), &digits(10, 2));
    std::fs::remove_file(file("t10k-labels-idx1-ubyte")).unwrap();
    assert!(message().contains("t10k-labels-idx1-ubyte"), "{}", message());

    write_set(folder.path(), &digits(20, 1), &digits(10, 2));
    let path = file("train-images-idx3-ubyte");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let cut = message();
    assert!(cut.contains("train-images-idx3-ubyte: cut off") && cut.contains("15680"), "{cut}");
    std::fs::write(&path, [&bytes[..], &[0]].concat()).unwrap();
    assert!(message().contains("train-images-idx3-ubyte: too long"), "{}", message());

    let narrow = Images::new([1, 28, 14], vec![0; 28 * 14 * 10], vec![0; 10]).unwrap();
    for (wrong, problem) in [(narrow, "28 x 14"), (digits(0, 1), "no images")] {
        write_set(folder.path(), &digits(20, 1), &wrong);
        let said = message();
        assert!(said.contains("t10k-images") && said.contains(problem), "{said}");
    }
}
