//! Elements of GF(2^128) in vectors against their definitions, element by element, under every
//! kernel.

#![allow(clippy::unwrap_used)] // helpers of tests are outside of #[test] functions

mod common;

use amicus_field::{BitVec, Gf128, Gf128Rows, Gf128Vec, Row, Seed, UnpackError};
use common::for_each_kernel;

/// All short lengths, and some where words, vectors and blocks of kernels end.
fn lengths() -> impl Iterator<Item = usize> {
    (0..70).chain([127, 128, 129, 200, 255, 256, 257, 1003, 4096])
}

fn powers() -> impl Iterator<Item = usize> {
    (1..=13).map(|m| 1 << m)
}

/// Random elements with 0, 1, the one of all coefficients and the highest ones strewn in.
fn elements(label: u32, len: usize) -> Gf128Vec {
    let mut elements = Seed::from_bytes([1; 32]).stream().sample_gf128(label, 0, len);
    for i in 0..len {
        match elements.get(i).to_bytes()[3] % 8 {
            0 => elements.set(i, Gf128::ZERO),
            1 => elements.set(i, Gf128::ONE),
            2 => elements.set(i, Gf128::from_bytes([0xff; 16])),
            3 => elements.set(i, Gf128::from_bytes((1u128 << 127 | 1 << 63).to_le_bytes())),
            _ => {}
        }
    }
    elements
}

fn bits(label: u32, len: usize) -> BitVec {
    Seed::from_bytes([2; 32]).stream().sample_bits(label, 0, len)
}

fn all(elements: &Gf128Vec) -> Vec<Gf128> {
    (0..elements.len()).map(|i| elements.get(i)).collect()
}

fn each_bit(bits: &BitVec) -> Vec<bool> {
    (0..bits.len()).map(|i| bits.get(i)).collect()
}

fn sum(elements: impl Iterator<Item = Gf128>) -> Gf128 {
    elements.fold(Gf128::ZERO, |sum, element| sum + element)
}

fn of_bit(bit: bool) -> Gf128 {
    if bit { Gf128::ONE } else { Gf128::ZERO }
}

fn of_bits(bits: &BitVec) -> Gf128Vec {
    let mut elements = Gf128Vec::zeros(bits.len());
    (0..bits.len()).for_each(|i| elements.set(i, of_bit(bits.get(i))));
    elements
}

fn dot(a: &Gf128Vec, b: &Gf128Vec) -> Gf128 {
    sum((0..a.len()).map(|i| a.get(i) * b.get(i)))
}

#[test]
fn vectors_hold_elements() {
    let mut vector = elements(1, 9);
    assert_eq!((vector.len(), vector.is_empty(), Gf128Vec::zeros(0).is_empty()), (9, false, true));
    let before = all(&vector);
    vector.set(4, before[0] + before[1]);
    assert_eq!(vector.get(4), before[0] + before[1]);
    let part = vector.slice(3..6);
    assert_eq!(all(&part), [before[3], before[0] + before[1], before[5]]);
    vector.put(0, &part);
    assert_eq!(all(&vector)[..4], [before[3], before[0] + before[1], before[5], before[3]]);
    assert_ne!(vector, vector.slice(0..8));
    assert_eq!(vector, vector.clone());
    assert!(Gf128Vec::zeros(3) == Gf128Vec::zeros(3) && all(&Gf128Vec::zeros(3)) == [Gf128::ZERO; 3]);
    assert_eq!(format!("{vector:?}"), "Gf128Vec { len: 9, .. }");
}

#[test]
fn bits_choose_elements() {
    for_each_kernel(|| {
        for len in lengths() {
            let (a, x) = (elements(1, len), bits(4, len));
            let chosen = sum((0..len).map(|i| of_bit(x.get(i)) * a.get(i)));
            assert_eq!(a.sum_selected(&x), chosen, "{len}");
        }
    });
}

#[test]
fn rounds_and_folds_are_those_of_the_halves() {
    for_each_kernel(|| {
        for len in powers() {
            let (a, b) = (elements(1, len), elements(2, len));
            let r = elements(4, 40).get(len % 37);
            let half = len / 2;
            let halves = |v: &Gf128Vec| (v.slice(0..half), v.slice(half..len));
            let round = |a: &Gf128Vec, b: &Gf128Vec| {
                let ((a_0, a_1), (b_0, b_1)) = (halves(a), halves(b));
                let both = |i| (a_0.get(i) + a_1.get(i)) * (b_0.get(i) + b_1.get(i));
                [dot(&a_0, &b_0), sum((0..half).map(both))]
            };
            assert_eq!(a.inner_product(&b), dot(&a, &b));
            assert_eq!(a.round(&b), round(&a, &b), "{len}");
            let fold = |v: &Gf128Vec| -> Vec<Gf128> {
                let (v_0, v_1) = halves(v);
                (0..half).map(|i| v_0.get(i) + r * (v_0.get(i) + v_1.get(i))).collect()
            };
            let mut folded = a.clone();
            folded.fold(r);
            assert_eq!(all(&folded), fold(&a), "{len}");
            assert_eq!(folded, folded.clone());
            let mut other = Gf128Vec::zeros(half);
            fold(&a).iter().enumerate().for_each(|(i, &element)| other.set(i, element));
            // The length counts, not the memory.
            assert_eq!(folded, other);
            assert!(std::panic::catch_unwind(|| folded.get(half)).is_err());
        }
    });
}

/// What is left of `v` after a challenge, element by element.
fn fold(v: &[Gf128], r: Gf128) -> Vec<Gf128> {
    let (lower, upper) = v.split_at(v.len() / 2);
    lower.iter().zip(upper).map(|(&lower, &upper)| lower + r * (lower + upper)).collect()
}

#[test]
fn a_sumcheck_is_that_of_its_rounds_and_ends_with_a_product() {
    for_each_kernel(|| {
        for len in powers().chain([1]) {
            let (a, bits) = (elements(1, len), bits(2, len));
            let (mut v, mut w) = (all(&a), all(&of_bits(&bits)));
            let mut claim = a.sum_selected(&bits);
            let challenges = all(&elements(3, 20));
            let mut point = Vec::new();
            let folded = a.sumcheck(&bits, |[q_0, q_2]| {
                let half = v.len() / 2;
                let product = |v: &[Gf128], w: &[Gf128]| sum(v.iter().zip(w).map(|(&a, &b)| a * b));
                let halves = |v: &[Gf128]| -> Vec<Gf128> { (0..half).map(|i| v[i] + v[half + i]).collect() };
                assert_eq!(q_0, product(&v[..half], &w[..half]), "{len}, {half}");
                assert_eq!(q_2, product(&halves(&v), &halves(&w)), "{len}, {half}");
                let r = challenges[point.len()];
                point.push(r);
                (v, w) = (fold(&v, r), fold(&w, r));
                claim = q_0 + (claim + q_2) * r + q_2 * r * r;
                assert_eq!(claim, product(&v, &w));
                r
            });
            assert_eq!(1 << point.len(), len);
            assert_eq!(folded, [v[0], w[0]]);
            assert_eq!(claim, v[0] * w[0]);
            assert_eq!(a.evaluate(&point), v[0]);
            assert_eq!(Gf128Vec::evaluate_bits(&bits, &point), w[0]);
        }
    });
}

#[test]
fn vectors_of_other_lengths_are_refused() {
    let refused = |work: &(dyn Fn() + std::panic::RefUnwindSafe)| {
        assert!(std::panic::catch_unwind(work).is_err());
    };
    refused(&|| _ = elements(1, 3).sum_selected(&bits(1, 2)));
    refused(&|| _ = elements(1, 4).round(&elements(1, 8)));
    for len in [0, 1, 3, 6] {
        refused(&|| _ = elements(1, len).round(&elements(2, len)));
        refused(&|| elements(1, len).fold(Gf128::ONE));
    }
    for len in [0, 3, 6] {
        refused(&|| _ = elements(1, len).sumcheck(&bits(2, len), |_| Gf128::ONE));
    }
    refused(&|| _ = elements(1, 4).sumcheck(&bits(2, 8), |_| Gf128::ONE));
    refused(&|| _ = elements(1, 4).inner_product(&elements(2, 3)));
    for len in [0, 3, 4, 16] {
        refused(&|| _ = elements(1, len).evaluate(&[Gf128::ONE; 3]));
        refused(&|| _ = Gf128Vec::evaluate_bits(&bits(1, len), &[Gf128::ONE; 3]));
    }
    refused(&|| elements(1, 3).put(2, &elements(1, 2)));
    refused(&|| _ = elements(1, 3).slice(2..4));
    refused(&|| BitVec::zeros(3).xor_and(&bits(1, 3), &bits(1, 4)));
    refused(&|| BitVec::zeros(4).xor_and(&bits(1, 3), &bits(1, 4)));
    refused(&|| bits(1, 9).pack_to(&mut [0; 1]));
    refused(&|| _ = Seed::from_bytes([5; 32]).stream().sample_bits(1, 32, 64));
}

#[test]
fn elements_and_bits_are_those_of_the_raw_words() {
    let mut raw = vec![0; 400];
    Seed::from_bytes([5; 32]).stream().words(9, 0, &mut raw);
    for_each_kernel(|| {
        let stream = Seed::from_bytes([5; 32]).stream();
        for (first, len) in [(0, 200), (1, 1), (17, 30), (199, 1), (5, 0)] {
            let drawn = stream.sample_gf128(9, first as u64, len);
            for (i, element) in (first..).zip(all(&drawn)) {
                let value = u128::from(raw[2 * i]) | u128::from(raw[2 * i + 1]) << 64;
                assert_eq!(element.to_bytes(), value.to_le_bytes());
            }
        }
        for (first, len) in [(0, 25_600), (64, 1), (128, 63), (640, 64), (64, 65), (192, 1000), (64, 0)] {
            let drawn = stream.sample_bits(9, first as u64, len);
            assert_eq!(drawn.len(), len);
            let bit = |e: usize| raw[e / 64] >> (e % 64) & 1 == 1;
            assert_eq!(each_bit(&drawn), (first..first + len).map(bit).collect::<Vec<_>>());
            // None behind the last one.
            assert_eq!(drawn, each_bit(&drawn).into_iter().collect());
        }
    });
}

#[test]
fn bits_are_joined_at_any_length() {
    for len in lengths().take(140) {
        for more in [0, 1, 2, 31, 63, 64, 65, 127, 128, 200] {
            let (x, y) = (bits(1, len), bits(2, more));
            let mut joined = BitVec::zeros(len + more);
            joined.xor_at(len, &y);
            joined.xor_at(0, &x);
            let expected: BitVec = each_bit(&x).into_iter().chain(each_bit(&y)).collect();
            assert_eq!(joined, expected, "{len} + {more}");
        }
        let mut ones = BitVec::zeros(len);
        (0..len).for_each(|i| ones.flip(i));
        assert_eq!(BitVec::ones(len), ones);
        let (x, y, mut z) = (bits(1, len), bits(2, len), bits(3, len));
        let expected: Vec<bool> = (0..len).map(|i| z.get(i) ^ (x.get(i) && y.get(i))).collect();
        z.xor_and(&x, &y);
        assert_eq!(each_bit(&z), expected);
    }
}

#[test]
fn bits_are_read_where_they_belong() {
    for len in [1, 63, 64, 65, 190, 200] {
        let whole = bits(1, len);
        for size in [64, 128, 256] {
            let mut read = BitVec::zeros(len);
            for first in (0..len).step_by(size).rev() {
                let range = first..len.min(first + size);
                let mut packed = vec![0xff; BitVec::packed_len(range.len())];
                whole.slice(range.clone()).pack_to(&mut packed);
                read.unpack_part(range.clone(), &packed).unwrap();
                let before = read.clone();
                for bit in range.len()..8 * packed.len() {
                    let mut padded = packed.clone();
                    padded[bit / 8] |= 1 << (bit % 8);
                    padded[0] ^= 1;
                    let error = read.unpack_part(range.clone(), &padded).unwrap_err();
                    assert_eq!(error, UnpackError::Padding { limb: 0 });
                }
                packed.pop();
                assert!(matches!(read.unpack_part(range, &packed), Err(UnpackError::Length { .. })));
                assert_eq!(read, before);
            }
            assert_eq!(read, whole);
        }
    }
    for range in [1..65, 0..63, 128..201, 64..300] {
        let bytes = vec![0; BitVec::packed_len(range.len())];
        let read = move || BitVec::zeros(200).unpack_part(range.clone(), &bytes);
        assert!(std::panic::catch_unwind(read).is_err());
    }
}

/// The elements of a row.
fn row(rows: &Gf128Rows, number: usize) -> Vec<Gf128> {
    let mut copy = Gf128Vec::zeros(rows.len());
    copy.write_sums(0, rows.len(), &[vec![(Row { rows, number }, None)]], false);
    all(&copy)
}

#[test]
fn sums_of_rows_are_those_of_their_elements() {
    for_each_kernel(|| {
        let stream = Seed::from_bytes([5; 32]).stream();
        for len in [0, 1, 2, 3, 31, 32, 33, 63, 64, 65, 100, 128, 257] {
            let mut rows = Gf128Rows::zeros(3, len);
            rows.sample(&stream);
            assert_eq!((rows.len(), rows.is_empty()), (len, len == 0));
            for domain in 0..3 {
                assert_eq!(row(&rows, domain), all(&stream.sample_gf128(domain as u32, 0, len)));
            }
            let bits: Vec<BitVec> = (3..6).map(|domain| stream.sample_bits(domain, 0, len)).collect();
            let of = |number| Row { rows: &rows, number };
            let sums = [
                vec![(of(0), Some(&bits[0]))],
                vec![(of(2), None), (of(0), Some(&bits[1])), (of(1), Some(&bits[2]))],
                vec![],
            ];
            let expected = |number: usize, e: usize| {
                let term = |(row_of, bits): &(Row<'_>, Option<&BitVec>)| match bits {
                    Some(bits) if !bits.get(e) => Gf128::ZERO,
                    _ => row(&rows, row_of.number)[e],
                };
                sum(sums[number].iter().map(term))
            };
            let mut made = Gf128Rows::zeros(4, len);
            made.write_sums(1, &sums);
            assert_eq!(row(&made, 0), vec![Gf128::ZERO; len]);
            for number in 0..3 {
                let expected: Vec<Gf128> = (0..len).map(|e| expected(number, e)).collect();
                assert_eq!(row(&made, number + 1), expected, "{len}");
            }
            // Behind two elements, and the first once more: it cancels.
            let mut target = Gf128Vec::zeros(3 * len + 3);
            target.set(1, Gf128::ONE);
            target.write_sums(2, len, &sums, false);
            target.write_sums(2, len, &sums[..1], true);
            assert!(target.get(1) == Gf128::ONE && target.get(3 * len + 2) == Gf128::ZERO);
            for (number, e) in (0..3).flat_map(|number| (0..len).map(move |e| (number, e))) {
                let expected = if number == 0 { Gf128::ZERO } else { expected(number, e) };
                assert_eq!(target.get(2 + number * len + e), expected, "{len}");
            }
            let chosen = sum((0..len).filter(|&e| bits[0].get(e)).map(|e| row(&rows, 1)[e]));
            assert_eq!(rows.sum_selected(1, &bits[0]), chosen);
        }
    });
}
