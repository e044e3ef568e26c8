//! Operations that find hidden values outside what a plan was made for.
//!
//! Where it stands: behind the planner. A plan is made for values inside borders: the windows of
//! comparisons, what polynomials are fed, the bounds of truncations. A value beyond is computed
//! wrongly, and nobody sees it. So operations are added at the end of the plan that compute one
//! bit: whether there was such a value. It is revealed with the output, to receivers only. Why this
//! finds every one is in `docs/security.md`, section 26.
//!
//! Of each value that earlier layers do not keep inside its border, squares are summed over groups:
//! a single value beyond its border makes its sum at least the square of the border. Where squares
//! would not fit, those of the value with low bits dropped are taken: what the plan drops them for
//! anyway, or a truncation of its own. Of the sums so many bits are dropped that those of values
//! inside become 0 or 1, and random numbers say whether any is neither, and no more. Groups are as
//! large as calibration allows, so that values inside make no sum that large.
//!
//! Maxima compare differences of numbers of one value; where windows overlap there are more of these
//! than numbers. While all numbers are inside half of what differences may be, these are inside, too:
//! the numbers are looked at in place of them where that is cheaper.
//!
//! Outputs are looked at only where values inside could add up to outputs that do not fit.

use amicus_field::Limbs;
use amicus_plan::{
    Op, OpKind, Outside, Part, Plan, Printable, ScaleBits, Select, Truncate, ValueId, values::MAX_NUMBERS,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

mod sight;

use sight::{Sight, Squared, Sums, pool};

use crate::compare;
use crate::compile::Compiled;
use crate::error::ModelError;
use crate::fake_quantisation::power_of_two;
use crate::fold::Folded;
use crate::planner::emit::largest_ell;
use crate::planner::reveal;
use crate::proof;

/// Borders of numbers that are looked at in place of differences are at least this many times the
/// calibrated range with its margin.
const ROOM: f64 = 2.0;
/// Outputs may be rounded to so many bits later.
const FEWEST_BITS: u32 = 5;
/// Share of a border that differences of rounded numbers may be short of.
const SLACK: f64 = 1e-6;
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
        if self.far {
            let reach = sums.largest_number().max(1.0) * margin;
            self.limit = self.limit.min(power_of_two(reach.log2().ceil() as u32 + 1));
        }
    }
}

/// Numbers that maxima compare, where it is cheaper to look at these than at differences of them, with
/// borders that keep the differences inside; adds these to the limits.
fn compared_numbers(
    compiled: &Compiled,
    borders: &[(Border, Sums)],
    limits: &mut [f64],
    samples: &[Vec<f32>],
    (margin, bytes): (f64, &impl Fn(&Border, &Sums) -> f64),
) -> Result<Vec<(Border, Sums)>, ModelError> {
    let plan = &compiled.plan;
    let infos = plan.values()?;
    let sources = sources(plan);
    let public = proof::bounds_inside(plan, None, limits);
    let of = |b: &Border, all: &[f64]| all[b.value.index()];
    let open = borders.iter().filter(|(b, _)| of(b, &public) >= of(b, limits));
    let mut found = Vec::new();
    let mut members: BTreeMap<ValueId, Vec<&(Border, Sums)>> = BTreeMap::new();
    open.for_each(|open| members.entry(sources[open.0.value.index()]).or_default().push(open));
    for (source, members) in members {
        let Some(op) = source.op().filter(|_| limits[source.index()].is_infinite()) else { continue };
        // How much of its own border each reaches while numbers are inside a small one.
        let least = members.iter().map(|(b, _)| of(b, limits)).fold(f64::INFINITY, f64::min);
        limits[source.index()] = least / 4.0;
        let small = proof::bounds_inside(plan, None, limits);
        let largest = |b: &Border| least / 4.0 * of(b, limits) / of(b, &small) * (1.0 - SLACK);
        let unit = power_of_two(infos.get(source).scale.0);
        let mut numbers = Border { layer: plan.op(op).name.clone(), value: source, limit: 0.0, far: false };
        let Some(sums) = Sums::of(compiled, std::slice::from_ref(&numbers), samples)?.pop() else { continue };
        let needed = ROOM * margin * sums.largest_number().max(1.0);
        let all =
            |members: &mut dyn Iterator<Item = &(Border, Sums)>| members.map(|(b, s)| bytes(b, s)).sum();
        let (mut least, mut best): (f64, f64) = (all(&mut members.iter().copied()), f64::INFINITY);
        // Those of the others that reach less are kept inside as well.
        for limit in members.iter().map(|(b, _)| largest(b)).filter(|limit| limit * unit >= needed) {
            numbers.limit = (limit * unit).floor();
            let others: f64 = all(&mut members.iter().copied().filter(|(b, _)| largest(b) < limit));
            let bytes = others + bytes(&numbers, &sums);
            if bytes < least {
                (least, best) = (bytes, numbers.limit);
            }
        }
        numbers.limit = best;
        limits[source.index()] = best / unit;
        if best.is_finite() {
            found.push((numbers, sums));
        }
    }
    Ok(found)
}

/// The value whose numbers each value consists of: those themselves, larger ones of two of them,
/// or their differences.
fn sources(plan: &Plan) -> Vec<ValueId> {
    let mut all = vec![ValueId::INPUT];
    for (index, op) in plan.indexed_ops() {
        let same = |[left, right]: [ValueId; 2]| {
            let of: [ValueId; 2] = [all[left.index()], all[right.index()]];
            (of[0] == of[1]).then_some(of[0])
        };
        let source = match &op.kind {
            OpKind::Gather { input, .. } => Some(all[input.index()]),
            OpKind::Subtract { left, right, .. } => same([*left, *right]),
            OpKind::Select(s) => proof::compared(plan, s).and_then(|pair| same(pair.values)),
            _ => None,
        };
        all.push(source.unwrap_or(ValueId::of(index)));
    }
    all
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
) -> Result<(), ModelError> {
    let plan = &compiled.plan;
    let infos = plan.values()?;
    let scale = |v: ValueId| infos.get(v).scale.0;
    let mut borders = borders(plan, folded, &compiled.factors)?;
    let sums = Sums::of(compiled, &borders, samples)?;
    for (border, sums) in borders.iter_mut().zip(&sums) {
        border.narrow(sums, margin);
    }
    let mut borders: Vec<(Border, Sums)> = borders.into_iter().zip(sums).collect();
    let mut limits = vec![f64::INFINITY; infos.count()];
    for (border, _) in &borders {
        limits[border.value.index()] = border.limit / power_of_two(scale(border.value));
    }
    let sight = |b: &Border, sums: &Sums| Sight::of(plan, b, scale(b.value), sums, margin);
    let bytes = |b: &Border, sums: &Sums| sight(b, sums).map_or(f64::INFINITY, |sight| sight.bytes);
    borders.extend(compared_numbers(compiled, &borders, &mut limits, samples, (margin, &bytes))?);
    borders.sort_by_key(|(b, _)| b.value);
    // What values can reach while all with a border are inside it: for whoever knows the plan, on
    // which alone it may depend what is watched, and for the owner, who knows the weights.
    let public = proof::bounds_inside(plan, None, &limits);
    let reach = proof::bounds_inside(plan, Some(&compiled.weights), &limits);
    let outside = |b: &Border| public[b.value.index()] >= limits[b.value.index()];
    let mut open: Vec<(&Border, &Sums)> =
        borders.iter().map(|(b, s)| (b, s)).filter(|(b, _)| outside(b)).collect();
    let inside_anyway = borders.len() - open.len();
    // But for the outputs, which are looked at last, when everybody waits: what they reach is the
    // last weights' sums, of which a plan tells no more than whether they fit. Labels are looked at
    // with the others: what finds them has a border.
    let output = plan.output.value;
    let limit = power_of_two(plan.output.ell);
    let mut results = Border { layer: "output".into(), value: output, limit, far: true };
    let fit = plan.output.reveal.is_some()
        || borders.iter().any(|(b, _)| b.value == output)
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
        let sight = sight(border, sums)?;
        let reach = reach[border.value.index()] * power_of_two(scale(border.value));
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
    let (watching, added) = whole(plan, &looks)?;
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

/// The plan with what looks, and how many operations that is.
fn whole(plan: &Plan, looks: &[Look]) -> Result<(Plan, usize), ModelError> {
    let infos = plan.values()?;
    let scale = |v: ValueId| infos.get(v).scale.0;
    let result = plan.output.value;
    let telling = telling(plan, scale(result))?;
    let mut added = Added::new(plan, looks.len());
    let mut plan = plan.clone();
    let Some((last, before)) = looks.split_last() else { return Ok((plan, 0)) };
    // One number is enough for each but the last: as many as receivers need tell of the sum of these,
    // while the last value is on its way.
    let one = Outside { numbers: 1, ..telling.clone() };
    let found: Vec<ValueId> = before.iter().map(|look| added.look(look, scale(look.value), &one)).collect();
    let mut found: Vec<ValueId> = added.sum(&found).into_iter().collect();
    if telling.numbers > 1
        && let Some(input) = found.pop()
    {
        found.push(added.tell("values outside", input, &telling));
    }
    found.push(added.look(last, scale(last.value), &telling));
    let Some(total) = added.sum(&found) else { return Ok((plan, 0)) };
    let (ops, value) = added.finish(total, result);
    let more = ops.len();
    plan.output.watch = more as u32;
    plan.ops.extend(ops);
    plan.output.value = value;
    plan.values()?;
    Ok((plan, more))
}

/// The random numbers that stand beside outputs of a scale and tell, even if these are rounded.
fn telling(plan: &Plan, scale: u32) -> Result<Outside, ModelError> {
    let lost = |bits: u32| scale.saturating_sub(plan.output.scale.0.min(bits)).min(plan.output.ell);
    let enough = |bits: u32| Plan::enough_to_tell(plan.limbs, lost(bits)).filter(|n| *n <= MAX_NUMBERS);
    let numbers = enough(FEWEST_BITS).or_else(|| enough(u32::MAX)).ok_or_else(|| {
        ModelError::data("plan", "outputs lose so many bits that values outside could not be told of")
    })?;
    Ok(Outside { input: ValueId::INPUT, numbers, scale: ScaleBits(scale) })
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

/// A value that is looked at.
#[derive(Clone, Debug)]
struct Look {
    layer: String,
    value: ValueId,
    len: usize,
    sight: Sight,
}

/// Operations on their way to the end of a plan.
struct Added {
    ops: Vec<Op>,
    first: u32,
    limbs: Limbs,
}

impl Added {
    fn new(plan: &Plan, borders: usize) -> Self {
        let ops = Vec::with_capacity(5 * borders + 2);
        Added { ops, first: plan.ops.len() as u32, limbs: plan.limbs }
    }

    fn push(&mut self, name: &str, kind: OpKind) -> ValueId {
        self.ops.push(Op { name: Printable::new(name).into_string(), kind });
        ValueId(self.first + self.ops.len() as u32)
    }

    /// Numbers that say whether any group of a value is outside.
    fn look(&mut self, look: &Look, scale: u32, telling: &Outside) -> ValueId {
        let Look { layer, len, sight, .. } = look;
        let (name, len) = (|what: &str| format!("{layer}.{what}"), *len);
        let value = match sight.squared {
            Squared::Known(value) => value,
            Squared::Dropped(0) => look.value,
            Squared::Dropped(shift) => {
                let (scale, ell) = (ScaleBits(scale - shift), largest_ell(self.limbs));
                self.push(&name("size"), OpKind::Truncate(Truncate { input: look.value, scale, ell }))
            }
        };
        let square = Select {
            input: value,
            bits: None,
            polynomials: vec![vec![sight.more, 0, sight.factor.into()]],
            scale: ScaleBits(sight.dropped),
            pool: (sight.group > 1).then(|| pool(len, sight.group)),
            base: None,
        };
        let squares = self.push(&name("squares"), OpKind::Select(square));
        let units = Truncate { input: squares, scale: ScaleBits(0), ell: sight.dropped };
        let input = self.push(&name("units"), OpKind::Truncate(units));
        self.tell(&name("outside"), input, telling)
    }

    /// Random numbers unless all elements of a value are 0 or 1.
    fn tell(&mut self, name: &str, input: ValueId, telling: &Outside) -> ValueId {
        self.push(name, OpKind::Outside(Outside { input, ..telling.clone() }))
    }

    /// The sums of the numbers of all values.
    fn sum(&mut self, found: &[ValueId]) -> Option<ValueId> {
        let (&first, rest) = found.split_first()?;
        let add = |sum: ValueId, &value: &ValueId| {
            let kind = OpKind::Add { left: sum, left_shift: 0, right: value, right_shift: 0 };
            self.push("values outside", kind)
        };
        Some(rest.iter().fold(first, add))
    }

    /// Whether there is any, beside the result.
    fn finish(mut self, total: ValueId, result: ValueId) -> (Vec<Op>, ValueId) {
        let parts = [result, total].map(|input| Part { input, shift: 0 }).to_vec();
        let value = self.push("outputs and whether any value was outside", OpKind::Concat { parts });
        (self.ops, value)
    }
}
