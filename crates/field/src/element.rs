//! One element of `Z_Q`, as its residues (`docs/protocol.md`, section 2).

use std::fmt;
use std::ops::{Add, Mul, Neg, Sub};

use ethnum::{I256, U256};
use zeroize::Zeroize;

use crate::prime::{Limbs, PRIMES, Prime};

/// An element of `Z_Q`: one canonical residue per limb.
///
/// Scalar and simple; bulk work belongs into a [`crate::LimbVec`]. `Debug` does not show the value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Element {
    limbs: Limbs,
    /// Residues; those beyond the limbs are 0.
    residues: [u64; 3],
}

impl Element {
    /// The element 0.
    pub const fn zero(limbs: Limbs) -> Element {
        Element { limbs, residues: [0; 3] }
    }

    /// The element 1.
    pub fn one(limbs: Limbs) -> Element {
        Element::from_residues(limbs, |_| 1)
    }

    /// The element with the residue `residue(prime)` in every limb; it must be canonical.
    pub(crate) fn from_residues(limbs: Limbs, mut residue: impl FnMut(usize) -> u64) -> Element {
        let mut element = Element::zero(limbs);
        for (l, r) in element.residues.iter_mut().enumerate().take(limbs.count()) {
            *r = residue(l);
            debug_assert!(*r < PRIMES[l]);
        }
        element
    }

    /// `x mod Q`.
    pub fn from_i128(limbs: Limbs, x: i128) -> Element {
        Element::from_residues(limbs, |l| x.rem_euclid(i128::from(PRIMES[l])) as u64)
    }

    /// `x mod Q`.
    pub fn from_signed(limbs: Limbs, x: I256) -> Element {
        Element::from_residues(limbs, |l| x.rem_euclid(I256::from(PRIMES[l])).as_u64())
    }

    /// `x mod Q`.
    pub fn from_u256(limbs: Limbs, x: U256) -> Element {
        Element::from_residues(limbs, |l| (x % U256::from(PRIMES[l])).as_u64())
    }

    /// `2^exponent mod Q`.
    pub fn power_of_two(limbs: Limbs, exponent: u32) -> Element {
        Element::from_residues(limbs, |l| Prime::of_limb(l).pow(2, u64::from(exponent)))
    }

    /// The number of limbs.
    pub const fn limbs(&self) -> Limbs {
        self.limbs
    }

    /// The residue of limb `l`.
    ///
    /// # Panics
    /// When the element has no limb `l`.
    pub fn limb(&self, l: usize) -> u64 {
        self.residues[..self.limbs.count()][l]
    }

    /// Whether every residue is 0.
    pub fn is_zero(&self) -> bool {
        self.residues == [0; 3]
    }

    /// The integer in `[0, Q)` with these residues.
    ///
    /// Garner's mixed-radix form `r_1 + p_1 (t_2 + p_2 t_3)`.
    pub fn lift(&self) -> U256 {
        let digits = self.mixed_radix();
        (0..self.limbs.count())
            .rev()
            .fold(U256::ZERO, |x, l| x * U256::from(PRIMES[l]) + U256::from(digits[l]))
    }

    /// The integer in `(-Q/2, Q/2)` with these residues: [`lift`](Self::lift), less `Q` when above
    /// `Q/2`.
    pub fn signed(&self) -> I256 {
        let (x, modulus) = (self.lift(), self.limbs.modulus());
        if x > modulus / 2 { x.as_i256() - modulus.as_i256() } else { x.as_i256() }
    }

    /// The mixed-radix digits `t_l < p_l`.
    fn mixed_radix(&self) -> [u64; 3] {
        let mut digits = [self.residues[0], 0, 0];
        for (l, p) in self.limbs.primes().iter().enumerate().skip(1) {
            let mut t = self.residues[l];
            for k in 0..l {
                t = p.mul(p.sub(t, p.reduce(digits[k])), INVERSES[l][k]);
            }
            digits[l] = t;
        }
        digits
    }

    fn zip(self, other: Element, f: impl Fn(Prime, u64, u64) -> u64) -> Element {
        assert_eq!(self.limbs, other.limbs, "elements of different moduli");
        Element::from_residues(self.limbs, |l| f(Prime::of_limb(l), self.residues[l], other.residues[l]))
    }
}

/// `INVERSES[l][k]` is the inverse of `p_k` modulo `p_l`, for `k < l`.
pub(crate) const INVERSES: [[u64; 2]; 3] = {
    let mut table = [[0; 2]; 3];
    let mut l = 1;
    while l < 3 {
        let mut k = 0;
        while k < l {
            let p = Prime::of_limb(l);
            table[l][k] = match p.inv(p.reduce(PRIMES[k])) {
                Some(inverse) => inverse,
                None => panic!("primes are distinct"),
            };
            k += 1;
        }
        l += 1;
    }
    table
};

/// # Panics
/// When the moduli differ.
impl Add for Element {
    type Output = Element;
    fn add(self, other: Element) -> Element {
        self.zip(other, Prime::add)
    }
}

/// # Panics
/// When the moduli differ.
impl Sub for Element {
    type Output = Element;
    fn sub(self, other: Element) -> Element {
        self.zip(other, Prime::sub)
    }
}

/// # Panics
/// When the moduli differ.
impl Mul for Element {
    type Output = Element;
    fn mul(self, other: Element) -> Element {
        self.zip(other, Prime::mul)
    }
}

impl Neg for Element {
    type Output = Element;
    fn neg(self) -> Element {
        Element::zero(self.limbs) - self
    }
}

impl Zeroize for Element {
    fn zeroize(&mut self) {
        self.residues.zeroize();
    }
}

impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Element").field("limbs", &self.limbs.count()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn boundary_values() {
        for limbs in Limbs::ALL {
            let q = limbs.modulus();
            let top = Element::from_u256(limbs, q - 1);
            assert_eq!(top.lift(), q - 1);
            assert_eq!(top.signed(), I256::from(-1));
            assert_eq!(top, Element::from_i128(limbs, -1));
            assert!((top + Element::one(limbs)).is_zero());
            assert_eq!(top * top, Element::one(limbs));
            assert_eq!(-Element::zero(limbs), Element::zero(limbs));
            assert_eq!(Element::from_u256(limbs, q / 2).signed(), (q / 2).as_i256());
            assert_eq!(Element::from_u256(limbs, q / 2 + 1).signed(), (q / 2).as_i256() * -1);
            assert_eq!(Element::from_u256(limbs, q), Element::zero(limbs));
            assert_eq!(Element::from_signed(limbs, I256::MIN).lift(), {
                let q = q.as_i256();
                I256::MIN.rem_euclid(q).as_u256()
            });
            assert_eq!(Element::power_of_two(limbs, 200), Element::from_u256(limbs, U256::ONE << 200u32));
        }
    }

    #[test]
    fn debug_shows_no_value() {
        let shown = format!("{:?}", Element::from_i128(Limbs::TWO, 77_777));
        assert!(!shown.contains("77"), "{shown}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn integers_in_and_out(count in 1usize..=3, x: i128, y: i128) {
            let limbs = Limbs::new(count).unwrap();
            let q = limbs.modulus().as_i256();
            let (a, b) = (Element::from_i128(limbs, x), Element::from_i128(limbs, y));
            prop_assert_eq!(a, Element::from_signed(limbs, I256::from(x)));
            let (x, y) = (I256::from(x).rem_euclid(q), I256::from(y).rem_euclid(q));
            prop_assert_eq!(a.lift().as_i256(), x);
            prop_assert_eq!((a + b).lift().as_i256(), (x + y) % q);
            prop_assert_eq!((a - b).lift().as_i256(), (x - y).rem_euclid(q));
            prop_assert_eq!(a.signed().rem_euclid(q), x);
            prop_assert_eq!(a * b, Element::from_residues(limbs, |l| Prime::of_limb(l).mul(a.limb(l), b.limb(l))));
        }
    }
}
