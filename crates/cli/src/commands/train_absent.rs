//! `amicus train` in a program that was built without training: says how to build it.

use anyhow::bail;
use std::ffi::OsString;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "This program was built without training. To build and run it with training:\n  \
    cargo run --release --features train -- train --help")]
pub(crate) struct Args {
    /// What the command takes when it is there.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    given: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let given: Vec<_> = args.given.iter().map(|word| word.to_string_lossy()).collect();
    bail!(
        "this program was built without training; `cargo run --release --features train -- train {}` builds it with \
         training, which takes many minutes the first time",
        given.join(" ")
    )
}
