//! The fast simulator against its definition, and one operation at a time.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

mod common;

use amicus_field::{I256, LimbVec, Limbs};
use amicus_model::simulate::{Step, definition};
use amicus_model::{Simulator, simulate};
use amicus_plan::{Compare, OpKind, ValueId};
use common::{Random, random_plan};

/// Integers of about the given number of bits.
fn inputs(r: &mut Random, n: usize, bits: u32) -> Vec<I256> {
    (0..n).map(|_| (I256::from(r.next() as i64) << 100u32) >> (163 - bits)).collect()
}

#[test]
fn the_fast_simulator_is_its_definition() {
    let mut kinds = [0usize; 16];
    for limbs in Limbs::ALL {
        for seed in 0..120u64 {
            let (plan, weights) = random_plan(limbs, seed);
            let mut r = Random(seed ^ 0xabc);
            let (len, batch) = (plan.input.shape.iter().product::<usize>(), r.between(1, 3));
            // Some inputs in range, some so large that everything wraps: both are F_Q.
            let bits = if seed % 3 == 0 { plan.bits() - 1 } else { 6 };
            let x = inputs(&mut r, len * batch, bits);
            let trace =
                simulate(&plan, &weights, &LimbVec::from_signed(limbs, x.iter().copied()), batch).unwrap();
            for b in 0..batch {
                let expected = definition::values(&plan, &weights, &x[b * len..(b + 1) * len]).unwrap();
                for (v, expected) in expected.iter().enumerate() {
                    let got = trace.value(ValueId(v as u32));
                    // Bits lie threshold by threshold, and in each input by input.
                    let planes = got.len() / batch / plan.values().unwrap().get(ValueId(v as u32)).len;
                    let each = expected.len() / planes;
                    let of = |t: usize| got.slice((t * batch + b) * each..(t * batch + b + 1) * each);
                    let got: Vec<I256> = (0..planes).flat_map(|t| of(t).signed()).collect();
                    assert_eq!(&got, expected, "{} limbs, {}, value {v}", limbs.count(), plan.name);
                }
                let out = definition::outputs(&plan, &weights, &x[b * len..(b + 1) * len]).unwrap();
                assert_eq!(&trace.outputs().integers()[b * out.len()..(b + 1) * out.len()], out);
            }
            for op in &plan.ops {
                kinds[match op.kind {
                    OpKind::Linear { .. } => 0,
                    OpKind::Multiply { .. } => 1,
                    OpKind::Activation(_) => 2,
                    OpKind::Add { .. } => 3,
                    OpKind::SumPool { .. } => 4,
                    OpKind::Slice { .. } => 5,
                    OpKind::Concat { .. } => 6,
                    OpKind::Weigh { .. } => 7,
                    OpKind::Compare(_) => 8,
                    OpKind::Truncate(_) => 9,
                    OpKind::Select(_) => 10,
                    OpKind::Subtract { .. } => 11,
                    OpKind::Gather { .. } => 12,
                    OpKind::Xnor { .. } => 13,
                    OpKind::Outside(_) => 14,
                    OpKind::PublicLinear { .. } => 15,
                }] += 1;
            }
        }
    }
    assert!(kinds.iter().all(|&k| k > 50), "operations tried: {kinds:?}");
}

#[test]
fn steps_agree_with_the_trace_and_notice_wrong_values() {
    for seed in 100..130u64 {
        let limbs = Limbs::ALL[seed as usize % 3];
        let (plan, weights) = random_plan(limbs, seed);
        let simulator = Simulator::new(&plan, &weights).unwrap();
        let mut r = Random(seed);
        let batch = 2;
        let x = inputs(&mut r, plan.input.shape.iter().product::<usize>() * batch, 8);
        let trace = simulator.trace(&LimbVec::from_signed(limbs, x), batch).unwrap();
        for (index, op) in plan.indexed_ops() {
            let inputs: Vec<&LimbVec> = op.kind.inputs().iter().map(|&v| trace.value(v)).collect();
            let result = trace.value(ValueId::of(index));
            match simulator.step(index, &inputs, batch).unwrap() {
                Step::Exact(expected) => assert_eq!(result, &expected),
                Step::Between(step) => {
                    assert_eq!(result, &step.nearest);
                    for allowed in [&step.lowest, &step.highest, &step.nearest] {
                        assert_eq!(step.check(allowed), Ok(()));
                    }
                    let at = r.below(result.len());
                    let mut wrong = result.clone();
                    wrong.set(at, step.highest.get(at) + amicus_field::Element::one(limbs));
                    assert_eq!(step.check(&wrong), Err(at));
                }
                Step::Activation(step) => {
                    let u = trace.argument(index).unwrap();
                    assert_eq!(u, step.nearest());
                    assert_eq!(step.check_arguments(u), Ok(()));
                    assert_eq!(&step.result(u), result);
                    assert_eq!(step.check_result(result), Ok(()));
                    // Rounded up or down at random, as the secure run does.
                    let mut other = step.lowest().clone();
                    for i in 0..other.len() {
                        if r.below(2) == 1 {
                            other.set(i, step.highest().get(i));
                        }
                    }
                    assert_eq!(step.check_arguments(&other), Ok(()));
                    assert_eq!(step.check_result(&step.result(&other)), Ok(()));
                    // One unit further is wrong.
                    let at = r.below(other.len());
                    let beyond = step.highest().get(at) + amicus_field::Element::one(limbs);
                    other.set(at, beyond);
                    assert_eq!(step.check_arguments(&other), Err(at));
                    let mut wrong = result.clone();
                    let at = r.below(wrong.len());
                    wrong.set(at, wrong.get(at) + amicus_field::Element::from_i128(limbs, 1 << 40));
                    assert_eq!(step.check_result(&wrong), Err(at));
                }
            }
        }
        let z = trace.value(plan.output.value);
        for (pair, &got) in simulator.allowed_outputs(z).iter().zip(trace.outputs().integers()) {
            assert!(pair.contains(&got));
        }
    }
}

/// What a run with masks gives is what some mask may give, and for comparisons the bit that the
/// text promises: that of `z - t` less half a unit, with the carry of the low bits, moved by the
/// modulus where the sum wraps.
#[test]
fn with_masks_the_simulator_decides_and_rounds_as_a_run_does() {
    let (mut decided, mut at_random) = (0, [0usize; 2]);
    for seed in 200..260u64 {
        let limbs = Limbs::ALL[seed as usize % 3];
        let (plan, weights) = random_plan(limbs, seed);
        let infos = plan.values().unwrap();
        let simulator = Simulator::new(&plan, &weights).unwrap();
        let mut r = Random(seed);
        let batch = 2;
        let x = inputs(&mut r, infos.get(ValueId::INPUT).len * batch, 8);
        let x = LimbVec::from_signed(limbs, x);
        let masks: Vec<LimbVec> = (0..infos.count() as u32)
            .map(|v| {
                let len = infos.get(ValueId(v)).len * batch;
                let planes = (0..limbs.count() * len).map(|_| r.next() >> 12).collect();
                LimbVec::from_planes(limbs, planes).unwrap()
            })
            .collect();
        let trace = simulator.trace_masked(&x, &masks, batch).unwrap();
        for (index, op) in plan.indexed_ops() {
            let inputs: Vec<&LimbVec> = op.kind.inputs().iter().map(|&v| trace.value(v)).collect();
            let result = trace.value(ValueId::of(index));
            match simulator.step(index, &inputs, batch).unwrap() {
                Step::Exact(expected) => assert_eq!(result, &expected),
                Step::Activation(step) => {
                    // Beyond its bound nothing is promised of a truncation.
                    if in_bounds(&op.kind, inputs[0]) {
                        step.check_result(result).unwrap();
                    }
                }
                Step::Between(step) => {
                    if let OpKind::Compare(c) = &op.kind {
                        let z = inputs[0].signed();
                        for (i, bit) in result.signed().into_iter().enumerate() {
                            let (t, e) = (c.thresholds[i / z.len()], i % z.len());
                            let r = masks[c.input.index()].get(e).lift();
                            if let Some(expected) = promised(limbs, c, z[e], t, r.as_i256()) {
                                assert_eq!(bit, I256::from(u8::from(expected)), "{} {e}", op.name);
                                decided += 1;
                                let free = step.lowest.get(i) != step.highest.get(i);
                                at_random[usize::from(expected)] += usize::from(free);
                                assert!(free || step.lowest.get(i) == result.get(i));
                            }
                        }
                    } else if in_bounds(&op.kind, inputs[0]) {
                        step.check(result).unwrap();
                    }
                }
            }
        }
        assert!(simulator.trace_masked(&x, &masks[1..], batch).is_err());
    }
    assert!(decided > 2000 && at_random.iter().all(|&n| n > 50), "{decided} {at_random:?}");
}

/// Whether all numbers are below the bound of a truncation.
fn in_bounds(kind: &OpKind, z: &LimbVec) -> bool {
    let ell = match kind {
        OpKind::Activation(a) => a.ell,
        OpKind::Truncate(t) => t.ell,
        _ => panic!("no truncation"),
    };
    z.signed().iter().all(|z| z.abs() < I256::ONE << ell)
}

/// The bit of `floor(z'' / 2^s) + carry`, unless that leaves the window.
fn promised(limbs: Limbs, c: &Compare, z: I256, t: i128, r: I256) -> Option<bool> {
    let unit = I256::ONE << c.unit;
    let y = z - I256::from(t) - unit / 2;
    let q = limbs.modulus().as_i256();
    let wraps = (y + r).div_euclid(q);
    let moved = y + ((I256::ONE << limbs.bits()) - q) * wraps;
    let carry = I256::from(u8::from(moved.rem_euclid(unit) + r.rem_euclid(unit) >= unit));
    let u = moved.div_euclid(unit) + carry;
    let half = I256::ONE << (c.window() - 1);
    (wraps.abs() <= I256::ONE && -half <= u && u < half).then_some(u >= I256::ZERO)
}

#[test]
fn wrong_inputs_are_refused() {
    let (plan, weights) = random_plan(Limbs::TWO, 1);
    let simulator = Simulator::new(&plan, &weights).unwrap();
    let len = plan.input.shape.iter().product::<usize>();
    let refused = |x: &LimbVec, batch| simulator.trace(x, batch).unwrap_err().to_string();
    assert!(refused(&LimbVec::zeros(Limbs::TWO, len + 1), 1).contains("expected 1 times"));
    assert!(refused(&LimbVec::zeros(Limbs::ONE, len), 1).contains("of 1 limb(s)"));
    assert!(refused(&LimbVec::zeros(Limbs::TWO, 0), 0).starts_with("input: "));
    let (other, _) = random_plan(Limbs::TWO, 2);
    assert!(Simulator::new(&other, &weights).is_err());
    let short = LimbVec::zeros(Limbs::TWO, 1);
    let error = simulator.step(amicus_plan::OpIndex(0), &[&short], 1).unwrap_err().to_string();
    assert!(error.starts_with("op0: inputs of [1] elements"), "{error}");
}
