//! The plan: what is computed, in which arithmetic, at what cost.
//!
//! A model file and calibration data become a [`Plan`]; helper, parties, client, model owner,
//! simulator and estimator all read the same plan and refuse to work with a peer whose
//! [`PlanDigest`] differs. The plan is public to every role: it holds shapes, scales, activation
//! polynomials and calibrated ranges, and of weights only those that its owner made public
//! ([docs/protocol.md], section 1).
//!
//! - [`units`]: the small types (scales, indices) that keep integers of different meaning apart
//! - [`plan`]: the plan itself and its operations
//! - [`comparison`]: comparisons, truncation and selection: activations in pieces, maxima
//! - [`values`]: what validation derives: length, scale and mask of every value
//! - [`schedule`]: which operations share a round
//! - [`encoding`]: the versioned file format and the digest
//! - [`cost`]: rounds, bytes and multiply-adds before anything runs
//! - [`estimate`]: time and memory by a stated model
//! - [`input`]: a client's numbers as integers
//! - [`weights`]: the owner's weights, part by part
//! - [`public`]: weights that everybody knows, which are part of the plan
//! - [`printable`]: names from files and peers, fit for logs and terminals
//!
//! [docs/protocol.md]: ../../../docs/protocol.md
#![forbid(unsafe_code)]

pub mod comparison;
pub mod cost;
pub mod encoding;
pub mod error;
pub mod estimate;
pub mod input;
mod masks;
pub mod plan;
pub mod printable;
mod proof;
pub mod public;
pub mod schedule;
pub mod units;
pub mod values;
pub mod weights;

pub use comparison::{Compare, Outside, Select, Truncate};
pub use cost::{Cost, OpCost};
pub use encoding::PlanDigest;
pub use error::PlanError;
pub use estimate::{Estimate, Link, Memory, OpEstimate, Rates};
pub use input::{InputError, quantize_input};
pub use plan::{
    Activation, Choice, InputSpec, Op, OpKind, OutputSpec, Part, Plan, Range, Reveal, WeightSpec, WrapRule,
};
pub use printable::Printable;
pub use proof::{Chunk, MAX_ROUNDS};
pub use public::{PublicTensor, PublicWeights};
pub use schedule::{Round, Schedule, Stage};
pub use units::{OpIndex, PublicId, ScaleBits, UseIndex, ValueId, WeightId};
pub use values::{MaskKind, ValueInfo, ValueKind, Values};
