//! What `compile` and `simulate` refuse, ask leave for, and hand out.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

mod common;

use amicus_data::npz::{Column, Npz, Values, write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PIXELS: usize = 28 * 28;

struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Bench(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Images from the numbers of a seed, the labels given, and what `change` makes of it.
    fn data(&self, name: &str, labels: Option<(&[usize], &[f64])>, change: impl Fn(&mut [f64])) -> PathBuf {
        let count = 12;
        let mut state = 1u64;
        let mut x: Vec<f64> = (0..count * PIXELS)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f64 / (1u64 << 23) as f64 - 1.0
            })
            .collect();
        change(&mut x);
        let shape = [count, 1, 28, 28];
        let mut columns = vec![Column { name: "x", shape: &shape, values: Values::Reals(&x) }];
        columns.extend(labels.map(|(shape, y)| Column { name: "y", shape, values: Values::Reals(y) }));
        let path = self.at(name);
        write(&mut std::fs::File::create(&path).unwrap(), &columns).unwrap();
        path
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let command = env!("CARGO_BIN_EXE_amicus");
        let cache = self.at("cache");
        Command::new(command)
            .env("XDG_CACHE_HOME", cache)
            .env("TMPDIR", self.0.path())
            .args(arguments)
            .output()
            .unwrap()
    }

    fn compile(&self, data: &Path, more: &[&str]) -> Output {
        let (model, out) = (lenet(), self.at("m.amc"));
        let arguments = ["compile", text(&model), "--calibrate", text(data), "-o", text(&out)];
        self.run(&[&arguments, more].concat())
    }

    fn simulate(&self, data: &Path, more: &[&str]) -> Output {
        let model = self.at("m.amc");
        self.run(&[&["simulate", text(&model), "--data", text(data)], more].concat())
    }
}

fn lenet() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/data/lenet_dynamo.onnx")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(output: &Output, code: i32, part: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(code) && said.contains(part), "{part}: {output:?}");
}

#[test]
fn a_compiled_file_is_private_and_replaced_with_leave_only() {
    let bench = Bench::new();
    let data = bench.data("d.npz", None, |_| ());
    let first = bench.compile(&data, &[]);
    assert!(first.status.success(), "{first:?}");
    let said = String::from_utf8(first.stdout).unwrap();
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("a private answer: the class of your network for 12 of 12"), "{last}");
    assert!(said.contains("the plan, which parties, helper and clients see, shows:"), "{said}");
    let table = said.lines().filter(|l| l.starts_with(['│', '┌', '└', '╞']));
    let widths: Vec<usize> = table.map(|l| l.chars().count()).collect();
    assert!(widths.len() > 10 && widths.iter().all(|w| *w <= 80), "{widths:?}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(bench.at("m.amc")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let written = std::fs::read(bench.at("m.amc")).unwrap();
    refused(&bench.compile(&data, &[]), 1, "is there already; --force replaces it");
    assert!(bench.compile(&data, &["--force"]).status.success());
    assert_eq!(std::fs::read(bench.at("m.amc")).unwrap(), written, "compiling is deterministic");
    // Inputs are never written, by whatever name.
    let before = std::fs::read(&data).unwrap();
    std::fs::hard_link(&data, bench.at("hard.amc")).unwrap();
    let model = lenet();
    for out in [data.clone(), bench.at("hard.amc"), model.clone()] {
        let arguments = ["compile", text(&model), "--calibrate", text(&data), "--force", "-o", text(&out)];
        refused(&bench.run(&arguments), 1, "which this command reads");
    }
    assert_eq!(std::fs::read(&data).unwrap(), before);
    let left: Vec<_> = std::fs::read_dir(bench.0.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|n| !n.to_string_lossy().starts_with('.')), "{left:?}");
}

#[test]
fn a_missed_target_is_an_error_and_later_commands_repeat_it() {
    let bench = Bench::new();
    let data = bench.data("d.npz", None, |_| ());
    let missed = bench.compile(&data, &["--max-error", "0.0001%", "--limbs", "1"]);
    refused(&missed, 1, "--allow-miss writes it all the same");
    assert!(!bench.at("m.amc").exists());
    let missed = bench.compile(&data, &["--max-error", "0.0001%", "--limbs", "1", "--json"]);
    let summary: serde_json::Value = serde_json::from_slice(&missed.stdout).unwrap();
    assert_eq!((&summary["meets_target"], &summary["output"]), (&false.into(), &serde_json::Value::Null));
    refused(&bench.compile(&data, &["--max-total-error", "0.0001%"]), 1, "against the network as imported");
    let allowed = ["--max-error", "0.0001%", "--limbs", "1", "--allow-miss", "--json"];
    let summary = json(&bench.compile(&data, &allowed));
    assert_eq!(summary["missed_targets"].as_array().unwrap().len(), 1);
    assert!(summary["quality"]["total"]["median"].as_f64().unwrap() > 1e-6, "{}", summary["quality"]);
    let simulated = bench.simulate(&data, &[]);
    let said = String::from_utf8(simulated.stdout).unwrap();
    assert!(said.contains("warning: compiled although the median error of the fixed point"), "{said}");
    let model = bench.at("m.amc");
    let estimated = bench.run(&["estimate", text(&model), "--json"]);
    assert_eq!(json(&estimated)["missed_targets"].as_array().unwrap().len(), 1);
}

#[test]
fn data_that_cannot_be_right_are_refused_by_name() {
    let bench = Bench::new();
    let data = bench.data("d.npz", None, |_| ());
    refused(&bench.compile(&data, &["--samples", "0"]), 2, "0 is not in");
    refused(&bench.compile(&data, &["--max-error", "5"]), 2, "if percent is meant, write 5%");
    let zeros = bench.data("zeros.npz", None, |x| x.fill(0.0));
    refused(&bench.compile(&zeros, &[]), 1, "every number is 0");
    let infinite = bench.data("inf.npz", None, |x| x[PIXELS + 5] = f64::INFINITY);
    refused(&bench.compile(&infinite, &[]), 1, "sample 1: element 5 is inf");
    let skipped = json(&bench.compile(&infinite, &["--skip-invalid", "--json"]));
    assert_eq!(skipped["report"]["calibration_samples"], 11);
    std::fs::remove_file(bench.at("m.amc")).unwrap();
    let mut y = [1.0; 12];
    y[7] = 10.0;
    let beyond = bench.data("beyond.npz", Some((&[12], &y)), |_| ());
    let said = "sample 7 has label 10, the network tells 10 classes apart";
    refused(&bench.compile(&beyond, &[]), 1, said);
    assert!(bench.compile(&data, &[]).status.success());
    refused(&bench.simulate(&beyond, &[]), 1, said);
    let model = bench.at("m.amc");
    refused(&bench.run(&["demo", "--model", text(&model), "--data", text(&beyond)]), 1, said);
    refused(&bench.simulate(&data, &["--samples", "0"]), 2, "0 is not in");
    // A row and a column of labels are the same.
    y[7] = 3.0;
    let row = bench.data("row.npz", Some((&[12], &y)), |_| ());
    let column = bench.data("column.npz", Some((&[12, 1], &y)), |_| ());
    let [row, column] = [row, column].map(|data| json(&bench.simulate(&data, &["--json"])));
    assert!(row["fixed_correct"].is_number());
    assert_eq!(row["fixed_correct"], column["fixed_correct"]);
    // One image outside.
    let outside = bench.data("outside.npz", None, |x| x[2 * PIXELS + 9] = 7.0);
    refused(&bench.simulate(&outside, &[]), 1, "sample 2: element 9 is 7, outside the model's");
    let clipped = json(&bench.simulate(&outside, &["--clip", "--json"]));
    assert_eq!((&clipped["samples"], clipped["notes"].as_array().unwrap().len()), (&12.into(), 1));
    assert_eq!(json(&bench.simulate(&outside, &["--skip-invalid", "--json"]))["samples"], 11);
}

#[test]
fn answers_come_out_with_names() {
    let bench = Bench::new();
    let y: Vec<f64> = (0..12).map(|i| f64::from(i % 10)).collect();
    let data = bench.data("d.npz", Some((&[12], &y)), |_| ());
    assert!(bench.compile(&data, &[]).status.success());
    let names: Vec<String> = (0..10).map(|i| format!("class {i}")).collect();
    std::fs::write(bench.at("names"), names.join("\n")).unwrap();
    let (list, npz, out) = (bench.at("names"), bench.at("a.npz"), bench.at("a.json"));
    let arguments = ["--classes", text(&list), "--output"];
    let written = bench.simulate(&data, &[&arguments[..], &[text(&out)]].concat());
    assert!(written.status.success(), "{written:?}");
    let answers: serde_json::Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    let all = answers["answers"].as_array().unwrap();
    assert_eq!(all.len(), 12);
    let written = bench.simulate(&data, &[&arguments[..], &[text(&npz)]].concat());
    assert!(written.status.success(), "{written:?}");
    let bytes = std::fs::read(&npz).unwrap();
    let file = Npz::parse("a.npz", &bytes).unwrap();
    assert_eq!(file.names(), ["outputs", "classes", "labels", "names"]);
    let (outputs, classes) = (file.array("outputs").unwrap(), file.array("classes").unwrap());
    assert_eq!((outputs.shape.as_slice(), file.array("labels").unwrap().values[11]), (&[12, 10][..], 1.0));
    for (i, answer) in all.iter().enumerate() {
        let class = answer["class"].as_u64().unwrap();
        assert_eq!((class as f32, &answer["label"]), (classes.values[i], &(i as u64 % 10).into()));
        assert_eq!(answer["name"], format!("class {class}"));
        let first = answer["outputs"][0].as_f64().unwrap();
        assert!((first - f64::from(outputs.values[10 * i])).abs() < 1e-3);
    }
    refused(&bench.simulate(&data, &["--output", text(&npz)]), 1, "is there already; --force");
    assert!(bench.simulate(&data, &["--output", text(&npz), "--force"]).status.success());
    refused(&bench.simulate(&data, &["--output", text(&data), "--force"]), 1, "which this command reads");
    let other = bench.at("a.txt");
    refused(&bench.simulate(&data, &["--output", text(&other)]), 1, "ends in .npz or .json");
    std::fs::write(&list, "one\ntwo").unwrap();
    refused(&bench.simulate(&data, &["--classes", text(&list)]), 1, "2 lines, the network tells 10");
}

#[test]
fn receivers_get_labels_where_the_owner_says_so() {
    let bench = Bench::new();
    let y: Vec<f64> = (0..12).map(|i| f64::from(i % 10)).collect();
    let data = bench.data("d.npz", Some((&[12], &y)), |_| ());
    let (model, answers) = (bench.at("m.amc"), bench.at("answers.json"));
    let outputs = json(&bench.compile(&data, &["--json", "--logit-bits", "5"]));
    let dealt = |made: &serde_json::Value| made["cost"]["dealt_bytes"].as_i64().unwrap();
    bench.simulate(&data, &["--output", text(&answers)]);
    let all: serde_json::Value = serde_json::from_slice(&std::fs::read(&answers).unwrap()).unwrap();
    let rounded = |x: &serde_json::Value| (32.0 * x.as_f64().unwrap()).fract() == 0.0;
    assert!(
        all["answers"].as_array().unwrap().iter().all(|a| a["outputs"]
            .as_array()
            .unwrap()
            .iter()
            .all(rounded))
    );
    for (reveal, count) in [("label", 1), ("top5", 5)] {
        let made = json(&bench.compile(&data, &["--json", "--force", "--reveal", reveal]));
        let shown = made["plan_shows"].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
        assert!(shown.into_iter().any(|line| line.contains("not the outputs")), "{made}");
        assert_eq!(made["report"]["labels"]["labels"], count);
        // Outputs that lose more bits need more numbers that tell of values outside, so labels may
        // take fewer bytes than outputs.
        let more = dealt(&made) - dealt(&outputs);
        assert!(count > 1 || more <= 3_000, "{more}");
        bench.simulate(&data, &["--output", text(&answers), "--force"]);
        let simulated: serde_json::Value = serde_json::from_slice(&std::fs::read(&answers).unwrap()).unwrap();
        let simulated = simulated["answers"].as_array().unwrap();
        let demo = ["demo", "--model", text(&model), "--data", text(&data), "--json"];
        let report = json(&bench.run(&[&demo[..], &["--output", text(&answers), "--force"]].concat()));
        let private: serde_json::Value = serde_json::from_slice(&std::fs::read(&answers).unwrap()).unwrap();
        let private = private["answers"].as_array().unwrap();
        let (mut same, mut as_labelled) = (0, 0);
        for (simulated, private) in simulated.iter().zip(private) {
            let labels = private["outputs"].as_array().unwrap();
            assert_eq!(labels.len(), count);
            assert_eq!(labels[0].as_f64(), private["class"].as_f64());
            same += usize::from(private["class"] == simulated["class"]);
            as_labelled += usize::from(private["class"] == private["label"]);
        }
        assert!(same >= 11, "{same}");
        assert_eq!((&report["agree"], &report["correct"]), (&same.into(), &as_labelled.into()), "{report}");
    }
    let few = bench.compile(&data, &["--force", "--logit-bits", "3"]);
    refused(&few, 1, "a plan that looks for values outside needs 5");
    refused(
        &bench.compile(&data, &["--force", "--reveal", "label", "--logit-bits", "3"]),
        1,
        "no outputs are revealed that could be rounded",
    );
}

#[test]
fn the_demonstration_shows_the_users_own_network() {
    let bench = Bench::new();
    let y: Vec<f64> = (0..12).map(|i| f64::from(i % 10)).collect();
    let data = bench.data("d.npz", Some((&[12], &y)), |_| ());
    assert!(bench.compile(&data, &[]).status.success());
    let model = bench.at("m.amc");
    let demo = |data: &Path, more: &[&str]| {
        bench.run(&[&["demo", "--model", text(&model), "--data", text(data), "--json"], more].concat())
    };
    let out = bench.at("a.json");
    let report = json(&demo(&data, &["--output", text(&out)]));
    // This network is made of polynomials.
    assert!(report["polynomials_error"]["max"].as_f64().unwrap() < 1e-9, "{report}");
    assert_eq!((&report["tells_classes"], &report["agree"]), (&true.into(), &12.into()));
    assert_eq!(report["escapes"]["samples"], 12);
    assert_eq!(report["noticed"], serde_json::json!([]));
    // Answers stand in the order of the data, whatever the order they were computed in.
    let answers: serde_json::Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    let labels = answers["answers"].as_array().unwrap().iter().map(|a| a["label"].as_f64().unwrap());
    assert!(labels.eq(y.iter().copied()), "{answers}");
    refused(&demo(&data, &["--output", text(&out)]), 1, "is there already; --force");
    let outside = bench.data("outside.npz", None, |x| x[2 * PIXELS + 9] = 7.0);
    refused(&demo(&outside, &[]), 1, "sample 2: element 9 is 7, outside the model's");
    let clipped = json(&demo(&outside, &["--clip"]));
    assert_eq!((&clipped["samples"], clipped["notes"].as_array().unwrap().len()), (&12.into(), 1));
    assert_eq!(json(&demo(&outside, &["--skip-invalid"]))["samples"], 11);
    // A batch is no larger than the samples there are.
    let report = json(&demo(&data, &["--batch", "64"]));
    assert_eq!((&report["batch"], &report["samples"]), (&12.into(), &12.into()));

    // One with ReLU, with polynomials in place: plain text is the network as imported, so its loss
    // is seen, and the same as without cryptography.
    let [onnx, npz] = ["resnet_legacy.onnx", "resnet_legacy.npz"].map(|name| lenet().with_file_name(name));
    let relu = bench.at("relu.amc");
    let compile = ["compile", text(&onnx), "--calibrate", text(&npz), "--force", "-o", text(&relu)];
    let made = bench.run(&[&compile[..], &["--activations", "polynomial"]].concat());
    assert!(made.status.success(), "{made:?}");
    let report = json(&bench.run(&["demo", "--model", text(&relu), "--data", text(&npz), "--json"]));
    let simulated = json(&bench.run(&["simulate", text(&relu), "--data", text(&npz), "--json"]));
    let expected = simulated["total"]["relative_error"]["median"].as_f64().unwrap();
    // Rounding is random: the two differ by what the fixed point is off, at most by both.
    let rounding = report["fixed_point_error"]["max"].as_f64().unwrap();
    assert!((report["relative_error"].as_f64().unwrap() - expected).abs() < 2.0 * rounding, "{report}");
    let part = |key: &str| report[key]["median"].as_f64().unwrap();
    assert!(part("polynomials_error") > 3.0 * part("fixed_point_error"), "{report}");

    // Compiled as it is: nothing is approximated, and private answers are those of the network.
    let made = json(&bench.run(&[&compile[..], &["--json"]].concat()));
    assert!(made["report"]["windows"].as_array().unwrap().len() == 5, "{made}");
    assert!(made["report"]["signs"]["median"].as_f64().unwrap() < 0.005, "{made}");
    let report = json(&bench.run(&["demo", "--model", text(&relu), "--data", text(&npz), "--json"]));
    assert_eq!((&report["agree"], &report["samples"]), (&4.into(), &4.into()), "{report}");
    assert!(report["relative_error"].as_f64().unwrap() < 0.005, "{report}");
    assert!(report["polynomials_error"]["max"].as_f64().unwrap() < 1e-9, "{report}");
}

/// A picture all of one colour is far from the noise of the others, inside the network too.
#[test]
fn images_unlike_those_of_calibration_are_noticed() {
    let bench = Bench::new();
    let data = bench.data("d.npz", None, |_| ());
    let other = bench.data("other.npz", None, |x| x[3 * PIXELS..4 * PIXELS].fill(0.999));
    let made = json(&bench.compile(&data, &["--validate", text(&other), "--json"]));
    assert_eq!(made["report"]["watch"]["complete"], true, "{made}");
    assert_eq!(made["validated"]["samples"], 12);
    let expected = serde_json::json!([3]);
    assert_eq!(made["validated"]["noticed"], expected, "{}", made["validated"]);
    assert_eq!(made["measured"]["noticed"], serde_json::json!([]));
    assert_eq!(made["calibration"]["samples"], 12);
    assert_eq!(json(&bench.simulate(&other, &["--json"]))["noticed"], expected);
    let model = bench.at("m.amc");
    let demo = || json(&bench.run(&["demo", "--model", text(&model), "--data", text(&other), "--json"]));
    assert_eq!(demo()["noticed"], expected);
    let left_out = json(&bench.compile(&data, &["--no-watch", "--force", "--json"]));
    assert!(left_out["report"]["watch"].is_null(), "{left_out}");
    assert!(demo()["noticed"].is_null());
}

/// Ctrl-C at any moment leaves neither a draft beside the output nor a folder in TMPDIR.
#[cfg(unix)]
#[test]
fn an_interrupted_command_leaves_nothing() {
    let bench = Bench::new();
    let data = bench.data("d.npz", None, |_| ());
    assert!(bench.compile(&data, &[]).status.success());
    let before = common::count(bench.0.path());
    let model = bench.at("m.amc");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_amicus"))
        .env("TMPDIR", bench.0.path())
        .args(["demo", "--model", text(&model), "--data", text(&data), "--net", "rtt=5s", "--json"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // It runs for minutes.
    common::signal(&mut demo, bench.0.path(), before, "INT");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&demo.wait().unwrap()), Some(2));
    assert_eq!(common::count(bench.0.path()), before);
}
