//! The helper deals a comparison: tables of every digit, words of the joins, masks of the bits.
//!
//! Everything secret here is a mask, a key, or a bit of either, and is worked on as whole vectors:
//! no branch and no address depends on one.

use super::joins::{JoinBit, JoinWord, Run};
use super::{joins, positions, top};
use crate::PartyId;
use crate::label::{LabelStream, domain, word_correction, words_of};
use amicus_field::{BitVec, Digit, LimbVec, WordVec};
use amicus_plan::Compare;
use zeroize::Zeroizing;

/// A comparison dealt, for some elements.
pub(crate) struct Dealt {
    /// Masks of the bits of every threshold.
    pub(crate) masks: Vec<BitVec>,
    /// What these elements add to the boolean sums: batch element, number of the opening, word.
    pub(crate) constants: Zeroizing<Vec<(usize, usize, u64)>>,
}

/// Which of all elements are dealt, and to whom.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// The first one.
    pub(crate) first: usize,
    /// How many there are in all.
    pub(crate) whole: usize,
    /// How many a batch element has.
    pub(crate) each: usize,
    /// Who gets the corrections of them.
    pub(crate) to: PartyId,
}

/// Constants of a segment: by how much its words are off the true bits. Those of digits are right.
struct Segment {
    less: BitVec,
    equal: BitVec,
}

/// Deals a comparison of elements with these masks; `send` takes the corrections: tables
/// digit by digit, then joins threshold by threshold.
pub(crate) fn deal(
    compare: &Compare,
    r: &LimbVec,
    streams: &[LabelStream],
    place: Place,
    send: &mut dyn FnMut(&WordVec),
) -> Dealt {
    let len = r.len();
    let first = place.first as u64;
    let mut key = words_of(streams, domain::BIT_KEY, first, len);
    key.force_low_bit(true);
    let mut deal = |domain, value: &WordVec| send(&word_correction(streams, place.to, domain, first, value));

    let mu = WordVec::window(r, compare.unit, compare.window());
    let mut position = 0;
    for (&width, low) in compare.digits.iter().zip(positions(compare)) {
        let digit = Digit { window: &mu, low, width };
        for entry in 0..(1u64 << width) - 1 {
            deal(domain::table(position), &key.entry(digit, entry));
            position += 1;
        }
    }

    let mut openings = Masks { streams, place, len, next: 0, word: None, all: Vec::new() };
    let top = top(compare, &mu);
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
                segments.push(join(run, parts, &mut openings, &mut |bit| {
                    deal(domain::join(position), &key.selected(bit));
                    position += 1;
                }));
            }
        }
        let mut mask = openings.next();
        segments.iter().for_each(|last| mask.xor_assign(&last.less));
        mask.xor_assign(&top);
        masks.push(mask);
    }

    let zeros = WordVec::zeros(len);
    let Place { first, each, .. } = place;
    let constants = (first / each..(first + len).div_ceil(each)).flat_map(|element| {
        let range = (element * each).max(first) - first..((element + 1) * each).min(first + len) - first;
        let sum = |mask| zeros.xor_sum(&key, mask, range.clone());
        openings.all.iter().enumerate().map(|(number, mask)| (element, number, sum(mask))).collect::<Vec<_>>()
    });
    let constants = Zeroizing::new(constants.collect());
    Dealt { masks, constants }
}

/// Joins the segments of a run; `deal` takes the bits whose words are dealt, in order.
fn join(run: &Run, parts: Vec<Segment>, openings: &mut Masks<'_>, deal: &mut dyn FnMut(&BitVec)) -> Segment {
    if !run.joins() {
        return parts.into_iter().next().unwrap_or_else(|| unreachable!("a run has segments"));
    }
    // Masks of the true bits: what the opening adds, and what the segment's words are off.
    let masks: Vec<(JoinBit, BitVec)> = run
        .bits()
        .into_iter()
        .map(|bit| {
            let mut mask = openings.next();
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
    for word in run.words() {
        match word {
            JoinWord::OfFirstEqual => {
                let mut factor = equal(1).and(less(2));
                if !run.digits[1] {
                    factor.xor_assign(less(1));
                }
                deal(&factor);
            }
            JoinWord::OfSecondEqual => deal(&equal(0).and(less(2))),
            JoinWord::OfThirdLess => deal(&equal(0).and(equal(1))),
            JoinWord::Mask(bit) => deal(mask(bit)),
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
    place: Place,
    len: usize,
    next: usize,
    word: Option<WordVec>,
    all: Vec<BitVec>,
}

impl Masks<'_> {
    fn next(&mut self) -> BitVec {
        let bits = WordVec::bits() as usize;
        let (number, bit) = (self.next / bits, self.next % bits);
        if bit == 0 {
            let first = (number * self.place.whole + self.place.first) as u64;
            self.word = Some(words_of(self.streams, domain::MASK_BITS, first, self.len));
        }
        self.next += 1;
        let mask = self.word.as_ref().map_or_else(|| BitVec::zeros(self.len), |w| w.bit(bit as u32));
        self.all.push(mask.clone());
        mask
    }
}
