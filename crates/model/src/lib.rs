//! Graphs of CNNs, compilation to a plan, and the exact integer simulator.
//!
//! What this is: everything between a trained network and the [`amicus_plan::Plan`] that all roles
//! run. It stands before any cryptography: nothing here knows of shares, masks or messages
//! ([docs/protocol.md], sections 2 and 8).
//!
//! The sources lie on four shelves: `import` (files), `rewrite` (networks to networks), `planner`
//! (networks to plans) and `run` (without cryptography). Names do not show them: it is
//! `amicus_model::compile`, not `amicus_model::planner::compile`. The way of the data:
//!
//! - [`graph`]: a CNN as nodes with `f32` weights, built in Rust; [`onnx`] imports them from
//!   PyTorch's exports, [`networks`] reads known ones from safetensors
//! - [`mod@equalise`]: brings channels of very different sizes to similar ones
//! - [`mod@prepare`]: brings it into the form that can be folded
//! - [`mod@check`]: everything that keeps a graph from being compiled, at once
//! - [`mod@approximate`]: polynomials ([`fit`]) in place of activations ([`function`]) that are
//!   none; [`pieces`] are what comparisons compute without any
//! - [`float`]: runs the graph in floating point; the reference that everything else is measured
//!   against
//! - [`fold`]: the graph as operations of a plan, still with real numbers: BatchNorm, intervals and
//!   pooling factors folded into weights and polynomials
//! - [`mod@compile`]: chooses limbs and scales from calibration data ([`scales`],
//!   [`fake_quantisation`], [`calibrate`]), proves that nothing overflows inside the calibrated
//!   range ([`proof`]), and gives plan, quantised weights ([`quantize`]) and a [`report`]
//! - [`mod@reveal`]: operations that find labels, for receivers that get no outputs
//! - [`mod@watch`]: operations that find hidden values outside what a plan was made for
//! - [`mod@simulate`]: runs a plan on exact integers modulo Q, as the secure execution does within
//!   one unit a truncation
//! - [`mod@compare`]: the imported network, the one with polynomials, and the fixed point, layer by
//!   layer
//! - [`mod@escapes`]: values outside what a network was compiled for, [`quality`]: errors and
//!   targets,
//!   [`mod@shown`]: what a plan shows
//! - [`amc`]: the compiled file with all three
//! - [`publish`]: weights in the plan, where everybody sees them
//! - [`planned`]: a plan made earlier, for a network that ships
//! - [`private_file`] and [`measure`]: writing files of one's own, comparing logits
//!
//! [docs/protocol.md]: ../../../docs/protocol.md
#![forbid(unsafe_code)]

pub mod error;
pub mod graph;
mod import;
mod planner;
mod rewrite;
mod run;

pub use import::{amc, networks, onnx};
pub use planner::{
    calibrate, compile, fake_quantisation, planned, proof, publish, quality, quantize, report, reveal,
    scales, watch,
};
pub use rewrite::{approximate, check, equalise, fit, fold, function, pieces, prepare};
pub use run::{compare, escapes, float, measure, shown, simulate};

pub use amicus_files::private_file;
pub use amicus_plan::quantize_input;
pub use compile::{CompileOptions, Compiled, compile};
pub use error::ModelError;
pub use float::FloatExecutor;
pub use graph::{Graph, GraphBuilder, NodeId};
pub use measure::{argmax, relative_error};
pub use quantize::QuantizedWeights;
pub use report::Report;
pub use simulate::{Simulator, Trace, simulate};
