//! Thousands of inferences: memory and file handles of every process stay as they are.

use super::clients::{Work, connecting, deadline, simulated};
use super::site::{Node, Over, Site, Wire};
use amicus::deployment::DeploymentLimits;
use anyhow::{Context, ensure};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Inferences.
    #[arg(long, default_value_t = 5000)]
    inferences: usize,
    /// Clients that ask at the same time.
    #[arg(long, default_value_t = 4)]
    clients: usize,
    /// How clients and the owner reach nodes.
    #[arg(long, value_enum, default_value_t = Over::Frames)]
    over: Over,
    /// Parts of the trial, after each of which every process is looked at.
    #[arg(long, default_value_t = 10)]
    parts: usize,
}

/// What a process takes.
#[derive(Clone, Copy, Debug)]
struct Taken {
    megabytes: f64,
    files: usize,
    threads: usize,
}

fn taken(process: &str) -> anyhow::Result<Taken> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let field = |name: &str| -> anyhow::Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("a field of status")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    };
    let files = std::fs::read_dir(format!("/proc/{process}/fd"))?.count();
    Ok(Taken { megabytes: field("VmRSS:")? / 1024.0, files, threads: field("Threads:")? as usize })
}

fn all(site: &Site) -> anyhow::Result<Vec<(String, Taken)>> {
    let own = Ok(("clients".to_owned(), taken("self")?));
    let nodes = site
        .nodes
        .iter()
        .map(|node: &Node| Ok((node.name.clone(), taken(&node.id().context("the node runs")?.to_string())?)));
    nodes.chain([own]).collect()
}

pub(crate) fn run(args: &Args, program: &Path) -> anyhow::Result<()> {
    let limits = DeploymentLimits { round: 60, inference: 120, ..DeploymentLimits::default() };
    let site = Site::start(program, &["lenet5-mnist"], args.clients, limits, Wire::Direct)?;
    site.load(args.over)?;
    let expected = vec![simulated(&site.models[0], usize::MAX)?];
    let users = site.clients(args.clients)?;
    let (connect, never) = (connecting(&users, args.over), AtomicBool::new(false));
    let work = Work {
        site: &site,
        expected: &expected,
        connect: &connect,
        clients: args.clients,
        patience: deadline(limits),
    };
    let (started, each) = (Instant::now(), args.inferences.div_ceil(args.parts));
    let mut first: Option<Vec<(String, Taken)>> = None;
    let mut last = Vec::new();
    for part in 1..=args.parts {
        let tally = work.run(&[each], &never);
        ensure!(tally.wrong.is_empty() && tally.errors.is_empty(), "{:?} {:?}", tally.wrong, tally.errors);
        last = all(&site)?;
        println!("{} inferences, {:.0} s:", part * each, started.elapsed().as_secs_f64());
        for (name, taken) in &last {
            let Taken { megabytes, files, threads } = taken;
            println!("  {name:8} {megabytes:7.1} MiB  {files:3} files  {threads:2} threads");
        }
        // What is kept ready, buffers and caches have their size after the first part.
        first.get_or_insert_with(|| last.clone());
    }
    for ((name, first), (_, last)) in first.unwrap_or_default().iter().zip(&last) {
        let grown = last.megabytes - first.megabytes;
        ensure!(grown < 16.0 + first.megabytes / 10.0, "{name} grew by {grown:.1} MiB");
        ensure!(last.files <= first.files + 8, "{name} has {} files, had {}", last.files, first.files);
        ensure!(last.threads <= first.threads + 8, "{name} has {} threads", last.threads);
    }
    println!("memory, files and threads are flat");
    Ok(())
}
