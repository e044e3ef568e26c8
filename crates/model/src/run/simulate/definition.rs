//! The simulator's definition: straight from the formulas, on plain integers. Slow; tests hold the
//! fast path to it.

use amicus_field::{Conv2d, I256, LinearShape, SumPool2d};
use amicus_plan::{Activation, OpKind, Plan, PublicTensor};

use super::comparison::stand_in;
use super::round_shift;
use crate::error::ModelError;
use crate::quantize::QuantizedWeights;

/// All values of one input, as integers in `(-Q/2, Q/2)`: the input, then one for each operation.
///
/// # Errors
/// When the plan is invalid, the weights are not the plan's, or the input has the wrong length.
pub fn values(plan: &Plan, weights: &QuantizedWeights, input: &[I256]) -> Result<Vec<Vec<I256>>, ModelError> {
    let infos = plan.values()?;
    weights.check(plan)?;
    let expected: usize = plan.input.shape.iter().product();
    if input.len() != expected {
        return Err(ModelError::data("input", format!("{} elements, expected {expected}", input.len())));
    }
    let q = Modulus(plan.limbs.modulus().as_i256());
    let mut values: Vec<Vec<I256>> = vec![input.iter().map(|&x| q.centre(x)).collect()];
    for (index, op) in plan.indexed_ops() {
        let result = match &op.kind {
            OpKind::Linear { input, weights: id, .. } => {
                let layer = &weights.layers()[id.index()];
                let integers = (layer.weights(), layer.bias());
                linear(q, &plan.weight(*id).shape, integers, &values[input.index()])
            }
            OpKind::PublicLinear { input, weights } => {
                let PublicTensor { spec, values: known } = plan.public_tensor(*weights);
                let integers = (known.weights(), known.bias());
                linear(q, &spec.shape, integers, &values[input.index()])
            }
            OpKind::Multiply { left, right } => {
                let pairs = values[left.index()].iter().zip(&values[right.index()]);
                pairs.map(|(&a, &b)| q.times(a, b)).collect()
            }
            OpKind::Activation(a) => {
                let shift = infos.get(a.input).scale.0 - a.input_scale.0;
                let b = scaled_coefficients(q, a);
                let z = values[a.input.index()].iter();
                let y: Vec<I256> = z.map(|&z| polynomial(q, &b, round_shift(z, shift))).collect();
                match &a.pool {
                    Some(pool) => sum_pool(q, pool, &y),
                    None => y,
                }
            }
            OpKind::Add { left, left_shift, right, right_shift } => {
                let (two, pairs) = (I256::from(2), values[left.index()].iter().zip(&values[right.index()]));
                pairs
                    .map(|(&a, &b)| {
                        q.centre(
                            q.times(a, q.power(two, *left_shift)) + q.times(b, q.power(two, *right_shift)),
                        )
                    })
                    .collect()
            }
            OpKind::SumPool { input, pool } => sum_pool(q, pool, &values[input.index()]),
            OpKind::Slice { input, start, len } => values[input.index()][*start..start + len].to_vec(),
            OpKind::Concat { parts } => parts
                .iter()
                .flat_map(|part| {
                    let factor = q.power(I256::from(2), part.shift);
                    values[part.input.index()].iter().map(move |&x| q.times(x, factor))
                })
                .collect(),
            OpKind::Weigh { input, rows, columns } => {
                let factor = |i: usize| {
                    let (row, column) = (i / columns.len() % rows.len(), i % columns.len());
                    I256::from(u64::from(rows[row]) * u64::from(columns[column]))
                };
                let x = values[input.index()].iter().enumerate();
                x.map(|(i, &x)| q.times(x, factor(i))).collect()
            }
            OpKind::Subtract { left, left_shift, right, right_shift } => {
                let (two, pairs) = (I256::from(2), values[left.index()].iter().zip(&values[right.index()]));
                let scaled = |x, shift| q.times(x, q.power(two, shift));
                pairs.map(|(&a, &b)| q.centre(scaled(a, *left_shift) - scaled(b, *right_shift))).collect()
            }
            OpKind::Gather { input, size: [height, width], rows, columns } => {
                let x = &values[input.index()];
                let mut picked = Vec::new();
                for image in 0..x.len() / (height * width) {
                    for &row in rows {
                        for &column in columns {
                            picked.push(x[(image * height + row as usize) * width + column as usize]);
                        }
                    }
                }
                picked
            }
            OpKind::Truncate(t) => {
                let shift = infos.get(t.input).scale.0 - t.scale.0;
                values[t.input.index()].iter().map(|&z| round_shift(z, shift)).collect()
            }
            OpKind::Compare(c) => {
                let period = I256::ONE << (c.unit + c.window());
                let bit = |z: I256, t: i128| (z - I256::from(t)).rem_euclid(period) < period / 2;
                let x = &values[c.input.index()];
                c.thresholds
                    .iter()
                    .flat_map(|&t| x.iter().map(move |&z| I256::from(u8::from(bit(z, t)))))
                    .collect()
            }
            OpKind::Outside(o) => {
                let inside = values[o.input.index()].iter().all(|x| [I256::ZERO, I256::ONE].contains(x));
                let number = |i| if inside { I256::ZERO } else { q.centre(stand_in(plan.limbs, index, i)) };
                (0..o.numbers).map(number).collect()
            }
            OpKind::Xnor { left, right } => {
                let (a, b) = (&values[left.index()], &values[right.index()]);
                let equal = a.iter().zip(b).map(|(a, b)| I256::from(u8::from(a == b)));
                a.iter().chain(b).copied().chain(equal).collect()
            }
            OpKind::Select(s) => {
                let x = &values[s.input.index()];
                let bits = s.bits.map(|b| &values[b.index()]);
                let piece = |t: usize, i: usize| {
                    let bit = bits.filter(|_| t > 0).map_or(I256::ONE, |b| b[(t - 1) * x.len() + i]);
                    let q_t: Vec<I256> = s.polynomials[t].iter().map(|&c| I256::from(c)).collect();
                    q.times(polynomial(q, &q_t, x[i]), bit)
                };
                let all = 0..s.polynomials.len();
                let y: Vec<I256> = (0..x.len())
                    .map(|i| all.clone().fold(I256::ZERO, |sum, t| q.centre(sum + piece(t, i))))
                    .collect();
                let y = s.pool.as_ref().map_or(y.clone(), |pool| sum_pool(q, pool, &y));
                match s.base {
                    Some(base) => {
                        y.iter().zip(&values[base.index()]).map(|(&y, &b)| q.centre(y + b)).collect()
                    }
                    None => y,
                }
            }
        };
        values.push(result);
    }
    Ok(values)
}

/// What receivers would get for one input.
///
/// # Errors
/// What [`values`] refuses.
pub fn outputs(plan: &Plan, weights: &QuantizedWeights, input: &[I256]) -> Result<Vec<I256>, ModelError> {
    let values = values(plan, weights, input)?;
    let shift = plan.values()?.get(plan.output.value).scale.0 - plan.output.scale.0;
    Ok(values[plan.output.value.index()].iter().map(|&z| round_shift(z, shift)).collect())
}

/// Arithmetic modulo Q on integers in `(-Q/2, Q/2)`.
#[derive(Clone, Copy)]
struct Modulus(I256);

impl Modulus {
    fn centre(self, x: I256) -> I256 {
        let x = x.rem_euclid(self.0);
        if x > self.0 / 2 { x - self.0 } else { x }
    }

    /// A product; the second factor is taken in pieces of 64 bits, so that no intermediate exceeds
    /// 222 bits.
    fn times(self, a: I256, b: I256) -> I256 {
        let (mut sum, mut factor, mut rest) = (I256::ZERO, self.centre(a), b.rem_euclid(self.0));
        while rest != I256::ZERO {
            let low = rest & I256::from(u64::MAX);
            sum = self.centre(sum + factor * low);
            factor = self.centre(factor << 64u32);
            rest >>= 64u32;
        }
        sum
    }

    fn power(self, base: I256, exponent: u32) -> I256 {
        (0..exponent).fold(I256::ONE, |p, _| self.times(p, base))
    }
}

/// `B_k = A_k 2^(f_u (d - k))`.
fn scaled_coefficients(q: Modulus, a: &Activation) -> Vec<I256> {
    let scale = |k: usize| q.power(I256::from(2), a.input_scale.0 * (a.degree() - k) as u32);
    a.coefficients.iter().enumerate().map(|(k, &c)| q.times(I256::from(c), scale(k))).collect()
}

/// `sum_k B_k u^k`.
fn polynomial(q: Modulus, b: &[I256], u: I256) -> I256 {
    let (mut sum, mut power) = (I256::ZERO, I256::ONE);
    for &b in b {
        sum = q.centre(sum + q.times(b, power));
        power = q.times(power, u);
    }
    sum
}

fn linear(q: Modulus, shape: &LinearShape, (weights, biases): (&[i64], &[I256]), x: &[I256]) -> Vec<I256> {
    let bias = |c: usize| biases.get(c).copied().unwrap_or(I256::ZERO);
    let product = |w: i64, x: I256| q.times(x, I256::from(w));
    match shape {
        LinearShape::Dense(dense) => (0..dense.outputs)
            .map(|o| {
                let row = &weights[o * dense.inputs..(o + 1) * dense.inputs];
                row.iter().zip(x).fold(q.centre(bias(o)), |z, (&w, &x)| q.centre(z + product(w, x)))
            })
            .collect(),
        LinearShape::Conv2d(conv) => {
            let [height, width] = conv.out_size();
            let places = (0..conv.out_channels * height * width)
                .map(|i| [i / (height * width), i / width % height, i % width]);
            places
                .map(|[oc, oy, ox]| {
                    taps(conv, oc, oy, ox).into_iter().fold(q.centre(bias(oc)), |z, (weight, input)| {
                        q.centre(z + product(weights[weight], x[input]))
                    })
                })
                .collect()
        }
    }
}

/// Positions of (weight, input) of one output of a convolution, padding left out.
fn taps(conv: &Conv2d, oc: usize, oy: usize, ox: usize) -> Vec<(usize, usize)> {
    let depth = conv.in_channels / conv.groups;
    let group = oc / (conv.out_channels / conv.groups);
    let mut taps = Vec::new();
    for ic in 0..depth {
        for ky in 0..conv.kernel[0] {
            for kx in 0..conv.kernel[1] {
                let y = (oy * conv.stride[0] + ky * conv.dilation[0]).checked_sub(conv.padding[0]);
                let x = (ox * conv.stride[1] + kx * conv.dilation[1]).checked_sub(conv.padding[1]);
                if let (Some(y), Some(x)) = (y, x)
                    && y < conv.in_height
                    && x < conv.in_width
                {
                    let weight = ((oc * depth + ic) * conv.kernel[0] + ky) * conv.kernel[1] + kx;
                    taps.push((weight, ((group * depth + ic) * conv.in_height + y) * conv.in_width + x));
                }
            }
        }
    }
    taps
}

fn sum_pool(q: Modulus, pool: &SumPool2d, x: &[I256]) -> Vec<I256> {
    // Pooling is a convolution of every channel by itself with weights 1.
    let conv = Conv2d {
        in_channels: pool.channels,
        in_height: pool.height,
        in_width: pool.width,
        out_channels: pool.channels,
        kernel: pool.kernel,
        stride: pool.stride,
        padding: pool.padding,
        dilation: [1, 1],
        groups: pool.channels,
    };
    let [height, width] = conv.out_size();
    let places =
        (0..pool.channels * height * width).map(|i| [i / (height * width), i / width % height, i % width]);
    places
        .map(|[c, oy, ox]| {
            taps(&conv, c, oy, ox).into_iter().fold(I256::ZERO, |s, (_, i)| q.centre(s + x[i]))
        })
        .collect()
}
