//! One element of `Z_Q`, with the interface of the real one.

use std::fmt;
use std::ops::{Add, Mul, Neg, Sub};

use ethnum::{I256, U256};

use crate::prime::{Limbs, Prime};

/// An element of `Z_Q`: one residue per limb.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Element {
    limbs: Limbs,
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

    /// The element with these residues, which must be below their primes.
    pub fn from_residues(limbs: Limbs, mut residue: impl FnMut(usize) -> u64) -> Element {
        let mut element = Element::zero(limbs);
        for (l, r) in element.residues.iter_mut().enumerate().take(limbs.count()) {
            *r = residue(l);
            debug_assert!(*r < Prime::of_limb(l).value());
        }
        element
    }

    /// `x mod Q`.
    pub fn from_i128(limbs: Limbs, x: i128) -> Element {
        Element::from_signed(limbs, I256::from(x))
    }

    /// `x mod Q`.
    pub fn from_signed(limbs: Limbs, x: I256) -> Element {
        Element::from_residues(limbs, |l| x.rem_euclid(I256::from(Prime::of_limb(l).value())).as_u64())
    }

    /// `x mod Q`.
    pub fn from_u256(limbs: Limbs, x: U256) -> Element {
        Element::from_residues(limbs, |l| (x % U256::from(Prime::of_limb(l).value())).as_u64())
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
    pub fn limb(&self, l: usize) -> u64 {
        self.residues[..self.limbs.count()][l]
    }

    /// Whether every residue is 0.
    pub fn is_zero(&self) -> bool {
        self.residues == [0; 3]
    }

    /// The integer in `[0, Q)` with these residues: limb after limb, the multiple of the modulus so
    /// far that is missing.
    pub fn lift(&self) -> U256 {
        let (mut x, mut modulus) = (U256::ZERO, U256::ONE);
        for l in 0..self.limbs.count() {
            let p = Prime::of_limb(l);
            let residue = |n: U256| (n % U256::from(p.value())).as_u64();
            let inverse = p.pow(residue(modulus), p.value() - 2);
            let missing = p.mul(p.sub(self.residues[l], residue(x)), inverse);
            x += modulus * U256::from(missing);
            modulus *= U256::from(p.value());
        }
        x
    }

    /// The integer in `(-Q/2, Q/2)` with these residues.
    pub fn signed(&self) -> I256 {
        let (x, modulus) = (self.lift(), self.limbs.modulus());
        if x > modulus / 2 { x.as_i256() - modulus.as_i256() } else { x.as_i256() }
    }

    fn zip(self, other: Element, f: impl Fn(Prime, u64, u64) -> u64) -> Element {
        assert_eq!(self.limbs, other.limbs, "elements of different moduli");
        Element::from_residues(self.limbs, |l| f(Prime::of_limb(l), self.residues[l], other.residues[l]))
    }
}

impl Add for Element {
    type Output = Element;
    fn add(self, other: Element) -> Element {
        self.zip(other, Prime::add)
    }
}

impl Sub for Element {
    type Output = Element;
    fn sub(self, other: Element) -> Element {
        self.zip(other, Prime::sub)
    }
}

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

impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.residues[..self.limbs.count()])
    }
}

impl zeroize::Zeroize for Element {
    fn zeroize(&mut self) {
        self.residues = [0; 3];
    }
}
