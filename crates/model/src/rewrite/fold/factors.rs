//! Second half of folding: real factors of values, absorbed by weights and polynomials.
//!
//! A stored number times its value's factor is the real number. Additions and pooling tie factors
//! together (a sum's two branches must agree, a mean over `k` elements is stored as their sum, so
//! its factor is `1 / k` of theirs). Linear layers and activations are free to produce any factor:
//! their rows or coefficients absorb it.
//!
//! Each group of tied values gets one scale: fixed when it holds the input or the result (both
//! stored as they are), else such that the widest activation fed by it sees `u = t / B` in
//! `[-1, 1]`. A group that feeds no activation keeps what its producer gives: a plain polynomial,
//! or the plain sum of a merged average pool, whose `1 / k^2` thereby goes into the next weights.

use amicus_plan::ValueId;

use super::lower::Lowered;
use super::{Folded, FoldedKind};
use crate::error::ModelError;

/// Values tied by additions and pooling: `factor(v) = ratio(v) * scale(group(v))`.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    parent: Vec<usize>,
    ratio: Vec<f64>,
}

impl Groups {
    fn new(values: usize) -> Self {
        Groups { parent: (0..values).collect(), ratio: vec![1.0; values] }
    }

    /// One value more, in a group of its own.
    pub(crate) fn push(&mut self) -> usize {
        self.parent.push(self.parent.len());
        self.ratio.push(1.0);
        self.parent.len() - 1
    }

    /// The group of a value and the value's ratio in it.
    pub(crate) fn find(&self, value: usize) -> (usize, f64) {
        let (mut v, mut ratio) = (value, 1.0);
        while self.parent[v] != v {
            ratio *= self.ratio[v];
            v = self.parent[v];
        }
        (v, ratio)
    }

    /// Ties `factor(a) = by * factor(b)`; false when they are tied differently already.
    pub(crate) fn tie(&mut self, a: usize, b: usize, by: f64) -> bool {
        let ((root_a, ratio_a), (root_b, ratio_b)) = (self.find(a), self.find(b));
        if root_a == root_b {
            return (ratio_a / (by * ratio_b) - 1.0).abs() < 1e-9;
        }
        self.parent[root_a] = root_b;
        self.ratio[root_a] = by * ratio_b / ratio_a;
        true
    }
}

pub(super) fn solve(lowered: Lowered) -> Result<Folded, ModelError> {
    let Lowered { mut folded, gains, pools } = lowered;
    let groups = tie(&folded, &gains)?;
    let scales = choose(&folded, &gains, &groups)?;
    let factor = |value: ValueId| {
        let (root, ratio) = groups.find(value.index());
        scales[root] * ratio
    };
    let factors: Vec<f64> = (0..=folded.ops.len()).map(|v| factor(ValueId(v as u32))).collect();
    let Folded { ops, linears, rewrites, .. } = &mut folded;
    for (index, op) in ops.iter_mut().enumerate() {
        let out = factors[index + 1];
        match &mut op.kind {
            FoldedKind::Linear { input, linear } => {
                let absorbed = factors[input.index()] / out;
                let layer = &mut linears[*linear];
                layer.row_scale.0.iter_mut().for_each(|s| *s *= absorbed);
                layer.bias.0.iter_mut().for_each(|b| *b /= out);
            }
            FoldedKind::Activation { input, coefficients, interval, .. } => {
                // u = t / B = s * (factor / B) for the stored number s.
                let per_stored = factors[input.index()] / *interval;
                rewrites.push(format!(
                    "interval [-{interval}, {interval}] of {} folded into what feeds it",
                    op.name
                ));
                *interval = 1.0 / per_stored;
                let result = gains[index] / out;
                let mut power = 1.0;
                for a in coefficients.iter_mut() {
                    *a *= power * result;
                    power *= per_stored;
                }
                if let Some(pool) = &pools[index]
                    && gains[index] != 1.0
                {
                    let into = if (result - 1.0).abs() < 1e-12 {
                        "the next weights"
                    } else {
                        "the polynomial before it"
                    };
                    rewrites.push(format!("factor {} of {pool} folded into {into}", gains[index]));
                }
            }
            FoldedKind::Polynomial { input, coefficients, .. } => {
                let mut by = gains[index] / out;
                for a in coefficients {
                    *a *= by;
                    by *= factors[input.index()];
                }
            }
            FoldedKind::Pieces { input, pieces, .. } => {
                *pieces = pieces.in_units(factors[input.index()], gains[index] / out);
            }
            FoldedKind::SumPool { .. } => {
                if let Some(pool) = &pools[index] {
                    rewrites
                        .push(format!("factor {} of {pool} folded into the layers around it", gains[index]));
                }
            }
            FoldedKind::MaxPool { .. }
            | FoldedKind::Extreme { .. }
            | FoldedKind::Add { .. }
            | FoldedKind::Multiply { .. }
            | FoldedKind::Gather { .. }
            | FoldedKind::Concat { .. }
            | FoldedKind::Weigh { .. } => {}
        }
    }
    folded.factors = factors;
    Ok(folded)
}

fn tie(folded: &Folded, gains: &[f64]) -> Result<Groups, ModelError> {
    let mut groups = Groups::new(folded.ops.len() + 1);
    for (index, op) in folded.ops.iter().enumerate() {
        let fits = match &op.kind {
            FoldedKind::Add { left, right } | FoldedKind::Extreme { left, right, .. } => {
                groups.tie(index + 1, left.index(), 1.0) && groups.tie(left.index(), right.index(), 1.0)
            }
            FoldedKind::SumPool { input, .. } | FoldedKind::Weigh { input, .. } => {
                groups.tie(index + 1, input.index(), gains[index])
            }
            FoldedKind::Concat { parts } => parts.iter().all(|p| groups.tie(index + 1, p.index(), 1.0)),
            FoldedKind::MaxPool { input, .. } | FoldedKind::Gather { input, .. } => {
                groups.tie(index + 1, input.index(), 1.0)
            }
            // The factor of a product is that of both together.
            FoldedKind::Linear { .. }
            | FoldedKind::Activation { .. }
            | FoldedKind::Polynomial { .. }
            | FoldedKind::Pieces { .. }
            | FoldedKind::Multiply { .. } => true,
        };
        if !fits {
            let reason = "its branches need different factors (a value meets a pooled copy of itself)";
            return Err(ModelError::node(&op.name, reason));
        }
    }
    Ok(groups)
}

/// One scale for each group root.
fn choose(folded: &Folded, gains: &[f64], groups: &Groups) -> Result<Vec<f64>, ModelError> {
    let values = folded.ops.len() + 1;
    let mut fixed: Vec<Option<f64>> = vec![None; values];
    let mut widest: Vec<Option<f64>> = vec![None; values];
    let mut natural: Vec<Option<f64>> = vec![None; values];
    for value in [ValueId::INPUT, folded.output] {
        let (root, ratio) = groups.find(value.index());
        let scale = 1.0 / ratio;
        if fixed[root].is_some_and(|f| (f / scale - 1.0).abs() > 1e-9) {
            return Err(ModelError::node(
                "output",
                "the input reaches the result by pooling alone; add a layer",
            ));
        }
        fixed[root] = Some(scale);
    }
    for (index, op) in folded.ops.iter().enumerate() {
        if let FoldedKind::Activation { input, interval, .. } = &op.kind {
            let (root, ratio) = groups.find(input.index());
            let scale = interval / ratio;
            widest[root] = Some(widest[root].map_or(scale, |w| w.max(scale)));
        }
        let (root, ratio) = groups.find(index + 1);
        let factor = match &op.kind {
            // A value opened by itself stays what it is, with the coefficient 1, which every scale
            // holds exactly.
            FoldedKind::Activation { coefficients, .. } if matches!(coefficients[..], [0.0, a] if a > 0.0) => {
                coefficients[1]
            }
            FoldedKind::Activation { .. }
            | FoldedKind::Polynomial { .. }
            | FoldedKind::Pieces { .. }
            | FoldedKind::Linear { .. } => 1.0,
            _ => continue,
        };
        natural[root].get_or_insert(factor * gains[index] / ratio);
    }
    let mut scales: Vec<f64> =
        (0..values).map(|v| fixed[v].or(widest[v]).or(natural[v]).unwrap_or(1.0)).collect();
    for (index, op) in folded.ops.iter().enumerate() {
        let FoldedKind::Multiply { left, right } = &op.kind else { continue };
        let factor = |value: usize| {
            let (root, ratio) = groups.find(value);
            scales[root] * ratio
        };
        let product = factor(left.index()) * factor(right.index());
        let (root, ratio) = groups.find(index + 1);
        // Only activations read a product, and absorb any factor: nothing else is in its group.
        if root != index + 1 || index + 1 == folded.output.index() {
            return Err(ModelError::node(&op.name, "its product is read by what is no activation"));
        }
        scales[root] = product / ratio;
    }
    Ok(scales)
}
