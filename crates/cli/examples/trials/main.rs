//! Trials of a whole cluster of real processes on this machine: a helper and three parties, on
//! addresses of their own, and clients that hold every answer to the simulator.
//!
//! ```text
//! cargo build --release
//! cargo run --release -p amicus-cli --example trials -- chaos --seconds 60
//! cargo run --release -p amicus-cli --example trials -- soak --inferences 5000
//! cargo run --release -p amicus-cli --example trials -- throughput --over https
//! ```

mod chaos;
mod clients;
mod https;
mod relay;
mod site;
mod soak;
mod throughput;
mod wire;

use clap::{Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
struct Args {
    /// The program `amicus` [default: beside this one].
    #[arg(long, global = true)]
    program: Option<PathBuf>,
    #[command(subcommand)]
    trial: Trial,
}

#[derive(Subcommand)]
enum Trial {
    /// Nodes are killed, stopped and cut off while clients ask.
    Chaos(chaos::Args),
    /// Thousands of inferences, with what every process takes.
    Soak(soak::Args),
    /// Inferences a second of many clients, over lines of several shapes.
    Throughput(throughput::Args),
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let program = match args.program {
        Some(program) => program,
        // target/release/examples/trials
        None => std::env::current_exe()?.with_file_name("../amicus"),
    };
    match &args.trial {
        Trial::Chaos(args) => chaos::run(args, &program),
        Trial::Soak(args) => soak::run(args, &program),
        Trial::Throughput(args) => throughput::run(args, &program),
    }
}
