//! The roles over channels: helper, compute party, client and model owner, as threads that share
//! nothing but links.
//!
//! The protocol itself is in `amicus-protocol` ([docs/protocol.md]); here it is driven.
//! [`party::PartyNode`] runs one loop over the rounds of the plan, the same for roles in one
//! process and on several continents. What is on disk, and why that is enough:
//! [docs/security.md], section 24.
//!
//! - [`inbox`], [`connect`]: links that deliver messages to the thread that wants them
//! - [`exchange`]: waiting for others, and whose fault it is when nothing comes
//! - [`store`]: what a node keeps on disk: spent ids, decisions, failed checks, sealed epochs
//! - [`party`], [`helper`]: the nodes, each an online thread and a dealing thread
//! - [`client`], [`owner`]: those who use them
//! - [`local`]: all of them in one process
//! - `conduct` (feature `danger`): how a party can be made to misbehave, for attack tests and
//!   demonstrations
//! - [`event`], [`limits`], [`bounds`]: what a node reports; how long it waits, how much it takes in
//!   a message, and how much it keeps
//!
//! [docs/protocol.md]: ../../../docs/protocol.md
//! [docs/security.md]: ../../../docs/security.md
#![forbid(unsafe_code)]

mod aside;
mod begun;
pub mod bounds;
pub mod client;
#[cfg(feature = "danger")]
pub mod conduct;
pub mod connect;
mod cores;
mod error;
pub mod event;
pub mod exchange;
pub mod helper;
pub mod inbox;
mod level;
pub mod limits;
pub mod local;
pub mod owner;
pub mod party;
mod served;
pub mod store;
mod threads;
mod workers;

pub use amicus_protocol::{Culprit, Peer, peer};
pub use error::NodeError;
pub use helper::Ahead;
pub use level::{Level, Loaded};

pub use limits::Limits;
pub use served::{Asked, MAX_MODELS, Served};
pub use workers::{MAX_THREADS, with_threads};
