//! Executions of random malicious coalitions (`docs/security.md`, section 21). A bounded part; many
//! more by the example `coalitions`.

use amicus_field::Limbs;
use amicus_node::Peer;
use amicus_protocol::wire::Kind;
use amicus_testkit::coalition::moves::{Act, Demand, Error, Move};
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

/// A party that had answered gave up, and the helper opened the session that this party was not in.
#[test]
fn what_parties_say_after_the_answer_ends_no_session() {
    let [one, two] = all_parties(2).try_into().unwrap();
    for from in [one, two] {
        for act in [Act::Twice, Act::AnotherToo] {
            holds(one_move(2, from.clone(), vec![Stage::Load], None, Kind::Keys, act));
        }
    }
}

/// Ids go on from load to load: a share for an id to come was kept, and spoilt what got that id.
#[test]
fn a_share_for_a_later_id_of_an_old_epoch_is_forgotten_with_it() {
    let [_, two] = all_parties(2).try_into().unwrap();
    // The load before takes the first id of the session, material that is dealt ahead the next ones.
    for id in 2..10 {
        let stages = vec![Stage::Inference(client(2), Vec::new())];
        holds(one_move(2, two.clone(), stages, None, Kind::Opening, Act::Renumber(id)));
    }
}

/// The helper's time for the load had begun with the wait for the session, the parties' later.
#[test]
fn keys_that_come_late_leave_a_load_its_whole_time() {
    let [one, two] = all_parties(2).try_into().unwrap();
    let late = Act::Delay(Duration::from_secs(24));
    let mut scenario = one_move(2, two, vec![Stage::Load], None, Kind::Keys, late);
    let tags = Move { kind: Kind::Tags, to: Some(one), act: Act::Withhold, ..scenario.moves[0].clone() };
    scenario.moves.push(tags);
    holds(scenario);
}

/// Its tags were kept for an id that an inference of the next model got, which they ended.
#[test]
fn tags_of_a_failed_load_under_a_later_id_are_forgotten() {
    let [one, _] = all_parties(2).try_into().unwrap();
    for later in 1..=4 {
        holds(one_move(2, one.clone(), vec![Stage::Load], None, Kind::Tags, Act::Renumber(later)));
    }
}

/// It waited for its turn, and the next load of an honest owner took its refusal for its own.
#[test]
fn a_request_for_a_plan_that_is_not_served_is_refused_at_once() {
    let one = all_parties(2).remove(0);
    let stages = vec![Stage::Load, Stage::Inference(client(2), Vec::new())];
    for spoilt in [
        (Peer::Owner, Kind::Weights, Act::Reindex(1)),
        (one, Kind::Tags, Act::AddForAll(58, Error::Large(12))),
    ] {
        let (from, kind, act) = spoilt;
        let mut scenario = one_move(2, from, stages.clone(), None, kind, act);
        scenario.corrupt = vec![scenario.moves[0].from.clone(), Peer::Owner];
        let request = Move {
            from: Peer::Owner,
            kind: Kind::LoadRequest,
            act: Act::AnotherToo,
            ..scenario.moves[0].clone()
        };
        scenario.moves.push(request);
        holds(scenario);
    }
}

/// A load afterwards ended with the session that was begun before it.
#[test]
fn a_party_that_keeps_sessions_from_beginning_holds_up_no_later_load() {
    let [one, two, _] = all_parties(3).try_into().unwrap();
    for from in [one, two] {
        let stages = vec![Stage::Load, Stage::Inference(client(2), Vec::new())];
        let mut scenario = one_move(3, from, stages, None, Kind::Keys, Act::Drop);
        scenario.moves[0].always = true;
        holds(scenario);
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

/// A stranger, a receiver and a party that are corrupt ask for an output again and again, and say that
/// they have it, with their own keys and each other's.
#[test]
fn an_output_is_given_to_its_receivers_alone() {
    let [_, two] = all_parties(2).try_into().unwrap();
    let (stranger, receiver) = (client(1), client(3));
    let scenario = one_move(2, two.clone(), vec![inference(), inference()], None, Kind::Output, Act::Drop);
    for by in [&stranger, &receiver, &two] {
        for kind in [Kind::Collect, Kind::Collected] {
            for keys_of in [&stranger, &receiver] {
                let demand = Demand { by: by.clone(), kind, keys_of: keys_of.clone() };
                let mut scenario = scenario.clone();
                scenario.corrupt.extend([stranger.clone(), receiver.clone()]);
                scenario.moves[0] =
                    Move { always: true, act: Act::Collect(demand), ..scenario.moves[0].clone() };
                holds(scenario);
            }
        }
    }
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

/// A message that a party should not have got made it give up, and others with it, when the helper
/// had all answers already.
#[test]
fn what_parties_say_once_all_have_answered_ends_no_load() {
    let [_, two, three, _] = all_parties(4).try_into().unwrap();
    let also = Act::Also(two.clone());
    let mut scenario = one_move(4, three, vec![Stage::Load], None, Kind::LoadResponse, also);
    scenario.corrupt.insert(0, two);
    scenario.seed = 11_703;
    scenario.limbs = Limbs::ONE;
    holds(scenario);
}

#[test]
fn a_load_asked_for_twice_is_loaded_once() {
    let stages = vec![Stage::Load, inference()];
    holds(one_move(3, Peer::Owner, stages, None, Kind::LoadRequest, Act::Twice));
}
