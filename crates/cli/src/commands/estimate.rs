//! `amicus estimate`.

use super::files::{Bytes, bytes};
use super::output::{self, Table};
use amicus_cli::rates;
use amicus_field::Kernel;
use amicus_model::amc::ModelFile;
use amicus_net::shaper::Shape;
use amicus_plan::{Estimate, Rates};
use anyhow::bail;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  amicus estimate lenet.amc --net wan --parties 3\n\n\
    Rounds and bytes are exact but for headers (below 2%); times follow from the rates printed with them: those that \
    `amicus bench --suite calibrate` measured on this machine, or else those of one core of an AMD Zen 5 with AVX-512 \
    IFMA.")]
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

/// What is printed with `--json`.
#[derive(Serialize)]
struct Summary {
    model: String,
    parties: usize,
    batch: usize,
    net: String,
    limbs: usize,
    rounds: usize,
    sent_bytes_per_party: u64,
    dealt_bytes: u64,
    multiply_adds: u64,
    material_bytes: u64,
    memory: Roles,
    online_ms: f64,
    preprocessing_ms: f64,
    rates: StatedRates,
    /// Targets for the error that the compiled file misses on its calibration data.
    missed_targets: Vec<String>,
    version: &'static str,
}

#[derive(Serialize)]
struct Roles {
    /// With the material of one inference.
    party: u64,
    /// Material of every inference more that is kept ready.
    ready: u64,
    helper: u64,
    owner: u64,
    client: u64,
}

/// The rates times follow from, and whether they were measured on this machine.
#[derive(Serialize)]
struct StatedRates {
    measured_here: bool,
    cores: Option<usize>,
    products_per_second: f64,
    dense_products_per_second: f64,
    online_element_ns: f64,
    dealt_element_ns: f64,
    hop_us: f64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let file = ModelFile::load(&args.model)?;
    let (parties, batch) = (usize::from(args.parties), usize::from(args.batch));
    let link = rates::link(&args.net);
    let measured = rates::load(Kernel::from_env()?).unwrap_or_else(|error| {
        output::note(format_args!("warning: {error}"));
        None
    });
    let measured_here = measured.is_some();
    let rates = measured.map_or(Rates::STATED, |m| m.rates());
    let Estimate { cost, memory, online, preprocessing } =
        file.plan.estimate(parties, batch, &link, &rates)?;
    let missed_targets = file.quality.misses();
    for missed in &missed_targets {
        output::note(format_args!("warning: compiled although {missed}"));
    }
    let summary = Summary {
        missed_targets,
        model: file.plan.name.clone(),
        parties,
        batch,
        net: args.net.to_string(),
        limbs: file.plan.limbs.count(),
        rounds: cost.rounds,
        sent_bytes_per_party: cost.sent_bytes_per_party,
        dealt_bytes: cost.dealt_bytes,
        multiply_adds: cost.multiply_adds,
        material_bytes: cost.material_bytes,
        memory: Roles {
            party: memory.party,
            ready: memory.ready,
            helper: memory.helper,
            owner: memory.owner,
            client: memory.client,
        },
        online_ms: 1e3 * online,
        preprocessing_ms: 1e3 * preprocessing,
        rates: StatedRates {
            measured_here,
            cores: link.shared_cores,
            products_per_second: rates.product,
            dense_products_per_second: rates.dense,
            online_element_ns: 1e9 * rates.element,
            dealt_element_ns: 1e9 * rates.dealt,
            hop_us: 1e6 * rates.hop_over(&link),
        },
        version: env!("CARGO_PKG_VERSION"),
    };
    if args.json {
        output::json(&summary)?;
    } else {
        print(&summary);
    }
    if let Some(Bytes(limit)) = args.memory {
        refuse_beyond(limit, &summary)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses a model that a machine cannot hold, with the counts.
fn refuse_beyond(limit: u64, s: &Summary) -> anyhow::Result<()> {
    let Roles { party, helper, owner, client, .. } = s.memory;
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

fn print(s: &Summary) {
    let mut table = Table::new();
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    row("model", format!("{}, {} limb(s) of 52 bits", s.model, s.limbs));
    row("parties", format!("{} + helper, batch {}, network {}", s.parties, s.batch, s.net));
    row("online, an inference", format!("{:.2} ms", s.online_ms));
    row("preprocessing, an inference", format!("{:.2} ms", s.preprocessing_ms));
    row("rounds (one-way hops)", s.rounds.to_string());
    row("sent by a party to another", bytes(s.sent_bytes_per_party));
    row("dealt by the helper", bytes(s.dealt_bytes));
    row(
        "multiply-adds of a party",
        format!("{:.1} million, all limbs together", s.multiply_adds as f64 / 1e6),
    );
    let ready = bytes(s.memory.ready);
    row(
        "memory of a party",
        format!("{}, and {ready} for every inference kept ready", bytes(s.memory.party)),
    );
    row("memory of the helper", bytes(s.memory.helper));
    row("memory of the owner", bytes(s.memory.owner));
    row("memory of a client", bytes(s.memory.client));
    table.print();
    let r = &s.rates;
    output::line(format_args!(
        "times follow from {}: {:.1} G multiply-adds/s in convolutions, {:.1} G/s in fully connected layers, {:.1} ns to \
         use and {:.1} ns to deal an element, {:.0} us a hop{}",
        if r.measured_here {
            "rates measured on this machine"
        } else {
            "stated rates, not measured on this machine (`amicus bench --suite calibrate` does that)"
        },
        r.products_per_second / 1e9,
        r.dense_products_per_second / 1e9,
        r.online_element_ns,
        r.dealt_element_ns,
        r.hop_us,
        r.cores.map_or_else(String::new, |c| format!(", all roles on {c} core(s)"))
    ));
}
