//! Operations that find hidden values outside what a plan was made for.
//!
//! Where it stands: behind the planner. A plan is made for values inside borders: the windows of
//! comparisons, what polynomials are fed, the bounds of truncations. A value beyond is computed
//! wrongly, and nobody sees it. So operations are added at the end of the plan that compute one
//! bit: whether there was such a value. It is revealed with the output, to receivers only. Why this
//! finds every one is in `docs/security.md`, section 26.
//!
//! Of each value that earlier layers do not keep inside its border, squares are summed over groups,
//! and each sum is compared with the square of the border: a single value beyond its
//! border makes its sum larger than that. Where squares would not fit, those of the value with low
//! bits dropped are taken: what the plan drops them for anyway, or a truncation of its own. Groups
//! are as large as calibration allows, so that values inside make no sum that large. The bits are
//! added up, and the last comparison says whether the sum is 0.
//!
//! Outputs are looked at only where values inside could add up to outputs that do not fit.

use amicus_field::{LimbVec, Limbs, SumPool2d};
use amicus_plan::{
    Compare, Link, Op, OpKind, Part, Plan, Printable, ScaleBits, Select, Truncate, ValueId, quantize_input,
    values::{MAX_DIGITS, MAX_WINDOW},
};
use rayon::prelude::*;
use serde::Serialize;
use std::fmt;

use crate::compare;
use crate::compile::Compiled;
use crate::error::ModelError;
use crate::fake_quantisation::power_of_two;
use crate::fold::Folded;
use crate::planner::emit::largest_ell;
use crate::planner::reveal;
use crate::planner::seconds;
use crate::proof;
use crate::simulate::Simulator;

/// Bits that the border of a value keeps when the others are dropped.
const BORDER_BITS: i32 = 8;
/// Values up to `2^REACH` times their border are found surely; the plan must not depend on how far
/// weights let them get.
const REACH: i32 = 8;
/// A sum is decided within this share of its border, as a power of two.
const SHARP: u32 = 3;
/// Dealt bytes of a truncated element of one limb, and of a group, roughly.
const TRUNCATED_BYTES: f64 = 13.0;
const GROUP_BYTES: f64 = 400.0;
/// Digits of a comparison: four rounds, three, two.
const DIGITS: [u32; 3] = [12, 6, 3];
/// So many comparisons that gain nothing by fewer rounds end the search.
const ENOUGH: u32 = 3;
/// Largest group.
const LARGEST_GROUP: usize = 1 << 12;
/// Multiply-adds spent on simulating calibration samples, and samples at least and at most.
const AFFORDABLE: u64 = 2_000_000_000;
const SAMPLES: (usize, usize) = (4, 64);

/// What is looked for, for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Watch {
    /// Values with a border.
    pub borders: usize,
    /// Those of them that what the plan computes before keeps inside, whatever the weights are.
    pub inside_anyway: usize,
    /// Those that the plan looks at.
    pub watched: Vec<Watched>,
    /// Whether no value outside can go unnoticed, for inputs in range.
    pub complete: bool,
    /// Bytes dealt for it, of one inference.
    pub dealt_bytes: u64,
}

/// A value that the plan looks at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Watched {
    /// The operation that it is made for.
    pub layer: String,
    /// Elements that share a sum.
    pub group: usize,
    /// What is noticed: a value this many times its border, or less, surely; `None` where any is.
    pub up_to: Option<f64>,
}

impl fmt::Display for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Watch { borders, inside_anyway, watched, complete, dealt_bytes } = self;
        write!(
            f,
            "values outside windows, intervals and bounds: of {borders} borders {inside_anyway} are kept by the layers \
             before, {} are watched ({dealt_bytes} bytes dealt of all); ",
            watched.len()
        )?;
        if *complete {
            return write!(f, "for inputs in range none can go unnoticed");
        }
        write!(f, "some can go unnoticed if they are far outside:")?;
        for Watched { layer, up_to, .. } in watched {
            if let Some(times) = up_to {
                write!(f, " {layer} (noticed up to {times:.1} times its border)")?;
            }
        }
        Ok(())
    }
}

/// A value that must stay inside, in integers: its size must be below `limit`.
struct Border {
    layer: String,
    value: ValueId,
    limit: f64,
    /// The border is that of a truncation, far beyond what was seen.
    far: bool,
}

impl Border {
    /// Draws a border nearer that only keeps truncations right: a bit above the calibrated range, as
    /// for windows, so that values are noticed before they wrap.
    fn narrow(&mut self, sums: &Sums, margin: f64) {
        let seen = sums.samples.iter().flatten().fold(1.0, |m: f64, z| m.max(z.abs()));
        if self.far {
            self.limit = self.limit.min(power_of_two((seen * margin).log2().ceil() as u32 + 1));
        }
    }
}

/// Adds what looks for values outside to a compiled network.
///
/// # Errors
/// A plan that is not the network's, or samples that it does not take.
pub(crate) fn watch(
    compiled: &mut Compiled,
    folded: &Folded,
    samples: &[Vec<f32>],
    margin: f64,
    link: &Link,
) -> Result<(), ModelError> {
    let plan = &compiled.plan;
    let infos = plan.values()?;
    let scale = |v: ValueId| infos.get(v).scale.0;
    let mut borders = borders(plan, folded, &compiled.factors)?;
    let sums = Sums::of(compiled, &borders, samples)?;
    for (border, sums) in borders.iter_mut().zip(&sums) {
        border.narrow(sums, margin);
    }
    let mut limits = vec![f64::INFINITY; infos.count()];
    for border in &borders {
        limits[border.value.index()] = border.limit / power_of_two(scale(border.value));
    }
    // What values can reach while all with a border are inside it: for whoever knows the plan, on
    // which alone it may depend what is watched, and for the owner, who knows the weights.
    let public = proof::public_bounds(plan, &limits);
    let reach = proof::bounds(plan, &compiled.weights, Some(&limits));
    let outside = |b: &Border| public[b.value.index()] >= limits[b.value.index()];
    let mut open: Vec<(&Border, &Sums)> = borders.iter().zip(&sums).filter(|(b, _)| outside(b)).collect();
    let inside_anyway = borders.len() - open.len();
    // But for the outputs, which are looked at last, when everybody waits: what they reach is the
    // last weights' sums, of which a plan tells no more than whether they fit. Labels are looked at
    // with the others: what finds them has a border.
    let output = plan.output.value;
    let limit = power_of_two(plan.output.ell);
    let mut results = Border { layer: "output".into(), value: output, limit, far: true };
    let fit = plan.output.reveal.is_some()
        || borders.iter().any(|b| b.value == output)
        || reach[output.index()] * power_of_two(scale(output)) < limit;
    let seen = if fit { Vec::new() } else { Sums::of(compiled, std::slice::from_ref(&results), samples)? };
    if let Some(seen) = seen.first() {
        results.narrow(seen, margin);
        open.push((&results, seen));
    }
    let largest = power_of_two(largest_ell(plan.limbs));
    let mut looks = Vec::with_capacity(open.len());
    let mut watched = Vec::with_capacity(open.len());
    for (border, sums) in &open {
        let scale = scale(border.value);
        let sight = Sight::of(plan, border, scale, sums, margin)?;
        let reach = reach[border.value.index()] * power_of_two(scale);
        let all = reach < largest && reach <= sight.sees;
        let up_to = (!all).then(|| sight.sees / border.limit);
        watched.push(Watched { layer: border.layer.clone(), group: sight.group, up_to });
        looks.push(Look { layer: border.layer.clone(), value: border.value, len: sums.len, sight });
    }
    let report = Watch {
        borders: inside_anyway + open.len(),
        inside_anyway,
        complete: watched.iter().all(|w| w.up_to.is_none()),
        watched,
        dealt_bytes: 0,
    };
    let before = plan.cost(1)?.dealt_bytes;
    if looks.is_empty() {
        compiled.report.watch = Some(report);
        return Ok(());
    }
    let counts = counts(plan, &looks, link)?;
    let (watching, added) = whole(plan, &looks, &counts)?;
    let Compiled { plan, factors, report: told, .. } = compiled;
    factors.extend((0..added).map(|_| 1.0));
    // The outputs keep what they stand for.
    let last = factors.len() - 1;
    factors[last] = factors[output.index()];
    *plan = watching;
    told.cost = plan.cost(1)?;
    told.watch = Some(Watch { dealt_bytes: told.cost.dealt_bytes.saturating_sub(before), ..report });
    Ok(())
}

/// How many digits each comparison has, the last one at the end: the nearer the outputs, the more a
/// round less is worth.
fn counts(plan: &Plan, looks: &[Look], link: &Link) -> Result<Vec<u32>, ModelError> {
    let mut counts = vec![DIGITS[0]; looks.len() + 1];
    let mut least = seconds(&whole(plan, looks, &counts)?.0, link)?;
    let mut in_vain = 0;
    for at in (0..counts.len()).rev() {
        let before = least;
        for count in &DIGITS[1..] {
            let was = std::mem::replace(&mut counts[at], *count);
            // Few digits of a wide window may take larger tables than plans allow.
            let time = whole(plan, looks, &counts).and_then(|(plan, _)| seconds(&plan, link));
            match time {
                Ok(time) if time < least => least = time,
                _ => counts[at] = was,
            }
        }
        in_vain = if least < before { 0 } else { in_vain + 1 };
        if in_vain == ENOUGH {
            break;
        }
    }
    Ok(counts)
}

/// The plan with what looks, and how many operations that is.
fn whole(plan: &Plan, looks: &[Look], counts: &[u32]) -> Result<(Plan, usize), ModelError> {
    let infos = plan.values()?;
    let scale = |v: ValueId| infos.get(v).scale.0;
    let mut added = Added::new(plan, looks.len());
    let found: Vec<ValueId> =
        looks.iter().zip(counts).map(|(look, &count)| added.look(look, scale(look.value), count)).collect();
    let groups = looks.iter().map(|look| look.len.div_ceil(look.sight.group)).sum();
    let mut plan = plan.clone();
    let (Some(total), Some(&count)) = (added.sum(&found), counts.last()) else { return Ok((plan, 0)) };
    let result = plan.output.value;
    let (ops, value) = added.finish(total, (groups, count), scale(result), result);
    let more = ops.len();
    plan.output.watch = more as u32;
    plan.ops.extend(ops);
    plan.output.value = value;
    plan.values()?;
    Ok((plan, more))
}

/// The borders of all values, one each.
fn borders(plan: &Plan, folded: &Folded, factors: &[f64]) -> Result<Vec<Border>, ModelError> {
    compare::fits(folded, plan, factors)?;
    let mut all: Vec<Border> = Vec::new();
    let mut add = |layer: &str, value: ValueId, limit: f64, far: bool| {
        let known = all.iter_mut().find(|b| b.value == value);
        match known {
            Some(known) => {
                known.limit = known.limit.min(limit);
                known.far &= far;
            }
            None => all.push(Border { layer: layer.to_owned(), value, limit, far }),
        }
    };
    // What finds labels is right while the outputs are inside.
    if let Some((reveal, border)) = plan.output.reveal.as_ref().zip(reveal::border(plan)) {
        add("labels", reveal.hidden, border, false);
        add("output", reveal.hidden, power_of_two(reveal.ell), true);
    }
    for op in &plan.network().ops {
        match &op.kind {
            OpKind::Compare(c) => {
                let furthest = c.thresholds.iter().map(|t| t.unsigned_abs()).max().unwrap_or(0) as f64;
                let half = power_of_two(c.unit + c.window() - 1) - power_of_two(c.unit) / 2.0;
                let edge = (half - furthest).max(1.0);
                // Decided rightly whatever the mask; where the window is narrower than that takes,
                // unless the mask wraps, whose probability is the value's share of the modulus.
                let sure = edge - power_of_two(lacking(plan.limbs));
                add(&op.name, c.input, if sure >= edge / 2.0 { sure } else { edge }, false);
            }
            OpKind::Activation(a) => add(&op.name, a.input, power_of_two(a.ell), true),
            OpKind::Truncate(t) => add(&op.name, t.input, power_of_two(t.ell), true),
            _ => {}
        }
    }
    all.sort_by_key(|b| b.value);
    Ok(all)
}

/// Bits above what the modulus lacks to a power of two: numbers of windows that are much larger are
/// decided rightly whether a mask wraps or not.
pub(crate) fn lacking(limbs: Limbs) -> u32 {
    match limbs {
        Limbs::ONE => 6,
        Limbs::TWO => 60,
        _ => 113,
    }
}

/// Squares of calibration samples at a value with a border.
struct Sums {
    len: usize,
    /// The values of each sample as integers.
    samples: Vec<Vec<f64>>,
}

impl Sums {
    fn of(compiled: &Compiled, borders: &[Border], samples: &[Vec<f32>]) -> Result<Vec<Self>, ModelError> {
        let plan = &compiled.plan;
        let infos = plan.values()?;
        let each = plan.cost(1)?.multiply_adds.max(1);
        let affordable = usize::try_from(AFFORDABLE / each).unwrap_or(usize::MAX).clamp(SAMPLES.0, SAMPLES.1);
        let empty = |b: &Border| Sums { len: infos.get(b.value).len, samples: Vec::new() };
        let mut all: Vec<Sums> = borders.iter().map(empty).collect();
        let simulator = Simulator::new(plan, &compiled.weights)?;
        // Spread over all, which may come sorted.
        let step = samples.len().div_ceil(affordable).max(1);
        let picked: Vec<&Vec<f32>> = samples.iter().step_by(step).collect();
        let run = |sample: &&Vec<f32>| -> Result<Vec<Vec<f64>>, ModelError> {
            let input = LimbVec::from_i64(plan.limbs, &quantize_input(plan, sample)?);
            let trace = simulator.trace(&input, 1)?;
            let of = |b: &Border| trace.value(b.value).signed().into_iter().map(|z| z.as_f64()).collect();
            Ok(borders.iter().map(of).collect())
        };
        let found = picked.par_iter().map(run).collect::<Result<Vec<_>, ModelError>>()?;
        for values in found {
            all.iter_mut().zip(values).for_each(|(sums, values)| sums.samples.push(values));
        }
        Ok(all)
    }

    /// The largest sum of squares of a group, of values with `shift` bits dropped and up to
    /// `rounded` units more.
    fn largest(&self, group: usize, (shift, rounded): (u32, f64)) -> f64 {
        let unit = power_of_two(shift);
        let square = |z: &f64| ((z / unit).abs() + rounded).powi(2);
        let pool = pool(self.len, group);
        let of = |values: &Vec<f64>| {
            let mut sums = vec![0.0; self.len.div_ceil(group)];
            for (at, z) in values.iter().enumerate() {
                let place = if pool.height > 1 { at % pool.width } else { at / group };
                sums[place] += square(z);
            }
            sums.into_iter().fold(0.0, f64::max)
        };
        self.samples.iter().map(of).fold(0.0, f64::max)
    }
}

/// What is squared in place of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Squared {
    /// The value itself, or one that the plan computes by dropping bits of it.
    Known(ValueId),
    /// The value with these bits dropped.
    Dropped(u32),
}

/// How one value is looked at.
#[derive(Clone, Debug)]
struct Sight {
    squared: Squared,
    group: usize,
    /// Squares are stored times `2^raised`.
    raised: u32,
    /// A sum this large is outside, in stored integers.
    threshold: i128,
    unit: u32,
    /// Bits of the window of its comparison.
    window: u32,
    /// Values up to this size are surely found.
    sees: f64,
}

/// A value that is looked at.
#[derive(Clone, Debug)]
struct Look {
    layer: String,
    value: ValueId,
    len: usize,
    sight: Sight,
}

impl Sight {
    /// The cheapest that finds what is far outside, else the one that sees furthest.
    fn of(plan: &Plan, border: &Border, scale: u32, sums: &Sums, margin: f64) -> Result<Self, ModelError> {
        let infos = plan.values()?;
        let largest = power_of_two(largest_ell(plan.limbs));
        let dropped = (border.limit.log2().floor() as i32 - BORDER_BITS).clamp(0, scale as i32) as u32;
        let own = (Squared::Dropped(dropped), dropped, largest);
        let itself = (Squared::Known(border.value), 0, f64::INFINITY);
        let known = plan.ops.iter().enumerate().filter_map(|(at, op)| match &op.kind {
            OpKind::Truncate(t) if t.input == border.value => {
                let value = ValueId(at as u32 + 1);
                let shift = scale - infos.get(value).scale.0;
                Some((Squared::Known(value), shift, power_of_two(t.ell)))
            }
            _ => None,
        });
        let mut best: Option<(bool, f64, Sight)> = None;
        for (squared, shift, right_below) in [itself].into_iter().chain(known).chain([own]) {
            let Some(sight) =
                Sight::with(plan.limbs, border.limit, (squared, shift, right_below), sums, margin)
            else {
                continue;
            };
            let far = sight.sees >= (border.limit * 2f64.powi(REACH)).min(largest);
            let truncated = if squared == own.0 { TRUNCATED_BYTES * plan.limbs.count() as f64 } else { 0.0 };
            let bytes = sums.len as f64 * truncated + GROUP_BYTES * sums.len.div_ceil(sight.group) as f64;
            let better = |(was_far, was_bytes, was): &(bool, f64, Sight)| match (far, was_far) {
                (true, true) => bytes < *was_bytes,
                (false, false) => sight.sees > was.sees,
                (far, _) => far,
            };
            if best.as_ref().is_none_or(better) {
                best = Some((far, bytes, sight));
            }
        }
        best.map(|(_, _, sight)| sight)
            .ok_or_else(|| ModelError::data("plan", format!("nothing can look at {}", border.layer)))
    }

    /// For values below `limit`, of which `shift` bits are dropped, rightly below `right_below`;
    /// `None` where squares do not fit.
    fn with(
        limbs: Limbs,
        limit: f64,
        (squared, shift, right_below): (Squared, u32, f64),
        sums: &Sums,
        margin: f64,
    ) -> Option<Self> {
        // What is dropped may round towards the inside by a unit.
        let rounded = if shift > 0 { 1.0 } else { 0.0 };
        let border = (limit / power_of_two(shift)).floor() - rounded;
        let edge = (border * border).max(1.0);
        let unit = (edge.log2().floor() as u32).saturating_sub(SHARP);
        let raised = (lacking(limbs) + 1).saturating_sub(unit);
        let sharp = power_of_two(unit);
        let reach = (limit * 2f64.powi(REACH)).min(right_below).min(power_of_two(largest_ell(limbs)));
        let square = (reach / power_of_two(shift) + rounded).powi(2);
        let bits = |group: usize| {
            let largest = group as f64 * square + power_of_two(lacking(limbs)) / power_of_two(raised);
            (largest / sharp).log2().ceil().max(0.0) as u32 + 2
        };
        let most = limbs.bits().checked_sub(unit + raised + 1)?.min(MAX_WINDOW);
        let room = edge - sharp;
        let inside = |group: usize| margin * margin * sums.largest(group, (shift, rounded)) <= room;
        if most < SHARP + 2 {
            return None;
        }
        let mut group = 1;
        while 2 * group <= LARGEST_GROUP.min(sums.len) && inside(2 * group) && bits(2 * group) <= most {
            group *= 2;
        }
        let wanted = bits(group);
        let window = wanted.min(most).max(2);
        // What fits half the window, of a single element.
        let fits = (power_of_two(window - 2) * sharp).sqrt() * power_of_two(shift);
        let integer = |x: f64| (x as i128) << raised;
        Some(Sight {
            squared,
            group,
            raised,
            threshold: integer(edge) - (1i128 << (unit + raised) >> 1),
            unit: unit + raised,
            window,
            sees: if wanted > most { fits.min(reach) } else { reach },
        })
    }
}

/// Sums over groups of `len` elements. Neighbours are often large together, so elements of a group lie
/// as far apart as they can, where groups come out even.
fn pool(len: usize, group: usize) -> SumPool2d {
    let groups = len.div_ceil(group);
    let even = len == groups * group;
    let (height, width) = if even { (group, groups) } else { (1, len) };
    let kernel = if even { [group, 1] } else { [1, group] };
    SumPool2d { channels: 1, height, width, kernel, stride: kernel, padding: [0, 0, 0, groups * group - len] }
}

/// Bits in so many words at most, no shorter than they need be.
fn digits(bits: u32, most: u32) -> Vec<u32> {
    let (_, widest) = MAX_DIGITS;
    let least = bits.div_ceil(widest);
    let count = bits.div_ceil(2).min(most).max(least).max(1);
    (0..count).map(|i| bits / count + u32::from(i < bits % count)).collect()
}

/// Operations on their way to the end of a plan.
struct Added {
    ops: Vec<Op>,
    first: u32,
    limbs: Limbs,
    lens: Vec<usize>,
}

impl Added {
    fn new(plan: &Plan, borders: usize) -> Self {
        let infos = plan.values();
        let len = |v: usize| infos.as_ref().map_or(0, |i| i.get(ValueId(v as u32)).len);
        Added {
            ops: Vec::with_capacity(5 * borders + 3),
            first: plan.ops.len() as u32,
            limbs: plan.limbs,
            lens: (0..=plan.ops.len()).map(len).collect(),
        }
    }

    fn push(&mut self, name: &str, len: usize, kind: OpKind) -> ValueId {
        self.ops.push(Op { name: Printable::new(name).into_string(), kind });
        self.lens.push(len);
        ValueId(self.first + self.ops.len() as u32)
    }

    /// How many groups of a value are outside.
    fn look(&mut self, look: &Look, scale: u32, count: u32) -> ValueId {
        let Look { layer, len, sight, .. } = look;
        let (name, len) = (|what: &str| format!("{layer}.{what}"), *len);
        let value = match sight.squared {
            Squared::Known(value) => value,
            Squared::Dropped(0) => look.value,
            Squared::Dropped(shift) => {
                let (scale, ell) = (ScaleBits(scale - shift), largest_ell(self.limbs));
                self.push(&name("size"), len, OpKind::Truncate(Truncate { input: look.value, scale, ell }))
            }
        };
        let groups = len.div_ceil(sight.group);
        let square = Select {
            input: value,
            bits: None,
            polynomials: vec![vec![0, 0, 1i128 << sight.raised]],
            scale: ScaleBits(0),
            pool: (sight.group > 1).then(|| pool(len, sight.group)),
            base: None,
        };
        let squares = self.push(&name("squares"), groups, OpKind::Select(square));
        let compare = Compare {
            input: squares,
            thresholds: vec![sight.threshold],
            unit: sight.unit,
            digits: digits(sight.window - 1, count),
        };
        let bits = self.push(&name("outside"), groups, OpKind::Compare(compare));
        // Counts are stored in units that a wrapped mask does not reach.
        self.count(&name("count"), (squares, bits), groups, (1i128 << self.one(), 0))
    }

    /// Binary logarithm of a stored 1.
    fn one(&self) -> u32 {
        lacking(self.limbs) + 1
    }

    /// The sum of bits, each worth `one` of a scale.
    fn count(
        &mut self,
        name: &str,
        (input, bits): (ValueId, ValueId),
        len: usize,
        (one, scale): (i128, u32),
    ) -> ValueId {
        let select = Select {
            input,
            bits: Some(bits),
            polynomials: vec![vec![0], vec![one]],
            scale: ScaleBits(scale),
            pool: (len > 1).then(|| pool(len, len)),
            base: None,
        };
        self.push(name, 1, OpKind::Select(select))
    }

    /// The sum of all counts.
    fn sum(&mut self, found: &[ValueId]) -> Option<ValueId> {
        let (&first, rest) = found.split_first()?;
        let add = |sum: ValueId, &value: &ValueId| {
            let kind = OpKind::Add { left: sum, left_shift: 0, right: value, right_shift: 0 };
            self.push("values outside", 1, kind)
        };
        Some(rest.iter().fold(first, add))
    }

    /// Whether there is any, beside the result.
    fn finish(
        mut self,
        total: ValueId,
        (groups, count): (usize, u32),
        scale: u32,
        result: ValueId,
    ) -> (Vec<Op>, ValueId) {
        let unit = self.one();
        let window = (groups as f64).log2().ceil() as u32 + 3;
        let digits = digits(window - 1, count);
        let compare = Compare { input: total, thresholds: vec![1i128 << unit >> 1], unit, digits };
        let bits = self.push("any value outside", 1, OpKind::Compare(compare));
        // Where outputs are tiny their scale is so large that a 1 would not fit beside them.
        let excess = scale.saturating_sub(largest_ell(self.limbs) - 1);
        let any = self.count("outside", (total, bits), 1, (1, excess));
        let parts = vec![Part { input: result, shift: 0 }, Part { input: any, shift: scale - excess }];
        let len = self.lens[result.index()] + 1;
        let value = self.push("outputs and whether any value was outside", len, OpKind::Concat { parts });
        (self.ops, value)
    }
}
