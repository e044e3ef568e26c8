//! A laid out network as a plan: comparisons, truncations and selections.

use std::fmt;

use amicus_field::{Limbs, SumPool2d};
use amicus_plan::{
    Compare, InputSpec, Op, OpKind, OutputSpec, Part, Plan, Printable, ScaleBits, Select, Truncate, UseIndex,
    ValueId, WeightId, WeightSpec,
};

use super::DIGITS;
use super::layout::{Cut, Layout, Steps, fusable};
use super::ranges::Ranges;
use super::tournament::Tournament;
use super::window::Window;
use crate::error::ModelError;
use crate::fake_quantisation::power_of_two;
use crate::fold::{Folded, FoldedKind, FoldedOp};
use crate::graph::Extreme;
use crate::pieces::Pieces;
use crate::planner::emit::{largest_ell, picked};
use crate::quantize::to_integer;
use crate::report::WindowReport;

/// Bits that windows of small layers have beyond others, at most.
const MOST_MORE: u32 = 3;

/// The axes of an image, in names of operations.
const AXES: [&str; 2] = ["down", "across"];

/// Bits that comparisons of a maximum have beyond others. A wrong winner costs what a wrong sign does,
/// a number of half a unit, and differences are about twice as large as numbers.
const MORE_FOR_MAXIMA: u32 = 1;

/// Bits of windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Windows {
    /// So many, and some more for maxima and small layers.
    Alike(u32),
    /// Those of each comparison, in order.
    Each(Vec<u32>),
}

impl fmt::Display for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Windows::Alike(bits) => write!(f, "{bits}"),
            Windows::Each(bits) => {
                let (least, most) = (bits.iter().min().unwrap_or(&0), bits.iter().max().unwrap_or(&0));
                write!(f, "{least} to {most}")
            }
        }
    }
}

/// How comparisons are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Comparing<'a> {
    pub(super) windows: &'a Windows,
    /// Most digits of a comparison.
    pub(super) digits: usize,
    /// Whether maxima are computed together with activations behind them.
    pub(super) fused: bool,
}

/// A plan, what its values stand for, and its windows.
pub(super) struct Emitted {
    pub(super) plan: Plan,
    /// One factor a value of the plan.
    pub(super) factors: Vec<f64>,
    /// The value of the plan that holds each value of the folded network; of a maximum computed
    /// together with its activation, one of the last two numbers that it is the larger of.
    pub(super) values: Vec<ValueId>,
    pub(super) windows: Vec<WindowReport>,
    /// Largest absolute number of each value of the plan, in stored numbers; infinite for bits.
    pub(super) largest: Vec<f64>,
}

pub(super) struct Emitter<'a> {
    pub(super) folded: &'a Folded,
    pub(super) ranges: &'a Ranges,
    pub(super) layout: &'a Layout,
    pub(super) limbs: Limbs,
    pub(super) margin: f64,
    pub(super) comparing: Comparing<'a>,
    pub(super) ops: Vec<Op>,
    pub(super) scales: Vec<u32>,
    /// The last two numbers of every window whose maximum is computed with the activation behind
    /// it, and which of them is larger.
    pub(super) finalists: Option<Finalists>,
    pub(super) found: Emitted,
}

/// The last two numbers of every window.
pub(super) struct Finalists {
    /// Their maximum among the operations of the folded network.
    maximum: usize,
    sides: [Known; 2],
    /// Bits that say whether the first is larger.
    wins: ValueId,
    /// How many windows there are.
    windows: usize,
}

/// A value of the plan while it is put together.
#[derive(Clone, Copy)]
pub(super) struct Known {
    id: ValueId,
    scale: u32,
}

/// The plan of a laid out network.
pub(super) fn emit(
    folded: &Folded,
    ranges: &Ranges,
    layout: &Layout,
    limbs: Limbs,
    margin: f64,
    comparing: Comparing<'_>,
    output_scale: u32,
) -> Result<Emitted, ModelError> {
    let printable = |name: &str| Printable::new(name).into_string();
    let weights = folded.linears.iter().zip(&layout.weights).map(|(linear, &scale)| WeightSpec {
        name: printable(&linear.name),
        shape: linear.shape,
        scale: ScaleBits(scale),
        bias: !linear.bias.0.is_empty(),
    });
    let ell = largest_ell(limbs);
    let plan = Plan {
        name: printable(&folded.name),
        limbs,
        input: InputSpec {
            shape: folded.input_shape.clone(),
            scale: ScaleBits(layout.values[0]),
            range: folded.input_range,
        },
        weights: weights.collect(),
        public: Vec::new(),
        ops: Vec::new(),
        output: OutputSpec { value: ValueId::INPUT, ell, scale: ScaleBits(0), watch: 0, reveal: None },
    };
    let mut emitter = Emitter {
        folded,
        ranges,
        layout,
        limbs,
        margin,
        comparing,
        ops: Vec::new(),
        scales: vec![layout.values[0]],
        finalists: None,
        found: Emitted {
            plan,
            factors: vec![folded.factors[0]],
            values: vec![ValueId::INPUT],
            windows: Vec::new(),
            largest: vec![ranges.largest(0)],
        },
    };
    for op in 0..folded.ops.len() {
        let value = emitter.operation(op)?;
        emitter.found.values.push(value);
    }
    let Emitter { ops, scales, mut found, .. } = emitter;
    let output = found.values[folded.output.index()];
    found.plan.ops = ops;
    found.plan.output.value = output;
    found.plan.output.scale = ScaleBits(output_scale.min(scales[output.index()]));
    found.plan.values()?;
    Ok(found)
}

impl Emitter<'_> {
    fn known(&self, folded: ValueId) -> Known {
        let id = self.found.values[folded.index()];
        Known { id, scale: self.scales[id.index()] }
    }

    /// Adds an operation whose result stands for `op` of the folded network, or leads to it.
    fn push(&mut self, op: usize, suffix: &str, kind: OpKind, scale: u32, largest: f64) -> Known {
        let factor = match &kind {
            OpKind::Compare(_) | OpKind::Xnor { .. } => 1.0,
            // Bits dropped before the polynomials: still the argument.
            OpKind::Truncate(t) if !suffix.is_empty() => self.found.factors[t.input.index()],
            _ => self.folded.factors[op + 1],
        };
        let name = Printable::new(&format!("{}{suffix}", self.folded.ops[op].name)).into_string();
        self.ops.push(Op { name, kind });
        self.scales.push(scale);
        self.found.factors.push(factor);
        self.found.largest.push(largest);
        Known { id: ValueId(self.ops.len() as u32), scale }
    }

    fn operation(&mut self, op: usize) -> Result<ValueId, ModelError> {
        let scale = self.layout.values[op + 1];
        let largest = self.ranges.largest(op + 1);
        let folded = self.folded;
        let shift = |x: Known| scale - x.scale;
        let kind = match &folded.ops[op].kind {
            FoldedKind::Linear { input, linear } => {
                let (input, weights) = (self.known(*input).id, WeightId(*linear as u32));
                OpKind::Linear { input, weights, use_index: UseIndex(0) }
            }
            FoldedKind::Add { left, right } => {
                let (left, right) = (self.known(*left), self.known(*right));
                let [left_shift, right_shift] = [shift(left), shift(right)];
                OpKind::Add { left: left.id, left_shift, right: right.id, right_shift }
            }
            FoldedKind::Multiply { left, right } => {
                OpKind::Multiply { left: self.known(*left).id, right: self.known(*right).id }
            }
            FoldedKind::Gather { input, gather } => {
                picked(self.known(*input).id, gather, folded.value_len(*input), folded.ops[op].len)
            }
            FoldedKind::SumPool { input, pool } => {
                OpKind::SumPool { input: self.known(*input).id, pool: *pool }
            }
            FoldedKind::Concat { parts } => {
                let parts = parts.iter().map(|p| self.known(*p));
                OpKind::Concat { parts: parts.map(|p| Part { input: p.id, shift: shift(p) }).collect() }
            }
            FoldedKind::Weigh { input, rows, columns } => {
                let input = self.known(*input).id;
                OpKind::Weigh { input, rows: rows.clone(), columns: columns.clone() }
            }
            FoldedKind::MaxPool { input, pool } => return self.max_pool(op, *input, pool),
            FoldedKind::Extreme { left, right, which } => {
                let sides = [(*left, ".left"), (*right, ".right")];
                let sides = sides.map(|(value, suffix)| self.at_scale(op, suffix, value, scale));
                let len = folded.ops[op].len;
                return Ok(self.extreme(op, "", sides, len, *which)?.id);
            }
            FoldedKind::Pieces { input, pieces, pool } => {
                return self.pieces(op, *input, pieces, pool.as_ref());
            }
            FoldedKind::Activation { input, coefficients, pool, .. }
            | FoldedKind::Polynomial { input, coefficients, pool, .. } => {
                return self.pieces(op, *input, &Pieces::polynomial(coefficients.clone()), pool.as_ref());
            }
        };
        Ok(self.push(op, "", kind, scale, largest).id)
    }

    /// Bits that say on which side of thresholds a value lies; `range` is the largest distance, `more`
    /// what its window has beyond others.
    fn compare(
        &mut self,
        op: usize,
        suffix: &str,
        x: Known,
        (thresholds, range): (&[f64], f64),
        more: u32,
        len: usize,
    ) -> Result<ValueId, ModelError> {
        let Comparing { digits, windows, .. } = self.comparing;
        let name = format!("{}{suffix}", self.folded.ops[op].name);
        let bits = match windows {
            Windows::Alike(bits) => Some(bits + more + self.more_bits(len)),
            Windows::Each(bits) => bits.get(self.found.windows.len()).copied(),
        };
        let bits = bits.ok_or_else(|| ModelError::node(&name, "no window was chosen for it"))?;
        let reach = range * self.margin;
        let integers: Vec<i128> = thresholds.iter().map(|&t| to_integer(t, x.scale).as_i128()).collect();
        // Many thresholds and many digits together need more words of joins than a plan may have.
        let fewer = DIGITS.into_iter().rev().filter(|&fewer| fewer <= digits);
        let mut fitting = fewer.filter_map(|digits| {
            let window = Window::of(x.scale, reach, bits, digits, self.limbs.bits())?;
            let Window { unit, digits } = window.clone();
            let compare = Compare { input: x.id, thresholds: integers.clone(), unit, digits };
            let (tables, joins) = amicus_plan::values::MAX_DEALT;
            (compare.table_bits() <= tables && compare.join_bits() <= joins).then_some((window, compare))
        });
        let Some((window, compare)) = fitting.next() else {
            let reason = format!("its window does not fit {} limb(s)", self.limbs.count());
            return Err(ModelError::node(&name, reason));
        };
        // A number of the network, for people.
        let factor = self.found.factors[x.id.index()];
        let end = power_of_two(window.unit + window.bits() - 1) / power_of_two(x.scale);
        self.found.windows.push(WindowReport {
            name: Printable::new(&name).into_string(),
            comparisons: len * thresholds.len(),
            bits: window.bits(),
            digits: window.digits.clone(),
            unit: power_of_two(window.unit) / power_of_two(x.scale) * factor,
            seen: range * factor,
            guard_bits: (end / reach).log2().min(64.0),
        });
        Ok(self.push(op, suffix, OpKind::Compare(compare), 0, f64::INFINITY).id)
    }

    /// Bits that the window of `len` numbers has beyond that of the largest layer. A bit divides the
    /// mean square of what wrong signs change by 8, and layers weigh alike in the result: so a layer
    /// of an eighth of the numbers, whose words cost an eighth, gets a bit more.
    fn more_bits(&self, len: usize) -> u32 {
        let compared = |op: &FoldedOp| match &op.kind {
            FoldedKind::Pieces { input, .. } => self.folded.value_len(*input),
            FoldedKind::MaxPool { .. } | FoldedKind::Extreme { .. } => op.len,
            _ => 0,
        };
        let largest = self.folded.ops.iter().map(compared).max().unwrap_or(0);
        let eighths = (largest.max(1) as f64 / len.max(1) as f64).log2() / 3.0;
        eighths.round().clamp(0.0, f64::from(MOST_MORE)) as u32
    }

    fn pieces(
        &mut self,
        op: usize,
        input: ValueId,
        pieces: &Pieces,
        pool: Option<&SumPool2d>,
    ) -> Result<ValueId, ModelError> {
        let missing = || ModelError::node(&self.folded.ops[op].name, "no scales were chosen for it");
        let steps = self.layout.steps[op].ok_or_else(missing)?;
        if let Some(finalists) = self.finalists.take_if(|f| f.maximum + 1 == op) {
            return self.pieces_of_maxima(op, &finalists, pieces, steps);
        }
        let Steps { cut, argument, full } = steps;
        let (x, largest) = (self.known(input), self.ranges.largest(input.index()));
        let ell = largest_ell(self.limbs);
        let bits = if pieces.thresholds().is_empty() {
            None
        } else {
            let range = pieces.thresholds().iter().map(|&t| self.ranges.distance(input.index(), t));
            let range = range.fold(largest, f64::max);
            let len = self.folded.value_len(input);
            let thresholds = (pieces.thresholds(), range);
            Some(self.compare(op, ".sides", x, thresholds, 0, len)?)
        };
        let mut z = x;
        if cut != Cut::None && argument < x.scale {
            let truncate = Truncate { input: x.id, scale: ScaleBits(argument), ell };
            z = self.push(op, ".argument", OpKind::Truncate(truncate), argument, largest);
        }
        let select = Select {
            input: z.id,
            bits,
            polynomials: integer_polynomials(&self.folded.ops[op].name, pieces, argument, full)?,
            scale: ScaleBits(full),
            pool: pool.copied(),
            base: None,
        };
        let (result, scale) = (self.ranges.largest(op + 1), self.layout.values[op + 1]);
        if scale == full {
            return Ok(self.push(op, "", OpKind::Select(select), full, result).id);
        }
        let y = self.push(op, ".full", OpKind::Select(select), full, result);
        let truncate = Truncate { input: y.id, scale: ScaleBits(scale), ell };
        Ok(self.push(op, "", OpKind::Truncate(truncate), scale, result).id)
    }

    fn max_pool(&mut self, op: usize, input: ValueId, pool: &SumPool2d) -> Result<ValueId, ModelError> {
        let [rows, columns] = pool.out_size();
        let of = |size, axis: usize, windows| {
            Tournament::of(size, pool.kernel[axis], pool.stride[axis], pool.padding[axis], windows)
                .ok_or_else(|| ModelError::node(&self.folded.ops[op].name, "a window holds padding alone"))
        };
        let (down, across) = (of(pool.height, 0, rows)?, of(pool.width, 1, columns)?);
        // The axis after which fewer comparisons are left to do goes first.
        let across_first = pool.height * across.comparisons() + columns * down.comparisons();
        let down_first = pool.width * down.comparisons() + rows * across.comparisons();
        let mut x = self.known(input);
        let mut size = [pool.height, pool.width];
        let mut order =
            if across_first <= down_first { [(1, &across), (0, &down)] } else { [(0, &down), (1, &across)] };
        let fused = self.comparing.fused && fusable(self.folded, op);
        if fused && order[1].1.steps.is_empty() {
            order.swap(0, 1);
        }
        let first = self.ops.len();
        for (number, (axis, tournament)) in order.into_iter().enumerate() {
            if fused && number == 1 {
                return self.finalists(op, x, pool.channels, size, axis, tournament);
            }
            x = self.maxima(op, x, pool.channels, size, axis, tournament)?;
            size[axis] = tournament.positions.len();
        }
        // The last operation gets the layer's name. Windows of one pixel at every place need none.
        match self.ops[first..].last_mut() {
            Some(last) => last.name = Printable::new(&self.folded.ops[op].name).into_string(),
            None => {
                let parts = vec![Part { input: x.id, shift: 0 }];
                let largest = self.ranges.largest(op + 1);
                return Ok(self.push(op, "", OpKind::Concat { parts }, x.scale, largest).id);
            }
        }
        Ok(x.id)
    }

    /// Maxima along one axis (0 down, 1 across) of images.
    fn maxima(
        &mut self,
        op: usize,
        x: Known,
        channels: usize,
        size: [usize; 2],
        axis: usize,
        tournament: &Tournament,
    ) -> Result<Known, ModelError> {
        let steps = tournament.steps.len();
        let vectors = self.rounds(op, x, channels, size, axis, tournament, steps)?;
        let (vector, len) = vectors[tournament.vector];
        let mut of = size;
        of[axis] = len;
        let suffix = format!(".{}", AXES[axis]);
        Ok(self.gather(op, &suffix, vector, of, axis, tournament.positions.clone()))
    }

    /// The results of the first steps along one axis, with their lengths; the axis itself first.
    #[allow(clippy::too_many_arguments)] // what maxima along an axis are described by
    fn rounds(
        &mut self,
        op: usize,
        x: Known,
        channels: usize,
        size: [usize; 2],
        axis: usize,
        tournament: &Tournament,
        steps: usize,
    ) -> Result<Vec<(Known, usize)>, ModelError> {
        let mut vectors = vec![(x, size[axis])];
        for (step, one) in tournament.steps[..steps].iter().enumerate() {
            let name = format!(".{} {step}", AXES[axis]);
            let taps = self.taps(op, &name, &vectors, size, axis, (one.vectors, &one.pairs));
            let len = channels * size[1 - axis] * one.pairs.len();
            vectors.push((self.extreme(op, &name, taps, len, Extreme::Largest)?, one.pairs.len()));
        }
        Ok(vectors)
    }

    /// Both sides of comparisons along one axis.
    fn taps(
        &mut self,
        op: usize,
        name: &str,
        vectors: &[(Known, usize)],
        size: [usize; 2],
        axis: usize,
        (of, pairs): ([usize; 2], &[[u32; 2]]),
    ) -> [Known; 2] {
        [0, 1].map(|side| {
            let (vector, len) = vectors[of[side]];
            let positions: Vec<u32> = pairs.iter().map(|pair| pair[side]).collect();
            let mut of = size;
            of[axis] = len;
            let suffix = format!("{name} {}", ["left", "right"][side]);
            self.gather(op, &suffix, vector, of, axis, positions)
        })
    }

    /// All steps of a maximum but the last, of which only the comparison: for the activation behind
    /// it.
    fn finalists(
        &mut self,
        op: usize,
        x: Known,
        channels: usize,
        size: [usize; 2],
        axis: usize,
        tournament: &Tournament,
    ) -> Result<ValueId, ModelError> {
        let last = tournament.steps.len().checked_sub(1);
        let last =
            last.ok_or_else(|| ModelError::node(&self.folded.ops[op].name, "windows of one number"))?;
        let vectors = self.rounds(op, x, channels, size, axis, tournament, last)?;
        let step = &tournament.steps[last];
        let pairs: Vec<[u32; 2]> = tournament.positions.iter().map(|&p| step.pairs[p as usize]).collect();
        let name = format!(".{} {last}", AXES[axis]);
        let sides = self.taps(op, &name, &vectors, size, axis, (step.vectors, &pairs));
        let windows = channels * size[1 - axis] * pairs.len();
        let (_, wins) = self.wins(op, &name, sides, windows)?;
        self.finalists = Some(Finalists { maximum: op, sides, wins, windows });
        Ok(sides[0].id)
    }

    /// A function of one threshold of maxima: with the bits "wins" and "above the threshold" of both
    /// sides, `wins f(left) + (1 - wins) f(right)`. Twice a product of two bits is their sum and
    /// whether they are equal, less 1.
    fn pieces_of_maxima(
        &mut self,
        op: usize,
        finalists: &Finalists,
        pieces: &Pieces,
        Steps { cut, argument, full }: Steps,
    ) -> Result<ValueId, ModelError> {
        let Finalists { maximum, sides, wins, windows } = finalists;
        let input = match &self.folded.ops[*maximum].kind {
            FoldedKind::MaxPool { input, .. } => input.index(),
            _ => return Err(ModelError::node(&self.folded.ops[op].name, "no maximum comes before")),
        };
        let (ell, result) = (largest_ell(self.limbs), self.ranges.largest(op + 1));
        // Either side may be any number of the window.
        let threshold = pieces.thresholds()[0];
        let range = self.ranges.distance(input, threshold).max(self.ranges.largest(input));
        let name = &self.folded.ops[op].name;
        let polynomials = integer_polynomials(name, pieces, argument, full - 1)?;
        let (below, step) = (&polynomials[0], &polynomials[1]);
        let negative = |p: &[i128]| p.iter().map(|c| -c).collect::<Vec<i128>>();
        let twice: Vec<i128> = below.iter().zip(step).map(|(b, s)| 2 * b + s).collect();
        let of_sides = [
            vec![negative(step), twice.clone(), step.clone(), step.clone()],
            vec![twice.clone(), negative(&twice), step.clone(), negative(step)],
        ];
        let mut parts = Vec::with_capacity(2);
        for ((&side, polynomials), word) in sides.iter().zip(of_sides).zip(["left", "right"]) {
            let thresholds = (pieces.thresholds(), range);
            let suffix = format!(".{word} sides");
            let above = self.compare(op, &suffix, side, thresholds, 0, *windows)?;
            let both = OpKind::Xnor { left: *wins, right: above };
            let both = self.push(op, &format!(".{word} bits"), both, 0, f64::INFINITY);
            let mut z = side;
            if cut != Cut::None && argument < side.scale {
                let truncate = OpKind::Truncate(Truncate { input: side.id, scale: ScaleBits(argument), ell });
                let largest = self.found.largest[side.id.index()];
                z = self.push(op, &format!(".{word} argument"), truncate, argument, largest);
            }
            let select = OpKind::Select(Select {
                input: z.id,
                bits: Some(both.id),
                polynomials,
                scale: ScaleBits(full),
                pool: None,
                base: None,
            });
            parts.push(self.push(op, &format!(".{word}"), select, full, result));
        }
        let scale = self.layout.values[op + 1];
        let sum = OpKind::Add { left: parts[0].id, left_shift: 0, right: parts[1].id, right_shift: 0 };
        if scale == full {
            return Ok(self.push(op, "", sum, full, result).id);
        }
        let y = self.push(op, ".full", sum, full, result);
        let truncate = Truncate { input: y.id, scale: ScaleBits(scale), ell };
        Ok(self.push(op, "", OpKind::Truncate(truncate), scale, result).id)
    }

    /// The difference of two values, and bits that say whether the first is larger.
    fn wins(
        &mut self,
        op: usize,
        suffix: &str,
        [left, right]: [Known; 2],
        len: usize,
    ) -> Result<(Known, ValueId), ModelError> {
        let range = self.ranges.spread(op);
        let subtract = OpKind::Subtract { left: left.id, left_shift: 0, right: right.id, right_shift: 0 };
        let difference = self.push(op, &format!("{suffix} difference"), subtract, left.scale, range);
        let (suffix, more) = (format!("{suffix} sides"), MORE_FOR_MAXIMA);
        let sides = self.compare(op, &suffix, difference, (&[0.0], range), more, len)?;
        Ok((difference, sides))
    }

    /// Positions along one axis; the vector itself where that changes nothing.
    fn gather(
        &mut self,
        op: usize,
        suffix: &str,
        x: Known,
        size: [usize; 2],
        axis: usize,
        positions: Vec<u32>,
    ) -> Known {
        if Tournament::is_whole(&positions, size[axis]) {
            return x;
        }
        let all = |n: usize| (0..n as u32).collect();
        let (rows, columns) = match axis {
            0 => (positions, all(size[1])),
            _ => (all(size[0]), positions),
        };
        let largest = self.found.largest[x.id.index()];
        self.push(op, suffix, OpKind::Gather { input: x.id, size, rows, columns }, x.scale, largest)
    }

    /// A value at a larger scale.
    fn at_scale(&mut self, op: usize, suffix: &str, value: ValueId, scale: u32) -> Known {
        let x = self.known(value);
        if x.scale == scale {
            return x;
        }
        let parts = vec![Part { input: x.id, shift: scale - x.scale }];
        self.push(op, suffix, OpKind::Concat { parts }, scale, self.ranges.largest(value.index()))
    }

    /// The larger of two values, `right + b (left - right)`, or the smaller,
    /// `right + (1 - b) (left - right)`.
    fn extreme(
        &mut self,
        op: usize,
        suffix: &str,
        [left, right]: [Known; 2],
        len: usize,
        which: Extreme,
    ) -> Result<Known, ModelError> {
        let scale = left.scale;
        let (difference, sides) = self.wins(op, suffix, [left, right], len)?;
        let select = Select {
            input: difference.id,
            bits: Some(sides),
            polynomials: match which {
                Extreme::Largest => vec![vec![0], vec![0, 1]],
                Extreme::Smallest => vec![vec![0, 1], vec![0, -1]],
            },
            scale: ScaleBits(scale),
            pool: None,
            base: Some(right.id),
        };
        let largest = self.found.largest[right.id.index()].max(self.found.largest[left.id.index()]);
        Ok(self.push(op, suffix, OpKind::Select(select), scale, largest))
    }
}

/// `Q_0, Q_1, ..`: the first piece, and what each threshold adds, for integers of scale `argument`
/// with a result of scale `full`.
fn integer_polynomials(
    name: &str,
    pieces: &Pieces,
    argument: u32,
    full: u32,
) -> Result<Vec<Vec<i128>>, ModelError> {
    let len = pieces.degree() + 1;
    let integers = |p: &Vec<f64>| -> Option<Vec<i128>> {
        (0..len)
            .map(|k| {
                let a = p.get(k).copied().unwrap_or(0.0);
                let scale = full - argument * k as u32;
                (a.abs() * power_of_two(scale) < power_of_two(amicus_plan::values::MAX_COEFFICIENT - 1))
                    .then(|| to_integer(a, scale).as_i128())
            })
            .collect()
    };
    // A rounded square is made up for by the line that touches it in the middle of its piece.
    let unit = power_of_two(full.saturating_sub(2 * argument));
    let middle = |piece: usize| {
        let (first, last) = (piece.checked_sub(1)?, piece);
        Some((pieces.thresholds().get(first)? + pieces.thresholds().get(last)?) / 2.0)
    };
    let made_up = |(piece, p): (usize, &Vec<f64>)| match (&p[..], middle(piece)) {
        (&[c, b, a], Some(middle)) if len == 3 => {
            let more = (a * unit).round() / unit - a;
            vec![c + more * middle * middle, b - 2.0 * more * middle, a]
        }
        _ => p.clone(),
    };
    let polynomials: Vec<Vec<f64>> = pieces.polynomials().iter().enumerate().map(made_up).collect();
    let all: Option<Vec<Vec<i128>>> = polynomials.iter().map(integers).collect();
    let all = all.ok_or_else(|| ModelError::node(name, "a coefficient is too large"))?;
    let mut polynomials = vec![all[0].clone()];
    polynomials.extend(all.windows(2).map(|pair| pair[1].iter().zip(&pair[0]).map(|(b, a)| b - a).collect()));
    Ok(polynomials)
}
