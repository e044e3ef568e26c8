//! The real kernels' functions, each by its definition: one residue at a time, reduced by division.

use ethnum::I256;

use crate::element::Element;
use crate::gf128::Gf128;
use crate::prime::{Limbs, MASK52, Prime};
use crate::shape::SumPool2d;

/// The highest degree of a polynomial.
pub(crate) const MAX_DEGREE: usize = 8;

pub(crate) fn wipe(words: &mut [u64]) {
    words.fill(0);
}

fn zip(a: &mut [u64], b: &[u64], f: impl Fn(u64, u64) -> u64) {
    a.iter_mut().zip(b).for_each(|(a, &b)| *a = f(*a, b));
}

pub(crate) fn add_assign(p: Prime, a: &mut [u64], b: &[u64]) {
    zip(a, b, |a, b| p.add(a, b));
}

pub(crate) fn sub_assign(p: Prime, a: &mut [u64], b: &[u64]) {
    zip(a, b, |a, b| p.sub(a, b));
}

pub(crate) fn mul_assign(p: Prime, a: &mut [u64], b: &[u64]) {
    zip(a, b, |a, b| p.mul(a, b));
}

pub(crate) fn neg_assign(p: Prime, a: &mut [u64]) {
    a.iter_mut().for_each(|a| *a = p.sub(0, *a));
}

pub(crate) fn add_constant(p: Prime, a: &mut [u64], constant: u64) {
    a.iter_mut().for_each(|a| *a = p.add(*a, constant));
}

pub(crate) fn scale_assign(p: Prime, a: &mut [u64], factor: u64) {
    a.iter_mut().for_each(|a| *a = p.mul(*a, factor));
}

pub(crate) fn add_scaled(p: Prime, a: &mut [u64], factor: u64, b: &[u64]) {
    zip(a, b, |a, b| p.add(a, p.mul(factor, b)));
}

pub(crate) fn add_product(p: Prime, a: &mut [u64], b: &[u64], c: &[u64]) {
    a.iter_mut().zip(b.iter().zip(c)).for_each(|(a, (&b, &c))| *a = p.add(*a, p.mul(b, c)));
}

pub(crate) fn dot(p: Prime, a: &[u64], b: &[u64]) -> u64 {
    a.iter().zip(b).fold(0, |sum, (&a, &b)| p.add(sum, p.mul(a, b)))
}

pub(crate) fn sum(p: Prime, a: &[u64]) -> u64 {
    a.iter().fold(0, |sum, &a| p.add(sum, a))
}

/// Element `i` of the planes.
fn element(limbs: Limbs, planes: &[&[u64]], i: usize) -> Element {
    Element::from_residues(limbs, |l| planes[l][i])
}

fn store(element: &Element, planes: &mut [&mut [u64]], i: usize) {
    planes.iter_mut().enumerate().for_each(|(l, plane)| plane[i] = element.limb(l));
}

fn mask_of(bit: bool) -> u64 {
    if bit { u64::MAX } else { 0 }
}

/// `v = floor(D / 2^shift) - 2^(ell - shift)` and `wrap = [D < floor(Q / 2)]`.
pub(crate) fn open(limbs: Limbs, shift: u32, ell: u32, d: &[&[u64]], v: &mut [&mut [u64]], wrap: &mut [u64]) {
    for (i, wrap) in wrap.iter_mut().enumerate() {
        let x = element(limbs, d, i).lift();
        *wrap = mask_of(x < limbs.modulus() / 2);
        let floor = (x >> shift).as_i256() - (I256::ONE << (ell - shift));
        store(&Element::from_signed(limbs, floor), v, i);
    }
}

/// `mu_c = floor((r - Q [c and r > Q / 2]) / 2^shift)`.
pub(crate) fn mask(limbs: Limbs, shift: u32, wrap: bool, r: &[&[u64]], mu: &mut [&mut [u64]]) {
    for i in 0..r[0].len() {
        let x = element(limbs, r, i).lift();
        let wraps = wrap && x > limbs.modulus() / 2;
        let x = if wraps { x.as_i256() - limbs.modulus().as_i256() } else { x.as_i256() };
        // An arithmetic shift rounds down.
        store(&Element::from_signed(limbs, x >> shift), mu, i);
    }
}

pub(crate) fn high_half(limbs: Limbs, r: &[&[u64]], high: &mut [u64]) {
    for (i, high) in high.iter_mut().enumerate() {
        *high = mask_of(element(limbs, r, i).lift() > limbs.modulus() / 2);
    }
}

/// One plane of everything a share evaluation reads, as in the real crate.
pub(crate) struct ShareRows<'a> {
    pub(crate) v: &'a [u64],
    pub(crate) wrap: &'a [u64],
    pub(crate) c: [&'a [u64]; MAX_DEGREE],
    pub(crate) e: [&'a [u64]; MAX_DEGREE],
    pub(crate) tag_c: [&'a [u64]; MAX_DEGREE],
    pub(crate) tag_e: [&'a [u64]; MAX_DEGREE],
    pub(crate) keys: &'a [u64],
    pub(crate) leading: u64,
    pub(crate) add_leading: bool,
    pub(crate) degree: usize,
    pub(crate) differences: bool,
}

/// Writes every value share to `out` and returns the sum of the tag shares.
pub(crate) fn shares(p: Prime, rows: &ShareRows<'_>, out: &mut [u64]) -> u64 {
    let mut total = 0;
    for (i, out) in out.iter_mut().enumerate() {
        let power = |k: usize| p.pow(rows.v[i], k as u64);
        let (mut y, mut tag) = (0, p.mul(p.mul(rows.leading, power(rows.degree)), rows.keys[i]));
        if rows.add_leading {
            y = p.mul(rows.leading, power(rows.degree));
        }
        for k in 0..rows.degree {
            if k > 0 {
                y = p.add(y, p.mul(power(k), rows.c[k][i]));
                tag = p.add(tag, p.mul(power(k), rows.tag_c[k][i]));
            }
            if rows.differences && rows.wrap[i] != 0 {
                y = p.add(y, p.mul(power(k), rows.e[k][i]));
                tag = p.add(tag, p.mul(power(k), rows.tag_e[k][i]));
            }
        }
        *out = y;
        total = p.add(total, tag);
    }
    total
}

/// One plane of everything the evaluation with chosen signs reads, as in the real crate.
pub(crate) struct SignedRows<'a> {
    pub(crate) v: &'a [u64],
    pub(crate) bits: &'a [u64],
    pub(crate) first: usize,
    pub(crate) c: [&'a [u64]; MAX_DEGREE + 1],
    pub(crate) tag_c: [&'a [u64]; MAX_DEGREE + 1],
    pub(crate) count: usize,
}

/// Adds every value share with its sign to `out` and returns the sum of the tag shares with theirs.
pub(crate) fn signed_shares(p: Prime, rows: &SignedRows<'_>, out: &mut [u64]) -> u64 {
    let mut total = 0;
    for (i, out) in out.iter_mut().enumerate() {
        let sum = |c: &[&[u64]]| {
            let term = |k: usize| p.mul(p.pow(rows.v[i], k as u64), c[k][i]);
            (0..rows.count).fold(0, |sum, k| p.add(sum, term(k)))
        };
        let signed = |x: u64| if bit_of(rows.bits, rows.first + i) { x } else { p.sub(0, x) };
        *out = p.add(*out, signed(sum(&rows.c)));
        total = p.add(total, signed(sum(&rows.tag_c)));
    }
    total
}

/// `C_j = sum_{k >= j} t[j][k] (-mu)^(k - j)` for `j < d = out.len()`.
pub(crate) fn taylor(p: Prime, t: &[[u64; 9]; 9], mu: &[u64], out: &mut [&mut [u64]]) {
    let degree = out.len();
    for (j, out) in out.iter_mut().enumerate() {
        for (out, &mu) in out.iter_mut().zip(mu) {
            let term = |k: usize| p.mul(t[j][k], p.pow(p.sub(0, mu), (k - j) as u64));
            *out = (j..=degree).fold(0, |sum, k| p.add(sum, term(k)));
        }
    }
}

/// `out = b_0 + b_1 u + ...`.
pub(crate) fn horner(p: Prime, b: &[u64], u: &[u64], out: &mut [u64]) {
    for (out, &u) in out.iter_mut().zip(u) {
        *out = b.iter().rev().fold(0, |y, &b| p.add(b, p.mul(y, u)));
    }
}

/// Where the sums of a pool go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Every window's inputs to its output.
    Forward,
    /// Every output to all inputs of its window.
    Transposed,
}

/// Adds one channel to `to`: inputs to outputs or the other way round.
pub(crate) fn pool_channel(p: Prime, shape: &SumPool2d, direction: Direction, from: &[u64], to: &mut [u64]) {
    let [out_height, out_width] = shape.out_size();
    let [top, left, ..] = shape.padding;
    let at = |output: usize, tap: usize, stride: usize, before: usize, size: usize| {
        (output * stride + tap).checked_sub(before).filter(|&x| x < size)
    };
    for (oy, ox) in (0..out_height).flat_map(|y| (0..out_width).map(move |x| (y, x))) {
        for (ky, kx) in (0..shape.kernel[0]).flat_map(|y| (0..shape.kernel[1]).map(move |x| (y, x))) {
            let y = at(oy, ky, shape.stride[0], top, shape.height);
            let x = at(ox, kx, shape.stride[1], left, shape.width);
            let (Some(y), Some(x)) = (y, x) else { continue };
            let (input, output) = (y * shape.width + x, oy * out_width + ox);
            match direction {
                Direction::Forward => to[output] = p.add(to[output], from[input]),
                Direction::Transposed => to[input] = p.add(to[input], from[output]),
            }
        }
    }
}

/// Packs a plane, two residues in 13 bytes and an odd last one in 7.
pub(crate) fn pack(plane: &[u64], out: &mut [u8]) {
    for (pair, bytes) in plane.chunks(2).zip(out.chunks_mut(13)) {
        let packed = u128::from(pair[0]) | u128::from(pair.get(1).copied().unwrap_or(0)) << 52;
        bytes.copy_from_slice(&packed.to_le_bytes()[..bytes.len()]);
    }
}

/// Unpacks a plane, or adds to it. Returns whether every residue was below the prime and the
/// padding zero.
pub(crate) fn unpack(p: Prime, bytes: &[u8], plane: &mut [u64], accumulate: bool) -> bool {
    let mut correct = true;
    for (pair, bytes) in plane.chunks_mut(2).zip(bytes.chunks(13)) {
        let mut packed = [0; 16];
        packed[..bytes.len()].copy_from_slice(bytes);
        let mut packed = u128::from_le_bytes(packed);
        for word in pair {
            let x = packed as u64 & MASK52;
            packed >>= 52;
            correct &= x < p.value();
            *word = if accumulate { p.add(*word, p.reduce(x)) } else { p.reduce(x) };
        }
        correct &= packed == 0;
    }
    correct
}

fn bit_of(bits: &[u64], i: usize) -> bool {
    bits[i / 64] >> (i % 64) & 1 == 1
}

/// `a += b` where the bit is set, `a -= b` elsewhere.
pub(crate) fn add_signed(p: Prime, a: &mut [u64], b: &[u64], bits: &[u64]) {
    for (i, (a, &b)) in a.iter_mut().zip(b).enumerate() {
        *a = if bit_of(bits, i) { p.add(*a, b) } else { p.sub(*a, b) };
    }
}

/// `floor(x / 2^unit) mod 2^width` of the lifted integers.
pub(crate) fn window(limbs: Limbs, unit: u32, width: u32, x: &[&[u64]], window: &mut [u64]) {
    for (i, window) in window.iter_mut().enumerate() {
        *window = (element(limbs, x, i).lift() >> unit).as_u64() & ((1 << width) - 1);
    }
}

pub(crate) fn xor_assign(a: &mut [u64], b: &[u64]) {
    zip(a, b, |a, b| a ^ b);
}

/// One bit of every word, packed.
pub(crate) fn bit(words: &[u64], position: u32, bits: &mut [u64]) {
    bits.fill(0);
    for (i, word) in words.iter().enumerate() {
        bits[i / 64] |= (word >> position & 1) << (i % 64);
    }
}

/// Element `i` of a vector of the binary field.
fn binary(words: &[u64], i: usize) -> Gf128 {
    Gf128::from_words([words[2 * i], words[2 * i + 1]])
}

fn store_binary(words: &mut [u64], i: usize, element: Gf128) {
    words[2 * i..][..2].copy_from_slice(&element.to_words());
}

/// Bit `i` as an element.
fn binary_bit(bits: &[u64], i: usize) -> Gf128 {
    if bit_of(bits, i) { Gf128::ONE } else { Gf128::ZERO }
}

fn binary_sum(len: usize, term: impl Fn(usize) -> Gf128) -> Gf128 {
    (0..len).fold(Gf128::ZERO, |sum, i| sum + term(i))
}

/// Where a sum goes, and its terms: elements, and the bits that choose among them, if any do.
pub(crate) type Sum<'a> = (usize, Vec<(&'a [u64], Option<&'a [u64]>)>);

/// Sums of chosen elements, each written to, or with `more` added to, the words from its first on.
pub(crate) fn combine(sums: &[Sum<'_>], more: bool, words: usize, out: &mut [u64]) {
    for (first, terms) in sums {
        let out = &mut out[*first..][..words];
        for i in 0..words / 2 {
            let term = |t: usize| {
                let (elements, bits) = &terms[t];
                bits.map_or(Gf128::ONE, |bits| binary_bit(bits, i)) * binary(elements, i)
            };
            let before = if more { binary(out, i) } else { Gf128::ZERO };
            store_binary(out, i, before + binary_sum(terms.len(), term));
        }
    }
}

/// The sum of the elements whose bit is set.
pub(crate) fn sum_selected(elements: &[u64], bits: &[u64]) -> [u64; 2] {
    binary_sum(elements.len() / 2, |i| binary_bit(bits, i) * binary(elements, i)).to_words()
}

/// `<a, b>`.
pub(crate) fn inner_product(a: &[u64], b: &[u64]) -> [u64; 2] {
    binary_sum(a.len() / 2, |i| binary(a, i) * binary(b, i)).to_words()
}

/// `<a_0, b_0>` and `<a_0 + a_1, b_0 + b_1>`.
fn binary_round(a: [&[u64]; 2], b: [impl Fn(usize) -> Gf128; 2]) -> [[u64; 2]; 2] {
    let len = a[0].len() / 2;
    let first = binary_sum(len, |i| binary(a[0], i) * b[0](i));
    let second = binary_sum(len, |i| (binary(a[0], i) + binary(a[1], i)) * (b[0](i) + b[1](i)));
    [first.to_words(), second.to_words()]
}

pub(crate) fn round(a: [&[u64]; 2], b: [&[u64]; 2]) -> [[u64; 2]; 2] {
    binary_round(a, b.map(|b| move |i| binary(b, i)))
}

fn round_of_bits(a: [&[u64]; 2], b: [&[u64]; 2]) -> [[u64; 2]; 2] {
    binary_round(a, b.map(|b| move |i| binary_bit(b, i)))
}

/// `lower += r (lower + upper)`.
pub(crate) fn fold(lower: &mut [u64], upper: &[u64], r: [u64; 2]) {
    for i in 0..lower.len() / 2 {
        let folded = binary(lower, i) + Gf128::from_words(r) * (binary(lower, i) + binary(upper, i));
        store_binary(lower, i, folded);
    }
}

/// Folds both vectors, given as quarters, and returns the round of what is left.
pub(crate) fn fold_and_round(
    [mut a, mut b]: [[&mut [u64]; 2]; 2],
    upper: [[&[u64]; 2]; 2],
    r: [u64; 2],
) -> [[u64; 2]; 2] {
    a.iter_mut().zip(upper[0]).for_each(|(a, upper)| fold(a, upper, r));
    b.iter_mut().zip(upper[1]).for_each(|(b, upper)| fold(b, upper, r));
    round(a.map(|a| &*a), b.map(|b| &*b))
}

/// Sum `3 i + j` is `<A_(i,j), B_(i,j)>`, with 2 for the sum of 0 and 1; that of `i = j = 1` is 0.
pub(crate) fn two_rounds_of_bits(a: [&[u64]; 4], b: [&[u64]; 4]) -> [[u64; 2]; 9] {
    let both = |x: usize| if x == 2 { vec![0, 1] } else { vec![x] };
    std::array::from_fn(|sum| {
        let (rows, columns) = (both(sum / 3), both(sum % 3));
        let quarters: Vec<usize> =
            rows.iter().flat_map(|row| columns.iter().map(move |column| 2 * row + column)).collect();
        let of_a = |i| binary_sum(quarters.len(), |q| binary(a[quarters[q]], i));
        let of_b = |i| binary_sum(quarters.len(), |q| binary_bit(b[quarters[q]], i));
        let len = if sum == 4 { 0 } else { a[0].len() / 2 };
        binary_sum(len, |i| of_a(i) * of_b(i)).to_words()
    })
}

/// Folds a vector, given as eighths, with weights of all quarters but the first, which has what is
/// missing to 1; and returns the round of what is left, for each of four planes of bits.
pub(crate) fn fold_twice_and_round_of_bits(
    a: [[&[u64]; 2]; 4],
    weights: [[u64; 2]; 3],
    mut out: [&mut [u64]; 2],
    planes: [[&[u64]; 2]; 4],
) -> [[[u64; 2]; 2]; 4] {
    let [x, y, z] = weights.map(Gf128::from_words);
    let weights = [Gf128::ONE + x + y + z, x, y, z];
    for (half, out) in out.iter_mut().enumerate() {
        for i in 0..out.len() / 2 {
            store_binary(out, i, binary_sum(4, |quarter| weights[quarter] * binary(a[quarter][half], i)));
        }
    }
    let out = out.map(|out| &*out);
    planes.map(|plane| round_of_bits(out, plane))
}

/// `out = sum w b` over planes of bits.
pub(crate) fn weighted_bits(planes: [&[u64]; 8], weights: [[u64; 2]; 8], out: &mut [u64]) {
    for i in 0..out.len() / 2 {
        let term = |plane: usize| Gf128::from_words(weights[plane]) * binary_bit(planes[plane], i);
        store_binary(out, i, binary_sum(8, term));
    }
}

/// `upper = r lower`, `lower += upper`.
pub(crate) fn split_by(lower: &mut [u64], upper: &mut [u64], r: [u64; 2]) {
    for i in 0..lower.len() / 2 {
        let part = Gf128::from_words(r) * binary(lower, i);
        store_binary(upper, i, part);
        store_binary(lower, i, binary(lower, i) + part);
    }
}
