//! Comparisons, truncations and selections: what is refused, who holds masks, and figures worked
//! out by hand.
#![allow(clippy::unwrap_used)] // a plan that cannot be refused fails the test

mod common;

use amicus_field::{Dense, I256, Limbs, LinearShape, SumPool2d, packed_len};
use amicus_plan::{
    Compare, MaskKind, OpIndex, OpKind, OutputSpec, Outside, Part, Plan, PublicId, PublicTensor,
    PublicWeights, ScaleBits, Schedule, Select, Stage, Truncate, ValueId, ValueKind, WeightSpec,
};

fn digits(digits: &[u32], thresholds: usize) -> Compare {
    Compare { input: ValueId(0), thresholds: vec![0; thresholds], unit: 20, digits: digits.to_vec() }
}

/// The counts of the executable specification.
#[test]
fn bits_and_openings_of_comparisons() {
    let of = |d: usize| digits(&vec![1; d], 1);
    assert_eq!((1..=8).map(|d| of(d).join_bits()).collect::<Vec<_>>(), [0, 0, 3, 2, 5, 6, 6, 7]);
    let openings = |d| of(d).openings().iter().sum::<usize>();
    assert_eq!((1..=8).map(openings).collect::<Vec<_>>(), [1, 3, 5, 8, 11, 13, 17, 19]);
    assert_eq!((1..=12).map(|d| of(d).levels()).collect::<Vec<_>>(), [1, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4]);
    assert_eq!(of(6).openings(), [8, 4, 1]);
    assert_eq!(digits(&[2; 6], 2).openings(), [16, 8, 2]);
    let bits = |w: &[u32], m| digits(w, m).dealt_bits();
    for (widths, thresholds, expected) in [
        (&[3, 3, 3][..], 1, 24),
        (&[4, 3, 3], 1, 32),
        (&[4, 4, 4], 1, 48),
        (&[3, 3, 3], 2, 27),
        (&[4, 4], 1, 30),
        (&[5], 1, 31),
        (&[3, 3, 3, 2], 1, 26),
        (&[2; 6], 1, 24),
        (&[2; 6], 2, 30),
        (&[2, 2, 2, 2, 2, 1], 1, 22),
        (&[3, 3, 3, 2, 2, 2], 1, 36),
        (&[2; 5], 1, 20),
    ] {
        assert_eq!(bits(widths, thresholds), expected, "{widths:?}, {thresholds} thresholds");
    }
}

fn select(polynomials: &[&[i128]]) -> Select {
    Select {
        input: ValueId(0),
        bits: None,
        polynomials: polynomials.iter().map(|q| q.to_vec()).collect(),
        scale: ScaleBits(0),
        pool: None,
        base: None,
    }
}

/// Corrections without the one of a shared result, of functions of one input.
#[test]
fn corrections_of_selections() {
    let cases: [(&str, &[&[i128]], usize); 7] = [
        ("ReLU, max", &[&[0], &[0, 1]], 4),
        ("abs, whose mean of pieces is 0", &[&[0, -1], &[0, 2]], 4),
        ("clip", &[&[-1], &[1, 1], &[6, -1]], 8),
        ("HardSwish", &[&[0], &[0, 3, 1], &[0, 3, -1]], 12),
        ("a quadratic spline", &[&[0], &[0, 1, 1], &[0, 1, -2]], 14),
        ("degree 6 alone", &[&[1, 2, 3, 4, 5, 6, 7]], 10),
        ("a threshold that changes nothing", &[&[0, 1], &[0, 0]], 2),
    ];
    for (name, polynomials, expected) in cases {
        assert_eq!(select(polynomials).corrections_per_input(), expected, "{name}");
    }
    assert_eq!(select(&[&[0], &[0, 1, 1], &[0, 1, -2]]).degrees(), [2, 2, 2]);
    assert_eq!(select(&[&[0], &[0, 3, 1], &[0, 3, -1]]).degrees(), [1, 2, 2]);
}

/// A truncated ReLU deals 24 bits and 7 elements of 6.5 bytes.
#[test]
fn a_truncated_relu_deals_48_bytes_and_a_half() {
    let plan = relu_layer(1000, true);
    assert_eq!(plan.cost(2).unwrap().dealt_bytes, 2 * 48_500);
    // One that is not truncated: the two corrections less.
    assert_eq!(relu_layer(1000, false).cost(2).unwrap().dealt_bytes, 2 * 35_500);
    // Linear, truncation and selection open elements, the comparison 13 bits; then the last layer. The
    // proof about 48,000 bits has 16 rounds.
    let sent = plan.cost(2).unwrap().sent_bytes_per_party;
    assert_eq!(sent, (13 * 3 + 13 * 2 / 8 + 1) * 1000 - 750 + 13 + 16 * 32);
    assert_eq!(Schedule::of(&plan).openings(), 6);
}

/// A polynomial of degree 6 behind a truncation, two limbs: 13 corrections instead of 23.
#[test]
fn a_polynomial_behind_a_truncation_deals_169_bytes() {
    let mut plan = relu_layer(1000, true);
    plan.limbs = Limbs::TWO;
    plan.ops.remove(1);
    let OpKind::Select(s) = &mut plan.ops[2].kind else { panic!("a selection") };
    (s.input, s.bits, s.polynomials) = (ValueId(2), None, vec![vec![1; 7]]);
    plan.ops[2] = plan.ops[2].clone();
    let OpKind::Linear { input, .. } = &mut plan.ops[3].kind else { panic!("a layer") };
    *input = ValueId(3);
    plan.output.value = ValueId(4);
    assert_eq!(plan.cost(1).unwrap().dealt_bytes, 169_000);
}

/// A dense layer, ReLU, and a layer of one output.
fn relu_layer(len: usize, truncated: bool) -> Plan {
    let mut plan = common::exact();
    plan.input.shape = vec![4];
    plan.weights = vec![common::dense("fc1", 4, len, 15), common::dense("fc2", len, 1, 15)];
    let from = if truncated { 3 } else { 1 };
    let cut = Truncate { input: ValueId(1), scale: ScaleBits(13), ell: 34 };
    plan.ops = vec![
        common::linear("fc1", 0, 0),
        common::compare("sign", 1),
        common::op("cut", OpKind::Truncate(cut)),
        common::relu("relu", from, 2, if truncated { 13 } else { 28 }, None),
        common::linear("fc2", 4, 1),
    ];
    plan.output.value = ValueId(5);
    if !truncated {
        plan.ops.remove(2);
        let OpKind::Linear { input, .. } = &mut plan.ops[3].kind else { panic!("a layer") };
        *input = ValueId(3);
        plan.output.value = ValueId(4);
    }
    plan
}

#[test]
fn masks_are_shared_where_a_linear_layer_needs_them() {
    let plan = common::exact();
    let values = plan.values().unwrap();
    let shared: Vec<u32> = (0..=10).filter(|&v| values.get(ValueId(v)).mask == MaskKind::Shared).collect();
    assert_eq!(shared, [0, 9], "the input and what the last layer multiplies");
    assert_eq!(values.get(ValueId(5)).kind, ValueKind::Bits { thresholds: 1 });
    // Through a sum with the truncated value: now that one must be shared as well.
    let mut plan = plan;
    let kind = OpKind::Add { left: ValueId(8), left_shift: 0, right: ValueId(9), right_shift: 0 };
    plan.ops.insert(9, common::op("sum", kind));
    plan.ops[10] = common::linear("fc", 10, 1);
    plan.output.value = ValueId(11);
    let values = plan.values().unwrap();
    let shared: Vec<u32> = (0..=11).filter(|&v| values.get(ValueId(v)).mask == MaskKind::Shared).collect();
    assert_eq!(shared, [0, 8, 9, 10]);
    // A sum with a maximum that is not truncated: the maximum, but not what it was made of.
    let kind = OpKind::Add { left: ValueId(6), left_shift: 0, right: ValueId(9), right_shift: 15 };
    plan.ops[9] = common::op("sum", kind);
    let values = plan.values().unwrap();
    assert_eq!(values.get(ValueId(6)).mask, MaskKind::Shared);
    assert_eq!(values.get(ValueId(8)).mask, MaskKind::Helper);
}

#[test]
fn a_comparison_opens_level_after_level() {
    let plan = common::exact();
    let schedule = Schedule::of(&plan);
    let open = |round: usize| schedule.rounds[round].open.clone();
    let stage = |op: u32, level: u32| Stage { op: OpIndex(op), level };
    assert_eq!(open(1), [stage(0, 0)]);
    assert_eq!(schedule.rounds[1].local, [1, 2, 3].map(OpIndex));
    assert_eq!((open(2), open(3), open(4)), (vec![stage(4, 0)], vec![stage(4, 1)], vec![stage(4, 2)]));
    assert_eq!(open(5), [stage(5, 0)]);
    // The truncation goes with the first level of the comparison.
    // So does the proof of the first comparison, two rounds behind its last level.
    assert_eq!(open(6), [stage(4, 3), stage(6, 0), stage(7, 0)]);
    assert_eq!((open(7), open(8)), (vec![stage(6, 1)], vec![stage(6, 2)]));
    assert_eq!((open(9), open(10)), (vec![stage(8, 0)], vec![stage(6, 3), stage(9, 0)]));
    assert_eq!((schedule.openings(), plan.cost(1).unwrap().rounds), (10, 13));
}

fn refused(edit: impl FnOnce(&mut Plan)) -> String {
    let mut plan = common::exact();
    edit(&mut plan);
    plan.values().unwrap_err().to_string()
}

fn compare(edit: impl FnOnce(&mut Compare)) -> String {
    refused(|plan| match &mut plan.ops[6].kind {
        OpKind::Compare(c) => edit(c),
        _ => panic!("a comparison"),
    })
}

fn selection(edit: impl FnOnce(&mut Select)) -> String {
    refused(|plan| match &mut plan.ops[8].kind {
        OpKind::Select(s) => edit(s),
        _ => panic!("a selection"),
    })
}

fn gather(edit: impl FnOnce(&mut [usize; 2], &mut Vec<u32>)) -> String {
    refused(|plan| match &mut plan.ops[1].kind {
        OpKind::Gather { size, rows, .. } => edit(size, rows),
        _ => panic!("pixels"),
    })
}

#[test]
fn wrong_plans_name_the_operation() {
    let cases = [
        ("sign: digits of [] bits, allowed 1 to 12 of 1 to 8", compare(|c| c.digits.clear())),
        ("sign: digits of [2, 0]", compare(|c| c.digits = vec![2, 0])),
        ("sign: digits of [9]", compare(|c| c.digits = vec![9])),
        ("sign: digits of [1, 1,", compare(|c| c.digits = vec![1; 13])),
        ("sign: a window of 53 bits, at most 52", compare(|c| c.digits = [vec![6; 2], vec![4; 10]].concat())),
        ("sign: 0 thresholds, allowed 1 to 16", compare(|c| c.thresholds.clear())),
        ("sign: 17 thresholds", compare(|c| c.thresholds = vec![0; 17])),
        ("sign: 18 bits of tables and 66 of joins", compare(|c| c.thresholds = vec![0; 11])),
        ("sign: 765 bits of tables", compare(|c| c.digits = vec![8; 3])),
        ("sign: the scale does not fit: 53 bits needed, 52 there", compare(|c| c.unit = 40)),
        ("sign: the scale does not fit: 4294967295 bits", compare(|c| c.unit = u32::MAX)),
        ("sign: threshold 1125899906842624 beyond the modulus", compare(|c| c.thresholds[0] = 1 << 50)),
        ("sign: uses value 5, which is bits, as numbers", compare(|c| c.input = ValueId(5))),
        ("sign: uses value 9, only 7 are known", compare(|c| c.input = ValueId(9))),
        ("relu: uses value 6, which is numbers, as bits", selection(|s| s.bits = Some(ValueId(6)))),
        ("relu: 2 polynomials for 0 thresholds, expected 1", selection(|s| s.bits = None)),
        ("relu: 1 polynomials for 1 thresholds, expected 2", selection(|s| s.polynomials.truncate(1))),
        ("relu: polynomial of 0 coefficients", selection(|s| s.polynomials[0].clear())),
        ("relu: polynomial of 10 coefficients", selection(|s| s.polynomials[0] = vec![1; 10])),
        ("relu: coefficient 2251799813685248, allowed 51", selection(|s| s.polynomials[0][0] = 1 << 51)),
        ("relu: the scale does not fit", selection(|s| s.scale = ScaleBits(52))),
        (
            "relu: adds a value of scale 2^28 to a result of scale 2^13",
            selection(|s| s.base = Some(ValueId(6))),
        ),
        ("relu: expects 8 elements, gets 32", selection(|s| s.base = Some(ValueId(1)))),
        ("relu: expects 32 elements, gets 8", selection(|s| s.input = ValueId(1))),
        ("relu: expects 32 elements, gets 8", selection(|s| s.pool = Some(common::pool2([2, 4, 4])))),
        ("left: row 4 of images of 4 x 4", gather(|_, rows| rows[1] = 4)),
        ("left: images of 4 x 5", gather(|size, _| size[1] = 5)),
        ("left: column 0 of images of 4 x 0", gather(|size, _| size[1] = 0)),
        ("left: images of", gather(|size, _| *size = [usize::MAX, 5])),
        ("left: 0 elements, allowed", gather(|_, rows| rows.clear())),
        ("output: bits are not a result", refused(|p| p.output.value = ValueId(7))),
        (
            "cut: scale 2^29 of the result above value scale 2^28",
            refused(|p| {
                let cut = Truncate { input: ValueId(6), scale: ScaleBits(29), ell: 34 };
                p.ops[7].kind = OpKind::Truncate(cut);
            }),
        ),
        (
            "cut: the scale does not fit: 53 bits needed",
            refused(|p| {
                let cut = Truncate { input: ValueId(6), scale: ScaleBits(13), ell: 50 };
                p.ops[7].kind = OpKind::Truncate(cut);
            }),
        ),
        (
            "fc: multiplies a value whose mask is not shared",
            refused(|p| {
                p.weights[1] = common::dense("fc", 32, 3, 15);
                p.ops[9] = common::linear("fc", 1, 1);
            }),
        ),
        (
            "difference: subtracts values of scales 2^29 and 2^28",
            refused(|p| {
                let (left, right) = (ValueId(2), ValueId(3));
                p.ops[3].kind = OpKind::Subtract { left, left_shift: 1, right, right_shift: 0 };
            }),
        ),
        (
            "both: takes the bits of two comparisons of one threshold",
            refused(|p| {
                p.ops.push(common::op("both", OpKind::Xnor { left: ValueId(5), right: ValueId(6) }));
            }),
        ),
        (
            "both: takes the bits of two comparisons of one threshold",
            refused(|p| {
                let OpKind::Compare(compare) = &mut p.ops[6].kind else { panic!("a comparison") };
                compare.thresholds = vec![0, 5];
                let OpKind::Select(select) = &mut p.ops[8].kind else { panic!("a selection") };
                select.polynomials.push(vec![0]);
                p.ops.push(common::op("both", OpKind::Xnor { left: ValueId(5), right: ValueId(7) }));
            }),
        ),
    ];
    for (expected, error) in cases {
        assert!(error.starts_with(expected), "expected {expected:?}, got {error:?}");
    }
}

/// Bits of two comparisons are three bits, which open nothing: a selection by them takes a polynomial
/// for each.
#[test]
fn bits_of_two_comparisons_choose_together() {
    let mut plan = common::exact();
    let (cost, rounds) = (plan.cost(1).unwrap(), Schedule::of(&plan).openings());
    // Behind the sign, before what it chooses from.
    plan.ops.insert(8, common::op("both", OpKind::Xnor { left: ValueId(5), right: ValueId(7) }));
    let OpKind::Select(select) = &mut plan.ops[9].kind else { panic!("a selection") };
    select.bits = Some(ValueId(9));
    let OpKind::Linear { input, .. } = &mut plan.ops[10].kind else { panic!("a layer") };
    *input = ValueId(10);
    plan.output.value = ValueId(11);
    let error = plan.values().unwrap_err().to_string();
    assert!(error.contains("2 polynomials for 3 thresholds"), "{error}");
    let OpKind::Select(select) = &mut plan.ops[9].kind else { panic!("a selection") };
    select.polynomials.extend([vec![0, 1], vec![0, 1]]);
    let info = plan.values().unwrap().get(ValueId(9));
    assert_eq!((info.kind, info.mask), (ValueKind::Bits { thresholds: 3 }, MaskKind::Helper));
    assert_eq!(Schedule::of(&plan).openings(), rounds);
    // Two bits more with two coefficients and their tags each.
    let eight = packed_len(Limbs::ONE, 8) as u64;
    assert_eq!(plan.cost(1).unwrap().dealt_bytes, cost.dealt_bytes + 8 * eight);
    assert_eq!(Plan::decode(&plan.encode().unwrap()).unwrap(), plan);
    // They are no numbers, and no result.
    plan.output.value = ValueId(9);
    assert!(plan.values().is_err());
}

/// What a network answers may not depend on its input: an activation may be constant where its
/// values are.
#[test]
fn a_constant_is_a_function_too() {
    let mut plan = common::exact();
    let Some(select) = plan.ops.iter_mut().find_map(|op| match &mut op.kind {
        OpKind::Select(select) if select.base.is_none() => Some(select),
        _ => None,
    }) else {
        panic!("a selection")
    };
    (select.bits, select.polynomials) = (None, vec![vec![7, 0]]);
    assert_eq!(select.corrections_per_input(), 0);
    let refused = plan.values().err().map(|error| error.to_string());
    assert!(refused.is_none_or(|error| error.contains("never used")), "{}", plan.name);
}

/// The network of comparisons with what looks at its first layer: squares in groups of four, bits
/// dropped of them, numbers that tell, beside the outputs.
fn watched(numbers: u32) -> Plan {
    watched_at(numbers, 15)
}

/// That network with another scale of the last weights.
fn watched_at(numbers: u32, weights: u32) -> Plan {
    let mut plan = common::exact();
    plan.weights[1].scale = ScaleBits(weights);
    let group =
        SumPool2d { channels: 1, height: 1, width: 32, kernel: [1, 4], stride: [1, 4], padding: [0; 4] };
    let squares = Select {
        input: ValueId(1),
        bits: None,
        polynomials: vec![vec![3, 0, 1]],
        scale: ScaleBits(20),
        pool: Some(group),
        base: None,
    };
    let units = Truncate { input: ValueId(11), scale: ScaleBits(0), ell: 49 };
    let scale = plan.values().unwrap().get(ValueId(10)).scale;
    let parts = [10, 13].map(|input| Part { input: ValueId(input), shift: 0 }).to_vec();
    plan.ops.extend([
        common::op("squares", OpKind::Select(squares)),
        common::op("units", OpKind::Truncate(units)),
        common::op("outside", OpKind::Outside(Outside { input: ValueId(12), numbers, scale })),
        common::op("told", OpKind::Concat { parts }),
    ]);
    plan.output = OutputSpec { value: ValueId(14), watch: 4, ..plan.output };
    plan
}

/// Integers for all tensors of a plan.
fn public_weights(plan: &Plan) -> Vec<PublicWeights> {
    let of = |w: &WeightSpec| {
        let biases = if w.bias { w.shape.biases() } else { 0 };
        // Rows that do not depend on each other.
        let weights = (0..w.shape.weights() as i64).map(|i| i * i % 101 - 50).collect();
        PublicWeights::new(weights, vec![I256::ONE; biases])
    };
    plan.weights.iter().map(of).collect()
}

/// More outputs than inputs of the last public layer, or another local operation in between: weights
/// relate the masks of outputs, which are then opened once more before they are revealed.
#[test]
fn outputs_that_weights_relate_get_a_fresh_mask() {
    let publish = |plan: &Plan| plan.published(public_weights(plan)).unwrap();
    for plan in [common::exact(), watched(2)] {
        let (public, fresh) = publish(&plan);
        assert_eq!((fresh, public.ops.len()), (None, plan.ops.len()));
    }
    for (mut plan, watch) in [(common::exact(), 0), (watched(2), 4)] {
        let LinearShape::Dense(dense) = plan.weights[1].shape else { panic!("a dense layer") };
        let wide = Dense { outputs: dense.inputs + 1, ..dense };
        plan.weights[1].shape = LinearShape::Dense(wide);
        let rounds = |plan: &Plan| Schedule::of(plan).openings();
        let (public, fresh) = publish(&plan);
        assert_eq!(fresh, Some(ValueId(11)));
        let at = &public.ops[10];
        assert!(matches!(&at.kind, OpKind::Select(s) if s.input == ValueId(10)), "{}", at.name);
        assert_eq!(public.output.watch, watch);
        assert_eq!(public.output.value, ValueId(plan.output.value.0 + 1));
        // Nothing is dealt for it, and it is opened in a round of its own.
        assert_eq!(public.op_costs(1).unwrap()[10].dealt_bytes, 0);
        assert_eq!(
            public.op_costs(1).unwrap()[10].sent_bytes_per_party,
            packed_len(Limbs::ONE, wide.outputs) as u64
        );
        assert!(rounds(&public) < rounds(&plan));
        let network = public.network();
        assert_eq!((network.ops.len(), network.output.value), (10, ValueId(10)));
        assert_eq!(public.outputs().unwrap(), wide.outputs);
        assert_eq!(Plan::decode(&public.encode().unwrap()).unwrap(), public);
    }
    // Two layers without an opening between them.
    let mut plan = common::exact();
    let LinearShape::Dense(dense) = plan.weights[1].shape else { panic!("a dense layer") };
    let again = Dense { inputs: dense.outputs, outputs: 2 };
    let mut public = publish(&plan).0;
    let spec = WeightSpec { shape: LinearShape::Dense(again), bias: false, ..plan.weights[1].clone() };
    let values = PublicWeights::new(vec![1; 2 * dense.outputs], Vec::new());
    plan = Plan { weights: Vec::new(), ..public.clone() };
    plan.public.push(PublicTensor { spec, values });
    let kind = OpKind::PublicLinear { input: ValueId(10), weights: PublicId(2) };
    plan.ops.push(common::op("again", kind));
    (plan.output.value, plan.output.scale) = (ValueId(11), ScaleBits(20));
    public = plan.published(Vec::new()).unwrap().0;
    assert_eq!(public.output.value, ValueId(12));
}

/// Three corrections for each number and group, a truncation and a square, and no round more where
/// the network goes on for three.
#[test]
fn numbers_tell_of_values_outside() {
    let (network, plan) = (common::exact().cost(1).unwrap(), watched(2).cost(1).unwrap());
    assert_eq!(plan.rounds, network.rounds);
    let element = |count: usize| packed_len(Limbs::ONE, count) as u64;
    assert_eq!(plan.dealt_bytes - network.dealt_bytes, 2 * element(32) + 2 * element(8) + 6 * element(8));
    assert_eq!(plan.sent_bytes_per_party - network.sent_bytes_per_party, 2 * element(8) + element(2));
    let info = watched(2).values().unwrap().get(ValueId(13));
    assert_eq!((info.len, info.mask), (2, MaskKind::Helper));
    let bytes = watched(2).encode().unwrap();
    assert_eq!(bytes[8..10], [5, 0]);
    assert_eq!(Plan::decode(&bytes).unwrap(), watched(2));
    assert_eq!(watched(2).network(), common::exact());
    assert_eq!([watched(2), watched(3), common::exact()].map(|plan| plan.outputs().unwrap()), [3; 3]);
    // All of it in the plan's older version would be another plan's bytes.
    for older in [3, 4] {
        let mut bytes = bytes.clone();
        bytes[8] = older;
        assert!(Plan::decode(&bytes).is_err());
    }
}

#[test]
fn numbers_that_tell_too_little_are_refused() {
    for (numbers, expected) in
        [(0, "outside: 0 numbers"), (65, "outside: 65 numbers"), (1, "too few to tell")]
    {
        let error = watched(numbers).values().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    // Two tell in spite of 29 bits lost, and no more.
    let mut plan = watched_at(2, 22);
    assert!(plan.round_outputs(4).unwrap_err().to_string().contains("needs 5"));
    let error = plan.round_outputs(5).unwrap_err().to_string();
    assert!(error.contains("too few") && plan == watched_at(2, 22), "{error}");
    plan.round_outputs(6).unwrap();
    assert_eq!(plan.output.scale, ScaleBits(6));
    // Bits are no numbers, and what tells is none to compute with.
    let mut plan = watched(2);
    let OpKind::Outside(o) = &mut plan.ops[12].kind else { panic!("what tells") };
    o.input = ValueId(5);
    assert!(plan.values().unwrap_err().to_string().contains("which is bits"));
    let mut plan = watched(8);
    plan.weights.push(common::dense("more", 8, 1, 15));
    plan.ops.push(common::linear("more", 13, 2));
    plan.output = OutputSpec { value: ValueId(15), watch: 0, ..plan.output };
    assert!(plan.values().is_err());
}

#[test]
fn as_many_numbers_tell_as_outputs_that_lose_bits_need() {
    for (limbs, shift, enough) in [
        (Limbs::ONE, 0, Some(1)),
        (Limbs::ONE, 9, Some(1)),
        (Limbs::ONE, 10, Some(2)),
        (Limbs::ONE, 29, Some(2)),
        (Limbs::ONE, 30, Some(3)),
        (Limbs::ONE, 49, Some(59)),
        (Limbs::ONE, 50, None),
        (Limbs::TWO, 61, Some(1)),
        (Limbs::TWO, 62, Some(2)),
    ] {
        assert_eq!(Plan::enough_to_tell(limbs, shift), enough, "{} limbs, {shift}", limbs.count());
    }
    let plan = watched(2);
    let unit = 1.0 / 65_536.0;
    // A unit may be rounding, two are not; one number is enough, of either sign.
    for (numbers, told) in
        [([0.0, 0.0], false), ([unit, -unit], false), ([0.0, -2.0 * unit], true), ([1e6, 0.0], true)]
    {
        let revealed = [&[0.25, 0.5, -1.0][..], &numbers].concat();
        assert_eq!(plan.answer(&revealed), (&[0.25, 0.5, -1.0][..], Some(told)));
    }
}
