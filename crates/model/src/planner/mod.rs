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

/// Parties that plans are chosen for.
const PARTIES: usize = 2;

/// Seconds of one inference, dealing included: what widths of comparisons and truncations of
/// polynomials are chosen by.
///
/// All bytes dealt count as if one line carried them: no plan says whether the helper's lines share an
/// uplink.
fn seconds(plan: &Plan, link: &Link) -> Result<f64, ModelError> {
    let estimate = plan.estimate(PARTIES, 1, link, &Rates::STATED)?;
    let dealt = link.bandwidth.map_or(0.0, |bytes| estimate.cost.dealt_bytes as f64 / bytes);
    let of_other_lines = dealt * (PARTIES - 1) as f64 / PARTIES as f64;
    Ok(estimate.online + estimate.preprocessing + of_other_lines)
}
