//! The file format: round trip, a fixture of the digest, and bytes from anyone.

mod common;

use amicus_plan::{Link, OpKind, Plan, PlanError, Rates, ScaleBits, Schedule};
use proptest::prelude::*;

/// Digest of the LeNet-5 plan in `common`, format version 1. It may change with the version only:
/// peers compare it.
const LENET5_DIGEST: &str = "7a18c296fb9d09bed769b241cc7afec1589ed8eea7c8a37d2f59aae1c4eb7f34";

#[test]
fn plans_survive_a_round_trip() {
    for plan in [common::lenet5(), common::residual(), common::exact()] {
        let bytes = plan.encode().unwrap();
        assert_eq!(bytes, plan.encode().unwrap());
        assert_eq!(Plan::decode(&bytes).unwrap(), plan);
    }
}

#[test]
fn digest_is_that_of_version_1() {
    assert_eq!(common::lenet5().digest().unwrap().to_string(), LENET5_DIGEST);
}

/// The first bytes of plans whose operations all were there in version 1 stay those of version 1.
#[test]
fn the_version_is_the_first_that_knows_the_operations() {
    let version = |plan: &Plan| plan.encode().unwrap()[8..10].to_vec();
    assert_eq!(version(&common::lenet5()), [1, 0]);
    assert_eq!(version(&common::exact()), [2, 0]);
}

#[test]
fn every_part_of_a_plan_changes_the_digest() {
    let digest = common::lenet5().digest().unwrap();
    let edits: Vec<fn(&mut Plan)> = vec![
        |p| p.name.push('x'),
        |p| p.input.scale = ScaleBits(15),
        |p| p.input.range.high = 2.0,
        |p| p.weights[2].scale = ScaleBits(14),
        |p| p.weights[0].bias = false,
        |p| p.output.scale = ScaleBits(15),
        |p| p.ops[3].name.push('x'),
        |p| {
            let OpKind::Activation(a) = &mut p.ops[1].kind else { panic!("an activation") };
            a.coefficients[3] = 1;
        },
    ];
    for (i, edit) in edits.iter().enumerate() {
        let mut plan = common::lenet5();
        edit(&mut plan);
        assert_ne!(plan.digest().unwrap(), digest, "edit {i}");
    }
}

fn refused(bytes: &[u8]) -> PlanError {
    Plan::decode(bytes).expect_err("bytes that are no plan")
}

#[test]
fn other_bytes_are_refused() {
    let good = common::lenet5().encode().unwrap();
    assert_eq!(refused(&[]).to_string(), "not a plan: does not start with the plan's magic word");
    assert_eq!(refused(&good[..9]).to_string(), "not a plan: ends inside the version");
    let mut newer = good.clone();
    newer[8] = 7;
    assert_eq!(refused(&newer), PlanError::Version { expected: 6, got: 7 });
    // Plans of the sixth version hold public weights; one without is of another version.
    newer[8] = 6;
    assert!(matches!(refused(&newer), PlanError::Encoding(_)));
    assert!(refused(&[newer.clone(), vec![0; 3]].concat()).to_string().contains("never written"));
    // Plans of the fourth version say what they reveal in place of outputs, too.
    newer[8] = 4;
    assert!(matches!(refused(&newer), PlanError::Encoding(_)));
    assert!(matches!(refused(&[newer.clone(), vec![0]].concat()), PlanError::Encoding(_)));
    // Plans of the third version say how many of their operations look for values outside.
    newer[8] = 3;
    assert!(matches!(refused(&newer), PlanError::Encoding(_)));
    assert!(refused(&[newer.clone(), vec![0]].concat()).to_string().contains("never written"));
    // Not the version that the operations need.
    newer[8] = 2;
    assert!(refused(&newer).to_string().contains("never written"));
    assert_eq!(refused(&[good.clone(), vec![0]].concat()).to_string(), "not a plan: 1 bytes after the end");
    for cut in 0..good.len() {
        assert!(Plan::decode(&good[..cut]).is_err(), "cut at {cut}");
    }
    let huge = vec![0; amicus_plan::encoding::MAX_BYTES + 1];
    assert!(refused(&huge).to_string().contains("at most"));
}

#[test]
fn a_plan_has_one_encoding() {
    let plan = common::lenet5();
    let good = plan.encode().unwrap();
    // The length of the name in two bytes instead of one.
    let name = 10;
    assert_eq!(usize::from(good[name]), plan.name.len());
    let padded = [&good[..name], &[good[name] | 0x80, 0], &good[name + 1..]].concat();
    assert!(refused(&padded).to_string().contains("never written"));
}

#[test]
fn names_are_short_and_printable() {
    for name in ["\x1b[2J", "a\nb", "\u{202e}", &"x".repeat(257)] {
        let change: [fn(&mut Plan, &str); 3] = [
            |plan, name| plan.name = name.to_owned(),
            |plan, name| plan.ops[1].name = name.to_owned(),
            |plan, name| plan.weights[0].name = name.to_owned(),
        ];
        for change in change {
            let mut plan = common::lenet5();
            change(&mut plan, name);
            let error = refused(&plan.encode().unwrap()).to_string();
            assert!(error.contains("not printable") && !error.chars().any(char::is_control), "{error:?}");
            assert!(error.len() < 400);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever is decoded is valid, and everything that reads a plan copes with it.
    #[test]
    fn hostile_bytes_never_panic(
        which in 0usize..3,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        insert in prop::option::of((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..12))),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let plan = [common::lenet5, common::residual, common::exact][which]();
        let mut bytes = plan.encode().unwrap();
        for (at, byte) in edits {
            // The magic word and version are known to be checked.
            let at = 10 + at.index(bytes.len() - 10);
            bytes[at] = byte;
        }
        if let Some((at, more)) = insert {
            let at = 10 + at.index(bytes.len() - 10);
            bytes.splice(at..at, more);
        }
        if let Some(at) = cut {
            bytes.truncate(10 + at.index(bytes.len() - 10));
        }
        let link = Link { one_way: 0.0, bandwidth: None, shared_cores: None };
        if let Ok(plan) = Plan::decode(&bytes) {
            plan.values().unwrap();
            plan.cost(1).unwrap();
            prop_assert!(Schedule::of(&plan).openings() <= 5 * plan.ops.len());
            plan.estimate(2, 1, &link, &Rates::STATED).unwrap();
            prop_assert_eq!(plan.encode().unwrap(), bytes);
        }
    }
}
