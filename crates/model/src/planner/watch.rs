//! Operations that find hidden values outside what a plan was made for.
//!
//! Where it stands: behind the planner. A plan is made for values inside borders: the windows of
//! comparisons, what polynomials are fed, the bounds of truncations. A value beyond is computed
//! wrongly, and nobody sees it. So operations are added at the end of the plan that compute one
//! bit: whether there was such a value. It is revealed with the output, to receivers only. Why this
//! finds every one is in `docs/security.md`, section 26.
//!
//! Of each value that earlier layers do not keep inside its border, low bits are dropped, squares
//! are summed over groups of neighbours, and each sum is compared with the square of the border: a
//! single value beyond its border makes its sum larger than that. Groups are as large as
//! calibration allows, so that values inside do not. The bits are added up, and the last comparison
//! says whether the sum is 0.

use amicus_field::{LimbVec, Limbs, SumPool2d};
use amicus_plan::{
    Compare, Op, OpKind, Part, Plan, Printable, ScaleBits, Select, Truncate, ValueId, quantize_input,
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
use crate::proof;
use crate::simulate::Simulator;

/// Bits that the border of a value keeps when the others are dropped.
const BORDER_BITS: i32 = 6;
/// Values up to `2^REACH` times their border are found surely; the plan must not depend on how far
/// weights let them get.
const REACH: i32 = 8;
/// A sum is decided within this share of its border, as a power of two.
const SHARP: u32 = 3;
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
    let open: Vec<(&Border, &Sums)> = borders.iter().zip(&sums).filter(|(b, _)| outside(b)).collect();
    let largest = power_of_two(largest_ell(plan.limbs));
    let mut added = Added::new(compiled, open.len());
    let mut found: Vec<ValueId> = Vec::new();
    let mut groups = 0;
    let mut watched = Vec::with_capacity(open.len());
    for (border, sums) in &open {
        let scale = scale(border.value);
        let sight = Sight::of(plan.limbs, (border.limit, scale), largest, sums, margin);
        found.push(added.look(border, &sight, scale));
        groups += sums.len.div_ceil(sight.group);
        let reach = reach[border.value.index()] * power_of_two(scale);
        let all = reach < largest && reach <= sight.sees;
        let up_to = (!all).then(|| sight.sees / border.limit);
        watched.push(Watched { layer: border.layer.clone(), group: sight.group, up_to });
    }
    let report = Watch {
        borders: borders.len(),
        inside_anyway: borders.len() - open.len(),
        complete: watched.iter().all(|w| w.up_to.is_none()),
        watched,
        dealt_bytes: 0,
    };
    let before = plan.cost(1)?.dealt_bytes;
    let Some(total) = added.sum(&found) else {
        compiled.report.watch = Some(report);
        return Ok(());
    };
    let (ops, value) = added.finish(total, groups, scale(plan.output.value), plan.output.value);
    let Compiled { plan, factors, report: whole, .. } = compiled;
    plan.output.watch = ops.len() as u32;
    factors.extend(ops.iter().map(|_| 1.0));
    plan.ops.extend(ops);
    // The outputs keep what they stand for.
    let last = factors.len() - 1;
    factors[last] = factors[plan.output.value.index()];
    plan.output.value = value;
    plan.values()?;
    whole.cost = plan.cost(1)?;
    whole.watch = Some(Watch { dealt_bytes: whole.cost.dealt_bytes.saturating_sub(before), ..report });
    Ok(())
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
    for op in &plan.ops {
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
    add("output", plan.output.value, power_of_two(plan.output.ell), true);
    all.sort_by_key(|b| b.value);
    Ok(all)
}

/// Bits above what the modulus lacks to a power of two: numbers of windows that are much larger are
/// decided rightly whether a mask wraps or not.
fn lacking(limbs: Limbs) -> u32 {
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

    /// The largest sum of squares of neighbours, of values with `shift` bits dropped.
    fn largest(&self, group: usize, shift: u32) -> f64 {
        let unit = power_of_two(shift);
        let square = |z: &f64| ((z / unit).abs() + 1.0).powi(2);
        let of = |values: &Vec<f64>| {
            let sums = values.chunks(group).map(|g| g.iter().map(square).sum::<f64>());
            sums.fold(0.0, f64::max)
        };
        self.samples.iter().map(of).fold(0.0, f64::max)
    }
}

/// How one value is looked at.
struct Sight {
    /// Bits dropped.
    shift: u32,
    group: usize,
    /// Squares are stored times `2^raised`.
    raised: u32,
    /// A sum this large is outside, in stored integers.
    threshold: i128,
    unit: u32,
    digits: Vec<u32>,
    /// Values up to this size are surely found.
    sees: f64,
}

impl Sight {
    /// For values of a scale, below `limit`; truncations are right below `largest`.
    fn of(limbs: Limbs, (limit, scale): (f64, u32), largest: f64, sums: &Sums, margin: f64) -> Self {
        let shift = scale.min((limit.log2().floor() as i32 - BORDER_BITS).max(0) as u32);
        let border = (limit / power_of_two(shift)).floor() - 1.0;
        let edge = (border * border).max(1.0);
        let unit = (edge.log2().floor() as u32).saturating_sub(SHARP);
        let raised = (lacking(limbs) + 1).saturating_sub(unit);
        let sharp = power_of_two(unit);
        let reach = (limit * 2f64.powi(REACH)).min(largest);
        let square = (reach / power_of_two(shift) + 1.0).powi(2);
        let bits = |group: usize| {
            let largest = group as f64 * square + power_of_two(lacking(limbs)) / power_of_two(raised);
            (largest / sharp).log2().ceil().max(0.0) as u32 + 2
        };
        let most = (limbs.bits() - unit - raised - 1).min(MAX_WINDOW);
        let mut group = 1;
        while 2 * group <= LARGEST_GROUP.min(sums.len)
            && margin * margin * sums.largest(2 * group, shift) <= edge - sharp
            && bits(2 * group) <= most
        {
            group *= 2;
        }
        let wanted = bits(group);
        let window = wanted.min(most).max(2);
        // What fits half the window, of a single element.
        let fits = (power_of_two(window - 2) * sharp).sqrt() * power_of_two(shift);
        let integer = |x: f64| (x as i128) << raised;
        Sight {
            shift,
            group,
            raised,
            threshold: integer(edge) - (1i128 << (unit + raised) >> 1),
            unit: unit + raised,
            digits: digits(window - 1),
            sees: if wanted > most { fits.min(reach) } else { reach },
        }
    }
}

/// Bits in as few words as a few rounds allow.
fn digits(bits: u32) -> Vec<u32> {
    let count = (bits.div_ceil(2)).clamp(1, MAX_DIGITS.0 as u32);
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
    fn new(compiled: &Compiled, borders: usize) -> Self {
        let plan = &compiled.plan;
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
    fn look(&mut self, border: &Border, sight: &Sight, scale: u32) -> ValueId {
        let name = |what: &str| format!("{}.{what}", border.layer);
        let len = self.lens[border.value.index()];
        let mut value = border.value;
        if sight.shift > 0 {
            let kept = ScaleBits(scale - sight.shift);
            let truncate = Truncate { input: value, scale: kept, ell: largest_ell(self.limbs) };
            value = self.push(&name("size"), len, OpKind::Truncate(truncate));
        }
        let groups = len.div_ceil(sight.group);
        let pool = SumPool2d {
            channels: 1,
            height: 1,
            width: len,
            kernel: [1, sight.group],
            stride: [1, sight.group],
            padding: [0, 0, 0, groups * sight.group - len],
        };
        let square = Select {
            input: value,
            bits: None,
            polynomials: vec![vec![0, 0, 1i128 << sight.raised]],
            scale: ScaleBits(0),
            pool: (sight.group > 1).then_some(pool),
            base: None,
        };
        let squares = self.push(&name("squares"), groups, OpKind::Select(square));
        let compare = Compare {
            input: squares,
            thresholds: vec![sight.threshold],
            unit: sight.unit,
            digits: sight.digits.clone(),
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
        let pool = SumPool2d {
            channels: 1,
            height: 1,
            width: len,
            kernel: [1, len],
            stride: [1, len],
            padding: [0; 4],
        };
        let select = Select {
            input,
            bits: Some(bits),
            polynomials: vec![vec![0], vec![one]],
            scale: ScaleBits(scale),
            pool: (len > 1).then_some(pool),
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
    fn finish(mut self, total: ValueId, groups: usize, scale: u32, result: ValueId) -> (Vec<Op>, ValueId) {
        let unit = self.one();
        let window = (groups as f64).log2().ceil() as u32 + 3;
        let compare =
            Compare { input: total, thresholds: vec![1i128 << unit >> 1], unit, digits: digits(window - 1) };
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
