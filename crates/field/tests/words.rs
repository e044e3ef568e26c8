//! Bits and windows against their definitions, element by element, under every kernel.

#![allow(clippy::unwrap_used)] // helpers of tests are outside of #[test] functions

mod common;

use amicus_field::{BitVec, Element, LimbVec, Limbs, U256, UnpackError, WordVec};
use common::{for_each_kernel_and_limbs, mixed, random};

const LENGTHS: [usize; 14] = [0, 1, 2, 3, 4, 7, 8, 9, 31, 63, 64, 65, 130, 1003];

fn bits(label: u32, len: usize) -> BitVec {
    random(label, Limbs::ONE, len).plane(0).iter().map(|r| r >> 7 & 1 == 1).collect()
}

fn all(words: &WordVec) -> Vec<u64> {
    (0..words.len()).map(|i| words.get(i)).collect()
}

fn each_bit(bits: &BitVec) -> Vec<bool> {
    (0..bits.len()).map(|i| bits.get(i)).collect()
}

#[test]
fn windows_are_bits_of_the_lift() {
    for_each_kernel_and_limbs(|limbs| {
        for len in [0, 1, 7, 8, 64, 65, 130] {
            // Around 0, Q and the middle, which one unit decides.
            let mut x = mixed(9, limbs, len);
            let at = |i: usize, element| (i < len).then_some((i, element));
            let edges = [
                at(0, Element::zero(limbs)),
                at(1, Element::from_i128(limbs, -1)),
                at(2, Element::one(limbs)),
            ];
            edges.into_iter().flatten().for_each(|(i, element)| x.set(i, element));
            for (unit, width) in [(0, 1), (0, 52), (5, 13), (limbs.bits() - 13, 13), (limbs.bits() - 52, 52)]
            {
                let mask: U256 = (U256::ONE << width) - 1;
                let expected: Vec<u64> =
                    (0..len).map(|i| (x.get(i).lift() >> unit & mask).as_u64()).collect();
                let window = WordVec::window(&x, unit, width);
                assert_eq!(all(&window), expected, "{unit} + {width}");
                for position in [0, width / 2, width - 1] {
                    let bit: Vec<bool> = expected.iter().map(|word| word >> position & 1 == 1).collect();
                    assert_eq!(each_bit(&window.bit(position)), bit, "bit {position} of {width}");
                }
            }
            if limbs.bits() > 60 {
                let expected: Vec<u64> =
                    (0..len).map(|i| (x.get(i).lift() >> 47u32).as_u64() & 0xfff).collect();
                assert_eq!(all(&WordVec::window(&x, 47, 12)), expected, "across two words");
            }
        }
    });
}

#[test]
fn signs_are_those_of_the_bits() {
    for_each_kernel_and_limbs(|limbs| {
        for len in LENGTHS {
            let (a, b, signs) = (mixed(10, limbs, len), mixed(11, limbs, len), bits(12, len));
            let mut sum = a.clone();
            sum.add_signed(&b, &signs);
            let expected: Vec<Element> = (0..len)
                .map(|i| if signs.get(i) { a.get(i) + b.get(i) } else { a.get(i) - b.get(i) })
                .collect();
            assert_eq!(sum, LimbVec::from_elements(limbs, &expected), "{len}");
        }
    });
}

#[test]
fn bits_combine_and_stay_within_their_length() {
    for len in LENGTHS {
        let (x, y) = (bits(13, len), bits(14, len));
        let mut sum = x.clone();
        sum.xor_assign(&y);
        let mut not = x.clone();
        not.invert();
        let each = |f: fn(bool, bool) -> bool| (0..len).map(|i| f(x.get(i), y.get(i))).collect::<Vec<_>>();
        assert_eq!(each_bit(&sum), each(|a, b| a ^ b));
        assert_eq!(each_bit(&x.and(&y)), each(|a, b| a & b));
        assert_eq!(each_bit(&not), each(|a, _| !a));
        let mut bytes = vec![7];
        not.pack_into(&mut bytes);
        assert_eq!(bytes.len(), 1 + BitVec::packed_len(len));
        assert_eq!(BitVec::unpack(len, &bytes[1..]).unwrap(), not);
        if len > 0 {
            not.flip(len - 1);
            assert_eq!(not.get(len - 1), x.get(len - 1));
        }
    }
}

#[test]
fn bit_planes_have_one_encoding() {
    for len in LENGTHS {
        let mut bytes = Vec::new();
        bits(15, len).pack_into(&mut bytes);
        let expected = bytes.len();
        for got in [expected + 1, expected.wrapping_sub(1)].into_iter().filter(|&got| got < 1 << 20) {
            let error = UnpackError::Length { len, expected, got };
            assert_eq!(BitVec::unpack(len, &vec![0; got]).unwrap_err(), error);
        }
        for bit in (len..8 * expected).map(|bit| bit % 8) {
            let mut padded = bytes.clone();
            *padded.last_mut().unwrap() |= 1 << bit;
            assert_eq!(BitVec::unpack(len, &padded).unwrap_err(), UnpackError::Padding { limb: 0 });
        }
        if len > 0 {
            // The first bit is the lowest of the first byte.
            let first = BitVec::unpack(len, &[&[1], &vec![0; expected - 1][..]].concat()).unwrap();
            assert!((0..len).all(|i| first.get(i) == (i == 0)));
        }
    }
    assert!(BitVec::unpack(usize::MAX, &[0; 13]).is_err());
}

#[test]
fn debug_shows_lengths_only() {
    let text = format!("{:?} {:?}", WordVec::window(&mixed(17, Limbs::ONE, 3), 0, 5), bits(18, 9));
    assert_eq!(text, "WordVec { len: 3, .. } BitVec { len: 9, .. }");
}

#[test]
fn parts_of_bits_make_the_whole() {
    for len in [0, 1, 63, 64, 65, 200] {
        let whole = bits(3, len);
        for size in [64, 128, 256] {
            let mut copy = BitVec::zeros(len);
            for first in (0..len).step_by(size).rev() {
                let range = first..len.min(first + size);
                let part = whole.slice(range.clone());
                assert_eq!(each_bit(&part), each_bit(&whole)[range]);
                copy.put(first, &part);
            }
            assert_eq!(copy, whole);
        }
        if len > 64 {
            // Bits behind a part are not part of it.
            let mut inverted = whole.slice(0..65);
            inverted.invert();
            inverted.invert();
            assert_eq!(inverted, whole.slice(0..65));
        }
    }
}
