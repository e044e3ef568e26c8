//! Linear operators, products and outputs of every kind that exporters write, against outputs of
//! ONNX Runtime (`data/make_linear.py`): as imported, prepared, compiled.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

use std::path::{Path, PathBuf};

use amicus_data::npz::Npz;
use amicus_field::LimbVec;
use amicus_model::approximate::{ApproximateOptions, approximate};
use amicus_model::check::check;
use amicus_model::onnx::{ImportOptions, import_file};
use amicus_model::prepare::prepare;
use amicus_model::{
    CompileOptions, FloatExecutor, Graph, Simulator, compile, quantize_input, relative_error,
};
use amicus_plan::Range;

/// A network with inputs and what ONNX Runtime answers.
struct Case {
    name: String,
    graph: Graph,
    inputs: Vec<Vec<f32>>,
    outputs: Vec<Vec<f64>>,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/linear");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|e| e == "onnx")).collect();
    files.sort();
    let only = std::env::var("AMICUS_CASE").unwrap_or_default();
    files.retain(|path| path.display().to_string().contains(&only));
    files.iter().map(|path| case(path)).collect()
}

fn case(path: &Path) -> Case {
    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
    let import = import_file(path, &ImportOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let graph = import.graph.with_input_range(Range { low: -1.0, high: 1.0 }).unwrap();
    let bytes = std::fs::read(path.with_extension("npz")).unwrap();
    let data = Npz::parse(&name, &bytes).unwrap();
    let inputs = data.array("x").unwrap().rows().iter().map(|x| graph.arranged(x.to_vec())).collect();
    let rows = data.array("y").unwrap().rows();
    let outputs = rows.iter().map(|y| y.iter().map(|&v| f64::from(v)).collect()).collect();
    Case { name, graph, inputs, outputs }
}

/// Holds a network's answers to those expected.
fn agrees(name: &str, graph: &Graph, inputs: &[Vec<f32>], expected: &[Vec<f64>]) {
    for (x, expected) in inputs.iter().zip(expected) {
        let got = FloatExecutor::new(graph).run(x).unwrap();
        assert_eq!(got.len(), expected.len(), "{name}");
        let error = relative_error(&got, expected);
        assert!(error < 1e-4, "{name}: {error}");
    }
}

#[test]
fn imported_and_prepared_networks_answer_as_onnx_runtime() {
    let cases = cases();
    assert!(std::env::var("AMICUS_CASE").is_ok() || cases.len() >= 75, "{}", cases.len());
    for Case { name, graph, inputs, outputs } in cases {
        agrees(&name, &graph, &inputs, &outputs);
        assert_eq!(check(&graph).problems, [], "{name}");
        agrees(&name, &prepare(&graph).unwrap().graph, &inputs, &outputs);
    }
}

#[test]
fn compiled_networks_answer_nearly_the_same() {
    for Case { name, graph, inputs, outputs } in cases() {
        let exact = approximate(&graph, &inputs, &ApproximateOptions::exact()).unwrap().graph;
        let ready = prepare(&exact).unwrap().graph;
        let compiled =
            compile(&ready, &inputs, &CompileOptions::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let simulator = Simulator::new(&compiled.plan, &compiled.weights).unwrap();
        for (x, expected) in inputs.iter().zip(&outputs) {
            let input = LimbVec::from_i64(compiled.plan.limbs, &quantize_input(&compiled.plan, x).unwrap());
            let got = simulator.outputs(&input, 1).unwrap().logits();
            let error = relative_error(&got, expected);
            assert!(error < 0.01, "{name}: {error}");
        }
    }
}
