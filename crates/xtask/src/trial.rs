//! Trials: the test that must kill a mutant runs once with all mutants asleep, and once with that
//! one awake.

use crate::build::{Program, Programs};
use crate::catalogue::{Mutant, TestName};
use crate::splice::VARIABLE;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long one test may run.
const PATIENCE: Duration = Duration::from_secs(300);

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The test failed, as it must.
    Killed,
    /// The test passed.
    Survived,
    /// The test neither passed nor failed: an error of the suite.
    Unclear(&'static str),
}

/// What became of one mutant.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) verdict: Verdict,
}

/// Tries mutants, several at a time; says what became of each. Mutants of a test that fails without
/// one are errors, and the others are tried all the same. The tests' output goes to `logs`.
pub(crate) fn all(programs: &Programs, mutants: &[&Mutant], logs: &Path) -> Result<Vec<Trial>> {
    std::fs::create_dir_all(logs)?;
    let tests: BTreeSet<&TestName> = mutants.iter().map(|m| &m.killed_by).collect();
    let tests: Vec<&TestName> = tests.into_iter().collect();
    let asleep = each(&tests, |number, test| {
        verdict(programs, test, None, &logs.join(format!("asleep-{number}.txt")))
    })?;
    let failing: BTreeSet<&TestName> = tests
        .iter()
        .zip(&asleep)
        .filter(|(_, verdict)| **verdict != Verdict::Survived)
        .map(|(test, _)| *test)
        .collect();
    for test in &failing {
        println!("{test} fails without a mutant, see {}", logs.display());
    }
    each(mutants, |_, mutant| {
        let started = Instant::now();
        let log = logs.join(format!("{}.txt", mutant.name));
        let verdict = if failing.contains(&mutant.killed_by) {
            Verdict::Unclear("its test fails without a mutant")
        } else {
            verdict(programs, &mutant.killed_by, Some(&mutant.name), &log)?
        };
        let word = match &verdict {
            Verdict::Killed => "killed".to_owned(),
            Verdict::Survived => "SURVIVED".to_owned(),
            Verdict::Unclear(why) => format!("ERROR ({why})"),
        };
        let (name, seconds) = (&mutant.name, started.elapsed().as_secs_f64());
        println!("{word:8} {name:44} {seconds:5.1} s  {}", mutant.killed_by);
        Ok(Trial { verdict })
    })
}

/// Does some work for each item, several at a time for every core, for many tests wait most of the
/// time; results in order.
fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(usize, &T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from) * 4;
    std::thread::scope(|scope| {
        for _ in 0..workers.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(number) else { break };
                    let result = work(number, item);
                    if let Ok(mut results) = results.lock() {
                        results.push((number, result));
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_by_key(|(number, _)| *number);
    if results.len() != items.len() {
        bail!("a thread of the suite panicked");
    }
    results.into_iter().map(|(_, result)| result).collect()
}

fn verdict(programs: &Programs, test: &TestName, mutant: Option<&str>, log: &Path) -> Result<Verdict> {
    let key = (test.folder.clone(), test.target.clone());
    let program = programs.get(&key).with_context(|| format!("{test}: there is no such program"))?;
    let code = run(program, test, mutant, log)?;
    Ok(judged(code, &std::fs::read_to_string(log)?, &test.name))
}

/// Runs one test; its exit code, if it has one.
fn run(program: &Program, test: &TestName, mutant: Option<&str>, log: &Path) -> Result<Option<i32>> {
    let output = File::create(log)?;
    let mut command = Command::new(&program.path);
    command
        .args([&test.name, "--exact", "--test-threads=1"])
        .current_dir(&program.folder)
        .env_remove(VARIABLE);
    if let Some(mutant) = mutant {
        command.env(VARIABLE, mutant);
    }
    let mut child = command.stdout(output.try_clone()?).stderr(output).spawn()?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Reads what the test harness says.
fn judged(code: Option<i32>, output: &str, name: &str) -> Verdict {
    let ran = output.contains("\nrunning 1 test\n");
    match code {
        _ if !ran => Verdict::Unclear("there is no such test"),
        Some(0) if output.contains("test result: ok. 1 passed") => Verdict::Survived,
        Some(101) if output.contains(&format!("failures:\n    {name}\n")) => Verdict::Killed,
        Some(_) => Verdict::Unclear("the test's process broke off"),
        None => Verdict::Unclear("the test did not end"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_what_the_harness_says() {
        let passed = "\nrunning 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed;";
        let failed = "\nrunning 1 test\ntest a ... FAILED\n\nfailures:\n    a\n\ntest result: FAILED.";
        let none = "\nrunning 0 tests\n\ntest result: ok. 0 passed;";
        assert_eq!(judged(Some(0), passed, "a"), Verdict::Survived);
        assert_eq!(judged(Some(101), failed, "a"), Verdict::Killed);
        for (code, output) in
            [(Some(0), none), (Some(101), passed), (Some(1), failed), (None, failed), (None, passed)]
        {
            assert!(matches!(judged(code, output, "a"), Verdict::Unclear(_)), "{code:?} {output}");
        }
    }

    #[test]
    fn work_is_done_once_for_each_item_in_order() {
        let doubled = each(&[1, 2, 3], |number, item| Ok((number, 2 * item))).unwrap();
        assert_eq!(doubled, [(0, 2), (1, 4), (2, 6)]);
        assert!(each(&[1, 2], |_, item| if *item == 2 { bail!("two") } else { Ok(()) }).is_err());
        assert!(each(&[0; 0], |_, _| Ok(())).unwrap().is_empty());
    }
}
