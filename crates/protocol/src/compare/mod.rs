//! Comparison of masked values with public thresholds (`docs/protocol.md`, sections 5 and 6.10).
//!
//! `D = z + r` is public and the helper knows `r`, so `z >= t` depends on whether the low bits of a
//! public number `v` are less than those of a mask `mu` that only the helper knows. The helper deals
//! that question digit by digit as tables of words; the parties pick with `v`'s digits and join the
//! answers, which stay shared. In the end a masked bit is opened for each threshold.
//!
//! - [`joins`]: which answers are joined at which level, what is opened and dealt for it
//! - [`helper`]: what the helper deals, and the masks of the bits
//! - [`party`]: a party's material, and its way from the opened value to the masked bits

pub(crate) mod helper;
pub(crate) mod joins;
pub(crate) mod party;

use amicus_field::{BitVec, Element, LimbVec, Limbs, WordVec};
use amicus_plan::Compare;
use joins::Joins;

/// Position of every digit's lowest bit in the window.
fn positions(compare: &Compare) -> Vec<u32> {
    let mut low: u32 = compare.digits.iter().sum();
    let mut next = |&width: &u32| {
        low -= width;
        low
    };
    compare.digits.iter().map(&mut next).collect()
}

fn joins(compare: &Compare) -> Joins {
    Joins::of(compare.digits.len())
}

/// The public windows of opened values for one threshold: `floor((D - t - half a unit) / 2^unit)`.
/// Half a unit, rounded down, so that nearness to the threshold errs to both sides alike.
fn opened_window(compare: &Compare, opened: &LimbVec, threshold: i128) -> WordVec {
    let limbs: Limbs = opened.limbs();
    let mut shifted = opened.clone();
    shifted.add_constant(&-Element::from_i128(limbs, threshold));
    if let Some(bit) = compare.unit.checked_sub(1) {
        shifted.add_constant(&-Element::power_of_two(limbs, bit));
    }
    WordVec::window(&shifted, compare.unit, compare.window())
}

/// The top bit of every window.
fn top(compare: &Compare, window: &WordVec) -> BitVec {
    window.bit(compare.window() - 1)
}
