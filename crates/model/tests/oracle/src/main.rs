//! Holds the float executor to an independent ONNX runtime, rten, on random inputs.
//!
//! ```text
//! cargo run --release --manifest-path crates/model/tests/oracle/Cargo.toml -- FILE.onnx ..
//! ```
//! Prints the largest difference of each file, relative to the largest number where that is above
//! 1, and fails above 1e-4. Files that cannot be imported are listed with their problems. A Softmax
//! of old operator sets over images of one pixel is read differently by rten; cut it off to
//! compare.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use amicus_model::FloatExecutor;
use amicus_model::onnx::{Import, ImportOptions, OnnxError, import_file};
use rten::{Model, Value};

const LIMIT: f64 = 1e-4;
const INPUTS: u64 = 2;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut worst = 0f64;
    for file in std::env::args().skip(1) {
        let options = ImportOptions { generated_bytes: 2 << 30, ..ImportOptions::default() };
        match import_file(Path::new(&file), &options) {
            Ok(import) => {
                let difference = compare(&file, &import)?;
                println!("{file}: {difference:.2e}");
                worst = worst.max(difference);
            }
            Err(error @ OnnxError::Unsupported { .. }) => println!("{error}"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(if worst < LIMIT { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn compare(file: &str, import: &Import) -> Result<f64, Box<dyn Error>> {
    let model = Model::load_file(file)?;
    let executor = FloatExecutor::new(&import.graph);
    let shape = import.graph.input_shape();
    let dims: Vec<usize> = std::iter::once(1).chain(shape.iter().copied()).collect();
    let softmax = import.notes.iter().find(|n| n.contains("Softmax at the end")).map(|n| n.starts_with("Log"));
    let mut worst = 0f64;
    for seed in 0..INPUTS {
        let x = random(seed, dims.iter().product());
        let value = Value::from_shape(&dims, x.clone())?;
        let Value::FloatTensor(expected) = model.run_one(value.into(), None)? else {
            return Err(format!("{file}: rten gives something else than real numbers").into());
        };
        let expected: Vec<f32> = expected.into_data();
        let mut got = executor.run(&x)?;
        if let Some(log) = softmax {
            let largest = got.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = got.iter().map(|g| (g - largest).exp()).sum();
            got.iter_mut().for_each(|g| *g = *g - largest - sum.ln());
            if !log {
                got.iter_mut().for_each(|g| *g = g.exp());
            }
        }
        assert_eq!(got.len(), expected.len(), "{file}");
        // Nothing is larger than what is not a number: such results would pass for equal.
        if got.iter().any(|g| !g.is_finite()) || expected.iter().any(|e| !e.is_finite()) {
            return Err(format!("{file}: its results are not finite").into());
        }
        let size = expected.iter().fold(1f64, |m, e| m.max(f64::from(e.abs())));
        let difference = got.iter().zip(&expected).map(|(g, e)| (g - f64::from(*e)).abs() / size);
        worst = difference.fold(worst, f64::max);
    }
    Ok(worst)
}

/// Evenly spread over [0, 1), as pixels are: SplitMix64.
fn random(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = state;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    (0..len).map(|_| (next() >> 40) as f32 / (1u64 << 24) as f32).collect()
}
