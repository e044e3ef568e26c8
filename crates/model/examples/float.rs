//! The float executor on inputs of a file, against outputs that another program gave for them.
//!
//! ```text
//! cargo run --release -p amicus-model --example float -- MODEL.onnx DATA.npz
//! ```
//! `DATA.npz` has arrays `x` and `out`. Prints the largest difference, relative to the largest
//! number of an output where that is above 1.

use std::error::Error;
use std::path::Path;

use amicus_data::npz::Npz;
use amicus_model::FloatExecutor;
use amicus_model::onnx::{ImportOptions, import_file};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, data] = &arguments[..] else { return Err("usage: float MODEL.onnx DATA.npz".into()) };
    let graph = import_file(Path::new(model), &ImportOptions::default())?.graph;
    let bytes = std::fs::read(data)?;
    let arrays = Npz::parse(data, &bytes)?;
    let executor = FloatExecutor::new(&graph);
    let mut worst = 0f64;
    for (x, expected) in arrays.array("x")?.rows().into_iter().zip(arrays.array("out")?.rows()) {
        let got = executor.run(&graph.arranged(x))?;
        if got.len() != expected.len() {
            return Err(format!("{} numbers, {} expected", got.len(), expected.len()).into());
        }
        let size = expected.iter().fold(1f64, |m, e| m.max(f64::from(e.abs())));
        for (g, e) in got.iter().zip(expected) {
            let difference = (g - f64::from(e)).abs() / size;
            worst = if difference.is_nan() { f64::INFINITY } else { worst.max(difference) };
        }
    }
    println!("{worst:.2e}");
    Ok(())
}
