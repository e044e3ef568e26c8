//! Holds a run to its plan, operation by operation: unmasks everything that was opened and compares
//! it with the exact integers.

use crate::direct::{Loaded, Outcome};
use crate::nets::Net;
use amicus_field::{I256, LimbVec};
use amicus_model::Simulator;
use amicus_model::simulate::Step;
use amicus_plan::ValueId;

/// The masked values `D` of a run, local operations included.
///
/// # Panics
/// When the run is not one of this network.
pub fn masked_values(net: &Net, outcome: &Outcome) -> Vec<LimbVec> {
    let simulator = Simulator::new(&net.plan, &net.weights).expect("weights of this plan");
    let mut values = vec![outcome.input.clone()];
    for (index, op) in net.plan.indexed_ops() {
        let opened = outcome.opened.iter().find(|(value, _)| *value == ValueId::of(index));
        let value = match opened {
            Some((_, opened)) => opened.clone(),
            // Local operations are linear, so they do to masked values what they do to values.
            None => {
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

/// The values of a run, unmasked with what the helper knows.
///
/// # Panics
/// When the run is not one of this network.
pub fn values(loaded: &Loaded, net: &Net, outcome: &Outcome) -> Vec<LimbVec> {
    let masks = loaded.danger_masks(outcome);
    let mut values = masked_values(net, outcome);
    values.iter_mut().zip(&masks).for_each(|(d, m)| d.sub_assign(m));
    values
}

/// Checks every operation of an accepted run: exact, truncated arguments one of the two integers
/// around the value, and outputs less than 1.5 units away: where the mask wrapped around, the
/// receiver adds `Q / 2^shift` rounded (`docs/protocol.md`, 6.8).
///
/// # Errors
/// The first operation whose result is not what its plan says.
pub fn check(loaded: &Loaded, net: &Net, inputs: &[i64], outcome: &Outcome) -> Result<(), String> {
    let simulator = Simulator::new(&net.plan, &net.weights).map_err(|e| e.to_string())?;
    let values = values(loaded, net, outcome);
    if values[0] != LimbVec::from_i64(net.plan.limbs, inputs) {
        return Err("the input is another one".into());
    }
    for (index, op) in net.plan.indexed_ops() {
        let inputs: Vec<&LimbVec> = op.kind.inputs().iter().map(|v| &values[v.index()]).collect();
        let result = &values[ValueId::of(index).index()];
        let right = match simulator.step(index, &inputs, outcome.batch).map_err(|e| e.to_string())? {
            Step::Exact(expected) => (0..result.len()).find(|&i| result.get(i) != expected.get(i)),
            Step::Activation(step) => step.check_result(result).err(),
            Step::Between(step) => step.check(result).err(),
        };
        if let Some(element) = right {
            return Err(format!("{}: element {element} is wrong", op.name));
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
        if if shift == 0 { twice > 0 } else { twice >= I256::from(3) << shift } {
            return Err(format!("output {element} is {got}, exactly it is {exact} / 2^{shift}"));
        }
    }
    Ok(())
}
