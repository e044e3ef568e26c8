//! The protocol's states against plain integer arithmetic, without channels.

use amicus_field::{Dense, Element, I256, LimbVec, Limbs, LinearShape};
use amicus_plan::{
    Activation, InputSpec, Op, OpKind, OutputSpec, Plan, Range, ScaleBits, UseIndex, ValueId, WeightId,
    WeightSpec, WrapRule,
};
use amicus_protocol::affine::LayerWeights;
use amicus_protocol::{Parties, ProtocolError};
use amicus_testkit::direct::{self, Shift};
use std::sync::Arc;

const INPUTS: usize = 6;
const HIDDEN: usize = 4;
const OUTPUTS: usize = 3;

fn dense(name: &str, inputs: usize, outputs: usize, scale: u32) -> WeightSpec {
    let shape = LinearShape::Dense(Dense { inputs, outputs });
    WeightSpec { name: name.into(), shape, scale: ScaleBits(scale), bias: true }
}

/// Two dense layers with a polynomial of degree 6 between them.
fn plan(limbs: Limbs) -> Plan {
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
        output: OutputSpec { value: ValueId(3), ell: second + guard, scale: ScaleBits(second.min(16)) },
    }
}

fn integers(count: usize, bits: u32, salt: u64) -> Vec<i64> {
    let mut state = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as i64 % (1 << bits)
    };
    (0..count).map(|_| next() - (1 << (bits - 1))).collect()
}

struct Model {
    plan: Arc<Plan>,
    weights: Vec<(Vec<i64>, Vec<i64>)>,
}

impl Model {
    fn new(limbs: Limbs) -> Self {
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

    fn layers(&self) -> Vec<LayerWeights> {
        let limbs = self.plan.limbs;
        let layer = |(w, b): &(Vec<i64>, Vec<i64>)| LayerWeights {
            weights: LimbVec::from_i64(limbs, w),
            bias: Some(LimbVec::from_i64(limbs, b)),
        };
        self.weights.iter().map(layer).collect()
    }

    /// The network in real numbers, from the quantised weights.
    fn plain(&self, x: &[i64]) -> Vec<f64> {
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

fn error_of(model: &Model, inputs: &[i64], logits: &[f64]) -> f64 {
    let expected: Vec<f64> = inputs.chunks(INPUTS).flat_map(|x| model.plain(x)).collect();
    let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let difference: Vec<f64> = expected.iter().zip(logits).map(|(a, b)| a - b).collect();
    norm(&difference) / norm(&expected)
}

#[test]
fn honest_runs_give_the_network() {
    for limbs in [Limbs::ONE, Limbs::TWO, Limbs::THREE] {
        let model = Model::new(limbs);
        for (n, batch) in [(2, 1), (3, 2), (5, 1)] {
            let loaded =
                direct::load(&model.plan, &model.layers(), Parties::new(n).unwrap(), 1, None).unwrap();
            for salt in 0..3 {
                let inputs = integers(INPUTS * batch, 12, 100 + salt);
                let outcome = direct::infer(&loaded, &inputs, batch, &[], &mut |_| ()).unwrap();
                let error = error_of(&model, &inputs, &outcome.logits.unwrap());
                let bound = if limbs == Limbs::ONE { 0.1 } else { 5e-3 };
                assert!(error < bound, "{n} parties, batch {batch}, {} limbs: {error}", limbs.count());
            }
        }
    }
}

#[test]
fn every_error_in_an_opening_is_rejected() {
    let model = Model::new(Limbs::TWO);
    let limbs = Limbs::TWO;
    let loaded = direct::load(&model.plan, &model.layers(), Parties::new(3).unwrap(), 1, None).unwrap();
    let inputs = integers(INPUTS * 2, 12, 5);
    let one = Element::from_i128(limbs, 1);
    let first_limb_only = Element::from_signed(limbs, I256::from(amicus_field::PRIMES[1]));
    for error in [one, Element::power_of_two(limbs, 90), first_limb_only] {
        for op in 0..3 {
            let shift = Shift { index: op, element: 1, error };
            let across = [
                shift,
                Shift { element: if op == 2 { 1 + OUTPUTS } else { 1 + HIDDEN }, error: -error, ..shift },
            ];
            for shifts in [&[shift][..], &across] {
                let outcome = direct::infer(&loaded, &inputs, 2, shifts, &mut |_| ()).unwrap();
                assert!(matches!(outcome.logits, Err(ProtocolError::Rejected { .. })), "operation {op}");
            }
        }
    }
    let honest = direct::infer(&loaded, &inputs, 2, &[], &mut |_| ()).unwrap();
    assert!(error_of(&model, &inputs, &honest.logits.unwrap()) < 5e-3);
}

#[test]
fn wrong_tags_are_rejected_at_load() {
    let model = Model::new(Limbs::TWO);
    for index in 0..2 {
        for element in [0, HIDDEN] {
            let shift = Shift { index, element, error: Element::from_i128(Limbs::TWO, -3) };
            let parties = Parties::new(3).unwrap();
            let error = direct::load(&model.plan, &model.layers(), parties, 1, Some(shift)).unwrap_err();
            assert!(matches!(error, ProtocolError::Rejected { .. }), "{error}");
        }
    }
}
