//! Selection: a polynomial of a masked value for every bit that chooses it, summed up
//! (`docs/protocol.md`, sections 5 and 6.12).
//!
//! With `b = (1 + beta s) / 2`, where `beta` is 1 or -1 by the public masked bit and `s` by the
//! helper's mask of it, the sum `Q_0(z) + sum_t b_t Q_t(z)` is `R_0(z) + sum_t beta_t s_t R_t(z)`
//! with `R_t = Q_t / 2`. The helper deals `s_t R_t(v - r)` as coefficients of the public `v = D`.

use amicus_field::{
    Argument, BitVec, Element, LimbVec, Limbs, PolynomialShares, SumPool2d, add_signed_shares,
    evaluate_shares, sum_pool, taylor_coefficients,
};
use amicus_plan::Select;

/// The polynomials `R_0, R_1, ..` of a selection, lowest coefficient first, without zeros behind the
/// leading one of the integers that they are halves of.
pub(crate) fn polynomials(select: &Select, limbs: Limbs) -> Vec<Vec<Element>> {
    let half = Element::from_signed(limbs, ((limbs.modulus() + 1) / 2).as_i256());
    let number = |c: i128| Element::from_i128(limbs, c);
    let zero = Element::zero(limbs);
    let coefficient = |t: usize, k: usize| select.polynomials[t].get(k).map_or(zero, |&c| number(c));
    let count = select.polynomials.len();
    let of = |t: usize, k: usize| match t {
        0 => (1..count).fold(zero, |sum, t| sum + coefficient(t, k)) * half + coefficient(0, k),
        t => coefficient(t, k) * half,
    };
    let degrees = select.degrees();
    degrees.iter().enumerate().map(|(t, &degree)| (0..=degree).map(|k| of(t, k)).collect()).collect()
}

/// Which coefficients are dealt: polynomial and power, in the order of the helper's message. That of
/// power 0 of `R_0` is inside the result's mask, its leading one is public.
pub(crate) fn dealt(select: &Select) -> Vec<(usize, usize)> {
    let powers = |(t, degree): (usize, usize)| {
        let range = if t == 0 { 1..degree.max(1) } else { 0..degree + 1 };
        range.map(move |k| (t, k))
    };
    select.degrees().into_iter().enumerate().flat_map(powers).collect()
}

/// Coefficients of a selection at the masks of its input: those of `R_0` for power 0, then what is
/// dealt. `bits` are the masks of the bits.
pub(crate) fn masked(select: &Select, r: &LimbVec, bits: &[BitVec]) -> (LimbVec, Vec<LimbVec>) {
    let limbs = r.limbs();
    let constant = |element: Element| {
        let mut all = LimbVec::zeros(limbs, r.len());
        all.add_constant(&element);
        all
    };
    let mut constant_terms = LimbVec::zeros(limbs, r.len());
    let mut vectors = Vec::new();
    for (t, polynomial) in polynomials(select, limbs).into_iter().enumerate() {
        let leading = polynomial[polynomial.len() - 1];
        let mut terms = if polynomial.len() > 1 { taylor_coefficients(&polynomial, r) } else { Vec::new() };
        match t {
            0 if terms.is_empty() => constant_terms = constant(leading),
            0 => {
                constant_terms = terms.remove(0);
                vectors.append(&mut terms);
            }
            t => {
                terms.push(constant(leading));
                let mut positive = bits[t - 1].clone();
                positive.invert();
                vectors.extend(terms.iter().map(|term| signed(term, &positive)));
            }
        }
    }
    (constant_terms, vectors)
}

/// The vector where the bit is set, its negative elsewhere.
fn signed(x: &LimbVec, positive: &BitVec) -> LimbVec {
    let mut result = LimbVec::zeros(x.limbs(), x.len());
    result.add_signed(x, positive);
    result
}

/// What a party has of a selection: its shares of what is dealt, and of the key for the input.
pub(crate) struct Shares<'a> {
    pub(crate) values: &'a [LimbVec],
    pub(crate) tags: &'a [LimbVec],
    pub(crate) key_of_input: &'a LimbVec,
}

/// A party's shares of the sum, and of the tags' sums, one for every batch element. The leading
/// term of `R_0` is public: the first party's value has it, all parties' tags.
pub(crate) fn evaluate(
    select: &Select,
    d: &LimbVec,
    bits: &[BitVec],
    shares: &Shares<'_>,
    first: bool,
    batch: usize,
) -> (LimbVec, Vec<Element>) {
    let limbs = d.limbs();
    let argument = Argument { d, truncation: None, batch };
    let degrees = select.degrees();
    let base = polynomials(select, limbs).swap_remove(0);
    let mut at = degrees[0].saturating_sub(1);
    let (mut y, mut sums) = if degrees[0] == 0 {
        (LimbVec::zeros(limbs, d.len()), vec![Element::zero(limbs); batch])
    } else {
        let [values, tags] = [shares.values, shares.tags].map(|c| PolynomialShares { c: &c[..at], e: &[] });
        evaluate_shares(argument, values, tags, shares.key_of_input, &base[degrees[0]], first)
    };
    for (bits, degree) in bits.iter().zip(&degrees[1..]) {
        let range = at..at + degree + 1;
        at = range.end;
        let (values, tags) = (&shares.values[range.clone()], &shares.tags[range]);
        let of_bit = add_signed_shares(argument, bits, values, tags, &mut y);
        sums.iter_mut().zip(of_bit).for_each(|(sum, of_bit)| *sum = *sum + of_bit);
    }
    (y, sums)
}

/// Sums over the windows of a pool, if there is one.
pub(crate) fn pooled(pool: Option<&SumPool2d>, x: LimbVec, batch: usize) -> LimbVec {
    match pool {
        None => x,
        Some(pool) => sum_pool(pool, &x, batch),
    }
}
