//! Polynomials behind truncations of their own (`docs/protocol.md`, section 8).
//!
//! An activation with the exact wrap rule is dealt two sets of coefficients, `4d - 1` elements for
//! degree `d`; with statistical truncation one, `2d - 1`. Truncated first, its argument has a fresh
//! mask, one set is enough: `2d + 1` elements, for an opening more. A polynomial that is even but for
//! the term `u` itself is one of half the degree in the square of its argument, and `u` added:
//! `d + 3` elements, for two openings more. What is computed is the same, whichever it is.
//!
//! Polynomials in steps ([`mod@super::stepwise`]) stand behind truncations from the start. Where that
//! takes less time a square is computed beside the truncation of its argument, with two sets again.

use amicus_field::Limbs;
use amicus_plan::values::MAX_COEFFICIENT;
use amicus_plan::{
    Activation, Op, OpKind, Part, Plan, Printable, ScaleBits, Select, Truncate, ValueId, WrapRule,
};

use super::emit::largest_ell;
use super::seconds;
use crate::compile::CompileOptions;
use crate::error::ModelError;
use crate::fold::{Folded, FoldedKind};

/// What the name of the truncation has beyond the activation's.
const ARGUMENT: &str = ".argument";
/// What the name of its square has beyond it.
const SQUARE: &str = ".square";
/// What the name of the argument summed over windows has beyond it.
const POOLED: &str = ".pooled";
/// What the name of the argument at the scale of the result has beyond it.
const LINEAR: &str = ".linear";

/// What an activation becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// One operation, as it is.
    Whole,
    /// A truncation, and a polynomial.
    Truncated,
    /// A truncation, its square, and a polynomial in that.
    Squared,
}

/// The plan, and what its values stand for, with polynomials behind truncations, and in squares,
/// where that takes less time by the estimate.
pub(super) fn split(
    plan: Plan,
    factors: Vec<f64>,
    options: &CompileOptions,
) -> Result<(Plan, Vec<f64>), ModelError> {
    let plan = simplest(plan);
    let bits = plan.bits() - 1;
    let kind = |op: usize| &plan.ops[op].kind;
    let even = |op: usize| is_even_beside_itself(kind(op));
    let exact = |op: usize| matches!(kind(op), OpKind::Activation(a) if a.wrap == WrapRule::Exact);
    let may = |op: &usize| (even(*op) || exact(*op)) && polynomial(kind(*op), bits).is_some();
    let mut open: Vec<usize> = (0..plan.ops.len()).filter(may).collect();
    let values = plan.values()?;
    let inputs = |op: &usize| kind(*op).inputs().iter().map(|v| values.get(*v).len).sum::<usize>();
    open.sort_by_key(inputs);
    let mut least = (seconds(&plan, options)?, None);
    for start in [Form::Squared, Form::Truncated] {
        let mut forms = vec![Form::Whole; plan.ops.len()];
        for &op in &open {
            forms[op] = match start {
                Form::Squared if even(op) => start,
                _ if exact(op) => Form::Truncated,
                _ => Form::Whole,
            };
        }
        // From all of them one after the other takes an opening less, those of few numbers first: an
        // opening that others share is saved by none alone.
        let fewer = |form: Form| open.iter().map(move |&op| Some((op, form)));
        let changes = [None].into_iter().chain(fewer(Form::Truncated)).chain(fewer(Form::Whole));
        let mut best = f64::INFINITY;
        for change in changes {
            let mut tried = forms.clone();
            if let Some((op, form)) = change {
                if tried[op] == Form::Whole || form == Form::Truncated && !exact(op) {
                    continue;
                }
                tried[op] = form;
            }
            let found = in_forms(&plan, &factors, &tried);
            let time = seconds(&found.0, options)?;
            if time < best {
                (best, forms) = (time, tried);
                if time < least.0 {
                    least = (time, Some(found));
                }
            }
        }
    }
    let (plan, factors) = least.1.unwrap_or((plan, factors));
    Ok((beside_truncations(plan, options)?, factors))
}

/// The plan with polynomials of values that are truncated for others too computed beside these
/// truncations instead of behind them, where that takes less time: an opening less, for more that is
/// dealt.
fn beside_truncations(plan: Plan, options: &CompileOptions) -> Result<Plan, ModelError> {
    let readers = Forms::of(&plan).readers;
    let beside = |(op, kind): (usize, &OpKind)| {
        let OpKind::Select(s) = kind else { return None };
        let OpKind::Truncate(t) = &plan.op(s.input.op()?).kind else { return None };
        let plain = s.bits.is_none() && s.base.is_none() && readers[s.input.index()] > 1;
        let coefficients = divided(s.polynomials.first()?, t.scale.0).filter(|c| plain && c.len() > 2)?;
        Some((op, OpKind::Activation(activation(t, s, coefficients)?)))
    };
    let kinds = plan.ops.iter().map(|op| &op.kind).enumerate();
    let open: Vec<(usize, OpKind)> = kinds.filter_map(beside).collect();
    let with = |plan: &Plan, some: &[(usize, OpKind)]| {
        let mut tried = plan.clone();
        some.iter().for_each(|(op, kind)| tried.ops[*op].kind = kind.clone());
        tried
    };
    let mut least = (seconds(&plan, options)?, plan.clone());
    // All at once too: an opening that others share is saved by none alone.
    for start in [plan.clone(), with(&plan, &open)] {
        let (mut best, mut time) = (start.clone(), seconds(&start, options)?);
        for (op, kind) in &open {
            let kind = if start.ops[*op].kind == *kind { &plan.ops[*op].kind } else { kind };
            let tried = with(&best, &[(*op, kind.clone())]);
            let its = seconds(&tried, options)?;
            if its < time {
                (best, time) = (tried, its);
            }
        }
        if time < least.0 {
            least = (time, best);
        }
    }
    Ok(least.1)
}

/// The plan with activations that only open a value as the truncations that they are.
fn simplest(mut plan: Plan) -> Plan {
    let ell = largest_ell(plan.limbs);
    for op in &mut plan.ops {
        if let OpKind::Activation(a) = &op.kind
            && (a.coefficients == [0, 1] && a.coefficient_scale.0 == 0 && a.pool.is_none())
            && a.wrap == WrapRule::Exact
        {
            // With one mask for each number a larger bound costs nothing.
            op.kind = OpKind::Truncate(Truncate { input: a.input, scale: a.input_scale, ell });
        }
    }
    plan
}

/// The scale of an activation's result.
fn result_scale(a: &Activation) -> ScaleBits {
    ScaleBits(a.degree() as u32 * a.input_scale.0 + a.coefficient_scale.0)
}

/// The integer polynomial of an activation, if a selection may have it: at most `bits` bits.
fn polynomial(kind: &OpKind, bits: u32) -> Option<Vec<i128>> {
    let OpKind::Activation(a) = kind else { return None };
    let limit = 1i128 << bits.min(MAX_COEFFICIENT);
    let coefficient = |(k, &c): (usize, &i64)| {
        let power = 1i128.checked_shl((a.degree() - k) as u32 * a.input_scale.0)?;
        i128::from(c).checked_mul(power).filter(|c| (1 - limit..limit).contains(c))
    };
    a.coefficients.iter().enumerate().map(coefficient).collect()
}

/// Whether an activation is `u`, or nothing, beside even powers, the fourth at least.
fn is_even_beside_itself(kind: &OpKind) -> bool {
    let OpKind::Activation(a) = kind else { return false };
    let others = a.coefficients.iter().skip(3).step_by(2).all(|&c| c == 0);
    let itself = [Some(0), 1i64.checked_shl(a.coefficient_scale.0)].contains(&a.coefficients.get(1).copied());
    a.degree() >= 4 && a.degree().is_multiple_of(2) && others && itself
}

/// Operations on their way into a plan, with what their results stand for.
struct Placed {
    limbs: Limbs,
    ops: Vec<Op>,
    factors: Vec<f64>,
}

impl Placed {
    fn push(&mut self, name: &str, suffix: &str, kind: OpKind, factor: f64) -> ValueId {
        let name = if suffix.is_empty() {
            name.to_owned()
        } else {
            Printable::new(&format!("{name}{suffix}")).into_string()
        };
        self.ops.push(Op { name, kind });
        self.factors.push(factor);
        ValueId(self.ops.len() as u32)
    }

    /// An activation as a truncation and a polynomial, or one in the square; `factors` are what its
    /// argument and its result stand for.
    fn activation(
        &mut self,
        name: &str,
        a: &Activation,
        mut polynomial: Vec<i128>,
        squared: bool,
        [argument, result]: [f64; 2],
    ) {
        // With one mask for each number a larger bound costs nothing.
        let truncate = Truncate { input: a.input, scale: a.input_scale, ell: largest_ell(self.limbs) };
        let mut input = self.push(name, ARGUMENT, OpKind::Truncate(truncate), argument);
        let scale = result_scale(a);
        let select = |input, polynomial, scale, pool, base| {
            OpKind::Select(Select { input, bits: None, polynomials: vec![polynomial], scale, pool, base })
        };
        let mut base = None;
        if squared {
            let u = input;
            let twice = ScaleBits(2 * a.input_scale.0);
            let square = select(u, vec![0, 0, 1], twice, None, None);
            input = self.push(name, SQUARE, square, argument * argument);
            if polynomial[1] != 0 {
                let summed = match a.pool {
                    Some(pool) => self.push(name, POOLED, OpKind::SumPool { input: u, pool }, argument),
                    None => u,
                };
                let part = Part { input: summed, shift: scale.0 - a.input_scale.0 };
                base = Some(self.push(name, LINEAR, OpKind::Concat { parts: vec![part] }, result));
            }
            polynomial = polynomial.into_iter().step_by(2).collect();
        }
        self.push(name, "", select(input, polynomial, scale, a.pool, base), result);
    }
}

/// The plan with its activations in these forms, one for each operation.
fn in_forms(plan: &Plan, factors: &[f64], forms: &[Form]) -> (Plan, Vec<f64>) {
    let mut placed =
        Placed { limbs: plan.limbs, ops: Vec::with_capacity(plan.ops.len()), factors: vec![factors[0]] };
    // The new numbers of the plan's values.
    let mut new = vec![ValueId::INPUT];
    for (index, Op { name, kind }) in plan.ops.iter().enumerate() {
        let argument = kind.inputs().first().map_or(1.0, |input| factors[input.index()]);
        let mut kind = kind.clone();
        kind.inputs_mut().into_iter().for_each(|input| *input = new[input.index()]);
        let polynomial = polynomial(&kind, plan.bits() - 1).filter(|_| forms[index] != Form::Whole);
        match (&kind, polynomial) {
            (OpKind::Activation(a), Some(polynomial)) => {
                let squared = forms[index] == Form::Squared;
                placed.activation(name, a, polynomial, squared, [argument, factors[index + 1]]);
            }
            _ => {
                placed.push(name, "", kind, factors[index + 1]);
            }
        }
        new.push(ValueId(placed.ops.len() as u32));
    }
    let mut split = Plan { ops: placed.ops, ..plan.clone() };
    split.output.value = new[plan.output.value.index()];
    (split, placed.factors)
}

/// The plan before [`split`], and what its values stand for.
pub(crate) fn whole(plan: &Plan, factors: &[f64]) -> (Plan, Vec<f64>) {
    let mut whole = Plan { ops: Vec::with_capacity(plan.ops.len()), ..plan.clone() };
    let (mut new, mut all) = (vec![ValueId::INPUT], vec![factors[0]]);
    let forms = Forms::of(plan);
    let mut index = 0;
    while let Some(Op { name, kind }) = plan.ops.get(index) {
        let (last, name, mut kind) = match forms.activation(index) {
            Some((last, activation)) => (last, &plan.ops[last].name, OpKind::Activation(activation)),
            None => (index, name, kind.clone()),
        };
        kind.inputs_mut().into_iter().for_each(|input| *input = new[input.index()]);
        whole.ops.push(Op { name: name.clone(), kind });
        all.push(factors[last + 1]);
        // Nothing else reads what was between.
        new.resize(last + 1, ValueId::INPUT);
        new.push(ValueId(whole.ops.len() as u32));
        index = last + 1;
    }
    whole.output.value = new[plan.output.value.index()];
    (whole, all)
}

/// The plan before [`split`], and what its values stand for, if its operations are those of this
/// network, in its order.
pub(crate) fn whole_as(plan: &Plan, factors: &[f64], folded: &Folded) -> Option<(Plan, Vec<f64>)> {
    let mut whole = Plan { ops: Vec::with_capacity(folded.ops.len()), ..plan.clone() };
    let (mut new, mut all) = (vec![ValueId::INPUT], vec![factors[0]]);
    let forms = Forms::of(plan);
    let mut first = 0;
    for op in &folded.ops {
        let found = forms.kind(first)?;
        let (last, mut kind) = match (&op.kind, found) {
            // Beside the truncation that it may stand behind.
            (FoldedKind::Polynomial { input, .. }, OpKind::Activation(a)) => {
                let kind = OpKind::Select(Select {
                    input: *input,
                    bits: None,
                    polynomials: vec![polynomial(found, plan.bits() - 1)?],
                    scale: result_scale(a),
                    pool: a.pool,
                    base: None,
                });
                whole.ops.push(Op { name: plan.ops[first].name.clone(), kind });
                all.push(factors[first + 1]);
                new.push(ValueId(whole.ops.len() as u32));
                first += 1;
                continue;
            }
            (FoldedKind::Activation { coefficients, .. }, _) => {
                let several = (*coefficients != [0.0, 1.0]).then(|| forms.activation(first)).flatten();
                match (several, found) {
                    (Some((last, activation)), _) => (last, OpKind::Activation(activation)),
                    (None, OpKind::Truncate(t)) => (first, OpKind::Activation(t.as_activation())),
                    (None, OpKind::Activation(_)) => (first, found.clone()),
                    _ => return None,
                }
            }
            _ => (first, found.clone()),
        };
        kind.inputs_mut().into_iter().for_each(|input| *input = new[input.index()]);
        whole.ops.push(Op { name: plan.ops[last].name.clone(), kind });
        all.push(factors[last + 1]);
        // Nothing else reads what was between.
        new.resize(last + 1, ValueId::INPUT);
        new.push(ValueId(whole.ops.len() as u32));
        first = last + 1;
    }
    // Another network's plan may have operations behind, and its result among them.
    if first != plan.ops.len() {
        return None;
    }
    whole.output.value = new[plan.output.value.index()];
    Some((whole, all))
}

/// A plan in which activations may stand as several operations.
pub(crate) struct Forms<'p> {
    plan: &'p Plan,
    /// How often each value is read, results included.
    readers: Vec<usize>,
}

impl<'p> Forms<'p> {
    pub(crate) fn of(plan: &'p Plan) -> Self {
        let mut readers = vec![0; plan.ops.len() + 1];
        let all = plan.ops.iter().flat_map(|op| op.kind.inputs()).chain([plan.output.value]);
        all.for_each(|value| readers[value.index()] += 1);
        Forms { plan, readers }
    }

    /// The activation that the operations from `first` on stand for, and the last of them.
    pub(crate) fn activation(&self, first: usize) -> Option<(usize, Activation)> {
        let OpKind::Truncate(t) = self.kind(first)? else { return None };
        self.squared(first, t).or_else(|| self.truncated(first, t))
    }

    fn kind(&self, op: usize) -> Option<&'p OpKind> {
        self.plan.ops.get(op).map(|op| &op.kind)
    }

    fn truncated(&self, first: usize, t: &Truncate) -> Option<(usize, Activation)> {
        let u = ValueId(first as u32 + 1);
        let s = self.polynomial(first + 1, u)?;
        let alone = self.readers[u.index()] == 1 && s.base.is_none();
        let coefficients = divided(&s.polynomials[0], t.scale.0)?;
        alone.then(|| activation(t, s, coefficients)).flatten().map(|a| (first + 1, a))
    }

    fn squared(&self, first: usize, t: &Truncate) -> Option<(usize, Activation)> {
        let (u, square) = (ValueId(first as u32 + 1), ValueId(first as u32 + 2));
        let squares = self.polynomial(first + 1, u)?;
        let plain =
            squares.polynomials == [vec![0, 0, 1]] && squares.pool.is_none() && squares.base.is_none();
        let mut last = first + 2;
        let (mut base, mut pool) = (u, None);
        let mut between = vec![square];
        if let OpKind::SumPool { input, pool: windows } = self.kind(last)?
            && *input == base
        {
            pool = Some(*windows);
            last += 1;
            base = ValueId(last as u32);
            between.push(base);
        }
        let mut shift = None;
        if let OpKind::Concat { parts } = self.kind(last)?
            && let [part] = parts[..]
            && part.input == base
        {
            shift = Some(part.shift);
            last += 1;
            base = ValueId(last as u32);
            between.push(base);
        }
        let s = self.polynomial(last, square)?;
        let (base, reads) = if shift.is_some() { (Some(base), 2) } else { (None, 1) };
        let alone = self.readers[u.index()] == reads && between.iter().all(|v| self.readers[v.index()] == 1);
        let fits = s.base == base
            && (shift.is_none() || pool == s.pool)
            && shift.is_none_or(|shift| t.scale.0.checked_add(shift) == Some(s.scale.0));
        let even = divided(&s.polynomials[0], t.scale.0.checked_mul(2)?)?;
        let mut coefficients: Vec<i64> = even.into_iter().flat_map(|c| [c, 0]).collect();
        coefficients.pop();
        let degree = coefficients.len() as u32 - 1;
        if shift.is_some() {
            let scale = s.scale.0.checked_sub(degree.checked_mul(t.scale.0)?)?;
            *coefficients.get_mut(1)? = 1i64.checked_shl(scale)?;
        }
        (plain && alone && fits).then(|| activation(t, s, coefficients)).flatten().map(|a| (last, a))
    }

    /// One polynomial of a value.
    fn polynomial(&self, op: usize, input: ValueId) -> Option<&'p Select> {
        match self.kind(op)? {
            OpKind::Select(s) => {
                let one = s.bits.is_none() && s.polynomials.len() == 1 && !s.polynomials[0].is_empty();
                (one && s.input == input).then_some(s)
            }
            _ => None,
        }
    }
}

/// The coefficients of a polynomial on integers of a scale, as those of numbers.
fn divided(polynomial: &[i128], scale: u32) -> Option<Vec<i64>> {
    let degree = polynomial.len() - 1;
    let coefficient = |(k, &c): (usize, &i128)| {
        let power = 1i128.checked_shl(((degree - k) as u32).checked_mul(scale)?)?;
        (c % power == 0).then(|| i64::try_from(c / power).ok())?
    };
    polynomial.iter().enumerate().map(coefficient).collect()
}

/// A truncation with its result and the last operation behind it, as one.
fn activation(t: &Truncate, s: &Select, coefficients: Vec<i64>) -> Option<Activation> {
    let degree = coefficients.len() as u32 - 1;
    let coefficient_scale = s.scale.0.checked_sub(degree.checked_mul(t.scale.0)?)?;
    Some(Activation {
        input: t.input,
        ell: t.ell,
        input_scale: t.scale,
        coefficients,
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
    use crate::{CompileOptions, Compiled, Simulator, compile, networks, proof, quantize_input};
    use amicus_field::LimbVec;
    use amicus_plan::Link;

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

    fn squares(plan: &Plan) -> usize {
        plan.ops.iter().filter(|op| op.name.ends_with(SQUARE)).count()
    }

    #[test]
    fn openings_more_where_dealing_takes_longer() {
        // The two large layers, the first one alone, none: in squares where an opening is nothing.
        let links = [0.0001, 0.0015, 0.005, 0.3];
        let plans = links.map(|one_way| compiled(one_way, false).plan);
        assert_eq!(
            plans.each_ref().map(|plan| (truncations(plan), squares(plan))),
            [(2, 2), (2, 1), (1, 0), (0, 0)]
        );
        let [near, middle, first, far] = plans.map(|plan| plan.cost(1).unwrap());
        assert_eq!([near, middle, first].map(|cost| cost.rounds - far.rounds), [4, 3, 1]);
        // 117 or 169 bytes instead of 299 for each number.
        let inputs = [6 * 28 * 28, 16 * 10 * 10];
        let saved = [near, middle, first].map(|cost| far.dealt_bytes - cost.dealt_bytes);
        assert_eq!(
            saved,
            [182 * (inputs[0] + inputs[1]), 182 * inputs[0] + 130 * inputs[1], 130 * inputs[0]]
        );
        // With the statistical rule one set is dealt anyway.
        let mixed = compiled(0.0001, true).plan;
        let one_set = |op: &Op| matches!(&op.kind, OpKind::Activation(a) if a.wrap == WrapRule::Statistical);
        assert!(truncations(&mixed) < 2 && mixed.ops.iter().any(one_set));
    }

    /// Every way to split the activations of a plan.
    fn all_forms(plan: &Plan) -> Vec<Vec<Form>> {
        let open: Vec<usize> =
            (0..plan.ops.len()).filter(|&op| polynomial(&plan.ops[op].kind, 103).is_some()).collect();
        assert_eq!(open.len(), 4);
        let number = 3usize.pow(open.len() as u32);
        let forms = |way: usize| {
            let mut forms = vec![Form::Whole; plan.ops.len()];
            for (i, &op) in open.iter().enumerate() {
                let which = way / 3usize.pow(i as u32) % 3;
                forms[op] = [Form::Whole, Form::Truncated, Form::Squared][which];
            }
            forms
        };
        (0..number).map(forms).collect()
    }

    #[test]
    fn what_is_split_is_put_together_again() {
        let far = compiled(0.3, false);
        for forms in all_forms(&far.plan) {
            let (split, factors) = in_forms(&far.plan, &far.factors, &forms);
            let squared = forms.iter().filter(|form| **form == Form::Squared).count();
            let apart = forms.iter().filter(|form| **form != Form::Whole).count();
            assert_eq!((truncations(&split), squares(&split)), (apart, squared));
            assert_eq!(factors.len(), split.ops.len() + 1);
            split.values().unwrap();
            assert_eq!(whole(&split, &factors), (far.plan.clone(), far.factors.clone()));
        }
    }

    #[test]
    fn what_is_computed_is_the_same_in_every_form() {
        let Compiled { plan, weights, factors, .. } = compiled(0.3, false);
        let mut random = SplitMix(7);
        let sample: Vec<f32> = (0..784).map(|_| random.unit() as f32).collect();
        let input = LimbVec::from_i64(plan.limbs, &quantize_input(&plan, &sample).unwrap());
        let result = |plan: &Plan| Simulator::new(plan, &weights).unwrap().outputs(&input, 1).unwrap();
        let expected = result(&plan).integers().to_vec();
        for forms in all_forms(&plan) {
            let (split, _) = in_forms(&plan, &factors, &forms);
            assert_eq!(result(&split).integers(), expected, "{forms:?}");
            // Bounds for those who know the weights are those of the whole.
            let bounds = |plan: &Plan| proof::bounds(plan, &weights, None)[plan.output.value.index()];
            let [apart, one] = [bounds(&split), bounds(&plan)];
            assert!((apart - one).abs() <= 1e-6 * one, "{forms:?}: {apart} and {one}");
        }
    }

    #[test]
    fn squares_are_computed_beside_truncations_where_an_opening_takes_longer() {
        let in_steps = |(one_way, bandwidth): (f64, f64)| {
            let mut random = SplitMix(1);
            let samples: Vec<Vec<f32>> =
                (0..8).map(|_| (0..784).map(|_| random.unit() as f32).collect()).collect();
            let link = Link { one_way, bandwidth: Some(bandwidth), shared_cores: None };
            let options = CompileOptions { limbs: Some(Limbs::ONE), link, ..CompileOptions::default() };
            let graph = networks::lenet5_random(3).unwrap();
            let compiled = compile(&graph, &samples, &options).unwrap();
            let kept = crate::planned::Planned::of(&compiled);
            assert!(kept.weights(&graph).unwrap() == compiled.weights);
            compiled
        };
        let [near, some, far] = [(0.0001, 1e6), (0.0005, 125e6), (0.3, 125e6)].map(in_steps);
        let costs = [&near, &some, &far].map(|c| c.plan.cost(1).unwrap());
        // An opening less for each activation; five elements more for each of its numbers.
        assert_eq!(costs.map(|cost| cost.rounds), [28, 25, 24]);
        let dealt = costs.map(|cost| cost.dealt_bytes);
        assert_eq!(dealt[1] - dealt[0], 13 * 5 * (1600 + 120 + 84) / 2);
        assert_eq!(dealt[2] - dealt[0], 13 * 5 * 6508 / 2);
        // All compute the same integers.
        let mut random = SplitMix(7);
        let sample: Vec<f32> = (0..784).map(|_| random.unit() as f32).collect();
        let input = LimbVec::from_i64(near.plan.limbs, &quantize_input(&near.plan, &sample).unwrap());
        let result = |c: &Compiled| {
            Simulator::new(&c.plan, &c.weights).unwrap().outputs(&input, 1).unwrap().integers().to_vec()
        };
        assert_eq!(result(&some), result(&near));
        assert_eq!(result(&far), result(&near));
    }

    #[test]
    fn only_what_is_even_beside_itself_is_squared() {
        let plan = compiled(0.3, false).plan;
        let at = plan.ops.iter().position(|op| matches!(op.kind, OpKind::Activation(_))).unwrap();
        let OpKind::Activation(a) = plan.ops[at].kind.clone() else { panic!("an activation") };
        assert!(a.pool.is_some());
        let even = |change: &dyn Fn(&mut Activation)| {
            let mut a = a.clone();
            change(&mut a);
            (is_even_beside_itself(&OpKind::Activation(a.clone())), a)
        };
        assert!(even(&|_| ()).0 && even(&|a| a.coefficients[1] = 0).0);
        assert!(even(&|a| a.coefficients.truncate(5)).0);
        for wrong in [1usize, 3, 5] {
            assert!(!even(&|a| a.coefficients[wrong] += 1).0, "{wrong}");
        }
        assert!(!even(&|a| a.coefficients.push(1)).0 && !even(&|a| a.coefficients.truncate(3)).0);
        // Without a linear term there is nothing to add.
        let mut without = plan.clone();
        without.ops[at].kind = OpKind::Activation(even(&|a| a.coefficients[1] = 0).1);
        let mut forms = vec![Form::Whole; plan.ops.len()];
        forms[at] = Form::Squared;
        let factors = vec![1.0; plan.ops.len() + 1];
        let (split, all) = in_forms(&without, &factors, &forms);
        assert_eq!(split.ops.len(), plan.ops.len() + 2);
        assert_eq!(whole(&split, &all).0, without);
    }

    #[test]
    fn other_operations_are_not_taken_for_a_polynomial_in_squares() {
        let far = compiled(0.3, false);
        let at = far.plan.ops.iter().position(|op| matches!(op.kind, OpKind::Activation(_))).unwrap();
        let mut forms = vec![Form::Whole; far.plan.ops.len()];
        forms[at] = Form::Squared;
        let (split, _) = in_forms(&far.plan, &far.factors, &forms);
        let last = at + 4;
        assert_eq!(Forms::of(&split).activation(at).map(|(last, _)| last), Some(last));
        let changed = |change: &dyn Fn(&mut Plan)| {
            let mut plan = split.clone();
            change(&mut plan);
            Forms::of(&plan).activation(at).is_none()
        };
        let select = |plan: &mut Plan, op: usize, change: &dyn Fn(&mut Select)| match &mut plan.ops[op].kind {
            OpKind::Select(s) => change(s),
            other => panic!("{other:?}"),
        };
        // Another polynomial than the square; a square summed over windows; a sum over other windows; no
        // sum; another scale; a value that something else reads.
        assert!(changed(&|plan| select(plan, at + 1, &|s| s.polynomials[0][1] = 1)));
        assert!(changed(&|plan| select(plan, at + 1, &|s| s.polynomials[0][2] = 2)));
        assert!(changed(&|plan| select(plan, last, &|s| s.pool = None)));
        assert!(changed(&|plan| select(plan, last, &|s| s.base = None)));
        assert!(changed(&|plan| select(plan, last, &|s| s.scale.0 += 1)));
        assert!(changed(&|plan| select(plan, last, &|s| s.polynomials[0][1] += 1)));
        for between in at + 1..=last {
            assert!(changed(&|plan| plan.output.value = ValueId(between as u32)), "{between}");
        }
    }
}
