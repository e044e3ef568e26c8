//! Comparison, truncation and selection on integers (`docs/protocol.md`, "Comparison").
//!
//! With the masks of a secure run the results are those of that run, bit by bit. Without, a
//! comparison decides `z >= t` and a truncation rounds to nearest: what is most likely.

use amicus_field::{Element, I256, LimbVec, Limbs, Truncation, U256, evaluate, sum_pool};
use amicus_plan::{Compare, OpIndex, Outside, Select};

use super::round_shift;

/// Bits of values without masks: `[z >= t]` while `z - t` is inside the window, beyond it the bit
/// that its remainder gives. One plane for each threshold, one behind the other.
pub(super) fn compare(limbs: Limbs, c: &Compare, z: &LimbVec) -> LimbVec {
    bits(limbs, c, z, |y| y >> c.unit)
}

/// Numbers that stand for the random ones of a run: 0 where every element is 0 or 1.
pub(super) fn outside(limbs: Limbs, index: OpIndex, o: &Outside, x: &LimbVec, batch: usize) -> LimbVec {
    let each = x.len() / batch;
    let one = Element::one(limbs);
    let inside = |i: usize| x.get(i).is_zero() || x.get(i) == one;
    let of = |e: usize| !(e * each..(e + 1) * each).all(inside);
    let number = |(e, i): (usize, u32)| match of(e) {
        true => Element::from_signed(limbs, stand_in(limbs, index, i)),
        false => Element::zero(limbs),
    };
    let all: Vec<Element> =
        (0..batch).flat_map(|e| (0..o.numbers).map(move |i| (e, i))).map(number).collect();
    LimbVec::from_elements(limbs, &all)
}

/// A number about as large as the modulus, another one for each operation, so that sums of a few are
/// large as well.
pub(super) fn stand_in(limbs: Limbs, index: OpIndex, number: u32) -> I256 {
    let place = u64::from(index.0) << 8 | u64::from(number);
    // Fibonacci hashing.
    let mixed = (place + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
    I256::from(mixed | 1) << (limbs.bits() - 52)
}

/// Bits that a run with some mask may give: with the carry of the mask's low bits, and without.
pub(super) fn possible_bits(limbs: Limbs, c: &Compare, z: &LimbVec) -> [LimbVec; 2] {
    let half = I256::ONE << c.unit >> 1u32;
    let without = bits(limbs, c, z, |y| (y - half) >> c.unit);
    let with = bits(limbs, c, z, |y| -((half - y) >> c.unit));
    let pick = |both: bool| {
        let of = |i: usize| {
            let (a, b) = (!without.get(i).is_zero(), !with.get(i).is_zero());
            if both { a && b } else { a || b }
        };
        of_bits(limbs, (0..without.len()).map(of))
    };
    [pick(true), pick(false)]
}

/// Bits of `unit(z - t)`, a number of units: whether its window holds a number that is not
/// negative.
fn bits(limbs: Limbs, c: &Compare, z: &LimbVec, unit: impl Fn(I256) -> I256) -> LimbVec {
    let z = z.signed();
    let top = c.window() - 1;
    let bit = |z: &I256, t: i128| (unit(*z - I256::from(t)) >> top) & I256::ONE == I256::ZERO;
    of_bits(limbs, c.thresholds.iter().flat_map(|&t| z.iter().map(move |z| (z, t))).map(|(z, t)| bit(z, t)))
}

/// Bits of values under the mask `r`, as in a secure run:
/// `1 xor top(v) xor top(mu) xor [low(v) < low(mu)]`.
pub(super) fn compare_masked(limbs: Limbs, c: &Compare, z: &LimbVec, r: &LimbVec) -> LimbVec {
    let mut masked = z.clone();
    masked.add_assign(r);
    let window = U256::MAX >> (256 - c.window());
    let half = I256::ONE << c.unit >> 1u32;
    let units = |x: Element| (x.lift() >> c.unit) & window;
    let mu: Vec<U256> = (0..r.len()).map(|i| units(r.get(i))).collect();
    let planes = c.thresholds.iter().flat_map(|&t| {
        let offset = Element::from_signed(limbs, -I256::from(t) - half);
        let mut shifted = masked.clone();
        shifted.add_constant(&offset);
        (0..shifted.len()).map(|i| units(shifted.get(i))).collect::<Vec<_>>()
    });
    let top = c.window() - 1;
    let low = (U256::ONE << top) - 1;
    let bit = |(v, mu): (U256, &U256)| {
        let wraps = (v & low) < (mu & low);
        (v >> top == U256::ONE) ^ (*mu >> top == U256::ONE) ^ !wraps
    };
    of_bits(limbs, planes.zip(mu.iter().cycle()).map(bit).collect::<Vec<_>>().into_iter())
}

/// What `z` becomes under the mask `r` when `shift` bits are dropped, as in a secure run.
pub(super) fn truncate_masked(t: &Truncation, z: &LimbVec, r: &LimbVec) -> LimbVec {
    let mut masked = z.clone();
    masked.add_assign(r);
    masked.add_constant(&t.offset());
    let opened = t.open(&masked);
    let mu = [t.mask(r, false), t.mask(r, true)];
    let of = |i: usize| opened.v.get(i) - mu[usize::from(opened.wrap.get(i))].get(i);
    LimbVec::from_elements(t.limbs(), &(0..r.len()).map(of).collect::<Vec<_>>())
}

/// Truncation to nearest, halves up.
pub(super) fn truncate(limbs: Limbs, z: &LimbVec, shift: u32) -> LimbVec {
    LimbVec::from_signed(limbs, z.signed().into_iter().map(|z| round_shift(z, shift)))
}

/// `sum over the pool of Q_0(z) + sum_t b_t Q_t(z)`, plus the base.
pub(super) fn select(
    limbs: Limbs,
    s: &Select,
    z: &LimbVec,
    bits: Option<&LimbVec>,
    base: Option<&LimbVec>,
    batch: usize,
) -> LimbVec {
    let polynomial = |q: &[i128]| {
        let q: Vec<Element> = q.iter().map(|&c| Element::from_i128(limbs, c)).collect();
        evaluate(&q, z)
    };
    let mut y = polynomial(&s.polynomials[0]);
    for (t, q) in s.polynomials.iter().skip(1).enumerate() {
        let mut piece = polynomial(q);
        if let Some(bits) = bits {
            piece.mul_assign(&bits.slice(t * z.len()..(t + 1) * z.len()));
        }
        y.add_assign(&piece);
    }
    let mut y = match &s.pool {
        Some(pool) => sum_pool(pool, &y, batch),
        None => y,
    };
    if let Some(base) = base {
        y.add_assign(base);
    }
    y
}

fn of_bits(limbs: Limbs, bits: impl Iterator<Item = bool>) -> LimbVec {
    LimbVec::from_i64(limbs, &bits.map(i64::from).collect::<Vec<_>>())
}
