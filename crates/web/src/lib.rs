//! The client for browsers: `amicus-client` behind functions that WebAssembly exports.
//!
//! The package `@amicus/client` (`web/client`) moves the bytes: it gives a [`Machine`] what nodes
//! answer and sends what this says, over `fetch`. One machine serves one inference. Where it runs, in
//! a WebAssembly instance of its own, all of its memory is wiped afterwards.
//!
//! - [`Machine`]: the steps of an inference, in the only order in which they can be taken
//! - `abi`: the exports, in WebAssembly alone; elsewhere this crate is a library for its tests
mod machine;
mod problem;

#[cfg(target_arch = "wasm32")]
mod abi;

pub use machine::Machine;
pub use problem::WebError;
