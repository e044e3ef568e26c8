//! Makes the plans of the networks that ship: ranges and scales from training images.
//!
//! `cargo run --release -p amicus-train --example plans -- MNIST CIFAR10 ASSETS` reads
//! `ASSETS/NAME.safetensors`, data sets as `amicus train` takes them, and writes
//! `ASSETS/NAME.plan`, for roles near each other, `ASSETS/NAME.batch.plan`, for batches there, and
//! `ASSETS/NAME.wan.plan`, for roles far apart. The digits that ship, which are training images too,
//! are left out.

use std::collections::HashSet;
use std::error::Error;
use std::path::Path;

use amicus_data::{Images, mnist};
use amicus_model::compile::{FAR, NEAR};
use amicus_model::networks::{self, Network};
use amicus_model::planned::Planned;
use amicus_model::{CompileOptions, compile};
use amicus_train::DatasetName;
use amicus_train::data::load;

/// Training images that a plan is made from.
const CALIBRATION: usize = 256;
/// Images in one inference that plans for batches are made for.
const BATCH: usize = 32;
/// How files end that are for training only.
const TEACHER: &str = "-teacher";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mnist, cifar, assets] = arguments.as_slice() else { return Err("MNIST CIFAR10 ASSETS".into()) };
    let assets = Path::new(assets);
    let shipped = |name: &str| std::fs::read(assets.join(name));
    let (images, labels) = (shipped("digits-images.idx3-ubyte")?, shipped("digits-labels.idx1-ubyte")?);
    let shipped = mnist::parse(("images", &images), ("labels", &labels))?;
    let shipped: HashSet<&[u8]> = (0..shipped.len()).map(|i| shipped.image(i)).collect();
    let (digits, _) = load(DatasetName::Mnist, Path::new(mnist))?;
    let (photographs, _) = load(DatasetName::Cifar10, Path::new(cifar))?;
    let mut files: Vec<_> = std::fs::read_dir(assets)?.collect::<Result<_, _>>()?;
    files.sort_by_key(|file| file.file_name());
    for path in files.iter().map(|file| file.path()) {
        let named = path.file_stem().is_some_and(|name| !name.to_string_lossy().ends_with(TEACHER));
        if path.extension().is_none_or(|e| e != "safetensors") || !named {
            continue;
        }
        let network = networks::read(&std::fs::read(&path)?)?;
        let images = if network.graph.input_shape() == digits.shape() { &digits } else { &photographs };
        let samples = samples(&network, images, &shipped);
        for (link, batch, extension) in [(NEAR, 1, "plan"), (NEAR, BATCH, "batch.plan"), (FAR, 1, "wan.plan")]
        {
            let options = CompileOptions { link, batch, ..CompileOptions::default() };
            let compiled = compile(&network.graph, &samples, &options)?;
            println!("{}", compiled.report);
            let planned = Planned::of(&compiled);
            if planned.weights(&network.graph)? != compiled.weights {
                return Err(format!("{}: its plan gives other weights", path.display()).into());
            }
            std::fs::write(path.with_extension(extension), planned.encode()?)?;
        }
    }
    Ok(())
}

/// Inputs of a network, spread over the training set.
fn samples(network: &Network, images: &Images, shipped: &HashSet<&[u8]>) -> Vec<Vec<f32>> {
    let usable: Vec<usize> = (0..images.len()).filter(|&i| !shipped.contains(images.image(i))).collect();
    let step = (usable.len() / CALIBRATION).max(1);
    let input = |&index: &usize| images.input(index, network.pixels);
    usable.iter().step_by(step).take(CALIBRATION).map(input).collect()
}
