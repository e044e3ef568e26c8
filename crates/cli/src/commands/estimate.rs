//! `amicus estimate`.

use super::files::Bytes;
use super::output;
use amicus::report::{Estimated, Memory};
use amicus_cli::rates;
use amicus_field::Kernel;
use amicus_model::amc::ModelFile;
use amicus_net::shaper::Shape;
use anyhow::bail;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  amicus estimate lenet.amc --net wan --parties 3\n\n\
    Rounds and bytes are exact but for headers (below 2%); times follow from the rates printed with them: those that \
    `amicus bench --suite calibrate` measured on this machine, or else those of one core of an AMD Zen 5 with AVX-512 \
    IFMA. They are for nodes with one thread \
    for arithmetic (`threads` of node.toml).")]
pub(crate) struct Args {
    /// The compiled file.
    #[arg(value_name = "MODEL.amc")]
    model: PathBuf,
    /// Compute parties, 2 to 8.
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=8))]
    parties: u8,
    /// Images in one inference.
    #[arg(long, default_value_t = 1, value_name = "B", value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Network between the roles: local (all on one machine), lan, wan, or rtt=40ms,bw=100mbit.
    #[arg(long, default_value = "local")]
    net: Shape,
    /// Memory of each machine, for example 24GiB; a role that needs more is refused.
    #[arg(long, value_name = "BYTES")]
    memory: Option<Bytes>,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let file = ModelFile::load(&args.model)?;
    let measured = rates::load(Kernel::from_env()?).unwrap_or_else(|error| {
        output::note(format_args!("warning: {error}"));
        None
    });
    let sizes = (usize::from(args.parties), usize::from(args.batch));
    let estimated = Estimated::of(&file, sizes, &args.net, measured.as_ref())?;
    for missed in &estimated.missed_targets {
        output::note(format_args!("warning: compiled although {missed}"));
    }
    if args.json {
        output::json(&estimated)?;
    } else {
        output::text(&estimated.text());
    }
    if let Some(Bytes(limit)) = args.memory {
        refuse_beyond(limit, &estimated)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses a model that a machine cannot hold, with the counts.
fn refuse_beyond(limit: u64, s: &Estimated) -> anyhow::Result<()> {
    let Memory { party, helper, owner, client, .. } = s.memory;
    let mut roles =
        vec![("a party", party), ("the helper", helper), ("the owner", owner), ("a client", client)];
    if s.rates.cores.is_some() {
        let all = s.parties as u64 * party + helper + owner + client;
        roles = vec![("all roles on one machine", all)];
    }
    let needs = roles.iter().filter(|(_, n)| *n > limit).map(|(role, n)| format!("{role}: {n} bytes"));
    let needs: Vec<String> = needs.collect();
    if needs.is_empty() {
        return Ok(());
    }
    bail!(
        "does not fit {limit} bytes of memory: {}; use larger machines or a smaller batch",
        needs.join(", ")
    )
}
