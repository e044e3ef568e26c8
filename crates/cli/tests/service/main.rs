//! Nodes as operators run them: processes of their own, from files, on addresses of their own.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

mod cells;
#[path = "../common/mod.rs"]
mod common;
mod doctor;
mod lifecycle;
mod mistakes;
mod monitor;
mod rotation;
mod trial;
mod trouble;
mod up;
