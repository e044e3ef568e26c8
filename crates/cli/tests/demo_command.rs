//! `amicus demo` on models and data of the user's, as a user calls it.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::{ImageFormat, Rgb, RgbImage};
use safetensors::tensor::{Dtype, TensorView};

fn amicus(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_amicus")).args(arguments).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn demo(arguments: &[&str]) -> serde_json::Value {
    let output = amicus(&[&["demo", "--json"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(arguments: &[&str]) -> String {
    let output = amicus(&[&["demo"], arguments].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn model_data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/data").join(name)
}

/// A residual network of four channels with repeatable weights, as the training programs write it;
/// activations `polynomial` or `relu`.
fn resnet(folder: &Path, activation: &str) -> PathBuf {
    let cases: serde_json::Value =
        serde_json::from_slice(&std::fs::read(model_data("networks.json")).unwrap()).unwrap();
    let cases = cases.as_array().unwrap();
    let case = cases.iter().find(|case| case["name"] == "resnet8 of width 4").unwrap();
    let mut metadata: HashMap<String, String> = serde_json::from_value(case["metadata"].clone()).unwrap();
    metadata.insert("activation".to_owned(), activation.to_owned());
    let shapes: Vec<(String, Vec<usize>)> = serde_json::from_value(case["tensors"].clone()).unwrap();
    let mut state = 1u32;
    let mut unit = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut tensor = |name: &str, shape: &[usize]| -> Vec<u8> {
        let count: usize = shape.iter().product();
        let per_row = (count / shape[0]) as f32;
        let value = |u: f32| match name {
            name if name.ends_with("running_var") => 1.5,
            name if shape.len() == 1 && name.ends_with("weight") => 1.0,
            _ if shape.len() == 1 => 0.1 * u,
            _ => u * (4.0 / per_row).sqrt(),
        };
        (0..count).flat_map(|_| value(unit()).to_le_bytes()).collect()
    };
    let tensors: Vec<_> = shapes.iter().map(|(name, shape)| (name, shape, tensor(name, shape))).collect();
    let views =
        tensors.iter().map(|(n, s, bytes)| (*n, TensorView::new(Dtype::F32, s.to_vec(), bytes).unwrap()));
    let path = folder.join(format!("resnet8-{activation}.safetensors"));
    std::fs::write(&path, safetensors::serialize(views, Some(metadata)).unwrap()).unwrap();
    path
}

/// Ten folders with two images each, one PNG and one JPEG.
fn photographs(folder: &Path) -> PathBuf {
    let data = folder.join("data");
    for class in 0..10u32 {
        let class_folder = data.join("test").join(format!("class-{class}"));
        std::fs::create_dir_all(&class_folder).unwrap();
        for (file, shift) in [("a.png", 0), ("b.jpg", 90)] {
            let pixel =
                |x: u32, y: u32| Rgb([(x * 8 + shift) as u8, (y * class + shift) as u8, (class * 25) as u8]);
            RgbImage::from_fn(32, 32, pixel).save(class_folder.join(file)).unwrap();
        }
    }
    data
}

#[test]
fn a_compiled_model_runs_privately() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("lenet.amc");
    let (onnx, npz) = (model_data("lenet_dynamo.onnx"), model_data("lenet_dynamo.npz"));
    let made = amicus(&["compile", text(&onnx), "--calibrate", text(&npz), "-o", text(&model)]);
    assert!(made.status.success(), "{made:?}");
    let report = demo(&["--model", text(&model), "--data", text(&npz)]);
    assert_eq!(
        (&report["samples"], &report["agree"], &report["labelled"]),
        // Its labels are scores, which are none.
        (&4.into(), &4.into(), &0.into())
    );
    assert_eq!(report["check"], "accepted");
    assert!(report["correct"].is_null() && report["classes"].is_null(), "{report}");
    let report = demo(&["--model", text(&model), "--samples", "3"]);
    assert_eq!((&report["agree"], &report["labelled"]), (&3.into(), &0.into()));
    assert!(report["correct"].is_null() && report["plaintext_correct"].is_null(), "{report}");
    assert!(report["data"].as_str().unwrap().starts_with("random inputs from "), "{report}");
    assert_eq!(report["public_weights"], 0);

    // With weights that everybody knows: the same answers, less to send and no round for layers.
    let (public, plan) = (folder.path().join("public.amc"), folder.path().join("public.plan"));
    let compile = ["compile", text(&onnx), "--calibrate", text(&npz), "--public-model", "-o", text(&public)];
    let made = amicus(&compile);
    // Lines are broken to fit.
    let said: Vec<&str> = std::str::from_utf8(&made.stdout).unwrap().split_whitespace().collect();
    let said = said.join(" ");
    assert!(made.status.success() && said.contains("its plan holds the weights, for everybody"), "{said}");
    let open = demo(&["--model", text(&public), "--data", text(&npz)]);
    assert_eq!(
        (&open["samples"], &open["agree"], &open["check"]),
        (&4.into(), &4.into(), &"accepted".into())
    );
    let of = |report: &serde_json::Value, what: &str| report[what].as_u64().unwrap();
    let known = of(&open, "public_weights");
    assert_eq!(known, 9300);
    let secret = demo(&["--model", text(&model), "--data", text(&npz)]);
    assert!(of(&open, "rounds") < of(&secret, "rounds"), "{open}");
    assert!(of(&open, "sent_bytes_per_party") < of(&secret, "sent_bytes_per_party"), "{open}");
    let published = demo(&["--model", text(&model), "--data", text(&npz), "--public-model"]);
    assert_eq!(of(&published, "rounds"), of(&open, "rounds"));
    let shown = amicus(&["plan", text(&public), "-o", text(&plan), "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(of(&shown, "public_weights"), known);

    let error = refused(&["--model", text(&model), "--weights", text(&npz)]);
    assert!(error.contains("--weights: a compiled model holds its weights already"), "{error}");
    let error = refused(&["--model", text(&model), "--data-dir", text(folder.path())]);
    assert!(error.contains("--data-dir: a compiled model takes numbers"), "{error}");
    let error = refused(&["--model", text(&model), "--data", text(&model_data("vgg_legacy.npz"))]);
    assert!(error.contains("array x: shape"), "{error}");
    let error = refused(&["--model", text(&npz)]);
    assert!(error.contains("no compiled model"), "{error}");
}

#[test]
fn photographs_from_folders_and_batches() {
    let folder = tempfile::tempdir().unwrap();
    let (weights, data) = (resnet(folder.path(), "polynomial"), photographs(folder.path()));
    let run = ["--weights", text(&weights), "--data-dir", text(&data), "--samples", "11"];
    let report = demo(&run);
    assert_eq!(report["model"], "resnet8-cifar10");
    assert_eq!((&report["agree"], &report["labelled"]), (&11.into(), &11.into()));
    assert_eq!(report["classes"][9], "class-9");

    let pictures = String::from_utf8(amicus(&[&["demo"], &run[..]].concat()).stdout).unwrap();
    assert!(pictures.contains("private: class-") && !pictures.contains('\x1b'), "{pictures}");

    // The photographs that ship, of all classes but one.
    let report = demo(&["--weights", text(&weights)]);
    assert_eq!(
        (&report["samples"], &report["agree"], &report["labelled"]),
        (&9.into(), &9.into(), &9.into())
    );

    let class = data.join("test/class-4");
    std::fs::write(class.join("a.png"), b"\x89PNG\r\n\x1a\n and then nothing").unwrap();
    let error = refused(&run);
    assert!(error.contains("a.png: damaged image"), "{error}");
    std::fs::write(class.join("a.png"), b"GIF89a").unwrap();
    assert!(refused(&run).contains("a.png: neither a PNG nor a JPEG image"));
    RgbImage::new(30, 32).save_with_format(class.join("a.png"), ImageFormat::Png).unwrap();
    assert!(refused(&run).contains("a.png: 30 x 32 pixels, expected 32 x 32"));
    std::fs::remove_dir_all(&class).unwrap();
    let error = refused(&run);
    assert!(error.contains("test: 9 class folders with PNG or JPEG images (class-0, "), "{error}");

    // Two records of CIFAR-10's binary version, the first all red.
    let mut batch = vec![3u8];
    batch.extend([255; 1024].iter().chain(&[0; 2048]));
    batch.push(9);
    batch.extend((0..3072).map(|i| (i % 251) as u8));
    std::fs::write(data.join("test_batch.bin"), &batch).unwrap();
    let report = demo(&["--weights", text(&weights), "--data-dir", text(&data)]);
    assert_eq!((&report["samples"], &report["classes"][3]), (&2.into(), &"cat".into()));
    std::fs::write(data.join("test_batch.bin"), &batch[1..]).unwrap();
    assert!(
        refused(&run)
            .contains("test_batch.bin: 6145 bytes are no whole number of records of 3073 bytes each")
    );
    batch[0] = 10;
    std::fs::write(data.join("test_batch.bin"), &batch).unwrap();
    assert!(refused(&run).contains("label 10 of image 0, allowed are 0 to 9"));
}

#[test]
fn digits_from_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let error = refused(&["--data-dir", text(folder.path())]);
    assert!(error.contains("holds none of: digits-images.idx3-ubyte and digits-labels"), "{error}");
    for [digits, name] in
        [["digits-images.idx3", "t10k-images-idx3"], ["digits-labels.idx1", "t10k-labels-idx1"]]
    {
        let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
        let bytes = std::fs::read(assets.join(format!("{digits}-ubyte"))).unwrap();
        let file = std::fs::File::create(folder.path().join(format!("{name}-ubyte.gz"))).unwrap();
        let mut packer = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        packer.write_all(&bytes).unwrap();
        packer.finish().unwrap();
    }
    let report = demo(&["--data-dir", text(folder.path()), "--samples", "10"]);
    assert_eq!((&report["labelled"], &report["agree"]), (&10.into(), &10.into()));
    assert!(report["correct"].as_u64().unwrap() >= 9, "{report}");
    let images = folder.path().join("t10k-images-idx3-ubyte.gz");
    let bytes = std::fs::read(&images).unwrap();
    std::fs::write(&images, &bytes[..bytes.len() / 2]).unwrap();
    let error = refused(&["--data-dir", text(folder.path())]);
    assert!(error.contains("t10k-images-idx3-ubyte.gz: gzip data is damaged or cut off"), "{error}");
}

#[test]
fn weights_with_relu_are_run_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let report = demo(&["--weights", text(&resnet(folder.path(), "relu")), "--samples", "3"]);
    assert_eq!(
        (&report["model"], &report["limbs"], &report["agree"]),
        (&"resnet8-cifar10-relu".into(), &1.into(), &3.into())
    );
    assert_eq!((&report["check"], &report["polynomials_error"]["max"]), (&"accepted".into(), &0.0.into()));
}

#[test]
fn wrong_names_and_weights_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let weights = resnet(folder.path(), "polynomial");
    let error = refused(&["--model", "vgg"]);
    assert!(error.contains("unknown model vgg; known: lenet5-mnist, alexnet-cifar10, "), "{error}");
    let error = refused(&["--model", "lenet5-mnist", "--weights", text(&weights)]);
    assert!(error.contains("holds a network of kind resnet8 with polynomials, lenet5-mnist is of kind lenet5 with polynomials"), "{error}");
    let error = refused(&["--weights", text(&weights), "--data-dir", text(&folder.path().join("none"))]);
    assert!(error.contains("none: no such folder"), "{error}");
    let error = refused(&["--weights", text(&weights), "--data-dir", ".", "--data", "x.npz"]);
    assert!(error.contains("--data: cannot be given together with --data-dir"), "{error}");
    let error = refused(&["--weights", text(&weights), "--samples", "10"]);
    assert!(error.contains("--samples: 10 samples, there are 9"), "{error}");
}
