//! From a folded network and samples to a plan: scales, limbs, integers, and the proof that nothing
//! overflows.

pub mod calibrate;
pub mod compile;
mod emit;
pub(crate) mod exact;
pub mod fake_quantisation;
pub mod planned;
pub mod proof;
pub mod quality;
pub mod quantize;
pub mod report;
mod rescale;
pub mod scales;
