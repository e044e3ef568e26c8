//! Packing against its definition by bits, and what it refuses.

#![allow(clippy::unwrap_used)] // helpers of tests are outside of #[test] functions

mod common;

use amicus_field::{
    LimbVec, Limbs, PRIMES, Seed, UnpackError, pack_into, pack_to, packed_len, unpack, unpack_add,
    unpack_part,
};
use common::{for_each_kernel_and_limbs, largest, mixed};

/// The definition: 52 bits a residue, little endian, each plane filled up to whole bytes.
fn pack_by_bits(vector: &LimbVec) -> Vec<u8> {
    let mut out = Vec::new();
    for l in 0..vector.limbs().count() {
        let mut bits: Vec<bool> =
            vector.plane(l).iter().flat_map(|r| (0..52).map(move |b| r >> b & 1 == 1)).collect();
        bits.resize(bits.len().next_multiple_of(8), false);
        out.extend(bits.chunks(8).map(|byte| (0..8).map(|b| u8::from(byte[b]) << b).sum::<u8>()));
    }
    out
}

fn packed(vector: &LimbVec) -> Vec<u8> {
    let mut bytes = vec![];
    pack_into(vector, &mut bytes);
    bytes
}

const LENGTHS: [usize; 12] = [0, 1, 2, 3, 7, 8, 9, 10, 16, 31, 64, 1003];

#[test]
fn there_and_back() {
    for_each_kernel_and_limbs(|limbs| {
        for len in LENGTHS {
            for vector in [mixed(1, limbs, len), largest(limbs, len), LimbVec::zeros(limbs, len)] {
                let bytes = packed(&vector);
                assert_eq!(bytes, pack_by_bits(&vector));
                assert_eq!(bytes.len(), packed_len(limbs, len));
                assert_eq!(unpack(limbs, len, &bytes).unwrap(), vector);
                let mut sum = mixed(2, limbs, len);
                let mut expected = sum.clone();
                expected.add_assign(&vector);
                unpack_add(&mut sum, &bytes).unwrap();
                assert_eq!(sum, expected);
            }
        }
        let mut bytes = vec![9, 9];
        pack_into(&largest(limbs, 3), &mut bytes);
        assert_eq!((bytes[..2].to_vec(), bytes.len()), (vec![9, 9], 2 + packed_len(limbs, 3)));
    });
}

#[test]
fn sizes_are_those_of_the_protocol() {
    assert_eq!(packed_len(Limbs::TWO, 2), 26);
    assert_eq!(packed_len(Limbs::ONE, 1), 7);
    assert_eq!(packed_len(Limbs::THREE, 5), 3 * (26 + 7));
    assert_eq!(packed_len(Limbs::THREE, usize::MAX), usize::MAX);
}

#[test]
fn a_wrong_number_of_bytes_is_refused() {
    for_each_kernel_and_limbs(|limbs| {
        for len in LENGTHS {
            let expected = packed_len(limbs, len);
            for got in [0, 1, expected.wrapping_sub(1), expected + 1] {
                if got == expected || got == usize::MAX {
                    continue;
                }
                let error = UnpackError::Length { len, expected, got };
                assert_eq!(unpack(limbs, len, &vec![0; got]).unwrap_err(), error);
                assert_eq!(unpack_add(&mut LimbVec::zeros(limbs, len), &vec![0; got]).unwrap_err(), error);
            }
        }
        assert!(unpack(limbs, usize::MAX, &[0; 13]).is_err());
    });
}

#[test]
fn a_residue_that_is_not_below_its_prime_is_named() {
    for_each_kernel_and_limbs(|limbs| {
        for len in [1, 2, 8, 9, 17, 1003] {
            for (limb, &prime) in PRIMES.iter().enumerate().take(limbs.count()) {
                for index in [0, len / 2, len - 1] {
                    for residue in [prime, (1 << 52) - 1] {
                        let mut bytes = packed(&mixed(3, limbs, len));
                        let start = limb * packed_len(Limbs::ONE, len);
                        for bit in 0..52 {
                            let at = index * 52 + bit;
                            let byte = &mut bytes[start + at / 8];
                            *byte = *byte & !(1 << (at % 8)) | ((residue >> bit & 1) as u8) << (at % 8);
                        }
                        let error = UnpackError::NotCanonical { limb, index };
                        assert_eq!(unpack(limbs, len, &bytes).unwrap_err(), error);
                        let mut sum = mixed(4, limbs, len);
                        assert_eq!(unpack_add(&mut sum, &bytes).unwrap_err(), error);
                    }
                }
            }
        }
    });
}

#[test]
fn padding_must_be_zero() {
    for_each_kernel_and_limbs(|limbs| {
        for len in [1, 3, 9, 25] {
            for limb in 0..limbs.count() {
                for bit in 4..8 {
                    let mut bytes = packed(&mixed(5, limbs, len));
                    bytes[(limb + 1) * packed_len(Limbs::ONE, len) - 1] |= 1 << bit;
                    assert_eq!(unpack(limbs, len, &bytes).unwrap_err(), UnpackError::Padding { limb });
                }
            }
        }
    });
}

#[test]
fn parts_are_read_where_they_belong() {
    for limbs in Limbs::ALL {
        for len in [0, 1, 2, 7, 30, 31] {
            let whole = Seed::from_bytes([4; 32]).stream().sample(0, limbs, len);
            for size in [1, 2, 5, 16, 32] {
                let mut read = LimbVec::zeros(limbs, len);
                for first in (0..len).step_by(size).rev() {
                    let range = first..len.min(first + size);
                    let mut packed = vec![0xff; packed_len(limbs, range.len())];
                    pack_to(&whole.slice(range.clone()), &mut packed);
                    assert_eq!(unpack(limbs, range.len(), &packed).unwrap(), whole.slice(range.clone()));
                    unpack_part(&mut read, range.clone(), &packed).unwrap();
                    packed.push(0);
                    assert!(matches!(
                        unpack_part(&mut read, range, &packed),
                        Err(UnpackError::Length { .. })
                    ));
                }
                assert_eq!(read, whole, "{len} in parts of {size}");
            }
        }
    }
}

#[test]
fn parts_are_checked_as_vectors_are() {
    let mut vector = LimbVec::zeros(Limbs::ONE, 8);
    let at_prime = PRIMES[0].to_le_bytes();
    let error = unpack_part(&mut vector, 3..4, &at_prime[..7]).unwrap_err();
    assert_eq!(error, UnpackError::NotCanonical { limb: 0, index: 0 });
    let padded = [0, 0, 0, 0, 0, 0, 0x80];
    assert_eq!(unpack_part(&mut vector, 7..8, &padded).unwrap_err(), UnpackError::Padding { limb: 0 });
}

#[test]
#[should_panic(expected = "elements of another vector")]
fn parts_outside_of_a_vector_are_refused() {
    let _ = unpack_part(&mut LimbVec::zeros(Limbs::ONE, 3), 2..4, &[0; 13]);
}
