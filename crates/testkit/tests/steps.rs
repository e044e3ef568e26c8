//! Honest runs agree with exact integers, operation by operation.

use amicus_field::{Element, LimbVec, Limbs};
use amicus_protocol::{Parties, preprocess};
use amicus_testkit::{direct, steps, zoo};

#[test]
fn every_operation_gives_the_exact_integers() {
    for limbs in Limbs::ALL {
        for net in zoo::all(limbs).iter().chain(&zoo::comparing(limbs)) {
            for (parties, batch) in [(2, 1), (3, 3), (5, 2)] {
                let parties = Parties::new(parties).unwrap();
                let loaded = direct::load(&net.plan, &net.layers(), parties, None).unwrap();
                for salt in 0..3 {
                    let inputs = net.inputs(batch, 40 + salt);
                    let outcome = direct::infer(&loaded, &inputs, batch, &[], &mut |_| ()).unwrap();
                    let context = format!("{} with {} limbs", net.plan.name, limbs.count());
                    steps::check(&loaded, net, &inputs, &outcome)
                        .unwrap_or_else(|e| panic!("{context}: {e}"));
                    // Where pieces do not meet, a value near a threshold may take either; what tells of
                    // values outside is random.
                    let jumps = ["pieces", "watched"].contains(&net.plan.name.as_str());
                    let error = net.error_of(&inputs, outcome.logits.as_ref().unwrap());
                    assert!(limbs == Limbs::ONE || jumps || error < 0.03, "{context}: {error}");
                }
            }
        }
    }
}

/// Messages hold elements of several inputs, and inputs are cut in between.
#[test]
fn operations_whose_corrections_take_many_messages_are_exact() {
    const BATCH: usize = 1500;
    for (limbs, parties, nets) in
        [(Limbs::TWO, 3, zoo::all(Limbs::TWO)), (Limbs::ONE, 2, zoo::comparing(Limbs::ONE))]
    {
        let parties = Parties::new(parties).unwrap();
        for net in nets {
            let values = net.plan.values().unwrap();
            // What tells of values outside works on sums of groups, which are fewer.
            let batch = if net.plan.name == "watched" { 3 * BATCH } else { BATCH };
            let shape = |(op, _)| preprocess::corrections(&net.plan, &values, op, batch);
            let most = net.plan.indexed_ops().map(shape).map(|shape| shape.messages(limbs)).max();
            assert!(most > Some(2), "{}: {most:?} messages", net.plan.name);
            let loaded = direct::load(&net.plan, &net.layers(), parties, None).unwrap();
            let inputs = net.inputs(batch, 7);
            let outcome = direct::infer(&loaded, &inputs, batch, &[], &mut |_| ()).unwrap();
            outcome.logits.as_ref().unwrap();
            steps::check(&loaded, &net, &inputs, &outcome)
                .unwrap_or_else(|e| panic!("{}: {e}", net.plan.name));
        }
    }
}

#[test]
fn a_wrong_value_is_noticed_by_the_comparison() {
    let net = zoo::residual(Limbs::TWO);
    let loaded = direct::load(&net.plan, &net.layers(), Parties::new(2).unwrap(), None).unwrap();
    let inputs = net.inputs(1, 1);
    let mut outcome = direct::infer(&loaded, &inputs, 1, &[], &mut |_| ()).unwrap();
    steps::check(&loaded, &net, &inputs, &outcome).unwrap();
    for at in 0..outcome.opened.len() {
        let honest = outcome.opened[at].1.clone();
        let mut wrong: LimbVec = honest.clone();
        wrong.set(1, wrong.get(1) + Element::one(Limbs::TWO));
        outcome.opened[at].1 = wrong;
        let error = steps::check(&loaded, &net, &inputs, &outcome).unwrap_err();
        assert!(error.contains("is wrong") || error.contains("output"), "{error}");
        outcome.opened[at].1 = honest;
    }
}
