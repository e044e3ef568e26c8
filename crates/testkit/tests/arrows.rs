//! Crates depend only along the arrows of `ARCHITECTURE.md`.

use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

/// What each crate may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("amicus-field", &[]),
    ("amicus-net", &[]),
    ("amicus-plan", &["amicus-field"]),
    ("amicus-protocol", &["amicus-field", "amicus-plan"]),
    ("amicus-model", &["amicus-field", "amicus-plan"]),
    ("amicus-client", &["amicus-field", "amicus-plan", "amicus-protocol"]),
    ("amicus-train", &["amicus-model"]),
    ("amicus-node", &["amicus-field", "amicus-net", "amicus-plan", "amicus-protocol", "amicus-client"]),
];
/// Crates that may depend on everything.
const TOP: &[&str] = &["amicus", "amicus-testkit"];

#[test]
fn dependencies_follow_the_arrows() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let packages = metadata["packages"].as_array().unwrap();
    assert_eq!(packages.len(), ARROWS.len() + TOP.len(), "a crate is missing from this test");
    for package in packages {
        let name = package["name"].as_str().unwrap();
        if TOP.contains(&name) {
            continue;
        }
        let allowed = arrows.get(name).unwrap_or_else(|| panic!("{name} is not in ARCHITECTURE.md"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let (to, kind) = (dependency["name"].as_str().unwrap(), &dependency["kind"]);
            // Tests and benches may use what they like.
            if to.starts_with("amicus") && kind.is_null() {
                assert!(allowed.contains(&to), "{name} must not depend on {to}");
            }
        }
    }
}
