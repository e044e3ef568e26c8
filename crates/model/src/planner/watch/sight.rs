//! How a value is looked at: what of it is squared, in which groups, and how far that sees.

use amicus_field::{LimbVec, Limbs, SumPool2d};
use amicus_plan::{OpKind, Plan, ValueId, quantize_input};
use rayon::prelude::*;

use super::{Border, lacking};
use crate::compile::Compiled;
use crate::error::ModelError;
use crate::fake_quantisation::power_of_two;
use crate::planner::emit::largest_ell;
use crate::simulate::Simulator;

/// Bits that the border of a value keeps when the others are dropped.
const BORDER_BITS: i32 = 8;
/// Values up to `2^REACH` times their border are found surely; the plan must not depend on how far
/// weights let them get. Where there are few elements more costs little.
const REACH: f64 = 7.5;
const REACH_OF_FEW: f64 = 12.0;
const FEW: usize = 1 << 11;
/// Dealt bytes of a truncated element of one limb, of a squared one, and of a sum that is truncated and
/// told of.
const TRUNCATED_BYTES: f64 = 13.0;
const SQUARED_BYTES: f64 = 13.0;
const GROUP_BYTES: f64 = 32.5;
/// Most that squares are multiplied by, so that a border's square comes near a power of two.
const LARGEST_FACTOR: u32 = 16;
/// Largest group.
const LARGEST_GROUP: usize = 1 << 12;
/// Multiply-adds spent on simulating calibration samples, and samples at least and at most.
const AFFORDABLE: u64 = 2_000_000_000;
const SAMPLES: (usize, usize) = (4, 64);

/// Sums that are never negative and less than this are truncated rightly by a truncation with the
/// bound `2^dropped`: with the bound added they are less than half the modulus.
fn largest_sum(limbs: Limbs, dropped: u32) -> f64 {
    power_of_two(limbs.bits() - 1) - power_of_two(lacking(limbs)) - power_of_two(dropped)
}

/// Squares of calibration samples at a value with a border.
pub(super) struct Sums {
    pub(super) len: usize,
    /// The values of each sample as integers.
    samples: Vec<Vec<f64>>,
}

impl Sums {
    pub(super) fn of(
        compiled: &Compiled,
        borders: &[Border],
        samples: &[Vec<f32>],
    ) -> Result<Vec<Self>, ModelError> {
        let plan = &compiled.plan;
        let infos = plan.values()?;
        let each = plan.cost(1)?.multiply_adds.max(1);
        let affordable = usize::try_from(AFFORDABLE / each).unwrap_or(usize::MAX).clamp(SAMPLES.0, SAMPLES.1);
        let empty = |b: &Border| Sums { len: infos.get(b.value).len, samples: Vec::new() };
        let mut all: Vec<Sums> = borders.iter().map(empty).collect();
        let simulator = Simulator::new(plan, &compiled.weights)?;
        // Spread over all, which may come sorted.
        let step = samples.len().div_ceil(affordable).max(1);
        let picked: Vec<&Vec<f32>> = samples.iter().step_by(step).collect();
        let run = |sample: &&Vec<f32>| -> Result<Vec<Vec<f64>>, ModelError> {
            let input = LimbVec::from_i64(plan.limbs, &quantize_input(plan, sample)?);
            let trace = simulator.trace(&input, 1)?;
            let of = |b: &Border| trace.value(b.value).signed().into_iter().map(|z| z.as_f64()).collect();
            Ok(borders.iter().map(of).collect())
        };
        let found = picked.par_iter().map(run).collect::<Result<Vec<_>, ModelError>>()?;
        for values in found {
            all.iter_mut().zip(values).for_each(|(sums, values)| sums.samples.push(values));
        }
        Ok(all)
    }

    /// The largest number.
    pub(super) fn largest_number(&self) -> f64 {
        self.samples.iter().flatten().fold(0.0, |m: f64, z| m.max(z.abs()))
    }

    /// The largest sums of squares of values with `shift` bits dropped and up to `rounded` units
    /// more, with the size of the groups.
    fn largest(&self, (shift, rounded): (u32, f64)) -> Vec<(usize, f64)> {
        let unit = power_of_two(shift);
        let square = |z: &f64| ((z / unit).abs() + rounded).powi(2);
        let largest = LARGEST_GROUP.min(self.len).max(1);
        // Layers of networks for images of 224 pixels have 7 as a factor.
        let sizes = [1, 7].map(|least: usize| (0..=12).map(move |log| least << log));
        let sizes = sizes.into_iter().flatten().filter(|&group| group <= largest);
        let of = |group: usize| {
            let pool = pool(self.len, group);
            let of_sample = |values: &Vec<f64>| {
                let mut sums = vec![0.0; self.len.div_ceil(group)];
                for (at, z) in values.iter().enumerate() {
                    let place = if pool.height > 1 { at % pool.width } else { at / group };
                    sums[place] += square(z);
                }
                sums.into_iter().fold(0.0, f64::max)
            };
            self.samples.iter().map(of_sample).fold(0.0, f64::max)
        };
        sizes.map(|group| (group, of(group))).collect()
    }
}

/// What is squared in place of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Squared {
    /// The value itself, or one that the plan computes by dropping bits of it.
    Known(ValueId),
    /// The value with these bits dropped.
    Dropped(u32),
}

/// How one value is looked at.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    pub(super) squared: Squared,
    pub(super) group: usize,
    /// What squares are multiplied by, and what is added to each.
    pub(super) factor: u32,
    pub(super) more: i128,
    /// Bits dropped of a sum: 0 or 1 is left of those inside, more of those outside.
    pub(super) dropped: u32,
    /// Values up to this size are surely found.
    pub(super) sees: f64,
    /// Dealt bytes, roughly: of one limb.
    pub(super) bytes: f64,
}

impl Sight {
    /// The cheapest that finds what is far outside, else the one that sees furthest.
    pub(super) fn of(
        plan: &Plan,
        border: &Border,
        scale: u32,
        sums: &Sums,
        margin: f64,
    ) -> Result<Self, ModelError> {
        let infos = plan.values()?;
        let largest = power_of_two(largest_ell(plan.limbs));
        let dropped = (border.limit.log2().floor() as i32 - BORDER_BITS).clamp(0, scale as i32) as u32;
        let own = (Squared::Dropped(dropped), dropped, largest);
        let itself = (Squared::Known(border.value), 0, f64::INFINITY);
        let known = plan.ops.iter().enumerate().filter_map(|(at, op)| match &op.kind {
            OpKind::Truncate(t) if t.input == border.value => {
                let value = ValueId(at as u32 + 1);
                let shift = scale - infos.get(value).scale.0;
                Some((Squared::Known(value), shift, power_of_two(t.ell)))
            }
            _ => None,
        });
        let reach = if sums.len > FEW { REACH } else { REACH_OF_FEW };
        let below = border.limit * reach.exp2();
        let mut best: Option<(bool, Sight)> = None;
        for (squared, shift, right_below) in [itself].into_iter().chain(known).chain([own]) {
            let rounded = if shift > 0 { 1.0 } else { 0.0 };
            let all = sums.largest((shift, rounded));
            let each = SQUARED_BYTES + if squared == own.0 { TRUNCATED_BYTES } else { 0.0 };
            for factor in 1..=LARGEST_FACTOR {
                let what = (squared, shift, right_below);
                let Some(mut sight) =
                    Sight::with(plan.limbs, (border.limit, below), what, factor, &all, margin)
                else {
                    continue;
                };
                sight.bytes = sums.len as f64 * each + GROUP_BYTES * sums.len.div_ceil(sight.group) as f64;
                let far = sight.sees >= below.min(largest);
                let better = |(was_far, was): &(bool, Sight)| match (far, was_far) {
                    (true, true) => sight.bytes < was.bytes,
                    (false, false) => sight.sees > was.sees,
                    (far, _) => far,
                };
                if best.as_ref().is_none_or(better) {
                    best = Some((far, sight));
                }
            }
        }
        best.map(|(_, sight)| sight)
            .ok_or_else(|| ModelError::data("plan", format!("nothing can look at {}", border.layer)))
    }

    /// For a border at `limit` and values up to `below`, of which `shift` bits are dropped, rightly
    /// below `right_below`; `None` where squares do not fit. `sums` are those of calibration.
    fn with(
        limbs: Limbs,
        (limit, below): (f64, f64),
        (squared, shift, right_below): (Squared, u32, f64),
        factor: u32,
        sums: &[(usize, f64)],
        margin: f64,
    ) -> Option<Self> {
        // What is dropped may round towards the inside by a unit.
        let rounded = if shift > 0 { 1.0 } else { 0.0 };
        let border = (limit / power_of_two(shift)).floor() - rounded;
        let times = f64::from(factor);
        let edge = times * (border * border).max(1.0);
        // Sums at the border are at least two units: with a bit more where that is little.
        let near = edge.log2().ceil() as u32;
        let added = power_of_two(near) - edge;
        let (unit, more) =
            if added <= edge / 64.0 { (near, added.ceil()) } else { (edge.log2().floor() as u32, 0.0) };
        let dropped = unit.checked_sub(1)?;
        let fits = largest_sum(limbs, dropped);
        let reach = below.min(right_below).min(power_of_two(largest_ell(limbs)));
        let largest = |size: f64| times * (size / power_of_two(shift) + rounded).powi(2) + more;
        let room = power_of_two(dropped);
        let inside = |group: usize, sum: f64| times * margin * margin * sum + more * (group as f64) < room;
        let holds = |group: usize| largest(reach) * (group as f64) < fits;
        let suits = sums.iter().filter(|&&(group, sum)| inside(group, sum) && holds(group));
        let group = suits.map(|&(group, _)| group).max().unwrap_or(1);
        // What fits, of a single element.
        let most = ((fits / 2.0 - more) / times).max(0.0).sqrt() - rounded;
        let sees = if holds(group) { reach } else { (most * power_of_two(shift)).min(reach) };
        (sees >= limit).then_some(Sight {
            squared,
            group,
            factor,
            more: more as i128,
            dropped,
            sees,
            bytes: f64::INFINITY,
        })
    }
}

/// Sums over groups of `len` elements. Neighbours are often large together, so elements of a group lie
/// as far apart as they can, where groups come out even.
pub(super) fn pool(len: usize, group: usize) -> SumPool2d {
    let groups = len.div_ceil(group);
    let even = len == groups * group;
    let (height, width) = if even { (group, groups) } else { (1, len) };
    let kernel = if even { [group, 1] } else { [1, group] };
    SumPool2d { channels: 1, height, width, kernel, stride: kernel, padding: [0, 0, 0, groups * group - len] }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot be set up fails

    use super::*;
    use amicus_field::{I256, Truncation};

    /// Sums from the border's square to the largest that values looked at can make are truncated to
    /// within a unit whatever the mask is: those of values outside to no 0 and no 1.
    #[test]
    fn the_largest_sums_are_truncated_rightly() {
        let mut largest = 0.0f64;
        for (limbs, limit) in
            Limbs::ALL.iter().flat_map(|&limbs| [2e3, 65_440.0, 131_000.0].map(|l| (limbs, l)))
        {
            for shift in [0, 4, 8] {
                // Calibration saw nothing, so groups are as large as sums allow.
                let nothing: Vec<(usize, f64)> = (0..=12).map(|log| (1 << log, 0.0)).collect();
                for factor in [1, 3, 16] {
                    let what = (Squared::Dropped(shift), shift, f64::INFINITY);
                    let Some(sight) = Sight::with(limbs, (limit, 256.0 * limit), what, factor, &nothing, 1.5)
                    else {
                        continue;
                    };
                    let size = (sight.sees / power_of_two(shift)).floor() as i128 + i128::from(shift > 0);
                    let square = |z: i128| i128::from(factor) * z * z + sight.more;
                    let border = (limit / power_of_two(shift)).floor() as i128 - i128::from(shift > 0);
                    let sum = square(size) * sight.group as i128;
                    largest = largest.max(sum as f64 / power_of_two(limbs.bits() - 1));
                    for sum in [sum, sum - 1, sum / 2, square(border)] {
                        check(limbs, sum, sight.dropped);
                    }
                }
            }
        }
        // Some come as near as squares of powers of two do.
        assert!(largest > 0.45, "{largest}");
    }

    fn check(limbs: Limbs, sum: i128, dropped: u32) {
        let t = Truncation::new(limbs, dropped, dropped).unwrap();
        let sum = I256::from(sum);
        let half = I256::try_from(limbs.modulus()).unwrap() / 2;
        let masks =
            [I256::ZERO, I256::ONE, -I256::ONE, half, half - 1, -half, -sum, -sum - 1, 1 - sum, half - sum];
        let masks: Vec<I256> = masks.into_iter().chain((1..64).map(|i| half / 64 * i - half / 2)).collect();
        let r = LimbVec::from_signed(limbs, masks.iter().copied());
        let mut opened = LimbVec::from_signed(limbs, masks.iter().map(|_| sum));
        opened.add_assign(&r);
        opened.add_constant(&t.offset());
        let opened = t.open(&opened);
        let mu = [t.mask(&r, false), t.mask(&r, true)];
        for (i, mask) in masks.iter().enumerate() {
            let units = (opened.v.get(i) - mu[usize::from(opened.wrap.get(i))].get(i)).signed();
            let exact = sum >> dropped;
            assert!(units == exact || units == exact + 1, "{sum} under {mask}: {units}, not {exact}");
            assert!(exact >= 2);
        }
    }
}
