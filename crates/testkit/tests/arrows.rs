//! Which crate may depend on which: the table of ARCHITECTURE.md.

use std::collections::BTreeMap;
use std::process::Command;

/// Every crate with the crates of this workspace that it may use, from the bottom up.
const ARROWS: [(&str, &[&str]); 14] = [
    ("field", &[]),
    ("files", &[]),
    ("net", &[]),
    ("plan", &["field"]),
    ("protocol", &["field", "plan"]),
    ("model", &["field", "files", "plan"]),
    ("train", &["model"]),
    ("client", &["field", "plan", "protocol"]),
    ("node", &["client", "field", "files", "net", "plan", "protocol"]),
    ("amicus", &["client", "field", "model", "net", "node", "plan", "protocol"]),
    ("cli", &["client", "field", "model", "net", "node", "plan", "protocol", "train"]),
    ("testkit", &["client", "field", "model", "net", "node", "plan", "protocol", "train"]),
    ("fuzzing", &["client", "field", "model", "net", "node", "plan", "protocol", "testkit", "train"]),
    ("xtask", &[]),
];

fn folder(package: &str) -> &str {
    package.strip_prefix("amicus-").unwrap_or(package)
}

#[test]
fn crates_depend_as_the_table_says() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let packages = metadata["packages"].as_array().expect("packages");
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
