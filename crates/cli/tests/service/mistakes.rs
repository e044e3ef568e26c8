//! What operators get wrong: each is one line that says what, where and what next, and an exit code.

use crate::common::{amicus, program, text};
use crate::trial::{Trial, eventually};
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

/// Exit code and the line of a node that does not start.
fn refused(trial: &Trial, role: &str, name: &str) -> (Option<i32>, String) {
    let ended = amicus(&[role, "--config", text(&trial.config(name))]);
    let words = String::from_utf8(ended.stderr).unwrap();
    let errors: Vec<&str> = words.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{words}");
    (ended.status.code(), errors[0].to_owned())
}

/// With other words in a node's file, it does not start.
fn with(trial: &Trial, from: &str, to: &str) -> (Option<i32>, String) {
    let file = trial.config("party-1");
    let good = fs::read_to_string(&file).unwrap();
    assert!(good.contains(from), "{good}");
    fs::write(&file, good.replacen(from, to, 1)).unwrap();
    let refused = refused(trial, "party", "party-1");
    fs::write(&file, good).unwrap();
    refused
}

#[test]
fn files_that_do_not_fit_are_refused_by_name() {
    let trial = Trial::new();
    let other = trial.at("other.plan");
    let shipped = trial.at("shipped.amc");
    assert!(amicus(&["export", "lenet5-mnist-degree2", "-o", text(&shipped)]).status.success());
    assert!(amicus(&["plan", text(&shipped), "-o", text(&other)]).status.success());
    let key = "key = \"party-1.pem\"";
    for (from, to, words) in [
        ("monitor", "monitr", "`monitr`: unknown field"),
        ("monitor", "monitr", "did you mean `monitor`?"),
        (key, "", "missing field `key`"),
        (key, "key = \"none.pem\"", "none.pem: there is no such file; `amicus keygen` makes one"),
        (key, "key = \"cluster.toml\"", "cluster.toml: is no identity"),
        (key, "key = \"helper.pem\"", "is that of helper in this deployment, not of a compute party"),
        (key, "key = \"alice.pem\"", "is that of client alice in this deployment, not of a compute party"),
        ("\"cluster.toml\"", "\"none.toml\"", "none.toml: there is no such file"),
        ("\"cluster.toml\"", "\"tiny.plan\"", "tiny.plan"),
        ("\"tiny.plan\"", "\"none.plan\"", "none.plan: there is no such file"),
        ("\"tiny.plan\"", "\"shipped.amc\"", "is a compiled model, which holds the weights"),
        ("\"tiny.plan\"", "\"other.plan\"", "is none of the models of"),
        ("\"tiny.plan\"", "\"tiny.plan\", \"tiny.plan\"", "list it once"),
        ("disk = ", "message = \"1 KiB\"\ndisk = ", "`message` of limits is 1 KiB"),
        ("disk = ", "memory = \"1 KiB\"\ndisk = ", "`memory` of limits is 1 KiB"),
    ] {
        let (code, line) = with(&trial, from, to);
        assert!(line.contains(words), "{to}: {line}");
        assert_eq!(code, Some(4), "{line}");
    }
    // Nothing was begun.
    assert!(!trial.at("party-1.folder").exists());
    let (code, line) = refused(&trial, "helper", "party-1");
    assert!(
        code == Some(4) && line.contains("is that of party 1 in this deployment, not of the helper"),
        "{line}"
    );

    // A key that others can read, and one that its user cannot.
    let key = trial.at("party-1.pem");
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let (code, line) = refused(&trial, "party", "party-1");
    assert!(code == Some(4) && line.contains("chmod 600"), "{line}");
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();

    // The file that all share: two nodes of one certificate, a model that nobody here has.
    let good = fs::read_to_string(trial.at("cluster.toml")).unwrap();
    let fingerprints: Vec<&str> = good.lines().filter(|line| line.starts_with("certificate")).collect();
    let twice = good.replace(fingerprints[1], fingerprints[0]);
    let model = format!("{good}\n[model.second]\nplan = \"{}\"\n", "7".repeat(64));
    let helpers = format!("{good}\n[helper]\naddress = \"a:1\"\n");
    for (text, words) in [
        (twice, "too; give every role its own"),
        (model, "model second has the plan 7777"),
        (helpers, "duplicate key"),
        (good.replace("[owner]", "[oner]"), "did you mean `owner`?"),
    ] {
        fs::write(trial.at("cluster.toml"), text).unwrap();
        let (code, line) = refused(&trial, "party", "party-1");
        assert!(code == Some(4) && line.contains(words) && line.contains("cluster.toml"), "{line}");
    }
    fs::write(trial.at("cluster.toml"), good).unwrap();
}

#[test]
fn what_another_program_has_is_not_taken_from_it() {
    let trial = Trial::new();
    let taken = TcpListener::bind(trial.address(7001)).unwrap();
    let (code, line) = refused(&trial, "party", "party-1");
    assert!(line.contains(&format!("{} is already in use", trial.address(7001))), "{line}");
    assert_eq!(code, Some(1));
    drop(taken);
    let taken = TcpListener::bind(trial.address(9101)).unwrap();
    let (code, line) = refused(&trial, "party", "party-1");
    assert!(line.contains("`monitor`") && line.contains("choose another address"), "{line}");
    assert_eq!(code, Some(1));
    drop(taken);
    // One folder, one node.
    let first = trial.start("party-1");
    first.answers("/healthz", 200, "ok");
    let file = trial.config("party-1");
    let good = fs::read_to_string(&file).unwrap();
    let elsewhere = trial.address(7009);
    fs::write(
        &file,
        good.replace(&trial.address(9101), &trial.address(9109)).replacen(
            "key",
            &format!("listen = \"{elsewhere}\"\nkey"),
            1,
        ),
    )
    .unwrap();
    let (code, line) = refused(&trial, "party", "party-1");
    assert!(code == Some(1) && line.contains("another process uses this folder"), "{line}");
    first.signal("TERM");
    let mut first = first;
    assert_eq!(first.ended().0.code(), Some(0));
    // It listens where its own file says, once nobody else is in the way.
    let second = trial.start("party-1");
    eventually("it listens elsewhere", || {
        std::net::TcpStream::connect(&elsewhere).map_err(|e| e.to_string())
    });
    drop(second);
}

#[test]
fn operators_compare_one_digest() {
    let trial = Trial::new();
    let file = trial.at("cluster.toml");
    let shown = |arguments: &[&str]| {
        let output = program().args(arguments).arg(&file).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let digest = shown(&["cluster", "digest"]);
    let check = shown(&["cluster", "check"]);
    assert!(
        check.contains(digest.trim()) && check.contains("party 2") && check.contains("model tiny"),
        "{check}"
    );
    assert!(check.contains("for a trial, not for operators"), "{check}");
    fs::write(&file, format!("# a comment\n{}", fs::read_to_string(&file).unwrap())).unwrap();
    assert_eq!(shown(&["cluster", "digest"]), digest);
    trial.change(|deployment| deployment.parties.swap(0, 1));
    assert_ne!(shown(&["cluster", "digest"]), digest);
    let wrong = amicus(&["cluster", "check", text(&trial.at("tiny.plan"))]);
    assert_eq!(wrong.status.code(), Some(1));
}
