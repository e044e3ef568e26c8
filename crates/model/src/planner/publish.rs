//! A compiled network with its weights in the plan, where everybody sees them.

use amicus_plan::Plan;

use crate::error::ModelError;
use crate::quantize::QuantizedWeights;

/// The plan with these weights public, the weights that are left to load (none), and the factors of
/// the plan's values.
///
/// # Errors
/// Weights or factors of another plan; weights that are too large.
pub fn published(
    plan: &Plan,
    weights: &QuantizedWeights,
    mut factors: Vec<f64>,
) -> Result<(Plan, QuantizedWeights, Vec<f64>), ModelError> {
    if factors.len() != plan.ops.len() + 1 {
        return Err(ModelError::data("factors", "not one for each value"));
    }
    weights.check(plan)?;
    let (plan, fresh) = plan.published(weights.public())?;
    if let Some(fresh) = fresh {
        let same = factors[fresh.index() - 1];
        factors.insert(fresh.index(), same);
    }
    let nothing = QuantizedWeights::new(&plan, Vec::new())?;
    Ok((plan, nothing, factors))
}
