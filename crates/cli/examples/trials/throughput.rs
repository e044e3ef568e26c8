//! Inferences a second of many clients, over lines of several shapes, beside what lines and cores
//! allow.

use super::clients::{Work, connecting, deadline, simulated};
use super::site::{Over, PARTIES, Site, Wire};
use amicus::deployment::DeploymentLimits;
use amicus_net::shaper::Shape;
use anyhow::{Context, ensure};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Clients that ask at the same time; a line of the table each.
    #[arg(long, num_args = 1.., default_values_t = [1, 8, 32])]
    clients: Vec<usize>,
    /// Inferences of each client in a measurement.
    #[arg(long, default_value_t = 12)]
    each: usize,
    /// How clients and the owner reach nodes.
    #[arg(long, value_enum, default_value_t = Over::Frames)]
    over: Over,
    /// A model that ships.
    #[arg(long, default_value = "lenet5-mnist")]
    model: String,
}

/// What a shape of lines gave.
struct Measured {
    clients: usize,
    rate: f64,
    /// Milliseconds of one inference, the median.
    median: f64,
}

fn measure(args: &Args, program: &Path, shape: Shape) -> anyhow::Result<(Vec<Measured>, f64)> {
    let most = args.clients.iter().copied().max().context("a number of clients")?;
    let limits = DeploymentLimits { round: 60, inference: 120, ..DeploymentLimits::default() };
    let wire = if shape.is_local() { Wire::Direct } else { Wire::Shaped(shape) };
    let site = Site::start(program, &[&args.model], most, limits, wire)?;
    site.load(args.over)?;
    let expected = vec![simulated(&site.models[0], 20)?];
    let users = site.clients(most)?;
    let (connect, never, patience) =
        (connecting(&users, args.over), AtomicBool::new(false), deadline(limits));
    let mut all = Vec::new();
    for &clients in &args.clients {
        let work = Work { site: &site, expected: &expected, connect: &connect, clients, patience };
        let quota = [clients * args.each];
        // Links and what is ready are there before anything is measured: a first inference of each.
        let mut askers = work.connected(0)?;
        let started = Instant::now();
        let tally = work.run_with(&quota, &never, &mut askers);
        let elapsed = started.elapsed().as_secs_f64();
        ensure!(tally.wrong.is_empty() && tally.errors.is_empty(), "{:?} {:?}", tally.wrong, tally.errors);
        let mut times = tally.times;
        times.sort_by(f64::total_cmp);
        let median = 1e3 * times[times.len() / 2];
        all.push(Measured { clients, rate: tally.right as f64 / elapsed, median });
    }
    // What the busiest line carries for an inference: a party's part of what is dealt, or its shares.
    let cost = site.models[0].file.plan.cost(1)?;
    let bytes = (cost.dealt_bytes / PARTIES as u64).max(cost.sent_bytes_per_party);
    let line = shape.bits_per_second.map_or(f64::INFINITY, |bits| bits as f64 / 8.0 / bytes as f64);
    Ok((all, line))
}

pub(crate) fn run(args: &Args, program: &Path) -> anyhow::Result<()> {
    println!("| line | clients | a second | median ms | the line allows | of what line and cores allow |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let mut cores = 0.0f64;
    for (name, shape) in [("local", Shape::local()), ("lan", Shape::lan()), ("wan", Shape::wan())] {
        let (all, line) = measure(args, program, shape)?;
        for Measured { clients, rate, median } in all {
            if shape.is_local() {
                cores = cores.max(rate);
            }
            let allowed = line.min(cores);
            let allows = if line.is_finite() { format!("{line:.1}") } else { "-".to_owned() };
            let share = 100.0 * rate / allowed;
            println!("| {name} | {clients} | {rate:.1} | {median:.1} | {allows} | {share:.0}% |");
        }
    }
    Ok(())
}
