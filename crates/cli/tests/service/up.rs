//! `amicus up`, and what users do with a cluster: `amicus upload` and `amicus infer`.

use crate::common::{amicus, compiled, data, program, strict_json, text};
use crate::trial::{eventually, http};
use amicus::ModelFile;
use amicus::model::QuantizedWeights;
use amicus::model::private_file::Existing;
use amicus::model::quantize::QuantizedLayer;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running `amicus up`, and what it said.
struct Up {
    child: Child,
    ready: Value,
}

impl Up {
    fn start(arguments: &[&str]) -> Self {
        let mut child = program()
            .arg("up")
            .args(arguments)
            .arg("--json")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            said.push_str(&line);
            said.push('\n');
            if line == "}" {
                break;
            }
        }
        let ready = strict_json(said.as_bytes()).unwrap_or_else(|error| panic!("{error}: {said}"));
        Up { child, ready }
    }

    fn text(&self, pointer: &str) -> String {
        self.ready
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("{pointer}: {}", self.ready))
            .to_owned()
    }

    fn processes(&self) -> Vec<u64> {
        self.ready["nodes"].as_array().unwrap().iter().map(|node| node["pid"].as_u64().unwrap()).collect()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process has ended: it is gone, or waits for somebody to ask how.
fn gone(process: u64) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    status.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
}

/// Answers of a command, from a file that it writes.
fn outputs(file: &Path) -> Vec<Vec<f64>> {
    let value: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let answer = |answer: &Value| {
        answer["outputs"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    };
    value["answers"].as_array().unwrap().iter().map(answer).collect()
}

#[test]
fn one_command_runs_a_cluster_and_ends_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let model = compiled(folder.path());
    let mut up = Up::start(&[text(&model), "--client", "bob"]);
    let cluster = up.text("/cluster");
    for at in 0..3 {
        let (status, body) = http(
            &up.text(&format!("/nodes/{at}/monitor")),
            "GET /readyz HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n",
        )
        .unwrap();
        assert_eq!((status, body.as_str()), (200, "ready\n"));
    }
    // Its tokens, as JSON.
    let config = Path::new(&cluster).with_file_name("party-1.toml");
    let token = |words: &[&str]| {
        let ended = amicus(&[&["token", "--config", text(&config), "--json"], words].concat());
        assert!(ended.status.success(), "{ended:?}");
        strict_json(&ended.stdout).unwrap()
    };
    let made = token(&["new", "--role", "client", "--name", "carol"]);
    let listed = token(&["list"]);
    let ids: Vec<&Value> = listed["tokens"].as_array().unwrap().iter().map(|token| &token["id"]).collect();
    assert!(ids.contains(&&made["id"]), "{listed}");
    assert_eq!(token(&["revoke", "carol"])["revoked"], 1);
    // What it answers is what the integer simulator says.
    let npz = data("lenet_dynamo.npz");
    let at = |name: &str| folder.path().join(name);
    let (private, simulated) = (at("private.json"), at("simulated.json"));
    let simulation =
        ["simulate", text(&model), "--data", text(&npz), "--samples", "4", "--output", text(&simulated)];
    assert!(amicus(&simulation).status.success());
    let shared = ["infer", "--cluster", &cluster, "--key", &up.text("/clients/0/key"), "--model", "lenet"];
    let fingerprint = up.text("/models/0/fingerprint");
    let infer = |more: &[&str]| amicus(&[&shared[..], &["--fingerprint", &fingerprint], more].concat());
    let ended = infer(&[text(&npz), "--batch", "3", "--output", text(&private), "--json"]);
    assert!(ended.status.success(), "{ended:?}");
    let report = strict_json(&ended.stdout).unwrap();
    assert_eq!(report["answers"].as_array().unwrap().len(), 4);
    assert_eq!(report["fingerprint"].as_str(), Some(&fingerprint[..]));
    let (private, simulated) = (outputs(&private), outputs(&simulated));
    assert_eq!(private.len(), 4);
    for (private, simulated) in private.iter().zip(&simulated) {
        assert_eq!(private.len(), simulated.len());
        let apart = private.iter().zip(simulated).map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f64::max) < 1e-2, "{private:?}, {simulated:?}");
    }
    compared_with_the_simulator(&infer, &model, &npz, folder.path());
    mistakes_of_users(&up, &shared, folder.path(), &npz);
    // The owner may load it anew; then clients that expect the old one are told.
    let owner = ["upload", text(&model), "--cluster", &cluster, "--key", &up.text("/owner_key"), "--json"];
    let again = strict_json(&amicus(&owner).stdout).unwrap();
    assert_ne!(again["fingerprint"].as_str(), Some(&fingerprint[..]));
    let old = infer(&[text(&npz)]);
    assert_eq!(old.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&old.stderr).contains("ask the model owner"), "{old:?}");
    let processes = up.processes();
    let made = PathBuf::from(up.text("/folder"));
    assert!(made.join("cluster.toml").exists() && !processes.iter().any(|process| gone(*process)));
    up.signal("INT");
    let ended = || up.child.try_wait().unwrap().ok_or_else(|| "it is still there".to_owned());
    let status = eventually("it ends", ended);
    assert_eq!(status.code(), Some(0));
    assert!(processes.iter().all(|process| gone(*process)), "{processes:?}");
    assert!(!made.exists(), "{} is left", made.display());
}

/// The simulator beside: equal, unless the file is not the one that was uploaded.
fn compared_with_the_simulator(
    infer: &dyn Fn(&[&str]) -> std::process::Output,
    model: &Path,
    images: &Path,
    folder: &Path,
) {
    let ended = infer(&[text(images), "--compare", text(model)]);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let said = String::from_utf8(ended.stdout).unwrap();
    assert!(said.ends_with("all 4 answers equal the simulator's, but for roundings\n"), "{said}");
    // Weights of the first layer are others than those that were uploaded.
    let mut file = ModelFile::load(model).unwrap();
    let mut layers = file.weights.layers().to_vec();
    let weights: Vec<i64> = layers[0].weights().iter().map(|w| -w).collect();
    layers[0] = QuantizedLayer::new(weights, layers[0].bias().to_vec());
    file.weights = QuantizedWeights::new(&file.plan, layers).unwrap();
    let other = folder.join("other.amc");
    file.save(&other, Existing::Keep).unwrap();
    let ended = infer(&[text(images), "--compare", text(&other)]);
    assert_eq!(ended.status.code(), Some(5), "{ended:?}");
    let said = String::from_utf8(ended.stdout).unwrap();
    assert!(said.ends_with("4 of 4 answers differ from the simulator's\n"), "{said}");
    assert!(said.contains("the parties have other weights than this file"), "{said}");
    let shipped = folder.join("digits.amc");
    assert!(amicus(&["export", "lenet5-mnist-degree2", "-o", text(&shipped)]).status.success());
    let ended = infer(&[text(images), "--compare", text(&shipped)]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("give the file that was uploaded"), "{ended:?}");
}

fn mistakes_of_users(up: &Up, shared: &[&str], folder: &Path, images: &Path) {
    let refused = |arguments: &[&str]| {
        let ended = amicus(arguments);
        assert_eq!((ended.status.code(), ended.stdout.len()), (Some(1), 0), "{ended:?}");
        String::from_utf8(ended.stderr).unwrap()
    };
    let empty = folder.join("empty");
    std::fs::create_dir(&empty).unwrap();
    for (more, words) in [
        (vec![text(&empty)], "there are no .png"),
        (vec!["none.npz"], "none.npz"),
        (vec!["readme.txt"], "give a .png"),
        (vec![text(images), "--batch", "0"], "--batch 0"),
    ] {
        let line = refused(&[shared, &more[..]].concat());
        assert!(line.contains(words), "{line}");
    }
    let cluster = up.text("/cluster");
    let owner = up.text("/owner_key");
    let model = ["infer", "--cluster", &cluster, "--key", &owner, "--model", "lenet", text(images)];
    assert!(refused(&model).contains("is that of model owner in this deployment, not of a client"));
    let other = ["infer", "--cluster", &cluster, "--key", &owner, "--model", "vgg", text(images)];
    assert!(refused(&other).contains("vgg.plan: there is no such file"));
    let plan = up.text("/models/0/plan");
    let listed = [&other[..], &["--plan", &plan]].concat();
    assert!(refused(&listed).contains("its models are lenet"), "{}", refused(&listed));
    let shipped = folder.join("shipped.amc");
    assert!(amicus(&["export", "lenet5-mnist-degree2", "-o", text(&shipped)]).status.success());
    let upload = ["upload", text(&shipped), "--cluster", &cluster, "--key", &owner];
    assert!(refused(&upload).contains("is none of the cluster's models"));
}

#[test]
fn nodes_do_not_outlive_the_command_that_started_them() {
    let folder = tempfile::tempdir().unwrap();
    let (model, kept) = (compiled(folder.path()), folder.path().join("kept"));
    let up = Up::start(&[text(&model), "--parties", "3", "--folder", text(&kept)]);
    let processes = up.processes();
    assert_eq!(processes.len(), 4);
    up.signal("KILL");
    for process in &processes {
        eventually("a node ends", || if gone(*process) { Ok(()) } else { Err(process.to_string()) });
    }
    // Told to end, they did so well; the folder was asked for and stays.
    for name in ["helper", "party-1", "party-2", "party-3"] {
        let log = std::fs::read_to_string(kept.join(format!("{name}.log"))).unwrap();
        assert!(log.contains("ended; nothing was in flight"), "{log}");
    }
    let again = amicus(&["up", text(&model), "--folder", text(&kept)]);
    assert_eq!(again.status.code(), Some(1));
}
