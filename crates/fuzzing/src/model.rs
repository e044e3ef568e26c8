//! Files with models and samples.

use crate::files::with_folder;
use amicus_data::npz::Npz;
use amicus_model::amc::ModelFile;
use amicus_model::check::check;
use amicus_model::graph::Graph;
use amicus_model::networks;
use amicus_model::onnx::{ImportOptions, import_bytes};
use amicus_model::{FloatExecutor, Simulator};
use amicus_plan::{OpKind, Plan, ValueId};
use std::fs;

/// Elements of all values and products of all layers up to which a network is run.
const SMALL: usize = 1 << 20;
/// Bytes of the checksum at the end of a compiled file.
const HASH: usize = 32;
/// The file of external data that a seed of `onnx` names, and its size.
const EXTERNAL: (&str, usize) = ("lenet_dynamo.onnx.data", 37_432);

/// A compiled file; the checksum is put right, so that what it protects is reached.
pub(crate) fn amc(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    if let Some(at) = bytes.len().checked_sub(HASH) {
        let hash = blake3::hash(&bytes[..at]);
        bytes[at..].copy_from_slice(hash.as_bytes());
    }
    with_folder(|folder| {
        let path = folder.join("model.amc");
        fs::write(&path, &bytes).expect("a file");
        let Ok(file) = ModelFile::load(&path) else { return };
        // What is written is read back, and written as it was.
        let again = folder.join("again.amc");
        file.save(&again, amicus_model::private_file::Existing::Replace).expect("a model that was read");
        let written = fs::read(&again).expect("a file");
        ModelFile::load(&again)
            .expect("a model that was written")
            .save(&again, amicus_model::private_file::Existing::Replace)
            .expect("a model that was read");
        assert_eq!(fs::read(&again).expect("a file"), written);
        runs(&file);
    });
}

/// The three networks of a file run.
fn runs(file: &ModelFile) {
    run_float(&file.original);
    run_float(&file.polynomial());
    if is_small(&file.plan) {
        let simulator = Simulator::new(&file.plan, &file.weights).expect("weights of this plan");
        let inputs = file.plan.input.shape.iter().product();
        let x = amicus_field::LimbVec::from_i64(file.plan.limbs, &vec![1; inputs]);
        simulator.outputs(&x, 1).expect("inputs of this plan");
    }
}

fn is_small(plan: &Plan) -> bool {
    let values = plan.values().expect("a plan that was read is valid");
    let elements = (0..values.count() as u32).map(|v| values.get(ValueId(v)).len);
    let products = plan.ops.iter().map(|op| match &op.kind {
        OpKind::Linear { weights, .. } => plan.weight(*weights).shape.multiply_adds(),
        OpKind::PublicLinear { weights, .. } => plan.public_tensor(*weights).spec.shape.multiply_adds(),
        OpKind::SumPool { pool, .. } => pool.outputs().saturating_mul(pool.kernel[0] * pool.kernel[1]),
        OpKind::Activation(a) => a.pool.map_or(0, |p| p.outputs().saturating_mul(p.kernel[0] * p.kernel[1])),
        _ => 0,
    });
    elements.chain(products).fold(0, usize::saturating_add) <= SMALL
}

/// A network that was accepted runs on zeros.
fn run_float(graph: &Graph) {
    let elements = graph.nodes().iter().map(|node| node.len());
    if elements.fold(0, usize::saturating_add) <= SMALL / 16 {
        let inputs = graph.input_shape().iter().product();
        FloatExecutor::new(graph).run(&vec![0.5; inputs]).expect("an input of this network");
    }
}

/// An ONNX file beside a file with external data.
pub(crate) fn onnx(bytes: &[u8]) {
    let options = ImportOptions::default();
    let alone = import_bytes("m.onnx", bytes, None, &options);
    with_folder(|folder| {
        let external = folder.join(EXTERNAL.0);
        if !external.is_file() {
            fs::write(&external, vec![0x3c; EXTERNAL.1]).expect("a file");
        }
        let imported = import_bytes("m.onnx", bytes, Some(folder), &options);
        assert!(alone.is_err() || imported.is_ok(), "a folder only adds");
        if let Ok(import) = imported {
            let _ = check(&import.graph);
            run_float(&import.graph);
        }
    });
}

/// Arrays of NumPy.
pub(crate) fn npz(bytes: &[u8]) {
    let Ok(file) = Npz::parse("x.npz", bytes) else { return };
    for name in file.names() {
        if let Ok(Some(array)) = file.find(name) {
            assert_eq!(array.shape.iter().product::<usize>(), array.values.len());
            assert!(array.rows().len() <= array.values.len().max(1));
        }
    }
}

/// Weights of a known network in a safetensors file.
pub(crate) fn weights(bytes: &[u8]) {
    let _ = networks::read(bytes);
    let Ok(file) = networks::WeightFile::parse(bytes) else { return };
    let _ = (file.number("interval"), file.find_numbers("activation"), file.number_lists("activations"));
    for name in ["a", "conv1.weight"] {
        for shape in [&[][..], &[2], &[2, 2], &[6, 1, 5, 5]] {
            if let Ok(values) = file.tensor(name, shape) {
                assert_eq!(values.len(), shape.iter().product::<usize>());
            }
        }
    }
}
