//! Polynomials with public coefficients, and their Taylor coefficients at a mask
//! (`docs/protocol.md`, 5).

use crate::element::Element;
use crate::kernels;
use crate::parallel;
use crate::prime::{Limbs, Prime};
use crate::vector::LimbVec;

/// The highest degree of a polynomial on shares.
pub const MAX_DEGREE: usize = kernels::MAX_DEGREE;

/// `C_j = sum_{k >= j} binom(k, j) B_k (-mu)^(k - j)` for `j = 0..d`, so that
/// `B_d v^d + sum_{j < d} C_j v^j` is the polynomial `B` at `v - mu`.
///
/// `b` are the `d + 1` coefficients `B_0..B_d`, `mu` one mask per element; the result are `d`
/// vectors of the length of `mu`.
///
/// # Panics
/// Unless `1 <= d <= MAX_DEGREE` and all moduli are equal.
pub fn taylor_coefficients(b: &[Element], mu: &LimbVec) -> Vec<LimbVec> {
    let degree = b.len().wrapping_sub(1);
    assert!((1..=MAX_DEGREE).contains(&degree), "a polynomial with {} coefficients", b.len());
    assert!(b.iter().all(|c| c.limbs() == mu.limbs()), "coefficients of another modulus");
    let mut out: Vec<LimbVec> = (0..degree).map(|_| LimbVec::zeros(mu.limbs(), mu.len())).collect();
    for l in 0..mu.limbs().count() {
        let prime = Prime::of_limb(l);
        let table: [[u64; MAX_DEGREE + 1]; MAX_DEGREE + 1] = std::array::from_fn(|j| {
            std::array::from_fn(|k| b.get(k).map_or(0, |c| prime.mul(BINOMIALS[k][j], c.limb(l))))
        });
        let part = parallel::part_len(mu.len(), HEAVY);
        let mut planes: Vec<_> = out.iter_mut().map(|c| c.plane_mut(l).chunks_mut(part)).collect();
        let parts = mu.plane(l).chunks(part).map(|mu| {
            let parts: Vec<&mut [u64]> = planes.iter_mut().filter_map(Iterator::next).collect();
            (mu, parts)
        });
        parallel::for_each(parts, |(mu, mut parts)| kernels::taylor(prime, &table, mu, &mut parts));
    }
    out
}

/// Residues of a part: each takes several products, and as many places in memory.
const HEAVY: usize = parallel::LIGHT / 16;

/// `BINOMIALS[k][j]` is `k` over `j`.
const BINOMIALS: [[u64; MAX_DEGREE + 1]; MAX_DEGREE + 1] = {
    let mut table = [[0; MAX_DEGREE + 1]; MAX_DEGREE + 1];
    let mut k = 0;
    while k <= MAX_DEGREE {
        table[k][0] = 1;
        let mut j = 1;
        while j <= k {
            table[k][j] = table[k - 1][j - 1] + table[k - 1][j];
            j += 1;
        }
        k += 1;
    }
    table
};

/// The polynomial with the coefficients `b[0], b[1], ...` at every element of `u`, any degree.
///
/// # Panics
/// When the moduli differ.
pub fn evaluate(b: &[Element], u: &LimbVec) -> LimbVec {
    assert!(b.iter().all(|c| c.limbs() == u.limbs()), "coefficients of another modulus");
    let mut out = LimbVec::zeros(u.limbs(), u.len());
    for (l, (prime, plane)) in out.planes_mut().enumerate() {
        let b: Vec<u64> = b.iter().map(|c| c.limb(l)).collect();
        kernels::horner(prime, &b, u.plane(l), plane);
    }
    out
}

/// `B_k = A_k 2^(f_u (d - k))`: integer coefficients at scale `f_c` to coefficients of the
/// polynomial on integers of scale `f_u`, whose value has the scale `d f_u + f_c`.
pub fn scaled_coefficients(limbs: Limbs, a: &[i64], f_u: u32) -> Vec<Element> {
    let scale = Element::power_of_two(limbs, f_u);
    let mut factor = Element::one(limbs);
    let mut b = Vec::with_capacity(a.len());
    for &coefficient in a.iter().rev() {
        b.push(Element::from_i128(limbs, i128::from(coefficient)) * factor);
        factor = factor * scale;
    }
    b.reverse();
    b
}
