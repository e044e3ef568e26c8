//! The functionality of `docs/security.md`, section 3, for given coins: what receivers get.

use amicus_field::{LimbVec, Limbs};
use amicus_plan::{Activation, Compare, OpKind, Plan, PublicId, Select, Stage, ValueId, WrapRule};
use amicus_protocol::affine::LayerWeights;
use amicus_protocol::share::Share;

use crate::run::Outcome;

/// An integer modulo `Q`, as the integer in `[0, Q)`.
type Number = i128;

/// A number that is random, and not 0 alone.
const ANYTHING: Number = Number::MIN;

struct World {
    modulus: Number,
}

impl World {
    fn of(limbs: Limbs) -> World {
        World { modulus: limbs.modulus().as_i128() }
    }

    fn reduce(&self, x: Number) -> Number {
        x.rem_euclid(self.modulus)
    }

    fn numbers(&self, vector: &LimbVec) -> Vec<Number> {
        (0..vector.len()).map(|i| vector.get(i).lift().as_i128()).collect()
    }

    /// `floor(D' / 2^shift) - 2^(ell - shift)` and `c`, for the opened value with the offset.
    fn open(&self, d: Number, ell: u32, shift: u32) -> (Number, bool) {
        let d = self.reduce(d + (1 << ell));
        ((d >> shift) - (1 << (ell - shift)), d < self.modulus / 2)
    }
}

/// The logits of one input that receivers get, NaN for random ones, when the coins are those of a run: the masked input
/// and opened values.
///
/// # Panics
/// When the run did not open what the plan says.
pub fn logits(plan: &Plan, weights: &[LayerWeights], x: &[i64], run: &Outcome) -> Vec<f64> {
    let world = World::of(plan.limbs);
    let mut values: Vec<Vec<Number>> = vec![x.iter().map(|&x| world.reduce(x.into())).collect()];
    let mut masked: Vec<Vec<Number>> = vec![world.numbers(&run.input)];
    for (index, op) in plan.indexed_ops() {
        let at = |v: &ValueId| v.index();
        let value = match &op.kind {
            OpKind::Linear { input, weights: id, .. } => {
                let spec = plan.weight(*id);
                dense_or_tap(&world, spec.shape, &weights[id.index()], &values[at(input)])
            }
            OpKind::PublicLinear { input, weights } => public(&world, plan, *weights, &values[at(input)]),
            OpKind::Multiply { left, right } => {
                let pairs = values[at(left)].iter().zip(&values[at(right)]);
                pairs.map(|(a, b)| world.reduce(a * b)).collect()
            }
            OpKind::Activation(a) => {
                activation(&world, plan, a, &values[at(&a.input)], &masked[at(&a.input)])
            }
            OpKind::Compare(c) => compare(&world, c, &values[at(&c.input)], &masked[at(&c.input)]),
            OpKind::Truncate(t) => {
                let alone = t.as_activation();
                activation(&world, plan, &alone, &values[at(&t.input)], &masked[at(&t.input)])
            }
            OpKind::Select(s) => {
                let bits = s.bits.map(|bits| values[at(&bits)].as_slice());
                let chosen = select(&world, s, &values[at(&s.input)], bits.unwrap_or_default());
                s.base.map_or(chosen.clone(), |base| add(&world, &chosen, &values[at(&base)]))
            }
            // Factors are coins that a run does not tell.
            OpKind::Outside(o) => {
                let inside = values[at(&o.input)].iter().all(|x| (0..2).contains(x));
                vec![if inside { 0 } else { ANYTHING }; o.numbers as usize]
            }
            OpKind::Xnor { left, right } => {
                let (a, b) = (&values[at(left)], &values[at(right)]);
                let equal = a.iter().zip(b).map(|(a, b)| Number::from(a == b)).collect();
                [a.clone(), b.clone(), equal].concat()
            }
            OpKind::Add { left, right, .. } => add(&world, &values[at(left)], &values[at(right)]),
            OpKind::Subtract { left, right, .. } => subtract(&world, &values[at(left)], &values[at(right)]),
            OpKind::Slice { input, start, len } => values[at(input)][*start..start + len].to_vec(),
            _ => panic!("no toy network has {}", op.name),
        };
        masked.push(match &op.kind {
            OpKind::Add { left, right, .. } => add(&world, &masked[at(left)], &masked[at(right)]),
            OpKind::Subtract { left, right, .. } => subtract(&world, &masked[at(left)], &masked[at(right)]),
            OpKind::Slice { input, start, len } => masked[at(input)][*start..start + len].to_vec(),
            OpKind::PublicLinear { input, weights } => public(&world, plan, *weights, &masked[at(input)]),
            OpKind::Compare(_) | OpKind::Xnor { .. } => Vec::new(),
            _ => {
                let opened = run.opened.iter().find(|(stage, _)| *stage == Stage::first(index));
                let base = match &op.kind {
                    OpKind::Select(s) => s.base.map(|base| masked[at(&base)].clone()),
                    _ => None,
                };
                match opened {
                    Some((_, Share::Elements(d))) => match base {
                        Some(base) => add(&world, &world.numbers(d), &base),
                        None => world.numbers(d),
                    },
                    _ => panic!("{} opened no elements", op.name),
                }
            }
        });
        values.push(value);
    }
    let (out, scales) = (&plan.output, plan.values().expect("a valid plan"));
    let shift = scales.get(out.value).scale.0 - out.scale.0;
    let pairs = values[out.value.index()].iter().zip(&masked[out.value.index()]);
    pairs.map(|(&value, &d)| rounded(&world, value, d, out.ell, shift)).collect()
}

/// What a receiver computes from `out(val, D)`; outputs of toy networks have scale 0. Of a random
/// number it says nothing.
fn rounded(world: &World, value: Number, d: Number, ell: u32, shift: u32) -> f64 {
    if value == ANYTHING {
        return f64::NAN;
    }
    let r = world.reduce(d - value);
    let (v, c) = world.open(d, ell, shift);
    let half = if shift > 0 { 1 << (shift - 1) } else { 0 };
    let wrap = if c && r > world.modulus / 2 { (world.modulus + half) >> shift } else { 0 };
    (v - (r >> shift) + wrap) as f64
}

fn add(world: &World, x: &[Number], y: &[Number]) -> Vec<Number> {
    x.iter().zip(y).map(|(a, b)| world.reduce(a + b)).collect()
}

fn subtract(world: &World, x: &[Number], y: &[Number]) -> Vec<Number> {
    x.iter().zip(y).map(|(a, b)| world.reduce(a - b)).collect()
}

/// Bits of a comparison, threshold by threshold: whether `v - mu` is in the lower half of the window.
fn compare(world: &World, c: &Compare, x: &[Number], d: &[Number]) -> Vec<Number> {
    let size = 1 << c.window();
    let half = (1 << c.unit) / 2;
    let bit = |threshold: Number, (&x, &d): (&Number, &Number)| {
        let v = world.reduce(d - threshold - half) >> c.unit;
        let mu = world.reduce(d - x) >> c.unit;
        Number::from((v - mu).rem_euclid(size) < size / 2)
    };
    c.thresholds.iter().flat_map(|&t| x.iter().zip(d).map(move |pair| bit(t, pair))).collect()
}

/// `Q_0 + sum_t b_t Q_t` of every element.
fn select(world: &World, s: &Select, x: &[Number], bits: &[Number]) -> Vec<Number> {
    let polynomial = |q: &[i128], x: Number| q.iter().rev().fold(0, |y, &c| world.reduce(y * x + c));
    let each = |(i, &x): (usize, &Number)| {
        let pieces = s.polynomials[1..].iter().enumerate();
        let chosen =
            pieces.map(|(t, q)| bits[t * (bits.len() / (s.polynomials.len() - 1)) + i] * polynomial(q, x));
        world.reduce(polynomial(&s.polynomials[0], x) + chosen.sum::<Number>())
    };
    x.iter().enumerate().map(each).collect()
}

/// A layer of public weights: of values and masked values alike.
fn public(world: &World, plan: &Plan, id: PublicId, x: &[Number]) -> Vec<Number> {
    let tensor = plan.public_tensor(id);
    let all = amicus_plan::weights::parts(&tensor.spec);
    let mut parts = all.iter().map(|part| tensor.part(part, plan.limbs));
    let weights = parts.next().expect("weights");
    dense_or_tap(world, tensor.spec.shape, &LayerWeights { weights, bias: parts.next() }, x)
}

/// A dense layer, or the convolution of one tap.
fn dense_or_tap(
    world: &World,
    shape: amicus_field::LinearShape,
    layer: &LayerWeights,
    x: &[Number],
) -> Vec<Number> {
    use amicus_field::LinearShape::{Conv2d, Dense};
    let weights = world.numbers(&layer.weights);
    let bias = layer.bias.as_ref().map(|b| world.numbers(b));
    (0..shape.outputs())
        .map(|o| {
            let (product, bias_of): (Number, usize) = match shape {
                Dense(d) => ((0..d.inputs).map(|i| weights[o * d.inputs + i] * x[i]).sum(), o),
                Conv2d(_) => (weights[0] * x[o], 0),
            };
            world.reduce(product + bias.as_ref().map_or(0, |b| b[bias_of]))
        })
        .collect()
}

fn activation(world: &World, plan: &Plan, a: &Activation, x: &[Number], d: &[Number]) -> Vec<Number> {
    let scales = plan.values().expect("a valid plan");
    let shift = scales.get(a.input).scale.0 - a.input_scale.0;
    let polynomial = |(&value, &d): (&Number, &Number)| {
        let r = world.reduce(d - value);
        let (v, c) = world.open(d, a.ell, shift);
        let wraps = a.wrap == WrapRule::Exact && c && r > world.modulus / 2;
        let u = v - ((if wraps { r - world.modulus } else { r }) >> shift);
        let scaled = a.coefficients.iter().enumerate().map(|(k, &c)| {
            let power = (0..k).fold(1, |p, _| world.reduce(p * u));
            let left = a.input_scale.0 * (a.degree() - k) as u32;
            Number::from(c) * power * (1 << left)
        });
        world.reduce(scaled.sum())
    };
    let results: Vec<Number> = x.iter().zip(d).map(polynomial).collect();
    match &a.pool {
        None => results,
        // Windows in a row.
        Some(pool) => (0..pool.outputs())
            .map(|o| {
                let window = &results[o * pool.stride[1]..][..pool.kernel[1]];
                world.reduce(window.iter().sum())
            })
            .collect(),
    }
}
