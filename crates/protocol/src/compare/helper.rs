//! The helper deals a comparison: tables of every digit, bits of the joins, masks of what is opened.
//!
//! Everything secret here is a mask or a bit of one, and is worked on as whole vectors:
//! no branch and no address depends on one.

use super::circuit::equalities;
use super::joins::{JoinBit, JoinDealt, Run};
use super::{digits, joins, planes};
use crate::PartyId;
use crate::label::{LabelStream, domain};
use amicus_field::{BitVec, LimbVec};
use amicus_plan::Compare;

/// A party's shares of all that it sends bits of, for some elements.
#[derive(Clone, Debug)]
pub(crate) struct Shares {
    /// Shares of dealt bits, tables and then joins.
    pub(crate) dealt: Vec<BitVec>,
    /// Shares of masks, by the numbers of the openings.
    pub(crate) masks: Vec<BitVec>,
}

impl Shares {
    /// None yet, for `len` elements.
    pub(crate) fn zeros(compare: &Compare, len: usize) -> Self {
        let zeros = |count: usize| (0..count).map(|_| BitVec::zeros(len)).collect();
        Shares { dealt: zeros(compare.dealt_bits()), masks: zeros(compare.openings().iter().sum()) }
    }

    /// Writes those of the elements from `at` on, a multiple of 64.
    pub(crate) fn put(&mut self, at: usize, part: &Shares) {
        let put = |all: &mut [BitVec], part: &[BitVec]| {
            all.iter_mut().zip(part).for_each(|(all, part)| all.put(at, part));
        };
        put(&mut self.dealt, &part.dealt);
        put(&mut self.masks, &part.masks);
    }
}

/// A comparison dealt, for some elements.
pub(crate) struct Dealt {
    /// Masks of the bits of every threshold.
    pub(crate) masks: Vec<BitVec>,
    /// What every party has.
    pub(crate) shares: Vec<Shares>,
}

/// Deals a comparison of elements with these masks, from number `first` on, whose corrections are for
/// the party `to`; `send` takes them: tables digit by digit, then joins threshold by threshold.
pub(crate) fn deal(
    compare: &Compare,
    r: &LimbVec,
    streams: &[LabelStream],
    (first, to): (usize, PartyId),
    send: &mut dyn FnMut(&BitVec),
) -> Dealt {
    let len = r.len();
    let mut shares = vec![Shares { dealt: Vec::new(), masks: Vec::new() }; streams.len()];
    let mut deal = |domain, value: BitVec, shares: &mut [Shares]| {
        let mut rest = value;
        for (stream, shares) in
            streams.iter().zip(&mut *shares).enumerate().filter(|(at, _)| *at != to.index()).map(|(_, of)| of)
        {
            let share = stream.sample_bits(domain, first as u64, len);
            rest.xor_assign(&share);
            shares.dealt.push(share);
        }
        send(&rest);
        shares[to.index()].dealt.push(rest);
    };

    let mu = planes(compare, r);
    let mut position = 0;
    for digit in digits(compare) {
        // Whether an entry is below the digit, the last entry first.
        let mut below = BitVec::zeros(len);
        let mut entries: Vec<BitVec> = equalities(&mu[digit])
            .iter()
            .skip(1)
            .rev()
            .map(|equal| {
                below.xor_assign(equal);
                below.clone()
            })
            .collect();
        while let Some(entry) = entries.pop() {
            deal(domain::table(position), entry, &mut shares);
            position += 1;
        }
    }

    let mut openings = Masks { streams, first, len, next: 0 };
    let mut position = 0;
    let mut masks = Vec::with_capacity(compare.thresholds.len());
    for _ in &compare.thresholds {
        let digit = |_: &u32| Segment { less: BitVec::zeros(len), equal: BitVec::zeros(len) };
        let mut segments: Vec<Segment> = compare.digits.iter().map(digit).collect();
        for runs in joins(compare).levels() {
            let mut segments_left = segments.into_iter();
            segments = Vec::with_capacity(runs.len());
            for run in runs {
                let parts: Vec<Segment> = segments_left.by_ref().take(run.digits.len()).collect();
                let opened: Vec<BitVec> = run.bits().iter().map(|_| openings.next(&mut shares)).collect();
                segments.push(join(run, parts, opened, &mut |bit| {
                    deal(domain::join(position), bit.clone(), &mut shares);
                    position += 1;
                }));
            }
        }
        let mut mask = openings.next(&mut shares);
        segments.iter().for_each(|last| mask.xor_assign(&last.less));
        mask.xor_assign(&mu[mu.len() - 1]);
        masks.push(mask);
    }
    Dealt { masks, shares }
}

/// Constants of a segment: by how much its bits are off the true ones. Those of digits are right.
struct Segment {
    less: BitVec,
    equal: BitVec,
}

/// Joins the segments of a run, whose opened bits have these masks; `deal` takes the bits that are
/// dealt, in order.
fn join(run: &Run, parts: Vec<Segment>, openings: Vec<BitVec>, deal: &mut dyn FnMut(&BitVec)) -> Segment {
    if !run.joins() {
        return parts.into_iter().next().unwrap_or_else(|| unreachable!("a run has segments"));
    }
    // Masks of the true bits: what the opening adds, and what the segment's bits are off.
    let masks: Vec<(JoinBit, BitVec)> = run
        .bits()
        .into_iter()
        .zip(openings)
        .map(|(bit, mut mask)| {
            match bit {
                JoinBit::Equal(segment) => mask.xor_assign(&parts[segment].equal),
                JoinBit::Less(segment) => mask.xor_assign(&parts[segment].less),
            }
            (bit, mask)
        })
        .collect();
    let mask = |wanted: JoinBit| match masks.iter().find(|(bit, _)| *bit == wanted) {
        Some((_, mask)) => mask,
        None => unreachable!("a join opens this bit"),
    };
    let (equal, less) = (|segment| mask(JoinBit::Equal(segment)), |segment| mask(JoinBit::Less(segment)));
    for dealt in run.dealt() {
        match dealt {
            JoinDealt::OfFirstEqual => {
                let mut factor = equal(1).and(less(2));
                if !run.digits[1] {
                    factor.xor_assign(less(1));
                }
                deal(&factor);
            }
            JoinDealt::OfSecondEqual => deal(&equal(0).and(less(2))),
            JoinDealt::OfThirdLess => deal(&equal(0).and(equal(1))),
            JoinDealt::Mask(bit) => deal(mask(bit)),
        }
    }
    let mut joined = Segment { less: equal(0).and(less(1)), equal: BitVec::zeros(parts[0].less.len()) };
    joined.less.xor_assign(&parts[0].less);
    if run.digits.len() == 3 {
        joined.less.xor_assign(&equal(0).and(equal(1)).and(less(2)));
    }
    if run.equal {
        joined.equal = equal(0).and(equal(1));
    }
    joined
}

/// Mask bits of openings, in the order of their numbers.
struct Masks<'a> {
    streams: &'a [LabelStream],
    first: usize,
    len: usize,
    next: usize,
}

impl Masks<'_> {
    fn next(&mut self, shares: &mut [Shares]) -> BitVec {
        let mut mask = BitVec::zeros(self.len);
        for (stream, shares) in self.streams.iter().zip(shares) {
            let share = stream.sample_bits(domain::mask_bit(self.next), self.first as u64, self.len);
            mask.xor_assign(&share);
            shares.masks.push(share);
        }
        self.next += 1;
        mask
    }
}
