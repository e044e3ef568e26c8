//! Networks that run without cryptography, in floating point and in integers, and what they say of
//! a plan.

pub mod compare;
pub mod escapes;
pub mod float;
pub(crate) mod linear;
pub mod measure;
pub mod shown;
pub mod simulate;
