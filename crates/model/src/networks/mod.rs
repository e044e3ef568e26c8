//! Known networks, with weights from safetensors files or made from a seed.

mod lenet5;
mod weight_file;

pub use lenet5::{lenet5, lenet5_random};
pub use weight_file::WeightFile;
pub(crate) use weight_file::half_precision;
