//! Whether any element of a value is neither 0 nor 1 (`docs/protocol.md`, sections 5 and 6.13).
//!
//! A number is the sum of `a x (x - 1)` over all elements, where the factors `a` are secret and
//! uniform. With `x = v - r` and the public `v = D` that is `a v^2 - a (2r + 1) v + a (r^2 + r)`:
//! shares of `a` come from seeds, those of `a (2r + 1)` are dealt, the rest is inside the mask.

use amicus_field::{Element, LimbVec};

/// What stands beside the factors under the mask `r`: constants, and linear coefficients, which are
/// taken away.
pub(crate) fn masked(factors: &LimbVec, r: &LimbVec) -> [LimbVec; 2] {
    let one = Element::one(r.limbs());
    let mut constant = r.clone();
    constant.add_constant(&one);
    // r + 1, and with another r: 2r + 1.
    let mut linear = constant.clone();
    linear.add_assign(r);
    constant.mul_assign(r);
    [constant, linear].map(|mut x| {
        x.mul_assign(factors);
        x
    })
}

/// For every batch element and number the sum over its part of a vector. Sums are as secret as what
/// they are of, so they stand nowhere but in a vector that is wiped.
pub(crate) fn sums(vectors: &[LimbVec], batch: usize) -> LimbVec {
    let mut all = LimbVec::zeros(vectors[0].limbs(), batch * vectors.len());
    for (number, vector) in vectors.iter().enumerate() {
        let each = vector.len() / batch;
        for e in 0..batch {
            all.set(e * vectors.len() + number, vector.slice(e * each..(e + 1) * each).sum());
        }
    }
    all
}

/// A party's shares of the sums, from its shares of factors and, behind them, of linear
/// coefficients: of the values, or of the tags.
pub(crate) fn evaluate(coefficients: &[LimbVec], v: &LimbVec, batch: usize) -> LimbVec {
    let mut square = v.clone();
    square.mul_assign(v);
    let (factors, linear) = coefficients.split_at(coefficients.len() / 2);
    let (each, numbers) = (v.len() / batch, factors.len());
    let mut all = LimbVec::zeros(v.limbs(), batch * numbers);
    for (number, (factors, linear)) in factors.iter().zip(linear).enumerate() {
        for e in 0..batch {
            let part = e * each..(e + 1) * each;
            let [a, b] = [(factors, &square), (linear, v)]
                .map(|(coefficients, power)| coefficients.dot_parts(part.clone(), power, part.clone()));
            all.set(e * numbers + number, a - b);
        }
    }
    all
}

/// Multiplies what belongs to one number by the number's keys, of which every batch element has one.
pub(crate) fn scale_each(x: &mut LimbVec, keys: &LimbVec, number: usize, batch: usize) {
    let (each, numbers) = (x.len() / batch, keys.len() / batch);
    for e in 0..batch {
        let mut part = x.slice(e * each..(e + 1) * each);
        part.scale_assign(&keys.get(e * numbers + number));
        x.put(e * each, &part);
    }
}
