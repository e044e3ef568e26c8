//! Import of ONNX files, against outputs of ONNX Runtime (`data/make_onnx.py`).
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

use std::path::{Path, PathBuf};

use amicus_data::npz::Npz;
use amicus_model::onnx::{Import, ImportOptions, OnnxError, import_bytes, import_file};
use amicus_model::{FloatExecutor, ModelError};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

fn import(name: &str) -> Import {
    import_file(&folder().join(format!("{name}.onnx")), &ImportOptions::default()).unwrap()
}

/// Largest difference to the reference's outputs, relative to their size where that is above 1.
fn worst(name: &str) -> f64 {
    let import = import(name);
    let bytes = std::fs::read(folder().join(format!("{name}.npz"))).unwrap();
    let data = Npz::parse(name, &bytes).unwrap();
    let (inputs, outputs) = (data.array("x").unwrap().rows(), data.array("y").unwrap().rows());
    let executor = FloatExecutor::new(&import.graph);
    let mut worst = 0f64;
    for (x, y) in inputs.iter().zip(&outputs) {
        let got = executor.run(x).unwrap();
        assert_eq!(got.len(), y.len(), "{name}");
        let size = y.iter().fold(1f64, |m, v| m.max(f64::from(v.abs())));
        for (g, e) in got.iter().zip(y) {
            worst = worst.max((g - f64::from(*e)).abs() / size);
        }
    }
    worst
}

#[test]
fn float_executor_agrees_with_onnx_runtime() {
    for name in [
        "lenet_dynamo",
        "resnet_legacy",
        "mobile_dynamo",
        "fire_legacy",
        "shapes_legacy",
        "horner_dynamo",
        "vgg_legacy",
    ] {
        let error = worst(name);
        assert!(error < 1e-4, "{name}: {error}");
    }
}

#[test]
fn every_unsupported_node_is_listed_once() {
    let error = import_file(&folder().join("unsupported.onnx"), &ImportOptions::default()).unwrap_err();
    let OnnxError::Unsupported { problems, .. } = error else { panic!("{error}") };
    let names: Vec<&str> = problems.iter().map(|p| p.node.as_str()).collect();
    let expected = ["/features/lrn", "/decoder/norm"];
    assert_eq!(names, expected);
}

#[test]
fn whole_file_errors_name_the_file() -> Result<(), ModelError> {
    let case = |bytes: &[u8]| {
        import_bytes("m.onnx", bytes, None, &ImportOptions::default()).unwrap_err().to_string()
    };
    let good = std::fs::read(folder().join("resnet_legacy.onnx")).unwrap();
    assert_eq!(case(&[]), "m.onnx: the file is empty");
    for len in [1, 10, 100, 1000, good.len() - 1] {
        let text = case(&good[..len]);
        assert!(text.starts_with("m.onnx: ") && text.contains("cut off"), "{len}: {text}");
    }
    let external = std::fs::read(folder().join("lenet_dynamo.onnx")).unwrap();
    let text = case(&external);
    assert!(text.contains("lenet_dynamo.onnx.data") && text.contains("m.onnx, node"), "{text}");
    Ok(())
}
