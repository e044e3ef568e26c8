//! A comparison at a party: its material, and level by level from the opened value to masked bits.
//!
//! ```text
//! CompareMaterial --begin(D)--> Comparing --shares, opened--> Comparing ... --> masked bits
//! ```

use super::joins::{JoinBit, JoinWord, Joins, Run};
use super::{joins, opened_window, positions, top};
use crate::PartyId;
use crate::label::{LabelStream, domain};
use amicus_field::{BitVec, Digit, LimbVec, WordVec};
use amicus_plan::Compare;
use std::mem;

/// Words that the helper fixed: those of the tables, then those of the joins.
#[derive(Debug)]
pub(crate) struct CompareWords {
    tables: Vec<WordVec>,
    joins: Vec<WordVec>,
}

/// A party's material of one comparison.
#[derive(Debug)]
pub(crate) struct CompareMaterial {
    key: WordVec,
    words: CompareWords,
    masks: Vec<BitVec>,
}

/// A comparison that has begun.
#[derive(Debug)]
pub(crate) struct Comparing {
    joins: Joins,
    level: usize,
    key: WordVec,
    /// Shares of the mask bits of all openings: threshold by threshold, level by level.
    masks: Vec<BitVec>,
    thresholds: Vec<Threshold>,
    /// Words of the bits opened last, with their numbers and the public bits: for the check.
    unchecked: Vec<(usize, WordVec, BitVec)>,
}

#[derive(Debug)]
struct Threshold {
    /// Top bits of the public windows.
    top: BitVec,
    segments: Vec<Segment>,
    /// Words of the joins that are still to come, the next one last.
    words: Vec<WordVec>,
}

/// Words of a segment's bits.
#[derive(Debug)]
struct Segment {
    less: WordVec,
    /// None for the last one, where nobody asks.
    equal: Option<WordVec>,
}

impl CompareWords {
    /// From all vectors of words, in the order in which they are dealt.
    pub(crate) fn new(compare: &Compare, mut tables: Vec<WordVec>) -> Self {
        let joins = tables.split_off(compare.table_words().min(tables.len()));
        CompareWords { tables, joins }
    }
}

impl CompareMaterial {
    /// Material for `len` elements, those of all batch elements together.
    pub(crate) fn new(
        compare: &Compare,
        me: PartyId,
        len: usize,
        stream: &LabelStream,
        words: CompareWords,
    ) -> Self {
        let mut key = stream.sample_words(domain::BIT_KEY, 0, len);
        // The low bit of the key is 1, and public: the first party has it.
        key.force_low_bit(me == PartyId::FIRST);
        let bits: usize = compare.openings().iter().sum();
        let mut masks = Vec::with_capacity(bits);
        let in_a_word = WordVec::bits() as usize;
        for number in 0..bits.div_ceil(in_a_word) {
            let word = stream.sample_words(domain::MASK_BITS, (number * len) as u64, len);
            let left = (bits - masks.len()).min(in_a_word);
            masks.extend((0..left).map(|bit| word.bit(bit as u32)));
        }
        CompareMaterial { key, words, masks }
    }

    /// Picks the words of every digit with the opened values.
    pub(crate) fn begin(self, compare: &Compare, opened: &LimbVec) -> Comparing {
        let CompareMaterial { key, words: CompareWords { tables, joins: mut words }, masks } = self;
        let (each, last) = (words.len() / compare.thresholds.len(), compare.digits.len() - 1);
        words.reverse();
        let mut of_threshold = |&threshold: &i128| {
            let window = opened_window(compare, opened, threshold);
            let mut rest = &tables[..];
            let digits = compare.digits.iter().zip(positions(compare)).enumerate();
            let segments = digits.map(|(i, (&width, low))| {
                let (table, behind) = rest.split_at((1 << width) - 1);
                rest = behind;
                let (less, equal) = key.pick(Digit { window: &window, low, width }, table, i < last);
                Segment { less, equal }
            });
            let segments = segments.collect();
            let rest = words.split_off(words.len() - each);
            Threshold { top: top(compare, &window), segments, words: rest }
        };
        let thresholds = compare.thresholds.iter().map(&mut of_threshold).collect();
        Comparing { joins: joins(compare), level: 0, key, masks, thresholds, unchecked: Vec::new() }
    }
}

impl Comparing {
    fn runs(&self) -> &[Run] {
        self.joins.levels().get(self.level).map_or(&[], Vec::as_slice)
    }

    /// Number of the first bit that a threshold opens at this level.
    fn first(&self, threshold: usize) -> usize {
        threshold * self.joins.all_bits() + self.joins.bits_before(self.level)
    }

    /// The words whose bits this level opens, in order.
    fn opens<'a>(&'a self, threshold: &'a Threshold) -> Vec<&'a WordVec> {
        if self.level == self.joins.levels().len() {
            return threshold.segments.iter().map(|last| &last.less).collect();
        }
        let of_run = |run: &'a Run| {
            let segment = move |bit: JoinBit| &threshold.segments[run.first + bit.segment()];
            run.bits().into_iter().filter_map(move |bit| segment(bit).word(bit))
        };
        self.runs().iter().flat_map(of_run).collect()
    }

    /// This party's shares of the bits of this level: threshold by threshold, join by join.
    pub(crate) fn shares(&self) -> Vec<BitVec> {
        let of_threshold = |(t, threshold)| {
            self.opens(threshold).into_iter().zip(&self.masks[self.first(t)..]).map(|(word, mask)| {
                let mut bit = word.bit(0);
                bit.xor_assign(mask);
                bit
            })
        };
        self.thresholds.iter().enumerate().flat_map(of_threshold).collect()
    }

    /// Takes the opened bits of this level. The masked bits of all thresholds, after the last level.
    pub(crate) fn opened(&mut self, bits: &[BitVec]) -> Option<Vec<BitVec>> {
        let per = self.joins.bits(self.level);
        let last = self.level == self.joins.levels().len();
        let mut unchecked = Vec::with_capacity(bits.len());
        let mut masked = Vec::new();
        for t in 0..self.thresholds.len() {
            let (first, bits) = (self.first(t), &bits[t * per..(t + 1) * per]);
            let threshold = &mut self.thresholds[t];
            let segments = mem::take(&mut threshold.segments);
            let words = if last {
                let mut bit = mem::replace(&mut threshold.top, BitVec::zeros(0));
                bit.xor_assign(&bits[0]);
                bit.invert();
                masked.push(bit);
                segments.into_iter().map(|last| last.less).collect()
            } else {
                let (mut segments, mut of_run) = (segments.into_iter(), bits.iter());
                let mut words = Vec::with_capacity(bits.len());
                for run in &self.joins.levels()[self.level] {
                    let parts: Vec<Segment> = segments.by_ref().take(run.digits.len()).collect();
                    let opened: Vec<(JoinBit, &BitVec)> =
                        run.bits().into_iter().zip(of_run.by_ref()).collect();
                    let (segment, opened) = join(run, parts, &opened, &self.key, &mut threshold.words);
                    threshold.segments.push(segment);
                    words.extend(opened);
                }
                words
            };
            unchecked.extend((first..).zip(words).zip(bits).map(|((n, word), bit)| (n, word, bit.clone())));
        }
        self.unchecked = unchecked;
        self.level += 1;
        last.then_some(masked)
    }

    /// This party's terms of the boolean sums for the bits opened last: batch element, number of
    /// the opening, word.
    pub(crate) fn check_terms(&mut self, batch: usize) -> Vec<(usize, usize, u64)> {
        let each = self.key.len() / batch;
        let mut terms = Vec::new();
        for (number, word, bits) in mem::take(&mut self.unchecked) {
            for element in 0..batch {
                let range = element * each..(element + 1) * each;
                terms.push((element, number, word.xor_sum(&self.key, &bits, range)));
            }
        }
        terms
    }
}

/// What a join is computed from.
struct Joining<'a> {
    run: &'a Run,
    parts: &'a [Segment],
    opened: &'a [(JoinBit, &'a BitVec)],
    dealt: &'a [(JoinWord, WordVec)],
    key: &'a WordVec,
}

impl<'a> Joining<'a> {
    fn bit(&self, wanted: JoinBit) -> &'a BitVec {
        match self.opened.iter().find(|(bit, _)| *bit == wanted) {
            Some((_, opened)) => opened,
            None => unreachable!("a join opens this bit"),
        }
    }

    fn dealt(&self, wanted: JoinWord) -> Option<&'a WordVec> {
        self.dealt.iter().find(|(word, _)| *word == wanted).map(|(_, word)| word)
    }

    /// Adds, in one pass, the key and words of masks and products where public bits choose them.
    fn add(
        &self,
        to: &mut WordVec,
        mut of_key: BitVec,
        masks: &[(JoinBit, &BitVec)],
        products: &[(JoinWord, &BitVec)],
    ) {
        let mut terms: Vec<(&WordVec, &BitVec)> = Vec::with_capacity(masks.len() + products.len() + 1);
        for &(of, chosen) in masks {
            if let Some(word) = self.dealt(JoinWord::Mask(of)) {
                terms.push((word, chosen));
            } else if self.run.digits[of.segment()] {
                // A digit's words are right: the mask is what the opening added.
                let word = self.parts[of.segment()].word(of);
                terms.extend(word.map(|word| (word, chosen)));
                of_key.xor_assign(&chosen.and(self.bit(of)));
            }
            // Else the mask is part of a product's word.
        }
        terms.extend(products.iter().filter_map(|&(word, chosen)| Some((self.dealt(word)?, chosen))));
        terms.push((self.key, &of_key));
        to.xor_selected(&terms);
    }
}

impl Segment {
    fn word(&self, of: JoinBit) -> Option<&WordVec> {
        match of {
            JoinBit::Equal(_) => self.equal.as_ref(),
            JoinBit::Less(_) => Some(&self.less),
        }
    }
}

/// Joins the segments of a run with its opened bits, and its dealt words, which it takes off the end
/// of `words`. Returns the words of the opened bits too.
fn join(
    run: &Run,
    mut parts: Vec<Segment>,
    opened: &[(JoinBit, &BitVec)],
    key: &WordVec,
    words: &mut Vec<WordVec>,
) -> (Segment, Vec<WordVec>) {
    let mut less = mem::replace(&mut parts[0].less, WordVec::zeros(0));
    if !run.joins() {
        return (Segment { less, equal: parts[0].equal.take() }, Vec::new());
    }
    let dealt: Vec<(JoinWord, WordVec)> =
        run.words().into_iter().filter_map(|word| Some((word, words.pop()?))).collect();
    let joining = Joining { run, parts: &parts, opened, dealt: &dealt, key };
    let (e1, l2) = (joining.bit(JoinBit::Equal(0)), joining.bit(JoinBit::Less(1)));
    if run.digits.len() == 3 {
        let (e2, l3) = (joining.bit(JoinBit::Equal(1)), joining.bit(JoinBit::Less(2)));
        let both = e1.and(e2);
        let mut of_key = e1.and(l2);
        of_key.xor_assign(&both.and(l3));
        let mut of_first = e2.and(l3);
        of_first.xor_assign(l2);
        let masks = [
            (JoinBit::Equal(0), &of_first),
            (JoinBit::Less(1), e1),
            (JoinBit::Equal(1), &e1.and(l3)),
            (JoinBit::Less(2), &both),
        ];
        let products =
            [(JoinWord::OfFirstEqual, e1), (JoinWord::OfSecondEqual, e2), (JoinWord::OfThirdLess, l3)];
        joining.add(&mut less, of_key, &masks, &products);
    } else {
        joining.add(&mut less, e1.and(l2), &[(JoinBit::Equal(0), l2), (JoinBit::Less(1), e1)], &[]);
    }
    let equal = run.equal.then(|| {
        let e2 = joining.bit(JoinBit::Equal(1));
        let mut equal = WordVec::zeros(key.len());
        joining.add(&mut equal, e1.and(e2), &[(JoinBit::Equal(0), e2), (JoinBit::Equal(1), e1)], &[]);
        equal
    });
    let opened = run.bits().into_iter().filter_map(|bit| match bit {
        JoinBit::Equal(segment) => parts[segment].equal.take(),
        JoinBit::Less(segment) => Some(mem::replace(&mut parts[segment].less, WordVec::zeros(0))),
    });
    let opened = opened.collect();
    (Segment { less, equal }, opened)
}
