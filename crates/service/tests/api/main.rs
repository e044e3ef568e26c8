//! Public ports of a cluster of services in this process: what clients and owners with tokens get,
//! and what everybody else gets.

mod cluster;
mod document;
mod inferences;
mod loads;
mod raw;
mod tokens;
mod wrongs;
