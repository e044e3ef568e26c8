//! Vectors against the scalar definition, lane by lane, for every prime and kernel.

#![allow(clippy::unwrap_used)] // helpers of tests are outside of #[test] functions

mod common;

use amicus_field::{Element, FieldError, I256, LimbVec, Limbs, PRIMES, Prime};
use common::{for_each_kernel_and_limbs, largest, mixed, random, zip};
use proptest::prelude::*;

/// Lengths around one, two and many vectors.
const LENGTHS: [usize; 12] = [0, 1, 2, 7, 8, 9, 15, 16, 17, 24, 63, 1001];

#[test]
fn every_operation_is_the_scalar_one_in_every_lane() {
    for_each_kernel_and_limbs(|limbs| {
        for len in LENGTHS {
            let (a, b, c) = (mixed(1, limbs, len), mixed(2, limbs, len), mixed(3, limbs, len));
            let constant = random(4, limbs, 1).get(0);
            let with = |f: &dyn Fn(&mut LimbVec)| {
                let mut result = a.clone();
                f(&mut result);
                result
            };
            let product = zip(&b, &c, Prime::mul);
            assert_eq!(with(&|x| x.add_assign(&b)), zip(&a, &b, Prime::add));
            assert_eq!(with(&|x| x.sub_assign(&b)), zip(&a, &b, Prime::sub));
            assert_eq!(with(&|x| x.mul_assign(&b)), zip(&a, &b, Prime::mul));
            assert_eq!(with(&|x| x.neg_assign()), zip(&a, &b, |p, x, _| p.neg(x)));
            assert_eq!(with(&|x| x.add_product(&b, &c)), zip(&a, &product, Prime::add));
            for constant in [constant, Element::zero(limbs), Element::from_i128(limbs, -1)] {
                let constants = LimbVec::from_elements(limbs, &vec![constant; len]);
                let scaled = zip(&b, &constants, Prime::mul);
                assert_eq!(with(&|x| x.add_constant(&constant)), zip(&a, &constants, Prime::add));
                assert_eq!(with(&|x| x.scale_assign(&constant)), zip(&a, &constants, Prime::mul));
                assert_eq!(with(&|x| x.add_scaled(&constant, &b)), zip(&a, &scaled, Prime::add));
            }
            let elements = |v: &LimbVec| (0..len).map(|i| v.get(i)).collect::<Vec<_>>();
            let sum = |v: &LimbVec| elements(v).into_iter().fold(Element::zero(limbs), |s, x| s + x);
            assert_eq!(a.sum(), sum(&a));
            assert_eq!(b.dot(&c), sum(&product));
        }
    });
}

#[test]
fn sums_do_not_overflow() {
    for_each_kernel_and_limbs(|limbs| {
        // Around the longest lazy sums: 4096 terms in each of 1 or 8 lanes.
        for len in [4095, 4096, 4097, 8 * 4096 - 1, 8 * 4096, 8 * 4096 + 9, 16 * 4096 + 1, 100_000] {
            let (a, count) = (largest(limbs, len), Element::from_i128(limbs, len as i128));
            assert_eq!(a.sum(), -count, "{len}");
            assert_eq!(a.dot(&a), count, "{len}");
        }
    });
}

#[test]
fn planes_are_checked() {
    for limbs in Limbs::ALL {
        let count = limbs.count();
        let good = random(5, limbs, 9);
        let mut words: Vec<u64> = (0..count).flat_map(|l| good.plane(l).to_vec()).collect();
        assert_eq!(LimbVec::from_planes(limbs, words.clone()).unwrap(), good);
        words[(count - 1) * 9 + 4] = PRIMES[count - 1];
        let error = LimbVec::from_planes(limbs, words).unwrap_err();
        assert_eq!(error, FieldError::NotCanonical { limb: count - 1, index: 4 });
        if count > 1 {
            let error = LimbVec::from_planes(limbs, vec![0; count + 1]).unwrap_err();
            assert_eq!(error, FieldError::PlaneLength { limbs: count, words: count + 1 });
        }
    }
}

#[test]
fn integers_in_and_out() {
    for limbs in Limbs::ALL {
        let values = [0, 1, -1, 1 << 40, -(1 << 40)];
        let vector = LimbVec::from_i64(limbs, &values);
        assert_eq!(vector.to_i64().unwrap(), values);
        assert_eq!(vector, LimbVec::from_signed(limbs, values.map(I256::from)));
        assert_eq!(vector.signed(), values.map(I256::from));
        let extreme = LimbVec::from_i64(limbs, &[i64::MIN, i64::MAX]);
        if limbs == Limbs::ONE {
            assert_eq!(extreme.get(0), Element::from_i128(limbs, i64::MIN.into()));
        } else {
            assert_eq!(extreme.to_i64().unwrap(), [i64::MIN, i64::MAX]);
            let beyond = LimbVec::from_signed(limbs, [I256::from(i64::MAX) + 1]);
            assert_eq!(beyond.to_i64(), None);
        }
    }
}

#[test]
fn parts_and_wholes() {
    for limbs in Limbs::ALL {
        let vector = random(6, limbs, 50);
        let parts = [vector.slice(0..7), vector.slice(7..7), vector.slice(7..50)];
        assert_eq!(LimbVec::concat(&parts.iter().collect::<Vec<_>>()), vector);
        assert_eq!(parts[2].get(3), vector.get(10));
        let mut copy = LimbVec::zeros(limbs, 50);
        (0..50).for_each(|i| copy.set(i, vector.get(i)));
        assert_eq!(copy, vector);
    }
}

#[test]
fn debug_shows_limbs_and_length_only() {
    let vector = LimbVec::from_i64(Limbs::TWO, &[123_456_789; 3]);
    assert_eq!(format!("{vector:?}"), "LimbVec { limbs: 2, len: 3, .. }");
}

#[test]
#[should_panic(expected = "vectors of different lengths")]
fn lengths_must_agree() {
    LimbVec::zeros(Limbs::ONE, 3).add_assign(&LimbVec::zeros(Limbs::ONE, 4));
}

#[test]
#[should_panic(expected = "vectors of different moduli")]
fn moduli_must_agree() {
    LimbVec::zeros(Limbs::ONE, 4).add_assign(&LimbVec::zeros(Limbs::TWO, 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn ring_axioms(count in 1usize..=3, len in 0usize..40, label: u16) {
        for_each_kernel_and_limbs(|limbs| {
            if limbs.count() != count {
                return;
            }
            let label = u32::from(label) << 8;
            let [a, b, c] = [label, label + 1, label + 2].map(|label| mixed(label, limbs, len));
            let add = |x: &LimbVec, y: &LimbVec| { let mut z = x.clone(); z.add_assign(y); z };
            let mul = |x: &LimbVec, y: &LimbVec| { let mut z = x.clone(); z.mul_assign(y); z };
            assert_eq!(add(&a, &b), add(&b, &a));
            assert_eq!(mul(&a, &b), mul(&b, &a));
            assert_eq!(mul(&mul(&a, &b), &c), mul(&a, &mul(&b, &c)));
            assert_eq!(mul(&a, &add(&b, &c)), add(&mul(&a, &b), &mul(&a, &c)));
            let mut zero = add(&a, &b);
            zero.sub_assign(&b);
            zero.sub_assign(&a);
            assert_eq!(zero, LimbVec::zeros(limbs, len));
            assert_eq!(add(&a, &b).dot(&c), a.dot(&c) + b.dot(&c));
        });
    }
}
