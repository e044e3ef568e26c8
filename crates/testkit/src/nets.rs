//! Small networks that use every operation of a plan, with their weights and the exact simulator
//! beside them.
//!
//! Scales are low (a few bits more where there is more than one limb) and bounds as wide as the
//! modulus allows, so that every network exists for one, two and three limbs.

use crate::random::Random;
use amicus_field::{Conv2d, Dense, I256, LimbVec, Limbs, LinearShape, SumPool2d};
use amicus_model::Simulator;
use amicus_model::quantize::{QuantizedLayer, QuantizedWeights};
use amicus_plan::{
    Activation, Compare, InputSpec, Op, OpKind, OutputSpec, Outside, Part, Plan, PublicId, PublicTensor,
    PublicWeights, Range, ScaleBits, Select, Truncate, UseIndex, ValueId, WeightId, WeightSpec, WrapRule,
};
use amicus_protocol::affine::LayerWeights;
use std::sync::Arc;

/// Scale of inputs and weights with one limb, and of coefficients.
const SCALE: u32 = 3;

/// The polynomials of `max(0, x)`.
pub const RELU: &[&[i128]] = &[&[0], &[0, 1]];

/// Bits that more limbs leave for every scale.
fn extra(limbs: Limbs) -> u32 {
    if limbs == Limbs::ONE { 0 } else { 5 }
}

/// A plan with its weights.
#[derive(Debug)]
pub struct Net {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Its integer weights.
    pub weights: QuantizedWeights,
}

impl Net {
    /// The weights as the owner has them.
    pub fn layers(&self) -> Vec<LayerWeights> {
        let (plan, weights) = (&self.plan, &self.weights);
        let ids = (0u32..).take(plan.weights.len()).map(WeightId);
        ids.map(|id| LayerWeights {
            weights: weights.weights(id, plan.limbs),
            bias: weights.bias(id, plan.limbs),
        })
        .collect()
    }

    /// This network with weights that everybody knows.
    pub fn published(self) -> Net {
        let (plan, _) = self.plan.published(self.weights.public()).expect("weights of this plan");
        let weights = QuantizedWeights::new(&plan, Vec::new()).expect("nothing is secret");
        Net { plan: Arc::new(plan), weights }
    }

    /// Elements of one input.
    pub fn input_len(&self) -> usize {
        self.plan.input.shape.iter().product()
    }

    /// Repeatable inputs between -1 and 1.
    pub fn inputs(&self, batch: usize, salt: u64) -> Vec<i64> {
        Random(salt).integers(self.input_len() * batch, (1 << self.plan.input.scale.0) + 1)
    }

    /// What the exact simulator gives.
    pub fn simulate(&self, inputs: &[i64], batch: usize) -> Vec<f64> {
        let simulator = Simulator::new(&self.plan, &self.weights).expect("weights of this plan");
        let outputs = simulator.outputs(&LimbVec::from_i64(self.plan.limbs, inputs), batch);
        outputs.expect("inputs of this plan").logits()
    }

    /// Relative distance of logits from the simulator's; small ones count as 1.
    pub fn error_of(&self, inputs: &[i64], logits: &[f64]) -> f64 {
        let batch = inputs.len() / self.input_len();
        let expected = self.simulate(inputs, batch);
        assert_eq!(expected.len(), logits.len(), "number of logits");
        let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let difference: Vec<f64> = expected.iter().zip(logits).map(|(a, b)| a - b).collect();
        norm(&difference) / norm(&expected).max(1.0)
    }

    /// The operation of a name.
    pub fn op(&self, name: &str) -> u32 {
        let index = self.plan.ops.iter().position(|op| op.name == name);
        index.unwrap_or_else(|| panic!("{} has no {name}", self.plan.name)) as u32
    }
}

/// A network that grows operation by operation; operations are named by kind and number.
pub struct Draft {
    plan: Plan,
    layers: Vec<QuantizedLayer>,
    random: Random,
}

impl Draft {
    /// A network without operations.
    pub fn new(name: &str, limbs: Limbs, shape: &[usize]) -> Self {
        let input = InputSpec {
            shape: shape.to_vec(),
            scale: ScaleBits(SCALE + extra(limbs)),
            range: Range { low: -1.0, high: 1.0 },
        };
        let output =
            OutputSpec { value: ValueId(1), ell: bound(limbs), scale: ScaleBits(0), watch: 0, reveal: None };
        let plan = Plan {
            name: name.into(),
            limbs,
            input,
            weights: Vec::new(),
            public: Vec::new(),
            ops: Vec::new(),
            output,
        };
        Draft { plan, layers: Vec::new(), random: Random(name.bytes().map(u64::from).sum()) }
    }

    /// Sets the scale of the input, for one limb.
    pub fn input_scale(mut self, bits: u32) -> Self {
        self.plan.input.scale = ScaleBits(bits + extra(self.plan.limbs));
        self
    }

    /// Scale of a value so far.
    pub fn scale(&self, value: ValueId) -> u32 {
        let mut plan = self.plan.clone();
        if value == ValueId::INPUT {
            return plan.input.scale.0;
        }
        plan.output =
            OutputSpec { value, ell: bound(plan.limbs), scale: ScaleBits(0), watch: 0, reveal: None };
        plan.values().expect("a valid draft").get(value).scale.0
    }

    fn push(&mut self, kind: OpKind) -> ValueId {
        let word = match &kind {
            OpKind::Linear { .. } => "linear",
            OpKind::Multiply { .. } => "multiply",
            OpKind::Activation(_) => "activation",
            OpKind::Add { .. } => "add",
            OpKind::SumPool { .. } => "pool",
            OpKind::Slice { .. } => "slice",
            OpKind::Concat { .. } => "concat",
            OpKind::Weigh { .. } => "weigh",
            OpKind::Subtract { .. } => "subtract",
            OpKind::Gather { .. } => "gather",
            OpKind::Xnor { .. } => "xnor",
            OpKind::Compare(_) => "compare",
            OpKind::Truncate(_) => "truncate",
            OpKind::Select(_) => "select",
            OpKind::Outside(_) => "outside",
            OpKind::PublicLinear { .. } => "public linear",
        };
        let number = self.plan.ops.iter().filter(|op| op.name.starts_with(word)).count();
        self.plan.ops.push(Op { name: format!("{word} {number}"), kind });
        ValueId(self.plan.ops.len() as u32)
    }

    fn linear(&mut self, input: ValueId, shape: LinearShape, bias: bool) -> ValueId {
        let id = WeightId(self.plan.weights.len() as u32);
        let (spec, layer) = self.tensor(format!("weights {}", id.0), input, shape, bias);
        self.plan.weights.push(spec);
        self.layers.push(layer);
        self.push(OpKind::Linear { input, weights: id, use_index: UseIndex(0) })
    }

    fn tensor(
        &mut self,
        name: String,
        input: ValueId,
        shape: LinearShape,
        bias: bool,
    ) -> (WeightSpec, QuantizedLayer) {
        let scale = SCALE + extra(self.plan.limbs);
        let result_scale = self.scale(input) + scale;
        let spec = WeightSpec { name, shape, scale: ScaleBits(scale), bias };
        // A quarter at most in absolute value, so that values stay small.
        let weights = self.random.integers(shape.weights(), (1 << scale) / 4 + 1);
        let biases = if bias { shape.biases() } else { 0 };
        let bias = self.random.integers(biases, 1 << result_scale.min(40)).into_iter().map(I256::from);
        (spec, QuantizedLayer::new(weights, bias.collect()))
    }

    /// A dense layer of weights that everybody knows.
    pub fn public(&mut self, input: ValueId, inputs: usize, outputs: usize, bias: bool) -> ValueId {
        let shape = LinearShape::Dense(Dense { inputs, outputs });
        let weights = PublicId(self.plan.public.len() as u32);
        let (spec, layer) = self.tensor(format!("public {}", weights.0), input, shape, bias);
        let values = PublicWeights::new(layer.weights().to_vec(), layer.bias().to_vec());
        self.plan.public.push(PublicTensor { spec, values });
        self.push(OpKind::PublicLinear { input, weights })
    }

    /// A dense layer.
    pub fn dense(&mut self, input: ValueId, inputs: usize, outputs: usize, bias: bool) -> ValueId {
        self.linear(input, LinearShape::Dense(Dense { inputs, outputs }), bias)
    }

    /// A convolution.
    pub fn conv(&mut self, input: ValueId, conv: Conv2d, bias: bool) -> ValueId {
        self.linear(input, LinearShape::Conv2d(conv), bias)
    }

    /// One more use of a weight tensor.
    pub fn again(&mut self, input: ValueId, weights: WeightId) -> ValueId {
        let uses = self.plan.ops.iter().filter(|op| match &op.kind {
            OpKind::Linear { weights: w, .. } => *w == weights,
            _ => false,
        });
        let use_index = UseIndex(uses.count() as u32);
        self.push(OpKind::Linear { input, weights, use_index })
    }

    /// An activation with arguments at a scale (for one limb), repeatable coefficients and a pool.
    pub fn activation(
        &mut self,
        input: ValueId,
        argument: u32,
        degree: usize,
        pool: Option<SumPool2d>,
    ) -> ValueId {
        let mut coefficients = self.random.integers(degree + 1, 9);
        // A polynomial of lower degree would be another test.
        coefficients[degree] = coefficients[degree].max(1);
        self.polynomial(input, argument, coefficients, pool, WrapRule::Exact, bound(self.plan.limbs))
    }

    /// An activation with everything given.
    pub fn polynomial(
        &mut self,
        input: ValueId,
        argument: u32,
        coefficients: Vec<i64>,
        pool: Option<SumPool2d>,
        wrap: WrapRule,
        ell: u32,
    ) -> ValueId {
        self.push(OpKind::Activation(Activation {
            input,
            ell,
            input_scale: ScaleBits(argument + extra(self.plan.limbs)),
            coefficients,
            coefficient_scale: ScaleBits(SCALE),
            pool,
            wrap,
        }))
    }

    /// The sum of two values, the one of lower scale shifted up.
    pub fn add(&mut self, left: ValueId, right: ValueId) -> ValueId {
        let (l, r) = (self.scale(left), self.scale(right));
        let (left_shift, right_shift) = (l.max(r) - l, l.max(r) - r);
        self.push(OpKind::Add { left, left_shift, right, right_shift })
    }

    /// The product of two values, element by element.
    pub fn multiply(&mut self, left: ValueId, right: ValueId) -> ValueId {
        self.push(OpKind::Multiply { left, right })
    }

    /// Sums over windows of an open value.
    pub fn pool(&mut self, input: ValueId, pool: SumPool2d) -> ValueId {
        self.push(OpKind::SumPool { input, pool })
    }

    /// A part of a value.
    pub fn slice(&mut self, input: ValueId, start: usize, len: usize) -> ValueId {
        self.push(OpKind::Slice { input, start, len })
    }

    /// Values one behind the other, those of lower scale shifted up.
    pub fn concat(&mut self, parts: &[ValueId]) -> ValueId {
        let scales: Vec<u32> = parts.iter().map(|p| self.scale(*p)).collect();
        let highest = scales.iter().copied().max().unwrap_or_default();
        let parts = parts.iter().zip(scales).map(|(&input, s)| Part { input, shift: highest - s }).collect();
        self.push(OpKind::Concat { parts })
    }

    /// Numbers kept as they are, at a scale that is `shift` bits finer.
    pub fn finer(&mut self, input: ValueId, shift: u32) -> ValueId {
        self.push(OpKind::Concat { parts: vec![Part { input, shift }] })
    }

    /// Every element times the factors of its row and column.
    pub fn weigh(&mut self, input: ValueId, rows: &[u32], columns: &[u32]) -> ValueId {
        self.push(OpKind::Weigh { input, rows: rows.to_vec(), columns: columns.to_vec() })
    }

    /// Whether each element is above each of the thresholds, given in units; a unit is `bits` below
    /// the point.
    pub fn compare(&mut self, input: ValueId, thresholds: &[i64], bits: u32, digits: &[u32]) -> ValueId {
        let unit = self.scale(input) - bits;
        let thresholds = thresholds.iter().map(|&t| i128::from(t) << unit).collect();
        self.push(OpKind::Compare(Compare { input, thresholds, unit, digits: digits.to_vec() }))
    }

    /// Truncation to a scale (for one limb).
    pub fn truncate(&mut self, input: ValueId, scale: u32) -> ValueId {
        let scale = ScaleBits(scale + extra(self.plan.limbs));
        self.push(OpKind::Truncate(Truncate { input, scale, ell: bound(self.plan.limbs) }))
    }

    /// Polynomials that bits choose, whose result has the scale of the input times the degree.
    pub fn select(
        &mut self,
        input: ValueId,
        bits: Option<ValueId>,
        polynomials: &[&[i128]],
        pool: Option<SumPool2d>,
        base: Option<ValueId>,
    ) -> ValueId {
        let degree = polynomials.iter().map(|q| q.len() as u32 - 1).max().unwrap_or(0);
        let scale = ScaleBits(self.scale(input) * degree);
        let polynomials = polynomials.iter().map(|q| q.to_vec()).collect();
        self.push(OpKind::Select(Select { input, bits, polynomials, scale, pool, base }))
    }

    /// The difference of two values of one scale.
    pub fn subtract(&mut self, left: ValueId, right: ValueId) -> ValueId {
        self.push(OpKind::Subtract { left, left_shift: 0, right, right_shift: 0 })
    }

    /// Pixels of images of one size.
    pub fn gather(&mut self, input: ValueId, size: [usize; 2], rows: &[u32], columns: &[u32]) -> ValueId {
        let (rows, columns) = (rows.to_vec(), columns.to_vec());
        self.push(OpKind::Gather { input, size, rows, columns })
    }

    /// `max(0, x)` of a value, truncated to a scale (for one limb) or not.
    pub fn relu(&mut self, input: ValueId, scale: Option<u32>, digits: &[u32]) -> ValueId {
        let bits = self.compare(input, &[0], 4, digits);
        let value = scale.map_or(input, |scale| self.truncate(input, scale));
        self.select(value, Some(bits), RELU, None, None)
    }

    /// The larger of two values of one scale, element by element.
    pub fn max(&mut self, left: ValueId, right: ValueId, digits: &[u32]) -> ValueId {
        let difference = self.subtract(left, right);
        let bits = self.compare(difference, &[0], 4, digits);
        self.select(difference, Some(bits), RELU, None, Some(right))
    }

    /// The bits of two comparisons, and whether they are equal.
    pub fn xnor(&mut self, left: ValueId, right: ValueId) -> ValueId {
        self.push(OpKind::Xnor { left, right })
    }

    /// Numbers that say whether any element is neither 0 nor 1, at the scale of a value.
    pub fn outside(&mut self, input: ValueId, numbers: u32, like: ValueId) -> ValueId {
        let scale = ScaleBits(self.scale(like));
        self.push(OpKind::Outside(Outside { input, numbers, scale }))
    }

    /// `max(0, x, y)` of two values of one scale, truncated to a scale (for one limb) or not, at
    /// twice the scale of its unit: which one is larger and whether it is positive, both at once.
    pub fn relu_of_max(
        &mut self,
        left: ValueId,
        right: ValueId,
        scale: Option<u32>,
        digits: &[u32],
    ) -> ValueId {
        let difference = self.subtract(left, right);
        let wins = self.compare(difference, &[0], 4, digits);
        // Twice the product of the bits "wins" and "positive", of "loses" and "positive".
        let products: [&[&[i128]]; 2] =
            [&[&[0, -1], &[0, 1], &[0, 1], &[0, 1]], &[&[0, 1], &[0, -1], &[0, 1], &[0, -1]]];
        let [left, right] = [(left, products[0]), (right, products[1])].map(|(side, product)| {
            let positive = self.compare(side, &[0], 4, digits);
            let both = self.xnor(wins, positive);
            let value = scale.map_or(side, |scale| self.truncate(side, scale));
            self.select(value, Some(both), product, None, None)
        });
        self.add(left, right)
    }

    /// The network that reveals a value, rounded by some bits.
    pub fn reveal(mut self, value: ValueId) -> Net {
        let scale = self.scale(value);
        self.plan.output = OutputSpec {
            value,
            ell: bound(self.plan.limbs),
            scale: ScaleBits(scale - scale / 3),
            watch: 0,
            reveal: None,
        };
        let weights = QuantizedWeights::new(&self.plan, self.layers).expect("weights of this plan");
        self.plan.values().expect("a valid network");
        Net { plan: Arc::new(self.plan), weights }
    }
}

/// The widest bound of a value that a modulus allows.
pub fn bound(limbs: Limbs) -> u32 {
    limbs.bits() - 3
}
