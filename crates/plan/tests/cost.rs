//! Rounds and bytes against figures worked out by hand.

mod common;

use amicus_field::Limbs;
use amicus_plan::{OpIndex, OpKind, Round, Schedule, Stage, WrapRule};

#[test]
fn lenet5_costs_what_arithmetic_says() {
    let cost = common::lenet5().cost(1).unwrap();
    // Input, 2 * 4 + 1 openings, check, release.
    assert_eq!(cost.rounds, 12);
    // 6508 inputs of activations with 4 * 6 - 2 corrections, and one for each of the 1780 results,
    // 13 bytes each.
    let (inputs, results) = (4704 + 1600 + 120 + 84, 1176 + 400 + 120 + 84);
    assert_eq!((inputs, results), (6508, 1780));
    assert_eq!(cost.dealt_bytes, 13 * (22 * 6508 + 1780));
    assert_eq!(cost.dealt_bytes, 1_884_428);
    // Every linear layer's outputs and every activation's results.
    assert_eq!(cost.sent_bytes_per_party, 13 * (4704 + 1600 + 120 + 84 + 10 + 1780));
    assert_eq!(cost.sent_bytes_per_party, 107_874);
    // Two limbs of 117,600 + 240,000 + 48,000 + 10,080 + 840.
    assert_eq!(cost.multiply_adds, 2 * 416_520);
}

#[test]
fn batches_multiply_bytes_and_not_rounds() {
    let (one, five) = (common::lenet5().cost(1).unwrap(), common::lenet5().cost(5).unwrap());
    assert_eq!(five.rounds, one.rounds);
    assert_eq!(five.dealt_bytes, 5 * one.dealt_bytes);
    assert_eq!(five.sent_bytes_per_party, 5 * one.sent_bytes_per_party);
    assert_eq!(five.multiply_adds, 5 * one.multiply_adds);
    assert_eq!(five.material_bytes, 5 * one.material_bytes);
}

#[test]
fn statistical_truncation_deals_less() {
    let mut plan = common::lenet5();
    plan.limbs = Limbs::THREE;
    for op in &mut plan.ops {
        if let OpKind::Activation(a) = &mut op.kind {
            a.wrap = WrapRule::Statistical;
        }
    }
    // 2 * 6 - 2 corrections an input, 19.5 bytes each.
    assert_eq!(plan.cost(1).unwrap().dealt_bytes, 39 * (10 * 6508 + 1780) / 2);
}

#[test]
fn branches_of_a_residual_block_share_rounds() {
    let plan = common::residual();
    plan.values().unwrap();
    let schedule = Schedule::of(&plan);
    let ops = |indices: &[u32]| indices.iter().map(|&i| OpIndex(i)).collect::<Vec<_>>();
    let stages = |open: &[u32]| ops(open).into_iter().map(Stage::first).collect();
    let round = |open: &[u32], local: &[u32]| Round { open: stages(open), local: ops(local) };
    let expected = vec![
        round(&[], &[]),
        round(&[0], &[]),
        round(&[1], &[]),
        round(&[2, 5], &[]), // both branches
        round(&[3], &[]),
        round(&[4], &[6]), // the sum is known when the longer branch is
        round(&[7], &[8]),
        round(&[9], &[]),
    ];
    assert_eq!(schedule.rounds, expected);
    assert_eq!((schedule.openings(), plan.cost(1).unwrap().rounds), (7, 10));
}
