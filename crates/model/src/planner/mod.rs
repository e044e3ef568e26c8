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
mod stepwise;
pub mod watch;

use amicus_plan::{Plan, Rates};

use crate::compile::CompileOptions;
use crate::error::ModelError;

/// Parties that plans are chosen for.
const PARTIES: usize = 2;

/// Seconds an image takes, dealing included, in a batch and over the network that the options name:
/// what limbs, widths of comparisons and truncations of polynomials are chosen by.
///
/// All bytes dealt count as if one line carried them: no plan says whether the helper's lines share an
/// uplink.
fn seconds(plan: &Plan, options: &CompileOptions) -> Result<f64, ModelError> {
    let CompileOptions { link, batch, .. } = options;
    let estimate = plan.estimate(PARTIES, *batch, link, &Rates::STATED)?;
    let dealt = link.bandwidth.map_or(0.0, |bytes| estimate.cost.dealt_bytes as f64 / bytes);
    let of_other_lines = dealt * (PARTIES - 1) as f64 / PARTIES as f64;
    Ok((estimate.online + estimate.preprocessing + of_other_lines) / *batch as f64)
}
