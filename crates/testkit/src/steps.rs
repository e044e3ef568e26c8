//! Holds a run to its plan, operation by operation: unmasks everything that was opened and compares
//! it with the exact integers.

use crate::direct::{Loaded, Outcome};
use crate::nets::Net;
use amicus_field::{BitVec, Element, I256, LimbVec, Limbs};
use amicus_model::Simulator;
use amicus_model::simulate::Step;
use amicus_plan::{Compare, OpIndex, OpKind, Select, Stage, ValueId};

/// The masked values `D` of a run, local operations included; of a comparison the masked bits,
/// plane by plane.
///
/// # Panics
/// When the run is not one of this network.
pub fn masked_values(net: &Net, outcome: &Outcome) -> Vec<LimbVec> {
    let simulator = Simulator::new(&net.plan, &net.weights).expect("weights of this plan");
    let mut values = vec![outcome.input.clone()];
    for (index, op) in net.plan.indexed_ops() {
        let opened = outcome.opened.iter().find(|(value, _)| *value == ValueId::of(index));
        let value = match (opened, &op.kind) {
            (_, OpKind::Compare(compare)) => {
                bits(net.plan.limbs, &masked_bits(compare, index, &values[compare.input.index()], outcome))
            }
            (Some((_, opened)), OpKind::Select(Select { base: Some(base), .. })) => {
                let mut value = opened.clone();
                value.add_assign(&values[base.index()]);
                value
            }
            (Some((_, opened)), _) => opened.clone(),
            // Local operations are linear, so they do to masked values what they do to values.
            (None, _) => {
                let inputs: Vec<&LimbVec> = op.kind.inputs().iter().map(|v| &values[v.index()]).collect();
                match simulator.step(index, &inputs, outcome.batch) {
                    Ok(Step::Exact(value)) => value,
                    other => panic!("{} is not local: {other:?}", op.name),
                }
            }
        };
        values.push(value);
    }
    values
}

/// The masked bits of a comparison: what was opened last, the top bit of the public window, and 1.
fn masked_bits(compare: &Compare, index: OpIndex, d: &LimbVec, outcome: &Outcome) -> Vec<BitVec> {
    let last = Stage { op: index, level: compare.levels() as u32 - 1 };
    let (_, opened) = outcome.bits.iter().find(|(stage, _)| *stage == last).expect("bits of this run");
    let modulus = d.limbs().modulus().as_i256();
    let half = if compare.unit > 0 { I256::ONE << (compare.unit - 1) } else { I256::ZERO };
    let planes = compare.thresholds.iter().zip(opened).map(|(&threshold, plane)| {
        let bit = |i: usize| {
            let lifted = d.get(i).lift().as_i256() - I256::from(threshold) - half;
            let window = lifted.rem_euclid(modulus) >> (compare.unit + compare.window() - 1);
            plane.get(i) == (window & I256::ONE == I256::ONE)
        };
        (0..d.len()).map(bit).collect()
    });
    planes.collect()
}

/// Bits as elements 0 and 1, plane by plane.
fn bits(limbs: Limbs, planes: &[BitVec]) -> LimbVec {
    let all = planes.iter().flat_map(|plane| (0..plane.len()).map(|i| i64::from(plane.get(i))));
    LimbVec::from_i64(limbs, &all.collect::<Vec<_>>())
}

/// The bits that a comparison decides on values under these masked values, by its definition
/// (`docs/protocol.md`, 6.10): whether `v - mu` is in the lower half of the window.
fn decided(compare: &Compare, d: &LimbVec, values: &LimbVec) -> Vec<bool> {
    let modulus = d.limbs().modulus().as_i256();
    let half = (I256::ONE << compare.unit) / 2;
    let size = I256::ONE << compare.window();
    let of_threshold = |&threshold: &i128| {
        let bit = move |i: usize| {
            let d = d.get(i).lift().as_i256();
            let r = (d - values.get(i).lift().as_i256()).rem_euclid(modulus);
            let v = (d - I256::from(threshold) - half).rem_euclid(modulus) >> compare.unit;
            (v - (r >> compare.unit)).rem_euclid(size) < size / 2
        };
        (0..d.len()).map(bit)
    };
    compare.thresholds.iter().flat_map(of_threshold).collect()
}

fn bit_of(bits: &LimbVec, i: usize) -> i64 {
    i64::from(!bits.get(i).is_zero())
}

/// The values of a run, unmasked with what the helper knows.
///
/// # Panics
/// When the run is not one of this network.
pub fn values(loaded: &Loaded, net: &Net, outcome: &Outcome) -> Vec<LimbVec> {
    let masks = loaded.danger_masks(outcome);
    let mut values = masked_values(net, outcome);
    let masks_of_bits = loaded.danger_bit_masks(outcome);
    for (at, (value, mask)) in values.iter_mut().zip(&masks).enumerate() {
        match ValueId(at as u32).op().map(|index| (index, &net.plan.op(index).kind)) {
            Some((index, OpKind::Compare(_) | OpKind::Xnor { .. })) => {
                let mask = bits(net.plan.limbs, &masks_of_bits[index.index()]);
                let unmask = |i: usize| i64::from(value.get(i) != mask.get(i));
                *value = LimbVec::from_i64(mask.limbs(), &(0..mask.len()).map(unmask).collect::<Vec<_>>());
            }
            _ => value.sub_assign(mask),
        }
    }
    values
}

/// Numbers are 0 where every element is 0 or 1, and random elsewhere: not 0, and no two alike.
fn check_outside(numbers: usize, x: &LimbVec, result: &LimbVec, batch: usize) -> Result<(), usize> {
    let each = x.len() / batch;
    let inside = |i: usize| x.get(i).is_zero() || x.get(i) == Element::one(x.limbs());
    for e in 0..batch {
        let any = !(e * each..(e + 1) * each).all(inside);
        let own: Vec<_> = (e * numbers..(e + 1) * numbers).map(|i| result.get(i)).collect();
        let right = |(i, number): (usize, &_)| {
            let number: &Element = number;
            number.is_zero() != any && (!any || !own[..i].contains(number))
        };
        if let Some(wrong) = own.iter().enumerate().position(|pair| !right(pair)) {
            return Err(e * numbers + wrong);
        }
    }
    Ok(())
}

/// Checks every operation of an accepted run: exact, truncated arguments one of the two integers
/// around the value, and outputs less than 1.5 units away: where the mask wrapped around, the
/// receiver adds `Q / 2^shift` rounded (`docs/protocol.md`, 6.8).
///
/// # Errors
/// The first operation whose result is not what its plan says.
pub fn check(loaded: &Loaded, net: &Net, inputs: &[i64], outcome: &Outcome) -> Result<(), String> {
    let simulator = Simulator::new(&net.plan, &net.weights).map_err(|e| e.to_string())?;
    let (masked, values) = (masked_values(net, outcome), values(loaded, net, outcome));
    if values[0] != LimbVec::from_i64(net.plan.limbs, inputs) {
        return Err("the input is another one".into());
    }
    for (index, op) in net.plan.indexed_ops() {
        let inputs: Vec<&LimbVec> = op.kind.inputs().iter().map(|v| &values[v.index()]).collect();
        let result = &values[ValueId::of(index).index()];
        if let OpKind::Outside(o) = &op.kind {
            check_outside(o.numbers as usize, inputs[0], result, outcome.batch)
                .map_err(|number| format!("{}: number {number} is wrong", op.name))?;
            continue;
        }
        let right = match simulator.step(index, &inputs, outcome.batch).map_err(|e| e.to_string())? {
            Step::Exact(expected) => (0..result.len()).find(|&i| result.get(i) != expected.get(i)),
            Step::Activation(step) => step.check_result(result).err(),
            Step::Between(step) => step.check(result).err(),
        };
        if let Some(element) = right {
            return Err(format!("{}: element {element} is wrong", op.name));
        }
        if let OpKind::Compare(compare) = &op.kind {
            let d = &masked[compare.input.index()];
            let expected = decided(compare, d, inputs[0]);
            if let Some(bit) = (0..expected.len()).find(|&i| i64::from(expected[i]) != bit_of(result, i)) {
                return Err(format!("{}: bit {bit} is wrong", op.name));
            }
        }
    }
    let logits = outcome.logits.as_ref().map_err(ToString::to_string)?;
    let out = &net.plan.output;
    let shift = net.plan.values().map_err(|e| e.to_string())?.get(out.value).scale.0 - out.scale.0;
    let exact = values[out.value.index()].signed();
    if exact.len() != logits.len() {
        return Err(format!("{} outputs, expected {}", logits.len(), exact.len()));
    }
    for (element, (&exact, logit)) in exact.iter().zip(logits).enumerate() {
        let got = I256::from((logit * 2f64.powi(out.scale.0 as i32)).round() as i128);
        let twice = ((got << shift) - exact).abs() * 2;
        // A random number may be beyond the bound of outputs, or what a real number holds, and is only
        // said not to be 0.
        let random = exact.abs() >> out.ell.min(shift + 50) > I256::ZERO;
        if random && got.abs() > I256::ONE {
            continue;
        }
        if if shift == 0 { twice > 0 } else { twice >= I256::from(3) << shift } {
            return Err(format!("output {element} is {got}, exactly it is {exact} / 2^{shift}"));
        }
    }
    Ok(())
}
