//! What is public of a comparison, and how the bits that are opened depend on those that are dealt.
//!
//! With everything public fixed, what a party sends is linear in its shares of dealt bits. Its
//! transpose carries weights of what is sent to weights of what is dealt: both sides of the proof
//! (`docs/protocol.md`, section 6.14).

use super::digits;
use super::joins::{JoinBit, JoinDealt, Joins, Run};
use amicus_field::{BitVec, Gf128Rows, Gf128Vec, Row, SumOfRows};
use amicus_plan::Compare;
use std::borrow::Cow;
use std::ops::Range;

/// What is public of a comparison.
#[derive(Clone, Debug)]
pub(crate) struct Public {
    /// Bits of the windows of every threshold, lowest first.
    pub(crate) windows: Vec<Vec<BitVec>>,
    /// What was opened, by the numbers of the openings.
    pub(crate) opened: Vec<BitVec>,
    /// The number of elements.
    pub(crate) len: usize,
}

impl Public {
    /// That of some elements, from a multiple of 64 on.
    pub(crate) fn slice(&self, elements: Range<usize>) -> Cow<'_, Public> {
        if elements.len() == self.len {
            return Cow::Borrowed(self);
        }
        let slices = |all: &[BitVec]| all.iter().map(|bits| bits.slice(elements.clone())).collect();
        let windows = self.windows.iter().map(|window| slices(window)).collect();
        Cow::Owned(Public { windows, opened: slices(&self.opened), len: elements.len() })
    }
}

/// Where a digit with these bits, lowest first, has each of its values.
pub(crate) fn equalities(bits: &[BitVec]) -> Vec<BitVec> {
    let mut all: Vec<BitVec> = bits.first().map(|bit| BitVec::ones(bit.len())).into_iter().collect();
    for bit in bits.iter().rev() {
        all = all
            .iter()
            .flat_map(|prefix| {
                let one = prefix.and(bit);
                let mut zero = prefix.clone();
                zero.xor_assign(&one);
                [zero, one]
            })
            .collect();
    }
    all
}

/// A row of weights.
#[derive(Clone, Copy)]
enum Weight {
    /// That of an opening.
    Opening(usize),
    /// One that was made from those, of a digit's bit.
    Made(usize),
}

/// Weights of a segment's bits.
#[derive(Clone, Copy)]
struct Segment {
    less: Weight,
    /// None where nobody asks.
    equal: Option<Weight>,
}

/// A sum of weights: of each those of all elements, or of those whose bit is set.
type Sum<'a> = Vec<(Weight, Option<Cow<'a, BitVec>>)>;

/// Memory for the transpose, the same for one chunk of elements after the other.
pub(crate) struct Transpose {
    /// Weights of what is sent, a row for each opening.
    pub(crate) weights: Gf128Rows,
    made: Gf128Rows,
    /// Weights of what is dealt, a row for each dealt bit, and as many elements as the sum is over.
    pub(crate) side: Gf128Vec,
}

impl Default for Transpose {
    /// None yet.
    fn default() -> Self {
        let none = || Gf128Rows::zeros(0, 0);
        Transpose { weights: none(), made: none(), side: Gf128Vec::zeros(0) }
    }
}

impl Transpose {
    /// Makes room for a chunk of so many elements, and a sum over so many numbers. Those of `side` that
    /// belong to no dealt bit are 0.
    pub(crate) fn fit(&mut self, compare: &Compare, len: usize, numbers: usize) {
        let openings = compare.openings().iter().sum();
        self.weights.refit(openings, len);
        self.made.refit(openings, len);
        self.side.refit(numbers);
        self.side.clear_from(compare.dealt_bits() * len);
    }

    fn len(&self) -> usize {
        self.weights.len()
    }

    /// The transpose of what is sent: gives `side` weights with which the dealt bits have the same sum as
    /// what is sent has with `weights`, but for masks and what is public.
    pub(crate) fn run(&mut self, compare: &Compare, public: &Public) {
        let (joins, len) = (super::joins(compare), self.len());
        for (t, window) in public.windows.iter().enumerate() {
            let first = t * joins.all_bits();
            let dealt = (compare.table_bits() + (t + 1) * joins.all_dealt()) * len;
            let segments = self.through_joins(&joins, &public.opened, first, dealt);
            let mut at = 0;
            for (digit, Segment { less, equal }) in digits(compare).zip(segments) {
                let equalities = equalities(&window[digit]);
                let entry = |pair: &[BitVec]| -> Sum<'_> {
                    let mut sum = vec![(less, Some(Cow::Owned(pair[0].clone())))];
                    if let Some(equal) = equal {
                        let mut both = pair[0].clone();
                        both.xor_assign(&pair[1]);
                        sum.push((equal, Some(Cow::Owned(both))));
                    }
                    sum
                };
                let entries: Vec<Sum<'_>> = equalities.windows(2).map(entry).collect();
                // All thresholds use the same tables.
                let entries_of = terms(&self.weights, &self.made, &entries);
                self.side.write_sums(at, len, &entries_of, t > 0);
                at += entries.len() * len;
            }
        }
    }

    /// From weights of what one threshold opens, its first bit number `first`, to those of its digits'
    /// bits, last level first. Rows of what is dealt for its joins end before `dealt`.
    fn through_joins(
        &mut self,
        joins: &Joins,
        opened: &[BitVec],
        first: usize,
        mut dealt: usize,
    ) -> Vec<Segment> {
        let mut opening = first + joins.all_bits() - 1;
        let mut made = 0;
        let mut segments = vec![Segment { less: Weight::Opening(opening), equal: None }];
        for runs in joins.levels().iter().rev() {
            let mut parts: Vec<Vec<Segment>> = Vec::with_capacity(runs.len());
            for (run, segment) in runs.iter().zip(segments).rev() {
                opening -= run.bits().len();
                dealt -= run.dealt().len() * self.len();
                parts.push(self.split(run, segment, (opened, opening), &mut made, dealt));
            }
            segments = parts.into_iter().rev().flatten().collect();
        }
        segments
    }
}

/// Terms as rows.
fn terms<'a>(weights: &'a Gf128Rows, made: &'a Gf128Rows, sums: &'a [Sum<'_>]) -> Vec<SumOfRows<'a>> {
    let row = |weight: &Weight| match *weight {
        Weight::Opening(number) => Row { rows: weights, number },
        Weight::Made(number) => Row { rows: made, number },
    };
    let of = |sum: &'a Sum<'_>| sum.iter().map(|(weight, bits)| (row(weight), bits.as_deref())).collect();
    sums.iter().map(of).collect()
}

impl Transpose {
    /// From the weights of a joined segment, and of what was opened for it, from number `opening` on, to
    /// those of its parts; writes those of what is dealt for it from `dealt` on.
    fn split(
        &mut self,
        run: &Run,
        joined: Segment,
        (opened, opening): (&[BitVec], usize),
        made: &mut usize,
        dealt: usize,
    ) -> Vec<Segment> {
        if !run.joins() {
            return vec![joined];
        }
        let Segment { less, equal } = joined;
        let bits = run.bits();
        let at = |wanted: JoinBit| bits.iter().position(|bit| *bit == wanted).unwrap_or(0);
        let bit = |wanted: JoinBit| &opened[opening + at(wanted)];
        let [e1, l2, e2, l3] = [JoinBit::Equal(0), JoinBit::Less(1), JoinBit::Equal(1), JoinBit::Less(2)];
        // The weight of the mask of an opened bit; those of products have one term.
        let mask = |of: JoinBit| -> Sum<'_> {
            let by = |weight, bits| (weight, Some(bits));
            let mut sum = if run.digits.len() == 3 {
                let chosen = match of {
                    JoinBit::Equal(0) => {
                        let mut of_first = bit(l2).clone();
                        of_first.xor_and(bit(e2), bit(l3));
                        Cow::Owned(of_first)
                    }
                    JoinBit::Less(1) => Cow::Borrowed(bit(e1)),
                    JoinBit::Equal(_) => Cow::Owned(bit(e1).and(bit(l3))),
                    JoinBit::Less(_) => Cow::Owned(bit(e1).and(bit(e2))),
                };
                vec![by(less, chosen)]
            } else {
                match of {
                    JoinBit::Equal(0) => vec![by(less, Cow::Borrowed(bit(l2)))],
                    JoinBit::Less(_) => vec![by(less, Cow::Borrowed(bit(e1)))],
                    JoinBit::Equal(_) => Vec::new(),
                }
            };
            match (equal.filter(|_| run.equal), of) {
                (Some(equal), JoinBit::Equal(0)) => sum.push(by(equal, Cow::Borrowed(bit(e2)))),
                (Some(equal), JoinBit::Equal(_)) => sum.push(by(equal, Cow::Borrowed(bit(e1)))),
                _ => {}
            }
            sum
        };
        let product = |bits| vec![(less, Some(Cow::Borrowed(bits)))];
        let rows = run.dealt().into_iter().map(|of| match of {
            JoinDealt::OfFirstEqual => product(bit(e1)),
            JoinDealt::OfSecondEqual => product(bit(e2)),
            JoinDealt::OfThirdLess => product(bit(l3)),
            JoinDealt::Mask(of) => mask(of),
        });
        let rows: Vec<Sum<'_>> = rows.collect();
        let rows = terms(&self.weights, &self.made, &rows);
        self.side.write_sums(dealt, self.weights.len(), &rows, false);

        // A digit's bits are right: there the mask is what the opening added.
        let own = |number: usize| Weight::Opening(opening + number);
        let of_digits: Vec<usize> =
            (0..bits.len()).filter(|&number| run.digits[bits[number].segment()]).collect();
        let sums = of_digits.iter().map(|&number| {
            let mut sum = mask(bits[number]);
            sum.push((own(number), None));
            sum
        });
        let sums: Vec<Sum<'_>> = sums.collect();
        // They are sums of weights of openings alone.
        let nothing = Gf128Rows::zeros(0, self.weights.len());
        self.made.write_sums(*made, &terms(&self.weights, &nothing, &sums));
        let first = *made;
        *made += sums.len();
        let weight_of = |wanted: JoinBit| {
            let number = bits.iter().position(|bit| *bit == wanted)?;
            let made = of_digits.iter().position(|&of| of == number).map(|at| Weight::Made(first + at));
            Some(made.unwrap_or_else(|| own(number)))
        };
        let part = |segment: usize| Segment {
            less: if segment == 0 { less } else { weight_of(JoinBit::Less(segment)).unwrap_or(less) },
            equal: weight_of(JoinBit::Equal(segment)),
        };
        (0..run.digits.len()).map(part).collect()
    }
}
