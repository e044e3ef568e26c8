//! What the command line reads beside models: images for the demonstration, samples, rates,
//! checkpoints of a training.

use crate::files::{SIDE, with_folder};
use crate::input::Input;
use amicus_cli::demo::fuzz;
use amicus_cli::rates::{MachineRates, link};
use amicus_cli::samples::{Invalid, Reading};
use amicus_field::Limbs;
use amicus_model::graph::{Graph, GraphBuilder};
use amicus_net::shaper::Shape;
use amicus_plan::Range;
use amicus_testkit::zoo;
use std::fs;
use std::path::Path;

/// Classes of a folder with images.
const CLASSES: usize = 2;
/// The range that samples are held to.
const RANGE: Range = Range { low: -1.0, high: 1.0 };

/// An image of the demonstration's.
pub(crate) fn photograph(bytes: &[u8]) {
    fuzz::picture(bytes, [SIDE, SIDE, 3]);
}

/// A folder that `--data-dir` names: digits, a binary batch, or a folder of images for each class.
pub(crate) fn folder(bytes: &[u8]) {
    with_folder(|folder| {
        let folder = folder.join("data");
        let _ = fs::remove_dir_all(&folder);
        read_folder(bytes, &folder);
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
    match kind {
        0 => {
            write("test-images-idx3-ubyte", one);
            write("test-labels-idx1-ubyte.gz", other);
            fuzz::digits(folder)
        }
        1 => {
            write("cifar-10-batches-bin/test_batch.bin", other);
            fuzz::photographs(folder, 10)
        }
        _ => {
            write("test/cat/a.png", one);
            write("test/dog/b.jpeg", other);
            fuzz::photographs(folder, CLASSES)
        }
    }
}

/// Samples for a network of three inputs and as many classes, or of one output.
pub(crate) fn samples(bytes: &[u8]) {
    with_folder(|folder| {
        read_samples(bytes, &folder.join("samples.npz"));
    });
}

/// Reads samples in one of several ways; the number of them, if they are accepted.
fn read_samples(bytes: &[u8], path: &Path) -> Option<usize> {
    let (&choice, bytes) = bytes.split_first()?;
    fs::write(path, bytes).expect("a file");
    let network = network(if choice & 1 == 0 { 3 } else { 1 });
    let invalid = [Invalid::Refuse, Invalid::Clip, Invalid::Skip][usize::from(choice >> 1) % 3];
    let range = (choice & 8 == 0).then_some(RANGE);
    let limit = (choice & 16 == 0).then_some(usize::from(choice >> 5));
    let read =
        amicus_cli::samples::samples(path, Reading { network: &network, range, invalid, limit }).ok()?;
    let count = read.images.len();
    assert!(count > 0 && read.places.len() == count && limit.is_none_or(|most| count <= most));
    assert!(read.images.iter().all(|x| x.len() == 3), "a sample of another size");
    if range.is_some() {
        let held = |v: &f32| RANGE.hold(*v).is_some();
        assert!(read.images.iter().flatten().all(held), "a sample out of range");
    }
    if let Some(labels) = read.labels {
        assert!(labels.len() == count && labels.iter().all(|&label| label < 3), "labels that are none");
    }
    Some(count)
}

fn network(outputs: usize) -> Graph {
    let mut net = GraphBuilder::new("three", &[3], -1.0..=1.0);
    let input = net.input();
    let output = net.linear("fc", input, outputs, vec![1.0; 3 * outputs], None);
    net.finish(output).expect("a network")
}

/// Rates that are accepted give an estimate.
pub(crate) fn rates(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(rates) = MachineRates::parse(text) else { return };
    let plan = zoo::mlp(Limbs::TWO).plan;
    let estimate = plan.estimate(3, 2, &link(&Shape::local()), &rates.rates()).expect("a valid plan");
    assert!(estimate.online > 0.0, "an estimate of {}", estimate.online);
}

/// A checkpoint of a training.
pub(crate) fn checkpoint(bytes: &[u8]) {
    with_folder(|folder| {
        let path = folder.join("run.checkpoint");
        fs::write(&path, bytes).expect("a file");
        amicus_train::checkpoint::fuzz::read(&path);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds;

    #[test]
    fn seeds_are_accepted() {
        let files = tempfile::tempdir().unwrap();
        let folders = seeds::of("folder");
        for (name, bytes) in &folders {
            let images = read_folder(bytes, &files.path().join(name));
            assert_eq!(images, Some(if name == "batch" { 1 } else { 2 }), "{name}");
        }
        let read = |(_, bytes): &seeds::Seed| read_samples(bytes, &files.path().join("samples.npz"));
        let counts: Vec<_> = seeds::of("samples").iter().map(read).collect();
        assert_eq!(counts, [Some(4), Some(4), Some(2), Some(4)]);
    }
}
