//! Which operations share a round.
//!
//! Operations that open something and do not depend on each other are opened in one round (both
//! branches of a residual block, for example); local operations follow the round that makes their
//! inputs known. A comparison opens level after level, in rounds that follow each other; the proof
//! that its bits are right goes with a later round.

use crate::{Compare, OpIndex, OpKind, Plan};
use std::fmt;

/// One opening of an operation. All but comparisons have one, of level 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stage {
    /// The operation.
    pub op: OpIndex,
    /// Which of its openings, counted from 0.
    pub level: u32,
}

impl Stage {
    /// The first opening of an operation.
    pub fn first(op: OpIndex) -> Self {
        Stage { op, level: 0 }
    }

    /// The proof that the bits of a comparison are right, behind all its openings.
    pub fn proof(op: OpIndex, compare: &Compare) -> Self {
        Stage { op, level: compare.levels() as u32 }
    }

    /// Whether this is the proof of a comparison.
    pub fn is_proof(self, compare: &Compare) -> bool {
        self.level as usize == compare.levels()
    }

    /// One number for both, in messages and transcripts: the operation in the low 16 bits, of which
    /// there are as many as a plan can have operations, the level above. No comparison has so many
    /// levels that it would be `2^32 - 1`.
    pub fn index(self) -> u32 {
        self.op.0 | self.level << 16
    }

    /// The opening with a number, which need not be one of a plan.
    pub fn from_index(index: u32) -> Self {
        Stage { op: OpIndex(index & 0xffff), level: index >> 16 }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            0 => write!(f, "{}", self.op),
            level => write!(f, "{}, level {level}", self.op),
        }
    }
}

/// One round: everything opened in it, then what is computed locally from what is known by then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// What is opened, all in the same round; ascending by operation.
    pub open: Vec<Stage>,
    /// Local operations possible after the round, in order.
    pub local: Vec<OpIndex>,
}

/// The rounds of one inference; round 0 opens nothing (the client's input arrives).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The rounds in order.
    pub rounds: Vec<Round>,
}

impl Schedule {
    /// Groups the operations of a valid plan by the earliest round in which their inputs are known.
    pub fn of(plan: &Plan) -> Self {
        let mut known_after = vec![0usize]; // round in which each value becomes known
        let mut rounds = vec![Round::default()];
        for (index, op) in plan.indexed_ops() {
            let ready = op.kind.inputs().iter().map(|v| known_after[v.index()]).max().unwrap_or(0);
            let levels = op.kind.levels();
            let known = ready + levels;
            if rounds.len() <= known {
                rounds.resize(known + 1, Round::default());
            }
            if levels == 0 {
                rounds[ready].local.push(index);
            }
            for (level, round) in (0u32..).zip(&mut rounds[ready + 1..=known]) {
                round.open.push(Stage { op: index, level });
            }
            known_after.push(known);
        }
        // A proof is made while the round behind its comparison's last one is under way, and goes
        // out with the next, or in a round of its own behind all others.
        let behind = rounds.len();
        for (index, op) in plan.indexed_ops() {
            let OpKind::Compare(compare) = &op.kind else { continue };
            let round = (known_after[index.index() + 1] + 2).min(behind);
            rounds.resize(rounds.len().max(round + 1), Round::default());
            rounds[round].open.push(Stage::proof(index, compare));
        }
        rounds.iter_mut().for_each(|round| round.open.sort_unstable());
        Schedule { rounds }
    }

    /// Number of rounds in which something is opened.
    pub fn openings(&self) -> usize {
        self.rounds.len() - 1
    }
}
