//! Share evaluation against its definition, element by element.

#![allow(clippy::unwrap_used)] // helpers of tests are outside of #[test] functions

mod common;

use amicus_field::{
    Argument, BitVec, Element, LimbVec, Limbs, PolynomialShares, Truncation, add_signed_shares,
    evaluate_shares,
};
use common::{for_each_kernel_and_limbs, largest, mixed, random};

struct Inputs {
    d: LimbVec,
    truncation: Truncation,
    c: Vec<LimbVec>,
    e: Vec<LimbVec>,
    tag_c: Vec<LimbVec>,
    tag_e: Vec<LimbVec>,
    keys: LimbVec,
    leading: Element,
}

fn inputs(limbs: Limbs, degree: usize, len: usize, make: &dyn Fn(u32, usize) -> LimbVec) -> Inputs {
    let many = |label: u32, count: usize| (0..count).map(|k| make(label + k as u32, len)).collect::<Vec<_>>();
    Inputs {
        d: make(1, len),
        truncation: Truncation::new(limbs, limbs.bits() - 5, limbs.bits() / 3).unwrap(),
        c: many(10, degree - 1),
        e: many(20, degree),
        tag_c: many(30, degree - 1),
        tag_e: many(40, degree),
        keys: make(2, len),
        leading: make(3, 1).get(0),
    }
}

/// `v^0 .. v^degree`.
fn powers(v: Element, limbs: Limbs, degree: usize) -> Vec<Element> {
    let mut powers = vec![Element::one(limbs)];
    (0..degree).for_each(|k| powers.push(powers[k] * v));
    powers
}

/// What is evaluated: at truncated values, with differences or without, or at the values themselves.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Differences,
    Truncated,
    Values,
}

fn check(x: &Inputs, batch: usize, at: At, add_leading: bool) {
    let (limbs, len, degree) = (x.d.limbs(), x.d.len(), x.c.len() + 1);
    fn of<'a>(c: &'a [LimbVec], e: &'a [LimbVec], at: At) -> PolynomialShares<'a> {
        PolynomialShares { c, e: if at == At::Differences { e } else { &[] } }
    }
    let values = of(&x.c, &x.e, at);
    let tags = of(&x.tag_c, &x.tag_e, at);
    let truncation = if at == At::Values { None } else { Some(&x.truncation) };
    let argument = Argument { d: &x.d, truncation, batch };
    let (y, sums) = evaluate_shares(argument, values, tags, &x.keys, &x.leading, add_leading);
    assert_eq!((y.len(), sums.len()), (len, batch));
    let opened = truncation.map(|t| {
        let mut d = x.d.clone();
        d.add_constant(&t.offset());
        t.open(&d)
    });
    let mut expected = vec![Element::zero(limbs); batch];
    for i in 0..len {
        let v = opened.as_ref().map_or(&x.d, |opened| &opened.v).get(i);
        let powers = powers(v, limbs, degree);
        let terms = |shares: PolynomialShares| {
            let c = (1..degree).map(|k| powers[k] * shares.c[k - 1].get(i));
            let e = shares.e.iter().enumerate().map(|(k, e)| powers[k] * e.get(i));
            let e = e.filter(|_| opened.as_ref().is_some_and(|opened| opened.wrap.get(i)));
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

/// Polynomials that bits choose the sign of, `count` coefficients, added to the keys.
fn check_signed(x: &Inputs, count: usize, batch: usize) {
    let (limbs, len) = (x.d.limbs(), x.d.len());
    let mut bits = BitVec::zeros(len);
    (0..len).filter(|&i| x.keys.get(i).limb(0) % 2 == 1).for_each(|i| bits.flip(i));
    let (values, tags) = (&x.e[..count], &x.tag_e[..count]);
    let mut y = x.keys.clone();
    let argument = Argument { d: &x.d, truncation: None, batch };
    let sums = add_signed_shares(argument, &bits, values, tags, &mut y);
    let mut expected = vec![Element::zero(limbs); batch];
    for i in 0..len {
        let powers = powers(x.d.get(i), limbs, count);
        let signed = |c: &[LimbVec]| {
            let terms = c.iter().zip(&powers).map(|(c, &power)| power * c.get(i));
            let sum = terms.fold(Element::zero(limbs), |sum, term| sum + term);
            if bits.get(i) { sum } else { -sum }
        };
        assert_eq!(y.get(i), x.keys.get(i) + signed(values), "element {i} of {len}, {count} coefficients");
        let sum = &mut expected[i / (len / batch)];
        *sum = *sum + signed(tags);
    }
    assert_eq!(sums, expected, "{len} elements, {count} coefficients, batch {batch}");
}

#[test]
fn values_and_tags_are_those_of_the_definition() {
    for_each_kernel_and_limbs(|limbs| {
        for degree in 1..=8 {
            for (len, batch) in [(1, 1), (7, 1), (8, 1), (9, 3), (34, 2), (195, 3), (0, 1)] {
                let x = inputs(limbs, degree, len, &|label, len| mixed(label, limbs, len));
                for at in [At::Differences, At::Truncated, At::Values] {
                    [false, true].into_iter().for_each(|add_leading| check(&x, batch, at, add_leading));
                }
                check_signed(&x, degree, batch);
            }
        }
        // More than are opened at a time, and the signs of a constant and of the highest degree.
        let x = inputs(limbs, 2, 2 * 2051, &|label, len| mixed(label, limbs, len));
        check(&x, 2, At::Differences, true);
        let x = inputs(limbs, 9, 130, &|label, len| mixed(label, limbs, len));
        check_signed(&x, 9, 1);
    });
}

#[test]
fn lazy_sums_do_not_overflow() {
    for_each_kernel_and_limbs(|limbs| {
        let len = if cfg!(debug_assertions) { 4001 } else { 9001 };
        let x = inputs(limbs, 8, len, &|_, len| largest(limbs, len));
        for at in [At::Differences, At::Values] {
            check(&x, 1, at, true);
        }
        check_signed(&x, 8, 1);
    });
}

#[test]
#[should_panic(expected = "differences")]
fn the_number_of_differences_must_fit() {
    let limbs = Limbs::ONE;
    let x = inputs(limbs, 3, 4, &|label, len| random(label, limbs, len));
    let values = PolynomialShares { c: &x.c, e: &x.e[..1] };
    let tags = PolynomialShares { c: &x.tag_c, e: &x.tag_e[..1] };
    let argument = Argument { d: &x.d, truncation: Some(&x.truncation), batch: 1 };
    evaluate_shares(argument, values, tags, &x.keys, &x.leading, true);
}
