//! Networks of a few elements. All scales are 0 but where a bit is dropped, so that integers stay
//! small.

use std::sync::Arc;

use amicus_field::{Conv2d, Dense, I256, LimbVec, Limbs, LinearShape, SumPool2d};
use amicus_plan::{
    Activation, Compare, InputSpec, Op, OpKind, OutputSpec, Outside, Plan, PublicId, PublicTensor,
    PublicWeights, Range, ScaleBits, Select, Truncate, UseIndex, ValueId, WeightId, WeightSpec, WrapRule,
};
use amicus_protocol::affine::LayerWeights;

/// A network without its weights.
#[derive(Clone, Debug)]
pub struct Net {
    /// The plan.
    pub plan: Arc<Plan>,
}

impl Net {
    /// Weights, tensor by tensor: those of the layer, then its biases.
    ///
    /// # Panics
    /// When there are not as many as the plan has.
    pub fn weights(&self, tensors: &[&[i64]]) -> Vec<LayerWeights> {
        assert_eq!(tensors.len(), self.plan.weights.len(), "weight tensors");
        let pairs = self.plan.weights.iter().zip(tensors);
        pairs
            .map(|(spec, values)| {
                let (weights, bias) = values.split_at(spec.shape.weights());
                assert_eq!(bias.len(), if spec.bias { spec.shape.biases() } else { 0 }, "biases");
                let vector = |values: &[i64]| LimbVec::from_i64(self.plan.limbs, values);
                LayerWeights { weights: vector(weights), bias: spec.bias.then(|| vector(bias)) }
            })
            .collect()
    }

    /// Elements of one input.
    pub fn input_len(&self) -> usize {
        self.plan.input.shape.iter().product()
    }
}

/// A plan in the making.
#[derive(Debug)]
pub struct Draft {
    plan: Plan,
    uses: Vec<u32>,
}

/// The scale of results from which a bit is dropped.
const DROPPED: ScaleBits = ScaleBits(1);

impl Draft {
    /// A network of `inputs` elements.
    pub fn new(limbs: Limbs, inputs: usize) -> Draft {
        Draft::of_image(limbs, &[inputs])
    }

    /// A network whose input has a shape.
    pub fn of_image(limbs: Limbs, shape: &[usize]) -> Draft {
        let input =
            InputSpec { shape: shape.to_vec(), scale: ScaleBits(0), range: Range { low: -1.0, high: 1.0 } };
        let output =
            OutputSpec { value: ValueId::INPUT, ell: 1, scale: ScaleBits(0), watch: 0, reveal: None };
        let plan = Plan {
            name: "toy".into(),
            limbs,
            input,
            weights: Vec::new(),
            public: Vec::new(),
            ops: Vec::new(),
            output,
        };
        Draft { plan, uses: Vec::new() }
    }

    /// Adds an operation; returns its result.
    pub fn op(&mut self, kind: OpKind) -> ValueId {
        self.plan.ops.push(Op { name: format!("op {}", self.plan.ops.len()), kind });
        ValueId(self.plan.ops.len() as u32)
    }

    /// A weight tensor; its scale is that of the bits to be dropped from what it multiplies.
    pub fn tensor(&mut self, shape: LinearShape, bias: bool, scale: ScaleBits) -> WeightId {
        let name = format!("tensor {}", self.plan.weights.len());
        self.plan.weights.push(WeightSpec { name, shape, scale, bias });
        self.uses.push(0);
        WeightId(self.plan.weights.len() as u32 - 1)
    }

    /// A use of a weight tensor.
    pub fn linear(&mut self, input: ValueId, weights: WeightId) -> ValueId {
        let seen = &mut self.uses[weights.index()];
        let use_index = UseIndex(*seen);
        *seen += 1;
        self.op(OpKind::Linear { input, weights, use_index })
    }

    /// A new dense layer.
    pub fn dense(&mut self, input: ValueId, inputs: usize, outputs: usize, bias: bool) -> ValueId {
        let tensor = self.tensor(LinearShape::Dense(Dense { inputs, outputs }), bias, ScaleBits(0));
        self.linear(input, tensor)
    }

    /// A dense layer of weights that everybody knows, with as many outputs as biases.
    pub fn public(&mut self, input: ValueId, weights: &[i64], bias: &[i64], scale: ScaleBits) -> ValueId {
        let (id, outputs) = (PublicId(self.plan.public.len() as u32), bias.len());
        let shape = LinearShape::Dense(Dense { inputs: weights.len() / outputs, outputs });
        let spec = WeightSpec { name: format!("public {}", id.0), shape, scale, bias: true };
        let bias = bias.iter().map(|&b| I256::from(b)).collect();
        self.plan.public.push(PublicTensor { spec, values: PublicWeights::new(weights.to_vec(), bias) });
        self.op(OpKind::PublicLinear { input, weights: id })
    }

    /// A polynomial of degree 2 or what `coefficients` say, with nothing dropped.
    pub fn activation(
        &mut self,
        input: ValueId,
        coefficients: &[i64],
        pool: Option<SumPool2d>,
        wrap: WrapRule,
    ) -> ValueId {
        self.op(OpKind::Activation(Activation {
            input,
            ell: 1,
            input_scale: ScaleBits(0),
            coefficients: coefficients.to_vec(),
            coefficient_scale: ScaleBits(0),
            pool,
            wrap,
        }))
    }

    /// The network that reveals a value.
    ///
    /// # Panics
    /// When the plan is not valid.
    pub fn reveal(mut self, value: ValueId) -> Net {
        self.plan.output.value = value;
        self.plan.values().expect("a valid toy plan");
        Net { plan: Arc::new(self.plan) }
    }
}

/// Sums over windows of `size` in a row of `width`.
pub fn row_pool(width: usize, size: usize, stride: usize) -> SumPool2d {
    SumPool2d { channels: 1, height: 1, width, kernel: [1, size], stride: [1, stride], padding: [0; 4] }
}

/// One dense layer.
pub fn dense(limbs: Limbs, inputs: usize, outputs: usize, bias: bool) -> Net {
    let mut net = Draft::new(limbs, inputs);
    let z = net.dense(ValueId::INPUT, inputs, outputs, bias);
    net.reveal(z)
}

/// One dense layer of which receivers get all but the lowest bit.
pub fn truncated(limbs: Limbs, inputs: usize) -> Net {
    let mut net = Draft::new(limbs, inputs);
    let tensor = net.tensor(LinearShape::Dense(Dense { inputs, outputs: 1 }), false, DROPPED);
    let z = net.linear(ValueId::INPUT, tensor);
    net.reveal(z)
}

/// A dense layer and a polynomial of degree 2 on what is left without its lowest bit.
pub fn activation(limbs: Limbs, wrap: WrapRule) -> Net {
    let mut net = Draft::new(limbs, 1);
    let tensor = net.tensor(LinearShape::Dense(Dense { inputs: 1, outputs: 1 }), false, DROPPED);
    let z = net.linear(ValueId::INPUT, tensor);
    let y = net.activation(z, &[1, 2, 1], None, wrap);
    net.reveal(y)
}

/// A dense layer of `width` outputs and a polynomial whose results are summed over windows.
pub fn pooled(limbs: Limbs, width: usize, pool: SumPool2d, wrap: WrapRule) -> Net {
    let mut net = Draft::new(limbs, 1);
    let z = net.dense(ValueId::INPUT, 1, width, false);
    let y = net.activation(z, &[1, 0, 1], Some(pool), wrap);
    net.reveal(y)
}

/// A layer of public weights and biases, and a polynomial of degree 2 on what is left of its results
/// without their lowest bit.
pub fn public(limbs: Limbs, weights: &[i64], bias: &[i64], wrap: WrapRule) -> Net {
    let outputs = bias.len();
    let mut net = Draft::new(limbs, weights.len() / outputs);
    let z = net.public(ValueId::INPUT, weights, bias, DROPPED);
    let y = net.activation(z, &[1, 2, 1], None, wrap);
    net.reveal(y)
}

/// The product of the results of two layers of public weights, whose masks the parties share.
pub fn public_product(limbs: Limbs) -> Net {
    let mut net = Draft::new(limbs, 1);
    let left = net.public(ValueId::INPUT, &[2], &[1], ScaleBits(0));
    let right = net.public(ValueId::INPUT, &[1], &[2], ScaleBits(0));
    let z = net.op(OpKind::Multiply { left, right });
    net.reveal(z)
}

/// The product of the two inputs.
pub fn product(limbs: Limbs) -> Net {
    let mut net = Draft::new(limbs, 2);
    let x = net.op(OpKind::Slice { input: ValueId::INPUT, start: 0, len: 1 });
    let y = net.op(OpKind::Slice { input: ValueId::INPUT, start: 1, len: 1 });
    let z = net.op(OpKind::Multiply { left: x, right: y });
    net.reveal(z)
}

/// A dense layer with its polynomial and a branch around both, then another dense layer.
pub fn residual(limbs: Limbs, wrap: WrapRule) -> Net {
    let mut net = Draft::new(limbs, 1);
    let z = net.dense(ValueId::INPUT, 1, 1, false);
    let y = net.activation(z, &[1, 1, 1], None, wrap);
    let (left, right) = (y, ValueId::INPUT);
    let sum = net.op(OpKind::Add { left, left_shift: 0, right, right_shift: 0 });
    let z = net.dense(sum, 1, 1, false);
    net.reveal(z)
}

/// One tensor used twice, with a polynomial of degree 1 between.
pub fn repeated(limbs: Limbs) -> Net {
    let mut net = Draft::new(limbs, 1);
    let tensor = net.tensor(LinearShape::Dense(Dense { inputs: 1, outputs: 1 }), false, ScaleBits(0));
    let z = net.linear(ValueId::INPUT, tensor);
    let y = net.activation(z, &[1, 1], None, WrapRule::Statistical);
    let z = net.linear(y, tensor);
    net.reveal(z)
}

/// A comparison of the input with thresholds, and the polynomials that its bits choose.
pub fn compared(limbs: Limbs, thresholds: &[i128], digits: &[u32], polynomials: &[&[i128]]) -> Net {
    let mut net = Draft::new(limbs, 1);
    let compare =
        Compare { input: ValueId::INPUT, thresholds: thresholds.to_vec(), unit: 0, digits: digits.to_vec() };
    let bits = net.op(OpKind::Compare(compare));
    let y = net.op(OpKind::Select(Select {
        input: ValueId::INPUT,
        bits: Some(bits),
        polynomials: polynomials.iter().map(|q| q.to_vec()).collect(),
        scale: ScaleBits(0),
        pool: None,
        base: None,
    }));
    net.reveal(y)
}

/// Two comparisons of the input, and the polynomials that both of their bits together choose.
pub fn both(limbs: Limbs, thresholds: [i128; 2], polynomials: &[&[i128]]) -> Net {
    let mut net = Draft::new(limbs, 1);
    let [left, right] = thresholds.map(|threshold| {
        let thresholds = vec![threshold];
        net.op(OpKind::Compare(Compare { input: ValueId::INPUT, thresholds, unit: 0, digits: vec![1] }))
    });
    let bits = net.op(OpKind::Xnor { left, right });
    let y = net.op(OpKind::Select(Select {
        input: ValueId::INPUT,
        bits: Some(bits),
        polynomials: polynomials.iter().map(|q| q.to_vec()).collect(),
        scale: ScaleBits(0),
        pool: None,
        base: None,
    }));
    net.reveal(y)
}

/// Whether an input is neither 0 nor 1.
pub fn outside(limbs: Limbs, inputs: usize) -> Net {
    let mut net = Draft::new(limbs, inputs);
    let told = net.op(OpKind::Outside(Outside { input: ValueId::INPUT, numbers: 1, scale: ScaleBits(0) }));
    net.reveal(told)
}

/// Whether a value is at least 0.
fn wins(net: &mut Draft, input: ValueId, digits: &[u32]) -> ValueId {
    net.op(OpKind::Compare(Compare { input, thresholds: vec![0], unit: 0, digits: digits.to_vec() }))
}

fn part(net: &mut Draft, start: usize) -> ValueId {
    net.op(OpKind::Slice { input: ValueId::INPUT, start, len: 1 })
}

fn difference(net: &mut Draft, left: ValueId, right: ValueId) -> ValueId {
    net.op(OpKind::Subtract { left, left_shift: 0, right, right_shift: 0 })
}

fn chosen(
    net: &mut Draft,
    input: ValueId,
    bits: ValueId,
    polynomials: &[&[i128]],
    base: Option<ValueId>,
) -> ValueId {
    net.op(OpKind::Select(Select {
        input,
        bits: Some(bits),
        polynomials: polynomials.iter().map(|q| q.to_vec()).collect(),
        scale: ScaleBits(0),
        pool: None,
        base,
    }))
}

/// Which of the two inputs is the larger one, 0 or 1: the first round of a tournament of outputs.
pub fn label(limbs: Limbs, digits: &[u32]) -> Net {
    let mut net = Draft::new(limbs, 2);
    let (left, right) = (part(&mut net, 0), part(&mut net, 1));
    let difference = difference(&mut net, left, right);
    let wins = wins(&mut net, difference, digits);
    let label = chosen(&mut net, difference, wins, &[&[1], &[-1]], None);
    net.reveal(label)
}

/// The label of the larger one of two numbers: inputs are their difference and their labels, and 2 is
/// added to that of the second. A later round of a tournament.
pub fn label_of_winners(limbs: Limbs, digits: &[u32]) -> Net {
    let mut net = Draft::new(limbs, 3);
    let apart = part(&mut net, 0);
    let wins = wins(&mut net, apart, digits);
    let (left, right) = (part(&mut net, 1), part(&mut net, 2));
    let apart = difference(&mut net, left, right);
    let label = chosen(&mut net, apart, wins, &[&[2], &[-2, 1]], Some(right));
    net.reveal(label)
}

/// A ReLU behind a dense layer: comparison and truncation by a bit, then the selection.
pub fn relu(limbs: Limbs) -> Net {
    let mut net = Draft::new(limbs, 1);
    let tensor = net.tensor(LinearShape::Dense(Dense { inputs: 1, outputs: 1 }), false, DROPPED);
    let z = net.linear(ValueId::INPUT, tensor);
    let bits = net.op(OpKind::Compare(Compare { input: z, thresholds: vec![0], unit: 1, digits: vec![1] }));
    let u = net.op(OpKind::Truncate(Truncate { input: z, scale: ScaleBits(0), ell: 1 }));
    let y = net.op(OpKind::Select(Select {
        input: u,
        bits: Some(bits),
        polynomials: vec![vec![0], vec![0, 1]],
        scale: ScaleBits(0),
        pool: None,
        base: None,
    }));
    net.reveal(y)
}

/// A convolution of one tap over two pixels, with a bias.
pub fn convolution(limbs: Limbs) -> Net {
    let mut net = Draft::of_image(limbs, &[1, 1, 2]);
    let shape = LinearShape::Conv2d(Conv2d {
        in_channels: 1,
        in_height: 1,
        in_width: 2,
        out_channels: 1,
        kernel: [1, 1],
        stride: [1, 1],
        padding: [0; 4],
        dilation: [1, 1],
        groups: 1,
    });
    let tensor = net.tensor(shape, true, ScaleBits(0));
    let z = net.linear(ValueId::INPUT, tensor);
    net.reveal(z)
}
