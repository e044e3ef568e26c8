//! The seeds of every fuzz target, and changed copies of them, without a fuzzer: what any machine
//! can run.
//!
//! `AMICUS_REPLAY=20000` sets how many changed copies each target gets. An input that fails is kept
//! in `fuzz/artifacts/TARGET`, where libFuzzer keeps its own, and is run first from then on.

use amicus_cli::rates::MachineRates;
use amicus_data::cifar10;
use amicus_data::npz::Npz;
use amicus_files::sealed;
use amicus_fuzzing::{TARGETS, Target, seeds};
use amicus_model::amc::ModelFile;
use amicus_model::networks::WeightFile;
use amicus_plan::Plan;
use amicus_testkit::random::Random;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Changed copies of each target's seeds, where the environment asks for no other number.
const COPIES: usize = 1500;
/// Numbers at which arithmetic goes wrong.
const EDGES: [u64; 8] = [0, 1, 0x7f, 0x80, u16::MAX as u64, u32::MAX as u64, i64::MAX as u64, u64::MAX];

fn fuzz_folder(kind: &str, target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(kind).join(target.name)
}

/// What a folder holds, by name; nothing when there is none.
fn inputs(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| (path.display().to_string(), fs::read(path).unwrap())).collect()
}

/// One to four changes, each of one of these kinds: bits, bytes, numbers, stretches cut, doubled,
/// moved or from elsewhere.
fn changed(random: &mut Random, seed: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let run = (1 + random.below(16)).min(bytes.len() - at);
        match random.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at..at + run].fill(random.bits() as u8),
            2 => {
                let width = [1, 2, 4, 8][random.below(4)].min(bytes.len() - at);
                let number = EDGES[random.below(EDGES.len())].to_le_bytes();
                bytes[at..at + width].copy_from_slice(&number[..width]);
            }
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..at + run)),
            5 => {
                let stretch = bytes[at..at + run].to_vec();
                drop(bytes.splice(at..at, stretch));
            }
            6 => {
                let from = random.below(other.len() + 1);
                let until = (from + 1 + random.below(64)).min(other.len());
                drop(bytes.splice(at..at + run, other[from..until].iter().copied()));
            }
            _ => {
                let more = random.below(16);
                bytes.extend(random.bytes(more));
            }
        }
    }
    bytes
}

/// Runs an input; one that fails is kept.
fn run(target: &Target, name: &str, bytes: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target.run(bytes))) {
        let folder = fuzz_folder("artifacts", target);
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("replay-{}", blake3::hash(bytes).to_hex()));
        fs::write(&path, bytes).unwrap();
        eprintln!("target {}, {name}: kept in {}", target.name, path.display());
        std::panic::resume_unwind(panic);
    }
}

/// Held by every test: memory is counted for all threads of the process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn seeds_and_changed_copies_of_them_break_no_promise() {
    let _alone = alone();
    let copies = std::env::var("AMICUS_REPLAY").map_or(COPIES, |text| text.parse().expect("a number"));
    for target in &TARGETS {
        let seeds = inputs(&fuzz_folder("corpus", target));
        assert!(!seeds.is_empty(), "{} has no seeds; see docs/testing.md", target.name);
        // The first run makes what later ones share, which is not the input's memory.
        let _ = catch_unwind(AssertUnwindSafe(|| target.run(&seeds[0].1)));
        // What is kept may be older than a format: what encoders write today is run too.
        let seeds: Vec<(String, Vec<u8>)> = seeds.into_iter().chain(seeds::of(target.name)).collect();
        for (name, bytes) in inputs(&fuzz_folder("artifacts", target)).iter().chain(&seeds) {
            run(target, name, bytes);
        }
        let mut random = Random(7);
        for copy in 0..copies {
            let [seed, other] = [0; 2].map(|_| &seeds[random.below(seeds.len())].1);
            let bytes = changed(&mut random, seed, other);
            run(target, &format!("copy {copy}"), &bytes);
        }
        println!("{}: {} seeds, {copies} changed copies", target.name, seeds.len());
    }
}

#[test]
fn every_target_is_one_of_the_fuzzers() {
    let _alone = alone();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for target in &TARGETS {
        let name = target.name;
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml lacks {name}");
        let body = fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(body.contains(&format!("run(\"{name}\"")), "{name} runs another body");
        assert!(!seeds::of(name).is_empty());
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}

/// A seed that is refused at the door finds nothing behind it.
#[test]
fn seeds_of_files_are_accepted() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let all = |target: &str, accepted: &dyn Fn(&[u8]) -> bool| {
        for (name, bytes) in seeds::of(target) {
            assert!(accepted(&bytes), "{target}, {name}");
        }
    };
    let written = |bytes: &[u8]| fs::write(&path, bytes).is_ok();
    all("plan", &|bytes| Plan::decode(bytes).is_ok());
    all("amc", &|bytes| written(bytes) && ModelFile::load(&path).is_ok());
    all("sealed", &|bytes| written(bytes) && sealed::subject(&path).is_ok());
    all("npz", &|bytes| Npz::parse("x", bytes).is_ok_and(|npz| npz.array("x").is_ok()));
    all("cifar10", &|bytes| cifar10::parse([("x", bytes)].into_iter()).is_ok());
    all("weights", &|bytes| WeightFile::parse(bytes).is_ok());
    all("rates", &|bytes| std::str::from_utf8(bytes).is_ok_and(|text| MachineRates::parse(text).is_ok()));
    all("checkpoint", &|bytes| written(bytes) && amicus_train::checkpoint::fuzz::read(&path));
}
