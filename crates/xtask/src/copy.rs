//! A copy of the source tree with all mutants planted. The user's own files are only read.

use crate::splice::{self, Edit};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version of the copy's crates: another one, so that cargo keeps what it builds of them apart
/// from what it builds of the tree itself, while both share the target folder, and with it the
/// dependencies.
const VERSION: &str = "0.1.999";

/// Copies everything git knows or would take, and plants mutants. Files that are right already are
/// left alone, so that cargo builds only what changed.
pub(crate) fn tree(root: &Path, to: &Path, edits: &BTreeMap<&str, Vec<Edit<'_>>>) -> Result<PathBuf> {
    let listed = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
            "--",
            "crates",
            "docs",
            "*.toml",
            "*.lock",
        ])
        .current_dir(root)
        .output()
        .context("git ls-files")?;
    if !listed.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    }
    let names = String::from_utf8(listed.stdout).context("a file name that is not UTF-8")?;
    // What git knows may be deleted in the working tree.
    let names: BTreeSet<&str> =
        names.split_terminator('\0').filter(|name| root.join(name).is_file()).collect();
    if let Some(unknown) = edits.keys().find(|name| !names.contains(*name)) {
        bail!("there is no file {unknown}");
    }
    let version = version(&std::fs::read_to_string(root.join("Cargo.toml"))?)?;
    for name in &names {
        let mut bytes = std::fs::read(root.join(name)).with_context(|| name.to_string())?;
        if *name == "Cargo.toml" || *name == "Cargo.lock" {
            bytes = renumbered(&String::from_utf8(bytes)?, &version).into_bytes();
        } else if let Some(edits) = edits.get(name) {
            bytes = splice::planted(std::str::from_utf8(&bytes)?, edits)
                .with_context(|| name.to_string())?
                .into_bytes();
        }
        let path = to.join(name);
        if std::fs::read(&path).ok().as_deref() != Some(&bytes) {
            std::fs::create_dir_all(path.parent().unwrap_or(to))?;
            std::fs::write(&path, bytes)?;
        }
    }
    remove_others(to, to, &names)?;
    Ok(to.to_owned())
}

/// The version of the workspace's crates.
fn version(manifest: &str) -> Result<String> {
    let manifest: toml::Table = toml::from_str(manifest)?;
    let version = manifest.get("workspace").and_then(|w| w.get("package")).and_then(|p| p.get("version"));
    Ok(version.and_then(|v| v.as_str()).context("Cargo.toml: no workspace.package.version")?.to_owned())
}

/// The workspace's manifest or lock file with another version of its own crates.
fn renumbered(text: &str, version: &str) -> String {
    let (old, new) = (format!("version = {version:?}\n"), format!("version = {VERSION:?}\n"));
    // Packages of the lock file that come from elsewhere say from where.
    let own = |part: &str| !part.contains("\nsource = ");
    let parts = text.split_inclusive("\n\n");
    parts.map(|part| if own(part) { part.replace(&old, &new) } else { part.to_owned() }).collect()
}

/// Removes files of an earlier copy that the tree has no more.
fn remove_others(folder: &Path, top: &Path, names: &BTreeSet<&str>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.strip_prefix(top)?.to_str().unwrap_or_default();
        if path.is_dir() {
            remove_others(&path, top, names)?;
        } else if !names.contains(name) {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_crates_get_another_version() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"0.1.0\"\n\n\
                    [[package]]\nname = \"b\"\nversion = \"0.1.0\"\nsource = \"registry\"\n\n";
        let expected = lock.replacen("0.1.0", VERSION, 1);
        assert_eq!(renumbered(lock, "0.1.0"), expected);
        assert_eq!(version("[workspace.package]\nversion = \"0.1.0\"\n").unwrap(), "0.1.0");
        assert!(version("").is_err());
    }

    #[test]
    fn files_of_an_earlier_copy_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        for name in ["a/b", "a/c", "d"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        remove_others(folder.path(), folder.path(), &["a/c"].into()).unwrap();
        let left = ["a/b", "a/c", "d"].map(|name| folder.path().join(name).exists());
        assert_eq!(left, [false, true, false]);
    }
}
