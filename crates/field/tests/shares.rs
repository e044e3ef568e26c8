//! Share evaluation against its definition, element by element.

#![allow(clippy::unwrap_used)] // helpers of tests are outside of #[test] functions

mod common;

use amicus_field::{Element, LimbVec, Limbs, Opened, PolynomialShares, WrapBits, evaluate_shares};
use common::{for_each_kernel_and_limbs, largest, mixed, random};

struct Inputs {
    opened: Opened,
    c: Vec<LimbVec>,
    e: Vec<LimbVec>,
    tag_c: Vec<LimbVec>,
    tag_e: Vec<LimbVec>,
    keys: LimbVec,
    leading: Element,
}

fn inputs(limbs: Limbs, degree: usize, len: usize, make: &dyn Fn(u32, usize) -> LimbVec) -> Inputs {
    let many = |label: u32, count: usize| (0..count).map(|k| make(label + k as u32, len)).collect::<Vec<_>>();
    let wrap: WrapBits = (0..len).map(|i| random(50, limbs, len).get(i).limb(0) % 2 == 1).collect();
    Inputs {
        opened: Opened { v: make(1, len), wrap },
        c: many(10, degree - 1),
        e: many(20, degree),
        tag_c: many(30, degree - 1),
        tag_e: many(40, degree),
        keys: make(2, len),
        leading: make(3, 1).get(0),
    }
}

fn check(x: &Inputs, batch: usize, differences: bool, add_leading: bool) {
    let (limbs, len, degree) = (x.opened.v.limbs(), x.opened.v.len(), x.c.len() + 1);
    fn none<'a>(c: &'a [LimbVec], e: &'a [LimbVec], differences: bool) -> PolynomialShares<'a> {
        PolynomialShares { c, e: if differences { e } else { &[] } }
    }
    let values = none(&x.c, &x.e, differences);
    let tags = none(&x.tag_c, &x.tag_e, differences);
    let (y, sums) = evaluate_shares(&x.opened, values, tags, &x.keys, &x.leading, add_leading, batch);
    assert_eq!((y.len(), sums.len()), (len, batch));
    let mut expected = vec![Element::zero(limbs); batch];
    for i in 0..len {
        let v = x.opened.v.get(i);
        let mut powers = vec![Element::one(limbs)];
        (0..degree).for_each(|k| powers.push(powers[k] * v));
        let terms = |shares: PolynomialShares| {
            let c = (1..degree).map(|k| powers[k] * shares.c[k - 1].get(i));
            let e = shares.e.iter().enumerate().map(|(k, e)| powers[k] * e.get(i));
            let e = e.filter(|_| x.opened.wrap.get(i));
            c.chain(e).fold(Element::zero(limbs), |sum, term| sum + term)
        };
        let leading = powers[degree] * x.leading;
        let value = terms(values) + if add_leading { leading } else { Element::zero(limbs) };
        assert_eq!(y.get(i), value, "element {i} of {len}, degree {degree}");
        let sum = &mut expected[i / (len / batch)];
        *sum = *sum + terms(tags) + leading * x.keys.get(i);
    }
    assert_eq!(sums, expected, "{len} elements, degree {degree}, batch {batch}");
}

#[test]
fn values_and_tags_are_those_of_the_definition() {
    for_each_kernel_and_limbs(|limbs| {
        for degree in 1..=8 {
            for (len, batch) in [(1, 1), (7, 1), (8, 1), (9, 3), (34, 2), (0, 1)] {
                let x = inputs(limbs, degree, len, &|label, len| mixed(label, limbs, len));
                for (differences, add_leading) in [(false, false), (false, true), (true, false), (true, true)]
                {
                    check(&x, batch, differences, add_leading);
                }
            }
        }
    });
}

#[test]
fn lazy_sums_do_not_overflow() {
    for_each_kernel_and_limbs(|limbs| {
        let len = if cfg!(debug_assertions) { 4001 } else { 9001 };
        check(&inputs(limbs, 8, len, &|_, len| largest(limbs, len)), 1, true, true);
    });
}

#[test]
#[should_panic(expected = "differences")]
fn the_number_of_differences_must_fit() {
    let limbs = Limbs::ONE;
    let x = inputs(limbs, 3, 4, &|label, len| random(label, limbs, len));
    let values = PolynomialShares { c: &x.c, e: &x.e[..1] };
    let tags = PolynomialShares { c: &x.tag_c, e: &x.tag_e[..1] };
    evaluate_shares(&x.opened, values, tags, &x.keys, &x.leading, true, 1);
}
