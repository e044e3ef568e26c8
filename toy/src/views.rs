//! What corrupt roles see, over all values of the randomness they do not know.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use amicus_field::oracle::{Draw, Oracle, Origin};
use amicus_plan::Stage;
use amicus_protocol::label::LABEL_BYTES;
use amicus_protocol::wire::Kind;

use crate::run::{Log, Message, Role};

/// How often each view comes up when everything enumerated is walked through once.
#[derive(PartialEq, Eq, Debug)]
pub struct Distribution {
    /// Views by a hash of 128 bits.
    counts: HashMap<[u64; 2], u64>,
    /// All runs.
    pub runs: u64,
    /// Elements that were enumerated.
    pub enumerated: usize,
}

impl Distribution {
    /// The number of different views.
    pub fn views(&self) -> usize {
        self.counts.len()
    }
}

/// What a role did not draw or get the seed of, and which of it to walk through.
#[derive(Clone, Copy)]
pub struct Enumeration<'a> {
    /// Randomness that is drawn before, and what decides about everything that is not walked
    /// through.
    pub start: &'a Oracle,
    /// Messages before, from which corrupt roles know seeds.
    pub before: &'a Log,
    /// Who is corrupt.
    pub corrupt: &'a [Role],
    /// Draws that are walked through, of those that corrupt roles do not know.
    pub free: &'a dyn Fn(&Oracle, &Draw) -> bool,
}

/// Everything that corrupt roles do not know.
pub fn unknown(_: &Oracle, _: &Draw) -> bool {
    true
}

/// The purpose of the label of a draw's stream.
pub fn purpose(oracle: &Oracle, draw: &Draw) -> Option<u8> {
    match oracle.origin(&draw.seed) {
        Some(Origin::Derived { label, .. }) if label.len() == LABEL_BYTES => label.first().copied(),
        // A seed derived once more, as that of the zero shares of a check.
        Some(Origin::Derived { parent, .. }) => match oracle.origin(parent) {
            Some(Origin::Derived { label, .. }) => label.first().copied(),
            _ => None,
        },
        _ => None,
    }
}

impl Enumeration<'_> {
    /// Runs the protocol for every value of what is walked through, and counts what corrupt roles
    /// see, the result of `run` included.
    ///
    /// # Panics
    /// When runs do not draw the same number of elements.
    pub fn distribution(&self, run: impl Fn(&mut Log) -> u64) -> Distribution {
        let mut counts = HashMap::new();
        let (runs, enumerated) = self.each(&run, |log, result| {
            let seen = view(log, self.corrupt);
            let hash = |salt: u64| {
                let mut hasher = DefaultHasher::new();
                (salt, &seen, result).hash(&mut hasher);
                hasher.finish()
            };
            *counts.entry([hash(1), hash(2)]).or_insert(0) += 1;
        });
        Distribution { counts, runs, enumerated }
    }

    /// The number of runs, of all, whose result is not 0.
    ///
    /// # Panics
    /// When [`distribution`](Self::distribution) does.
    pub fn count(&self, run: impl Fn(&mut Log) -> u64) -> (u64, u64) {
        let mut count = 0;
        let (runs, _) = self.each(&run, |_, result| count += u64::from(result != 0));
        (count, runs)
    }

    /// The number of elements that would be walked through.
    pub fn size(&self, run: impl Fn(&mut Log) -> u64) -> usize {
        self.probe(&run).0.len()
    }

    /// A run with this randomness.
    fn execute(&self, oracle: Oracle, run: &impl Fn(&mut Log) -> u64) -> (Oracle, Log, u64) {
        let mut log = Log::default();
        let (result, oracle) = oracle.run(|| run(&mut log));
        (oracle, log, result)
    }

    /// What is walked through, as (number of the draw, its prime), and the number of all draws.
    fn probe(&self, run: &impl Fn(&mut Log) -> u64) -> (Vec<(usize, u64)>, usize) {
        let (oracle, log, _) = self.execute(self.start.clone(), run);
        let known = known_seeds(&oracle, [self.before, &log], self.corrupt);
        let new = oracle.draws().enumerate().skip(self.start.draws().len());
        let unknown = new.filter(|(_, (draw, _))| !known.knows(&oracle, draw) && (self.free)(&oracle, draw));
        (unknown.map(|(index, (_, p))| (index, p)).collect(), oracle.draws().len())
    }

    /// Walks through what is free until corrupt roles see `before` of input and openings before
    /// operation `op`, and with `dealt` of what was dealt for them, or just once; returns what they
    /// see, and the randomness with these values fixed.
    ///
    /// # Panics
    /// When they never see it.
    pub fn leading_to(
        &self,
        run: impl Fn(&mut Log) -> u64,
        op: u32,
        before: Option<&Seen>,
        dealt: bool,
    ) -> (Seen, Oracle) {
        let (points, _) = self.probe(&run);
        let mut wheels = Wheels::new(&points);
        let (mut oracle, beginning) = self.start.clone().repeatable();
        loop {
            wheels.fix(&mut oracle);
            let (after, log, _) = self.execute(oracle, &run);
            oracle = after;
            oracle.undo(&beginning);
            let early = |m: &&Message| {
                m.kind == Kind::Input
                    || (m.kind == Kind::Opening && Stage::from_index(m.index).op.0 < op)
                    || (dealt && m.kind == Kind::DealCorrection && m.index < op)
            };
            let early = Log(log.0.iter().filter(early).cloned().collect());
            let seen = view(&early, self.corrupt);
            if before.is_none_or(|before| *before == seen) {
                let mut start = self.start.clone();
                wheels.fix(&mut start);
                return (seen, start);
            }
            assert!(wheels.turn(), "no randomness leads to this view");
        }
    }

    /// Calls `visit` with every run; returns the number of runs and of enumerated elements.
    fn each(&self, run: &impl Fn(&mut Log) -> u64, mut visit: impl FnMut(&Log, u64)) -> (u64, usize) {
        let (points, total) = self.probe(run);
        let mut wheels = Wheels::new(&points);
        let (mut oracle, beginning) = self.start.clone().repeatable();
        let mut runs = 0;
        loop {
            wheels.fix(&mut oracle);
            let (after, log, result) = self.execute(oracle, run);
            assert_eq!(after.draws().len(), total, "a run that draws more or less than the others");
            visit(&log, result);
            oracle = after;
            oracle.undo(&beginning);
            runs += 1;
            if !wheels.turn() {
                return (runs, points.len());
            }
        }
    }
}

/// The values of what is walked through, as an odometer.
struct Wheels(Vec<(usize, u64, u64)>);

impl Wheels {
    fn new(points: &[(usize, u64)]) -> Wheels {
        Wheels(points.iter().map(|&(index, p)| (index, p, 0)).collect())
    }

    /// Fixes these values.
    fn fix(&self, oracle: &mut Oracle) {
        self.0.iter().for_each(|&(index, _, value)| oracle.fix(index, value));
    }

    /// Goes on to the next values; `false` after the last.
    fn turn(&mut self) -> bool {
        self.0.iter_mut().any(|(_, p, value)| {
            *value = (*value + 1) % *p;
            *value > 0
        })
    }
}

/// What was seen: kinds and bodies of messages.
pub type Seen = Vec<(Kind, Vec<u8>)>;

/// Every message that a corrupt role gets from an honest one. For the helper, hashes under keys
/// that it does not have are replaced by their order: it learns which are equal.
fn view(log: &Log, corrupt: &[Role]) -> Seen {
    let mut digests: Vec<Vec<u8>> = Vec::new();
    let mut seen = Vec::new();
    for m in log.0.iter().filter(|m| corrupt.contains(&m.to) && !corrupt.contains(&m.from)) {
        let mut body = m.body.clone();
        if m.to == Role::Helper && matches!(m.kind, Kind::LoadHash | Kind::Check) {
            let hashes = if m.kind == Kind::LoadHash { 1 } else { m.index };
            let tail = body.split_off(body.len() - 32 * hashes as usize);
            for digest in tail.chunks(32) {
                let known = digests.iter().position(|d| d == digest);
                body.push(known.unwrap_or(digests.len()) as u8);
                if known.is_none() {
                    digests.push(digest.to_vec());
                }
            }
        }
        seen.push((m.kind, body));
    }
    seen
}

/// Seeds that corrupt roles know.
struct Known {
    seeds: HashSet<[u8; 32]>,
    /// Whether they know keys that parties agree on: one of every two parties is corrupt.
    agreed: bool,
}

/// Every seed in a message to or from a corrupt role.
fn known_seeds(oracle: &Oracle, logs: [&Log; 2], corrupt: &[Role]) -> Known {
    let all = logs.into_iter().flat_map(|log| &log.0);
    let to_or_from = all.filter(|m| corrupt.contains(&m.to) || corrupt.contains(&m.from));
    let chunks = to_or_from.flat_map(|m| m.body.as_chunks::<32>().0);
    let seeds = chunks.filter(|chunk| oracle.origin(chunk).is_some()).copied().collect();
    Known { seeds, agreed: corrupt.iter().any(|r| matches!(r, Role::Party(_))) }
}

impl Known {
    /// Whether they know the stream of a draw: its seed, or one that it is derived from.
    fn knows(&self, oracle: &Oracle, draw: &Draw) -> bool {
        let mut seed = draw.seed;
        loop {
            if self.seeds.contains(&seed) {
                return true;
            }
            match oracle.origin(&seed) {
                Some(Origin::Derived { parent, .. }) => seed = *parent,
                Some(Origin::Fresh) => return false,
                None => return self.agreed,
            }
        }
    }
}
