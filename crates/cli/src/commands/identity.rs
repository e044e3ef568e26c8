//! `amicus identity`.

use super::output;
use amicus::files::{new_identity, read_identity};
use anyhow::Context;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  amicus identity new party-1.pem\n\n\
    The fingerprint that is printed goes into the deployment file. The key never leaves its file: every role makes its own.")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Makes a key and its certificate in a new file that you alone can read, and prints the
    /// fingerprint.
    New {
        /// The file; one that is there already is kept.
        #[arg(value_name = "FILE.pem")]
        file: PathBuf,
        /// Name in the certificate, for people [default: the file's name without its ending].
        #[arg(long)]
        name: Option<String>,
    },
    /// Prints the fingerprint of an identity's certificate.
    Show {
        /// The file.
        #[arg(value_name = "FILE.pem")]
        file: PathBuf,
    },
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let identity = match &args.action {
        Action::New { file, name } => {
            let stem = || file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            let name = name.clone().or_else(stem).context("the file has no name; give one")?;
            new_identity(file, &name)?
        }
        Action::Show { file } => read_identity(file)?,
    };
    output::line(identity.fingerprint());
    Ok(ExitCode::SUCCESS)
}
