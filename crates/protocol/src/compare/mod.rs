//! Comparison of masked values with public thresholds (`docs/protocol.md`, sections 5, 6.10 and 6.14).
//!
//! `D = z + r` is public and the helper knows `r`, so `z >= t` depends on whether the low bits of a
//! public number `v` are less than those of a mask `mu` that only the helper knows. The helper deals
//! that question digit by digit as tables of bits; the parties pick with `v`'s digits and join the
//! answers, which stay shared. In the end a masked bit is opened for each threshold. Then every party
//! proves that all bits it sent are right.
//!
//! - [`joins`]: which answers are joined at which level, what is opened and dealt for it
//! - [`helper`]: what the helper deals, and the masks of the bits
//! - [`party`]: a party's material, and its way from the opened value to the masked bits
//! - [`circuit`]: what is public of a comparison, and how what is opened depends on what is dealt
//! - [`sumcheck`]: the proof that an inner product is what was said
//! - [`proof`]: a party's proof, what parties make of all proofs, and the helper's verdict

pub(crate) mod circuit;
pub(crate) mod helper;
pub(crate) mod joins;
pub(crate) mod party;
pub(crate) mod proof;
mod sumcheck;
#[cfg(test)]
mod tests;

use amicus_field::{BitVec, Element, LimbVec, Limbs, WordVec};
use amicus_plan::Compare;
use joins::Joins;
use std::ops::Range;

/// The bits of every digit in the window, most significant digit first.
fn digits(compare: &Compare) -> impl Iterator<Item = Range<usize>> {
    let mut low: usize = compare.digits.iter().map(|&width| width as usize).sum();
    compare.digits.iter().map(move |&width| {
        let end = low;
        low -= width as usize;
        low..end
    })
}

fn joins(compare: &Compare) -> Joins {
    Joins::of(compare.digits.len())
}

/// The bits of the public windows of opened values for one threshold, lowest first:
/// `floor((D - t - half a unit) / 2^unit)`. Half a unit, rounded down, so that nearness to the
/// threshold errs to both sides alike.
fn window_planes(compare: &Compare, opened: &LimbVec, threshold: i128) -> Vec<BitVec> {
    let limbs: Limbs = opened.limbs();
    let mut shifted = opened.clone();
    shifted.add_constant(&-Element::from_i128(limbs, threshold));
    if let Some(bit) = compare.unit.checked_sub(1) {
        shifted.add_constant(&-Element::power_of_two(limbs, bit));
    }
    planes(compare, &shifted)
}

/// The bits of the windows of lifted elements, lowest first.
fn planes(compare: &Compare, x: &LimbVec) -> Vec<BitVec> {
    let window = WordVec::window(x, compare.unit, compare.window());
    (0..compare.window()).map(|bit| window.bit(bit)).collect()
}
