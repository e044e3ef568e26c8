//! Plans written by hand.
#![allow(dead_code)] // each test file uses its own part

use amicus_field::{Conv2d, Dense, Limbs, LinearShape, SumPool2d};
use amicus_plan::{
    Activation, Compare, InputSpec, Op, OpKind, OutputSpec, Plan, Range, ScaleBits, Select, Truncate,
    UseIndex, ValueId, WeightId, WeightSpec, WrapRule,
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
        public: Vec::new(),
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
        output: OutputSpec { value: ValueId(9), ell: 101, scale: ScaleBits(16), watch: 0, reveal: None },
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

/// A comparison with 0 in six digits of two bits.
pub(crate) fn compare(name: &str, input: u32) -> Op {
    let input = ValueId(input);
    op(name, OpKind::Compare(Compare { input, thresholds: vec![0], unit: 24, digits: vec![2; 6] }))
}

/// `b z`, or `base + b z`.
pub(crate) fn relu(name: &str, input: u32, bits: u32, scale: u32, base: Option<u32>) -> Op {
    op(
        name,
        OpKind::Select(Select {
            input: ValueId(input),
            bits: Some(ValueId(bits)),
            polynomials: vec![vec![0], vec![0, 1]],
            scale: ScaleBits(scale),
            pool: None,
            base: base.map(ValueId),
        }),
    )
}

fn taps(name: &str, input: u32, rows: [u32; 2], columns: [u32; 2]) -> Op {
    let (rows, columns) = (rows.to_vec(), columns.to_vec());
    op(name, OpKind::Gather { input: ValueId(input), size: [4, 4], rows, columns })
}

/// A convolution, maxima of pairs of pixels, ReLU of what is truncated, a dense layer; one limb.
pub(crate) fn exact() -> Plan {
    let mut plan = lenet5();
    plan.name = "exact".to_owned();
    plan.limbs = Limbs::ONE;
    plan.input = InputSpec { shape: vec![1, 6, 6], scale: ScaleBits(13), ..plan.input };
    plan.weights = vec![conv("conv", [1, 6, 6], 2, 3, 0), dense("fc", 8, 3, 15)];
    let difference = OpKind::Subtract { left: ValueId(2), left_shift: 0, right: ValueId(3), right_shift: 0 };
    plan.ops = vec![
        linear("conv", 0, 0),               // 1: 2 x 4 x 4, scale 28, round 1
        taps("left", 1, [0, 2], [0, 2]),    // 2
        taps("right", 1, [0, 2], [1, 3]),   // 3
        op("difference", difference),       // 4
        compare("larger", 4),               // 5, rounds 2 to 4
        relu("maximum", 4, 5, 28, Some(3)), // 6, round 5
        compare("sign", 6),                 // 7, rounds 6 to 8
        op("cut", OpKind::Truncate(Truncate { input: ValueId(6), scale: ScaleBits(13), ell: 34 })), // 8
        relu("relu", 8, 7, 13, None),       // 9, round 9
        linear("fc", 9, 1),                 // 10, round 10
    ];
    plan.output = OutputSpec { value: ValueId(10), ell: 34, scale: ScaleBits(16), watch: 0, reveal: None };
    plan
}
