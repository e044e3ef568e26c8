//! The weights and digits that ship with the project.

#![allow(clippy::unwrap_used)] // a test may fail by panicking, its helpers too

mod common;

use std::path::{Path, PathBuf};

use amicus_data::{Images, idx, mnist};
use common::naive::Naive;

fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/assets").join(name)
}

fn digits() -> Images {
    idx::read(&asset("digits-images.idx3-ubyte"), &asset("digits-labels.idx1-ubyte"), mnist::CLASSES).unwrap()
}

fn weights() -> Naive {
    Naive::new(&std::fs::read(asset("lenet5-mnist.safetensors")).unwrap())
}

#[test]
fn thirty_digits_of_each_class_in_turn() {
    let digits = digits();
    assert_eq!((digits.len(), digits.rows(), digits.columns()), (300, 28, 28));
    assert!((0..300).all(|i| usize::from(digits.label(i)) == i % 10));
}

#[test]
fn names_shapes_and_metadata_are_what_readers_expect() {
    let weights = weights();
    let mut expected: Vec<(String, Vec<usize>)> = Vec::new();
    for (name, shape) in [
        ("conv1", vec![6, 1, 5, 5]),
        ("conv2", vec![16, 6, 5, 5]),
        ("fc1", vec![120, 400]),
        ("fc2", vec![84, 120]),
        ("fc3", vec![10, 84]),
    ] {
        expected.push((format!("{name}.bias"), vec![shape[0]]));
        expected.push((format!("{name}.weight"), shape));
    }
    for (name, channels) in [("bn1", 6), ("bn2", 16), ("bn3", 120), ("bn4", 84)] {
        for part in ["weight", "bias", "running_mean", "running_var"] {
            expected.push((format!("{name}.{part}"), vec![channels]));
        }
    }
    expected.sort();
    let got: Vec<_> = weights.shapes().into_iter().map(|(n, s)| (n.to_owned(), s.to_vec())).collect();
    assert_eq!(got, expected);
    for (key, value) in
        [("format.version", "1"), ("architecture", "lenet5"), ("dataset", "mnist"), ("input", "pixel/255")]
    {
        assert_eq!(weights.metadata[key], value);
    }
    let degree = weights.metadata["activation.coefficients"].split(',').count() - 1;
    assert_eq!(degree, 6);
}

#[test]
fn the_model_card_says_what_the_file_says() {
    let card = std::fs::read_to_string(asset("README.md")).unwrap();
    let metadata = weights().metadata;
    for key in ["accuracy.validation", "accuracy.test", "activation.interval", "seed", "epochs", "command"] {
        assert!(card.contains(&metadata[key]), "the model card lacks {key} = {}", metadata[key]);
    }
}

/// None of these images was trained on.
#[test]
fn the_shipped_weights_read_the_shipped_digits() {
    let (weights, digits) = (weights(), digits());
    let mut correct = 0;
    let mut largest = [0f64; 4];
    for i in 0..digits.len() {
        let (logits, ratios) = weights.forward(digits.image(i));
        let answer = (0..10).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        correct += usize::from(answer == usize::from(digits.label(i)));
        largest.iter_mut().zip(ratios).for_each(|(largest, ratio)| *largest = largest.max(ratio));
    }
    assert!(correct >= 296, "{correct} of 300");
    assert!(largest.iter().all(|&ratio| ratio < 1.5), "|t| / B reaches {largest:?}");
}
