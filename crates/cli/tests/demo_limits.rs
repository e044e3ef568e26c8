//! What `amicus demo` refuses before it takes time or memory, and what it says of a cheat that was
//! repaired.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

mod common;

use common::{amicus, program, strict_json, text};
use std::process::Command;

fn refused(arguments: &[&str]) -> String {
    let output = amicus(&[&["demo"], arguments].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty() || arguments.contains(&"--samples"), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_file_that_is_not_there_is_no_unknown_name() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["nothere.amc", "some/where", text(&folder.path().join("model"))] {
        let error = refused(&["--model", name]);
        assert!(error.contains(&format!("{name}: no such file")), "{error}");
    }
    assert!(refused(&["--model", text(folder.path())]).contains("a folder; give a file"));
    assert!(refused(&["--model", "vgg"]).contains("unknown model vgg; known: lenet5-mnist"));
    let shown = "a\u{1b}[31mb.amc";
    let error = refused(&["--model", shown]);
    assert!(!error.contains('\u{1b}') && error.contains("a\\u{1b}[31mb.amc"), "{error}");
}

#[test]
fn all_ports_must_be_there() {
    for (port, parties, most) in
        [("65535", "2", 65533), ("65534", "2", 65533), ("65528", "8", 65527), ("0", "2", 65533)]
    {
        let error = refused(&["--port", port, "--parties", parties]);
        assert!(
            error.contains(&format!("--port: {port}: ")) && error.contains(&format!("1 to {most} are")),
            "{error}"
        );
    }
}

#[test]
fn no_samples_are_refused() {
    assert!(refused(&["--samples", "0"]).contains("--samples: 0 samples, at least 1 is needed"));
}

#[test]
fn a_batch_is_no_larger_than_the_samples() {
    let output =
        amicus(&["demo", "--model", "resnet8-cifar10-degree2", "--batch", "256", "--samples", "2", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let report = strict_json(&output.stdout).unwrap();
    assert_eq!((&report["batch"], &report["samples"]), (&2.into(), &2.into()));
    let notes = report["notes"].as_array().unwrap();
    assert!(
        notes.iter().any(|note| note.as_str().unwrap().contains("a batch of 2 instead of 256")),
        "{report}"
    );
}

/// A limit on the address space, as `ulimit -v` sets it: what does not fit is refused with counts,
/// in place of an abort.
#[cfg(target_os = "linux")]
#[test]
fn what_does_not_fit_memory_is_refused() {
    for kilobytes in [400_000, 900_000] {
        let script = format!("ulimit -v {kilobytes}; exec \"$0\" demo --model alexnet-cifar10 --samples 1");
        let output = Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_amicus")]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{kilobytes}: {error}");
        assert!(error.contains("bytes of memory (") && error.contains("`ulimit -v`"), "{error}");
        assert!(!error.contains("backtrace"), "{error}");
    }
}

/// What is said to be enough is enough: within just that address space the same run gives its answers.
#[cfg(target_os = "linux")]
#[test]
fn what_is_said_to_fit_memory_fits() {
    for with in ["--model lenet5-mnist --samples 3", "--model lenet5-mnist-relu --samples 64 --batch 64"] {
        let run = |kilobytes: u64| {
            let script = format!("ulimit -v {kilobytes}; exec \"$0\" demo --json {with}");
            Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_amicus")]).output().unwrap()
        };
        let limit = 600_000;
        let refused = run(limit);
        let error = String::from_utf8(refused.stderr).unwrap();
        let after = |words: &str| -> u64 {
            let number = error.split(words).nth(1).and_then(|rest| rest.split(' ').next());
            number.unwrap_or_else(|| panic!("{error}")).parse().unwrap()
        };
        let (needed, left) = (after("needs about "), after("), and "));
        assert!(left > 0, "{error}");
        // What the program has taken before it looks differs from run to run: by some pages, and by
        // the allocator's heaps for threads of the calibration, of which one that found nothing to do
        // has none yet.
        let heaps = std::thread::available_parallelism().unwrap().get() as u64 * (64 << 10);
        let output = run(limit + (needed - left).div_ceil(1024) + heaps + 1024);
        assert!(output.status.success(), "{with}: {error}, then {output:?}");
        let report = strict_json(&output.stdout).unwrap();
        assert_eq!(report["check"], "accepted");
    }
}

#[test]
fn a_repaired_cheat_is_explained() {
    let output = program().args(["demo", "--cheat", "output"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let shown = String::from_utf8(output.stdout).unwrap();
    let words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("took another party's, and so got the right answer"), "{shown}");
}
