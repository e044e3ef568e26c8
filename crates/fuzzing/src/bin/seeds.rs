//! Writes the seeds of all fuzz targets: `cargo run --release -p amicus-fuzzing --bin seeds`.

use amicus_fuzzing::{TARGETS, seeds};
use std::fs;
use std::path::Path;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for target in TARGETS {
        let folder = corpus.join(target.name);
        if folder.is_dir() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let seeds = seeds::of(target.name);
        for (name, bytes) in &seeds {
            fs::write(folder.join(name), bytes)?;
        }
        let bytes: usize = seeds.iter().map(|(_, bytes)| bytes.len()).sum();
        println!("{:10} {:3} seeds, {bytes} bytes", target.name, seeds.len());
    }
    Ok(())
}
