//! Plans that cannot be run are refused, and the operation at fault is named.
#![allow(clippy::unwrap_used)] // a plan that cannot be refused fails the test

mod common;

use amicus_field::{Dense, LinearShape};
use amicus_plan::{
    MaskKind, OpKind, Part, Plan, PlanError, ScaleBits, UseIndex, ValueId, WeightId, WrapRule,
};

fn refused(edit: impl FnOnce(&mut Plan)) -> String {
    let mut plan = common::lenet5();
    edit(&mut plan);
    plan.values().unwrap_err().to_string()
}

fn act(plan: &mut Plan, index: usize) -> &mut amicus_plan::Activation {
    match &mut plan.ops[index].kind {
        OpKind::Activation(a) => a,
        _ => panic!("operation {index} is no activation"),
    }
}

#[test]
fn values_of_lenet5() {
    let plan = common::lenet5();
    let values = plan.values().unwrap();
    let expected = [
        (784, 16),
        (4704, 31),
        (1176, 85),
        (1600, 100),
        (400, 85),
        (120, 100),
        (120, 85),
        (84, 100),
        (84, 85),
        (10, 96),
    ];
    for (i, (len, scale)) in expected.into_iter().enumerate() {
        let value = values.get(ValueId(i as u32));
        assert_eq!((value.len, value.scale), (len, ScaleBits(scale)), "value {i}");
        assert_eq!(value.mask, if i % 2 == 0 { MaskKind::Shared } else { MaskKind::Helper }, "value {i}");
    }
    assert_eq!(values.count(), 10);
}

#[test]
fn wrong_plans_name_the_operation() {
    let cases: Vec<(&str, String)> = vec![
        ("a plan has 1 to", refused(|p| p.ops.clear())),
        ("input: range NaN to 1", refused(|p| p.input.range.low = f64::NAN)),
        ("input: range 2 to 1", refused(|p| p.input.range.low = 2.0)),
        ("input: shape [0] has no valid size", refused(|p| p.input.shape = vec![0])),
        (
            "input: shape [18446744073709551615, 2] has no valid size",
            refused(|p| p.input.shape = vec![usize::MAX, 2]),
        ),
        ("conv1: expects 784 elements, gets 783", refused(|p| p.input.shape = vec![783])),
        ("conv1: weight tensor 9 does not exist", refused(|p| p.ops[0] = common::linear("conv1", 0, 9))),
        (
            "conv1: uses value 1, only 1 are known before it",
            refused(|p| p.ops[0] = common::linear("conv1", 1, 0)),
        ),
        (
            "conv1: use 1 of its weights, expected 0",
            refused(|p| {
                p.ops[0].kind =
                    OpKind::Linear { input: ValueId(0), weights: WeightId(0), use_index: UseIndex(1) };
            }),
        ),
        (
            "fc1: multiplies a value whose mask is not shared",
            refused(|p| {
                p.weights[2] = common::dense("fc1", 1600, 120, 15);
                p.ops[4] = common::linear("fc1", 3, 2);
            }),
        ),
        (
            "fc2: inputs is 0",
            refused(|p| p.weights[3].shape = LinearShape::Dense(Dense { inputs: 0, outputs: 3 })),
        ),
        (
            "act1: the scale does not fit: 105 bits needed, 104 there with 2 limb(s)",
            refused(|p| act(p, 1).ell = 102),
        ),
        ("act1: drops 19 bits of a value of 18", refused(|p| act(p, 1).ell = 18)),
        (
            "act1: argument scale 2^32 above value scale 2^31",
            refused(|p| act(p, 1).input_scale = ScaleBits(32)),
        ),
        ("act3: polynomial of degree 0, allowed 1 to 8", refused(|p| act(p, 5).coefficients.truncate(1))),
        ("act3: polynomial of degree 9, allowed 1 to 8", refused(|p| act(p, 5).coefficients.extend([0; 3]))),
        (
            "act1: expects 600 elements, gets 4704",
            refused(|p| act(p, 1).pool = Some(common::pool2([6, 10, 10]))),
        ),
        (
            "act4: the scale does not fit: 105 bits needed",
            refused(|p| act(p, 7).coefficient_scale = ScaleBits(32)),
        ),
        ("fc3: the scale does not fit: 105 bits needed", refused(|p| p.weights[4].scale = ScaleBits(19))),
        (
            "fc3: the scale does not fit: 4294967295 bits needed",
            refused(|p| p.weights[4].scale = ScaleBits(u32::MAX)),
        ),
        (
            "act2: the scale does not fit: 153 bits needed",
            refused(|p| act(p, 3).wrap = WrapRule::Statistical),
        ),
        ("output: value 11 does not exist", refused(|p| p.output.value = ValueId(11))),
        ("output: the client's input is not a result", refused(|p| p.output.value = ValueId::INPUT)),
        ("output: scale 2^97 above value scale 2^96", refused(|p| p.output.scale = ScaleBits(97))),
        ("output: the scale does not fit", refused(|p| p.output.ell = 102)),
        ("spare: weight tensor is never used", refused(|p| p.weights.push(common::dense("spare", 3, 3, 3)))),
        (
            "add: adds values of scales 2^85 and 2^86",
            refused(|p| {
                let kind = OpKind::Add { left: ValueId(6), left_shift: 0, right: ValueId(6), right_shift: 1 };
                p.ops.push(common::op("add", kind));
            }),
        ),
        (
            "cut: elements 9.. (2) of a value of 10",
            refused(|p| {
                p.ops.push(common::op("cut", OpKind::Slice { input: ValueId(9), start: 9, len: 2 }));
            }),
        ),
        (
            "cut: elements 18446744073709551615.. (2)",
            refused(|p| {
                p.ops.push(common::op("cut", OpKind::Slice { input: ValueId(9), start: usize::MAX, len: 2 }));
            }),
        ),
        (
            "join: joins values of scales 2^85 and 2^86",
            refused(|p| {
                let part = |shift| Part { input: ValueId(6), shift };
                p.ops.push(common::op("join", OpKind::Concat { parts: vec![part(0), part(1)] }));
            }),
        ),
        (
            "join: joins no values",
            refused(|p| p.ops.push(common::op("join", OpKind::Concat { parts: vec![] }))),
        ),
        (
            "join: uses value 99",
            refused(|p| {
                let parts = vec![Part { input: ValueId(99), shift: 0 }];
                p.ops.push(common::op("join", OpKind::Concat { parts }));
            }),
        ),
        (
            "weigh: factors for images of 2 x 4, 10 elements",
            refused(|p| {
                let kind = OpKind::Weigh { input: ValueId(9), rows: vec![1; 2], columns: vec![1; 4] };
                p.ops.push(common::op("weigh", kind));
            }),
        ),
        (
            "weigh: factor 0, allowed 1 to 65536",
            refused(|p| {
                let kind = OpKind::Weigh { input: ValueId(9), rows: vec![1, 0], columns: vec![1] };
                p.ops.push(common::op("weigh", kind));
            }),
        ),
        (
            "mul: expects 120 elements, gets 84",
            refused(|p| {
                p.ops.push(common::op("mul", OpKind::Multiply { left: ValueId(6), right: ValueId(8) }));
            }),
        ),
        (
            "mul: multiplies a value whose mask is not shared",
            refused(|p| {
                p.ops.push(common::op("mul", OpKind::Multiply { left: ValueId(6), right: ValueId(5) }));
            }),
        ),
        (
            "big: 68719476736 weights",
            refused(|p| {
                p.weights.push(common::dense("big", 1 << 18, 1 << 18, 3));
            }),
        ),
    ];
    for (expected, got) in cases {
        assert!(got.starts_with(expected), "expected `{expected}`, got `{got}`");
    }
}

#[test]
fn statistical_truncation_needs_room_over_all_activations_together() {
    let mut plan = common::lenet5();
    // 4704 * 2^(ell+1) <= 2^64.
    act(&mut plan, 1).wrap = WrapRule::Statistical;
    act(&mut plan, 1).ell = 50;
    plan.values().unwrap();
    act(&mut plan, 1).ell = 51;
    let error = plan.values().unwrap_err();
    assert!(matches!(&error, PlanError::Scale { op, needed: 105, .. } if op == "act1"), "{error}");
}
