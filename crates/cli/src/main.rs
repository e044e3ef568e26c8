//! The command line. Exit codes: 0 done, or nobody reads on; 1 refused or failed; 2 usage; 3 a peer
//! cheated; 4 the files of a node do not fit.
#![forbid(unsafe_code)]

mod commands;

use amicus_service::ServiceRole;
use commands::output::note;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Private CNN inference with a friend: nobody but the client sees image or answer.
#[derive(Parser)]
#[command(version, about, max_term_width = 80)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Classifies real images privately, all roles in this process, and shows what it cost.
    Demo(commands::demo::Args),
    /// Lists every node of an ONNX file that cannot be compiled, with why and what to do.
    Check(commands::check::Args),
    /// Turns an ONNX file and calibration images into a plan with integer weights.
    Compile(commands::compile::Args),
    /// Writes the public part of a compiled model: what all other roles run from.
    Plan(commands::plan::Args),
    /// Makes a key and its certificate in a new file that you alone can read, and prints the
    /// fingerprint.
    Keygen(commands::keygen::Args),
    /// Prints the fingerprint of a key's certificate.
    Fingerprint(commands::keygen::FingerprintArgs),
    /// The file that all operators of a cluster share: makes one, checks it, prints its digest.
    Cluster(commands::cluster::Args),
    /// Says which clusters a file of cells names, and the digest that clients pin.
    Cells(commands::cells::Args),
    /// Runs the helper of a cluster.
    Helper(commands::serve::Args),
    /// Runs a compute party of a cluster.
    Party(commands::serve::Args),
    /// Who may use a node's public port: makes tokens, lists them, takes them back.
    Token(commands::token::Args),
    /// Finds what is wrong with a node: each finding says whose it is and what to do.
    Doctor(commands::doctor::Args),
    /// Runs a whole cluster on this machine, with a model loaded, until Ctrl-C.
    Up(commands::up::Args),
    /// Gives a compiled model to a cluster, masked.
    Upload(commands::upload::Args),
    /// Has images classified by a cluster, which sees neither them nor the answers.
    Infer(commands::infer::Args),
    /// Writes a network that ships as a compiled file, to try roles on machines of their own.
    Export(commands::export::Args),
    /// Rounds, bytes, memory and time of a compiled model, before anything runs.
    Estimate(commands::estimate::Args),
    /// Accuracy of a compiled model: floating point, polynomials, fixed point, layer by layer.
    Simulate(commands::simulate::Args),
    /// Measures what this machine does a second, for `estimate`.
    Bench(commands::bench::Args),
    /// Trains a network, ReLU teacher or polynomial student (needs a build with
    /// `--features train`).
    Train(Box<commands::train::Args>),
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // Nodes have their own way to end.
    let is_node = matches!(command, Command::Helper(_) | Command::Party(_) | Command::Up(_));
    if !is_node && let Err(error) = amicus_cli::interrupt::clean_up_when_interrupted() {
        note(format_args!("warning: temporary files may stay when a signal ends this program: {error}"));
    }
    let result = match command {
        Command::Demo(args) => commands::demo::run(&args),
        Command::Check(args) => commands::check::run(&args),
        Command::Compile(args) => commands::compile::run(&args),
        Command::Plan(args) => commands::plan::run(&args),
        Command::Keygen(args) => commands::keygen::run(&args),
        Command::Fingerprint(args) => commands::keygen::fingerprint(&args),
        Command::Cluster(args) => commands::cluster::run(&args),
        Command::Cells(args) => commands::cells::run(&args),
        Command::Helper(args) => commands::serve::run(&args, ServiceRole::Helper),
        Command::Party(args) => commands::serve::run(&args, ServiceRole::Party),
        Command::Token(args) => commands::token::run(&args),
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::Up(args) => commands::up::run(&args),
        Command::Upload(args) => commands::upload::run(&args),
        Command::Infer(args) => commands::infer::run(&args),
        Command::Export(args) => commands::export::run(&args),
        Command::Estimate(args) => commands::estimate::run(&args),
        Command::Simulate(args) => commands::simulate::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Train(args) => commands::train::run(&args),
    };
    result.unwrap_or_else(|error| {
        note(format_args!("error: {error:#}"));
        ExitCode::FAILURE
    })
}
