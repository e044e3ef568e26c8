//! `amicus doctor`.

use super::output;
use amicus_service::doctor::{Finding, Verdict, examine};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  amicus doctor --config node.toml\n\n\
    Exit code 1 when there is a fault. A node that runs is not disturbed.")]
pub(crate) struct Args {
    /// The node's own file.
    #[arg(long, value_name = "NODE.toml", default_value = "node.toml")]
    config: PathBuf,
    /// Seconds that each other node gets to answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    patience: u32,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
}

/// What is printed with `--json`.
#[derive(Serialize)]
struct Report {
    faults: usize,
    findings: Vec<Finding>,
    version: &'static str,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let findings = examine(&args.config, None, Duration::from_secs(args.patience.max(1).into()));
    let faults = findings.iter().filter(|finding| finding.verdict == Verdict::Fault).count();
    if args.json {
        output::json(&Report { faults, findings, version: env!("CARGO_PKG_VERSION") })?;
    } else {
        for finding in &findings {
            let mark = match finding.verdict {
                Verdict::Fine => "ok     ",
                Verdict::Warning => "warning",
                Verdict::Fault => "FAULT  ",
            };
            output::line(format_args!("{mark} {}", finding.found));
            if let (Some(whose), Some(advice)) = (&finding.whose, &finding.advice) {
                output::line(format_args!("        {whose}: {advice}"));
            }
        }
        output::line(match faults {
            0 => "nothing is wrong".to_owned(),
            1 => "1 fault".to_owned(),
            faults => format!("{faults} faults"),
        });
    }
    Ok(if faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
