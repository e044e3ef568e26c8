//! Nodes as services: a helper or party that runs for weeks, from a file of its operator's.
//!
//! An operator writes a `node.toml` ([`NodeConfig`]): the cluster's file, which all operators
//! share, the key, the folder, the plans, where it listens. [`run`] starts the node, logs what
//! happens ([`log`]), answers health checks and Prometheus (`/healthz`, `/readyz`, `/metrics`), takes up new certificates
//! and addresses when told to (SIGHUP), and ends when told to (SIGTERM, SIGINT): inferences in flight
//! are finished, or given up after a bounded time.
//!
//! Clients and owners with tokens come over HTTPS ([`public`], [`token`]).
//!
//! HTTP is hyper over tokio, on one thread for each port. It was chosen over servers with a thread a
//! connection because connections here are slow and anybody's: one thread holds all of them, with
//! deadlines for headers and bounded buffers, and both projects are maintained. Nothing below this
//! crate knows of it; the protocol's threads stay as they are.
#![forbid(unsafe_code)]

mod config;
pub mod doctor;
mod error;
pub mod log;
mod metrics;
mod monitor;
mod node;
mod process;
pub mod public;
mod run;
mod serving;
pub mod token;

pub use config::{Bytes, LogConfig, LogFormat, LogLevel, NodeConfig, NodeLimits};
pub use error::StartError;
pub use node::{Agreed, Prepared, ServiceRole};
pub use public::{PublicConfig, PublicLimits};
#[cfg(feature = "danger")]
pub use run::run_deviating;
pub use run::{Ended, Service, run};
