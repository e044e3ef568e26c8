//! Truncation and Taylor coefficients against the vectors of the reference implementation and
//! against big-integer definitions.

#![allow(clippy::unwrap_used)] // helpers of tests are outside of #[test] functions

mod common;

use amicus_field::{
    Element, FieldError, I256, LimbVec, Limbs, Truncation, U256, evaluate, scaled_coefficients,
    taylor_coefficients,
};
use common::{for_each_kernel, for_each_kernel_and_limbs, mixed, random};
use serde_json::Value;

/// `tests/data/truncation.json`, printed by the reference implementation of the protocol.
fn reference() -> Vec<Value> {
    let data: Value = serde_json::from_str(include_str!("data/truncation.json")).unwrap();
    data["vectors"].as_array().unwrap().clone()
}

fn signed(value: &Value) -> I256 {
    value.as_str().unwrap().parse().unwrap()
}

#[test]
fn the_reference_vectors_hold() {
    let mut seen = [0; 4];
    for_each_kernel(|| {
        for vector in reference() {
            let number = |key: &str| vector[key].as_i64().unwrap();
            let limbs = Limbs::new(number("L") as usize).unwrap();
            assert_eq!(limbs.modulus(), vector["Q"].as_str().unwrap().parse::<U256>().unwrap());
            let [d, r, z] = ["D", "r", "z"].map(|key| LimbVec::from_signed(limbs, [signed(&vector[key])]));
            let truncation = Truncation::new(limbs, number("ell") as u32, number("shift") as u32).unwrap();

            let mut opened = z.clone();
            opened.add_assign(&r);
            opened.add_constant(&truncation.offset());
            assert_eq!(opened, d);
            let opened = truncation.open(&d);
            let wrap = number("case") == 1;
            assert_eq!(opened.wrap.get(0), wrap);
            let mu = truncation.mask(&r, wrap);
            assert_eq!(mu, LimbVec::from_signed(limbs, [signed(&vector["mu"])]));
            let mut u = opened.v.clone();
            u.sub_assign(&mu);
            assert_eq!(u, LimbVec::from_i64(limbs, &[number("u")]));

            let a: Vec<i64> = vector["A"].as_array().unwrap().iter().map(|a| a.as_i64().unwrap()).collect();
            let b = scaled_coefficients(limbs, &a, number("f_u") as u32);
            let expected: Vec<_> = vector["C"].as_array().unwrap().iter().map(signed).collect();
            let c = taylor_coefficients(&b, &mu);
            assert_eq!(c.len(), expected.len());
            for (c, expected) in c.iter().zip(expected) {
                assert_eq!(c, &LimbVec::from_signed(limbs, [expected]));
            }
        }
    });
    reference().iter().for_each(|vector| seen[vector["L"].as_u64().unwrap() as usize] += 1);
    assert_eq!(seen, [0, 20, 20, 20]);
}

/// Integers where something can go wrong: ends, halves, word boundaries.
fn boundary(limbs: Limbs) -> Vec<U256> {
    let q = limbs.modulus();
    let mut values = vec![U256::ZERO, U256::ONE, q / 2 - 1, q / 2, q / 2 + 1, q / 2 + 2, q - 2, q - 1];
    for bits in 1..limbs.bits() {
        values.extend([(U256::ONE << bits) - 1, U256::ONE << bits].iter().filter(|x| **x < q));
    }
    values.extend((0..50).map(|i| random(7, limbs, 50).get(i).lift()));
    values
}

#[test]
fn opening_and_masks_are_what_big_integers_say() {
    for_each_kernel_and_limbs(|limbs| {
        let q = limbs.modulus();
        let top = limbs.bits() - 3;
        for (ell, shift) in [
            (top, 0),
            (top, 1),
            (top, top),
            (top - 1, 20),
            (30, 30),
            (0, 0),
            (top, 51),
            (top, 52),
            (top, 53),
            (top, 104),
            (top, 105),
        ] {
            if shift > ell {
                assert_eq!(Truncation::new(limbs, ell, shift), Err(FieldError::ShiftTooLong { shift, ell }));
                continue;
            }
            let truncation = Truncation::new(limbs, ell, shift).unwrap();
            let values = boundary(limbs);
            let vector = LimbVec::from_signed(limbs, values.iter().map(|x| x.as_i256()));
            let opened = truncation.open(&vector);
            let masks = [truncation.mask(&vector, false), truncation.mask(&vector, true)];
            let high = truncation.high_half(&vector);
            assert_eq!(truncation.floor(&vector), values.iter().map(|&x| x >> shift).collect::<Vec<_>>());
            for (i, &x) in values.iter().enumerate() {
                let v = (x >> shift).as_i256() - (I256::ONE << (ell - shift));
                assert_eq!(opened.v.get(i), Element::from_signed(limbs, v), "{x} {ell} {shift}");
                assert_eq!(opened.wrap.get(i), x < q / 2, "{x}");
                assert_eq!(high.get(i), x >= (q + 1) / 2, "{x}");
                let wrapped = if high.get(i) { x.as_i256() - q.as_i256() } else { x.as_i256() };
                assert_eq!(masks[0].get(i), Element::from_signed(limbs, x.as_i256() >> shift), "{x} {shift}");
                assert_eq!(masks[1].get(i), Element::from_signed(limbs, wrapped >> shift), "{x} {shift}");
            }
        }
    });
}

#[test]
fn a_truncated_value_is_right_within_one_unit() {
    for_each_kernel_and_limbs(|limbs| {
        let ell = limbs.bits() - 3;
        let truncation = Truncation::new(limbs, ell, ell - 10).unwrap();
        let r = mixed(8, limbs, 200);
        for z in [I256::ZERO, -(I256::ONE << ell) + 1, (I256::ONE << ell) - 1, I256::ONE << (ell - 3)] {
            let mut d = r.clone();
            d.add_constant(&(Element::from_signed(limbs, z) + truncation.offset()));
            let opened = truncation.open(&d);
            let masks = [truncation.mask(&r, false), truncation.mask(&r, true)];
            for i in 0..r.len() {
                let u = (opened.v.get(i) - masks[usize::from(opened.wrap.get(i))].get(i)).signed();
                let exact = z >> (ell - 10);
                assert!(u == exact || u == exact + 1, "{u} instead of {exact}");
            }
        }
    });
}

#[test]
fn values_that_do_not_fit_are_refused() {
    for limbs in Limbs::ALL {
        let (bits, count) = (limbs.bits(), limbs.count());
        assert!(Truncation::new(limbs, bits - 3, 0).is_ok());
        for ell in [bits - 2, bits, u32::MAX - 1, u32::MAX] {
            let error = FieldError::ValueTooLong { ell, limbs: count, available: bits - 1 };
            assert_eq!(Truncation::new(limbs, ell, 0), Err(error.clone()));
            assert!(ell > 1000 || error.to_string().contains(&format!("{} bits or more", ell + 2)));
        }
        for (ell, shift) in [(0, 1), (bits - 3, bits - 2), (bits - 3, u32::MAX)] {
            assert_eq!(Truncation::new(limbs, ell, shift), Err(FieldError::ShiftTooLong { shift, ell }));
            assert!(Truncation::new(limbs, ell, ell).is_ok());
        }
        // The bound itself: 2^(ell + 1) <= Q / 2.
        assert!(U256::ONE << (bits - 2) <= limbs.modulus() / 2);
        assert!(U256::ONE << (bits - 1) > limbs.modulus() / 2);
    }
}

#[test]
fn taylor_coefficients_shift_the_polynomial() {
    for_each_kernel_and_limbs(|limbs| {
        for degree in 1..=8 {
            for len in [0, 1, 7, 8, 33] {
                let b: Vec<Element> = (0..=degree).map(|k| mixed(9, limbs, 9).get(k)).collect();
                let (mu, v) = (mixed(10, limbs, len), mixed(11, limbs, len));
                let c = taylor_coefficients(&b, &mu);
                assert_eq!(c.len(), degree);
                let mut difference = v.clone();
                difference.sub_assign(&mu);
                let expected = evaluate(&b, &difference);
                for i in 0..len {
                    let x = v.get(i);
                    let y = c.iter().rev().fold(b[degree], |y, c| y * x + c.get(i));
                    assert_eq!(y, expected.get(i));
                    // The public evaluation against plain scalar arithmetic.
                    let u = difference.get(i);
                    assert_eq!(y, b.iter().rev().fold(Element::zero(limbs), |y, &b| y * u + b));
                }
            }
        }
    });
}

#[test]
fn scaling_aligns_the_coefficients() {
    for limbs in Limbs::ALL {
        let b = scaled_coefficients(limbs, &[3, -5, 7], 4);
        assert_eq!(b, [3 << 8, -5 << 4, 7].map(|b| Element::from_i128(limbs, b)));
        let extreme = scaled_coefficients(limbs, &[i64::MIN, i64::MAX], 30);
        assert_eq!(extreme[0], Element::from_i128(limbs, i128::from(i64::MIN) << 30));
    }
}
