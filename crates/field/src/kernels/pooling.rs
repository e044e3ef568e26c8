//! Sum-pooling of one channel, and its transpose.
//!
//! Tap after tap of the window: one tap connects every output with at most one input, so lines are
//! added to lines. Sums are lazy; a channel is reduced once, or after 4095 taps.

use super::lanes::{Lanes, MAX_TERMS, Residues};
use crate::prime::Prime;
use crate::shape::SumPool2d;

/// Where the sums go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Every window's inputs to its output.
    Forward,
    /// Every output to all inputs of its window.
    Transposed,
}

/// Adds one channel to `to`, whose residues are canonical: inputs to outputs or the other way
/// round.
#[inline(always)]
pub(super) fn pool_channel<S: Lanes>(
    s: S,
    prime: Prime,
    shape: &SumPool2d,
    direction: Direction,
    from: &[u64],
    to: &mut [u64],
) {
    let f = Residues::new(s, prime);
    let [out_height, out_width] = shape.out_size();
    let [top, left, ..] = shape.padding;
    let mut terms = 1;
    for ky in 0..shape.kernel[0] {
        for kx in 0..shape.kernel[1] {
            if terms == MAX_TERMS {
                reduce(&f, to);
                terms = 1;
            }
            terms += 1;
            let (columns, first) = reached(kx, left, shape.stride[1], shape.width, out_width);
            let (rows, mut y) = reached(ky, top, shape.stride[0], shape.height, out_height);
            for row in rows {
                let input = y * shape.width + first;
                let output = row * out_width + columns.start;
                y += shape.stride[0];
                match direction {
                    Direction::Forward => {
                        gather(&mut to[output..][..columns.len()], &from[input..], shape.stride[1]);
                    }
                    Direction::Transposed => {
                        scatter(&mut to[input..], &from[output..][..columns.len()], shape.stride[1]);
                    }
                }
            }
        }
    }
    reduce(&f, to);
}

/// The outputs along one axis whose tap `k` is an input, and the input of the first of them.
#[inline(always)]
fn reached(
    k: usize,
    before: usize,
    stride: usize,
    size: usize,
    outputs: usize,
) -> (std::ops::Range<usize>, usize) {
    // Output x meets input x * stride + k - before.
    let start = before.saturating_sub(k).div_ceil(stride);
    let end = (size + before).saturating_sub(k).div_ceil(stride).min(outputs);
    if start < end { (start..end, start * stride + k - before) } else { (0..0, 0) }
}

/// `to[x] += from[x * stride]`. The usual strides have loops of their own, which become vector
/// code.
#[inline(always)]
fn gather(to: &mut [u64], from: &[u64], stride: usize) {
    match stride {
        1 => to.iter_mut().zip(from).for_each(|(to, from)| *to += from),
        2 if from.len() >= 2 * to.len() => {
            to.iter_mut().zip(from.as_chunks::<2>().0).for_each(|(to, from)| *to += from[0]);
        }
        _ => to.iter_mut().zip(from.iter().step_by(stride)).for_each(|(to, from)| *to += from),
    }
}

/// `to[x * stride] += from[x]`.
#[inline(always)]
fn scatter(to: &mut [u64], from: &[u64], stride: usize) {
    match stride {
        1 => to.iter_mut().zip(from).for_each(|(to, from)| *to += from),
        2 if to.len() >= 2 * from.len() => {
            to.as_chunks_mut::<2>().0.iter_mut().zip(from).for_each(|(to, from)| to[0] += from);
        }
        _ => to.iter_mut().step_by(stride).zip(from).for_each(|(to, from)| *to += from),
    }
}

#[inline(always)]
fn reduce<S: Lanes>(f: &Residues<S>, words: &mut [u64]) {
    for i in (0..words.len()).step_by(S::COUNT) {
        let word = f.lanes.load(words, i);
        f.lanes.store(words, i, f.reduce_word(word));
    }
}
