//! The shipped LeNet-5: reading its file, and its accuracy in the simulator.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use amicus_data::{Images, mnist};
use amicus_field::LimbVec;
use amicus_model::compare::{FixedPoint, Networks, compare};
use amicus_model::compile::{FAR, NEAR};
use amicus_model::graph::Layer;
use amicus_model::measure::median;
use amicus_model::networks::PixelRule;
use amicus_model::{
    CompileOptions, Compiled, FloatExecutor, Simulator, argmax, compile, networks, quantize_input,
    relative_error,
};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

fn asset(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../cli/assets").join(name);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn shipped_digits() -> Images {
    mnist::parse(
        ("digits-images.idx3-ubyte", &asset("digits-images.idx3-ubyte")),
        ("digits-labels.idx1-ubyte", &asset("digits-labels.idx1-ubyte")),
    )
    .unwrap()
}

#[test]
fn shipped_network_is_as_good_in_integers() {
    let graph = networks::read(&asset("lenet5-mnist.safetensors")).unwrap().graph;
    let digits = shipped_digits();
    assert_eq!(digits.len(), 300);
    let samples: Vec<Vec<f32>> = (0..digits.len()).map(|i| digits.input(i, PixelRule::Unit)).collect();
    let compiled = compile(&graph, &samples, &CompileOptions::default()).unwrap();
    assert_eq!(compiled.plan.limbs.count(), 2);
    let simulator = Simulator::new(&compiled.plan, &compiled.weights).unwrap();
    let float = FloatExecutor::new(&graph);
    let (mut right, mut errors) = (0, Vec::new());
    for (i, x) in samples.iter().enumerate() {
        let input = LimbVec::from_i64(compiled.plan.limbs, &quantize_input(&compiled.plan, x).unwrap());
        let logits = simulator.outputs(&input, 1).unwrap().logits();
        right += usize::from(argmax(&logits) == usize::from(digits.label(i)));
        errors.push(relative_error(&logits, &float.run(x).unwrap()));
    }
    assert!(right >= 294, "{right} of 300 right");
    assert!(median(&errors) < 0.003, "median relative error {}", median(&errors));
    assert!(
        errors.iter().all(|&e| e < 0.02),
        "largest relative error {:?}",
        errors.iter().copied().fold(0.0, f64::max)
    );
    // Activations stand behind truncations of their own: an opening more, and less dealt.
    let cost = &compiled.report.cost;
    assert!(cost.dealt_bytes < 1_000_000 && cost.sent_bytes_per_party < 250_000, "{cost:?}");
}

#[test]
fn relu_and_max_pooling_are_as_good_in_integers() {
    let graph = networks::read(&asset("lenet5-mnist-relu.safetensors")).unwrap().graph;
    let pools = graph.nodes().iter().filter(|n| matches!(n.layer, Layer::MaxPool(_))).count();
    assert_eq!(pools, 2);
    let digits = shipped_digits();
    let samples: Vec<Vec<f32>> = (0..digits.len()).map(|i| digits.input(i, PixelRule::Unit)).collect();
    for (link, rounds, signs) in [(NEAR, 32, 0.001), (FAR, 26, 0.005)] {
        let options = CompileOptions { link, ..CompileOptions::default() };
        let compiled = compile(&graph, &samples[..100], &options).unwrap();
        let report = &compiled.report;
        assert_eq!((report.limbs, report.cost.rounds), (1, rounds), "{report}");
        // Bits that fit the modulus are used, and leave numbers far from its end.
        assert!(report.rounding.as_ref().unwrap().max < 1e-4, "{report}");
        assert!(report.proofs.iter().all(|p| p.guard_bits_left >= 2.0), "{report}");
        assert!(report.windows.iter().all(|w| w.guard_bits >= 1.0), "{report}");
        assert!(report.cost.dealt_bytes < 500_000, "{report}");
        let Compiled { plan, weights, factors, .. } = &compiled;
        let fixed = FixedPoint { plan, weights, factors };
        let networks = Networks { original: &graph, polynomial: &graph, fixed: Some(fixed) };
        let labels: Vec<usize> = (0..digits.len()).map(|i| digits.label(i).into()).collect();
        let found = compare(networks, &samples, Some(&labels), &mut |_| ()).unwrap();
        assert_eq!((found.fixed_correct, found.total.unwrap().same_class), (found.float_correct, Some(300)));
        assert!(found.fixed_correct.unwrap() >= 294);
        // Nothing escapes, and the parts of the error are what compilation said.
        let escapes = found.escapes.unwrap();
        assert!(escapes.wrapped.is_empty(), "{escapes:?}");
        let run = found.private_run.unwrap();
        assert_eq!(run.samples, 24);
        assert!(run.rounding.median < 1e-4 && run.signs.median < signs, "{run:?}");
        assert!(run.signs.median > 0.0, "{run:?}");
    }
}

/// The shipped file with one tensor or entry changed or left out.
fn changed(
    edit: impl FnOnce(&mut HashMap<String, (Dtype, Vec<usize>, Vec<u8>)>, &mut HashMap<String, String>),
) -> String {
    let bytes = asset("lenet5-mnist.safetensors");
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut metadata = header.metadata().clone().unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: HashMap<_, _> = file
        .iter()
        .map(|(n, t)| (n.to_owned(), (t.dtype(), t.shape().to_vec(), t.data().to_vec())))
        .collect();
    edit(&mut tensors, &mut metadata);
    let views = tensors.iter().map(|(n, (d, s, b))| (n, TensorView::new(*d, s.clone(), b).unwrap()));
    let bytes = safetensors::serialize(views, Some(metadata)).unwrap();
    networks::read(&bytes).unwrap_err().to_string()
}

#[test]
fn bad_weight_files_are_named() {
    let bytes = asset("lenet5-mnist.safetensors");
    for cut in [0, 7, 8, 100, 5000, bytes.len() - 1] {
        let text = networks::read(&bytes[..cut]).unwrap_err().to_string();
        assert!(text.starts_with("weights, file: not a complete safetensors file"), "{text}");
    }
    assert!(networks::read(&[0xff; 64]).is_err());
    let cases: Vec<(&str, String)> = vec![
        ("weights, tensor `fc2.bias`: missing", changed(|t, _| drop(t.remove("fc2.bias")))),
        (
            "weights, tensor `conv1.weight`: shape [6, 25], expected [6, 1, 5, 5]",
            changed(|t, _| t.get_mut("conv1.weight").unwrap().1 = vec![6, 25]),
        ),
        (
            "weights, tensor `conv1.weight`: type I32, expected F32, F16 or BF16",
            changed(|t, _| t.get_mut("conv1.weight").unwrap().0 = Dtype::I32),
        ),
        (
            "weights, tensor `bn2.running_var`: element 0 is NaN",
            changed(|t, _| {
                t.get_mut("bn2.running_var").unwrap().2[..4].copy_from_slice(&f32::NAN.to_le_bytes())
            }),
        ),
        (
            "bn2: variance -7 plus eps",
            changed(|t, _| {
                t.get_mut("bn2.running_var").unwrap().2[..4].copy_from_slice(&(-7f32).to_le_bytes())
            }),
        ),
        ("weights, metadata `architecture`: missing", changed(|_, m| drop(m.remove("architecture")))),
        (
            "weights, metadata `architecture`: `vgg` is not one of lenet5, alexnet-cifar, resnet8",
            changed(|_, m| drop(m.insert("architecture".into(), "vgg".into()))),
        ),
        (
            "weights, metadata `bn.eps`: `tiny` is not a number",
            changed(|_, m| drop(m.insert("bn.eps".into(), "tiny".into()))),
        ),
        (
            "weights, metadata `activation.coefficients`: `[1, x]` is not a JSON array of numbers",
            changed(|_, m| drop(m.insert("activation.coefficients".into(), "[1, x]".into()))),
        ),
        (
            "act1: 1 coefficients, expected 2 to 9",
            changed(|_, m| drop(m.insert("activation.coefficients".into(), "[1]".into()))),
        ),
        (
            "act1: interval half-width 0",
            changed(|_, m| drop(m.insert("activation.interval".into(), "0".into()))),
        ),
        (
            "weights, metadata `activation.ranges`: 2 numbers, expected 4",
            changed(|_, m| drop(m.insert("activation.ranges".into(), "[1, 2]".into()))),
        ),
    ];
    for (expected, got) in cases {
        assert!(got.starts_with(expected), "expected `{expected}`, got `{got}`");
    }
}

#[test]
fn flipped_bytes_never_panic() {
    let good = asset("lenet5-mnist.safetensors");
    // The header and a little of the data: every byte of the header in turn.
    for at in (0..3000).step_by(7) {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        let _ = networks::read(&bytes);
    }
}
