//! Polynomials behind truncations of their own (`docs/protocol.md`, section 8).
//!
//! An activation with the exact wrap rule is dealt two sets of coefficients, `4d - 1` elements for
//! degree `d`. Truncated first, its argument has a fresh mask, one set is enough: `2d + 1`
//! elements, for an opening more. What is computed is the same.

use amicus_plan::values::MAX_COEFFICIENT;
use amicus_plan::{Activation, Link, Op, OpKind, Plan, ScaleBits, Select, Truncate, ValueId, WrapRule};

use super::seconds;
use crate::error::ModelError;

/// What the truncation's name has beyond the activation's.
const SUFFIX: &str = ".argument";

/// The plan, and what its values stand for, with polynomials behind truncations where that takes
/// less time by the estimate.
pub(super) fn split(plan: Plan, factors: Vec<f64>, link: &Link) -> Result<(Plan, Vec<f64>), ModelError> {
    let bits = plan.bits() - 1;
    let exact: Vec<usize> =
        (0..plan.ops.len()).filter(|&op| polynomial(&plan.ops[op].kind, bits).is_some()).collect();
    let mut least = (seconds(&plan, link)?, None);
    // From all of them one after the other stays whole, those of few numbers first: an opening that
    // others share is saved by none alone.
    let mut apart = exact.clone();
    let values = plan.values()?;
    let inputs = |op: &usize| plan.ops[*op].kind.inputs().iter().map(|v| values.get(*v).len).sum::<usize>();
    let mut by_size = exact;
    by_size.sort_by_key(inputs);
    let mut best = f64::INFINITY;
    for whole in std::iter::once(None).chain(by_size.into_iter().map(Some)) {
        let rest: Vec<usize> = apart.iter().copied().filter(|op| Some(*op) != whole).collect();
        let found = with_truncations(&plan, &factors, &rest);
        let time = seconds(&found.0, link)?;
        if time < best {
            (best, apart) = (time, rest);
            if time < least.0 {
                least = (time, Some(found));
            }
        }
    }
    Ok(least.1.unwrap_or((plan, factors)))
}

/// The integer polynomial of an activation that is dealt two sets of coefficients, if a selection
/// may have it: at most `bits` bits.
fn polynomial(kind: &OpKind, bits: u32) -> Option<Vec<i128>> {
    let OpKind::Activation(a) = kind else { return None };
    let limit = 1i128 << bits.min(MAX_COEFFICIENT);
    let coefficient = |(k, &c): (usize, &i64)| {
        let power = 1i128.checked_shl((a.degree() - k) as u32 * a.input_scale.0)?;
        i128::from(c).checked_mul(power).filter(|c| (1 - limit..limit).contains(c))
    };
    let exact = a.wrap == WrapRule::Exact;
    exact.then(|| a.coefficients.iter().enumerate().map(coefficient).collect())?
}

fn with_truncations(plan: &Plan, factors: &[f64], apart: &[usize]) -> (Plan, Vec<f64>) {
    let mut split = Plan { ops: Vec::with_capacity(plan.ops.len() + apart.len()), ..plan.clone() };
    // The new numbers of the plan's values.
    let (mut new, mut all) = (vec![ValueId::INPUT], vec![factors[0]]);
    for (index, Op { name, kind }) in plan.ops.iter().enumerate() {
        let mut kind = kind.clone();
        kind.inputs_mut().into_iter().for_each(|input| *input = new[input.index()]);
        let polynomial = polynomial(&kind, plan.bits() - 1).filter(|_| apart.contains(&index));
        let kind = match (kind, polynomial) {
            (OpKind::Activation(a), Some(polynomial)) => {
                let truncate = Truncate { input: a.input, scale: a.input_scale, ell: a.ell };
                split.ops.push(Op { name: format!("{name}{SUFFIX}"), kind: OpKind::Truncate(truncate) });
                all.push(factors[plan.ops[index].kind.inputs()[0].index()]);
                let scale = a.degree() as u32 * a.input_scale.0 + a.coefficient_scale.0;
                OpKind::Select(Select {
                    input: ValueId(split.ops.len() as u32),
                    bits: None,
                    polynomials: vec![polynomial],
                    scale: ScaleBits(scale),
                    pool: a.pool,
                    base: None,
                })
            }
            (kind, _) => kind,
        };
        split.ops.push(Op { name: name.clone(), kind });
        all.push(factors[index + 1]);
        new.push(ValueId(split.ops.len() as u32));
    }
    split.output.value = new[plan.output.value.index()];
    (split, all)
}

/// The plan before [`split`], and what its values stand for.
pub(crate) fn whole(plan: &Plan, factors: &[f64]) -> (Plan, Vec<f64>) {
    let mut whole = Plan { ops: Vec::with_capacity(plan.ops.len()), ..plan.clone() };
    let (mut new, mut all) = (vec![ValueId::INPUT], vec![factors[0]]);
    let mut ops = plan.ops.iter().enumerate().peekable();
    while let Some((index, Op { name, kind })) = ops.next() {
        let truncated = ValueId(index as u32 + 1);
        let readers = plan.ops.iter().flat_map(|op| op.kind.inputs()).filter(|input| *input == truncated);
        let alone = readers.count() == 1 && plan.output.value != truncated;
        let behind = ops
            .peek()
            .filter(|_| alone)
            .and_then(|(_, next)| Some((&next.name, joined(truncated, kind, &next.kind)?)));
        let (name, mut kind) = match behind {
            Some((name, activation)) => {
                ops.next();
                // Nothing else reads it.
                new.push(ValueId::INPUT);
                (name, OpKind::Activation(activation))
            }
            None => (name, kind.clone()),
        };
        kind.inputs_mut().into_iter().for_each(|input| *input = new[input.index()]);
        whole.ops.push(Op { name: name.clone(), kind });
        all.push(factors[new.len()]);
        new.push(ValueId(whole.ops.len() as u32));
    }
    whole.output.value = new[plan.output.value.index()];
    (whole, all)
}

/// A truncation with its result and what comes next, as one activation.
fn joined(result: ValueId, kind: &OpKind, next: &OpKind) -> Option<Activation> {
    let (OpKind::Truncate(t), OpKind::Select(s)) = (kind, next) else { return None };
    let [polynomial] = &s.polynomials[..] else { return None };
    let plain = s.bits.is_none() && s.base.is_none() && s.input == result;
    let degree = polynomial.len().checked_sub(1)? as u32;
    let coefficient = |(k, &c): (usize, &i128)| {
        let power = 1i128.checked_shl((degree - k as u32).checked_mul(t.scale.0)?)?;
        (c % power == 0).then(|| i64::try_from(c / power).ok())?
    };
    let coefficients: Option<Vec<i64>> = polynomial.iter().enumerate().map(coefficient).collect();
    let coefficient_scale = s.scale.0.checked_sub(degree.checked_mul(t.scale.0)?)?;
    plain.then_some(Activation {
        input: t.input,
        ell: t.ell,
        input_scale: t.scale,
        coefficients: coefficients?,
        coefficient_scale: ScaleBits(coefficient_scale),
        pool: s.pool,
        wrap: WrapRule::Exact,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot be set up fails
    use super::*;
    use crate::fake_quantisation::SplitMix;
    use crate::{CompileOptions, Compiled, compile, networks};
    use amicus_field::Limbs;

    /// A network whose activations have the exact wrap rule, over a link.
    fn compiled(one_way: f64, statistical: bool) -> Compiled {
        let mut random = SplitMix(1);
        let samples: Vec<Vec<f32>> =
            (0..8).map(|_| (0..784).map(|_| random.unit() as f32).collect()).collect();
        let link = Link { one_way, bandwidth: Some(125e6), shared_cores: None };
        let options =
            CompileOptions { limbs: Some(Limbs::TWO), statistical, link, ..CompileOptions::default() };
        compile(&networks::lenet5_random(3).unwrap(), &samples, &options).unwrap()
    }

    fn truncations(plan: &Plan) -> usize {
        plan.ops.iter().filter(|op| matches!(op.kind, OpKind::Truncate(_))).count()
    }

    #[test]
    fn a_truncation_more_where_dealing_takes_longer_than_an_opening() {
        // The two large layers, the first one alone, none.
        let plans = [0.0001, 0.0025, 0.3].map(|one_way| compiled(one_way, false).plan);
        assert_eq!(plans.each_ref().map(truncations), [2, 1, 0]);
        let [near, middle, far] = plans.map(|plan| plan.cost(1).unwrap());
        assert_eq!((near.rounds, middle.rounds), (far.rounds + 2, far.rounds + 1));
        // 169 bytes instead of 299 for each number.
        let inputs = [6 * 28 * 28, 16 * 10 * 10];
        assert_eq!(far.dealt_bytes - middle.dealt_bytes, 130 * inputs[0]);
        assert_eq!(far.dealt_bytes - near.dealt_bytes, 130 * (inputs[0] + inputs[1]));
        // With the statistical rule one set is dealt anyway.
        let mixed = compiled(0.0001, true).plan;
        let one_set = |op: &Op| matches!(&op.kind, OpKind::Activation(a) if a.wrap == WrapRule::Statistical);
        assert!(truncations(&mixed) < 2 && mixed.ops.iter().any(one_set));
    }

    #[test]
    fn what_is_split_is_put_together_again() {
        let far = compiled(0.3, false);
        let exact: Vec<usize> =
            (0..far.plan.ops.len()).filter(|&op| polynomial(&far.plan.ops[op].kind, 103).is_some()).collect();
        assert_eq!(exact.len(), 4);
        for apart in [&exact[..], &exact[1..2], &exact[3..], &[]] {
            let (split, factors) = with_truncations(&far.plan, &far.factors, apart);
            assert_eq!((truncations(&split), factors.len()), (apart.len(), split.ops.len() + 1));
            split.values().unwrap();
            assert_eq!(whole(&split, &factors), (far.plan.clone(), far.factors.clone()));
        }
    }
}
