//! Which crate may depend on which: the table of ARCHITECTURE.md.

use std::collections::BTreeMap;
use std::process::Command;

/// Every crate with the crates of this workspace that it may use, from the bottom up.
const ARROWS: [(&str, &[&str]); 18] = [
    ("field", &[]),
    ("files", &[]),
    ("net", &[]),
    ("plan", &["field"]),
    ("protocol", &["field", "plan"]),
    ("model", &["field", "files", "plan"]),
    ("data", &["model"]),
    ("train", &["data", "model"]),
    ("client", &["field", "plan", "protocol"]),
    ("web", &["client", "field", "plan", "protocol"]),
    ("node", &["client", "field", "files", "net", "plan", "protocol"]),
    ("amicus", &["client", "data", "field", "files", "model", "net", "node", "plan", "protocol"]),
    ("service", &["amicus"]),
    ("python", &["amicus"]),
    (
        "cli",
        &[
            "amicus", "client", "data", "field", "model", "net", "node", "plan", "protocol", "service",
            "train",
        ],
    ),
    ("testkit", &["client", "field", "model", "net", "node", "plan", "protocol"]),
    (
        "fuzzing",
        &[
            "amicus", "cli", "client", "data", "field", "files", "model", "net", "node", "plan", "protocol",
            "testkit", "train",
        ],
    ),
    ("xtask", &[]),
];

fn folder(package: &str) -> &str {
    package.strip_prefix("amicus-").unwrap_or(package)
}

/// What cargo says.
fn cargo(arguments: &[&str]) -> Vec<u8> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output =
        Command::new(cargo).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The workspace's packages as cargo sees them.
fn metadata() -> serde_json::Value {
    let described = cargo(&["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let mut metadata: serde_json::Value = serde_json::from_slice(&described).expect("JSON");
    metadata["packages"].take()
}

#[test]
fn crates_depend_as_the_table_says() {
    let packages = metadata();
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let packages = packages.as_array().expect("packages");
    let names: Vec<&str> = packages.iter().map(|p| p["name"].as_str().expect("a name")).collect();
    for package in packages {
        let name = folder(package["name"].as_str().expect("a name"));
        let allowed = allowed.get(name).unwrap_or_else(|| panic!("{name} is not in the table"));
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let on = dependency["name"].as_str().expect("a name");
            // What lies elsewhere in this repository is for tests only: the field of tiny primes in
            // `toy`, say.
            let elsewhere = !dependency["path"].is_null() && !names.contains(&on);
            assert!(!elsewhere, "{name} depends on {on}, which is no crate of this workspace");
            // Tests and benches may use the test kit, and what it rests on.
            if !names.contains(&on) || dependency["kind"] == "dev" {
                continue;
            }
            assert!(allowed.contains(&folder(on)), "{name} depends on {on}, allowed are {allowed:?}");
        }
    }
    for (name, _) in ARROWS {
        assert!(names.iter().any(|n| folder(n) == name), "{name} is in the table and not in the workspace");
    }
}

#[test]
fn arrows_point_downwards() {
    for (at, (name, on)) in ARROWS.iter().enumerate() {
        for below in *on {
            let position = ARROWS.iter().position(|(n, _)| n == below);
            assert!(position.is_some_and(|p| p < at), "{name} depends on {below}");
        }
    }
}

/// Crates that turn the hooks of attack tests on: those that attack, and the command line for `demo
/// --cheat`. The default library has none of them.
const ATTACKERS: [&str; 2] = ["cli", "testkit"];

#[test]
fn only_attackers_turn_on_what_is_dangerous() {
    let packages = metadata();
    for package in packages.as_array().expect("packages") {
        let name = folder(package["name"].as_str().expect("a name"));
        let default = package["features"]["default"].as_array().cloned().unwrap_or_default();
        assert!(
            !default.iter().any(|feature| feature.as_str().expect("a feature").contains("danger")),
            "{name}"
        );
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let features = dependency["features"].as_array().expect("features");
            let danger = features.iter().any(|feature| feature == "danger") && dependency["kind"] != "dev";
            let on = dependency["name"].as_str().expect("a name");
            assert!(!danger || ATTACKERS.contains(&name), "{name} turns on the danger of {on}");
        }
    }
}

/// Whoever uses the library gets no command line, no image decoder and no training along, and its
/// examples are built without the hooks of attack tests.
#[test]
fn the_library_takes_no_command_line_along() {
    let tree = |edges| {
        let described =
            cargo(&["tree", "-p", "amicus", "--offline", "-e", edges, "--prefix", "none", "--no-dedupe"]);
        String::from_utf8(described).expect("text").lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let names: Vec<String> =
        tree("normal").iter().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect();
    assert!(names.iter().any(|name| name == "amicus-node"), "{names:?}");
    for unwanted in ["clap", "indicatif", "image", "burn", "png", "zune-jpeg", "comfy-table"] {
        assert!(!names.iter().any(|name| name == unwanted), "the library depends on {unwanted}");
    }
    let features = tree("features,normal,build,dev");
    assert!(features.iter().any(|line| line.starts_with("rustls feature ")), "{features:?}");
    let danger = features.iter().find(|line| line.contains("feature \"danger\""));
    assert_eq!(danger, None, "its tests and examples are built with hooks of attack tests");
}

/// Without the feature `danger` there is nothing that could be turned on by mistake.
#[test]
fn whatever_is_dangerous_stands_behind_a_feature() {
    let mut found = 0;
    let mut folders =
        vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("crates").to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                // The test kit is itself what is behind the feature.
                if !path.ends_with("testkit") {
                    folders.push(path);
                }
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            for (at, line) in lines.iter().enumerate() {
                let named = line.strip_prefix("pub ").is_some_and(|item| {
                    item.starts_with("fn danger_") || item.starts_with("danger_") || item == "mod conduct;"
                });
                if !named || path.extension().is_none_or(|extension| extension != "rs") {
                    continue;
                }
                let before = lines[..at].iter().rev().take_while(|line| line.starts_with(['#', '/']));
                let behind = before.into_iter().any(|line| *line == "#[cfg(feature = \"danger\")]");
                assert!(behind, "{}:{}: {line}", path.display(), at + 1);
                found += 1;
            }
        }
    }
    assert!(found >= 6, "{found} dangerous items; there were 6 when this was written");
}
