//! A malicious party in the openings (`docs/protocol.md`, section 6): wrong values, errors that
//! would cancel if sums were shared, different values to different parties. All of it passes until
//! the check, and no further.

use amicus_field::{Element, I256, Limbs, PRIMES};
use amicus_testkit::deviation::{Deviation, How};
use amicus_testkit::nets::Net;
use amicus_testkit::run::{Setup, party};
use amicus_testkit::zoo;

const TWO: Limbs = Limbs::TWO;

fn one() -> Element {
    Element::one(TWO)
}

/// An error whose residues are zero but in one limb.
fn in_limb(limb: usize) -> Element {
    Element::from_signed(TWO, I256::from(PRIMES[1 - limb]))
}

/// Runs one attack of one party: an honest inference, the attack, an honest inference.
fn caught(net: Net, parties: usize, batch: u32, cheater: usize, deviation: Deviation) {
    let mut run = Setup::new(net, parties).batch(batch).deviating(cheater, deviation).start();
    let first = run.infer().unwrap();
    let attacked = run.attack().rejected().id;
    let next = run.recovers();
    assert!(first < attacked && attacked < next);
    run.finish();
}

fn opened(net: &Net) -> Vec<u32> {
    net.plan.indexed_ops().filter(|(_, op)| op.kind.opens()).map(|(index, _)| index.0).collect()
}

#[test]
fn a_wrong_element_in_any_opening_of_any_layer() {
    for op in opened(&zoo::conv_net(TWO)) {
        caught(zoo::conv_net(TWO), 2, 1, 2, Deviation::shift(op, 3, one()));
    }
    for op in opened(&zoo::products(TWO)) {
        caught(zoo::products(TWO), 3, 1, 3, Deviation::shift(op, 2, -one()));
    }
    for op in opened(&zoo::residual(TWO)) {
        caught(zoo::residual(TWO), 2, 1, 1, Deviation::shift(op, 0, one()));
    }
}

#[test]
fn the_first_party_and_one_in_the_middle_are_caught_too() {
    for (parties, cheater) in [(2, 1), (3, 1), (3, 2)] {
        for op in opened(&zoo::mlp(TWO)) {
            caught(zoo::mlp(TWO), parties, 1, cheater, Deviation::shift(op, 1, one()));
        }
    }
}

#[test]
fn a_large_error_early() {
    for parties in [2, 3] {
        let error = Element::power_of_two(TWO, 90);
        caught(zoo::mlp(TWO), parties, 1, parties, Deviation::shift(0, 0, error));
    }
}

#[test]
fn an_error_in_one_limb_only() {
    for limb in 0..2 {
        assert!(in_limb(limb).limb(limb) != 0 && in_limb(limb).limb(1 - limb) == 0);
        for op in opened(&zoo::mlp(TWO)) {
            caught(zoo::mlp(TWO), 2, 1, 2, Deviation::shift(op, 1, in_limb(limb)));
        }
    }
}

#[test]
fn an_error_and_its_negative_in_two_layers() {
    let net = zoo::mlp(TWO);
    let [first, act, second] = [net.op("linear 0"), net.op("activation 0"), net.op("linear 1")];
    for pair in [(first, second), (first, act), (act, second)] {
        caught(zoo::mlp(TWO), 2, 1, 2, Deviation::cancelling((pair.0, 0), (pair.1, 0), one()));
    }
}

#[test]
fn an_error_and_its_negative_in_two_batch_elements() {
    let net = zoo::mlp(TWO);
    let values = net.plan.values().unwrap();
    for op in opened(&net) {
        let len = values.get(amicus_plan::ValueId(op + 1)).len;
        caught(zoo::mlp(TWO), 2, 3, 2, Deviation::cancelling((op, 1), (op, 1 + len), one()));
        caught(zoo::mlp(TWO), 3, 3, 1, Deviation::cancelling((op, 1 + len), (op, 1 + 2 * len), one()));
    }
}

#[test]
fn an_error_and_its_negative_in_two_pixels_of_one_channel() {
    let net = zoo::conv_net(TWO);
    for name in ["linear 0", "activation 0", "linear 1"] {
        caught(
            zoo::conv_net(TWO),
            2,
            1,
            2,
            Deviation::cancelling((net.op(name), 0), (net.op(name), 1), one()),
        );
    }
}

#[test]
fn an_error_and_its_negative_in_two_uses_of_one_layer() {
    let net = zoo::repeated(TWO);
    assert_eq!(net.plan.check_slots(), 3);
    let uses = ["linear 0", "linear 1", "linear 2"].map(|name| net.op(name));
    for (one_use, other) in [(0, 1), (0, 2), (1, 2)] {
        let deviation = Deviation::cancelling((uses[one_use], 1), (uses[other], 1), one());
        caught(zoo::repeated(TWO), 2, 2, 2, deviation);
    }
}

#[test]
fn different_values_to_different_parties() {
    let net = zoo::mlp(TWO);
    for op in opened(&net) {
        for (cheater, victim) in [(3, 1), (3, 2), (1, 2)] {
            let mut run = Setup::new(zoo::mlp(TWO), 3);
            let deviation = Deviation::opening(op, How::Shift(0, one()));
            run = run
                .deviating(cheater, deviation.to(party(amicus_protocol::Parties::new(3).unwrap(), victim)));
            let mut run = run.start();
            run.attack().rejected();
            run.recovers();
            run.finish();
        }
    }
}

#[test]
fn one_and_three_limbs_are_checked_alike() {
    for limbs in [Limbs::ONE, Limbs::THREE] {
        for op in opened(&zoo::mlp(limbs)) {
            let deviation = Deviation::shift(op, 0, Element::one(limbs));
            let mut run = Setup::new(zoo::mlp(limbs), 2).last_deviating(deviation).start();
            run.attack().rejected();
            run.finish();
        }
    }
    let net = zoo::statistical();
    let mut run = Setup::new(zoo::statistical(), 2)
        .last_deviating(Deviation::shift(net.op("activation 0"), 0, Element::one(Limbs::THREE)))
        .start();
    run.attack().rejected();
    run.recovers();
    run.finish();
}
