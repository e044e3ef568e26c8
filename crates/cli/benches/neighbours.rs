//! One private inference of LeNet-5 on a quiet machine and beside busy neighbours, with parties
//! that run anywhere and with parties that stay on cores of their own.
//!
//! `cargo bench -p amicus-cli --bench neighbours [-- --rounds N]`. Medians in milliseconds,
//! client's clock; every core that may be used has one neighbour, a process that never sleeps. To
//! stand for a machine of two cores: `taskset -c 0,1 cargo bench ..`.

#![allow(missing_docs, clippy::unwrap_used)]

mod lenet;

use lenet::{image, lenet};

use amicus_model::Compiled;
use amicus_node::Ahead;
use amicus_node::client::ClientNode;
use amicus_node::event::Event;
use amicus_node::local::{LocalCluster, LocalConfig};
use amicus_protocol::Parties;
use std::hint::black_box;
use std::process::{Child, Command};
use std::sync::Arc;

/// Inferences for which material is kept.
const KEPT: usize = 2;
/// Inferences in a row, quiet or busy.
const IN_A_ROW: usize = 20;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut rounds = 5;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "busy" => loop {
                black_box(());
            },
            "--test" => rounds = 0,
            "--rounds" => rounds = arguments.next().and_then(|n| n.parse().ok()).expect("a number"),
            _ => {}
        }
    }
    let in_a_row = if rounds == 0 { 1 } else { IN_A_ROW };
    let model = lenet();
    println!("parties  stay on a core   quiet ms   busy ms   busy / quiet");
    for parties in [2, 3] {
        let mut ways = [false, true].map(|stay| Way::start(&model, parties, stay));
        // Ways take turns, so that what changes on the machine meanwhile meets all of them.
        for _ in 0..rounds.max(1) {
            for way in &mut ways {
                way.run(in_a_row, false);
                let _busy = Neighbours::start();
                way.run(in_a_row, true);
            }
        }
        for mut way in ways {
            let [quiet, busy] = [median(&mut way.quiet), median(&mut way.busy)];
            println!(
                "{parties:7} {:>15} {quiet:10.2} {busy:9.2} {:14.1}",
                if way.stay { "yes" } else { "no" },
                busy / quiet
            );
            way.cluster.stop();
        }
    }
}

/// A deployment whose parties run anywhere or stay.
struct Way {
    stay: bool,
    cluster: LocalCluster,
    client: ClientNode,
    input: Vec<i64>,
    dealt: usize,
    used: usize,
    quiet: Vec<f64>,
    busy: Vec<f64>,
    _folder: tempfile::TempDir,
}

impl Way {
    fn start(model: &Compiled, parties: usize, stay: bool) -> Self {
        let plan = Arc::new(model.plan.clone());
        let folder = tempfile::tempdir().unwrap();
        let parties = Parties::new(parties).unwrap();
        let mut config = LocalConfig::new(Arc::clone(&plan), parties, folder.path().to_owned());
        config.model.ahead = Ahead::new(1, KEPT);
        config.cores = if stay { cores() } else { Vec::new() };
        let mut cluster = LocalCluster::start(config).unwrap();
        cluster.owner().unwrap().load(&model.weights).unwrap();
        let client = cluster.client("1").unwrap();
        let input = amicus_model::quantize_input(&plan, &image()).unwrap();
        let (quiet, busy) = (Vec::new(), Vec::new());
        Way { stay, cluster, client, input, dealt: 0, used: 0, quiet, busy, _folder: folder }
    }

    fn run(&mut self, inferences: usize, busy: bool) {
        for _ in 0..inferences {
            // All cores are shared: no dealing while an inference is measured.
            while self.dealt < self.used + KEPT {
                self.dealt +=
                    usize::from(matches!(self.cluster.helper_events.recv().unwrap(), Event::Dealt { .. }));
            }
            self.used += 1;
            let admission = self.client.request(1, &[]).unwrap();
            let elapsed = self.client.infer(admission, &self.input).unwrap().elapsed;
            let times = if busy { &mut self.busy } else { &mut self.quiet };
            times.push(elapsed.as_secs_f64() * 1e3);
        }
    }
}

/// Processes that never sleep, one for every core that may be used.
struct Neighbours(Vec<Child>);

impl Neighbours {
    fn start() -> Self {
        let exe = std::env::current_exe().unwrap();
        let cores = std::thread::available_parallelism().unwrap().get();
        Neighbours((0..cores).map(|_| Command::new(&exe).arg("busy").spawn().unwrap()).collect())
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        for child in &mut self.0 {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The cores this process may use.
fn cores() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or("");
    let range = |part: &str| {
        let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        first.parse().ok().zip(last.parse().ok()).map(|(first, last): (usize, usize)| first..=last)
    };
    list.split(',').filter_map(range).flatten().collect()
}
