//! The planner's quick look at a choice of scales: a folded network in `f64`, rounded where the
//! plan will round.
//!
//! Sums of products of rounded numbers are taken in `f64`, whose 53 bits lie far below the rounding
//! of arguments (8 to 20 bits) that this is to measure; [`mod@crate::simulate`] has the exact
//! integers. Arguments are rounded down or up at random in proportion, as the secure truncation
//! does (`docs/protocol.md`, 6.3: within one unit, mean error 0), so the error found here is that
//! of a secure run, not of rounding to nearest.

use rayon::prelude::*;

use crate::float::horner;
use crate::fold::{Folded, FoldedKind};
use crate::graph::SecretReals;
use crate::quantize::round_coefficients;
use crate::run::linear;

/// Which numbers are rounded, and to how many bits; `None` is not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rounding {
    /// Scale of the input.
    pub input: Option<u32>,
    /// Scale of every linear layer's weights.
    pub weights: Vec<Option<u32>>,
    /// Scale of the argument of every operation that is an activation.
    pub arguments: Vec<Option<u32>>,
    /// Scale of the coefficients of every operation that is an activation.
    pub coefficients: Vec<Option<u32>>,
}

impl Rounding {
    /// No rounding anywhere.
    pub fn none(folded: &Folded) -> Self {
        let ops = folded.ops.len();
        Rounding {
            input: None,
            weights: vec![None; folded.linears.len()],
            arguments: vec![None; ops],
            coefficients: vec![None; ops],
        }
    }
}

/// The results of a folded network for inputs in the graph's own numbers, rounded as told; without
/// rounding they equal the float executor's but for the order of operations.
///
/// # Panics
/// When an input has the wrong number of elements.
pub fn logits(folded: &Folded, inputs: &[Vec<f32>], rounding: &Rounding) -> Vec<Vec<f64>> {
    assert!(inputs.iter().all(|x| x.len() == folded.input_len()), "an input of the wrong length");
    let inputs: Vec<Vec<f64>> = inputs.iter().map(|x| x.iter().map(|&v| f64::from(v)).collect()).collect();
    FakeQuantised::run(folded, &inputs, rounding).output(folded).to_vec()
}

/// Values of one network for several samples: `values[value][sample][element]`, in stored numbers.
#[derive(Clone)]
pub(crate) struct FakeQuantised {
    values: Vec<Vec<Vec<f64>>>,
}

impl FakeQuantised {
    /// Runs every operation.
    pub(crate) fn run(folded: &Folded, samples: &[Vec<f64>], rounding: &Rounding) -> Self {
        let mut run = FakeQuantised { values: vec![round_input(samples, rounding.input)] };
        for op in 0..folded.ops.len() {
            let result = compute(folded, op, rounding, |v| &run.values[v]);
            run.values.push(result);
        }
        run
    }

    /// The result when rounding touches `changed` (a value: 0 for the input, `i + 1` for operation
    /// `i`) first; what does not depend on it is taken from this run.
    pub(crate) fn rerun(&self, folded: &Folded, changed: usize, rounding: &Rounding) -> Vec<Vec<f64>> {
        let mut fresh: Vec<Option<Vec<Vec<f64>>>> = vec![None; self.values.len()];
        if changed == 0 {
            fresh[0] = Some(round_input(&self.values[0], rounding.input));
        }
        for (index, op) in folded.ops.iter().enumerate() {
            let dirty = index + 1 == changed || op.kind.inputs().iter().any(|v| fresh[v.index()].is_some());
            if dirty {
                let value = |v: usize| fresh[v].as_ref().unwrap_or(&self.values[v]);
                fresh[index + 1] = Some(compute(folded, index, rounding, value));
            }
        }
        fresh[folded.output.index()].take().unwrap_or_else(|| self.values[folded.output.index()].clone())
    }

    /// The first `samples` of this run.
    pub(crate) fn head(&self, samples: usize) -> Self {
        let head = |v: &Vec<Vec<f64>>| v[..samples.min(v.len())].to_vec();
        FakeQuantised { values: self.values.iter().map(head).collect() }
    }

    /// The result, one vector a sample.
    pub(crate) fn output(&self, folded: &Folded) -> &[Vec<f64>] {
        &self.values[folded.output.index()]
    }

    /// A value of all samples.
    pub(crate) fn samples(&self, value: usize) -> &[Vec<f64>] {
        &self.values[value]
    }

    /// A value of the first sample.
    pub(crate) fn first(&self, value: usize) -> &[f64] {
        &self.values[value][0]
    }

    /// Largest absolute number of a value over all samples.
    pub(crate) fn largest(&self, value: usize) -> f64 {
        self.values[value].iter().flatten().fold(0.0, |m, x| m.max(x.abs()))
    }
}

fn round_input(samples: &[Vec<f64>], bits: Option<u32>) -> Vec<Vec<f64>> {
    let Some(bits) = bits else { return samples.to_vec() };
    let scale = power_of_two(bits);
    samples.iter().map(|x| x.iter().map(|v| (v * scale).round() / scale).collect()).collect()
}

fn compute<'v>(
    folded: &Folded,
    op: usize,
    rounding: &Rounding,
    value: impl Fn(usize) -> &'v Vec<Vec<f64>>,
) -> Vec<Vec<f64>> {
    match &folded.ops[op].kind {
        FoldedKind::Linear { input, linear } => {
            linear_layer(folded, *linear, rounding.weights[*linear], value(input.index()))
        }
        FoldedKind::Activation { input, coefficients, pool, .. } => {
            let rounded = rounding.coefficients[op].map(|bits| {
                let scale = power_of_two(bits);
                round_coefficients(coefficients, bits).iter().map(|&a| a as f64 / scale).collect::<Vec<f64>>()
            });
            let coefficients = rounded.as_ref().unwrap_or(coefficients);
            let argument = rounding.arguments[op].map(power_of_two);
            let activate = |(sample, z): (usize, &Vec<f64>)| {
                let mut random = SplitMix((op as u64) << 32 | sample as u64);
                let y: Vec<f64> = match argument {
                    None => z.iter().map(|&u| horner(coefficients, u)).collect(),
                    Some(scale) => {
                        let round = |u: f64| (u * scale + random.unit()).floor() / scale;
                        z.iter().copied().map(round).map(|u| horner(coefficients, u)).collect()
                    }
                };
                pool.as_ref().map(|pool| linear::sum_pool(pool, &y)).unwrap_or(y)
            };
            value(input.index()).par_iter().enumerate().map(activate).collect()
        }
        FoldedKind::Polynomial { input, coefficients, pool, .. } => {
            let activate = |z: &Vec<f64>| {
                let y: Vec<f64> = z.iter().map(|&u| horner(coefficients, u)).collect();
                pool.as_ref().map(|pool| linear::sum_pool(pool, &y)).unwrap_or(y)
            };
            value(input.index()).par_iter().map(activate).collect()
        }
        FoldedKind::Pieces { input, pieces, pool, .. } => {
            let activate = |z: &Vec<f64>| {
                let y: Vec<f64> = z.iter().map(|&u| pieces.at(u)).collect();
                pool.as_ref().map(|pool| linear::sum_pool(pool, &y)).unwrap_or(y)
            };
            value(input.index()).par_iter().map(activate).collect()
        }
        FoldedKind::MaxPool { input, pool } => {
            value(input.index()).par_iter().map(|x| linear::max_pool(pool, x)).collect()
        }
        FoldedKind::Extreme { left, right, which } => {
            let pairs = value(left.index()).iter().zip(value(right.index()));
            pairs.map(|(a, b)| a.iter().zip(b).map(|(&a, &b)| which.of(a, b)).collect()).collect()
        }
        FoldedKind::Add { left, right } => {
            let pairs = value(left.index()).iter().zip(value(right.index()));
            pairs.map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + b).collect()).collect()
        }
        FoldedKind::Multiply { left, right } => {
            let pairs = value(left.index()).iter().zip(value(right.index()));
            pairs.map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * b).collect()).collect()
        }
        FoldedKind::Gather { input, gather } => {
            let picked = |x: &Vec<f64>| gather.sources(x.len()).map(|i| x[i]).collect();
            value(input.index()).iter().map(picked).collect()
        }
        FoldedKind::SumPool { input, pool } => {
            value(input.index()).iter().map(|x| linear::sum_pool(pool, x)).collect()
        }
        FoldedKind::Concat { parts } => {
            let parts: Vec<&Vec<Vec<f64>>> = parts.iter().map(|p| value(p.index())).collect();
            let samples = parts.first().map_or(0, |p| p.len());
            (0..samples).map(|s| parts.iter().flat_map(|p| p[s].iter().copied()).collect()).collect()
        }
        FoldedKind::Weigh { input, rows, columns } => {
            value(input.index()).iter().map(|x| linear::weigh(x, rows, columns)).collect()
        }
    }
}

fn linear_layer(folded: &Folded, linear: usize, bits: Option<u32>, inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let layer = &folded.linears[linear];
    let per_bias = layer.shape.outputs_per_bias();
    let finish = |mut z: Vec<f64>, scaled: bool| {
        for (c, z) in z.chunks_exact_mut(per_bias).enumerate() {
            let scale = if scaled { layer.row_scale[c] } else { 1.0 };
            let bias = layer.bias.0.get(c).copied().unwrap_or(0.0);
            z.iter_mut().for_each(|z| *z = *z * scale + bias);
        }
        z
    };
    let results = match bits {
        // The graph's own weights: no copy.
        None => linear::apply_all(&layer.shape, &layer.weights, inputs),
        Some(bits) => {
            let scale = power_of_two(bits);
            let weights: SecretReals =
                layer.real_weights().iter().map(|w| (w * scale).round() / scale).collect();
            linear::apply_all(&layer.shape, &weights, inputs)
        }
    };
    results.into_iter().map(|z| finish(z, bits.is_none())).collect()
}

/// `2^bits` as a real number.
pub(crate) fn power_of_two(bits: u32) -> f64 {
    2f64.powi(i32::try_from(bits).unwrap_or(i32::MAX))
}

/// A small generator for rounding and tests; nothing secret is made from it.
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// Evenly spread over [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
