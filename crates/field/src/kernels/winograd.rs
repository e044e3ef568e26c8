//! The transforms of Winograd's convolutions over the points 0, 1, -1, 2, -2 and infinity (see
//! [`crate::winograd`]), on vectors of channels.
//!
//! Along one axis every transform is a few additions of small multiples. Over both axes sums of
//! residues stay below 2^62 in absolute value, so they are taken modulo 2^64, made positive by a
//! multiple of the prime, and reduced once. Filters are evaluated at the points and nothing else,
//! since there are the most of them; what interpolation divides by, products are.
#![allow(clippy::needless_range_loop)] // loops over both axes; iterators would bring closures, see `Axis`

use super::lanes::{Lanes, Residues};
use crate::prime::Prime;
use crate::winograd::{AREA, POINTS};

/// `p` times this is added to sums, which are at most 100 residues large (images), 961 (filters) and
/// 361 (results): the sums of the absolute values of a transform's factors, squared.
const OFFSET: u64 = 1024;

/// Arithmetic modulo 2^64 and back to residues.
struct Sums<S: Lanes> {
    s: S,
    f: Residues<S>,
    offset: S::V,
}

impl<S: Lanes> Sums<S> {
    #[inline(always)]
    fn new(s: S, prime: Prime) -> Self {
        Sums { s, f: Residues::new(s, prime), offset: s.splat(OFFSET * prime.value()) }
    }

    /// `a + 2^bits b`.
    #[inline(always)]
    fn plus(&self, a: S::V, bits: u32, b: S::V) -> S::V {
        self.s.add(a, self.s.shl(b, bits))
    }

    /// `a - 2^bits b`.
    #[inline(always)]
    fn minus(&self, a: S::V, bits: u32, b: S::V) -> S::V {
        self.s.sub(a, self.s.shl(b, bits))
    }

    /// `4 a - 5 b + c`.
    #[inline(always)]
    fn ends(&self, a: S::V, b: S::V, c: S::V) -> S::V {
        self.s.sub(self.plus(c, 2, self.s.sub(a, b)), b)
    }

    #[inline(always)]
    fn reduce(&self, sum: S::V) -> S::V {
        self.f.reduce_word(self.s.add(sum, self.offset))
    }

    /// `A x A` vectors from `from[at..]` on: rows and columns lie so many words apart.
    #[inline(always)]
    fn load<const A: usize>(&self, from: &[u64], [row, column]: [usize; 2], at: usize) -> [[S::V; A]; A] {
        let mut d = [[self.s.splat(0); A]; A];
        for y in 0..A {
            for x in 0..A {
                d[y][x] = self.s.load(from, y * row + x * column + at);
            }
        }
        d
    }

    /// Residues of all points; that of point `i` goes to `out[i * stride + at..]`.
    #[inline(always)]
    fn store(&self, points: &[[S::V; POINTS]; POINTS], out: &mut [u64], stride: usize, at: usize) {
        for y in 0..POINTS {
            for x in 0..POINTS {
                self.s.store(out, (y * POINTS + x) * stride + at, self.reduce(points[y][x]));
            }
        }
    }
}

/// What happens along one axis. No closures: they are compiled for no more than the processor that
/// everyone has.
trait Axis<S: Lanes, const A: usize, const B: usize> {
    fn along(sums: &Sums<S>, d: [S::V; A]) -> [S::V; B];

    /// Along both axes.
    #[inline(always)]
    fn both(sums: &Sums<S>, d: &[[S::V; A]; A]) -> [[S::V; B]; B] {
        let zero = sums.s.splat(0);
        let mut columns = [[zero; A]; B];
        for x in 0..A {
            let mut column = [zero; A];
            for y in 0..A {
                column[y] = d[y][x];
            }
            let column = Self::along(sums, column);
            for y in 0..B {
                columns[y][x] = column[y];
            }
        }
        let mut out = [[zero; B]; B];
        for y in 0..B {
            out[y] = Self::along(sums, columns[y]);
        }
        out
    }
}

/// Six numbers of the image: the transpose of interpolation at the points.
struct Image;

impl<S: Lanes> Axis<S, POINTS, POINTS> for Image {
    #[inline(always)]
    fn along(sums: &Sums<S>, d: [S::V; POINTS]) -> [S::V; POINTS] {
        let s = sums.s;
        let (even, odd) = (sums.minus(d[4], 2, d[2]), sums.minus(d[3], 2, d[1]));
        let (even_2, odd_2) = (s.sub(d[4], d[2]), s.shl(s.sub(d[3], d[1]), 1));
        [
            sums.ends(d[0], d[2], d[4]),
            s.add(even, odd),
            s.sub(even, odd),
            s.add(even_2, odd_2),
            s.sub(even_2, odd_2),
            sums.ends(d[1], d[3], d[5]),
        ]
    }
}

/// A polynomial of `R` coefficients at the points.
struct Filter;

impl<S: Lanes, const R: usize> Axis<S, R, POINTS> for Filter {
    #[inline(always)]
    fn along(sums: &Sums<S>, w: [S::V; R]) -> [S::V; POINTS] {
        let s = sums.s;
        // Even and odd terms at 1 and at 2.
        let (mut at_1, mut at_2) = ([w[0], w[1]], [w[0], s.shl(w[1], 1)]);
        for k in 2..R {
            at_1[k % 2] = s.add(at_1[k % 2], w[k]);
            at_2[k % 2] = sums.plus(at_2[k % 2], k as u32, w[k]);
        }
        [
            w[0],
            s.add(at_1[0], at_1[1]),
            s.sub(at_1[0], at_1[1]),
            s.add(at_2[0], at_2[1]),
            s.sub(at_2[0], at_2[1]),
            w[R - 1],
        ]
    }
}

/// `M` results: the transpose of evaluation at the points.
struct Output;

impl<S: Lanes, const M: usize> Axis<S, POINTS, M> for Output {
    #[inline(always)]
    fn along(sums: &Sums<S>, p: [S::V; POINTS]) -> [S::V; M] {
        let s = sums.s;
        // Even and odd powers of 1 and of 2.
        let at_1 = [s.add(p[1], p[2]), s.sub(p[1], p[2])];
        let at_2 = [s.add(p[3], p[4]), s.sub(p[3], p[4])];
        let mut out = [s.splat(0); M];
        for j in 0..M {
            out[j] = sums.plus(at_1[j % 2], j as u32, at_2[j % 2]);
        }
        out[0] = s.add(out[0], p[0]);
        out[M - 1] = s.add(out[M - 1], p[5]);
        out
    }
}

/// Transforms a patch of 6 x 6 pixels for all channels: `image` starts at the patch and holds the
/// channels of a pixel side by side, lines of pixels are `line` words apart. The result for point
/// `i` goes to `out[i * stride..]`.
#[inline(always)]
pub(super) fn image_patch<S: Lanes>(
    s: S,
    prime: Prime,
    image: &[u64],
    line: usize,
    channels: usize,
    out: &mut [u64],
    stride: usize,
) {
    let sums = Sums::new(s, prime);
    for c in (0..channels).step_by(S::COUNT) {
        let d = sums.load(image, [line, channels], c);
        sums.store(&Image::both(&sums, &d), out, stride, c);
    }
}

/// Transforms filters of `size` x `size` taps: `taps` holds a line of as many filters as
/// `line` for every tap. The result for point `i` goes to `out[i * stride..]`.
#[inline(always)]
pub(super) fn filter_line<S: Lanes>(
    s: S,
    prime: Prime,
    size: usize,
    taps: &[u64],
    line: usize,
    out: &mut [u64],
    stride: usize,
) {
    match size {
        3 => filters::<S, 3>(s, prime, taps, line, out, stride),
        4 => filters::<S, 4>(s, prime, taps, line, out, stride),
        5 => filters::<S, 5>(s, prime, taps, line, out, stride),
        _ => unreachable!("filters of 3 to 5 taps"),
    }
}

#[inline(always)]
fn filters<S: Lanes, const R: usize>(
    s: S,
    prime: Prime,
    taps: &[u64],
    line: usize,
    out: &mut [u64],
    stride: usize,
) {
    let sums = Sums::new(s, prime);
    for c in (0..line).step_by(S::COUNT) {
        let w: [[S::V; R]; R] = sums.load(taps, [R * line, line], c);
        sums.store(&Filter::both(&sums, &w), out, stride, c);
    }
}

/// Results of `size` x `size` pixels from the products at the points, each of which is multiplied by
/// the factor of its point first: `products` holds a line of output channels for point `i` at
/// `i * stride`. Pixel `j` goes to `out[j * line..]`.
#[inline(always)]
pub(super) fn output_patch<S: Lanes>(
    s: S,
    prime: Prime,
    size: usize,
    factors: &[u64; AREA],
    products: &[u64],
    [stride, line]: [usize; 2],
    out: &mut [u64],
) {
    match size {
        2 => outputs::<S, 2>(s, prime, factors, products, [stride, line], out),
        3 => outputs::<S, 3>(s, prime, factors, products, [stride, line], out),
        4 => outputs::<S, 4>(s, prime, factors, products, [stride, line], out),
        _ => unreachable!("results of 2 to 4 pixels"),
    }
}

#[inline(always)]
fn outputs<S: Lanes, const M: usize>(
    s: S,
    prime: Prime,
    factors: &[u64; AREA],
    products: &[u64],
    [stride, line]: [usize; 2],
    out: &mut [u64],
) {
    let sums = Sums::new(s, prime);
    for c in (0..line).step_by(S::COUNT) {
        let mut p = sums.load(products, [POINTS * stride, stride], c);
        for y in 0..POINTS {
            for x in 0..POINTS {
                p[y][x] = sums.f.mul(p[y][x], s.splat(factors[y * POINTS + x]));
            }
        }
        let pixels: [[S::V; M]; M] = Output::both(&sums, &p);
        for y in 0..M {
            for x in 0..M {
                s.store(out, (y * M + x) * line + c, sums.reduce(pixels[y][x]));
            }
        }
    }
}
