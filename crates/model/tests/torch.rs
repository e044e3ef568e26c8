//! Networks that PyTorch exported, with both of its exporters, against what PyTorch computes
//! (`data/export_torch.py`): imported, brought into the form that can be folded, compiled and
//! simulated.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

use std::path::{Path, PathBuf};

use amicus_data::npz::Npz;
use amicus_model::approximate::{ApproximateOptions, MaxPooling, approximate};
use amicus_model::check::check;
use amicus_model::onnx::{Import, ImportOptions, import_file};
use amicus_model::prepare::prepare;
use amicus_model::{CompileOptions, FloatExecutor, compile};
use amicus_plan::Range;

const NETWORKS: [&str; 8] = ["lenet", "preact", "mobile", "fire", "dense", "inception", "vgg", "late"];
const EXPORTERS: [&str; 2] = ["legacy", "dynamo"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torch")
}

fn import(network: &str, exporter: &str) -> Import {
    import_file(&folder().join(format!("{network}_{exporter}.onnx")), &ImportOptions::default()).unwrap()
}

/// Inputs and PyTorch's results.
fn data(network: &str) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let bytes = std::fs::read(folder().join(format!("{network}.npz"))).unwrap();
    let data = Npz::parse(network, &bytes).unwrap();
    (data.array("x").unwrap().rows(), data.array("y").unwrap().rows())
}

#[test]
fn float_executor_agrees_with_pytorch() {
    for network in NETWORKS {
        let (inputs, outputs) = data(network);
        for exporter in EXPORTERS {
            let Import { graph, opset, .. } = import(network, exporter);
            assert_eq!(opset, if exporter == "legacy" { 13 } else { 20 }, "{network}");
            let executor = FloatExecutor::new(&graph);
            for (x, y) in inputs.iter().zip(&outputs) {
                let got = executor.run(x).unwrap();
                assert_eq!(got.len(), y.len(), "{network}");
                for (g, e) in got.iter().zip(y) {
                    let difference = (g - f64::from(*e)).abs();
                    assert!(difference < 1e-4, "{network}, {exporter}: {difference}");
                }
            }
        }
    }
}

#[test]
fn all_of_them_compile_and_the_simulator_agrees() {
    for network in NETWORKS {
        let (samples, _) = data(network);
        for exporter in EXPORTERS {
            let graph =
                import(network, exporter).graph.with_input_range(Range { low: -1.0, high: 1.0 }).unwrap();
            let found = check(&graph);
            assert!(found.problems.is_empty(), "{network}, {exporter}: {:?}", found.problems);
            let graph = prepare(&graph).unwrap().graph;
            let options =
                ApproximateOptions { max_pooling: MaxPooling::Average, ..ApproximateOptions::default() };
            let polynomial = approximate(&graph, &samples, &options).unwrap().graph;
            let compiled = compile(&polynomial, &samples, &CompileOptions::default()).unwrap();
            let report = &compiled.report;
            assert!(report.meets_target(), "{network}, {exporter}: {report}");
            assert!(report.simulated.max < 0.02, "{network}, {exporter}: {report}");
        }
    }
}

#[test]
fn what_is_rewritten_is_said() {
    let notes = |network, exporter| prepare(&import(network, exporter).graph).unwrap().notes;
    // BatchNorm on values that are read twice, on joined channels and behind activations; linear
    // bottlenecks.
    let preact = notes("preact", "legacy").join("\n");
    assert!(preact.contains("opened by itself") && preact.contains("becomes a layer of its own"), "{preact}");
    assert!(preact.contains("folded into what reads it"), "{preact}");
    let mobile = notes("mobile", "dynamo");
    assert!(mobile.iter().filter(|n| n.contains("opened by itself")).count() >= 3, "{mobile:?}");
    let dense = notes("dense", "legacy").join("\n");
    assert!(dense.contains("becomes a layer of its own"), "{dense}");
    assert!(notes("lenet", "dynamo").is_empty() && notes("vgg", "legacy").is_empty());
}
