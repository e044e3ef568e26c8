//! `amicus keygen` and `amicus fingerprint`.

use super::files::destination;
use super::output;
use amicus::files::{new_identity, read_identity};
use anyhow::Context;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  amicus keygen party-1.pem\n\n\
    The fingerprint that is printed goes into the cluster's file. The key never leaves its file, which you alone can \
    read: every operator, owner and client makes its own, on its own machine.")]
pub(crate) struct Args {
    /// The file; one that is there already is kept.
    #[arg(value_name = "FILE.pem")]
    file: PathBuf,
    /// Name in the certificate, for people [default: the file's name without its ending].
    #[arg(long)]
    name: Option<String>,
    /// Days that the certificate is valid: others refuse it later [default: it does not expire].
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: Option<u32>,
    /// Replace the key if it is there: whoever knows the old one does not know the new one.
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let stem = || args.file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = args.name.clone().or_else(stem).context("the file has no name; give one")?;
    let existing = destination(&args.file, args.force, &[])?;
    output::line(new_identity(&args.file, &name, args.days, existing)?.fingerprint());
    Ok(ExitCode::SUCCESS)
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  amicus fingerprint party-1.pem\n\n\
    `openssl x509 -noout -fingerprint -sha256 -in party-1.pem` prints the same.")]
pub(crate) struct FingerprintArgs {
    /// The file of a key and its certificate.
    #[arg(value_name = "FILE.pem")]
    file: PathBuf,
}

pub(crate) fn fingerprint(args: &FingerprintArgs) -> anyhow::Result<ExitCode> {
    output::line(read_identity(&args.file)?.fingerprint());
    Ok(ExitCode::SUCCESS)
}
