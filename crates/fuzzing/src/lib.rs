//! Bodies of the fuzz targets: everything that reads bytes from outside.
//!
//! A body takes arbitrary bytes and panics when what reads them breaks a promise: it must not
//! panic, not take more memory than the bytes warrant, and where an encoder exists accept only what
//! that encoder writes. `fuzz/` wraps each body for libFuzzer; `tests/replay.rs` runs the seeds in
//! `fuzz/corpus` and changed copies of them without a fuzzer. [docs/testing.md] has the commands.
//!
//! [docs/testing.md]: ../../../docs/testing.md
#![forbid(unsafe_code)]

mod command;
mod files;
mod input;
mod messages;
mod model;
mod net;
pub mod seeds;
mod states;
mod store;
mod wire;

use peak_alloc::PeakAlloc;

/// Counts the memory of every program that links this crate: fuzz targets and the replay.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Something that reads bytes from outside.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of the fuzz target and of the folder with its seeds.
    pub name: &'static str,
    /// What is done with the bytes.
    body: fn(&[u8]),
    /// Memory that an input may take, whatever its length.
    fixed: usize,
    /// Memory that every byte of the input may take on top.
    per_byte: usize,
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// Bytes that deflate can make of one, and how often they may be there: packed, unpacked,
/// converted.
const INFLATED: usize = 1032 * 5;

/// All targets.
///
/// Bounds on memory are several times what honest input of that length takes; serde reserves up to
/// a mebibyte for a list before it has read the first element, whatever length the list announces.
pub const TARGETS: [Target; 24] = [
    target("wire", wire::wire, 64 * KIB, 32),
    target("control", wire::control, 2 * MIB, 64),
    target("plan", wire::plan, 4 * MIB, 512),
    target("names", wire::names, MIB, 64),
    target("messages", messages::messages, 8 * MIB, 64),
    target("states", states::states, 2 * MIB, 64),
    target("frames", net::frames, MIB, 64),
    target("handshake", net::handshake, 4 * MIB, 64),
    target("store", store::store, 4 * MIB, 256),
    target("sealed", store::sealed, MIB, 64),
    target("amc", model::amc, 16 * MIB, 1024),
    target("onnx", model::onnx, 64 * MIB, 2048),
    target("npz", model::npz, MIB, INFLATED),
    target("weights", model::weights, 16 * MIB, 256),
    target("idx", files::idx, MIB, 64),
    target("cifar10", files::cifar10, MIB, 64),
    target("gzip", files::gzip, MIB, 64),
    target("folder", files::folder, 16 * MIB, 2 * INFLATED),
    target("archive", files::archive, 16 * MIB, INFLATED),
    target("picture", files::picture, 4 * MIB, INFLATED),
    target("samples", command::samples, 2 * MIB, 2 * INFLATED),
    target("rates", command::rates, MIB, 64),
    target("checkpoint", command::checkpoint, 2 * MIB, 256),
    target("deployment", command::deployment, MIB, 1024),
];

const fn target(name: &'static str, body: fn(&[u8]), fixed: usize, per_byte: usize) -> Target {
    Target { name, body, fixed, per_byte }
}

impl Target {
    /// The target of a name.
    pub fn named(name: &str) -> Option<&'static Target> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Runs the body and holds it to its bound on memory. One at a time in a process: memory is
    /// counted for all threads.
    ///
    /// # Panics
    /// When the body finds a broken promise, or took too much memory.
    pub fn run(&self, bytes: &[u8]) {
        MEMORY.reset_peak_usage();
        let before = MEMORY.current_usage();
        (self.body)(bytes);
        let taken = MEMORY.peak_usage().saturating_sub(before);
        let allowed = self.fixed + self.per_byte * bytes.len();
        assert!(
            taken <= allowed,
            "{} bytes took {taken} bytes of memory, allowed are {allowed}",
            bytes.len()
        );
    }
}

/// What a fuzz target calls.
///
/// # Panics
/// The failures of [`Target::run`], or when there is no target of that name.
pub fn run(name: &str, bytes: &[u8]) {
    Target::named(name).expect("a target of this name").run(bytes);
}
