//! Which operations share a round.
//!
//! Operations that open something and do not depend on each other are opened in one round (both
//! branches of a residual block, for example); local operations follow the round that makes their
//! inputs known.

use crate::{OpIndex, Plan};

/// One round: everything opened in it, then what is computed locally from what is known by then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Operations whose results are opened, all in the same round.
    pub open: Vec<OpIndex>,
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
            let round = if op.kind.opens() { ready + 1 } else { ready };
            if rounds.len() <= round {
                rounds.resize(round + 1, Round::default());
            }
            if op.kind.opens() { &mut rounds[round].open } else { &mut rounds[round].local }.push(index);
            known_after.push(round);
        }
        Schedule { rounds }
    }

    /// Number of rounds in which something is opened.
    pub fn openings(&self) -> usize {
        self.rounds.len() - 1
    }
}
