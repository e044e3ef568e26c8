//! Plans written by hand.
#![allow(dead_code)] // each test file uses its own part

use amicus_field::{Conv2d, Dense, Limbs, LinearShape, SumPool2d};
use amicus_plan::{
    Activation, InputSpec, Op, OpKind, OutputSpec, Plan, Range, ScaleBits, UseIndex, ValueId, WeightId,
    WeightSpec, WrapRule,
};

pub(crate) fn op(name: &str, kind: OpKind) -> Op {
    Op { name: name.to_owned(), kind }
}

pub(crate) fn linear(name: &str, input: u32, weights: u32) -> Op {
    op(name, OpKind::Linear { input: ValueId(input), weights: WeightId(weights), use_index: UseIndex(0) })
}

pub(crate) fn dense(name: &str, inputs: usize, outputs: usize, scale: u32) -> WeightSpec {
    let shape = LinearShape::Dense(Dense { inputs, outputs });
    WeightSpec { name: name.to_owned(), shape, scale: ScaleBits(scale), bias: true }
}

pub(crate) fn conv(
    name: &str,
    [c, h, w]: [usize; 3],
    out_channels: usize,
    kernel: usize,
    padding: usize,
) -> WeightSpec {
    let shape = LinearShape::Conv2d(Conv2d {
        in_channels: c,
        in_height: h,
        in_width: w,
        out_channels,
        kernel: [kernel; 2],
        stride: [1; 2],
        padding: [padding; 4],
        dilation: [1; 2],
        groups: 1,
    });
    WeightSpec { name: name.to_owned(), shape, scale: ScaleBits(15), bias: true }
}

pub(crate) fn pool2([channels, height, width]: [usize; 3]) -> SumPool2d {
    SumPool2d { channels, height, width, kernel: [2; 2], stride: [2; 2], padding: [0; 4] }
}

/// Degree 6 at the scales of `docs/protocol.md`, section 8: result at `6 * 12 + 13 = 85`.
pub(crate) fn activation(name: &str, input: u32, pool: Option<SumPool2d>) -> Op {
    let activation = Activation {
        input: ValueId(input),
        ell: 101,
        input_scale: ScaleBits(12),
        coefficients: vec![254, 4096, 12301, 0, -22106, 0, 14647],
        coefficient_scale: ScaleBits(13),
        pool,
        wrap: WrapRule::Exact,
    };
    op(name, OpKind::Activation(activation))
}

/// LeNet-5: 4704 + 1600 + 120 + 84 activation inputs.
pub(crate) fn lenet5() -> Plan {
    Plan {
        name: "lenet5".to_owned(),
        limbs: Limbs::TWO,
        input: InputSpec {
            shape: vec![1, 28, 28],
            scale: ScaleBits(16),
            range: Range { low: 0.0, high: 1.0 },
        },
        weights: vec![
            conv("conv1", [1, 28, 28], 6, 5, 2),
            conv("conv2", [6, 14, 14], 16, 5, 0),
            dense("fc1", 400, 120, 15),
            dense("fc2", 120, 84, 15),
            dense("fc3", 84, 10, 11),
        ],
        ops: vec![
            linear("conv1", 0, 0),
            activation("act1", 1, Some(pool2([6, 28, 28]))),
            linear("conv2", 2, 1),
            activation("act2", 3, Some(pool2([16, 10, 10]))),
            linear("fc1", 4, 2),
            activation("act3", 5, None),
            linear("fc2", 6, 3),
            activation("act4", 7, None),
            linear("fc3", 8, 4),
        ],
        output: OutputSpec { value: ValueId(9), ell: 101, scale: ScaleBits(16) },
    }
}

/// A residual block with a dense layer as shortcut: both branches start from value 2.
pub(crate) fn residual() -> Plan {
    let mut plan = lenet5();
    plan.name = "residual".to_owned();
    plan.input.shape = vec![8];
    plan.weights = vec![
        dense("stem", 8, 6, 15),
        dense("branch1", 6, 6, 15),
        dense("branch2", 6, 6, 15),
        dense("short", 6, 6, 14),
        dense("head", 3, 2, 11),
    ];
    plan.ops = vec![
        linear("stem", 0, 0),        // 1, round 1
        activation("act0", 1, None), // 2, round 2
        linear("branch1", 2, 1),     // 3, round 3
        activation("act1", 3, None), // 4, round 4
        linear("branch2", 4, 2),     // 5, round 5
        linear("short", 2, 3),       // 6, round 3
        op("add", OpKind::Add { left: ValueId(5), left_shift: 0, right: ValueId(6), right_shift: 1 }), // 7
        activation("act2", 7, None), // 8, round 6
        op("half", OpKind::Slice { input: ValueId(8), start: 3, len: 3 }), // 9
        linear("head", 9, 4),        // 10, round 7
    ];
    plan.output.value = ValueId(10);
    plan
}
