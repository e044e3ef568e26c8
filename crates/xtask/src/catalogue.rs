//! The catalogue of mutants: what each destroys, how, and which test must notice.

use crate::splice::Edit;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// All mutants, file by file in the order of the files' names.
#[derive(Debug)]
pub(crate) struct Catalogue {
    pub(crate) chapters: Vec<Chapter>,
    pub(crate) mutants: Vec<Mutant>,
}

/// The mutants of one file.
#[derive(Debug)]
pub(crate) struct Chapter {
    pub(crate) title: String,
    pub(crate) count: usize,
}

/// A way to destroy one property of the protocol.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mutant {
    pub(crate) name: String,
    /// What holds no more.
    pub(crate) destroys: String,
    pub(crate) killed_by: TestName,
    /// Tried by `--smoke` too.
    #[serde(default)]
    pub(crate) smoke: bool,
    edit: Vec<Change>,
}

/// One change of one file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    file: String,
    /// The change is in the first place after this text, which the file contains once.
    after: Option<String>,
    old: String,
    new: String,
}

/// A test, as `crate/target: path`; the target `lib` is the crate's own unit tests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct TestName {
    /// Folder of the crate below `crates`.
    pub(crate) folder: String,
    pub(crate) target: String,
    pub(crate) name: String,
}

impl TryFrom<String> for TestName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts = text.split_once(": ").and_then(|(at, name)| Some((at.split_once('/')?, name)));
        let ((folder, target), name) = parts.ok_or_else(|| format!("{text:?} is no `crate/target: test`"))?;
        Ok(TestName { folder: folder.into(), target: target.into(), name: name.into() })
    }
}

impl fmt::Display for TestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}: {}", self.folder, self.target, self.name)
    }
}

impl TestName {
    /// The name of the crate's package.
    pub(crate) fn package(&self) -> String {
        match self.folder.as_str() {
            "amicus" => self.folder.clone(),
            folder => format!("amicus-{folder}"),
        }
    }

    /// The file that the test stands in, for a look whether it is there.
    #[cfg(test)]
    pub(crate) fn source(&self, root: &Path) -> Result<String> {
        let folder = root.join("crates").join(&self.folder);
        let candidates: Vec<PathBuf> = if self.target == "lib" {
            let modules: Vec<&str> = self.name.split("::").take_while(|m| *m != "tests").collect();
            let module = folder.join("src").join(modules.join("/"));
            vec![module.join("tests.rs"), module.with_extension("rs"), module.join("mod.rs")]
        } else {
            let target = folder.join("tests").join(&self.target);
            vec![target.with_extension("rs"), target.join("main.rs")]
        };
        let found = candidates.iter().find(|path| path.is_file());
        let found = found
            .with_context(|| format!("{self}: there is no {}", candidates[candidates.len() - 1].display()))?;
        Ok(std::fs::read_to_string(found)?)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: String,
    mutant: Vec<Mutant>,
}

impl Catalogue {
    /// Reads all files of a folder.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
        let mut paths = entries.map(|e| Ok(e?.path())).collect::<Result<Vec<PathBuf>>>()?;
        paths.retain(|path| path.extension().is_some_and(|e| e == "toml"));
        paths.sort();
        let mut catalogue = Catalogue { chapters: Vec::new(), mutants: Vec::new() };
        for path in &paths {
            let context = || path.display().to_string();
            let text = std::fs::read_to_string(path).with_context(context)?;
            let file: File = toml::from_str(&text).with_context(context)?;
            catalogue.chapters.push(Chapter { title: file.title, count: file.mutant.len() });
            catalogue.mutants.extend(file.mutant);
        }
        let mut names = BTreeSet::new();
        for mutant in &catalogue.mutants {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if !mutant.name.chars().all(plain) || !names.insert(&mutant.name) {
                bail!("{:?} is no name of a mutant, or of two", mutant.name);
            }
            if mutant.edit.is_empty() {
                bail!("{} changes nothing", mutant.name);
            }
        }
        Ok(catalogue)
    }

    /// All changes, by file.
    pub(crate) fn edits(&self) -> BTreeMap<&str, Vec<Edit<'_>>> {
        let mut edits: BTreeMap<&str, Vec<Edit<'_>>> = BTreeMap::new();
        for mutant in &self.mutants {
            for change in &mutant.edit {
                let after = change.after.as_deref();
                let edit = Edit { mutant: &mutant.name, after, old: &change.old, new: &change.new };
                edits.entry(&change.file).or_default().push(edit);
            }
        }
        edits
    }

    /// The mutants asked for: of the smoke test, named ones, or all.
    pub(crate) fn chosen(&self, smoke: bool, only: &[String]) -> Result<Vec<&Mutant>> {
        if let Some(unknown) = only.iter().find(|name| self.mutants.iter().all(|m| m.name != **name)) {
            bail!("there is no mutant {unknown:?}; `cargo xtask mutants --list` names them");
        }
        let wanted = |m: &&Mutant| (!smoke || m.smoke) && (only.is_empty() || only.contains(&m.name));
        Ok(self.mutants.iter().filter(wanted).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tests_are_read_and_shown() {
        let text = "node/lib: store::tests::ids".to_owned();
        let test = TestName::try_from(text.clone()).unwrap();
        assert_eq!((test.package().as_str(), test.target.as_str()), ("amicus-node", "lib"));
        let library = TestName::try_from("amicus/roles: a".to_owned()).unwrap();
        assert_eq!(library.package(), "amicus");
        assert_eq!(test.to_string(), text);
        for wrong in ["", "node: x", "node/lib x", "node/lib:x"] {
            assert!(TestName::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_catalogue_is_read_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str| {
            let text = format!(
                "title = 't'\n[[mutant]]\nname = '{name}'\ndestroys = 'd'\nkilled_by = 'a/b: c'\n\
                 [[mutant.edit]]\nfile = 'f'\nold = 'o'\nnew = 'n'\n"
            );
            std::fs::write(folder.path().join("a.toml"), text).unwrap();
            Catalogue::read(folder.path())
        };
        let catalogue = read("one").unwrap();
        assert_eq!(catalogue.edits()["f"].len(), 1);
        assert_eq!(catalogue.chosen(false, &["one".into()]).unwrap().len(), 1);
        assert!(catalogue.chosen(true, &[]).unwrap().is_empty());
        assert!(catalogue.chosen(false, &["two".into()]).is_err());
        assert!(read("No Name").is_err());
        assert!(read("one").is_ok());
        std::fs::copy(folder.path().join("a.toml"), folder.path().join("b.toml")).unwrap();
        assert!(read("one").is_err(), "two of one name");
    }
}
