//! The light models of the `onnx` wheel: large networks whose weights are generated.
//!
//! They are not in the repository, so these tests are ignored unless asked for:
//! `AMICUS_ONNX_LIGHT=SITE-PACKAGES/onnx/backend/test/data/light cargo test --release -p amicus-model --test light -- --ignored`.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

use std::path::{Path, PathBuf};

use amicus_model::FloatExecutor;
use amicus_model::check::check;
use amicus_model::onnx::{Import, ImportOptions, OnnxError, import_file};

fn folder() -> PathBuf {
    std::env::var_os("AMICUS_ONNX_LIGHT")
        .map(PathBuf::from)
        .expect("AMICUS_ONNX_LIGHT names the models' folder")
}

fn import(path: &Path) -> Result<Import, OnnxError> {
    import_file(path, &ImportOptions { generated_bytes: 1 << 30, ..ImportOptions::default() })
}

/// The last `len` single-precision numbers of a stored tensor.
fn stored(path: &Path, len: usize) -> Vec<f64> {
    let bytes = std::fs::read(path).unwrap();
    let data = &bytes[bytes.len() - 4 * len..];
    data.as_chunks::<4>().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect()
}

#[test]
#[ignore = "needs the models of the onnx wheel"]
fn large_networks_import_and_run() {
    let folder = folder();
    for name in ["densenet121", "inception_v2", "resnet50", "squeezenet", "vgg19"] {
        let Import { graph, notes, .. } = import(&folder.join(format!("light_{name}.onnx"))).unwrap();
        let found = check(&graph);
        assert!(found.problems.is_empty(), "{name}: {:?}", found.problems);
        let n: usize = graph.input_shape().iter().product();
        let x: Vec<f32> = (0..n).map(|i| i as f32 / n as f32).collect();
        let mut got = FloatExecutor::new(&graph).run(&x).unwrap();
        if notes.iter().any(|n| n.starts_with("Softmax")) {
            let largest = got.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = got.iter().map(|g| (g - largest).exp()).sum();
            got.iter_mut().for_each(|g| *g = (*g - largest).exp() / sum);
        }
        let expected = stored(&folder.join(format!("light_{name}_output_0.pb")), got.len());
        let size = expected.iter().fold(1f64, |m, e| m.max(e.abs()));
        for (g, e) in got.iter().zip(&expected) {
            assert!((g - e).abs() / size < 1e-4, "{name}: {g} for {e}");
        }
    }
}

#[test]
#[ignore = "needs the models of the onnx wheel"]
fn what_cannot_be_imported_is_named() {
    let folder = folder();
    for (name, op, count) in [("bvlc_alexnet", "LRN", 2), ("inception_v1", "LRN", 2), ("zfnet512", "LRN", 2)]
    {
        let error = import(&folder.join(format!("light_{name}.onnx"))).unwrap_err();
        let OnnxError::Unsupported { problems, .. } = error else { panic!("{name}: {error}") };
        assert_eq!(problems.iter().filter(|p| p.op == op).count(), count, "{name}: {problems:?}");
        assert_eq!(problems.len(), count, "{name}: {problems:?}");
    }
    let error = import(&folder.join("light_shufflenet.onnx")).unwrap_err();
    let OnnxError::Unsupported { problems, .. } = error else { panic!("{error}") };
    assert!(problems.iter().all(|p| p.op == "Transpose"), "{problems:?}");
}
