//! A folded network with chosen scales as a plan, and the bounds `ell` of its truncations.

use amicus_field::Limbs;
use amicus_plan::{
    Activation, InputSpec, Op, OpKind, OutputSpec, Part, Plan, Printable, ScaleBits, UseIndex, ValueId,
    WeightId, WeightSpec, WrapRule,
};

use crate::error::ModelError;
use crate::fold::{Folded, FoldedKind};
use crate::graph::Gather;
use crate::planner::stepwise;
use crate::quantize::fitting_coefficients;
use crate::scales::Scales;

/// The largest `ell` with `2^(ell+1) <= Q/2`.
pub(crate) fn largest_ell(limbs: Limbs) -> u32 {
    limbs.bits() - 3
}

/// The plan, with the largest bounds the modulus allows and no statistical truncation yet.
pub(crate) fn emit(
    folded: &Folded,
    scales: &Scales,
    limbs: Limbs,
    output_scale: u32,
) -> Result<Plan, ModelError> {
    let values = scales.values(folded);
    let ell = largest_ell(limbs);
    // Names come from files; a plan goes to people who did not write them.
    let printable = |name: &str| Printable::new(name).into_string();
    let mut ops = Vec::with_capacity(folded.ops.len());
    for (index, op) in folded.ops.iter().enumerate() {
        let kind = match &op.kind {
            FoldedKind::Linear { input, linear } => {
                OpKind::Linear { input: *input, weights: WeightId(*linear as u32), use_index: UseIndex(0) }
            }
            FoldedKind::Activation { input, coefficients, pool, .. } => {
                let chosen = scales.activations[index]
                    .ok_or_else(|| ModelError::node(&op.name, "no scales were chosen for it"))?;
                OpKind::Activation(Activation {
                    input: *input,
                    ell,
                    input_scale: ScaleBits(chosen.argument),
                    coefficients: fitting_coefficients(&op.name, coefficients, chosen.coefficients)?,
                    coefficient_scale: ScaleBits(chosen.coefficients),
                    pool: *pool,
                    wrap: WrapRule::Exact,
                })
            }
            FoldedKind::Polynomial { input, coefficients, scale, pool } => {
                let at = values[input.index()];
                stepwise::emit(*input, (coefficients, *scale), at, *pool)
            }
            FoldedKind::Add { left, right } => OpKind::Add {
                left: *left,
                left_shift: values[index + 1] - values[left.index()],
                right: *right,
                right_shift: values[index + 1] - values[right.index()],
            },
            FoldedKind::Pieces { .. }
            | FoldedKind::MaxPool { .. }
            | FoldedKind::Multiply { .. }
            | FoldedKind::Extreme { .. } => {
                return Err(ModelError::node(&op.name, "is no polynomial; it needs comparisons"));
            }
            FoldedKind::Gather { input, gather } => picked(*input, gather, folded.value_len(*input), op.len),
            FoldedKind::SumPool { input, pool } => OpKind::SumPool { input: *input, pool: *pool },
            FoldedKind::Concat { parts } => {
                let part = |p: &ValueId| Part { input: *p, shift: values[index + 1] - values[p.index()] };
                OpKind::Concat { parts: parts.iter().map(part).collect() }
            }
            FoldedKind::Weigh { input, rows, columns } => {
                OpKind::Weigh { input: *input, rows: rows.clone(), columns: columns.clone() }
            }
        };
        ops.push(Op { name: printable(&op.name), kind });
    }
    let weights = folded.linears.iter().zip(&scales.weights).map(|(linear, &scale)| WeightSpec {
        name: printable(&linear.name),
        shape: linear.shape,
        scale: ScaleBits(scale),
        bias: !linear.bias.0.is_empty(),
    });
    let output = values[folded.output.index()];
    let plan = Plan {
        name: printable(&folded.name),
        limbs,
        input: InputSpec {
            shape: folded.input_shape.clone(),
            scale: ScaleBits(scales.input),
            range: folded.input_range,
        },
        weights: weights.collect(),
        public: Vec::new(),
        ops,
        output: OutputSpec {
            value: folded.output,
            ell,
            scale: ScaleBits(output_scale.min(output)),
            watch: 0,
            reveal: None,
        },
    };
    plan.values()?;
    Ok(plan)
}

/// Numbers of a value of `len` numbers by their places: a slice where they are neighbours.
pub(crate) fn picked(input: ValueId, gather: &Gather, len: usize, outputs: usize) -> OpKind {
    match gather.run(len) {
        Some(start) => OpKind::Slice { input, start, len: outputs },
        None => OpKind::Gather {
            input,
            size: gather.size,
            rows: gather.rows.clone(),
            columns: gather.columns.clone(),
        },
    }
}

/// One truncated value: what it needs and what is proven of it.
#[derive(Clone, Debug)]
pub(crate) struct Truncated {
    /// The activation; `None` for the result.
    pub(crate) op: Option<usize>,
    /// The value truncated.
    pub(crate) value: ValueId,
    /// Elements of the value.
    pub(crate) len: usize,
    /// Scale of the value.
    pub(crate) scale: u32,
    /// Bits dropped.
    pub(crate) shift: u32,
    /// Smallest `ell` that holds the calibrated range.
    pub(crate) needed: u32,
}

/// All truncated values of a plan; `guard` are bits of the calibrated range by value.
pub(crate) fn truncated(plan: &Plan, guard: &[i64]) -> Result<Vec<Truncated>, ModelError> {
    let infos = plan.values()?;
    let largest = i64::from(largest_ell(plan.limbs));
    let entry = |op: Option<usize>, value: ValueId, kept: u32| {
        let info = infos.get(value);
        let (scale, shift) = (info.scale.0, info.scale.0 - kept);
        let needed = (i64::from(scale) + guard[value.index()]).max(i64::from(shift));
        Truncated { op, value, len: info.len, scale, shift, needed: needed.min(largest) as u32 }
    };
    let mut all = Vec::new();
    for (index, op) in plan.ops.iter().enumerate() {
        if let OpKind::Activation(a) = &op.kind {
            all.push(entry(Some(index), a.input, a.input_scale.0));
        }
    }
    all.push(entry(None, plan.output.value, plan.output.scale.0));
    Ok(all)
}

/// Sets `ell` and the wrap rule of every truncation.
///
/// The plan is public, so bounds follow from the modulus, scales and calibrated ranges alone, never
/// from what the weights could do to other inputs. With the exact rule a larger `ell` costs
/// nothing: it is all the modulus has. With statistical truncation every bit doubles the
/// probability of a wrap: activations join from the fewest bits up while the rule of
/// `docs/protocol.md`, section 5, holds, and bits left over are then given out as room beyond the
/// calibrated range.
pub(crate) fn set_bounds(plan: &mut Plan, truncated: &[Truncated], statistical: bool) {
    let largest = largest_ell(plan.limbs);
    let mut ells = vec![largest; truncated.len()];
    let chosen = if statistical { statistical_set(plan, truncated) } else { Vec::new() };
    let budget = f64::from(plan.bits()) - 40.0 - 1e-3;
    let weight = |i: usize, ell: u32| truncated[i].len as f64 * 2f64.powi(ell as i32 + 1);
    let mut sum: f64 = chosen.iter().map(|&i| weight(i, truncated[i].needed)).sum();
    for &i in &chosen {
        ells[i] = truncated[i].needed;
    }
    loop {
        let mut raised = false;
        for &i in &chosen {
            let next = ells[i] + 1;
            let more = weight(i, next) - weight(i, ells[i]);
            if next <= largest && (sum + more).log2() <= budget {
                ells[i] = next;
                sum += more;
                raised = true;
            }
        }
        if !raised {
            break;
        }
    }
    for (i, (t, ell)) in truncated.iter().zip(ells).enumerate() {
        match t.op.map(|op| &mut plan.ops[op].kind) {
            Some(OpKind::Activation(a)) => {
                a.ell = ell;
                a.wrap = if chosen.contains(&i) { WrapRule::Statistical } else { WrapRule::Exact };
            }
            _ => plan.output.ell = ell,
        }
    }
}

/// The activations that may use statistical truncation together, those with the fewest bits first.
fn statistical_set(plan: &Plan, truncated: &[Truncated]) -> Vec<usize> {
    let mut candidates: Vec<usize> = (0..truncated.len()).filter(|&i| truncated[i].op.is_some()).collect();
    candidates.sort_by_key(|&i| truncated[i].needed);
    let mut sum = 0.0;
    let fits = |&i: &usize| {
        sum += truncated[i].len as f64 * 2f64.powi(truncated[i].needed as i32 + 1);
        sum.log2() <= f64::from(plan.bits()) - 40.0 - 1e-3
    };
    candidates.into_iter().take_while(fits).collect()
}

/// The largest `ell` with which all activations of a folded network may use statistical truncation.
pub(crate) fn statistical_ell(folded: &Folded, limbs: Limbs) -> i64 {
    let inputs: usize = folded
        .ops
        .iter()
        .filter_map(|op| match op.kind {
            FoldedKind::Activation { input, .. } => Some(folded.value_len(input)),
            _ => None,
        })
        .sum();
    i64::from(limbs.bits()) - 41 - crate::scales::guard_bits(inputs.max(1) as f64)
}
