//! A small network whose real-number result is known: two dense layers with a polynomial between
//! them.

use amicus_field::{Dense, LimbVec, Limbs, LinearShape};
use amicus_plan::{
    Activation, InputSpec, Op, OpKind, OutputSpec, Plan, Range, ScaleBits, UseIndex, ValueId, WeightId,
    WeightSpec, WrapRule,
};
use amicus_protocol::affine::LayerWeights;
use std::sync::Arc;

/// Elements of the input.
pub const INPUTS: usize = 6;
/// Elements of the hidden layer.
pub const HIDDEN: usize = 4;
/// Elements of the output.
pub const OUTPUTS: usize = 3;

fn dense(name: &str, inputs: usize, outputs: usize, scale: u32) -> WeightSpec {
    let shape = LinearShape::Dense(Dense { inputs, outputs });
    WeightSpec { name: name.into(), shape, scale: ScaleBits(scale), bias: true }
}

/// Two dense layers with a polynomial of degree 6 (2 for one limb) between them.
pub fn plan(limbs: Limbs) -> Plan {
    let (f_u, f_c, f_w, guard) = if limbs == Limbs::ONE { (8, 6, 8, 1) } else { (12, 13, 15, 1) };
    let coefficients =
        if limbs == Limbs::ONE { vec![2, 30, 40] } else { vec![200, 4000, 5700, 0, -3000, 0, 1200] };
    let degree = coefficients.len() as u32 - 1;
    let first = 12 + f_w;
    let second = degree * f_u + f_c + f_w;
    let activation = Activation {
        input: ValueId(1),
        ell: first + guard,
        input_scale: ScaleBits(f_u),
        coefficients,
        coefficient_scale: ScaleBits(f_c),
        pool: None,
        wrap: WrapRule::Exact,
    };
    Plan {
        name: "test".into(),
        limbs,
        input: InputSpec { shape: vec![INPUTS], scale: ScaleBits(12), range: Range { low: -1.0, high: 1.0 } },
        weights: vec![dense("first", INPUTS, HIDDEN, f_w), dense("second", HIDDEN, OUTPUTS, f_w)],
        public: Vec::new(),
        ops: vec![
            Op {
                name: "first".into(),
                kind: OpKind::Linear { input: ValueId(0), weights: WeightId(0), use_index: UseIndex(0) },
            },
            Op { name: "act".into(), kind: OpKind::Activation(activation) },
            Op {
                name: "second".into(),
                kind: OpKind::Linear { input: ValueId(2), weights: WeightId(1), use_index: UseIndex(0) },
            },
        ],
        output: OutputSpec {
            value: ValueId(3),
            ell: second + guard,
            scale: ScaleBits(second.min(16)),
            watch: 0,
            reveal: None,
        },
    }
}

/// Repeatable integers of `bits` bits, signed.
pub fn integers(count: usize, bits: u32, salt: u64) -> Vec<i64> {
    let mut state = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as i64 % (1 << bits)
    };
    (0..count).map(|_| next() - (1 << (bits - 1))).collect()
}

/// The network with its weights.
#[derive(Debug)]
pub struct Model {
    /// Its plan.
    pub plan: Arc<Plan>,
    weights: Vec<(Vec<i64>, Vec<i64>)>,
}

impl Model {
    /// Repeatable weights for a plan with this many limbs.
    pub fn new(limbs: Limbs) -> Self {
        let plan = plan(limbs);
        let bits = plan.weights[0].scale.0 - 1;
        let weights = plan
            .weights
            .iter()
            .zip(1..)
            .map(|(w, salt)| {
                (integers(w.shape.weights(), bits, salt), integers(w.shape.biases(), 12, salt + 9))
            })
            .collect();
        Model { plan: Arc::new(plan), weights }
    }

    /// The weights as the owner has them.
    pub fn layers(&self) -> Vec<LayerWeights> {
        let limbs = self.plan.limbs;
        let layer = |(w, b): &(Vec<i64>, Vec<i64>)| LayerWeights {
            weights: LimbVec::from_i64(limbs, w),
            bias: Some(LimbVec::from_i64(limbs, b)),
        };
        self.weights.iter().map(layer).collect()
    }

    /// The network in real numbers, from the quantised weights.
    pub fn plain(&self, x: &[i64]) -> Vec<f64> {
        let OpKind::Activation(a) = &self.plan.ops[1].kind else { unreachable!() };
        let scale = |bits: u32| 2f64.powi(bits as i32);
        let w_scale = self.plan.weights[0].scale.0;
        let layer = |(w, b): &(Vec<i64>, Vec<i64>), x: &[f64], total: u32| -> Vec<f64> {
            b.iter()
                .zip(w.chunks(x.len()))
                .map(|(b, row)| {
                    row.iter().zip(x).map(|(w, x)| *w as f64 / scale(w_scale) * x).sum::<f64>()
                        + *b as f64 / scale(total)
                })
                .collect()
        };
        let x: Vec<f64> = x.iter().map(|&x| x as f64 / scale(12)).collect();
        let hidden = layer(&self.weights[0], &x, 12 + w_scale);
        let y: Vec<f64> = hidden
            .iter()
            .map(|u| {
                a.coefficients.iter().rev().fold(0.0, |p, &c| p * u + c as f64 / scale(a.coefficient_scale.0))
            })
            .collect();
        let d = a.coefficients.len() as u32 - 1;
        layer(&self.weights[1], &y, d * a.input_scale.0 + a.coefficient_scale.0 + w_scale)
    }
}

impl Model {
    /// Relative distance of logits from the network in real numbers; small logits count as 0.05.
    pub fn error_of(&self, inputs: &[i64], logits: &[f64]) -> f64 {
        let expected: Vec<f64> = inputs.chunks(INPUTS).flat_map(|x| self.plain(x)).collect();
        let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let difference: Vec<f64> = expected.iter().zip(logits).map(|(a, b)| a - b).collect();
        norm(&difference) / norm(&expected).max(0.05)
    }
}
