//! Nodes that are killed, stopped and cut off while clients ask.

use super::clients::{Tally, Work, connecting, deadline, simulated};
use super::site::{Node, Over, Site, Wire};
use super::wire::sees_a_planted_repeat;
use amicus::deployment::DeploymentLimits;
use anyhow::{bail, ensure};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The models of the trial.
const MODELS: [&str; 2] = ["lenet5-mnist", "resnet8-cifar10"];
/// Images of each model that are asked about, again and again.
const IMAGES: usize = 20;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Inferences of LeNet-5 and of ResNet-8 before the first fault.
    #[arg(long, num_args = 2, default_values_t = [240, 60])]
    inferences: Vec<usize>,
    /// Clients that ask at the same time.
    #[arg(long, default_value_t = 8)]
    clients: usize,
    /// How clients and the owner reach nodes.
    #[arg(long, value_enum, default_value_t = Over::Https)]
    over: Over,
    /// How long nodes have faults.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seed of the faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Until when the models are to be served after the last fault, in seconds.
    #[arg(long, default_value_t = 5.0)]
    within: f64,
}

/// Numbers that look random and are the same for one seed: faults of a trial can be had again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// What happens to a node.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// It is killed, and started again.
    Kill,
    /// It stands still for a while (SIGSTOP).
    Stop,
    /// Its connections end, and none begins for a while.
    Close,
    /// Nothing comes from it or reaches it for a while, and nobody is told.
    Silence,
}

const FAULTS: [Fault; 4] = [Fault::Kill, Fault::Stop, Fault::Close, Fault::Silence];

/// Has a node fail and come back.
fn fail(node: &mut Node, fault: Fault, lasts: Duration) -> anyhow::Result<()> {
    match fault {
        Fault::Kill => {
            node.kill();
            std::thread::sleep(lasts / 4);
            node.start()?;
        }
        Fault::Stop => {
            node.signal("STOP")?;
            std::thread::sleep(lasts);
            node.signal("CONT")?;
        }
        Fault::Close | Fault::Silence => {
            let wires = &node.wires;
            let cut = if matches!(fault, Fault::Close) { &wires.closed } else { &wires.silent };
            cut.store(true, Ordering::Relaxed);
            std::thread::sleep(lasts);
            cut.store(false, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Prints what clients saw; what must not be is an error.
fn judge(what: &str, tally: &Tally, lost: bool) -> anyhow::Result<()> {
    println!(
        "{what}: {} answered right, {} ended in errors; farthest from the simulator {:.3}%, last error after {:.1} s",
        tally.right,
        tally.failed(),
        100.0 * tally.farthest,
        tally.latest.as_secs_f64()
    );
    let mut errors: Vec<_> = tally.errors.iter().collect();
    errors.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    errors.iter().take(8).for_each(|(words, count)| println!("  {count} x {words}"));
    ensure!(tally.wrong.is_empty(), "{what}: wrong answers: {:?}", tally.wrong);
    ensure!(tally.unclear.is_empty(), "{what}: late or without words: {:?}", tally.unclear);
    ensure!(!lost || tally.errors.is_empty(), "{what}: inferences were lost");
    Ok(())
}

pub(crate) fn run(args: &Args, program: &Path) -> anyhow::Result<()> {
    ensure!(sees_a_planted_repeat(), "the record of the wire sees nothing");
    let limits = DeploymentLimits { round: 5, inference: 15, load: 30, ..DeploymentLimits::default() };
    let mut site = Site::start(program, &MODELS, args.clients, limits, Wire::Relayed)?;
    let ended = trial(args, &mut site, limits);
    if ended.is_err() {
        for node in &site.nodes {
            eprintln!("--- {}\n{}", node.name, node.tail());
        }
    }
    ended
}

fn trial(args: &Args, site: &mut Site, limits: DeploymentLimits) -> anyhow::Result<()> {
    site.load(args.over)?;
    let expected =
        site.models.iter().map(|model| simulated(model, IMAGES)).collect::<anyhow::Result<Vec<_>>>()?;
    let users = site.clients(args.clients)?;
    let (connect, patience) = (connecting(&users, args.over), deadline(limits));
    let never = AtomicBool::new(false);
    let work = |site: &Site, quota: &[usize], enough: &AtomicBool| {
        let (expected, connect) = (&expected[..], &connect as _);
        Work { site, expected, connect, clients: args.clients, patience }.run(quota, enough)
    };
    let started = Instant::now();
    let calm = work(site, &args.inferences, &never);
    judge("without faults", &calm, true)?;
    println!("  in {:.1} s", started.elapsed().as_secs_f64());

    // Now nodes fail, until it is enough.
    let (over, faults) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut dice = Dice(args.seed);
    let models = site.models.len();
    // The driver has the nodes, the clients the rest.
    let nodes = std::mem::take(&mut site.nodes);
    let mut driven = Driven { nodes, error: None };
    let stormy = std::thread::scope(|scope| {
        let driver = scope.spawn(|| {
            let until = Instant::now() + Duration::from_secs(args.seconds);
            while Instant::now() < until && driven.error.is_none() {
                let (node, fault) = (dice.below(4) as usize, FAULTS[dice.below(4) as usize]);
                let lasts = Duration::from_millis(300 + dice.below(1700));
                println!("  {}: {fault:?}, {} ms", driven.nodes[node].name, lasts.as_millis());
                driven.fail(node, fault, lasts);
                faults.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1000 + dice.below(2000)));
            }
            over.store(true, Ordering::Relaxed);
        });
        let tally = work(site, &vec![usize::MAX >> 24; models], &over);
        drop(driver);
        tally
    });
    site.nodes = driven.nodes;
    if let Some(error) = driven.error {
        return Err(error);
    }
    let faults = faults.into_inner();
    judge(&format!("while nodes failed {faults} times"), &stormy, false)?;
    ensure!(faults > 0, "no node failed");
    served_again(args, site, &mut dice, &work)?;
    let (seen, repeats) = site.record.found();
    let frames = site.record.frames.load(Ordering::Relaxed);
    println!("on the wire: {frames} frames, {seen} masked values and seeds, {} of them twice", repeats.len());
    ensure!(repeats.is_empty(), "masks repeat: {repeats:?}");
    // Whatever was answered went over a wire that is looked at.
    ensure!(site.record.inputs() >= calm.right + stormy.right, "some inputs were not seen");
    Ok(())
}

/// Nodes that a driver has.
struct Driven {
    nodes: Vec<Node>,
    error: Option<anyhow::Error>,
}

impl Driven {
    fn fail(&mut self, node: usize, fault: Fault, lasts: Duration) {
        if let Err(error) = fail(&mut self.nodes[node], fault, lasts) {
            self.error = Some(error);
        }
    }
}

/// After a last fault of every kind the models are served again in time, without their owner.
fn served_again(
    args: &Args,
    site: &mut Site,
    dice: &mut Dice,
    work: &dyn Fn(&Site, &[usize], &AtomicBool) -> Tally,
) -> anyhow::Result<()> {
    let never = AtomicBool::new(false);
    let mut late = Vec::new();
    for fault in FAULTS {
        let node = dice.below(4) as usize;
        fail(&mut site.nodes[node], fault, Duration::from_millis(1500))?;
        let started = Instant::now();
        let tally = work(site, &[1, 1], &never);
        let elapsed = started.elapsed().as_secs_f64();
        println!("  {} after {fault:?}: served again within {elapsed:.2} s", site.nodes[node].name);
        judge("  after it", &tally, false)?;
        if elapsed > args.within {
            late.push(format!("{fault:?} of {}: {elapsed:.2} s", site.nodes[node].name));
        }
    }
    match late.is_empty() {
        true => Ok(()),
        false => bail!("not served within {} s: {late:?}", args.within),
    }
}
