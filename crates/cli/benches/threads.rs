//! The same arithmetic with 1 thread and with several, without links.
//!
//! `cargo bench -p amicus-cli --bench threads [-- --threads 2] [--rounds 9]`. Both sides in turns, the
//! least and the median of the rounds' medians. Then how much of the work is not done in parts, seen
//! with the parts of 16 threads done in place, and what follows for more threads (Amdahl's bound).
//!
//! Steps of inferences are what one role computes: the helper deals, a party takes its corrections in
//! and expands its seed, and goes through all rounds, and the helper checks; what others do is left out.

#![allow(missing_docs, clippy::unwrap_used)]

use amicus_cli::demo::shipped;
use amicus_field::parallel::{Workers, with_workers};
use amicus_field::{
    Argument, Conv2d, Dense, LimbVec, Limbs, LinearMap, LinearShape, PolynomialShares, Seed, Truncation,
    evaluate_shares, pack_into,
};
use amicus_model::quantize_input;
use amicus_net::shaper::Shape;
use amicus_node::with_threads;
use amicus_plan::{OpIndex, WeightId};
use amicus_protocol::affine::LayerWeights;
use amicus_protocol::check::CheckMessage;
use amicus_protocol::online::{Next, Opening, Running};
use amicus_protocol::preprocess::Outlet;
use amicus_protocol::{Parties, PartyId, ProtocolError};
use amicus_testkit::direct::{self, Loaded};
use amicus_testkit::world::Honest;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TWO: Limbs = Limbs::TWO;
/// Threads as for which work is split to see how much of it is.
const MANY: usize = 16;

/// How long something took, and how much of it in work that is done in parts, where that was looked at.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Took {
    all: Duration,
    in_parts: Duration,
}

/// Something to measure: does it so often and says how long one took, in the median.
type Work<'a> = (String, Box<dyn Fn() -> Took + Sync + 'a>);

fn median(mut times: Vec<Took>) -> Took {
    times.sort();
    times[times.len() / 2]
}

thread_local! {
    static IN_PARTS: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Splits work as for many threads and does it in place, to see how much of it is split.
struct InPlace;

impl Workers for InPlace {
    fn count(&self) -> usize {
        MANY
    }

    fn run(&self, parts: usize, work: &(dyn Fn(usize) + Sync)) {
        let started = Instant::now();
        (0..parts).for_each(work);
        IN_PARTS.set(IN_PARTS.get() + started.elapsed());
    }
}

/// Adds how long some work takes.
fn add<T>(to: &mut Took, work: impl FnOnce() -> T) -> T {
    let (started, before) = (Instant::now(), IN_PARTS.get());
    let made = work();
    to.all += started.elapsed();
    to.in_parts += IN_PARTS.get() - before;
    made
}

/// How long one of so many calls takes, after a few.
fn of_calls<T>(calls: usize, work: impl Fn() -> T) -> Took {
    (0..calls / 5 + 1).for_each(|_| drop(black_box(work())));
    let time = |_| {
        let mut took = Took::default();
        drop(add(&mut took, || black_box(work())));
        took
    };
    median((0..calls).map(time).collect())
}

fn random(label: u32, len: usize) -> LimbVec {
    Seed::from_bytes([1; 32]).stream().sample(label, TWO, len)
}

fn product<'a>(name: &str, shape: LinearShape, batch: usize, calls: usize) -> Work<'a> {
    let map = LinearMap::new(shape, &random(1, shape.weights())).unwrap();
    let x = random(2, batch * shape.inputs());
    (name.to_owned(), Box::new(move || of_calls(calls, || map.apply(&x, batch))))
}

fn kernels<'a>() -> Vec<Work<'a>> {
    let conv = |in_channels, size, out_channels| {
        LinearShape::Conv2d(Conv2d {
            in_channels,
            in_height: size,
            in_width: size,
            out_channels,
            kernel: [3; 2],
            stride: [1; 2],
            padding: [1; 4],
            dilation: [1; 2],
            groups: 1,
        })
    };
    let (degree, len) = (6, 64 << 10);
    let many = |first: u32, count: u32| (0..count).map(|k| random(first + k, len)).collect::<Vec<_>>();
    let (c, e, tag_c, tag_e) =
        (many(10, degree - 1), many(20, degree), many(30, degree - 1), many(40, degree));
    let (d, keys, truncation) = (random(1, len), random(2, len), Truncation::new(TWO, 99, 40).unwrap());
    let polynomials = move || {
        let argument = Argument { d: &d, truncation: Some(&truncation), batch: 1 };
        let [values, tags] = [(&c, &e), (&tag_c, &tag_e)].map(|(c, e)| PolynomialShares { c, e });
        of_calls(100, || evaluate_shares(argument, values, tags, &keys, &keys.get(0), true))
    };
    let dense = |inputs, outputs| LinearShape::Dense(Dense { inputs, outputs });
    vec![
        product("matrix product 256 x 1024 x 1536", dense(1024, 1536), 256, 20),
        product("matrix-vector product 4096 x 4096", dense(4096, 4096), 1, 20),
        product("convolution of AlexNet, 192 to 384 channels, 16 x 16", conv(192, 16, 384), 1, 30),
        product("the same, 8 x 8", conv(192, 8, 384), 1, 60),
        ("polynomials of degree 6 on 65,536 shares".into(), Box::new(polynomials)),
    ]
}

/// Forgets messages, and keeps their memory for the next ones, as nodes do.
#[derive(Default)]
struct Recycling(HashMap<usize, Vec<Vec<u8>>>);

impl Outlet<ProtocolError> for Recycling {
    fn memory(&mut self, bytes: usize) -> Vec<u8> {
        self.0.entry(bytes).or_default().pop().unwrap_or_else(|| vec![0; bytes])
    }

    fn send(&mut self, _: OpIndex, _: PartyId, mut body: Vec<u8>) -> Result<(), ProtocolError> {
        black_box(&mut body).fill(0);
        self.0.entry(body.len()).or_default().push(body);
        Ok(())
    }
}

/// A model at all roles of two parties, and inputs for it.
struct Model {
    name: String,
    loaded: Loaded,
    inputs: Vec<i64>,
    batch: usize,
    calls: usize,
}

impl Model {
    fn of(name: &str, batch: usize, calls: usize) -> Model {
        let model = shipped(name, Shape::local(), batch).unwrap();
        let (plan, weights) = (Arc::new(model.file.plan), model.file.weights);
        let layer = |id| LayerWeights {
            weights: weights.weights(id, plan.limbs),
            bias: weights.bias(id, plan.limbs),
        };
        let layers: Vec<_> = (0..plan.weights.len() as u32).map(WeightId).map(layer).collect();
        let loaded = direct::load(&plan, &layers, Parties::new(2).unwrap(), None).unwrap();
        let images = model.images.iter().cycle().take(batch);
        let inputs = images.flat_map(|(_, image)| quantize_input(&plan, image).unwrap()).collect();
        Model { name: format!("{name} x {batch}"), loaded, inputs, batch, calls }
    }

    fn deal(&self) -> Took {
        let outlet = RefCell::new(Recycling::default());
        // Ids that nobody takes must not run away from the others.
        let alone = direct::begin(self.loaded.helper.parties(), &mut Honest).unwrap();
        of_calls(self.calls, || {
            let keys = alone.helper.next(self.loaded.helper.epoch(), self.loaded.helper.digest()).unwrap();
            self.loaded.helper.deal::<ProtocolError>(keys, self.batch, &mut *outlet.borrow_mut()).unwrap()
        })
    }

    /// How long the last party takes to prepare, the first to prepare, the first to go through the
    /// rounds, and the helper to check, once.
    fn once(&self) -> [Took; 4] {
        let helper = &self.loaded.helper;
        let keys = self.loaded.session.helper.next(helper.epoch(), helper.digest()).unwrap();
        let scope = keys.scope();
        let mut corrections = Vec::new();
        let outlet = &mut |op: OpIndex, to: PartyId, body: Vec<u8>| {
            corrections.push((op, to, body));
            Ok(())
        };
        let dealt = helper.deal::<ProtocolError>(keys, self.batch, outlet).unwrap();
        let mut prepared = [Took::default(); 2];
        let mut running: Vec<Running> = Vec::new();
        for (at, epoch) in self.loaded.parties.iter().enumerate() {
            let session = &self.loaded.session.parties[at];
            let keys = session.take(scope.epoch, helper.digest(), scope.id).unwrap();
            let material = add(&mut prepared[at], || {
                let mut deal = epoch.begin_deal(keys, self.batch);
                for (op, _, body) in corrections.iter().filter(|(_, to, _)| to.index() == at) {
                    deal.correction(epoch, op.0, body).unwrap();
                }
                epoch.prepare(deal).unwrap()
            });
            // Any numbers do for times.
            let mut input = Vec::new();
            pack_into(&LimbVec::from_i64(helper.plan().limbs, &self.inputs), &mut input);
            running.push(direct::given_input(epoch, material, &input).unwrap());
        }
        let (online, messages) = self.online(running);
        let mut check = Took::default();
        add(&mut check, || helper.verify(dealt, &messages).unwrap());
        [prepared[1], prepared[0], online, check]
    }

    /// The first party's part of all rounds, and what both tell the helper.
    fn online(&self, mut running: Vec<Running>) -> (Took, Vec<CheckMessage>) {
        let mut took = Took::default();
        let parties = self.loaded.helper.parties();
        loop {
            let second = running.pop().unwrap();
            let first = running.pop().unwrap();
            let next = add(&mut took, || match first.next().unwrap() {
                Next::Open(opening) => (Some((packed(&opening), opening.collect().unwrap())), None),
                Next::Check(finished) => (None, Some(finished.messages(&[]).unwrap().0)),
            });
            let (packed, mut collecting, opening) = match (next, second.next().unwrap()) {
                ((Some((packed, collecting)), _), Next::Open(opening)) => (packed, collecting, opening),
                ((_, Some(first)), Next::Check(second)) => {
                    return (took, vec![first, second.messages(&[]).unwrap().0]);
                }
                _ => panic!("rounds of both are the same"),
            };
            let of_second = self::packed(&opening);
            let mut second = opening.collect().unwrap();
            let [one, two] = [1, 2].map(|number| parties.party(number).unwrap());
            packed.iter().for_each(|(index, body)| second.receive(one, *index, body).unwrap());
            let first = add(&mut took, || {
                of_second.iter().for_each(|(index, body)| collecting.receive(two, *index, body).unwrap());
                collecting.complete().unwrap()
            });
            running = vec![first, second.complete().unwrap()];
        }
    }

    fn works(&self) -> Vec<Work<'_>> {
        let step = |at: usize| {
            move || {
                (0..self.calls / 5 + 1).for_each(|_| _ = self.once());
                median((0..self.calls).map(|_| self.once()[at]).collect())
            }
        };
        let name = &self.name;
        vec![
            (format!("{name}: deal, helper"), Box::new(|| self.deal())),
            (format!("{name}: prepare, last party"), Box::new(step(0))),
            (format!("{name}: prepare, first party"), Box::new(step(1))),
            (format!("{name}: online, first party"), Box::new(step(2))),
            (format!("{name}: check, helper"), Box::new(step(3))),
        ]
    }
}

/// What a party sends in a round.
fn packed(opening: &Opening) -> Vec<(u32, Vec<u8>)> {
    opening.shares().iter().map(|(stage, share)| (stage.index(), share.pack())).collect()
}

/// One round on a thread of its own, with others beside it.
fn round(threads: usize, work: &(dyn Fn() -> Took + Sync)) -> Took {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| match threads {
            MANY => with_workers(Rc::new(InPlace), work),
            threads => with_threads("bench", threads, work).unwrap(),
        });
        thread.join().unwrap()
    })
}

fn main() {
    let (mut threads, mut rounds, mut only) = (2, 9, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|n| n.parse().ok()).expect("a number");
        match argument.as_str() {
            "--threads" => threads = number(),
            "--rounds" => rounds = number(),
            "--bench" => {}
            name => only = Some(name.to_owned()),
        }
    }
    let models = [
        Model::of("lenet5-mnist", 1, 60),
        Model::of("lenet5-mnist", 32, 10),
        Model::of("alexnet-cifar10", 1, 10),
        Model::of("lenet5-mnist-relu", 32, 5),
        Model::of("resnet8-cifar10-relu", 1, 10),
    ];
    let works = kernels().into_iter().chain(models.iter().flat_map(Model::works));
    println!(
        "| work | 1 thread, ms: median (least) | {threads} threads | ratio of medians | outside of parts | \
         so at most, 4 threads and 16 |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for (name, work) in works.filter(|(name, _)| only.as_ref().is_none_or(|only| name.contains(only))) {
        let sides = [1, threads];
        let mut times = [Vec::new(), Vec::new()];
        for round_number in 0..rounds {
            // A B, B A, A B, ..
            for side in [round_number % 2, 1 - round_number % 2] {
                times[side].push(round(sides[side], &*work));
            }
        }
        let ms = |took: Took| took.all.as_secs_f64() * 1e3;
        let least = times.each_ref().map(|times| ms(*times.iter().min().unwrap()));
        let middle = times.map(|times| ms(median(times)));
        let ratio = middle[0] / middle[1];
        let Took { all, in_parts } = round(MANY, &*work);
        let serial = 1.0 - in_parts.as_secs_f64() / all.as_secs_f64();
        let bound = |threads: f64| 1.0 / (serial + (1.0 - serial) / threads);
        println!(
            "| {name} | {:.3} ({:.3}) | {:.3} ({:.3}) | {ratio:.2} | {:.0}% | {:.1}, {:.1} |",
            middle[0],
            least[0],
            middle[1],
            least[1],
            100.0 * serial,
            bound(4.0),
            bound(16.0)
        );
    }
}
