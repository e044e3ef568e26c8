//! From a folded network and samples to a plan: scales, limbs, integers, and the proof that nothing
//! overflows.

pub(crate) mod behind_truncations;
pub mod calibrate;
pub mod compile;
mod emit;
pub(crate) mod exact;
pub mod fake_quantisation;
pub mod planned;
pub mod proof;
pub mod publish;
pub mod quality;
pub mod quantize;
pub mod report;
mod rescale;
pub mod reveal;
pub mod scales;
pub mod watch;

use amicus_plan::{Link, Plan, Rates};

use crate::error::ModelError;

/// Seconds of one inference, dealing included: what widths of comparisons and truncations of
/// polynomials are chosen by.
fn seconds(plan: &Plan, link: &Link) -> Result<f64, ModelError> {
    let estimate = plan.estimate(2, 1, link, &Rates::STATED)?;
    Ok(estimate.online + estimate.preprocessing)
}
