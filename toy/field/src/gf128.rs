//! One element of a field of characteristic 2, with the interface of the real one: of GF(4) while an
//! oracle runs, so that its values can be enumerated, of GF(2^128) outside.

use std::fmt;
use std::ops::{Add, AddAssign, Mul};

use zeroize::Zeroize;

use crate::oracle;

/// An element of GF(2)\[X\] modulo X^2 + X + 1, or modulo X^128 + X^7 + X^2 + X + 1.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Gf128(u128);

/// The degree of the modulus, and the rest of it.
fn modulus() -> (u32, u128) {
    if oracle::runs() { (2, 0b11) } else { (128, 0x87) }
}

/// `a b`: shift, add, and subtract the modulus.
fn product(a: u128, b: u128) -> u128 {
    let (degree, rest) = modulus();
    let (mut sum, mut a) = (0, a);
    for j in 0..degree {
        sum ^= if b >> j & 1 == 1 { a } else { 0 };
        let over = a >> (degree - 1) == 1;
        a = a << 1 & (u128::MAX >> (128 - degree)) ^ if over { rest } else { 0 };
    }
    sum
}

impl Gf128 {
    /// The element 0.
    pub const ZERO: Gf128 = Gf128(0);
    /// The element 1.
    pub const ONE: Gf128 = Gf128(1);
    /// Bytes of an element.
    pub const BYTES: usize = 16;

    /// The element with the lowest of these bits, as many as it has.
    pub fn from_bytes(bytes: [u8; Gf128::BYTES]) -> Gf128 {
        Gf128(u128::from_le_bytes(bytes) & (u128::MAX >> (128 - modulus().0)))
    }

    /// The bytes, little endian.
    pub const fn to_bytes(self) -> [u8; Gf128::BYTES] {
        self.0.to_le_bytes()
    }

    /// Whether this is 0.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn from_words([low, high]: [u64; 2]) -> Gf128 {
        Gf128(low as u128 | (high as u128) << 64)
    }

    pub(crate) const fn to_words(self) -> [u64; 2] {
        [self.0 as u64, (self.0 >> 64) as u64]
    }
}

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

impl Mul for Gf128 {
    type Output = Gf128;
    fn mul(self, other: Gf128) -> Gf128 {
        Gf128(product(self.0, other.0))
    }
}

impl fmt::Debug for Gf128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl Zeroize for Gf128 {
    fn zeroize(&mut self) {
        self.0 = 0;
    }
}
