//! How the digits of a comparison are joined: which bits are opened, level by level, and which
//! are dealt for it (`docs/protocol.md`, section 6.10).
//!
//! A *segment* is a run of digits with two bits: whether the opened number is less than the mask
//! there, and whether it is equal. Every digit is a segment at first; a level joins neighbours in
//! pairs, the last level all that are left, two or three.

/// The joins of all levels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Joins {
    levels: Vec<Vec<Run>>,
}

/// Neighbouring segments that one level makes one of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Position of its first segment among the level's.
    pub(crate) first: usize,
    /// Whether each segment is a single digit, whose bits the tables hold; one segment alone
    /// waits for the next level.
    pub(crate) digits: Vec<bool>,
    /// Whether the bit "equal" of the result is needed: not so for the last run.
    pub(crate) equal: bool,
}

/// A bit that a join opens: of which of its segments, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinBit {
    /// Whether the opened number is equal to the mask in this segment.
    Equal(usize),
    /// Whether it is less.
    Less(usize),
}

/// A bit that is dealt for a join: a product of masks, or a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinDealt {
    /// Join of three: the factor of the first segment's public "equal".
    OfFirstEqual,
    /// Join of three: the factor of the second segment's public "equal".
    OfSecondEqual,
    /// Join of three: the factor of the third segment's public "less".
    OfThirdLess,
    /// The mask of an opened bit.
    Mask(JoinBit),
}

impl JoinBit {
    /// Which segment of the run it belongs to.
    pub(crate) fn segment(self) -> usize {
        match self {
            JoinBit::Equal(segment) | JoinBit::Less(segment) => segment,
        }
    }
}

impl Joins {
    /// The joins of a number of digits, at least 1.
    pub(crate) fn of(digits: usize) -> Joins {
        let mut segments = vec![true; digits];
        let mut levels = Vec::new();
        while segments.len() > 1 {
            let size = if segments.len() > 3 { 2 } else { segments.len() };
            let last = segments.len().div_ceil(size) - 1;
            let runs: Vec<Run> = segments
                .chunks(size)
                .enumerate()
                .map(|(i, run)| Run { first: i * size, digits: run.to_vec(), equal: i < last })
                .collect();
            segments = runs.iter().map(|run| run.digits == [true]).collect();
            levels.push(runs);
        }
        Joins { levels }
    }

    /// The runs of every level, in order.
    pub(crate) fn levels(&self) -> &[Vec<Run>] {
        &self.levels
    }

    /// Rounds: one for each level of joins, one for the bit that is left.
    pub(crate) fn rounds(&self) -> usize {
        self.levels.len() + 1
    }

    /// Bits that a round opens for one threshold.
    pub(crate) fn bits(&self, round: usize) -> usize {
        self.levels.get(round).map_or(1, |runs| runs.iter().map(|run| run.bits().len()).sum())
    }

    /// Bits that rounds before this one open for one threshold.
    pub(crate) fn bits_before(&self, round: usize) -> usize {
        (0..round).map(|round| self.bits(round)).sum()
    }

    /// Bits that all rounds open for one threshold.
    pub(crate) fn all_bits(&self) -> usize {
        self.bits_before(self.rounds())
    }

    /// Bits that are dealt for one threshold.
    pub(crate) fn all_dealt(&self) -> usize {
        self.levels.iter().flatten().map(|run| run.dealt().len()).sum()
    }
}

impl Run {
    /// Whether there is something to join; a single segment waits.
    pub(crate) fn joins(&self) -> bool {
        self.digits.len() > 1
    }

    fn three(&self) -> bool {
        self.digits.len() == 3
    }

    /// The bits that are opened, in order.
    pub(crate) fn bits(&self) -> Vec<JoinBit> {
        if !self.joins() {
            return Vec::new();
        }
        let mut bits = vec![JoinBit::Equal(0), JoinBit::Less(1)];
        if self.equal || self.three() {
            bits.push(JoinBit::Equal(1));
        }
        if self.three() {
            bits.push(JoinBit::Less(2));
        }
        bits
    }

    /// The bits that are dealt, in order. Masks of digits need none; in a join of three, that of
    /// the second "less" is part of the first one.
    pub(crate) fn dealt(&self) -> Vec<JoinDealt> {
        let mut dealt = Vec::new();
        if self.three() {
            dealt = vec![JoinDealt::OfFirstEqual, JoinDealt::OfSecondEqual, JoinDealt::OfThirdLess];
        }
        let own = |bit: &JoinBit| {
            let merged = self.three() && *bit == JoinBit::Less(1);
            !self.digits[bit.segment()] && !merged
        };
        dealt.extend(self.bits().into_iter().filter(own).map(JoinDealt::Mask));
        dealt
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amicus_plan::{Compare, ValueId};

    #[test]
    fn counts_are_those_of_the_plan() {
        for digits in 1..=12 {
            let compare =
                Compare { input: ValueId(0), thresholds: vec![0], unit: 0, digits: vec![1; digits] };
            let joins = Joins::of(digits);
            let bits: Vec<usize> = (0..joins.rounds()).map(|round| joins.bits(round)).collect();
            assert_eq!(bits, compare.openings());
            assert_eq!(joins.rounds(), compare.levels());
            assert_eq!(joins.all_dealt(), compare.join_bits());
        }
    }

    #[test]
    fn counts_are_those_of_the_text() {
        let of = |count: fn(&Joins) -> usize| -> Vec<usize> {
            (1..=12).map(|digits| count(&Joins::of(digits))).collect()
        };
        assert_eq!(of(Joins::all_dealt)[..8], [0, 0, 3, 2, 5, 6, 6, 7]);
        assert_eq!(of(Joins::all_bits)[..8], [1, 3, 5, 8, 11, 13, 17, 19]);
        assert_eq!(of(Joins::rounds), [1, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4]);
    }

    #[test]
    fn runs_cover_all_segments_in_order() {
        for digits in 1..=12 {
            let joins = Joins::of(digits);
            let mut segments = digits;
            for runs in joins.levels() {
                let mut at = 0;
                for (i, run) in runs.iter().enumerate() {
                    assert_eq!(run.first, at);
                    assert_eq!(run.equal, i + 1 < runs.len());
                    at += run.digits.len();
                }
                assert_eq!(at, segments);
                segments = runs.len();
            }
            assert_eq!(segments, 1);
        }
    }
}
