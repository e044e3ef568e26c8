//! `amicus helper` and `amicus party`.

use amicus_node::conduct::Cheat;
use amicus_service::{
    Ended, LogFormat, LogLevel, NodeConfig, ServiceRole, StartError, log, run as serve, run_deviating,
};
use clap::ValueEnum;
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit code: the files of a node do not fit, and will not by starting again.
const MISCONFIGURED: u8 = 4;

#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 told to end, 1 could not start or go on, 2 usage, 4 the node's files do not fit.\n\n\
    SIGTERM and SIGINT end the node once what is in flight has ended, SIGHUP makes it take up new certificates and \
    addresses. docs/deploy.md says what stands in the file."
)]
pub(crate) struct Args {
    /// The node's own file.
    #[arg(long, value_name = "NODE.toml", default_value = "node.toml")]
    config: PathBuf,
    /// How lines of the log are written, if not as the file says.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<Format>,
    /// End when nobody holds the other end of standard input any more, as `amicus up` does.
    #[arg(long, hide = true)]
    while_piped: bool,
    /// Deviate, as `amicus up --cheat` has its last party do.
    #[arg(long, hide = true)]
    cheat: Option<Cheat>,
    /// What is logged, if not as the file says.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<Level>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

pub(crate) fn run(args: &Args, role: ServiceRole) -> anyhow::Result<ExitCode> {
    let mut config = match NodeConfig::read(&args.config) {
        Ok(config) => config,
        Err(error) => return Ok(refused(&error.into())),
    };
    if let Some(format) = args.log_format {
        config.log.format = match format {
            Format::Text => LogFormat::Text,
            Format::Json => LogFormat::Json,
        };
    }
    if let Some(level) = args.log_level {
        config.log.level = match level {
            Level::Error => LogLevel::Error,
            Level::Warn => LogLevel::Warn,
            Level::Info => LogLevel::Info,
            Level::Debug => LogLevel::Debug,
        };
    }
    log::start(config.log);
    if args.while_piped {
        end_with_input()?;
    }
    let served = match args.cheat {
        Some(cheat) if role == ServiceRole::Party => run_deviating(&config, cheat),
        _ => serve(&config, role),
    };
    Ok(match served {
        Ok(Ended::Told) => ExitCode::SUCCESS,
        Ok(Ended::Fatal) => ExitCode::FAILURE,
        Err(error) => refused(&error),
    })
}

/// Ends this process as SIGTERM does once its standard input ends.
fn end_with_input() -> anyhow::Result<()> {
    let watch = || {
        // Whoever is at the other end sends nothing.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = signal_hook::low_level::raise(signal_hook::consts::SIGTERM);
    };
    std::thread::Builder::new().name("input".to_owned()).spawn(watch)?;
    Ok(())
}

/// Says why a node does not start.
fn refused(error: &StartError) -> ExitCode {
    super::output::note(format_args!("error: {error}"));
    if error.is_configuration() { ExitCode::from(MISCONFIGURED) } else { ExitCode::FAILURE }
}
