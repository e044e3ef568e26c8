//! Weights in the plan: what they save, how they are encoded, and what is refused.
#![allow(clippy::unwrap_used)] // a failure here is a failed test

mod common;

use amicus_field::{Dense, I256, LinearShape};
use amicus_plan::{
    MaskKind, OpKind, Plan, PlanError, PublicId, PublicWeights, Schedule, ValueId, WeightSpec,
};

/// Digest of LeNet-5 with the weights below, format version 6. It may change with the version only.
const LENET5_DIGEST: &str = "3716fdad70d067c297eb5f7d937a0a9591c02e67f5013ff9898df4c38776baf2";

/// Small weights that differ.
fn weights(plan: &Plan) -> Vec<PublicWeights> {
    let integers = |count: usize| (0..count as i64).map(|i| i * 37 % 201 - 100);
    let of = |spec: &amicus_plan::WeightSpec| {
        let biases = if spec.bias { spec.shape.biases() } else { 0 };
        let bias = integers(biases).map(|b| I256::from(b) << (plan.limbs.bits() - 12)).collect();
        PublicWeights::new(integers(spec.shape.weights()).collect(), bias)
    };
    plan.weights.iter().map(of).collect()
}

fn published(plan: &Plan) -> Plan {
    plan.published(weights(plan)).unwrap().0
}

/// A round less for every layer, and nothing sent for it; masks of activations are not dealt.
#[test]
fn layers_of_public_weights_take_no_round() {
    let (secret, public) = (common::lenet5(), published(&common::lenet5()));
    assert_eq!((public.weights.len(), public.public.len()), (0, 5));
    assert_eq!([&secret, &public].map(|plan| Schedule::of(plan).openings()), [9, 4]);
    let (before, after) = (secret.cost(1).unwrap(), public.cost(1).unwrap());
    assert_eq!((before.rounds, after.rounds), (12, 7));
    let (inputs, results) = (4704 + 1600 + 120 + 84, 1176 + 400 + 120 + 84);
    assert_eq!(after.sent_bytes_per_party, 13 * results);
    assert_eq!(after.dealt_bytes, 13 * 22 * inputs);
    assert_eq!(after.multiply_adds, before.multiply_adds);
    assert!(after.material_bytes < before.material_bytes);
    let values = public.values().unwrap();
    assert!((1..=9).all(|value| values.get(ValueId(value)).mask == MaskKind::Helper));
    assert_eq!(public.tensors().map(|w| &w.name).collect::<Vec<_>>().len(), 5);
    assert_eq!(public.public_weights(), secret.weights.iter().map(|w| w.shape.weights()).sum());
}

#[test]
fn public_weights_are_encoded_behind_the_plan() {
    for plan in [common::lenet5(), common::residual(), common::exact()].map(|plan| published(&plan)) {
        let bytes = plan.encode().unwrap();
        assert_eq!(bytes[8..10], [6, 0]);
        assert_eq!(Plan::decode(&bytes).unwrap(), plan);
        for cut in (0..bytes.len()).step_by(bytes.len() / 97) {
            assert!(Plan::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        assert!(Plan::decode(&[&bytes[..], &[0]].concat()).is_err());
        // The plan's older version is another plan's bytes.
        for older in 1..6 {
            assert!(Plan::decode(&[&bytes[..8], &[older], &bytes[9..]].concat()).is_err(), "{older}");
        }
    }
    assert_eq!(published(&common::lenet5()).digest().unwrap().to_string(), LENET5_DIGEST);
}

/// Numbers of tensors and integers that are not there cost nothing.
#[test]
fn decoding_believes_no_number() {
    let plan = published(&common::exact());
    let bytes = plan.encode().unwrap();
    let without = Plan { public: Vec::new(), ..plan.clone() };
    let head = without_public(&bytes, &plan);
    let refused = |behind: &[u8]| match Plan::decode(&[head, behind].concat()) {
        Err(PlanError::Encoding(reason)) => reason,
        other => panic!("{other:?}"),
    };
    assert!(without.values().is_err());
    assert!(refused(&[0x81, 0x80, 0x04]).contains("65537 public weight tensors, at most 65536"));
    let spec = postcard_of(&plan.public[0].spec);
    let with_counts = |counts: &[u8]| refused(&[&[1], &spec[..], counts].concat());
    let expected = plan.public[0].values.weights().len();
    for count in [&[0xff, 0xff, 0xff, 0xff, 0x7f][..], &[expected as u8], &[expected as u8 - 1]] {
        assert!(with_counts(count).contains(&format!("expected {expected}")), "{count:?}");
    }
    // A plan that is long without its weights.
    let mut long = plan;
    long.ops.extend(std::iter::repeat_n(common::op(&"x".repeat(250), long.ops[0].kind.clone()), 70_000));
    assert!(matches!(Plan::decode(&long.encode().unwrap()), Err(PlanError::Encoding(_))));
}

/// The bytes of a plan before its public weights.
fn without_public<'a>(bytes: &'a [u8], plan: &Plan) -> &'a [u8] {
    &bytes[..bytes.len() - postcard_of(&plan.public).len()]
}

fn postcard_of(of: &impl serde::Serialize) -> Vec<u8> {
    postcard::to_extend(of, Vec::new()).unwrap()
}

#[test]
fn more_weights_than_a_plan_holds_are_refused() {
    let mut plan = common::exact();
    let dense = Dense { inputs: 8 << 20, outputs: 1 };
    plan.input.shape = vec![dense.inputs];
    plan.weights = vec![WeightSpec { shape: LinearShape::Dense(dense), ..plan.weights[1].clone() }];
    plan.ops = vec![common::linear("fc", 0, 0)];
    plan.output.value = ValueId(1);
    let all_of = |weight: i64| {
        let all = PublicWeights::new(vec![weight; dense.inputs], vec![I256::ONE]);
        plan.published(vec![all])
    };
    let error = all_of(1 << 50).unwrap_err().to_string();
    assert!(error.contains("with its weights public it has 65 MiB, at most 64"), "{error}");
    assert!(all_of(1).unwrap().0.encode().unwrap().len() < 9 << 20);
}

#[test]
fn every_weight_and_bias_changes_the_digest() {
    let plan = published(&common::exact());
    let digest = plan.digest().unwrap();
    for tensor in 0..plan.public.len() {
        let values = &plan.public[tensor].values;
        let change = |weights: &[i64], bias: &[I256]| {
            let mut other = plan.clone();
            other.public[tensor].values = PublicWeights::new(weights.to_vec(), bias.to_vec());
            other.digest().unwrap()
        };
        for at in 0..values.weights().len() {
            let mut weights = values.weights().to_vec();
            weights[at] += 1;
            assert_ne!(change(&weights, values.bias()), digest);
        }
        for at in 0..values.bias().len() {
            // Beyond the lower half, too.
            for more in [I256::ONE, I256::ONE << 130u32] {
                let mut bias = values.bias().to_vec();
                bias[at] += more;
                assert_ne!(change(values.weights(), &bias), digest);
            }
        }
    }
}

/// What is refused, and why.
fn refused(edit: impl FnOnce(&mut Plan)) -> String {
    let mut plan = published(&common::lenet5());
    edit(&mut plan);
    plan.values().expect_err("a plan that is refused").to_string()
}

fn with(plan: &mut Plan, edit: impl FnOnce(&mut Vec<i64>, &mut Vec<I256>)) {
    let values = &mut plan.public[4].values;
    let (mut weights, mut bias) = (values.weights().to_vec(), values.bias().to_vec());
    edit(&mut weights, &mut bias);
    *values = PublicWeights::new(weights, bias);
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    let few = |plan: &mut Plan| with(plan, |weights, _| weights.truncate(839));
    assert!(refused(few).contains("fc3: [839, 10] public weights and biases, expected [840, 10]"));
    let more = |plan: &mut Plan| with(plan, |_, bias| bias.push(I256::ZERO));
    assert!(refused(more).contains("[840, 11] public weights and biases"));
    // A weight as large as that could be 0 modulo a prime.
    for large in [1 << 51, -(1 << 51), i64::MIN] {
        assert!(refused(|plan| with(plan, |weights, _| weights[7] = large)).contains("allowed 51 bits"));
    }
    for large in [I256::ONE << 102u32, -(I256::ONE << 102u32), I256::MIN] {
        assert!(refused(|plan| with(plan, |_, bias| bias[0] = large)).contains("beyond the modulus"));
    }
    let mut largest = published(&common::lenet5());
    with(&mut largest, |weights, bias| {
        weights[7] = (1 << 51) - 1;
        bias[0] = (I256::ONE << 102u32) - I256::ONE;
    });
    largest.values().unwrap();
}

#[test]
fn layers_of_weights_that_are_not_there_are_refused() {
    let OpKind::PublicLinear { weights, .. } = published(&common::lenet5()).ops[8].kind else {
        panic!("a layer")
    };
    assert_eq!(weights, PublicId(4));
    let beyond = |plan: &mut Plan| {
        plan.ops[8].kind = OpKind::PublicLinear { input: ValueId(8), weights: PublicId(5) };
    };
    assert!(refused(beyond).contains("public weight tensor 5 does not exist"));
    let another = |plan: &mut Plan| {
        plan.ops[8].kind = OpKind::PublicLinear { input: ValueId(8), weights: PublicId(3) };
    };
    assert!(refused(another).contains("fc3: expects 120 elements, gets 84"));
    assert!(refused(|plan| plan.public.push(plan.public[0].clone())).contains("is never used"));
    assert!(refused(|plan| plan.public[2].spec.name = "\n".into()).contains("not printable"));
    // There must be as many as there are secret tensors to publish.
    let plan = common::lenet5();
    assert!(plan.published(weights_but_one(&plan)).is_err());
}

fn weights_but_one(plan: &Plan) -> Vec<PublicWeights> {
    let mut all = weights(plan);
    all.pop();
    all
}

/// Outputs of rows that depend on each other are masked afresh, others not.
#[test]
fn rows_of_the_last_layer_are_told_apart() {
    let plan = common::exact();
    let fresh = |last: &[i64]| {
        let mut all = weights(&plan);
        all[1] = PublicWeights::new(last.to_vec(), all[1].bias().to_vec());
        plan.published(all).unwrap().1.is_some()
    };
    let rows = |rows: [[i64; 8]; 3]| rows.concat();
    let (a, b) = ([0, 3, -1, 4, 1, -5, 9, 2], [0, 2, 7, 1, 8, 2, 8, 1]);
    assert!(!fresh(&rows([a, b, [0, 0, 0, 0, 0, 0, 0, 1]])));
    assert!(!fresh(&rows([[0, 0, 0, 0, 0, 0, 0, 1], b, a])));
    let both: [i64; 8] = std::array::from_fn(|i| 5 * a[i] - 3 * b[i]);
    assert!(fresh(&rows([a, b, both])) && fresh(&rows([both, a, b])));
    assert!(fresh(&rows([a, [0; 8], b])) && fresh(&rows([a, a.map(|x| -x), b])));
    // Dependent modulo the prime alone.
    let p = amicus_field::PRIMES[0] as i64;
    let beyond: [i64; 8] = std::array::from_fn(|i| (1 << 40) * i as i64 % p);
    let wrapped: [i64; 8] = std::array::from_fn(|i| {
        let x = (i128::from(beyond[i]) * 4099).rem_euclid(i128::from(p)) as i64;
        if x > p / 2 { x - p } else { x }
    });
    assert!(fresh(&rows([a, beyond, wrapped])));
}
