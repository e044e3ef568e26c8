//! What command line and library read beside models and images: samples, rates, checkpoints of a
//! training, deployment files.

use crate::files::with_folder;
use amicus::Deployment;
use amicus_cli::rates::{MachineRates, link};
use amicus_cli::samples::{Invalid, Reading};
use amicus_field::Limbs;
use amicus_model::graph::{Graph, GraphBuilder};
use amicus_net::shaper::Shape;
use amicus_plan::Range;
use amicus_plan::printable::is_printable;
use amicus_protocol::peer::Peer;
use amicus_testkit::zoo;
use std::fs;
use std::path::Path;

/// The range that samples are held to.
const RANGE: Range = Range { low: -1.0, high: 1.0 };

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

/// A deployment file: what is read passes its own check, and what is wrong is one line that a
/// terminal can show.
pub(crate) fn deployment(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<Deployment>() {
        Ok(deployment) => {
            deployment.check().expect("what was read is checked");
            let parties = deployment.count().expect("2 to 8");
            for party in parties.all().map(Peer::Party) {
                let certificates = deployment.certificates(&party);
                assert!(!certificates.is_empty(), "each party has one");
                assert!(certificates.iter().all(|c| deployment.role_of(*c).as_ref() == Some(&party)));
            }
            // It is one deployment, whatever way it is written.
            let again: Deployment = deployment.to_toml().expect("it is one").parse().expect("its text");
            assert_eq!(again.digest().expect("it is one"), deployment.digest().expect("it is one"));
        }
        Err(error) => {
            let error = error.to_string();
            assert!(error.chars().all(is_printable) && error.len() < 2000, "{error:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds;

    #[test]
    fn seeds_are_accepted() {
        let files = tempfile::tempdir().unwrap();
        let read = |(_, bytes): &seeds::Seed| read_samples(bytes, &files.path().join("samples.npz"));
        let counts: Vec<_> = seeds::of("samples").iter().map(read).collect();
        assert_eq!(counts, [Some(4), Some(4), Some(2), Some(4)]);
    }
}
