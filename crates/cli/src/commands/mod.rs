//! One module per command: arguments, progress, output.

mod answers;
pub(crate) mod bench;
pub(crate) mod cells;
pub(crate) mod check;
pub(crate) mod cluster;
pub(crate) mod compile;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod estimate;
pub(crate) mod export;
mod files;
pub(crate) mod infer;
pub(crate) mod keygen;
pub(crate) mod output;
#[cfg(feature = "plaintext")]
mod plaintext;
#[cfg(not(feature = "plaintext"))]
#[path = "plaintext_absent.rs"]
mod plaintext;
pub(crate) mod plan;
mod remote;
pub(crate) mod serve;
pub(crate) mod simulate;
mod throughput;
pub(crate) mod token;
#[cfg(feature = "train-command")]
pub(crate) mod train;
#[cfg(not(feature = "train-command"))]
#[path = "train_absent.rs"]
pub(crate) mod train;
pub(crate) mod up;
pub(crate) mod upload;

use clap::builder::RangedU64ValueParser;
use std::process::ExitCode;

/// Reads a number of threads that share a node thread's arithmetic.
pub(crate) fn threads() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(1..=amicus_node::MAX_THREADS as u64)
}

/// A peer cheated.
pub(crate) fn cheated() -> ExitCode {
    ExitCode::from(3)
}
