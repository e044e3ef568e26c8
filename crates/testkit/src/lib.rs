//! Harness of n parties, malicious parties and test vectors. For tests only.
#![forbid(unsafe_code)]

pub mod direct;
pub mod small;
