//! Tests named after what broke.

use amicus_field::{Dense, LimbVec, Limbs, LinearShape};
use amicus_plan::{
    InputSpec, Op, OpKind, OutputSpec, Plan, Range, ScaleBits, UseIndex, ValueId, WeightId, WeightSpec,
};
use amicus_protocol::Parties;
use amicus_protocol::affine::LayerWeights;
use amicus_testkit::direct;
use std::sync::Arc;

/// The constants of the check mistook the tag mask (one column more than inputs) for one of each
/// batch element when both have equally many elements: an honest run was rejected.
#[test]
fn a_layer_of_one_input_with_a_bias_works_in_a_batch_of_two() {
    let limbs = Limbs::TWO;
    let spec = WeightSpec {
        name: "one".into(),
        shape: LinearShape::Dense(Dense { inputs: 1, outputs: 2 }),
        scale: ScaleBits(8),
        bias: true,
    };
    let kind = OpKind::Linear { input: ValueId(0), weights: WeightId(0), use_index: UseIndex(0) };
    let plan = Arc::new(Plan {
        name: "one input".into(),
        limbs,
        input: InputSpec { shape: vec![1], scale: ScaleBits(8), range: Range { low: -1.0, high: 1.0 } },
        weights: vec![spec],
        public: Vec::new(),
        ops: vec![Op { name: "one".into(), kind }],
        output: OutputSpec { value: ValueId(1), ell: 40, scale: ScaleBits(16), watch: 0, reveal: None },
    });
    let layer = LayerWeights {
        weights: LimbVec::from_i64(limbs, &[256, -512]),
        bias: Some(LimbVec::from_i64(limbs, &[65536, 0])),
    };
    let loaded = direct::load(&plan, &[layer], Parties::new(2).unwrap(), None).unwrap();
    for batch in 1..=4 {
        let inputs: Vec<i64> = (1..=batch).map(|i| 100 * i).collect();
        let logits =
            direct::infer(&loaded, &inputs, batch as usize, &[], &mut |_| ()).unwrap().logits.unwrap();
        let expected: Vec<f64> =
            inputs.iter().flat_map(|&x| [x as f64 / 256.0 + 1.0, x as f64 / -128.0]).collect();
        assert_eq!(logits, expected);
    }
}
