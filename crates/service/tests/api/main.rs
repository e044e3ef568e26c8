//! Public ports of a cluster of services in this process: what clients and owners with tokens get,
//! and what everybody else gets.

#![allow(clippy::unwrap_used)]

mod cluster;
mod document;
mod inferences;
mod loads;
mod raw;
mod tokens;
mod wrongs;
