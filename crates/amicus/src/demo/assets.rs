//! The trained network and the digits that ship with the program, or others in their place.

use super::DemoError;
use amicus_model::digits::Digits;
use amicus_model::{Graph, networks};
use std::path::Path;

const WEIGHTS: &[u8] = include_bytes!("../../assets/lenet5-mnist.safetensors");
const IMAGES: &str = "digits-images.idx3-ubyte";
const LABELS: &str = "digits-labels.idx1-ubyte";
const SHIPPED_IMAGES: &[u8] = include_bytes!("../../assets/digits-images.idx3-ubyte");
const SHIPPED_LABELS: &[u8] = include_bytes!("../../assets/digits-labels.idx1-ubyte");

/// Names of the models that ship.
pub const MODELS: &[&str] = &["lenet5-mnist"];

/// Reads the network: the weights in a file, or those that ship.
pub(super) fn network(model: &str, weights: Option<&Path>) -> Result<Graph, DemoError> {
    if !MODELS.contains(&model) {
        return Err(DemoError::UnknownModel { model: model.to_owned(), known: MODELS.join(", ") });
    }
    let Some(path) = weights else { return Ok(networks::lenet5(WEIGHTS)?) };
    let file = |reason: String| DemoError::File { path: path.display().to_string(), reason };
    let bytes = std::fs::read(path).map_err(|e| file(e.to_string()))?;
    networks::lenet5(&bytes).map_err(|e| file(e.to_string()))
}

/// Reads labelled digits: `digits-images.idx3-ubyte` and `digits-labels.idx1-ubyte` in a folder, or those that ship.
pub(super) fn digits(folder: Option<&Path>) -> Result<Digits, DemoError> {
    let Some(folder) = folder else {
        return Ok(Digits::parse((IMAGES, SHIPPED_IMAGES), (LABELS, SHIPPED_LABELS))?);
    };
    let read = |name: &str| {
        let path = folder.join(name);
        let bytes = std::fs::read(&path);
        bytes.map_err(|e| DemoError::File { path: path.display().to_string(), reason: e.to_string() })
    };
    let (images, labels) = (read(IMAGES)?, read(LABELS)?);
    Ok(Digits::parse(
        (&folder.join(IMAGES).display().to_string(), &images),
        (&folder.join(LABELS).display().to_string(), &labels),
    )?)
}

/// The digits that ship, for keeping them out of training: images and labels as named files.
pub fn shipped_digits() -> [(&'static str, &'static [u8]); 2] {
    [(IMAGES, SHIPPED_IMAGES), (LABELS, SHIPPED_LABELS)]
}
