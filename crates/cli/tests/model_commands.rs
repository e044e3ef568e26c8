//! `check`, `compile`, `estimate` and `simulate`, as a user calls them.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/data").join(name)
}

fn amicus(arguments: &[&str]) -> Output {
    // No rates of this machine but those a test measures itself.
    let nowhere = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-rates");
    amicus_with(&nowhere, arguments)
}

fn amicus_with(cache: &Path, arguments: &[&str]) -> Output {
    let command = env!("CARGO_BIN_EXE_amicus");
    Command::new(command).env("XDG_CACHE_HOME", cache).args(arguments).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn json(arguments: &[&str]) -> serde_json::Value {
    let output = amicus(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(arguments: &[&str]) -> String {
    let output = amicus(arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn from_onnx_to_estimate_and_simulation() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("lenet.amc");
    let (onnx, npz) = (data("lenet_dynamo.onnx"), data("lenet_dynamo.npz"));
    let found = json(&["check", text(&onnx)]);
    assert_eq!((&found["ok"], &found["opset"]), (&true.into(), &20.into()));

    let compiled = json(&["compile", text(&onnx), "--calibrate", text(&npz), "-o", text(&model)]);
    assert_eq!(compiled["meets_target"], true);
    assert_eq!(compiled["report"]["limbs"], 1);
    assert_eq!(compiled["approximations"].as_array().unwrap().len(), 3);

    let local = json(&["estimate", text(&model)]);
    assert_eq!(local["rounds"], compiled["cost"]["rounds"]);
    assert_eq!(local["dealt_bytes"], compiled["cost"]["dealt_bytes"]);
    assert_eq!(local["rates"]["measured_here"], false);
    let wan = json(&["estimate", text(&model), "--net", "wan", "--parties", "3"]);
    assert!(wan["online_ms"].as_f64().unwrap() > 20.0 * wan["rounds"].as_f64().unwrap());
    let error = refused(&["estimate", text(&model), "--memory", "1MB"]);
    assert!(error.contains("does not fit 1000000 bytes of memory"), "{error}");

    let simulated = json(&["simulate", text(&model), "--data", text(&npz)]);
    assert_eq!(simulated["samples"], 4);
    assert_eq!(simulated["fixed"]["same_class"], 4);
    assert!(simulated["fixed"]["relative_error"]["median"].as_f64().unwrap() < 0.005);
}

#[test]
fn refusals_name_file_and_node() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model.amc");
    let output = amicus(&["check", text(&data("unsupported.onnx"))]);
    assert_eq!(output.status.code(), Some(1));
    let listed = String::from_utf8(output.stdout).unwrap();
    for node in ["/features/lrn (LRN)", "/decoder/norm (InstanceNormalization)"] {
        assert!(listed.contains(node), "{listed}");
    }
    let compile = |model: &str, data_file: &Path| {
        let model = data(model);
        let files = [text(&model), "--calibrate", text(data_file), "-o", text(&out)];
        refused(&[&["compile", "--activations", "polynomial"], &files[..]].concat())
    };
    let vgg = data("vgg_legacy.npz");
    assert!(compile("vgg_legacy.onnx", &vgg).contains("--maxpool average"));
    let error = compile("resnet_legacy.onnx", &data("lenet_dynamo.npz"));
    assert!(error.contains("array x: shape [4, 1, 28, 28], expected [samples, 3, 16, 16]"), "{error}");
    let error = compile("resnet_legacy.onnx", &data("make_onnx.py"));
    assert!(error.contains("not a complete .npz file"), "{error}");
    let error = compile("missing.onnx", &vgg);
    assert!(error.contains("missing.onnx"), "{error}");
    assert!(!out.exists());
    let error = refused(&["simulate", text(&vgg)]);
    assert!(error.contains("--data: a compiled model takes numbers"), "{error}");
    let error = refused(&["simulate", text(&vgg), "--data", text(&vgg)]);
    assert!(error.contains("no compiled model"), "{error}");
}

#[test]
fn a_model_known_by_name_is_simulated() {
    let simulated = json(&["simulate", "lenet5-mnist-degree2", "--samples", "30"]);
    assert_eq!((&simulated["samples"], &simulated["fixed"]["same_class"]), (&30.into(), &30.into()));
    assert_eq!(simulated["float_correct"], simulated["fixed_correct"]);
    let error = refused(&["simulate", "lenet5-mnist", "--data-dir", "none"]);
    assert!(error.contains("none"), "{error}");
}

#[test]
fn rates_are_measured_kept_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("lenet.amc");
    let (onnx, npz) = (data("lenet_dynamo.onnx"), data("lenet_dynamo.npz"));
    json(&["compile", text(&onnx), "--calibrate", text(&npz), "-o", text(&model)]);
    let with = |arguments: &[&str]| {
        let output = amicus_with(folder.path(), arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap(), output.stderr)
    };
    let (before, _) = with(&["estimate", text(&model), "--json"]);
    assert_eq!(before["rates"]["measured_here"], false);
    let (measured, _) = with(&["bench", "--suite", "calibrate", "--json"]);
    let file = PathBuf::from(measured["file"].as_str().unwrap());
    assert!(file.starts_with(folder.path()), "{measured}");
    let rates = &measured["rates"];
    assert!(rates["products_per_second"].as_f64().unwrap() > 1e7, "{rates}");
    for hop in ["hop_us", "delayed_hop_us"] {
        assert!((1.0..1e5).contains(&rates[hop].as_f64().unwrap()), "{rates}");
    }
    let (after, warnings) = with(&["estimate", text(&model), "--json"]);
    assert_eq!(after["rates"]["measured_here"], true);
    assert_eq!(after["rates"]["products_per_second"], rates["products_per_second"]);
    assert!(warnings.is_empty());
    // A broken file is no reason to stop, but is said.
    std::fs::write(&file, "{}").unwrap();
    let (broken, warnings) = with(&["estimate", text(&model), "--json"]);
    assert_eq!(broken["rates"]["measured_here"], false);
    assert!(String::from_utf8(warnings).unwrap().contains("holds no rates"));
    // Those rates beside measurements, of a name and of a file, over two networks.
    let models =
        ["--model", "lenet5-mnist-degree2", "--model", text(&model), "--net", "local", "--net", "rtt=2ms"];
    let suite = [&["bench", "--suite", "models", "--samples", "2", "--json"][..], &models].concat();
    let (summary, _) = with(&suite);
    let runs = summary["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 4);
    for run in runs {
        assert_eq!(
            (&run["check"], &run["samples"], &run["agree"]),
            (&"accepted".into(), &2.into(), &2.into()),
            "{run}"
        );
        assert!(run["estimated_online_ms"].as_f64().unwrap() > 0.0, "{run}");
    }
    let (here, behind) = (&runs[0], &runs[1]);
    assert_eq!(here["model"], "lenet5-mnist-degree2");
    // One-way hops of 1 ms each, in both figures.
    let least = behind["rounds"].as_f64().unwrap();
    assert!(behind["estimated_online_ms"].as_f64().unwrap() > least);
    assert!(behind["online_ms"]["min"].as_f64().unwrap() > least);
    assert_eq!(here["rounds"], behind["rounds"]);
    let output = amicus(&["bench", "--suite", "weather"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn throughput_is_measured_role_by_role_and_written_as_files() {
    let folder = tempfile::tempdir().unwrap();
    let figures = folder.path().join("figures");
    let suite = ["bench", "--suite", "throughput", "--model", "lenet5-mnist-degree2", "--batch", "1"];
    let more = ["--batch", "3", "--samples", "4", "--busy", "1", "--json", "--output", text(&figures)];
    let output = amicus(&[&suite[..], &more].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let runs = summary["runs"].as_array().unwrap();
    let measured: Vec<_> = runs.iter().map(|run| (&run["batch"], &run["inferences"], &run["busy"])).collect();
    assert_eq!(measured, [(&1.into(), &4.into(), &1.into()), (&3.into(), &2.into(), &1.into())]);
    for run in runs {
        assert!(run["images_per_second"].as_f64().unwrap() > 0.0, "{run}");
        // Two layers of activations, whatever the batch.
        assert!(run["dealt_bytes"].as_f64().unwrap() > 100_000.0, "{run}");
        if cfg!(target_os = "linux") {
            for role in ["helper dealing", "party 1 dealing", "party 2 online", "client"] {
                assert!(run["cpu_ms"][role].as_f64().unwrap() > 0.0, "{role}: {run}");
            }
        }
    }
    let file = |name: &str| std::fs::read_to_string(figures.join(format!("throughput.{name}"))).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&file("json")).unwrap(), summary);
    assert!(file("md").contains("| lenet5-mnist-degree2 | 3 |"));
    assert!(file("svg").starts_with("<svg"));
    let none = amicus(&["bench", "--suite", "throughput", "--batch", "0"]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("1 to 256 are possible"));
}
