//! Malicious coalitions: whole deployments in which an adversary holds every link of the corrupt
//! roles.
//!
//! An execution follows from a number. It has real nodes in a world of their own
//! ([`amicus_net::clock::world`]), any `n - 1` parties corrupt or fewer, with owner, clients and
//! receivers, a random network, and an adversary that plays random moves: it sees what honest roles
//! send first, and may change, repeat, withhold, delay, reorder and make up whatever corrupt roles
//! say. Corrupt roles run the real code on what the adversary lets them see.
//!
//! - [`scenario`]: what an execution consists of, drawn from a number; [`network`]: its network
//! - [`moves`]: what an adversary does to a message; [`edit`]: to what a message holds;
//!   [`adversary`]: it at work
//! - [`deployment`]: the nodes and their links; [`stage`]: one load or inference of them, and how
//!   it ended
//! - [`judge`]: what must hold; [`shrink`]: the smallest scenario that breaks it
//!
//! The properties are those of `docs/security.md`, sections 1 and 21.

pub mod adversary;
pub mod deployment;
pub mod edit;
pub mod judge;
pub mod moves;
pub mod network;
pub mod scenario;
pub mod shrink;
pub mod stage;

use scenario::Scenario;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// What one execution showed.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Properties that did not hold.
    pub violations: Vec<String>,
    /// Moves that met a message.
    pub played: Vec<moves::Name>,
    /// Attacked loads and inferences that were accepted, rejected by a check, and given up.
    pub endings: [usize; 3],
    /// Turns that threads had, and how much time passed: the same for the same scenario.
    pub course: (u64, Duration),
}

/// Plays a scenario.
pub fn play(scenario: &Scenario) -> Report {
    let report = catch_unwind(AssertUnwindSafe(|| judge::execute(scenario)));
    report.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or(panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default();
        Report { violations: vec![format!("panic: {words}")], ..Report::default() }
    })
}
