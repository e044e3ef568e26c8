//! What the command line `amicus` does beside reading arguments: the [`demo`], the [`rates`] of
//! this machine, reading of samples and [`images`]. The library is the crate `amicus`.
//!
//! ```
//! use amicus_cli::demo::{DemoOptions, run};
//!
//! let report = run(&DemoOptions { samples: Some(2), ..DemoOptions::default() }, &mut |_| ())?;
//! assert_eq!(report.agree, Some(2));
//! # Ok::<(), amicus_cli::demo::DemoError>(())
//! ```
#![forbid(unsafe_code)]

pub mod beside;
pub mod cpu;
pub mod demo;
pub mod interrupt;
pub mod memory;
pub mod rates;
pub mod samples;
#[cfg(feature = "train-command")]
pub mod train;
pub mod up;

pub use amicus::images;
