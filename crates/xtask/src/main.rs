//! Tasks for developers, called as `cargo xtask`.
//!
//! `cargo xtask mutants` breaks the security of a copy of the source tree in a hundred ways, one at
//! a time, and sees that a test notices each. The catalogue is in `crates/xtask/mutants`.
#![forbid(unsafe_code)]

mod build;
mod catalogue;
mod copy;
mod splice;
mod table;
mod trial;

use anyhow::{Context, Result, bail};
use catalogue::{Catalogue, Mutant};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "\
usage: cargo xtask mutants              plant all, run the tests that kill them
       cargo xtask mutants --smoke      a few of them
       cargo xtask mutants --only NAME  this one; again for more
       cargo xtask mutants --list       name them
       cargo xtask mutants --markdown   write the table of docs/security.md";

/// What of the mutation suite is wanted.
#[derive(Debug, PartialEq, Eq)]
enum Task {
    Run { smoke: bool, only: Vec<String> },
    List,
    Markdown,
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode> {
    let task = parse(std::env::args().skip(1))?;
    let root = workspace();
    let catalogue = Catalogue::read(&root.join("crates/xtask/mutants"))?;
    match task {
        Task::List => {
            for mutant in &catalogue.mutants {
                println!("{:44} {}", mutant.name, mutant.killed_by);
            }
            Ok(ExitCode::SUCCESS)
        }
        Task::Markdown => {
            let path = root.join("docs/security.md");
            let page = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            std::fs::write(&path, table::replaced(&page, &catalogue)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Run { smoke, only } => {
            let chosen = catalogue.chosen(smoke, &only)?;
            mutate(&root, &catalogue, &chosen)
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Task> {
    if arguments.next().as_deref() != Some("mutants") {
        bail!("{USAGE}");
    }
    let (mut smoke, mut only) = (false, Vec::new());
    let mut task = None;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--smoke" => smoke = true,
            "--only" => only.push(arguments.next().context(USAGE)?),
            "--list" => task = Some(Task::List),
            "--markdown" => task = Some(Task::Markdown),
            _ => bail!("{USAGE}"),
        }
    }
    Ok(task.unwrap_or(Task::Run { smoke, only }))
}

fn workspace() -> PathBuf {
    // crates/xtask is two folders below it.
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").components().collect()
}

/// Plants all mutants into one copy of the tree, builds it once, and tries the chosen ones.
fn mutate(root: &Path, catalogue: &Catalogue, chosen: &[&Mutant]) -> Result<ExitCode> {
    let started = Instant::now();
    let workspace = build::Workspace::of(root)?;
    let place = workspace.target.join("mutants");
    let tree = copy::tree(root, &place.join("tree"), &catalogue.edits())?;
    let tests = build::tests(&tree, &workspace, chosen)?;
    println!("built {} mutants in {:.0} s", catalogue.mutants.len(), started.elapsed().as_secs_f64());
    let trials = trial::all(&tests, chosen, &place.join("log"))?;
    let killed = trials.iter().filter(|trial| trial.verdict == trial::Verdict::Killed).count();
    println!("{killed} of {} mutants killed in {:.0} s", trials.len(), started.elapsed().as_secs_f64());
    Ok(if killed == trials.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue() -> Catalogue {
        Catalogue::read(&workspace().join("crates/xtask/mutants")).unwrap()
    }

    /// Why a text with mutants planted is no program, if it is none.
    fn problem(file: &str, text: &str, edits: &[splice::Edit<'_>]) -> Option<anyhow::Error> {
        let names: Vec<&str> = edits.iter().map(|edit| edit.mutant).collect();
        let parsed = splice::planted(text, edits).and_then(|planted| Ok(syn::parse_file(&planted)?));
        parsed.err().map(|error| error.context(format!("{file} with {}", names.join(", "))))
    }

    #[test]
    fn every_mutant_applies_to_the_tree() {
        let catalogue = catalogue();
        let mut errors = Vec::new();
        for (file, edits) in &catalogue.edits() {
            let text = std::fs::read_to_string(workspace().join(file)).unwrap();
            errors.extend(edits.iter().filter_map(|edit| problem(file, &text, &[*edit])));
            errors.extend(problem(file, &text, edits));
        }
        assert!(errors.is_empty(), "{errors:#?}");
    }

    #[test]
    fn the_table_in_the_documentation_is_current() {
        let page = std::fs::read_to_string(workspace().join("docs/security.md")).unwrap();
        let right = table::replaced(&page, &catalogue()).unwrap();
        assert!(page == right, "docs/security.md: run `cargo xtask mutants --markdown`");
    }

    #[test]
    fn every_named_test_exists() {
        for mutant in &catalogue().mutants {
            let test = &mutant.killed_by;
            let text = test.source(&workspace()).unwrap();
            let name = test.name.rsplit("::").next().unwrap();
            let there = ["", "    "].iter().any(|deep| text.contains(&format!("#[test]\n{deep}fn {name}(")));
            assert!(there, "{}: there is no test {test}", mutant.name);
        }
    }

    #[test]
    fn command_lines_are_understood() {
        let parse = |line: &str| parse(line.split_whitespace().map(String::from));
        assert_eq!(parse("mutants --list").unwrap(), Task::List);
        let only = vec!["a".into(), "b".into()];
        assert_eq!(parse("mutants --only a --only b").unwrap(), Task::Run { smoke: false, only });
        assert_eq!(parse("mutants --smoke").unwrap(), Task::Run { smoke: true, only: Vec::new() });
        for wrong in ["", "mutant", "mutants --only", "mutants --what"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
