//! `amicus bench`.

use amicus::field::Kernel;
use amicus::rates::{MachineRates, measure, save};
use serde::Serialize;
use std::process::ExitCode;

#[derive(Clone, Copy, clap::ValueEnum)]
enum Suite {
    /// Measures the rates that `amicus estimate` uses, and keeps them.
    Calibrate,
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  amicus bench --suite calibrate\n\n\
    Takes a few seconds; for good figures nothing else should run. Rates are kept in $XDG_CACHE_HOME/amicus \
    (~/.cache/amicus), one file for this machine and kernel, and `amicus estimate` reads them. Benchmarks of kernels and \
    of LeNet-5: `cargo bench`.")]
pub(crate) struct Args {
    /// What is measured.
    #[arg(long)]
    suite: Suite,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
}

/// What is printed with `--json`.
#[derive(Serialize)]
struct Summary<'a> {
    suite: &'static str,
    file: String,
    rates: &'a MachineRates,
    version: &'static str,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Suite::Calibrate = args.suite;
    let kernel = Kernel::from_env()?;
    let rates = measure(kernel, &mut |what| {
        if !args.json {
            eprintln!("measuring {what}");
        }
    })?;
    let file = save(kernel, &rates)?.display().to_string();
    if args.json {
        let summary = Summary { suite: "calibrate", file, rates: &rates, version: env!("CARGO_PKG_VERSION") };
        println!("{}", serde_json::to_string_pretty(&summary)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}, {} kernels", rates.machine, rates.kernel);
    println!("  {:.2} G multiply-adds/s in convolutions", rates.products_per_second / 1e9);
    println!("  {:.2} G multiply-adds/s in fully connected layers", rates.dense_products_per_second / 1e9);
    println!(
        "  {:.1} ns to use and {:.1} ns to deal an element of material",
        rates.online_element_ns, rates.dealt_element_ns
    );
    println!("  {:.0} us a hop", rates.hop_us);
    println!("kept in {file}");
    Ok(ExitCode::SUCCESS)
}
