//! One element of GF(2^128), by its definition (`docs/protocol.md`, section 2).

use std::fmt;
use std::ops::{Add, AddAssign, Mul};

use zeroize::Zeroize;

use crate::kernels;

/// An element of GF(2^128) = GF(2)\[X\] / (X^128 + X^7 + X^2 + X + 1).
///
/// Bit `j` is the coefficient of `X^j`. Scalar and simple; bulk work belongs into a
/// [`crate::Gf128Vec`]. `Debug` does not show the value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Gf128(u128);

impl Gf128 {
    /// The element 0.
    pub const ZERO: Gf128 = Gf128(0);
    /// The element 1.
    pub const ONE: Gf128 = Gf128(1);
    /// Bytes of an element.
    pub const BYTES: usize = 16;

    /// The element with these bytes, little endian: every 16 bytes are one.
    pub const fn from_bytes(bytes: [u8; Gf128::BYTES]) -> Gf128 {
        Gf128(u128::from_le_bytes(bytes))
    }

    /// The bytes, little endian.
    pub const fn to_bytes(self) -> [u8; Gf128::BYTES] {
        self.0.to_le_bytes()
    }

    /// Whether this is 0.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The element with these coefficients, the low ones first.
    pub(crate) const fn from_words([low, high]: [u64; 2]) -> Gf128 {
        Gf128(low as u128 | (high as u128) << 64)
    }

    /// The coefficients, the low ones first.
    pub(crate) const fn to_words(self) -> [u64; 2] {
        [self.0 as u64, (self.0 >> 64) as u64]
    }
}

/// Also the difference: every element is its own negative.
impl Add for Gf128 {
    type Output = Gf128;
    #[allow(clippy::suspicious_arithmetic_impl)] // polynomials over GF(2) add by exclusive or
    fn add(self, other: Gf128) -> Gf128 {
        Gf128(self.0 ^ other.0)
    }
}

impl AddAssign for Gf128 {
    fn add_assign(&mut self, other: Gf128) {
        *self = *self + other;
    }
}

/// Takes as long for all values.
impl Mul for Gf128 {
    type Output = Gf128;
    fn mul(self, other: Gf128) -> Gf128 {
        Gf128::from_words(kernels::multiply(self.to_words(), other.to_words()))
    }
}

impl fmt::Debug for Gf128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gf128(..)")
    }
}

impl Zeroize for Gf128 {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Kernel, with_kernel};
    use crate::prg::Seed;

    /// The product by its definition: shift, add, and subtract the modulus.
    fn slow(a: Gf128, b: Gf128) -> Gf128 {
        let (mut sum, mut a) = (0, a.0);
        for j in 0..128 {
            sum ^= if b.0 >> j & 1 == 1 { a } else { 0 };
            a = a << 1 ^ if a >> 127 == 1 { 0x87 } else { 0 };
        }
        Gf128(sum)
    }

    fn elements() -> Vec<Gf128> {
        let mut words = [0; 60];
        Seed::from_bytes([9; 32]).stream().words(0, 0, &mut words);
        let mut all: Vec<Gf128> =
            words.as_chunks::<2>().0.iter().map(|pair| Gf128::from_words(*pair)).collect();
        // All ones where products with holes carry most, and single coefficients.
        all.extend([0, 1, u128::MAX, 1 << 127, 1 << 64, 1 << 63, 0x87, u128::MAX / 15].map(Gf128));
        all
    }

    #[test]
    fn products_are_those_of_the_definition() {
        let products = || {
            for a in elements() {
                for b in elements() {
                    assert_eq!((a * b).0, slow(a, b).0);
                }
            }
            for (i, j) in (0..128).flat_map(|i| (0..128).map(move |j| (i, j))) {
                let (a, b) = (Gf128(1 << i), Gf128(1 << j));
                assert_eq!((a * b).0, slow(a, b).0);
            }
        };
        Kernel::ALL
            .into_iter()
            .filter(|kernel| kernel.is_available())
            .for_each(|kernel| with_kernel(kernel, products));
    }

    #[test]
    fn the_field_has_its_laws() {
        let all = elements();
        for (&a, &b, &c) in
            all.iter().flat_map(|a| all.iter().zip(all.iter().rev()).map(move |(b, c)| (a, b, c)))
        {
            assert_eq!(a + b, b + a);
            assert_eq!((a + b) + b, a);
            assert_eq!(a * b, b * a);
            assert_eq!((a * b) * c, a * (b * c));
            assert_eq!(a * (b + c), a * b + a * c);
            assert_eq!(a * Gf128::ONE, a);
            assert_eq!(a * Gf128::ZERO, Gf128::ZERO);
        }
        // 2^128 - 2 is the exponent of the inverse.
        for a in all.into_iter().filter(|a| !a.is_zero()) {
            let (mut power, mut inverse) = (a, Gf128::ONE);
            for _ in 1..128 {
                power = power * power;
                inverse = inverse * power;
            }
            assert_eq!(a * inverse, Gf128::ONE);
            assert_eq!(power * power, a);
        }
    }

    /// NIST, "The Galois/Counter Mode of Operation (GCM)", McGrew and Viega, appendix B, test case 2:
    /// there, bit 0 of a block is the top bit of its first byte, and the modulus is the same.
    #[test]
    fn a_published_product() {
        let element = |hex: u128| Gf128(hex.reverse_bits());
        let h = element(0x66e9_4bd4_ef8a_2c3b_884c_fa59_ca34_2b2e);
        let c = element(0x0388_dace_60b6_a392_f328_c2b9_71b2_fe78);
        let x_1 = element(0x5e2e_c746_9170_6288_2c85_b068_5353_deb7);
        let length = element(0x80);
        let ghash = element(0xf38c_bb1a_d692_23dc_c345_7ae5_b6b0_f885);
        assert_eq!((c * h).0, x_1.0);
        assert_eq!(((x_1 + length) * h).0, ghash.0);
    }

    #[test]
    fn bytes_are_little_endian_and_hidden() {
        let mut bytes = [0; 16];
        bytes[1] = 3;
        let element = Gf128::from_bytes(bytes);
        assert_eq!(element.0, 0x300);
        assert_eq!(element.to_bytes(), bytes);
        assert_eq!(Gf128::from_words(element.to_words()), element);
        assert_eq!(Gf128::from_words([1, 2]).0, 2 << 64 | 1);
        assert!(Gf128::ZERO.is_zero() && !element.is_zero());
        assert_eq!(format!("{element:?}"), "Gf128(..)");
    }
}
