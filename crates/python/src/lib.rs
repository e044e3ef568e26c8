//! The part of the Python package `amicus` that is Rust: the library `amicus` with its client, called
//! from `packages/amicus`, which has the names, the types and the documentation that users see.
//!
//! Work is done on threads of Rust while Python's lock is free. Whoever waits looks for signals
//! between waits, so that Ctrl-C ends a call.
//!
//! Without the feature `extension`, which the package's build sets, there is nothing here.
#![cfg(feature = "extension")]
#![deny(unsafe_code)]

mod client;
mod compile;
mod fault;
mod local;
mod model;
mod owner;
mod pending;
mod place;
mod report;
mod wait;
mod worker;

use pyo3::prelude::*;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<report::Report>()?;
    module.add_class::<model::Model>()?;
    module.add_class::<model::Plan>()?;
    module.add_class::<client::Client>()?;
    module.add_class::<client::Gate>()?;
    module.add_class::<pending::Pending>()?;
    module.add_class::<local::Local>()?;
    module.add_function(wrap_pyfunction!(compile::check, module)?)?;
    module.add_function(wrap_pyfunction!(compile::compile, module)?)?;
    module.add_function(wrap_pyfunction!(owner::upload, module)?)?;
    Ok(())
}
