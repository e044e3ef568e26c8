//! Words, bits and windows against their definitions, element by element, under every kernel.

#![allow(clippy::unwrap_used)] // helpers of tests are outside of #[test] functions

mod common;

use amicus_field::{BitVec, Digit, Element, LimbVec, Limbs, Seed, U256, UnpackError, WordVec};
use common::{for_each_kernel, for_each_kernel_and_limbs, mixed, random};

const TOP: u64 = (1 << 52) - 1;
const LENGTHS: [usize; 14] = [0, 1, 2, 3, 4, 7, 8, 9, 31, 63, 64, 65, 130, 1003];

/// Random words with 0, 1 and the largest one strewn in.
fn words(label: u32, len: usize) -> WordVec {
    let drawn = random(label, Limbs::ONE, len);
    let each = |&r: &u64| match r % 7 {
        0 => 0,
        1 => 1,
        2 => TOP,
        _ => r,
    };
    WordVec::from_words(&drawn.plane(0).iter().map(each).collect::<Vec<_>>())
}

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
fn words_add_by_exclusive_or_and_public_bits_choose() {
    for_each_kernel(|| {
        for len in LENGTHS {
            let (a, b, c) = (words(1, len), words(2, len), words(3, len));
            let (x, y) = (bits(4, len), bits(5, len));
            let mut sum = a.clone();
            sum.xor_assign(&b);
            assert_eq!(all(&sum), (0..len).map(|i| a.get(i) ^ b.get(i)).collect::<Vec<_>>());
            let mut chosen = a.clone();
            chosen.xor_selected(&[(&b, &x), (&c, &y), (&c, &x)]);
            let term = |w: &WordVec, bits: &BitVec, i| if bits.get(i) { w.get(i) } else { 0 };
            let expected: Vec<u64> =
                (0..len).map(|i| a.get(i) ^ term(&b, &x, i) ^ term(&c, &y, i) ^ term(&c, &x, i)).collect();
            assert_eq!(all(&chosen), expected, "{len}");
            assert_eq!(all(&b.selected(&x)), (0..len).map(|i| term(&b, &x, i)).collect::<Vec<_>>());
            for position in [0, 1, 31, 50, 51] {
                let bit: Vec<bool> = (0..len).map(|i| a.get(i) >> position & 1 == 1).collect();
                assert_eq!(each_bit(&a.bit(position)), bit);
            }
            for (start, end) in [(0, len), (len / 3, len), (len / 3, 2 * len / 3), (len, len)] {
                let sum = (start..end).fold(0, |sum, i| sum ^ a.get(i) ^ term(&b, &x, i));
                assert_eq!(a.xor_sum(&b, &x, start..end), sum, "{start}..{end} of {len}");
            }
            let mut forced = a.clone();
            forced.force_low_bit(true);
            assert_eq!(all(&forced), all(&a).iter().map(|word| word | 1).collect::<Vec<_>>());
            forced.force_low_bit(false);
            assert_eq!(all(&forced), all(&a).iter().map(|word| word & !1).collect::<Vec<_>>());
        }
    });
}

#[test]
fn tables_hold_the_key_below_the_digit_and_are_picked_from() {
    for_each_kernel(|| {
        for len in LENGTHS {
            let (window, mask, key) = (words(6, len), words(7, len), words(8, len));
            for (low, width) in [(0, 1), (3, 2), (10, 3), (48, 4), (20, 8)] {
                let digit = |window| Digit { window, low, width };
                let of = |window: &WordVec, i| window.get(i) >> low & ((1 << width) - 1);
                let table: Vec<WordVec> = (0..(1 << width) - 1).map(|j| key.entry(digit(&mask), j)).collect();
                for (j, entry) in (0..).zip(&table) {
                    let expected: Vec<u64> =
                        (0..len).map(|i| if j < of(&mask, i) { key.get(i) } else { 0 }).collect();
                    assert_eq!(all(entry), expected, "{len} entries at {j}, {width} bits");
                }
                let (less, equal) = key.pick(digit(&window), &table, true);
                let times = |bit: bool, i| if bit { key.get(i) } else { 0 };
                let expected = |f: fn(&u64, &u64) -> bool| -> Vec<u64> {
                    (0..len).map(|i| times(f(&of(&window, i), &of(&mask, i)), i)).collect()
                };
                assert_eq!(all(&less), expected(u64::lt), "{len}, {width} bits");
                assert_eq!(all(&equal.unwrap()), expected(u64::eq), "{len}, {width} bits");
                assert_eq!(key.pick(digit(&window), &table, false), (less, None));
            }
        }
    });
}

#[test]
fn windows_are_bits_of_the_lift() {
    for_each_kernel_and_limbs(|limbs| {
        for len in [0, 1, 7, 8, 65] {
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
                assert_eq!(all(&WordVec::window(&x, unit, width)), expected, "{unit} + {width}");
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
fn every_word_has_one_encoding_and_none_is_refused() {
    for_each_kernel(|| {
        for len in LENGTHS {
            // Also the words that are no residue of any prime.
            let mut vector = words(16, len);
            (0..len).filter(|i| i % 3 == 0).for_each(|i| vector.set(i, TOP - i as u64 % 47));
            let mut bytes = Vec::new();
            vector.pack_into(&mut bytes);
            assert_eq!(bytes.len(), WordVec::packed_len(len));
            for i in 0..len {
                let word = (0..52).fold(0, |word, b| {
                    let at = 52 * i + b;
                    word | u64::from(bytes[at / 8] >> (at % 8) & 1) << b
                });
                assert_eq!(word, vector.get(i));
            }
            assert_eq!(WordVec::unpack(len, &bytes).unwrap(), vector);
            let expected = bytes.len();
            let error = UnpackError::Length { len, expected, got: expected + 1 };
            assert_eq!(WordVec::unpack(len, &vec![0; expected + 1]).unwrap_err(), error);
            for bit in (4..8).filter(|_| len % 2 == 1) {
                let mut padded = bytes.clone();
                *padded.last_mut().unwrap() |= 1 << bit;
                assert_eq!(WordVec::unpack(len, &padded).unwrap_err(), UnpackError::Padding { limb: 0 });
            }
        }
        assert!(WordVec::unpack(usize::MAX, &[0; 13]).is_err());
    });
}

#[test]
fn sampled_words_are_the_low_bits_of_the_stream() {
    let raw_of = |domain, len| {
        let mut raw = vec![0; len];
        Seed::from_bytes([5; 32]).stream().words(domain, 0, &mut raw);
        raw
    };
    let raw = raw_of(9, 3000);
    assert!(raw.iter().any(|word| word >> 52 != 0));
    for_each_kernel(|| {
        let stream = Seed::from_bytes([5; 32]).stream();
        for (first, len) in [(0, 3000), (1, 1), (17, 900), (1023, 3), (2999, 1), (5, 0)] {
            let sampled = all(&stream.sample_words(9, first as u64, len));
            let expected: Vec<u64> = raw[first..first + len].iter().map(|word| word & TOP).collect();
            assert_eq!(sampled, expected, "{first} {len}");
        }
    });
    assert_ne!(all(&Seed::from_bytes([5; 32]).stream().sample_words(8, 0, 3)), raw[..3]);
}

#[test]
fn debug_shows_lengths_only() {
    let text = format!("{:?} {:?}", words(17, 3), bits(18, 9));
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

#[test]
fn words_are_read_where_they_belong() {
    let words: Vec<u64> = (0..9u64).map(|i| (1 << 52) - 1 - i).collect();
    let mut read = WordVec::zeros(9);
    for range in [4..9, 0..4] {
        let mut packed = vec![0xff; WordVec::packed_len(range.len())];
        WordVec::from_words(&words[range.clone()]).pack_to(&mut packed);
        read.unpack_part(range.clone(), &packed).unwrap();
        packed.pop();
        assert!(matches!(read.unpack_part(range, &packed), Err(UnpackError::Length { .. })));
    }
    assert_eq!(read, WordVec::from_words(&words));
}
