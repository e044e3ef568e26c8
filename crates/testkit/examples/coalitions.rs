//! Plays executions of random malicious coalitions and reports what they showed
//! (`docs/security.md`, "Random coalitions").
//!
//! ```sh
//! cargo run --release -p amicus-testkit --example coalitions -- --seed 1 --executions 20000 --jobs 2
//! cargo run --release -p amicus-testkit --example coalitions -- --seed 17 --executions 1      # one of them again
//! ```
//!
//! Exit code 1 when a property did not hold; every failing execution is shown with the smallest
//! scenario like it.

use amicus_testkit::coalition::scenario::Scenario;
use amicus_testkit::coalition::{play, shrink};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

#[derive(Default)]
struct Totals {
    executions: u64,
    violating: u64,
    played: BTreeMap<&'static str, usize>,
    endings: [usize; 3],
}

fn main() -> ExitCode {
    let (mut seed, mut executions, mut jobs, mut shown) = (1, 300, 1, 10);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().and_then(|v| v.parse::<u64>().ok());
        match (name.as_str(), value) {
            ("--seed", Some(value)) => seed = value,
            ("--executions", Some(value)) => executions = value,
            ("--jobs", Some(value)) => jobs = value,
            ("--shown", Some(value)) => shown = value,
            _ => {
                eprintln!("--seed N, --executions N, --jobs N, --shown N (failures that are made small)");
                return ExitCode::from(2);
            }
        }
    }
    // Panics are findings and are shown with their execution.
    std::panic::set_hook(Box::new(|_| ()));
    let (next, totals, started) = (AtomicU64::new(seed), Mutex::new(Totals::default()), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| work(&next, seed + executions, &totals, started, shown));
        }
    });
    let totals = totals.into_inner().expect("no panic");
    report(&totals, started);
    ExitCode::from(u8::from(totals.violating > 0))
}

fn work(next: &AtomicU64, end: u64, totals: &Mutex<Totals>, started: Instant, shown: u64) {
    loop {
        let seed = next.fetch_add(1, Ordering::SeqCst);
        if seed >= end {
            return;
        }
        let scenario = Scenario::draw(seed);
        let found = play(&scenario);
        let failures = {
            let mut totals = totals.lock().expect("no panic");
            totals.executions += 1;
            found.played.iter().for_each(|name| *totals.played.entry(name).or_default() += 1);
            totals.endings.iter_mut().zip(found.endings).for_each(|(sum, n)| *sum += n);
            totals.violating += u64::from(!found.violations.is_empty());
            if totals.executions.is_multiple_of(500) {
                report(&totals, started);
            }
            totals.violating
        };
        if !found.violations.is_empty() {
            println!("seed {seed}: {:#?}", found.violations);
            if failures <= shown {
                let (smallest, violations) = shrink::shrink(scenario);
                println!("smallest like {seed}: {smallest:?}\n{violations:#?}");
            }
        }
    }
}

fn report(totals: &Totals, started: Instant) {
    let [accepted, rejected, given_up] = totals.endings;
    println!(
        "{} executions in {:.0?}, {} with violations; attacked loads and inferences: {accepted} accepted, {rejected} \
         rejected, {given_up} given up",
        totals.executions,
        started.elapsed(),
        totals.violating
    );
    let played: Vec<String> = totals.played.iter().map(|(name, times)| format!("{name} {times}")).collect();
    println!("moves played: {}", played.join(", "));
}
