//! The real kernels' functions, each by its definition: one residue at a time, reduced by division.

use ethnum::I256;

use crate::element::Element;
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

/// One digit of every element of a window, as in the real crate.
#[derive(Clone, Copy)]
pub(crate) struct Digits<'a> {
    pub(crate) window: &'a [u64],
    pub(crate) low: u32,
    pub(crate) width: u32,
}

impl Digits<'_> {
    fn get(&self, i: usize) -> u64 {
        self.window[i] >> self.low & ((1 << self.width) - 1)
    }
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

/// `out ^= ` the words of every term whose public bit is set.
pub(crate) fn xor_selected(terms: &[(&[u64], &[u64])], out: &mut [u64]) {
    for (i, out) in out.iter_mut().enumerate() {
        for (words, bits) in terms {
            *out ^= if bit_of(bits, i) { words[i] } else { 0 };
        }
    }
}

/// `T[j]` to `less` and `T[j - 1] ^ T[j]` to `equal`, `T[-1]` being the key and the last entry 0.
pub(crate) fn pick(digits: Digits<'_>, tables: &[&[u64]], key: &[u64], less: &mut [u64], equal: &mut [u64]) {
    for (i, less) in less.iter_mut().enumerate() {
        let j = digits.get(i) as usize;
        *less = tables.get(j).map_or(0, |table| table[i]);
        if let Some(equal) = equal.get_mut(i) {
            *equal = *less ^ if j == 0 { key[i] } else { tables[j - 1][i] };
        }
    }
}

/// The key where `position` is below the digit.
pub(crate) fn entry(digits: Digits<'_>, position: u64, key: &[u64], out: &mut [u64]) {
    for (i, out) in out.iter_mut().enumerate() {
        *out = if position < digits.get(i) { key[i] } else { 0 };
    }
}

/// One bit of every word, packed.
pub(crate) fn bit(words: &[u64], position: u32, bits: &mut [u64]) {
    bits.fill(0);
    for (i, word) in words.iter().enumerate() {
        bits[i / 64] |= (word >> position & 1) << (i % 64);
    }
}

/// The exclusive or of all words, and of the keys whose public bit is set.
pub(crate) fn xor_sum(words: &[u64], key: &[u64], bits: &[u64], first: usize) -> u64 {
    let chosen = |i: usize| if bit_of(bits, first + i) { key[i] } else { 0 };
    words.iter().enumerate().fold(0, |sum, (i, word)| sum ^ word ^ chosen(i))
}

/// Unpacks 52-bit words; returns whether the padding is zero.
pub(crate) fn unpack_words(bytes: &[u8], words: &mut [u64]) -> bool {
    let mut correct = true;
    for (pair, bytes) in words.chunks_mut(2).zip(bytes.chunks(13)) {
        let mut packed = [0; 16];
        packed[..bytes.len()].copy_from_slice(bytes);
        let mut packed = u128::from_le_bytes(packed);
        for word in pair {
            *word = packed as u64 & MASK52;
            packed >>= 52;
        }
        correct &= packed == 0;
    }
    correct
}
