//! The smallest scenario that still breaks a property.

use super::play;
use super::scenario::{Scenario, Stage};
use amicus_field::Limbs;

/// Simpler scenarios that are one step away.
fn simpler(scenario: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Scenario)| {
        let mut other = scenario.clone();
        change(&mut other);
        all.push(other);
    };
    for at in 0..scenario.moves.len() {
        with(&|s| drop(s.moves.remove(at)));
    }
    for at in (0..scenario.stages.len()).filter(|_| scenario.stages.len() > 1) {
        with(&|s| drop(s.stages.remove(at)));
    }
    if scenario.network.is_some() {
        with(&|s| s.network = None);
    }
    if scenario.limbs != Limbs::ONE {
        with(&|s| s.limbs = Limbs::ONE);
    }
    if scenario.batch > 1 {
        with(&|s| s.batch = 1);
    }
    for (at, stage) in scenario.stages.iter().enumerate() {
        let Stage::Inference(asks, also) = stage else { continue };
        for other in 0..also.len() {
            let mut fewer = also.clone();
            fewer.remove(other);
            with(&|s| s.stages[at] = Stage::Inference(asks.clone(), fewer.clone()));
        }
    }
    for (at, m) in scenario.moves.iter().enumerate() {
        if m.skip > 0 {
            with(&|s| s.moves[at].skip = 0);
        }
        if m.always {
            with(&|s| s.moves[at].always = false);
        }
        if m.after.is_some() {
            with(&|s| s.moves[at].after = None);
        }
    }
    for role in &scenario.corrupt {
        let idle = scenario.corrupt.len() > 1 && scenario.moves.iter().all(|m| m.from != *role);
        if idle {
            with(&|s| s.corrupt.retain(|other| other != role));
        }
    }
    if scenario.rushing {
        with(&|s| s.rushing = false);
    }
    all
}

/// What kind of violation it is: its words without numbers, so that shrinking does not wander to
/// another one.
fn kind(violation: &str) -> String {
    violation.split(':').take(2).collect::<String>().chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// The simplest scenario found that breaks a property in the same way, and what it shows.
pub fn shrink(mut scenario: Scenario) -> (Scenario, Vec<String>) {
    let mut violations = play(&scenario).violations;
    let Some(first) = violations.first().map(|v| kind(v)) else { return (scenario, violations) };
    let mut tries = 0;
    'again: while tries < 200 {
        for other in simpler(&scenario) {
            tries += 1;
            let found = play(&other).violations;
            if found.iter().any(|v| kind(v) == first) {
                (scenario, violations) = (other, found);
                continue 'again;
            }
        }
        break;
    }
    (scenario, violations)
}
