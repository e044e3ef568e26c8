//! Clients that ask at the same time, each answer held to the simulator.

use super::site::{Model, Over, Site, User};
use amicus::deployment::DeploymentLimits;
use amicus::https::HttpsClient;
use amicus::model::simulate::Simulator;
use amicus::model::{argmax, quantize_input, relative_error};
use amicus::{Client, Expected, Plan};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How far an answer may be from the simulator's: roundings of the secure run are random.
const CLOSE: f64 = 0.02;
/// Rest of a client that got an error.
const REST: Duration = Duration::from_millis(50);

/// Somebody who asks for one inference at a time, over whatever way to the nodes.
pub(crate) trait Asker: Send {
    /// The network's outputs, or why there are none.
    fn ask(&mut self, image: &[f32]) -> Result<Vec<f64>, String>;
}

/// A client's connections, one for each model.
pub(crate) type Askers = Vec<Option<Box<dyn Asker>>>;

/// A way to the nodes: connects a client, for a model.
pub(crate) type Connect<'a> = &'a (dyn Fn(usize, &Model) -> Result<Box<dyn Asker>, String> + Sync);

struct Framed(Client);

impl Asker for Framed {
    fn ask(&mut self, image: &[f32]) -> Result<Vec<f64>, String> {
        self.0.infer(image).map(|answer| answer.logits().to_vec()).map_err(|error| error.to_string())
    }
}

struct Tokened(HttpsClient);

impl Asker for Tokened {
    fn ask(&mut self, image: &[f32]) -> Result<Vec<f64>, String> {
        self.0.infer(image).map(|answer| answer.logits().to_vec()).map_err(|error| error.to_string())
    }
}

/// The clients of a site, over nodes' own ports or over their public ones.
pub(crate) fn connecting(
    users: &[User],
    over: Over,
) -> impl Fn(usize, &Model) -> Result<Box<dyn Asker>, String> + Sync + use<'_> {
    move |number, model| {
        let User { deployment, identity, tokens } = &users[number];
        let plan: Plan = model.file.plan.clone();
        let connected: Result<Box<dyn Asker>, amicus::Error> = match over {
            Over::Frames => Client::connect(deployment, Arc::clone(identity), plan, Expected::Any)
                .map(|client| Box::new(Framed(client)) as _),
            Over::Https => HttpsClient::connect(deployment, tokens, plan, Expected::Any)
                .map(|client| Box::new(Tokened(client)) as _),
        };
        connected.map_err(|error| error.to_string())
    }
}

/// What the simulator says of every image of a model.
pub(crate) fn simulated(model: &Model, images: usize) -> anyhow::Result<Vec<Vec<f64>>> {
    let simulator = Simulator::new(&model.file.plan, &model.file.weights)?;
    let of = |numbers: &[f32]| -> anyhow::Result<Vec<f64>> {
        let plan = &model.file.plan;
        let input = amicus::field::LimbVec::from_i64(plan.limbs, &quantize_input(plan, numbers)?);
        Ok(simulator.outputs(&input, 1)?.logits())
    };
    model.images.iter().take(images).map(|image| of(&image.numbers)).collect()
}

/// What clients saw.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) right: usize,
    pub(crate) wrong: Vec<String>,
    /// Errors by their first words.
    pub(crate) errors: BTreeMap<String, usize>,
    /// Errors that came too late, or that say nothing.
    pub(crate) unclear: Vec<String>,
    /// The largest distance from the simulator.
    pub(crate) farthest: f64,
    /// The longest time until an error.
    pub(crate) latest: Duration,
    /// Seconds until every answer.
    pub(crate) times: Vec<f64>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.right += other.right;
        self.wrong.extend(other.wrong);
        self.unclear.extend(other.unclear);
        self.times.extend(other.times);
        other.errors.into_iter().for_each(|(words, count)| *self.errors.entry(words).or_default() += count);
        self.farthest = self.farthest.max(other.farthest);
        self.latest = self.latest.max(other.latest);
    }

    pub(crate) fn failed(&self) -> usize {
        self.errors.values().sum()
    }
}

/// Until when an inference has ended, one way or another: that of a client for its ticket and for
/// the outcome, by the limits of the cluster, and a connection before.
pub(crate) fn deadline(limits: DeploymentLimits) -> Duration {
    let DeploymentLimits { round, inference, load, .. } = limits;
    let outcome = inference + 3 * round;
    Duration::from_secs(u64::from(2 * load + 2 * outcome + 30))
}

/// What is asked: how many inferences of each model, or until somebody says that it is enough.
pub(crate) struct Work<'a> {
    pub(crate) site: &'a Site,
    pub(crate) expected: &'a [Vec<Vec<f64>>],
    pub(crate) connect: Connect<'a>,
    pub(crate) clients: usize,
    pub(crate) patience: Duration,
}

impl Work<'_> {
    /// All clients connected for a model, each with an answer.
    pub(crate) fn connected(&self, model: usize) -> anyhow::Result<Vec<Askers>> {
        let of = &self.site.models[model];
        std::thread::scope(|scope| {
            let connect = |number| {
                let mut asker = (self.connect)(number, of)?;
                asker.ask(&of.images[0].numbers)?;
                Ok::<_, String>(vec![Some(asker)])
            };
            let threads: Vec<_> =
                (0..self.clients).map(|number| scope.spawn(move || connect(number))).collect();
            let all = threads.into_iter().map(|thread| thread.join().expect("no client panics"));
            all.map(|asker| asker.map_err(anyhow::Error::msg)).collect()
        })
    }

    /// All clients ask until `quota` of each model are answered, or `enough` is set.
    pub(crate) fn run(&self, quota: &[usize], enough: &AtomicBool) -> Tally {
        let mut none: Vec<Askers> = (0..self.clients).map(|_| quota.iter().map(|_| None).collect()).collect();
        self.run_with(quota, enough, &mut none)
    }

    /// [`Work::run`] by clients that may be connected already.
    pub(crate) fn run_with(&self, quota: &[usize], enough: &AtomicBool, askers: &mut [Askers]) -> Tally {
        let taken: Vec<AtomicUsize> = quota.iter().map(|_| AtomicUsize::new(0)).collect();
        let mut all = Tally::default();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..)
                .zip(askers)
                .map(|(number, askers)| {
                    let (taken, work) = (&taken, &*self);
                    scope.spawn(move || work.client((number, askers), quota, taken, enough))
                })
                .collect();
            for thread in threads {
                all.add(thread.join().expect("no client panics"));
            }
        });
        all
    }

    fn client(
        &self,
        (number, askers): (usize, &mut Askers),
        quota: &[usize],
        taken: &[AtomicUsize],
        enough: &AtomicBool,
    ) -> Tally {
        let mut tally = Tally::default();
        while !enough.load(Ordering::Relaxed) {
            // Models by turns: whichever has most of its share left.
            let left = |model: &usize| {
                let taken = taken[*model].load(Ordering::Relaxed).min(quota[*model]);
                (quota[*model] - taken) * 1_000_000 / quota[*model].max(1)
            };
            let Some(model) = (0..quota.len()).filter(|m| left(m) > 0).max_by_key(left) else { break };
            let turn = taken[model].fetch_add(1, Ordering::Relaxed);
            if turn >= quota[model] {
                continue;
            }
            if !self.ask(number, model, turn, &mut askers[model], &mut tally) {
                // Asked again: nothing is lost.
                taken[model].fetch_sub(1, Ordering::Relaxed);
                std::thread::sleep(REST);
            }
        }
        tally
    }

    /// Asks once; whether there was an answer.
    fn ask(
        &self,
        number: usize,
        model: usize,
        turn: usize,
        asker: &mut Option<Box<dyn Asker>>,
        tally: &mut Tally,
    ) -> bool {
        let (started, of) = (Instant::now(), &self.site.models[model]);
        let expected = &self.expected[model];
        let image = turn % expected.len();
        let mut attempt = || -> Result<Vec<f64>, String> {
            if asker.is_none() {
                *asker = Some((self.connect)(number, of)?);
            }
            asker.as_mut().map_or_else(|| Err(String::new()), |asker| asker.ask(&of.images[image].numbers))
        };
        let answer = attempt();
        let elapsed = started.elapsed();
        match answer {
            Ok(outputs) => {
                let error = relative_error(&outputs, &expected[image]);
                tally.farthest = tally.farthest.max(error);
                tally.times.push(elapsed.as_secs_f64());
                if error <= CLOSE && argmax(&outputs) == argmax(&expected[image]) {
                    tally.right += 1;
                } else {
                    tally.wrong.push(format!("{}, image {image}: {error}", of.name));
                }
                true
            }
            Err(words) => {
                *asker = None;
                tally.latest = tally.latest.max(elapsed);
                if words.trim().is_empty() || elapsed > self.patience {
                    tally.unclear.push(format!("after {elapsed:?}: {words:?}"));
                }
                let short: String = words.chars().take(160).collect();
                *tally.errors.entry(short).or_default() += 1;
                false
            }
        }
    }
}
