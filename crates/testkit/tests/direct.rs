//! The protocol's states against plain real arithmetic, without channels.

use amicus_field::{Element, I256, Limbs};
use amicus_protocol::{Parties, ProtocolError};
use amicus_testkit::direct::{self, Shift};
use amicus_testkit::small::{HIDDEN, INPUTS, Model, OUTPUTS, integers};

#[test]
fn honest_runs_give_the_network() {
    for limbs in [Limbs::ONE, Limbs::TWO, Limbs::THREE] {
        let model = Model::new(limbs);
        for (n, batch) in [(2, 1), (3, 2), (5, 1)] {
            let loaded = direct::load(&model.plan, &model.layers(), Parties::new(n).unwrap(), None).unwrap();
            for salt in 0..3 {
                let inputs = integers(INPUTS * batch, 12, 100 + salt);
                let outcome = direct::infer(&loaded, &inputs, batch, &[], &mut |_| ()).unwrap();
                let error = model.error_of(&inputs, &outcome.logits.unwrap());
                let bound = if limbs == Limbs::ONE { 0.1 } else { 5e-3 };
                assert!(error < bound, "{n} parties, batch {batch}, {} limbs: {error}", limbs.count());
            }
        }
    }
}

#[test]
fn every_error_in_an_opening_is_rejected() {
    let model = Model::new(Limbs::TWO);
    let limbs = Limbs::TWO;
    let loaded = direct::load(&model.plan, &model.layers(), Parties::new(3).unwrap(), None).unwrap();
    let inputs = integers(INPUTS * 2, 12, 5);
    let one = Element::from_i128(limbs, 1);
    let first_limb_only = Element::from_signed(limbs, I256::from(amicus_field::PRIMES[1]));
    for error in [one, Element::power_of_two(limbs, 90), first_limb_only] {
        for op in 0..3 {
            let shift = Shift { index: op, element: 1, error };
            let across = [
                shift,
                Shift { element: if op == 2 { 1 + OUTPUTS } else { 1 + HIDDEN }, error: -error, ..shift },
            ];
            for shifts in [&[shift][..], &across] {
                let outcome = direct::infer(&loaded, &inputs, 2, shifts, &mut |_| ()).unwrap();
                assert!(matches!(outcome.logits, Err(ProtocolError::Rejected { .. })), "operation {op}");
            }
        }
    }
    let honest = direct::infer(&loaded, &inputs, 2, &[], &mut |_| ()).unwrap();
    assert!(model.error_of(&inputs, &honest.logits.unwrap()) < 5e-3);
}

#[test]
fn wrong_tags_are_rejected_at_load() {
    let model = Model::new(Limbs::TWO);
    for index in 0..2 {
        for element in [0, HIDDEN] {
            let shift = Shift { index, element, error: Element::from_i128(Limbs::TWO, -3) };
            let parties = Parties::new(3).unwrap();
            let error = direct::load(&model.plan, &model.layers(), parties, Some(shift)).unwrap_err();
            assert!(matches!(error, ProtocolError::Rejected { .. }), "{error}");
        }
    }
}
