//! Estimates grow with what they are made of.

mod common;

use amicus_plan::{Link, OpKind, Rates, ValueId};

#[test]
fn slower_networks_and_larger_batches_take_longer() {
    let plan = common::lenet5();
    let local = Link { one_way: 0.0, bandwidth: None, shared_cores: Some(2) };
    let wan = Link { one_way: 0.02, bandwidth: Some(12.5e6), shared_cores: None };
    let of = |batch, link: &Link| plan.estimate(2, batch, link, &Rates::STATED).unwrap();
    let (a, b, c) = (of(1, &local), of(1, &wan), of(8, &wan));
    let delays = a.cost.rounds as f64 * 0.02;
    let sent = a.cost.sent_bytes_per_party as f64 / 12.5e6;
    assert!(b.online > delays + sent && b.online < delays + 2.0 * sent + a.online);
    // Every party gets its part over a line of its own.
    let over_a_line = |parties: f64| a.cost.dealt_bytes as f64 / 12.5e6 / parties;
    assert!(b.preprocessing > 0.04 + over_a_line(2.0));
    let of_four = plan.estimate(4, 1, &wan, &Rates::STATED).unwrap();
    let saved = b.preprocessing - of_four.preprocessing;
    assert!((saved - over_a_line(2.0) + over_a_line(4.0)).abs() < 1e-9, "{saved}");
    assert!(c.online > b.online && c.memory.party > b.memory.party);
    assert_eq!(a.memory.owner, c.memory.owner);
    // Beside two copies of the weights and the material, a party makes or holds a number for every value.
    let values = plan.values().unwrap();
    let numbers: usize = (0..values.count()).map(|v| values.get(ValueId(v as u32)).len).sum();
    let weights: usize = plan.weights.iter().map(|w| w.shape.weights()).sum();
    for (estimate, batch) in [(a, 1), (c, 8)] {
        let beside = estimate.memory.party - estimate.cost.material_bytes;
        assert!(beside >= (8 * (2 * weights + batch * numbers)) as u64, "{beside}");
    }
}

#[test]
fn what_operations_take_adds_up_to_the_whole() {
    let plan = common::lenet5();
    for (batch, one_way, bandwidth, shared_cores) in [(1, 0.0, None, Some(2)), (8, 0.02, Some(12.5e6), None)]
    {
        let link = Link { one_way, bandwidth, shared_cores };
        let whole = plan.estimate(3, batch, &link, &Rates::STATED).unwrap();
        let parts = plan.op_estimates(3, batch, &link, &Rates::STATED).unwrap();
        assert_eq!(parts.len(), plan.ops.len());
        let sum = |of: fn(&amicus_plan::OpCost) -> u64| parts.iter().map(|part| of(&part.cost)).sum::<u64>();
        assert_eq!(sum(|cost| cost.sent_bytes_per_party), whole.cost.sent_bytes_per_party);
        assert_eq!(sum(|cost| cost.dealt_bytes), whole.cost.dealt_bytes);
        assert_eq!(sum(|cost| cost.multiply_adds), whole.cost.multiply_adds);
        // Beside them: hops of input, check and release, or of preparation, and the input.
        let hop = one_way + Rates::STATED.hop_over(&link);
        let inputs: usize = plan.input.shape.iter().product::<usize>() * batch;
        let input = amicus_field::packed_len(plan.limbs, inputs) as f64;
        let rest = 3.0 * hop + bandwidth.map_or(0.0, |bytes| input / bytes);
        let online: f64 = parts.iter().map(|part| part.online).sum();
        let preprocessing: f64 = parts.iter().map(|part| part.preprocessing).sum();
        assert!((online + rest - whole.online).abs() < 1e-9, "{online} + {rest}, {}", whole.online);
        assert!((preprocessing + 2.0 * hop - whole.preprocessing).abs() < 1e-9);
    }
}

#[test]
fn the_helper_keeps_what_it_dealt_of_comparisons() {
    let link = Link { one_way: 0.0, bandwidth: None, shared_cores: Some(2) };
    let plan = common::exact();
    let values = plan.values().unwrap();
    for (parties, batch) in [(2, 1), (3, 70)] {
        let of = |op: &amicus_plan::Op| match &op.kind {
            OpKind::Compare(c) => c.kept_bytes(values.get(c.input).len * batch, parties) as u64,
            _ => 0,
        };
        let kept: u64 = plan.ops.iter().map(of).sum();
        let memory = plan.estimate(parties, batch, &link, &Rates::STATED).unwrap().memory;
        assert!(kept > 0 && memory.helper_ready == kept && memory.helper > kept, "{memory:?}");
    }
    assert_eq!(common::lenet5().estimate(2, 1, &link, &Rates::STATED).unwrap().memory.helper_ready, 0);
}
