//! Writes the seeds of all fuzz targets: `cargo run --release -p amicus-fuzzing --bin seeds`.
//!
//! They replace those in the repository (`fuzz/corpus`), or are added to a folder that is given.

use amicus_fuzzing::{TARGETS, seeds};
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> std::io::Result<()> {
    let given = std::env::args_os().nth(1).map(PathBuf::from);
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for target in TARGETS {
        let folder = given.as_ref().unwrap_or(&corpus).join(target.name);
        if given.is_none() && folder.is_dir() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let mut seeds = seeds::of(target.name);
        if given.is_none() {
            // Keys do not belong in a repository, not even those that nobody uses.
            seeds.retain(|(_, bytes)| !String::from_utf8_lossy(bytes).contains("PRIVATE KEY"));
        }
        for (name, bytes) in &seeds {
            fs::write(folder.join(name), bytes)?;
        }
        let bytes: usize = seeds.iter().map(|(_, bytes)| bytes.len()).sum();
        println!("{:10} {:3} seeds, {bytes} bytes", target.name, seeds.len());
    }
    Ok(())
}
