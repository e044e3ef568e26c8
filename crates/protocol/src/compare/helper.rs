//! The helper deals a comparison: tables of every digit, words of the joins, masks of the bits.
//!
//! Everything secret here is a mask, a key, or a bit of either, and is worked on as whole vectors:
//! no branch and no address depends on one.

use super::joins::{JoinBit, JoinWord, Run};
use super::{joins, positions, top};
use crate::label::{LabelStream, domain, word_correction, words_of};
use amicus_field::{BitVec, Digit, LimbVec, WordVec};
use amicus_plan::Compare;
use zeroize::Zeroizing;

/// A comparison dealt.
pub(crate) struct Dealt {
    /// Masks of the bits of every threshold.
    pub(crate) masks: Vec<BitVec>,
    /// The last party's corrections: tables digit by digit, then joins threshold by threshold.
    pub(crate) corrections: Vec<u8>,
    /// What the boolean sums must be: for every batch element one word for each bit opened.
    pub(crate) constants: Zeroizing<Vec<u64>>,
}

/// Constants of a segment: by how much its words are off the true bits. Those of digits are right.
struct Segment {
    less: BitVec,
    equal: BitVec,
}

/// Deals a comparison of values with these masks, for all batch elements.
pub(crate) fn deal(compare: &Compare, r: &LimbVec, streams: &[LabelStream], batch: usize) -> Dealt {
    let len = r.len();
    let mut key = words_of(streams, domain::BIT_KEY, 0, len);
    key.force_low_bit(true);
    let mut dealing = Dealing { streams, key: &key, corrections: Vec::new() };

    let mu = WordVec::window(r, compare.unit, compare.window());
    let mut position = 0;
    for (&width, low) in compare.digits.iter().zip(positions(compare)) {
        let digit = Digit { window: &mu, low, width };
        for entry in 0..(1u64 << width) - 1 {
            dealing.deal(domain::table(position), &key.entry(digit, entry));
            position += 1;
        }
    }

    let mut openings = Masks { streams, len, next: 0, word: None, all: Vec::new() };
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
                    dealing.deal(domain::join(position), &key.selected(bit));
                    position += 1;
                }));
            }
        }
        let mut mask = openings.next();
        segments.iter().for_each(|last| mask.xor_assign(&last.less));
        mask.xor_assign(&top);
        masks.push(mask);
    }

    let each = len / batch;
    let zeros = WordVec::zeros(len);
    let sums = (0..batch).flat_map(|e| openings.all.iter().map(move |mask| (mask, e * each..(e + 1) * each)));
    let constants = sums.map(|(mask, range)| zeros.xor_sum(&key, mask, range)).collect();
    Dealt { masks, corrections: dealing.corrections, constants: Zeroizing::new(constants) }
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

/// Words for the last party.
struct Dealing<'a> {
    streams: &'a [LabelStream],
    key: &'a WordVec,
    corrections: Vec<u8>,
}

impl Dealing<'_> {
    fn deal(&mut self, domain: u32, value: &WordVec) {
        debug_assert_eq!(value.len(), self.key.len());
        word_correction(self.streams, domain, value).pack_into(&mut self.corrections);
    }
}

/// Mask bits of openings, in the order of their numbers.
struct Masks<'a> {
    streams: &'a [LabelStream],
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
            let first = (number * self.len) as u64;
            self.word = Some(words_of(self.streams, domain::MASK_BITS, first, self.len));
        }
        self.next += 1;
        let mask = self.word.as_ref().map_or_else(|| BitVec::zeros(self.len), |w| w.bit(bit as u32));
        self.all.push(mask.clone());
        mask
    }
}
