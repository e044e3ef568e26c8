//! The optimiser: orthogonalised momentum for hidden matrices and kernels, AdamW for the rest.
//!
//! Jordan et al., "Muon: an optimizer for hidden layers" (2024): a matrix moves along the closest
//! orthogonal matrix to its momentum, found by a Newton-Schulz iteration. Behind BatchNorm only a
//! matrix's direction matters, so steps here are relative to its norm, and the norm stays what it
//! was: the learning rate is an angle in radians. AdamW: Loshchilov, Hutter, "Decoupled Weight
//! Decay Regularization" (2019).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::architecture::Architecture;
use crate::export::NamedTensor;
use crate::weights::Weights;

const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.99;
const EPSILON: f32 = 1e-8;
/// Momentum of matrices.
const MOMENTUM: f32 = 0.9;
/// The quintic iteration of the source; it takes singular values to about 1, not exactly.
const QUINTIC: [f32; 3] = [3.4445, -4.7750, 2.0315];
const ITERATIONS: usize = 5;
/// A matrix's smaller side up to which orthogonalising is worth its cubic cost.
const SIDE: usize = 512;

/// Settings of a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rates {
    /// Highest angle of a matrix's step, in radians; 0: AdamW for all.
    pub matrix_rate: f64,
    /// AdamW's highest learning rate.
    pub learning_rate: f64,
    /// AdamW's decoupled decay of matrices; vectors do not decay.
    pub weight_decay: f64,
}

/// Multiplies matrices; the training backend's product, or the definition in tests.
pub(crate) trait Product {
    /// `[n, k]` times `[k, m]`, or with `transposed` times the transpose of `[m, k]`.
    fn multiply(&self, a: &Matrix, b: &Matrix, transposed: bool) -> Matrix;
}

/// A matrix, row after row.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) values: Vec<f32>,
}

/// What is remembered from step to step: for each parameter a first moment (momentum), and for
/// AdamW a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Optimiser {
    pub(crate) steps: u32,
    pub(crate) first: BTreeMap<String, Vec<f32>>,
    pub(crate) second: BTreeMap<String, Vec<f32>>,
}

impl Optimiser {
    /// Moves `weights` along `gradients`; `share` is the schedule's share of the highest rates.
    pub(crate) fn step(
        &mut self,
        weights: &mut Weights,
        architecture: &Architecture,
        gradients: &BTreeMap<String, Vec<f32>>,
        rates: Rates,
        share: f64,
        product: &impl Product,
    ) {
        self.steps += 1;
        let output = format!("{}.weight", architecture.output.name);
        for (name, gradient) in gradients {
            let Some(NamedTensor { shape, .. }) = weights.find(name) else { continue };
            let is_matrix = shape.len() > 1;
            let columns: usize = shape.iter().skip(1).product();
            let rows = shape[0];
            let first = self.first.entry(name.clone()).or_insert_with(|| vec![0.0; gradient.len()]);
            if is_matrix && rates.matrix_rate > 0.0 && rows.min(columns) <= SIDE && *name != output {
                for (m, g) in first.iter_mut().zip(gradient) {
                    *m = MOMENTUM * *m + g;
                }
                let ahead = first.iter().zip(gradient).map(|(m, g)| g + MOMENTUM * m).collect();
                let update = orthogonalised(Matrix { rows, columns, values: ahead }, product);
                weights.change(name, |w| turn(w, &update.values, share * rates.matrix_rate));
            } else {
                let second = self.second.entry(name.clone()).or_insert_with(|| vec![0.0; gradient.len()]);
                let rate = (share * rates.learning_rate) as f32;
                let decay = if is_matrix { 1.0 - rate * rates.weight_decay as f32 } else { 1.0 };
                // Exponents in f64: 0.99^steps in f32 would lose digits near 1.
                let [c1, c2] =
                    [BETA_1, BETA_2].map(|beta| (1.0 - f64::from(beta).powi(self.steps as i32)) as f32);
                weights.change(name, |w| {
                    for (((w, m), v), g) in w.iter_mut().zip(first).zip(second).zip(gradient) {
                        *m += (1.0 - BETA_1) * (g - *m);
                        *v += (1.0 - BETA_2) * (g * g - *v);
                        *w = *w * decay - rate * (*m / c1) / ((*v / c2).sqrt() + EPSILON);
                    }
                });
            }
        }
    }
}

/// Scales all gradients by one factor so that their common Euclidean norm is at most `limit`; the
/// norm before.
pub(crate) fn clip(gradients: &mut BTreeMap<String, Vec<f32>>, limit: f64) -> f64 {
    let square = |values: &Vec<f32>| values.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>();
    let norm = gradients.values().map(square).sum::<f64>().sqrt();
    let factor = limit / (norm + 1e-6);
    if factor < 1.0 {
        gradients.values_mut().flatten().for_each(|g| *g *= factor as f32);
    }
    norm
}

/// Turns `w` by the angle towards `-update`, keeping its norm.
fn turn(w: &mut [f32], update: &[f32], angle: f64) {
    let norm = norm(w);
    let factor = (angle * norm / (self::norm(update) + 1e-12)) as f32;
    w.iter_mut().zip(update).for_each(|(w, u)| *w -= factor * u);
    let back = (norm / (self::norm(w) + 1e-12)) as f32;
    w.iter_mut().for_each(|w| *w *= back);
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

/// About U V^T for the singular value decomposition U S V^T.
fn orthogonalised(matrix: Matrix, product: &impl Product) -> Matrix {
    let tall = matrix.rows > matrix.columns;
    let mut x = if tall { transpose(&matrix) } else { matrix };
    let scale = (1.0 / (norm(&x.values) + 1e-7)) as f32;
    x.values.iter_mut().for_each(|v| *v *= scale);
    let [a, b, c] = QUINTIC;
    for _ in 0..ITERATIONS {
        let gram = product.multiply(&x, &x, true);
        let mut inner = product.multiply(&gram, &gram, false);
        inner.values.iter_mut().zip(&gram.values).for_each(|(i, g)| *i = b * g + c * *i);
        let moved = product.multiply(&inner, &x, false);
        x.values.iter_mut().zip(&moved.values).for_each(|(x, m)| *x = a * *x + m);
    }
    if tall { transpose(&x) } else { x }
}

fn transpose(m: &Matrix) -> Matrix {
    let values = (0..m.columns).flat_map(|c| (0..m.rows).map(move |r| m.values[r * m.columns + c]));
    Matrix { rows: m.columns, columns: m.rows, values: values.collect() }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ModelName;

    /// The product by its definition.
    pub(crate) struct Naive;

    impl Product for Naive {
        fn multiply(&self, a: &Matrix, b: &Matrix, transposed: bool) -> Matrix {
            let columns = if transposed { b.rows } else { b.columns };
            let at = |r: usize, c: usize| {
                (0..a.columns)
                    .map(|k| {
                        a.values[r * a.columns + k]
                            * b.values[if transposed { c * b.columns + k } else { k * b.columns + c }]
                    })
                    .sum()
            };
            let values = (0..a.rows).flat_map(|r| (0..columns).map(move |c| (r, c))).map(|(r, c)| at(r, c));
            Matrix { rows: a.rows, columns, values: values.collect() }
        }
    }

    fn lenet() -> (Architecture, Weights) {
        let architecture = Architecture::of(ModelName::LeNet5);
        let weights = Weights::fresh(&architecture, 1.0, 1);
        (architecture, weights)
    }

    #[test]
    fn orthogonalised_matrices_have_singular_values_near_one() {
        for (rows, columns) in [(4, 9), (9, 4)] {
            let values = (0..36).map(|i| ((i * 7919 + 13) % 101) as f32 / 50.0 - 1.0).collect();
            let out = orthogonalised(Matrix { rows, columns, values }, &Naive);
            assert_eq!((out.rows, out.columns), (rows, columns));
            let wide = if rows > columns { transpose(&out) } else { out };
            let gram = Naive.multiply(&wide, &wide, true);
            for (i, value) in gram.values.iter().enumerate() {
                let expected = if i % 5 == 0 { 1.0 } else { 0.0 };
                assert!((value - expected).abs() < 0.55, "{i}: {value}");
            }
            let trace: f32 = gram.values.iter().step_by(5).sum();
            assert!((2.0..5.5).contains(&trace), "{trace}");
        }
    }

    #[test]
    fn matrices_turn_by_the_angle_and_keep_their_norm() {
        let (architecture, mut weights) = lenet();
        let before = weights.clone();
        let gradients = ["conv2.weight", "fc3.weight", "bn1.bias"]
            .map(|name| (name.to_owned(), weights.get(name).values.iter().map(|w| w.sin() + 0.1).collect()));
        let rates = Rates { matrix_rate: 0.1, learning_rate: 0.02, weight_decay: 0.5 };
        let mut optimiser = Optimiser::default();
        optimiser.step(&mut weights, &architecture, &gradients.into(), rates, 0.5, &Naive);
        let (old, new) = (&before.get("conv2.weight").values, &weights.get("conv2.weight").values);
        assert!((norm(old) / norm(new) - 1.0).abs() < 1e-5);
        let cosine: f64 =
            old.iter().zip(new).map(|(a, b)| f64::from(a * b)).sum::<f64>() / norm(old) / norm(new);
        let angle = cosine.min(1.0).acos();
        assert!((0.02..0.0501).contains(&angle), "{angle}");
        // AdamW's first step is the rate, whatever the gradient's size; matrices also decay.
        let (old, new) = (before.get("bn1.bias").values[0], weights.get("bn1.bias").values[0]);
        assert!((old - new - 0.01).abs() < 1e-5);
        let (old, new) = (before.get("fc3.weight").values[0], weights.get("fc3.weight").values[0]);
        let sign = (old.sin() + 0.1).signum();
        assert!((old * (1.0 - 0.01 * 0.5) - new - sign * 0.01).abs() < 1e-5);
    }

    /// f(w) = sum (w - 3)^2 / 2 has its minimum at 3.
    #[test]
    fn adamw_finds_a_minimum() {
        let (architecture, mut weights) = lenet();
        let rates = Rates { matrix_rate: 0.0, learning_rate: 0.1, weight_decay: 0.0 };
        let mut optimiser = Optimiser::default();
        for step in 0..400 {
            let gradient = weights.get("fc3.weight").values.iter().map(|w| w - 3.0).collect();
            let gradients = BTreeMap::from([("fc3.weight".to_owned(), gradient)]);
            let share = 1.0 - f64::from(step) / 400.0;
            optimiser.step(&mut weights, &architecture, &gradients, rates, share, &Naive);
        }
        assert!(weights.get("fc3.weight").values.iter().all(|w| (w - 3.0).abs() < 1e-2));
    }

    #[test]
    fn gradients_are_clipped_together() {
        let mut gradients =
            BTreeMap::from([("a".to_owned(), vec![3.0, 0.0]), ("b".to_owned(), vec![0.0, 4.0])]);
        assert_eq!(clip(&mut gradients, 10.0), 5.0);
        assert_eq!(gradients["a"], [3.0, 0.0]);
        assert_eq!(clip(&mut gradients, 1.0), 5.0);
        assert!((gradients["a"][0] - 0.6).abs() < 1e-5 && (gradients["b"][1] - 0.8).abs() < 1e-5);
        gradients.insert("c".into(), vec![f32::NAN]);
        assert!(clip(&mut gradients, 1.0).is_nan());
    }
}
