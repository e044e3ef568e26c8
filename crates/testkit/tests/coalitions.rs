//! Executions of random malicious coalitions (`docs/security.md`, section 21). A bounded part; many
//! more by the example `coalitions`.

use amicus_field::Limbs;
use amicus_node::Peer;
use amicus_protocol::wire::Kind;
use amicus_testkit::coalition::moves::{Act, Move};
use amicus_testkit::coalition::scenario::{Scenario, Stage, all_parties, client};
use amicus_testkit::coalition::{Report, play, shrink};
use std::collections::BTreeMap;
use std::time::Duration;

/// Executions of this test.
const EXECUTIONS: u64 = 1000;

#[test]
fn random_coalitions_break_nothing() {
    let mut played: BTreeMap<&str, usize> = BTreeMap::new();
    let mut endings = [0; 3];
    for seed in 1_000_000..1_000_000 + EXECUTIONS {
        let scenario = Scenario::draw(seed);
        let report = play(&scenario);
        if !report.violations.is_empty() {
            let (smallest, violations) = shrink::shrink(scenario);
            panic!("seed {seed}: {:#?}\nsmallest: {smallest:?}\n{violations:#?}", report.violations);
        }
        report.played.iter().for_each(|name| *played.entry(name).or_default() += 1);
        endings.iter_mut().zip(report.endings).for_each(|(sum, n)| *sum += n);
    }
    // The coalitions did something: most kinds of moves, with every kind of ending.
    assert!(played.len() >= 20, "{played:?}");
    assert!(endings.iter().all(|&n| n > 20), "{endings:?}");
}

#[test]
fn an_execution_is_repeatable() {
    for seed in 0..20 {
        let [one, two] = [(); 2].map(|()| play(&Scenario::draw(seed)));
        let Report { played, endings, course, .. } = two;
        assert_eq!((one.played, one.endings, one.course), (played, endings, course), "seed {seed}");
    }
}

/// A scenario in which one role of a deployment with a small network makes one move.
fn one_move(
    parties: usize,
    from: Peer,
    stages: Vec<Stage>,
    to: Option<Peer>,
    kind: Kind,
    act: Act,
) -> Scenario {
    Scenario {
        seed: 1,
        parties,
        limbs: Limbs::TWO,
        network: None,
        batch: 1,
        corrupt: vec![from.clone()],
        rushing: false,
        stages,
        moves: vec![Move { from, to, kind, skip: 0, always: false, after: None, act }],
    }
}

fn holds(scenario: Scenario) {
    let report = play(&scenario);
    assert!(report.violations.is_empty(), "{scenario:?}: {:#?}", report.violations);
    assert!(!report.played.is_empty(), "{scenario:?}");
}

// What was found: honest roles were blamed, or later requests failed.

#[test]
fn keys_or_readiness_withheld_in_a_load_do_not_blame_the_owner() {
    let [_, two, three] = all_parties(3).try_into().unwrap();
    for (to, kind) in [(Some(three), Kind::Keys), (None, Kind::LoadReady)] {
        holds(one_move(3, two.clone(), vec![Stage::Load], to, kind, Act::Withhold));
    }
}

#[test]
fn a_party_that_cannot_be_reached_in_a_load_is_named() {
    let [one, two, _] = all_parties(3).try_into().unwrap();
    for kind in [Kind::Keys, Kind::Tags] {
        holds(one_move(3, two.clone(), vec![Stage::Load], Some(one.clone()), kind, Act::Close));
    }
}

fn inference() -> Stage {
    Stage::Inference(client(2), vec![client(3)])
}

#[test]
fn material_that_is_not_ready_blames_neither_helper_nor_client() {
    let [_, two] = all_parties(2).try_into().unwrap();
    for act in [Act::Drop, Act::Delay(Duration::from_secs(67)), Act::Close] {
        holds(one_move(2, two.clone(), vec![inference()], None, Kind::Ready, act.clone()));
        holds(one_move(2, two.clone(), vec![inference(), inference()], None, Kind::Ready, act));
    }
}

#[test]
fn a_client_that_keeps_one_party_waiting_does_not_make_others_blame_that_party() {
    let [one, _] = all_parties(2).try_into().unwrap();
    let late = Act::Delay(Duration::from_secs(6));
    let mut scenario = one_move(2, client(2), vec![inference()], Some(one.clone()), Kind::Input, late);
    let key = Move { kind: Kind::ReceiverKey, act: Act::Withhold, ..scenario.moves[0].clone() };
    scenario.moves.push(key);
    holds(scenario);
}

#[test]
fn an_inference_of_somebody_else_is_no_answer_to_a_request() {
    // The client asks twice, and for the second inference its receivers do not wait.
    holds(one_move(
        2,
        client(2),
        vec![inference(), Stage::Inference(client(3), vec![])],
        None,
        Kind::Request,
        Act::Twice,
    ));
}

#[test]
fn a_load_asked_for_twice_is_loaded_once() {
    let stages = vec![Stage::Load, inference()];
    holds(one_move(3, Peer::Owner, stages, None, Kind::LoadRequest, Act::Twice));
}
