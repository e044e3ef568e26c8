//! Operations that find which outputs are the largest, so that receivers get labels and no outputs.
//!
//! Where it stands: behind the planner, before what looks for values outside. Outputs are truncated
//! to some bits more than their order needs and compared exactly, with a unit of 1; so equal ones
//! are ranked by their labels, the smallest first. Only numbers of labels are revealed, and they are
//! freshly masked as every result of a selection is (`docs/security.md`, section 27).
//!
//! There are two ways. A *tournament* compares neighbours and hands on the larger number with its
//! label: few bytes, many rounds. *Groups* compare all pairs of a group and hand on its best: few
//! rounds, more bytes. The one that takes least time by the estimate is taken, of those that deal few
//! bytes unless messages travel far.

use amicus_field::{Limbs, SumPool2d};
use amicus_plan::{
    Choice, Compare, Op, OpKind, Part, Plan, Printable, Reveal, ScaleBits, Select, Truncate, ValueId,
    values::MAX_LABELS,
};
use serde::Serialize;
use std::fmt;

use crate::compile::{CompileOptions, Compiled};
use crate::error::ModelError;
use crate::fake_quantisation::power_of_two;
use crate::float::FloatExecutor;
use crate::graph::Graph;
use crate::planner::emit::largest_ell;
use crate::planner::exact::{FAR, split};
use crate::planner::seconds;
use crate::planner::watch::lacking;

/// Bits of the window that holds differences of outputs. It is for outputs up to twice the largest
/// that calibration saw, times the margin, of both signs: so two outputs are told apart if they
/// differ by about a thousandth of that largest one.
const BITS: u32 = 14;
/// Outputs this many times the calibrated range with its margin are ranked rightly.
const GUARD: f64 = 2.0;
/// Digits of a comparison, at most.
const DIGITS: [usize; 3] = [3, 6, 12];
/// Sizes of groups that are tried.
const GROUPS: [usize; 5] = [8, 16, 32, 64, 128];
/// Bytes dealt for each number that a label is chosen from, at most, where rounds are cheap.
const FEW_BYTES: u64 = 300;
/// Largest plan of labels that is looked at, in pairs that are compared.
const MOST_PAIRS: usize = 1 << 17;

/// What receivers get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Reveals {
    /// The outputs.
    #[default]
    Outputs,
    /// At every place that many labels, those of the largest outputs, the best first.
    Labels(u32),
}

/// How labels are found, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// What there is to choose from: classes and places of each output.
    pub choices: Vec<(u32, u32)>,
    /// Labels of each place.
    pub labels: u32,
    /// Size of groups all of whose pairs are compared; none for a tournament.
    pub groups: Option<usize>,
    /// Bits of outputs that are compared.
    pub bits: u32,
    /// Rounds that come on top.
    pub rounds: usize,
    /// Bytes dealt on top.
    pub dealt_bytes: u64,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Found { choices, labels, groups, bits, rounds, dealt_bytes } = self;
        write!(f, "receivers get {} and no outputs: the largest of", Count(*labels))?;
        for (at, (classes, places)) in choices.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match places {
                1 => write!(f, "{comma} {classes}")?,
                _ => write!(f, "{comma} {classes} at each of {places} places")?,
            }
        }
        match groups {
            None => write!(f, ", by a tournament")?,
            Some(size) => write!(f, ", by all pairs of groups of {size}")?,
        }
        write!(f, " on {bits} bits, {rounds} openings and {dealt_bytes} bytes dealt more")
    }
}

struct Count(u32);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => write!(f, "a label"),
            n => write!(f, "{n} labels in order"),
        }
    }
}

/// Height and width of the places of a choice, and how many classes there are.
#[derive(Clone, Copy)]
struct Extent {
    classes: usize,
    height: usize,
    width: usize,
}

impl Extent {
    fn places(self) -> usize {
        self.height * self.width
    }
}

/// Makes a compiled network reveal labels in place of its outputs.
///
/// # Errors
/// Outputs that are no classes, by name; samples that the network does not take; numbers that do not
/// fit the plan's modulus.
pub(crate) fn labels(
    compiled: &mut Compiled,
    graph: &Graph,
    samples: &[Vec<f32>],
    count: u32,
    options: &CompileOptions,
) -> Result<(), ModelError> {
    let sizes = choices(graph, count)?;
    let factor = compiled.factors[compiled.plan.output.value.index()];
    let reach = GUARD * options.margin * largest(graph, samples)? / factor;
    let before = compiled.plan.cost(1)?;
    let numbers: usize = sizes.iter().map(|s| s.classes * s.places()).sum();
    let few_bytes = before.dealt_bytes + FEW_BYTES * numbers as u64;
    let far = options.link.one_way > FAR;
    let (mut least, mut best) = ((true, f64::INFINITY), None);
    let mut refused = None;
    let ways = std::iter::once(None).filter(|_| count == 1).chain(GROUPS.map(Some));
    for (groups, digits) in ways.flat_map(|groups| DIGITS.map(|digits| (groups, digits))) {
        let most = sizes.iter().map(|s| s.classes).max().unwrap_or(0);
        // Larger groups than the one that holds all are the same again, and more pairs than that are
        // never the cheaper way.
        let again = groups.is_some_and(|g| g / 2 >= most.next_power_of_two() && g > GROUPS[0]);
        let pairs: usize = sizes.iter().map(|s| s.classes * s.places() * groups.unwrap_or(2) / 2).sum();
        let few = groups.is_some_and(|g| g < 2 * count as usize && g < most);
        if again || few || (pairs > MOST_PAIRS && best.is_some()) {
            continue;
        }
        let found = match with_labels(&compiled.plan, &sizes, reach, count, (groups, digits)) {
            Ok(found) => found,
            Err(error) => {
                refused = Some(error);
                continue;
            }
        };
        let (plan, bits) = found;
        // Many bytes come last where they save little time.
        let many = !far && plan.cost(1)?.dealt_bytes > few_bytes;
        let time = (many, seconds(&plan, options)?);
        if best.is_none() || time < least {
            (least, best) = (time, Some((plan, groups, bits)));
        }
    }
    let Some((plan, groups, bits)) = best else {
        return Err(refused.unwrap_or_else(|| ModelError::data("labels", "no way to find them")));
    };
    compiled.factors.resize(plan.ops.len() + 1, 1.0);
    compiled.plan = plan;
    let cost = compiled.plan.cost(1)?;
    compiled.report.labels = Some(Found {
        choices: sizes.iter().map(|s| (s.classes as u32, s.places() as u32)).collect(),
        labels: count,
        groups,
        bits,
        rounds: cost.rounds.saturating_sub(before.rounds),
        dealt_bytes: cost.dealt_bytes.saturating_sub(before.dealt_bytes),
    });
    compiled.report.cost = cost;
    Ok(())
}

/// What there is to choose from, output by output.
fn choices(graph: &Graph, count: u32) -> Result<Vec<Extent>, ModelError> {
    let single = [(graph.node(graph.output()).name.as_str(), graph.node(graph.output()).shape.as_slice())];
    let several: Vec<(&str, &[usize])> =
        graph.outputs().iter().map(|part| (part.name.as_str(), part.shape.as_slice())).collect();
    let outputs = if several.is_empty() { &single[..] } else { &several[..] };
    let sized = |&(name, shape): &(&str, &[usize])| {
        let total: usize = shape.iter().product();
        let row = shape.iter().copied().max().unwrap_or(0) == total;
        let sized = match *shape {
            _ if row => Extent { classes: total, height: 1, width: 1 },
            [classes, width] => Extent { classes, height: 1, width },
            [classes, height, width] => Extent { classes, height, width },
            [classes, ref rest @ ..] => Extent { classes, height: 1, width: rest.iter().product() },
            [] => Extent { classes: 0, height: 1, width: 1 },
        };
        if sized.classes < 2 {
            let reason = format!(
                "output `{name}` of shape {shape:?} has no classes to choose from: a regression has no label \
                 (reveal outputs, or choose another output)"
            );
            return Err(ModelError::node(name, reason));
        }
        if count == 0 || count as usize > sized.classes || count > MAX_LABELS {
            let most = sized.classes.min(MAX_LABELS as usize);
            let reason = format!("{count} labels of {} classes, 1 to {most} are possible", sized.classes);
            return Err(ModelError::node(name, reason));
        }
        Ok(sized)
    };
    outputs.iter().map(sized).collect()
}

/// The largest output, of either sign, on all samples.
fn largest(graph: &Graph, samples: &[Vec<f32>]) -> Result<f64, ModelError> {
    let executor = FloatExecutor::new(graph);
    let mut most = 0f64;
    for sample in samples {
        most = executor.run(sample)?.iter().fold(most, |most, x| most.max(x.abs()));
    }
    if most.is_finite() { Ok(most) } else { Err(ModelError::data("labels", "outputs that are no numbers")) }
}

/// Outputs up to this size, as integers, are ranked rightly by a plan that reveals labels.
pub(crate) fn border(plan: &Plan) -> Option<f64> {
    let reveal = plan.output.reveal.as_ref()?;
    let first = plan.ops.len() - (plan.output.watch + reveal.ops) as usize;
    let infos = plan.values().ok()?;
    let compare = plan.ops[first..].iter().find_map(|op| match &op.kind {
        OpKind::Compare(compare) => Some(compare),
        _ => None,
    })?;
    let dropped = infos.get(reveal.hidden).scale.0 - infos.get(compare.input).scale.0;
    let half = power_of_two(compare.window() - 1) - power_of_two(lacking(Limbs::ONE)) - 2.0;
    Some(half / 2.0 * power_of_two(dropped))
}

/// The plan with labels in place of its outputs, and how many bits of these are compared.
fn with_labels(
    plan: &Plan,
    sizes: &[Extent],
    reach: f64,
    count: u32,
    (groups, digits): (Option<usize>, usize),
) -> Result<(Plan, u32), ModelError> {
    let scale = plan.values()?.get(plan.output.value).scale.0;
    // Differences and what the modulus lacks to a power of two fit half the window; with more than
    // one limb a mask that wraps has a probability below 2^-50 for any number of comparisons.
    let room = power_of_two(BITS - 1) - power_of_two(lacking(Limbs::ONE)) - 2.0;
    let kept = (room / (2.0 * reach).max(f64::MIN_POSITIVE)).log2().floor();
    let kept = kept.clamp(0.0, f64::from(scale)) as u32;
    let half =
        (2.0 * reach * power_of_two(kept) + power_of_two(lacking(Limbs::ONE)) + 2.0).log2().ceil() as u32;
    let bits = half.max(1) + 1;
    if bits > plan.limbs.bits() - 2 {
        let reason = format!("differences of outputs do not fit {} limb(s)", plan.limbs.count());
        return Err(ModelError::data("labels", reason));
    }
    let mut adding = Adding { plan: plan.clone(), width: (split(bits - 1, digits), kept), lens: Vec::new() };
    let values = plan.values()?;
    adding.lens = (0..values.count()).map(|v| values.get(ValueId(v as u32)).len).collect();
    let before = plan.ops.len();
    let hidden = plan.output.value;
    let mut first = 0;
    let mut parts = Vec::with_capacity(sizes.len());
    for (number, &size) in sizes.iter().enumerate() {
        let len = size.classes * size.places();
        let own = if sizes.len() == 1 { String::new() } else { format!(" {}", number + 1) };
        let mut x = hidden;
        if sizes.len() > 1 {
            x = adding.push(
                &format!("outputs{own}"),
                len,
                OpKind::Slice { input: hidden, start: first, len },
            );
        }
        first += len;
        if kept < scale {
            let truncate = Truncate { input: x, scale: ScaleBits(kept), ell: plan.output.ell };
            x = adding.push(&format!("order{own}"), len, OpKind::Truncate(truncate));
        }
        let choosing = Choosing { own, size };
        parts.push(match groups {
            None => choosing.tournament(&mut adding, x),
            Some(group) => choosing.groups(&mut adding, x, count as usize, group),
        });
    }
    let labels = adding.join("labels", &parts);
    let mut plan = adding.plan;
    let found = plan.ops.len() - before;
    let choices = sizes.iter().map(|s| Choice { classes: s.classes as u32, places: s.places() as u32 });
    plan.output.reveal = Some(Reveal {
        hidden,
        ell: plan.output.ell,
        scale: plan.output.scale,
        ops: found as u32,
        labels: count,
        choices: choices.collect(),
    });
    plan.output.value = labels;
    plan.output.scale = ScaleBits(0);
    plan.output.ell = largest_ell(plan.limbs);
    plan.values()?;
    Ok((plan, bits))
}

/// A plan that grows.
struct Adding {
    plan: Plan,
    /// Digits of comparisons of outputs, and their scale.
    width: (Vec<u32>, u32),
    /// Lengths of its values.
    lens: Vec<usize>,
}

impl Adding {
    fn push(&mut self, name: &str, len: usize, kind: OpKind) -> ValueId {
        self.plan.ops.push(Op { name: Printable::new(name).into_string(), kind });
        self.lens.push(len);
        ValueId(self.plan.ops.len() as u32)
    }

    fn subtract(&mut self, name: &str, left: ValueId, right: ValueId) -> ValueId {
        let len = self.lens[left.index()];
        self.push(name, len, OpKind::Subtract { left, left_shift: 0, right, right_shift: 0 })
    }

    fn compare(&mut self, name: &str, compare: Compare) -> ValueId {
        let len = self.lens[compare.input.index()];
        self.push(name, len, OpKind::Compare(compare))
    }

    /// Whether each difference of two outputs is at least 0, exactly.
    fn at_least(&mut self, name: &str, input: ValueId) -> ValueId {
        let digits = self.width.0.clone();
        self.compare(name, Compare { input, thresholds: vec![0], unit: 0, digits })
    }

    fn select(&mut self, name: &str, len: usize, select: Select) -> ValueId {
        self.push(name, len, OpKind::Select(select))
    }

    /// Values one behind the other.
    fn join(&mut self, name: &str, parts: &[ValueId]) -> ValueId {
        if let [one] = parts {
            return *one;
        }
        let len = parts.iter().map(|p| self.lens[p.index()]).sum();
        let parts = parts.iter().map(|&input| Part { input, shift: 0 }).collect();
        self.push(name, len, OpKind::Concat { parts })
    }
}

/// How the labels of one choice are found. Vectors hold numbers of all places, row by row.
struct Choosing {
    own: String,
    size: Extent,
}

impl Choosing {
    fn name(&self, what: &str, level: usize) -> String {
        format!("label{} {what} {level}", self.own)
    }

    /// Some rows of a vector of `rows`.
    fn pick(&self, to: &mut Adding, name: &str, input: ValueId, rows: usize, picked: &[usize]) -> ValueId {
        if picked.len() == rows && picked.iter().enumerate().all(|(i, &row)| i == row) {
            return input;
        }
        let Extent { height, width, .. } = self.size;
        let lines = picked.iter().flat_map(|row| (0..height).map(move |y| (row * height + y) as u32));
        let kind = OpKind::Gather {
            input,
            size: [rows * height, width],
            rows: lines.collect(),
            columns: (0..width as u32).collect(),
        };
        to.push(name, picked.len() * self.size.places(), kind)
    }

    /// Sums of `each` rows one behind the other.
    fn sums(&self, rows: usize, each: usize) -> SumPool2d {
        SumPool2d {
            channels: rows / each,
            height: each,
            width: self.size.places(),
            kernel: [each, 1],
            stride: [each, 1],
            padding: [0; 4],
        }
    }

    /// The place of the largest number: neighbours are compared, the larger ones again. The left one
    /// of two wins where they are equal, and has the smaller label.
    fn tournament(&self, to: &mut Adding, outputs: ValueId) -> ValueId {
        let (mut x, mut rows, mut level, mut step) = (outputs, self.size.classes, 0, 1i128);
        let (scale, places) = (ScaleBits(to.width.1), self.size.places());
        // How far each label is above that of the first number that it was chosen from.
        let mut above: Option<ValueId> = None;
        loop {
            level += 1;
            let pairs = rows / 2;
            let len = pairs * places;
            let [lefts, rights] = [0, 1].map(|odd| (0..pairs).map(|p| 2 * p + odd).collect::<Vec<_>>());
            let last = [rows - 1];
            let left = self.pick(to, &self.name("left", level), x, rows, &lefts);
            let right = self.pick(to, &self.name("right", level), x, rows, &rights);
            let difference = to.subtract(&self.name("difference", level), left, right);
            let wins = to.at_least(&self.name("wins", level), difference);
            let chosen = match above {
                None => to.select(
                    &self.name("chosen", level),
                    len,
                    number(difference, Some(wins), vec![vec![1], vec![-1]]),
                ),
                Some(above) => {
                    let left = self.pick(to, &self.name("left chosen", level), above, rows, &lefts);
                    let right = self.pick(to, &self.name("right chosen", level), above, rows, &rights);
                    let difference = to.subtract(&self.name("chosen apart", level), left, right);
                    let polynomials = vec![vec![step], vec![-step, 1]];
                    let select = Select { base: Some(right), ..number(difference, Some(wins), polynomials) };
                    to.select(&self.name("chosen", level), len, select)
                }
            };
            if rows == 2 {
                return chosen;
            }
            let select = Select {
                base: Some(right),
                scale,
                ..number(difference, Some(wins), vec![vec![0], vec![0, 1]])
            };
            let best = to.select(&self.name("larger", level), len, select);
            (x, above) = if rows % 2 == 1 {
                // The last one waits; before the first level it has not moved.
                let waits = self.pick(to, &self.name("waits", level), x, rows, &last);
                let still = match above {
                    Some(above) => self.pick(to, &self.name("waiting", level), above, rows, &last),
                    None => {
                        let zero = number(waits, None, vec![vec![0]]);
                        to.select(&self.name("waiting", level), places, zero)
                    }
                };
                let x = to.join(&self.name("numbers", level), &[best, waits]);
                (x, Some(to.join(&self.name("labels", level), &[chosen, still])))
            } else {
                (best, Some(chosen))
            };
            rows = pairs + rows % 2;
            step *= 2;
        }
    }

    /// The places of the `count` largest numbers, best first: all pairs of a group are compared, and
    /// the best of every group go on, until there is one group.
    fn groups(&self, to: &mut Adding, outputs: ValueId, count: usize, group: usize) -> ValueId {
        let mut rows = self.size.classes;
        let mut field = Field { numbers: outputs, labels: None };
        let mut level = 0;
        loop {
            level += 1;
            let groups = rows.div_ceil(group);
            // Sizes of groups differ by one at most: the larger ones come first.
            let (size, larger) = (rows / groups, rows % groups);
            let batches = [(larger, size + 1), (groups - larger, size)];
            let (mut first, mut next) = (0, Vec::with_capacity(2));
            for (batch, (groups, size)) in batches.into_iter().enumerate() {
                if groups > 0 {
                    let run = Run { first, groups, size, rows, level: 2 * level + batch };
                    next.push((self.ranked(to, field, run, count, rows > group), groups));
                    first += groups * size;
                }
            }
            if rows <= group {
                let (Field { numbers, .. }, _) = next[0];
                return numbers;
            }
            rows = next.iter().map(|(_, groups)| groups * count).sum();
            let (numbers, labels): (Vec<_>, Vec<_>) = next.iter().map(|(f, _)| (f.numbers, f.labels)).unzip();
            let labels: Vec<ValueId> = labels.into_iter().flatten().collect();
            field = Field {
                numbers: to.join(&self.name("numbers", 2 * level), &numbers),
                labels: Some(to.join(&self.name("labels", 2 * level), &labels)),
            };
        }
    }

    /// The best of some groups of one size, group by group, best first. Of the last group there is,
    /// labels alone, in place of the numbers.
    fn ranked(&self, to: &mut Adding, field: Field, run: Run, count: usize, goes_on: bool) -> Field {
        let Run { first, groups, size, rows, level } = run;
        let places = self.size.places();
        let name = |what: &str| self.name(what, level);
        let own: Vec<usize> = (first..first + groups * size).collect();
        let x = self.pick(to, &name("numbers of"), field.numbers, rows, &own);
        let pairs: Vec<(usize, usize)> = (0..groups)
            .flat_map(|g| {
                (0..size).flat_map(move |i| (i + 1..size).map(move |j| (g * size + i, g * size + j)))
            })
            .collect();
        let all = groups * size;
        let sides =
            [0, 1].map(|side| pairs.iter().map(|p| if side == 0 { p.0 } else { p.1 }).collect::<Vec<_>>());
        let left = self.pick(to, &name("left"), x, all, &sides[0]);
        let right = self.pick(to, &name("right"), x, all, &sides[1]);
        let difference = to.subtract(&name("difference"), left, right);
        let wins = to.at_least(&name("wins"), difference);
        // Counts are stored in units that a wrapped mask does not reach.
        let unit = lacking(to.plan.limbs) + 1;
        let one = 1i128 << unit;
        let len = pairs.len() * places;
        let won = to.select(&name("won"), len, number(difference, Some(wins), vec![vec![0], vec![one]]));
        let lost = to.select(&name("lost"), len, number(difference, Some(wins), vec![vec![one], vec![-one]]));
        let both = to.join(&name("won and lost"), &[won, lost]);
        // Every number's comparisons with the others of its group.
        let mut at = vec![vec![0; size]; all];
        for (pair, &(i, j)) in pairs.iter().enumerate() {
            at[i][j % size] = pair;
            at[j][i % size] = pairs.len() + pair;
        }
        let of_each = at.iter().enumerate().flat_map(|(i, row)| {
            row.iter().enumerate().filter(move |(j, _)| *j != i % size).map(|(_, &pair)| pair)
        });
        let of_each: Vec<usize> = of_each.collect();
        let results = self.pick(to, &name("results"), both, 2 * pairs.len(), &of_each);
        let mut scores = results;
        if size > 2 {
            let pool = self.sums(of_each.len(), size - 1);
            scores = to.push(&name("scores"), all * places, OpKind::SumPool { input: results, pool });
        }
        // Whether a number has won so often that it is among the best 1, 2, ..
        let among: Vec<i128> =
            (1..=count as i128).map(|best| (size as i128 - best) * one - one / 2).collect();
        // Few rounds: there are far fewer numbers than pairs.
        let held = usize::BITS - size.leading_zeros();
        let digits = split(held, held.div_ceil(4) as usize);
        let bits = to.compare(&name("among"), Compare { input: scores, thresholds: among, unit, digits });
        // 1 times the bit of a rank less that of the one before.
        let of_rank = |rank: usize, factor: Vec<i128>| {
            let minus: Vec<i128> = factor.iter().map(|c| -c).collect();
            let mut polynomials = vec![vec![0]; count + 1];
            polynomials[rank + 1] = factor;
            if rank > 0 {
                polynomials[rank] = minus;
            }
            polynomials
        };
        let pool = self.sums(all, size);
        let labels = field.labels.map(|labels| self.pick(to, &name("labels of"), labels, rows, &own));
        let (mut numbers_of, mut labels_of) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for rank in 0..count {
            let name = |what: &str| name(&format!("{what} {}", rank + 1));
            let pooled = |input: ValueId| Select {
                pool: Some(pool),
                ..number(input, Some(bits), of_rank(rank, vec![0, 1]))
            };
            labels_of.push(match labels {
                Some(labels) => to.select(&name("label"), groups * places, pooled(labels)),
                None => {
                    let is = number(scores, Some(bits), of_rank(rank, vec![1]));
                    let is = to.select(&name("is"), all * places, is);
                    self.place(to, &name("label"), is, (first, groups, size))
                }
            });
            if goes_on {
                let select = Select { scale: ScaleBits(to.width.1), ..pooled(x) };
                numbers_of.push(to.select(&name("number"), groups * places, select));
            }
        }
        // By group, then by rank.
        let order: Vec<usize> =
            (0..groups).flat_map(|g| (0..count).map(move |rank| rank * groups + g)).collect();
        let mut by_group = |what: &str, of: &[ValueId]| {
            let joined = to.join(&name(&format!("{what} by rank")), of);
            self.pick(to, &name(what), joined, order.len(), &order)
        };
        let labels = by_group("labels", &labels_of);
        if goes_on {
            Field { numbers: by_group("numbers", &numbers_of), labels: Some(labels) }
        } else {
            Field { numbers: labels, labels: None }
        }
    }

    /// The label of the number of every group that has a 1, the others having 0.
    fn place(
        &self,
        to: &mut Adding,
        name: &str,
        is: ValueId,
        (first, groups, size): (usize, usize, usize),
    ) -> ValueId {
        let places = self.size.places();
        let all = groups * size;
        // Factors are 1 at least, so a label is counted once too often, and once less.
        let rows: Vec<u32> = (0..all).map(|row| (first + row + 1) as u32).collect();
        let weighed = to.push(
            &format!("{name} weighed"),
            all * places,
            OpKind::Weigh { input: is, rows, columns: vec![1; places] },
        );
        let pool = self.sums(all, size);
        let sum = |to: &mut Adding, what: &str, input: ValueId| {
            to.push(&format!("{name} {what}"), groups * places, OpKind::SumPool { input, pool })
        };
        let (next, one) = (sum(to, "next", weighed), sum(to, "one", is));
        to.subtract(name, next, one)
    }
}

/// Numbers that are ranked, and their labels where places do not tell them.
#[derive(Clone, Copy)]
struct Field {
    numbers: ValueId,
    labels: Option<ValueId>,
}

/// Groups of one size: their first row of all rows.
struct Run {
    first: usize,
    groups: usize,
    size: usize,
    rows: usize,
    level: usize,
}

/// A selection of scale 0, with neither pool nor base.
fn number(input: ValueId, bits: Option<ValueId>, polynomials: Vec<Vec<i128>>) -> Select {
    Select { input, bits, polynomials, scale: ScaleBits(0), pool: None, base: None }
}
