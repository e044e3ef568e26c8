//! The fast simulator against its definition, and one operation at a time.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

mod common;

use amicus_field::{I256, LimbVec, Limbs};
use amicus_model::simulate::{Step, definition};
use amicus_model::{Simulator, simulate};
use amicus_plan::{OpKind, ValueId};
use common::{Random, random_plan};

/// Integers of about the given number of bits.
fn inputs(r: &mut Random, n: usize, bits: u32) -> Vec<I256> {
    (0..n).map(|_| (I256::from(r.next() as i64) << 100u32) >> (163 - bits)).collect()
}

#[test]
fn the_fast_simulator_is_its_definition() {
    let mut kinds = [0usize; 8];
    for limbs in Limbs::ALL {
        for seed in 0..60u64 {
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
                    let got = got.slice(b * expected.len()..(b + 1) * expected.len()).signed();
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
