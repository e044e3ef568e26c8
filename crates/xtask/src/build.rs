//! One build of the copy: all tests that are needed, and where their programs are.

use crate::catalogue::{Mutant, TestName};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The program of a test target, and the folder that cargo would run it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) folder: PathBuf,
}

/// Programs by folder of the crate and target.
pub(crate) type Programs = BTreeMap<(String, String), Program>;

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// What cargo says of the tree.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// Where cargo builds.
    pub(crate) target: PathBuf,
    /// Names of the crates.
    packages: Vec<String>,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn of(root: &Path) -> Result<Self> {
        let output = cargo()
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(root)
            .stderr(Stdio::inherit())
            .output()
            .context("cargo metadata")?;
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
        let target = metadata["target_directory"].as_str().context("cargo metadata: no target folder")?;
        let packages = metadata["packages"].as_array().context("cargo metadata: no packages")?;
        let packages = packages.iter().filter_map(|p| Some(p["name"].as_str()?.to_owned())).collect();
        Ok(Workspace { target: target.into(), packages })
    }

    /// Settings under which the tree's own crates are compiled with few optimisations, or where few
    /// tests run with none, but for arithmetic: that takes a third of the time. All others are as the
    /// tree has them, and need not be compiled again.
    fn settings(&self, few: bool) -> impl Iterator<Item = String> {
        self.packages.iter().flat_map(move |name| {
            let level = if few && name != "amicus-field" { 0 } else { 1 };
            ["--config".to_owned(), format!("profile.release.package.{name}.opt-level = {level}")]
        })
    }
}

/// Tests that run without optimisations: more of them may take longer than the compiler.
const FEW: usize = 50;

/// Builds the tests of some mutants in the copy of the tree.
pub(crate) fn tests(tree: &Path, workspace: &Workspace, mutants: &[&Mutant]) -> Result<Programs> {
    let wanted: BTreeSet<&TestName> = mutants.iter().map(|m| &m.killed_by).collect();
    let mut options: BTreeSet<Vec<String>> = BTreeSet::new();
    for test in wanted {
        options.insert(vec!["--package".into(), test.package()]);
        options.insert(match test.target.as_str() {
            "lib" => vec!["--lib".into()],
            target => vec!["--test".into(), target.into()],
        });
    }
    let output = cargo()
        .args(["test", "--release", "--locked", "--no-run", "--quiet", "--message-format", "json"])
        .args(workspace.settings(mutants.len() <= FEW))
        .args(options.into_iter().flatten())
        .env("CARGO_TARGET_DIR", &workspace.target)
        .current_dir(tree)
        .stderr(Stdio::inherit())
        .output()
        .context("cargo test")?;
    let text = String::from_utf8(output.stdout).context("cargo's messages")?;
    if !output.status.success() {
        text.lines().filter_map(error).for_each(|error| eprintln!("{error}"));
        bail!("the tree with all mutants planted does not build: an error of the catalogue");
    }
    Ok(text.lines().filter_map(program).collect())
}

/// The compiler's error in one of cargo's messages. Warnings of the copy say nothing of the tree.
fn error(message: &str) -> Option<String> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let error = message["message"]["level"] == "error";
    message["message"]["rendered"].as_str().filter(|_| error).map(String::from)
}

/// Reads one of cargo's messages; none when it is not about the program of a test.
fn program(message: &str) -> Option<((String, String), Program)> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    if message["profile"]["test"] != true {
        return None;
    }
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
    let path = message["executable"].as_str()?.into();
    let target = match message["target"]["kind"][0].as_str()? {
        "lib" => "lib",
        _ => message["target"]["name"].as_str()?,
    };
    let key = (folder.file_name()?.to_str()?.to_owned(), target.to_owned());
    Some((key, Program { path, folder: folder.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_read_from_messages() {
        let message = r#"{"reason":"compiler-artifact","manifest_path":"/t/crates/node/Cargo.toml",
            "target":{"kind":["lib"],"name":"amicus_node"},"profile":{"test":true},"executable":"/x/node-1"}"#;
        let (key, program_) = program(message).unwrap();
        assert_eq!(key, ("node".into(), "lib".into()));
        assert_eq!(program_, Program { path: "/x/node-1".into(), folder: "/t/crates/node".into() });
        let of_test = message.replace("[\"lib\"]", "[\"test\"]").replace("amicus_node", "users");
        assert_eq!(program(&of_test).unwrap().0.1, "users");
        assert!(program(&message.replace("true", "false")).is_none());
        assert!(program("{}").is_none() && program("text").is_none());
    }
}
