//! What a choice costs in accuracy: the exact simulator under random masks, against the unrounded
//! network.

use amicus_field::{LimbVec, PRIMES};
use amicus_plan::{OpIndex, OpKind, Plan, ValueId, quantize_input};
use rayon::prelude::*;

use super::allot::Share;
use crate::error::ModelError;
use crate::fake_quantisation::SplitMix;
use crate::measure::relative_error;
use crate::report::ErrorFigures;
use crate::simulate::{Simulator, Trace};

/// Multiply-adds spent on one choice.
const AFFORDABLE: u64 = 1_000_000_000;
/// And on what each comparison changes.
const AFFORDABLE_SHARES: u64 = 200_000_000_000;
/// Samples run at least, if there are as many.
const LEAST: usize = 4;

/// Relative errors of the logits.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// Error of a run: truncations and signs under random masks.
    pub(crate) total: ErrorFigures,
    /// Error of a run whose comparisons are all right.
    pub(crate) rounding: ErrorFigures,
    /// What signs near thresholds change, against that run.
    pub(crate) signs: ErrorFigures,
    /// Without masks: rounding to nearest, signs right.
    pub(crate) nearest: ErrorFigures,
    /// Samples run.
    pub(crate) samples: usize,
}

impl Measured {
    /// Runs as many of the first samples as are affordable; `expected` are their unrounded results.
    pub(crate) fn of(
        simulator: &Simulator<'_>,
        samples: &[Vec<f32>],
        expected: &[Vec<f64>],
    ) -> Result<Self, ModelError> {
        let plan = simulator.plan();
        let samples = &samples[..affordable(plan, expected.len())?];
        let run = |(number, sample): (usize, &Vec<f32>)| -> Result<[Vec<f64>; 3], ModelError> {
            let input = LimbVec::from_i64(plan.limbs, &quantize_input(plan, sample)?);
            let masks = masks(plan, number as u64)?;
            let logits = |trace: Trace| trace.into_outputs().logits();
            Ok([
                logits(simulator.trace_masked(&input, &masks, 1)?),
                logits(simulator.trace_decided(&input, &masks, 1)?),
                logits(simulator.trace(&input, 1)?),
            ])
        };
        let runs = samples.par_iter().enumerate().map(run).collect::<Result<Vec<_>, ModelError>>()?;
        let of = |kind: usize| runs.iter().map(|r| r[kind].clone()).collect::<Vec<_>>();
        let [total, rounding, nearest] = [0, 1, 2].map(of);
        Ok(Measured {
            total: ErrorFigures::of(&total, expected),
            rounding: ErrorFigures::of(&rounding, expected),
            signs: ErrorFigures::of(&total, &rounding),
            nearest: ErrorFigures::of(&nearest, expected),
            samples: samples.len(),
        })
    }
}

/// Samples to run, of so many.
fn affordable(plan: &Plan, samples: usize) -> Result<usize, ModelError> {
    let each = plan.cost(1)?.multiply_adds.saturating_mul(3).max(1);
    let affordable = usize::try_from(AFFORDABLE / each).unwrap_or(usize::MAX);
    Ok(samples.min(affordable.max(LEAST)))
}

/// What wrong signs of each comparison alone change in the results of samples, of which there are
/// `samples` to run; `None` for networks where that takes too long.
pub(super) fn shares(
    simulator: &Simulator<'_>,
    samples: &[Vec<f32>],
) -> Result<Option<Vec<Share>>, ModelError> {
    let plan = simulator.plan();
    let infos = plan.values()?;
    let samples = &samples[..affordable(plan, samples.len())?];
    let comparison = |(op, kind): (OpIndex, &OpKind)| match kind {
        OpKind::Compare(c) => Some((op, infos.get(c.input).len * c.thresholds.len(), c.window())),
        _ => None,
    };
    let ops = plan.indexed_ops().map(|(index, op)| (index, &op.kind));
    let comparisons: Vec<(OpIndex, usize, u32)> = ops.filter_map(comparison).collect();
    let runs = (samples.len() * (comparisons.len() + 1)) as u64;
    if plan.cost(1)?.multiply_adds.saturating_mul(runs) > AFFORDABLE_SHARES {
        return Ok(None);
    }
    let run = |(number, sample): (usize, &Vec<f32>)| -> Result<Vec<f64>, ModelError> {
        let input = LimbVec::from_i64(plan.limbs, &quantize_input(plan, sample)?);
        let masks = masks(plan, number as u64)?;
        let right = simulator.trace_decided(&input, &masks, 1)?.into_outputs().logits();
        let of = |(op, ..): &(OpIndex, usize, u32)| {
            let trace = simulator.trace_decided_but(&input, &masks, *op, 1)?;
            Ok(relative_error(&trace.into_outputs().logits(), &right))
        };
        comparisons.iter().map(of).collect()
    };
    let runs = samples.par_iter().enumerate().map(run).collect::<Result<Vec<_>, ModelError>>()?;
    let share = |(i, &(_, numbers, bits)): (usize, &(OpIndex, usize, u32))| {
        let squares: f64 = runs.iter().map(|r| r[i] * r[i]).sum();
        Share { numbers, bits, error: squares / runs.len().max(1) as f64 }
    };
    Ok(Some(comparisons.iter().enumerate().map(share).collect()))
}

/// A random mask for every value; nothing secret is made from it.
fn masks(plan: &Plan, seed: u64) -> Result<Vec<LimbVec>, ModelError> {
    let infos = plan.values()?;
    let mut random = SplitMix(0x6d61_736b ^ seed << 32);
    let mut mask = |v: u32| {
        let len = infos.get(ValueId(v)).len;
        let planes = (0..plan.limbs.count()).flat_map(|limb| std::iter::repeat_n(PRIMES[limb], len));
        let planes: Vec<u64> = planes.map(|prime| (random.next() >> 12) % prime).collect();
        LimbVec::from_planes(plan.limbs, planes).map_err(|e| ModelError::data("masks", e.to_string()))
    };
    (0..infos.count() as u32).map(&mut mask).collect()
}
