//! A comparison at a party: its material, and level by level from the opened value to masked bits,
//! then the proof that what it sent is right.
//!
//! ```text
//! CompareMaterial --begin(D)--> Comparing --shares, opened--> Comparing ... --prove--> Proving --verify--> Proven
//! ```

use super::circuit::{Public, equalities};
use super::joins::{JoinBit, JoinDealt, Joins, Run};
use super::{joins, window_planes};
use crate::PartyId;
use crate::label::{LabelStream, domain};
use amicus_field::{BitVec, LimbVec};
use amicus_plan::Compare;
use std::mem;

/// Shares of bits that the helper fixed: those of the tables, then those of the joins.
#[derive(Debug)]
pub(crate) struct DealtBits {
    pub(crate) tables: Vec<BitVec>,
    pub(crate) joins: Vec<BitVec>,
}

/// A party's material of one comparison.
#[derive(Debug)]
pub(crate) struct CompareMaterial {
    bits: DealtBits,
    /// Shares of the masks of all openings, by their numbers.
    masks: Vec<BitVec>,
    /// What masks are drawn from of this party's proof.
    stream: LabelStream,
}

/// A comparison that has begun.
#[derive(Debug)]
pub(crate) struct Comparing {
    evaluation: Evaluation,
    masks: Vec<BitVec>,
    stream: LabelStream,
    public: Public,
    /// Bits that every party sent, by the numbers of their openings.
    sent: Vec<Vec<BitVec>>,
}

/// A party's shares of the bits of a comparison, level by level.
#[derive(Debug)]
struct Evaluation {
    joins: Joins,
    level: usize,
    /// Whether this is the first party, whose share of a public bit is the bit.
    first: bool,
    bits: DealtBits,
    /// Segments of every threshold.
    segments: Vec<Vec<Segment>>,
    /// Bits of joins used so far of every threshold.
    used: usize,
}

/// What is left of a comparison behind its last level.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) bits: DealtBits,
    pub(crate) stream: LabelStream,
    pub(crate) public: Public,
    pub(crate) sent: Vec<Vec<BitVec>>,
}

/// Shares of a segment's bits.
#[derive(Debug)]
struct Segment {
    less: BitVec,
    /// None for the last one, where nobody asks.
    equal: Option<BitVec>,
}

impl DealtBits {
    /// From all vectors, in the order in which they are dealt.
    pub(crate) fn new(compare: &Compare, mut tables: Vec<BitVec>) -> Self {
        let joins = tables.split_off(compare.table_bits().min(tables.len()));
        DealtBits { tables, joins }
    }
}

impl CompareMaterial {
    /// Material for `len` elements, those of all batch elements together.
    pub(crate) fn new(compare: &Compare, len: usize, stream: LabelStream, bits: DealtBits) -> Self {
        let openings: usize = compare.openings().iter().sum();
        let masks = (0..openings).map(|o| stream.sample_bits(domain::mask_bit(o), 0, len)).collect();
        CompareMaterial { bits, masks, stream }
    }

    /// Picks the bits of every digit with the opened values.
    pub(crate) fn begin(self, compare: &Compare, me: PartyId, parties: usize, opened: &LimbVec) -> Comparing {
        let CompareMaterial { bits, masks, stream } = self;
        let windows =
            compare.thresholds.iter().map(|&threshold| window_planes(compare, opened, threshold)).collect();
        let public = Public { windows, opened: Vec::new(), len: opened.len() };
        let evaluation = Evaluation::new(compare, me == PartyId::FIRST, bits, &public);
        let sent = vec![vec![BitVec::zeros(0); masks.len()]; parties];
        let opened = vec![BitVec::zeros(0); masks.len()];
        Comparing { evaluation, masks, stream, public: Public { opened, ..public }, sent }
    }
}

impl Evaluation {
    /// With the bits of every digit picked.
    fn new(compare: &Compare, first: bool, bits: DealtBits, public: &Public) -> Self {
        let last = compare.digits.len() - 1;
        let of_threshold = |window: &Vec<BitVec>| {
            let mut rest = &bits.tables[..];
            let digits = super::digits(compare).enumerate();
            digits
                .map(|(i, digit)| {
                    let (table, behind) = rest.split_at((1 << digit.len()) - 1);
                    rest = behind;
                    pick(&equalities(&window[digit]), table, first, i < last)
                })
                .collect()
        };
        let segments = public.windows.iter().map(of_threshold).collect();
        Evaluation { joins: joins(compare), level: 0, first, bits, segments, used: 0 }
    }

    /// Whether this is the last level.
    fn is_last(&self) -> bool {
        self.level == self.joins.levels().len()
    }
}

/// The shares that public digits pick from their table; `equalities` says where the digit has each of
/// its values.
fn pick(equalities: &[BitVec], table: &[BitVec], first: bool, equal: bool) -> Segment {
    let len = equalities[0].len();
    let (mut less, mut before) = (BitVec::zeros(len), BitVec::zeros(len));
    for (value, entry) in table.iter().enumerate() {
        less.xor_and(entry, &equalities[value]);
        if equal {
            before.xor_and(entry, &equalities[value + 1]);
        }
    }
    let equal = equal.then(|| {
        before.xor_assign(&less);
        if first {
            before.xor_assign(&equalities[0]);
        }
        before
    });
    Segment { less, equal }
}

impl Evaluation {
    /// Number of the first bit that a threshold opens at this level.
    fn first_of(&self, threshold: usize) -> usize {
        threshold * self.joins.all_bits() + self.joins.bits_before(self.level)
    }

    /// The shares of the bits that this level opens of every threshold, in order, with their numbers.
    fn opens(&self) -> Vec<(usize, &BitVec)> {
        let mut all = Vec::new();
        for (t, segments) in self.segments.iter().enumerate() {
            let first = self.first_of(t);
            match self.joins.levels().get(self.level) {
                None => all.extend((first..).zip(segments.iter().map(|last| &last.less))),
                Some(runs) => {
                    let of_run = |run: &Run| {
                        let segment = |bit: JoinBit| &segments[run.first + bit.segment()];
                        run.bits().into_iter().filter_map(|bit| segment(bit).share(bit)).collect::<Vec<_>>()
                    };
                    all.extend((first..).zip(runs.iter().flat_map(of_run)));
                }
            }
        }
        all
    }

    /// Goes on to the next level with what this one opened.
    fn advance(&mut self, opened: &[BitVec]) {
        let thresholds = self.segments.len();
        let each = self.bits.joins.len() / thresholds;
        let mut used = self.used;
        for t in 0..thresholds {
            let Some(runs) = self.joins.levels().get(self.level) else { break };
            let first = self.first_of(t);
            let mut dealt = self.bits.joins[t * each + self.used..(t + 1) * each].iter();
            let mut segments = mem::take(&mut self.segments[t]).into_iter();
            let mut bits = opened[first..].iter();
            for run in runs {
                let parts: Vec<Segment> = segments.by_ref().take(run.digits.len()).collect();
                let opened: Vec<(JoinBit, &BitVec)> = run.bits().into_iter().zip(bits.by_ref()).collect();
                self.segments[t].push(join(run, parts, &opened, self.first, &mut dealt));
            }
            used = each - dealt.len();
        }
        self.used = used;
        self.level += 1;
    }
}

impl Comparing {
    /// This party's shares of the bits of this level: threshold by threshold, join by join.
    pub(crate) fn shares(&self) -> Vec<BitVec> {
        let masked = |(number, share): (usize, &BitVec)| {
            let mut bit = share.clone();
            bit.xor_assign(&self.masks[number]);
            bit
        };
        self.evaluation.opens().into_iter().map(masked).collect()
    }

    /// Takes the bits of this level that every party sent. The masked bits of all thresholds, after
    /// the last level.
    pub(crate) fn opened(&mut self, sent: &[Vec<BitVec>]) -> Option<Vec<BitVec>> {
        let numbers: Vec<usize> = self.evaluation.opens().into_iter().map(|(number, _)| number).collect();
        for (at, &number) in numbers.iter().enumerate() {
            let mut sum = BitVec::zeros(self.public.len);
            for (sent, all) in sent.iter().zip(&mut self.sent) {
                sum.xor_assign(&sent[at]);
                all[number] = sent[at].clone();
            }
            self.public.opened[number] = sum;
        }
        let last = self.evaluation.is_last();
        self.evaluation.advance(&self.public.opened);
        last.then(|| {
            let masked = |(window, number): (&Vec<BitVec>, usize)| {
                let mut bit = window[window.len() - 1].clone();
                bit.xor_assign(&self.public.opened[number]);
                bit.invert();
                bit
            };
            self.public.windows.iter().zip(numbers).map(masked).collect()
        })
    }

    /// What is left once the last level is opened.
    pub(crate) fn finish(self) -> Compared {
        let Comparing { evaluation, stream, public, sent, .. } = self;
        Compared { bits: evaluation.bits, stream, public, sent }
    }

    /// Whether the last level is opened.
    pub(crate) fn is_done(&self) -> bool {
        self.evaluation.level > self.evaluation.joins.levels().len()
    }
}

impl Public {
    /// What the first party would send if all shares were 0: the public part of what is opened, by the
    /// numbers of the openings.
    pub(crate) fn known(&self, compare: &Compare) -> Vec<BitVec> {
        let zeros = vec![BitVec::zeros(self.len); compare.dealt_bits()];
        let mut evaluation = Evaluation::new(compare, true, DealtBits::new(compare, zeros), self);
        let mut known = vec![BitVec::zeros(0); self.opened.len()];
        loop {
            evaluation.opens().into_iter().for_each(|(number, bit)| known[number] = bit.clone());
            if evaluation.is_last() {
                return known;
            }
            evaluation.advance(&self.opened);
        }
    }
}

/// What a join is computed from.
struct Joining<'a> {
    run: &'a Run,
    parts: &'a [Segment],
    opened: &'a [(JoinBit, &'a BitVec)],
    dealt: &'a [(JoinDealt, &'a BitVec)],
    first: bool,
}

impl<'a> Joining<'a> {
    fn bit(&self, wanted: JoinBit) -> &'a BitVec {
        match self.opened.iter().find(|(bit, _)| *bit == wanted) {
            Some((_, opened)) => opened,
            None => unreachable!("a join opens this bit"),
        }
    }

    fn dealt(&self, wanted: JoinDealt) -> Option<&'a BitVec> {
        self.dealt.iter().find(|(of, _)| *of == wanted).map(|(_, share)| *share)
    }

    /// Adds what is public, and shares of masks and products where public bits choose them.
    fn add(
        &self,
        to: &mut BitVec,
        mut public: BitVec,
        masks: &[(JoinBit, &BitVec)],
        products: &[(JoinDealt, &BitVec)],
    ) {
        for &(of, chosen) in masks {
            if let Some(share) = self.dealt(JoinDealt::Mask(of)) {
                to.xor_and(share, chosen);
            } else if self.run.digits[of.segment()] {
                // A digit's bits are right: the mask is what the opening added.
                if let Some(share) = self.parts[of.segment()].share(of) {
                    to.xor_and(share, chosen);
                }
                public.xor_and(chosen, self.bit(of));
            }
            // Else the mask is part of a product.
        }
        for &(of, chosen) in products {
            if let Some(share) = self.dealt(of) {
                to.xor_and(share, chosen);
            }
        }
        if self.first {
            to.xor_assign(&public);
        }
    }
}

impl Segment {
    fn share(&self, of: JoinBit) -> Option<&BitVec> {
        match of {
            JoinBit::Equal(_) => self.equal.as_ref(),
            JoinBit::Less(_) => Some(&self.less),
        }
    }
}

/// Joins the segments of a run with its opened bits, and the shares dealt for it, which it takes from
/// the front of `dealt`.
fn join<'a>(
    run: &Run,
    mut parts: Vec<Segment>,
    opened: &[(JoinBit, &BitVec)],
    first: bool,
    dealt: &mut impl Iterator<Item = &'a BitVec>,
) -> Segment {
    let mut less = mem::replace(&mut parts[0].less, BitVec::zeros(0));
    if !run.joins() {
        return Segment { less, equal: parts[0].equal.take() };
    }
    let dealt: Vec<(JoinDealt, &BitVec)> = run.dealt().into_iter().zip(dealt).collect();
    let joining = Joining { run, parts: &parts, opened, dealt: &dealt, first };
    let (e1, l2) = (joining.bit(JoinBit::Equal(0)), joining.bit(JoinBit::Less(1)));
    if run.digits.len() == 3 {
        let (e2, l3) = (joining.bit(JoinBit::Equal(1)), joining.bit(JoinBit::Less(2)));
        let both = e1.and(e2);
        let mut public = e1.and(l2);
        public.xor_and(&both, l3);
        let mut of_first = l2.clone();
        of_first.xor_and(e2, l3);
        let masks = [
            (JoinBit::Equal(0), &of_first),
            (JoinBit::Less(1), e1),
            (JoinBit::Equal(1), &e1.and(l3)),
            (JoinBit::Less(2), &both),
        ];
        let products =
            [(JoinDealt::OfFirstEqual, e1), (JoinDealt::OfSecondEqual, e2), (JoinDealt::OfThirdLess, l3)];
        joining.add(&mut less, public, &masks, &products);
    } else {
        joining.add(&mut less, e1.and(l2), &[(JoinBit::Equal(0), l2), (JoinBit::Less(1), e1)], &[]);
    }
    let equal = run.equal.then(|| {
        let e2 = joining.bit(JoinBit::Equal(1));
        let mut equal = BitVec::zeros(e2.len());
        joining.add(&mut equal, e1.and(e2), &[(JoinBit::Equal(0), e2), (JoinBit::Equal(1), e1)], &[]);
        equal
    });
    Segment { less, equal }
}
