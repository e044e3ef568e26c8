//! What all commands have in common: strict JSON, lines that fit, a quiet end on closed pipes,
//! nothing left behind.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

mod common;

use common::{amicus, compiled, count, data, program, strict_json, text, too_wide};
use std::path::Path;
use std::process::{Command, Stdio};

/// Every command that prints results, with small inputs: arguments, and whether it takes `--json`.
fn commands(folder: &Path) -> Vec<(Vec<String>, bool)> {
    let model = compiled(folder);
    let (onnx, npz, unsupported) =
        (data("lenet_dynamo.onnx"), data("lenet_dynamo.npz"), data("unsupported.onnx"));
    let [again, plan, shipped, pem] =
        ["again.amc", "lenet.plan", "shipped.amc", "me.pem"].map(|n| folder.join(n));
    assert!(amicus(&["keygen", text(&pem)]).status.success());
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<String>>();
    let all = [
        words(&["check", text(&onnx)]),
        words(&["check", text(&data("vgg_legacy.onnx"))]),
        words(&["check", text(&unsupported)]),
        words(&["compile", text(&onnx), "--calibrate", text(&npz), "-o", text(&again)]),
        words(&["plan", text(&model), "-o", text(&plan)]),
        words(&["export", "lenet5-mnist-degree2", "-o", text(&shipped)]),
        words(&["estimate", text(&model)]),
        words(&["estimate", text(&model), "--parties", "8", "--batch", "256", "--net", "wan"]),
        words(&["simulate", text(&model), "--data", text(&npz)]),
        words(&["simulate", "lenet5-mnist-degree2", "--samples", "2"]),
        words(&["demo", "--model", text(&model), "--data", text(&npz)]),
        words(&["demo", "--samples", "12"]),
        words(&["demo", "--model", "resnet8-cifar10-degree2", "--samples", "3"]),
        words(&["demo", "--cheat", "activation:0"]),
        words(&["bench", "--suite", "calibrate"]),
        words(&[
            "bench",
            "--suite",
            "models",
            "--model",
            "lenet5-mnist-degree2",
            "--net",
            "local",
            "--samples",
            "2",
        ]),
    ];
    let mut all: Vec<_> = all.into_iter().map(|words| (words, true)).collect();
    all.push((words(&["doctor", "--config", text(&folder.join("none.toml"))]), true));
    all.push((words(&["train", "--dataset", "mnist"]), false));
    all.push((words(&["fingerprint", text(&pem)]), false));
    all
}

/// Commands that need a cluster, or are one; `tests/service` runs them.
const OF_CLUSTERS: [&str; 4] = ["up", "upload", "infer", "token"];

/// Runs a command of the list; one that writes a file finds none there.
fn run(words: &[String], json: bool) -> std::process::Output {
    if let Some(at) = words.iter().position(|word| word == "-o") {
        let _ = std::fs::remove_file(&words[at + 1]);
    }
    program().args(words).args(json.then_some("--json")).output().unwrap()
}

#[test]
fn json_is_one_strict_object_and_lines_fit() {
    let folder = tempfile::tempdir().unwrap();
    let all = commands(folder.path());
    // No command with --json is forgotten above.
    let help = String::from_utf8(amicus(&["help"]).stdout).unwrap();
    let listed = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    for command in
        listed.take_while(|line| line.starts_with("  ")).filter_map(|l| l.split_whitespace().next())
    {
        let help = String::from_utf8(amicus(&[command, "--help"]).stdout).unwrap();
        let described: String =
            help.lines().filter(|line| !line.starts_with("Usage:")).collect::<Vec<_>>().join("\n");
        assert_eq!(too_wide(&described, 80), [""; 0], "{command} --help");
        let covered = all.iter().any(|(words, json)| words[0] == command && *json);
        assert_eq!(covered || OF_CLUSTERS.contains(&command), help.contains("--json"), "{command}");
    }
    for (words, json) in &all {
        let output = run(words, false);
        let shown = String::from_utf8(output.stdout).unwrap();
        // What a user of a compiled model gets is one line, to be copied whole.
        let wide: Vec<&str> =
            too_wide(&shown, 80).into_iter().filter(|line| !line.starts_with("a private answer: ")).collect();
        assert_eq!(wide, [""; 0], "{words:?}\n{shown}");
        assert_ne!(output.status.code(), Some(101), "{words:?}");
        if *json {
            let output = run(words, true);
            let parsed = strict_json(&output.stdout);
            assert!(parsed.is_ok(), "{words:?}: {parsed:?}\n{output:?}");
        }
    }
}

#[test]
fn the_strict_parser_refuses_what_it_should() {
    assert!(strict_json(b"{\"a\": 1, \"b\": [{\"a\": null}]}").is_ok());
    assert!(strict_json(b"{\"a\": 1, \"a\": 1}").is_err());
    assert!(strict_json(b"{\"b\": [{\"a\": 1, \"a\": 2}]}").is_err());
    assert!(strict_json(b"{} {}").is_err());
    assert!(strict_json(b"[]").is_err());
    assert!(strict_json(b"{\"a\": NaN}").is_err());
}

#[test]
fn a_closed_pipe_ends_every_command_quietly() {
    let folder = tempfile::tempdir().unwrap();
    for (words, json) in commands(folder.path()) {
        for json in [None, json.then_some("--json")].into_iter().take(1 + usize::from(json)) {
            if let Some(at) = words.iter().position(|word| word == "-o") {
                let _ = std::fs::remove_file(&words[at + 1]);
            }
            // Nobody will ever read.
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let ended = program().args(&words).args(json).stdout(writer).output().unwrap();
            let messages = String::from_utf8_lossy(&ended.stderr);
            let refused = words[0] == "train";
            assert_eq!(ended.status.code(), Some(i32::from(refused)), "{words:?}: {messages}");
            assert!(!messages.contains("panicked"), "{words:?}: {messages}");
        }
    }
    // Nor of what is said beside the results.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = program().args(["demo", "--model", "vgg"]).stderr(writer).status().unwrap();
    assert_eq!(ended.code(), Some(1));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ended = program().args(["check", text(&data("lenet_dynamo.onnx"))]).stdout(full).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("error: standard output: "));
}

#[cfg(unix)]
#[test]
fn signals_leave_nothing_behind() {
    use std::os::unix::process::ExitStatusExt;
    let commands: [&[&str]; 2] =
        [&["demo", "--net", "rtt=2s", "--samples", "100"], &["bench", "--suite", "calibrate"]];
    for command in commands {
        for (name, signal) in [("INT", 2), ("TERM", 15), ("HUP", 1)] {
            let folder = tempfile::tempdir().unwrap();
            let mut child = program()
                .args(command)
                .env("TMPDIR", folder.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            common::signal(&mut child, folder.path(), 0, name);
            let ended = child.wait().unwrap();
            assert_eq!(ended.signal(), Some(signal), "{command:?}");
            assert_eq!(count(folder.path()), 0, "{command:?} leaves a folder behind after SIG{name}");
        }
    }
}

#[cfg(unix)]
#[test]
fn ignored_signals_stay_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let script = "trap '' HUP; exec \"$0\" demo --net rtt=200ms --samples 1";
    let mut child = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_amicus")])
        .env("TMPDIR", folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    common::signal(&mut child, folder.path(), 0, "HUP");
    assert!(child.wait().unwrap().success());
}
