//! The three primes and their scalar arithmetic: the definition every kernel is held to
//! (`docs/protocol.md`, section 2).

use ethnum::U256;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::FieldError;

/// The largest primes below 2^52, one per limb.
///
/// `2^52 = c (mod 2^52 - c)` with `c` = 47, 143, 173 makes reduction two small multiplications.
pub const PRIMES: [u64; 3] = [(1 << 52) - 47, (1 << 52) - 143, (1 << 52) - 173];

/// The low 52 bits of a word.
pub(crate) const MASK52: u64 = (1 << 52) - 1;

/// One of the [`PRIMES`], with the scalar arithmetic modulo it.
///
/// Arguments of the operations must be canonical, that is below the prime; results are canonical.
/// The code is as plain as it can be, because it is what "correct" means for the fast kernels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Prime(u64);

impl Prime {
    /// All primes in the order of the limbs.
    pub const ALL: [Prime; 3] = [Prime(PRIMES[0]), Prime(PRIMES[1]), Prime(PRIMES[2])];

    /// The prime of limb `limb`.
    ///
    /// # Panics
    /// When `limb` is not 0, 1 or 2.
    pub const fn of_limb(limb: usize) -> Prime {
        Prime::ALL[limb]
    }

    /// The prime as an integer.
    pub const fn value(self) -> u64 {
        self.0
    }

    /// `2^52 - p`: 47, 143 or 173.
    pub const fn complement(self) -> u64 {
        (1 << 52) - self.0
    }

    /// `x mod p` of any word.
    pub const fn reduce(self, x: u64) -> u64 {
        x % self.0
    }

    /// `x mod p` of any double word.
    pub const fn reduce_wide(self, x: u128) -> u64 {
        (x % self.0 as u128) as u64
    }

    /// `x mod p` of a signed word, in `0..p`.
    pub const fn reduce_signed(self, x: i64) -> u64 {
        x.rem_euclid(self.0 as i64) as u64
    }

    /// `a + b mod p`.
    pub const fn add(self, a: u64, b: u64) -> u64 {
        debug_assert!(a < self.0 && b < self.0);
        (a + b) % self.0
    }

    /// `a - b mod p`.
    pub const fn sub(self, a: u64, b: u64) -> u64 {
        debug_assert!(a < self.0 && b < self.0);
        (a + self.0 - b) % self.0
    }

    /// `-a mod p`.
    pub const fn neg(self, a: u64) -> u64 {
        self.sub(0, a)
    }

    /// `a * b mod p`.
    pub const fn mul(self, a: u64, b: u64) -> u64 {
        debug_assert!(a < self.0 && b < self.0);
        self.reduce_wide(a as u128 * b as u128)
    }

    /// `a^exponent mod p`, with `0^0 = 1`.
    pub const fn pow(self, a: u64, mut exponent: u64) -> u64 {
        let (mut base, mut result) = (a, 1);
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = self.mul(result, base);
            }
            base = self.mul(base, base);
            exponent >>= 1;
        }
        result
    }

    /// The inverse of `a`, or `None` for 0 (Fermat: `a^(p-2)`).
    pub const fn inv(self, a: u64) -> Option<u64> {
        if a == 0 { None } else { Some(self.pow(a, self.0 - 2)) }
    }
}

/// How many primes make up the modulus `Q`: 1, 2 or 3.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Limbs(u8);

impl Limbs {
    /// One limb: `Q` of 52 bits.
    pub const ONE: Limbs = Limbs(1);
    /// Two limbs: `Q` of 104 bits, the default of the planner.
    pub const TWO: Limbs = Limbs(2);
    /// Three limbs: `Q` of 156 bits.
    pub const THREE: Limbs = Limbs(3);
    /// Every value, for tests and tables.
    pub const ALL: [Limbs; 3] = [Limbs::ONE, Limbs::TWO, Limbs::THREE];

    /// `count` limbs, or `None` unless it is 1, 2 or 3.
    pub const fn new(count: usize) -> Option<Limbs> {
        match count {
            1 => Some(Limbs::ONE),
            2 => Some(Limbs::TWO),
            3 => Some(Limbs::THREE),
            _ => None,
        }
    }

    /// The number of limbs.
    pub const fn count(self) -> usize {
        self.0 as usize
    }

    /// The number of bits of an element on the wire, `52 L`; `Q` lies between `2^(52 L - 1)` and
    /// `2^(52 L)`.
    pub const fn bits(self) -> u32 {
        52 * self.0 as u32
    }

    /// The modulus `Q`, the product of the first `L` primes.
    pub fn modulus(self) -> U256 {
        self.primes().iter().fold(U256::ONE, |q, p| q * U256::from(p.value()))
    }

    /// The primes of the limbs.
    pub const fn primes(self) -> &'static [Prime] {
        match self.0 {
            1 => const { &[Prime::ALL[0]] },
            2 => const { &[Prime::ALL[0], Prime::ALL[1]] },
            _ => &Prime::ALL,
        }
    }
}

impl TryFrom<usize> for Limbs {
    type Error = FieldError;

    fn try_from(count: usize) -> Result<Limbs, FieldError> {
        Limbs::new(count).ok_or(FieldError::LimbCount { got: count })
    }
}

impl Serialize for Limbs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.0)
    }
}

impl<'de> Deserialize<'de> for Limbs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Limbs, D::Error> {
        let count = u8::deserialize(deserializer)?;
        Limbs::try_from(usize::from(count)).map_err(serde::de::Error::custom)
    }
}

const _: () = {
    let mut l = 0;
    while l < 3 {
        assert!(PRIMES[l] < 1 << 52 && PRIMES[l] > (1 << 52) - (1 << 8));
        assert!(l == 0 || PRIMES[l] < PRIMES[l - 1]);
        l += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Deterministic Miller-Rabin for 64-bit integers (bases of Jim Sinclair's table for 2^64).
    fn is_prime(n: u64) -> bool {
        let (mut d, mut s) = (n - 1, 0);
        while d.is_multiple_of(2) {
            (d, s) = (d / 2, s + 1);
        }
        let mul = |a: u64, b: u64| (u128::from(a) * u128::from(b) % u128::from(n)) as u64;
        [2u64, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37].iter().all(|&base| {
            let (mut x, mut b, mut e) = (1, base, d);
            while e > 0 {
                if e & 1 == 1 {
                    x = mul(x, b);
                }
                (b, e) = (mul(b, b), e / 2);
            }
            if x == 1 || x == n - 1 {
                return true;
            }
            (1..s).any(|_| {
                x = mul(x, x);
                x == n - 1
            })
        })
    }

    #[test]
    fn they_are_the_largest_primes_below_2_52() {
        let found: Vec<u64> = (0..).map(|i| (1 << 52) - 1 - 2 * i).filter(|&n| is_prime(n)).take(3).collect();
        assert_eq!(found, PRIMES);
    }

    #[test]
    fn limbs_are_validated_when_read() {
        for limbs in Limbs::ALL {
            let json = serde_json::to_string(&limbs).unwrap();
            assert_eq!(serde_json::from_str::<Limbs>(&json).unwrap(), limbs);
            assert!(limbs.modulus() < U256::ONE << limbs.bits());
            assert!(limbs.modulus() > U256::ONE << (limbs.bits() - 1));
        }
        assert!(serde_json::from_str::<Limbs>("0").is_err());
        assert!(serde_json::from_str::<Limbs>("4").unwrap_err().to_string().contains("4 limbs"));
    }

    #[test]
    fn boundary_values() {
        for p in Prime::ALL {
            let top = p.value() - 1;
            assert_eq!(p.add(top, 1), 0);
            assert_eq!(p.add(top, top), top - 1);
            assert_eq!(p.sub(0, 1), top);
            assert_eq!(p.neg(0), 0);
            assert_eq!(p.mul(top, top), 1);
            assert_eq!(p.pow(0, 0), 1);
            assert_eq!(p.inv(0), None);
            assert_eq!(p.inv(1), Some(1));
            assert_eq!(p.inv(top), Some(top));
            assert_eq!(p.reduce_signed(-1), top);
            assert_eq!(p.reduce_signed(i64::MIN), p.neg(p.reduce(1 << 63)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn field_axioms(limb in 0usize..3, a: u64, b: u64, c: u64) {
            let p = Prime::of_limb(limb);
            let (a, b, c) = (p.reduce(a), p.reduce(b), p.reduce(c));
            prop_assert_eq!(p.add(a, b), p.add(b, a));
            prop_assert_eq!(p.mul(a, b), p.mul(b, a));
            prop_assert_eq!(p.add(p.add(a, b), c), p.add(a, p.add(b, c)));
            prop_assert_eq!(p.mul(p.mul(a, b), c), p.mul(a, p.mul(b, c)));
            prop_assert_eq!(p.mul(a, p.add(b, c)), p.add(p.mul(a, b), p.mul(a, c)));
            prop_assert_eq!(p.sub(a, b), p.add(a, p.neg(b)));
            if let Some(inverse) = p.inv(a) {
                prop_assert_eq!(p.mul(a, inverse), 1);
            }
        }
    }
}
